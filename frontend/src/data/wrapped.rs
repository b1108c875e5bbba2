//! A loader whose batches go through a function.

use nnc_ir::Diagnostic;

use super::loader::{Loader, LoaderState};

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
#[derive(Clone, Debug)]
pub struct WrappedDataLoader<L, F> {
    loader: L,
    function: F,
}

impl<L: Loader, F: Fn(L::Batch) -> R, R> WrappedDataLoader<L, F> {
    /// `loader` with `function` applied to every batch.
    pub fn new(loader: L, function: F) -> Self {
        Self { loader, function }
    }

    /// The loader beneath.
    pub fn inner(&self) -> &L {
        &self.loader
    }

    /// Number of batches an epoch.
    pub fn len(&self) -> usize {
        self.loader.n_batches()
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One epoch.
    pub fn iter(&self) -> Box<dyn Iterator<Item = R> + '_> {
        Box::new(self.loader.batches().map(&self.function))
    }
}

impl<L: Loader, F: Fn(L::Batch) -> R, R> Loader for WrappedDataLoader<L, F> {
    type Batch = R;

    fn n_batches(&self) -> usize {
        self.len()
    }

    fn batches(&self) -> Box<dyn Iterator<Item = R> + '_> {
        self.iter()
    }

    fn state(&self) -> LoaderState {
        self.loader.state()
    }

    fn load_state(&self, state: &LoaderState) -> Result<(), Vec<Diagnostic>> {
        self.loader.load_state(state)
    }
}

impl<'a, L: Loader, F: Fn(L::Batch) -> R, R> IntoIterator for &'a WrappedDataLoader<L, F> {
    type IntoIter = Box<dyn Iterator<Item = R> + 'a>;
    type Item = R;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
