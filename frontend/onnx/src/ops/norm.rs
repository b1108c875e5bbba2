//! Normalizations.
//!
//! All but the local response are the same few steps: moments over some dimensions, differences from the mean times the
//! reciprocal root of the variance, a scale and a shift. Half precision is normalized in `f32`.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{Reduced, apply, where_};
use nnc_ir::ops::{ReduceKind, ReduceWindowAttrs};
use nnc_ir::{DType, Dim, Op};

use super::window::along_channels;
use super::{Entry, Outcome, many, one, op, op_range, wide};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op_range("BatchNormalization", 1..=6, |cx| batch_norm(cx, !cx.flag("is_test", false)?)),
    op_range("BatchNormalization", 7..=13, |cx| batch_norm(cx, cx.wants_output(1))),
    op("BatchNormalization", 14.., |cx| batch_norm(cx, cx.flag("training_mode", false)?)),
    op("InstanceNormalization", 6.., instance_norm),
    // ONNX Runtime's optimizer wrote it in operator sets before 17 already.
    op("LayerNormalization", 1.., layer_norm),
    op_range("GroupNormalization", 18..=20, |cx| group_norm(cx, true)),
    op("GroupNormalization", 21.., |cx| group_norm(cx, false)),
    op("RMSNormalization", 23.., rms_norm),
    op("LpNormalization", 1.., lp_norm),
    op("LRN", 1.., local_response_norm),
    op("MeanVarianceNormalization", 9.., mean_variance_norm),
];

/// Mean, differences from it, and variance over some dimensions, which stay with extent 1.
struct Moments {
    mean: Tensor,
    centered: Tensor,
    variance: Tensor,
}

/// Squares are taken of differences, so nothing cancels when the mean is large.
fn moments(x: &Tensor, dims: &[usize]) -> Moments {
    let mean = x.mean(Reduced::keep(dims));
    let centered = x - &mean;
    let variance = centered.square().mean(Reduced::keep(dims));
    Moments { mean, centered, variance }
}

/// The attribute `epsilon`.
fn epsilon(cx: &Cx<'_>) -> Result<f64, Fault> {
    cx.float_or("epsilon", 1e-5)
}

/// Without training a scale and a shift of channels, which are numbers once the weights are.
fn batch_norm(cx: &Cx<'_>, training: bool) -> Outcome {
    let x = cx.input(0)?;
    let (scale, shift) = (cx.input(1)?, cx.input(2)?);
    let (mean, variance) = (cx.statistic(3)?, cx.statistic(4)?);
    let epsilon = epsilon(cx)?;
    let x_wide = wide(&x);
    let dtype = x_wide.dtype();
    // A vector is one channel; before operator set 9 there may be statistics of every element of an example.
    let each = cx.opset() < 9 && !cx.flag("spatial", true)?;
    let broadcast = |vector: &Tensor| match x.rank() {
        0 | 1 => vector.to_dtype(dtype),
        _ if each => vector.to_dtype(dtype),
        _ => along_channels(&vector.to_dtype(dtype), &x),
    };
    if !training {
        let factor = broadcast(&scale) * (broadcast(&variance) + epsilon).rsqrt();
        let offset = broadcast(&shift) - broadcast(&mean) * &factor;
        return one((x_wide * factor + offset).to_dtype(x.dtype()));
    }
    let momentum = cx.float_or("momentum", 0.9)?;
    let folded: Vec<usize> = (0..x.rank()).filter(|&dim| dim == 0 || !each && dim != 1).collect();
    let Moments { mean: batch_mean, centered, variance: batch_variance } = moments(&x_wide, &folded);
    let y = centered * (&batch_variance + epsilon).rsqrt() * broadcast(&scale) + broadcast(&shift);
    let running = |present: &Tensor, measured: &Tensor| {
        let measured = measured.reshape(present.shape()).to_dtype(present.dtype());
        let next = present * momentum + &measured * (1.0 - momentum);
        (next, measured)
    };
    let (next_mean, saved_mean) = running(&mean, &batch_mean);
    let (next_variance, saved_variance) = running(&variance, &batch_variance);
    many([y.to_dtype(x.dtype()), next_mean, next_variance, saved_mean, saved_variance])
}

fn instance_norm(cx: &mut Cx<'_>) -> Outcome {
    let (x, scale, shift) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let x_wide = wide(&x);
    let dims: Vec<usize> = (2..x.rank()).collect();
    let Moments { centered, variance, .. } = moments(&x_wide, &dims);
    let y = centered * (variance + epsilon(cx)?).rsqrt();
    let (scale, shift) = (along_channels(&wide(&scale), &x), along_channels(&wide(&shift), &x));
    one((y * scale + shift).to_dtype(x.dtype()))
}

/// The element type of the first stage, `stash_type`; never less precise than what the input needs.
fn stash(cx: &Cx<'_>, x: &Tensor) -> Result<(DType, DType), Fault> {
    let named = match cx.int_or("stash_type", 1)? {
        1 => DType::F32,
        10 => DType::F16,
        11 => DType::F64,
        16 => DType::BF16,
        other => return Err(cx.invalid(format!("`stash_type` is {other}, expected a floating-point type"))),
    };
    let computed = if named == DType::F64 || x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    Ok((named, computed))
}

/// The axes from the attribute `axis` on.
fn last_axes(cx: &Cx<'_>, x: &Tensor) -> Result<Vec<usize>, Fault> {
    Ok((cx.axis(cx.int_or("axis", -1)?, x.rank())?..x.rank()).collect())
}

fn layer_norm(cx: &mut Cx<'_>) -> Outcome {
    let (x, scale, shift) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let (named, computed) = stash(cx, &x)?;
    let dims = last_axes(cx, &x)?;
    let Moments { mean, centered, variance } = moments(&x.to_dtype(computed), &dims);
    let inverse = (variance + epsilon(cx)?).rsqrt();
    let mut y = (centered * &inverse).to_dtype(x.dtype()) * scale;
    if let Some(shift) = shift {
        y += shift;
    }
    many([y, mean.to_dtype(named), inverse.to_dtype(named)])
}

fn rms_norm(cx: &mut Cx<'_>) -> Outcome {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let (_, computed) = stash(cx, &x)?;
    let dims = last_axes(cx, &x)?;
    let x_wide = x.to_dtype(computed);
    let square = x_wide.square().mean(Reduced::keep(dims.as_slice()));
    let normalized = x_wide * (square + epsilon(cx)?).rsqrt();
    one(normalized.to_dtype(scale.dtype()) * scale)
}

/// Scale and shift are of groups before operator set 21, and of channels from there on.
fn group_norm(cx: &Cx<'_>, of_groups: bool) -> Outcome {
    let (x, scale, shift) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let n_groups = cx.int_or("num_groups", 0)?;
    let n_channels = x.dims().get(1).and_then(Dim::as_const);
    if !n_channels.is_some_and(|n_channels| n_groups > 0 && n_channels as i64 % n_groups == 0) {
        return Err(cx.invalid(format!("`num_groups` is {n_groups}, expected a divisor of the channels of {}", x.ty())));
    }
    let (_, computed) = stash(cx, &x)?;
    // [N, groups, channels of a group, space...]
    let grouped = x.to_dtype(computed).unflatten(1, [n_groups, -1]);
    let dims: Vec<usize> = (2..grouped.rank()).collect();
    let Moments { centered, variance, .. } = moments(&grouped, &dims);
    let y = (centered * (variance + epsilon(cx)?).rsqrt()).to_dtype(x.dtype());
    if of_groups {
        let (scale, shift) = (along_channels(&scale, &y), along_channels(&shift, &y));
        return one((y * scale + shift).flatten(1, 2));
    }
    one(y.flatten(1, 2) * along_channels(&scale, &x) + along_channels(&shift, &x))
}

/// Divides by a norm along one axis; zeros stay zeros.
fn lp_norm(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", -1)?, x.rank())?;
    let x_wide = wide(&x);
    let p = match cx.int_or("p", 2)? {
        p @ 1..=2 => p as f64,
        p => return Err(cx.invalid(format!("`p` is {p}, expected 1 or 2"))),
    };
    let norm = x_wide.norm(p, Reduced::keep(axis));
    one((&x_wide / where_(&norm.eq(0.0), 1.0, &norm)).to_dtype(x.dtype()))
}

/// Divides by a power of the mean square over neighboring channels. Of an even number of neighbors more come after.
fn local_response_norm(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let size = match (cx.int("size")?, x.rank()) {
        (Some(size @ 1..), 2..) => size,
        (size, _) => return Err(cx.invalid(format!("`size` is {size:?} for {}, expected at least 1 channel", x.ty()))),
    };
    let (alpha, beta, bias) = (cx.float_or("alpha", 1e-4)?, cx.float_or("beta", 0.75)?, cx.float_or("bias", 1.0)?);
    let x_wide = wide(&x);
    let mut attrs = ReduceWindowAttrs::plain(ReduceKind::Sum, x.rank());
    attrs.window[1] = size as usize;
    attrs.padding[1] = ((size - 1) / 2, size / 2);
    let squares = apply(Op::ReduceWindow(attrs), &[&x_wide.square()]);
    one((&x_wide / (squares * (alpha / size as f64) + bias).pow(beta)).to_dtype(x.dtype()))
}

fn mean_variance_norm(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let mut dims = Vec::new();
    for axis in cx.ints_or("axes", &[0, 2, 3])? {
        dims.push(cx.axis(axis, x.rank())?);
    }
    let Moments { centered, variance, .. } = moments(&wide(&x), &dims);
    // The operator's function adds this to the root.
    one((centered / (variance.sqrt() + 1e-9)).to_dtype(x.dtype()))
}
