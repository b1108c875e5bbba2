//! What operators that work by position share.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{Index, apply};
use nnc_ir::ops::{IotaAttrs, SliceAttrs};
use nnc_ir::{DType, Dim, Op, Shape, TensorType};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::value::Value;

/// The `i64` numbers 0, 1, 2, ... along dimension `dim` of a shape.
pub(crate) fn counting(shape: &[Dim], dim: usize) -> Tensor {
    let ty = TensorType::new(DType::I64, Shape(shape.to_vec()));
    apply(Op::Iota(IotaAttrs { ty, dim }), &[])
}

/// The slices along `axis` at integer positions, whose dimensions take its place. Negative positions count from the end.
pub(super) fn index_along(data: &Tensor, axis: usize, positions: &Tensor) -> Tensor {
    let whole = || Index::Slice { start: 0, end: None, step: 1 };
    let mut indices: Vec<Index> = (0..axis).map(|_| whole()).collect();
    indices.push(positions.into());
    data.index(indices)
}

/// The elements of a table, a vector, at positions that are known to be in range.
pub(super) fn look_up(table: &Tensor, positions: &Tensor) -> Tensor {
    let rank = positions.ty().rank();
    let attrs = nnc_ir::ops::GatherAttrs {
        collapsed_slice_dims: vec![0],
        start_index_map: vec![0],
        index_vector_dim: rank,
        slice_sizes: vec![1],
        ..Default::default()
    };
    apply(Op::Gather(attrs), &[table, positions])
}

/// Elements `start` to `end` along `axis`, where both may be symbolic.
pub(super) fn slice_dims(data: &Tensor, axis: usize, start: &Dim, end: &Dim) -> Tensor {
    let shape = data.shape();
    if *start == Dim::from(0) && shape[axis] == *end {
        return data.clone();
    }
    let mut attrs = SliceAttrs {
        start: vec![Dim::from(0); shape.rank()],
        limit: shape.dims().to_vec(),
        stride: vec![1; shape.rank()],
    };
    attrs.start[axis] = start.clone();
    attrs.limit[axis] = end.clone();
    apply(Op::Slice(attrs), &[data])
}

/// Input `index`, one number, as an extent.
pub(super) fn extent_of(cx: &Cx<'_>, index: usize) -> Result<Dim, Fault> {
    match cx.shape_ints(index)?.as_slice() {
        [int] => int.to_dim().ok_or_else(|| cx.invalid(format!("input {index} is {int}, expected 0 or more"))),
        ints => Err(cx.invalid(format!("input {index} has {} elements, expected one", ints.len()))),
    }
}

/// A tensor made of elements of input `index`, so of its element type.
pub(super) fn of_type_of(cx: &Cx<'_>, index: usize, tensor: Tensor) -> Result<Value, Fault> {
    Ok(Value::with_elem(tensor, cx.elem(index)?))
}
