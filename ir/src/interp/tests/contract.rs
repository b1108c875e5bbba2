//! `dot_general`.

use super::*;
use crate::ops::DotAttrs;

fn dot(lhs_batch: &[usize], rhs_batch: &[usize], lhs_contract: &[usize], rhs_contract: &[usize]) -> Op {
    Op::DotGeneral(DotAttrs {
        lhs_batch: lhs_batch.to_vec(),
        rhs_batch: rhs_batch.to_vec(),
        lhs_contract: lhs_contract.to_vec(),
        rhs_contract: rhs_contract.to_vec(),
    })
}

#[test]
fn matrix_products_of_every_layout() {
    let (x, y) = (counting(&[2, 3]), counting(&[3, 2]));
    check(&dot(&[], &[], &[1], &[0]), &[&x, &y], &floats(DType::F32, &[2, 2], &[10.0, 13.0, 28.0, 40.0]));
    check(
        &dot(&[], &[], &[0], &[1]),
        &[&x, &y],
        &floats(DType::F32, &[3, 3], &[3.0, 9.0, 15.0, 4.0, 14.0, 24.0, 5.0, 19.0, 33.0]),
    );
    check(&dot(&[], &[], &[1], &[1]), &[&x, &x], &floats(DType::F32, &[2, 2], &[5.0, 14.0, 14.0, 50.0]));
    check(&dot(&[], &[], &[0, 1], &[1, 0]), &[&x, &y], &floats(DType::F32, &[], &[50.0]));
    // Nothing contracted: the outer product.
    check(
        &dot(&[], &[], &[], &[]),
        &[&counting(&[2]), &counting(&[3])],
        &floats(DType::F32, &[2, 3], &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0]),
    );
    check(&dot(&[], &[], &[], &[]), &[&counting(&[]), &counting(&[3])], &floats(DType::F32, &[3], &[0.0; 3]));
}

#[test]
fn batches_come_first() {
    // lhs [m, b, k], rhs [k, n, b].
    let (x, y) = (counting(&[2, 2, 3]), counting(&[3, 1, 2]));
    let found = value(&dot(&[1], &[2], &[2], &[0]), &[&x, &y]);
    assert_eq!(found.shape, [2, 2, 1]);
    let expected: Vec<f64> = (0..2)
        .flat_map(|b| (0..2).map(move |m| (0..3).map(|k| f64::from((m * 2 + b) * 3 + k) * f64::from(k * 2 + b)).sum()))
        .collect();
    assert_eq!(found.to_f64(), expected);
}

#[test]
fn contractions_of_nothing_are_zero() {
    check(
        &dot(&[], &[], &[1], &[0]),
        &[&counting(&[2, 0]), &counting(&[0, 2])],
        &floats(DType::F32, &[2, 2], &[0.0; 4]),
    );
    check(&dot(&[], &[], &[1], &[0]), &[&counting(&[0, 2]), &counting(&[2, 3])], &counting(&[0, 3]));
    check(&dot(&[0], &[0], &[], &[]), &[&counting(&[0, 2]), &counting(&[0])], &counting(&[0, 2]));
}

#[test]
fn sums_of_products_are_rounded_once() {
    let x = floats(DType::F16, &[3], &[300.0, 300.0, 1.0]);
    let y = floats(DType::F16, &[3], &[300.0, -300.0, 1.0]);
    check(&dot(&[], &[], &[0], &[0]), &[&x, &y], &floats(DType::F16, &[], &[1.0]));
    // In f64 every product is fused with its sum: 1 - (1 - 2^-60) survives.
    let x = floats(DType::F64, &[2], &[1.0, 1.0 - 2f64.powi(-30)]);
    let y = floats(DType::F64, &[2], &[1.0, -1.0 - 2f64.powi(-30)]);
    check(&dot(&[], &[], &[0], &[0]), &[&x, &y], &floats(DType::F64, &[], &[2f64.powi(-60)]));
    let x = floats(DType::F32, &[2], &[0.0, 1.0]);
    let y = floats(DType::F32, &[2], &[f64::INFINITY, 1.0]);
    check(&dot(&[], &[], &[0], &[0]), &[&x, &y], &floats(DType::F32, &[], &[f64::NAN]));
}

#[test]
fn integer_products_wrap() {
    let x = ints(DType::I8, &[2], &[100, 100]);
    check(&dot(&[], &[], &[0], &[0]), &[&x, &x], &ints(DType::I8, &[], &[32]));
    let x = ints(DType::I64, &[1], &[i64::MAX]);
    check(&dot(&[], &[], &[0], &[0]), &[&x, &x], &ints(DType::I64, &[], &[1]));
}

#[test]
fn the_size_of_an_mlp_layer_is_usable_in_tests() {
    let lhs = TensorData::from_doubles(DType::F32, vec![64, 784], (0..64 * 784).map(|idx| f64::from(idx % 7) - 3.0));
    let rhs = TensorData::from_doubles(DType::F32, vec![784, 512], (0..784 * 512).map(|idx| f64::from(idx % 5)));
    let found = value(&dot(&[], &[], &[1], &[0]), &[&lhs, &rhs]);
    assert_eq!(found.shape, [64, 512]);
    let expected: f64 = (0..784).map(|k| (f64::from(k % 7) - 3.0) * f64::from(k * 512 % 5)).sum();
    assert_eq!(found.get(0).to_f64(), expected);
}
