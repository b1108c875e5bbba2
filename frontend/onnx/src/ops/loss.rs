//! Losses of classes: `NegativeLogLikelihoodLoss` and `SoftmaxCrossEntropyLoss`.

use nnc_frontend::Tensor;
use nnc_frontend::nn::{NLLLoss, Reduction};
use nnc_ir::DType;

use super::{Entry, Outcome, many, one, op, wide};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op("NegativeLogLikelihoodLoss", 12.., negative_log_likelihood),
    op("SoftmaxCrossEntropyLoss", 12.., softmax_cross_entropy),
];

/// The loss of log-probabilities `[N, C, ...]` that the attributes describe; targets and weights are inputs 1 and 2.
fn loss(cx: &Cx<'_>, log_probabilities: &Tensor) -> Result<Tensor, Fault> {
    let reduction = match cx.string_or("reduction", "mean")?.as_str() {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => return Err(cx.invalid(format!("`reduction` is `{other}`, expected none, sum or mean"))),
    };
    let target = cx.input(1)?;
    // Without the attribute every class counts: none is as low as this.
    let lowest = if target.dtype() == DType::I32 { i64::from(i32::MIN) } else { i64::MIN };
    let mut loss = NLLLoss::new().reduction(reduction).ignore_index(cx.int_or("ignore_index", lowest)?);
    if let Some(weight) = cx.optional(2)? {
        loss = loss.weight(weight.to_dtype(log_probabilities.dtype()));
    }
    Ok(loss.forward(log_probabilities, &target))
}

fn negative_log_likelihood(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    one(loss(cx, &wide(&x))?.to_dtype(x.dtype()))
}

fn softmax_cross_entropy(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let log_probabilities = wide(&x).log_softmax(1);
    let loss = loss(cx, &log_probabilities)?;
    many([loss, log_probabilities].map(|tensor| tensor.to_dtype(x.dtype())))
}
