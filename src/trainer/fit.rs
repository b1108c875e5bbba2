//! `fit`: a training run, described and started.

use std::path::{Path, PathBuf};

use nnc_frontend::array::ToData;
use nnc_frontend::data::{Loader, LoaderState};
use nnc_frontend::module::{Forward, Module};
use nnc_frontend::optim::lr_scheduler::{LrScheduler, Rates, Schedule, Scheduler};
use nnc_ir::{Diagnostic, Location};

use super::callback::{Callback, FitContext, OnBatchEnd, OnEpochEnd};
use super::checkpoint::{Checkpoint, Checkpoints};
use super::history::History;
use super::metrics::Metric;
use super::monitor::EarlyStopping;
use super::{Trainer, checkpoint};
use crate::error::Error;

mod progress;
mod session;
mod state;

/// A batch of inputs and targets.
pub trait Pair {
    /// The inputs: an example a row.
    fn x(&self) -> &dyn ToData;

    /// The targets.
    fn y(&self) -> &dyn ToData;
}

impl<X: ToData, Y: ToData> Pair for (X, Y) {
    fn x(&self) -> &dyn ToData {
        &self.0
    }

    fn y(&self) -> &dyn ToData {
        &self.1
    }
}

/// A loader of pairs, whatever they are made of.
trait Pairs {
    fn n_batches(&self) -> usize;
    fn pairs(&self) -> Box<dyn Iterator<Item = Box<dyn Pair>> + '_>;
    fn state(&self) -> LoaderState;
    fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>>;
}

impl<L: Loader> Pairs for L
where
    L::Batch: Pair + 'static,
{
    fn n_batches(&self) -> usize {
        Loader::n_batches(self)
    }

    fn pairs(&self) -> Box<dyn Iterator<Item = Box<dyn Pair>> + '_> {
        Box::new(self.batches().map(|batch| Box::new(batch) as Box<dyn Pair>))
    }

    fn state(&self) -> LoaderState {
        Loader::state(self)
    }

    fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>> {
        Loader::load_state(self, state)
    }
}

/// [`Trainer::test`].
pub(super) fn test<M, L>(trainer: &mut Trainer<M>, loader: &L, metrics: &mut [&mut dyn Metric]) -> Result<f64, Error>
where
    M: Module + Forward,
    L: Loader,
    L::Batch: Pair + 'static,
{
    session::measure(trainer, loader, metrics)
}

/// When a schedule of learning rates goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// After each step.
    EachStep,
    /// After each epoch. The schedule is shown the loss of validation, of training if there is no validation.
    EachEpoch,
    /// After each epoch. The schedule is shown the value of this name, such as `valid_accuracy`.
    Watching(String),
}

/// A schedule of learning rates in a run.
struct Scheduled<'a> {
    scheduler: Box<dyn LrScheduler + 'a>,
    pace: Pace,
}

/// What a run continues from.
enum Resume {
    Nothing,
    /// A file, or the newest checkpoint of a folder.
    Path(PathBuf),
    /// The newest checkpoint of the run's own folder, if there is one.
    OwnFolder,
}

/// A training run in the making: what [`Trainer::fit`] gives. Nothing happens before [`Fit::run`].
#[must_use = "training begins with `run`"]
pub struct Fit<'a, M> {
    trainer: &'a mut Trainer<M>,
    train: &'a dyn Pairs,
    valid: Option<&'a dyn Pairs>,
    n_epochs: usize,
    metrics: Vec<Box<dyn Metric + 'a>>,
    measures_training: bool,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    schedulers: Vec<Scheduled<'a>>,
    early_stopping: Option<EarlyStopping>,
    checkpoints: Option<Checkpoints>,
    resume: Resume,
    plot: Option<PathBuf>,
    logs: Vec<PathBuf>,
    shows_progress: bool,
    /// What is wrong with the arguments.
    faults: Vec<Diagnostic>,
}

impl<'a, M: Module + Forward> Fit<'a, M> {
    pub(super) fn new<L>(trainer: &'a mut Trainer<M>, train: &'a L) -> Self
    where
        L: Loader,
        L::Batch: Pair + 'static,
    {
        Self {
            trainer,
            train,
            valid: None,
            n_epochs: 1,
            metrics: Vec::new(),
            measures_training: false,
            callbacks: Vec::new(),
            schedulers: Vec::new(),
            early_stopping: None,
            checkpoints: None,
            resume: Resume::Nothing,
            plot: None,
            logs: Vec::new(),
            shows_progress: true,
            faults: Vec::new(),
        }
    }

    /// Passes over the training batches, those before a checkpoint included: 1 unless set.
    pub fn epochs(mut self, n_epochs: usize) -> Self {
        self.n_epochs = n_epochs;
        self
    }

    /// Measures the loss, and all metrics, on these batches after each epoch: `valid_loss` and so on in the history.
    pub fn validation<L>(mut self, valid: &'a L) -> Self
    where
        L: Loader,
        L::Batch: Pair + 'static,
    {
        self.valid = Some(valid);
        self
    }

    /// Measures something on the validation batches; of training too after [`Fit::train_metrics`].
    pub fn metric(mut self, metric: impl Metric + 'a) -> Self {
        self.metrics.push(Box::new(metric));
        self
    }

    /// Whether metrics are measured on the outputs of training steps too. The trainer must
    /// [keep them](super::TrainerBuilder::keep_output).
    pub fn train_metrics(mut self, train_metrics: bool) -> Self {
        self.measures_training = train_metrics;
        self
    }

    /// Calls `callback` at its points of the run. Callbacks are called in order.
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Calls `function` after each step.
    pub fn on_batch_end(self, function: impl FnMut(&mut FitContext<'_>) + 'a) -> Self {
        self.callback(OnBatchEnd(function))
    }

    /// Calls `function` after each epoch and its validation.
    pub fn on_epoch_end(self, function: impl FnMut(&mut FitContext<'_>) + 'a) -> Self {
        self.callback(OnEpochEnd(function))
    }

    /// Takes the learning rates from a schedule that goes on after each epoch:
    ///
    /// ```
    /// # use nnc::prelude::*;
    /// use nnc::frontend::optim::lr_scheduler::StepLR;
    ///
    /// # fn main() -> Result<(), nnc::Error> {
    /// # let data = TensorDataset::new(ndarray::Array2::<f32>::ones((8, 4)), ndarray::Array1::<i64>::zeros(8));
    /// # let train = DataLoader::new(data).batch_size(4);
    /// let mut trainer = Trainer::new(Linear::new(4, 3), Loss::cross_entropy(), Sgd::new(0.1)).build()?;
    /// let history = trainer.fit(&train).epochs(3).scheduler(StepLR::new(2).gamma(0.5)).run()?;
    /// assert_eq!(history.values("lr"), [0.1, 0.1, 0.05]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// One that watches something (`ReduceLROnPlateau`) is shown the loss of validation, of training if there is no
    /// validation; see [`Fit::schedule`] for other values.
    pub fn scheduler(self, schedule: impl Into<Schedule>) -> Self {
        self.schedule(schedule, Pace::EachEpoch)
    }

    /// Takes the learning rates from a schedule that goes on after each step, such as `OneCycleLR`.
    pub fn step_scheduler(self, schedule: impl Into<Schedule>) -> Self {
        self.schedule(schedule, Pace::EachStep)
    }

    /// Takes the learning rates from a schedule that goes on as `pace` says.
    pub fn schedule(mut self, schedule: impl Into<Schedule>, pace: Pace) -> Self {
        let optimizers = self.trainer.spec.groups.iter().map(|group| &group.optimizer);
        match Scheduler::new(Rates::of(optimizers), schedule) {
            Ok(scheduler) => self.custom_scheduler(scheduler, pace),
            Err(error) => {
                self.faults.push(Diagnostic::new(Location::unknown(), error.to_string()));
                self
            }
        }
    }

    /// Takes the learning rates from a schedule of your own. Of several schedules the last decides.
    pub fn custom_scheduler(mut self, scheduler: impl LrScheduler + 'a, pace: Pace) -> Self {
        self.schedulers.push(Scheduled { scheduler: Box::new(scheduler), pace });
        self
    }

    /// Ends training when a value has not become better for some epochs.
    pub fn early_stopping(mut self, early_stopping: EarlyStopping) -> Self {
        self.early_stopping = Some(early_stopping);
        self
    }

    /// Saves checkpoints.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Continues from a checkpoint: a file, or the newest one in a folder. Everything goes on as if training had never
    /// been interrupted, to the last bit: parameters, optimizer states, random numbers, the batches left of the epoch,
    /// schedules, early stopping, history.
    pub fn resume_from(mut self, path: impl AsRef<Path>) -> Self {
        self.resume = Resume::Path(path.as_ref().to_path_buf());
        self
    }

    /// Continues from the newest of the run's own [`Fit::checkpoints`]; begins anew if there is none. So a run that may be
    /// killed is simply started again.
    pub fn resume(mut self) -> Self {
        self.resume = Resume::OwnFolder;
        self
    }

    /// Draws the loss curve to an SVG file after each epoch.
    pub fn plot(mut self, path: impl Into<PathBuf>) -> Self {
        self.plot = Some(path.into());
        self
    }

    /// Writes the history after each epoch, as JSON to a file called `.json`, else as CSV. May be given several times.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.logs.push(path.into());
        self
    }

    /// Whether a terminal shows a progress bar. Elsewhere there never is one.
    pub fn progress(mut self, progress: bool) -> Self {
        self.shows_progress = progress;
        self
    }

    /// Trains, and gives what was measured.
    ///
    /// # Errors
    /// Whatever [`Trainer::step`] reports; checkpoints that cannot be written, or continued from: then every reason at
    /// once; schedules with arguments that are not allowed; a watched value that is not measured; the callbacks' own.
    pub fn run(mut self) -> Result<History, Error> {
        if !self.faults.is_empty() {
            return Err(self.faults.into());
        }
        if self.measures_training && !self.trainer.keeps_output {
            return Err(Error::message(
                "metrics of training need the outputs of steps; build the trainer with `keep_output(true)`",
            ));
        }
        let from = self.resumed_from()?;
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.prepare(from.is_none())?;
        }
        session::Session::new(self, from)?.run()
    }

    /// The checkpoint to continue from.
    fn resumed_from(&self) -> Result<Option<Checkpoint>, Error> {
        let path = match (&self.resume, &self.checkpoints) {
            (Resume::Nothing, _) => None,
            (Resume::OwnFolder, Some(checkpoints)) => checkpoints.newest()?,
            (Resume::OwnFolder, None) => {
                return Err(Error::message(
                    "`resume` continues from the run's own checkpoints, and there are none; give them \
                     with `checkpoints`, or name a file with `resume_from`",
                ));
            }
            (Resume::Path(path), _) if path.is_dir() => Some(checkpoint::newest(path)?.ok_or_else(|| {
                Error::message(format!("{}: the folder has no checkpoint to continue from", path.display()))
            })?),
            (Resume::Path(path), _) => Some(path.clone()),
        };
        Ok(path.map(Checkpoint::load).transpose()?)
    }
}
