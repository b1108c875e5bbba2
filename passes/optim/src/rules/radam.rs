//! `torch.optim.RAdam`: Adam that waits until the variance can be estimated.

use super::{averaged, averaged_square, bias_correction, decayed, direction};
use crate::rule::{Checks, Factor, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Rectified Adam: `torch.optim.RAdam` (Liu et al., 2020).
    ///
    /// As [`Adam`](super::Adam), with the step multiplied by a factor that grows from 0 to 1 as the running mean of
    /// squares comes to rest; in the first steps, where it says nothing yet, the step is `lr · m / (1 - β₁ᵗ)` alone.
    pub struct RAdam = "radam" {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the running means of the gradient and of its square.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// Decays the parameter itself, as `AdamW`, instead of adding to its gradient.
        decoupled_weight_decay: bool = false,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for RAdam {
    fn check(&self) -> Vec<Fault> {
        Checks::default()
            .at_least_0("lr", self.lr)
            .betas(self.betas)
            .at_least_0("eps", self.eps)
            .at_least_0("weight_decay", self.weight_decay)
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_avg_sq"]
    }

    fn counts_steps(&self) -> bool {
        true
    }

    fn momentum(&self) -> Option<(&'static str, f64)> {
        Some(("betas", self.betas.0))
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let (step, lr, beta2) = (at.group.step(), at.group.lr, self.betas.1);
        let decay = if self.decoupled_weight_decay { (self.weight_decay, 0.0) } else { (0.0, self.weight_decay) };
        let (param, gradient) = (decayed(at, decay.0), direction(at, self.maximize, decay.1));
        let beta1 = at.group.momentum_or(self.betas.0);
        let exp_avg = averaged(at.states[0], gradient, beta1);
        let exp_avg_sq = averaged_square(at.states[1], gradient, beta2);
        let bias_correction2 = bias_correction(Factor::Fixed(beta2), step);

        // The length of the running mean's window, and what it will come to.
        let rho_inf = 2.0 / (1.0 - beta2) - 1.0;
        let rho = rho_inf - 2.0 * step * step.power_of(beta2) / bias_correction2;
        let is_rectified = rho.gt(5.0);
        let of_window = (rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho);
        // The root of what is negative is not used, but is kept from being NaN.
        let rectification = of_window.maximum(0.0).sqrt() * bias_correction2.sqrt();
        let adaptive = rectification / (exp_avg_sq.sqrt() + self.eps);
        let factor = is_rectified.select(adaptive, 1.0);
        let change = exp_avg / bias_correction(beta1, step) * lr * factor;
        Next { param: param - change, states: vec![exp_avg, exp_avg_sq] }
    }
}
