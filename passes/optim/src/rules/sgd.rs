//! Stochastic gradient descent, step by step as `torch.optim.SGD`.

use super::direction;
use crate::rule::{Checks, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Stochastic gradient descent: `torch.optim.SGD`.
    ///
    /// With gradient `g` of parameter `w`: `g += weight_decay · w`; with momentum
    /// `v = momentum · v + (1 - dampening) · g` (`v = g` on the first step) and `g = g + momentum · v` (Nesterov) or
    /// `g = v`; then `w -= lr · g`.
    ///
    /// ```
    /// use nnc_optim::Sgd;
    ///
    /// let sgd = Sgd::new(0.1).momentum(0.9).nesterov(true);
    /// assert_eq!((sgd.lr, sgd.momentum, sgd.weight_decay), (0.1, 0.9, 0.0));
    /// ```
    pub struct Sgd = "sgd" {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the running sum of gradients; 0 keeps none.
        momentum: f64 = 0.0,
        /// Part of each gradient, but for the first, that does not enter the running sum.
        dampening: f64 = 0.0,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// Looks one step of momentum ahead. Needs momentum and no dampening.
        nesterov: bool = false,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for Sgd {
    fn check(&self) -> Vec<Fault> {
        let has_momentum = self.momentum > 0.0 && self.dampening == 0.0;
        Checks::default()
            .at_least_0("lr", self.lr)
            .at_least_0("momentum", self.momentum)
            .holds("dampening", self.dampening, self.dampening.is_finite(), "a number")
            .at_least_0("weight_decay", self.weight_decay)
            .fits("nesterov", !self.nesterov || has_momentum, || {
                "nesterov needs a momentum and no dampening".to_string()
            })
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        if self.momentum != 0.0 { vec!["momentum_buffer"] } else { Vec::new() }
    }

    fn counts_steps(&self) -> bool {
        self.momentum != 0.0 && self.dampening != 0.0
    }

    fn momentum(&self) -> Option<(&'static str, f64)> {
        (self.momentum != 0.0).then_some(("momentum", self.momentum))
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let mut direction = direction(at, self.maximize, self.weight_decay);
        let momentum = at.group.momentum_or(self.momentum);
        let mut states = Vec::new();
        if let &[buffer] = at.states.as_slice() {
            // The first sum is the gradient itself, undamped. A buffer of zeros gives that by itself without dampening.
            let sum = buffer * momentum + damped(direction, self.dampening);
            let buffer = if self.counts_steps() { at.group.is_first_step().select(direction, sum) } else { sum };
            direction = if self.nesterov { direction + buffer * momentum } else { buffer };
            states.push(buffer);
        }
        Next { param: at.param - at.group.lr * direction, states }
    }
}

/// The part of the gradient that enters the running sum.
fn damped(gradient: crate::formula::Term<'_>, dampening: f64) -> crate::formula::Term<'_> {
    if dampening == 0.0 { gradient } else { gradient * (1.0 - dampening) }
}
