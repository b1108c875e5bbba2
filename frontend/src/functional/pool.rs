//! Pooling as functions: folds of the windows of `reduce_window`, with PyTorch's arithmetic of borders.
//!
//! `ceil_mode` keeps a last window that reaches beyond the image, if it starts in the image or the padding before it.

use nnc_ir::ops::{ReduceKind, ReduceWindowAttrs};
use nnc_ir::{Dim, Op, TensorType};

use super::IntoSpatial;
use crate::tensor::{Tensor, apply, checked, fault, live};

/// How windows move: PyTorch's arguments of pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows<const N: usize> {
    /// Extents of the window.
    pub kernel_size: [usize; N],
    /// Step of the window.
    pub stride: [usize; N],
    /// Positions before and after the image, at most half of the window.
    pub padding: [usize; N],
    /// Distance between elements of a window.
    pub dilation: [usize; N],
    /// Whether a last window may reach beyond the padded image.
    pub ceil_mode: bool,
}

impl<const N: usize> Windows<N> {
    /// Windows side by side, without padding.
    pub fn new(kernel_size: impl IntoSpatial<N>) -> Self {
        let kernel_size = kernel_size.into_spatial();
        Self { kernel_size, stride: kernel_size, padding: [0; N], dilation: [1; N], ceil_mode: false }
    }

    /// Step of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl IntoSpatial<N>) -> Self {
        self.stride = stride.into_spatial();
        self
    }

    /// Positions before and after the image.
    #[must_use]
    pub fn padding(mut self, padding: impl IntoSpatial<N>) -> Self {
        self.padding = padding.into_spatial();
        self
    }

    /// Distance between elements of a window.
    #[must_use]
    pub fn dilation(mut self, dilation: impl IntoSpatial<N>) -> Self {
        self.dilation = dilation.into_spatial();
        self
    }

    /// Whether a last window may reach beyond the padded image.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// The windows over an input of type `ty`, `[N, C, space...]` or `[C, space...]`.
    fn attrs(&self, what: &str, kind: ReduceKind, ty: &TensorType) -> Result<ReduceWindowAttrs, String> {
        let first = first_spatial::<N>(what, ty)?;
        let mut attrs = ReduceWindowAttrs::plain(kind, ty.rank());
        for dim in 0..N {
            let (kernel, stride) = (self.kernel_size[dim], self.stride[dim]);
            let (padding, dilation) = (self.padding[dim], self.dilation[dim]);
            for (name, value) in [("kernel_size", kernel), ("stride", stride), ("dilation", dilation)] {
                if value == 0 {
                    return Err(format!("{what}: {name} is 0, expected at least 1"));
                }
            }
            if padding > kernel / 2 {
                return Err(format!(
                    "{what}: padding is {padding}, expected at most half of a window of {kernel}, {}",
                    kernel / 2
                ));
            }
            let beyond = if self.ceil_mode { self.beyond(what, dim, &ty.shape[first + dim], ty)? } else { 0 };
            attrs.window[first + dim] = kernel;
            attrs.stride[first + dim] = stride;
            attrs.dilation[first + dim] = dilation;
            attrs.padding[first + dim] = (padding as i64, (padding + beyond) as i64);
        }
        Ok(attrs)
    }

    /// How far the last window of `ceil_mode` reaches beyond the padded image.
    fn beyond(&self, what: &str, dim: usize, extent: &Dim, ty: &TensorType) -> Result<usize, String> {
        let Some(extent) = extent.as_const() else {
            return Err(format!("{what}: ceil_mode needs spatial extents that are known, found {ty}"));
        };
        let (stride, padding) = (self.stride[dim], self.padding[dim]);
        let padded = extent + 2 * padding;
        let spread = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1;
        let mut last = padded.saturating_sub(spread).div_ceil(stride) * stride;
        if last >= extent + padding {
            last = last.saturating_sub(stride);
        }
        Ok((last + spread).saturating_sub(padded))
    }
}

/// The first of the last `N` dimensions of `[N, C, space...]` or `[C, space...]`.
fn first_spatial<const N: usize>(what: &str, ty: &TensorType) -> Result<usize, String> {
    match ty.rank().checked_sub(N) {
        Some(first @ 1..=2) => Ok(first),
        _ => Err(format!("{what}: the input is {ty}, expected {} or {} dimensions", N + 1, N + 2)),
    }
}

/// Largest (`Max`) or smallest (`Min`) element of each window.
#[track_caller]
pub(crate) fn extreme_pool<const N: usize>(what: &str, kind: ReduceKind, x: &Tensor, windows: &Windows<N>) -> Tensor {
    let ty = live!(x);
    let attrs = checked!(windows.attrs(what, kind, &ty));
    apply(Op::ReduceWindow(attrs), &[x])
}

/// Where in its plane the element is that [`extreme_pool`] gives for each window.
#[track_caller]
pub(crate) fn extreme_pool_indices<const N: usize>(
    what: &str,
    kind: ReduceKind,
    x: &Tensor,
    windows: &Windows<N>,
) -> Tensor {
    let ty = live!(x);
    let attrs = checked!(windows.attrs(what, kind, &ty));
    let mut plane = Dim::from(1);
    for extent in &ty.shape.dims()[ty.rank() - N..] {
        plane = plane * extent.clone();
    }
    let Some(plane) = plane.as_const() else {
        return fault(format!("{what}: return_indices needs spatial extents that are known, found {ty}"));
    };
    apply(Op::ReduceWindow(attrs), &[&x.detach()]).fmod(plane as i64)
}

/// Mean of each window: the sum divided by the number of positions.
#[track_caller]
pub(crate) fn mean_pool<const N: usize>(
    what: &str,
    x: &Tensor,
    windows: &Windows<N>,
    count_include_pad: bool,
    divisor_override: Option<usize>,
) -> Tensor {
    let ty = live!(x);
    let attrs = checked!(windows.attrs(what, ReduceKind::Sum, &ty));
    if divisor_override == Some(0) {
        return fault(format!("{what}: divisor_override is 0, expected at least 1"));
    }
    let first = ty.rank() - N;
    let reaches = (0..N).any(|dim| attrs.padding[first + dim].1 as usize > windows.padding[dim]);
    let is_padded = windows.padding.iter().any(|&padding| padding > 0);
    let sums = apply(Op::ReduceWindow(attrs.clone()), &[x]);
    if divisor_override.is_none() && (reaches || is_padded && !count_include_pad) {
        // Windows differ in how many positions count: padding does where it is included, what is beyond it does not.
        let mut extents = vec![Dim::from(1); first];
        extents.extend(ty.shape.dims()[first..].iter().cloned());
        let inside = if count_include_pad { 1.0 } else { 0.0 };
        let around: Vec<(i64, i64)> =
            windows.padding.iter().rev().map(|&padding| (padding as i64, padding as i64)).collect();
        let ones = Tensor::full(nnc_ir::Shape(extents), 1.0).to_dtype(ty.dtype).pad(&around, inside);
        let mut counted = attrs;
        for dim in 0..N {
            let (low, high) = counted.padding[first + dim];
            counted.padding[first + dim] = (0, high - low);
        }
        return sums / apply(Op::ReduceWindow(counted), &[&ones]);
    }
    let n_positions = divisor_override.unwrap_or_else(|| windows.kernel_size.iter().product());
    sums / n_positions as f64
}

/// Power mean of each window: `(Σ |x|^p)^(1/p)` of non-negative elements, as `torch.nn.functional.lp_pool1d` and its kin
/// compute it.
#[track_caller]
pub(crate) fn power_pool<const N: usize>(what: &str, x: &Tensor, norm_type: f64, windows: &Windows<N>) -> Tensor {
    live!(x);
    if norm_type == 0.0 || !norm_type.is_finite() {
        return fault(format!("{what}: norm_type is {norm_type}, expected a finite number other than 0"));
    }
    let mean = mean_pool(what, &x.pow(norm_type), windows, true, None);
    let n_positions: usize = windows.kernel_size.iter().product();
    // Odd powers have negative means; the root is of what is not.
    (mean.sign() * mean.abs().relu() * n_positions as f64).pow(1.0 / norm_type)
}

/// What an adaptive pooling computes of each region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adaptive {
    Mean,
    Max,
}

/// Cuts each spatial dimension into `output_size` regions that cover it (`None`: as many as elements) and folds them.
/// Region `i` of `n` covers `⌊i L / n⌋` to `⌈(i + 1) L / n⌉`. Dimension by dimension, since means and maxima allow it.
#[track_caller]
pub(crate) fn adaptive_pool<const N: usize>(
    what: &str,
    fold: Adaptive,
    x: &Tensor,
    output_size: [Option<usize>; N],
) -> Tensor {
    let ty = live!(x);
    let first = checked!(first_spatial::<N>(what, &ty));
    let extents: Option<Vec<usize>> = ty.shape.dims()[first..].iter().map(Dim::as_const).collect();
    let Some(extents) = extents else {
        return fault(format!("{what}: the input is {ty}, expected spatial extents that are known"));
    };
    let sizes: Vec<usize> = extents.iter().zip(output_size).map(|(&extent, size)| size.unwrap_or(extent)).collect();
    if let Some(dim) = (0..N).find(|&dim| sizes[dim] == 0 || extents[dim] == 0) {
        return fault(format!("{what}: {} regions of {} elements in {ty}", sizes[dim], extents[dim]));
    }
    if extents.iter().zip(&sizes).all(|(extent, size)| extent % size == 0) {
        let kernel: [usize; N] = std::array::from_fn(|dim| extents[dim] / sizes[dim]);
        let windows = Windows::new(kernel);
        return match fold {
            Adaptive::Mean => mean_pool(what, x, &windows, true, None),
            Adaptive::Max => extreme_pool(what, ReduceKind::Max, x, &windows),
        };
    }
    let mut folded = x.clone();
    for dim in (0..N).rev() {
        if sizes[dim] == extents[dim] {
            continue;
        }
        let axis = (first + dim) as i64;
        let parts: Vec<Tensor> = regions(extents[dim], sizes[dim])
            .map(|(start, length)| {
                let region = folded.narrow(axis, start, length);
                match fold {
                    Adaptive::Mean => region.mean_keepdim(axis),
                    Adaptive::Max => apply(Op::ReduceWindow(whole(&region, first + dim, length)), &[&region]),
                }
            })
            .collect();
        folded = Tensor::cat(&parts, axis);
    }
    folded
}

/// Where in its plane the element is that [`adaptive_pool`] gives for each region: the position in its row of the
/// largest of each row, then the first of the rows that has the largest.
#[track_caller]
pub(crate) fn adaptive_max_indices<const N: usize>(what: &str, x: &Tensor, output_size: [Option<usize>; N]) -> Tensor {
    let ty = live!(x);
    let first = checked!(first_spatial::<N>(what, &ty));
    let extents: Option<Vec<usize>> = ty.shape.dims()[first..].iter().map(Dim::as_const).collect();
    let Some(extents) = extents else {
        return fault(format!("{what}: the input is {ty}, expected spatial extents that are known"));
    };
    let mut values = x.detach();
    let mut indices: Option<Tensor> = None;
    let mut inner = 1;
    for dim in (0..N).rev() {
        let size = output_size[dim].unwrap_or(extents[dim]);
        if size == 0 || extents[dim] == 0 {
            return fault(format!("{what}: {size} regions of {} elements in {ty}", extents[dim]));
        }
        let axis = (first + dim) as i64;
        let mut parts = (Vec::new(), Vec::new());
        for (start, length) in regions(extents[dim], size) {
            let region = values.narrow(axis, start, length);
            let at = region.argmax(axis).unsqueeze(axis);
            let own = (&at + start as i64) * inner as i64;
            parts.1.push(match &indices {
                Some(indices) => own + indices.narrow(axis, start, length).gather(axis, &at),
                None => own,
            });
            parts.0.push(region.gather(axis, &at));
        }
        (values, indices) = (Tensor::cat(&parts.0, axis), Some(Tensor::cat(&parts.1, axis)));
        inner *= extents[dim];
    }
    indices.unwrap_or(values)
}

/// One window over all of dimension `dim`. Unlike a reduction it hands the gradient to one element of equal ones, as
/// PyTorch does.
fn whole(x: &Tensor, dim: usize, length: usize) -> ReduceWindowAttrs {
    let mut attrs = ReduceWindowAttrs::plain(ReduceKind::Max, x.ty().rank());
    attrs.window[dim] = length;
    attrs
}

/// Start and length of each region.
fn regions(extent: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size).map(move |idx| {
        let start = idx * extent / size;
        let end = ((idx + 1) * extent).div_ceil(size);
        (start, end - start)
    })
}

/// Extents of the result of adaptive pooling: a number for all dimensions, an array, or an array in which `None` leaves
/// a dimension as it is.
pub trait IntoOutputSize<const N: usize> {
    /// The extents.
    fn into_output_size(self) -> [Option<usize>; N];

    /// The extents as they were given.
    fn printed_output_size(&self) -> String
    where
        Self: Copy,
    {
        let extents =
            self.into_output_size().map(|size| size.map_or_else(|| "None".to_string(), |size| size.to_string()));
        crate::module::python_tuple(&extents)
    }
}

impl<const N: usize> IntoOutputSize<N> for usize {
    fn into_output_size(self) -> [Option<usize>; N] {
        [Some(self); N]
    }

    fn printed_output_size(&self) -> String {
        self.to_string()
    }
}

impl<const N: usize> IntoOutputSize<N> for [usize; N] {
    fn into_output_size(self) -> [Option<usize>; N] {
        self.map(Some)
    }
}

impl<const N: usize> IntoOutputSize<N> for [Option<usize>; N] {
    fn into_output_size(self) -> [Option<usize>; N] {
        self
    }
}

impl IntoOutputSize<2> for (usize, usize) {
    fn into_output_size(self) -> [Option<usize>; 2] {
        [Some(self.0), Some(self.1)]
    }
}

impl IntoOutputSize<3> for (usize, usize, usize) {
    fn into_output_size(self) -> [Option<usize>; 3] {
        [Some(self.0), Some(self.1), Some(self.2)]
    }
}

/// Functions for each number of spatial dimensions.
macro_rules! pools {
    ($( $n:literal, $shape:literal, $max:ident, $max_indices:ident, $min:ident, $avg:ident, $lp:ident, $adaptive_avg:ident, $adaptive_max:ident, $adaptive_indices:ident; )*) => {
        $(
            #[doc = concat!("Largest element of each window of `[N, C", $shape, "]` or `[C", $shape, "]`: `torch.nn.functional.", stringify!($max), "`.")]
            #[track_caller]
            pub fn $max(x: &Tensor, windows: Windows<$n>) -> Tensor {
                extreme_pool(stringify!($max), ReduceKind::Max, x, &windows)
            }

            #[doc = concat!("[`", stringify!($max), "`] and the `i64` position of each element in its plane, row-major: `return_indices=True`.")]
            #[track_caller]
            pub fn $max_indices(x: &Tensor, windows: Windows<$n>) -> (Tensor, Tensor) {
                let largest = extreme_pool(stringify!($max), ReduceKind::Max, x, &windows);
                (largest, extreme_pool_indices(stringify!($max), ReduceKind::ArgMax, x, &windows))
            }

            #[doc = concat!("Smallest element of each window: the twin of [`", stringify!($max), "`], which PyTorch lacks.")]
            #[track_caller]
            pub fn $min(x: &Tensor, windows: Windows<$n>) -> Tensor {
                extreme_pool(stringify!($min), ReduceKind::Min, x, &windows)
            }

            #[doc = concat!("Mean of each window of `[N, C", $shape, "]` or `[C", $shape, "]`: `torch.nn.functional.", stringify!($avg), "`. Padding counts as zeros")]
            /// if `count_include_pad`; `divisor_override` replaces the number of positions.
            #[track_caller]
            pub fn $avg(
                x: &Tensor,
                windows: Windows<$n>,
                count_include_pad: bool,
                divisor_override: Option<usize>,
            ) -> Tensor {
                mean_pool(stringify!($avg), x, &windows, count_include_pad, divisor_override)
            }

            #[doc = concat!("`(Σ x^norm_type)^(1 / norm_type)` of each window: `torch.nn.functional.", stringify!($lp), "`.")]
            #[track_caller]
            pub fn $lp(x: &Tensor, norm_type: f64, windows: Windows<$n>) -> Tensor {
                power_pool(stringify!($lp), x, norm_type, &windows)
            }

            #[doc = concat!("Means of `output_size` regions that cover the image: `torch.nn.functional.", stringify!($adaptive_avg), "`.")]
            #[track_caller]
            pub fn $adaptive_avg(x: &Tensor, output_size: impl IntoOutputSize<$n>) -> Tensor {
                adaptive_pool(stringify!($adaptive_avg), Adaptive::Mean, x, output_size.into_output_size())
            }

            #[doc = concat!("Largest elements of `output_size` regions that cover the image: `torch.nn.functional.", stringify!($adaptive_max), "`.")]
            #[track_caller]
            pub fn $adaptive_max(x: &Tensor, output_size: impl IntoOutputSize<$n>) -> Tensor {
                adaptive_pool(stringify!($adaptive_max), Adaptive::Max, x, output_size.into_output_size())
            }

            #[doc = concat!("[`", stringify!($adaptive_max), "`] and the `i64` position of each element in its plane, row-major: `return_indices=True`.")]
            #[track_caller]
            pub fn $adaptive_indices(x: &Tensor, output_size: impl IntoOutputSize<$n>) -> (Tensor, Tensor) {
                let output_size = output_size.into_output_size();
                let largest = adaptive_pool(stringify!($adaptive_max), Adaptive::Max, x, output_size);
                (largest, adaptive_max_indices(stringify!($adaptive_max), x, output_size))
            }
        )*
    };
}

pools! {
    1, ", L", max_pool1d, max_pool1d_with_indices, min_pool1d, avg_pool1d, lp_pool1d, adaptive_avg_pool1d, adaptive_max_pool1d, adaptive_max_pool1d_with_indices;
    2, ", H, W", max_pool2d, max_pool2d_with_indices, min_pool2d, avg_pool2d, lp_pool2d, adaptive_avg_pool2d, adaptive_max_pool2d, adaptive_max_pool2d_with_indices;
    3, ", D, H, W", max_pool3d, max_pool3d_with_indices, min_pool3d, avg_pool3d, lp_pool3d, adaptive_avg_pool3d, adaptive_max_pool3d, adaptive_max_pool3d_with_indices;
}
