//! Convolutions and their transposes as functions.

use nnc_ir::ops::ConvolutionAttrs;
use nnc_ir::{Dim, Op, TensorType};

use super::{IntoPadding, IntoSpatial, Padding};
use crate::tensor::{Tensor, ToTensor, apply, checked, fault, live};

/// One function for each number of spatial dimensions.
macro_rules! convolutions {
    ($( $conv:ident, $transpose:ident, $n:literal, $shape:literal; )*) => {
        $(
            #[doc = concat!("Correlates `x`, `[N, in", $shape, "]` or without `N`, with `weight`, `[out, in / groups", $shape, "]`, and adds `bias`, `[out]`:")]
            #[doc = concat!("`torch.nn.functional.", stringify!($conv), "`.")]
            #[track_caller]
            pub fn $conv(
                x: &Tensor,
                weight: impl ToTensor,
                bias: Option<&dyn ToTensor>,
                stride: impl IntoSpatial<$n>,
                padding: impl IntoPadding<$n>,
                dilation: impl IntoSpatial<$n>,
                groups: usize,
            ) -> Tensor {
                let (stride, dilation) = (stride.into_spatial(), dilation.into_spatial());
                let padding = padding.into_padding();
                convolve::<$n>(stringify!($conv), x, &weight.to_tensor(), bias, stride, &padding, dilation, groups)
            }

            #[doc = concat!("The transpose of [`", stringify!($conv), "`]: what its gradient does to `x`, `[N, in", $shape, "]` or without `N`, with `weight`,")]
            #[doc = concat!("`[in, out / groups", $shape, "]`. `output_padding` adds positions after the result, which several inputs share.")]
            #[doc = concat!("`torch.nn.functional.", stringify!($transpose), "`.")]
            #[track_caller]
            #[expect(clippy::too_many_arguments, reason = "PyTorch's arguments")]
            pub fn $transpose(
                x: &Tensor,
                weight: impl ToTensor,
                bias: Option<&dyn ToTensor>,
                stride: impl IntoSpatial<$n>,
                padding: impl IntoSpatial<$n>,
                output_padding: impl IntoSpatial<$n>,
                groups: usize,
                dilation: impl IntoSpatial<$n>,
            ) -> Tensor {
                let steps = Steps {
                    stride: stride.into_spatial(),
                    padding: padding.into_spatial(),
                    output_padding: output_padding.into_spatial(),
                    dilation: dilation.into_spatial(),
                };
                transpose::<$n>(stringify!($transpose), x, &weight.to_tensor(), bias, &steps, groups)
            }
        )*
    };
}

convolutions! {
    conv1d, conv_transpose1d, 1, ", L";
    conv2d, conv_transpose2d, 2, ", H, W";
    conv3d, conv_transpose3d, 3, ", D, H, W";
}

/// What [`conv2d`] and its kin do, under the name `what`.
#[track_caller]
#[expect(clippy::too_many_arguments, reason = "PyTorch's arguments, and the name of the caller")]
pub(crate) fn convolve<const N: usize>(
    what: &str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&dyn ToTensor>,
    stride: [usize; N],
    padding: &Padding<N>,
    dilation: [usize; N],
    groups: usize,
) -> Tensor {
    let (ty, weight_ty) = (live!(x), live!(weight));
    let kernel = checked!(check::<N>(what, &ty, &weight_ty, groups));
    let channels = weight_ty.shape[1].clone() * Dim::from(groups);
    if ty.shape[ty.rank() - N - 1] != channels {
        return fault(format!(
            "{what}: the input is {ty}, expected {channels} channels for a weight of {weight_ty} in {groups} groups"
        ));
    }
    if weight_ty.shape[0].exact_div(&Dim::from(groups)).is_none() {
        return fault(format!("{what}: {groups} groups do not divide the output channels of a weight of {weight_ty}"));
    }
    let padding = checked!(padding.amounts(&kernel, &stride, &dilation).map_err(|why| format!("{what}: {why}")));
    let attrs = ConvolutionAttrs {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        lhs_dilation: vec![1; N],
        rhs_dilation: dilation.to_vec(),
        groups,
    };
    finish::<N>(what, x, weight, bias, attrs)
}

/// How the window of a transposed convolution moves.
pub(crate) struct Steps<const N: usize> {
    pub(crate) stride: [usize; N],
    pub(crate) padding: [usize; N],
    pub(crate) output_padding: [usize; N],
    pub(crate) dilation: [usize; N],
}

/// What [`conv_transpose2d`] and its kin do, under the name `what`: a convolution of the image, its elements `stride`
/// apart, with the reversed kernel, whose channels change roles.
#[track_caller]
pub(crate) fn transpose<const N: usize>(
    what: &str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&dyn ToTensor>,
    steps: &Steps<N>,
    groups: usize,
) -> Tensor {
    let (ty, weight_ty) = (live!(x), live!(weight));
    let kernel = checked!(check::<N>(what, &ty, &weight_ty, groups));
    if ty.shape[ty.rank() - N - 1] != weight_ty.shape[0] {
        return fault(format!(
            "{what}: the input is {ty}, expected {} channels for a weight of {weight_ty}",
            weight_ty.shape[0]
        ));
    }
    let Some(n_in) = weight_ty.shape[0].exact_div(&Dim::from(groups)) else {
        return fault(format!("{what}: {groups} groups do not divide the input channels of a weight of {weight_ty}"));
    };
    for dim in 0..N {
        let (output_padding, limit) = (steps.output_padding[dim], steps.stride[dim].max(steps.dilation[dim]));
        if output_padding >= limit {
            return fault(format!(
                "{what}: output_padding is {output_padding}, expected less than the larger of stride and dilation, {limit}"
            ));
        }
    }
    let padding = (0..N).map(|dim| {
        let around = (steps.dilation[dim] * kernel[dim].saturating_sub(1)) as i64 - steps.padding[dim] as i64;
        (around, around + steps.output_padding[dim] as i64)
    });
    let attrs = ConvolutionAttrs {
        stride: vec![1; N],
        padding: padding.collect(),
        lhs_dilation: steps.stride.to_vec(),
        rhs_dilation: steps.dilation.to_vec(),
        groups,
    };
    // [in, out / groups, ...] to [out, in / groups, ...], group by group.
    let n_out = weight_ty.shape[1].clone();
    let space = &weight_ty.shape.0[2..];
    let grouped: Vec<Dim> = [&[Dim::from(groups), n_in.clone(), n_out.clone()], space].concat();
    let swapped: Vec<Dim> = [&[Dim::from(groups) * n_out, n_in], space].concat();
    let weight = weight.reshape(grouped).transpose(1, 2).reshape(swapped);
    let reversed: Vec<i64> = (0..N).map(|dim| 2 + dim as i64).collect();
    finish::<N>(what, x, &weight.flip(reversed), bias, attrs)
}

/// Checks ranks, element types and groups; gives the extents of the kernel.
fn check<const N: usize>(
    what: &str,
    ty: &TensorType,
    weight: &TensorType,
    groups: usize,
) -> Result<Vec<usize>, String> {
    if ty.rank() != N + 2 && ty.rank() != N + 1 {
        return Err(format!("{what}: the input is {ty}, expected {} or {} dimensions", N + 1, N + 2));
    }
    if weight.rank() != N + 2 {
        return Err(format!("{what}: the weight is {weight}, expected {} dimensions", N + 2));
    }
    if ty.dtype != weight.dtype {
        return Err(format!("{what}: the input is {ty}, expected element type {} as the weight", weight.dtype));
    }
    if groups == 0 {
        return Err(format!("{what}: groups is 0, expected at least 1"));
    }
    let extents = weight.shape.0[2..].iter().map(Dim::as_const);
    extents
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(|| format!("{what}: the kernel of {weight} has a symbolic extent"))
}

/// Appends the convolution, with a batch of one for an image by itself, and adds the bias.
#[track_caller]
fn finish<const N: usize>(
    what: &str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&dyn ToTensor>,
    attrs: ConvolutionAttrs,
) -> Tensor {
    let is_batch = live!(x).rank() == N + 2;
    let images = if is_batch { x.clone() } else { x.unsqueeze(0) };
    let mut result = apply(Op::Convolution(attrs), &[&images, weight]);
    if let Some(bias) = bias {
        let bias = bias.to_tensor();
        let (ty, bias_ty) = (live!(result), live!(bias));
        if bias_ty.rank() != 1 || bias_ty.shape[0] != ty.shape[1] {
            return fault(format!(
                "{what}: the bias is {bias_ty}, expected one element for each of {} channels",
                ty.shape[1]
            ));
        }
        let mut extents = vec![Dim::from(1); N + 1];
        extents[0] = bias_ty.shape[0].clone();
        result += bias.reshape(extents);
    }
    if is_batch { result } else { result.squeeze(0) }
}
