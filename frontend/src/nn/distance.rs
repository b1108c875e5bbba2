//! `CosineSimilarity` and `PairwiseDistance`.

use crate::functional;
use crate::module::Module;
use crate::tensor::Tensor;
use crate::trace;

/// The cosine of the angle between vectors along a dimension.
#[derive(Clone, Debug, Module)]
#[module(custom_forward)]
pub struct CosineSimilarity {
    /// The dimension of the vectors; 1 by default.
    pub dim: i64,
    /// The least a norm counts for; 1e-8 by default.
    pub eps: f64,
}

impl CosineSimilarity {
    /// Along dimension 1.
    pub fn new() -> Self {
        Self { dim: 1, eps: 1e-8 }
    }

    /// The dimension of the vectors.
    #[must_use]
    pub fn dim(mut self, dim: i64) -> Self {
        self.dim = dim;
        self
    }

    /// The least a norm counts for.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// The cosines; the dimension vanishes.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        functional::cosine_similarity(x1, x2, self.dim, self.eps)
    }
}

impl Default for CosineSimilarity {
    fn default() -> Self {
        Self::new()
    }
}

/// The distance between vectors along the last dimension.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let (x, y) = (Tensor::zeros([1, 2]), Tensor::from_slice(&[3.0f32, 4.0]).view([1, 2]));
/// assert!((PairwiseDistance::new().forward(&x, &y).item()? - 5.0).abs() < 1e-5);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Clone, Debug, Module)]
#[module(custom_forward)]
pub struct PairwiseDistance {
    /// Degree of the norm; 2 by default.
    pub p: f64,
    /// Added to each difference; 1e-6 by default.
    pub eps: f64,
    /// Whether the dimension stays with extent 1.
    pub keepdim: bool,
}

impl PairwiseDistance {
    /// The Euclidean distance.
    pub fn new() -> Self {
        Self { p: 2.0, eps: 1e-6, keepdim: false }
    }

    /// Degree of the norm.
    #[must_use]
    pub fn p(mut self, p: f64) -> Self {
        self.p = p;
        self
    }

    /// What is added to each difference, so that equal vectors have a gradient.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether the dimension stays with extent 1.
    #[must_use]
    pub fn keepdim(mut self, keepdim: bool) -> Self {
        self.keepdim = keepdim;
        self
    }

    /// The distances.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        functional::pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
    }
}

impl Default for PairwiseDistance {
    fn default() -> Self {
        Self::new()
    }
}
