//! `torch.optim.Adamax`: Adam with the infinity norm.

use super::{averaged, bias_correction, direction};
use crate::rule::{Checks, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Adam with the infinity norm: `torch.optim.Adamax` (Kingma and Ba, 2015).
    ///
    /// `m = β₁ m + (1 - β₁) g`, `u = max(β₂ u, |g| + eps)`, then `w -= lr / (1 - β₁ᵗ) · m / u`.
    pub struct Adamax = "adamax" {
        /// Learning rate.
        lr: f64 = 2e-3,
        /// Decay of the running mean of the gradient and of its running maximum.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the size of the gradient.
        eps: f64 = 1e-8,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for Adamax {
    fn check(&self) -> Vec<Fault> {
        Checks::default()
            .at_least_0("lr", self.lr)
            .betas(self.betas)
            .at_least_0("eps", self.eps)
            .at_least_0("weight_decay", self.weight_decay)
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_inf"]
    }

    fn counts_steps(&self) -> bool {
        true
    }

    fn momentum(&self) -> Option<(&'static str, f64)> {
        Some(("betas", self.betas.0))
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let gradient = direction(at, self.maximize, self.weight_decay);
        let beta1 = at.group.momentum_or(self.betas.0);
        let exp_avg = averaged(at.states[0], gradient, beta1);
        let exp_inf = (at.states[1] * self.betas.1).maximum(gradient.abs() + self.eps);
        let step_size = at.group.lr / bias_correction(beta1, at.group.step());
        Next { param: at.param - step_size * (exp_avg / exp_inf), states: vec![exp_avg, exp_inf] }
    }
}
