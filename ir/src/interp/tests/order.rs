//! `cumulative` and `sort`.

use super::{check, check_error, counting, floats, ints};
use crate::compare::{Allowance, assert_close};
use crate::interp::eval;
use crate::literal::TensorData;
use crate::ops::{CumulativeAttrs, Op, ReduceKind, SortAttrs};
use crate::types::DType;

#[test]
fn running_folds() {
    let x = floats(DType::F32, &[2, 3], &[1.0, 3.0, 2.0, 4.0, 0.5, 6.0]);
    let fold = |kind, dim, reverse| Op::Cumulative(CumulativeAttrs { kind, dim, reverse });
    let sums = floats(DType::F32, &[2, 3], &[1.0, 4.0, 6.0, 4.0, 4.5, 10.5]);
    check(&fold(ReduceKind::Sum, 1, false), &[&x], &sums);
    let sums = floats(DType::F32, &[2, 3], &[5.0, 3.5, 8.0, 4.0, 0.5, 6.0]);
    check(&fold(ReduceKind::Sum, 0, true), &[&x], &sums);
    let products = floats(DType::F32, &[2, 3], &[6.0, 6.0, 2.0, 12.0, 3.0, 6.0]);
    check(&fold(ReduceKind::Prod, 1, true), &[&x], &products);
    let largest = floats(DType::F32, &[2, 3], &[1.0, 3.0, 3.0, 4.0, 4.0, 6.0]);
    check(&fold(ReduceKind::Max, 1, false), &[&x], &largest);
    let bytes = ints(DType::U8, &[3], &[200, 100, 1]);
    check(&fold(ReduceKind::Sum, 0, false), &[&bytes], &ints(DType::U8, &[3], &[200, 44, 45]));
    let empty = counting(&[2, 0]);
    check(&fold(ReduceKind::Sum, 1, false), &[&empty], &empty);
    check_error(&fold(ReduceKind::Any, 0, false), &[&x], "kind is any, expected sum, prod, min or max");
    check_error(&fold(ReduceKind::Sum, 2, false), &[&x], "dim 2 is out of range for operand type f32[2, 3]");
}

fn check_sort(descending: bool, keys: &TensorData, expected: &TensorData, sources: &[i64]) {
    let counter: Vec<i64> = (0..keys.len() as i64).collect();
    let counter = TensorData::from_i64(vec![keys.len()], &counter);
    let results = eval(&Op::Sort(SortAttrs { dim: 0, descending }), &[keys, &counter], &[]).unwrap();
    assert_close(expected, &results[0], Allowance::EXACT);
    assert_eq!(results[1].to_i64(), sources);
}

#[test]
fn sorting_is_stable_and_nan_is_largest() {
    let nan = f64::NAN;
    let x = floats(DType::F32, &[6], &[2.0, nan, 0.0, 2.0, f64::INFINITY, -0.0]);
    let ascending = floats(DType::F32, &[6], &[0.0, -0.0, 2.0, 2.0, f64::INFINITY, nan]);
    check_sort(false, &x, &ascending, &[2, 5, 0, 3, 4, 1]);
    let descending = floats(DType::F32, &[6], &[nan, f64::INFINITY, 2.0, 2.0, 0.0, -0.0]);
    check_sort(true, &x, &descending, &[1, 4, 0, 3, 2, 5]);
    let flags = ints(DType::Bool, &[4], &[1, 0, 1, 0]);
    check_sort(false, &flags, &ints(DType::Bool, &[4], &[0, 0, 1, 1]), &[1, 3, 0, 2]);
}

#[test]
fn rows_are_sorted_apart() {
    let x = ints(DType::I32, &[3, 2], &[3, 1, 2, 5, 1, 3]);
    let sort = |dim| Op::Sort(SortAttrs { dim, descending: false });
    check(&sort(0), &[&x], &ints(DType::I32, &[3, 2], &[1, 1, 2, 3, 3, 5]));
    check(&sort(1), &[&x], &ints(DType::I32, &[3, 2], &[1, 3, 2, 5, 1, 3]));
    check_error(&sort(0), &[&x, &counting(&[3])], "operand 1 has type f32[3], expected shape [3, 2]");
}
