//! The optimizers, one a file.
//!
//! The formulas are those of PyTorch's single-tensor implementations, operation by operation, so that trajectories
//! agree. What depends on the number of steps (bias corrections) is computed in `f64` scalars, as PyTorch does.

mod adadelta;
mod adagrad;
mod adam;
mod adamax;
mod nadam;
mod radam;
mod rmsprop;
mod rprop;
mod sgd;

pub use adadelta::Adadelta;
pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use adamax::Adamax;
pub use nadam::NAdam;
pub use radam::RAdam;
pub use rmsprop::RMSprop;
pub use rprop::Rprop;
pub use sgd::Sgd;

use crate::formula::Term;
use crate::rule::{Factor, Site};

/// The gradient as the rule takes it: negated to ascend, with `weight_decay` of the parameter added.
fn direction<'f>(at: &Site<'f>, maximize: bool, weight_decay: f64) -> Term<'f> {
    let gradient = if maximize { -at.gradient } else { at.gradient };
    if weight_decay == 0.0 { gradient } else { gradient + at.param * weight_decay }
}

/// The parameter after decoupled weight decay: multiplied with `1 - lr * weight_decay`.
fn decayed<'f>(at: &Site<'f>, weight_decay: f64) -> Term<'f> {
    if weight_decay == 0.0 { at.param } else { at.param * (1.0 - at.group.lr * weight_decay) }
}

/// `average` with the share `1 - beta` of the way to `value`.
fn averaged<'f>(average: Term<'f>, value: Term<'f>, beta: Factor<'f>) -> Term<'f> {
    average.lerp(value, beta.complement())
}

/// The running mean of squares: `beta * average + (1 - beta) * value^2`.
fn averaged_square<'f>(average: Term<'f>, value: Term<'f>, beta: f64) -> Term<'f> {
    average * beta + value * value * (1.0 - beta)
}

/// What a running mean that started from 0 lacks after `step` values: `1 - beta^step`.
fn bias_correction<'f>(beta: Factor<'f>, step: Term<'f>) -> Term<'f> {
    1.0 - step.power_of(beta)
}
