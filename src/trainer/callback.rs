//! Callbacks: the user's code at certain points of a training run.

use super::history::{EpochRecord, History};
use crate::error::Error;

/// A training run as callbacks see it.
#[derive(Debug)]
pub struct FitContext<'a> {
    /// The epoch in progress, from 0; after its end the one that ended.
    pub epoch: usize,
    /// Epochs asked for.
    pub n_epochs: usize,
    /// Batches of the epoch that are done.
    pub batch: usize,
    /// Batches an epoch.
    pub n_batches: usize,
    /// Steps taken since training began, in this process and before.
    pub step: u64,
    /// Whether the run continues from a checkpoint.
    pub resumed: bool,
    /// What was measured so far.
    pub history: &'a History,
    pub(super) lrs: &'a mut [f64],
    pub(super) stop: &'a mut Option<String>,
}

impl FitContext<'_> {
    /// The loss of the last step.
    pub fn loss(&self) -> Option<f64> {
        self.history.step_losses.last().copied()
    }

    /// What was measured in the epoch that ended last.
    pub fn record(&self) -> Option<&EpochRecord> {
        self.history.epochs.last()
    }

    /// Learning rates of the next step, one a parameter group.
    pub fn lrs(&self) -> &[f64] {
        self.lrs
    }

    /// Sets the learning rate of all parameter groups from the next step on.
    pub fn set_lr(&mut self, lr: f64) {
        self.lrs.fill(lr);
    }

    /// Ends training: after a batch at once, after an epoch before the next. A checkpoint taken then can be continued.
    pub fn request_stop(&mut self, reason: impl Into<String>) {
        self.stop.get_or_insert(reason.into());
    }
}

/// Code that runs at certain points of a training run. All methods do nothing unless implemented; their errors end
/// training.
pub trait Callback {
    /// Before the first epoch of this process.
    ///
    /// # Errors
    /// The callback's own, here and below.
    fn on_fit_begin(&mut self, _fit: &mut FitContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Before an epoch's first batch.
    ///
    /// # Errors
    /// The callback's own.
    fn on_epoch_begin(&mut self, _fit: &mut FitContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// After a step. [`FitContext::loss`] is its loss.
    ///
    /// # Errors
    /// The callback's own.
    fn on_batch_end(&mut self, _fit: &mut FitContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// After an epoch and its validation. [`FitContext::record`] is what was measured.
    ///
    /// # Errors
    /// The callback's own.
    fn on_epoch_end(&mut self, _fit: &mut FitContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// After the last epoch.
    ///
    /// # Errors
    /// The callback's own.
    fn on_fit_end(&mut self, _fit: &mut FitContext<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// What a checkpoint keeps of the callback.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Continues from what [`Callback::state`] gave.
    ///
    /// # Errors
    /// If it is not of this kind of callback.
    fn load_state(&mut self, _state: &[f64]) -> Result<(), Error> {
        Ok(())
    }
}

/// A function called after each batch.
pub(super) struct OnBatchEnd<F>(pub(super) F);

impl<F: FnMut(&mut FitContext<'_>)> Callback for OnBatchEnd<F> {
    fn on_batch_end(&mut self, fit: &mut FitContext<'_>) -> Result<(), Error> {
        (self.0)(fit);
        Ok(())
    }
}

/// A function called after each epoch.
pub(super) struct OnEpochEnd<F>(pub(super) F);

impl<F: FnMut(&mut FitContext<'_>)> Callback for OnEpochEnd<F> {
    fn on_epoch_end(&mut self, fit: &mut FitContext<'_>) -> Result<(), Error> {
        (self.0)(fit);
        Ok(())
    }
}
