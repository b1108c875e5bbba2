//! Operators without operands, and those that give their operand as it is.

use nnc_frontend::Tensor;
use nnc_ir::TensorData;

use super::{Entry, Outcome, op};
use crate::cx::Cx;
use crate::data::Stored;
use crate::elem::ElemType;
use crate::value::{StringTensor, Value};

pub(super) const OPS: &[Entry] = &[op("Constant", 1.., constant), op("Identity", 1.., identity)];

fn constant(cx: &mut Cx<'_>) -> Outcome {
    if let Some(stored) = cx.stored("value")? {
        return Ok(vec![match stored {
            Stored::Numbers { elem, data } => cx.walker.weight_or_data(cx.output_name(0), elem, data),
            Stored::Strings { shape, elements } => Value::Strings(StringTensor { shape, elements }.into()),
        }]);
    }
    if let Some(sparse) = cx.attribute("sparse_value").and_then(|attribute| attribute.sparse_tensor.as_ref()) {
        return match cx.walker.reader.read_sparse(sparse) {
            Ok(Stored::Numbers { elem, data }) => Ok(vec![Value::with_elem(Tensor::from_data(data), elem)]),
            Ok(Stored::Strings { .. }) => Err(cx.unsupported("attribute `sparse_value` is a tensor of strings")),
            Err(message) => Err(cx.invalid(format!("attribute `sparse_value`: {message}"))),
        };
    }
    let data = if let Some(value) = cx.int("value_int")? {
        TensorData::from_i64(vec![], &[value])
    } else if let Some(values) = cx.ints("value_ints")? {
        TensorData::from_i64(vec![values.len()], &values)
    } else if let Some(value) = cx.float("value_float")? {
        TensorData::from_f32(vec![], &[value as f32])
    } else if let Some(values) = cx.floats("value_floats")? {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        TensorData::from_f32(vec![values.len()], &values)
    } else if let Some(text) = cx.string("value_string")? {
        return Ok(vec![Value::Strings(StringTensor { shape: vec![], elements: vec![text.into_bytes()] }.into())]);
    } else if let Some(texts) = cx.strings("value_strings")? {
        let elements: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
        return Ok(vec![Value::Strings(StringTensor { shape: vec![elements.len()], elements }.into())]);
    } else {
        return Err(cx.invalid("no attribute gives a value, expected one of `value`, `value_float`, `value_int`, ..."));
    };
    let elem = ElemType::of(data.dtype);
    Ok(vec![Value::with_elem(Tensor::from_data(data), elem)])
}

fn identity(cx: &mut Cx<'_>) -> Outcome {
    Ok(vec![cx.value(0)?])
}
