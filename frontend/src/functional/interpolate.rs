//! Resampling of images: `interpolate`.
//!
//! Every mode is the same thing along each dimension in turn: an output position is a weighted sum of a few input
//! positions, and which they are is known while tracing ([`resample`]).

use super::resample::{Tap, resample};
use crate::tensor::{Tensor, fault, live};

/// How [`interpolate`] fills positions between those of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InterpolateMode {
    /// The element before.
    #[default]
    Nearest,
    /// The nearest element.
    NearestExact,
    /// Lines between elements of `[N, C, L]`.
    Linear,
    /// Lines along both dimensions of `[N, C, H, W]`.
    Bilinear,
    /// Lines along all dimensions of `[N, C, D, H, W]`.
    Trilinear,
    /// Cubic curves through elements of `[N, C, H, W]`.
    Bicubic,
    /// Text that names no mode: a fault where it is used.
    Unknown(String),
}

impl InterpolateMode {
    /// PyTorch's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Nearest => "nearest",
            Self::NearestExact => "nearest-exact",
            Self::Linear => "linear",
            Self::Bilinear => "bilinear",
            Self::Trilinear => "trilinear",
            Self::Bicubic => "bicubic",
            Self::Unknown(name) => name,
        }
    }

    /// The number of spatial dimensions, if only one will do.
    fn n_spatial(&self) -> Option<usize> {
        match self {
            Self::Linear => Some(1),
            Self::Bilinear | Self::Bicubic => Some(2),
            Self::Trilinear => Some(3),
            Self::Nearest | Self::NearestExact | Self::Unknown(_) => None,
        }
    }
}

impl From<&str> for InterpolateMode {
    fn from(name: &str) -> Self {
        let known = [Self::Nearest, Self::NearestExact, Self::Linear, Self::Bilinear, Self::Trilinear, Self::Bicubic];
        known.into_iter().find(|mode| mode.name() == name).unwrap_or_else(|| Self::Unknown(name.to_string()))
    }
}

/// One number for each spatial dimension, or one for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct PerDimension<T> {
    /// The numbers; a single one is for all dimensions.
    pub values: Vec<T>,
    /// Whether a plain number was given.
    pub single: bool,
}

impl<T: Copy> PerDimension<T> {
    fn at(&self, dim: usize) -> Option<T> {
        if self.single { self.values.first().copied() } else { self.values.get(dim).copied() }
    }
}

macro_rules! per_dimension {
    ($($ty:ty),*) => {
        $(
            impl From<$ty> for PerDimension<$ty> {
                fn from(value: $ty) -> Self {
                    Self { values: vec![value], single: true }
                }
            }

            impl<const N: usize> From<[$ty; N]> for PerDimension<$ty> {
                fn from(values: [$ty; N]) -> Self {
                    Self { values: values.to_vec(), single: false }
                }
            }

            impl From<($ty, $ty)> for PerDimension<$ty> {
                fn from((height, width): ($ty, $ty)) -> Self {
                    Self { values: vec![height, width], single: false }
                }
            }

            impl From<($ty, $ty, $ty)> for PerDimension<$ty> {
                fn from((depth, height, width): ($ty, $ty, $ty)) -> Self {
                    Self { values: vec![depth, height, width], single: false }
                }
            }
        )*
    };
}

per_dimension!(usize, f64);

/// The extents that [`interpolate`] makes.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputExtents {
    /// These.
    Size(PerDimension<usize>),
    /// The input's times these factors, rounded down.
    ScaleFactor(PerDimension<f64>),
}

/// Resamples the spatial dimensions of `[N, C, ...]`. With `align_corners` the outermost elements keep their places;
/// otherwise elements are areas, and the outermost edges do.
///
/// ```
/// use nnc_frontend::functional::{InterpolateMode, OutputExtents};
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::from_slice(&[0.0f32, 4.0]).view([1, 1, 2]);
/// let extents = OutputExtents::ScaleFactor(2.0.into());
/// let y = functional::interpolate(&x, &extents, &InterpolateMode::Linear, false);
/// assert_eq!(y.to_array()?.into_raw_vec_and_offset().0, [0.0, 1.0, 3.0, 4.0]);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn interpolate(x: &Tensor, extents: &OutputExtents, mode: &InterpolateMode, align_corners: bool) -> Tensor {
    let ty = live!(x);
    let n_spatial = ty.rank().saturating_sub(2);
    if let InterpolateMode::Unknown(name) = mode {
        return fault(format!(
            "interpolate: the mode is `{name}`, expected nearest, nearest-exact, linear, bilinear, trilinear or bicubic"
        ));
    }
    let fits = n_spatial > 0 && mode.n_spatial().is_none_or(|expected| expected == n_spatial);
    if !fits || !ty.dtype.is_float() {
        return fault(format!("interpolate: the input is {ty} for mode `{}`", mode.name()));
    }
    let mut y = x.clone();
    for dim in 0..n_spatial {
        let Some(extent) = ty.shape[dim + 2].as_const().filter(|&extent| extent > 0) else {
            return fault(format!("interpolate: the spatial extents of {ty} must be known and not 0"));
        };
        let (target, step) = match extents {
            OutputExtents::Size(size) => {
                let target = size.at(dim);
                (target, target.map(|target| extent as f64 / target as f64))
            }
            OutputExtents::ScaleFactor(factor) => {
                let factor = factor.at(dim).filter(|factor| *factor > 0.0 && factor.is_finite());
                (factor.map(|factor| (extent as f64 * factor).floor() as usize), factor.map(|factor| 1.0 / factor))
            }
        };
        let (Some(target @ 1..), Some(step)) = (target, step) else {
            return fault(format!("interpolate: {extents:?} gives no extent for dimension {} of {ty}", dim + 2));
        };
        let axis = Axis { extent, target, step, align_corners };
        y = resample(&y, dim as i64 + 2, &axis.taps(mode));
    }
    y
}

/// One dimension being resampled.
struct Axis {
    extent: usize,
    target: usize,
    /// Input positions an output position.
    step: f64,
    align_corners: bool,
}

impl Axis {
    /// For each output position the input positions it is made of, equally many for all.
    fn taps(&self, mode: &InterpolateMode) -> Vec<Vec<Tap>> {
        (0..self.target).map(|at| self.taps_at(mode, at)).collect()
    }

    fn taps_at(&self, mode: &InterpolateMode, at: usize) -> Vec<Tap> {
        match mode {
            InterpolateMode::Nearest => vec![((at as f64 * self.step).floor() as i64, 1.0)],
            InterpolateMode::NearestExact => vec![(((at as f64 + 0.5) * self.step).floor() as i64, 1.0)],
            InterpolateMode::Bicubic => {
                let (low, share) = self.source(at);
                [-1, 0, 1, 2].into_iter().zip(cubic_weights(share)).map(|(tap, weight)| (low + tap, weight)).collect()
            }
            _ => {
                let (low, share) = self.source(at);
                vec![(low, 1.0 - share), (low + 1, share)]
            }
        }
    }

    /// Where an output position lies in the input: the position before it, and how far from there to the next.
    fn source(&self, at: usize) -> (i64, f64) {
        let source = match (self.align_corners, self.target) {
            (true, 1) => 0.0,
            (true, target) => at as f64 * (self.extent - 1) as f64 / (target - 1) as f64,
            (false, _) => (at as f64 + 0.5) * self.step - 0.5,
        };
        // What is a position but for rounding is one, so that sums repeat exactly.
        let nearest = source.round();
        let source = if (source - nearest).abs() < 1e-9 { nearest } else { source };
        (source.floor() as i64, source - source.floor())
    }
}

/// Keys' cubic convolution is this steep where it meets the neighbors.
const CUBIC_A: f64 = -0.75;

/// Weights of the two elements before and the two after a point the share `t` between the inner ones: Keys' cubic
/// convolution.
fn cubic_weights(t: f64) -> [f64; 4] {
    const A: f64 = CUBIC_A;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// [`cubic_weights`] of shares that are data.
#[track_caller]
pub(super) fn cubic_taps(t: &Tensor) -> [Tensor; 4] {
    const A: f64 = CUBIC_A;
    let near = |x: &Tensor| (x * (A + 2.0) - (A + 3.0)) * x * x + 1.0;
    let far = |x: &Tensor| ((x * A - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let other = 1.0 - t;
    [far(&(t + 1.0)), near(t), near(&other), far(&(other + 1.0))]
}
