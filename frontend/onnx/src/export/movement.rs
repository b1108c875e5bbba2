//! Ops that move elements.

use nnc_ir::ops::{BroadcastAttrs, PadAttrs, SliceAttrs};
use nnc_ir::{DType, Dim, Shape, TensorType};

use super::emitter::{Emitter, Refusal, Val};
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

/// The start along `dim`, clamped so that `size` elements follow, as a vector of one `i64`.
fn start(e: &mut Emitter, start: &Val, extent: &Dim, size: &Dim) -> Result<Val, Refusal> {
    let start = e.cast(start, DType::I64);
    let start = e.reshape(&start, &Shape::fixed(&[1]))?;
    let zero = e.ints(&[0]);
    let (extent, size) = (e.extent(extent)?, e.extent(size)?);
    let largest = e.map("Sub", &[&extent, &size]);
    let below = e.map("Min", &[&start, &largest]);
    Ok(e.map("Max", &[&below, &zero]))
}

pub(super) fn dynamic_slice(e: &mut Emitter, at: &Site<'_>, sizes: &Shape) -> Result<Val, Refusal> {
    let operand = at.full(e, 0)?;
    let axes: Vec<usize> = (0..operand.rank()).filter(|&dim| sizes[dim] != *operand.dim(dim)).collect();
    if axes.is_empty() {
        return Ok(operand);
    }
    let mut starts = Vec::new();
    for &axis in &axes {
        starts.push(start(e, at.val(1 + axis), operand.dim(axis), &sizes[axis])?);
    }
    let starts = e.concat(&starts, 0);
    let sizes: Vec<Dim> = axes.iter().map(|&axis| sizes[axis].clone()).collect();
    let sizes = e.extents(&sizes)?;
    let ends = e.map("Add", &[&starts, &sizes]);
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let axes = e.ints(&axes);
    Ok(e.op("Slice", &[&operand, &starts, &ends, &axes], at.result().clone()))
}

/// Dimension by dimension: what lies before, the part that changes, what lies behind.
pub(super) fn dynamic_update_slice(e: &mut Emitter, at: &Site<'_>) -> Result<Val, Refusal> {
    let (operand, update) = (at.full(e, 0)?, at.full(e, 1)?);
    let axes: Vec<usize> = (0..operand.rank()).filter(|&dim| update.dim(dim) != operand.dim(dim)).collect();
    replace(e, at, &operand, &update, &axes)
}

fn replace(e: &mut Emitter, at: &Site<'_>, operand: &Val, update: &Val, axes: &[usize]) -> Result<Val, Refusal> {
    let Some((&axis, axes)) = axes.split_first() else { return Ok(update.clone()) };
    let (extent, size) = (operand.dim(axis).clone(), update.dim(axis).clone());
    let start = start(e, at.val(2 + axis), &extent, &size)?;
    let (zero, n_replaced, last) = (e.ints(&[0]), e.extent(&size)?, e.extent(&extent)?);
    let end = e.map("Add", &[&start, &n_replaced]);
    // How the rest splits is known when the model runs; what matters here is that it adds up.
    let rest = extent - size.clone();
    let before = e.slice(operand, axis, (&zero, &start), 1, rest);
    let inside = e.slice(operand, axis, (&start, &end), 1, size);
    let behind = e.slice(operand, axis, (&end, &last), 1, Dim::from(0));
    let inside = replace(e, at, &inside, update, axes)?;
    Ok(e.concat(&[before, inside, behind], axis))
}
