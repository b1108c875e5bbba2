//! Rules on elementwise ops. Constants stand on the right.

use nnc_ir::ops::CompareDir;
use nnc_ir::{DType, Op, Scalar, Value};

use super::Outcome::{Node, Value as Is};
use super::{Outcome, Site, rule_table};

rule_table! {
    add_identity: "x + -0.0 -> x; on integers x + 0 -> x";
    subtract_identity: "x - 0 -> x";
    multiply_identity: "x * 1 -> x";
    multiply_zero: "x * 0 -> 0, on integers only: a float may be NaN, infinite or negative";
    divide_identity: "x / 1 -> x";
    divide_by_power_of_two: "x / c -> x * (1 / c), where c is a power of two";
    power_small_integer: "x ^ 1 -> x, x ^ 2 -> x * x, x ^ 0 -> 1; squares are rounded once, power within its bound";
    negate_negate: "--x -> x";
    not_not: "!!x -> x";
    abs_of_sign_change: "| -x | -> |x|, | |x| | -> |x|";
    add_negate: "x + -y -> x - y, -x + y -> y - x";
    subtract_negate: "x - -y -> x + y";
    negative_zero_minus: "-0.0 - x -> -x; on integers 0 - x -> -x";
    multiply_negates: "-x * -y -> x * y, -x * c -> x * -c; likewise for divide";
    subtract_self: "x - x -> 0, on integers only";
    bitwise_self: "x & x -> x, x | x -> x, x ^ x -> 0";
    bitwise_constant: "x & 0 -> 0, x & ~0 -> x, x | 0 -> x, x | ~0 -> ~0, x ^ 0 -> x";
    shift_by_zero: "x << 0 -> x, x >> 0 -> x";
    extremum_self: "maximum(x, x) -> x, maximum(maximum(x, y), y) -> maximum(x, y); likewise for minimum";
    select_constant: "select(true, x, y) -> x, select(false, x, y) -> y";
    select_same: "select(p, x, x) -> x";
    select_not: "select(!p, x, y) -> select(p, y, x)";
    select_bool: "select(p, true, false) -> p";
    not_compare: "!(x == y) -> x != y and back; on integers every direction";
    convert_identity: "convert to the same type -> x";
    convert_convert: "convert(convert(x)) -> convert(x), where the first conversion loses nothing";
    bitcast_bitcast: "bitcast(bitcast(x)) -> bitcast(x) or x";
}

fn add_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Add, &[x, zero]) = (op, operands) else { return None };
    let identity = if site.ty.dtype.is_float() { -0.0 } else { 0.0 };
    site.is_splat(zero, identity).then_some(Is(x))
}

fn subtract_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Subtract, &[x, zero]) = (op, operands) else { return None };
    site.is_splat(zero, 0.0).then_some(Is(x))
}

fn multiply_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Multiply, &[x, one]) = (op, operands) else { return None };
    site.is_splat(one, 1.0).then_some(Is(x))
}

fn multiply_zero(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Multiply, &[_, zero]) = (op, operands) else { return None };
    (site.ty.dtype.is_int() && site.is_splat(zero, 0.0)).then_some(Is(zero))
}

fn divide_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Divide, &[x, one]) = (op, operands) else { return None };
    site.is_splat(one, 1.0).then_some(Is(x))
}

fn divide_by_power_of_two(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Divide, &[x, divisor]) = (op, operands) else { return None };
    let scalar = site.splat(divisor)?;
    let number = scalar.to_f64();
    // Both sides round the same real number once. The bounds keep 1 / c normal in every float type.
    let is_power = number.is_normal() && number.to_bits() & ((1 << 52) - 1) == 0;
    if !scalar.dtype.is_float() || !is_power || !(2f64.powi(-14)..=2f64.powi(14)).contains(&number.abs()) {
        return None;
    }
    let ty = site.ty(divisor).clone();
    let reciprocal = site.constant(ty, Scalar::from_f64(scalar.dtype, 1.0 / number));
    Some(Node(Op::Multiply, vec![x, reciprocal]))
}

fn power_small_integer(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Power, &[x, exponent]) = (op, operands) else { return None };
    match site.splat(exponent)?.to_f64() {
        1.0 => Some(Is(x)),
        2.0 => Some(Node(Op::Multiply, vec![x, x])),
        0.0 => Some(site.splat_result(1.0)),
        _ => None,
    }
}

fn negate_negate(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Negate, &[negated]) = (op, operands) else { return None };
    site.operand_of(negated, &Op::Negate).map(Is)
}

fn not_not(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Not, &[inverted]) = (op, operands) else { return None };
    site.operand_of(inverted, &Op::Not).map(Is)
}

fn abs_of_sign_change(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Abs, &[x]) = (op, operands) else { return None };
    let inner = site.operand_of(x, &Op::Negate).or_else(|| site.operand_of(x, &Op::Abs))?;
    Some(Node(Op::Abs, vec![inner]))
}

fn add_negate(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Add, &[lhs, rhs]) = (op, operands) else { return None };
    match (site.operand_of(lhs, &Op::Negate), site.operand_of(rhs, &Op::Negate)) {
        (_, Some(inner)) => Some(Node(Op::Subtract, vec![lhs, inner])),
        (Some(inner), None) => Some(Node(Op::Subtract, vec![rhs, inner])),
        (None, None) => None,
    }
}

fn subtract_negate(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Subtract, &[x, negated]) = (op, operands) else { return None };
    let y = site.operand_of(negated, &Op::Negate)?;
    Some(Node(Op::Add, vec![x, y]))
}

fn negative_zero_minus(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Subtract, &[zero, x]) = (op, operands) else { return None };
    let identity = if site.ty.dtype.is_float() { -0.0 } else { 0.0 };
    (site.ty.dtype.is_signed() && site.is_splat(zero, identity)).then(|| Node(Op::Negate, vec![x]))
}

fn multiply_negates(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Multiply | Op::Divide, &[lhs, rhs]) = (op, operands) else { return None };
    // Division of the smallest integer by -1 wraps; signs are moved for floats only.
    if !site.ty.dtype.is_float() {
        return None;
    }
    let x = site.operand_of(lhs, &Op::Negate)?;
    if let Some(y) = site.operand_of(rhs, &Op::Negate) {
        return Some(Node(op.clone(), vec![x, y]));
    }
    let scalar = site.splat(rhs)?;
    let ty = site.ty(rhs).clone();
    let negated = site.constant(ty, Scalar::from_f64(scalar.dtype, -scalar.to_f64()));
    Some(Node(op.clone(), vec![x, negated]))
}

fn subtract_self(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Subtract, &[lhs, rhs]) = (op, operands) else { return None };
    (lhs == rhs && site.ty.dtype.is_int()).then(|| site.splat_result(0.0))
}

fn bitwise_self(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    match (op, operands) {
        (Op::And | Op::Or, &[lhs, rhs]) if lhs == rhs => Some(Is(lhs)),
        (Op::Xor, &[lhs, rhs]) if lhs == rhs => Some(site.splat_result(0.0)),
        _ => None,
    }
}

fn bitwise_constant(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::And | Op::Or | Op::Xor, &[x, constant]) = (op, operands) else { return None };
    let scalar = site.splat(constant)?;
    let ones = match scalar.dtype {
        DType::Bool => 1,
        dtype => u64::MAX >> (64 - 8 * dtype.size()),
    };
    match (op, scalar.bits) {
        (Op::And, 0) => Some(Is(constant)),
        (Op::Or, bits) if bits == ones => Some(Is(constant)),
        (Op::And, bits) if bits == ones => Some(Is(x)),
        (Op::Or | Op::Xor, 0) => Some(Is(x)),
        _ => None,
    }
}

fn shift_by_zero(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::ShiftLeft | Op::ShiftRightLogical | Op::ShiftRightArithmetic, &[x, amount]) = (op, operands) else {
        return None;
    };
    site.is_splat(amount, 0.0).then_some(Is(x))
}

fn extremum_self(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Maximum | Op::Minimum, &[lhs, rhs]) = (op, operands) else { return None };
    let inner = site.graph.def(lhs);
    let again = inner.op == *op && inner.operands[1] == rhs;
    // A NaN on the right comes out either way; of equal values the left one, itself, is kept.
    (lhs == rhs || again).then_some(Is(lhs))
}

fn select_constant(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Select, &[pred, on_true, on_false]) = (op, operands) else { return None };
    let scalar = site.splat(pred)?;
    Some(Is(if scalar.bits != 0 { on_true } else { on_false }))
}

fn select_same(_: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Select, &[_, on_true, on_false]) = (op, operands) else { return None };
    (on_true == on_false).then_some(Is(on_true))
}

fn select_not(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Select, &[pred, on_true, on_false]) = (op, operands) else { return None };
    let inner = site.operand_of(pred, &Op::Not)?;
    Some(Node(Op::Select, vec![inner, on_false, on_true]))
}

fn select_bool(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Select, &[pred, on_true, on_false]) = (op, operands) else { return None };
    (site.ty.dtype == DType::Bool && site.is_splat(on_true, 1.0) && site.is_splat(on_false, 0.0)).then_some(Is(pred))
}

fn not_compare(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Not, &[compared]) = (op, operands) else { return None };
    let (Op::Compare(dir), inner) = site.def(compared) else { return None };
    let opposite = match dir {
        CompareDir::Eq => CompareDir::Ne,
        CompareDir::Ne => CompareDir::Eq,
        // With NaN both `x < y` and `x >= y` are false.
        _ if site.dtype(inner[0]).is_float() => return None,
        CompareDir::Lt => CompareDir::Ge,
        CompareDir::Le => CompareDir::Gt,
        CompareDir::Gt => CompareDir::Le,
        CompareDir::Ge => CompareDir::Lt,
    };
    Some(Node(Op::Compare(opposite), inner))
}

fn convert_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Convert(dtype) | Op::BitcastConvert(dtype), &[x]) = (op, operands) else { return None };
    (site.dtype(x) == *dtype).then_some(Is(x))
}

fn convert_convert(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (&Op::Convert(to), &[converted]) = (op, operands) else { return None };
    let (Op::Convert(through), inner) = site.def(converted) else { return None };
    let from = site.dtype(inner[0]);
    // Floats saturate on their way to integers where integers wrap.
    let saturates = from.is_int() && through.is_float() && to.is_int();
    (is_lossless(from, through) && !saturates).then_some(Node(Op::Convert(to), inner))
}

/// Whether every value of `from` is a value of `to`.
fn is_lossless(from: DType, to: DType) -> bool {
    use DType::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    // Signed integers do not fit unsigned ones, unsigned integers fit wider signed ones.
    match from {
        Bool => true,
        U8 => !matches!(to, Bool | I8),
        I8 => !matches!(to, Bool | U8 | U16 | U32 | U64),
        U16 => matches!(to, U16 | I32 | U32 | I64 | U64 | F32 | F64),
        I16 => matches!(to, I16 | I32 | I64 | F32 | F64),
        U32 => matches!(to, U32 | I64 | U64 | F64),
        I32 => matches!(to, I32 | I64 | F64),
        F16 | BF16 => from == to || matches!(to, F32 | F64),
        F32 => matches!(to, F32 | F64),
        I64 | U64 | F64 => from == to,
    }
}

fn bitcast_bitcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::BitcastConvert(dtype), &[cast]) = (op, operands) else { return None };
    let (Op::BitcastConvert(_), inner) = site.def(cast) else { return None };
    Some(Node(Op::BitcastConvert(*dtype), inner))
}
