//! Loaders: a data set in batches.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::dataset::{Collate, Dataset};
use crate::random::{Generator, next_generator};

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
pub struct DataLoader<D> {
    dataset: Arc<D>,
    batch_size: usize,
    shuffle: bool,
    drop_last: bool,
    seed: u64,
    n_workers: usize,
    /// Epochs begun: the stream of the seed that the next shuffle draws from.
    epoch: Cell<u64>,
}

impl<D: Dataset> DataLoader<D> {
    /// One example a batch, in order. Shuffles will follow the thread's generator as it is now (see
    /// [`manual_seed`](crate::random::manual_seed)) unless [`seed`](DataLoader::seed) says otherwise.
    pub fn new(dataset: impl Into<Arc<D>>) -> Self {
        Self {
            dataset: dataset.into(),
            batch_size: 1,
            shuffle: false,
            drop_last: false,
            seed: next_generator().next_u64(),
            n_workers: 0,
            epoch: Cell::new(0),
        }
    }

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

    /// Whether each epoch has an order of its own.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
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
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Number of threads that make batches ahead; 0 makes them when they are asked for.
    #[must_use]
    pub fn num_workers(mut self, n_workers: usize) -> Self {
        self.n_workers = n_workers;
        self
    }

    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// Number of batches an epoch.
    pub fn len(&self) -> usize {
        match self.drop_last {
            true => self.dataset.len() / self.batch_size,
            false => self.dataset.len().div_ceil(self.batch_size),
        }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Epochs begun so far. Together with the seed this is the loader's position between epochs.
    pub fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Makes `epoch` the next one, as when training is resumed.
    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.set(epoch);
    }

    /// The indices of each batch of the next epoch.
    fn next_epoch(&self) -> Vec<Vec<usize>> {
        let epoch = self.epoch.get();
        self.epoch.set(epoch + 1);
        let order: Vec<usize> = match self.shuffle {
            true => Generator::with_stream(self.seed, epoch).permutation(self.dataset.len()),
            false => (0..self.dataset.len()).collect(),
        };
        order.chunks(self.batch_size).take(self.len()).map(<[usize]>::to_vec).collect()
    }
}

/// What a loader gives.
type Batch<D> = <<D as Dataset>::Item as Collate>::Batch;

impl<D> DataLoader<D>
where
    D: Dataset + Send + Sync + 'static,
    Batch<D>: Send + 'static,
{
    /// One epoch.
    pub fn iter(&self) -> Batches<D> {
        let indices = self.next_epoch();
        let source = match self.n_workers {
            0 => Source::Direct { dataset: self.dataset.clone(), indices },
            n_workers => Source::Ahead(spawn_workers(&self.dataset, indices, n_workers)),
        };
        Batches { source, next: 0, len: self.len() }
    }
}

/// Worker `w` of `n` makes batches `w, w + n, ...`, so that taking them in turn gives them in order. Each is at most
/// two batches ahead.
fn spawn_workers<D>(dataset: &Arc<D>, indices: Vec<Vec<usize>>, n_workers: usize) -> Vec<Receiver<Batch<D>>>
where
    D: Dataset + Send + Sync + 'static,
    Batch<D>: Send + 'static,
{
    const AHEAD: usize = 2;
    let indices = Arc::new(indices);
    let workers = (0..n_workers).map(|worker| {
        let (sender, receiver) = sync_channel(AHEAD);
        let (dataset, indices) = (dataset.clone(), indices.clone());
        std::thread::spawn(move || {
            for batch in indices.iter().skip(worker).step_by(n_workers) {
                // The epoch was left early if nobody listens any more.
                if sender.send(dataset.batch(batch)).is_err() {
                    return;
                }
            }
        });
        receiver
    });
    workers.collect()
}

impl<D> IntoIterator for &DataLoader<D>
where
    D: Dataset + Send + Sync + 'static,
    Batch<D>: Send + 'static,
{
    type IntoIter = Batches<D>;
    type Item = Batch<D>;

    fn into_iter(self) -> Batches<D> {
        self.iter()
    }
}

/// The batches of one epoch.
#[derive(Debug)]
pub struct Batches<D: Dataset> {
    source: Source<D>,
    next: usize,
    len: usize,
}

#[derive(Debug)]
enum Source<D: Dataset> {
    Direct { dataset: Arc<D>, indices: Vec<Vec<usize>> },
    Ahead(Vec<Receiver<Batch<D>>>),
}

impl<D: Dataset> Iterator for Batches<D> {
    type Item = Batch<D>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.len {
            return None;
        }
        let idx = self.next;
        self.next += 1;
        Some(match &self.source {
            Source::Direct { dataset, indices } => dataset.batch(&indices[idx]),
            Source::Ahead(workers) => {
                // A worker goes away before its last batch only if the data set panicked, which is passed on.
                workers[idx % workers.len()].recv().expect("the data set panicked in a loader's worker")
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.next;
        (left, Some(left))
    }
}

impl<D: Dataset> ExactSizeIterator for Batches<D> {}

/// A loader with a function applied to every batch.
///
/// ```
/// use nnc_frontend::data::{DataLoader, TensorDataset, WrappedDataLoader};
///
/// let x = ndarray::Array2::<f32>::zeros((6, 784));
/// let y = ndarray::Array1::<i64>::zeros(6);
/// let loader = DataLoader::new(TensorDataset::new(x, y)).batch_size(3);
/// let images = WrappedDataLoader::new(loader, |(x, y)| (x.into_shape_with_order((3, 1, 28, 28)).unwrap(), y));
/// assert_eq!(images.iter().next().unwrap().0.shape(), [3, 1, 28, 28]);
/// ```
#[derive(Debug)]
pub struct WrappedDataLoader<D, F> {
    loader: DataLoader<D>,
    function: F,
}

impl<D, F, R> WrappedDataLoader<D, F>
where
    D: Dataset + Send + Sync + 'static,
    Batch<D>: Send + 'static,
    F: Fn(Batch<D>) -> R,
{
    /// `loader` with `function` applied to every batch.
    pub fn new(loader: DataLoader<D>, function: F) -> Self {
        Self { loader, function }
    }

    /// Number of batches an epoch.
    pub fn len(&self) -> usize {
        self.loader.len()
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.loader.is_empty()
    }

    /// One epoch.
    pub fn iter(&self) -> Mapped<'_, D, F> {
        Mapped { batches: self.loader.iter(), function: &self.function }
    }
}

/// The batches of one epoch of a [`WrappedDataLoader`].
#[derive(Debug)]
pub struct Mapped<'a, D: Dataset, F> {
    batches: Batches<D>,
    function: &'a F,
}

impl<D: Dataset, F: Fn(Batch<D>) -> R, R> Iterator for Mapped<'_, D, F> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        self.batches.next().map(self.function)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.batches.size_hint()
    }
}

impl<D: Dataset, F: Fn(Batch<D>) -> R, R> ExactSizeIterator for Mapped<'_, D, F> {}
