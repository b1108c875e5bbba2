//! The functions that a model defines, and the versions of the operators that its graph and they are written against.

use std::collections::HashMap;

use crate::ops::Domain;
use crate::proto::{FunctionProto, ModelProto, NodeProto, OperatorSetIdProto};

/// Versions of the operators, by domain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opsets(HashMap<Domain, i64>);

impl Opsets {
    pub(crate) fn new(imports: &[OperatorSetIdProto]) -> Self {
        let known = imports.iter().filter_map(|import| Some((Domain::from_name(import.domain())?, import.version())));
        Self(known.collect())
    }

    /// The version of a domain. One that a file leaves out is taken as version 1, as ONNX does.
    pub(crate) fn version(&self, domain: Domain) -> i64 {
        self.0.get(&domain).copied().unwrap_or(1)
    }
}

/// `ai.onnx` is written in two ways.
pub(crate) fn normal_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Domain, name, overload.
type Key<'m> = (&'m str, &'m str, &'m str);

/// The functions of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions<'m>(HashMap<Key<'m>, &'m FunctionProto>);

impl<'m> Functions<'m> {
    /// # Errors
    /// A function that is defined twice.
    pub(crate) fn of(model: &'m ModelProto) -> Result<Self, String> {
        let mut functions = HashMap::new();
        for function in &model.functions {
            let key = (normal_domain(function.domain()), function.name(), function.overload());
            if functions.insert(key, function).is_some() {
                return Err(format!("function `{}` of `{}` is defined twice", function.name(), function.domain()));
            }
        }
        Ok(Self(functions))
    }

    /// The function that a node calls, if it is none of the operators.
    pub(crate) fn called_by(&self, node: &NodeProto) -> Option<&'m FunctionProto> {
        self.0.get(&(normal_domain(node.domain()), node.op_type(), node.overload())).copied()
    }
}
