//! Normalizations as functions.
//!
//! All of them are the same few steps: moments over some dimensions, the differences from the mean divided by the root
//! of the variance, a scale and a shift. The dimensions differ. Half precision is normalized in `f32`, as in PyTorch.

use nnc_ir::{DType, Dim, TensorType};

use crate::parameter::Buffer;
use crate::tensor::{Tensor, ToTensor, fault, live, sound};

/// An optional scale or shift.
type Affine<'a> = Option<&'a dyn ToTensor>;

/// Running statistics of a normalization, updated in training.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Mean of each channel, `[C]`.
    pub mean: &'a Buffer,
    /// Unbiased variance of each channel, `[C]`.
    pub var: &'a Buffer,
}

/// Normalizes each channel (dimension 1) over all other dimensions, by the statistics of the batch if `training` or
/// without running statistics, else by the running ones. In training those move toward the batch's by the share
/// `momentum`. `weight` and `bias` are `[C]`.
#[track_caller]
pub fn batch_norm(
    x: &Tensor,
    running: Option<Running<'_>>,
    weight: Affine<'_>,
    bias: Affine<'_>,
    training: bool,
    momentum: f64,
    eps: f64,
) -> Tensor {
    batch_norm_by("batch_norm", x, running, weight, bias, training, Momentum::Fixed(momentum), eps)
}

/// How far running statistics move.
pub(crate) enum Momentum {
    Fixed(f64),
    /// `1 / n` at the `n`-th batch, for the mean of all batches: a scalar.
    Cumulative(Tensor),
}

impl Momentum {
    /// `present` moved toward `measured`.
    #[track_caller]
    fn mix(&self, present: &Tensor, measured: &Tensor) -> Tensor {
        match self {
            Self::Fixed(momentum) => present * (1.0 - momentum) + measured * *momentum,
            Self::Cumulative(share) => present + (measured - present) * share.to_dtype(present.dtype()),
        }
    }

    /// Moves running statistics toward measured ones, `[C]` each. No gradient flows from one batch to the next.
    #[track_caller]
    fn update(&self, running: Running<'_>, mean: &Tensor, var: &Tensor) {
        for (buffer, measured) in [(running.mean, mean), (running.var, var)] {
            let present = buffer.tensor();
            let measured = measured.detach().to_dtype(present.dtype());
            buffer.update(&self.mix(&present, &measured));
        }
    }
}

#[track_caller]
#[expect(clippy::too_many_arguments, reason = "PyTorch's arguments, and the name of the caller")]
pub(crate) fn batch_norm_by(
    what: &str,
    x: &Tensor,
    running: Option<Running<'_>>,
    weight: Affine<'_>,
    bias: Affine<'_>,
    training: bool,
    momentum: Momentum,
    eps: f64,
) -> Tensor {
    let ty = live!(x);
    if ty.rank() < 2 || !ty.dtype.is_float() {
        return fault(format!("{what}: the input is {ty}, expected floats with channels in dimension 1"));
    }
    let wide = widen(x);
    let dims: Vec<usize> = (0..ty.rank()).filter(|&dim| dim != 1).collect();
    let y = match running {
        Some(running) if !training => {
            let mean = sound!(channels(what, &running.mean.tensor(), 1, &ty));
            let var = sound!(channels(what, &running.var.tensor(), 1, &ty));
            (wide - mean) * (var + eps).rsqrt()
        }
        running => {
            if dims.iter().all(|&dim| ty.shape[dim] == Dim::from(1)) {
                return fault(format!("{what}: the input is {ty}, expected more than one value a channel in training"));
            }
            let moments = sound!(wide.moments(&dims));
            if let (Some(running), true) = (running, training) {
                let unbiased = &moments.squares / (&moments.count - 1.0);
                momentum.update(running, &moments.mean.reshape([-1]), &unbiased.reshape([-1]));
            }
            moments.centered * (moments.squares / moments.count + eps).rsqrt()
        }
    };
    let y = sound!(affine(what, y, weight, bias, 1, &ty));
    y.to_dtype(ty.dtype)
}

/// Normalizes each channel of each example over its positions. `x` is `[N, C, ...]`; `weight` and `bias` are `[C]`.
/// Running statistics are used instead if they are given and `use_input_stats` is false, and updated if it is true.
#[track_caller]
pub fn instance_norm(
    x: &Tensor,
    running: Option<Running<'_>>,
    weight: Affine<'_>,
    bias: Affine<'_>,
    use_input_stats: bool,
    momentum: f64,
    eps: f64,
) -> Tensor {
    let ty = live!(x);
    if ty.rank() < 3 || !ty.dtype.is_float() {
        return fault(format!("instance_norm: the input is {ty}, expected floats [N, C, ...] with positions"));
    }
    let Some(running) = running.filter(|_| !use_input_stats) else {
        if ty.shape.dims()[2..].iter().all(|extent| *extent == Dim::from(1)) {
            return fault(format!("instance_norm: the input is {ty}, expected more than one value a channel"));
        }
        let dims: Vec<usize> = (2..ty.rank()).collect();
        let moments = sound!(widen(x).moments(&dims));
        if let Some(running) = running {
            let unbiased = &moments.squares / (&moments.count - 1.0);
            let batch: Vec<usize> = (0..ty.rank()).filter(|&dim| dim != 1).collect();
            let (mean, var) = (moments.mean.mean(batch.as_slice()), unbiased.mean(batch.as_slice()));
            Momentum::Fixed(momentum).update(running, &mean, &var);
        }
        let y = moments.centered * (moments.squares / moments.count + eps).rsqrt();
        let y = sound!(affine("instance_norm", y, weight, bias, 1, &ty));
        return y.to_dtype(ty.dtype);
    };
    batch_norm_by("instance_norm", x, Some(running), weight, bias, false, Momentum::Fixed(momentum), eps)
}

/// Normalizes over the last dimensions, whose extents are `normalized_shape`. `weight` and `bias` have that shape.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]) + 1e4;
/// let y = functional::layer_norm(&x, &[4], None, None, 1e-5);
/// // The variance is 1.25 however large the mean is.
/// assert!((y.max(..).item()? - 1.5 / 1.25f64.sqrt()).abs() < 1e-3);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn layer_norm(x: &Tensor, normalized_shape: &[usize], weight: Affine<'_>, bias: Affine<'_>, eps: f64) -> Tensor {
    let ty = live!(x);
    let dims = sound!(normalized_dims("layer_norm", &ty, normalized_shape));
    let moments = sound!(widen(x).moments(&dims));
    let mut y = moments.centered * (moments.squares / moments.count + eps).rsqrt();
    if let Some(weight) = weight {
        y *= weight.to_tensor();
    }
    if let Some(bias) = bias {
        y += bias.to_tensor();
    }
    y.to_dtype(ty.dtype)
}

/// Divides by the root of the mean square over the last dimensions, whose extents are `normalized_shape`. `eps` is the
/// distance from 1 to the next number of the element type unless given.
#[track_caller]
pub fn rms_norm(x: &Tensor, normalized_shape: &[usize], weight: Affine<'_>, eps: Option<f64>) -> Tensor {
    let ty = live!(x);
    let dims = sound!(normalized_dims("rms_norm", &ty, normalized_shape));
    let wide = widen(x);
    // Half precision is normalized in `f32`, whose epsilon is the default then.
    let eps = eps.unwrap_or(if wide.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) });
    let mut y = &wide * (wide.square().mean_keepdim(dims.as_slice()) + eps).rsqrt();
    if let Some(weight) = weight {
        y *= weight.to_tensor();
    }
    y.to_dtype(ty.dtype)
}

/// Normalizes each of `num_groups` groups of neighboring channels (dimension 1) of each example. `weight` and `bias`
/// are `[C]`.
#[track_caller]
pub fn group_norm(x: &Tensor, num_groups: usize, weight: Affine<'_>, bias: Affine<'_>, eps: f64) -> Tensor {
    let ty = live!(x);
    let n_channels = ty.shape.dims().get(1).and_then(Dim::as_const);
    let divides = n_channels.is_some_and(|n_channels| num_groups > 0 && n_channels % num_groups == 0);
    if !divides || !ty.dtype.is_float() {
        return fault(format!(
            "group_norm: the input is {ty}, expected floats with a number of channels in dimension 1 that \
             {num_groups} groups divide"
        ));
    }
    let grouped = widen(x).unflatten(1, [num_groups as i64, -1]);
    let dims: Vec<usize> = (2..=ty.rank()).collect();
    let moments = sound!(grouped.moments(&dims));
    let y = moments.centered * (moments.squares / moments.count + eps).rsqrt();
    let y = sound!(affine("group_norm", y.flatten(1, 2), weight, bias, 1, &ty));
    y.to_dtype(ty.dtype)
}

/// Divides by a power of the mean square over `size` neighboring channels (dimension 1):
/// `x / (k + alpha * mean)^beta`, where channels beyond the ends count as zeros (Krizhevsky et al., 2012).
#[track_caller]
pub fn local_response_norm(x: &Tensor, size: usize, alpha: f64, beta: f64, k: f64) -> Tensor {
    let ty = live!(x);
    let n_channels = ty.shape.dims().get(1).and_then(Dim::as_const);
    let Some(n_channels) = n_channels.filter(|_| ty.rank() >= 3) else {
        return fault(format!("local_response_norm: the input is {ty}, expected [N, C, ...] with positions"));
    };
    if size == 0 {
        return fault("local_response_norm: size is 0, expected at least one channel");
    }
    // Padding is given from the last dimension on; the channels are second.
    let mut padding = vec![(0, 0); ty.rank() - 1];
    padding[ty.rank() - 2] = ((size / 2) as i64, ((size - 1) / 2) as i64);
    let squares = x.square().pad(&padding, 0.0);
    // One slice a neighbor: windows are small, and slices fuse with everything around them.
    let sum = (1..size).fold(squares.narrow(1, 0, n_channels), |sum, at| sum + squares.narrow(1, at, n_channels));
    x / (sum * (alpha / size as f64) + k).pow(beta)
}

/// Half precision as `f32`, other floats as they are.
#[track_caller]
fn widen(x: &Tensor) -> Tensor {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.float(),
        _ => x.clone(),
    }
}

/// A vector over channels, shaped to broadcast along dimension `dim` of `ty`.
#[track_caller]
fn channels(what: &str, vector: &Tensor, dim: usize, ty: &TensorType) -> Result<Tensor, Tensor> {
    let Some(vector_ty) = vector.checked_ty() else { return Err(vector.clone()) };
    if vector_ty.rank() != 1 || vector_ty.shape[0] != ty.shape[dim] {
        return Err(fault(format!(
            "{what}: the input is {ty} for a layer of {} channels, which dimension {dim} counts",
            vector_ty.shape.n_elements()
        )));
    }
    let mut shape = vec![1i64; ty.rank()];
    shape[dim] = -1;
    Ok(vector.reshape(shape))
}

/// Scales and shifts by vectors over the channels in dimension `dim`.
#[track_caller]
fn affine(
    what: &str,
    mut y: Tensor,
    weight: Affine<'_>,
    bias: Affine<'_>,
    dim: usize,
    ty: &TensorType,
) -> Result<Tensor, Tensor> {
    if let Some(weight) = weight {
        y *= channels(what, &weight.to_tensor(), dim, ty)?;
    }
    if let Some(bias) = bias {
        y += channels(what, &bias.to_tensor(), dim, ty)?;
    }
    Ok(y)
}

/// The last dimensions, whose extents must be `normalized_shape`.
#[track_caller]
fn normalized_dims(what: &str, ty: &TensorType, normalized_shape: &[usize]) -> Result<Vec<usize>, Tensor> {
    let first = ty.rank().checked_sub(normalized_shape.len());
    let fits = |first: usize| {
        let extents = ty.shape.dims()[first..].iter();
        extents.zip(normalized_shape).all(|(extent, &expected)| *extent == Dim::from(expected))
    };
    match first {
        Some(first) if first < ty.rank() && ty.dtype.is_float() && fits(first) => Ok((first..ty.rank()).collect()),
        _ => Err(fault(format!(
            "{what}: the input is {ty}, expected floats whose last extents are {normalized_shape:?}"
        ))),
    }
}
