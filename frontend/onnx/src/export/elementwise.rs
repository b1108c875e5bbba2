//! Elementwise ops. What ONNX lacks is composed so that it is as accurate as the op.

use std::f64::consts::{FRAC_PI_2, PI};

use nnc_ir::ops::CompareDir;
use nnc_ir::{DType, Op, Scalar};

use super::emitter::{Emitter, Refusal, Val, int, text};
use super::lower::Site;

pub(super) fn unary(e: &mut Emitter, at: &Site<'_>) -> Result<Val, Refusal> {
    let x = at.val(0);
    let dtype = x.dtype();
    Ok(match &at.data.op {
        Op::Negate => e.map("Neg", &[x]),
        Op::Abs => e.map("Abs", &[x]),
        Op::Sign if dtype.is_float() => {
            // Zeros keep their sign and NaN stays NaN, which ONNX leaves open.
            let (magnitude, zero, sign) = (e.map("Abs", &[x]), e.number(dtype, 0.0), e.map("Sign", &[x]));
            let has_sign = e.test("Greater", &[&magnitude, &zero]);
            e.select(&has_sign, &sign, x)
        }
        Op::Sign => e.map("Sign", &[x]),
        Op::Exponential => e.map("Exp", &[x]),
        Op::ExponentialMinusOne => {
            // tanh(x / 2) * (e^x + 1), in which nothing cancels.
            let (half, one, exp) = (e.number(dtype, 0.5), e.number(dtype, 1.0), e.map("Exp", &[x]));
            let half = e.map("Mul", &[x, &half]);
            let (tanh, sum) = (e.map("Tanh", &[&half]), e.map("Add", &[&exp, &one]));
            e.map("Mul", &[&tanh, &sum])
        }
        Op::Log => e.map("Log", &[x]),
        Op::LogPlusOne => log_plus_one(e, x),
        Op::Sqrt => e.map("Sqrt", &[x]),
        Op::Rsqrt => {
            let root = e.map("Sqrt", &[x]);
            e.map("Reciprocal", &[&root])
        }
        Op::Tanh => e.map("Tanh", &[x]),
        Op::Logistic => e.map("Sigmoid", &[x]),
        Op::Erf => e.map("Erf", &[x]),
        Op::Sine => e.map("Sin", &[x]),
        Op::Cosine => e.map("Cos", &[x]),
        Op::Tan => e.map("Tan", &[x]),
        Op::Floor => e.map("Floor", &[x]),
        Op::Ceil => e.map("Ceil", &[x]),
        Op::RoundNearestEven => e.map("Round", &[x]),
        Op::IsFinite => {
            // The magnitude is below infinity; no comparison with NaN is true.
            let (magnitude, infinity) = (e.map("Abs", &[x]), e.number(dtype, f64::INFINITY));
            e.test("Less", &[&magnitude, &infinity])
        }
        Op::Not if dtype == DType::Bool => e.map("Not", &[x]),
        Op::Not => e.map("BitwiseNot", &[x]),
        // A float that does not fit an integer is undefined in ONNX, where nnc saturates.
        Op::Convert(to) => e.cast(x, *to),
        Op::BitcastConvert(to) if *to == dtype => x.clone(),
        Op::BitcastConvert(to) => {
            e.needs(26);
            let number = crate::ElemType::of(*to).number();
            e.op_with("BitCast", &[x], vec![int("to", number.into())], x.ty.with_dtype(*to))
        }
        op => unreachable!("{} has one operand", op.mnemonic()),
    })
}

/// `ln(1 + x)` as `ln(u) * x / (u - 1)` with the rounded sum `u`: the error of the sum cancels. (Kahan's formula.)
fn log_plus_one(e: &mut Emitter, x: &Val) -> Val {
    let one = e.number(x.dtype(), 1.0);
    let sum = e.map("Add", &[x, &one]);
    let log = e.map("Log", &[&sum]);
    let rest = e.map("Sub", &[&sum, &one]);
    let ratio = e.map("Div", &[x, &rest]);
    // Large sums are exact enough, and an infinite one has no ratio.
    let is_large = e.test("Greater", &[x, &one]);
    let ratio = e.select(&is_large, &one, &ratio);
    let scaled = e.map("Mul", &[&log, &ratio]);
    let is_lost = e.test("Equal", &[&sum, &one]);
    e.select(&is_lost, x, &scaled)
}

pub(super) fn binary(e: &mut Emitter, at: &Site<'_>) -> Result<Val, Refusal> {
    let (x, y) = (at.val(0), at.val(1));
    let is_bool = x.dtype() == DType::Bool;
    Ok(match &at.data.op {
        Op::Add => e.map("Add", &[x, y]),
        Op::Subtract => e.map("Sub", &[x, y]),
        Op::Multiply => e.map("Mul", &[x, y]),
        // Division of integers by zero is undefined in ONNX.
        Op::Divide => e.map("Div", &[x, y]),
        Op::Remainder => e.map_with("Mod", &[x, y], vec![int("fmod", 1)]),
        Op::Maximum => maximum(e, x, y),
        Op::Minimum => minimum(e, x, y),
        Op::Power if x.dtype().is_int() && !matches!(x.dtype(), DType::I32 | DType::I64) => {
            // Powers wrap when they are narrowed again, as products do.
            let y = e.cast(y, DType::I64);
            e.through(DType::I64, x, |e, x| e.map("Pow", &[x, &y]))
        }
        Op::Power => e.map("Pow", &[x, y]),
        Op::Atan2 => atan2(e, x, y),
        Op::And => e.map(if is_bool { "And" } else { "BitwiseAnd" }, &[x, y]),
        Op::Or => e.map(if is_bool { "Or" } else { "BitwiseOr" }, &[x, y]),
        Op::Xor => e.map(if is_bool { "Xor" } else { "BitwiseXor" }, &[x, y]),
        Op::ShiftLeft => shift(e, x, y, "LEFT"),
        Op::ShiftRightLogical => shift(e, x, y, "RIGHT"),
        Op::ShiftRightArithmetic => {
            // Of a number with the top bit, the complement of its shifted complement.
            let top = Scalar { dtype: x.dtype(), bits: 1 << (8 * x.dtype().size() - 1) };
            let (top, zero) = (e.scalar(top), e.number(x.dtype(), 0.0));
            let has_top = e.map("BitwiseAnd", &[x, &top]);
            let has_top = e.test("Equal", &[&has_top, &zero]);
            let complement = e.map("BitwiseNot", &[x]);
            let (shifted, other) = (shift(e, x, y, "RIGHT"), shift(e, &complement, y, "RIGHT"));
            let other = e.map("BitwiseNot", &[&other]);
            e.select(&has_top, &shifted, &other)
        }
        Op::Compare(dir) => compare(e, *dir, x, y),
        op => unreachable!("{} has two operands", op.mnemonic()),
    })
}

/// The larger; of `bool`, the disjunction.
pub(super) fn maximum(e: &mut Emitter, x: &Val, y: &Val) -> Val {
    e.map(if x.dtype() == DType::Bool { "Or" } else { "Max" }, &[x, y])
}

/// The smaller; of `bool`, the conjunction.
pub(super) fn minimum(e: &mut Emitter, x: &Val, y: &Val) -> Val {
    e.map(if x.dtype() == DType::Bool { "And" } else { "Min" }, &[x, y])
}

/// Compares; `bool` is ordered as its numbers.
pub(super) fn compare(e: &mut Emitter, dir: CompareDir, x: &Val, y: &Val) -> Val {
    let is_ordered = !matches!(dir, CompareDir::Eq | CompareDir::Ne);
    let [x, y] = [x, y].map(|val| match val.dtype() {
        DType::Bool if is_ordered => e.cast(val, DType::I32),
        _ => val.clone(),
    });
    match dir {
        CompareDir::Eq => e.test("Equal", &[&x, &y]),
        CompareDir::Ne => {
            let equal = e.test("Equal", &[&x, &y]);
            e.map("Not", &[&equal])
        }
        CompareDir::Lt => e.test("Less", &[&x, &y]),
        CompareDir::Le => e.test("LessOrEqual", &[&x, &y]),
        CompareDir::Gt => e.test("Greater", &[&x, &y]),
        CompareDir::Ge => e.test("GreaterOrEqual", &[&x, &y]),
    }
}

/// A shift in the unsigned type of the same width, the only kind there is; by the width or more it gives 0.
fn shift(e: &mut Emitter, x: &Val, y: &Val, direction: &str) -> Val {
    let dtype = x.dtype();
    let width = e.number(dtype, (8 * dtype.size()) as f64);
    let zero = e.number(dtype, 0.0);
    let mut is_small = e.test("Less", &[y, &width]);
    if dtype.is_signed() {
        let is_shift = e.test("GreaterOrEqual", &[y, &zero]);
        is_small = e.map("And", &[&is_small, &is_shift]);
    }
    let y = e.select(&is_small, y, &zero);
    // Signed numbers of 8 bits and more have the bits of their unsigned counterparts modulo a power of two.
    let unsigned = unsigned(dtype);
    let (bits, amount) = (e.cast(x, unsigned), e.cast(&y, unsigned));
    let shifted = e.map_with("BitShift", &[&bits, &amount], vec![text("direction", direction)]);
    let shifted = e.cast(&shifted, dtype);
    e.select(&is_small, &shifted, &zero)
}

/// The unsigned type of the same width.
fn unsigned(dtype: DType) -> DType {
    let name = dtype.name().replace('i', "u");
    // Where there is none of the width, the type stays and the checker of the model refuses it.
    DType::from_name(&name).unwrap_or(dtype)
}

/// The angle of the point (`x`, `y`), from the angle of its slope. Zeros count by their signs.
fn atan2(e: &mut Emitter, y: &Val, x: &Val) -> Val {
    let dtype = y.dtype();
    let [zero, infinity] = [0.0, f64::INFINITY].map(|value| e.number(dtype, value));
    let [pi, half_pi] = [PI, FRAC_PI_2].map(|value| e.number(dtype, value));
    // Two infinities have the slope of a diagonal.
    let (size_x, size_y) = (e.map("Abs", &[x]), e.map("Abs", &[y]));
    let smaller = e.map("Min", &[&size_x, &size_y]);
    let is_diagonal = e.test("Equal", &[&smaller, &infinity]);
    let (sign_x, sign_y) = (e.map("Sign", &[x]), e.map("Sign", &[y]));
    let (x, y) = (e.select(&is_diagonal, &sign_x, x), e.select(&is_diagonal, &sign_y, y));

    let [is_upright, is_level] = [&x, &y].map(|part| e.test("Equal", &[part, &zero]));
    let [is_left, is_below] = [&x, &y].map(|part| {
        // The reciprocal of a negative zero is below 0, that of a negative infinity is not.
        let reciprocal = e.map("Reciprocal", &[part]);
        let (is_negative, is_inverse_negative) =
            (e.test("Less", &[part, &zero]), e.test("Less", &[&reciprocal, &zero]));
        e.map("Or", &[&is_negative, &is_inverse_negative])
    });
    let slope = e.map("Div", &[&y, &x]);
    let angle = e.map("Atan", &[&slope]);
    let is_origin = e.map("And", &[&is_upright, &is_level]);
    let angle = e.select(&is_origin, &y, &angle);
    // To the left the point opposite has the slope's angle.
    let opposite = e.map("Neg", &[&pi]);
    let turn = e.select(&is_below, &opposite, &pi);
    let turned = e.map("Add", &[&angle, &turn]);
    let angle = e.select(&is_left, &turned, &angle);
    // On the axis the slope is infinite, of either sign.
    let (is_raised, sign) = (e.map("Not", &[&is_level]), e.map("Sign", &[&y]));
    let is_upright = e.map("And", &[&is_upright, &is_raised]);
    let upright = e.map("Mul", &[&sign, &half_pi]);
    e.select(&is_upright, &upright, &angle)
}
