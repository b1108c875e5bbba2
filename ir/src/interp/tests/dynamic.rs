//! `dynamic_slice` and `dynamic_update_slice`.

use super::{check, check_error, counting, floats, ints};
use crate::ops::Op;
use crate::types::{DType, Shape};

#[test]
fn starts_are_clamped_into_range() {
    let x = counting(&[3, 4]);
    let start = |value| ints(DType::I64, &[], &[value]);
    let slice = Op::DynamicSlice(Shape::fixed(&[2, 2]));
    let inside = floats(DType::F32, &[2, 2], &[5.0, 6.0, 9.0, 10.0]);
    check(&slice, &[&x, &start(1), &start(1)], &inside);
    let corner = floats(DType::F32, &[2, 2], &[6.0, 7.0, 10.0, 11.0]);
    check(&slice, &[&x, &start(9), &ints(DType::I32, &[], &[2])], &corner);
    let other = floats(DType::F32, &[2, 2], &[0.0, 1.0, 4.0, 5.0]);
    check(&slice, &[&x, &start(-5), &start(0)], &other);

    let update = floats(DType::F32, &[1, 3], &[-1.0, -2.0, -3.0]);
    let expected = floats(DType::F32, &[3, 4], &[0.0, 1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, 8.0, 9.0, 10.0, 11.0]);
    check(&Op::DynamicUpdateSlice, &[&x, &update, &start(1), &start(7)], &expected);
}

#[test]
fn operands_are_checked() {
    let x = counting(&[3, 4]);
    let start = ints(DType::I64, &[], &[0]);
    let slice = |sizes: &[usize]| Op::DynamicSlice(Shape::fixed(sizes));
    check_error(&slice(&[4, 4]), &[&x, &start, &start], "the slice has shape [4, 4], expected one that lies inside f32[3, 4]");
    check_error(&slice(&[1, 1]), &[&x, &start], "1 starts, expected 2, one a dimension of f32[3, 4]");
    check_error(
        &slice(&[1, 1]),
        &[&x, &start, &ints(DType::U8, &[], &[0])],
        "the start of dimension 1 has type u8[], expected i32[] or i64[]",
    );
    check_error(
        &Op::DynamicUpdateSlice,
        &[&x, &ints(DType::I32, &[1, 1], &[0]), &start, &start],
        "operand `update` has type i32[1, 1], expected element type f32",
    );
}
