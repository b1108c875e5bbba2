//! Rules of `param`, `constant`, `iota` and `rng_bits`.

use super::{InferError, Op};
use crate::types::{DType, TensorType};

pub(super) fn infer(op: &Op, operands: &[&TensorType]) -> Result<TensorType, InferError> {
    match op {
        Op::Constant(constant) => Ok(constant.ty()),
        Op::Iota(attrs) => {
            if attrs.ty.dtype == DType::Bool {
                return Err("the result type is bool, expected a number".to_string());
            }
            if attrs.dim >= attrs.ty.rank() {
                return Err(format!("dim {} is out of range for {}", attrs.dim, attrs.ty));
            }
            Ok(attrs.ty.clone())
        }
        Op::RngBits(shape) => {
            let expected = TensorType::new(DType::U32, [4]);
            if *operands[0] != expected {
                return Err(format!("operand `state` has type {}, expected {expected}", operands[0]));
            }
            Ok(TensorType { dtype: DType::U32, shape: shape.clone() })
        }
        // Parameters are typed where they are declared.
        _ => Err("a parameter stands only at the head of a graph".to_string()),
    }
}
