//! Random numbers and dropout.
//!
//! Numbers are drawn anew on every run, from the function's state `rng` (see [`nnc_frontend::random`]), which every
//! draw advances. Attribute `seed` is not looked at: ONNX does not say what it means, and two nodes of one seed would
//! draw the same numbers.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Shape, TensorData};

use super::{Entry, Outcome, op, op_range};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("Bernoulli", 15.., bernoulli),
    op_range("Dropout", 7..=11, |cx| {
        let x = cx.input(0)?;
        // Up to operator set 9 the mask has the type of the data.
        let mask = all_true(&x);
        let mask = if cx.opset() < 10 { mask.to_dtype(x.dtype()) } else { mask };
        Ok(vec![x.into(), mask.into()])
    }),
    op("Dropout", 12.., dropout),
    op("Multinomial", 7.., multinomial),
    op("RandomNormal", 1.., |cx| {
        let shape = shape_attribute(cx)?;
        normal(cx, &shape, ElemType::Float)
    }),
    op("RandomNormalLike", 1.., |cx| normal(cx, &cx.input(0)?.shape(), cx.elem(0)?)),
    op("RandomUniform", 1.., |cx| {
        let shape = shape_attribute(cx)?;
        uniform(cx, &shape, ElemType::Float)
    }),
    op("RandomUniformLike", 1.., |cx| uniform(cx, &cx.input(0)?.shape(), cx.elem(0)?)),
];

fn shape_attribute(cx: &Cx<'_>) -> Result<Shape, Fault> {
    let given = cx.ints("shape")?.ok_or_else(|| cx.invalid("attribute `shape` is left out"))?;
    let extents: Option<Vec<usize>> = given.iter().map(|&extent| usize::try_from(extent).ok()).collect();
    match extents {
        Some(extents) => Ok(Shape::fixed(&extents)),
        None => Err(cx.invalid(format!("attribute `shape` is {given:?}, expected extents"))),
    }
}

fn normal(cx: &Cx<'_>, shape: &Shape, default: ElemType) -> Outcome {
    let (elem, dtype) = cx.elem_or("dtype", default)?;
    let (mean, scale) = (cx.float_or("mean", 0.0)?, cx.float_or("scale", 1.0)?);
    let drawn = Tensor::randn(shape) * scale + mean;
    Ok(vec![Value::with_elem(drawn.to_dtype(dtype), elem)])
}

fn uniform(cx: &Cx<'_>, shape: &Shape, default: ElemType) -> Outcome {
    let (elem, dtype) = cx.elem_or("dtype", default)?;
    let (low, high) = (cx.float_or("low", 0.0)?, cx.float_or("high", 1.0)?);
    let drawn = Tensor::rand(shape) * (high - low) + low;
    Ok(vec![Value::with_elem(drawn.to_dtype(dtype), elem)])
}

/// 1 with the probability that the input holds, else 0.
fn bernoulli(cx: &mut Cx<'_>) -> Outcome {
    let probability = cx.input(0)?;
    let (elem, dtype) = cx.elem_or("dtype", cx.elem(0)?)?;
    let drawn = Tensor::rand(probability.shape()).lt(probability.float());
    Ok(vec![Value::with_elem(drawn.to_dtype(dtype), elem)])
}

/// Classes drawn from unnormalized log-probabilities `[batch, class]`: `[batch, sample]`. The largest of the
/// log-probabilities plus Gumbel noise is a draw (Gumbel, 1954).
fn multinomial(cx: &mut Cx<'_>) -> Outcome {
    let logits = cx.input(0)?;
    if logits.rank() != 2 {
        return Err(cx.invalid(format!("input 0 is {}, expected [batch, class]", logits.ty())));
    }
    let (elem, dtype) = cx.elem_or("dtype", ElemType::Int32)?;
    let n_samples = cx.int_or("sample_size", 1)?;
    let Ok(n_samples) = usize::try_from(n_samples) else {
        return Err(cx.invalid(format!("attribute `sample_size` is {n_samples}, expected at least 0")));
    };
    let shape = Shape(vec![logits.size(0), n_samples.into(), logits.size(1)]);
    // Numbers are multiples of 2^-24 from 0 on; half a step more keeps the logarithm finite.
    let noise = -(-(Tensor::rand(shape) + f64::from(2f32.powi(-25))).log()).log();
    let drawn = (logits.float().unsqueeze(1) + noise).argmax(-1);
    Ok(vec![Value::with_elem(drawn.to_dtype(dtype), elem)])
}

/// Zeros each element with probability `ratio` and scales the others, if `training_mode` is true. The mask says what was
/// kept.
fn dropout(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let training = if cx.has(2) { cx.known_int(2)? != 0 } else { false };
    let ratio = if training && cx.has(1) { cx.known_float(1)? } else { 0.5 };
    if !(0.0..1.0).contains(&ratio) {
        return Err(cx.invalid(format!("input 1, the ratio, is {ratio}, expected at least 0 and less than 1")));
    }
    if !training || ratio == 0.0 {
        let mask = all_true(&x);
        return Ok(vec![x.into(), mask.into()]);
    }
    let kept = Tensor::rand(x.shape()).ge(ratio);
    let dropped = where_(&kept, &x * (1.0 / (1.0 - ratio)), 0);
    Ok(vec![dropped.into(), kept.into()])
}

fn all_true(x: &Tensor) -> Tensor {
    let truth = TensorData::from_integers(DType::Bool, Vec::new(), [1]);
    Tensor::from_data(truth).broadcast_to(x.shape())
}
