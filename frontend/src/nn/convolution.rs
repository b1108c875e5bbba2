//! Convolutions: `Conv1d`, `2d`, `3d`.

use crate::functional::{self, IntoPadding, IntoSpatial, Padding, PaddingMode};
use crate::init;
use crate::module::{Forward, Module, python_tuple};
use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor, checked, live};

/// A weight of this shape and a bias of `n_bias` elements, as PyTorch starts them: uniform in ±1/√fan-in, where the
/// fan-in is what `[1..]` of the shape holds.
#[track_caller]
pub(super) fn start(shape: &[usize], n_bias: usize) -> (Parameter, Parameter) {
    let weight = Parameter::new(Tensor::zeros(shape));
    init::kaiming_uniform_(&weight, 5f64.sqrt());
    let fan_in: usize = shape[1..].iter().product();
    let bound = if fan_in > 0 { 1.0 / (fan_in as f64).sqrt() } else { 0.0 };
    let bias = Parameter::new(Tensor::zeros([n_bias]));
    init::uniform_(&bias, -bound, bound);
    (weight, bias)
}

/// Settings that convolutions and their transposes share, for a layer with a function `parameters_of`.
macro_rules! kernel_settings {
    ($n:literal) => {
        /// Distance between taps of the kernel; 1 by default.
        #[must_use]
        pub fn dilation(mut self, dilation: impl IntoSpatial<$n>) -> Self {
            self.dilation = dilation.into_spatial();
            self
        }

        /// Groups of channels that do not mix; 1 by default. Both numbers of channels must be multiples of it.
        /// The parameters are made anew.
        #[must_use]
        #[track_caller]
        pub fn groups(mut self, groups: usize) -> Self {
            let (weight, bias) = Self::parameters_of(self.in_channels, self.out_channels, &self.kernel_size, groups);
            self.bias = self.bias.map(|_| bias);
            Self { groups, weight, ..self }
        }

        /// Whether the layer has a bias; it has one by default.
        #[must_use]
        #[track_caller]
        pub fn bias(mut self, bias: bool) -> Self {
            if bias && self.bias.is_none() {
                let kernel = &self.kernel_size;
                self.bias = Some(Self::parameters_of(self.in_channels, self.out_channels, kernel, self.groups).1);
            } else if !bias {
                self.bias = None;
            }
            self
        }
    };
}
pub(super) use kernel_settings;

/// What follows the channels in the printed form of a convolution.
pub(super) struct Described<'a> {
    pub(super) kernel_size: &'a [usize],
    pub(super) stride: &'a [usize],
    /// Left out where it is no padding.
    pub(super) padding: Option<String>,
    pub(super) dilation: &'a [usize],
    pub(super) output_padding: &'a [usize],
    pub(super) groups: usize,
    pub(super) bias: bool,
    pub(super) padding_mode: PaddingMode,
}

impl Described<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = format!("kernel_size={}, stride={}", python_tuple(self.kernel_size), python_tuple(self.stride));
        if let Some(padding) = &self.padding {
            text += &format!(", padding={padding}");
        }
        if self.dilation.iter().any(|&dilation| dilation != 1) {
            text += &format!(", dilation={}", python_tuple(self.dilation));
        }
        if self.output_padding.iter().any(|&amount| amount != 0) {
            text += &format!(", output_padding={}", python_tuple(self.output_padding));
        }
        if self.groups != 1 {
            text += &format!(", groups={}", self.groups);
        }
        if !self.bias {
            text += ", bias=False";
        }
        if self.padding_mode != PaddingMode::Zeros {
            text += &format!(", padding_mode={}", self.padding_mode.name());
        }
        text
    }
}

/// Padding as PyTorch prints it, `None` for none.
pub(super) fn describe_padding<const N: usize>(padding: &Padding<N>) -> Option<String> {
    match padding {
        Padding::By(amounts) if amounts.iter().all(|&amount| amount == 0) => None,
        Padding::By(amounts) => Some(python_tuple(amounts)),
        Padding::Same => Some("same".to_string()),
        Padding::Valid => Some("valid".to_string()),
        Padding::Unknown(text) => Some(text.clone()),
    }
}

/// One layer for each number of spatial dimensions.
macro_rules! convolutions {
    ($( $(#[doc = $doc:literal])* $name:ident, $function:ident, $n:literal, $what:literal; )*) => {
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
                /// Step of the window.
                pub stride: [usize; $n],
                /// What stands around the image.
                pub padding: Padding<$n>,
                /// Distance between taps of the kernel.
                pub dilation: [usize; $n],
                /// Groups of channels that do not mix.
                pub groups: usize,
                /// What the padding holds.
                pub padding_mode: PaddingMode,
                /// `[out_channels, in_channels / groups, kernel_size...]`; starts uniform in ±1/√fan-in.
                pub weight: Parameter,
                /// `[out_channels]`; starts uniform in ±1/√fan-in.
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
                        padding: Padding::By([0; $n]),
                        dilation: [1; $n],
                        groups: 1,
                        padding_mode: PaddingMode::Zeros,
                        weight,
                        bias: Some(bias),
                    }
                }

                #[track_caller]
                fn parameters_of(n_in: usize, n_out: usize, kernel: &[usize], groups: usize) -> (Parameter, Parameter) {
                    let shape = [&[n_out, n_in.checked_div(groups).unwrap_or(0)], kernel].concat();
                    start(&shape, n_out)
                }

                /// Step of the window; 1 by default.
                #[must_use]
                pub fn stride(mut self, stride: impl IntoSpatial<$n>) -> Self {
                    self.stride = stride.into_spatial();
                    self
                }

                /// Padding on both sides: amounts, `"same"` or `"valid"`; 0 by default.
                #[must_use]
                pub fn padding(mut self, padding: impl IntoPadding<$n>) -> Self {
                    self.padding = padding.into_padding();
                    self
                }

                kernel_settings!($n);

                /// What the padding holds; zeros by default.
                #[must_use]
                pub fn padding_mode(mut self, padding_mode: PaddingMode) -> Self {
                    self.padding_mode = padding_mode;
                    self
                }

                fn described(&self) -> String {
                    let described = Described {
                        kernel_size: &self.kernel_size,
                        stride: &self.stride,
                        padding: describe_padding(&self.padding),
                        dilation: &self.dilation,
                        output_padding: &[],
                        groups: self.groups,
                        bias: self.bias.is_some(),
                        padding_mode: self.padding_mode,
                    };
                    described.text()
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    let bias = self.bias.as_ref().map(|bias| bias as &dyn ToTensor);
                    if self.padding_mode == PaddingMode::Zeros {
                        let padding = self.padding.clone();
                        return functional::$function(
                            x, &self.weight, bias, self.stride, padding, self.dilation, self.groups,
                        );
                    }
                    live!(x);
                    let amounts = self.padding.amounts(&self.kernel_size, &self.stride, &self.dilation);
                    let mut amounts = checked!(amounts.map_err(|why| format!("{}: {why}", $what)));
                    amounts.reverse();
                    let padded = functional::pad(x, &amounts, self.padding_mode);
                    functional::$function(&padded, &self.weight, bias, self.stride, 0, self.dilation, self.groups)
                }
            }
        )*
    };
}

convolutions! {
    /// Correlation over sequences: `[N, in, L]` (or without `N`) to `[N, out, L']`.
    Conv1d, conv1d, 1, "conv1d";
    /// Correlation over images: `[N, in, H, W]` (or without `N`) to `[N, out, H', W']`.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = Conv2d::new(1, 6, 5).stride(2).padding((2, 1));
    /// assert_eq!(layer.to_string(), "Conv2d(1, 6, kernel_size=(5, 5), stride=(2, 2), padding=(2, 1))");
    /// assert_eq!(layer.forward(&Tensor::ones([4, 1, 28, 28])).shape().to_string(), "[4, 6, 14, 13]");
    /// ```
    Conv2d, conv2d, 2, "conv2d";
    /// Correlation over volumes: `[N, in, D, H, W]` (or without `N`) to `[N, out, D', H', W']`.
    Conv3d, conv3d, 3, "conv3d";
}
