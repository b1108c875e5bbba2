//! Padding with what the image holds.

use crate::tensor::{Tensor, fault, live};

use super::PaddingMode;

/// Puts elements around `x`: `padding` holds pairs (before, after) from the last dimension on, as
/// `torch.nn.functional.pad`; negative amounts crop. Zeros take any amount; reflection takes less than the extent, and
/// a circular border at most the extent. For another constant see [`Tensor::pad`].
///
/// ```
/// # use nnc_frontend::prelude::*;
/// # use nnc_frontend::functional::PaddingMode;
/// let x = Tensor::arange(4);
/// let padded = functional::pad(&x, &[(2, 1)], PaddingMode::Reflect);
/// assert_eq!(padded.to_array_i64()?.into_raw_vec_and_offset().0, [2, 1, 0, 1, 2, 3, 2]);
/// // What is cut off at one end is no neighbor of the other.
/// let wrapped = functional::pad(&x, &[(2, -1)], PaddingMode::Circular);
/// assert_eq!(wrapped.to_array_i64()?.into_raw_vec_and_offset().0, [1, 2, 0, 1, 2]);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn pad(x: &Tensor, padding: &[(i64, i64)], mode: PaddingMode) -> Tensor {
    let ty = live!(x);
    if padding.len() > ty.rank() {
        return fault(format!("pad: {} pairs of amounts for {ty}", padding.len()));
    }
    if mode == PaddingMode::Zeros {
        return x.pad(padding, 0.0);
    }
    let mut padded = x.clone();
    // PyTorch's order, which shows in corners only for sums of borders: none of the modes has any.
    for (idx, &amounts) in padding.iter().enumerate() {
        padded = border(&padded, ty.rank() - 1 - idx, amounts, mode);
    }
    padded
}

/// Pads dimension `dim`.
#[track_caller]
fn border(x: &Tensor, dim: usize, (low, high): (i64, i64), mode: PaddingMode) -> Tensor {
    let ty = live!(x);
    let axis = dim as i64;
    if mode == PaddingMode::Circular && low.min(high) < 0 && low.max(high) > 0 {
        // What is cut off is no neighbor of the other end.
        let cropped = border(x, dim, (low.min(0), high.min(0)), mode);
        return border(&cropped, dim, (low.max(0), high.max(0)), mode);
    }
    let largest = match (mode, ty.shape[dim].as_const()) {
        (_, None) => i64::MAX,
        (PaddingMode::Reflect, Some(extent)) => extent as i64 - 1,
        (PaddingMode::Circular, Some(extent)) => extent as i64,
        (PaddingMode::Zeros | PaddingMode::Replicate, Some(_)) => i64::MAX,
    };
    if low.max(high) > largest {
        let amount = low.max(high);
        return fault(format!(
            "pad: {amount} elements ({}) around dimension {dim} of {ty}, expected at most {largest}",
            mode.name()
        ));
    }
    // Negative amounts crop, on their side alone.
    let crop_end = (high < 0).then_some(high);
    let inner = if low < 0 || high < 0 { x.slice(axis, -low.min(0), crop_end, 1) } else { x.clone() };
    let (low, high) = (low.max(0), high.max(0));
    let repeat = |edge: Tensor, n: i64| {
        let mut extents = ty.shape.clone();
        extents.0[dim] = nnc_ir::Dim::from(n as usize);
        edge.broadcast_to(extents)
    };
    let before = (low > 0).then(|| match mode {
        PaddingMode::Reflect => x.slice(axis, 1, Some(1 + low), 1).flip(axis),
        PaddingMode::Circular => x.slice(axis, -low, None, 1),
        PaddingMode::Zeros | PaddingMode::Replicate => repeat(x.slice(axis, 0, Some(1), 1), low),
    });
    let after = (high > 0).then(|| match mode {
        PaddingMode::Reflect => x.slice(axis, -1 - high, Some(-1), 1).flip(axis),
        PaddingMode::Circular => x.slice(axis, 0, Some(high), 1),
        PaddingMode::Zeros | PaddingMode::Replicate => repeat(x.slice(axis, -1, None, 1), high),
    });
    let parts: Vec<Tensor> = before.into_iter().chain([inner]).chain(after).collect();
    Tensor::cat(&parts, axis)
}
