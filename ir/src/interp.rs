//! The reference interpreter: the meaning of every op.
//!
//! [`eval`] computes one op on concrete data, [`eval_graph`] and [`eval_func`] whole graphs. It is written to be read,
//! not to be fast: floats are widened to `f64`, computed with (sums and products of many terms too), and rounded once
//! to the op's element type; integers are computed in 128 bits, which hold the values
//! of every type, and wrapped. Every pass and every back end is
//! tested against it.
//!
//! Operands and attributes are checked with [`ops::infer`] before anything is computed, so that wrong input is an
//! error here and never a panic.

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::literal::{Constant, TensorData};
use crate::ops::{self, InferError, Op};
use crate::types::TensorType;

mod contract;
mod control;
mod convolution;
mod dynamic;
mod elementwise;
mod index;
mod movement;
mod order;
mod random;
mod reduce;
mod run;
mod strided;
mod window;

pub(crate) use movement::transpose;
pub use random::philox4x32;
pub use run::{arguments, eval_func, eval_graph};

/// Most elements of one value (2 GiB as doubles). A file can name any shape; the machine cannot hold it.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Most steps of one loop. A file can ask for any number; nobody can wait for it.
pub const MAX_STEPS: usize = 1 << 24;

/// Why an op has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// Operands or attributes break a rule of the op.
    Rule(InferError),
    /// A dimension of the result is not bound to a number.
    Symbolic(TensorType),
    /// The result has more than [`MAX_ELEMENTS`] elements.
    TooLarge(TensorType),
    /// A loop runs more than [`MAX_STEPS`] times.
    TooManySteps,
    /// A node of the op's region has no value.
    Region(Box<Diagnostic>),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(message) => f.write_str(message),
            Self::Symbolic(ty) => write!(f, "the result has type {ty}, expected every dimension to be a number"),
            Self::TooLarge(ty) => write!(f, "the result has type {ty}, expected at most {MAX_ELEMENTS} elements"),
            Self::TooManySteps => write!(f, "the loop does not end within {MAX_STEPS} steps"),
            Self::Region(fault) => write!(f, "in the region: {fault}"),
        }
    }
}

impl std::error::Error for EvalError {}

/// The results of `op` on `operands`.
///
/// # Errors
/// Operands that break the op's rules, and results too large to hold.
pub fn eval(op: &Op, operands: &[&TensorData], regions: &[Graph]) -> Result<Vec<TensorData>, EvalError> {
    let operand_types: Vec<TensorType> = operands.iter().map(|operand| operand.ty()).collect();
    let result_types = ops::infer(op, &operand_types.iter().collect::<Vec<_>>(), regions).map_err(EvalError::Rule)?;
    for ty in &result_types {
        if ty.shape.as_fixed().is_none() {
            return Err(EvalError::Symbolic(ty.clone()));
        }
        if ty.n_elements().is_none_or(|n_elements| n_elements > MAX_ELEMENTS) {
            return Err(EvalError::TooLarge(ty.clone()));
        }
    }
    let shape = result_types[0].shape.as_fixed().expect("result shapes were checked");
    let result = match op {
        Op::Constant(Constant::Splat { value, .. }) => movement::splat(*value, shape),
        Op::Constant(Constant::Dense { data, .. }) => data.clone(),
        Op::Iota(attrs) => movement::iota(attrs, shape),
        Op::RngBits(_) => random::rng_bits(operands[0], shape),
        Op::Negate
        | Op::Abs
        | Op::Sign
        | Op::Exponential
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
        | Op::Not => elementwise::unary(op, operands[0]),
        Op::IsFinite => elementwise::is_finite(operands[0]),
        Op::Convert(dtype) => elementwise::convert(operands[0], *dtype),
        Op::BitcastConvert(dtype) => elementwise::bitcast_convert(operands[0], *dtype),
        Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Divide
        | Op::Remainder
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::Atan2
        | Op::And
        | Op::Or
        | Op::Xor
        | Op::ShiftLeft
        | Op::ShiftRightLogical
        | Op::ShiftRightArithmetic => elementwise::binary(op, operands[0], operands[1]),
        Op::Compare(dir) => elementwise::compare(*dir, operands[0], operands[1]),
        Op::Select => elementwise::select(operands[0], operands[1], operands[2]),
        Op::Clamp => {
            let raised = elementwise::binary(&Op::Maximum, operands[1], operands[0]);
            elementwise::binary(&Op::Minimum, &raised, operands[2])
        }
        Op::Reshape(_) => TensorData { shape, ..operands[0].clone() },
        Op::Transpose(permutation) => movement::transpose(permutation, operands[0]),
        Op::BroadcastInDim(attrs) => movement::broadcast_in_dim(&attrs.dims, operands[0], shape),
        Op::Slice(attrs) => movement::slice(attrs, operands[0], shape),
        Op::Pad(attrs) => movement::pad(attrs, operands[0], operands[1].get(0), shape),
        Op::Concatenate(dim) => movement::concatenate(*dim, operands, shape),
        Op::Reverse(dims) => movement::reverse(dims, operands[0]),
        Op::DynamicSlice(_) => dynamic::slice(operands[0], &operands[1..], shape),
        Op::DynamicUpdateSlice => dynamic::update_slice(operands[0], operands[1], &operands[2..]),
        Op::Gather(attrs) => index::gather(attrs, operands[0], operands[1], shape),
        Op::Scatter(attrs) => index::scatter(attrs, operands[0], operands[1], operands[2]),
        Op::Reduce(attrs) => reduce::reduce(attrs, operands[0], shape),
        Op::Cumulative(attrs) => order::cumulative(attrs, operands[0]),
        Op::Sort(attrs) => return Ok(order::sort(attrs, operands)),
        Op::ReduceWindow(attrs) => window::reduce_window(attrs, operands[0], shape),
        Op::SelectAndScatter(attrs) => window::select_and_scatter(attrs, operands[0], operands[1]),
        Op::DotGeneral(attrs) => contract::dot_general(attrs, operands[0], operands[1], shape),
        Op::Convolution(attrs) => convolution::convolution(attrs, operands[0], operands[1], shape),
        Op::OptimizationBarrier | Op::StopGradient => operands[0].clone(),
        Op::Fusion(_) => {
            return control::region(&regions[0], operands.iter().map(|&operand| operand.clone()).collect());
        }
        Op::Scan(attrs) => return control::scan(attrs, operands, &regions[0], &result_types),
        Op::Cond => return control::cond(operands, regions),
        Op::While => return control::while_loop(operands, &regions[0], &regions[1]),
        Op::Param(_) => unreachable!("infer refuses {}", op.mnemonic()),
    };
    debug_assert_eq!(result.ty(), result_types[0], "{} gives what infer says", op.mnemonic());
    Ok(vec![result])
}

#[cfg(test)]
mod tests;
