//! Schedules that multiply the present learning rate: several of them can act on one optimizer.

use super::{At, Rates, Rule, require, setters};
use crate::rule::Fault;

/// Multiplies the learning rate by `gamma` every `step_size` epochs: `torch.optim.lr_scheduler.StepLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepLR {
    step_size: i64,
    gamma: f64,
}

impl StepLR {
    /// Every `step_size` epochs by 0.1.
    pub fn new(step_size: i64) -> Self {
        Self { step_size, gamma: 0.1 }
    }

    setters! {
        /// The factor.
        gamma: f64;
    }
}

impl Rule for StepLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let step_size = self.step_size;
        require(step_size > 0, "StepLR", "step_size", || format!("is {step_size}, expected at least 1"))
            .into_iter()
            .collect()
    }

    fn lr(&self, at: At) -> f64 {
        if at.epoch == 0 || at.epoch % self.step_size != 0 { at.lr } else { at.lr * self.gamma }
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr
    }
}

/// Multiplies the learning rate by `gamma` at each of `milestones`: `torch.optim.lr_scheduler.MultiStepLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiStepLR {
    milestones: Vec<i64>,
    gamma: f64,
}

impl MultiStepLR {
    /// At these epochs, in any order, by 0.1.
    pub fn new(milestones: impl Into<Vec<i64>>) -> Self {
        Self { milestones: milestones.into(), gamma: 0.1 }
    }

    setters! {
        /// The factor.
        gamma: f64;
    }
}

impl Rule for MultiStepLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        Vec::new()
    }

    fn lr(&self, at: At) -> f64 {
        match self.milestones.iter().filter(|&&milestone| milestone == at.epoch).count() {
            0 => at.lr,
            n => at.lr * self.gamma.powi(n as i32),
        }
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr * self.gamma.powi(self.milestones.iter().filter(|&&milestone| milestone <= 0).count() as i32)
    }
}

/// Multiplies the learning rate by `gamma` every epoch: `torch.optim.lr_scheduler.ExponentialLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialLR {
    gamma: f64,
}

impl ExponentialLR {
    /// By `gamma`.
    pub fn new(gamma: f64) -> Self {
        Self { gamma }
    }
}

impl Rule for ExponentialLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        Vec::new()
    }

    fn lr(&self, at: At) -> f64 {
        if at.is_initial { at.lr } else { at.lr * self.gamma }
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr
    }
}

/// Multiplies the learning rate by `factor` for the first `total_iters` epochs: `torch.optim.lr_scheduler.ConstantLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstantLR {
    factor: f64,
    total_iters: i64,
}

impl Default for ConstantLR {
    /// A third for five epochs.
    fn default() -> Self {
        Self { factor: 1.0 / 3.0, total_iters: 5 }
    }
}

impl ConstantLR {
    setters! {
        /// The factor, in (0, 1].
        factor: f64;
        /// The number of epochs.
        total_iters: i64;
    }
}

impl Rule for ConstantLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let factor = self.factor;
        require(factor > 0.0 && factor <= 1.0, "ConstantLR", "factor", || {
            format!("is {factor}, expected a number in (0, 1]")
        })
        .into_iter()
        .collect()
    }

    fn lr(&self, at: At) -> f64 {
        if at.epoch == 0 {
            at.lr * self.factor
        } else if at.epoch == self.total_iters {
            at.lr * (1.0 / self.factor)
        } else {
            at.lr
        }
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr * if self.total_iters <= 0 { 1.0 } else { self.factor }
    }
}

/// Moves a factor of the learning rate in equal steps from `start_factor` to `end_factor` over `total_iters` epochs:
/// `torch.optim.lr_scheduler.LinearLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearLR {
    start_factor: f64,
    end_factor: f64,
    total_iters: i64,
}

impl Default for LinearLR {
    /// From a third to one over five epochs.
    fn default() -> Self {
        Self { start_factor: 1.0 / 3.0, end_factor: 1.0, total_iters: 5 }
    }
}

impl LinearLR {
    setters! {
        /// The factor at the start, in (0, 1].
        start_factor: f64;
        /// The factor at the end, in [0, 1].
        end_factor: f64;
        /// The number of epochs.
        total_iters: i64;
    }
}

impl Rule for LinearLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let (start, end) = (self.start_factor, self.end_factor);
        let start = require(start > 0.0 && start <= 1.0, "LinearLR", "start_factor", || {
            format!("is {start}, expected a number in (0, 1]")
        });
        let end = require((0.0..=1.0).contains(&end), "LinearLR", "end_factor", || {
            format!("is {end}, expected a number in [0, 1]")
        });
        let total_iters = self.total_iters;
        let total =
            require(total_iters > 0, "LinearLR", "total_iters", || format!("is {total_iters}, expected at least 1"));
        [start, end, total].into_iter().flatten().collect()
    }

    fn lr(&self, at: At) -> f64 {
        if at.epoch == 0 {
            return at.lr * self.start_factor;
        }
        if at.is_initial || at.epoch > self.total_iters {
            return at.lr;
        }
        let way = self.end_factor - self.start_factor;
        let so_far = self.total_iters as f64 * self.start_factor + (at.epoch - 1) as f64 * way;
        at.lr * (1.0 + way / so_far)
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr * self.start_factor
    }
}

/// Lowers the learning rate to 0 over `total_iters` epochs, as a power of what is left of them:
/// `torch.optim.lr_scheduler.PolynomialLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolynomialLR {
    total_iters: i64,
    power: f64,
}

impl Default for PolynomialLR {
    /// In a line over five epochs.
    fn default() -> Self {
        Self { total_iters: 5, power: 1.0 }
    }
}

impl PolynomialLR {
    setters! {
        /// The number of epochs.
        total_iters: i64;
        /// The power.
        power: f64;
    }
}

impl Rule for PolynomialLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let total_iters = self.total_iters;
        require(total_iters > 0, "PolynomialLR", "total_iters", || format!("is {total_iters}, expected at least 1"))
            .into_iter()
            .collect()
    }

    fn lr(&self, at: At) -> f64 {
        if at.is_initial || at.epoch > self.total_iters {
            return at.lr;
        }
        let left = |epoch: i64| 1.0 - epoch as f64 / self.total_iters as f64;
        at.lr * (left(at.epoch) / left(at.epoch - 1)).powf(self.power)
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr
    }
}
