//! Conversions between element types: `Cast`, `CastLike`, `BitCast`.
//!
//! Types that the IR has not are rounded to in [`crate::lowbit`].

use std::rc::Rc;

use nnc_frontend::Tensor;
use nnc_frontend::tensor::apply;
use nnc_ir::{DType, Op, Scalar, TensorData};

use super::ints::{Ints, ints_of, is_symbolic};
use super::positions::look_up;
use super::{Entry, Outcome, op};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::lowbit::{Format, PowerRounding, SmallInt, round_power};
use crate::value::{StringTensor, Value};

pub(super) const OPS: &[Entry] =
    &[op("Cast", 6.., cast), op("CastLike", 15.., cast_like), op("BitCast", 26.., bit_cast)];

fn cast(cx: &mut Cx<'_>) -> Outcome {
    let to = cx.elem_attribute("to")?.ok_or_else(|| cx.invalid("the attribute `to` is missing"))?;
    convert_input(cx, to)
}

fn cast_like(cx: &mut Cx<'_>) -> Outcome {
    let to = cx.elem(1)?;
    convert_input(cx, to)
}

/// Input 0 as elements of another type.
fn convert_input(cx: &mut Cx<'_>, to: ElemType) -> Outcome {
    let rounding = Rounding::of_attributes(cx)?;
    let value = cx.value(0)?;
    // Whole numbers that follow from extents stay what they are, also among floats, in which exporters scale them.
    let holds_extents = matches!(to, ElemType::Int64 | ElemType::Int32 | ElemType::Float | ElemType::Double);
    if is_symbolic(&value)
        && holds_extents
        && let Some(Ints { elements, shape }) = ints_of(&value)
    {
        return Ok(vec![Value::ints(elements, shape, to)]);
    }
    match value {
        value @ (Value::Strings(_) | Value::Picked(_)) if to == ElemType::String => Ok(vec![value]),
        Value::Strings(strings) => Ok(vec![from_strings(cx, &strings, to, rounding)?]),
        Value::Picked(picked) => {
            let table = StringTensor { shape: vec![picked.table.len()], elements: picked.table.to_vec() };
            let numbers = from_strings(cx, &table, to, rounding)?;
            let numbers = cx.tensor_of(&numbers).expect("numbers are a tensor");
            Ok(vec![Value::with_elem(look_up(&numbers, &picked.positions), to)])
        }
        value @ Value::Tensor(_) if cx.elem(0)? == to => Ok(vec![value]),
        _ if to == ElemType::String => to_strings(cx),
        _ => Ok(vec![Value::with_elem(convert(cx, &cx.input(0)?, to, rounding)?, to)]),
    }
}

/// What becomes of numbers that a type of few bits does not have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounding {
    pub(super) saturate: bool,
    pub(super) powers: PowerRounding,
}

impl Rounding {
    /// As the attributes `saturate` and `round_mode` say.
    pub(super) fn of_attributes(cx: &Cx<'_>) -> Result<Self, Fault> {
        let powers = match cx.string_or("round_mode", "up")?.as_str() {
            "up" => PowerRounding::Up,
            "down" => PowerRounding::Down,
            "nearest" => PowerRounding::Nearest,
            other => return Err(cx.invalid(format!("`round_mode` is `{other}`, expected up, down or nearest"))),
        };
        Ok(Self { saturate: cx.flag("saturate", true)?, powers })
    }
}

/// A tensor of numbers as elements of `to`, in its carrier.
pub(super) fn convert(cx: &Cx<'_>, x: &Tensor, to: ElemType, rounding: Rounding) -> Result<Tensor, Fault> {
    if let Some(integer) = SmallInt::of(to) {
        return Ok(integer.wrap(x));
    }
    let dtype = cx.carrier(to)?;
    let Some(format) = Format::of(to) else { return Ok(x.to_dtype(dtype)) };
    // From `f64` directly: rounding to `f32` first could decide a tie.
    let x = if x.dtype() == DType::F64 { x.clone() } else { x.to_dtype(DType::F32) };
    Ok(match format {
        Format::Power => round_power(&x, rounding.saturate, rounding.powers),
        _ => format.round(&x, rounding.saturate),
    })
}

/// Numbers written in plain or scientific notation; `INF` and `NaN` in any case.
fn from_strings(cx: &Cx<'_>, strings: &StringTensor, to: ElemType, rounding: Rounding) -> Result<Value, Fault> {
    let dtype = cx.carrier(to)?;
    let number = |bytes: &Vec<u8>| {
        let text = String::from_utf8_lossy(bytes);
        let digits = text.trim();
        let double = || digits.parse().ok().map(|value| Scalar::from_f64(dtype, value));
        // Rounded once, from the decimal; integers beyond 2^53 are no doubles.
        let scalar = match dtype {
            DType::F32 => digits.parse().ok().map(|value: f32| Scalar { dtype, bits: value.to_bits().into() }),
            _ if dtype.is_int() => digits.parse().ok().map(|value| Scalar::from_integer(dtype, value)).or_else(double),
            _ => double(),
        };
        scalar.ok_or_else(|| cx.invalid(format!("the string `{text}`, expected a number")))
    };
    let scalars = strings.elements.iter().map(number).collect::<Result<Vec<Scalar>, Fault>>()?;
    let tensor = Tensor::from_data(TensorData::from_scalars(dtype, strings.shape.clone(), scalars));
    let tensor = if to.is_exact() { tensor } else { convert(cx, &tensor, to, rounding)? };
    Ok(Value::with_elem(tensor, to))
}

/// Strings exist while importing only, so the numbers must be known.
fn to_strings(cx: &Cx<'_>) -> Outcome {
    let data = cx.known(0)?;
    let text = |scalar: Scalar| match scalar.dtype {
        DType::F64 => format!("{}", scalar.to_f64()),
        dtype if dtype.is_float() => format!("{}", scalar.to_f64() as f32),
        DType::Bool => if scalar.bits != 0 { "True" } else { "False" }.to_string(),
        _ => scalar.to_string(),
    };
    let elements = data.scalars().map(|scalar| text(scalar).into_bytes()).collect();
    Ok(vec![Value::Strings(Rc::new(StringTensor { shape: data.shape.clone(), elements }))])
}

/// Bits of an element of a type.
fn width(elem: ElemType) -> Option<usize> {
    if let Some(format) = Format::of(elem) {
        return Some(format.bits() as usize);
    }
    match SmallInt::of(elem) {
        Some(integer) => Some(integer.bits() as usize),
        None => Some(8 * elem.carrier()?.size()),
    }
}

fn bit_cast(cx: &mut Cx<'_>) -> Outcome {
    let to = cx.elem_attribute("to")?.ok_or_else(|| cx.invalid("the attribute `to` is missing"))?;
    let (from, x) = (cx.elem(0)?, cx.input(0)?);
    cx.carrier(to)?;
    if width(from) != width(to) {
        return Err(cx.invalid(format!("`to` is {to} for a tensor of {from}, expected a type of as many bits")));
    }
    let result = if from == to {
        x
    } else if width(to) > Some(8) {
        apply(Op::BitcastConvert(cx.carrier(to)?), &[&x])
    } else {
        of_codes(&codes(&x, from), to)
    };
    Ok(vec![Value::with_elem(result, to)])
}

/// The `u8` codes of elements of at most 8 bits.
fn codes(x: &Tensor, elem: ElemType) -> Tensor {
    match (Format::of(elem), SmallInt::of(elem)) {
        (Some(format), _) => format.codes(x),
        (_, Some(integer)) => integer.codes(x),
        // Integers wrap, and truth values are 0 and 1.
        _ => x.to_dtype(DType::U8),
    }
}

/// The elements that `u8` codes stand for, in their carrier.
fn of_codes(codes: &Tensor, elem: ElemType) -> Tensor {
    match (Format::of(elem), SmallInt::of(elem), elem) {
        (Some(format), ..) => format.numbers(codes),
        (_, Some(integer), _) => integer.wrap(codes),
        (_, _, ElemType::Bool) => codes.ne(0),
        (_, _, ElemType::Int8) => codes.to_dtype(DType::I8),
        _ => codes.clone(),
    }
}
