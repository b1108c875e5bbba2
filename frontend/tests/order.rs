//! Running folds, sorting and selection against hand-computed values.

use nnc_frontend::prelude::*;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

#[track_caller]
fn check(found: &Tensor, expected: &[f32]) {
    let found = found.to_array().expect("no fault");
    let found: Vec<f32> = found.iter().copied().collect();
    let same = |(x, y): (&f32, &f32)| (x.is_nan() && y.is_nan()) || x == y;
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(same), "{found:?}, expected {expected:?}");
}

#[track_caller]
fn check_indices(found: &Tensor, expected: &[i64]) {
    let found: Vec<i64> = found.to_array_i64().expect("no fault").iter().copied().collect();
    assert_eq!(found, expected);
}

fn matrix() -> Tensor {
    Tensor::from_slice(&[3.0f32, 1.0, 2.0, 1.0, 1.0, 4.0]).view([2, 3])
}

#[test]
fn running_sums_and_products() {
    check(&matrix().cumsum(1), &[3.0, 4.0, 6.0, 1.0, 2.0, 6.0]);
    check(&matrix().cumsum(0), &[3.0, 1.0, 2.0, 4.0, 2.0, 6.0]);
    check(&matrix().cumprod(-1), &[3.0, 3.0, 6.0, 1.0, 1.0, 4.0]);
    let flags = Tensor::from_slice(&[true, false, true]);
    assert_eq!(flags.cumsum(0).dtype(), DType::I64);
    check_indices(&flags.cumsum(0), &[1, 1, 2]);
}

#[test]
fn running_extrema_tell_the_latest_position() {
    let x = Tensor::from_slice(&[1.0f32, 3.0, 3.0, 2.0, 5.0]);
    let (values, indices) = x.cummax(0);
    check(&values, &[1.0, 3.0, 3.0, 3.0, 5.0]);
    check_indices(&indices, &[0, 1, 2, 2, 4]);
    let (values, indices) = Tensor::from_slice(&[2.0f32, NAN, 1.0, NAN, 0.0]).cummin(0);
    check(&values, &[2.0, NAN, NAN, NAN, NAN]);
    check_indices(&indices, &[0, 1, 1, 3, 3]);
    let (values, indices) = Tensor::from_slice(&[2i64, 1, 1]).cummin(0);
    check_indices(&values, &[2, 1, 1]);
    check_indices(&indices, &[0, 1, 2]);
}

#[test]
fn running_log_sums_lose_nothing() {
    let x = Tensor::from_slice(&[-INF, -1000.0, -1000.0, 0.0, 1000.0, 1000.0]);
    let ln2 = std::f32::consts::LN_2;
    check(&x.logcumsumexp(0), &[-INF, -1000.0, -1000.0 + ln2, 0.0, 1000.0, 1000.0 + ln2]);
}

#[test]
fn sorting() {
    let (values, indices) = matrix().sort(1, false);
    check(&values, &[1.0, 2.0, 3.0, 1.0, 1.0, 4.0]);
    check_indices(&indices, &[1, 2, 0, 0, 1, 2]);
    let (values, indices) = matrix().sort(0, true);
    check(&values, &[3.0, 1.0, 4.0, 1.0, 1.0, 2.0]);
    check_indices(&indices, &[0, 0, 1, 1, 1, 0]);
    check_indices(&Tensor::from_slice(&[NAN, 1.0, -INF]).argsort(0, true), &[0, 1, 2]);
}

#[test]
fn selection_by_rank() {
    let x = Tensor::from_slice(&[4.0f32, 1.0, 3.0, 4.0, 2.0]);
    let (values, indices) = x.topk(3, 0, true);
    check(&values, &[4.0, 4.0, 3.0]);
    check_indices(&indices, &[0, 3, 2]);
    check(&x.topk(2, 0, false).0, &[1.0, 2.0]);
    let (value, index) = x.kthvalue(2, 0);
    assert_eq!((value.item().unwrap(), index.item().unwrap()), (2.0, 4.0));
    let (value, index) = x.median(0);
    assert_eq!((value.item().unwrap(), index.item().unwrap()), (3.0, 2.0));
    let (values, indices) = Tensor::from_slice(&[1.0, NAN, 2.0, 5.0, 7.0, 6.0]).view([2, 3]).median(1);
    check(&values, &[NAN, 6.0]);
    check_indices(&indices, &[1, 2]);
}

#[test]
fn faults_name_what_is_wrong() {
    let message = |tensor: Tensor| tensor.data().expect_err("a fault").message;
    assert_eq!(message(matrix().topk(4, 1, true).0), "topk: k is 4, but dimension 1 of f32[2, 3] is 3");
    assert_eq!(message(matrix().sort(2, true).1), "sort: dimension 2 is out of range for f32[2, 3], expected -2 to 1");
    assert_eq!(
        message(matrix().long().logcumsumexp(0)),
        "logcumsumexp: the tensor is i64[2, 3], expected a floating-point type"
    );
}
