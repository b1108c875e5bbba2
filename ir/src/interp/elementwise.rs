//! Elementwise ops: one scalar function an op, on doubles for floats, on `i128` for integers and `bool`.

use crate::literal::{Scalar, TensorData};
use crate::ops::{CompareDir, Op};
use crate::types::DType;

pub(super) fn unary(op: &Op, operand: &TensorData) -> TensorData {
    let (dtype, shape) = (operand.dtype, operand.shape.clone());
    if dtype.is_float() {
        TensorData::from_doubles(dtype, shape, operand.to_f64().into_iter().map(|x| float_unary(op, dtype, x)))
    } else {
        TensorData::from_integers(dtype, shape, operand.to_integers().into_iter().map(|x| int_unary(op, dtype, x)))
    }
}

pub(super) fn binary(op: &Op, lhs: &TensorData, rhs: &TensorData) -> TensorData {
    let (dtype, shape) = (lhs.dtype, lhs.shape.clone());
    if dtype.is_float() {
        let pairs = lhs.to_f64().into_iter().zip(rhs.to_f64());
        TensorData::from_doubles(dtype, shape, pairs.map(|(x, y)| float_binary(op, x, y)))
    } else {
        let pairs = lhs.to_integers().into_iter().zip(rhs.to_integers());
        TensorData::from_integers(dtype, shape, pairs.map(|(x, y)| int_binary(op, dtype, x, y)))
    }
}

/// The result before its rounding to `dtype`.
fn float_unary(op: &Op, dtype: DType, x: f64) -> f64 {
    match op {
        Op::Negate => -x,
        Op::Abs => x.abs(),
        Op::Sign if x > 0.0 => 1.0,
        Op::Sign if x < 0.0 => -1.0,
        Op::Sign => x,
        Op::Exponential => libm::exp(x),
        Op::ExponentialMinusOne => libm::expm1(x),
        Op::Log => libm::log(x),
        Op::LogPlusOne => libm::log1p(x),
        Op::Sqrt => x.sqrt(),
        Op::Rsqrt => 1.0 / Scalar::from_f64(dtype, x.sqrt()).to_f64(),
        Op::Tanh => libm::tanh(x),
        // The form whose exponential cannot overflow.
        Op::Logistic if x < 0.0 => libm::exp(x) / (1.0 + libm::exp(x)),
        Op::Logistic => 1.0 / (1.0 + libm::exp(-x)),
        Op::Erf => libm::erf(x),
        Op::Sine => libm::sin(x),
        Op::Cosine => libm::cos(x),
        Op::Tan => libm::tan(x),
        Op::Floor => x.floor(),
        Op::Ceil => x.ceil(),
        Op::RoundNearestEven => x.round_ties_even(),
        _ => unreachable!("{} is not defined on one {dtype}", op.mnemonic()),
    }
}

/// The result before it wraps to `dtype`.
fn int_unary(op: &Op, dtype: DType, x: i128) -> i128 {
    match op {
        Op::Negate => x.wrapping_neg(),
        Op::Abs => x.wrapping_abs(),
        Op::Sign => x.signum(),
        Op::Not if dtype == DType::Bool => i128::from(x == 0),
        Op::Not => !x,
        _ => unreachable!("{} is not defined on one {dtype}", op.mnemonic()),
    }
}

/// The result before its rounding to the operands' type.
pub(super) fn float_binary(op: &Op, x: f64, y: f64) -> f64 {
    match op {
        Op::Add => x + y,
        Op::Subtract => x - y,
        Op::Multiply => x * y,
        Op::Divide => x / y,
        Op::Remainder => x % y,
        Op::Maximum if y > x || y.is_nan() => y,
        Op::Minimum if y < x || y.is_nan() => y,
        Op::Maximum | Op::Minimum => x,
        Op::Power => libm::pow(x, y),
        Op::Atan2 => libm::atan2(x, y),
        _ => unreachable!("{} is not defined on two floats", op.mnemonic()),
    }
}

/// The result before it wraps to `dtype`.
pub(super) fn int_binary(op: &Op, dtype: DType, x: i128, y: i128) -> i128 {
    let width = 8 * dtype.size() as i128;
    // The bits of `x` moved to the top of the word and back, filling with the sign or with zeros.
    let spare = (128 - width) as u32;
    let sign_extended = x << spare >> spare;
    let zero_extended = (x << spare) as u128 >> spare;
    let in_width = (0..width).contains(&y);
    match op {
        Op::Add => x.wrapping_add(y),
        Op::Subtract => x.wrapping_sub(y),
        Op::Multiply => x.wrapping_mul(y),
        Op::Divide if y == 0 => -1,
        Op::Divide => x.wrapping_div(y),
        Op::Remainder if y == 0 => x,
        Op::Remainder => x.wrapping_rem(y),
        Op::Maximum => x.max(y),
        Op::Minimum => x.min(y),
        Op::Power => int_power(x, y),
        Op::And => x & y,
        Op::Or => x | y,
        Op::Xor => x ^ y,
        Op::ShiftLeft if in_width => x << y,
        Op::ShiftRightLogical if in_width => (zero_extended >> y) as i128,
        Op::ShiftLeft | Op::ShiftRightLogical => 0,
        Op::ShiftRightArithmetic if in_width => sign_extended >> y,
        Op::ShiftRightArithmetic => sign_extended >> 127,
        _ => unreachable!("{} is not defined on two {dtype}", op.mnemonic()),
    }
}

/// `base ^ exponent` modulo 2^128, by squaring.
fn int_power(base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        };
    }
    let (mut power, mut square, mut rest) = (1i128, base, exponent);
    while rest > 0 {
        if rest % 2 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest /= 2;
    }
    power
}

pub(super) fn is_finite(operand: &TensorData) -> TensorData {
    bools(operand.shape.clone(), operand.to_f64().into_iter().map(f64::is_finite))
}

pub(super) fn compare(dir: CompareDir, lhs: &TensorData, rhs: &TensorData) -> TensorData {
    fn holds<T: PartialOrd>(dir: CompareDir, (x, y): (T, T)) -> bool {
        match dir {
            CompareDir::Eq => x == y,
            CompareDir::Ne => x != y,
            CompareDir::Lt => x < y,
            CompareDir::Le => x <= y,
            CompareDir::Gt => x > y,
            CompareDir::Ge => x >= y,
        }
    }
    if lhs.dtype.is_float() {
        bools(lhs.shape.clone(), lhs.to_f64().into_iter().zip(rhs.to_f64()).map(|pair| holds(dir, pair)))
    } else {
        bools(lhs.shape.clone(), lhs.to_integers().into_iter().zip(rhs.to_integers()).map(|pair| holds(dir, pair)))
    }
}

fn bools(shape: Vec<usize>, values: impl Iterator<Item = bool>) -> TensorData {
    TensorData::new(DType::Bool, shape, values.map(u8::from).collect::<Vec<u8>>())
}

pub(super) fn select(pred: &TensorData, on_true: &TensorData, on_false: &TensorData) -> TensorData {
    let size = on_true.dtype.size();
    let mut bytes = Vec::with_capacity(on_true.bytes.len());
    for (idx, &pred) in pred.bytes.iter().enumerate() {
        let picked = if pred != 0 { on_true } else { on_false };
        bytes.extend_from_slice(&picked.bytes[idx * size..][..size]);
    }
    TensorData::new(on_true.dtype, on_true.shape.clone(), bytes)
}

pub(super) fn convert(operand: &TensorData, dtype: DType) -> TensorData {
    if operand.dtype == dtype {
        operand.clone()
    } else if operand.dtype.is_float() {
        TensorData::from_doubles(dtype, operand.shape.clone(), operand.to_f64())
    } else {
        TensorData::from_integers(dtype, operand.shape.clone(), operand.to_integers())
    }
}

pub(super) fn bitcast_convert(operand: &TensorData, dtype: DType) -> TensorData {
    TensorData { dtype, ..operand.clone() }
}
