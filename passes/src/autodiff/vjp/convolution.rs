//! Rule of `convolution`: both cotangents are convolutions, so they are differentiable again.
//!
//! Along one dimension, with `p = low`, `s = stride`, `d` and `e` the dilations of image and kernel, the result is
//! `y[o] = sum over i, k of x[i] * w[k]` where `i * d = o * s + k * e - p`. In the same relation between `i`, `o` and
//! `k` the cotangents sum over the other two:
//!
//! - `x'[i]` is the cotangent, dilated by `s`, under the reversed kernel, in steps of `d`;
//! - `w'[k]` is the image, dilated by `d`, under the cotangent as a kernel of dilation `s`, in steps of `e`, with the
//!   batch as the contracted channels.
//!
//! Where a stride does not divide evenly, the last positions of the image are in no window. How many there are
//! depends on the extents; where these are symbols, the cotangent is computed as if there were most (for `x`) or none
//! (for `w`) and cut to size.

use nnc_ir::builder::Built;
use nnc_ir::ops::{ConvolutionAttrs, WindowDim};
use nnc_ir::{Builder, Dim, Shape, Value};

use super::{Cotangents, Site};

pub(super) fn convolution(attrs: &ConvolutionAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (lhs, rhs, g) = (site.operands[0], site.operands[1], site.cotangent);
    let image = site.give(0, |b| image_cotangent(b, attrs, lhs, rhs, g))?;
    let kernel = site.give(1, |b| kernel_cotangent(b, attrs, lhs, rhs, g))?;
    Ok(vec![image, kernel])
}

/// Positions at the end of the padded image that are in no window, if the extents are known.
fn unused(window: &WindowDim, image: &Dim, kernel: &Dim) -> Option<i64> {
    if window.stride == 1 {
        return Some(0);
    }
    let spread = |extent: &Dim, dilation| Some(WindowDim::spread(i64::try_from(extent.as_const()?).ok()?, dilation));
    let padded = spread(image, window.lhs_dilation)? + window.low + window.high;
    Some((padded - spread(kernel, window.rhs_dilation)?).rem_euclid(window.stride))
}

/// Cuts each spatial dimension of `value` to the extent it has in `shape`.
fn cut(b: &mut Builder<'_>, mut value: Value, shape: &Shape) -> Built {
    for dim in 2..shape.rank() {
        if b.shape(value)[dim] != shape[dim] {
            value = b.slice_dim(value, dim, 0, shape[dim].clone())?;
        }
    }
    Ok(value)
}

fn image_cotangent(b: &mut Builder<'_>, attrs: &ConvolutionAttrs, lhs: Value, rhs: Value, g: Value) -> Built {
    let (lhs_shape, rhs_shape) = (b.shape(lhs).clone(), b.shape(rhs).clone());
    let mut adjoint = ConvolutionAttrs {
        stride: attrs.lhs_dilation.clone(),
        padding: Vec::new(),
        lhs_dilation: attrs.stride.clone(),
        rhs_dilation: attrs.rhs_dilation.clone(),
        groups: attrs.groups,
    };
    for dim in 0..attrs.n_spatial() {
        let window = attrs.window(dim);
        let (image, kernel) = (&lhs_shape[2 + dim], &rhs_shape[2 + dim]);
        let Some(taps) = kernel.as_const() else {
            return Err(b.fault(format!(
                "convolution: dimension {} of the kernel has the symbolic extent {kernel}, expected a number to differentiate by the image",
                2 + dim
            )));
        };
        let last_tap = (taps as i64 - 1) * window.rhs_dilation;
        let unused = unused(&window, image, kernel).unwrap_or(window.stride - 1);
        adjoint.padding.push((last_tap - window.low, last_tap - window.high + unused));
    }
    let kernel = swap_channels(b, rhs, attrs.groups, 0)?;
    let spatial: Vec<usize> = (2..rhs_shape.rank()).collect();
    let kernel = b.reverse(kernel, &spatial)?;
    let cotangent = b.convolution(g, kernel, adjoint)?;
    cut(b, cotangent, &lhs_shape)
}

fn kernel_cotangent(b: &mut Builder<'_>, attrs: &ConvolutionAttrs, lhs: Value, rhs: Value, g: Value) -> Built {
    let (lhs_shape, rhs_shape) = (b.shape(lhs).clone(), b.shape(rhs).clone());
    let mut adjoint = ConvolutionAttrs {
        stride: attrs.rhs_dilation.clone(),
        padding: Vec::new(),
        lhs_dilation: attrs.lhs_dilation.clone(),
        rhs_dilation: attrs.stride.clone(),
        groups: attrs.groups,
    };
    for dim in 0..attrs.n_spatial() {
        let window = attrs.window(dim);
        let unused = unused(&window, &lhs_shape[2 + dim], &rhs_shape[2 + dim]).unwrap_or(0);
        adjoint.padding.push((window.low, window.high - unused));
    }
    // Image [n, groups * c, ...] to [c, groups * n, ...], cotangent [n, out, ...] to [out, n, ...].
    let image = swap_channels(b, lhs, attrs.groups, 1)?;
    let mut swap: Vec<usize> = (0..lhs_shape.rank()).collect();
    swap.swap(0, 1);
    let kernel = b.transpose(g, &swap)?;
    let cotangent = b.convolution(image, kernel, adjoint)?;
    let cotangent = b.transpose(cotangent, &swap)?;
    cut(b, cotangent, &rhs_shape)
}

/// Swaps the first dimension with the second within each of `groups`, which divide dimension `grouped`: the kernel's
/// `[groups * a, b, ...]` becomes `[groups * b, a, ...]`, the image's `[a, groups * b, ...]` `[b, groups * a, ...]`.
fn swap_channels(b: &mut Builder<'_>, value: Value, groups: usize, grouped: usize) -> Built {
    let shape = b.shape(value).clone();
    let groups_dim = Dim::from(groups);
    let Some(in_group) = shape[grouped].exact_div(&groups_dim) else {
        return Err(b.fault(format!("convolution: {} is no multiple of {groups} groups", shape[grouped])));
    };
    let space = shape.dims()[2..].iter().cloned();
    let (split, order, swapped) = if grouped == 0 {
        ([groups_dim.clone(), in_group.clone(), shape[1].clone()], [0, 2, 1], [groups_dim * shape[1].clone(), in_group])
    } else {
        ([shape[0].clone(), groups_dim.clone(), in_group.clone()], [2, 1, 0], [in_group, groups_dim * shape[0].clone()])
    };
    let order: Vec<usize> = order.into_iter().chain(3..shape.rank() + 1).collect();
    if groups == 1 {
        let swap: Vec<usize> = [1, 0].into_iter().chain(2..shape.rank()).collect();
        return b.transpose(value, &swap);
    }
    let value = b.reshape(value, Shape(split.into_iter().chain(space.clone()).collect()))?;
    let value = b.transpose(value, &order)?;
    b.reshape(value, Shape(swapped.into_iter().chain(space).collect()))
}
