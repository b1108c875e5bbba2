//! A run's position, to a checkpoint and back.
//!
//! Everything that is not a whole number or a name goes by *parts*: running numbers under the name of what they belong to.
//! A run continues only from a checkpoint that has the same parts.

use std::collections::BTreeMap;

use nnc_frontend::module::{Forward, Module};
use nnc_ir::Diagnostic;

use super::session::Session;
use crate::error::Error;
use crate::trainer::checkpoint::{Checkpoint, EpochHeader, Position};
use crate::trainer::history::EpochRecord;
use crate::trainer::state::{LR, MOMENTUM};

const LOSS: &str = "epoch.loss";
const VALUES: &str = "history.values";
const STEP_LOSSES: &str = "history.step_losses";
const GRAD_NORMS: &str = "history.grad_norms";
const EARLY_STOPPING: &str = "early_stopping";
const BEST: &str = "checkpoints.best";

impl<M: Module + Forward> Session<'_, M> {
    /// The run as it is between two steps.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let mut checkpoint = self.fit.trainer.checkpoint()?;
        checkpoint.best = self.best.clone();
        checkpoint.numbers.extend(self.parts());
        let header = |record: &EpochRecord| EpochHeader {
            epoch: record.epoch,
            step: record.step,
            n_examples: record.n_examples,
            names: record.values.keys().cloned().collect(),
        };
        checkpoint.header.fit = Some(Position {
            epoch: self.epoch,
            batch: self.batch,
            n_examples: self.n_examples,
            train: self.train,
            valid: self.fit.valid.map(|valid| valid.state()),
            epochs: self.history.epochs.iter().map(header).collect(),
        });
        Ok(checkpoint)
    }

    /// The running numbers of everything that has some.
    fn parts(&self) -> BTreeMap<String, Vec<f64>> {
        let fit = &self.fit;
        let values = self.history.epochs.iter().flat_map(|record| record.values.values().copied());
        let mut parts = BTreeMap::from([
            (LOSS.to_string(), self.loss.state()),
            (VALUES.to_string(), values.collect()),
            (STEP_LOSSES.to_string(), self.history.step_losses.clone()),
            (GRAD_NORMS.to_string(), self.history.grad_norms.clone()),
        ]);
        if fit.measures_training {
            for (idx, metric) in fit.metrics.iter().enumerate() {
                parts.insert(metric_name(idx, &metric.name()), metric.state());
            }
        }
        for (idx, scheduled) in fit.schedulers.iter().enumerate() {
            parts.insert(format!("scheduler.{idx}"), scheduled.scheduler.state());
        }
        for (idx, callback) in fit.callbacks.iter().enumerate() {
            let state = callback.state();
            if !state.is_empty() {
                parts.insert(format!("callback.{idx}"), state);
            }
        }
        if let Some(stopping) = &fit.early_stopping {
            parts.insert(EARLY_STOPPING.to_string(), stopping.state());
        }
        if let Some(monitor) = fit.checkpoints.as_ref().and_then(|checkpoints| checkpoints.best.as_ref()) {
            parts.insert(BEST.to_string(), monitor.state());
        }
        parts
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// Everything in which it contradicts the run.
    pub(super) fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let mut faults = self.fit.trainer.mismatches(checkpoint);
        let Some(position) = &checkpoint.header.fit else {
            faults.push(checkpoint.fault("the checkpoint was not saved by `fit`; continue with `Trainer::restore`"));
            return Err(faults.into());
        };
        self.part_mismatches(checkpoint, &mut faults);
        let of_checkpoint = |fault: Diagnostic| checkpoint.fault(fault.message);
        faults.extend(self.fit.train.load_state(&position.train).err().into_iter().flatten().map(of_checkpoint));
        match (self.fit.valid, &position.valid) {
            (Some(loader), Some(state)) => {
                faults.extend(loader.load_state(state).err().into_iter().flatten().map(of_checkpoint));
            }
            (None, Some(_)) => faults.push(checkpoint.fault("the run had validation batches, expected none")),
            (Some(_), None) => faults.push(checkpoint.fault("the run had no validation batches, expected some")),
            (None, None) => {}
        }
        if faults.is_empty() {
            self.load_parts(checkpoint, position, &mut faults);
        }
        if !faults.is_empty() {
            return Err(faults.into());
        }
        (self.epoch, self.batch, self.n_examples) = (position.epoch, position.batch, position.n_examples);
        (self.train, self.best) = (position.train, checkpoint.best.clone());
        self.fit.trainer.restore(checkpoint)
    }

    /// Compares which parts there are.
    fn part_mismatches(&self, checkpoint: &Checkpoint, faults: &mut Vec<Diagnostic>) {
        let expected = self.parts();
        for name in expected.keys().filter(|name| !checkpoint.numbers.contains_key(*name)) {
            faults.push(checkpoint.fault(format!("the run had no part `{name}`, expected one")));
        }
        // Callbacks may have nothing to keep until later.
        let is_other = |name: &&String| {
            let is_trainers = [LR, MOMENTUM].contains(&name.as_str());
            !is_trainers && !expected.contains_key(*name) && !name.starts_with("callback.")
        };
        for name in checkpoint.numbers.keys().filter(is_other) {
            faults.push(checkpoint.fault(format!("the run had a part `{name}`, expected none")));
        }
    }

    /// Gives each part its numbers.
    fn load_parts(&mut self, checkpoint: &Checkpoint, position: &Position, faults: &mut Vec<Diagnostic>) {
        let fit = &mut self.fit;
        let numbers = |name: &str| checkpoint.numbers.get(name).map_or(&[][..], Vec::as_slice);
        let mut take = |name: &str, outcome: Result<(), Error>| {
            if let Err(error) = outcome {
                faults.push(checkpoint.fault(format!("{name}: {error}")));
            }
        };
        take(LOSS, self.loss.load(LOSS, numbers(LOSS)).map_err(Error::from));
        if fit.measures_training {
            for (idx, metric) in fit.metrics.iter_mut().enumerate() {
                let name = metric_name(idx, &metric.name());
                take(&name, metric.load_state(numbers(&name)).map_err(Error::from));
            }
        }
        for (idx, scheduled) in fit.schedulers.iter_mut().enumerate() {
            let name = format!("scheduler.{idx}");
            take(&name, scheduled.scheduler.load_state(numbers(&name)).map_err(Error::from));
        }
        for (idx, callback) in fit.callbacks.iter_mut().enumerate() {
            let name = format!("callback.{idx}");
            if checkpoint.numbers.contains_key(&name) {
                take(&name, callback.load_state(numbers(&name)));
            }
        }
        if let Some(stopping) = &mut fit.early_stopping {
            take(EARLY_STOPPING, stopping.load_state(numbers(EARLY_STOPPING)).map_err(Error::from));
        }
        if let Some(monitor) = fit.checkpoints.as_mut().and_then(|checkpoints| checkpoints.best.as_mut()) {
            take(BEST, monitor.load_state(numbers(BEST)).map_err(Error::from));
        }
        let mut values = numbers(VALUES).iter().copied();
        let records = position.epochs.iter().map(|header| EpochRecord {
            epoch: header.epoch,
            step: header.step,
            values: header.names.iter().cloned().zip(values.by_ref()).collect(),
            n_examples: header.n_examples,
            seconds: None,
        });
        self.history.epochs = records.collect();
        self.history.step_losses = numbers(STEP_LOSSES).to_vec();
        self.history.grad_norms = numbers(GRAD_NORMS).to_vec();
    }
}

fn metric_name(idx: usize, name: &str) -> String {
    format!("metric.{idx}.{name}")
}
