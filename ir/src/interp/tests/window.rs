//! `reduce_window` and `select_and_scatter`.

use super::{check, check_error, counting, floats, ints};
use crate::literal::TensorData;
use crate::ops::{Op, ReduceKind, ReduceWindowAttrs};
use crate::types::DType;

fn windows(kind: ReduceKind, window: &[usize], stride: &[usize], padding: &[(i64, i64)]) -> ReduceWindowAttrs {
    ReduceWindowAttrs {
        window: window.to_vec(),
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        ..ReduceWindowAttrs::plain(kind, window.len())
    }
}

#[test]
fn windows_are_folded() {
    let x = counting(&[3, 4]);
    let fold = |kind| Op::ReduceWindow(windows(kind, &[2, 2], &[1, 2], &[(0, 0), (0, 0)]));
    check(&fold(ReduceKind::Sum), &[&x], &floats(DType::F32, &[2, 2], &[10.0, 18.0, 26.0, 34.0]));
    check(&fold(ReduceKind::Max), &[&x], &floats(DType::F32, &[2, 2], &[5.0, 7.0, 9.0, 11.0]));
    check(&fold(ReduceKind::Min), &[&x], &floats(DType::F32, &[2, 2], &[0.0, 2.0, 4.0, 6.0]));
    check(&fold(ReduceKind::ArgMax), &[&x], &TensorData::from_i64(vec![2, 2], &[5, 7, 9, 11]));
    let small = ints(DType::I8, &[3], &[100, 2, 3]);
    let prod = Op::ReduceWindow(windows(ReduceKind::Prod, &[2], &[1], &[(0, 0)]));
    check(&prod, &[&small], &ints(DType::I8, &[2], &[200, 6]));
}

#[test]
fn padding_takes_no_part() {
    let x = floats(DType::F32, &[4], &[-1.0, -2.0, -3.0, -4.0]);
    let fold = |kind, padding| Op::ReduceWindow(windows(kind, &[2], &[2], &[padding]));
    check(&fold(ReduceKind::Max, (1, 1)), &[&x], &floats(DType::F32, &[3], &[-1.0, -2.0, -4.0]));
    check(&fold(ReduceKind::Sum, (1, 1)), &[&x], &floats(DType::F32, &[3], &[-1.0, -5.0, -4.0]));
    check(&fold(ReduceKind::Sum, (-1, 0)), &[&x], &floats(DType::F32, &[1], &[-5.0]));
    check(&fold(ReduceKind::ArgMax, (2, 2)), &[&x], &TensorData::from_i64(vec![4], &[-1, 0, 2, -1]));
    check(&fold(ReduceKind::Max, (2, 0)), &[&x], &floats(DType::F32, &[3], &[f64::NEG_INFINITY, -1.0, -3.0]));
}

#[test]
fn taps_stand_apart() {
    let attrs = ReduceWindowAttrs { dilation: vec![3], ..windows(ReduceKind::Sum, &[2], &[1], &[(1, 0)]) };
    check(&Op::ReduceWindow(attrs), &[&counting(&[5])], &floats(DType::F32, &[3], &[2.0, 3.0, 5.0]));
}

#[test]
fn the_first_of_equals_and_the_last_nan_are_picked() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let x = floats(DType::F32, &[3, 3], &[1.0, 1.0, 0.0, nan, 5.0, nan, -inf, -inf, -inf]);
    let pick = |kind| Op::ReduceWindow(windows(kind, &[1, 3], &[1, 3], &[(0, 0), (0, 0)]));
    check(&pick(ReduceKind::ArgMax), &[&x], &TensorData::from_i64(vec![3, 1], &[0, 5, 6]));
    check(&pick(ReduceKind::ArgMin), &[&x], &TensorData::from_i64(vec![3, 1], &[2, 5, 6]));
    let scatter = Op::SelectAndScatter(windows(ReduceKind::Max, &[1, 3], &[1, 3], &[(0, 0), (0, 0)]));
    let source = floats(DType::F32, &[3, 1], &[7.0, 8.0, 9.0]);
    let expected = floats(DType::F32, &[3, 3], &[7.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0, 0.0, 0.0]);
    check(&scatter, &[&x, &source], &expected);
}

#[test]
fn elements_picked_twice_get_the_sum() {
    let x = floats(DType::F32, &[5], &[0.0, 3.0, 1.0, 2.0, 2.0]);
    let source = floats(DType::F32, &[6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let attrs = windows(ReduceKind::Max, &[2], &[1], &[(1, 1)]);
    check(&Op::SelectAndScatter(attrs.clone()), &[&x, &source], &floats(DType::F32, &[5], &[1.0, 5.0, 0.0, 9.0, 6.0]));
    check_error(&Op::SelectAndScatter(attrs.clone()), &[&x, &x], "operand `source` has type f32[5], expected f32[6]");
    check_error(
        &Op::SelectAndScatter(attrs.with_kind(ReduceKind::Sum)),
        &[&x, &source],
        "kind is sum, expected min or max",
    );
    check_error(
        &Op::ReduceWindow(attrs.with_kind(ReduceKind::Any)),
        &[&x],
        "kind is any, expected sum, prod, min, max, argmin or argmax",
    );
}
