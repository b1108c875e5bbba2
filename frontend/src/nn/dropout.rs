//! Dropout.

use crate::functional;
use crate::module::{Forward, Module, python_float};
use crate::parameter::Training;
use crate::tensor::Tensor;

/// Layers that drop with probability `p` in training, and do nothing otherwise: name, function.
macro_rules! dropouts {
    ($($(#[doc = $doc:literal])* $name:ident => $function:ident;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "p={}, inplace=False", python_float(self.p))]
            pub struct $name {
                /// Probability that something is dropped.
                pub p: f64,
                training: Training,
            }

            impl $name {
                /// The layer with `p` = 0.5.
                pub fn new() -> Self {
                    Self { p: 0.5, training: Training::default() }
                }

                /// Probability that something is dropped, between 0 and 1.
                #[must_use]
                pub fn p(mut self, p: f64) -> Self {
                    self.p = p;
                    self
                }
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new()
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.p, self.training.get())
                }
            }
        )*
    };
}

dropouts! {
    /// Zeros elements in training, and divides those left by `1 - p`.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = Dropout::new().p(0.4);
    /// assert_eq!(layer.to_string(), "Dropout(p=0.4, inplace=False)");
    /// let x = Tensor::ones([10, 10]);
    /// let (first, second) = (layer.forward(&x).to_array()?, layer.forward(&x).to_array()?);
    /// assert_ne!(first, second);
    /// assert!(first.iter().all(|&y| y == 0.0 || y == (1.0 / 0.6) as f32));
    /// layer.eval();
    /// assert_eq!(layer.forward(&x).to_array()?, x.to_array()?);
    /// # Ok::<(), Diagnostic>(())
    /// ```
    Dropout => dropout;
    /// [`Dropout`] of whole channels of `[N, C, L]` or `[C, L]`.
    Dropout1d => dropout1d;
    /// [`Dropout`] of whole channels of `[N, C, H, W]`, or of `[N, C, L]` as PyTorch has it.
    Dropout2d => dropout2d;
    /// [`Dropout`] of whole channels of `[N, C, D, H, W]` or `[C, D, H, W]`.
    Dropout3d => dropout3d;
    /// Dropout for networks of [`SELU`](crate::nn::SELU): dropped elements become its limit at -∞, and mean 0 and
    /// variance 1 are kept.
    AlphaDropout => alpha_dropout;
    /// [`AlphaDropout`] of whole channels, which dimensions 0 and 1 count.
    FeatureAlphaDropout => feature_alpha_dropout;
}
