//! `PixelShuffle`, `PixelUnshuffle`, `ChannelShuffle`.

use crate::functional;
use crate::module::{Forward, Module};
use crate::tensor::Tensor;

/// Layers with one whole number: name, number, function.
macro_rules! shuffles {
    ($($(#[doc = $doc:literal])* $name:ident($(#[doc = $field_doc:literal])* $field:ident) => $function:ident, $repr:literal;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = $repr, self.$field)]
            pub struct $name {
                $(#[doc = $field_doc])*
                pub $field: usize,
            }

            impl $name {
                /// The layer.
                pub fn new($field: usize) -> Self {
                    Self { $field }
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.$field)
                }
            }
        )*
    };
}

shuffles! {
    /// `[..., C * r², H, W]` to `[..., C, H * r, W * r]`: channels become positions (Shi et al., 2016).
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let y = PixelShuffle::new(2).forward(&Tensor::ones([1, 8, 3, 5]));
    /// assert_eq!(y.shape().to_string(), "[1, 2, 6, 10]");
    /// ```
    PixelShuffle(
        /// By how much height and width grow.
        upscale_factor
    ) => pixel_shuffle, "upscale_factor={}";
    /// `[..., C, H * r, W * r]` to `[..., C * r², H, W]`: the inverse of [`PixelShuffle`].
    PixelUnshuffle(
        /// By how much height and width shrink.
        downscale_factor
    ) => pixel_unshuffle, "downscale_factor={}";
    /// Interleaves groups of channels (dimension 1).
    ChannelShuffle(
        /// Number of groups; divides the number of channels.
        groups
    ) => channel_shuffle, "groups={}";
}
