//! Losses as functions, with PyTorch's defaults.

use crate::nn::{CrossEntropyLoss, L1Loss, MSELoss, NLLLoss};
use crate::tensor::Tensor;

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
