//! `torch.optim.NAdam`: Adam with Nesterov's momentum.

use super::{averaged, averaged_square, bias_correction, decayed, direction};
use crate::formula::Term;
use crate::rule::{Checks, Factor, Fault, Group, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Adam with Nesterov's momentum: `torch.optim.NAdam` (Dozat, 2016).
    ///
    /// `μₜ = β₁ (1 - 0.96^(t · momentum_decay) / 2)` and `m`, `v` as in [`Adam`](super::Adam); then
    /// `w -= lr · (μₜ₊₁ m / (1 - Π μ₁..ₜ₊₁) + (1 - μₜ) g / (1 - Π μ₁..ₜ)) / (√(v / (1 - β₂ᵗ)) + eps)`.
    pub struct NAdam = "nadam" {
        /// Learning rate.
        lr: f64 = 2e-3,
        /// Decay of the running means of the gradient and of its square.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// How fast the momentum approaches the first of `betas`.
        momentum_decay: f64 = 4e-3,
        /// Decays the parameter itself, as `AdamW`, instead of adding to its gradient.
        decoupled_weight_decay: bool = false,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl NAdam {
    /// The momentum of step `step`.
    fn mu<'f>(&self, group: &Group<'f>, step: Term<'f>) -> Term<'f> {
        let share = 1.0 - 0.5 * (step * self.momentum_decay).power_of(0.96);
        share * group.momentum_or(self.betas.0)
    }
}

impl Rule for NAdam {
    fn check(&self) -> Vec<Fault> {
        Checks::default()
            .at_least_0("lr", self.lr)
            .betas(self.betas)
            .at_least_0("eps", self.eps)
            .at_least_0("weight_decay", self.weight_decay)
            .at_least_0("momentum_decay", self.momentum_decay)
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        vec!["exp_avg", "exp_avg_sq"]
    }

    fn shared_states(&self) -> &'static [&'static str] {
        &["mu_product"]
    }

    fn counts_steps(&self) -> bool {
        true
    }

    fn momentum(&self) -> Option<(&'static str, f64)> {
        Some(("betas", self.betas.0))
    }

    fn update_shared<'f>(&self, group: &Group<'f>, states: &[Term<'f>]) -> Vec<Term<'f>> {
        let before = states[0];
        let mu_product = group.is_first_step().select(before.splat(1.0), before);
        vec![mu_product * self.mu(group, group.step())]
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let (step, lr) = (at.group.step(), at.group.lr);
        let decay = if self.decoupled_weight_decay { (self.weight_decay, 0.0) } else { (0.0, self.weight_decay) };
        let (param, gradient) = (decayed(at, decay.0), direction(at, self.maximize, decay.1));
        let (mu, mu_next) = (self.mu(&at.group, step), self.mu(&at.group, step + 1.0));
        let mu_product = at.shared[0];
        let exp_avg = averaged(at.states[0], gradient, at.group.momentum_or(self.betas.0));
        let exp_avg_sq = averaged_square(at.states[1], gradient, self.betas.1);
        let denominator = (exp_avg_sq / bias_correction(Factor::Fixed(self.betas.1), step)).sqrt() + self.eps;
        let by_gradient = (lr * (1.0 - mu) / (1.0 - mu_product)) * (gradient / denominator);
        let by_momentum = (lr * mu_next / (1.0 - mu_product * mu_next)) * (exp_avg / denominator);
        Next { param: param - by_gradient - by_momentum, states: vec![exp_avg, exp_avg_sq] }
    }
}
