//! What a training step does beside computing gradients: which parameters follow which optimizer, clipping, and
//! loss scaling.

use nnc_ir::{Diagnostic, Location};
use nnc_optim::OptimizerSpec;

use super::clip::Clip;
use super::scaling::LossScaling;

/// The part of a training step that is the user's choice.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// Parameter groups. The first takes every parameter that no other names.
    pub groups: Vec<ParamGroup>,
    /// What limits the gradients before the optimizers see them.
    pub clip: Option<Clip>,
    /// What keeps the gradients of narrow types in range.
    pub loss_scaling: Option<LossScaling>,
}

/// Parameters that share an optimizer and its hyper-parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroup {
    /// The optimizer. Its learning rate is an input of the step: see [`StepSpec::learning_rate`].
    pub optimizer: OptimizerSpec,
    /// Names of the group's parameters; of no meaning in the first group.
    pub params: Vec<String>,
    /// Whether the optimizer's momentum is an input of the step too, for schedules that change it.
    pub schedules_momentum: bool,
}

impl StepSpec {
    /// One optimizer for all parameters.
    pub fn new(optimizer: impl Into<OptimizerSpec>) -> Self {
        let first = ParamGroup { optimizer: optimizer.into(), params: Vec::new(), schedules_momentum: false };
        Self { groups: vec![first], clip: None, loss_scaling: None }
    }

    /// Name of the input `f32[]` that carries the learning rate of a group: `lr`, `lr.1`, `lr.2`, ....
    pub fn learning_rate(group: usize) -> String {
        numbered("lr", group)
    }

    /// Name of the input `f32[]` that carries the momentum of a group, or its first `beta`: `momentum`, `momentum.1`,
    /// ....
    pub fn momentum(group: usize) -> String {
        numbered("momentum", group)
    }

    /// The inputs that the step has for its optimizers, with the values they start with.
    pub fn inputs(&self) -> Vec<(String, f64)> {
        let groups = || self.groups.iter().enumerate();
        let rates = groups().map(|(idx, group)| (Self::learning_rate(idx), group.optimizer.learning_rate()));
        let momenta = groups().filter(|(_, group)| group.schedules_momentum).filter_map(|(idx, group)| {
            let (_, momentum) = group.optimizer.rule().momentum()?;
            Some((Self::momentum(idx), momentum))
        });
        rates.chain(momenta).collect()
    }

    /// The group of the parameter called `name`.
    pub(super) fn group_of(&self, name: &str) -> usize {
        self.groups
            .iter()
            .skip(1)
            .position(|group| group.params.iter().any(|param| param == name))
            .map_or(0, |at| at + 1)
    }

    /// Checks everything that needs no function.
    ///
    /// # Errors
    /// All faults at once: hyper-parameters that are not allowed, no group, a parameter in two groups, a momentum to
    /// schedule where the optimizer has none.
    pub fn check(&self) -> Result<(), Vec<Diagnostic>> {
        let mut faults = Vec::new();
        let fault = |message: String| Diagnostic::new(Location::unknown(), message);
        if self.groups.is_empty() {
            faults.push(fault("the training step has no parameter group, expected at least one".to_string()));
        }
        for (idx, group) in self.groups.iter().enumerate() {
            faults.extend(group.optimizer.check().err().into_iter().flatten());
            if group.schedules_momentum && group.optimizer.rule().momentum().is_none() {
                let name = group.optimizer.rule().name();
                faults.push(fault(format!("{name}: there is no momentum to schedule (group {idx})")));
            }
            for name in group.params.iter().filter(|_| idx > 0) {
                let first = self.group_of(name);
                if first != idx {
                    faults.push(fault(format!("parameter `{name}` is in the groups {first} and {idx}")));
                }
            }
        }
        faults.extend(self.clip.and_then(|clip| clip.check().err()).map(fault));
        faults.extend(self.loss_scaling.and_then(|scaling| scaling.check().err()).map(fault));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

impl From<OptimizerSpec> for StepSpec {
    fn from(optimizer: OptimizerSpec) -> Self {
        Self::new(optimizer)
    }
}

impl From<&OptimizerSpec> for StepSpec {
    fn from(optimizer: &OptimizerSpec) -> Self {
        Self::new(optimizer.clone())
    }
}

impl From<&Self> for StepSpec {
    fn from(spec: &Self) -> Self {
        spec.clone()
    }
}

/// `name` for the first group, else followed by its number.
fn numbered(name: &str, group: usize) -> String {
    if group == 0 { name.to_string() } else { format!("{name}.{group}") }
}
