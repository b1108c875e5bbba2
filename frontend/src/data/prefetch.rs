//! Making batches, now or ahead on threads.
//!
//! A batch is a function of data set, indices, and the loader's seed; random changes that a data set makes to its
//! examples are drawn from a generator of the batch's own. So it does not matter who makes it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::dataset::Dataset;
use super::loader::Fetch;
use crate::random::{Generator, with_seed};

/// An epoch of batches to be made.
pub(super) struct Job<D, F> {
    pub(super) dataset: Arc<D>,
    pub(super) fetch: Arc<F>,
    /// Of the examples of each batch.
    pub(super) indices: Vec<Vec<usize>>,
    pub(super) seed: u64,
    pub(super) epoch: u64,
}

impl<D: Dataset, F: Fetch<D>> Job<D, F> {
    /// Batch `idx` of the epoch, if there is one.
    pub(super) fn batch(&self, idx: usize) -> Option<F::Batch> {
        let indices = self.indices.get(idx)?;
        // Apart from the streams that orders are drawn from: those are numbered by epoch alone.
        let epoch = Generator::with_stream(self.seed, self.epoch | 1 << 63).next_u64();
        let seed = Generator::with_stream(epoch, idx as u64).next_u64();
        Some(with_seed(seed, || self.fetch.fetch(&self.dataset, indices)))
    }
}

/// What a worker sends: a batch, or the panic of the code that was to make it.
type Outcome<B> = Result<B, Box<dyn Any + Send>>;

/// Threads that make the batches of an epoch. They end with it, or when it is left.
pub(super) struct Workers<B> {
    receivers: Vec<Receiver<Outcome<B>>>,
    /// The batch that the first worker began with.
    first: usize,
}

impl<B: Send + 'static> Workers<B> {
    /// Starts making the batches from `first` on. Worker `w` of `n` makes every `n`th from `first + w` on, so that taking
    /// them in turn gives them in order; each is at most `ahead` batches ahead.
    pub(super) fn spawn<D, F>(job: Job<D, F>, first: usize, n_workers: usize, ahead: usize) -> Self
    where
        D: Dataset + Send + Sync + 'static,
        F: Fetch<D, Batch = B>,
    {
        let job = Arc::new(job);
        let receivers = (0..n_workers).map(|worker| {
            let (sender, receiver) = sync_channel(ahead);
            let job = job.clone();
            std::thread::spawn(move || {
                for idx in (first + worker..job.indices.len()).step_by(n_workers) {
                    let made = catch_unwind(AssertUnwindSafe(|| job.batch(idx)));
                    let made = made.map(|batch| batch.expect("the index is below the number of batches"));
                    let is_last = made.is_err();
                    // The epoch was left early if nobody listens any more.
                    if sender.send(made).is_err() || is_last {
                        return;
                    }
                }
            });
            receiver
        });
        Self { receivers: receivers.collect(), first }
    }
}

impl<B> Workers<B> {
    /// Batch `idx`, once it is there. Batches are asked for one after the other. A panic of the data set continues here.
    pub(super) fn batch(&self, idx: usize) -> Option<B> {
        let outcome = self.receivers[(idx - self.first) % self.receivers.len()].recv().ok()?;
        Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}
