//! `Linear`.

use crate::init;
use crate::module::{Forward, Module, python_bool};
use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor};

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
