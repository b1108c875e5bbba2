//! Loaders: a data set in batches.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use nnc_ir::{Diagnostic, Location};
use serde::{Deserialize, Serialize};

use super::dataset::{Collate, Dataset};
use super::prefetch::{Job, Workers};
use super::sampler::{SampleBatches, Sampler, in_batches, n_batches};
use crate::random::{Generator, next_generator};

/// Where a loader is, between two batches: enough to go on with the same batches in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderState {
    /// What decides the orders of all epochs.
    pub seed: u64,
    /// The epoch whose batch comes next, counted from 0.
    pub epoch: u64,
    /// Position of that batch in its epoch; the number of batches at an epoch's end.
    pub batch: usize,
    /// Number of batches an epoch.
    pub n_batches: usize,
    /// Number of examples of the data set.
    pub n_examples: usize,
}

/// Something that gives epochs of batches and can say where it is.
///
/// `Trainer::fit` takes any of these whose batches are pairs of inputs and targets.
pub trait Loader {
    /// A batch.
    type Batch;

    /// Number of batches an epoch.
    fn n_batches(&self) -> usize;

    /// The batches of the next epoch; of what is left of it after [`Loader::load_state`].
    fn batches(&self) -> Box<dyn Iterator<Item = Self::Batch> + '_>;

    /// The position of the next epoch's first batch.
    fn state(&self) -> LoaderState;

    /// Goes on from a state of the same loader.
    ///
    /// # Errors
    /// Everything in which the state contradicts the loader's data.
    fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>>;
}

impl<L: Loader + ?Sized> Loader for &L {
    type Batch = L::Batch;

    fn n_batches(&self) -> usize {
        (**self).n_batches()
    }

    fn batches(&self) -> Box<dyn Iterator<Item = Self::Batch> + '_> {
        (**self).batches()
    }

    fn state(&self) -> LoaderState {
        (**self).state()
    }

    fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>> {
        (**self).load_state(state)
    }
}

/// How a loader makes a batch of examples.
pub trait Fetch<D: Dataset>: Send + Sync + 'static {
    /// A batch.
    type Batch;

    /// The examples at `indices` as a batch.
    fn fetch(&self, dataset: &D, indices: &[usize]) -> Self::Batch;
}

/// [`Fetch`] by [`Dataset::batch`]: examples stacked along a new first dimension.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collated;

impl<D: Dataset> Fetch<D> for Collated {
    type Batch = <D::Item as Collate>::Batch;

    fn fetch(&self, dataset: &D, indices: &[usize]) -> Self::Batch {
        dataset.batch(indices)
    }
}

/// [`Fetch`] by a function of the examples; see [`DataLoader::collate_fn`].
#[derive(Clone, Copy)]
pub struct CollateFn<F>(F);

impl<F> fmt::Debug for CollateFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollateFn")
    }
}

impl<D, F, B> Fetch<D> for CollateFn<F>
where
    D: Dataset,
    F: Fn(Vec<D::Item>) -> B + Send + Sync + 'static,
{
    type Batch = B;

    fn fetch(&self, dataset: &D, indices: &[usize]) -> B {
        (self.0)(indices.iter().map(|&idx| dataset.get(idx)).collect())
    }
}

/// Which examples make up the batches of an epoch.
enum Order {
    Sequential,
    Shuffled,
    Sampler(Box<dyn Sampler>),
    Batches(Box<dyn SampleBatches>),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sequential => "Sequential",
            Self::Shuffled => "Shuffled",
            Self::Sampler(_) => "Sampler",
            Self::Batches(_) => "Batches",
        })
    }
}

/// A data set in batches: `torch.utils.data.DataLoader`.
///
/// Each [`iter`](DataLoader::iter) is one epoch. Shuffled epochs differ from one another and repeat from the seed. With
/// workers, batches are made ahead on threads of their own; they arrive in the same order, with the same contents.
///
/// ```
/// use nnc_frontend::data::{DataLoader, TensorDataset};
///
/// let x = ndarray::Array2::<f32>::zeros((10, 3));
/// let y = ndarray::Array1::<i64>::from_iter(0..10);
/// let loader = DataLoader::new(TensorDataset::new(x, y)).batch_size(4).shuffle(true).seed(1);
/// let sizes: Vec<usize> = loader.iter().map(|(xb, _)| xb.shape()[0]).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// ```
#[derive(Debug)]
pub struct DataLoader<D, F = Collated> {
    dataset: Arc<D>,
    fetch: Arc<F>,
    order: Order,
    batch_size: usize,
    drop_last: bool,
    n_workers: usize,
    prefetch_factor: usize,
    seed: Cell<u64>,
    /// The epoch that comes next: the stream of the seed that its order is drawn from.
    epoch: Cell<u64>,
    /// Batches of that epoch that are left out, since another process had them.
    n_skipped: Cell<usize>,
}

impl<D: Dataset> DataLoader<D> {
    /// One example a batch, in order. Shuffles will follow the thread's generator as it is now (see
    /// [`manual_seed`](crate::random::manual_seed)) unless [`seed`](DataLoader::seed) says otherwise.
    pub fn new(dataset: impl Into<Arc<D>>) -> Self {
        Self {
            dataset: dataset.into(),
            fetch: Arc::new(Collated),
            order: Order::Sequential,
            batch_size: 1,
            drop_last: false,
            n_workers: 0,
            prefetch_factor: 2,
            seed: Cell::new(next_generator().next_u64()),
            epoch: Cell::new(0),
            n_skipped: Cell::new(0),
        }
    }
}

impl<D: Dataset, F> DataLoader<D, F> {
    /// Examples a batch.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        assert!(batch_size > 0, "a batch holds at least one example");
        self.batch_size = batch_size;
        self
    }

    /// Whether each epoch has an order of its own. Of this, [`sampler`](DataLoader::sampler) and
    /// [`batch_sampler`](DataLoader::batch_sampler) the last given decides.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.order = if shuffle { Order::Shuffled } else { Order::Sequential };
        self
    }

    /// Takes the examples that `sampler` says, in its order.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.order = Order::Sampler(Box::new(sampler));
        self
    }

    /// Takes the batches that `sampler` says; then `batch_size` and `drop_last` have no meaning.
    #[must_use]
    pub fn batch_sampler(mut self, sampler: impl SampleBatches + 'static) -> Self {
        self.order = Order::Batches(Box::new(sampler));
        self
    }

    /// Whether a last batch of fewer examples is left out.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// What decides the orders.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.seed.set(seed);
        self
    }

    /// Draws the [`seed`](DataLoader::seed) from a generator.
    #[must_use]
    pub fn generator(self, generator: &mut Generator) -> Self {
        self.seed(generator.next_u64())
    }

    /// Number of threads that make batches ahead; 0 makes them when they are asked for.
    #[must_use]
    pub fn num_workers(mut self, n_workers: usize) -> Self {
        self.n_workers = n_workers;
        self
    }

    /// Batches that each worker makes ahead; at least 1.
    #[must_use]
    pub fn prefetch_factor(mut self, n_batches: usize) -> Self {
        self.prefetch_factor = n_batches.max(1);
        self
    }

    /// Makes batches by a function of their examples, which need not be of one shape then.
    ///
    /// ```
    /// use nnc_frontend::data::{DataLoader, Dataset};
    ///
    /// /// Sentences of different lengths.
    /// struct Sentences(Vec<Vec<i64>>);
    ///
    /// impl Dataset for Sentences {
    ///     type Item = Vec<i64>;
    ///
    ///     fn len(&self) -> usize {
    ///         self.0.len()
    ///     }
    ///
    ///     fn get(&self, idx: usize) -> Vec<i64> {
    ///         self.0[idx].clone()
    ///     }
    /// }
    ///
    /// let sentences = Sentences(vec![vec![1, 2, 3], vec![4], vec![5, 6]]);
    /// let loader = DataLoader::new(sentences).batch_size(2).collate_fn(|batch: Vec<Vec<i64>>| {
    ///     let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
    ///     ndarray::Array2::from_shape_fn((batch.len(), longest), |(row, at)| batch[row].get(at).copied().unwrap_or(0))
    /// });
    /// assert_eq!(loader.iter().map(|batch| batch.dim()).collect::<Vec<_>>(), [(2, 3), (1, 2)]);
    /// ```
    #[must_use]
    pub fn collate_fn<G, B>(self, function: G) -> DataLoader<D, CollateFn<G>>
    where
        G: Fn(Vec<D::Item>) -> B + Send + Sync + 'static,
    {
        DataLoader {
            dataset: self.dataset,
            fetch: Arc::new(CollateFn(function)),
            order: self.order,
            batch_size: self.batch_size,
            drop_last: self.drop_last,
            n_workers: self.n_workers,
            prefetch_factor: self.prefetch_factor,
            seed: self.seed,
            epoch: self.epoch,
            n_skipped: self.n_skipped,
        }
    }

    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Number of batches an epoch.
    pub fn len(&self) -> usize {
        let n_examples = match &self.order {
            Order::Sequential | Order::Shuffled => self.dataset.len(),
            Order::Sampler(sampler) => sampler.len(),
            Order::Batches(batches) => return batches.len(),
        };
        n_batches(n_examples, self.batch_size, self.drop_last)
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Epochs begun so far.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Makes `epoch` the next one.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.set(epoch);
        self.n_skipped.set(0);
    }

    /// The position of the next epoch's first batch. That of a batch within an epoch is [`Batches::state`].
    pub fn state(&self) -> LoaderState {
        LoaderState {
            seed: self.seed.get(),
            epoch: self.epoch.get(),
            batch: self.n_skipped.get(),
            n_batches: self.len(),
            n_examples: self.dataset.len(),
        }
    }

    /// Goes on from a state of a loader of the same data: the next [`iter`](DataLoader::iter) gives what was left of that
    /// epoch.
    ///
    /// # Errors
    /// Everything in which the state contradicts the loader's data.
    pub fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>> {
        let (n_examples, n_batches) = (self.dataset.len(), self.len());
        let mut faults = Vec::new();
        let mut fault = |message: String| faults.push(Diagnostic::new(Location::unknown(), message));
        if state.n_examples != n_examples {
            fault(format!("the loader was at a data set of {} examples, expected {n_examples}", state.n_examples));
        }
        if state.n_batches != n_batches {
            fault(format!("the loader had {} batches an epoch, expected {n_batches}", state.n_batches));
        }
        if state.batch > state.n_batches {
            fault(format!("the loader was at batch {} of {}", state.batch, state.n_batches));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        self.seed.set(state.seed);
        self.epoch.set(state.epoch);
        self.n_skipped.set(state.batch);
        Ok(())
    }

    /// The indices of each batch of an epoch.
    fn indices(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut generator = Generator::with_stream(self.seed.get(), epoch);
        let indices = match &self.order {
            Order::Sequential => (0..self.dataset.len()).collect(),
            Order::Shuffled => generator.permutation(self.dataset.len()),
            Order::Sampler(sampler) => sampler.sample(&mut generator),
            Order::Batches(batches) => return batches.sample(&mut generator),
        };
        in_batches(&indices, self.batch_size, self.drop_last)
    }
}

impl<D, F> DataLoader<D, F>
where
    D: Dataset + Send + Sync + 'static,
    F: Fetch<D>,
    F::Batch: Send + 'static,
{
    /// One epoch.
    pub fn iter(&self) -> Batches<D, F> {
        let state = self.state();
        self.set_epoch(state.epoch + 1);
        let job = Job {
            dataset: self.dataset.clone(),
            fetch: self.fetch.clone(),
            indices: self.indices(state.epoch),
            seed: state.seed,
            epoch: state.epoch,
        };
        let source = match self.n_workers {
            0 => Source::Direct(job),
            n_workers => Source::Ahead(Workers::spawn(job, state.batch, n_workers, self.prefetch_factor)),
        };
        Batches { source, state }
    }
}

impl<D, F> Loader for DataLoader<D, F>
where
    D: Dataset + Send + Sync + 'static,
    F: Fetch<D>,
    F::Batch: Send + 'static,
{
    type Batch = F::Batch;

    fn n_batches(&self) -> usize {
        self.len()
    }

    fn batches(&self) -> Box<dyn Iterator<Item = F::Batch> + '_> {
        Box::new(self.iter())
    }

    fn state(&self) -> LoaderState {
        DataLoader::state(self)
    }

    fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>> {
        DataLoader::load_state(self, state)
    }
}

impl<D, F> IntoIterator for &DataLoader<D, F>
where
    D: Dataset + Send + Sync + 'static,
    F: Fetch<D>,
    F::Batch: Send + 'static,
{
    type IntoIter = Batches<D, F>;
    type Item = F::Batch;

    fn into_iter(self) -> Batches<D, F> {
        self.iter()
    }
}

/// The batches of one epoch.
pub struct Batches<D: Dataset, F: Fetch<D> = Collated> {
    source: Source<D, F>,
    /// Of the batch that comes next.
    state: LoaderState,
}

enum Source<D: Dataset, F: Fetch<D>> {
    Direct(Job<D, F>),
    Ahead(Workers<F::Batch>),
}

impl<D: Dataset, F: Fetch<D>> fmt::Debug for Batches<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<D: Dataset, F: Fetch<D>> Batches<D, F> {
    /// The position of the batch that comes next, for [`DataLoader::load_state`].
    pub fn state(&self) -> LoaderState {
        self.state
    }
}

impl<D: Dataset, F: Fetch<D>> Iterator for Batches<D, F> {
    type Item = F::Batch;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state.batch >= self.state.n_batches {
            return None;
        }
        let batch = match &self.source {
            Source::Direct(job) => job.batch(self.state.batch),
            Source::Ahead(workers) => workers.batch(self.state.batch),
        };
        self.state.batch += 1;
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.state.n_batches - self.state.batch;
        (left, Some(left))
    }
}

impl<D: Dataset, F: Fetch<D>> ExactSizeIterator for Batches<D, F> {}
