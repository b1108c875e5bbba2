//! Elementwise ops: values, edge cases of every element type.

use super::*;
use crate::ops::CompareDir;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// Checks a unary op in every float type; the expected values are rounded to the type.
#[track_caller]
fn check_unary(op: &Op, inputs: &[f64], expected: &[f64]) {
    for dtype in [DType::F32, DType::F64] {
        let shape = [inputs.len()];
        let operand = floats(dtype, &shape, inputs);
        // The decimal inputs differ from the exact values by half a unit, which the reference forgives.
        assert_close(&floats(dtype, &shape, expected), &value(op, &[&operand]), Allowance::ulps(1));
    }
}

#[test]
fn transcendental_ops_give_known_values() {
    check_unary(&Op::Exponential, &[0.0, -0.0, 1.0, -INF, INF, NAN], &[1.0, 1.0, std::f64::consts::E, 0.0, INF, NAN]);
    check_unary(&Op::ExponentialMinusOne, &[-0.0, 1e-30, -INF, INF], &[-0.0, 1e-30, -1.0, INF]);
    check_unary(&Op::Log, &[1.0, 0.0, -0.0, -1.0, INF, 10.0], &[0.0, -INF, -INF, NAN, INF, std::f64::consts::LN_10]);
    check_unary(&Op::LogPlusOne, &[-0.0, 1e-30, -1.0, -2.0, INF], &[-0.0, 1e-30, -INF, NAN, INF]);
    check_unary(&Op::Tanh, &[-0.0, 1.0, 50.0, -INF, NAN], &[-0.0, 0.761_594_155_955_764_9, 1.0, -1.0, NAN]);
    check_unary(&Op::Logistic, &[0.0, 1.0, 800.0, INF, -INF], &[0.5, 0.731_058_578_630_004_9, 1.0, 1.0, 0.0]);
    check_unary(
        &Op::Erf,
        &[-0.0, 0.5, -1.0, 9.0, INF],
        &[-0.0, 0.520_499_877_813_046_5, -0.842_700_792_949_714_9, 1.0, 1.0],
    );
    check_unary(&Op::Sine, &[-0.0, 1.0, INF], &[-0.0, 0.841_470_984_807_896_5, NAN]);
    check_unary(&Op::Cosine, &[0.0, 1.0, -INF], &[1.0, 0.540_302_305_868_139_7, NAN]);
    check_unary(&Op::Tan, &[-0.0, 1.0, INF], &[-0.0, 1.557_407_724_654_902_2, NAN]);
    // The form that cannot overflow reaches into the denormals of f64.
    let small = value(&Op::Logistic, &[&floats(DType::F64, &[1], &[-720.0])]).get(0).to_f64();
    assert!((small / 2.0e-313 - 1.0).abs() < 0.02, "{small:e}");
}

#[test]
fn large_arguments_are_reduced_exactly() {
    // sin(2^22) to f32; a reduction modulo a rounded pi would have no digit right at 1e22.
    check_unary(&Op::Sine, &[4_194_304.0], &[0.975_129_394_941_707]);
    let sine = value(&Op::Sine, &[&floats(DType::F64, &[1], &[1e22])]);
    assert_close(&floats(DType::F64, &[1], &[-0.852_200_849_767_188_8]), &sine, Allowance::ulps(1));
}

#[test]
fn roots_are_rounded_as_documented() {
    check_unary(&Op::Sqrt, &[4.0, 2.0, -0.0, -1.0, INF], &[2.0, std::f64::consts::SQRT_2, -0.0, NAN, INF]);
    check_unary(&Op::Rsqrt, &[4.0, 0.0, -0.0, -1.0, INF], &[0.5, INF, -INF, NAN, 0.0]);
    // Two roundings, where one of the exact value would give the neighbor.
    for idx in 1..2000 {
        let x = idx as f32;
        let expected = TensorData::from_f32(vec![], &[1.0 / x.sqrt()]);
        check(&Op::Rsqrt, &[&TensorData::from_f32(vec![], &[x])], &expected);
    }
}

#[test]
fn simple_float_ops_are_exact() {
    check_unary(&Op::Negate, &[1.0, 0.0, -0.0, INF, NAN], &[-1.0, -0.0, 0.0, -INF, NAN]);
    check_unary(&Op::Abs, &[-1.5, -0.0, -INF, NAN], &[1.5, 0.0, INF, NAN]);
    check_unary(&Op::Sign, &[-2.5, 1e-40, 0.0, -0.0, INF, NAN], &[-1.0, 1.0, 0.0, -0.0, 1.0, NAN]);
    check_unary(&Op::Floor, &[-0.5, 1.5, -0.0, -INF, NAN], &[-1.0, 1.0, -0.0, -INF, NAN]);
    check_unary(&Op::Ceil, &[-0.5, 1.5, 0.0, INF], &[-0.0, 2.0, 0.0, INF]);
    check_unary(&Op::RoundNearestEven, &[0.5, 1.5, -0.5, -2.5, 2.51, INF], &[0.0, 2.0, -0.0, -2.0, 3.0, INF]);
    let x = floats(DType::F16, &[4], &[65504.0, INF, -INF, NAN]);
    check(&Op::IsFinite, &[&x], &ints(DType::Bool, &[4], &[1, 0, 0, 0]));
}

#[test]
fn float_arithmetic_is_rounded_once_to_the_type() {
    let case = |op: Op, dtype: DType, lhs: &[f64], rhs: &[f64], expected: &[f64]| {
        let shape = [lhs.len()];
        check(&op, &[&floats(dtype, &shape, lhs), &floats(dtype, &shape, rhs)], &floats(dtype, &shape, expected));
    };
    case(
        Op::Add,
        DType::F32,
        &[16_777_216.0, 0.0, -0.0, INF],
        &[1.0, -0.0, -0.0, -INF],
        &[16_777_216.0, 0.0, -0.0, NAN],
    );
    case(Op::Add, DType::F16, &[65504.0, 2048.0, 2048.0], &[16.0, 1.0, 3.0], &[INF, 2048.0, 2052.0]);
    case(Op::Add, DType::BF16, &[256.0, 256.0], &[1.0, 3.0], &[256.0, 260.0]);
    case(Op::Subtract, DType::F32, &[1.0, INF], &[1.0, INF], &[0.0, NAN]);
    // Denormals are kept.
    case(Op::Multiply, DType::F32, &[1e-30, 0.0], &[1e-10, INF], &[1e-40, NAN]);
    case(Op::Divide, DType::F32, &[1.0, -1.0, 0.0, 1.0], &[0.0, 0.0, 0.0, -0.0], &[INF, -INF, NAN, -INF]);
    case(
        Op::Remainder,
        DType::F32,
        &[5.5, -5.5, 5.5, -4.0, 1.0],
        &[2.0, 2.0, -2.0, 2.0, 0.0],
        &[1.5, -1.5, 1.5, -0.0, NAN],
    );
    case(
        Op::Power,
        DType::F64,
        &[2.0, -8.0, 0.0, NAN, 1.0, -2.0],
        &[10.0, 1.0 / 3.0, -1.0, 0.0, NAN, 3.0],
        &[1024.0, NAN, INF, 1.0, 1.0, -8.0],
    );
    let pi = std::f64::consts::PI;
    case(Op::Atan2, DType::F64, &[0.0, -0.0, 1.0, 0.0], &[-1.0, -1.0, 0.0, 1.0], &[pi, -pi, pi / 2.0, 0.0]);
}

#[test]
fn extrema_propagate_nan_and_keep_the_left_zero() {
    let lhs = floats(DType::F32, &[6], &[1.0, NAN, 1.0, 0.0, -0.0, -INF]);
    let rhs = floats(DType::F32, &[6], &[2.0, 1.0, NAN, -0.0, 0.0, INF]);
    check(&Op::Maximum, &[&lhs, &rhs], &floats(DType::F32, &[6], &[2.0, NAN, NAN, 0.0, -0.0, INF]));
    check(&Op::Minimum, &[&lhs, &rhs], &floats(DType::F32, &[6], &[1.0, NAN, NAN, 0.0, -0.0, -INF]));
    let lhs = ints(DType::Bool, &[2], &[0, 1]);
    let rhs = ints(DType::Bool, &[2], &[1, 1]);
    check(&Op::Maximum, &[&lhs, &rhs], &ints(DType::Bool, &[2], &[1, 1]));
    check(&Op::Minimum, &[&lhs, &rhs], &ints(DType::Bool, &[2], &[0, 1]));

    let clamp = |x: f64| {
        let of = |value: f64| floats(DType::F32, &[], &[value]);
        value(&Op::Clamp, &[&of(-1.0), &of(x), &of(1.0)]).get(0).to_f64()
    };
    assert_eq!((clamp(-3.0), clamp(0.5), clamp(3.0)), (-1.0, 0.5, 1.0));
    assert!(clamp(NAN).is_nan());
    // Where the bounds cross, the upper one is applied last.
    let crossed = [&ints(DType::I32, &[], &[5]), &ints(DType::I32, &[], &[0]), &ints(DType::I32, &[], &[3])];
    check(&Op::Clamp, &crossed, &ints(DType::I32, &[], &[3]));
}

#[test]
fn integer_arithmetic_wraps() {
    let case = |op: Op, dtype: DType, lhs: &[i64], rhs: &[i64], expected: &[i64]| {
        let shape = [lhs.len()];
        check(&op, &[&ints(dtype, &shape, lhs), &ints(dtype, &shape, rhs)], &ints(dtype, &shape, expected));
    };
    case(Op::Add, DType::I8, &[127, -128], &[1, -1], &[-128, 127]);
    case(Op::Add, DType::I64, &[i64::MAX], &[1], &[i64::MIN]);
    case(Op::Subtract, DType::U8, &[0], &[1], &[255]);
    case(Op::Multiply, DType::U32, &[1 << 31, 0xffff_ffff], &[2, 0xffff_ffff], &[0, 1]);
    case(Op::Multiply, DType::I64, &[i64::MIN], &[-1], &[i64::MIN]);
    case(
        Op::Divide,
        DType::I32,
        &[7, -7, 7, i64::from(i32::MIN), 5],
        &[2, 2, -2, -1, 0],
        &[3, -3, -3, i64::from(i32::MIN), -1],
    );
    case(Op::Divide, DType::I64, &[i64::MIN], &[-1], &[i64::MIN]);
    case(Op::Divide, DType::U8, &[200, 9], &[3, 0], &[66, 255]);
    case(Op::Remainder, DType::I32, &[7, -7, 7, i64::from(i32::MIN), 5], &[2, 2, -2, -1, 0], &[1, -1, 1, 0, 5]);
    case(Op::Remainder, DType::I64, &[i64::MIN], &[-1], &[0]);
    // Given as `i64`, the operands of `u64` wrap.
    case(Op::Divide, DType::U64, &[-1, 7, 1], &[2, -1, 0], &[i64::MAX, 0, -1]);
    case(Op::Remainder, DType::U64, &[-1, 7, 5], &[10, -1, 0], &[5, 7, 5]);
    case(Op::Maximum, DType::U64, &[-1, 2], &[1, i64::MIN], &[-1, i64::MIN]);
    case(Op::Add, DType::U16, &[0xffff], &[2], &[1]);
    case(Op::Multiply, DType::I16, &[300], &[300], &[24_464]);
    case(
        Op::Power,
        DType::I32,
        &[2, -2, 3, 0, 0, -1, 1, 2, 0],
        &[31, 3, 40, 0, 5, -3, -5, -1, -1],
        &[1 << 31, -8, 12_157_665_459_056_928_801_u64 as i64, 1, 0, -1, 1, 0, 0],
    );
    // 3 ^ (2^63) is 1 modulo 2^64, so that the power before it is the inverse of 3.
    case(Op::Power, DType::I64, &[-1, 3], &[i64::MIN, i64::MAX], &[1, 0xaaaa_aaaa_aaaa_aaab_u64 as i64]);
    check(&Op::Negate, &[&ints(DType::I8, &[2], &[-128, 5])], &ints(DType::I8, &[2], &[-128, -5]));
    check(&Op::Abs, &[&ints(DType::I64, &[2], &[i64::MIN, -5])], &ints(DType::I64, &[2], &[i64::MIN, 5]));
    check(&Op::Sign, &[&ints(DType::I32, &[3], &[-9, 0, 9])], &ints(DType::I32, &[3], &[-1, 0, 1]));
}

#[test]
fn bitwise_ops_and_shifts_work_on_the_width_of_the_type() {
    let case = |op: Op, dtype: DType, lhs: &[i64], rhs: &[i64], expected: &[i64]| {
        let shape = [lhs.len()];
        check(&op, &[&ints(dtype, &shape, lhs), &ints(dtype, &shape, rhs)], &ints(dtype, &shape, expected));
    };
    case(Op::And, DType::U8, &[0b1100], &[0b1010], &[0b1000]);
    case(Op::Or, DType::I32, &[0b1100], &[0b1010], &[0b1110]);
    case(Op::Xor, DType::I8, &[-1], &[0b1010], &[!0b1010]);
    case(Op::And, DType::Bool, &[0, 0, 1, 1], &[0, 1, 0, 1], &[0, 0, 0, 1]);
    case(Op::Or, DType::Bool, &[0, 0, 1, 1], &[0, 1, 0, 1], &[0, 1, 1, 1]);
    case(Op::Xor, DType::Bool, &[0, 0, 1, 1], &[0, 1, 0, 1], &[0, 1, 1, 0]);
    check(&Op::Not, &[&ints(DType::Bool, &[2], &[0, 1])], &ints(DType::Bool, &[2], &[1, 0]));
    check(&Op::Not, &[&ints(DType::U8, &[2], &[0, 0x0f])], &ints(DType::U8, &[2], &[0xff, 0xf0]));

    case(Op::ShiftLeft, DType::I8, &[1, 1, 1, 3], &[7, 8, -1, 6], &[-128, 0, 0, -64]);
    case(Op::ShiftLeft, DType::I64, &[1, 1], &[63, 64], &[i64::MIN, 0]);
    case(Op::ShiftRightLogical, DType::I8, &[-1, -1, -1, -128], &[1, 8, -1, 7], &[127, 0, 0, 1]);
    case(Op::ShiftRightLogical, DType::I64, &[-1, -1], &[63, 64], &[1, 0]);
    case(Op::ShiftRightLogical, DType::U32, &[0xffff_ffff], &[31], &[1]);
    case(Op::ShiftRightArithmetic, DType::I8, &[-128, -128, 64, -1], &[6, 9, 6, -1], &[-2, -1, 1, -1]);
    case(Op::ShiftRightArithmetic, DType::I64, &[i64::MIN, 5], &[64, 64], &[-1, 0]);
    case(Op::ShiftRightArithmetic, DType::U8, &[0x80, 0x80, 0x40], &[1, 200, 1], &[0xc0, 0xff, 0x20]);
}

#[test]
fn comparisons_with_nan_are_false_but_for_ne() {
    let lhs = floats(DType::F32, &[5], &[1.0, 2.0, NAN, 0.0, INF]);
    let rhs = floats(DType::F32, &[5], &[2.0, 1.0, NAN, -0.0, INF]);
    for (dir, expected) in [
        (CompareDir::Eq, [0, 0, 0, 1, 1]),
        (CompareDir::Ne, [1, 1, 1, 0, 0]),
        (CompareDir::Lt, [1, 0, 0, 0, 0]),
        (CompareDir::Le, [1, 0, 0, 1, 1]),
        (CompareDir::Gt, [0, 1, 0, 0, 0]),
        (CompareDir::Ge, [0, 1, 0, 1, 1]),
    ] {
        check(&Op::Compare(dir), &[&lhs, &rhs], &ints(DType::Bool, &[5], &expected));
    }
    // Unsigned types compare unsigned, and 64-bit integers beyond the precision of a double.
    let less = |dtype, x, y| {
        value(&Op::Compare(CompareDir::Lt), &[&ints(dtype, &[], &[x]), &ints(dtype, &[], &[y])]).get(0).bits
    };
    assert_eq!(less(DType::U32, 1, -1), 1);
    assert_eq!(less(DType::U64, 1, -1), 1);
    assert_eq!(less(DType::I64, i64::MAX - 1, i64::MAX), 1);
    assert_eq!(less(DType::Bool, 0, 1), 1);
}

#[test]
fn conversions_round_truncate_saturate_and_wrap() {
    let case = |from: &TensorData, to: DType, expected: &TensorData| check(&Op::Convert(to), &[from], expected);
    let x = floats(DType::F32, &[7], &[1.9, -1.9, 300.0, -300.0, NAN, INF, -0.0]);
    case(&x, DType::U8, &ints(DType::U8, &[7], &[1, 0, 255, 0, 0, 255, 0]));
    case(&x, DType::I8, &ints(DType::I8, &[7], &[1, -1, 127, -128, 0, 127, 0]));
    case(&x, DType::Bool, &ints(DType::Bool, &[7], &[1, 1, 1, 1, 1, 1, 0]));
    let x = floats(DType::F64, &[4], &[1e300, -1e300, 4_294_967_296.0, -5.0]);
    case(&x, DType::I64, &ints(DType::I64, &[4], &[i64::MAX, i64::MIN, 1 << 32, -5]));
    case(&x, DType::U32, &ints(DType::U32, &[4], &[0xffff_ffff, 0, 0xffff_ffff, 0]));
    case(&x, DType::F32, &floats(DType::F32, &[4], &[INF, -INF, 4_294_967_296.0, -5.0]));
    let x = ints(DType::I32, &[4], &[-1, 256, 1 << 31, 127]);
    case(&x, DType::U8, &ints(DType::U8, &[4], &[255, 0, 0, 127]));
    case(&x, DType::U32, &ints(DType::U32, &[4], &[0xffff_ffff, 256, 1 << 31, 127]));
    case(&x, DType::Bool, &ints(DType::Bool, &[4], &[1, 1, 1, 1]));
    case(&x, DType::F16, &floats(DType::F16, &[4], &[-1.0, 256.0, -INF, 127.0]));
    let x = ints(DType::U32, &[1], &[0xffff_ffff]);
    case(&x, DType::I64, &ints(DType::I64, &[1], &[0xffff_ffff]));
    case(&x, DType::F64, &floats(DType::F64, &[1], &[4_294_967_295.0]));
    case(&floats(DType::F64, &[4], &[2e19, -5.0, NAN, 1.5]), DType::U64, &ints(DType::U64, &[4], &[-1, 0, 0, 1]));
    let x = ints(DType::U64, &[2], &[-1, 1 << 62]);
    case(&x, DType::F32, &floats(DType::F32, &[2], &[2f64.powi(64), 2f64.powi(62)]));
    case(&x, DType::BF16, &floats(DType::BF16, &[2], &[2f64.powi(64), 2f64.powi(62)]));
    case(&x, DType::I16, &ints(DType::I16, &[2], &[-1, 0]));
    let x = ints(DType::Bool, &[2], &[0, 1]);
    case(&x, DType::BF16, &floats(DType::BF16, &[2], &[0.0, 1.0]));
    // Halfway between two values of f16, and a little more than f32 can show.
    let x = floats(DType::F64, &[2], &[1.0 + 2f64.powi(-11), 1.0 + 2f64.powi(-11) + 2f64.powi(-45)]);
    case(&x, DType::F16, &floats(DType::F16, &[2], &[1.0, 1.0 + 2f64.powi(-10)]));
}

#[test]
fn bitcasts_keep_bits() {
    let x = floats(DType::F32, &[3], &[1.0, -0.0, INF]);
    check(&Op::BitcastConvert(DType::U32), &[&x], &ints(DType::U32, &[3], &[0x3f80_0000, 1 << 31, 0x7f80_0000]));
    let bits = ints(DType::I64, &[1], &[0x7ff0_0000_0000_0001]);
    let nan = value(&Op::BitcastConvert(DType::F64), &[&bits]);
    assert_eq!(nan.get(0).bits, 0x7ff0_0000_0000_0001);
}

#[test]
fn select_copies_bits() {
    let pred = ints(DType::Bool, &[2], &[1, 0]);
    let on_true = ints(DType::I64, &[2], &[1, 2]);
    let on_false = ints(DType::I64, &[2], &[3, 4]);
    check(&Op::Select, &[&pred, &on_true, &on_false], &ints(DType::I64, &[2], &[1, 4]));
}

#[test]
fn operands_of_wrong_types_are_refused() {
    let (x, n) = (counting(&[2]), ints(DType::I32, &[2], &[1, 2]));
    check_error(&Op::Add, &[&x, &n], "operand `rhs` has type i32[2], expected f32[2] as `lhs`");
    check_error(&Op::Add, &[&x], "1 operands, expected 2");
    check_error(&Op::Sqrt, &[&n], "operand `operand` has type i32[2], expected a floating-point type");
    check_error(&Op::Not, &[&x], "operand `operand` has type f32[2], expected an integer type or bool");
}

#[test]
fn empty_tensors_and_scalars_are_tensors() {
    let empty = counting(&[3, 0]);
    check(&Op::Add, &[&empty, &empty], &empty);
    check(&Op::Exponential, &[&empty], &empty);
    check(&Op::StopGradient, &[&empty], &empty);
    let scalar = floats(DType::F32, &[], &[2.0]);
    check(&Op::Multiply, &[&scalar, &scalar], &floats(DType::F32, &[], &[4.0]));
    check(&Op::OptimizationBarrier, &[&scalar], &scalar);
}
