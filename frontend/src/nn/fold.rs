//! `Unfold`, `Fold` and `MaxUnpool1d`, `2d`, `3d`.

use crate::functional::{self, Blocks, IntoSpatial};
use crate::module::{Forward, Module, python_tuple};
use crate::tensor::{Tensor, fault, live};
use crate::trace;

/// The settings that both layers have, with what they were given as.
macro_rules! block_settings {
    () => {
        /// Distance between elements of a window; 1 by default.
        #[must_use]
        pub fn dilation(mut self, dilation: impl IntoSpatial<2> + Copy) -> Self {
            self.blocks.dilation = dilation.into_spatial();
            self.printed[1] = dilation.printed();
            self
        }

        /// Zeros before and after the image; none by default.
        #[must_use]
        pub fn padding(mut self, padding: impl IntoSpatial<2> + Copy) -> Self {
            self.blocks.padding = padding.into_spatial();
            self.printed[2] = padding.printed();
            self
        }

        /// Distance between windows; 1 by default.
        #[must_use]
        pub fn stride(mut self, stride: impl IntoSpatial<2> + Copy) -> Self {
            self.blocks.stride = stride.into_spatial();
            self.printed[3] = stride.printed();
            self
        }
    };
}

/// Kernel, dilation, padding and stride before any is set.
fn printed_defaults(kernel_size: String) -> [String; 4] {
    [kernel_size, "1".to_string(), "0".to_string(), "1".to_string()]
}

/// The windows of `[N, C, H, W]` (or `[C, H, W]`) as columns, `[N, C * window, number of windows]`.
#[derive(Clone, Debug, Module)]
#[module(
    repr = "kernel_size={}, dilation={}, padding={}, stride={}",
    self.printed[0],
    self.printed[1],
    self.printed[2],
    self.printed[3]
)]
pub struct Unfold {
    /// How the windows lie.
    pub blocks: Blocks,
    printed: [String; 4],
}

impl Unfold {
    /// Windows of `kernel_size`: a number, or height and width.
    pub fn new(kernel_size: impl IntoSpatial<2> + Copy) -> Self {
        Self { blocks: Blocks::new(kernel_size.into_spatial()), printed: printed_defaults(kernel_size.printed()) }
    }

    block_settings!();
}

impl Forward for Unfold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::unfold(x, self.blocks)
    }
}

/// Columns `[N, C * window, number of windows]` as windows of images, summed where they overlap: the transpose of
/// [`Unfold`].
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let fold = Fold::new((4, 5), (2, 2));
/// assert_eq!(fold.to_string(), "Fold(output_size=(4, 5), kernel_size=(2, 2), dilation=1, padding=0, stride=1)");
/// assert_eq!(fold.forward(&Tensor::ones([1, 12, 12])).shape().to_string(), "[1, 3, 4, 5]");
/// ```
#[derive(Clone, Debug, Module)]
#[module(
    repr = "output_size={}, kernel_size={}, dilation={}, padding={}, stride={}",
    self.printed_output,
    self.printed[0],
    self.printed[1],
    self.printed[2],
    self.printed[3]
)]
pub struct Fold {
    /// Height and width of the images.
    pub output_size: [usize; 2],
    /// How the windows lie.
    pub blocks: Blocks,
    printed_output: String,
    printed: [String; 4],
}

impl Fold {
    /// Images of `output_size` from windows of `kernel_size`: numbers, or height and width.
    pub fn new(output_size: impl IntoSpatial<2> + Copy, kernel_size: impl IntoSpatial<2> + Copy) -> Self {
        Self {
            output_size: output_size.into_spatial(),
            blocks: Blocks::new(kernel_size.into_spatial()),
            printed_output: output_size.printed(),
            printed: printed_defaults(kernel_size.printed()),
        }
    }

    block_settings!();
}

impl Forward for Fold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::fold(x, self.output_size, self.blocks)
    }
}

/// Inverses of max pooling for each number of spatial dimensions.
macro_rules! unpools {
    ($($(#[doc = $doc:literal])* $name:ident, $n:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(
                custom_forward,
                repr = "kernel_size={}, stride={}, padding={}",
                python_tuple(&self.kernel_size),
                python_tuple(&self.stride),
                python_tuple(&self.padding)
            )]
            pub struct $name {
                /// Extents of the pooling's windows.
                pub kernel_size: [usize; $n],
                /// Distance between them.
                pub stride: [usize; $n],
                /// Positions before and after the image.
                pub padding: [usize; $n],
            }

            impl $name {
                /// The inverse of a pooling by windows of `kernel_size`, side by side.
                pub fn new(kernel_size: impl IntoSpatial<$n>) -> Self {
                    let kernel_size = kernel_size.into_spatial();
                    Self { kernel_size, stride: kernel_size, padding: [0; $n] }
                }

                /// Distance between windows.
                #[must_use]
                pub fn stride(mut self, stride: impl IntoSpatial<$n>) -> Self {
                    self.stride = stride.into_spatial();
                    self
                }

                /// Positions before and after the image.
                #[must_use]
                pub fn padding(mut self, padding: impl IntoSpatial<$n>) -> Self {
                    self.padding = padding.into_spatial();
                    self
                }

                /// The image: elements of `x` where `indices` say, zeros elsewhere. Several extents give the same pooled
                /// one; the least is taken.
                #[track_caller]
                pub fn forward(&self, x: &Tensor, indices: &Tensor) -> Tensor {
                    let ty = live!(x);
                    let outer = ty.rank().saturating_sub($n);
                    let mut extents = [0usize; $n];
                    for dim in 0..$n {
                        let pooled = ty.shape.dims().get(outer + dim).and_then(nnc_ir::Dim::as_const);
                        let full = pooled.filter(|&pooled| pooled > 0).map(|pooled| {
                            (pooled - 1) * self.stride[dim] + self.kernel_size[dim]
                        });
                        let Some(extent) = full.and_then(|full| full.checked_sub(2 * self.padding[dim])) else {
                            return fault(format!(concat!(stringify!($name), ": the input is {}"), ty));
                        };
                        extents[dim] = extent;
                    }
                    self.forward_to(x, indices, extents)
                }

                /// [`Self::forward`] to an image of `output_size`.
                #[track_caller]
                pub fn forward_to(&self, x: &Tensor, indices: &Tensor, output_size: impl IntoSpatial<$n>) -> Tensor {
                    let _scope = trace::enter(self.key());
                    functional::max_unpool(x, indices, &output_size.into_spatial())
                }
            }
        )*
    };
}

unpools! {
    /// Puts the maxima of a [`MaxPool1d`](crate::nn::MaxPool1d) with indices back in their places.
    MaxUnpool1d, 1;
    /// Puts the maxima of a [`MaxPool2d`](crate::nn::MaxPool2d) with indices back in their places.
    MaxUnpool2d, 2;
    /// Puts the maxima of a [`MaxPool3d`](crate::nn::MaxPool3d) with indices back in their places.
    MaxUnpool3d, 3;
}
