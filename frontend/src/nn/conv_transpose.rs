//! Transposed convolutions: `ConvTranspose1d`, `2d`, `3d`.

use super::convolution::{Described, kernel_settings, start};
use crate::functional::{self, IntoSpatial, PaddingMode};
use crate::module::{Forward, Module, python_tuple};
use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor, fault, live};

/// One layer for each number of spatial dimensions.
macro_rules! transposes {
    ($( $(#[doc = $doc:literal])* $name:ident, $function:ident, $n:literal; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "{}, {}, {}", self.in_channels, self.out_channels, self.described())]
            pub struct $name {
                /// Channels of the input.
                pub in_channels: usize,
                /// Channels of the result.
                pub out_channels: usize,
                /// Extents of the kernel.
                pub kernel_size: [usize; $n],
                /// Distance between elements of the input.
                pub stride: [usize; $n],
                /// Positions cut from both sides of the result.
                pub padding: [usize; $n],
                /// Positions added after the result.
                pub output_padding: [usize; $n],
                /// Distance between taps of the kernel.
                pub dilation: [usize; $n],
                /// Groups of channels that do not mix.
                pub groups: usize,
                /// `[in_channels, out_channels / groups, kernel_size...]`; starts uniform in ±1/√fan, where the fan is
                /// `out_channels / groups` times the extent of the kernel.
                pub weight: Parameter,
                /// `[out_channels]`; starts as the weight.
                pub bias: Option<Parameter>,
            }

            impl $name {
                /// The layer with PyTorch's defaults: stride 1, no padding, no dilation, one group, with bias.
                #[track_caller]
                pub fn new(in_channels: usize, out_channels: usize, kernel_size: impl IntoSpatial<$n>) -> Self {
                    let kernel_size = kernel_size.into_spatial();
                    let (weight, bias) = Self::parameters_of(in_channels, out_channels, &kernel_size, 1);
                    Self {
                        in_channels,
                        out_channels,
                        kernel_size,
                        stride: [1; $n],
                        padding: [0; $n],
                        output_padding: [0; $n],
                        dilation: [1; $n],
                        groups: 1,
                        weight,
                        bias: Some(bias),
                    }
                }

                #[track_caller]
                fn parameters_of(n_in: usize, n_out: usize, kernel: &[usize], groups: usize) -> (Parameter, Parameter) {
                    let shape = [&[n_in, n_out.checked_div(groups).unwrap_or(0)], kernel].concat();
                    start(&shape, n_out)
                }

                /// Distance between elements of the input; 1 by default.
                #[must_use]
                pub fn stride(mut self, stride: impl IntoSpatial<$n>) -> Self {
                    self.stride = stride.into_spatial();
                    self
                }

                /// Positions cut from both sides of the result, as the padding of the convolution this is the transpose
                /// of; 0 by default.
                #[must_use]
                pub fn padding(mut self, padding: impl IntoSpatial<$n>) -> Self {
                    self.padding = padding.into_spatial();
                    self
                }

                /// Positions added after the result, fewer than the larger of stride and dilation; 0 by default.
                #[must_use]
                pub fn output_padding(mut self, output_padding: impl IntoSpatial<$n>) -> Self {
                    self.output_padding = output_padding.into_spatial();
                    self
                }

                kernel_settings!($n);

                fn described(&self) -> String {
                    let padding = self.padding.iter().any(|&amount| amount != 0).then(|| python_tuple(&self.padding));
                    let described = Described {
                        kernel_size: &self.kernel_size,
                        stride: &self.stride,
                        padding,
                        dilation: &self.dilation,
                        output_padding: &self.output_padding,
                        groups: self.groups,
                        bias: self.bias.is_some(),
                        padding_mode: PaddingMode::Zeros,
                    };
                    described.text()
                }

                #[track_caller]
                fn apply(&self, x: &Tensor, output_padding: [usize; $n]) -> Tensor {
                    let bias = self.bias.as_ref().map(|bias| bias as &dyn ToTensor);
                    functional::$function(
                        x,
                        &self.weight,
                        bias,
                        self.stride,
                        self.padding,
                        output_padding,
                        self.groups,
                        self.dilation,
                    )
                }

                /// The result of the given spatial extents, one of those that a convolution with these settings takes to
                /// the input's: `forward(x, output_size=...)` in PyTorch.
                #[track_caller]
                pub fn forward_to(&self, x: &Tensor, output_size: impl IntoSpatial<$n>) -> Tensor {
                    let ty = live!(x);
                    let output_size = output_size.into_spatial();
                    let mut output_padding = [0; $n];
                    for dim in 0..$n {
                        let extent = ty.rank().checked_sub($n).and_then(|first| ty.shape[first + dim].as_const());
                        let Some(extent) = extent else {
                            return fault(format!(
                                "{}: the input is {ty}, expected {} spatial dimensions of known extents",
                                stringify!($function), $n
                            ));
                        };
                        let spread = self.dilation[dim] * self.kernel_size[dim].saturating_sub(1) + 1;
                        let least = (extent.saturating_sub(1) * self.stride[dim] + spread)
                            .saturating_sub(2 * self.padding[dim]);
                        let most = least + self.stride[dim].saturating_sub(1);
                        if !(least..=most).contains(&output_size[dim]) {
                            return fault(format!(
                                "{}: output_size is {output_size:?}, expected {least} to {most} in dimension {dim}",
                                stringify!($function)
                            ));
                        }
                        output_padding[dim] = output_size[dim] - least;
                    }
                    self.apply(x, output_padding)
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    self.apply(x, self.output_padding)
                }
            }
        )*
    };
}

transposes! {
    /// The transpose of [`Conv1d`](crate::nn::Conv1d): `[N, in, L]` (or without `N`) to `[N, out, L']`.
    ConvTranspose1d, conv_transpose1d, 1;
    /// The transpose of [`Conv2d`](crate::nn::Conv2d): `[N, in, H, W]` (or without `N`) to `[N, out, H', W']`.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = ConvTranspose2d::new(6, 1, 4).stride(2).padding(1);
    /// assert_eq!(layer.to_string(), "ConvTranspose2d(6, 1, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))");
    /// assert_eq!(layer.forward(&Tensor::ones([4, 6, 7, 7])).shape().to_string(), "[4, 1, 14, 14]");
    /// ```
    ConvTranspose2d, conv_transpose2d, 2;
    /// The transpose of [`Conv3d`](crate::nn::Conv3d): `[N, in, D, H, W]` (or without `N`) to `[N, out, D', H', W']`.
    ConvTranspose3d, conv_transpose3d, 3;
}
