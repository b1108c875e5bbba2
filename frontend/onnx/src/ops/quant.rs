//! Quantized tensors: integers (or floats of few bits) with a scale and a zero point, which stand for
//! `(element - zero_point) * scale`.
//!
//! Sums of products of quantized elements are exact, whatever computes them ([`super::integers`]), and wrap where ONNX
//! lets them overflow.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim, Shape};

use super::cast::{Rounding, convert};
use super::integers::Integers;
use super::{Domain, Entry, Outcome, convolution, many, one, op};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::lowbit::{Format, SmallInt};
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("QuantizeLinear", 10.., quantize_linear),
    op("DequantizeLinear", 10.., dequantize_linear),
    op("DynamicQuantizeLinear", 11.., dynamic_quantize_linear),
    op("MatMulInteger", 10.., matmul_integer),
    op("ConvInteger", 10.., conv_integer),
    op("QLinearMatMul", 10.., qlinear_matmul),
    op("QLinearConv", 10.., qlinear_conv),
    op("QuantizeLinear", 1.., quantize_linear).in_domain(Domain::Microsoft),
    op("DequantizeLinear", 1.., dequantize_linear).in_domain(Domain::Microsoft),
    op("DynamicQuantizeMatMul", 1.., dynamic_quantize_matmul).in_domain(Domain::Microsoft),
    op("MatMulIntegerToFloat", 1.., matmul_integer_to_float).in_domain(Domain::Microsoft),
    op("QLinearAdd", 1.., |cx| qlinear_binary(cx, |x, y| x + y)).in_domain(Domain::Microsoft),
    op("QLinearMul", 1.., |cx| qlinear_binary(cx, |x, y| x * y)).in_domain(Domain::Microsoft),
    op("QLinearSigmoid", 1.., |cx| qlinear_unary(cx, |_, x| Ok(x.sigmoid()))).in_domain(Domain::Microsoft),
    op("QLinearLeakyRelu", 1.., |cx| qlinear_unary(cx, |cx, x| Ok(x.leaky_relu(cx.float_or("alpha", 0.01)?))))
        .in_domain(Domain::Microsoft),
    op("QLinearGlobalAveragePool", 1.., qlinear_global_average_pool).in_domain(Domain::Microsoft),
    op("QLinearConcat", 1.., qlinear_concat).in_domain(Domain::Microsoft),
    op("QLinearSoftmax", 1.., |cx| qlinear_unary(cx, softmax)).in_domain(Domain::Microsoft),
    op("QGemm", 1.., qgemm).in_domain(Domain::Microsoft),
];

/// Which scale and zero point belong to an element.
struct Blocks {
    /// The quantized dimension, where they are not the same for all elements.
    axis: usize,
    /// How many elements along the dimension share one, or `None` if they are vectors along it.
    size: Option<usize>,
}

impl Blocks {
    /// As the attributes `axis` and `block_size` say for a tensor of the type of `x`.
    fn of_attributes(cx: &Cx<'_>, x: &Tensor) -> Result<Self, Fault> {
        let rank = x.rank();
        let size = match cx.int_or("block_size", 0)? {
            0 => None,
            size @ 1.. => Some(size as usize),
            size => return Err(cx.invalid(format!("`block_size` is {size}, expected at least 1"))),
        };
        // One dimension is the quantized one whatever is said.
        let axis = if rank <= 1 { 0 } else { cx.axis(cx.int_or("axis", 1)?, rank)? };
        Ok(Self { axis, size })
    }

    /// A scale or zero point, given as input `index`, in a shape that broadcasts with `x`.
    fn spread(&self, cx: &Cx<'_>, index: usize, x: &Tensor) -> Result<Tensor, Fault> {
        let value = cx.input(index)?;
        let (ty, rank) = (value.ty(), x.rank());
        if ty.shape.n_elements() == Dim::from(1) {
            return Ok(value.reshape(Shape::scalar()));
        }
        let misfit = |expected: String| {
            cx.invalid(format!("input {index} is {ty} for a tensor of {}, expected {expected}", x.ty()))
        };
        let Some(size) = self.size else {
            if ty.rank() != 1 || rank == 0 {
                return Err(misfit("one element, or a vector along `axis`".to_string()));
            }
            let mut extents = vec![Dim::from(1); rank];
            extents[self.axis] = ty.shape[0].clone();
            return Ok(value.reshape(extents));
        };
        if ty.rank() != rank {
            return Err(misfit("one element for each block".to_string()));
        }
        // Each element `size` times along the axis; the last block may be shorter.
        let mut repeated = ty.shape.0.clone();
        repeated.insert(self.axis + 1, Dim::from(size));
        let mut joined = ty.shape.0.clone();
        joined[self.axis] = joined[self.axis].clone() * Dim::from(size);
        let value = value.unsqueeze(self.axis as i64 + 1).broadcast_to(Shape(repeated)).reshape(joined);
        let extent = &x.dims()[self.axis];
        Ok(match extent.as_const() {
            Some(extent) if value.size(self.axis as i64) != Dim::from(extent) => {
                value.slice(self.axis as i64, 0, Some(extent as i64), 1)
            }
            _ => value,
        })
    }
}

/// The least and the largest value of an integer type of at most 16 bits.
fn int_range(elem: ElemType) -> Option<(i64, i64)> {
    match elem {
        ElemType::Int8 => Some((-128, 127)),
        ElemType::Uint8 => Some((0, 255)),
        ElemType::Int16 => Some((-32_768, 32_767)),
        ElemType::Uint16 => Some((0, 65_535)),
        _ => SmallInt::of(elem).map(SmallInt::range),
    }
}

/// `x` divided by the scale, as elements of `to`: rounded to nearest even, moved by the zero point, and saturated.
fn quantized(
    cx: &Cx<'_>,
    scaled: &Tensor,
    zero_point: Option<Tensor>,
    to: ElemType,
    rounding: Rounding,
) -> Result<Tensor, Fault> {
    let Some((least, largest)) = int_range(to) else {
        if Format::of(to).is_none() {
            return Err(
                cx.invalid(format!("quantization to {to}, expected an integer of at most 16 bits or a float of 8"))
            );
        }
        let moved = match zero_point {
            Some(zero_point) => scaled + zero_point.to_dtype(scaled.dtype()),
            None => scaled.clone(),
        };
        return convert(cx, &moved, to, rounding);
    };
    // Saturated before the zero point is added, too, so that the sum cannot overflow.
    let bound = 1 << 20;
    let rounded = scaled.round().to_dtype(DType::I32).maximum(-bound).minimum(bound);
    let moved = match zero_point {
        Some(zero_point) => rounded + zero_point.to_dtype(DType::I32),
        None => rounded,
    };
    Ok(moved.maximum(least).minimum(largest).to_dtype(cx.carrier(to)?))
}

/// What an unsaturated rounding needs no attributes for.
const SATURATING: Rounding = Rounding { saturate: true, powers: crate::lowbit::PowerRounding::Up };

/// The tensor that quantized elements stand for, in `f32`.
fn dequantized(x: &Tensor, scale: &Tensor, zero_point: Option<&Tensor>) -> Tensor {
    let x = x.to_dtype(DType::F32);
    let moved = match zero_point {
        Some(zero_point) => x - zero_point.to_dtype(DType::F32),
        None => x,
    };
    moved * scale.to_dtype(DType::F32)
}

fn quantize_linear(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let blocks = Blocks::of_attributes(cx, &x)?;
    let scale = blocks.spread(cx, 1, &x)?;
    let zero_point = cx.has(2).then(|| blocks.spread(cx, 2, &x)).transpose()?;
    let to = match (cx.elem_attribute("output_dtype")?, cx.has(2).then(|| cx.elem(2)).transpose()?) {
        (Some(stated), Some(given)) if stated != given => {
            return Err(cx.invalid(format!("`output_dtype` is {stated}, but the zero point is {given}")));
        }
        (stated, given) => stated.or(given).unwrap_or(ElemType::Uint8),
    };
    let precision = match cx.elem_attribute("precision")? {
        Some(elem) => cx.carrier(elem)?,
        None => scale.dtype(),
    };
    let scaled = x.to_dtype(precision) / scale.to_dtype(precision);
    let rounding = Rounding { saturate: cx.flag("saturate", true)?, ..SATURATING };
    Ok(vec![Value::with_elem(quantized(cx, &scaled, zero_point, to, rounding)?, to)])
}

fn dequantize_linear(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let blocks = Blocks::of_attributes(cx, &x)?;
    let scale = blocks.spread(cx, 1, &x)?;
    let zero_point = cx.has(2).then(|| blocks.spread(cx, 2, &x)).transpose()?;
    let to = match cx.elem_attribute("output_dtype")? {
        Some(elem) => elem,
        None if cx.elem(1)? == ElemType::Float8E8M0 => {
            return Err(cx.invalid("the scale is float8e8m0, expected the attribute `output_dtype`"));
        }
        None => cx.elem(1)?,
    };
    let y = dequantized(&x, &scale, zero_point.as_ref());
    Ok(vec![Value::with_elem(convert(cx, &y, to, SATURATING)?, to)])
}

/// A tensor of floats as `u8` over the range it has: the elements, their scale and their zero point.
pub(super) fn dynamically_quantized(x: &Tensor) -> (Tensor, Tensor, Tensor) {
    quantized_to(x, &x.max(..), &x.min(..))
}

/// [`dynamically_quantized`] of each row by itself.
pub(super) fn dynamically_quantized_rows(x: &Tensor) -> (Tensor, Tensor, Tensor) {
    quantized_to(x, &x.max_keepdim(-1), &x.min_keepdim(-1))
}

fn quantized_to(x: &Tensor, largest: &Tensor, least: &Tensor) -> (Tensor, Tensor, Tensor) {
    let range = 255.0;
    let (largest, least) = (largest.maximum(0.0), least.minimum(0.0));
    let spread = &largest - &least;
    let scale = where_(&spread.eq(0.0), 1.0, spread) / range;
    let zero_point = (-least / &scale).clamp(0.0, range).round();
    let elements = ((x / &scale).round() + &zero_point).clamp(0.0, range).to_dtype(DType::U8);
    (elements, scale, zero_point.to_dtype(DType::U8))
}

fn dynamic_quantize_linear(cx: &mut Cx<'_>) -> Outcome {
    let (elements, scale, zero_point) = dynamically_quantized(&cx.input(0)?);
    many([elements, scale, zero_point])
}

/// A scale or zero point of the left side of a product: a vector has one element a row.
fn of_rows(value: Tensor) -> Tensor {
    if value.rank() == 1 && value.size(0) != Dim::from(1) { value.unsqueeze(1) } else { value }
}

/// Input `index` without the zero point of input `zero_point`; rows of the left side may have their own.
fn factor(cx: &Cx<'_>, index: usize, zero_point: usize, is_left: bool) -> Result<Integers, Fault> {
    let zero_point = cx.optional(zero_point)?.map(|value| if is_left { of_rows(value) } else { value });
    Ok(Integers::new(&cx.input(index)?, zero_point.as_ref()))
}

fn matmul_integer(cx: &mut Cx<'_>) -> Outcome {
    one(factor(cx, 0, 2, true)?.matmul(&factor(cx, 1, 3, false)?))
}

fn qlinear_matmul(cx: &mut Cx<'_>) -> Outcome {
    let sums = match (Format::of(cx.elem(0)?), Format::of(cx.elem(3)?)) {
        (None, None) => factor(cx, 0, 2, true)?.matmul(&factor(cx, 3, 5, false)?).to_dtype(DType::F32),
        _ => {
            let float =
                |index: usize, zero: Tensor| Ok(cx.input(index)?.to_dtype(DType::F32) - zero.to_dtype(DType::F32));
            float(0, of_rows(cx.input(2)?))?.matmul(float(3, cx.input(5)?)?)
        }
    };
    let scale = of_rows(cx.input(1)?) * cx.input(4)? / cx.input(6)?;
    let to = cx.elem(7)?;
    let scaled = sums * scale.to_dtype(DType::F32);
    Ok(vec![Value::with_elem(quantized(cx, &scaled, Some(cx.input(7)?), to, SATURATING)?, to)])
}

/// A value for each output channel, or for all, in a shape that broadcasts with `[out, in, space...]` or, with `batch`,
/// with `[batch, out, space...]`.
fn of_channels(value: Tensor, rank: usize, batch: bool) -> Tensor {
    if value.rank() == 0 || value.size(0) == Dim::from(1) {
        return value.reshape(Shape::scalar());
    }
    let mut extents = vec![Dim::from(1); rank];
    // What a fault stands for has no dimensions.
    if let Some(extent) = extents.get_mut(usize::from(batch)) {
        *extent = value.size(0);
    }
    value.reshape(extents)
}

/// The convolution of input 0 and input `weight`, whose zero points are the inputs at `zero_points`, as `i32`.
fn integer_convolution(cx: &Cx<'_>, weight: usize, zero_points: [usize; 2]) -> Result<Tensor, Fault> {
    let (x, w) = (cx.input(0)?, cx.input(weight)?);
    let attrs = convolution::attributes(cx, &x, &w)?;
    let [of_x, of_w] = zero_points;
    let of_x = cx.optional(of_x)?.map(|value| value.reshape(Shape::scalar()));
    let of_w = cx.optional(of_w)?.map(|value| of_channels(value, w.rank(), false));
    Ok(Integers::new(&x, of_x.as_ref()).convolve(&Integers::new(&w, of_w.as_ref()), &attrs))
}

fn conv_integer(cx: &mut Cx<'_>) -> Outcome {
    one(integer_convolution(cx, 1, [2, 3])?)
}

fn qlinear_conv(cx: &mut Cx<'_>) -> Outcome {
    let sums = integer_convolution(cx, 3, [2, 5])?;
    let sums = match cx.optional(8)? {
        Some(bias) => &sums + of_channels(bias, sums.rank(), true),
        None => sums,
    };
    let scalar = |index: usize| Ok(cx.input(index)?.reshape(Shape::scalar()));
    let scale = scalar(1)? * of_channels(cx.input(4)?, sums.rank(), true) / scalar(6)?;
    let (scaled, to) = (sums.to_dtype(DType::F32) * scale, cx.elem(7)?);
    Ok(vec![Value::with_elem(quantized(cx, &scaled, Some(scalar(7)?), to, SATURATING)?, to)])
}

/// `com.microsoft`: a product with a matrix of quantized weights; the other side is quantized on the way.
fn dynamic_quantize_matmul(cx: &mut Cx<'_>) -> Outcome {
    let (elements, scale, zero_point) = dynamically_quantized(&cx.input(0)?);
    let sums = Integers::new(&elements, Some(&zero_point)).matmul(&factor(cx, 1, 3, false)?);
    scaled_sums(cx, &sums, scale * cx.input(2)?, 4)
}

/// `com.microsoft`: a product of quantized matrices as floats.
fn matmul_integer_to_float(cx: &mut Cx<'_>) -> Outcome {
    let sums = factor(cx, 0, 4, true)?.matmul(&factor(cx, 1, 5, false)?);
    let scale = of_rows(cx.input(2)?) * cx.input(3)?;
    scaled_sums(cx, &sums, scale, 6)
}

/// Sums of products as floats, with the bias of input `bias`.
fn scaled_sums(cx: &Cx<'_>, sums: &Tensor, scale: Tensor, bias: usize) -> Outcome {
    let y = sums.to_dtype(scale.dtype()) * scale;
    one(match cx.optional(bias)? {
        Some(bias) => y + bias,
        None => y,
    })
}

/// Input `first` with the scale and zero point that follow it, in `f32`.
fn dequantized_input(cx: &Cx<'_>, first: usize) -> Result<Tensor, Fault> {
    let (x, scale) = (cx.input(first)?, cx.input(first + 1)?);
    Ok(dequantized(&x, &scale, cx.optional(first + 2)?.as_ref()))
}

/// `y` with the scale and zero point of inputs `scale` and `scale + 1`, in the element type of input `like`.
fn quantized_output(cx: &Cx<'_>, y: &Tensor, scale: usize, like: usize) -> Outcome {
    let to = cx.elem(like)?;
    let scaled = y / cx.input(scale)?;
    Ok(vec![Value::with_elem(quantized(cx, &scaled, cx.optional(scale + 1)?, to, SATURATING)?, to)])
}

fn qlinear_binary(cx: &mut Cx<'_>, combine: fn(Tensor, Tensor) -> Tensor) -> Outcome {
    let y = combine(dequantized_input(cx, 0)?, dequantized_input(cx, 3)?);
    quantized_output(cx, &y, 6, 0)
}

fn qlinear_unary(cx: &mut Cx<'_>, function: fn(&Cx<'_>, Tensor) -> Result<Tensor, Fault>) -> Outcome {
    let y = function(cx, dequantized_input(cx, 0)?)?;
    quantized_output(cx, &y, 3, 0)
}

fn qlinear_global_average_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = dequantized_input(cx, 0)?;
    let (rank, is_last) = (x.rank() as i64, cx.flag("channels_last", false)?);
    let spatial: Vec<i64> = if is_last { (1..rank - 1).collect() } else { (2..rank).collect() };
    quantized_output(cx, &x.mean_keepdim(&spatial[..]), 3, 0)
}

/// Inputs are the result's scale and zero point, and then each tensor with its own.
fn qlinear_concat(cx: &mut Cx<'_>) -> Outcome {
    let parts =
        (2..cx.n_inputs()).step_by(3).map(|first| dequantized_input(cx, first)).collect::<Result<Vec<_>, _>>()?;
    let axis = cx.int("axis")?.ok_or_else(|| cx.invalid("the attribute `axis` is missing"))?;
    quantized_output(cx, &Tensor::cat(&parts, axis), 0, 1)
}

/// A softmax as the operator set that attribute `opset` names has it: before 13 over everything from the axis on.
fn softmax(cx: &Cx<'_>, x: Tensor) -> Result<Tensor, Fault> {
    let axis = cx.int_or("axis", -1)?;
    if cx.int_or("opset", 13)? >= 13 {
        return Ok(x.softmax(axis));
    }
    let axis = cx.axis(axis, x.rank())?;
    Ok(x.flatten(axis as i64, -1).softmax(-1).reshape(x.shape()))
}

/// `com.microsoft`: a product of quantized matrices with a bias in its scale, as floats unless a scale is given for it.
fn qgemm(cx: &mut Cx<'_>) -> Outcome {
    let side = |index: usize, name: &str| -> Result<Integers, Fault> {
        let zero_point = cx.optional(index + 2)?;
        let x = cx.input(index)?;
        // Zero points of columns stay where they are: they belong to columns of the product.
        let x = if cx.flag(name, false)? { x.transpose(0, 1) } else { x };
        Ok(Integers::new(&x, zero_point.as_ref()))
    };
    let sums = side(0, "transA")?.matmul(&side(3, "transB")?);
    let sums = match cx.optional(6)? {
        Some(bias) => sums + bias,
        None => sums,
    };
    let scale = cx.input(1)? * cx.input(4)? * cx.float_or("alpha", 1.0)?;
    let y = sums.to_dtype(DType::F32) * scale;
    if cx.has(7) { quantized_output(cx, &y, 7, 0) } else { one(y) }
}
