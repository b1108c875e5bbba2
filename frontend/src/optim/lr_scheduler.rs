//! `torch.optim.lr_scheduler`: learning rates that change while training.
//!
//! A scheduler is a plain value beside the compiled step, whose learning rates are inputs: nothing is compiled again.

use nnc_ir::{Diagnostic, Location};
pub use nnc_optim::lr_scheduler::*;

/// Learning rates that change from step to step, or from epoch to epoch.
///
/// `Trainer::fit` asks for the rates before the first step, and again after each call of
/// [`step`](LrScheduler::step).
pub trait LrScheduler {
    /// Goes one step on. `metric` is what is watched, where something is: `ReduceLROnPlateau` needs it, others ignore it.
    ///
    /// # Errors
    /// A schedule that has come to its end, or needs a metric.
    fn step(&mut self, metric: Option<f64>) -> Result<(), Diagnostic>;

    /// The learning rates of the next step, one a parameter group.
    fn get_last_lr(&self) -> Vec<f64>;

    /// The momenta (or first betas) of the next step, one a parameter group, if they are scheduled too.
    fn get_last_momentum(&self) -> Option<Vec<f64>> {
        None
    }

    /// Everything that changes as the scheduler goes on, for a checkpoint. Numbers, since those can be stored to the last
    /// bit, infinities included; `state_dict` in PyTorch.
    fn state(&self) -> Vec<f64>;

    /// Continues from a state of the same scheduler.
    ///
    /// # Errors
    /// If the state is not of this kind of scheduler.
    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic>;
}

impl<S: LrScheduler + ?Sized> LrScheduler for &mut S {
    fn step(&mut self, metric: Option<f64>) -> Result<(), Diagnostic> {
        (**self).step(metric)
    }

    fn get_last_lr(&self) -> Vec<f64> {
        (**self).get_last_lr()
    }

    fn get_last_momentum(&self) -> Option<Vec<f64>> {
        (**self).get_last_momentum()
    }

    fn state(&self) -> Vec<f64> {
        (**self).state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        (**self).load_state(state)
    }
}

impl LrScheduler for Scheduler {
    fn step(&mut self, metric: Option<f64>) -> Result<(), Diagnostic> {
        let stepped = match metric {
            Some(metric) => self.step_with(metric),
            None => Self::step(self),
        };
        stepped.map_err(diagnostic)
    }

    fn get_last_lr(&self) -> Vec<f64> {
        Self::get_last_lr(self)
    }

    fn get_last_momentum(&self) -> Option<Vec<f64>> {
        let momenta = || self.rates().groups().iter().map(|group| group.momentum).collect();
        if self.cycles_momentum() { momenta() } else { None }
    }

    fn state(&self) -> Vec<f64> {
        Self::state(self)
    }

    fn load_state(&mut self, state: &[f64]) -> Result<(), Diagnostic> {
        Self::load_state(self, state).map_err(diagnostic)
    }
}

fn diagnostic(error: ScheduleError) -> Diagnostic {
    Diagnostic::new(Location::unknown(), error.to_string())
}
