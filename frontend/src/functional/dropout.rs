//! Dropout as functions.
//!
//! What is dropped is drawn anew at every call and every run: outside a trace from the thread's generator, in a trace
//! from the function's state `rng` (see [`crate::random`]). Outside training, and with `p` = 0, nothing is drawn.

use nnc_ir::{Dim, Shape, TensorType};

use crate::tensor::{Tensor, fault, live, where_};

/// What dropped activations become, before shifting: SELU's limit at -∞, `-alpha * scale`.
const SELU_LIMIT: f64 = -1.758_099_340_847_376_6;

/// Zeros each element with probability `p` in training, and divides what is left by `1 - p`.
#[track_caller]
pub fn dropout(x: &Tensor, p: f64, training: bool) -> Tensor {
    drop_by("dropout", x, p, training, |ty| ty.shape.clone(), scaled)
}

/// [`dropout`] of whole channels of `[N, C, L]` or `[C, L]`.
#[track_caller]
pub fn dropout1d(x: &Tensor, p: f64, training: bool) -> Tensor {
    drop_channels("dropout1d", x, p, training, [2, 3], [1, 2])
}

/// [`dropout`] of whole channels of `[N, C, H, W]`, or of `[N, C, L]` as PyTorch has it.
#[track_caller]
pub fn dropout2d(x: &Tensor, p: f64, training: bool) -> Tensor {
    drop_channels("dropout2d", x, p, training, [3, 4], [2, 2])
}

/// [`dropout`] of whole channels of `[N, C, D, H, W]` or `[C, D, H, W]`.
#[track_caller]
pub fn dropout3d(x: &Tensor, p: f64, training: bool) -> Tensor {
    drop_channels("dropout3d", x, p, training, [4, 5], [1, 2])
}

/// Dropout that keeps mean 0 and variance 1: dropped elements become the limit of SELU, and the result is scaled and
/// shifted (Klambauer et al., 2017).
#[track_caller]
pub fn alpha_dropout(x: &Tensor, p: f64, training: bool) -> Tensor {
    drop_by("alpha_dropout", x, p, training, |ty| ty.shape.clone(), self_normalized)
}

/// [`alpha_dropout`] of whole channels, which dimensions 0 and 1 count.
#[track_caller]
pub fn feature_alpha_dropout(x: &Tensor, p: f64, training: bool) -> Tensor {
    let ty = live!(x);
    if ty.rank() < 2 {
        return fault(format!("feature_alpha_dropout: the input is {ty}, expected at least two dimensions"));
    }
    drop_by("feature_alpha_dropout", x, p, training, |ty| leading(ty, 2), self_normalized)
}

/// Drops by the leading dimensions: as many as `n_kept` says for an input of one of `ranks`.
#[track_caller]
fn drop_channels(what: &str, x: &Tensor, p: f64, training: bool, ranks: [usize; 2], n_kept: [usize; 2]) -> Tensor {
    let ty = live!(x);
    let Some(position) = ranks.iter().position(|&rank| rank == ty.rank()) else {
        let [unbatched, batched] = ranks;
        return fault(format!("{what}: the input is {ty}, expected {unbatched} or {batched} dimensions"));
    };
    drop_by(what, x, p, training, |ty| leading(ty, n_kept[position]), scaled)
}

/// The shape with all dimensions but the first `n` of extent 1.
fn leading(ty: &TensorType, n: usize) -> Shape {
    let extent = |dim: usize| if dim < n { ty.shape[dim].clone() } else { Dim::from(1) };
    Shape((0..ty.rank()).map(extent).collect())
}

/// Draws which parts of `x` are kept, one decision an element of `mask_shape`, and applies it.
#[track_caller]
fn drop_by(
    what: &str,
    x: &Tensor,
    p: f64,
    training: bool,
    mask_shape: impl Fn(&TensorType) -> Shape,
    apply: fn(&Tensor, &Tensor, f64) -> Tensor,
) -> Tensor {
    let ty = live!(x);
    if !(0.0..=1.0).contains(&p) {
        return fault(format!("{what}: p is {p}, expected a probability between 0 and 1"));
    }
    if !training || p == 0.0 {
        return x.clone();
    }
    if p == 1.0 {
        // What is left would be divided by 0.
        return x * 0.0;
    }
    let kept = Tensor::rand(mask_shape(&ty)).ge(p);
    apply(x, &kept, p)
}

#[track_caller]
fn scaled(x: &Tensor, kept: &Tensor, p: f64) -> Tensor {
    where_(kept, x * (1.0 / (1.0 - p)), 0)
}

#[track_caller]
fn self_normalized(x: &Tensor, kept: &Tensor, p: f64) -> Tensor {
    let scale = 1.0 / ((1.0 + p * SELU_LIMIT * SELU_LIMIT) * (1.0 - p)).sqrt();
    let shift = -scale * SELU_LIMIT * p;
    where_(kept, x * scale, scale * SELU_LIMIT) + shift
}
