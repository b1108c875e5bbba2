//! The trainer's state, out and in: what a checkpoint holds of it.

use nnc_frontend::module::{Forward, Module};
use nnc_frontend::random::set_rng_state;
use nnc_ir::{Diagnostic, Shape, TensorData, TensorType};
use nnc_runtime::Instance;
use nnc_runtime::program::InputRole;

use super::{Checkpoint, Phase, States, Trainer, write_states};
use crate::error::Error;
use crate::jit::dtype_of;

/// What a checkpoint calls the learning rates.
pub(super) const LR: &str = "lr";
/// What a checkpoint calls the momenta, if they are scheduled.
pub(super) const MOMENTUM: &str = "momentum";

impl<M: Module + Forward> Trainer<M> {
    /// Everything that training goes on from: parameters, buffers, optimizer states, random states, learning rates.
    ///
    /// [`Trainer::fit`] saves checkpoints by itself, with its own position; this is for loops of your own. See
    /// [`Checkpoint::save`].
    ///
    /// # Errors
    /// The device's own.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let mut checkpoint = Checkpoint::new(self.optimizer_text(), self.n_steps, self.states()?);
        checkpoint.numbers.insert(LR.to_string(), self.lr.clone());
        if !self.momentum.is_empty() {
            checkpoint.numbers.insert(MOMENTUM.to_string(), self.momentum.clone());
        }
        Ok(checkpoint)
    }

    /// Continues from a checkpoint of the same model and optimizer. The next steps are those that the trainer which the
    /// checkpoint was taken from would have made, to the last bit. The thread's random generator continues too.
    ///
    /// # Errors
    /// Everything in which the checkpoint contradicts model and optimizer; then nothing is changed. What the model alone
    /// does not tell (states of optimizers) is compared at the first step.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let faults = self.mismatches(checkpoint);
        if !faults.is_empty() {
            return Err(faults.into());
        }
        if let Some(momenta) = checkpoint.numbers.get(MOMENTUM) {
            self.set_momenta(momenta)?;
        }
        if checkpoint.n_steps() == 0 {
            // It has no states of the optimizer: those of a new instance are right.
            (self.training, self.pending) = (Phase::default(), None);
        }
        self.write_model(&checkpoint.states)?;
        match self.training.current_instance() {
            Some(instance) => write_checkpoint(instance, checkpoint)?,
            None => self.pending = Some(checkpoint.clone()),
        }
        self.lr.copy_from_slice(&checkpoint.numbers[LR]);
        self.n_steps = checkpoint.n_steps();
        set_rng_state(checkpoint.header.rng);
        Ok(())
    }

    /// Everything in which a checkpoint contradicts model and optimizer.
    pub(super) fn mismatches(&self, checkpoint: &Checkpoint) -> Vec<Diagnostic> {
        let mut faults = Vec::new();
        let (found, expected) = (&checkpoint.header.optimizer, self.optimizer_text());
        if *found != expected {
            faults.push(checkpoint.fault(format!("the optimizer is {found}, expected {expected}")));
        }
        match self.training.current_ref() {
            Some(instance) => faults.extend(instance_mismatches(instance, checkpoint)),
            None => {
                for (name, expected) in self.model_types() {
                    match checkpoint.states.get(name.as_str()) {
                        Some(data) if data.ty() == expected => {}
                        Some(data) => faults.push(type_mismatch(checkpoint, &name, &data.ty(), &expected)),
                        None => faults.push(missing(checkpoint, &name, &expected)),
                    }
                }
            }
        }
        let n_lrs = checkpoint.numbers.get(LR).map_or(0, Vec::len);
        if n_lrs != self.lr.len() {
            let message =
                format!("there are {n_lrs} learning rates, expected one for each of {} groups", self.lr.len());
            faults.push(checkpoint.fault(message));
        }
        faults
    }

    /// The optimizers of all groups, and what else decides the step.
    fn optimizer_text(&self) -> String {
        let groups = self.spec.groups.iter().enumerate().map(|(idx, group)| match idx {
            0 => group.optimizer.to_string(),
            _ => format!("{} for {}", group.optimizer, group.params.join(", ")),
        });
        let clip = self.spec.clip.map(|clip| format!("{clip:?}"));
        let scaling = self.spec.loss_scaling.map(|scaling| format!("{scaling:?}"));
        let autocast = self.autocast.map(|dtype| format!("autocast to {dtype}"));
        groups.chain(clip).chain(scaling).chain(autocast).collect::<Vec<_>>().join("; ")
    }

    /// Names and types of the model's parameters and buffers.
    fn model_types(&self) -> Vec<(String, TensorType)> {
        let parameters = self.model.named_parameters().into_iter().map(|(name, parameter)| (name, parameter.ty()));
        let buffers = self.model.named_buffers().into_iter().map(|(name, buffer)| (name, buffer.ty()));
        parameters.chain(buffers).collect()
    }

    /// The state of the compiled step; of the model alone, as long as there is none.
    fn states(&self) -> Result<States, Error> {
        let Some(instance) = self.training.current_ref() else {
            return Ok(match &self.pending {
                Some(checkpoint) => checkpoint.states.clone(),
                None => self.model.state_dict().iter().map(|(name, data)| (name.into(), data.clone())).collect(),
            });
        };
        let inputs = state_types(instance).into_iter().map(|(name, ty)| {
            let bytes = instance.input(name.as_str())?.to_vec();
            Ok((name.into(), TensorData::new(ty.dtype, ty.shape.as_fixed().unwrap_or_default(), bytes)))
        });
        inputs.collect()
    }

    /// Parameters and buffers of the model as they are now.
    pub(super) fn model_states(&self) -> Result<States, Error> {
        let mut states = self.states()?;
        let names = self.model_types();
        states.retain(|name, _| names.iter().any(|(known, _)| **known == **name));
        Ok(states)
    }

    /// Makes parameters and buffers those of the states that are named like them, in the model and in the compiled step.
    pub(super) fn write_model(&mut self, states: &States) -> Result<(), Error> {
        for (name, parameter) in self.model.named_parameters() {
            if let Some(data) = states.get(name.as_str()) {
                parameter.set(data)?;
            }
        }
        for (name, buffer) in self.model.named_buffers() {
            if let Some(data) = states.get(name.as_str()) {
                buffer.set(data)?;
            }
        }
        match self.training.current_instance() {
            Some(instance) => write_states(instance, by_ref(states))?,
            None => {
                // What was traced holds the weights of before.
                self.training = Phase::default();
                self.evaluation = Phase::default();
                if let Some(pending) = &mut self.pending {
                    for (name, data) in states {
                        if let Some(before) = pending.states.get_mut(name) {
                            *before = data.clone();
                        }
                    }
                }
            }
        }
        self.evaluation.current = None;
        Ok(())
    }
}

fn by_ref(states: &States) -> impl Iterator<Item = (&str, &[u8])> {
    states.iter().map(|(name, data)| (name.as_ref(), &data.bytes[..]))
}

/// Names and types of an instance's states.
fn state_types(instance: &Instance) -> Vec<(String, TensorType)> {
    let states = instance.program().inputs.iter().filter(|input| input.role == InputRole::State);
    let ty = |spec: &nnc_runtime::program::TensorSpec| TensorType {
        dtype: dtype_of(spec.elem),
        shape: Shape::fixed(&spec.shape),
    };
    states.map(|input| (input.name.clone(), ty(&input.spec))).collect()
}

/// Makes an instance's state that of a checkpoint.
///
/// # Errors
/// Everything in which they contradict each other; then nothing is changed.
pub(super) fn write_checkpoint(instance: &mut Instance, checkpoint: &Checkpoint) -> Result<(), Error> {
    let faults = instance_mismatches(instance, checkpoint);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    write_states(instance, by_ref(&checkpoint.states))
}

/// Everything in which a checkpoint's tensors contradict an instance's states.
fn instance_mismatches(instance: &Instance, checkpoint: &Checkpoint) -> Vec<Diagnostic> {
    let expected = state_types(instance);
    let mut faults = Vec::new();
    for (name, ty) in &expected {
        match checkpoint.states.get(name.as_str()) {
            Some(data) if data.ty() == *ty => {}
            Some(data) => faults.push(type_mismatch(checkpoint, name, &data.ty(), ty)),
            // Before the first step there are no states but the model's.
            None if checkpoint.n_steps() == 0 => {}
            None => faults.push(missing(checkpoint, name, ty)),
        }
    }
    for (name, data) in &checkpoint.states {
        if !expected.iter().any(|(known, _)| **known == **name) {
            faults.push(checkpoint.fault(format!("there is a tensor `{name}` of type {}, expected none", data.ty())));
        }
    }
    faults
}

fn missing(checkpoint: &Checkpoint, name: &str, expected: &TensorType) -> Diagnostic {
    checkpoint.fault(format!("there is no tensor `{name}`, expected one of type {expected}"))
}

fn type_mismatch(checkpoint: &Checkpoint, name: &str, found: &TensorType, expected: &TensorType) -> Diagnostic {
    checkpoint.fault(format!("the tensor `{name}` is of type {found}, expected {expected}"))
}
