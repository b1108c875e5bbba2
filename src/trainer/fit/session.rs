//! A training run as it happens.
//!
//! All that a run has computed, and all that decides how it goes on, is in a [`Session`]; `fit/state.rs` takes it to a
//! checkpoint and back. Checkpoints are taken after a step, or after an epoch's end, when everything that belongs to that
//! moment is done, so that each is a moment that an uninterrupted run passes through.

use std::time::Instant;

use indexmap::IndexMap;
use nnc_frontend::array::{ToData, View};
use nnc_frontend::data::LoaderState;
use nnc_frontend::module::{Forward, Module};

use super::progress::Progress;
use super::{Fit, Pace, Pairs, Scheduled};
use crate::error::Error;
use crate::trainer::Trainer;
use crate::trainer::callback::{Callback, FitContext};
use crate::trainer::checkpoint::{Checkpoint, States};
use crate::trainer::history::{EpochRecord, History};
use crate::trainer::metrics::{Mean, Metric};
use crate::trainer::monitor::Monitor;

/// What calls a callback.
type Event = fn(&mut dyn Callback, &mut FitContext<'_>) -> Result<(), Error>;

/// A run and its position.
pub(super) struct Session<'a, M> {
    pub(super) fit: Fit<'a, M>,
    pub(super) history: History,
    pub(super) epoch: usize,
    /// Batches of the epoch that are done.
    pub(super) batch: usize,
    /// Over the epoch so far.
    pub(super) loss: Mean,
    pub(super) n_examples: usize,
    /// Time that the epoch's steps took, if this process took them all.
    seconds: Option<f64>,
    /// Of the training batch that comes next.
    pub(super) train: LoaderState,
    /// Parameters and buffers of the best epoch, if they are kept.
    pub(super) best: States,
    pub(super) resumed: bool,
    /// Why training ends.
    pub(super) stop: Option<String>,
}

impl<'a, M: Module + Forward> Session<'a, M> {
    /// A run that begins, or continues from a checkpoint.
    pub(super) fn new(fit: Fit<'a, M>, from: Option<Checkpoint>) -> Result<Self, Error> {
        let train = fit.train.state();
        let mut session = Self {
            fit,
            history: History::default(),
            epoch: 0,
            batch: 0,
            loss: Mean::default(),
            n_examples: 0,
            seconds: None,
            train,
            best: States::new(),
            resumed: from.is_some(),
            stop: None,
        };
        match from {
            Some(checkpoint) => session.load(&checkpoint)?,
            None => session.apply_schedules()?,
        }
        Ok(session)
    }

    pub(super) fn run(mut self) -> Result<History, Error> {
        // What callbacks draw at the beginning was drawn before the checkpoint was taken.
        let rng = nnc_frontend::random::get_rng_state();
        self.notify(self.epoch, |callback, fit| callback.on_fit_begin(fit))?;
        if self.resumed {
            nnc_frontend::random::set_rng_state(rng);
            self.stop = self.fit.early_stopping.as_ref().and_then(|stopping| stopping.verdict());
        }
        while self.epoch < self.fit.n_epochs && self.stop.is_none() {
            if self.run_epoch()? {
                self.end_epoch()?;
            }
        }
        self.save()?;
        self.history.stopped = self.stop.clone();
        if !self.best.is_empty() {
            self.fit.trainer.write_model(&self.best)?;
        }
        self.write_reports()?;
        self.notify(self.epoch, |callback, fit| callback.on_fit_end(fit))?;
        Ok(self.history)
    }

    /// Takes the steps that are left of the epoch; whether all were taken.
    fn run_epoch(&mut self) -> Result<bool, Error> {
        let is_whole = self.batch == 0;
        if is_whole {
            (self.loss, self.n_examples) = (Mean::default(), 0);
            self.fit.metrics.iter_mut().for_each(|metric| metric.reset());
            self.notify(self.epoch, |callback, fit| callback.on_epoch_begin(fit))?;
            if self.stop.is_some() {
                return Ok(false);
            }
        }
        let loader = self.fit.train;
        self.train = loader.state();
        let n_batches = loader.n_batches();
        if n_batches == 0 {
            return Err(Error::message("the training loader has no batches"));
        }
        let progress = Progress::new(self.fit.shows_progress, self.epoch, self.fit.n_epochs, self.batch, n_batches);
        let start = Instant::now();
        for pair in loader.pairs() {
            let loss = self.fit.trainer.step(pair.x(), pair.y())?;
            let n_rows = n_rows(pair.y());
            self.loss.add(loss * n_rows as f64, n_rows);
            self.n_examples += n_rows;
            self.history.step_losses.push(loss);
            self.history.grad_norms.extend(self.fit.trainer.grad_norm());
            if self.fit.measures_training {
                let output = self.fit.trainer.last_output()?;
                let metrics = &mut self.fit.metrics;
                with_view(pair.y(), |y| metrics.iter_mut().try_for_each(|metric| metric.update(&output, &y)))?;
            }
            self.batch += 1;
            self.train.batch += 1;
            self.step_schedules()?;
            progress.advance(loss);
            self.notify(self.epoch, |callback, fit| callback.on_batch_end(fit))?;
            let is_due = self.fit.checkpoints.as_ref();
            if is_due.is_some_and(|checkpoints| checkpoints.is_due_after_step(self.fit.trainer.n_steps())) {
                self.save()?;
            }
            if self.stop.is_some() && self.batch < n_batches {
                return Ok(false);
            }
        }
        self.seconds = is_whole.then(|| start.elapsed().as_secs_f64());
        Ok(true)
    }

    /// Measures, and does everything that follows from what was measured.
    fn end_epoch(&mut self) -> Result<(), Error> {
        let mut values = IndexMap::from([("train_loss".to_string(), self.loss.get())]);
        if self.fit.measures_training {
            values.extend(self.fit.metrics.iter().map(|metric| (format!("train_{}", metric.name()), metric.compute())));
        }
        self.validate(&mut values)?;
        values.insert("lr".to_string(), self.fit.trainer.lr());
        let record = EpochRecord {
            epoch: self.epoch,
            step: self.fit.trainer.n_steps(),
            values,
            n_examples: self.n_examples,
            seconds: self.seconds.take(),
        };
        for Scheduled { scheduler, pace } in &mut self.fit.schedulers {
            match pace {
                Pace::EachStep => {}
                Pace::EachEpoch => scheduler.step(record.get("valid_loss").or(record.get("train_loss")))?,
                Pace::Watching(name) => scheduler.step(Some(Monitor::new(name.as_str()).value(&record)?))?,
            }
        }
        self.apply_schedules()?;
        if let Some(stopping) = &mut self.fit.early_stopping {
            if stopping.update(&record)? && stopping.restores_best {
                self.best = self.fit.trainer.model_states()?;
            }
            self.stop = self.stop.take().or(stopping.verdict());
        }
        let best = self.fit.checkpoints.as_mut().and_then(|checkpoints| checkpoints.best.as_mut());
        let is_best = best.map(|monitor| monitor.improves(&record)).transpose()?.unwrap_or(false);
        self.history.epochs.push(record);
        self.epoch += 1;
        self.batch = 0;
        (self.loss, self.n_examples) = (Mean::default(), 0);
        self.train = self.fit.train.state();
        self.notify(self.epoch - 1, |callback, fit| callback.on_epoch_end(fit))?;
        if is_best {
            let checkpoint = self.checkpoint()?;
            self.fit.checkpoints.as_ref().map_or(Ok(()), |checkpoints| checkpoints.save_best(&checkpoint))?;
        }
        let is_due = self.fit.checkpoints.as_ref();
        if is_due.is_some_and(|checkpoints| checkpoints.is_due_after_epochs(self.epoch)) {
            self.save()?;
        }
        self.write_reports()
    }

    /// Loss and metrics on the validation batches.
    fn validate(&mut self, values: &mut IndexMap<String, f64>) -> Result<(), Error> {
        let Some(valid) = self.fit.valid else { return Ok(()) };
        let mut metrics: Vec<&mut dyn Metric> = self.fit.metrics.iter_mut().map(|metric| &mut **metric as _).collect();
        let loss = measure(self.fit.trainer, valid, &mut metrics)?;
        values.insert("valid_loss".to_string(), loss);
        values.extend(metrics.iter().map(|metric| (format!("valid_{}", metric.name()), metric.compute())));
        Ok(())
    }

    /// Schedules that go on after each step do.
    fn step_schedules(&mut self) -> Result<(), Error> {
        let mut has_changed = false;
        for Scheduled { scheduler, pace } in &mut self.fit.schedulers {
            if let Pace::EachStep = pace {
                scheduler.step(None)?;
                has_changed = true;
            }
        }
        if has_changed { self.apply_schedules() } else { Ok(()) }
    }

    /// Makes learning rates and momenta those of the schedules; of several, the last decides.
    fn apply_schedules(&mut self) -> Result<(), Error> {
        let Some(Scheduled { scheduler, .. }) = self.fit.schedulers.last() else { return Ok(()) };
        if let Some(momenta) = scheduler.get_last_momentum() {
            self.fit.trainer.set_momenta(&momenta)?;
        }
        self.fit.trainer.set_lrs(&scheduler.get_last_lr())
    }

    /// Calls all callbacks.
    fn notify(&mut self, epoch: usize, event: Event) -> Result<(), Error> {
        if self.fit.callbacks.is_empty() {
            return Ok(());
        }
        let mut callbacks = std::mem::take(&mut self.fit.callbacks);
        let mut context = FitContext {
            epoch,
            n_epochs: self.fit.n_epochs,
            batch: self.batch,
            n_batches: self.fit.train.n_batches(),
            step: self.fit.trainer.n_steps(),
            resumed: self.resumed,
            history: &self.history,
            lrs: &mut self.fit.trainer.lr,
            stop: &mut self.stop,
        };
        let outcome = callbacks.iter_mut().try_for_each(|callback| event(&mut **callback, &mut context));
        self.fit.callbacks = callbacks;
        outcome
    }

    /// Saves a checkpoint, if they are wanted.
    fn save(&mut self) -> Result<(), Error> {
        if self.fit.checkpoints.is_some() {
            let checkpoint = self.checkpoint()?;
            self.fit.checkpoints.as_mut().map_or(Ok(()), |checkpoints| checkpoints.save(&checkpoint))?;
        }
        Ok(())
    }

    /// Draws the plot and writes the logs.
    fn write_reports(&self) -> Result<(), Error> {
        if let Some(path) = &self.fit.plot {
            self.history.plot_svg(path)?;
        }
        self.fit.logs.iter().try_for_each(|path| self.history.save(path))
    }
}

/// The mean loss over all examples of a loader; the metrics are measured anew.
pub(super) fn measure<M: Module + Forward>(
    trainer: &mut Trainer<M>,
    loader: &dyn Pairs,
    metrics: &mut [&mut dyn Metric],
) -> Result<f64, Error> {
    metrics.iter_mut().for_each(|metric| metric.reset());
    let mut loss = Mean::default();
    for pair in loader.pairs() {
        let (output, batch_loss) = trainer.evaluate(pair.x(), pair.y())?;
        let n_rows = n_rows(pair.y());
        loss.add(batch_loss * n_rows as f64, n_rows);
        with_view(pair.y(), |y| metrics.iter_mut().try_for_each(|metric| metric.update(&output, &y)))?;
    }
    Ok(loss.get())
}

/// Number of examples of a batch.
fn n_rows(y: &dyn ToData) -> usize {
    with_view(y, |y| y.shape.first().copied().unwrap_or(1))
}

/// Calls `body` with the data where it lies, or with a dense copy.
fn with_view<T>(data: &dyn ToData, body: impl FnOnce(View<'_>) -> T) -> T {
    match data.view() {
        Some(view) => body(view),
        None => body(data.to_data().view().expect("tensor data is dense")),
    }
}
