//! `Linear` and `Bilinear`.

use crate::functional;
use crate::init;
use crate::module::{Forward, Module, python_bool};
use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor};
use crate::trace;

/// `y = x · weightᵀ + bias` over the last dimension.
///
/// `weight` is `[out_features, in_features]`, `bias` is `[out_features]`; both start uniform in ±1/√in_features.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = Linear::new(3, 2);
/// assert_eq!(layer.to_string(), "Linear(in_features=3, out_features=2, bias=True)");
/// assert_eq!(layer.forward(&Tensor::ones([5, 3])).shape().to_string(), "[5, 2]");
/// ```
#[derive(Debug, Module)]
#[module(repr = "in_features={}, out_features={}, bias={}", self.in_features, self.out_features, python_bool(self.bias.is_some()))]
pub struct Linear {
    /// Extent of the input's last dimension.
    pub in_features: usize,
    /// Extent of the result's last dimension.
    pub out_features: usize,
    /// `[out_features, in_features]`.
    pub weight: Parameter,
    /// `[out_features]`.
    pub bias: Option<Parameter>,
}

impl Linear {
    /// A layer with bias.
    #[track_caller]
    pub fn new(in_features: usize, out_features: usize) -> Self {
        let weight = Parameter::new(Tensor::zeros([out_features, in_features]));
        init::kaiming_uniform_(&weight, 5f64.sqrt());
        let bias = Parameter::new(Tensor::zeros([out_features]));
        let bound = if in_features > 0 { 1.0 / (in_features as f64).sqrt() } else { 0.0 };
        init::uniform_(&bias, -bound, bound);
        Self { in_features, out_features, weight, bias: Some(bias) }
    }

    /// Whether the layer has a bias: `Linear(..., bias=False)`.
    #[must_use]
    #[track_caller]
    pub fn bias(self, bias: bool) -> Self {
        match (bias, &self.bias) {
            (false, _) => Self { bias: None, ..self },
            (true, Some(_)) => self,
            (true, None) => Self::new(self.in_features, self.out_features),
        }
    }

    /// [`Linear::bias`]`(false)`.
    #[track_caller]
    pub fn no_bias(in_features: usize, out_features: usize) -> Self {
        Self { bias: None, ..Self::new(in_features, out_features) }
    }
}

impl Forward for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref().map(|bias| bias as &dyn ToTensor))
    }
}

/// `y[k] = x1ᵀ · weight[k] · x2 + bias[k]` over the last dimensions of two inputs.
///
/// `weight` is `[out_features, in1_features, in2_features]`; it and `bias` start uniform in ±1/√in1_features.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = Bilinear::new(3, 4, 5);
/// assert_eq!(layer.to_string(), "Bilinear(in1_features=3, in2_features=4, out_features=5, bias=True)");
/// assert_eq!(layer.forward(&Tensor::ones([2, 3]), &Tensor::ones([2, 4])).shape().to_string(), "[2, 5]");
/// ```
#[derive(Clone, Debug, Module)]
#[module(
    custom_forward,
    repr = "in1_features={}, in2_features={}, out_features={}, bias={}",
    self.in1_features,
    self.in2_features,
    self.out_features,
    python_bool(self.bias.is_some())
)]
pub struct Bilinear {
    /// Extent of the first input's last dimension.
    pub in1_features: usize,
    /// Extent of the second input's last dimension.
    pub in2_features: usize,
    /// Extent of the result's last dimension.
    pub out_features: usize,
    /// `[out_features, in1_features, in2_features]`.
    pub weight: Parameter,
    /// `[out_features]`.
    pub bias: Option<Parameter>,
}

impl Bilinear {
    /// A layer with bias.
    #[track_caller]
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> Self {
        let weight = Parameter::new(Tensor::zeros([out_features, in1_features, in2_features]));
        let bound = Self::bound(in1_features);
        init::uniform_(&weight, -bound, bound);
        Self { in1_features, in2_features, out_features, weight, bias: None }.bias(true)
    }

    fn bound(in1_features: usize) -> f64 {
        if in1_features > 0 { 1.0 / (in1_features as f64).sqrt() } else { 0.0 }
    }

    /// Whether the layer has a bias.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias.then(|| {
            let parameter = Parameter::new(Tensor::zeros([self.out_features]));
            let bound = Self::bound(self.in1_features);
            init::uniform_(&parameter, -bound, bound);
            parameter
        });
        self
    }

    /// The result for inputs `[..., in1_features]` and `[..., in2_features]`.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        functional::bilinear(x1, x2, &self.weight, self.bias.as_ref().map(|bias| bias as &dyn ToTensor))
    }
}
