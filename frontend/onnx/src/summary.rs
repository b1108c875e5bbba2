//! What a model's file holds, without importing it: a model that cannot be imported can still be looked at.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use nnc_ir::{Diagnostic, Location};

use crate::elem::ElemType;
use crate::fault::{ImportError, Unsupported};
use crate::functions::{Functions, Opsets, normal_domain};
use crate::import::{decode, read_file};
use crate::proto::{GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};
use crate::survey;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Version of the file format.
    pub ir_version: i64,
    /// Program that wrote the file and its version, as far as the file says.
    pub producer: String,
    /// Name of the graph.
    pub graph: String,
    /// Versions of the operators, by domain; `ai.onnx` is empty.
    pub opsets: BTreeMap<String, i64>,
    /// Inputs that have no value in the file: name and type.
    pub inputs: Vec<(String, String)>,
    /// Outputs: name and type.
    pub outputs: Vec<(String, String)>,
    /// Number of tensors stored as weights or constants of the graph, nested graphs included.
    pub n_initializers: usize,
    /// Bytes of their elements, external ones not counted.
    pub initializer_bytes: u64,
    /// Nodes by operator, with domains other than `ai.onnx` in front; nested graphs and bodies of functions included.
    pub operators: BTreeMap<String, usize>,
    /// Functions of the model's own.
    pub functions: Vec<String>,
    /// Further facts that the model carries: a vocabulary, the names of classes.
    pub metadata: BTreeMap<String, String>,
    /// Operators that cannot be imported.
    pub unsupported: Vec<Unsupported>,
}

/// Looks at the model of a file.
///
/// # Errors
/// The file cannot be read or is no ONNX model.
pub fn summarize(path: &Path) -> Result<Summary, ImportError> {
    let file: Arc<str> = path.display().to_string().into();
    let model = decode(read_file(path)?, &file)?;
    let Some(graph) = &model.graph else {
        let message = "the file is no ONNX model: it has no graph";
        return Err(ImportError::one(Diagnostic::new(Location::at(file, 0, 0), message)));
    };
    // Whatever else is wrong with the functions, the model can be looked at.
    let functions = Functions::of(&model).unwrap_or_default();
    let mut summary = Summary {
        ir_version: model.ir_version(),
        producer: format!("{} {}", model.producer_name(), model.producer_version()).trim().to_string(),
        graph: graph.name().to_string(),
        opsets: model.opset_import.iter().map(|set| (normal_domain(set.domain()).to_string(), set.version())).collect(),
        inputs: Vec::new(),
        outputs: graph.output.iter().map(describe).collect(),
        n_initializers: 0,
        initializer_bytes: 0,
        operators: BTreeMap::new(),
        functions: model.functions.iter().map(|function| function.name().to_string()).collect(),
        metadata: model
            .metadata_props
            .iter()
            .map(|entry| (entry.key().to_string(), entry.value().to_string()))
            .collect(),
        unsupported: survey::unsupported(graph, &Opsets::new(&model.opset_import), &functions),
    };
    // Older files list the weights among the inputs.
    let values: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    summary.inputs.extend(graph.input.iter().filter(|info| !values.contains(info.name())).map(describe));
    summary.count_graph(graph);
    model.functions.iter().for_each(|function| summary.count_nodes(&function.node));
    Ok(summary)
}

impl Summary {
    fn count_graph(&mut self, graph: &GraphProto) {
        for tensor in &graph.initializer {
            self.n_initializers += 1;
            self.initializer_bytes += match &tensor.raw_data {
                Some(raw) => raw.len(),
                None => {
                    4 * (tensor.float_data.len() + tensor.int32_data.len())
                        + 8 * (tensor.double_data.len() + tensor.int64_data.len() + tensor.uint64_data.len())
                }
            } as u64;
        }
        self.count_nodes(&graph.node);
    }

    fn count_nodes(&mut self, nodes: &[NodeProto]) {
        for node in nodes {
            let domain = normal_domain(node.domain());
            let dot = if domain.is_empty() { "" } else { "." };
            *self.operators.entry(format!("{domain}{dot}{}", node.op_type())).or_default() += 1;
            for attribute in &node.attribute {
                attribute.g.iter().for_each(|graph| self.count_graph(graph));
                attribute.graphs.iter().for_each(|graph| self.count_graph(graph));
            }
        }
    }
}

/// An input or output: its name, and its type as in `float[batch, 3, ?]`.
fn describe(info: &ValueInfoProto) -> (String, String) {
    let ty = info.r#type.as_ref().map_or_else(|| "?".to_string(), |ty| TypeText(ty).to_string());
    (info.name().to_string(), ty)
}

/// A type as people write it.
struct TypeText<'a>(&'a TypeProto);

impl fmt::Display for TypeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elem = |number: i32| ElemType::from_number(number).map_or("?", ElemType::name);
        let inner =
            |ty: &Option<Box<TypeProto>>| ty.as_ref().map_or_else(|| "?".to_string(), |ty| TypeText(ty).to_string());
        match &self.0.value {
            None => f.write_str("?"),
            Some(type_proto::Value::TensorType(tensor)) => {
                f.write_str(elem(tensor.elem_type()))?;
                let Some(shape) = &tensor.shape else { return f.write_str("[...]") };
                let dims: Vec<String> = shape.dim.iter().map(extent).collect();
                write!(f, "[{}]", dims.join(", "))
            }
            Some(type_proto::Value::SparseTensorType(tensor)) => write!(f, "sparse {}", elem(tensor.elem_type())),
            Some(type_proto::Value::SequenceType(element)) => write!(f, "sequence of {}", inner(&element.elem_type)),
            Some(type_proto::Value::OptionalType(element)) => write!(f, "optional {}", inner(&element.elem_type)),
            Some(type_proto::Value::MapType(map)) => {
                write!(f, "map from {} to {}", elem(map.key_type()), inner(&map.value_type))
            }
        }
    }
}

fn extent(dim: &tensor_shape_proto::Dimension) -> String {
    match &dim.value {
        Some(tensor_shape_proto::Value::DimValue(value)) => value.to_string(),
        Some(tensor_shape_proto::Value::DimParam(symbol)) if !symbol.is_empty() => symbol.clone(),
        _ => "?".to_string(),
    }
}
