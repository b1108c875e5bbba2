//! Losses: how far an output is from its target.

use nnc_frontend::functional;
use nnc_frontend::tensor::Tensor;

/// A function of a model's output and a target.
type LossFn = dyn Fn(&Tensor, &Tensor) -> Tensor;

/// A loss: how far an output is from its target, as a scalar.
pub struct Loss(pub(super) Box<LossFn>);

impl Loss {
    /// A loss of your own.
    pub fn new(loss: impl Fn(&Tensor, &Tensor) -> Tensor + 'static) -> Self {
        Self(Box::new(loss))
    }

    /// Mean cross entropy of logits `[N, C]` against class numbers `[N]`, as `torch.nn.CrossEntropyLoss`.
    pub fn cross_entropy() -> Self {
        Self::new(functional::cross_entropy)
    }

    /// Mean negative log likelihood of log probabilities `[N, C]`, as `torch.nn.NLLLoss`.
    pub fn nll() -> Self {
        Self::new(functional::nll_loss)
    }

    /// Mean squared error, as `torch.nn.MSELoss`.
    pub fn mse() -> Self {
        Self::new(functional::mse_loss)
    }
}

impl std::fmt::Debug for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loss")
    }
}
