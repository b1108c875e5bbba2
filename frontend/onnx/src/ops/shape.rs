//! Shapes of tensors as values, and operators that give the same elements another shape.

use nnc_frontend::tensor::DimSpec;
use nnc_ir::{Dim, Shape};

use super::generate::shape as extents;
use super::ints::moved;
use super::{Entry, Outcome, op};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("Expand", 8.., expand),
    op("Flatten", 1.., flatten),
    op("Reshape", 5.., reshape),
    op("Shape", 1.., shape),
    op("Size", 1.., size),
    op("Squeeze", 1.., squeeze),
    op("Tile", 6.., tile),
    op("Transpose", 1.., transpose),
    op("Unsqueeze", 1.., unsqueeze),
];

/// The extents of input 0.
pub(super) fn extents_of_input(cx: &Cx<'_>) -> Result<Vec<Dim>, Fault> {
    match cx.value(0)? {
        Value::Strings(strings) => Ok(Shape::fixed(&strings.shape).0),
        // A weight need not become a parameter to say its shape, nor integers a tensor.
        Value::Tensor(value) => Ok(value.shape().0),
        Value::Picked(picked) => Ok(picked.positions.shape().0),
        Value::Sequence(_) | Value::Optional(_) | Value::Maps(_) => {
            Err(cx.invalid("input 0 is no tensor, expected one"))
        }
    }
}

/// Extents `start` to `end` (exclusive), cut to the rank as Python cuts slices.
fn shape(cx: &mut Cx<'_>) -> Outcome {
    let dims = extents_of_input(cx)?;
    let rank = dims.len() as i64;
    let bound = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let (start, end) = (bound(cx.int_or("start", 0)?), bound(cx.int_or("end", rank)?));
    let ints: Vec<ShapeInt> = dims[start..end.max(start)].iter().map(ShapeInt::of).collect();
    let n = ints.len();
    Ok(vec![Value::ints(ints, vec![n], ElemType::Int64)])
}

fn size(cx: &mut Cx<'_>) -> Outcome {
    let n = Shape(extents_of_input(cx)?).n_elements();
    Ok(vec![Value::ints(vec![ShapeInt::of(&n)], Vec::new(), ElemType::Int64)])
}

/// -1 is what is left, and 0 (without `allowzero`) the extent as it was.
fn reshape(cx: &mut Cx<'_>) -> Outcome {
    let given = cx.shape_ints(1)?;
    let allow_zero = cx.flag("allowzero", false)?;
    let reshaped = moved(cx, 0, |x| {
        let mut specs = Vec::with_capacity(given.len());
        for (dim, extent) in given.iter().enumerate() {
            specs.push(match extent {
                ShapeInt::Known(-1) => DimSpec::Infer,
                ShapeInt::Known(0) if !allow_zero => match x.shape().dims().get(dim) {
                    Some(kept) => DimSpec::Is(kept.clone()),
                    None => return Err(cx.invalid(format!("extent {dim} is 0, but input 0 is {}", x.ty()))),
                },
                ShapeInt::Known(extent) => DimSpec::from(*extent),
                ShapeInt::Symbolic(extent) => DimSpec::Is(extent.clone()),
            });
        }
        Ok(x.reshape(specs))
    })?;
    Ok(vec![reshaped])
}

/// A matrix: the dimensions before `axis` joined, and the others joined.
fn flatten(cx: &mut Cx<'_>) -> Outcome {
    let axis = cx.int_or("axis", 1)?;
    let flat = moved(cx, 0, |x| {
        let dims = x.dims();
        // The rank itself is an axis: everything comes before it.
        let axis = if axis == dims.len() as i64 { dims.len() } else { cx.axis(axis, dims.len())? };
        let joined = |dims: &[Dim]| Shape(dims.to_vec()).n_elements();
        Ok(x.reshape([joined(&dims[..axis]), joined(&dims[axis..])]))
    })?;
    Ok(vec![flat])
}

/// Drops the given axes, or all whose extent is known to be 1.
fn squeeze(cx: &mut Cx<'_>) -> Outcome {
    let axes = cx.axes(1)?;
    let squeezed = moved(cx, 0, |x| {
        let Some(axes) = &axes else { return Ok(x.squeeze_all()) };
        let mut dropped = Vec::with_capacity(axes.len());
        for &axis in axes {
            dropped.push(cx.axis(axis, x.rank())?);
        }
        let dims = x.dims();
        if let Some(&odd) = dropped.iter().find(|&&dim| dims[dim] != Dim::from(1)) {
            return Err(cx.invalid(format!("axis {odd} of {} is {}, expected 1", x.ty(), dims[odd])));
        }
        let kept = dims.into_iter().enumerate().filter(|(dim, _)| !dropped.contains(dim)).map(|(_, extent)| extent);
        Ok(x.reshape(kept.collect::<Vec<_>>()))
    })?;
    Ok(vec![squeezed])
}

/// New axes of extent 1; they count in the result.
fn unsqueeze(cx: &mut Cx<'_>) -> Outcome {
    let axes = cx.axes(1)?.ok_or_else(|| cx.invalid("the axes are left out"))?;
    let unsqueezed = moved(cx, 0, |x| {
        let rank = x.rank() + axes.len();
        let mut added = Vec::with_capacity(axes.len());
        for &axis in &axes {
            let axis = cx.axis(axis, rank)?;
            if added.contains(&axis) {
                return Err(cx.invalid(format!("axis {axis} is given twice")));
            }
            added.push(axis);
        }
        let mut old = x.dims().into_iter();
        let extent = |dim: usize| if added.contains(&dim) { None } else { old.next() };
        Ok(x.reshape((0..rank).map(extent).map(|dim| dim.unwrap_or(Dim::from(1))).collect::<Vec<_>>()))
    })?;
    Ok(vec![unsqueezed])
}

/// Dimensions in the order of `perm`, by default the last first.
fn transpose(cx: &mut Cx<'_>) -> Outcome {
    let given = cx.ints("perm")?;
    let transposed = moved(cx, 0, |x| {
        Ok(match &given {
            Some(permutation) => x.permute(permutation.as_slice()),
            None => x.permute((0..x.rank()).rev().collect::<Vec<_>>()),
        })
    })?;
    Ok(vec![transposed])
}

/// Broadcasts input and shape together: an extent of 1 in the shape leaves the input's.
fn expand(cx: &mut Cx<'_>) -> Outcome {
    let wanted = extents(cx, 1)?;
    let expanded = moved(cx, 0, |x| {
        let dims = x.dims();
        let rank = dims.len().max(wanted.rank());
        let one = Dim::from(1);
        let from_end =
            |dims: &[Dim], at: usize| dims.len().checked_sub(at).map_or(one.clone(), |dim| dims[dim].clone());
        let extent = |at: usize| match (from_end(&dims, at), from_end(wanted.dims(), at)) {
            (own, wanted) if wanted == one => own,
            (_, wanted) => wanted,
        };
        Ok(x.broadcast_to(Shape((1..=rank).rev().map(extent).collect())))
    })?;
    Ok(vec![expanded])
}

/// The input as often along each dimension as input 1 says.
fn tile(cx: &mut Cx<'_>) -> Outcome {
    let repeats = extents(cx, 1)?;
    let tiled = moved(cx, 0, |x| {
        if repeats.rank() != x.rank() {
            return Err(cx.invalid(format!("{} numbers of repetitions for {}", repeats.rank(), x.ty())));
        }
        Ok(x.repeat(&repeats))
    })?;
    Ok(vec![tiled])
}
