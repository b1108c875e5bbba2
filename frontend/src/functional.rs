//! Activations, losses and the like as functions: `torch.nn.functional`.
//!
//! Losses here have PyTorch's defaults, above all the mean over the batch; with other options they are the layers of
//! [`crate::nn`]: [`CrossEntropyLoss`](crate::nn::CrossEntropyLoss) is [`cross_entropy`] and so on.

use crate::tensor::{Tensor, ToTensor};

mod activation;
pub(crate) mod attention;
mod control;
mod convolution;
mod dropout;
mod embedding;
mod fold;
mod interpolate;
mod loss;
mod norm;
mod outline;
mod pad;
mod pool;
mod resample;
mod sample;
mod shuffle;
mod spatial;
mod vision;

pub use activation::{
    celu, elu, gelu, glu, hardshrink, hardsigmoid, hardswish, hardtanh, leaky_relu, log_softmax, logsigmoid, mish,
    prelu, relu, relu6, rrelu, selu, sigmoid, silu, softmax, softmin, softplus, softshrink, softsign, tanh, tanhshrink,
    threshold,
};
pub use attention::scaled_dot_product_attention;
pub use control::{Scan, cond, scan, while_loop};
pub use convolution::{conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d, conv3d};
pub use dropout::{alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout};
pub use embedding::{bilinear, cosine_similarity, embedding, embedding_bag, normalize, pairwise_distance};
pub use fold::{BlockDim, Blocks, fold, fold_nd, max_unpool, unfold};
pub use interpolate::{InterpolateMode, OutputExtents, PerDimension, interpolate};
pub use loss::{
    binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss, cross_entropy, ctc_loss,
    gaussian_nll_loss, hinge_embedding_loss, huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss,
    multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, nll_loss, poisson_nll_loss, smooth_l1_loss,
    soft_margin_loss, triplet_margin_loss, triplet_margin_with_distance_loss,
};
pub(crate) use norm::{Momentum, batch_norm_by};
pub use norm::{Running, batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm};
pub use outline::{Outline, outline};
pub use pad::pad;
pub use pool::{
    IntoOutputSize, Windows, adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d, adaptive_max_pool2d_with_indices, adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices, avg_pool1d, avg_pool2d, avg_pool3d, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d,
    max_pool1d_with_indices, max_pool2d, max_pool2d_with_indices, max_pool3d, max_pool3d_with_indices, min_pool1d,
    min_pool2d, min_pool3d,
};
pub use resample::{Tap, resample, resample_by};
pub use sample::{SampleMode, SamplePadding, Sampling, affine_grid, grid_sample, sample};
pub use shuffle::{channel_shuffle, pixel_shuffle, pixel_unshuffle};
pub use spatial::{IntoPadding, IntoSpatial, Padding, PaddingMode};
pub use vision::{Deformable, Regions, RoiMode, deform_conv, roi_align, roi_pool};

/// `x · weightᵀ + bias`.
#[track_caller]
pub fn linear(x: &Tensor, weight: impl ToTensor, bias: Option<&dyn ToTensor>) -> Tensor {
    x.linear(weight, bias)
}

/// One-hot vectors (`i64`) along a new last dimension.
#[track_caller]
pub fn one_hot(classes: &Tensor, num_classes: usize) -> Tensor {
    classes.one_hot(num_classes)
}
