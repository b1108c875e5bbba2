//! Shape arithmetic: operators on integers that follow from symbolic extents.
//!
//! Such integers are lists of [`ShapeInt`]s, not tensors of the trace, so that what is computed from them (a shape to
//! reshape to, say) stays an expression in the symbols. Two mechanisms cover the operators: one that moves elements is
//! applied to their *positions* instead ([`moved`]), and one on elements to the elements themselves, where its result
//! can be written ([`elementwise`]). What neither covers becomes a tensor, computed at run time. Whole numbers among
//! floats count as integers, since exporters scale extents in floats.

use nnc_frontend::Tensor;
use nnc_ir::TensorData;

use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::labels::Picked;
use crate::shape_int::ShapeInt;
use crate::value::{Source, Value};

/// Tensors of more elements are no shapes.
const MAX_LEN: usize = 64;

/// A small tensor of integers.
pub(super) struct Ints {
    /// In row-major order.
    pub(super) elements: Vec<ShapeInt>,
    pub(super) shape: Vec<usize>,
}

/// Whether some element of the value follows from a symbolic extent.
pub(super) fn is_symbolic(value: &Value) -> bool {
    matches!(value, Value::Tensor(value) if matches!(value.source, Source::Ints { .. }))
}

/// The elements of a small tensor of whole numbers that are known or follow from extents.
pub(super) fn ints_of(value: &Value) -> Option<Ints> {
    let Value::Tensor(value) = value else { return None };
    if let (Some(ints), Source::Ints { shape }) = (&value.ints, &value.source) {
        return Some(Ints { elements: ints.to_vec(), shape: shape.clone() });
    }
    let data = value.known().filter(|data| data.len() <= MAX_LEN)?;
    let elements: Option<Vec<ShapeInt>> = match data.dtype.is_float() {
        true => data.to_f64().into_iter().map(whole).collect(),
        false => Some(data.to_i64().into_iter().map(ShapeInt::Known).collect()),
    };
    Some(Ints { elements: elements?, shape: data.shape })
}

/// A float as the integer that it is.
fn whole(value: f64) -> Option<ShapeInt> {
    let fits = value.fract() == 0.0 && value.abs() < (1u64 << 53) as f64;
    fits.then_some(ShapeInt::Known(value as i64))
}

/// What `f` makes of the elements of the first `n` inputs, broadcast together, and their common shape. `None` if no
/// input is symbolic, one is not known, or `f` cannot say.
pub(super) fn elementwise<T>(
    cx: &Cx<'_>,
    n: usize,
    f: impl Fn(&[&ShapeInt]) -> Option<T>,
) -> Option<(Vec<T>, Vec<usize>)> {
    let values: Vec<Value> = (0..n).map(|index| cx.value(index).ok()).collect::<Option<_>>()?;
    if !values.iter().any(is_symbolic) {
        return None;
    }
    let inputs: Vec<Ints> = values.iter().map(ints_of).collect::<Option<_>>()?;
    let shape = inputs.iter().try_fold(Vec::new(), |shape, input| broadcast(&shape, &input.shape))?;
    let len: usize = shape.iter().product();
    let results: Option<Vec<T>> = (0..len)
        .map(|at| {
            let elements: Vec<&ShapeInt> =
                inputs.iter().map(|input| &input.elements[source(at, &shape, &input.shape)]).collect();
            f(&elements)
        })
        .collect();
    Some((results?, shape))
}

/// [`elementwise`] to integers of the first input's element type.
pub(super) fn arithmetic(cx: &Cx<'_>, n: usize, f: impl Fn(&[&ShapeInt]) -> Option<ShapeInt>) -> Option<Value> {
    let (elements, shape) = elementwise(cx, n, f)?;
    Some(Value::ints(elements, shape, cx.elem(0).ok()?))
}

/// [`elementwise`] to truth values, which all must be decided.
pub(super) fn decided(cx: &Cx<'_>, n: usize, f: impl Fn(&[&ShapeInt]) -> Option<bool>) -> Option<Value> {
    let (elements, shape) = elementwise(cx, n, f)?;
    let elements = elements.into_iter().map(i64::from);
    let data = TensorData::from_integers(nnc_ir::DType::Bool, shape, elements);
    Some(Value::with_elem(Tensor::from_data(data), ElemType::Bool))
}

/// The common shape of two, or `None` if they do not broadcast.
fn broadcast(lhs: &[usize], rhs: &[usize]) -> Option<Vec<usize>> {
    let rank = lhs.len().max(rhs.len());
    let extent = |shape: &[usize], from_end: usize| shape.len().checked_sub(from_end).map_or(1, |dim| shape[dim]);
    let common = (1..=rank).rev().map(|from_end| match (extent(lhs, from_end), extent(rhs, from_end)) {
        (lhs, rhs) if lhs == rhs || rhs == 1 => Some(lhs),
        (1, rhs) => Some(rhs),
        _ => None,
    });
    common.collect()
}

/// The position in a tensor of shape `from` that position `at` of its broadcast to `shape` shows.
fn source(at: usize, shape: &[usize], from: &[usize]) -> usize {
    let (mut rest, mut position, mut stride) = (at, 0, 1);
    for dim in (0..shape.len()).rev() {
        let index = rest % shape[dim];
        rest /= shape[dim];
        if let Some(own) = (dim + from.len()).checked_sub(shape.len()) {
            position += if from[own] == 1 { 0 } else { index * stride };
            stride *= from[own];
        }
    }
    position
}

/// Input `index` with its elements moved by `f`, which must do no more than that: it may be applied to the positions of
/// symbolic elements or strings instead. Where strings go may turn out when the program runs. The element type is kept.
pub(super) fn moved(
    cx: &Cx<'_>,
    index: usize,
    f: impl FnOnce(&Tensor) -> Result<Tensor, Fault>,
) -> Result<Value, Fault> {
    moved_all(cx, &[index], |tensors| f(&tensors[0]))
}

/// [`moved`] for several inputs of one element type whose elements end up in one tensor.
pub(super) fn moved_all(
    cx: &Cx<'_>,
    indices: &[usize],
    f: impl FnOnce(&[Tensor]) -> Result<Tensor, Fault>,
) -> Result<Value, Fault> {
    let values: Vec<Value> = indices.iter().map(|&index| cx.value(index)).collect::<Result<_, _>>()?;
    let elem = cx.elem(indices[0])?;
    if let Some(strings) = values.iter().map(strings_of).collect::<Option<Vec<_>>>() {
        let mut table = Vec::new();
        let mut positions = Vec::with_capacity(strings.len());
        for own in strings {
            // Positions in a table that begins where the others end.
            positions.push(own.positions + table.len() as i64);
            table.extend(own.table.iter().cloned());
        }
        return Ok(Value::strings(f(&positions)?, table));
    }
    if values.iter().any(is_symbolic)
        && let Some(ints) = values.iter().map(ints_of).collect::<Option<Vec<_>>>()
    {
        let (positions, elements) = number(ints.into_iter().map(|own| (own.shape, own.elements)));
        let (shape, order) = known(f(&positions)?)?;
        return Ok(Value::ints(order.into_iter().map(|at| elements[at].clone()).collect(), shape, elem));
    }
    let tensors: Vec<Tensor> = indices.iter().map(|&index| cx.input(index)).collect::<Result<_, _>>()?;
    Ok(Value::with_elem(f(&tensors)?, elem))
}

/// Strings, known or not, as positions in a list.
fn strings_of(value: &Value) -> Option<Picked> {
    match value {
        Value::Strings(strings) => {
            let all: Vec<i64> = (0..strings.elements.len() as i64).collect();
            let positions = Tensor::from_data(TensorData::from_i64(strings.shape.clone(), &all));
            Some(Picked { positions, table: strings.elements.as_slice().into() })
        }
        Value::Picked(picked) => Some(picked.clone()),
        _ => None,
    }
}

/// Tensors that hold the positions of their elements in one list of all elements, and that list.
fn number<T>(parts: impl Iterator<Item = (Vec<usize>, Vec<T>)>) -> (Vec<Tensor>, Vec<T>) {
    let (mut positions, mut all) = (Vec::new(), Vec::new());
    for (shape, elements) in parts {
        let first = all.len() as i64;
        let own: Vec<i64> = (first..first + elements.len() as i64).collect();
        positions.push(Tensor::from_data(TensorData::from_i64(shape, &own)));
        all.extend(elements);
    }
    (positions, all)
}

/// Shape and elements of positions that were moved. Moving them fails as moving the elements would, which is on record
/// then.
fn known(positions: Tensor) -> Result<(Vec<usize>, Vec<usize>), Fault> {
    let data = positions.data().map_err(|_| Fault::Reported)?;
    let order = data.to_i64().into_iter().map(|at| at as usize).collect();
    Ok((data.shape, order))
}
