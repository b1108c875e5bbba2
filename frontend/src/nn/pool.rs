//! Pooling by windows: largest, smallest, mean and power mean.

use crate::functional::{self, IntoSpatial, Windows};
use crate::module::{Forward, Module, python_bool};
use crate::tensor::Tensor;

/// Settings that every pooling by windows has.
macro_rules! window_settings {
    ($n:literal) => {
        /// Step of the window; the window's own extents by default, so that windows lie side by side.
        #[must_use]
        pub fn stride(mut self, stride: impl IntoSpatial<$n> + Copy) -> Self {
            self.windows = self.windows.stride(stride);
            self.printed_stride = Some(stride.printed());
            self
        }

        /// Whether a last window may reach beyond the padded image.
        #[must_use]
        pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
            self.windows.ceil_mode = ceil_mode;
            self
        }
    };
}

/// Largest and smallest elements: name, function, function with positions.
macro_rules! extreme_pools {
    ($( $(#[doc = $doc:literal])* $name:ident, $n:literal, $function:ident $(, $with_indices:ident)?; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(
                repr = "kernel_size={}, stride={}, padding={}, dilation={}, ceil_mode={}",
                self.printed_kernel,
                self.printed_stride.as_ref().unwrap_or(&self.printed_kernel),
                self.printed_padding,
                self.printed_dilation,
                python_bool(self.windows.ceil_mode)
            )]
            pub struct $name {
                /// How windows move.
                pub windows: Windows<$n>,
                printed_kernel: String,
                printed_stride: Option<String>,
                printed_padding: String,
                printed_dilation: String,
            }

            impl $name {
                /// The layer with PyTorch's defaults: windows side by side, no padding.
                pub fn new(kernel_size: impl IntoSpatial<$n> + Copy) -> Self {
                    Self {
                        windows: Windows::new(kernel_size),
                        printed_kernel: kernel_size.printed(),
                        printed_stride: None,
                        printed_padding: "0".to_string(),
                        printed_dilation: "1".to_string(),
                    }
                }

                window_settings!($n);

                /// Positions before and after the image, which never win; at most half of the window.
                #[must_use]
                pub fn padding(mut self, padding: impl IntoSpatial<$n> + Copy) -> Self {
                    self.windows = self.windows.padding(padding);
                    self.printed_padding = padding.printed();
                    self
                }

                /// Distance between elements of a window; 1 by default.
                #[must_use]
                pub fn dilation(mut self, dilation: impl IntoSpatial<$n> + Copy) -> Self {
                    self.windows = self.windows.dilation(dilation);
                    self.printed_dilation = dilation.printed();
                    self
                }

                $(
                    /// The result and the `i64` position of each element in its plane, row-major:
                    /// `return_indices=True`.
                    #[track_caller]
                    pub fn forward_with_indices(&self, x: &Tensor) -> (Tensor, Tensor) {
                        functional::$with_indices(x, self.windows)
                    }
                )?
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.windows)
                }
            }
        )*
    };
}

extreme_pools! {
    /// Largest element of each window of `[N, C, L]` or `[C, L]`.
    MaxPool1d, 1, max_pool1d, max_pool1d_with_indices;
    /// Largest element of each window of `[N, C, H, W]` or `[C, H, W]`.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = MaxPool2d::new(3).stride((2, 1));
    /// assert_eq!(
    ///     layer.to_string(),
    ///     "MaxPool2d(kernel_size=3, stride=(2, 1), padding=0, dilation=1, ceil_mode=False)"
    /// );
    /// assert_eq!(layer.forward(&Tensor::ones([1, 2, 6, 6])).shape().to_string(), "[1, 2, 2, 4]");
    /// ```
    MaxPool2d, 2, max_pool2d, max_pool2d_with_indices;
    /// Largest element of each window of `[N, C, D, H, W]` or `[C, D, H, W]`.
    MaxPool3d, 3, max_pool3d, max_pool3d_with_indices;
    /// Smallest element of each window of `[N, C, L]` or `[C, L]`: the twin of [`MaxPool1d`].
    MinPool1d, 1, min_pool1d;
    /// Smallest element of each window of `[N, C, H, W]` or `[C, H, W]`: the twin of [`MaxPool2d`].
    MinPool2d, 2, min_pool2d;
    /// Smallest element of each window of `[N, C, D, H, W]` or `[C, D, H, W]`: the twin of [`MaxPool3d`].
    MinPool3d, 3, min_pool3d;
}

/// Means: name, function, whether sizes print as tuples however they were given.
macro_rules! mean_pools {
    ($( $(#[doc = $doc:literal])* $name:ident, $n:literal, $function:ident, $tuples:literal; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(
                repr = "kernel_size={}, stride={}, padding={}",
                self.printed_kernel,
                self.printed_stride.as_ref().unwrap_or(&self.printed_kernel),
                self.printed_padding
            )]
            pub struct $name {
                /// How windows move; means have no dilation.
                pub windows: Windows<$n>,
                /// Whether padding counts as zeros.
                pub count_include_pad: bool,
                /// Divides the sums instead of the number of positions.
                pub divisor_override: Option<usize>,
                printed_kernel: String,
                printed_stride: Option<String>,
                printed_padding: String,
            }

            impl $name {
                /// The layer with PyTorch's defaults: windows side by side, no padding.
                pub fn new(kernel_size: impl IntoSpatial<$n> + Copy) -> Self {
                    Self {
                        windows: Windows::new(kernel_size),
                        count_include_pad: true,
                        divisor_override: None,
                        printed_kernel: Self::print(kernel_size),
                        printed_stride: None,
                        printed_padding: Self::print(0),
                    }
                }

                fn print(amounts: impl IntoSpatial<$n> + Copy) -> String {
                    if $tuples { amounts.into_spatial().printed() } else { amounts.printed() }
                }

                /// Step of the window; the window's own extents by default, so that windows lie side by side.
                #[must_use]
                pub fn stride(mut self, stride: impl IntoSpatial<$n> + Copy) -> Self {
                    self.windows = self.windows.stride(stride);
                    self.printed_stride = Some(Self::print(stride));
                    self
                }

                /// Zeros before and after the image, at most half of the window.
                #[must_use]
                pub fn padding(mut self, padding: impl IntoSpatial<$n> + Copy) -> Self {
                    self.windows = self.windows.padding(padding);
                    self.printed_padding = Self::print(padding);
                    self
                }

                /// Whether a last window may reach beyond the padded image.
                #[must_use]
                pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
                    self.windows.ceil_mode = ceil_mode;
                    self
                }

                /// Whether padding counts as zeros; it does by default.
                #[must_use]
                pub fn count_include_pad(mut self, count_include_pad: bool) -> Self {
                    self.count_include_pad = count_include_pad;
                    self
                }

                /// Divides the sums by this instead of the number of positions.
                #[must_use]
                pub fn divisor_override(mut self, divisor_override: impl Into<Option<usize>>) -> Self {
                    self.divisor_override = divisor_override.into();
                    self
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.windows, self.count_include_pad, self.divisor_override)
                }
            }
        )*
    };
}

mean_pools! {
    /// Mean of each window of `[N, C, L]` or `[C, L]`.
    AvgPool1d, 1, avg_pool1d, true;
    /// Mean of each window of `[N, C, H, W]` or `[C, H, W]`.
    AvgPool2d, 2, avg_pool2d, false;
    /// Mean of each window of `[N, C, D, H, W]` or `[C, D, H, W]`.
    AvgPool3d, 3, avg_pool3d, false;
}

/// Power means: name, function.
macro_rules! power_pools {
    ($( $(#[doc = $doc:literal])* $name:ident, $n:literal, $function:ident; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(
                repr = "norm_type={}, kernel_size={}, stride={}, ceil_mode={}",
                self.norm_type,
                self.printed_kernel,
                self.printed_stride.as_deref().unwrap_or("None"),
                python_bool(self.windows.ceil_mode)
            )]
            pub struct $name {
                /// The power.
                pub norm_type: f64,
                /// How windows move; power means have no padding and no dilation.
                pub windows: Windows<$n>,
                printed_kernel: String,
                printed_stride: Option<String>,
            }

            impl $name {
                /// The layer with PyTorch's defaults: windows side by side.
                pub fn new(norm_type: f64, kernel_size: impl IntoSpatial<$n> + Copy) -> Self {
                    Self {
                        norm_type,
                        windows: Windows::new(kernel_size),
                        printed_kernel: kernel_size.printed(),
                        printed_stride: None,
                    }
                }

                window_settings!($n);
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.norm_type, self.windows)
                }
            }
        )*
    };
}

power_pools! {
    /// `(Σ x^p)^(1/p)` of each window of `[N, C, L]` or `[C, L]`.
    LPPool1d, 1, lp_pool1d;
    /// `(Σ x^p)^(1/p)` of each window of `[N, C, H, W]` or `[C, H, W]`.
    LPPool2d, 2, lp_pool2d;
    /// `(Σ x^p)^(1/p)` of each window of `[N, C, D, H, W]` or `[C, D, H, W]`.
    LPPool3d, 3, lp_pool3d;
}
