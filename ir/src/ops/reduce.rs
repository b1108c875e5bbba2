//! Rules of `reduce`.

use super::movement::check_dims;
use super::{InferError, ReduceAttrs, ReduceKind};
use crate::types::{DType, Shape, TensorType};

pub(super) fn infer(attrs: &ReduceAttrs, operand: &TensorType) -> Result<TensorType, InferError> {
    check_dims("dims", &attrs.dims, operand.rank())?;
    if !attrs.dims.is_sorted() {
        return Err(format!("dims {:?} does not increase", attrs.dims));
    }
    let dtype = match attrs.kind {
        ReduceKind::Sum | ReduceKind::Prod => {
            if operand.dtype == DType::Bool {
                return Err(format!("operand has type {operand}, expected a number"));
            }
            operand.dtype
        }
        ReduceKind::Min | ReduceKind::Max => operand.dtype,
        ReduceKind::Any | ReduceKind::All => {
            if operand.dtype != DType::Bool {
                return Err(format!("operand has type {operand}, expected bool{}", operand.shape));
            }
            DType::Bool
        }
        ReduceKind::ArgMin | ReduceKind::ArgMax => {
            if attrs.dims.iter().any(|&dim| operand.shape[dim].as_const() == Some(0)) {
                return Err(format!("operand has type {operand}, expected at least one element to choose from"));
            }
            DType::I64
        }
    };
    let kept = (0..operand.rank()).filter(|dim| !attrs.dims.contains(dim)).map(|dim| operand.shape[dim].clone());
    Ok(TensorType { dtype, shape: Shape(kept.collect()) })
}
