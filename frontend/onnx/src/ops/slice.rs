//! Cutting tensors into parts and joining parts.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::apply;
use nnc_ir::ops::SliceAttrs;
use nnc_ir::{Dim, Op};

use super::ints::{moved, moved_all};
use super::shape::extents_of_input;
use super::{Entry, Outcome, op, op_range};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;

pub(super) const OPS: &[Entry] = &[
    op("Concat", 4.., concat),
    op_range("Slice", 1..=9, |cx| {
        let known = |name: &str| Ok(cx.ints(name)?.map(|ints| ints.into_iter().map(ShapeInt::Known).collect()));
        let bounds = |name: &str| known(name)?.ok_or_else(|| cx.invalid(format!("attribute `{name}` is left out")));
        let (starts, ends): (Vec<_>, Vec<_>) = (bounds("starts")?, bounds("ends")?);
        slice(cx, &starts, &ends, cx.ints("axes")?, None)
    }),
    op("Slice", 10.., |cx| {
        let (starts, ends) = (cx.shape_ints(1)?, cx.shape_ints(2)?);
        let axes = cx.has(3).then(|| cx.known_ints(3)).transpose()?;
        let steps = cx.has(4).then(|| cx.known_ints(4)).transpose()?;
        slice(cx, &starts, &ends, axes, steps)
    }),
    op("Split", 2.., split),
];

fn concat(cx: &mut Cx<'_>) -> Outcome {
    let axis = cx.int("axis")?.ok_or_else(|| cx.invalid("attribute `axis` is left out"))?;
    let elem = cx.elem(0)?;
    for index in 1..cx.n_inputs() {
        let other = cx.elem(index)?;
        if other != elem {
            return Err(cx.invalid(format!("input {index} is {other}, expected {elem} as input 0")));
        }
    }
    let indices: Vec<usize> = (0..cx.n_inputs()).collect();
    Ok(vec![moved_all(cx, &indices, |tensors| Ok(Tensor::cat(tensors, axis)))?])
}

/// `start:end:step` of each axis, with Python's meaning.
fn slice(
    cx: &Cx<'_>,
    starts: &[ShapeInt],
    ends: &[ShapeInt],
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Outcome {
    let n = starts.len();
    let axes = axes.unwrap_or_else(|| (0..n as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; n]);
    if ends.len() != n || axes.len() != n || steps.len() != n {
        return Err(cx.invalid(format!(
            "{n} starts, {} ends, {} axes and {} steps, expected as many of each",
            ends.len(),
            axes.len(),
            steps.len()
        )));
    }
    let sliced = moved(cx, 0, |x| {
        let mut result = x.clone();
        for (((start, end), &axis), &step) in starts.iter().zip(ends).zip(&axes).zip(&steps) {
            let dim = cx.axis(axis, x.rank())?;
            result = slice_dim(cx, &result, dim, (start, end), step)?;
        }
        Ok(result)
    })?;
    Ok(vec![sliced])
}

fn slice_dim(
    cx: &Cx<'_>,
    x: &Tensor,
    dim: usize,
    (start, end): (&ShapeInt, &ShapeInt),
    step: i64,
) -> Result<Tensor, Fault> {
    let extent = x.size(dim as i64);
    let stride = usize::try_from(step.unsigned_abs()).ok().filter(|&stride| stride > 0);
    let Some(stride) = stride else { return Err(cx.invalid(format!("the step along axis {dim} is {step}"))) };
    if step > 0 {
        let (first, limit) = (bound(start, &extent), bound(end, &extent));
        return Ok(cut(x, dim, &first, &limit, stride));
    }
    // Backward is forward in the reversed tensor, where element `i` lies at `extent - 1 - i`. A start before the first
    // element is the first.
    let first = match (mirrored(start, &extent), extent.as_const()) {
        (first, Some(extent)) => {
            Dim::from(first.as_const().map_or(extent, |first| first.min(extent.saturating_sub(1))))
        }
        (first, None) => first,
    };
    let limit = match end {
        // By the letter nothing would be left; exporters mean all that there is, and ONNX Runtime takes it so.
        ShapeInt::Known(FAR..) => extent.clone(),
        end => mirrored(end, &extent),
    };
    Ok(cut(&x.flip(dim), dim, &first, &limit, stride))
}

/// Numbers so large (or so far below 0) mean the end (or the beginning) of any dimension.
const FAR: i64 = i32::MAX as i64;

/// A bound of a slice as a position from 0 to `extent`. A number beyond a symbolic extent is taken as it is, which the
/// extent must then allow.
fn bound(at: &ShapeInt, extent: &Dim) -> Dim {
    match (at, extent.as_const()) {
        (ShapeInt::Known(at), Some(extent)) if *at < 0 => Dim::from(extent.saturating_sub(at.unsigned_abs() as usize)),
        (ShapeInt::Known(at), Some(extent)) => Dim::from(extent.min(*at as usize)),
        (ShapeInt::Known(at), None) if *at >= FAR => extent.clone(),
        (ShapeInt::Known(at), None) if *at <= -FAR => Dim::from(0),
        (ShapeInt::Known(at), None) if *at < 0 => extent.clone() - Dim::from(at.unsigned_abs() as usize),
        (ShapeInt::Known(at), None) => Dim::from(*at as usize),
        (ShapeInt::Symbolic(at), _) => at.clone(),
    }
}

/// [`bound`] of a backward slice, counted from the last element: from 0 (the last) to `extent` (before the first).
fn mirrored(at: &ShapeInt, extent: &Dim) -> Dim {
    match (at, extent.as_const()) {
        // Element -1 is the last, and position 0 from there.
        (ShapeInt::Known(at), Some(extent)) if *at < 0 => Dim::from(extent.min(at.unsigned_abs() as usize - 1)),
        (ShapeInt::Known(at), Some(extent)) => Dim::from(extent.saturating_sub(1).saturating_sub(*at as usize)),
        (ShapeInt::Known(at), None) if *at >= FAR => Dim::from(0),
        (ShapeInt::Known(at), None) if *at <= -FAR => extent.clone(),
        (ShapeInt::Known(at), None) if *at < 0 => Dim::from(at.unsigned_abs() as usize - 1),
        (ShapeInt::Known(at), None) => extent.clone() - Dim::from(*at as usize + 1),
        (ShapeInt::Symbolic(at), _) => extent.clone() - Dim::from(1) - at.clone(),
    }
}

/// Elements `start, start + stride, ... < limit` along `dim`.
fn cut(x: &Tensor, dim: usize, start: &Dim, limit: &Dim, stride: usize) -> Tensor {
    let shape = x.shape();
    if *start == Dim::from(0) && *limit == shape[dim] && stride == 1 {
        return x.clone();
    }
    let limit = match (start.as_const(), limit.as_const()) {
        (Some(start), Some(limit)) => Dim::from(start.max(limit)),
        _ => limit.clone(),
    };
    let mut attrs = SliceAttrs { start: vec![Dim::from(0); x.rank()], limit: shape.0, stride: vec![1; x.rank()] };
    attrs.start[dim] = start.clone();
    attrs.limit[dim] = limit;
    attrs.stride[dim] = stride;
    apply(Op::Slice(attrs), &[x])
}

/// Parts along `axis`: of the given extents, or as many as there are outputs, all equal. From operator set 18 on the
/// last of `num_outputs` parts may be smaller.
fn split(cx: &mut Cx<'_>) -> Outcome {
    let given = match cx.has(1) {
        true => Some(cx.shape_ints(1)?),
        false => cx.ints("split")?.map(|ints| ints.into_iter().map(ShapeInt::Known).collect()),
    };
    let n = usize::try_from(cx.int_or("num_outputs", cx.n_outputs() as i64)?).unwrap_or_default();
    if given.is_none() && n != cx.n_outputs() {
        return Err(cx.invalid(format!("`num_outputs` is {n} for {} outputs", cx.n_outputs())));
    }
    let extents = extents_of_input(cx)?;
    let dim = cx.axis(cx.int_or("axis", 0)?, extents.len())?;
    let n = given.as_ref().map_or(n, Vec::len);
    let limits = limits(cx, &extents[dim], given.as_deref(), n)?;
    let starts = std::iter::once(Dim::from(0)).chain(limits.iter().cloned());
    starts.zip(&limits).map(|(start, limit)| moved(cx, 0, |x| Ok(cut(x, dim, &start, limit, 1)))).collect()
}

/// Where each of `n` parts of a dimension ends.
fn limits(cx: &Cx<'_>, extent: &Dim, given: Option<&[ShapeInt]>, n: usize) -> Result<Vec<Dim>, Fault> {
    let Some(given) = given else {
        let even = extent.exact_div(&Dim::from(n));
        let each = match (even, extent.as_const()) {
            (Some(each), _) => each,
            (None, Some(extent)) if cx.opset() >= 18 => Dim::from(extent.div_ceil(n.max(1))),
            _ => return Err(cx.invalid(format!("extent {extent} does not divide into {n} parts"))),
        };
        let limit = |part: usize| match (extent.as_const(), each.as_const()) {
            (Some(extent), Some(each)) => Dim::from(extent.min(each * part)),
            _ => each.clone() * Dim::from(part),
        };
        return Ok((1..=n).map(limit).collect());
    };
    let mut limits: Vec<Dim> = Vec::with_capacity(n);
    for part in given {
        let Some(part) = part.to_dim() else { return Err(cx.invalid(format!("a part has {part} elements"))) };
        limits.push(limits.last().cloned().unwrap_or(Dim::from(0)) + part);
    }
    match limits.last() {
        Some(last) if last != extent => Err(cx.invalid(format!("the parts have {last} elements, expected {extent}"))),
        _ => Ok(limits),
    }
}
