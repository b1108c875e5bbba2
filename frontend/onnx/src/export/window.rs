//! `reduce_window` and its counterpart.
//!
//! Windows over the last dimensions of an image are ONNX's pooling. Any others are folded dimension by dimension: the
//! elements at the same place of all windows along a dimension are a strided slice, and the slices are folded.

use nnc_ir::ops::{Combiner, CompareDir, ReduceKind, ReduceWindowAttrs};
use nnc_ir::{DType, Dim, TensorType};

use super::elementwise::{compare, maximum, minimum};
use super::emitter::{Emitter, Refusal, Val, int, ints};
use super::index::put;
use super::lower::Site;
use super::movement::pad_edges;
use super::order::identity;
use super::reduce::widened;

/// Largest number of slices; beyond it the graph would be mostly slices.
const MAX_SLICES: usize = 4096;

pub(super) fn reduce_window(e: &mut Emitter, at: &Site<'_>, attrs: &ReduceWindowAttrs) -> Result<Val, Refusal> {
    let operand = at.full(e, 0)?;
    match attrs.kind {
        ReduceKind::Sum | ReduceKind::Max if is_pooling(&operand.ty, attrs) => Ok(pool(e, at, &operand, attrs)),
        ReduceKind::ArgMin | ReduceKind::ArgMax => arg_windows(e, &operand, attrs),
        kind => {
            let mut folded = operand;
            for dim in 0..attrs.window.len() {
                folded = fold(e, &folded, attrs, dim, &mut |e, lhs, rhs| match kind {
                    ReduceKind::Sum => widened(e, lhs, |e, lhs| {
                        let rhs = e.cast(rhs, lhs.dtype());
                        e.map("Add", &[lhs, &rhs])
                    }),
                    ReduceKind::Prod => widened(e, lhs, |e, lhs| {
                        let rhs = e.cast(rhs, lhs.dtype());
                        e.map("Mul", &[lhs, &rhs])
                    }),
                    ReduceKind::Min => minimum(e, lhs, rhs),
                    _ => maximum(e, lhs, rhs),
                })?;
            }
            Ok(folded)
        }
    }
}

/// Whether ONNX's pooling does it: floats, one to three spatial dimensions, padding within the window.
fn is_pooling(operand: &TensorType, attrs: &ReduceWindowAttrs) -> bool {
    let rank = operand.rank();
    let is_untouched = |dim: usize| {
        (attrs.window[dim], attrs.stride[dim], attrs.dilation[dim], attrs.padding[dim]) == (1, 1, 1, (0, 0))
    };
    let is_usual = |dim: usize| {
        let (low, high) = attrs.padding[dim];
        let window = attrs.window[dim] as i64;
        (0..window).contains(&low) && (0..window).contains(&high)
    };
    let dilates = attrs.dilation.iter().any(|&dilation| dilation != 1);
    operand.dtype.is_float()
        && (3..=5).contains(&rank)
        && (0..2).all(is_untouched)
        && (2..rank).all(is_usual)
        && !(attrs.kind == ReduceKind::Sum && dilates)
}

fn pool(e: &mut Emitter, at: &Site<'_>, operand: &Val, attrs: &ReduceWindowAttrs) -> Val {
    let spatial = |values: &[usize]| values[2..].iter().map(|&value| value as i64).collect::<Vec<_>>();
    let padding = &attrs.padding[2..];
    let pads = padding.iter().map(|pair| pair.0).chain(padding.iter().map(|pair| pair.1));
    let mut settings =
        vec![ints("kernel_shape", spatial(&attrs.window)), ints("strides", spatial(&attrs.stride)), ints("pads", pads)];
    if attrs.kind == ReduceKind::Max {
        settings.push(ints("dilations", spatial(&attrs.dilation)));
        return e.op_with("MaxPool", &[operand], settings, at.result().clone());
    }
    // The mean over the whole window, padding included, times its size.
    settings.push(int("count_include_pad", 1));
    let mean = e.op_with("AveragePool", &[operand], settings, at.result().clone());
    let size = e.number(operand.dtype(), attrs.n_taps() as f64);
    e.map("Mul", &[&mean, &size])
}

/// The windows along one dimension: `combine` folds the elements of each, first to last. Padding is the identity.
fn fold(
    e: &mut Emitter,
    operand: &Val,
    attrs: &ReduceWindowAttrs,
    dim: usize,
    combine: &mut dyn FnMut(&mut Emitter, &Val, &Val) -> Val,
) -> Result<Val, Refusal> {
    let value = identity(attrs.kind, operand.dtype());
    let value = e.scalar(value);
    let slices = slices(e, operand, attrs, dim, &value)?;
    Ok(slices[1..].iter().fold(slices[0].clone(), |folded, slice| combine(e, &folded, slice)))
}

/// For each place in a window along `dim`, the elements there of all windows, `value` where that is padding.
fn slices(
    e: &mut Emitter,
    operand: &Val,
    attrs: &ReduceWindowAttrs,
    dim: usize,
    value: &Val,
) -> Result<Vec<Val>, Refusal> {
    let (window, stride, dilation) = (attrs.window[dim], attrs.stride[dim], attrs.dilation[dim]);
    let (low, high) = attrs.padding[dim];
    if (window, stride, low, high) == (1, 1, 0, 0) {
        return Ok(vec![operand.clone()]);
    }
    if window > MAX_SLICES {
        return Err(format!("the window has {window} elements along dimension {dim}, expected at most {MAX_SLICES}"));
    }
    let plus = |dim: &Dim, amount: i64| {
        let size = Dim::from(amount.unsigned_abs() as usize);
        if amount < 0 { dim.clone() - size } else { dim.clone() + size }
    };
    let mut shape = operand.ty.shape.clone();
    shape.0[dim] = plus(&shape[dim], low + high);
    let mut padding = vec![(0, 0); operand.rank()];
    padding[dim] = (low, high);
    let padded = pad_edges(e, operand, &padding, value, &shape);
    // Windows start every `stride` elements, as long as the last element of one is there.
    let span = plus(padded.dim(dim), stride as i64 - attrs.spread(dim));
    let n_windows = span.floor_div(&Dim::from(stride));
    let spread = e.extent(&(n_windows.clone() * Dim::from(stride)))?;
    let mut slices = Vec::with_capacity(window);
    for tap in 0..window {
        let start = e.ints(&[(tap * dilation) as i64]);
        // The bound may lie behind the last element, and takes none more from there.
        let surplus = e.ints(&[(tap * dilation) as i64 - (stride as i64 - 1)]);
        let end = e.map("Add", &[&spread, &surplus]);
        slices.push(e.slice(&padded, dim, (&start, &end), stride as i64, n_windows.clone()));
    }
    Ok(slices)
}

/// Where the extreme element of each window lies in the operand, the first of equals: pairs of an element and its
/// position are folded, the last dimension first, so that ties fall to the first in row-major order.
fn arg_windows(e: &mut Emitter, operand: &Val, attrs: &ReduceWindowAttrs) -> Result<Val, Refusal> {
    let (kind, dir) = match attrs.kind {
        ReduceKind::ArgMin => (ReduceKind::Min, CompareDir::Lt),
        _ => (ReduceKind::Max, CompareDir::Gt),
    };
    let n_elements = e.extent_scalar(&operand.ty.shape.n_elements())?;
    let (zero, one, none) = (e.int(0), e.int(1), e.int(-1));
    let ty = TensorType { dtype: DType::I64, shape: operand.ty.shape.clone() };
    let count = TensorType { dtype: DType::I64, shape: nnc_ir::Shape(vec![operand.ty.shape.n_elements()]) };
    let counted = e.op("Range", &[&zero, &n_elements, &one], count);
    let mut positions = e.reshape(&counted, &ty.shape)?;
    let mut elements = operand.clone();
    let value = identity(kind, operand.dtype());
    let value = e.scalar(value);
    for dim in (0..operand.rank()).rev() {
        let element_slices = slices(e, &elements, attrs, dim, &value)?;
        let position_slices = slices(e, &positions, attrs, dim, &none)?;
        let mut pairs = element_slices.into_iter().zip(position_slices);
        (elements, positions) = pairs.next().expect("a window has elements");
        for (element, position) in pairs {
            let mut wins = compare(e, dir, &element, &elements);
            if element.dtype().is_float() {
                let is_nan = e.test("IsNaN", &[&element]);
                wins = e.map("Or", &[&wins, &is_nan]);
            }
            // Anything wins over padding, and padding over nothing else.
            let is_first = e.test("Equal", &[&positions, &none]);
            let wins = e.map("Or", &[&wins, &is_first]);
            elements = e.select(&wins, &element, &elements);
            positions = e.select(&wins, &position, &positions);
        }
    }
    Ok(positions)
}

pub(super) fn select_and_scatter(e: &mut Emitter, at: &Site<'_>, attrs: &ReduceWindowAttrs) -> Result<Val, Refusal> {
    let (operand, source) = (at.full(e, 0)?, at.full(e, 1)?);
    let kind = if attrs.kind == ReduceKind::Min { ReduceKind::ArgMin } else { ReduceKind::ArgMax };
    let positions = arg_windows(e, &operand, &attrs.with_kind(kind))?;
    // A window without elements picks none: its source falls behind the last element.
    let (none, behind) = (e.int(0), e.extent_scalar(&operand.ty.shape.n_elements())?);
    let is_empty = compare(e, CompareDir::Lt, &positions, &none);
    let positions = e.select(&is_empty, &behind, &positions);
    let zeros = e.number(operand.dtype(), 0.0);
    let zeros = e.full(&zeros, &operand.ty.shape)?;
    put(e, &zeros, &positions, &source, Combiner::Add)
}
