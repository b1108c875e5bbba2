//! Schedules by functions of the epoch.

use std::fmt;
use std::rc::Rc;

use super::{At, Rates, Rule, require};
use crate::rule::Fault;

/// A factor for each epoch.
type Function = Rc<dyn Fn(i64) -> f64>;

/// Functions of the epoch: one for all groups, or one for each. They are no part of a saved state.
#[derive(Clone)]
struct Functions(Vec<Function>);

impl Functions {
    fn at(&self, at: At) -> f64 {
        let function = self.0.get(at.group).unwrap_or(&self.0[0]);
        function(at.epoch)
    }

    fn check(&self, rates: &Rates, schedule: &str) -> Vec<Fault> {
        let (found, groups) = (self.0.len(), rates.groups.len());
        require(found == 1 || found == groups, schedule, "lr_lambda", || {
            format!("has {found} functions, expected one, or one for each of {groups} groups")
        })
        .into_iter()
        .collect()
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} functions", self.0.len())
    }
}

impl PartialEq for Functions {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(lhs, rhs)| Rc::ptr_eq(lhs, rhs))
    }
}

/// Sets the learning rate to the initial one times a function of the epoch: `torch.optim.lr_scheduler.LambdaLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct LambdaLR {
    lr_lambda: Functions,
}

impl LambdaLR {
    /// The same function for all groups.
    pub fn new(lr_lambda: impl Fn(i64) -> f64 + 'static) -> Self {
        Self { lr_lambda: Functions(vec![Rc::new(lr_lambda)]) }
    }

    /// A function for each group.
    pub fn per_group(lr_lambdas: Vec<Rc<dyn Fn(i64) -> f64>>) -> Self {
        Self { lr_lambda: Functions(lr_lambdas) }
    }
}

impl Rule for LambdaLR {
    fn check(&self, rates: &Rates) -> Vec<Fault> {
        self.lr_lambda.check(rates, "LambdaLR")
    }

    fn lr(&self, at: At) -> f64 {
        at.base_lr * self.lr_lambda.at(at)
    }
}

/// Multiplies the learning rate by a function of the epoch: `torch.optim.lr_scheduler.MultiplicativeLR`.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiplicativeLR {
    lr_lambda: Functions,
}

impl MultiplicativeLR {
    /// The same function for all groups.
    pub fn new(lr_lambda: impl Fn(i64) -> f64 + 'static) -> Self {
        Self { lr_lambda: Functions(vec![Rc::new(lr_lambda)]) }
    }

    /// A function for each group.
    pub fn per_group(lr_lambdas: Vec<Rc<dyn Fn(i64) -> f64>>) -> Self {
        Self { lr_lambda: Functions(lr_lambdas) }
    }
}

impl Rule for MultiplicativeLR {
    fn check(&self, rates: &Rates) -> Vec<Fault> {
        self.lr_lambda.check(rates, "MultiplicativeLR")
    }

    fn lr(&self, at: At) -> f64 {
        if at.is_initial { at.lr } else { at.lr * self.lr_lambda.at(at) }
    }
}
