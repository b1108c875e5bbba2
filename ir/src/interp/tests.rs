//! Hand-computed values of every op, by family.

use super::{EvalError, MAX_ELEMENTS, eval};
use crate::compare::{Allowance, assert_close};
use crate::literal::{Scalar, TensorData};
use crate::ops::Op;
use crate::types::DType;

mod contract;
mod control;
mod convolution;
mod elementwise;
mod graphs;
mod index;
mod movement;
mod order;
mod random;
mod reduce;
mod window;

/// A tensor of `values` rounded to `dtype`.
fn floats(dtype: DType, shape: &[usize], values: &[f64]) -> TensorData {
    TensorData::from_doubles(dtype, shape.to_vec(), values.iter().copied())
}

/// A tensor of `values` wrapped to `dtype`.
fn ints(dtype: DType, shape: &[usize], values: &[i64]) -> TensorData {
    TensorData::from_integers(dtype, shape.to_vec(), values.iter().copied())
}

/// A `f32` tensor of `shape` that counts from 0.
fn counting(shape: &[usize]) -> TensorData {
    let n_elements: usize = shape.iter().product();
    TensorData::from_doubles(DType::F32, shape.to_vec(), (0..n_elements).map(|count| count as f64))
}

/// The one result of `op`.
#[track_caller]
fn value(op: &Op, operands: &[&TensorData]) -> TensorData {
    let results = eval(op, operands, &[]).unwrap_or_else(|error| panic!("{}: {error}", op.mnemonic()));
    assert_eq!(results.len(), 1);
    results.into_iter().next().unwrap()
}

/// Checks the one result of `op`, bit for bit.
#[track_caller]
fn check(op: &Op, operands: &[&TensorData], expected: &TensorData) {
    assert_close(expected, &value(op, operands), Allowance::EXACT);
}

/// Checks that `op` refuses the operands.
#[track_caller]
fn check_error(op: &Op, operands: &[&TensorData], expected: &str) {
    assert_eq!(eval(op, operands, &[]).unwrap_err().to_string(), expected);
}

#[test]
fn ops_out_of_place_are_errors() {
    let x = counting(&[2]);
    check_error(&Op::Cond, &[&x], "0 regions, expected 2");
    check_error(&Op::Param(0), &[], "a parameter stands only at the head of a graph");
}

#[test]
fn shapes_no_machine_can_hold_are_errors() {
    let zero = Scalar::zero(DType::F32);
    for extents in
        [vec![1 << 40], vec![usize::MAX, usize::MAX], vec![1 << 20, 1 << 20, 1 << 20], vec![MAX_ELEMENTS + 1]]
    {
        let ty = crate::TensorType { dtype: DType::F32, shape: crate::Shape::fixed(&extents) };
        let op = Op::Constant(crate::Constant::Splat { ty: ty.clone(), value: zero });
        assert_eq!(eval(&op, &[], &[]), Err(EvalError::TooLarge(ty)));
    }
    let ty = crate::TensorType { dtype: DType::F32, shape: crate::Shape(vec!["N".into()]) };
    let op = Op::Constant(crate::Constant::Splat { ty: ty.clone(), value: zero });
    assert_eq!(eval(&op, &[], &[]), Err(EvalError::Symbolic(ty)));
}
