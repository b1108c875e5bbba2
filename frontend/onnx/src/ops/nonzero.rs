//! Operators whose result has as many elements as there are of a kind: `NonZero`, `Compress`, `Unique`.
//!
//! Where the contents are known while importing, so is the extent. Otherwise the result has its greatest extent, what was
//! found comes first, zeros (`false`, the first slice) follow, and a count goes with it: see [`crate::bound`].

use nnc_frontend::Tensor;
use nnc_frontend::functional::Scan;
use nnc_frontend::tensor::{apply_all, where_};
use nnc_ir::ops::SortAttrs;
use nnc_ir::{DType, Dim, Op};

use super::positions::{counting, index_along, look_up, of_type_of, slice_dims};
use super::{Entry, Outcome, op};
use crate::bound::Bound;
use crate::cx::Cx;
use crate::value::Value;

pub(super) const OPS: &[Entry] =
    &[op("NonZero", 9.., non_zero), op("Compress", 9.., compress), op("Unique", 11.., unique)];

/// The first elements of a list, behind which there may be fill.
pub(super) struct Found {
    /// `i64` positions, in order; 0 behind the last.
    pub(super) positions: Tensor,
    /// How many there are, an `i64` scalar, if that is not the extent.
    count: Option<Tensor>,
}

impl Found {
    /// Where a `bool` vector is true.
    pub(super) fn of(mask: &Tensor) -> Self {
        let length = [mask.size(0)];
        let running = mask.long().cumsum(0);
        // Those that are false go to no place at all.
        let places = where_(mask, running - 1, -1);
        let own = counting(&length, 0);
        let positions = own.zeros_like().scatter(0, &places, &own);
        Self::new(positions, mask.long().sum(..))
    }

    /// The first `count` of `positions`; the others are fill.
    fn new(positions: Tensor, count: Tensor) -> Self {
        match count.data() {
            Ok(count) => {
                let count = count.to_i64()[0] as usize;
                Self { positions: positions.narrow(0, 0, count), count: None }
            }
            Err(_) => Self { positions, count: Some(count) },
        }
    }

    /// How many there can be.
    fn extent(&self) -> Dim {
        self.positions.size(0)
    }

    /// `true` for what was found, `false` for fill, in dimension `axis` of `rank`. `None` if there is no fill.
    fn is_found(&self, axis: usize, rank: usize) -> Option<Tensor> {
        let count = self.count.as_ref()?;
        let mut shape = vec![Dim::from(1); rank];
        // What a fault stands for has no dimensions.
        *shape.get_mut(axis)? = self.extent();
        Some(counting(&shape, axis).lt(count))
    }

    /// The tensor with zeros where there is fill along `axis`.
    pub(super) fn cleared(&self, tensor: &Tensor, axis: usize) -> Tensor {
        match self.is_found(axis, tensor.ty().rank()) {
            Some(found) => where_(&found, tensor, tensor.zeros_like()),
            None => tensor.clone(),
        }
    }

    /// Another list of the same length, cut off like this one.
    fn cut(&self, list: &Tensor) -> Tensor {
        slice_dims(list, 0, &Dim::from(0), &self.extent())
    }

    /// The number of what was found, wherever it goes along.
    pub(super) fn bound(&self) -> Option<Bound> {
        self.count.clone().map(|count| Bound::new(0, count))
    }

    /// A value with one element, or slice, of those found along `axis`.
    pub(super) fn value(value: Value, axis: usize, bound: &Option<Bound>) -> Value {
        match bound {
            Some(bound) => value.with_bound(bound.along(axis)),
            None => value,
        }
    }
}

fn non_zero(cx: &mut Cx<'_>) -> Outcome {
    let data = cx.input(0)?;
    let shape = data.shape();
    let mask = data.ne(data.zeros_like()).reshape([-1]);
    let found = Found::of(&mask);
    let coordinates: Vec<Tensor> =
        (0..shape.rank()).map(|dim| look_up(&counting(shape.dims(), dim).reshape([-1]), &found.positions)).collect();
    let coordinates = match coordinates.as_slice() {
        // A scalar has no coordinates, however many of it there are.
        [] => found.positions.reshape([Dim::from(1), found.extent()]).slice(0, 0, Some(0), 1),
        several => Tensor::stack(several, 0),
    };
    Ok(vec![Found::value(coordinates.into(), 1, &found.bound())])
}

fn compress(cx: &mut Cx<'_>) -> Outcome {
    let (data, mask) = (cx.input(0)?, cx.input(1)?);
    let (data, axis) = match cx.int("axis")? {
        Some(axis) => {
            let axis = cx.axis(axis, data.ty().rank())?;
            (data, axis)
        }
        None => (data.reshape([-1]), 0),
    };
    if mask.ty().rank() != 1 || mask.dtype() != DType::Bool {
        return Err(cx.invalid(format!("the condition is {}, expected a bool vector", mask.ty())));
    }
    if let (Some(length), Some(extent)) = (mask.shape()[0].as_const(), data.shape()[axis].as_const())
        && length > extent
    {
        return Err(cx.invalid(format!("the condition has {length} elements, but dimension {axis} of {}", data.ty())));
    }
    let found = Found::of(&mask);
    let picked = found.cleared(&index_along(&data, axis, &found.positions), axis);
    Ok(vec![Found::value(of_type_of(cx, 0, picked)?, axis, &found.bound())])
}

/// The distinct slices along an axis (or elements), with their first positions, where each went, and how often there are.
///
/// Sorting brings equal slices together, first positions first; runs of equal ones are numbered.
fn unique(cx: &mut Cx<'_>) -> Outcome {
    let data = cx.input(0)?;
    let (data, axis) = match cx.int("axis")? {
        Some(axis) => {
            let axis = cx.axis(axis, data.ty().rank())?;
            (data, axis)
        }
        None => (data.reshape([-1]), 0),
    };
    let length = data.shape()[axis].clone();
    if length == Dim::from(0) {
        let none = Tensor::from_slice::<i64>(&[]);
        return Ok(vec![of_type_of(cx, 0, data)?, none.clone().into(), none.clone().into(), none.into()]);
    }
    let (order, begins) = sorted_runs(&data, axis);
    let run = begins.long().cumsum(0) - 1;
    let found = Found::of(&begins);
    let firsts = look_up(&order, &found.positions);
    let zeros = run.zeros_like();
    let inverse = zeros.scatter(0, &order, &run);
    let counts = found.cut(&zeros.scatter_add(0, &run, &run.ones_like()));

    let (firsts, inverse, counts) = match cx.flag("sorted", true)? {
        true => (firsts, inverse, counts),
        false => {
            // Behind all that was found comes the fill: no position is as large as the extent.
            let far = Tensor::extent(&length).broadcast_to(firsts.shape());
            let keys = found.is_found(0, 1).map_or(firsts.clone(), |is_found| where_(&is_found, &firsts, far));
            let (firsts, by_first) = keys.sort(0, false);
            let own = counting(&[found.extent()], 0);
            let place = own.zeros_like().scatter(0, &by_first, &own);
            (firsts, look_up(&place, &inverse), look_up(&counts, &by_first))
        }
    };
    let firsts = found.cleared(&firsts, 0);
    let distinct = found.cleared(&index_along(&data, axis, &firsts), axis);
    let bound = found.bound();
    Ok(vec![
        Found::value(of_type_of(cx, 0, distinct)?, axis, &bound),
        Found::value(firsts.into(), 0, &bound),
        inverse.into(),
        Found::value(counts.into(), 0, &bound),
    ])
}

/// The stable order that sorts the slices along `axis`, and whether each begins a run of equal ones.
fn sorted_runs(data: &Tensor, axis: usize) -> (Tensor, Tensor) {
    let data = data.detach();
    let length = data.shape()[axis].clone();
    let mut permutation: Vec<usize> = (0..data.ty().rank()).filter(|&dim| dim != axis).collect();
    permutation.push(axis);
    // One column a position inside the slices, the most significant first.
    let columns = data.permute(permutation).reshape([product(&data, axis), length.clone()]);
    let start = counting(std::slice::from_ref(&length), 0);
    let (order, sorted) = if data.ty().rank() == 1 {
        let (sorted, order) = data.sort(0, false);
        (order, sorted.unsqueeze(0))
    } else {
        let (order, ()) = Scan::new().reverse(true).run(start, columns.clone(), |order, column| {
            let keys = look_up(&column, &order);
            let sorted = apply_all(Op::Sort(SortAttrs { dim: 0, descending: false }), &[&keys, &order]);
            (sorted[1].clone(), ())
        });
        let sorted = index_along(&columns, 1, &order);
        (order, sorted)
    };
    let one = Dim::from(1);
    let (next, previous) = (slice_dims(&sorted, 1, &one, &length), {
        let last = length.clone() - one.clone();
        slice_dims(&sorted, 1, &Dim::from(0), &last)
    });
    let mut differs = next.ne(&previous);
    if data.dtype().is_float() {
        // Not a number is equal to itself here.
        differs = differs.logical_and(next.isnan().logical_and(previous.isnan()).eq(false));
    }
    let first = counting(&[one], 0).eq(0);
    (order, Tensor::cat(&[first, differs.any(0)], 0))
}

/// The number of elements of a slice along `axis`.
fn product(data: &Tensor, axis: usize) -> Dim {
    let shape = data.shape();
    (0..shape.rank()).filter(|&dim| dim != axis).fold(Dim::from(1), |product, dim| product * shape[dim].clone())
}
