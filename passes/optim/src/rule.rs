//! The trait of optimizers, and what an update is built from.

use std::fmt;

use crate::formula::Term;
use crate::settings::Settings;

/// An optimization algorithm: hyper-parameters, states, and the update of one parameter as a graph.
pub trait Rule: Settings + fmt::Debug {
    /// The hyper-parameters that are not allowed, all at once.
    fn check(&self) -> Vec<Fault>;

    /// States kept for each parameter, of the parameter's type, by the names PyTorch gives them
    /// (`momentum_buffer`). They start as zeros.
    fn states(&self) -> Vec<&'static str>;

    /// Scalar states (`f64[]`) that the parameters of a group share. They start as zeros.
    fn shared_states(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the update depends on the number of steps.
    fn counts_steps(&self) -> bool;

    /// The hyper-parameter that schedules such as one-cycle change from step to step beside the learning rate, with
    /// its value: `momentum`, or the first of `betas`.
    fn momentum(&self) -> Option<(&'static str, f64)> {
        None
    }

    /// The next values of [`Rule::shared_states`], whose present ones are `states`.
    fn update_shared<'f>(&self, group: &Group<'f>, states: &[Term<'f>]) -> Vec<Term<'f>> {
        let _ = (group, states);
        Vec::new()
    }

    /// The update of one parameter.
    fn update<'f>(&self, at: &Site<'f>) -> Next<'f>;
}

/// What the updates of all parameters of a group have in common.
#[derive(Clone, Copy, Debug)]
pub struct Group<'f> {
    /// The learning rate, an `f32[]`.
    pub lr: Term<'f>,
    /// The present [`Rule::momentum`], an `f64[]`, if it is changed from step to step.
    pub momentum: Option<Term<'f>>,
    /// The number of this step, from 1, an `f64[]`, if [`Rule::counts_steps`].
    pub step: Option<Term<'f>>,
}

impl<'f> Group<'f> {
    /// The number of this step, from 1.
    ///
    /// # Panics
    /// If the rule does not count steps, which is a fault of the rule.
    pub fn step(&self) -> Term<'f> {
        self.step.expect("the rule counts steps")
    }

    /// Whether this is the first step.
    ///
    /// # Panics
    /// As for [`Group::step`].
    pub fn is_first_step(&self) -> Term<'f> {
        self.step().equals(1.0)
    }

    /// The present value of the hyper-parameter that schedules change, which is `fixed` where none does.
    pub fn momentum_or(&self, fixed: f64) -> Factor<'f> {
        self.momentum.map_or(Factor::Fixed(fixed), Factor::Scheduled)
    }
}

/// What the update of one parameter is built from.
#[derive(Clone, Debug)]
pub struct Site<'f> {
    /// What it shares with the other parameters of the group.
    pub group: Group<'f>,
    /// The next values of [`Rule::shared_states`].
    pub shared: Vec<Term<'f>>,
    /// The parameter, in `f32` if it is narrower.
    pub param: Term<'f>,
    /// Its gradient, of the same type.
    pub gradient: Term<'f>,
    /// The states, of the same type.
    pub states: Vec<Term<'f>>,
}

/// What an update gives.
#[derive(Clone, Debug)]
pub struct Next<'f> {
    /// The new parameter.
    pub param: Term<'f>,
    /// The new states, in the order of [`Rule::states`].
    pub states: Vec<Term<'f>>,
}

/// A hyper-parameter: a number known when the step is compiled, or a scalar that every step is given.
#[derive(Clone, Copy, Debug)]
pub enum Factor<'f> {
    /// A constant.
    Fixed(f64),
    /// An `f64[]`.
    Scheduled(Term<'f>),
}

impl<'f> Factor<'f> {
    /// `1 - self`.
    #[must_use]
    pub fn complement(self) -> Self {
        match self {
            Self::Fixed(value) => Self::Fixed(1.0 - value),
            Self::Scheduled(term) => Self::Scheduled(1.0 - term),
        }
    }
}

impl<'f> crate::formula::Operand<'f> for Factor<'f> {
    fn beside(self, other: Term<'f>) -> Term<'f> {
        match self {
            Self::Fixed(value) => other.splat(value),
            Self::Scheduled(term) => term,
        }
    }
}

/// A hyper-parameter that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub argument: &'static str,
    /// What was found and what is expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Collects the faults of a set of hyper-parameters.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Fault>);

impl Checks {
    /// A finite number of at least 0.
    pub(crate) fn at_least_0(self, argument: &'static str, value: f64) -> Self {
        self.holds(argument, value, value >= 0.0 && value.is_finite(), "a number of at least 0")
    }

    /// Both are shares below 1.
    pub(crate) fn betas(self, betas: (f64, f64)) -> Self {
        let share = |beta: f64| (0.0..1.0).contains(&beta);
        let fits = share(betas.0) && share(betas.1);
        self.fits("betas", fits, || format!("`betas` are {}/{}, expected numbers in [0, 1)", betas.0, betas.1))
    }

    /// What `expected` says of a number.
    pub(crate) fn holds(self, argument: &'static str, value: f64, fits: bool, expected: &str) -> Self {
        self.fits(argument, fits, || format!("`{argument}` is {value}, expected {expected}"))
    }

    /// Any other condition.
    pub(crate) fn fits(mut self, argument: &'static str, fits: bool, message: impl FnOnce() -> String) -> Self {
        if !fits {
            self.0.push(Fault { argument, message: message() });
        }
        self
    }

    pub(crate) fn faults(self) -> Vec<Fault> {
        self.0
    }
}
