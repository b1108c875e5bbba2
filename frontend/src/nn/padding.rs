//! Padding: zeros, a constant, reflection, replication, and circular.

use crate::functional::{self, PaddingMode};
use crate::module::{Forward, Module, python_float, python_tuple};
use crate::tensor::{Tensor, fault, live};

/// Amounts around `N` spatial dimensions: one for all sides, or pairs (before, after) from the last dimension on, as
/// PyTorch orders them: `[left, right, top, bottom]`.
pub trait IntoSides<const SIDES: usize> {
    /// The amounts.
    fn into_sides(self) -> [i64; SIDES];
}

impl<const SIDES: usize> IntoSides<SIDES> for i64 {
    fn into_sides(self) -> [i64; SIDES] {
        [self; SIDES]
    }
}

impl<const SIDES: usize> IntoSides<SIDES> for [i64; SIDES] {
    fn into_sides(self) -> [i64; SIDES] {
        self
    }
}

impl IntoSides<2> for (i64, i64) {
    fn into_sides(self) -> [i64; 2] {
        [self.0, self.1]
    }
}

impl IntoSides<4> for (i64, i64, i64, i64) {
    fn into_sides(self) -> [i64; 4] {
        [self.0, self.1, self.2, self.3]
    }
}

impl IntoSides<6> for (i64, i64, i64, i64, i64, i64) {
    fn into_sides(self) -> [i64; 6] {
        [self.0, self.1, self.2, self.3, self.4, self.5]
    }
}

/// Pairs (before, after) from the last dimension on, or why the input is none for this layer.
fn pairs(what: &str, x: &Tensor, sides: &[i64]) -> Result<Vec<(i64, i64)>, String> {
    let n_spatial = sides.len() / 2;
    let ty = x.ty();
    if ty.rank() != n_spatial + 1 && ty.rank() != n_spatial + 2 {
        return Err(format!("{what}: the input is {ty}, expected {} or {} dimensions", n_spatial + 1, n_spatial + 2));
    }
    Ok(sides.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Layers that pad with what the image holds, or zeros: name, number of sides, mode.
macro_rules! paddings {
    ($( $(#[doc = $doc:literal])* $name:ident, $sides:literal, $mode:ident; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "{}", python_tuple(&self.padding))]
            pub struct $name {
                /// Pairs (before, after) from the last dimension on.
                pub padding: [i64; $sides],
            }

            impl $name {
                /// The layer.
                pub fn new(padding: impl IntoSides<$sides>) -> Self {
                    Self { padding: padding.into_sides() }
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    live!(x);
                    match pairs(stringify!($name), x, &self.padding) {
                        Ok(pairs) => functional::pad(x, &pairs, PaddingMode::$mode),
                        Err(message) => fault(message),
                    }
                }
            }
        )*
    };
}

paddings! {
    /// Zeros around sequences, `[N, C, L]` or `[C, L]`; negative amounts crop.
    ZeroPad1d, 2, Zeros;
    /// Zeros around images, `[N, C, H, W]` or `[C, H, W]`; negative amounts crop.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let layer = ZeroPad2d::new((1, 1, 2, 0));
    /// assert_eq!(layer.to_string(), "ZeroPad2d((1, 1, 2, 0))");
    /// assert_eq!(layer.forward(&Tensor::ones([1, 1, 3, 3])).shape().to_string(), "[1, 1, 5, 5]");
    /// ```
    ZeroPad2d, 4, Zeros;
    /// Zeros around volumes, `[N, C, D, H, W]` or `[C, D, H, W]`; negative amounts crop.
    ZeroPad3d, 6, Zeros;
    /// Sequences mirrored at their ends.
    ReflectionPad1d, 2, Reflect;
    /// Images mirrored at their edges.
    ReflectionPad2d, 4, Reflect;
    /// Volumes mirrored at their faces.
    ReflectionPad3d, 6, Reflect;
    /// The ends of sequences repeated.
    ReplicationPad1d, 2, Replicate;
    /// The edges of images repeated.
    ReplicationPad2d, 4, Replicate;
    /// The faces of volumes repeated.
    ReplicationPad3d, 6, Replicate;
    /// Sequences continued from their other ends.
    CircularPad1d, 2, Circular;
    /// Images continued from their other edges.
    CircularPad2d, 4, Circular;
    /// Volumes continued from their other faces.
    CircularPad3d, 6, Circular;
}

/// Layers that pad with a constant: name, number of sides.
macro_rules! constant_paddings {
    ($( $(#[doc = $doc:literal])* $name:ident, $sides:literal; )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "padding={}, value={}", python_tuple(&self.padding), python_float(self.value))]
            pub struct $name {
                /// Pairs (before, after) from the last dimension on.
                pub padding: [i64; $sides],
                /// What the padding holds.
                pub value: f64,
            }

            impl $name {
                /// The layer.
                pub fn new(padding: impl IntoSides<$sides>, value: f64) -> Self {
                    Self { padding: padding.into_sides(), value }
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    live!(x);
                    match pairs(stringify!($name), x, &self.padding) {
                        Ok(pairs) => x.pad(&pairs, self.value),
                        Err(message) => fault(message),
                    }
                }
            }
        )*
    };
}

constant_paddings! {
    /// A constant around sequences; negative amounts crop.
    ConstantPad1d, 2;
    /// A constant around images; negative amounts crop.
    ConstantPad2d, 4;
    /// A constant around volumes; negative amounts crop.
    ConstantPad3d, 6;
}
