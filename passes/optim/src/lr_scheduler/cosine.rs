//! Schedules along a cosine, with and without restarts.

use std::f64::consts::PI;

use super::{At, Rates, Rule, ScheduleError, require, setters};
use crate::rule::Fault;

/// Follows half a cosine from the learning rate down to `eta_min` over `T_max` epochs, and back:
/// `torch.optim.lr_scheduler.CosineAnnealingLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct CosineAnnealingLR {
    t_max: i64,
    eta_min: f64,
}

impl CosineAnnealingLR {
    /// Over `t_max` epochs (PyTorch's `T_max`) down to 0.
    pub fn new(t_max: i64) -> Self {
        Self { t_max, eta_min: 0.0 }
    }

    setters! {
        /// The lowest learning rate.
        eta_min: f64;
    }
}

impl Rule for CosineAnnealingLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let t_max = self.t_max;
        require(t_max > 0, "CosineAnnealingLR", "T_max", || format!("is {t_max}, expected at least 1"))
            .into_iter()
            .collect()
    }

    fn lr(&self, at: At) -> f64 {
        let t_max = self.t_max as f64;
        if at.is_initial {
            return at.lr;
        }
        // At the lowest point the recurrence would divide by zero.
        if (at.epoch - 1 - self.t_max) % (2 * self.t_max) == 0 {
            return at.lr + (at.base_lr - self.eta_min) * (1.0 - (PI / t_max).cos()) / 2.0;
        }
        let height = |epoch: i64| 1.0 + (PI * epoch as f64 / t_max).cos();
        height(at.epoch) / height(at.epoch - 1) * (at.lr - self.eta_min) + self.eta_min
    }

    fn first_lr(&self, at: At) -> f64 {
        at.base_lr
    }
}

/// Follows half a cosine down to `eta_min`, then starts again from the top, each time `T_mult` times as long:
/// `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`.
#[derive(Clone, Debug, PartialEq)]
pub struct CosineAnnealingWarmRestarts {
    t_0: i64,
    t_mult: i64,
    eta_min: f64,
    /// Epochs since the last restart.
    t_cur: i64,
    /// Epochs from the last restart to the next.
    t_i: i64,
}

impl CosineAnnealingWarmRestarts {
    /// The first restart after `t_0` epochs (PyTorch's `T_0`), all equally far apart, down to 0.
    pub fn new(t_0: i64) -> Self {
        Self { t_0, t_mult: 1, eta_min: 0.0, t_cur: -1, t_i: t_0 }
    }

    setters! {
        /// How much longer each stretch is than the one before (PyTorch's `T_mult`).
        t_mult: i64;
        /// The lowest learning rate.
        eta_min: f64;
    }
}

impl Rule for CosineAnnealingWarmRestarts {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let name = "CosineAnnealingWarmRestarts";
        let (t_0, t_mult) = (self.t_0, self.t_mult);
        let first = require(t_0 > 0, name, "T_0", || format!("is {t_0}, expected at least 1"));
        let mult = require(t_mult > 0, name, "T_mult", || format!("is {t_mult}, expected at least 1"));
        [first, mult].into_iter().flatten().collect()
    }

    fn advance(&mut self, epoch: i64) -> Result<(), ScheduleError> {
        if epoch == 0 {
            (self.t_cur, self.t_i) = (0, self.t_0);
            return Ok(());
        }
        self.t_cur += 1;
        if self.t_cur >= self.t_i {
            self.t_cur %= self.t_i;
            self.t_i *= self.t_mult;
        }
        Ok(())
    }

    fn lr(&self, at: At) -> f64 {
        let share = self.t_cur as f64 / self.t_i as f64;
        self.eta_min + (at.base_lr - self.eta_min) * (1.0 + (PI * share).cos()) / 2.0
    }

    fn state(&self) -> Vec<f64> {
        vec![self.t_cur as f64, self.t_i as f64]
    }

    fn load(&mut self, state: &mut dyn Iterator<Item = f64>) -> Option<()> {
        (self.t_cur, self.t_i) = (state.next()? as i64, state.next()? as i64);
        Some(())
    }
}
