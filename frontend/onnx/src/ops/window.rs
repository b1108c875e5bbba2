//! Windows of convolutions and pools: what the attributes `kernel_shape`, `strides`, `dilations`, `pads` and `auto_pad`
//! say, checked, one entry a spatial dimension.

use nnc_frontend::Tensor;
use nnc_ir::Dim;

use crate::cx::Cx;
use crate::fault::Fault;

/// Where padding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutoPad {
    /// From `pads`.
    Explicit,
    /// There is none.
    Valid,
    /// As much as it takes for one window every `stride` elements; what is odd goes behind the image.
    SameUpper,
    /// The same, but what is odd goes before the image.
    SameLower,
}

/// How windows move over an image.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub kernel: Vec<usize>,
    pub stride: Vec<usize>,
    pub dilation: Vec<usize>,
    /// The attribute `pads`; zeros if it is missing.
    pub pads: Vec<(i64, i64)>,
    pub auto_pad: AutoPad,
}

impl Window {
    /// Windows of a pool over `n_spatial` dimensions: the extents are an attribute.
    pub(super) fn of_pool(cx: &Cx<'_>, n_spatial: usize) -> Result<Self, Fault> {
        let Some(kernel) = counts(cx, "kernel_shape", n_spatial)? else {
            return Err(cx.invalid("the attribute `kernel_shape` is missing"));
        };
        Self::of_kernel(cx, kernel)
    }

    /// Windows of a convolution: the extents are those of the weight, which `kernel_shape` may only repeat.
    pub(super) fn of_weight(cx: &Cx<'_>, weight: &Tensor) -> Result<Self, Fault> {
        let extents: Option<Vec<usize>> = weight.dims().iter().skip(2).map(Dim::as_const).collect();
        let is_kernel = |extents: &Vec<usize>| !extents.is_empty() && !extents.contains(&0);
        let Some(kernel) = extents.filter(is_kernel) else {
            return Err(cx.invalid(format!("the weight is {}, expected known kernel extents from 1", weight.ty())));
        };
        match counts(cx, "kernel_shape", kernel.len())? {
            Some(given) if given != kernel => {
                Err(cx.invalid(format!("`kernel_shape` is {given:?} for a weight of {}", weight.ty())))
            }
            _ => Self::of_kernel(cx, kernel),
        }
    }

    fn of_kernel(cx: &Cx<'_>, kernel: Vec<usize>) -> Result<Self, Fault> {
        let n_spatial = kernel.len();
        let stride = counts(cx, "strides", n_spatial)?.unwrap_or_else(|| vec![1; n_spatial]);
        let dilation = counts(cx, "dilations", n_spatial)?.unwrap_or_else(|| vec![1; n_spatial]);
        let pads = pads(cx, n_spatial)?;
        let auto_pad = match cx.string_or("auto_pad", "NOTSET")?.as_str() {
            "NOTSET" | "" => AutoPad::Explicit,
            "VALID" => AutoPad::Valid,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            other => {
                let expected = "NOTSET, VALID, SAME_UPPER or SAME_LOWER";
                return Err(cx.invalid(format!("`auto_pad` is `{other}`, expected {expected}")));
            }
        };
        Ok(Self { kernel, stride, dilation, pads, auto_pad })
    }

    /// Positions from the first to the last element of a window along `dim`, both included.
    pub(super) fn spread(&self, dim: usize) -> i64 {
        (self.kernel[dim] as i64 - 1).saturating_mul(self.dilation[dim] as i64).saturating_add(1)
    }

    /// Elements before and after an image of extents `space`.
    pub(super) fn padding(&self, cx: &Cx<'_>, space: &[Dim]) -> Result<Vec<(i64, i64)>, Fault> {
        if space.len() != self.kernel.len() {
            let (n, expected) = (space.len(), self.kernel.len());
            return Err(cx.invalid(format!("an image of {n} dimensions for windows of {expected}")));
        }
        let same = |dim: usize, extent: &Dim| {
            let (stride, spread) = (self.stride[dim] as i64, self.spread(dim));
            let total = match extent.as_const() {
                Some(extent) => ((extent.div_ceil(self.stride[dim]) as i64 - 1) * stride)
                    .saturating_add(spread)
                    .saturating_sub(extent as i64),
                // A window an element needs the same padding whatever the extent.
                None if stride == 1 => spread - 1,
                None => {
                    return Err(cx.unsupported(format!(
                        "`auto_pad` with a stride of {stride} over {extent} elements depends on their number: bind the \
                         dimension"
                    )));
                }
            };
            Ok(total.max(0))
        };
        match self.auto_pad {
            AutoPad::Explicit => Ok(self.pads.clone()),
            AutoPad::Valid => Ok(vec![(0, 0); space.len()]),
            AutoPad::SameUpper | AutoPad::SameLower => {
                let split = |(dim, extent): (usize, &Dim)| {
                    let total = same(dim, extent)?;
                    let (less, more) = (total / 2, total - total / 2);
                    Ok(if self.auto_pad == AutoPad::SameUpper { (less, more) } else { (more, less) })
                };
                space.iter().enumerate().map(split).collect()
            }
        }
    }
}

/// No setting is larger: products of two fit, whatever the extents.
pub(super) const FARTHEST: i64 = 1 << 30;

/// Positive numbers, one a spatial dimension, if the attribute is there.
pub(super) fn counts(cx: &Cx<'_>, name: &str, n_spatial: usize) -> Result<Option<Vec<usize>>, Fault> {
    let Some(values) = cx.ints(name)? else { return Ok(None) };
    if values.len() != n_spatial || values.iter().any(|value| !(1..=FARTHEST).contains(value)) {
        return Err(cx.invalid(format!("`{name}` is {values:?}, expected {n_spatial} numbers from 1 to {FARTHEST}")));
    }
    Ok(Some(values.into_iter().map(|value| value as usize).collect()))
}

/// The attribute `pads`, all that is before and then all that is after, as pairs.
pub(super) fn pads(cx: &Cx<'_>, n_spatial: usize) -> Result<Vec<(i64, i64)>, Fault> {
    let Some(values) = cx.ints("pads")? else { return Ok(vec![(0, 0); n_spatial]) };
    if values.len() != 2 * n_spatial || values.iter().any(|value| !(-FARTHEST..=FARTHEST).contains(value)) {
        let n = 2 * n_spatial;
        return Err(cx.invalid(format!("`pads` is {values:?}, expected {n} numbers up to {FARTHEST}")));
    }
    Ok((0..n_spatial).map(|dim| (values[dim], values[dim + n_spatial])).collect())
}

/// The spatial extents of `[N, C, space...]`.
pub(super) fn space(cx: &Cx<'_>, x: &Tensor) -> Result<Vec<Dim>, Fault> {
    match x.dims().get(2..) {
        Some(space) if !space.is_empty() => Ok(space.to_vec()),
        _ => Err(cx.invalid(format!("the input is {}, expected [N, C, space...]", x.ty()))),
    }
}

/// The extents as numbers; `why` says what needs them.
pub(super) fn known_space(cx: &Cx<'_>, x: &Tensor, why: &str) -> Result<Vec<usize>, Fault> {
    let extents: Option<Vec<usize>> = space(cx, x)?.iter().map(Dim::as_const).collect();
    extents.ok_or_else(|| cx.unsupported(format!("{why} needs extents that are known, found {}: bind them", x.ty())))
}

/// A vector over channels, shaped to broadcast along dimension 1 of `x`.
pub(super) fn along_channels(vector: &Tensor, x: &Tensor) -> Tensor {
    let mut shape = vec![1i64; x.rank().saturating_sub(1).max(1)];
    shape[0] = -1;
    vector.reshape(shape)
}
