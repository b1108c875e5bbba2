//! Losses that are a sum of terms, one an element of the input: `MSELoss` to `GaussianNLLLoss`.

use super::{Reduction, same_shape};
use crate::functional;
use crate::module::Module;
use crate::tensor::{Tensor, fault, live, sound, where_};
use crate::trace;

loss! {
    /// `(input - target)²`.
    MSELoss {}
}

impl MSELoss {
    /// The loss. Input and target have one shape: broadcasting `[N, 1]` against `[N]` would be the classic silent
    /// mistake.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("mse_loss", input, target));
        self.reduction.apply((input - target).square())
    }
}

loss! {
    /// `|input - target|`.
    L1Loss {}
}

impl L1Loss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("l1_loss", input, target));
        self.reduction.apply((input - target).abs())
    }
}

loss! {
    /// With `d = |input - target|`: `d² / (2 * beta)` below `beta`, and `d - beta / 2` from there on.
    SmoothL1Loss {
        /// Where the parabola ends; 1 by default, and 0 makes it [`L1Loss`].
        beta: f64 = 1.0,
    }
}

impl SmoothL1Loss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("smooth_l1_loss", input, target));
        let beta = self.beta;
        if beta < 0.0 {
            return fault(format!("smooth_l1_loss: beta is {beta}, expected a number that is not negative"));
        }
        let distance = (input - target).abs();
        let terms = match beta {
            0.0 => distance,
            _ => where_(&distance.lt(beta), distance.square() * (0.5 / beta), &distance - 0.5 * beta),
        };
        self.reduction.apply(terms)
    }
}

loss! {
    /// With `d = |input - target|`: `d² / 2` up to `delta`, and `delta * (d - delta / 2)` from there on.
    HuberLoss {
        /// Where the parabola ends; 1 by default, above 0.
        delta: f64 = 1.0,
    }
}

impl HuberLoss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("huber_loss", input, target));
        let delta = self.delta;
        if delta.is_nan() || delta <= 0.0 {
            return fault(format!("huber_loss: delta is {delta}, expected a positive number"));
        }
        let distance = (input - target).abs();
        let terms = where_(&distance.lt(delta), distance.square() * 0.5, (&distance - 0.5 * delta) * delta);
        self.reduction.apply(terms)
    }
}

loss! {
    /// Cross entropy of probabilities: `-(target * ln(input) + (1 - target) * ln(1 - input))`, with logarithms of at
    /// least -100.
    ///
    /// [`BCEWithLogitsLoss`] is more accurate and takes logits.
    BCELoss [
        /// A factor of each term, broadcast.
        weight,
    ] {}
}

impl BCELoss {
    /// The loss. Input and target have one shape; both lie in [0, 1].
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("binary_cross_entropy", input, target));
        let terms = -(target * limited_log(input) + (1.0 - target) * limited_log(&(1.0 - input)));
        self.reduction.apply(weighted(terms, self.weight.as_ref()))
    }
}

/// `max(ln x, -100)`, with the slope 1e12 where it would be larger, as PyTorch has it: a prediction that is exactly
/// wrong must be able to move.
#[track_caller]
fn limited_log(x: &Tensor) -> Tensor {
    const STEEPEST: f64 = 1e12;
    let flat = x.lt(1.0 / STEEPEST);
    let log = where_(&flat, 1, x).log();
    // What the slope is that of, which the value is not.
    let slope = where_(&flat, x * STEEPEST, &log);
    let value = where_(&flat, x.log().maximum(-100.0), &log);
    value.detach() + (&slope - slope.detach())
}

loss! {
    /// Cross entropy of a sigmoid: [`BCELoss`] of `sigmoid(input)`, without overflow or loss of digits.
    BCEWithLogitsLoss [
        /// A factor of each term, broadcast.
        weight,
        /// A factor of the positive part of each term, broadcast: above 1 favors recall, below 1 precision.
        pos_weight,
    ] {}
}

impl BCEWithLogitsLoss {
    /// The loss. Input and target have one shape; targets lie in [0, 1].
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("binary_cross_entropy_with_logits", input, target));
        let negative = (1.0 - target) * input;
        let penalty = -functional::logsigmoid(input);
        let terms = match &self.pos_weight {
            None => negative + penalty,
            Some(pos_weight) => negative + ((pos_weight - 1.0) * target + 1.0) * penalty,
        };
        self.reduction.apply(weighted(terms, self.weight.as_ref()))
    }
}

/// Terms times a broadcast weight, if there is one.
#[track_caller]
fn weighted(terms: Tensor, weight: Option<&Tensor>) -> Tensor {
    match weight {
        Some(weight) => terms * weight,
        None => terms,
    }
}

loss! {
    /// Divergence of a distribution from log-probabilities: `target * (ln(target) - input)`.
    ///
    /// The mean over elements, PyTorch's default, is not the divergence; [`Reduction::BatchMean`] is.
    KLDivLoss {
        /// Whether targets are log-probabilities too.
        log_target: bool = false,
    }
}

impl KLDivLoss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("kl_div", input, target));
        let terms = if self.log_target {
            target.exp() * (target - input)
        } else {
            let positive = target.gt(0);
            let entropy = target * where_(&positive, target, 1).log();
            where_(&positive, entropy, 0) - target * input
        };
        self.reduction.apply(terms)
    }
}

loss! {
    /// Negative log-likelihood of counts under Poisson distributions: `e^input - target * input`, where the input is the
    /// logarithm of the mean.
    PoissonNLLLoss {
        /// Whether the input is the logarithm of the mean; else it is the mean. `true` by default.
        log_input: bool = true,
        /// Whether Stirling's approximation of the term without the input is added.
        full: bool = false,
        /// Added to a mean before its logarithm; 1e-8 by default.
        eps: f64 = 1e-8,
    }
}

impl PoissonNLLLoss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("poisson_nll_loss", input, target));
        let terms = match self.log_input {
            true => input.exp() - target * input,
            false => input - target * (input + self.eps).log(),
        };
        let terms = match self.full {
            true => {
                let large = target.gt(1);
                let count = where_(&large, target, 1);
                let stirling = &count * count.log() - &count + (&count * std::f64::consts::TAU).log() * 0.5;
                terms + where_(&large, stirling, 0)
            }
            false => terms,
        };
        self.reduction.apply(terms)
    }
}

loss! {
    /// Negative log-likelihood under normal distributions: `(ln(var) + (input - target)² / var) / 2`.
    GaussianNLLLoss {
        /// Whether the constant `ln(2π) / 2` is added.
        full: bool = false,
        /// The least a variance counts for; 1e-6 by default.
        eps: f64 = 1e-6,
    }
}

impl GaussianNLLLoss {
    /// The loss. Input and target have one shape; `var` has it too, or lacks the last dimension, or has extent 1 there.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor, var: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("gaussian_nll_loss", input, target));
        let (input_ty, var_ty) = (live!(input), live!(var));
        let extents = input_ty.shape.dims();
        let outer = &extents[..extents.len().saturating_sub(1)];
        let var = if var_ty.shape == input_ty.shape {
            var.clone()
        } else if var_ty.shape.dims() == outer {
            var.unsqueeze(-1)
        } else if var_ty.rank() == input_ty.rank() && &var_ty.shape.dims()[..outer.len()] == outer {
            // The last extent must be 1, or the product below does not broadcast.
            var.clone()
        } else {
            return fault(format!("gaussian_nll_loss: the input is {input_ty} and the variance {var_ty}"));
        };
        // The limit hides the variance from the value, not from the gradient.
        let limited = &var + (var.maximum(self.eps) - &var).detach();
        let terms = (limited.log() + (input - target).square() / limited) * 0.5;
        let constant = 0.5 * std::f64::consts::TAU.ln();
        self.reduction.apply(if self.full { terms + constant } else { terms })
    }
}
