//! `Flatten` and `Unflatten`.

use crate::module::{Forward, Module, python_tuple};
use crate::tensor::Tensor;

/// Joins dimensions into one; by default all but the first, the batch.
#[derive(Clone, Debug, Module)]
#[module(repr = "start_dim={}, end_dim={}", self.start_dim, self.end_dim)]
pub struct Flatten {
    /// First dimension joined.
    pub start_dim: i64,
    /// Last dimension joined.
    pub end_dim: i64,
}

impl Flatten {
    /// Joins dimensions 1 to the last.
    pub fn new() -> Self {
        Self { start_dim: 1, end_dim: -1 }
    }

    /// Joins dimensions `start_dim` to `end_dim`, inclusive.
    pub fn dims(start_dim: i64, end_dim: i64) -> Self {
        Self { start_dim, end_dim }
    }
}

impl Default for Flatten {
    fn default() -> Self {
        Self::new()
    }
}

impl Forward for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.flatten(self.start_dim, self.end_dim)
    }
}

/// Splits a dimension into several.
#[derive(Clone, Debug, Module)]
#[module(repr = "dim={}, unflattened_size={}", self.dim, python_tuple(&self.sizes))]
pub struct Unflatten {
    /// Dimension split.
    pub dim: i64,
    /// The extents it becomes; one may be -1.
    pub sizes: Vec<i64>,
}

impl Unflatten {
    /// Splits `dim` into `sizes`.
    pub fn new(dim: i64, sizes: impl Into<Vec<i64>>) -> Self {
        Self { dim, sizes: sizes.into() }
    }
}

impl Forward for Unflatten {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.unflatten(self.dim, self.sizes.as_slice())
    }
}
