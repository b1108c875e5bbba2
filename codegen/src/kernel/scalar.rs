//! What each operation does to one lane: the definition the emitters are held to.
//!
//! Lanes are words whose low bits hold the element of a register type, the rest 0.

use half::{bf16, f16};
use nnc_ir::DType;
use nnc_ir::ops::CompareDir;

use super::{BinOp, Ty, UnOp};

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn of_f32(value: f32) -> u64 {
    u64::from(value.to_bits())
}

/// One lane of [`UnOp`].
pub fn unary(op: UnOp, ty: Ty, x: u64) -> u64 {
    match (op, ty) {
        (UnOp::Neg, Ty::F32) => of_f32(-f32_of(x)),
        (UnOp::Neg, Ty::F64) => (-f64::from_bits(x)).to_bits(),
        (UnOp::Neg, Ty::I64 | Ty::U64) => x.wrapping_neg(),
        (UnOp::Neg, _) => u64::from((x as u32).wrapping_neg()),
        (UnOp::Abs, Ty::F32) => of_f32(f32_of(x).abs()),
        (UnOp::Abs, Ty::F64) => f64::from_bits(x).abs().to_bits(),
        (UnOp::Abs, Ty::I32) => u64::from((x as u32 as i32).wrapping_abs() as u32),
        (UnOp::Abs, Ty::I64) => (x as i64).wrapping_abs() as u64,
        (UnOp::Abs, _) => x,
        (UnOp::Not, Ty::Bool) => x ^ 1,
        (UnOp::Not, Ty::I64 | Ty::U64 | Ty::F64) => !x,
        (UnOp::Not, _) => u64::from(!(x as u32)),
        (UnOp::Sqrt, Ty::F32) => of_f32(f32_of(x).sqrt()),
        (UnOp::Floor, Ty::F32) => of_f32(f32_of(x).floor()),
        (UnOp::Ceil, Ty::F32) => of_f32(f32_of(x).ceil()),
        (UnOp::RoundEven, Ty::F32) => of_f32(f32_of(x).round_ties_even()),
        (UnOp::Sqrt, _) => f64::from_bits(x).sqrt().to_bits(),
        (UnOp::Floor, _) => f64::from_bits(x).floor().to_bits(),
        (UnOp::Ceil, _) => f64::from_bits(x).ceil().to_bits(),
        (UnOp::RoundEven, _) => f64::from_bits(x).round_ties_even().to_bits(),
    }
}

/// One lane of [`BinOp`].
pub fn binary(op: BinOp, ty: Ty, lhs: u64, rhs: u64) -> u64 {
    match ty {
        Ty::F32 => of_f32(float_binary(op, f32_of(lhs), f32_of(rhs))),
        Ty::F64 => float_binary(op, f64::from_bits(lhs), f64::from_bits(rhs)).to_bits(),
        Ty::I32 | Ty::U32 => u64::from(int_binary(op, integer(ty, lhs), integer(ty, rhs), 32) as u32),
        Ty::I64 | Ty::U64 => int_binary(op, integer(ty, lhs), integer(ty, rhs), 64) as u64,
        Ty::Bool => int_binary(op, integer(ty, lhs), integer(ty, rhs), 32) as u64 & 1,
    }
}

fn float_binary<T>(op: BinOp, lhs: T, rhs: T) -> T
where
    T: Copy
        + PartialOrd
        + std::ops::Add<Output = T>
        + std::ops::Sub<Output = T>
        + std::ops::Mul<Output = T>
        + std::ops::Div<Output = T>
        + std::ops::Rem<Output = T>,
{
    // A value is NaN exactly if it is unordered with itself.
    let is_nan = |value: T| value.partial_cmp(&value).is_none();
    match op {
        BinOp::Add => lhs + rhs,
        BinOp::Sub => lhs - rhs,
        BinOp::Mul => lhs * rhs,
        BinOp::Div => lhs / rhs,
        BinOp::Rem => lhs % rhs,
        BinOp::Max if rhs > lhs || is_nan(rhs) => rhs,
        BinOp::Min if rhs < lhs || is_nan(rhs) => rhs,
        BinOp::Max | BinOp::Min => lhs,
        BinOp::And | BinOp::Or | BinOp::Xor | BinOp::Shl | BinOp::ShrLogical | BinOp::ShrArithmetic => {
            unreachable!("the verifier refuses {} on floats", op.name())
        }
    }
}

/// The value of a lane of integers or truth values, in a type that holds all of them.
fn integer(ty: Ty, x: u64) -> i128 {
    match ty {
        Ty::I32 => (x as u32 as i32).into(),
        Ty::I64 => (x as i64).into(),
        Ty::U32 | Ty::U64 | Ty::Bool => x.into(),
        Ty::F32 | Ty::F64 => unreachable!("{} is no type of integers", ty.name()),
    }
}

/// Operands are extended by their own sign; the caller truncates to `width` bits.
fn int_binary(op: BinOp, lhs: i128, rhs: i128, width: u32) -> i128 {
    // Shifts count modulo the width, and fill with zeros or copies of the highest bit whatever the sign.
    let amount = rhs as u32 % width;
    let spare = 128 - width;
    match op {
        BinOp::Add => lhs.wrapping_add(rhs),
        BinOp::Sub => lhs.wrapping_sub(rhs),
        BinOp::Mul => lhs.wrapping_mul(rhs),
        // A zero divisor is the lowering's fault; all bits set and the dividend keep the interpreter total.
        BinOp::Div if rhs == 0 => -1,
        BinOp::Rem if rhs == 0 => lhs,
        BinOp::Div => lhs.wrapping_div(rhs),
        BinOp::Rem => lhs.wrapping_rem(rhs),
        BinOp::Max => lhs.max(rhs),
        BinOp::Min => lhs.min(rhs),
        BinOp::And => lhs & rhs,
        BinOp::Or => lhs | rhs,
        BinOp::Xor => lhs ^ rhs,
        BinOp::Shl => lhs << amount,
        BinOp::ShrLogical => ((lhs << spare) as u128 >> spare >> amount) as i128,
        BinOp::ShrArithmetic => lhs << spare >> spare >> amount,
    }
}

/// One lane of `a * b + c` with one rounding.
pub fn fma(ty: Ty, a: u64, b: u64, c: u64) -> u64 {
    match ty {
        Ty::F32 => of_f32(f32_of(a).mul_add(f32_of(b), f32_of(c))),
        _ => f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c)).to_bits(),
    }
}

/// One lane of a comparison.
pub fn compare(dir: CompareDir, ty: Ty, lhs: u64, rhs: u64) -> bool {
    let order = match ty {
        Ty::F32 => f32_of(lhs).partial_cmp(&f32_of(rhs)),
        Ty::F64 => f64::from_bits(lhs).partial_cmp(&f64::from_bits(rhs)),
        Ty::I32 => Some((lhs as u32 as i32).cmp(&(rhs as u32 as i32))),
        Ty::I64 => Some((lhs as i64).cmp(&(rhs as i64))),
        Ty::U32 | Ty::U64 | Ty::Bool => Some(lhs.cmp(&rhs)),
    };
    match dir {
        CompareDir::Eq => order.is_some_and(|order| order.is_eq()),
        CompareDir::Ne => order.is_none_or(|order| order.is_ne()),
        CompareDir::Lt => order.is_some_and(|order| order.is_lt()),
        CompareDir::Le => order.is_some_and(|order| order.is_le()),
        CompareDir::Gt => order.is_some_and(|order| order.is_gt()),
        CompareDir::Ge => order.is_some_and(|order| order.is_ge()),
    }
}

/// One lane of a conversion between register types.
pub fn cast(to: Ty, from: Ty, x: u64) -> u64 {
    match from {
        Ty::F32 => cast_float(to, f64::from(f32_of(x)), of_f32(f32_of(x))),
        Ty::F64 => cast_float(to, f64::from_bits(x), of_f32(f64::from_bits(x) as f32)),
        Ty::I32 | Ty::U32 | Ty::I64 | Ty::U64 | Ty::Bool => cast_int(to, integer(from, x)),
    }
}

/// `value` holds the source exactly; `single` is it rounded to `f32`.
fn cast_float(to: Ty, value: f64, single: u64) -> u64 {
    match to {
        Ty::Bool => u64::from(value != 0.0),
        Ty::I32 => u64::from(value as i32 as u32),
        Ty::U32 => u64::from(value as u32),
        Ty::I64 => value as i64 as u64,
        Ty::U64 => value as u64,
        Ty::F32 => single,
        Ty::F64 => value.to_bits(),
    }
}

fn cast_int(to: Ty, value: i128) -> u64 {
    match to {
        Ty::Bool => u64::from(value != 0),
        Ty::I32 | Ty::U32 => u64::from(value as u32),
        Ty::I64 | Ty::U64 => value as u64,
        Ty::F32 => of_f32(value as f32),
        Ty::F64 => (value as f64).to_bits(),
    }
}

/// Rounds a lane to the values of a narrow memory type and widens it again.
pub fn narrow(dtype: DType, x: u64) -> u64 {
    match dtype {
        DType::U8 => u64::from(x as u8),
        DType::I8 => u64::from(i32::from(x as i8) as u32),
        DType::U16 => u64::from(x as u16),
        DType::I16 => u64::from(i32::from(x as i16) as u32),
        DType::F16 => of_f32(f16::from_f32(f32_of(x)).to_f32()),
        DType::BF16 => of_f32(bf16::from_f32(f32_of(x)).to_f32()),
        DType::Bool | DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => x,
    }
}

/// Reads an element of `dtype` from memory into its register type.
///
/// # Panics
/// If `bytes` is shorter than the element.
pub fn load(dtype: DType, bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..dtype.size()].copy_from_slice(&bytes[..dtype.size()]);
    let bits = u64::from_le_bytes(word);
    match dtype {
        DType::I8 => u64::from(i32::from(bits as i8) as u32),
        DType::I16 => u64::from(i32::from(bits as i16) as u32),
        DType::F16 => of_f32(f16::from_bits(bits as u16).to_f32()),
        DType::BF16 => of_f32(bf16::from_bits(bits as u16).to_f32()),
        DType::Bool
        | DType::U8
        | DType::U16
        | DType::I32
        | DType::U32
        | DType::I64
        | DType::U64
        | DType::F32
        | DType::F64 => bits,
    }
}

/// Writes a lane of the register type of `dtype` to memory.
///
/// # Panics
/// If `bytes` is shorter than the element.
pub fn store(dtype: DType, x: u64, bytes: &mut [u8]) {
    let bits = match dtype {
        DType::F16 => u64::from(f16::from_f32(f32_of(x)).to_bits()),
        DType::BF16 => u64::from(bf16::from_f32(f32_of(x)).to_bits()),
        _ => x,
    };
    bytes[..dtype.size()].copy_from_slice(&bits.to_le_bytes()[..dtype.size()]);
}
