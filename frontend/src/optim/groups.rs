//! Parameter groups: which parameters of a model follow which optimizer.

use std::fmt;
use std::rc::Rc;

use nnc_ir::{Diagnostic, Location};
use nnc_optim::OptimizerSpec;
use nnc_optim::lr_scheduler::{Rates, Schedule, ScheduleError, Scheduler};

use crate::parameter::Parameter;

/// An optimizer for a model: one rule, and further rules for groups of parameters.
///
/// PyTorch's `optim.SGD([{'params': model.classifier.parameters(), 'lr': 1e-3}, ...], lr=1e-2)` is
/// `Optimizer::new(Sgd::new(1e-2)).group("classifier", Sgd::new(1e-3))`. The first rule takes every parameter that no
/// group selects. Groups may even follow different algorithms.
#[derive(Clone, Debug)]
pub struct Optimizer {
    first: OptimizerSpec,
    groups: Vec<(Select, OptimizerSpec)>,
}

/// A group once the model is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroup {
    /// The optimizer.
    pub optimizer: OptimizerSpec,
    /// Dotted paths of the parameters.
    pub params: Vec<String>,
}

impl Optimizer {
    /// The rule for all parameters that no group selects.
    pub fn new(rule: impl Into<OptimizerSpec>) -> Self {
        Self { first: rule.into(), groups: Vec::new() }
    }

    /// Adds a group with a rule of its own.
    #[must_use]
    pub fn group(mut self, select: impl Into<Select>, rule: impl Into<OptimizerSpec>) -> Self {
        self.groups.push((select.into(), rule.into()));
        self
    }

    /// The learning rate of the first group.
    pub fn lr(&self) -> f64 {
        self.first.learning_rate()
    }

    /// Starts a schedule of this optimizer's learning rates.
    ///
    /// # Errors
    /// Arguments that are not allowed for this optimizer.
    pub fn scheduler(&self, schedule: impl Into<Schedule>) -> Result<Scheduler, ScheduleError> {
        let rules = std::iter::once(&self.first).chain(self.groups.iter().map(|(_, rule)| rule));
        Scheduler::new(Rates::of(rules), schedule)
    }

    /// The groups of a model with these parameters (see [`Module::named_parameters`](crate::Module::named_parameters)),
    /// the first one first.
    ///
    /// # Errors
    /// All at once: hyper-parameters that are not allowed, groups that select nothing, names that are no parameter's,
    /// parameters in two groups.
    pub fn resolve(&self, parameters: &[(String, Parameter)]) -> Result<Vec<ParamGroup>, Vec<Diagnostic>> {
        let mut faults: Vec<Diagnostic> = self.first.check().err().unwrap_or_default();
        let mut owner: Vec<usize> = vec![0; parameters.len()];
        let fault = |message: String| Diagnostic::new(Location::unknown(), message);
        for (idx, (select, rule)) in self.groups.iter().enumerate().map(|(idx, group)| (idx + 1, group)) {
            faults.extend(rule.check().err().into_iter().flatten());
            match select.indices(parameters) {
                Ok(found) if found.is_empty() => {
                    faults
                        .push(fault(format!("optimizer: group {idx} ({select:?}) selects no parameter of the model")));
                }
                Ok(found) => {
                    for at in found {
                        if owner[at] != 0 {
                            let name = &parameters[at].0;
                            faults.push(fault(format!(
                                "optimizer: parameter `{name}` is in the groups {} and {idx}",
                                owner[at]
                            )));
                        }
                        owner[at] = idx;
                    }
                }
                Err(message) => faults.push(fault(format!("optimizer: group {idx}: {message}"))),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let rules = std::iter::once(&self.first).chain(self.groups.iter().map(|(_, rule)| rule));
        let members = |group: usize| {
            let of_group = parameters.iter().zip(&owner).filter(move |(_, owner)| **owner == group);
            of_group.map(|((name, _), _)| name.clone()).collect()
        };
        Ok(rules.enumerate().map(|(idx, rule)| ParamGroup { optimizer: rule.clone(), params: members(idx) }).collect())
    }
}

impl<T: Into<OptimizerSpec> + nnc_optim::Rule> From<T> for Optimizer {
    fn from(rule: T) -> Self {
        Self::new(rule)
    }
}

/// Whether a parameter of this dotted path is meant.
type Predicate = dyn Fn(&str, &Parameter) -> bool;

/// Selects parameters of a model.
#[derive(Clone)]
pub enum Select {
    /// Those below these dotted paths, or at them: `encoder`, `head.bias`.
    Paths(Vec<String>),
    /// These parameters, by identity.
    Parameters(Vec<Parameter>),
    /// Those for which a function of name and parameter gives true.
    Matching(Rc<Predicate>),
}

impl Select {
    /// Those at or below dotted paths: every path must name a parameter or a module that has some.
    pub fn paths<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Self {
        Self::Paths(paths.into_iter().map(Into::into).collect())
    }

    /// Those for which `predicate` holds: `|name, _| name.ends_with("bias")`.
    pub fn matching(predicate: impl Fn(&str, &Parameter) -> bool + 'static) -> Self {
        Self::Matching(Rc::new(predicate))
    }

    /// Positions of the selected parameters, increasing.
    fn indices(&self, parameters: &[(String, Parameter)]) -> Result<Vec<usize>, String> {
        let is_below = |name: &str, path: &str| {
            name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || path.is_empty())
        };
        match self {
            Self::Paths(paths) => {
                if let Some(path) = paths.iter().find(|path| !parameters.iter().any(|(name, _)| is_below(name, path))) {
                    return Err(format!("the model has no parameter at or below `{path}`"));
                }
            }
            Self::Parameters(wanted) => {
                let is_missing = |wanted: &&Parameter| !parameters.iter().any(|(_, param)| param.id() == wanted.id());
                let n_missing = wanted.iter().filter(is_missing).count();
                if n_missing > 0 {
                    return Err(format!("{n_missing} of {} parameters are not the model's", wanted.len()));
                }
            }
            Self::Matching(_) => {}
        }
        let is_selected = |name: &str, parameter: &Parameter| match self {
            Self::Paths(paths) => paths.iter().any(|path| is_below(name, path)),
            Self::Parameters(wanted) => wanted.iter().any(|wanted| wanted.id() == parameter.id()),
            Self::Matching(predicate) => predicate(name, parameter),
        };
        let found = parameters.iter().enumerate().filter(|(_, (name, parameter))| is_selected(name, parameter));
        Ok(found.map(|(idx, _)| idx).collect())
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(paths) => write!(f, "paths {}", paths.join(", ")),
            Self::Parameters(parameters) => write!(f, "{} parameters", parameters.len()),
            Self::Matching(_) => f.write_str("a predicate"),
        }
    }
}

impl From<&str> for Select {
    fn from(path: &str) -> Self {
        Self::paths([path])
    }
}

impl From<Vec<Parameter>> for Select {
    fn from(parameters: Vec<Parameter>) -> Self {
        Self::Parameters(parameters)
    }
}

impl From<&[Parameter]> for Select {
    fn from(parameters: &[Parameter]) -> Self {
        Self::Parameters(parameters.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn model() -> Sequential {
        sequential![Linear::new(3, 4), ReLU::new(), Linear::new(4, 2)]
    }

    #[test]
    fn groups_take_what_they_select_and_the_first_takes_the_rest() {
        let model = model();
        let parameters = model.named_parameters();
        let last = parameters[3].1.clone();
        let optimizer = Optimizer::new(Sgd::new(0.1)).group("0", Adam::new(1e-3)).group(vec![last], Sgd::new(0.01));
        let groups = optimizer.resolve(&parameters).expect("they fit");
        let names: Vec<Vec<&str>> =
            groups.iter().map(|group| group.params.iter().map(String::as_str).collect()).collect();
        assert_eq!(names, [vec!["2.weight"], vec!["0.weight", "0.bias"], vec!["2.bias"]]);
        assert_eq!(groups[1].optimizer, Adam::new(1e-3).into());
        let biases =
            Optimizer::from(Sgd::new(0.1)).group(Select::matching(|name, _| name.ends_with("bias")), Sgd::new(0.2));
        assert_eq!(biases.resolve(&parameters).expect("they fit")[1].params, ["0.bias", "2.bias"]);
    }

    #[test]
    fn groups_that_do_not_fit_are_refused_together() {
        let model = model();
        let strange = Parameter::new(Tensor::zeros([2]));
        let optimizer = Optimizer::new(Sgd::new(-0.1))
            .group("0", Sgd::new(0.1))
            .group(Select::paths(["0.bias"]), Sgd::new(0.1))
            .group("head", Adam::new(0.1).eps(f64::NAN))
            .group(vec![strange], Sgd::new(0.1))
            .group(Select::matching(|_, _| false), Sgd::new(0.1));
        let faults = optimizer.resolve(&model.named_parameters()).expect_err("nothing fits");
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "sgd: `lr` is -0.1, expected a number of at least 0",
                "optimizer: parameter `0.bias` is in the groups 1 and 2",
                "adam: `eps` is NaN, expected a number of at least 0",
                "optimizer: group 3: the model has no parameter at or below `head`",
                "optimizer: group 4: 1 of 1 parameters are not the model's",
                "optimizer: group 5 (a predicate) selects no parameter of the model",
            ]
        );
    }
}
