//! Borders and blocks: padding, cropping, and moving elements between channels and positions.

use nnc_frontend::Tensor;
use nnc_frontend::functional::{self, PaddingMode};
use nnc_frontend::tensor::apply;
use nnc_ir::ops::PadAttrs;
use nnc_ir::{Dim, Op, Scalar, Shape, TensorData};

use super::generate::shape as extents;
use super::{Entry, Outcome, op, op_range};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("CenterCropPad", 18.., center_crop_pad),
    op("DepthToSpace", 1.., depth_to_space),
    op_range("Pad", 2..=10, |cx| {
        let amounts = cx.ints("pads")?.ok_or_else(|| cx.invalid("attribute `pads` is left out"))?;
        let value = Tensor::full((), cx.float_or("value", 0.0)?).to_dtype(cx.input(0)?.dtype());
        pad(cx, &amounts.into_iter().map(ShapeInt::Known).collect::<Vec<_>>(), value, None)
    }),
    op("Pad", 11.., |cx| {
        let value = match cx.optional(2)? {
            Some(value) => value.reshape(()),
            None => zero(&cx.input(0)?),
        };
        let axes = cx.has(3).then(|| cx.known_ints(3)).transpose()?;
        pad(cx, &cx.shape_ints(1)?, value, axes)
    }),
    op("SpaceToDepth", 1.., space_to_depth),
];

/// The zero of a tensor's type.
fn zero(like: &Tensor) -> Tensor {
    let dtype = like.dtype();
    Tensor::from_data(TensorData::from_scalars(dtype, Vec::new(), [Scalar::zero(dtype)]))
}

/// No border is wider; sums of a few fit.
const WIDEST: i64 = 1 << 48;

/// All amounts before come first, then all behind.
fn pad(cx: &Cx<'_>, amounts: &[ShapeInt], value: Tensor, axes: Option<Vec<i64>>) -> Outcome {
    let x = cx.input(0)?;
    let elem = cx.elem(0)?;
    let axes = axes.unwrap_or_else(|| (0..x.rank() as i64).collect());
    if amounts.len() != 2 * axes.len() {
        return Err(cx.invalid(format!("{} amounts of padding, expected {}", amounts.len(), 2 * axes.len())));
    }
    let mode = match cx.string_or("mode", "constant")?.as_str() {
        "constant" => None,
        "reflect" => Some(PaddingMode::Reflect),
        "edge" => Some(PaddingMode::Replicate),
        "wrap" => Some(PaddingMode::Circular),
        other => {
            let expected = "expected `constant`, `reflect`, `edge` or `wrap`";
            return Err(cx.invalid(format!("attribute `mode` is `{other}`, {expected}")));
        }
    };
    let mut borders = vec![(ShapeInt::Known(0), ShapeInt::Known(0)); x.rank()];
    for (idx, &axis) in axes.iter().enumerate() {
        borders[cx.axis(axis, x.rank())?] = (amounts[idx].clone(), amounts[axes.len() + idx].clone());
    }
    let known: Option<Vec<(i64, i64)>> =
        borders.iter().map(|(low, high)| Some((low.known()?, high.known()?))).collect();
    let is_wide =
        |amounts: &(i64, i64)| [amounts.0, amounts.1].iter().any(|amount| amount.unsigned_abs() > WIDEST as u64);
    if let Some(amounts) = known.iter().flatten().find(|amounts| is_wide(amounts)) {
        return Err(cx.invalid(format!("padding of {amounts:?}, expected at most {WIDEST}")));
    }
    let padded = match (mode, known) {
        (None, Some(known)) => {
            let attrs = PadAttrs {
                low: known.iter().map(|amounts| amounts.0).collect(),
                high: known.iter().map(|amounts| amounts.1).collect(),
                interior: vec![0; x.rank()],
            };
            apply(Op::Pad(attrs), &[&x, &value])
        }
        (None, None) => surround(cx, x, &borders, &value)?,
        (Some(mode), Some(known)) => {
            let mut padded = x;
            for (dim, amounts) in known.into_iter().enumerate().filter(|(_, amounts)| *amounts != (0, 0)) {
                padded = border(cx, &padded, dim, amounts, mode)?;
            }
            padded
        }
        (Some(mode), None) => {
            return Err(cx.unsupported(format!("padding of symbolic extent in mode {mode:?}; bind the symbols")));
        }
    };
    Ok(vec![Value::with_elem(padded, elem)])
}

/// A border of one value whose extents may be expressions.
fn surround(cx: &Cx<'_>, x: Tensor, borders: &[(ShapeInt, ShapeInt)], value: &Tensor) -> Result<Tensor, Fault> {
    let mut padded = x;
    for (dim, (low, high)) in borders.iter().enumerate() {
        let shape = padded.shape();
        let side = |amount: &ShapeInt| -> Result<Option<Tensor>, Fault> {
            let Some(extent) = amount.to_dim() else {
                return Err(cx.unsupported(format!("padding of {amount} beside symbolic extents; bind the symbols")));
            };
            let mut shape = shape.clone();
            shape.0[dim] = extent.clone();
            Ok((extent != Dim::from(0)).then(|| value.broadcast_to(shape)))
        };
        let parts: Vec<Tensor> = side(low)?.into_iter().chain([padded.clone()]).chain(side(high)?).collect();
        padded = Tensor::cat(&parts, dim as i64);
    }
    Ok(padded)
}

/// A border of what the tensor holds along one dimension.
fn border(cx: &Cx<'_>, x: &Tensor, dim: usize, (low, high): (i64, i64), mode: PaddingMode) -> Result<Tensor, Fault> {
    // The border before this one may be at fault.
    if x.is_poisoned() {
        return Err(Fault::Reported);
    }
    if mode == PaddingMode::Circular && low.min(high) < 0 && low.max(high) > 0 {
        // What is cut off is no neighbor of the other end.
        let cropped = border(cx, x, dim, (low.min(0), high.min(0)), mode)?;
        return border(cx, &cropped, dim, (low.max(0), high.max(0)), mode);
    }
    let extent = x.size(dim as i64).as_const().map(|extent| extent as i64);
    let reach = match (mode, extent) {
        (PaddingMode::Reflect, Some(extent)) => extent - 1,
        (PaddingMode::Circular, Some(extent)) => extent,
        _ => i64::MAX,
    };
    if low.max(high) <= reach {
        let mut amounts = vec![(0, 0); x.rank() - dim];
        amounts[x.rank() - 1 - dim] = (low, high);
        return Ok(functional::pad(x, &amounts, mode));
    }
    // Further out, the border repeats: each element is looked up.
    let Some(extent) = extent.filter(|&extent| extent > 0) else {
        return Err(cx.invalid(format!("dimension {dim} of {} has nothing to pad with", x.ty())));
    };
    let period = match mode {
        PaddingMode::Reflect => (extent - 1).saturating_mul(2).max(1),
        _ => extent,
    };
    let source = |at: i64| {
        let at = at.rem_euclid(period);
        if at < extent { at } else { period - at }
    };
    let length = i128::from(low) + i128::from(extent) + i128::from(high);
    let length = cx.table("the padded dimension", usize::try_from(length.max(0)).unwrap_or(usize::MAX))?;
    let positions: Vec<i64> = (low.saturating_neg()..).take(length).map(source).collect();
    Ok(x.index_select(dim as i64, &Tensor::from_slice(&positions)))
}

/// Crops or pads with zeros on both sides to the extents of input 1; of an odd difference the end gets more.
fn center_crop_pad(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let elem = cx.elem(0)?;
    let wanted = extents(cx, 1)?;
    let axes = cx.ints_or("axes", &(0..x.rank() as i64).collect::<Vec<_>>())?;
    if axes.len() != wanted.rank() {
        return Err(cx.invalid(format!("{} extents for {} axes", wanted.rank(), axes.len())));
    }
    let mut result = x.clone();
    for (&axis, wanted) in axes.iter().zip(wanted.dims()) {
        let dim = cx.axis(axis, x.rank())?;
        let extent = x.size(axis);
        if extent == *wanted {
            continue;
        }
        let (Some(extent), Some(wanted)) = (extent.as_const(), wanted.as_const()) else {
            return Err(cx.unsupported(format!("cropping or padding {extent} to {wanted}; bind the symbols")));
        };
        if wanted < extent {
            result = result.narrow(axis, (extent - wanted) / 2, wanted);
            continue;
        }
        let missing = (wanted - extent) as i64;
        let mut attrs = PadAttrs { low: vec![0; x.rank()], high: vec![0; x.rank()], interior: vec![0; x.rank()] };
        attrs.low[dim] = missing / 2;
        attrs.high[dim] = missing - missing / 2;
        result = apply(Op::Pad(attrs), &[&result, &zero(&x)]);
    }
    Ok(vec![Value::with_elem(result, elem)])
}

/// Whether blocks are ordered depth-column-row (`DCR`) and not column-row-depth, and their side.
fn blocks(cx: &Cx<'_>, x: &Tensor) -> Result<(bool, usize), Fault> {
    if x.rank() != 4 {
        return Err(cx.invalid(format!("input 0 is {}, expected [N, C, H, W]", x.ty())));
    }
    let side = cx.int_or("blocksize", 0)?;
    let Some(side) = usize::try_from(side).ok().filter(|side| (1..=1 << 16).contains(side)) else {
        return Err(cx.invalid(format!("attribute `blocksize` is {side}, expected 1 to 65536")));
    };
    match cx.string_or("mode", "DCR")?.as_str() {
        "DCR" => Ok((true, side)),
        "CRD" => Ok((false, side)),
        other => Err(cx.invalid(format!("attribute `mode` is `{other}`, expected `DCR` or `CRD`"))),
    }
}

/// `extent / side`, which must come out.
fn quotient(cx: &Cx<'_>, extent: &Dim, side: usize) -> Result<Dim, Fault> {
    let divided = extent.exact_div(&Dim::from(side));
    divided.ok_or_else(|| cx.invalid(format!("extent {extent} is no multiple of {side}")))
}

/// `[N, C * b², H, W]` to `[N, C, H * b, W * b]`.
fn depth_to_space(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let (depth_first, side) = blocks(cx, &x)?;
    let [n, c, h, w] = [0, 1, 2, 3].map(|dim| x.size(dim));
    let (c, b) = (quotient(cx, &c, side * side)?, Dim::from(side));
    let (split, order) = match depth_first {
        true => ([&n, &b, &b, &c, &h, &w], [0, 3, 4, 1, 5, 2]),
        false => ([&n, &c, &b, &b, &h, &w], [0, 1, 4, 2, 5, 3]),
    };
    let spread = x.reshape(Shape(split.map(Dim::clone).to_vec())).permute(order);
    let result = spread.reshape([n.clone(), c.clone(), h.clone() * b.clone(), w.clone() * b.clone()]);
    Ok(vec![Value::with_elem(result, cx.elem(0)?)])
}

/// `[N, C, H * b, W * b]` to `[N, C * b², H, W]`.
fn space_to_depth(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let (depth_first, side) = blocks(cx, &x)?;
    let [n, c, h, w] = [0, 1, 2, 3].map(|dim| x.size(dim));
    let (h, w, b) = (quotient(cx, &h, side)?, quotient(cx, &w, side)?, Dim::from(side));
    let split = [&n, &c, &h, &b, &w, &b].map(Dim::clone).to_vec();
    let order = if depth_first { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
    let gathered = x.reshape(Shape(split)).permute(order);
    let result = gathered.reshape([n.clone(), c.clone() * Dim::from(side * side), h.clone(), w.clone()]);
    Ok(vec![Value::with_elem(result, cx.elem(0)?)])
}
