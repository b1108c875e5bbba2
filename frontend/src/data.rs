//! Data sets, loaders and readers: `torch.utils.data`.
//!
//! A [`Dataset`] gives examples by index, a [`DataLoader`] batches of them. The order of an epoch is a function of the
//! loader's seed and the epoch's number, so a loader's position is three numbers ([`LoaderState`]) and the batches are the
//! same whatever the number of workers. Concrete data are `ndarray` arrays.

mod combine;
mod dataset;
mod idx;
mod loader;
mod prefetch;
mod sampler;
mod tensor_dataset;
mod wrapped;

pub use combine::{ConcatDataset, Lengths, Subset, random_split};
pub use dataset::{Collate, Dataset};
pub use idx::{IdxError, fashion_mnist, read_idx, read_idx_bytes};
pub use loader::{Batches, CollateFn, Collated, DataLoader, Fetch, Loader, LoaderState};
pub use sampler::{
    BatchSampler, RandomSampler, SampleBatches, Sampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler,
};
pub use tensor_dataset::TensorDataset;
pub use wrapped::WrappedDataLoader;
