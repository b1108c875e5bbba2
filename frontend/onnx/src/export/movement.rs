//! Ops that move elements.

use nnc_ir::ops::{BroadcastAttrs, Combiner, IotaAttrs, PadAttrs, SliceAttrs};
use nnc_ir::{DType, Dim, Shape, TensorType};

use super::emitter::{Emitter, Refusal, Val, int};
use super::index::put;
use super::leaf;
use super::lower::Site;

/// Nothing is repeated here: the operand gets the dimensions that let it broadcast.
pub(super) fn broadcast_in_dim(e: &mut Emitter, at: &Site<'_>, attrs: &BroadcastAttrs) -> Result<Val, Refusal> {
    let val = at.val(0);
    let rank = attrs.shape.rank();
    // Dimensions in front that the value leaves to broadcasting stay so.
    let n_skipped = at.ty(0).rank() - val.rank();
    let dims = &attrs.dims[n_skipped..];
    let first = dims.first().copied().unwrap_or(rank);
    let added: Vec<usize> = (first..rank).filter(|dim| !dims.contains(dim)).map(|dim| dim - first).collect();
    Ok(e.unsqueeze(val, &added))
}

pub(super) fn slice(e: &mut Emitter, at: &Site<'_>, attrs: &SliceAttrs) -> Result<Val, Refusal> {
    let operand = at.full(e, 0)?;
    let is_cut = |dim: &usize| {
        attrs.start[*dim] != Dim::from(0) || attrs.stride[*dim] != 1 || attrs.limit[*dim] != *operand.dim(*dim)
    };
    let axes: Vec<usize> = (0..operand.rank()).filter(is_cut).collect();
    if axes.is_empty() {
        return Ok(operand);
    }
    let pick = |dims: &[Dim]| axes.iter().map(|&axis| dims[axis].clone()).collect::<Vec<_>>();
    let (starts, ends) = (e.extents(&pick(&attrs.start))?, e.extents(&pick(&attrs.limit))?);
    let steps: Vec<i64> = axes.iter().map(|&axis| attrs.stride[axis] as i64).collect();
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let (axes, steps) = (e.ints(&axes), e.ints(&steps));
    Ok(e.op("Slice", &[&operand, &starts, &ends, &axes, &steps], at.result().clone()))
}

pub(super) fn pad(e: &mut Emitter, at: &Site<'_>, attrs: &PadAttrs) -> Result<Val, Refusal> {
    let mut val = at.full(e, 0)?;
    let value = at.full(e, 1)?;
    for (dim, &interior) in attrs.interior.iter().enumerate() {
        if interior > 0 {
            val = spread(e, &val, dim, interior, &value)?;
        }
    }
    let padding: Vec<(i64, i64)> = attrs.low.iter().copied().zip(attrs.high.iter().copied()).collect();
    Ok(pad_edges(e, &val, &padding, &value, &at.result().shape))
}

/// Puts `interior` elements of `value` between neighbors along `dim`.
pub(super) fn spread(e: &mut Emitter, val: &Val, dim: usize, interior: usize, value: &Val) -> Result<Val, Refusal> {
    // Each element becomes the first of a row, rows are laid end to end, and what follows the last element is cut off.
    let extent = val.dim(dim).clone();
    let rows = e.unsqueeze(val, &[dim + 1]);
    let mut shape = rows.ty.shape.clone();
    shape.0[dim + 1] = Dim::from(interior + 1);
    let mut padding = vec![(0, 0); rows.rank()];
    padding[dim + 1].1 = interior as i64;
    let rows = pad_edges(e, &rows, &padding, value, &shape);
    let mut flat = val.ty.shape.clone();
    flat.0[dim] = extent.clone() * Dim::from(interior + 1);
    let flat = e.reshape(&rows, &flat)?;
    let (start, end) = (e.ints(&[0]), e.ints(&[-(interior as i64)]));
    // Nothing is cut off of nothing: a bound before the first element is the first.
    let kept = match extent.as_const() {
        Some(0) => Dim::from(0),
        _ => flat.dim(dim).clone() - Dim::from(interior),
    };
    Ok(e.slice(&flat, dim, (&start, &end), 1, kept))
}

/// Puts `value` before and after; negative amounts crop.
pub(super) fn pad_edges(e: &mut Emitter, val: &Val, padding: &[(i64, i64)], value: &Val, shape: &Shape) -> Val {
    if padding.iter().all(|&pair| pair == (0, 0)) {
        return val.clone();
    }
    let amounts: Vec<i64> = padding.iter().map(|pair| pair.0).chain(padding.iter().map(|pair| pair.1)).collect();
    let amounts = e.ints(&amounts);
    e.op("Pad", &[val, &amounts, value], TensorType { dtype: val.dtype(), shape: shape.clone() })
}

pub(super) fn reverse(e: &mut Emitter, at: &Site<'_>, dims: &[usize]) -> Result<Val, Refusal> {
    let operand = at.full(e, 0)?;
    if dims.is_empty() {
        return Ok(operand);
    }
    let axes: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    let all = |e: &mut Emitter, value: i64| e.ints(&vec![value; dims.len()]);
    let (starts, ends, steps) = (all(e, -1), all(e, i64::MIN + 1), all(e, -1));
    let axes = e.ints(&axes);
    Ok(e.op("Slice", &[&operand, &starts, &ends, &axes, &steps], operand.ty.clone()))
}

/// Positions along a dimension of the `size` elements from a start, which is clamped so that they all exist.
fn positions(e: &mut Emitter, start: &Val, extent: &Dim, size: &Dim) -> Result<Val, Refusal> {
    let start = e.cast(start, DType::I64);
    let (zero, largest) = (e.int(0), e.extent_scalar(&(extent.clone() - size.clone()))?);
    let below = e.map("Min", &[&start, &largest]);
    let start = e.map("Max", &[&below, &zero]);
    let ty = TensorType { dtype: DType::I64, shape: Shape(vec![size.clone()]) };
    let counted = leaf::iota(e, &IotaAttrs { ty, dim: 0 })?;
    Ok(e.map("Add", &[&start, &counted]))
}

/// The elements at the slice's positions, one dimension after the other.
pub(super) fn dynamic_slice(e: &mut Emitter, at: &Site<'_>, sizes: &Shape) -> Result<Val, Refusal> {
    let mut val = at.full(e, 0)?;
    for axis in 0..val.rank() {
        let size = &sizes[axis];
        if size == val.dim(axis) {
            continue;
        }
        let positions = positions(e, at.val(1 + axis), val.dim(axis), size)?;
        let mut ty = val.ty.clone();
        ty.shape.0[axis] = size.clone();
        val = e.op_with("Gather", &[&val, &positions], vec![int("axis", axis as i64)], ty);
    }
    Ok(val)
}

/// Each element of the update goes to its position among all elements of the operand.
pub(super) fn dynamic_update_slice(e: &mut Emitter, at: &Site<'_>) -> Result<Val, Refusal> {
    let (operand, update) = (at.full(e, 0)?, at.full(e, 1)?);
    let rank = operand.rank();
    let mut position = e.int(0);
    for axis in 0..rank {
        let along = positions(e, at.val(2 + axis), operand.dim(axis), update.dim(axis))?;
        let behind: Vec<usize> = (1..rank - axis).collect();
        let along = e.unsqueeze(&along, &behind);
        let extent = e.extent_scalar(operand.dim(axis))?;
        position = e.map("Mul", &[&position, &extent]);
        position = e.map("Add", &[&position, &along]);
    }
    put(e, &operand, &position, &update, Combiner::Assign)
}
