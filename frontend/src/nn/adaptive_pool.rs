//! Pooling to a given size: `AdaptiveAvgPool1d`, `2d`, `3d` and `AdaptiveMaxPool1d`, `2d`, `3d`.

use crate::functional::{self, IntoOutputSize};
use crate::module::{Forward, Module};
use crate::tensor::Tensor;

/// Name, function, function with positions.
macro_rules! adaptive_pools {
    ($( $(#[doc = $doc:literal])* $name:ident, $n:literal, $function:ident $(, $with_indices:ident)?; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "output_size={}", self.printed)]
            pub struct $name {
                /// Spatial extents of the result; `None` leaves one as it is.
                pub output_size: [Option<usize>; $n],
                printed: String,
            }

            impl $name {
                /// The layer.
                pub fn new(output_size: impl IntoOutputSize<$n> + Copy) -> Self {
                    Self { output_size: output_size.into_output_size(), printed: output_size.printed_output_size() }
                }

                $(
                    /// The result and the `i64` position of each element in its plane, row-major:
                    /// `return_indices=True`.
                    #[track_caller]
                    pub fn forward_with_indices(&self, x: &Tensor) -> (Tensor, Tensor) {
                        functional::$with_indices(x, self.output_size)
                    }
                )?
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.output_size)
                }
            }
        )*
    };
}

adaptive_pools! {
    /// Means of regions that cover `[N, C, L]` or `[C, L]`.
    AdaptiveAvgPool1d, 1, adaptive_avg_pool1d;
    /// Means of regions that cover `[N, C, H, W]` or `[C, H, W]`.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = AdaptiveAvgPool2d::new(1);
    /// assert_eq!(layer.to_string(), "AdaptiveAvgPool2d(output_size=1)");
    /// assert_eq!(layer.forward(&Tensor::ones([4, 10, 4, 3])).shape().to_string(), "[4, 10, 1, 1]");
    /// ```
    AdaptiveAvgPool2d, 2, adaptive_avg_pool2d;
    /// Means of regions that cover `[N, C, D, H, W]` or `[C, D, H, W]`.
    AdaptiveAvgPool3d, 3, adaptive_avg_pool3d;
    /// Largest elements of regions that cover `[N, C, L]` or `[C, L]`.
    AdaptiveMaxPool1d, 1, adaptive_max_pool1d, adaptive_max_pool1d_with_indices;
    /// Largest elements of regions that cover `[N, C, H, W]` or `[C, H, W]`.
    AdaptiveMaxPool2d, 2, adaptive_max_pool2d, adaptive_max_pool2d_with_indices;
    /// Largest elements of regions that cover `[N, C, D, H, W]` or `[C, D, H, W]`.
    AdaptiveMaxPool3d, 3, adaptive_max_pool3d, adaptive_max_pool3d_with_indices;
}
