//! Ops that move elements: an element of the result is an element of an operand at another index (or padding).
//!
//! [`source_of`] composes indices where the source is known while compiling; that is nearly always. Pads and
//! concatenations that are not resolved by the range of the index, and gathers, are decided at run time.

use nnc_ir::Value;
use nnc_ir::ops::{CompareDir, GatherAttrs, Op, PadAttrs};

use super::affine::{Affine, dense_strides, dot};
use super::cx::{Cx, Eval, Stop};
use super::dynamic;
use crate::kernel::{BinOp, Reg, Ty};

/// Whether [`eval`] knows the op.
pub(super) fn is_view(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape(_)
            | Op::Transpose(_)
            | Op::BroadcastInDim(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Concatenate(_)
            | Op::Reverse(_)
            | Op::Gather(_)
            | Op::DynamicSlice(_)
            | Op::OptimizationBarrier
            | Op::StopGradient
    )
}

/// The operand and index that hold the element of `value` at `coords`, if that is decided while compiling and takes no
/// arithmetic.
pub(super) fn source_of(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Option<(Value, Vec<Affine>)>> {
    let region = cx.region;
    let operands = region.operands(value);
    let operand = operands[0];
    let extents = region.shape(operand);
    let moved = match region.op(value) {
        Op::OptimizationBarrier | Op::StopGradient => coords.to_vec(),
        Op::Reshape(_) => match cx.reshape_affine(coords, region.shape(value), extents) {
            Some(moved) => moved,
            None => return Ok(None),
        },
        Op::Transpose(permutation) => {
            let mut moved = vec![Affine::default(); coords.len()];
            for (coord, &dim) in coords.iter().zip(permutation) {
                moved[dim] = coord.clone();
            }
            moved
        }
        Op::BroadcastInDim(attrs) => {
            let pick = |(&dim, &extent): (&usize, &usize)| match extent {
                1 => Affine::constant(0),
                _ => coords[dim].clone(),
            };
            attrs.dims.iter().zip(extents).map(pick).collect()
        }
        Op::Slice(attrs) => {
            let start = |dim: usize| attrs.start[dim].as_const().map(|start| start as i64);
            let step =
                |(dim, coord): (usize, &Affine)| Some(coord.scaled(attrs.stride[dim] as i64).plus_const(start(dim)?));
            let moved: Option<Vec<Affine>> = coords.iter().enumerate().map(step).collect();
            moved.ok_or_else(|| Stop::Unsupported("a slice with symbolic bounds".to_string()))?
        }
        Op::Reverse(dims) => {
            let flip = |(dim, coord): (usize, &Affine)| match dims.contains(&dim) {
                true => coord.scaled(-1).plus_const(extents[dim] as i64 - 1),
                false => coord.clone(),
            };
            coords.iter().enumerate().map(flip).collect()
        }
        Op::Concatenate(dim) => {
            let (low, high) = cx.range(&coords[*dim]);
            let mut first = 0;
            for &operand in operands {
                let end = first + region.shape(operand)[*dim] as i64;
                if first <= low && high < end {
                    let mut moved = coords.to_vec();
                    moved[*dim] = coords[*dim].clone().plus_const(-first);
                    return Ok(Some((operand, moved)));
                }
                first = end;
                note_break(cx, &coords[*dim], end);
            }
            return Ok(None);
        }
        Op::Pad(attrs) => return Ok(pad_source(cx, attrs, operands, extents, coords)),
        _ => return Ok(None),
    };
    Ok(Some((operand, moved)))
}

/// Where the iteration space is best cut so that `coord < at` is decided while compiling.
fn note_break(cx: &mut Cx<'_>, coord: &Affine, at: i64) {
    if let &[(super::affine::Var::Dim(dim), step @ 1..)] = coord.terms.as_slice() {
        // The first index from which `coord` is at least `at`.
        cx.trace.breaks.insert((dim as usize, (at - coord.offset + step - 1).div_euclid(step)));
    }
    cx.trace.opaque.extend(coord.dims());
}

/// The source of a padded element, if the range of the index decides it.
fn pad_source(
    cx: &mut Cx<'_>,
    attrs: &PadAttrs,
    operands: &[Value],
    extents: &[usize],
    coords: &[Affine],
) -> Option<(Value, Vec<Affine>)> {
    let mut inside = Some(Vec::with_capacity(coords.len()));
    for (dim, coord) in coords.iter().enumerate() {
        let (low, step, extent) = (attrs.low[dim], attrs.interior[dim] as i64 + 1, extents[dim] as i64);
        let (first, last) = cx.range(coord);
        let end = low + (extent - 1) * step + 1;
        if extent == 0 || last < low || first >= end {
            return Some((operands[1], Vec::new()));
        }
        if first >= low && last < end && step == 1 {
            if let Some(inside) = &mut inside {
                inside.push(coord.clone().plus_const(-low));
            }
        } else {
            note_break(cx, coord, low);
            note_break(cx, coord, end);
            inside = None;
        }
    }
    Some((operands[0], inside?))
}

/// The register that holds the element at `coords` of a value that [`is_view`].
pub(super) fn eval(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Reg> {
    if let Some((operand, moved)) = source_of(cx, value, coords)? {
        return cx.eval(operand, &moved);
    }
    match cx.region.op(value) {
        Op::Reshape(_) => {
            let linear = dot(coords, &dense_strides(cx.region.shape(value)));
            cx.eval_linear(cx.region.operands(value)[0], &linear)
        }
        Op::Pad(attrs) => pad(cx, attrs, value, coords),
        Op::Concatenate(dim) => concatenate(cx, *dim, value, coords),
        Op::Gather(attrs) => {
            let moved = gather_coords(cx, attrs, value, coords)?;
            cx.eval(cx.region.operands(value)[0], &moved)
        }
        Op::DynamicSlice(_) => {
            let moved = dynamic::slice_coords(cx, value, coords)?;
            cx.eval(cx.region.operands(value)[0], &moved)
        }
        op => unreachable!("{} has a source", op.mnemonic()),
    }
}

/// A condition on an index, known or not.
pub(super) fn compare(cx: &mut Cx<'_>, dir: CompareDir, coord: &Affine, with: i64) -> Eval<Reg> {
    cx.trace.opaque.extend(coord.dims());
    if cx.varies(coord) {
        return Err(Stop::Scalar);
    }
    let reg = cx.coord_reg(coord, Ty::I64);
    let with = cx.b.const_i64(Ty::I64, 1, with);
    Ok(cx.b.compare(dir, reg, with))
}

/// [`compare`] where the index begins or ceases to be inside: the iteration space is best cut there.
pub(super) fn condition(cx: &mut Cx<'_>, dir: CompareDir, coord: &Affine, with: i64) -> Eval<Reg> {
    note_break(cx, coord, if dir == CompareDir::Le { with + 1 } else { with });
    compare(cx, dir, coord, with)
}

/// The index forced into `0..extent`, so that it is safe to load from.
pub(super) fn into_range(cx: &mut Cx<'_>, coord: &Affine, extent: i64) -> Affine {
    let (low, high) = cx.range(coord);
    if low >= 0 && high < extent {
        return coord.clone();
    }
    let reg = cx.coord_reg(coord, Ty::I64);
    cx.clamp_index(reg, 0, extent - 1)
}

/// Loads from the nearest element and keeps it where the index is inside.
fn pad(cx: &mut Cx<'_>, attrs: &PadAttrs, value: Value, coords: &[Affine]) -> Eval<Reg> {
    let operands = cx.region.operands(value);
    let extents = cx.region.shape(operands[0]);
    let mut inside: Option<Reg> = None;
    let mut moved = Vec::with_capacity(coords.len());
    for (dim, coord) in coords.iter().enumerate() {
        let (step, extent) = (attrs.interior[dim] as i64 + 1, extents[dim] as i64);
        let mut coord = coord.clone().plus_const(-attrs.low[dim]);
        if step > 1 {
            cx.note_step(&coord, step);
        }
        let (low, high) = cx.range(&coord);
        let mut conditions = Vec::new();
        if low < 0 {
            conditions.push(compare(cx, CompareDir::Ge, &coord, 0)?);
        }
        if high > (extent - 1) * step {
            conditions.push(compare(cx, CompareDir::Le, &coord, (extent - 1) * step)?);
        }
        coord = into_range(cx, &coord, (extent - 1) * step + 1);
        if step > 1 {
            let (quotient, remainder) = cx.split(&coord, step)?;
            let (least, _) = cx.range(&remainder);
            if least > 0 {
                // Between two elements, wherever that is.
                return cx.eval(operands[1], &[]);
            }
            if remainder != Affine::constant(0) {
                conditions.push(compare(cx, CompareDir::Eq, &remainder, 0)?);
            }
            coord = quotient;
        }
        moved.push(coord);
        for condition in conditions {
            inside = Some(match inside {
                Some(inside) => cx.b.binary(BinOp::And, inside, condition),
                None => condition,
            });
        }
    }
    let element = cx.eval(operands[0], &moved)?;
    let padding = cx.eval(operands[1], &[])?;
    match inside {
        Some(inside) => select(cx, inside, element, padding),
        None => Ok(element),
    }
}

fn select(cx: &mut Cx<'_>, pred: Reg, on_true: Reg, on_false: Reg) -> Eval<Reg> {
    let mut sides = [on_true, on_false];
    cx.promote_all(&mut sides);
    let lanes = cx.b.reg_type(sides[0]).lanes;
    let pred = cx.promote(pred, lanes);
    Ok(cx.b.select(pred, sides[0], sides[1]))
}

/// Chooses among the operands that the index may fall into.
fn concatenate(cx: &mut Cx<'_>, dim: usize, value: Value, coords: &[Affine]) -> Eval<Reg> {
    let region = cx.region;
    let (low, high) = cx.range(&coords[dim]);
    let mut first = 0;
    let mut chosen: Option<Reg> = None;
    for &operand in region.operands(value) {
        let extent = region.shape(operand)[dim] as i64;
        let end = first + extent;
        if extent > 0 && first <= high && end > low {
            let local = coords[dim].clone().plus_const(-first);
            let begins = compare(cx, CompareDir::Ge, &local, 0)?;
            let mut moved = coords.to_vec();
            moved[dim] = into_range(cx, &local, extent);
            let element = cx.eval(operand, &moved)?;
            chosen = Some(match chosen {
                Some(before) => select(cx, begins, element, before)?,
                None => element,
            });
        }
        first = end;
    }
    chosen.ok_or_else(|| Stop::Unsupported("an element of an empty concatenation".to_string()))
}

/// Index into the operand of a gather. Starts are loaded; they must not vary with the lane.
fn gather_coords(cx: &mut Cx<'_>, attrs: &GatherAttrs, value: Value, coords: &[Affine]) -> Eval<Vec<Affine>> {
    let region = cx.region;
    let (operand, indices) = (region.operands(value)[0], region.operands(value)[1]);
    let extents = region.shape(operand);
    let batch: Vec<Affine> =
        (0..coords.len()).filter(|dim| !attrs.offset_dims.contains(dim)).map(|dim| coords[dim].clone()).collect();
    let mut window = attrs.offset_dims.iter().map(|&dim| coords[dim].clone());
    let mut moved = Vec::with_capacity(extents.len());
    for dim in 0..extents.len() {
        let dropped = attrs.collapsed_slice_dims.contains(&dim) || attrs.operand_batching_dims.contains(&dim);
        moved.push(if dropped { Affine::constant(0) } else { window.next().expect("one window dim a kept dim") });
    }
    for (&operand_dim, &indices_dim) in attrs.operand_batching_dims.iter().zip(&attrs.start_indices_batching_dims) {
        // Without the index vectors' dimension, those behind it move up.
        let position = indices_dim - usize::from(indices_dim > attrs.index_vector_dim);
        moved[operand_dim] = moved[operand_dim].plus(&batch[position]);
    }
    for (component, &operand_dim) in attrs.start_index_map.iter().enumerate() {
        let last_start = extents[operand_dim] as i64 - attrs.slice_sizes[operand_dim] as i64;
        let start = index_component(cx, indices, &batch, attrs.index_vector_dim, component)?;
        let start = cx.clamp_index(start, 0, last_start);
        moved[operand_dim] = moved[operand_dim].plus(&start);
    }
    Ok(moved)
}

/// One component of the index vector at `batch`, as a scalar `i64`.
pub(super) fn index_component(
    cx: &mut Cx<'_>,
    indices: Value,
    batch: &[Affine],
    index_vector_dim: usize,
    component: usize,
) -> Eval<Reg> {
    let mut coords = batch.to_vec();
    if index_vector_dim < cx.region.shape(indices).len() {
        coords.insert(index_vector_dim, Affine::constant(component as i64));
    }
    let start = cx.eval(indices, &coords)?;
    if cx.b.reg_type(start).lanes != 1 {
        return Err(Stop::Scalar);
    }
    Ok(cx.position(start))
}
