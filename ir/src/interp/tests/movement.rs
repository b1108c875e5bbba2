//! Leaves and movement ops.

use super::*;
use crate::ops::{BroadcastAttrs, IotaAttrs, PadAttrs, SliceAttrs};
use crate::types::{Shape, TensorType};

#[test]
fn constants_fill_their_shape() {
    let ty = TensorType::new(DType::F16, [2, 2]);
    let splat = Op::Constant(crate::Constant::Splat { ty, value: Scalar::from_f64(DType::F16, 1.5) });
    check(&splat, &[], &floats(DType::F16, &[2, 2], &[1.5; 4]));
    let data = counting(&[2]);
    check(&Op::Constant(crate::Constant::Dense { data: data.clone(), name: None }), &[], &data);
    let iota =
        |dtype, shape: &[usize], dim| Op::Iota(IotaAttrs { ty: TensorType::new(dtype, Shape::fixed(shape)), dim });
    check(&iota(DType::I32, &[2, 3], 1), &[], &ints(DType::I32, &[2, 3], &[0, 1, 2, 0, 1, 2]));
    check(&iota(DType::F32, &[2, 3], 0), &[], &floats(DType::F32, &[2, 3], &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
    check(&iota(DType::I64, &[0], 0), &[], &ints(DType::I64, &[0], &[]));
    assert_eq!(value(&iota(DType::U8, &[300], 0), &[]).get(299).bits, 43);
    assert_eq!(value(&iota(DType::F16, &[2050], 0), &[]).get(2049).to_f64(), 2048.0);
}

#[test]
fn reshape_keeps_the_order() {
    let x = counting(&[2, 3]);
    check(&Op::Reshape(Shape::fixed(&[3, 2])), &[&x], &counting(&[3, 2]));
    check(&Op::Reshape(Shape::fixed(&[1, 6, 1])), &[&x], &counting(&[1, 6, 1]));
    check(&Op::Reshape(Shape::fixed(&[5, 0])), &[&counting(&[0, 2])], &counting(&[5, 0]));
    check_error(&Op::Reshape(Shape::fixed(&[4])), &[&x], "operand has type f32[2, 3], which cannot be reshaped to [4]");
}

#[test]
fn transpose_permutes() {
    let x = counting(&[2, 3]);
    check(&Op::Transpose(vec![1, 0]), &[&x], &floats(DType::F32, &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    check(&Op::Transpose(vec![]), &[&counting(&[])], &counting(&[]));
    let y = value(&Op::Transpose(vec![2, 0, 1]), &[&counting(&[2, 3, 4])]);
    assert_eq!(y.shape, [4, 2, 3]);
    // Element [3, 1, 2] is element [1, 2, 3] of the operand.
    assert_eq!(y.get(3 * 6 + 3 + 2).to_f64(), 23.0);
    check(&Op::Transpose(vec![1, 0]), &[&counting(&[0, 3])], &counting(&[3, 0]));
}

#[test]
fn broadcasts_repeat_and_stretch() {
    let op = |shape: &[usize], dims: &[usize]| {
        Op::BroadcastInDim(BroadcastAttrs { shape: Shape::fixed(shape), dims: dims.to_vec() })
    };
    let x = counting(&[2]);
    check(&op(&[2, 3], &[0]), &[&x], &floats(DType::F32, &[2, 3], &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
    check(&op(&[3, 2], &[1]), &[&x], &floats(DType::F32, &[3, 2], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0]));
    let column = counting(&[2, 1]);
    check(&op(&[2, 2], &[0, 1]), &[&column], &floats(DType::F32, &[2, 2], &[0.0, 0.0, 1.0, 1.0]));
    check(&op(&[0, 2], &[1]), &[&x], &counting(&[0, 2]));
    check(&op(&[2, 0], &[0, 1]), &[&column], &counting(&[2, 0]));
    check(&op(&[3], &[]), &[&floats(DType::F32, &[], &[7.0])], &floats(DType::F32, &[3], &[7.0; 3]));
}

#[test]
fn slices_step() {
    let op = |start: &[usize], limit: &[usize], stride: &[usize]| {
        let dims = |extents: &[usize]| extents.iter().map(|&extent| extent.into()).collect();
        Op::Slice(SliceAttrs { start: dims(start), limit: dims(limit), stride: stride.to_vec() })
    };
    let x = counting(&[3, 4]);
    check(&op(&[1, 0], &[3, 4], &[1, 3]), &[&x], &floats(DType::F32, &[2, 2], &[4.0, 7.0, 8.0, 11.0]));
    check(&op(&[0, 1], &[3, 4], &[2, 2]), &[&x], &floats(DType::F32, &[2, 2], &[1.0, 3.0, 9.0, 11.0]));
    check(&op(&[3, 4], &[3, 4], &[1, 1]), &[&x], &counting(&[0, 0]));
    check(&op(&[1, 1], &[2, 2], &[usize::MAX >> 2, 1]), &[&x], &floats(DType::F32, &[1, 1], &[5.0]));
    check_error(&op(&[0, 0], &[4, 4], &[1, 1]), &[&x], "limit 4 of dimension 0 is beyond operand type f32[3, 4]");
    // Rounding an extent of 0 up to such a stride would overflow.
    check_error(
        &op(&[3, 0], &[3, 4], &[usize::MAX, 1]),
        &[&x],
        "stride of dimension 0 is 18446744073709551615, expected 1 to 9223372036854775807",
    );
}

#[test]
fn pads_surround_spread_and_crop() {
    let op = |low: &[i64], high: &[i64], interior: &[usize]| {
        Op::Pad(PadAttrs { low: low.to_vec(), high: high.to_vec(), interior: interior.to_vec() })
    };
    let (x, nine) = (floats(DType::F32, &[3], &[1.0, 2.0, 3.0]), floats(DType::F32, &[], &[9.0]));
    let case = |low, high, interior, expected: &[f64]| {
        check(&op(&[low], &[high], &[interior]), &[&x, &nine], &floats(DType::F32, &[expected.len()], expected));
    };
    case(1, 2, 0, &[9.0, 1.0, 2.0, 3.0, 9.0, 9.0]);
    case(0, 0, 2, &[1.0, 9.0, 9.0, 2.0, 9.0, 9.0, 3.0]);
    case(-1, -1, 0, &[2.0]);
    case(-1, 1, 1, &[9.0, 2.0, 9.0, 3.0, 9.0]);
    case(-3, 0, 0, &[]);
    case(-5, 3, 0, &[9.0]);
    check(&op(&[2], &[0], &[5]), &[&counting(&[0]), &nine], &floats(DType::F32, &[2], &[9.0, 9.0]));
    let x = counting(&[2, 2]);
    let expected = floats(DType::F32, &[2, 4], &[9.0, 0.0, 9.0, 1.0, 9.0, 2.0, 9.0, 3.0]);
    check(&op(&[0, 1], &[0, 0], &[0, 1]), &[&x, &nine], &expected);
}

#[test]
fn concatenation_joins_along_any_dimension() {
    let (x, y) = (counting(&[2, 1]), floats(DType::F32, &[2, 2], &[5.0, 6.0, 7.0, 8.0]));
    check(&Op::Concatenate(1), &[&x, &y], &floats(DType::F32, &[2, 3], &[0.0, 5.0, 6.0, 1.0, 7.0, 8.0]));
    check(
        &Op::Concatenate(0),
        &[&y, &counting(&[0, 2]), &y],
        &floats(DType::F32, &[4, 2], &[5.0, 6.0, 7.0, 8.0, 5.0, 6.0, 7.0, 8.0]),
    );
    check(&Op::Concatenate(1), &[&counting(&[0, 1]), &counting(&[0, 2])], &counting(&[0, 3]));
    check(&Op::Concatenate(0), &[&x], &x);
}

#[test]
fn reverse_reverses() {
    let x = counting(&[2, 3]);
    check(&Op::Reverse(vec![1]), &[&x], &floats(DType::F32, &[2, 3], &[2.0, 1.0, 0.0, 5.0, 4.0, 3.0]));
    check(&Op::Reverse(vec![0, 1]), &[&x], &floats(DType::F32, &[2, 3], &[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]));
    check(&Op::Reverse(vec![]), &[&x], &x);
    check(&Op::Reverse(vec![0]), &[&counting(&[0])], &counting(&[0]));
}
