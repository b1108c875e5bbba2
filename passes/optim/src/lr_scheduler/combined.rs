//! Schedules made of schedules: one after the other, or all at once.

use super::{At, Rates, Rule, Schedule, ScheduleError, fault, require};
use crate::rule::Fault;

/// Runs each schedule until its milestone, then the next: `torch.optim.lr_scheduler.SequentialLR`.
///
/// ```
/// use nnc_optim::lr_scheduler::{ExponentialLR, LinearLR, SequentialLR};
///
/// // Five epochs of warm-up, then decay.
/// let warm_up = LinearLR::default().total_iters(5);
/// let schedule = SequentialLR::new(vec![warm_up.into(), ExponentialLR::new(0.9).into()], [5]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SequentialLR {
    pub(super) schedulers: Vec<Schedule>,
    milestones: Vec<i64>,
}

impl SequentialLR {
    /// `milestones` are the epochs at which the second schedule and those after it take over, increasing.
    pub fn new(schedulers: Vec<Schedule>, milestones: impl Into<Vec<i64>>) -> Self {
        Self { schedulers, milestones: milestones.into() }
    }

    fn present(&self, epoch: i64) -> usize {
        self.milestones.iter().filter(|&&milestone| milestone <= epoch).count()
    }

    /// What PyTorch's constructor does after those of the parts: all of them have set first learning rates, which only
    /// the first was to do.
    pub(super) fn restart(&mut self, rates: &mut Rates) -> Result<(), ScheduleError> {
        for group in &mut rates.groups {
            group.lr = group.initial_lr;
        }
        self.schedulers.iter_mut().for_each(Schedule::undo);
        let first = self.present(0);
        self.schedulers[first].initial_step(rates)
    }

    pub(super) fn step(&mut self, rates: &mut Rates, epoch: i64) -> Result<(), ScheduleError> {
        let present = self.present(epoch);
        let takes_over = present > 0 && self.milestones[present - 1] == epoch;
        let schedule = &mut self.schedulers[present];
        if takes_over { schedule.take_over(rates) } else { schedule.step(rates, None) }
    }
}

impl Rule for SequentialLR {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        let (name, found, parts) = ("SequentialLR", self.milestones.len(), self.schedulers.len());
        let mut faults = check_parts(name, &self.schedulers);
        faults.extend(require(found + 1 == parts, name, "milestones", || {
            format!("has {found} entries, expected one less than the {parts} schedulers")
        }));
        faults.extend(require(self.milestones.is_sorted(), name, "milestones", || {
            format!("is {:?}, expected increasing epochs", self.milestones)
        }));
        faults
    }

    fn lr(&self, at: At) -> f64 {
        at.lr
    }

    fn parts(&self) -> &[Schedule] {
        &self.schedulers
    }

    fn parts_mut(&mut self) -> &mut [Schedule] {
        &mut self.schedulers
    }
}

/// Applies all schedules at every step: `torch.optim.lr_scheduler.ChainedScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainedScheduler {
    pub(super) schedulers: Vec<Schedule>,
}

impl ChainedScheduler {
    /// In this order.
    pub fn new(schedulers: Vec<Schedule>) -> Self {
        Self { schedulers }
    }
}

impl Rule for ChainedScheduler {
    fn check(&self, _: &Rates) -> Vec<Fault> {
        check_parts("ChainedScheduler", &self.schedulers)
    }

    fn lr(&self, at: At) -> f64 {
        at.lr
    }

    fn parts(&self) -> &[Schedule] {
        &self.schedulers
    }

    fn parts_mut(&mut self) -> &mut [Schedule] {
        &mut self.schedulers
    }
}

fn check_parts(name: &str, parts: &[Schedule]) -> Vec<Fault> {
    let empty = parts.is_empty().then(|| fault(name, "schedulers", "is empty, expected at least one".to_string()));
    let metric = parts.iter().any(Schedule::needs_metric).then(|| {
        let message = "has a ReduceLROnPlateau, whose steps need a metric; run it as a scheduler of its own";
        fault(name, "schedulers", message.to_string())
    });
    empty.into_iter().chain(metric).collect()
}
