//! `Upsample`, `UpsamplingNearest2d`, `UpsamplingBilinear2d`.

use crate::functional::{InterpolateMode, OutputExtents, PerDimension, interpolate};
use crate::module::{Forward, Module, python_float, python_tuple};
use crate::tensor::{Tensor, fault};

/// The setting that says the extents, as PyTorch prints it.
fn extents_repr(extents: &Option<OutputExtents>) -> String {
    match extents {
        Some(OutputExtents::Size(size)) if size.single => format!("size={}", size.values[0]),
        Some(OutputExtents::Size(size)) => format!("size={}", python_tuple(&size.values)),
        Some(OutputExtents::ScaleFactor(factor)) => {
            let values: Vec<String> = factor.values.iter().map(|&value| python_float(value)).collect();
            if factor.single {
                format!("scale_factor={}", values[0])
            } else {
                format!("scale_factor={}", python_tuple(&values))
            }
        }
        None => "size=None".to_string(),
    }
}

/// Layers that resample: name, mode, whether corners are aligned.
macro_rules! upsamples {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident, $mode:expr, $align_corners:literal { $($more:tt)* }
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "{}, mode='{}'", extents_repr(&self.extents), self.mode.name())]
            pub struct $name {
                extents: Option<OutputExtents>,
                mode: InterpolateMode,
                align_corners: bool,
            }

            impl $name {
                /// The layer; it needs a size or a scale factor.
                pub fn new() -> Self {
                    Self { extents: None, mode: $mode, align_corners: $align_corners }
                }

                /// The extents of the result: a number for all spatial dimensions, or one for each.
                #[must_use]
                pub fn size(mut self, size: impl Into<PerDimension<usize>>) -> Self {
                    self.extents = Some(OutputExtents::Size(size.into()));
                    self
                }

                /// The factor of the extents: a number for all spatial dimensions, or one for each.
                #[must_use]
                pub fn scale_factor(mut self, scale_factor: impl Into<PerDimension<f64>>) -> Self {
                    self.extents = Some(OutputExtents::ScaleFactor(scale_factor.into()));
                    self
                }

                $($more)*
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new()
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    match &self.extents {
                        Some(extents) => interpolate(x, extents, &self.mode, self.align_corners),
                        None => fault(concat!(stringify!($name), ": there is neither a size nor a scale factor")),
                    }
                }
            }
        )*
    };
}

upsamples! {
    /// Resamples the spatial dimensions of `[N, C, ...]`; by default each element becomes several.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = Upsample::new().scale_factor(2.0).mode("bilinear");
    /// assert_eq!(layer.to_string(), "Upsample(scale_factor=2.0, mode='bilinear')");
    /// assert_eq!(layer.forward(&Tensor::ones([1, 1, 2, 3])).shape().to_string(), "[1, 1, 4, 6]");
    /// ```
    Upsample, InterpolateMode::Nearest, false {
        /// How positions between elements are filled: `"nearest"`, `"linear"`, `"bilinear"`, `"trilinear"`, `"bicubic"`.
        #[must_use]
        pub fn mode(mut self, mode: impl Into<InterpolateMode>) -> Self {
            self.mode = mode.into();
            self
        }

        /// Whether the outermost elements keep their places, instead of the outermost edges.
        #[must_use]
        pub fn align_corners(mut self, align_corners: bool) -> Self {
            self.align_corners = align_corners;
            self
        }
    }
    /// [`Upsample`] of images by repeating elements.
    UpsamplingNearest2d, InterpolateMode::Nearest, false {}
    /// [`Upsample`] of images by lines between elements, corners aligned.
    UpsamplingBilinear2d, InterpolateMode::Bilinear, true {}
}
