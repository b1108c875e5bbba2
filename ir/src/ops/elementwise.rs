//! Rules of the elementwise ops: all operands have the result's shape.

use super::{InferError, Op};
use crate::types::{DType, TensorType};

/// The class of element types an operand may have.
enum Class {
    Float,
    Number,
    Signed,
    Integer,
    Logical,
    Any,
}

impl Class {
    fn admits(&self, dtype: DType) -> bool {
        match self {
            Self::Float => dtype.is_float(),
            Self::Number => dtype != DType::Bool,
            Self::Signed => dtype.is_signed(),
            Self::Integer => dtype.is_int(),
            Self::Logical => dtype.is_int() || dtype == DType::Bool,
            Self::Any => true,
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Float => "a floating-point type",
            Self::Number => "a number",
            Self::Signed => "a signed number",
            Self::Integer => "an integer type",
            Self::Logical => "an integer type or bool",
            Self::Any => "any type",
        }
    }
}

/// (c1) all operands have the same type, of the class the op is defined on (`select`'s predicate is `bool` of the
/// same shape). (c2) the result has that type, except that `compare` and `is_finite` give `bool`, and conversions
/// give their own element type.
pub(super) fn infer(op: &Op, operands: &[&TensorType]) -> Result<TensorType, InferError> {
    let class = match op {
        Op::Exponential
        | Op::ExponentialMinusOne
        | Op::Log
        | Op::LogPlusOne
        | Op::Sqrt
        | Op::Rsqrt
        | Op::Tanh
        | Op::Logistic
        | Op::Erf
        | Op::Sine
        | Op::Cosine
        | Op::Tan
        | Op::Floor
        | Op::Ceil
        | Op::RoundNearestEven
        | Op::IsFinite
        | Op::Atan2 => Class::Float,
        Op::Negate | Op::Abs | Op::Sign => Class::Signed,
        Op::Add | Op::Subtract | Op::Multiply | Op::Divide | Op::Remainder | Op::Power | Op::Clamp => Class::Number,
        Op::ShiftLeft | Op::ShiftRightLogical | Op::ShiftRightArithmetic => Class::Integer,
        Op::Not | Op::And | Op::Or | Op::Xor => Class::Logical,
        Op::Maximum | Op::Minimum => Class::Any,
        _ => Class::Any,
    };
    let names = op.info().operands;
    // `select` checks its predicate apart; the remaining operands follow the common rule.
    let first = usize::from(matches!(op, Op::Select));
    if first == 1 && operands[0].dtype != DType::Bool {
        return Err(format!("operand `pred` has type {}, expected bool{}", operands[0], operands[1].shape));
    }
    if first == 1 && operands[0].shape != operands[1].shape {
        return Err(format!("operand `pred` has type {}, expected bool{}", operands[0], operands[1].shape));
    }
    let common = operands[first];
    if !class.admits(common.dtype) {
        return Err(format!("operand `{}` has type {common}, expected {}", names[first], class.describe()));
    }
    for (operand, name) in operands.iter().zip(names).skip(first + 1) {
        if *operand != common {
            return Err(format!("operand `{name}` has type {operand}, expected {common} as `{}`", names[first]));
        }
    }
    Ok(match op {
        Op::Compare(_) | Op::IsFinite => common.with_dtype(DType::Bool),
        Op::Convert(dtype) => common.with_dtype(*dtype),
        Op::BitcastConvert(dtype) => {
            if dtype.size() != common.dtype.size() || (*dtype == DType::Bool) != (common.dtype == DType::Bool) {
                return Err(format!("operand has type {common}, expected a type of the size of {dtype}"));
            }
            common.with_dtype(*dtype)
        }
        _ => common.clone(),
    })
}
