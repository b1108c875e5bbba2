//! `ai.onnx.ml`: classical models and the preparation of their inputs.
//!
//! Features are numbers. Class labels that are strings are positions in a list, and the maps that `ZipMap` makes are
//! tensors with keys ([`labels`](crate::labels)). Scores are `float`, whatever the features are.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, TensorData};

use crate::cx::Cx;
use crate::fault::Fault;

mod classes;
pub(super) mod features;
mod forest;
pub(super) mod labels;
pub(super) mod linear;
pub(super) mod maps;
pub(super) mod svm;
pub(super) mod trees;

/// Floats as a tensor of this type and shape.
fn constant(dtype: DType, shape: &[usize], values: impl IntoIterator<Item = f64>) -> Tensor {
    Tensor::from_data(TensorData::from_doubles(dtype, shape.to_vec(), values))
}

/// Features as floats: of doubles doubles, of everything else `float`.
fn floats(x: &Tensor) -> Tensor {
    if x.dtype() == DType::F64 { x.clone() } else { x.float() }
}

/// Attribute `name`, or the tensor `name_as_tensor` that may stand in for it where floats are not precise enough.
fn precise(cx: &Cx<'_>, name: &str) -> Result<Option<Vec<f64>>, Fault> {
    let tensor = cx.tensor(&format!("{name}_as_tensor"))?.filter(|data| !data.is_empty());
    match tensor {
        Some(data) => Ok(Some(data.to_f64())),
        None => cx.floats(name),
    }
}

/// Attribute `name`, which must be given.
fn required<T>(cx: &Cx<'_>, name: &str, value: Option<T>) -> Result<T, Fault> {
    value.ok_or_else(|| cx.invalid(format!("attribute `{name}` is left out, expected one")))
}

/// What becomes of the scores of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    fn of(cx: &Cx<'_>) -> Result<Self, Fault> {
        let name = cx.string_or("post_transform", "NONE")?;
        Ok(match name.as_str() {
            "NONE" => Self::None,
            "SOFTMAX" => Self::Softmax,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            _ => {
                let expected = "NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT";
                return Err(cx.invalid(format!("post_transform is `{name}`, expected {expected}")));
            }
        })
    }

    /// The transformed scores, rows along the last dimension.
    fn of_scores(self, scores: &Tensor) -> Tensor {
        match self {
            Self::None => scores.clone(),
            Self::Softmax => scores.softmax(-1),
            Self::Logistic => scores.sigmoid(),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => probit(scores),
        }
    }
}

/// A softmax in which a score of zero is no score: its exponential is left out.
fn softmax_zero(scores: &Tensor) -> Tensor {
    let most = scores.max_keepdim(-1).detach();
    let is_zero = scores.abs().le(1e-7);
    let parts = where_(&is_zero, scores * (-&most).exp(), (scores - &most).exp());
    let total = parts.sum_keepdim(-1);
    let nothing = total.eq(0.0);
    where_(&nothing, 0.5, parts / where_(&nothing, 1.0, &total))
}

/// The quantile of the normal distribution, by the approximation of the inverse error function that ONNX Runtime uses
/// (Winitzki, 2008).
fn probit(scores: &Tensor) -> Tensor {
    const A: f64 = 0.147;
    let x = scores * 2.0 - 1.0;
    let log = ((1.0 - &x) * (1.0 + &x)).log();
    let half = &log * 0.5 + 2.0 / (std::f64::consts::PI * A);
    let magnitude = (-&half + (half.square() - &log * (1.0 / A)).sqrt()).sqrt();
    x.sign() * magnitude * std::f64::consts::SQRT_2
}

/// `x` as rows of features: a vector is one row.
fn rows(cx: &Cx<'_>, x: Tensor) -> Result<Tensor, Fault> {
    match x.ty().rank() {
        1 => Ok(x.unsqueeze(0)),
        2 => Ok(x),
        _ => Err(cx.invalid(format!("the features are {}, expected rows [N, F]", x.ty()))),
    }
}
