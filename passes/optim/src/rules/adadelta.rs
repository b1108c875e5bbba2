//! `torch.optim.Adadelta`.

use super::{averaged_square, direction};
use crate::rule::{Checks, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Adadelta: `torch.optim.Adadelta` (Zeiler, 2012).
    ///
    /// `v = ρ v + (1 - ρ) g²`, `Δ = √(u + eps) / √(v + eps) · g`, `u = ρ u + (1 - ρ) Δ²`, then `w -= lr · Δ`.
    pub struct Adadelta = "adadelta" {
        /// Learning rate.
        lr: f64 = 1.0,
        /// Decay of the running means of squares.
        rho: f64 = 0.9,
        /// Added under both roots.
        eps: f64 = 1e-6,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for Adadelta {
    fn check(&self) -> Vec<Fault> {
        Checks::default()
            .at_least_0("lr", self.lr)
            .holds("rho", self.rho, (0.0..=1.0).contains(&self.rho), "a number in [0, 1]")
            .at_least_0("eps", self.eps)
            .at_least_0("weight_decay", self.weight_decay)
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        vec!["square_avg", "acc_delta"]
    }

    fn counts_steps(&self) -> bool {
        false
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let gradient = direction(at, self.maximize, self.weight_decay);
        let square_avg = averaged_square(at.states[0], gradient, self.rho);
        let delta = (at.states[1] + self.eps).sqrt() / (square_avg + self.eps).sqrt() * gradient;
        let acc_delta = averaged_square(at.states[1], delta, self.rho);
        Next { param: at.param - at.group.lr * delta, states: vec![square_avg, acc_delta] }
    }
}
