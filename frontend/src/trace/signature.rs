//! What a traced function's signature is written with: types of inputs, and what a closure may give back.

use nnc_ir::{DType, TensorType};

use super::Trace;
use crate::tensor::Tensor;

/// A tensor type, or the text of one: `f32[N, 784]`.
pub trait ToTensorType {
    /// The type.
    ///
    /// # Errors
    /// What is wrong with the text.
    fn to_tensor_type(&self) -> Result<TensorType, String>;
}

impl ToTensorType for TensorType {
    fn to_tensor_type(&self) -> Result<TensorType, String> {
        Ok(self.clone())
    }
}

impl ToTensorType for &TensorType {
    fn to_tensor_type(&self) -> Result<TensorType, String> {
        Ok((*self).clone())
    }
}

impl ToTensorType for &str {
    fn to_tensor_type(&self) -> Result<TensorType, String> {
        parse_type(self)
    }
}

impl ToTensorType for String {
    fn to_tensor_type(&self) -> Result<TensorType, String> {
        parse_type(self)
    }
}

/// Reads `f32[N, 784]`.
fn parse_type(text: &str) -> Result<TensorType, String> {
    let expected = || format!("`{text}` is not a tensor type such as `f32[N, 784]`");
    let (dtype, rest) = text.trim().split_once('[').ok_or_else(expected)?;
    let dtype = DType::from_name(dtype.trim()).ok_or_else(|| {
        format!("`{dtype}` is not an element type, expected one of {}", DType::ALL.map(DType::name).join(", "))
    })?;
    let extents = rest.strip_suffix(']').ok_or_else(expected)?;
    if extents.trim().is_empty() {
        return Ok(TensorType::scalar(dtype));
    }
    let dim =
        |extent: &str| nnc_ir::parse::parse_dim(extent).map_err(|fault| format!("in `{text}`: {}", fault.message));
    let dims = extents.split(',').map(dim).collect::<Result<Vec<_>, _>>()?;
    Ok(TensorType::new(dtype, dims))
}

/// What the closure given to [`trace()`] may give back: nothing, one tensor (the result `output`), or named tensors.
pub trait TraceOutput {
    /// Declares the results.
    fn declare(self, trace: &Trace);
}

impl TraceOutput for () {
    fn declare(self, _: &Trace) {}
}

impl TraceOutput for Tensor {
    fn declare(self, trace: &Trace) {
        trace.output("output", self);
    }
}

impl<const N: usize> TraceOutput for [(&str, Tensor); N] {
    fn declare(self, trace: &Trace) {
        for (name, tensor) in self {
            trace.output(name, tensor);
        }
    }
}

impl TraceOutput for Vec<(String, Tensor)> {
    fn declare(self, trace: &Trace) {
        for (name, tensor) in self {
            trace.output(&name, tensor);
        }
    }
}
