//! Data sets, loaders and readers: `torch.utils.data`.
//!
//! A [`Dataset`] gives examples by index, a [`DataLoader`] batches of them in an order that the seed decides, whatever
//! the number of workers. Concrete data are `ndarray` arrays.

mod dataset;
mod idx;
mod loader;

pub use dataset::{Collate, Dataset, Subset, TensorDataset, random_split};
pub use idx::{IdxError, fashion_mnist, read_idx, read_idx_bytes};
pub use loader::{Batches, DataLoader, Mapped, WrappedDataLoader};
