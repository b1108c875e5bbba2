//! The rule of `convolution`, and the arithmetic of its windows.
//!
//! Along one spatial dimension the image is *dilated* (its elements stand `lhs_dilation` apart), then padded (or
//! cropped, where padding is negative). The kernel, its taps `rhs_dilation` apart, is laid over it every `stride`
//! positions, as long as it lies wholly inside.

use serde::{Deserialize, Serialize};

use super::InferError;
use crate::dim::Dim;
use crate::types::{DType, Shape, TensorType};

/// Attributes of `convolution`; layouts are `[batch, channel, space...]` and `[out, in / groups, space...]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvolutionAttrs {
    /// Step of the window, one entry a spatial dimension.
    pub stride: Vec<usize>,
    /// Padding before and after.
    pub padding: Vec<(i64, i64)>,
    /// Dilation of the image.
    pub lhs_dilation: Vec<usize>,
    /// Dilation of the kernel.
    pub rhs_dilation: Vec<usize>,
    /// Number of channel groups.
    pub groups: usize,
}

/// How a window moves along one spatial dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowDim {
    /// Step of the window.
    pub stride: i64,
    /// Padding before the image.
    pub low: i64,
    /// Padding after the image.
    pub high: i64,
    /// Distance between elements of the image.
    pub lhs_dilation: i64,
    /// Distance between taps of the kernel.
    pub rhs_dilation: i64,
}

impl WindowDim {
    /// Where tap `tap` of the window at `at` falls, in units of the dilated image: element `i` of the image stands at
    /// `i * lhs_dilation`, and nothing stands elsewhere.
    pub fn position(&self, at: i64, tap: i64) -> i64 {
        at * self.stride + tap * self.rhs_dilation - self.low
    }

    /// Positions from the first to the last of `extent` (at least 1) elements that stand `dilation` apart.
    pub fn spread(extent: i64, dilation: i64) -> i64 {
        (extent - 1).saturating_mul(dilation).saturating_add(1)
    }
}

impl ConvolutionAttrs {
    /// Steps of 1 without padding in `n_spatial` dimensions, one group.
    pub fn plain(n_spatial: usize) -> Self {
        Self {
            stride: vec![1; n_spatial],
            padding: vec![(0, 0); n_spatial],
            lhs_dilation: vec![1; n_spatial],
            rhs_dilation: vec![1; n_spatial],
            groups: 1,
        }
    }

    /// Number of spatial dimensions.
    pub fn n_spatial(&self) -> usize {
        self.stride.len()
    }

    /// The window along spatial dimension `dim` of attributes that `infer` has accepted.
    pub fn window(&self, dim: usize) -> WindowDim {
        WindowDim {
            stride: self.stride[dim] as i64,
            low: self.padding[dim].0,
            high: self.padding[dim].1,
            lhs_dilation: self.lhs_dilation[dim] as i64,
            rhs_dilation: self.rhs_dilation[dim] as i64,
        }
    }
}

/// Largest step, dilation or padding: products of two of them with an extent stay far from overflow.
const MAX_AMOUNT: i64 = 1 << 31;

pub(super) fn infer(attrs: &ConvolutionAttrs, lhs: &TensorType, rhs: &TensorType) -> Result<TensorType, InferError> {
    // (c1) one element type, a number.
    if lhs.dtype != rhs.dtype || lhs.dtype == DType::Bool {
        return Err(format!("operands have types {lhs} and {rhs}, expected the same number type"));
    }
    // (c2) batch, channels, and one to three spatial dimensions.
    if !(3..=5).contains(&lhs.rank()) || rhs.rank() != lhs.rank() {
        return Err(format!("operands have types {lhs} and {rhs}, expected one rank of 3 to 5"));
    }
    let n_spatial = lhs.rank() - 2;
    // (c3) one entry a spatial dimension, steps and dilations at least 1.
    for (name, values) in
        [("stride", &attrs.stride), ("lhs_dilation", &attrs.lhs_dilation), ("rhs_dilation", &attrs.rhs_dilation)]
    {
        check_entries(name, values.len(), n_spatial)?;
        if let Some(&value) = values.iter().find(|&&value| value == 0 || value as u64 > MAX_AMOUNT as u64) {
            return Err(format!("{name} is {value}, expected 1 to {MAX_AMOUNT}"));
        }
    }
    check_entries("padding", attrs.padding.len(), n_spatial)?;
    let amounts = attrs.padding.iter().flat_map(|&(low, high)| [low, high]);
    if let Some(amount) = { amounts }.find(|amount| amount.unsigned_abs() > MAX_AMOUNT as u64) {
        return Err(format!("padding is {amount}, expected -{MAX_AMOUNT} to {MAX_AMOUNT}"));
    }
    // (c4) groups divide the channels.
    let groups = Dim::from(attrs.groups);
    if attrs.groups == 0 || rhs.shape[1].clone() * groups.clone() != lhs.shape[1] {
        return Err(format!(
            "dimension 1 of {lhs} is {}, expected {} groups of dimension 1 of {rhs}",
            lhs.shape[1], attrs.groups
        ));
    }
    if rhs.shape[0].exact_div(&groups).is_none() {
        return Err(format!(
            "dimension 0 of {rhs} is {}, expected a multiple of {} groups",
            rhs.shape[0], attrs.groups
        ));
    }
    // (c5) image and kernel are not empty, and the kernel fits into the padded image.
    let mut shape = vec![lhs.shape[0].clone(), rhs.shape[0].clone()];
    for dim in 0..n_spatial {
        let (image, kernel) = (&lhs.shape[2 + dim], &rhs.shape[2 + dim]);
        for (ty, extent) in [(lhs, image), (rhs, kernel)] {
            if extent.as_const() == Some(0) {
                return Err(format!("dimension {} of {ty} is 0, expected 1 or more", 2 + dim));
            }
        }
        shape.push(result_extent(&attrs.window(dim), image, kernel).map_err(|(image, kernel)| {
            format!("the kernel {rhs} covers {kernel} positions along dimension {}, but {lhs} has {image}", 2 + dim)
        })?);
    }
    Ok(TensorType { dtype: lhs.dtype, shape: Shape(shape) })
}

fn check_entries(name: &str, found: usize, expected: usize) -> Result<(), InferError> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{name} has {found} entries, expected {expected}, one a spatial dimension"))
}

/// Number of windows, or the padded extent of the image and the extent of the kernel if that is none.
fn result_extent(window: &WindowDim, image: &Dim, kernel: &Dim) -> Result<Dim, (i64, i64)> {
    if let (Some(image), Some(kernel)) = (image.as_const(), kernel.as_const()) {
        let number = |extent: usize| i64::try_from(extent).unwrap_or(i64::MAX);
        let image = WindowDim::spread(number(image), window.lhs_dilation).saturating_add(window.low + window.high);
        let kernel = WindowDim::spread(number(kernel), window.rhs_dilation);
        if kernel > image {
            return Err((image, kernel));
        }
        return Ok(Dim::from(((image - kernel) / window.stride + 1) as usize));
    }
    // ((image - 1) * lhs_dilation + 1 + low + high - (kernel - 1) * rhs_dilation - 1) / stride + 1, with what is
    // constant gathered on one side, since a number below zero is no extent.
    let of = |amount: i64| Dim::from(amount as usize);
    let spread = image.clone() * of(window.lhs_dilation) - kernel.clone() * of(window.rhs_dilation);
    let constant = window.low + window.high - window.lhs_dilation + window.rhs_dilation + window.stride;
    let span = if constant < 0 { spread - of(-constant) } else { spread + of(constant) };
    Ok(span.floor_div(&of(window.stride)))
}
