//! Elementwise ops on registers: the exact rules of the op table where a plain instruction does not follow them.
//!
//! Registers of narrow types hold values of the narrow type: the result of every op is rounded (wrapped) to it.

use nnc_ir::DType;
use nnc_ir::ops::{CompareDir, Op, Trait};

use crate::kernel::{BinOp, Inst, KernelBuilder, Reg, RegType, Ty, UnOp};
use crate::math;

/// Whether [`emit`] knows the op.
pub(super) fn is_elementwise(op: &Op) -> bool {
    op.has(Trait::Elementwise) && !matches!(op, Op::StopGradient)
}

/// Whether computing the op again costs more than a trip to the L1 cache.
pub(super) fn is_expensive(op: &Op) -> bool {
    matches!(
        op,
        Op::Exponential
            | Op::ExponentialMinusOne
            | Op::Log
            | Op::LogPlusOne
            | Op::Tanh
            | Op::Logistic
            | Op::Erf
            | Op::Sine
            | Op::Cosine
            | Op::Tan
            | Op::Power
            | Op::Atan2
    )
}

/// Computes `op` on registers of equal lanes. `from` is the element type of the first operand, `dtype` of the result.
///
/// # Errors
/// What there is no code for.
pub(super) fn emit(b: &mut KernelBuilder, op: &Op, from: DType, dtype: DType, regs: &[Reg]) -> Result<Reg, String> {
    let x = regs[0];
    let RegType { ty, lanes } = b.reg_type(x);
    let raw = match op {
        Op::Negate => b.unary(UnOp::Neg, x),
        Op::Abs => b.unary(UnOp::Abs, x),
        Op::Sign => sign(b, x),
        Op::Sqrt => b.unary(UnOp::Sqrt, x),
        Op::Rsqrt => {
            let root = b.unary(UnOp::Sqrt, x);
            let root = b.narrow(dtype, root);
            let one = b.const_f64(ty, lanes, 1.0);
            b.div(one, root)
        }
        Op::Exponential => math::exp(b, x),
        Op::ExponentialMinusOne => math::expm1(b, x),
        Op::Log => math::log(b, x),
        Op::LogPlusOne => math::log1p(b, x),
        Op::Tanh => math::tanh(b, x),
        Op::Logistic => math::logistic(b, x),
        Op::Erf => math::erf(b, x),
        Op::Sine => math::sin(b, x),
        Op::Cosine => math::cos(b, x),
        Op::Tan => math::tan(b, x),
        Op::Power if ty.is_float() => math::pow(b, x, regs[1]),
        Op::Power => int_power(b, x, regs[1]),
        Op::Atan2 => math::atan2(b, x, regs[1]),
        Op::Floor => b.unary(UnOp::Floor, x),
        Op::Ceil => b.unary(UnOp::Ceil, x),
        Op::RoundNearestEven => b.unary(UnOp::RoundEven, x),
        Op::IsFinite => {
            let magnitude = b.unary(UnOp::Abs, x);
            let infinity = b.const_f64(ty, lanes, f64::INFINITY);
            b.compare(CompareDir::Lt, magnitude, infinity)
        }
        Op::Not => b.unary(UnOp::Not, x),
        Op::Convert(to) => return Ok(convert(b, x, from, *to)),
        Op::BitcastConvert(to) => return bitcast(b, x, from, *to),
        Op::Add => b.add(x, regs[1]),
        Op::Subtract => b.sub(x, regs[1]),
        Op::Multiply => b.mul(x, regs[1]),
        Op::Divide if ty.is_float() => b.div(x, regs[1]),
        Op::Divide => {
            let (divisor, is_zero) = nonzero(b, regs[1]);
            let quotient = b.div(x, divisor);
            let ones = b.const_i64(ty, lanes, -1);
            b.select(is_zero, ones, quotient)
        }
        Op::Remainder if ty.is_float() => b.binary(BinOp::Rem, x, regs[1]),
        Op::Remainder => {
            let (divisor, is_zero) = nonzero(b, regs[1]);
            let remainder = b.binary(BinOp::Rem, x, divisor);
            b.select(is_zero, x, remainder)
        }
        Op::Maximum => maximum(b, x, regs[1]),
        Op::Minimum => minimum(b, x, regs[1]),
        Op::Clamp => {
            let raised = maximum(b, regs[1], x);
            minimum(b, raised, regs[2])
        }
        Op::And => b.binary(BinOp::And, x, regs[1]),
        Op::Or => b.binary(BinOp::Or, x, regs[1]),
        Op::Xor => b.binary(BinOp::Xor, x, regs[1]),
        Op::ShiftLeft => shift(b, BinOp::Shl, dtype, x, regs[1]),
        Op::ShiftRightLogical => shift(b, BinOp::ShrLogical, dtype, x, regs[1]),
        Op::ShiftRightArithmetic => shift(b, BinOp::ShrArithmetic, dtype, x, regs[1]),
        Op::Compare(dir) => compare(b, *dir, x, regs[1]),
        Op::Select => b.select(x, regs[1], regs[2]),
        _ => return Err(format!("{} is not elementwise", op.mnemonic())),
    };
    Ok(b.narrow(dtype, raw))
}

fn sign(b: &mut KernelBuilder, x: Reg) -> Reg {
    let RegType { ty, lanes } = b.reg_type(x);
    let (zero, one, minus_one) = (b.const_i64(ty, lanes, 0), b.const_i64(ty, lanes, 1), b.const_i64(ty, lanes, -1));
    let negative = b.compare(CompareDir::Lt, x, zero);
    let positive = b.compare(CompareDir::Gt, x, zero);
    let rest = b.select(negative, minus_one, x);
    b.select(positive, one, rest)
}

/// The divisor with 1 in place of 0, and where it was 0.
fn nonzero(b: &mut KernelBuilder, divisor: Reg) -> (Reg, Reg) {
    let RegType { ty, lanes } = b.reg_type(divisor);
    let (zero, one) = (b.const_i64(ty, lanes, 0), b.const_i64(ty, lanes, 1));
    let is_zero = b.compare(CompareDir::Eq, divisor, zero);
    (b.select(is_zero, one, divisor), is_zero)
}

/// `maximum` on any type: of `bool` it is the disjunction.
pub(super) fn maximum(b: &mut KernelBuilder, lhs: Reg, rhs: Reg) -> Reg {
    let op = if b.reg_type(lhs).ty == Ty::Bool { BinOp::Or } else { BinOp::Max };
    b.binary(op, lhs, rhs)
}

/// `minimum` on any type: of `bool` it is the conjunction.
pub(super) fn minimum(b: &mut KernelBuilder, lhs: Reg, rhs: Reg) -> Reg {
    let op = if b.reg_type(lhs).ty == Ty::Bool { BinOp::And } else { BinOp::Min };
    b.binary(op, lhs, rhs)
}

/// Comparison; truth values are ordered as 0 and 1.
fn compare(b: &mut KernelBuilder, dir: CompareDir, lhs: Reg, rhs: Reg) -> Reg {
    let word =
        |b: &mut KernelBuilder, reg: Reg| if b.reg_type(reg).ty == Ty::Bool { b.cast(Ty::U32, reg) } else { reg };
    let (lhs, rhs) = (word(b, lhs), word(b, rhs));
    b.compare(dir, lhs, rhs)
}

/// Shifts of integers of any width; amounts outside the width give 0, or all sign bits.
fn shift(b: &mut KernelBuilder, op: BinOp, dtype: DType, x: Reg, amount: Reg) -> Reg {
    let RegType { ty, lanes } = b.reg_type(x);
    let width = 8 * dtype.size() as i64;
    let (zero, limit) = (b.const_i64(ty, lanes, 0), b.const_i64(ty, lanes, width));
    let below = b.compare(CompareDir::Lt, amount, limit);
    let inside = if !ty.is_signed_int() {
        below
    } else {
        let not_negative = b.compare(CompareDir::Ge, amount, zero);
        b.binary(BinOp::And, below, not_negative)
    };
    let safe = b.select(inside, amount, zero);
    match (op, dtype) {
        (BinOp::ShrArithmetic, _) => {
            // Bits of unsigned types count as signed ones here; a narrow unsigned value is sign-extended first.
            let register_width = if ty.is_wide() { 64 } else { 32 };
            let spare = b.const_i64(ty, lanes, register_width - width);
            let signed = b.binary(BinOp::Shl, x, spare);
            let signed = b.binary(BinOp::ShrArithmetic, signed, spare);
            let last = b.const_i64(ty, lanes, width - 1);
            let amount = b.select(inside, amount, last);
            b.binary(BinOp::ShrArithmetic, signed, amount)
        }
        (BinOp::ShrLogical, DType::I8 | DType::I16) => {
            let mask = b.const_i64(ty, lanes, (1 << width) - 1);
            let bits = b.binary(BinOp::And, x, mask);
            let shifted = b.binary(op, bits, safe);
            b.select(inside, shifted, zero)
        }
        _ => {
            let shifted = b.binary(op, x, safe);
            b.select(inside, shifted, zero)
        }
    }
}

/// Integer power by squaring.
fn int_power(b: &mut KernelBuilder, base: Reg, exponent: Reg) -> Reg {
    let RegType { ty, lanes } = b.reg_type(base);
    let bits = match ty {
        Ty::I64 => 63,
        Ty::U64 => 64,
        _ => 32,
    };
    let (zero, one) = (b.const_i64(ty, lanes, 0), b.const_i64(ty, lanes, 1));
    let (mut power, mut square, mut rest) = (one, base, exponent);
    for _ in 0..bits {
        let low = b.binary(BinOp::And, rest, one);
        let odd = b.compare(CompareDir::Ne, low, zero);
        let product = b.mul(power, square);
        power = b.select(odd, product, power);
        square = b.mul(square, square);
        rest = b.binary(BinOp::ShrLogical, rest, one);
    }
    if !ty.is_signed_int() {
        return power;
    }
    // A negative exponent: 1 stays, -1 alternates, all else gives 0.
    let minus_one = b.const_i64(ty, lanes, -1);
    let low = b.binary(BinOp::And, exponent, one);
    let odd = b.compare(CompareDir::Ne, low, zero);
    let alternating = b.select(odd, minus_one, one);
    let is_one = b.compare(CompareDir::Eq, base, one);
    let is_minus_one = b.compare(CompareDir::Eq, base, minus_one);
    let inverse = b.select(is_minus_one, alternating, zero);
    let inverse = b.select(is_one, one, inverse);
    let negative = b.compare(CompareDir::Lt, exponent, zero);
    b.select(negative, inverse, power)
}

/// `convert` on registers.
pub(super) fn convert(b: &mut KernelBuilder, x: Reg, from: DType, to: DType) -> Reg {
    let RegType { ty, lanes } = b.reg_type(x);
    let target = Ty::of(to);
    if from == to {
        return x;
    }
    match to {
        DType::F16 | DType::BF16 => {
            // Rounding to f32 first must not decide a tie of the narrow type.
            let single = match ty {
                Ty::F64 => round_to_odd(b, x),
                Ty::I64 | Ty::U64 => {
                    let sticky = sticky_double(b, x);
                    round_to_odd(b, sticky)
                }
                Ty::I32 | Ty::U32 => {
                    let double = b.cast(Ty::F64, x);
                    round_to_odd(b, double)
                }
                Ty::Bool | Ty::F32 => b.cast(Ty::F32, x),
            };
            b.narrow(to, single)
        }
        DType::U8 | DType::I8 | DType::U16 | DType::I16 if ty.is_float() => {
            let (low, high) = int_range(to);
            let wide = b.cast(target, x);
            let (low, high) = (b.const_i64(target, lanes, low), b.const_i64(target, lanes, high));
            let raised = b.binary(BinOp::Max, wide, low);
            b.binary(BinOp::Min, raised, high)
        }
        _ => {
            let cast = b.cast(target, x);
            b.narrow(to, cast)
        }
    }
}

/// A double as the single whose last bit says whether anything was cut off, unless it says so already: rounding that
/// to a half rounds the double once (Boldo and Melquiond, 2008).
fn round_to_odd(b: &mut KernelBuilder, x: Reg) -> Reg {
    let lanes = b.reg_type(x).lanes;
    let nearest = b.cast(Ty::F32, x);
    let back = b.cast(Ty::F64, nearest);
    let bits = b.bitcast(Ty::U32, nearest);
    let (zero, one) = (b.const_i64(Ty::U32, lanes, 0), b.const_i64(Ty::U32, lanes, 1));
    let (down, up) = (b.sub(bits, one), b.add(bits, one));
    let (magnitude, rounded) = (b.unary(UnOp::Abs, x), b.unary(UnOp::Abs, back));
    let too_large = b.compare(CompareDir::Gt, rounded, magnitude);
    let neighbor = b.select(too_large, down, up);
    let low = b.binary(BinOp::And, bits, one);
    let even = b.compare(CompareDir::Eq, low, zero);
    // Not for NaN, and not for infinity: `Lt` and `Ne` below decide.
    let infinity = b.const_f64(Ty::F64, lanes, f64::INFINITY);
    let finite = b.compare(CompareDir::Lt, rounded, infinity);
    let inexact = b.compare(CompareDir::Ne, back, x);
    let adjust = b.binary(BinOp::And, even, finite);
    let adjust = b.binary(BinOp::And, adjust, inexact);
    let bits = b.select(adjust, neighbor, bits);
    b.bitcast(Ty::F32, bits)
}

/// A 64-bit integer as a double that a half rounds from alike: beyond 2^53 the lower word is folded into one bit.
fn sticky_double(b: &mut KernelBuilder, x: Reg) -> Reg {
    let RegType { ty, lanes } = b.reg_type(x);
    let low_mask = b.const_i64(ty, lanes, 0xffff_ffff);
    let high_mask = b.const_i64(ty, lanes, !0xffff_ffff);
    let (zero, unit) = (b.const_i64(ty, lanes, 0), b.const_i64(ty, lanes, 1 << 32));
    let low = b.binary(BinOp::And, x, low_mask);
    let high = b.binary(BinOp::And, x, high_mask);
    let some = b.compare(CompareDir::Ne, low, zero);
    let bit = b.select(some, unit, zero);
    let folded = b.binary(BinOp::Or, high, bit);
    let most = b.const_i64(ty, lanes, 1 << 53);
    let mut exact = b.compare(CompareDir::Lt, x, most);
    if ty.is_signed_int() {
        let least = b.const_i64(ty, lanes, -(1 << 53));
        let above = b.compare(CompareDir::Gt, x, least);
        exact = b.binary(BinOp::And, above, exact);
    }
    let value = b.select(exact, x, folded);
    b.cast(Ty::F64, value)
}

/// `bitcast_convert` on registers.
fn bitcast(b: &mut KernelBuilder, x: Reg, from: DType, to: DType) -> Result<Reg, String> {
    let target = Ty::of(to);
    match (from, to) {
        _ if from == to => Ok(x),
        (DType::F16 | DType::BF16, _) => {
            let bits = half_bits(b, from, x);
            bitcast(b, bits, DType::U16, to)
        }
        (_, DType::F16 | DType::BF16) => {
            let bits = bitcast(b, x, from, DType::U16)?;
            Ok(half_of_bits(b, to, bits))
        }
        _ if b.reg_type(x).ty == target => Ok(b.narrow(to, x)),
        _ => {
            let bits = b.bitcast(target, x);
            Ok(b.narrow(to, bits))
        }
    }
}

/// The bits of a half-precision value, which the register holds as `f32`. A NaN that was signaling is quiet.
fn half_bits(b: &mut KernelBuilder, dtype: DType, x: Reg) -> Reg {
    let lanes = b.reg_type(x).lanes;
    let word = |b: &mut KernelBuilder, value: i64| b.const_i64(Ty::U32, lanes, value);
    let bits = b.bitcast(Ty::U32, x);
    let (upper, sixteen) = (word(b, 0x8000), word(b, 16));
    let upper_half = b.binary(BinOp::ShrLogical, bits, sixteen);
    if dtype == DType::BF16 {
        return upper_half;
    }
    let sign = b.binary(BinOp::And, upper_half, upper);
    let mask = word(b, 0x7fff_ffff);
    let magnitude = b.binary(BinOp::And, bits, mask);
    let (bias, cut) = (word(b, 112 << 23), word(b, F32_MORE_BITS));
    let rebiased = b.sub(magnitude, bias);
    let normal = b.binary(BinOp::ShrLogical, rebiased, cut);
    // A denormal is a whole number of its last places.
    let (absolute, scale) = (b.unary(UnOp::Abs, x), b.const_f64(Ty::F32, lanes, 2f64.powi(24)));
    let places = b.mul(absolute, scale);
    let denormal = b.cast(Ty::U32, places);
    let (least_normal, infinity) = (word(b, 113 << 23), word(b, 0x7f80_0000));
    let is_denormal = b.compare(CompareDir::Lt, magnitude, least_normal);
    let finite = b.select(is_denormal, denormal, normal);
    let shifted = b.binary(BinOp::ShrLogical, magnitude, cut);
    let (payload, exponent) = (word(b, 0x3ff), word(b, 0x7c00));
    let special = b.binary(BinOp::And, shifted, payload);
    let special = b.binary(BinOp::Or, special, exponent);
    let is_special = b.compare(CompareDir::Ge, magnitude, infinity);
    let unsigned = b.select(is_special, special, finite);
    b.binary(BinOp::Or, unsigned, sign)
}

/// The half-precision value of the bits in a `u32` register, as `f32`.
fn half_of_bits(b: &mut KernelBuilder, dtype: DType, bits: Reg) -> Reg {
    let lanes = b.reg_type(bits).lanes;
    let word = |b: &mut KernelBuilder, value: i64| b.const_i64(Ty::U32, lanes, value);
    let sixteen = word(b, 16);
    if dtype == DType::BF16 {
        let wide = b.binary(BinOp::Shl, bits, sixteen);
        return b.bitcast(Ty::F32, wide);
    }
    let (sign_mask, mask) = (word(b, 0x8000), word(b, 0x7fff));
    let sign = b.binary(BinOp::And, bits, sign_mask);
    let sign = b.binary(BinOp::Shl, sign, sixteen);
    let magnitude = b.binary(BinOp::And, bits, mask);
    let (more, bias) = (word(b, F32_MORE_BITS), word(b, 112 << 23));
    let placed = b.binary(BinOp::Shl, magnitude, more);
    let normal = b.add(placed, bias);
    // A denormal is a whole number of its last places.
    let (places, scale) = (b.cast(Ty::F32, magnitude), b.const_f64(Ty::F32, lanes, 2f64.powi(-24)));
    let denormal = b.mul(places, scale);
    let denormal = b.bitcast(Ty::U32, denormal);
    let (least_normal, infinity) = (word(b, 0x400), word(b, 0x7c00));
    let is_denormal = b.compare(CompareDir::Lt, magnitude, least_normal);
    let finite = b.select(is_denormal, denormal, normal);
    let exponent = word(b, 0x7f80_0000);
    let special = b.binary(BinOp::Or, placed, exponent);
    let is_special = b.compare(CompareDir::Ge, magnitude, infinity);
    let unsigned = b.select(is_special, special, finite);
    let signed = b.binary(BinOp::Or, unsigned, sign);
    b.bitcast(Ty::F32, signed)
}

/// Bits of the fraction that `f32` has and `f16` has not.
const F32_MORE_BITS: i64 = 13;

/// Least and largest value of an integer type (or `bool`) of less than 64 bits, in 64 bits otherwise: those of `u64`
/// wrap.
fn int_range(dtype: DType) -> (i64, i64) {
    let width = 8 * dtype.size();
    match dtype {
        DType::Bool => (0, 1),
        DType::I64 => (i64::MIN, i64::MAX),
        DType::U64 => (0, -1),
        _ if dtype.is_signed() => (-1 << (width - 1), (1 << (width - 1)) - 1),
        _ => (0, (1 << width) - 1),
    }
}

/// The identity of a fold, in every lane.
pub(super) fn identity(b: &mut KernelBuilder, op: BinOp, dtype: DType, ty: Ty, lanes: u16) -> Reg {
    match op {
        BinOp::Add | BinOp::Or => b.const_i64(ty, lanes, 0),
        BinOp::Mul => b.const_i64(ty, lanes, 1),
        BinOp::And => b.const_i64(ty, lanes, 1),
        BinOp::Max if ty.is_float() => b.const_f64(ty, lanes, f64::NEG_INFINITY),
        BinOp::Min if ty.is_float() => b.const_f64(ty, lanes, f64::INFINITY),
        BinOp::Max => b.const_i64(ty, lanes, int_range(dtype).0),
        BinOp::Min => b.const_i64(ty, lanes, int_range(dtype).1),
        _ => unreachable!("{op:?} is no fold"),
    }
}

/// A mask of the first `active` lanes.
pub(super) fn lane_mask(b: &mut KernelBuilder, lanes: u16, active: u16) -> Reg {
    b.inst(Ty::Bool, lanes, Inst::LaneMask { active })
}
