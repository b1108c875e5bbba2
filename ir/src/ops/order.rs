//! The rules of ops that work in order along one dimension: `cumulative` and `sort`.

use super::{CumulativeAttrs, InferError, ReduceKind, SortAttrs};
use crate::types::{DType, TensorType};

/// (c1) numbers. (c2) the dimension exists. (c3) the kind is a fold of numbers.
pub(super) fn infer_cumulative(attrs: &CumulativeAttrs, operand: &TensorType) -> Result<TensorType, InferError> {
    if operand.dtype == DType::Bool {
        return Err(format!("operand has type {operand}, expected a number"));
    }
    check_dim(attrs.dim, operand)?;
    match attrs.kind {
        ReduceKind::Sum | ReduceKind::Prod | ReduceKind::Min | ReduceKind::Max => Ok(operand.clone()),
        ReduceKind::Any | ReduceKind::All | ReduceKind::ArgMin | ReduceKind::ArgMax => {
            Err(format!("kind is {}, expected sum, prod, min or max", attrs.kind.name()))
        }
    }
}

/// (c1) the dimension exists. (c2) all inputs have one shape.
pub(super) fn infer_sort(attrs: &SortAttrs, inputs: &[&TensorType]) -> Result<Vec<TensorType>, InferError> {
    check_dim(attrs.dim, inputs[0])?;
    for (idx, input) in inputs.iter().enumerate() {
        if input.shape != inputs[0].shape {
            return Err(format!("operand {idx} has type {input}, expected shape {}", inputs[0].shape));
        }
    }
    Ok(inputs.iter().map(|&input| input.clone()).collect())
}

fn check_dim(dim: usize, operand: &TensorType) -> Result<(), InferError> {
    if dim < operand.rank() {
        return Ok(());
    }
    Err(format!("dim {dim} is out of range for operand type {operand}"))
}
