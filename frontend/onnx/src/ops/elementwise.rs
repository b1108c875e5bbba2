//! Arithmetic and functions of single elements.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::{Entry, Outcome, ints, one, op, op_range};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;

pub(super) const OPS: &[Entry] = &[
    op("Abs", 1.., |cx| rounding(cx, Tensor::abs)),
    op("Acos", 7.., |cx| unary(cx, Tensor::acos)),
    op("Acosh", 9.., |cx| unary(cx, Tensor::acosh)),
    op("Add", 1.., |cx| binary(cx, ShapeInt::add, |x, y| x + y)),
    op("Asin", 7.., |cx| unary(cx, Tensor::asin)),
    op("Asinh", 9.., |cx| unary(cx, Tensor::asinh)),
    op("Atan", 7.., |cx| unary(cx, Tensor::atan)),
    op("Atanh", 9.., |cx| unary(cx, Tensor::atanh)),
    op("Ceil", 1.., |cx| rounding(cx, Tensor::ceil)),
    op_range("Clip", 6..=10, clip_attributes),
    op("Clip", 11.., clip),
    op("Cos", 7.., |cx| unary(cx, Tensor::cos)),
    op("Cosh", 9.., |cx| unary(cx, Tensor::cosh)),
    op("Div", 1.., div),
    op("Erf", 9.., |cx| unary(cx, Tensor::erf)),
    op("Exp", 1.., |cx| unary(cx, Tensor::exp)),
    op("Floor", 1.., |cx| rounding(cx, Tensor::floor)),
    op("IsInf", 10.., is_inf),
    op("IsNaN", 9.., |cx| unary(cx, Tensor::isnan)),
    op("Log", 1.., |cx| unary(cx, Tensor::log)),
    op("Mod", 10.., modulo),
    op("Mul", 1.., |cx| binary(cx, ShapeInt::mul, |x, y| x * y)),
    op("Neg", 1.., |cx| unary(cx, |x| -x)),
    op("Pow", 1.., pow),
    op("Reciprocal", 1.., |cx| unary(cx, Tensor::reciprocal)),
    op("Round", 11.., |cx| rounding(cx, Tensor::round)),
    op("Sign", 9.., |cx| unary(cx, Tensor::sign)),
    op("Sin", 7.., |cx| unary(cx, Tensor::sin)),
    op("Sinh", 9.., |cx| unary(cx, Tensor::sinh)),
    op("Sqrt", 1.., |cx| unary(cx, Tensor::sqrt)),
    op("Sub", 1.., |cx| binary(cx, ShapeInt::sub, |x, y| x - y)),
    op("Tan", 7.., |cx| unary(cx, Tensor::tan)),
    op("Tanh", 1.., |cx| unary(cx, Tensor::tanh)),
    op("Where", 9.., select),
];

fn unary(cx: &Cx<'_>, f: fn(&Tensor) -> Tensor) -> Outcome {
    one(f(&cx.input(0)?))
}

/// A function that leaves whole numbers of at least 0, which extents are, as they are.
fn rounding(cx: &Cx<'_>, f: fn(&Tensor) -> Tensor) -> Outcome {
    match ints::arithmetic(cx, 1, |x| Some(x[0].clone())) {
        Some(value) => Ok(vec![value]),
        None => unary(cx, f),
    }
}

/// Two inputs that must have one element type.
pub(super) fn pair(cx: &Cx<'_>) -> Result<(Tensor, Tensor), Fault> {
    let (lhs, rhs) = (cx.elem(0)?, cx.elem(1)?);
    if lhs != rhs {
        return Err(cx.invalid(format!("the inputs are {lhs} and {rhs}, expected one element type")));
    }
    let (x, y) = (cx.input(0)?, cx.input(1)?);
    let y = aligned(cx, &x, y)?;
    Ok((x, y))
}

/// The second input where the first's dimensions are. Before operator set 7, attribute `axis` may say to which
/// dimension its first belongs; since then the last dimensions belong together.
fn aligned(cx: &Cx<'_>, x: &Tensor, y: Tensor) -> Result<Tensor, Fault> {
    if cx.opset() >= 7 || !cx.flag("broadcast", false)? {
        return Ok(y);
    }
    let Some(axis) = cx.int("axis")? else { return Ok(y) };
    let first = cx.axis(axis, x.rank().max(1))?;
    let behind = x.rank().saturating_sub(first + y.rank());
    Ok(y.reshape([y.dims(), vec![Dim::from(1); behind]].concat()))
}

fn binary(
    cx: &Cx<'_>,
    of_ints: fn(&ShapeInt, &ShapeInt) -> Option<ShapeInt>,
    f: fn(&Tensor, &Tensor) -> Tensor,
) -> Outcome {
    if let Some(value) = ints::arithmetic(cx, 2, |x| of_ints(x[0], x[1])) {
        return Ok(vec![value]);
    }
    let (x, y) = pair(cx)?;
    one(f(&x, &y))
}

/// Integers are divided toward zero.
fn div(cx: &mut Cx<'_>) -> Outcome {
    let is_float = cx.elem(0)?.carrier().is_some_and(DType::is_float);
    let quotient = if is_float { ShapeInt::exact_div } else { ShapeInt::div };
    binary(cx, quotient, |x, y| if x.dtype().is_float() { x / y } else { x.div_trunc(y) })
}

/// `fmod` = 0 is Python's `%`, 1 is C's.
fn modulo(cx: &mut Cx<'_>) -> Outcome {
    let fmod = match cx.int_or("fmod", 0)? {
        0 => false,
        1 => true,
        other => return Err(cx.invalid(format!("attribute `fmod` is {other}, expected 0 or 1"))),
    };
    // Of numbers that are at least 0 both are the same.
    binary(cx, ShapeInt::rem, if fmod { |x, y| x.fmod(y) } else { |x, y| x.remainder(y) })
}

/// The base's type is the result's; the exponent may have another.
fn pow(cx: &mut Cx<'_>) -> Outcome {
    let base = cx.input(0)?;
    let exponent = aligned(cx, &base, cx.input(1)?)?;
    let (base_ty, exponent_ty) = (base.dtype(), exponent.dtype());
    if !base_ty.is_float() && exponent_ty.is_float() {
        return one(base.double().pow(exponent.double()).to_dtype(base_ty));
    }
    // A known exponent of one element may be multiplied out.
    let plain = cx.try_known(1).filter(|data| data.len() == 1 && data.shape.len() <= base.rank());
    one(match plain {
        Some(data) if base_ty.is_float() => base.pow(data.to_f64()[0]),
        Some(data) => base.pow(data.to_i64()[0]),
        None => base.pow(exponent.to_dtype(base_ty)),
    })
}

/// Bounds as attributes.
fn clip_attributes(cx: &mut Cx<'_>) -> Outcome {
    let (min, max) = (cx.float_or("min", f64::from(f32::MIN))?, cx.float_or("max", f64::from(f32::MAX))?);
    one(cx.input(0)?.clamp(min, max))
}

/// Bounds as inputs, each of which may be left out. An upper bound below the lower one wins.
fn clip(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let plain = |index: usize| match cx.try_known(index) {
        Some(data) if data.len() == 1 && x.dtype().is_float() => Some(data.to_f64()[0]),
        _ => None,
    };
    match (plain(1), plain(2)) {
        (min @ Some(_), max @ Some(_)) => return one(x.clamp(min, max)),
        (min @ Some(_), None) if !cx.has(2) => return one(x.clamp(min, None)),
        (None, max @ Some(_)) if !cx.has(1) => return one(x.clamp(None, max)),
        _ => {}
    }
    let mut result = x;
    if let Some(min) = cx.optional(1)? {
        result = result.maximum(min.reshape(()));
    }
    if let Some(max) = cx.optional(2)? {
        result = result.minimum(max.reshape(()));
    }
    one(result)
}

fn is_inf(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    one(match (cx.flag("detect_negative", true)?, cx.flag("detect_positive", true)?) {
        (true, true) => x.isinf(),
        (true, false) => x.eq(f64::NEG_INFINITY),
        (false, true) => x.eq(f64::INFINITY),
        (false, false) => x.ne(&x).logical_and(false),
    })
}

fn select(cx: &mut Cx<'_>) -> Outcome {
    let (on_true, on_false) = (cx.elem(1)?, cx.elem(2)?);
    if on_true != on_false {
        return Err(cx.invalid(format!("inputs 1 and 2 are {on_true} and {on_false}, expected one element type")));
    }
    let picked = ints::elementwise(cx, 3, |x| match x[0].known()? {
        0 => Some(x[2].clone()),
        _ => Some(x[1].clone()),
    });
    if let Some((elements, shape)) = picked {
        return Ok(vec![crate::value::Value::ints(elements, shape, on_true)]);
    }
    one(where_(&cx.input(0)?, cx.input(1)?, cx.input(2)?))
}
