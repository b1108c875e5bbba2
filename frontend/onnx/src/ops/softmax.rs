//! `Softmax`, `LogSoftmax` and `Hardmax`: along one axis, and before operator set 13 along all axes from one on.

use nnc_frontend::Tensor;

use super::{Entry, Outcome, one, op, op_range, wide};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op_range("Softmax", 1..=12, |cx| flattened(cx, Tensor::softmax)),
    op("Softmax", 13.., |cx| along(cx, Tensor::softmax)),
    op_range("LogSoftmax", 1..=12, |cx| flattened(cx, Tensor::log_softmax)),
    op("LogSoftmax", 13.., |cx| along(cx, Tensor::log_softmax)),
    op_range("Hardmax", 1..=12, |cx| flattened(cx, hardmax)),
    op("Hardmax", 13.., |cx| along(cx, hardmax)),
];

/// A function of a tensor along one dimension.
type Along = fn(&Tensor, i64) -> Tensor;

/// The input, half precision as `f32`, and the axis.
fn input(cx: &Cx<'_>, axis: i64) -> Result<(Tensor, usize), Fault> {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", axis)?, x.rank())?;
    Ok((wide(&x), axis))
}

fn along(cx: &mut Cx<'_>, function: Along) -> Outcome {
    let (x, axis) = input(cx, -1)?;
    one(function(&x, axis as i64).to_dtype(cx.input(0)?.dtype()))
}

/// The input as a matrix, whose columns are all axes from one on.
fn flattened(cx: &mut Cx<'_>, function: Along) -> Outcome {
    let (x, axis) = input(cx, 1)?;
    let y = match axis + 1 == x.rank() {
        true => function(&x, axis as i64),
        false => function(&x.flatten(axis as i64, -1), axis as i64).reshape(x.shape()),
    };
    one(y.to_dtype(cx.input(0)?.dtype()))
}

/// 1 where the largest element is for the first time, else 0.
#[track_caller]
fn hardmax(x: &Tensor, axis: i64) -> Tensor {
    let mut shape = vec![1i64; x.rank()];
    shape[axis as usize] = -1;
    let positions = Tensor::arange(x.size(axis)).reshape(shape);
    x.argmax(axis).unsqueeze(axis).eq(positions).to_dtype(x.dtype())
}
