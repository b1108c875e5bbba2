//! Activations and losses as functions: `torch.nn.functional`.
//!
//! Losses here have PyTorch's defaults, above all the mean over the batch; with other options they are the layers of
//! [`crate::nn`]: [`CrossEntropyLoss`] is [`cross_entropy`] and so on.

use crate::nn::{CrossEntropyLoss, L1Loss, MSELoss, NLLLoss};
use crate::tensor::{Tensor, ToTensor};

/// `max(x, 0)`.
#[track_caller]
pub fn relu(x: &Tensor) -> Tensor {
    x.relu()
}

/// `e^x / Σ e^x` along `dim`.
#[track_caller]
pub fn softmax(x: &Tensor, dim: i64) -> Tensor {
    x.softmax(dim)
}

/// `ln softmax(x)` along `dim`.
#[track_caller]
pub fn log_softmax(x: &Tensor, dim: i64) -> Tensor {
    x.log_softmax(dim)
}

/// Hyperbolic tangent.
#[track_caller]
pub fn tanh(x: &Tensor) -> Tensor {
    x.tanh()
}

/// `1 / (1 + e^-x)`.
#[track_caller]
pub fn sigmoid(x: &Tensor) -> Tensor {
    x.sigmoid()
}

/// `x * Φ(x)`.
#[track_caller]
pub fn gelu(x: &Tensor) -> Tensor {
    x.gelu()
}

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

/// Mean of `(input - target)²`.
#[track_caller]
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Tensor {
    MSELoss::new().forward(input, target)
}

/// Mean of `|input - target|`.
#[track_caller]
pub fn l1_loss(input: &Tensor, target: &Tensor) -> Tensor {
    L1Loss::new().forward(input, target)
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
