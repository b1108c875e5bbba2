//! The rules of slices whose start is known only when the program runs.

use super::InferError;
use crate::dim::Dim;
use crate::types::{DType, Shape, TensorType};

/// (c1) one start a dimension. (c2) the slice is no larger than the operand.
pub(super) fn infer_slice(
    sizes: &Shape,
    operand: &TensorType,
    starts: &[&TensorType],
) -> Result<TensorType, InferError> {
    check_starts(operand, starts)?;
    check_inside("the slice", sizes, operand)?;
    Ok(TensorType { dtype: operand.dtype, shape: sizes.clone() })
}

/// (c1) and (c2) as for `dynamic_slice`. (c3) `update` has the operand's element type.
pub(super) fn infer_update_slice(
    operand: &TensorType,
    update: &TensorType,
    starts: &[&TensorType],
) -> Result<TensorType, InferError> {
    if update.dtype != operand.dtype {
        return Err(format!("operand `update` has type {update}, expected element type {}", operand.dtype));
    }
    check_starts(operand, starts)?;
    check_inside("operand `update`", &update.shape, operand)?;
    Ok(operand.clone())
}

fn check_starts(operand: &TensorType, starts: &[&TensorType]) -> Result<(), InferError> {
    if starts.len() != operand.rank() {
        return Err(format!("{} starts, expected {}, one a dimension of {operand}", starts.len(), operand.rank()));
    }
    for (dim, start) in starts.iter().enumerate() {
        if !matches!(start.dtype, DType::I32 | DType::I64) || start.rank() != 0 {
            return Err(format!("the start of dimension {dim} has type {start}, expected i32[] or i64[]"));
        }
    }
    Ok(())
}

fn check_inside(what: &str, sizes: &Shape, operand: &TensorType) -> Result<(), InferError> {
    let fits = |(size, extent): (&Dim, &Dim)| match (size.as_const(), extent.as_const()) {
        (Some(size), Some(extent)) => size <= extent,
        _ => true,
    };
    if sizes.rank() == operand.rank() && sizes.dims().iter().zip(operand.shape.dims()).all(fits) {
        return Ok(());
    }
    Err(format!("{what} has shape {sizes}, expected one that lies inside {operand}"))
}
