//! Reading by position: `Gather`, `GatherElements`, `GatherND`, `ReverseSequence`.
//!
//! Negative positions count from the end. One that is known to be out of range is a fault; one that turns out to be when
//! the program runs takes the nearest element.

use nnc_frontend::Tensor;
use nnc_ir::{Dim, TensorData};

use super::ints::moved;
use super::positions::{counting, index_along, of_type_of};
use super::{Entry, Outcome, op};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("Gather", 1.., gather),
    op("GatherElements", 11.., gather_elements),
    op("GatherND", 11.., gather_nd),
    op("ReverseSequence", 10.., reverse_sequence),
];

fn gather(cx: &mut Cx<'_>) -> Outcome {
    let axis = cx.int_or("axis", 0)?;
    let positions = cx.try_known(1);
    if let Some(positions) = &positions
        && let Some(picked) = gather_known(cx, axis, positions)?
    {
        return Ok(vec![picked]);
    }
    let picked = moved(cx, 0, |data| {
        let axis = cx.axis(axis, data.ty().rank())?;
        match &positions {
            Some(positions) => take(cx, data, axis, positions),
            None => Ok(index_along(data, axis, &cx.input(1)?)),
        }
    })?;
    Ok(vec![picked])
}

/// Elements of a vector of extents, which is no tensor of the trace.
fn gather_known(cx: &Cx<'_>, axis: i64, positions: &TensorData) -> Result<Option<Value>, Fault> {
    let shape = positions.shape.clone();
    match cx.value(0)? {
        Value::Tensor(value) => {
            let Some(ints) = &value.ints else { return Ok(None) };
            if shape.len() > 1 {
                return Ok(None);
            }
            cx.axis(axis, 1)?;
            let picked: Result<Vec<_>, Fault> =
                positions.to_i64().into_iter().map(|at| Ok(ints[from_front(cx, at, ints.len())?].clone())).collect();
            Ok(Some(Value::ints(picked?, shape, value.elem)))
        }
        _ => Ok(None),
    }
}

/// A position counted from the front.
fn from_front(cx: &Cx<'_>, at: i64, extent: usize) -> Result<usize, Fault> {
    let counted = if at < 0 { at + extent as i64 } else { at };
    usize::try_from(counted)
        .ok()
        .filter(|&counted| counted < extent)
        .ok_or_else(|| cx.invalid(format!("position {at} is out of range for {extent} elements")))
}

/// The slices of `data` along `axis` at positions that are known, in their shape: views wherever the positions are
/// evenly spaced.
pub(super) fn take(cx: &Cx<'_>, data: &Tensor, axis: usize, positions: &TensorData) -> Result<Tensor, Fault> {
    let extent = data.shape()[axis].clone();
    let numbers = positions.to_i64();
    if let Some(extent) = extent.as_const() {
        let extent = extent as i64;
        if let Some(wrong) = numbers.iter().find(|&&at| at < -extent || at >= extent) {
            return Err(cx.invalid(format!(
                "position {wrong} is out of range for dimension {axis} of {}, expected {} to {}",
                data.ty(),
                -extent,
                extent - 1
            )));
        }
    }
    let dim = axis as i64;
    if let ([], &[at]) = (positions.shape.as_slice(), numbers.as_slice()) {
        return Ok(data.select(dim, at));
    }
    if let Some((start, step, count)) = even(&numbers, &extent) {
        let end = (count as i64 - 1).saturating_mul(step as i64).saturating_add(start).saturating_add(1);
        let picked = data.slice(dim, start, Some(end), step);
        if positions.shape.len() == 1 {
            return Ok(picked);
        }
        let mut shape = data.shape().0;
        shape.splice(axis..=axis, positions.shape.iter().map(|&extent| Dim::from(extent)));
        return Ok(picked.reshape(shape));
    }
    Ok(index_along(data, axis, &Tensor::from_data(positions.clone())))
}

/// Start, step and number of positions that are evenly spaced, the first at the front.
fn even(positions: &[i64], extent: &Dim) -> Option<(i64, usize, usize)> {
    let counted: Option<Vec<i64>> = positions
        .iter()
        .map(|&at| if at >= 0 { Some(at) } else { extent.as_const().map(|extent| at + extent as i64) })
        .collect();
    let counted = counted?;
    match counted.as_slice() {
        [] => None,
        &[only] => Some((only, 1, 1)),
        &[first, second, ..] => {
            let step = second - first;
            let is_even = step > 0 && counted.windows(2).all(|pair| pair[1] - pair[0] == step);
            is_even.then_some((first, step as usize, counted.len()))
        }
    }
}

fn gather_elements(cx: &mut Cx<'_>) -> Outcome {
    let (data, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.axis(cx.int_or("axis", 0)?, data.ty().rank())?;
    let indices = indices.positions_in(&data.shape()[axis]);
    Ok(vec![of_type_of(cx, 0, data.gather(axis as i64, &indices))?])
}

fn gather_nd(cx: &mut Cx<'_>) -> Outcome {
    let (data, indices) = (cx.input(0)?, cx.input(1)?);
    let batch_dims = cx.int_or("batch_dims", 0)?;
    let Ok(batch_dims) = usize::try_from(batch_dims) else {
        return Err(cx.invalid(format!("batch_dims is {batch_dims}, expected 0 or more")));
    };
    Ok(vec![of_type_of(cx, 0, data.gather_nd(batch_dims, &indices))?])
}

fn reverse_sequence(cx: &mut Cx<'_>) -> Outcome {
    let (data, lengths) = (cx.input(0)?, cx.input(1)?);
    let rank = data.ty().rank();
    let time = cx.axis(cx.int_or("time_axis", 0)?, rank)?;
    let batch = cx.axis(cx.int_or("batch_axis", 1)?, rank)?;
    if time == batch || time > 1 || batch > 1 {
        return Err(cx.invalid(format!("time_axis is {time} and batch_axis {batch}, expected 0 and 1 in either order")));
    }
    // Time first, so that both are indexed side by side.
    let swapped = time == 1;
    let sequences = if swapped { data.transpose(0, 1) } else { data };
    let extents = sequences.shape();
    let step = counting(&[extents[0].clone(), Dim::from(1)], 0);
    let lengths = lengths.long().unsqueeze(0);
    let source = (&lengths - 1 - &step).where_(&step.lt(&lengths), &step);
    let reversed = sequences.index((source, Tensor::arange(extents[1].clone())));
    let reversed = if swapped { reversed.transpose(0, 1) } else { reversed };
    Ok(vec![of_type_of(cx, 0, reversed)?])
}
