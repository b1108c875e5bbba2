//! Arguments of functions over spatial dimensions: amounts, padding, and how borders are filled.

use crate::module::python_tuple;

/// One amount for each of `N` spatial dimensions: a number for all of them, an array, or a tuple.
pub trait IntoSpatial<const N: usize> {
    /// The amounts, outermost dimension first.
    fn into_spatial(self) -> [usize; N];

    /// The amounts as they were given, for the printed form of layers that keep it.
    fn printed(&self) -> String
    where
        Self: Copy,
    {
        python_tuple(&self.into_spatial())
    }
}

impl<const N: usize> IntoSpatial<N> for usize {
    fn into_spatial(self) -> [usize; N] {
        [self; N]
    }

    fn printed(&self) -> String {
        self.to_string()
    }
}

impl<const N: usize> IntoSpatial<N> for [usize; N] {
    fn into_spatial(self) -> [usize; N] {
        self
    }
}

impl IntoSpatial<1> for (usize,) {
    fn into_spatial(self) -> [usize; 1] {
        [self.0]
    }
}

impl IntoSpatial<2> for (usize, usize) {
    fn into_spatial(self) -> [usize; 2] {
        [self.0, self.1]
    }
}

impl IntoSpatial<3> for (usize, usize, usize) {
    fn into_spatial(self) -> [usize; 3] {
        [self.0, self.1, self.2]
    }
}

/// Padding of a convolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Padding<const N: usize> {
    /// As much on both sides of each dimension.
    By([usize; N]),
    /// As much as leaves the extents as they are, for a stride of 1; an odd amount has more after the image.
    Same,
    /// None.
    Valid,
    /// Text that names no padding: a fault where it is used.
    Unknown(String),
}

/// What padding is given as: amounts ([`IntoSpatial`]), [`Padding`], or PyTorch's `"same"` and `"valid"`.
pub trait IntoPadding<const N: usize> {
    /// The padding.
    fn into_padding(self) -> Padding<N>;
}

impl<const N: usize> IntoPadding<N> for Padding<N> {
    fn into_padding(self) -> Padding<N> {
        self
    }
}

impl<const N: usize> IntoPadding<N> for &str {
    fn into_padding(self) -> Padding<N> {
        match self {
            "same" => Padding::Same,
            "valid" => Padding::Valid,
            other => Padding::Unknown(other.to_string()),
        }
    }
}

/// Amounts are padding on both sides.
macro_rules! amounts_are_padding {
    ($( [$($generics:tt)*] $n:expr, $ty:ty; )*) => {
        $(
            impl<$($generics)*> IntoPadding<{ $n }> for $ty {
                fn into_padding(self) -> Padding<{ $n }> {
                    Padding::By(self.into_spatial())
                }
            }
        )*
    };
}

amounts_are_padding! {
    [const N: usize] N, usize;
    [const N: usize] N, [usize; N];
    [] 1, (usize,);
    [] 2, (usize, usize);
    [] 3, (usize, usize, usize);
}

impl<const N: usize> Padding<N> {
    /// Elements before and after each spatial dimension for a kernel of extents `kernel`.
    pub(crate) fn amounts(
        &self,
        kernel: &[usize],
        stride: &[usize; N],
        dilation: &[usize; N],
    ) -> Result<[(i64, i64); N], String> {
        match self {
            Self::By(amounts) => Ok(amounts.map(|amount| (amount as i64, amount as i64))),
            Self::Valid => Ok([(0, 0); N]),
            Self::Same if stride.iter().any(|&step| step != 1) => {
                Err(format!("padding `same` needs a stride of 1, found {stride:?}; give the padding as numbers"))
            }
            Self::Same => Ok(std::array::from_fn(|dim| {
                let total = (dilation[dim] * kernel[dim].saturating_sub(1)) as i64;
                (total / 2, total - total / 2)
            })),
            Self::Unknown(text) => Err(format!("padding is `{text}`, expected numbers, `same` or `valid`")),
        }
    }
}

/// What stands around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its outermost elements, which are not repeated.
    Reflect,
    /// The nearest element.
    Replicate,
    /// The image again, from its other side.
    Circular,
}

impl PaddingMode {
    /// PyTorch's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::Reflect => "reflect",
            Self::Replicate => "replicate",
            Self::Circular => "circular",
        }
    }
}
