//! Selection whose size is known from the types: `TopK`, `OneHot`, `Trilu`.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::positions::{counting, extent_of, of_type_of, slice_dims};
use super::{Entry, Outcome, op, op_range};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op_range("TopK", 1..=9, top_k_of_attribute),
    op("TopK", 10.., top_k_of_input),
    op("OneHot", 9.., one_hot),
    op("Trilu", 14.., trilu),
];

fn top_k_of_attribute(cx: &mut Cx<'_>) -> Outcome {
    match cx.int("k")? {
        Some(k) => top_k(cx, &Dim::from(k.max(0) as usize)),
        None => Err(cx.invalid("attribute `k` is missing")),
    }
}

fn top_k_of_input(cx: &mut Cx<'_>) -> Outcome {
    let k = extent_of(cx, 1)?;
    top_k(cx, &k)
}

/// The `k` largest or smallest elements, best first, of equal ones the first; and their positions.
fn top_k(cx: &mut Cx<'_>, k: &Dim) -> Outcome {
    let data = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", -1)?, data.ty().rank())?;
    let dim = axis as i64;
    let largest = cx.flag("largest", true)?;
    let extent = data.shape()[axis].clone();
    if let (Some(k), Some(extent)) = (k.as_const(), extent.as_const())
        && k > extent
    {
        return Err(cx.invalid(format!("k is {k}, but dimension {axis} of {} is {extent}", data.ty())));
    }
    // Only for the largest: a NaN is the largest to a sort, but the smallest to a search for the smallest.
    if *k == Dim::from(1) && largest {
        let position = data.detach().argmax(dim).unsqueeze(dim);
        return Ok(vec![of_type_of(cx, 0, data.gather(dim, &position))?, position.into()]);
    }
    let (values, positions) = data.sort(dim, largest);
    let first = |sorted: &Tensor| slice_dims(sorted, axis, &Dim::from(0), k);
    Ok(vec![of_type_of(cx, 0, first(&values))?, first(&positions).into()])
}

fn one_hot(cx: &mut Cx<'_>) -> Outcome {
    let (indices, values) = (cx.input(0)?, cx.input(2)?);
    let depth = extent_of(cx, 1)?;
    let rank = indices.ty().rank();
    let axis = cx.axis(cx.int_or("axis", -1)?, rank + 1)?;
    // Indices of unsigned types compare in a type that holds them and the depth.
    let indices = if indices.dtype() == DType::I64 { indices } else { indices.to_dtype(DType::I64) };
    // Until operator set 11 a negative index was out of range.
    let indices = if cx.opset() < 11 { indices } else { indices.positions_in(&depth) };
    let mut extents = vec![Dim::from(1); rank + 1];
    extents[axis] = depth;
    let is_hot = indices.unsqueeze(axis as i64).eq(counting(&extents, axis));
    let (off, on) = (values.select(0, 0), values.select(0, 1));
    Ok(vec![of_type_of(cx, 2, where_(&is_hot, on, off))?])
}

/// The triangle above (or below) a diagonal of the last two dimensions, zeros elsewhere. The diagonal need not be known.
fn trilu(cx: &mut Cx<'_>) -> Outcome {
    let data = cx.input(0)?;
    let shape = data.shape();
    let Some(first) = shape.rank().checked_sub(2) else {
        return Err(cx.invalid(format!("the input is {}, expected at least two dimensions", data.ty())));
    };
    let matrix = [shape[first].clone(), shape[first + 1].clone()];
    let (row, column) = (counting(&matrix, 0), counting(&matrix, 1));
    let diagonal = match cx.try_known(1) {
        Some(_) => row + cx.known_int(1)?,
        None if cx.has(1) => row + cx.input(1)?.reshape(()),
        None => row,
    };
    let kept = if cx.flag("upper", true)? { column.ge(diagonal) } else { column.le(diagonal) };
    Ok(vec![of_type_of(cx, 0, where_(&kept, &data, data.zeros_like()))?])
}
