//! Lower learning rates when a metric stops getting better.

use super::{At, PerGroup, Rates, Rule, require, setters};
use crate::rule::Fault;

/// Which metrics are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Smaller ones, such as losses.
    Min,
    /// Larger ones, such as accuracies.
    Max,
}

/// What the threshold of an improvement is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdMode {
    /// The best metric.
    Rel,
    /// Nothing: it is a difference.
    Abs,
}

/// Multiplies the learning rate by `factor` when the metric has not improved for more than `patience` epochs:
/// `torch.optim.lr_scheduler.ReduceLROnPlateau`. Its steps are given the metric: `scheduler.step_with(loss)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceLROnPlateau {
    mode: Mode,
    factor: f64,
    patience: u64,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: u64,
    min_lr: PerGroup,
    eps: f64,
    /// The best metric; none at first.
    best: Option<f64>,
    num_bad_epochs: u64,
    cooldown_counter: u64,
}

impl Default for ReduceLROnPlateau {
    /// By 0.1 after ten epochs in which the metric did not get smaller by a ten-thousandth.
    fn default() -> Self {
        Self {
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: 0.0.into(),
            eps: 1e-8,
            best: None,
            num_bad_epochs: 0,
            cooldown_counter: 0,
        }
    }
}

impl ReduceLROnPlateau {
    setters! {
        /// Which metrics are better.
        mode: Mode;
        /// The factor, below 1.
        factor: f64;
        /// Epochs without an improvement that are tolerated.
        patience: u64;
        /// What an improvement must exceed.
        threshold: f64;
        /// What the threshold is measured against.
        threshold_mode: ThresholdMode;
        /// Epochs after a reduction in which nothing is counted.
        cooldown: u64;
        /// The lowest learning rate.
        min_lr: PerGroup;
        /// Smaller reductions are not made.
        eps: f64;
    }

    fn is_better(&self, metric: f64) -> bool {
        let Some(best) = self.best else {
            // Anything but NaN and the worst there is.
            return match self.mode {
                Mode::Min => metric < f64::INFINITY,
                Mode::Max => metric > f64::NEG_INFINITY,
            };
        };
        match (self.mode, self.threshold_mode) {
            (Mode::Min, ThresholdMode::Rel) => metric < best * (1.0 - self.threshold),
            (Mode::Min, ThresholdMode::Abs) => metric < best - self.threshold,
            (Mode::Max, ThresholdMode::Rel) => metric > best * (self.threshold + 1.0),
            (Mode::Max, ThresholdMode::Abs) => metric > best + self.threshold,
        }
    }

    /// One epoch.
    pub(super) fn watch(&mut self, metric: f64, rates: &mut Rates) {
        if self.is_better(metric) {
            self.best = Some(metric);
            self.num_bad_epochs = 0;
        } else {
            self.num_bad_epochs += 1;
        }
        if self.cooldown_counter > 0 {
            self.cooldown_counter -= 1;
            self.num_bad_epochs = 0;
        }
        if self.num_bad_epochs > self.patience {
            for (idx, group) in rates.groups.iter_mut().enumerate() {
                let lr = (group.lr * self.factor).max(self.min_lr.get(idx));
                if group.lr - lr > self.eps {
                    group.lr = lr;
                }
            }
            self.cooldown_counter = self.cooldown;
            self.num_bad_epochs = 0;
        }
    }
}

impl Rule for ReduceLROnPlateau {
    fn check(&self, rates: &Rates) -> Vec<Fault> {
        let (name, factor) = ("ReduceLROnPlateau", self.factor);
        let factor = require(factor < 1.0, name, "factor", || format!("is {factor}, expected a number below 1"));
        [factor, self.min_lr.check(rates, name, "min_lr")].into_iter().flatten().collect()
    }

    fn lr(&self, at: At) -> f64 {
        at.lr
    }

    fn state(&self) -> Vec<f64> {
        // No metric is NaN, because NaN is never the best.
        vec![self.best.unwrap_or(f64::NAN), self.num_bad_epochs as f64, self.cooldown_counter as f64]
    }

    fn load(&mut self, state: &mut dyn Iterator<Item = f64>) -> Option<()> {
        self.best = state.next().map(|best| (!best.is_nan()).then_some(best))?;
        (self.num_bad_epochs, self.cooldown_counter) = (state.next()? as u64, state.next()? as u64);
        Some(())
    }
}
