//! Activations: functions of one element, with constants of the node.
//!
//! Written like the front end's (`functional::activation`), so that neither they nor their gradients overflow where the
//! true value does not. Half precision is computed in `f32` where a step would round visibly.

use nnc_frontend::Tensor;
use nnc_frontend::functional;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::{Entry, Outcome, one, op, op_range, wide};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op("Celu", 12.., celu),
    op("Elu", 1.., elu),
    op("Gelu", 20.., gelu),
    op("HardSigmoid", 1.., hard_sigmoid),
    op("HardSwish", 14.., hard_swish),
    op("LeakyRelu", 1.., leaky_relu),
    op("Mish", 18.., mish),
    op_range("PRelu", 1..=6, |cx| {
        let (x, slope) = (cx.input(0)?, cx.input(1)?);
        // One slope a channel, or one for all.
        let channels = vec![Dim::from(1); x.rank().saturating_sub(2)];
        let slope = slope.reshape([vec![slope.numel()], channels].concat());
        one(where_(&x.lt(0), slope * &x, &x))
    }),
    op("PRelu", 7.., prelu),
    op("Relu", 1.., relu),
    op("Selu", 1.., selu),
    op("Shrink", 9.., shrink),
    op("Sigmoid", 1.., sigmoid),
    op("Softplus", 1.., softplus),
    op("Softsign", 1.., softsign),
    op("Swish", 24.., swish),
    op("ThresholdedRelu", 10.., thresholded_relu),
];

/// `function` of the one input, in `f32` if that is in half precision.
fn in_f32(cx: &Cx<'_>, function: impl FnOnce(&Tensor) -> Tensor) -> Outcome {
    let x = cx.input(0)?;
    one(function(&wide(&x)).to_dtype(x.dtype()))
}

fn celu(cx: &mut Cx<'_>) -> Outcome {
    let alpha = cx.float_or("alpha", 1.0)?;
    in_f32(cx, |x| functional::celu(x, alpha))
}

fn elu(cx: &mut Cx<'_>) -> Outcome {
    let alpha = cx.float_or("alpha", 1.0)?;
    in_f32(cx, |x| functional::elu(x, alpha))
}

fn gelu(cx: &mut Cx<'_>) -> Outcome {
    match cx.string_or("approximate", "none")?.as_str() {
        "none" => in_f32(cx, Tensor::gelu),
        "tanh" => in_f32(cx, Tensor::gelu_tanh),
        other => Err(cx.invalid(format!("`approximate` is `{other}`, expected none or tanh"))),
    }
}

/// `max(0, min(1, alpha * x + beta))`.
fn hard_sigmoid(cx: &mut Cx<'_>) -> Outcome {
    let (alpha, beta) = (cx.float_or("alpha", 0.2)?, cx.float_or("beta", 0.5)?);
    in_f32(cx, |x| functional::hardtanh(&(x * alpha + beta), 0.0, 1.0))
}

/// `x * max(0, min(1, x / 6 + 1 / 2))`.
fn hard_swish(cx: &mut Cx<'_>) -> Outcome {
    in_f32(cx, |x| x * functional::hardtanh(&(x * (1.0 / 6.0) + 0.5), 0.0, 1.0))
}

fn leaky_relu(cx: &mut Cx<'_>) -> Outcome {
    let alpha = cx.float_or("alpha", 0.01)?;
    in_f32(cx, |x| x.leaky_relu(alpha))
}

fn mish(cx: &mut Cx<'_>) -> Outcome {
    in_f32(cx, functional::mish)
}

/// The slope broadcasts to the input, integers included.
fn prelu(cx: &mut Cx<'_>) -> Outcome {
    let (x, slope) = (cx.input(0)?, cx.input(1)?);
    one(where_(&x.lt(0), slope * &x, &x))
}

fn relu(cx: &mut Cx<'_>) -> Outcome {
    one(cx.input(0)?.relu())
}

/// `gamma * x` if positive, else `gamma * alpha * (e^x - 1)`.
fn selu(cx: &mut Cx<'_>) -> Outcome {
    // The numbers of Klambauer et al. (2017), as `f32`.
    let alpha = cx.float_or("alpha", 1.673_263_192_176_818_8)?;
    let gamma = cx.float_or("gamma", 1.050_701_022_148_132_3)?;
    in_f32(cx, |x| functional::elu(x, alpha) * gamma)
}

/// `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0. Integers are computed as `f32`.
fn shrink(cx: &mut Cx<'_>) -> Outcome {
    let (lambd, bias) = (cx.float_or("lambd", 0.5)?, cx.float_or("bias", 0.0)?);
    let x = cx.input(0)?;
    let wide = if x.dtype() == DType::F64 { x.clone() } else { x.float() };
    let y = where_(&wide.lt(-lambd), &wide + bias, where_(&wide.gt(lambd), &wide - bias, 0.0));
    one(y.to_dtype(x.dtype()))
}

fn sigmoid(cx: &mut Cx<'_>) -> Outcome {
    in_f32(cx, Tensor::sigmoid)
}

fn softplus(cx: &mut Cx<'_>) -> Outcome {
    in_f32(cx, Tensor::softplus)
}

fn softsign(cx: &mut Cx<'_>) -> Outcome {
    in_f32(cx, functional::softsign)
}

/// `x * sigmoid(alpha * x)`.
fn swish(cx: &mut Cx<'_>) -> Outcome {
    let alpha = cx.float_or("alpha", 1.0)?;
    in_f32(cx, |x| if alpha == 1.0 { x.silu() } else { x * (x * alpha).sigmoid() })
}

/// `x` above `alpha`, else 0.
fn thresholded_relu(cx: &mut Cx<'_>) -> Outcome {
    let alpha = cx.float_or("alpha", 1.0)?;
    let x = cx.input(0)?;
    one(where_(&x.gt(alpha), &x, 0.0))
}
