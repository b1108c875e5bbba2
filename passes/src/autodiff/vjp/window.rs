//! Rules of `reduce_window` and `select_and_scatter`.
//!
//! Along one dimension, with `p = low`, `s = stride`, `d = dilation`, window `o` holds the elements
//! `o * s + k * d - p` for the taps `k`. A sum hands its cotangent to each of them, so an element gets the sum over the
//! windows that hold it: the cotangent spread out by `s`, summed over windows of the same taps. A minimum or maximum
//! hands it to the element that was picked. Which one that is does not change with small steps: the pick has
//! derivative zero, at ties too.
//!
//! Where a stride does not divide evenly, the last positions of the operand are in no window. How many there are
//! depends on the extent; where that is a symbol, the cotangent is computed as if there were most, and cut to size.

use nnc_ir::builder::Built;
use nnc_ir::ops::{CompareDir, GatherAttrs, PadAttrs, ReduceKind, ReduceWindowAttrs, SliceAttrs};
use nnc_ir::{Builder, Dim, Shape, Value};

use super::reduce::product_of_others;
use super::{Cotangents, Site};

pub(super) fn reduce_window(attrs: &ReduceWindowAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (x, g) = (site.operands[0], site.cotangent);
    let b = &mut site.b;
    if b.shape(g).dims().contains(&Dim::from(0)) {
        return Ok(vec![None]);
    }
    let shape = b.shape(x).clone();
    let cotangent = match attrs.kind {
        ReduceKind::Sum if tiles(attrs) => repeat(b, attrs, shape, g)?,
        ReduceKind::Sum => sum_of_holders(b, attrs, shape, g)?,
        ReduceKind::Prod => product(b, attrs, x, g)?,
        ReduceKind::Min | ReduceKind::Max => b.select_and_scatter(x, g, attrs.clone())?,
        ReduceKind::Any | ReduceKind::All | ReduceKind::ArgMin | ReduceKind::ArgMax => {
            unreachable!("no gradient flows through {}", attrs.kind.name())
        }
    };
    Ok(vec![Some(cotangent)])
}

/// The source gets the cotangents of the elements that were picked: a gather, so that it is differentiable again.
pub(super) fn select_and_scatter(attrs: &ReduceWindowAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (x, g) = (site.operands[0], site.cotangent);
    let kind = if attrs.kind == ReduceKind::Min { ReduceKind::ArgMin } else { ReduceKind::ArgMax };
    let source = site.give(1, |b| {
        let picks = b.reduce_window(x, attrs.with_kind(kind))?;
        let flat = b.reshape(g, Shape(vec![b.shape(g).n_elements()]))?;
        let gather = GatherAttrs {
            collapsed_slice_dims: vec![0],
            start_index_map: vec![0],
            index_vector_dim: b.shape(picks).rank(),
            slice_sizes: vec![1],
            ..GatherAttrs::default()
        };
        let picked = b.gather(flat, picks, gather)?;
        if !attrs.is_padded() {
            return Ok(picked);
        }
        // A window that lies in the padding picked nothing.
        let zero = b.zeros_like(picks)?;
        let has_pick = b.compare(CompareDir::Ge, picks, zero)?;
        let zeros = b.zeros_like(picked)?;
        b.select(has_pick, picked, zeros)
    })?;
    Ok(vec![None, source])
}

/// Whether the windows lie side by side from the first element on, so that each element is in at most one.
fn tiles(attrs: &ReduceWindowAttrs) -> bool {
    (0..attrs.window.len()).all(|dim| {
        let is_dense = attrs.window[dim] == 1 || attrs.dilation[dim] == 1;
        is_dense && attrs.window[dim] == attrs.stride[dim] && attrs.padding[dim].0 == 0
    })
}

/// Positions at the end of the padded operand that are in no window along `dim`, if its extent is known.
fn unused(attrs: &ReduceWindowAttrs, dim: usize, extent: &Dim) -> Option<i64> {
    if attrs.stride[dim] == 1 {
        return Some(0);
    }
    let (low, high) = attrs.padding[dim];
    let padded = i64::try_from(extent.as_const()?).ok()? + low + high;
    Some((padded - attrs.spread(dim)).rem_euclid(attrs.stride[dim] as i64))
}

/// `unused`, or the most it can be.
fn most_unused(attrs: &ReduceWindowAttrs, dim: usize, extent: &Dim) -> i64 {
    unused(attrs, dim, extent).unwrap_or(attrs.stride[dim] as i64 - 1)
}

/// Cuts each dimension of `value` to the extent it has in `shape`.
fn cut(b: &mut Builder<'_>, mut value: Value, shape: &Shape) -> Built {
    for dim in 0..shape.rank() {
        if b.shape(value)[dim] != shape[dim] {
            value = b.slice_dim(value, dim, 0, shape[dim].clone())?;
        }
    }
    Ok(value)
}

/// Puts zeros around and between the elements of `value`, or gives the value itself where there are none.
fn pad_with_zeros(b: &mut Builder<'_>, value: Value, attrs: PadAttrs) -> Built {
    let is_nothing = |amounts: &[i64]| amounts.iter().all(|&amount| amount == 0);
    if is_nothing(&attrs.low) && is_nothing(&attrs.high) && attrs.interior.iter().all(|&gap| gap == 0) {
        return Ok(value);
    }
    let zero = b.scalar(b.dtype(value), 0.0)?;
    b.pad(value, zero, attrs)
}

/// For windows side by side: each element of `g` repeated over its window.
fn repeat(b: &mut Builder<'_>, attrs: &ReduceWindowAttrs, shape: Shape, g: Value) -> Built {
    let rank = shape.rank();
    let counts = b.shape(g).clone();
    let (mut split, mut joined, mut dims) = (Vec::new(), Vec::new(), Vec::new());
    for dim in 0..rank {
        dims.push(split.len());
        split.push(counts[dim].clone());
        if attrs.window[dim] > 1 {
            split.push(Dim::from(attrs.window[dim]));
        }
        joined.push(counts[dim].clone() * Dim::from(attrs.window[dim]));
    }
    let repeated = b.broadcast_in_dim(g, Shape(split), &dims)?;
    let repeated = b.reshape(repeated, Shape(joined))?;
    // What is in no window, less the padding that the last window covers.
    let high = (0..rank).map(|dim| most_unused(attrs, dim, &shape[dim]) - attrs.padding[dim].1).collect();
    let whole = pad_with_zeros(b, repeated, PadAttrs { low: vec![0; rank], high, interior: vec![0; rank] })?;
    cut(b, whole, &shape)
}

/// For each element the sum over the windows that hold it.
fn sum_of_holders(b: &mut Builder<'_>, attrs: &ReduceWindowAttrs, shape: Shape, g: Value) -> Built {
    let rank = shape.rank();
    let interior = attrs.stride.iter().map(|&stride| stride - 1).collect();
    let spread = pad_with_zeros(b, g, PadAttrs { low: vec![0; rank], high: vec![0; rank], interior })?;
    let padding = (0..rank).map(|dim| {
        let (low, high) = attrs.padding[dim];
        let reach = attrs.spread(dim) - 1;
        (reach - low, reach - high + most_unused(attrs, dim, &shape[dim]))
    });
    let holders = ReduceWindowAttrs {
        kind: ReduceKind::Sum,
        window: attrs.window.clone(),
        stride: vec![1; rank],
        dilation: attrs.dilation.clone(),
        padding: padding.collect(),
    };
    let sums = b.reduce_window(spread, holders)?;
    cut(b, sums, &shape)
}

/// The product of the other elements of each window, without division: the windows are laid out side by side, one
/// slice of the operand a tap.
fn product(b: &mut Builder<'_>, attrs: &ReduceWindowAttrs, x: Value, g: Value) -> Built {
    let rank = attrs.window.len();
    let (shape, counts) = (b.shape(x).clone(), b.shape(g).clone());
    let one = b.scalar(b.dtype(x), 1.0)?;
    let (low, high) = attrs.padding.iter().copied().unzip();
    let padded = b.pad(x, one, PadAttrs { low, high, interior: vec![0; rank] })?;
    let mut column = counts.clone();
    column.0.push(Dim::from(1));

    let mut columns = Vec::new();
    for tap in taps(&attrs.window) {
        let start: Vec<Dim> = (0..rank).map(|dim| Dim::from(tap[dim] * attrs.dilation[dim])).collect();
        let limit = (0..rank).map(|dim| {
            start[dim].clone() + (counts[dim].clone() - Dim::from(1)) * Dim::from(attrs.stride[dim]) + Dim::from(1)
        });
        let limit = limit.collect();
        let elements = b.slice(padded, SliceAttrs { start, limit, stride: attrs.stride.clone() })?;
        columns.push(b.reshape(elements, column.clone())?);
    }
    let windows = b.concatenate(&columns, rank)?;
    let others = product_of_others(b, windows, &[rank])?;
    let g = b.broadcast_reduced(g, b.shape(others).clone(), &[rank])?;
    let shares = b.multiply(g, others)?;

    let mut total = None;
    for (idx, tap) in taps(&attrs.window).enumerate() {
        let share = b.slice_dim(shares, rank, idx, idx + 1)?;
        let share = b.reshape(share, counts.clone())?;
        let place = |dim: usize| {
            let low = (tap[dim] * attrs.dilation[dim]) as i64;
            let high = attrs.spread(dim) - 1 - low + most_unused(attrs, dim, &shape[dim]);
            (low - attrs.padding[dim].0, high - attrs.padding[dim].1)
        };
        let (low, high) = (0..rank).map(place).unzip();
        let interior = attrs.stride.iter().map(|&stride| stride - 1).collect();
        let share = pad_with_zeros(b, share, PadAttrs { low, high, interior })?;
        total = Some(match total {
            None => share,
            Some(sum) => b.add(sum, share)?,
        });
    }
    cut(b, total.expect("a window has an element"), &shape)
}

/// The positions in a window of these extents, in row-major order.
fn taps(window: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let n_taps: usize = window.iter().product();
    (0..n_taps).map(move |number| {
        let mut rest = number;
        let mut tap = vec![0; window.len()];
        for dim in (0..window.len()).rev() {
            (tap[dim], rest) = (rest % window[dim], rest / window[dim]);
        }
        tap
    })
}
