//! `reduce`.

use super::*;
use crate::ops::{ReduceAttrs, ReduceKind};

const NAN: f64 = f64::NAN;

fn op(kind: ReduceKind, dims: &[usize]) -> Op {
    Op::Reduce(ReduceAttrs { kind, dims: dims.to_vec() })
}

#[test]
fn folds_remove_dimensions() {
    let x = counting(&[2, 3]);
    check(&op(ReduceKind::Sum, &[1]), &[&x], &floats(DType::F32, &[2], &[3.0, 12.0]));
    check(&op(ReduceKind::Sum, &[0]), &[&x], &floats(DType::F32, &[3], &[3.0, 5.0, 7.0]));
    check(&op(ReduceKind::Sum, &[0, 1]), &[&x], &floats(DType::F32, &[], &[15.0]));
    check(&op(ReduceKind::Max, &[]), &[&x], &x);
    check(&op(ReduceKind::Prod, &[1]), &[&x], &floats(DType::F32, &[2], &[0.0, 60.0]));
    check(&op(ReduceKind::Min, &[0]), &[&x], &floats(DType::F32, &[3], &[0.0, 1.0, 2.0]));
    check(&op(ReduceKind::Max, &[1]), &[&x], &floats(DType::F32, &[2], &[2.0, 5.0]));
    let x = counting(&[2, 3, 2]);
    check(&op(ReduceKind::Sum, &[0, 2]), &[&x], &floats(DType::F32, &[3], &[14.0, 22.0, 30.0]));
    check(&op(ReduceKind::ArgMax, &[0, 2]), &[&x], &ints(DType::I64, &[3], &[3, 3, 3]));
}

#[test]
fn sums_are_rounded_once() {
    // Added one by one in f32, the ones would be lost.
    let mut values = vec![1.0; 100];
    values[0] = 16_777_216.0;
    check(
        &op(ReduceKind::Sum, &[0]),
        &[&floats(DType::F32, &[100], &values)],
        &floats(DType::F32, &[], &[16_777_315.0]),
    );
    check(
        &op(ReduceKind::Sum, &[0]),
        &[&floats(DType::F16, &[100], &[100.0; 100])],
        &floats(DType::F16, &[], &[10_000.0]),
    );
    check(&op(ReduceKind::Sum, &[0]), &[&ints(DType::I8, &[3], &[100, 100, 100])], &ints(DType::I8, &[], &[44]));
    check(&op(ReduceKind::Prod, &[0]), &[&ints(DType::U32, &[2], &[1 << 20, 1 << 20])], &ints(DType::U32, &[], &[0]));
}

#[test]
fn folds_of_nothing_are_identities() {
    let nothing = counting(&[2, 0]);
    check(&op(ReduceKind::Sum, &[1]), &[&nothing], &floats(DType::F32, &[2], &[0.0, 0.0]));
    check(&op(ReduceKind::Prod, &[1]), &[&nothing], &floats(DType::F32, &[2], &[1.0, 1.0]));
    check(&op(ReduceKind::Min, &[1]), &[&nothing], &floats(DType::F32, &[2], &[f64::INFINITY; 2]));
    check(&op(ReduceKind::Max, &[1]), &[&nothing], &floats(DType::F32, &[2], &[f64::NEG_INFINITY; 2]));
    check(&op(ReduceKind::Sum, &[0]), &[&nothing], &counting(&[0]));
    for (dtype, least, largest) in [
        (DType::U8, 0, 255),
        (DType::I32, i32::MIN.into(), i32::MAX.into()),
        (DType::I64, i64::MIN, i64::MAX),
        (DType::Bool, 0, 1),
    ] {
        let nothing = ints(dtype, &[0], &[]);
        check(&op(ReduceKind::Min, &[0]), &[&nothing], &ints(dtype, &[], &[largest]));
        check(&op(ReduceKind::Max, &[0]), &[&nothing], &ints(dtype, &[], &[least]));
    }
    let nothing = ints(DType::Bool, &[0], &[]);
    check(&op(ReduceKind::Any, &[0]), &[&nothing], &ints(DType::Bool, &[], &[0]));
    check(&op(ReduceKind::All, &[0]), &[&nothing], &ints(DType::Bool, &[], &[1]));
    check_error(
        &op(ReduceKind::ArgMax, &[0]),
        &[&nothing],
        "operand has type bool[0], expected at least one element to choose from",
    );
}

#[test]
fn logic_folds_bool() {
    let x = ints(DType::Bool, &[2, 2], &[0, 1, 1, 1]);
    check(&op(ReduceKind::Any, &[1]), &[&x], &ints(DType::Bool, &[2], &[1, 1]));
    check(&op(ReduceKind::All, &[1]), &[&x], &ints(DType::Bool, &[2], &[0, 1]));
}

#[test]
fn extrema_follow_the_lanes() {
    let case = |kind, values: &[f64], expected: f64| {
        check(&op(kind, &[0]), &[&floats(DType::F32, &[values.len()], values)], &floats(DType::F32, &[], &[expected]));
    };
    case(ReduceKind::Max, &[1.0, NAN, 3.0], NAN);
    case(ReduceKind::Min, &[NAN, 1.0], NAN);
    case(ReduceKind::Max, &[-0.0, 0.0], -0.0);
    case(ReduceKind::Max, &[0.0, -0.0], 0.0);
    // Element 16 is the second of lane 0; element 1 joins lane 0 last, element 8 before it.
    let mut values = [-1.0; 17];
    (values[1], values[16]) = (0.0, -0.0);
    case(ReduceKind::Max, &values, -0.0);
    let mut values = [-1.0; 17];
    (values[1], values[8]) = (0.0, -0.0);
    case(ReduceKind::Max, &values, -0.0);
    case(ReduceKind::Min, &[f64::INFINITY, f64::NEG_INFINITY], f64::NEG_INFINITY);
}

#[test]
fn arguments_of_extrema_are_the_first() {
    let case = |kind, values: &[f64], expected: i64| {
        check(&op(kind, &[0]), &[&floats(DType::F32, &[values.len()], values)], &ints(DType::I64, &[], &[expected]));
    };
    case(ReduceKind::ArgMax, &[1.0, 3.0, 3.0], 1);
    case(ReduceKind::ArgMin, &[1.0, 1.0, 3.0], 0);
    case(ReduceKind::ArgMax, &[1.0, NAN, 9.0, NAN], 1);
    case(ReduceKind::ArgMin, &[-1.0, 5.0, NAN], 2);
    case(ReduceKind::ArgMax, &[f64::NEG_INFINITY; 3], 0);
    case(ReduceKind::ArgMin, &[0.0, -0.0], 0);
    let large = ints(DType::I64, &[2], &[i64::MAX - 1, i64::MAX]);
    check(&op(ReduceKind::ArgMax, &[0]), &[&large], &ints(DType::I64, &[], &[1]));
    let bools = ints(DType::Bool, &[3], &[0, 1, 1]);
    check(&op(ReduceKind::ArgMax, &[0]), &[&bools], &ints(DType::I64, &[], &[1]));
}
