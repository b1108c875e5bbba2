//! `torch.optim.Adagrad`.

use super::direction;
use crate::rule::{Checks, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Adagrad: `torch.optim.Adagrad` (Duchi et al., 2011).
    ///
    /// `s += g²`, then `w -= lr / (1 + (t - 1) · lr_decay) · g / (√s + eps)`.
    pub struct Adagrad = "adagrad" {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// How the learning rate falls with the number of steps.
        lr_decay: f64 = 0.0,
        /// Multiple of the parameter added to its gradient.
        weight_decay: f64 = 0.0,
        /// What the sum of squares starts from.
        initial_accumulator_value: f64 = 0.0,
        /// Added to the denominator.
        eps: f64 = 1e-10,
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for Adagrad {
    fn check(&self) -> Vec<Fault> {
        Checks::default()
            .at_least_0("lr", self.lr)
            .at_least_0("lr_decay", self.lr_decay)
            .at_least_0("weight_decay", self.weight_decay)
            .at_least_0("initial_accumulator_value", self.initial_accumulator_value)
            .at_least_0("eps", self.eps)
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        vec!["sum"]
    }

    fn counts_steps(&self) -> bool {
        self.lr_decay != 0.0 || self.initial_accumulator_value != 0.0
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let gradient = direction(at, self.maximize, self.weight_decay);
        let mut before = at.states[0];
        if self.initial_accumulator_value != 0.0 {
            before = at.group.is_first_step().select(before.splat(self.initial_accumulator_value), before);
        }
        let sum = before + gradient * gradient;
        let lr = match self.lr_decay {
            0.0 => at.group.lr,
            decay => at.group.lr / (1.0 + (at.group.step() - 1.0) * decay),
        };
        Next { param: at.param - lr * (gradient / (sum.sqrt() + self.eps)), states: vec![sum] }
    }
}
