//! Tensors from settings: fills, counts, diagonals and windows.

use std::f64::consts::{PI, TAU};

use nnc_frontend::Tensor;
use nnc_ir::{Dim, Shape, TensorData};

use super::{Entry, Outcome, one, op};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("BlackmanWindow", 17.., |cx| {
        window(cx, |at, n| 0.42 - 0.5 * (TAU * at / n).cos() + 0.08 * (2.0 * TAU * at / n).cos())
    }),
    op("ConstantOfShape", 9.., constant_of_shape),
    op("EyeLike", 9.., eye_like),
    op("HammingWindow", 17.., |cx| {
        const ALPHA: f64 = 25.0 / 46.0;
        window(cx, |at, n| ALPHA - (1.0 - ALPHA) * (TAU * at / n).cos())
    }),
    op("HannWindow", 17.., |cx| window(cx, |at, n| (PI * at / n).sin().powi(2))),
    op("Range", 11.., range),
];

/// The extents that input `index` holds.
pub(super) fn shape(cx: &Cx<'_>, index: usize) -> Result<Shape, Fault> {
    let ints = cx.shape_ints(index)?;
    let dims: Option<Vec<Dim>> = ints.iter().map(ShapeInt::to_dim).collect();
    let negative = || ints.iter().find(|int| int.to_dim().is_none()).map(ToString::to_string).unwrap_or_default();
    dims.map(Shape).ok_or_else(|| cx.invalid(format!("input {index} has {}, expected extents", negative())))
}

/// One element, `f32` 0 by default, as often as asked for.
fn constant_of_shape(cx: &mut Cx<'_>) -> Outcome {
    let shape = shape(cx, 0)?;
    let value = cx.stored("value")?;
    let (elem, data) = match value {
        None => (ElemType::Float, TensorData::from_f32(vec![1], &[0.0])),
        Some(crate::data::Stored::Numbers { elem, data }) => (elem, data),
        Some(crate::data::Stored::Strings { .. }) => return Err(cx.unsupported("attribute `value` is a string")),
    };
    if data.len() != 1 {
        return Err(cx.invalid(format!("attribute `value` has {} elements, expected one", data.len())));
    }
    let filled = Tensor::from_data(data).reshape(()).broadcast_to(shape);
    Ok(vec![Value::with_elem(filled, elem)])
}

/// Ones on diagonal `k`.
fn eye_like(cx: &mut Cx<'_>) -> Outcome {
    let like = cx.input(0)?;
    if like.rank() != 2 {
        return Err(cx.invalid(format!("input 0 is {}, expected a matrix", like.ty())));
    }
    let (elem, dtype) = cx.elem_or("dtype", cx.elem(0)?)?;
    let rows = Tensor::arange(like.size(0)).unsqueeze(1) + cx.int_or("k", 0)?;
    let eye = rows.eq(Tensor::arange(like.size(1)).unsqueeze(0));
    Ok(vec![Value::with_elem(eye.to_dtype(dtype), elem)])
}

/// A window of the length in input 0. A symmetric one ends as it begins; a periodic one would begin again behind its end.
fn window(cx: &Cx<'_>, value: fn(f64, f64) -> f64) -> Outcome {
    let length = cx.known_int(0)?;
    let Ok(length) = usize::try_from(length) else {
        return Err(cx.invalid(format!("the length is {length}, expected at least 0")));
    };
    let length = cx.table("the window", length)?;
    let (elem, dtype) = cx.elem_or("output_datatype", ElemType::Float)?;
    let period = if cx.flag("periodic", true)? { length } else { length.saturating_sub(1) };
    // The symmetric window of one element is its peak.
    let at = |idx: usize| if period == 0 { 1.0 } else { value(idx as f64, period as f64) };
    let data = TensorData::from_doubles(dtype, vec![length], (0..length).map(at));
    Ok(vec![Value::with_elem(Tensor::from_data(data), elem)])
}

/// Ranges up to this length are known while importing; longer ones are counted when the program runs.
const TABLE: usize = 1 << 16;

/// `start + i * delta` below `limit` (above it, if `delta` is negative). The limit may follow from an extent.
fn range(cx: &mut Cx<'_>) -> Outcome {
    let elem = cx.elem(0)?;
    let scalar = |index: usize| cx.value(index).map(|value| super::ints::ints_of(&value));
    if let (Some(start), Some(limit), Some(delta)) = (scalar(0)?, scalar(1)?, scalar(2)?)
        && let ([start], [limit], [delta]) = (&*start.elements, &*limit.elements, &*delta.elements)
        && start.known().and(limit.known()).and(delta.known()).is_none()
        && let Some(dtype) = elem.carrier()
    {
        return symbolic_range(cx, start, limit, delta).map(|tensor| vec![tensor.to_dtype(dtype).into()]);
    }
    let dtype = cx.input(0)?.dtype();
    if !dtype.is_float() {
        let (start, limit, delta) = (cx.known_int(0)?, cx.known_int(1)?, cx.known_int(2)?);
        if delta == 0 {
            return Err(cx.invalid("input 2, the step, is 0"));
        }
        let span = (i128::from(limit) - i128::from(start)) * i128::from(delta.signum());
        let step = i128::from(delta.unsigned_abs());
        let n = length(cx, (span + step - 1).div_euclid(step).max(0) as f64)?;
        if n > TABLE {
            return one((Tensor::arange(n) * delta + start).to_dtype(dtype));
        }
        let elements = (0..n as i64).map(|idx| start.wrapping_add(idx.wrapping_mul(delta)));
        return one(Tensor::from_data(TensorData::from_integers(dtype, vec![n], elements)));
    }
    let (start, limit, delta) = (cx.known_float(0)?, cx.known_float(1)?, cx.known_float(2)?);
    let n = length(cx, ((limit - start) / delta).ceil().max(0.0))?;
    if n > TABLE {
        return one((Tensor::arange(n).double() * delta + start).to_dtype(dtype));
    }
    let elements = (0..n).map(|idx| start + idx as f64 * delta);
    one(Tensor::from_data(TensorData::from_doubles(dtype, vec![n], elements)))
}

/// A length that is no mistake.
fn length(cx: &Cx<'_>, n: f64) -> Result<usize, Fault> {
    const MOST: f64 = (1u64 << 31) as f64;
    match n < MOST {
        true => Ok(n as usize),
        false => Err(cx.invalid(format!("the range has {n} elements, expected less than {MOST}"))),
    }
}

/// `i64` numbers whose count is an expression.
fn symbolic_range(cx: &Cx<'_>, start: &ShapeInt, limit: &ShapeInt, delta: &ShapeInt) -> Result<Tensor, Fault> {
    let Some(step) = delta.known().filter(|&step| step > 0) else {
        return Err(cx.unsupported(format!("a range from {start} to {limit} in steps of {delta}; bind the symbols")));
    };
    let span = limit.sub(start).and_then(|span| span.add(&ShapeInt::Known(step - 1)));
    let count = span.and_then(|span| span.div(&ShapeInt::Known(step))).and_then(|count| count.to_dim());
    let (Some(count), Some(first)) = (count, start.known()) else {
        return Err(cx.unsupported(format!("a range from {start} to {limit} in steps of {delta}; bind the symbols")));
    };
    let counted = Tensor::arange(count);
    let scaled = if step == 1 { counted } else { counted * step };
    Ok(if first == 0 { scaled } else { scaled + first })
}
