//! Normalization without running statistics: `LayerNorm`, `RMSNorm`, `GroupNorm`, `LocalResponseNorm`.

use crate::functional;
use crate::module::{Forward, Module, python_bool, python_float, python_tuple};
use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor};

/// Extents of the last dimensions: a number, or several in order.
pub trait IntoNormalizedShape {
    /// The extents.
    fn into_normalized_shape(self) -> Vec<usize>;
}

impl IntoNormalizedShape for usize {
    fn into_normalized_shape(self) -> Vec<usize> {
        vec![self]
    }
}

impl<const N: usize> IntoNormalizedShape for [usize; N] {
    fn into_normalized_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl IntoNormalizedShape for &[usize] {
    fn into_normalized_shape(self) -> Vec<usize> {
        self.to_vec()
    }
}

/// A scale or shift as an argument.
fn argument(parameter: &Option<Parameter>) -> Option<&dyn ToTensor> {
    parameter.as_ref().map(|parameter| parameter as &dyn ToTensor)
}

/// Normalizes over the last dimensions, then scales and shifts.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = LayerNorm::new([2, 5]);
/// assert_eq!(layer.to_string(), "LayerNorm((2, 5), eps=1e-05, elementwise_affine=True, bias=True)");
/// assert!(layer.forward(&Tensor::rand([3, 2, 5])).mean(..).item()?.abs() < 1e-6);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Clone, Debug, Module)]
#[module(
    repr = "{}, eps={}, elementwise_affine={}, bias={}",
    python_tuple(&self.normalized_shape),
    python_float(self.eps),
    python_bool(self.weight.is_some()),
    python_bool(self.bias.is_some())
)]
pub struct LayerNorm {
    /// Extents of the dimensions normalized over, the last ones.
    pub normalized_shape: Vec<usize>,
    /// Added to the variance.
    pub eps: f64,
    /// Scale, of the normalized shape; starts as ones.
    pub weight: Option<Parameter>,
    /// Shift, of the normalized shape; starts as zeros.
    pub bias: Option<Parameter>,
}

impl LayerNorm {
    /// The layer with PyTorch's defaults: `eps` 1e-5, scale and shift.
    #[track_caller]
    pub fn new(normalized_shape: impl IntoNormalizedShape) -> Self {
        let normalized_shape = normalized_shape.into_normalized_shape();
        Self { normalized_shape, eps: 1e-5, weight: None, bias: None }.elementwise_affine(true)
    }

    /// What is added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether the layer has a scale and a shift.
    #[must_use]
    #[track_caller]
    pub fn elementwise_affine(mut self, elementwise_affine: bool) -> Self {
        let shape = self.normalized_shape.as_slice();
        self.weight = elementwise_affine.then(|| Parameter::new(Tensor::ones(shape)));
        self.bias = elementwise_affine.then(|| Parameter::new(Tensor::zeros(shape)));
        self
    }

    /// Whether a layer with a scale has a shift too.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        let wanted = bias && self.weight.is_some();
        self.bias = wanted.then(|| Parameter::new(Tensor::zeros(self.normalized_shape.as_slice())));
        self
    }
}

impl Forward for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let (weight, bias) = (argument(&self.weight), argument(&self.bias));
        functional::layer_norm(x, &self.normalized_shape, weight, bias, self.eps)
    }
}

/// Divides by the root of the mean square over the last dimensions, then scales.
#[derive(Clone, Debug, Module)]
#[module(
    repr = "{}, eps={}, elementwise_affine={}",
    python_tuple(&self.normalized_shape),
    self.eps.map_or_else(|| "None".to_string(), python_float),
    python_bool(self.weight.is_some())
)]
pub struct RMSNorm {
    /// Extents of the dimensions normalized over, the last ones.
    pub normalized_shape: Vec<usize>,
    /// Added to the mean square; `None` is the distance from 1 to the next number of the element type.
    pub eps: Option<f64>,
    /// Scale, of the normalized shape; starts as ones.
    pub weight: Option<Parameter>,
}

impl RMSNorm {
    /// The layer with PyTorch's defaults.
    #[track_caller]
    pub fn new(normalized_shape: impl IntoNormalizedShape) -> Self {
        let normalized_shape = normalized_shape.into_normalized_shape();
        Self { normalized_shape, eps: None, weight: None }.elementwise_affine(true)
    }

    /// What is added to the mean square.
    #[must_use]
    pub fn eps(mut self, eps: impl Into<Option<f64>>) -> Self {
        self.eps = eps.into();
        self
    }

    /// Whether the layer has a scale.
    #[must_use]
    #[track_caller]
    pub fn elementwise_affine(mut self, elementwise_affine: bool) -> Self {
        let shape = self.normalized_shape.as_slice();
        self.weight = elementwise_affine.then(|| Parameter::new(Tensor::ones(shape)));
        self
    }
}

impl Forward for RMSNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::rms_norm(x, &self.normalized_shape, argument(&self.weight), self.eps)
    }
}

/// Normalizes each group of neighboring channels of each example of `[N, C, ...]`, then scales and shifts each channel.
#[derive(Clone, Debug, Module)]
#[module(
    repr = "{}, {}, eps={}, affine={}, bias={}",
    self.num_groups,
    self.num_channels,
    python_float(self.eps),
    python_bool(self.weight.is_some()),
    python_bool(self.bias.is_some())
)]
pub struct GroupNorm {
    /// Number of groups; divides the number of channels.
    pub num_groups: usize,
    /// Number of channels.
    pub num_channels: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Scale of each channel; starts as ones.
    pub weight: Option<Parameter>,
    /// Shift of each channel; starts as zeros.
    pub bias: Option<Parameter>,
}

impl GroupNorm {
    /// The layer with PyTorch's defaults: `eps` 1e-5, scale and shift.
    #[track_caller]
    pub fn new(num_groups: usize, num_channels: usize) -> Self {
        Self { num_groups, num_channels, eps: 1e-5, weight: None, bias: None }.affine(true)
    }

    /// What is added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Whether the layer has a scale and a shift.
    #[must_use]
    #[track_caller]
    pub fn affine(mut self, affine: bool) -> Self {
        self.weight = affine.then(|| Parameter::new(Tensor::ones([self.num_channels])));
        self.bias = affine.then(|| Parameter::new(Tensor::zeros([self.num_channels])));
        self
    }

    /// Whether a layer with a scale has a shift too.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        let wanted = bias && self.weight.is_some();
        self.bias = wanted.then(|| Parameter::new(Tensor::zeros([self.num_channels])));
        self
    }
}

impl Forward for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::group_norm(x, self.num_groups, argument(&self.weight), argument(&self.bias), self.eps)
    }
}

/// Divides by a power of the mean square over neighboring channels: `x / (k + alpha * mean)^beta`.
#[derive(Clone, Debug, Module)]
#[module(
    repr = "{}, alpha={}, beta={}, k={}",
    self.size,
    python_float(self.alpha),
    python_float(self.beta),
    python_float(self.k)
)]
pub struct LocalResponseNorm {
    /// Number of neighboring channels.
    pub size: usize,
    /// Factor of the mean square.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// What is added.
    pub k: f64,
}

impl LocalResponseNorm {
    /// The layer with PyTorch's defaults: `alpha` 1e-4, `beta` 0.75, `k` 1.
    pub fn new(size: usize) -> Self {
        Self { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }

    /// Factor of the mean square.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Exponent.
    #[must_use]
    pub fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }

    /// What is added.
    #[must_use]
    pub fn k(mut self, k: f64) -> Self {
        self.k = k;
        self
    }
}

impl Forward for LocalResponseNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::local_response_norm(x, self.size, self.alpha, self.beta, self.k)
    }
}
