//! Modules and functions: named graphs with named parameters.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Value};
use crate::literal::TensorData;

/// What a function's parameter is to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParamKind {
    /// Fresh data on every call.
    Input,
    /// A trainable parameter: gradients are taken with respect to these, and inference freezes them into constants.
    Param,
    /// Other state carried from call to call: optimizer moments, running statistics, RNG state.
    State,
}

/// One parameter of a function; its type is that of its value in the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuncParam {
    /// Name, unique in the function: `x`, `linear1.weight`.
    pub name: String,
    /// What the caller gives.
    pub kind: ParamKind,
    /// The weight that holds its first value, by name in [`Module::weights`].
    pub weight: Option<Arc<str>>,
}

/// One result of a function; its value stands at the same position in the graph's results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuncResult {
    /// Name, unique among the results: `loss`, `linear1.weight`.
    pub name: String,
    /// Index of the parameter whose buffer this result takes (*donation*): the next value of that state.
    pub donates: Option<u32>,
}

/// A function: a graph and the names of its parameters and results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Func {
    /// Name, unique in the module.
    pub name: String,
    /// Parameters, in the order of [`Graph::params`].
    pub params: Vec<FuncParam>,
    /// Results, in the order of [`Graph::results`].
    pub results: Vec<FuncResult>,
    /// The body.
    pub graph: Graph,
}

impl Func {
    /// The value and description of the parameter called `name`.
    pub fn param(&self, name: &str) -> Option<(Value, &FuncParam)> {
        let idx = self.params.iter().position(|param| param.name == name)?;
        Some((self.graph.params()[idx], &self.params[idx]))
    }
}

/// A set of functions and the weights they name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Module {
    /// Functions in text order.
    pub funcs: Vec<Func>,
    /// Weights by name, in file order.
    pub weights: IndexMap<Arc<str>, TensorData>,
}

impl Module {
    /// The function called `name`.
    pub fn func(&self, name: &str) -> Option<&Func> {
        self.funcs.iter().find(|func| func.name == name)
    }
}
