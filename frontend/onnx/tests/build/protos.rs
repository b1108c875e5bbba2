//! Models made from their messages, for tests.

#![allow(dead_code, reason = "each test uses what it needs")]

use nnc_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_type, tensor_shape_proto, type_proto,
};

pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT64: i32 = 7;
pub(crate) const BOOL: i32 = 9;

pub(crate) fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

pub(crate) fn dim(extent: i64) -> tensor_shape_proto::Dimension {
    tensor_shape_proto::Dimension { value: Some(tensor_shape_proto::Value::DimValue(extent)) }
}

pub(crate) fn info(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let shape = Some(TensorShapeProto { dim: dims.iter().map(|&extent| dim(extent)).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: some(name), r#type: Some(ty), ..ValueInfoProto::default() }
}

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    NodeProto { input: names(inputs), output: names(outputs), op_type: some(op), ..NodeProto::default() }
}

pub(crate) fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

pub(crate) fn graph_attribute(name: &str, graph: GraphProto) -> AttributeProto {
    let g = Some(Box::new(graph));
    AttributeProto { name: some(name), r#type: Some(attribute_type::GRAPH), g, ..AttributeProto::default() }
}

pub(crate) fn tensor_attribute(name: &str, tensor: TensorProto) -> AttributeProto {
    let t = Some(tensor);
    AttributeProto { name: some(name), r#type: Some(attribute_type::TENSOR), t, ..AttributeProto::default() }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: some(name),
        data_type: Some(INT64),
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub(crate) fn raw(name: &str, elem: i32, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto {
        name: some(name),
        data_type: Some(elem),
        dims: dims.to_vec(),
        raw_data: Some(bytes.to_vec().into()),
        ..TensorProto::default()
    }
}

/// `x: float[4]` to `y`.
pub(crate) fn graph(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: some("g"),
        node: nodes,
        input: vec![info("x", FLOAT, &[4])],
        output: vec![info("y", FLOAT, &[4])],
        ..GraphProto::default()
    }
}

pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(10),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(21) }],
        ..ModelProto::default()
    }
}

pub(crate) fn scalar(name: &str, value: i64) -> TensorProto {
    TensorProto { dims: Vec::new(), ..ints(name, &[value]) }
}

/// A floating-point weight.
pub(crate) fn floats(name: &str, dims: &[i64], value: impl Fn(usize) -> f32) -> TensorProto {
    let n = dims.iter().product::<i64>() as usize;
    let float_data = (0..n).map(value).collect();
    TensorProto { name: some(name), data_type: Some(FLOAT), dims: dims.to_vec(), float_data, ..TensorProto::default() }
}

/// An attribute that is a list of integers.
pub(crate) fn ints_attribute(name: &str, values: &[i64]) -> AttributeProto {
    let ints = values.to_vec();
    AttributeProto { name: some(name), r#type: Some(attribute_type::INTS), ints, ..AttributeProto::default() }
}

/// An attribute that is an integer.
pub(crate) fn int_attribute(name: &str, value: i64) -> AttributeProto {
    let i = Some(value);
    AttributeProto { name: some(name), r#type: Some(attribute_type::INT), i, ..AttributeProto::default() }
}
