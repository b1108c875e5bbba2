//! Activations.

use crate::module::{Forward, Module};
use crate::tensor::Tensor;

/// Layers without arguments: name, function.
macro_rules! activations {
    ($($(#[doc = $doc:literal])* $name:ident => $function:ident;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, Module)]
            pub struct $name {
                /// Modules are told apart by address, which a type without size does not have.
                _sized: u8,
            }

            impl $name {
                /// The layer.
                pub fn new() -> Self {
                    Self::default()
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    x.$function()
                }
            }
        )*
    };
}

activations! {
    /// `max(x, 0)`.
    ReLU => relu;
    /// Hyperbolic tangent.
    Tanh => tanh;
    /// `1 / (1 + e^-x)`.
    Sigmoid => sigmoid;
}

/// `x * Φ(x)`, with the exact distribution function or its approximation through `tanh`.
#[derive(Clone, Debug, Default, Module)]
#[module(repr = "approximate='{}'", if self.tanh { "tanh" } else { "none" })]
pub struct GELU {
    tanh: bool,
}

impl GELU {
    /// The exact form.
    pub fn new() -> Self {
        Self::default()
    }

    /// The approximation through `tanh`: `GELU(approximate='tanh')`.
    pub fn tanh() -> Self {
        Self { tanh: true }
    }
}

impl Forward for GELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if self.tanh { x.gelu_tanh() } else { x.gelu() }
    }
}

/// `e^x / Σ e^x` along a dimension.
#[derive(Clone, Debug, Module)]
#[module(repr = "dim={}", self.dim)]
pub struct Softmax {
    /// The dimension; negative counts from the last.
    pub dim: i64,
}

impl Softmax {
    /// The layer along `dim`.
    pub fn new(dim: i64) -> Self {
        Self { dim }
    }
}

impl Forward for Softmax {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.softmax(self.dim)
    }
}

/// `ln(e^x / Σ e^x)` along a dimension.
#[derive(Clone, Debug, Module)]
#[module(repr = "dim={}", self.dim)]
pub struct LogSoftmax {
    /// The dimension; negative counts from the last.
    pub dim: i64,
}

impl LogSoftmax {
    /// The layer along `dim`.
    pub fn new(dim: i64) -> Self {
        Self { dim }
    }
}

impl Forward for LogSoftmax {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        x.log_softmax(self.dim)
    }
}
