//! Losses as functions, with PyTorch's defaults.

use crate::nn::{
    BCELoss, BCEWithLogitsLoss, CTCLoss, CosineEmbeddingLoss, CrossEntropyLoss, GaussianNLLLoss, HingeEmbeddingLoss,
    HuberLoss, KLDivLoss, L1Loss, MSELoss, MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss,
    MultiMarginLoss, NLLLoss, PoissonNLLLoss, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
    TripletMarginWithDistanceLoss,
};
use crate::tensor::{Tensor, ToTensor};

/// Functions of tensors that are layers with their defaults.
macro_rules! losses {
    ($($(#[doc = $doc:literal])* $function:ident($($argument:ident),*) => $layer:ident;)*) => {
        $(
            $(#[doc = $doc])*
            #[track_caller]
            pub fn $function($($argument: &Tensor),*) -> Tensor {
                $layer::new().forward($($argument),*)
            }
        )*
    };
}

losses! {
    /// Mean of `(input - target)²`.
    mse_loss(input, target) => MSELoss;
    /// Mean of `|input - target|`.
    l1_loss(input, target) => L1Loss;
    /// Mean of a parabola up to a distance of 1, and of the distance less one half from there on: see [`SmoothL1Loss`].
    smooth_l1_loss(input, target) => SmoothL1Loss;
    /// Mean of a parabola up to a distance of 1, and of a line from there on: see [`HuberLoss`].
    huber_loss(input, target) => HuberLoss;
    /// Mean cross entropy of probabilities: see [`BCELoss`].
    binary_cross_entropy(input, target) => BCELoss;
    /// Mean cross entropy of sigmoids of the input: see [`BCEWithLogitsLoss`].
    binary_cross_entropy_with_logits(input, target) => BCEWithLogitsLoss;
    /// Mean of `target * (ln(target) - input)`: see [`KLDivLoss`].
    kl_div(input, target) => KLDivLoss;
    /// Mean negative log-likelihood of counts: see [`PoissonNLLLoss`].
    poisson_nll_loss(input, target) => PoissonNLLLoss;
    /// Mean negative log-likelihood under normal distributions: see [`GaussianNLLLoss`].
    gaussian_nll_loss(input, target, var) => GaussianNLLLoss;
    /// Mean of the input where the target is 1, and of what it lacks to 1 where the target is -1: see
    /// [`HingeEmbeddingLoss`].
    hinge_embedding_loss(input, target) => HingeEmbeddingLoss;
    /// Mean of `ln(1 + e^(-target * input))`: see [`SoftMarginLoss`].
    soft_margin_loss(input, target) => SoftMarginLoss;
    /// Mean over wrong classes of what the right one lacks to win by 1: see [`MultiMarginLoss`].
    multi_margin_loss(input, target) => MultiMarginLoss;
    /// [`multi_margin_loss`] for several right classes: see [`MultiLabelMarginLoss`].
    multilabel_margin_loss(input, target) => MultiLabelMarginLoss;
    /// Mean cross entropy of one sigmoid a class: see [`MultiLabelSoftMarginLoss`].
    multilabel_soft_margin_loss(input, target) => MultiLabelSoftMarginLoss;
    /// Mean of `max(-target * (input1 - input2), 0)`: see [`MarginRankingLoss`].
    margin_ranking_loss(input1, input2, target) => MarginRankingLoss;
    /// Mean of `1 - cos` for target 1, and of `max(cos, 0)` for -1: see [`CosineEmbeddingLoss`].
    cosine_embedding_loss(input1, input2, target) => CosineEmbeddingLoss;
    /// Mean of `max(d(anchor, positive) - d(anchor, negative) + 1, 0)`: see [`TripletMarginLoss`].
    triplet_margin_loss(anchor, positive, negative) => TripletMarginLoss;
}

/// [`triplet_margin_loss`] with a distance of your own: see [`TripletMarginWithDistanceLoss`].
#[track_caller]
pub fn triplet_margin_with_distance_loss(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    distance_function: impl Fn(&Tensor, &Tensor) -> Tensor + 'static,
) -> Tensor {
    TripletMarginWithDistanceLoss::new().distance_function(distance_function).forward(anchor, positive, negative)
}

/// Mean negative log-probability of the targets over all alignments: see [`CTCLoss`].
#[track_caller]
pub fn ctc_loss(
    log_probs: &Tensor,
    targets: &Tensor,
    input_lengths: impl ToTensor,
    target_lengths: impl ToTensor,
) -> Tensor {
    CTCLoss::new().forward(log_probs, targets, input_lengths, target_lengths)
}

/// Mean negative log-likelihood of the classes `target` (integers, `[N]` or `[N, ...]`) under the log-probabilities
/// `input` (`[N, C]` or `[N, C, ...]`).
#[track_caller]
pub fn nll_loss(input: &Tensor, target: &Tensor) -> Tensor {
    NLLLoss::new().forward(input, target)
}

/// Mean cross entropy of the classes `target` (integers `[N]` or `[N, ...]`; or probabilities of the input's shape)
/// under the logits `input` (`[N, C]` or `[N, C, ...]`).
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let logits = Tensor::zeros([4, 10]);
/// let target = Tensor::from_slice(&[1i64, 0, 4, 9]);
/// assert!((functional::cross_entropy(&logits, &target).item()? - 10f64.ln()).abs() < 1e-6);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[track_caller]
pub fn cross_entropy(input: &Tensor, target: &Tensor) -> Tensor {
    CrossEntropyLoss::new().forward(input, target)
}
