//! `torch.optim.Adam` and `torch.optim.AdamW`, which differ in weight decay alone.

use super::{averaged, averaged_square, bias_correction, decayed, direction};
use crate::formula::Term;
use crate::rule::{Checks, Factor, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Adam: `torch.optim.Adam` (Kingma and Ba, 2015).
    ///
    /// With gradient `g` of parameter `w`: `g += weight_decay · w`, `m = β₁ m + (1 - β₁) g`, `v = β₂ v + (1 - β₂) g²`,
    /// then `w -= lr · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + eps)`; with `amsgrad` the largest `v` so far.
    ///
    /// ```
    /// use nnc_optim::Adam;
    ///
    /// let adam = Adam::new(3e-4).betas((0.9, 0.98)).amsgrad(true);
    /// assert_eq!((adam.lr, adam.betas, adam.eps), (3e-4, (0.9, 0.98), 1e-8));
    /// ```
    pub struct Adam = "adam" {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the running means of the gradient and of its square.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// Divides by the largest running mean so far.
        amsgrad: bool = false,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

settings! {
    /// Adam with decoupled weight decay: `torch.optim.AdamW` (Loshchilov and Hutter, 2019).
    ///
    /// First `w -= lr · weight_decay · w`, then as [`Adam`] without weight decay.
    pub struct AdamW = "adamw" {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the running means of the gradient and of its square.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// Share of the parameter, times the learning rate, that each step takes away.
        weight_decay: f64 = 1e-2,
        /// Divides by the largest running mean so far.
        amsgrad: bool = false,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

/// What both have in common.
macro_rules! adam_rule {
    ($Name:ident, $is_decoupled:literal) => {
        impl Rule for $Name {
            fn check(&self) -> Vec<Fault> {
                Checks::default()
                    .at_least_0("lr", self.lr)
                    .betas(self.betas)
                    .at_least_0("eps", self.eps)
                    .at_least_0("weight_decay", self.weight_decay)
                    .faults()
            }

            fn states(&self) -> Vec<&'static str> {
                let mut states = vec!["exp_avg", "exp_avg_sq"];
                states.extend(self.amsgrad.then_some("max_exp_avg_sq"));
                states
            }

            fn counts_steps(&self) -> bool {
                true
            }

            fn momentum(&self) -> Option<(&'static str, f64)> {
                Some(("betas", self.betas.0))
            }

            fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
                let (param, gradient) = if $is_decoupled {
                    (decayed(at, self.weight_decay), direction(at, self.maximize, 0.0))
                } else {
                    (at.param, direction(at, self.maximize, self.weight_decay))
                };
                adam(at, param, gradient, self.betas, self.eps)
            }
        }
    };
}

adam_rule!(Adam, false);
adam_rule!(AdamW, true);

/// The step of Adam from `param` along `gradient`.
fn adam<'f>(at: &Site<'f>, param: Term<'f>, gradient: Term<'f>, betas: (f64, f64), eps: f64) -> Next<'f> {
    let (beta1, step) = (at.group.momentum_or(betas.0), at.group.step());
    let exp_avg = averaged(at.states[0], gradient, beta1);
    let exp_avg_sq = averaged_square(at.states[1], gradient, betas.1);
    let step_size = at.group.lr / bias_correction(beta1, step);
    let bias_correction2 = bias_correction(Factor::Fixed(betas.1), step);
    let mut states = vec![exp_avg, exp_avg_sq];
    // With `amsgrad` there is a third state.
    states.extend(at.states.get(2).map(|largest| largest.maximum(exp_avg_sq)));
    let square = states[states.len() - 1];
    let denominator = square.sqrt() / bias_correction2.sqrt() + eps;
    Next { param: param - step_size * (exp_avg / denominator), states }
}
