//! Losses: how far an output is from its target.

use nnc_frontend::functional;
use nnc_frontend::nn::Criterion;
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

    /// Mean absolute error, as `torch.nn.L1Loss`.
    pub fn l1() -> Self {
        Self::new(functional::l1_loss)
    }

    /// Mean absolute error with a parabola around 0, as `torch.nn.SmoothL1Loss`.
    pub fn smooth_l1() -> Self {
        Self::new(functional::smooth_l1_loss)
    }

    /// Mean squared error with lines from a distance of 1 on, as `torch.nn.HuberLoss`.
    pub fn huber() -> Self {
        Self::new(functional::huber_loss)
    }

    /// Mean cross entropy of probabilities, as `torch.nn.BCELoss`.
    pub fn bce() -> Self {
        Self::new(functional::binary_cross_entropy)
    }

    /// Mean cross entropy of sigmoids of logits, as `torch.nn.BCEWithLogitsLoss`.
    pub fn bce_with_logits() -> Self {
        Self::new(functional::binary_cross_entropy_with_logits)
    }

    /// Mean of `target * (ln(target) - output)`, as `torch.nn.KLDivLoss`.
    pub fn kl_div() -> Self {
        Self::new(functional::kl_div)
    }

    /// Mean negative log likelihood of counts, as `torch.nn.PoissonNLLLoss`.
    pub fn poisson_nll() -> Self {
        Self::new(functional::poisson_nll_loss)
    }

    /// Mean hinge for targets 1 and -1, as `torch.nn.HingeEmbeddingLoss`.
    pub fn hinge_embedding() -> Self {
        Self::new(functional::hinge_embedding_loss)
    }

    /// Mean logistic loss for targets 1 and -1, as `torch.nn.SoftMarginLoss`.
    pub fn soft_margin() -> Self {
        Self::new(functional::soft_margin_loss)
    }

    /// Mean hinge of classes `[N]`, as `torch.nn.MultiMarginLoss`.
    pub fn multi_margin() -> Self {
        Self::new(functional::multi_margin_loss)
    }

    /// Mean hinge of lists of classes `[N, C]`, as `torch.nn.MultiLabelMarginLoss`.
    pub fn multilabel_margin() -> Self {
        Self::new(functional::multilabel_margin_loss)
    }

    /// Mean cross entropy of one sigmoid a class, as `torch.nn.MultiLabelSoftMarginLoss`.
    pub fn multilabel_soft_margin() -> Self {
        Self::new(functional::multilabel_soft_margin_loss)
    }
}

/// A loss with its options: `Loss::from(CrossEntropyLoss::new().label_smoothing(0.1))`. Losses of more than an output and
/// a target are written as closures.
impl<C: Criterion + 'static> From<C> for Loss {
    fn from(criterion: C) -> Self {
        Self::new(move |output, target| criterion.loss(output, target))
    }
}

impl std::fmt::Debug for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loss")
    }
}
