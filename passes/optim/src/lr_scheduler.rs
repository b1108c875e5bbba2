//! `torch.optim.lr_scheduler`: learning rates that change between steps.
//!
//! A schedule ([`StepLR`], [`OneCycleLR`], ...) is a description with PyTorch's arguments; a [`Scheduler`] runs it over the
//! learning rates of an optimizer's parameter groups. Rates are inputs of the compiled step, so that a schedule compiles
//! nothing again. Everything is computed in `f64` by the recurrences PyTorch uses.
//!
//! ```
//! use nnc_optim::lr_scheduler::{Rates, Scheduler, StepLR};
//! use nnc_optim::Sgd;
//!
//! let mut scheduler = Scheduler::new(Rates::of([&Sgd::new(0.1).into()]), StepLR::new(2).gamma(0.5))?;
//! let mut seen = Vec::new();
//! for _ in 0..5 {
//!     seen.push(scheduler.get_last_lr()[0]);
//!     scheduler.step()?;
//! }
//! assert_eq!(seen, [0.1, 0.1, 0.05, 0.05, 0.025]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Left out: the argument `last_epoch` (restore a saved scheduler instead) and `step(epoch)`, which PyTorch deprecates.

use std::fmt;

use crate::rule::Fault;
use crate::spec::OptimizerSpec;

mod chainable;
mod combined;
mod cosine;
mod cyclic;
mod lambda;
mod plateau;

pub use chainable::{ConstantLR, ExponentialLR, LinearLR, MultiStepLR, PolynomialLR, StepLR};
pub use combined::{ChainedScheduler, SequentialLR};
pub use cosine::{CosineAnnealingLR, CosineAnnealingWarmRestarts};
pub use cyclic::{Anneal, CycleMode, CyclicLR, OneCycleLR};
pub use lambda::{LambdaLR, MultiplicativeLR};
pub use plateau::{Mode, ReduceLROnPlateau, ThresholdMode};

/// What schedules change, by parameter group.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    groups: Vec<GroupRates>,
}

/// The rates of one parameter group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupRates {
    /// Learning rate of the next step.
    pub lr: f64,
    /// Learning rate that the schedule starts from.
    pub initial_lr: f64,
    /// Momentum, or first beta, of the next step, if the optimizer has one.
    pub momentum: Option<f64>,
}

impl Rates {
    /// The rates with which these optimizers, one a parameter group, start.
    pub fn of<'a>(groups: impl IntoIterator<Item = &'a OptimizerSpec>) -> Self {
        let group = |optimizer: &OptimizerSpec| {
            let lr = optimizer.learning_rate();
            GroupRates { lr, initial_lr: lr, momentum: optimizer.rule().momentum().map(|(_, momentum)| momentum) }
        };
        Self { groups: groups.into_iter().map(group).collect() }
    }

    /// By group.
    pub fn groups(&self) -> &[GroupRates] {
        &self.groups
    }
}

/// What is not possible with a schedule: an argument, or a step too far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError {
    /// Each argument with what was found and what is expected.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if idx == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ScheduleError {}

/// A schedule at work: `torch.optim.lr_scheduler.LRScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    schedule: Schedule,
    rates: Rates,
}

impl Scheduler {
    /// Starts `schedule` on parameter groups.
    ///
    /// # Errors
    /// Arguments that are not allowed, all at once.
    pub fn new(rates: Rates, schedule: impl Into<Schedule>) -> Result<Self, ScheduleError> {
        let (mut schedule, mut rates) = (schedule.into(), rates);
        let faults = schedule.check(&rates);
        if !faults.is_empty() {
            return Err(ScheduleError { faults });
        }
        schedule.start(&mut rates)?;
        Ok(Self { schedule, rates })
    }

    /// Goes on by one: after each epoch, or for some schedules after each batch.
    ///
    /// # Errors
    /// A schedule that has come to its end, or needs a metric.
    pub fn step(&mut self) -> Result<(), ScheduleError> {
        self.schedule.step(&mut self.rates, None)
    }

    /// Goes on by one, given what [`ReduceLROnPlateau`] watches; other schedules take no notice of it.
    ///
    /// # Errors
    /// As for [`Scheduler::step`].
    pub fn step_with(&mut self, metric: f64) -> Result<(), ScheduleError> {
        self.schedule.step(&mut self.rates, Some(metric))
    }

    /// The learning rates of the next step, by parameter group.
    pub fn get_last_lr(&self) -> Vec<f64> {
        self.rates.groups.iter().map(|group| group.lr).collect()
    }

    /// Learning rates and momenta, by parameter group.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Whether the schedule changes the momentum too.
    pub fn cycles_momentum(&self) -> bool {
        self.schedule.cycles_momentum()
    }

    /// Everything that changes as the scheduler goes on, for a checkpoint: numbers, which can be stored to the last bit.
    pub fn state(&self) -> Vec<f64> {
        let mut state = vec![self.rates.groups.len() as f64];
        for group in &self.rates.groups {
            state.extend([group.lr, group.initial_lr, group.momentum.unwrap_or(f64::NAN)]);
        }
        self.schedule.save(&mut state);
        state
    }

    /// Goes on from where a scheduler with the same arguments was saved.
    ///
    /// # Errors
    /// If the state is that of another kind of schedule, or for another number of groups; then nothing is changed.
    pub fn load_state(&mut self, state: &[f64]) -> Result<(), ScheduleError> {
        let mut loaded = self.clone();
        let mut numbers = state.iter().copied();
        let is_whole = loaded.load(&mut numbers).is_some() && numbers.next().is_none();
        if !is_whole {
            let (name, groups) = (self.schedule.name(), self.rates.groups.len());
            let message = format!("is not that of a {name} for {groups} parameter groups");
            return Err(fault("Scheduler", "state", message).into());
        }
        *self = loaded;
        Ok(())
    }

    fn load(&mut self, state: &mut dyn Iterator<Item = f64>) -> Option<()> {
        if state.next()? != self.rates.groups.len() as f64 {
            return None;
        }
        for group in &mut self.rates.groups {
            (group.lr, group.initial_lr) = (state.next()?, state.next()?);
            let momentum = state.next()?;
            group.momentum = (!momentum.is_nan()).then_some(momentum);
        }
        self.schedule.load(state)
    }
}

/// A schedule of any kind, and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    kind: Kind,
    /// Steps taken; -1 before the first, which is part of the start.
    last_epoch: i64,
    /// By group: the learning rate that the schedule is about.
    base_lrs: Vec<f64>,
}

/// The list of schedules.
macro_rules! schedules {
    ($( $Name:ident ),* $(,)?) => {
        #[derive(Clone, Debug, PartialEq)]
        enum Kind {
            $( $Name($Name), )*
        }

        impl Kind {
            fn name(&self) -> &'static str {
                match self {
                    $( Self::$Name(_) => stringify!($Name), )*
                }
            }

            fn rule(&self) -> &dyn Rule {
                match self {
                    $( Self::$Name(rule) => rule, )*
                }
            }

            fn rule_mut(&mut self) -> &mut dyn Rule {
                match self {
                    $( Self::$Name(rule) => rule, )*
                }
            }
        }

        $(
            impl From<$Name> for Schedule {
                fn from(rule: $Name) -> Self {
                    Self { kind: Kind::$Name(rule), last_epoch: -1, base_lrs: Vec::new() }
                }
            }
        )*
    };
}

schedules! {
    StepLR,
    MultiStepLR,
    ExponentialLR,
    ConstantLR,
    LinearLR,
    PolynomialLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    OneCycleLR,
    LambdaLR,
    MultiplicativeLR,
    ReduceLROnPlateau,
    SequentialLR,
    ChainedScheduler,
}

/// Where a rule is asked for a learning rate.
#[derive(Clone, Copy, Debug)]
struct At {
    /// Steps taken, 0 at the start.
    epoch: i64,
    /// Position of the parameter group.
    group: usize,
    /// Its present learning rate.
    lr: f64,
    /// The learning rate that the schedule is about.
    base_lr: f64,
    /// Whether this is the first call, at the start.
    is_initial: bool,
}

/// One kind of schedule.
trait Rule {
    /// Arguments that are not allowed for these groups.
    fn check(&self, rates: &Rates) -> Vec<Fault>;

    /// What happens to the groups before the schedule starts.
    fn prepare(&mut self, rates: &mut Rates) {
        let _ = rates;
    }

    /// Moves on to the next epoch.
    fn advance(&mut self, epoch: i64) -> Result<(), ScheduleError> {
        let _ = epoch;
        Ok(())
    }

    /// The learning rate of a group.
    fn lr(&self, at: At) -> f64;

    /// The learning rate of a group at epoch 0 where the schedule takes over from another one.
    fn first_lr(&self, at: At) -> f64 {
        self.lr(at)
    }

    /// The momentum of a group, for schedules that change it.
    fn momentum(&self, at: At) -> Option<f64> {
        let _ = at;
        None
    }

    fn cycles_momentum(&self) -> bool {
        false
    }

    /// The schedules this one is made of.
    fn parts(&self) -> &[Schedule] {
        &[]
    }

    fn parts_mut(&mut self) -> &mut [Schedule] {
        &mut []
    }

    /// What changes beside the epoch.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Reads back [`Rule::state`].
    fn load(&mut self, state: &mut dyn Iterator<Item = f64>) -> Option<()> {
        let _ = state;
        Some(())
    }
}

impl Schedule {
    /// PyTorch's name: `StepLR`.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Whether the schedule changes the momentum too.
    pub fn cycles_momentum(&self) -> bool {
        self.kind.rule().cycles_momentum() || self.kind.rule().parts().iter().any(Self::cycles_momentum)
    }

    /// Whether steps need a metric.
    pub fn needs_metric(&self) -> bool {
        matches!(self.kind, Kind::ReduceLROnPlateau(_))
    }

    fn check(&self, rates: &Rates) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.kind.rule().check(rates);
        faults.extend(self.kind.rule().parts().iter().flat_map(|part| part.check(rates)));
        faults
    }

    /// What PyTorch's constructors do: prepare the groups, and set the first learning rates.
    fn start(&mut self, rates: &mut Rates) -> Result<(), ScheduleError> {
        for part in self.kind.rule_mut().parts_mut() {
            part.start(rates)?;
        }
        self.kind.rule_mut().prepare(rates);
        self.base_lrs = rates.groups.iter().map(|group| group.initial_lr).collect();
        match &mut self.kind {
            Kind::SequentialLR(sequence) => {
                self.last_epoch = 0;
                sequence.restart(rates)
            }
            Kind::ChainedScheduler(_) | Kind::ReduceLROnPlateau(_) => {
                self.last_epoch = 0;
                Ok(())
            }
            _ => self.set(rates, 0, true),
        }
    }

    /// Sets the first learning rates (again).
    fn initial_step(&mut self, rates: &mut Rates) -> Result<(), ScheduleError> {
        match self.kind {
            Kind::SequentialLR(_) | Kind::ChainedScheduler(_) => self.step(rates, None),
            _ => self.set(rates, self.last_epoch + 1, true),
        }
    }

    /// Undoes the step of the start in all that is not made of others.
    fn undo(&mut self) {
        let parts = self.kind.rule_mut().parts_mut();
        if parts.is_empty() {
            self.last_epoch -= 1;
        }
        parts.iter_mut().for_each(Self::undo);
    }

    fn step(&mut self, rates: &mut Rates, metric: Option<f64>) -> Result<(), ScheduleError> {
        let epoch = self.last_epoch + 1;
        match &mut self.kind {
            Kind::SequentialLR(sequence) => {
                self.last_epoch = epoch;
                sequence.step(rates, epoch)
            }
            Kind::ChainedScheduler(chain) => {
                self.last_epoch = epoch;
                chain.schedulers.iter_mut().try_for_each(|part| part.step(rates, None))
            }
            Kind::ReduceLROnPlateau(plateau) => {
                let Some(metric) = metric else {
                    let message = "needs a value to watch: use `step_with`".to_string();
                    return Err(fault("ReduceLROnPlateau", "metric", message).into());
                };
                self.last_epoch = epoch;
                plateau.watch(metric, rates);
                Ok(())
            }
            _ => self.set(rates, epoch, false),
        }
    }

    /// Takes over from another schedule: sets the learning rates of epoch 0.
    fn take_over(&mut self, rates: &mut Rates) -> Result<(), ScheduleError> {
        if !self.kind.rule().parts().is_empty() {
            return self.step(rates, None);
        }
        self.last_epoch = 0;
        let (rule, base_lrs) = (self.kind.rule(), &self.base_lrs);
        for (group, rates) in rates.groups.iter_mut().enumerate() {
            let at = At { epoch: 0, group, lr: rates.lr, base_lr: base_lrs[group], is_initial: false };
            rates.lr = rule.first_lr(at);
            rates.momentum = rule.momentum(at).or(rates.momentum);
        }
        Ok(())
    }

    /// Sets the learning rates of `epoch`.
    fn set(&mut self, rates: &mut Rates, epoch: i64, is_initial: bool) -> Result<(), ScheduleError> {
        self.kind.rule_mut().advance(epoch)?;
        self.last_epoch = epoch;
        let rule = self.kind.rule();
        for (group, rates) in rates.groups.iter_mut().enumerate() {
            let at = At { epoch, group, lr: rates.lr, base_lr: self.base_lrs[group], is_initial };
            rates.lr = rule.lr(at);
            rates.momentum = rule.momentum(at).or(rates.momentum);
        }
        Ok(())
    }

    fn save(&self, state: &mut Vec<f64>) {
        state.push(self.last_epoch as f64);
        state.extend(&self.base_lrs);
        state.extend(self.kind.rule().state());
        for part in self.kind.rule().parts() {
            part.save(state);
        }
    }

    fn load(&mut self, state: &mut dyn Iterator<Item = f64>) -> Option<()> {
        self.last_epoch = state.next()? as i64;
        for lr in &mut self.base_lrs {
            *lr = state.next()?;
        }
        self.kind.rule_mut().load(state)?;
        self.kind.rule_mut().parts_mut().iter_mut().try_for_each(|part| part.load(state))
    }
}

/// A fault of an argument of `schedule`.
fn fault(schedule: &str, argument: &'static str, message: String) -> Fault {
    Fault { argument, message: format!("{schedule}: `{argument}` {message}") }
}

/// The fault unless `fits`.
fn require(fits: bool, schedule: &str, argument: &'static str, message: impl FnOnce() -> String) -> Option<Fault> {
    (!fits).then(|| fault(schedule, argument, message()))
}

impl From<Fault> for ScheduleError {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}

/// A value for every group, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub struct PerGroup(Vec<f64>);

impl PerGroup {
    fn get(&self, group: usize) -> f64 {
        *self.0.get(group).unwrap_or(&self.0[0])
    }

    fn check(&self, rates: &Rates, schedule: &str, argument: &'static str) -> Option<Fault> {
        let (found, groups) = (self.0.len(), rates.groups.len());
        let is_finite = self.0.iter().all(|value| value.is_finite());
        require(is_finite && (found == 1 || found == groups), schedule, argument, || {
            format!("is {:?}, expected one finite number, or one for each of {groups} groups", self.0)
        })
    }
}

impl From<f64> for PerGroup {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

impl From<Vec<f64>> for PerGroup {
    fn from(values: Vec<f64>) -> Self {
        Self(values)
    }
}

impl<const N: usize> From<[f64; N]> for PerGroup {
    fn from(values: [f64; N]) -> Self {
        Self(values.to_vec())
    }
}

/// Setters named as PyTorch's keyword arguments.
macro_rules! setters {
    ($( $(#[$doc:meta])* $name:ident: $ty:ty; )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: impl Into<$ty>) -> Self {
                self.$name = $name.into();
                self
            }
        )*
    };
}

use setters;
