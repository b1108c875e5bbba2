//! Rules of `cumulative` and `sort`.

use nnc_ir::builder::Built;
use nnc_ir::ops::{Combiner, CumulativeAttrs, IotaAttrs, PadAttrs, ReduceKind, ScatterAttrs, SortAttrs};
use nnc_ir::{Builder, DType, Op, TensorType, Value};

use super::{Cotangents, Site};

pub(super) fn cumulative(attrs: &CumulativeAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (x, y, g) = (site.operands[0], site.result, site.cotangent);
    let b = &mut site.b;
    let cotangent = match attrs.kind {
        ReduceKind::Sum => b.cumulative(g, CumulativeAttrs { reverse: !attrs.reverse, ..attrs.clone() })?,
        ReduceKind::Prod => product(b, attrs, x, y, g)?,
        ReduceKind::Min | ReduceKind::Max => extremum(b, attrs, x, y, g)?,
        ReduceKind::Any | ReduceKind::All | ReduceKind::ArgMin | ReduceKind::ArgMax => {
            unreachable!("no gradient flows through {}", attrs.kind.name())
        }
    };
    Ok(vec![Some(cotangent)])
}

/// Element `i` is a factor of the products from `i` on. Its cotangent is the product before it times
/// `r[i] = g[i] + x[i + 1] * r[i + 1]`: multiplications alone, so zeros do no harm, in the gradient of the gradient
/// neither.
fn product(b: &mut Builder<'_>, attrs: &CumulativeAttrs, x: Value, y: Value, g: Value) -> Built {
    let one = b.scalar(b.dtype(x), 1.0)?;
    let before = shift(b, attrs, y, one, 1)?;
    let after = match b.shape(x)[attrs.dim].as_const() {
        Some(extent) => recurrence(b, attrs, x, g, extent)?,
        None => all_pairs(b, attrs, x, g)?,
    };
    b.multiply(before, after)
}

/// Moves the elements `by` places in the direction of the fold (backward where negative), filling with `value`.
fn shift(b: &mut Builder<'_>, attrs: &CumulativeAttrs, elements: Value, value: Value, by: i64) -> Built {
    let rank = b.shape(elements).rank();
    let by = if attrs.reverse { -by } else { by };
    let mut pad = PadAttrs { low: vec![0; rank], high: vec![0; rank], interior: vec![0; rank] };
    (pad.low[attrs.dim], pad.high[attrs.dim]) = (by, -by);
    b.pad(elements, value, pad)
}

/// `r[i] = g[i] + x[i + 1] * r[i + 1]` along a dimension of `extent`: the steps are affine functions of what follows,
/// composed with those 1, 2, 4, ... places on.
fn recurrence(b: &mut Builder<'_>, attrs: &CumulativeAttrs, x: Value, g: Value, extent: usize) -> Built {
    let zero = b.scalar(b.dtype(x), 0.0)?;
    let (mut factor, mut sum) = (shift(b, attrs, x, zero, -1)?, g);
    let mut covered = 1;
    while covered < extent {
        let following = shift(b, attrs, sum, zero, -(covered as i64))?;
        let following = b.multiply(factor, following)?;
        sum = b.add(sum, following)?;
        covered *= 2;
        if covered < extent {
            let further = shift(b, attrs, factor, zero, -((covered / 2) as i64))?;
            factor = b.multiply(factor, further)?;
        }
    }
    Ok(sum)
}

/// The same for an extent that is a symbol, from a square: row `i` holds the products of the elements after `i`.
fn all_pairs(b: &mut Builder<'_>, attrs: &CumulativeAttrs, x: Value, g: Value) -> Built {
    let (dim, shape) = (attrs.dim, b.shape(x).clone());
    let rank = shape.rank();
    let mut square = shape.clone();
    square.0.push(shape[dim].clone());
    let others: Vec<usize> = (0..=rank).filter(|&at| at != dim).collect();
    // The columns stand last.
    let spread = |b: &mut Builder<'_>, value: Value| {
        let order: Vec<usize> = (0..rank).filter(|&at| at != dim).chain([dim]).collect();
        let value = b.transpose(value, &order)?;
        b.broadcast_in_dim(value, square.clone(), &others)
    };
    let counter = TensorType { dtype: DType::I64, shape: square.clone() };
    let (row, column) = (b.iota(counter.clone(), dim)?, b.iota(counter, rank)?);
    let (first, last) = if attrs.reverse { (column, row) } else { (row, column) };
    let (is_after, is_from) = (b.lt(first, last)?, b.le(first, last)?);
    let factors = spread(b, x)?;
    let ones = b.ones_like(factors)?;
    let factors = b.select(is_after, factors, ones)?;
    let products = b.cumulative(factors, CumulativeAttrs { dim: rank, ..attrs.clone() })?;
    let weights = spread(b, g)?;
    let zeros = b.zeros_like(weights)?;
    let weights = b.select(is_from, weights, zeros)?;
    let terms = b.multiply(products, weights)?;
    b.reduce_sum(terms, &[rank])
}

/// Each cotangent goes to the element that is the extremum so far, the latest of equals (as `torch.cummax`).
fn extremum(b: &mut Builder<'_>, attrs: &CumulativeAttrs, x: Value, y: Value, g: Value) -> Built {
    let counter = b.ty(x).with_dtype(DType::I64);
    let position = b.iota(counter, attrs.dim)?;
    let (is_extremum, is_nan) = (b.eq(x, y)?, b.ne(x, x)?);
    let is_extremum = b.or(is_extremum, is_nan)?;
    // Running forward, the latest position is the largest so far; backward, the smallest.
    let (kind, none) = if attrs.reverse { (ReduceKind::Min, i64::MAX as f64) } else { (ReduceKind::Max, -1.0) };
    let none = b.splat_like(position, none)?;
    let position = b.select(is_extremum, position, none)?;
    let latest = b.cumulative(position, CumulativeAttrs { kind, ..attrs.clone() })?;
    put_along(b, latest, g, attrs.dim)
}

/// The elements go back to where they came from, which an iota among the inputs, sorted alike, says. The order itself
/// does not change with small steps.
pub(super) fn sort(attrs: &SortAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (operands, first_result) = (site.operands, site.result);
    let counts = |&value: &Value| matches!(site.b.graph().def_op(value), Op::Iota(IotaAttrs { dim, ty }) if *dim == attrs.dim && ty.dtype == DType::I64);
    let sources = match operands.iter().position(counts) {
        Some(idx) => Value(first_result.0 + idx as u32),
        None => {
            let counter = site.b.ty(operands[0]).with_dtype(DType::I64);
            let position = site.b.iota(counter, attrs.dim)?;
            site.b.sort(&[operands[0], position], attrs.clone())?[1]
        }
    };
    let mut cotangents = Vec::with_capacity(operands.len());
    for (idx, &g) in site.cotangents.iter().enumerate() {
        cotangents.push(match g {
            Some(g) => site.give(idx, |b| put_along(b, sources, g, attrs.dim))?,
            None => None,
        });
    }
    Ok(cotangents)
}

/// Zeros, to which each element of `values` is added at the position along `dim` that `positions` has for it.
fn put_along(b: &mut Builder<'_>, positions: Value, values: Value, dim: usize) -> Built {
    let rank = b.shape(values).rank();
    let batch: Vec<usize> = (0..rank).filter(|&at| at != dim).collect();
    let scatter = ScatterAttrs {
        update_window_dims: Vec::new(),
        inserted_window_dims: vec![dim],
        input_batching_dims: batch.clone(),
        scatter_indices_batching_dims: batch,
        scatter_dims_to_operand_dims: vec![dim],
        index_vector_dim: rank,
        combiner: Combiner::Add,
    };
    let zeros = b.zeros_like(values)?;
    b.scatter(zeros, positions, values, scatter)
}
