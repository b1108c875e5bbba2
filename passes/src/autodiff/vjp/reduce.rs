//! Rules of the reductions.

use nnc_ir::builder::Built;
use nnc_ir::ops::{PadAttrs, ReduceAttrs, ReduceKind};
use nnc_ir::{Builder, DType, Dim, Shape, TensorType, Value};

use super::contract::inverse;
use super::{Cotangents, Site};

pub(super) fn reduce(attrs: &ReduceAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (x, y, g) = (site.operands[0], site.result, site.cotangent);
    let b = &mut site.b;
    let shape = b.shape(x).clone();
    let cotangent = match attrs.kind {
        ReduceKind::Sum => b.broadcast_reduced(g, shape, &attrs.dims)?,
        ReduceKind::Prod => {
            let derivative = product_of_others(b, x, &attrs.dims)?;
            let g = b.broadcast_reduced(g, shape, &attrs.dims)?;
            b.multiply(g, derivative)?
        }
        ReduceKind::Min | ReduceKind::Max => extremum(b, x, y, g, &attrs.dims)?,
        ReduceKind::Any | ReduceKind::All | ReduceKind::ArgMin | ReduceKind::ArgMax => {
            unreachable!("no gradient flows through {}", attrs.kind.name())
        }
    };
    Ok(vec![Some(cotangent)])
}

/// All elements that equal the extremum share the gradient evenly (as `torch.amax`).
fn extremum(b: &mut Builder<'_>, x: Value, y: Value, g: Value, dims: &[usize]) -> Built {
    let shape = b.shape(x).clone();
    let dtype = b.dtype(x);
    let extremum = b.broadcast_reduced(y, shape.clone(), dims)?;
    let attained = b.eq(x, extremum)?;
    let ones = b.convert(attained, dtype)?;
    let n_attained = b.reduce_sum(ones, dims)?;
    let share = b.divide(g, n_attained)?;
    let share = b.broadcast_reduced(share, shape, dims)?;
    let zeros = b.zeros_like(share)?;
    b.select(attained, share, zeros)
}

/// For each element of `x` the product of all others along `dims`. Dividing the product by the element would fail at
/// zeros, in the gradient or in its gradient; so does any formula that counts zeros. This one only multiplies.
pub(super) fn product_of_others(b: &mut Builder<'_>, x: Value, dims: &[usize]) -> Built {
    let shape = b.shape(x).clone();
    let kept: Vec<usize> = (0..shape.rank()).filter(|dim| !dims.contains(dim)).collect();
    let rows_first = [kept.as_slice(), dims].concat();
    let rows = b.transpose(x, &rows_first)?;
    let moved = b.shape(rows).clone();
    let mut flat: Vec<Dim> = kept.iter().map(|&dim| shape[dim].clone()).collect();
    flat.push(Shape(dims.iter().map(|&dim| shape[dim].clone()).collect()).n_elements());
    let rows = b.reshape(rows, flat)?;
    let others = match b.shape(rows)[kept.len()].as_const() {
        Some(extent) => {
            let before = running_product(b, rows, extent, 1)?;
            let after = running_product(b, rows, extent, -1)?;
            b.multiply(before, after)?
        }
        None => all_pairs_product(b, rows)?,
    };
    let others = b.reshape(others, moved)?;
    b.transpose(others, &inverse(&rows_first))
}

/// For each element the product of those before it (`direction` 1) or after it (-1) in the last dimension, of extent
/// `extent`: shifted by one, then multiplied with itself shifted by 1, 2, 4, ...
fn running_product(b: &mut Builder<'_>, rows: Value, extent: usize, direction: i64) -> Built {
    let rank = b.shape(rows).rank();
    let one = b.scalar(b.dtype(rows), 1.0)?;
    let shift = |b: &mut Builder<'_>, value: Value, by: usize| {
        let mut attrs = PadAttrs { low: vec![0; rank], high: vec![0; rank], interior: vec![0; rank] };
        attrs.low[rank - 1] = direction * by as i64;
        attrs.high[rank - 1] = -direction * by as i64;
        b.pad(value, one, attrs)
    };
    let mut product = shift(b, rows, 1)?;
    let mut covered = 1;
    // The first element's product is empty, so the longest has `extent - 1` factors.
    while covered + 1 < extent {
        let shifted = shift(b, product, covered)?;
        product = b.multiply(product, shifted)?;
        covered *= 2;
    }
    Ok(product)
}

/// The same for a last dimension of unknown extent: the product of a square of copies with ones on the diagonal.
fn all_pairs_product(b: &mut Builder<'_>, rows: Value) -> Built {
    let shape = b.shape(rows).clone();
    let rank = shape.rank();
    let mut square = shape.clone();
    square.0.push(shape[rank - 1].clone());
    let counter = TensorType { dtype: DType::I64, shape: square.clone() };
    let (row, column) = (b.iota(counter.clone(), rank - 1)?, b.iota(counter, rank)?);
    let is_itself = b.eq(row, column)?;
    let dims: Vec<usize> = (0..rank).collect();
    let copies = b.broadcast_in_dim(rows, square, &dims)?;
    let ones = b.ones_like(copies)?;
    let factors = b.select(is_itself, ones, copies)?;
    b.reduce_prod(factors, &[rank - 1])
}
