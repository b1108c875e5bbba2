//! `torch.optim.RMSprop`.

use super::{averaged, averaged_square, direction};
use crate::rule::{Checks, Factor, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// RMSprop: `torch.optim.RMSprop` (Hinton).
    ///
    /// `v = α v + (1 - α) g²`, less the square of the running mean of `g` if `centered`; `d = g / (√v + eps)`; with
    /// momentum `b = momentum · b + d` and `w -= lr · b`, else `w -= lr · d`.
    pub struct RMSprop = "rmsprop" {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// Decay of the running mean of squares.
        alpha: f64 = 0.99,
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// Decay of the running sum of steps; 0 keeps none.
        momentum: f64 = 0.0,
        /// Divides by the estimated deviation instead of the root of the mean square.
        centered: bool = false,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for RMSprop {
    fn check(&self) -> Vec<Fault> {
        Checks::default()
            .at_least_0("lr", self.lr)
            .at_least_0("alpha", self.alpha)
            .at_least_0("eps", self.eps)
            .at_least_0("weight_decay", self.weight_decay)
            .at_least_0("momentum", self.momentum)
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        let mut states = vec!["square_avg"];
        states.extend((self.momentum > 0.0).then_some("momentum_buffer"));
        states.extend(self.centered.then_some("grad_avg"));
        states
    }

    fn counts_steps(&self) -> bool {
        false
    }

    fn momentum(&self) -> Option<(&'static str, f64)> {
        (self.momentum > 0.0).then_some(("momentum", self.momentum))
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let gradient = direction(at, self.maximize, self.weight_decay);
        let square_avg = averaged_square(at.states[0], gradient, self.alpha);
        let grad_avg = self.centered.then(|| {
            let before = *at.states.last().expect("a centered rule keeps the mean");
            averaged(before, gradient, Factor::Fixed(self.alpha))
        });
        let variance = grad_avg.map_or(square_avg, |mean| square_avg - mean * mean);
        let change = gradient / (variance.sqrt() + self.eps);
        let momentum_buffer =
            (self.momentum > 0.0).then(|| at.states[1] * at.group.momentum_or(self.momentum) + change);
        let states = [Some(square_avg), momentum_buffer, grad_avg].into_iter().flatten().collect();
        Next { param: at.param - at.group.lr * momentum_buffer.unwrap_or(change), states }
    }
}
