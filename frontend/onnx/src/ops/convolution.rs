//! Convolutions: `Conv`, `ConvTranspose`, `DeformConv`, `CausalConvWithState`, and `Col2Im`, which adds up columns.
//!
//! Each is one `convolution` of the IR, groups included.

use nnc_frontend::Tensor;
use nnc_frontend::functional::{BlockDim, Deformable, deform_conv, fold_nd};
use nnc_frontend::tensor::{ToTensor, apply};
use nnc_ir::ops::ConvolutionAttrs;
use nnc_ir::{Dim, Op};

use super::window::{AutoPad, FARTHEST, Window, along_channels, counts, known_space, pads, space};
use super::{Entry, Outcome, many, one, op, wide};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op("Conv", 1.., conv),
    op("ConvTranspose", 1.., conv_transpose),
    op("DeformConv", 19.., deformable),
    op("CausalConvWithState", 27.., causal_conv),
    op("Col2Im", 18.., col2im),
];

/// The attribute `group`.
fn groups(cx: &Cx<'_>, name: &str) -> Result<usize, Fault> {
    match cx.int_or(name, 1)? {
        groups @ 1.. => Ok(groups as usize),
        groups => Err(cx.invalid(format!("`{name}` is {groups}, expected at least 1"))),
    }
}

/// Adds one number a channel.
fn with_bias(y: Tensor, bias: Option<Tensor>) -> Tensor {
    match bias {
        Some(bias) => {
            let bias = along_channels(&bias, &y);
            y + bias
        }
        None => y,
    }
}

/// How a node convolves `x` with `weight`.
pub(super) fn attributes(cx: &Cx<'_>, x: &Tensor, weight: &Tensor) -> Result<ConvolutionAttrs, Fault> {
    let window = Window::of_weight(cx, weight)?;
    Ok(ConvolutionAttrs {
        padding: window.padding(cx, &space(cx, x)?)?,
        lhs_dilation: vec![1; window.kernel.len()],
        stride: window.stride,
        rhs_dilation: window.dilation,
        groups: groups(cx, "group")?,
    })
}

pub(super) fn conv(cx: &mut Cx<'_>) -> Outcome {
    let (x, weight, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let attrs = attributes(cx, &x, &weight)?;
    one(with_bias(apply(Op::Convolution(attrs), &[&x, &weight]), bias))
}

/// A convolution of the image, its elements `strides` apart, with the reversed kernel, whose channels change roles.
fn conv_transpose(cx: &mut Cx<'_>) -> Outcome {
    let (x, weight, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let window = Window::of_weight(cx, &weight)?;
    let groups = groups(cx, "group")?;
    let n_spatial = window.kernel.len();
    let extra = cx.ints("output_padding")?.unwrap_or_else(|| vec![0; n_spatial]);
    if extra.len() != n_spatial || extra.iter().any(|amount| !(0..=FARTHEST).contains(amount)) {
        return Err(
            cx.invalid(format!("`output_padding` is {extra:?}, expected {n_spatial} numbers from 0 to {FARTHEST}"))
        );
    }
    let pads = transposed_padding(cx, &window, &x, &extra)?;
    let padding = (0..n_spatial).map(|dim| {
        let around = window.spread(dim) - 1;
        (around - pads[dim].0, around - pads[dim].1 + extra[dim])
    });
    let attrs = ConvolutionAttrs {
        stride: vec![1; n_spatial],
        padding: padding.collect(),
        lhs_dilation: window.stride.clone(),
        rhs_dilation: window.dilation.clone(),
        groups,
    };
    // [in, out / groups, kernel...] to [out, in / groups, kernel...], group by group.
    let dims = weight.dims();
    let Some(n_in) = dims[0].exact_div(&Dim::from(groups)) else {
        return Err(cx.invalid(format!("{groups} groups do not divide the channels of a weight of {}", weight.ty())));
    };
    let (n_out, kernel) = (dims[1].clone(), &dims[2..]);
    let split: Vec<Dim> = [&[Dim::from(groups), n_in.clone(), n_out.clone()], kernel].concat();
    let joined: Vec<Dim> = [&[Dim::from(groups) * n_out, n_in], kernel].concat();
    let swapped = weight.reshape(split).transpose(1, 2).reshape(joined);
    let reversed: Vec<usize> = (2..n_spatial + 2).collect();
    let kernel = if window.kernel.iter().all(|&extent| extent == 1) { swapped } else { swapped.flip(reversed) };
    one(with_bias(apply(Op::Convolution(attrs), &[&x, &kernel]), bias))
}

/// How much of the full result is cut off before and after each dimension.
fn transposed_padding(cx: &Cx<'_>, window: &Window, x: &Tensor, extra: &[i64]) -> Result<Vec<(i64, i64)>, Fault> {
    let n_spatial = window.kernel.len();
    if x.rank() != n_spatial + 2 {
        return Err(cx.invalid(format!("the input is {} for a kernel of {n_spatial} dimensions", x.ty())));
    }
    let full = |dim: usize, extent: i64| {
        let reach = (window.stride[dim] as i64).saturating_mul(extent - 1);
        reach.saturating_add(extra[dim]).saturating_add(window.spread(dim))
    };
    let totals: Vec<i64> = match (cx.ints("output_shape")?, window.auto_pad) {
        (Some(shape), _) if shape.len() < n_spatial || shape.iter().any(|&extent| extent < 0) => {
            return Err(cx.invalid(format!("`output_shape` is {shape:?}, expected {n_spatial} extents")));
        }
        (Some(shape), _) => {
            // Some exporters write the batch and the channels too.
            let shape = &shape[shape.len() - n_spatial..];
            let extents = known_space(cx, x, "`output_shape`")?;
            (0..n_spatial).map(|dim| full(dim, extents[dim] as i64).saturating_sub(shape[dim])).collect()
        }
        (None, AutoPad::Explicit) => return Ok(window.pads.clone()),
        (None, AutoPad::Valid) => return Ok(vec![(0, 0); n_spatial]),
        // The result has `stride` times the extent, so the extent itself does not matter.
        (None, AutoPad::SameUpper | AutoPad::SameLower) => {
            (0..n_spatial).map(|dim| window.spread(dim) + extra[dim] - window.stride[dim] as i64).collect()
        }
    };
    // Of an odd amount more is cut off behind the image for SAME_UPPER, and before it otherwise. A negative amount is
    // put behind the image.
    let split = |&total: &i64| match (total, window.auto_pad) {
        (..0, _) => (0, total),
        (_, AutoPad::SameUpper) => (total / 2, total - total / 2),
        _ => (total - total / 2, total / 2),
    };
    Ok(totals.iter().map(split).collect())
}

fn deformable(cx: &mut Cx<'_>) -> Outcome {
    let (x, weight, offset) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (bias, mask) = (cx.optional(3)?, cx.optional(4)?);
    let window = Window::of_weight(cx, &weight)?;
    cx.table("the list of taps", window.kernel.iter().fold(1usize, |product, &extent| product.saturating_mul(extent)))?;
    let settings = Deformable {
        padding: window.padding(cx, &space(cx, &x)?)?,
        stride: window.stride,
        dilation: window.dilation,
        groups: groups(cx, "group")?,
        offset_groups: groups(cx, "offset_group")?,
    };
    let bias = bias.as_ref().map(|bias| bias as &dyn ToTensor);
    one(deform_conv(&x, &offset, &weight, bias, mask.as_ref(), &settings))
}

/// A depthwise convolution of what came before and the input; the end of both is the next state.
fn causal_conv(cx: &mut Cx<'_>) -> Outcome {
    let (x, weight) = (cx.input(0)?, cx.input(1)?);
    let (bias, past) = (cx.optional(2)?, cx.optional(3)?);
    if x.rank() != 3 {
        return Err(cx.invalid(format!("the input is {}, expected [N, channels, length]", x.ty())));
    }
    let window = Window::of_weight(cx, &weight)?;
    let n_past = window.kernel[0] - 1;
    let Some(groups) = weight.dims()[0].as_const() else {
        return Err(cx.invalid(format!("the weight is {}, expected channels that are known", weight.ty())));
    };
    let whole = match past {
        Some(past) => Tensor::cat(&[past, x.clone()], 2),
        None => x.pad(&[(n_past as i64, 0)], 0.0),
    };
    let attrs = ConvolutionAttrs { groups, ..ConvolutionAttrs::plain(1) };
    let y = with_bias(apply(Op::Convolution(attrs), &[&whole, &weight]), bias);
    let y = match cx.string_or("activation", "none")?.as_str() {
        "none" => y,
        "silu" | "swish" => wide(&y).silu().to_dtype(y.dtype()),
        other => return Err(cx.invalid(format!("`activation` is `{other}`, expected none, silu or swish"))),
    };
    let state = match n_past {
        0 => whole.slice(2, 0, Some(0), 1),
        n_past => whole.slice(2, -(n_past as i64), None, 1),
    };
    many([y, state])
}

fn col2im(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let extents = |values: Vec<i64>| values.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let (image, block) = (cx.known_ints(1)?, cx.known_ints(2)?);
    let (Ok(image), Ok(block)) = (extents(image), extents(block)) else {
        return Err(cx.invalid("the shapes of image and block have negative extents"));
    };
    let n_spatial = image.len();
    if block.len() != n_spatial {
        return Err(cx.invalid(format!("the image is {image:?} and the block {block:?}, expected as many extents")));
    }
    /// Each is a padding and a sum of its own.
    const MOST_ELEMENTS: usize = 1 << 12;
    let n_elements = block.iter().fold(1usize, |product, &extent| product.saturating_mul(extent));
    if n_elements > MOST_ELEMENTS || image.iter().any(|&extent| extent > FARTHEST as usize) {
        let most = format!("expected at most {MOST_ELEMENTS} elements in a block and extents up to {FARTHEST}");
        return Err(cx.unsupported(format!("the image is {image:?} and the block {block:?}, {most}")));
    }
    let stride = counts(cx, "strides", n_spatial)?.unwrap_or_else(|| vec![1; n_spatial]);
    let dilation = counts(cx, "dilations", n_spatial)?.unwrap_or_else(|| vec![1; n_spatial]);
    let pads = pads(cx, n_spatial)?;
    let blocks: Vec<BlockDim> = (0..n_spatial)
        .map(|dim| BlockDim {
            kernel_size: block[dim],
            dilation: dilation[dim],
            padding: pads[dim],
            stride: stride[dim],
        })
        .collect();
    one(fold_nd(&x, &image, &blocks))
}
