//! Activations as functions.
//!
//! Each is written so that neither it nor its gradient overflows where the true value does not, and so that its
//! gradient at a kink is PyTorch's: a limit that is `maximum` or `minimum` with a number has gradient 0 on the limit,
//! `clamp` has gradient 1 there. A branch that is not taken must still be finite, since its gradient is 0 times
//! whatever it is.

use nnc_ir::Dim;

use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor, fault, live, resolve_dim, sound, where_};

/// The `alpha` and `scale` of [`selu`], for which activations stay standard normal (Klambauer et al., 2017).
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// `max(x, 0)`.
#[track_caller]
pub fn relu(x: &Tensor) -> Tensor {
    x.relu()
}

/// `min(max(x, 0), 6)`.
#[track_caller]
pub fn relu6(x: &Tensor) -> Tensor {
    hardtanh(x, 0.0, 6.0)
}

/// `x` if positive, else `negative_slope * x`.
#[track_caller]
pub fn leaky_relu(x: &Tensor, negative_slope: f64) -> Tensor {
    x.leaky_relu(negative_slope)
}

/// `x` if positive, else `weight * x`: a slope that is learned. `weight` is a vector with one slope, or one for each
/// channel, which dimension 1 of `x` counts.
#[track_caller]
pub fn prelu(x: &Tensor, weight: impl ToTensor) -> Tensor {
    let weight = weight.to_tensor();
    let (ty, weight_ty) = (live!(x), live!(weight));
    let channels = match ty.rank() {
        0 | 1 => Dim::from(1),
        _ => ty.shape[1].clone(),
    };
    let one = weight_ty.shape.n_elements() == Dim::from(1);
    if weight_ty.rank() > 1 || !one && weight_ty.shape[0] != channels {
        return fault(format!("prelu: the slopes are {weight_ty} for an input of {ty}, expected one, or {channels}"));
    }
    let weight = match one {
        true => weight.reshape([1]),
        false => {
            let mut shape = vec![1i64; ty.rank()];
            shape[1] = -1;
            weight.reshape(shape)
        }
    };
    where_(&x.gt(0), x, weight * x)
}

/// [`leaky_relu`] with a slope drawn for each element from [`lower`, `upper`) in training, and their mean otherwise.
#[track_caller]
pub fn rrelu(x: &Tensor, lower: f64, upper: f64, training: bool) -> Tensor {
    if !training {
        return x.leaky_relu((lower + upper) / 2.0);
    }
    let ty = live!(x);
    let slope = Tensor::rand(&ty.shape) * (upper - lower) + lower;
    where_(&x.gt(0), x, slope.to_dtype(ty.dtype) * x)
}

/// `x` if positive, else `alpha * (e^(x / width) - 1)`.
#[track_caller]
fn exponential_below(x: &Tensor, alpha: f64, width: f64) -> Tensor {
    let positive = x.gt(0);
    // The exponential of a large positive number would be infinite, and its gradient 0 times that.
    let below = where_(&positive, 0, x);
    let below = if width == 1.0 { below } else { below / width };
    where_(&positive, x, below.expm1() * alpha)
}

/// `x` if positive, else `alpha * (e^x - 1)`.
#[track_caller]
pub fn elu(x: &Tensor, alpha: f64) -> Tensor {
    exponential_below(x, alpha, 1.0)
}

/// `scale * elu(x, alpha)` with the constants that keep activations standard normal.
#[track_caller]
pub fn selu(x: &Tensor) -> Tensor {
    exponential_below(x, SELU_ALPHA, 1.0) * SELU_SCALE
}

/// `x` if positive, else `alpha * (e^(x / alpha) - 1)`: differentiable at 0 for every `alpha`.
#[track_caller]
pub fn celu(x: &Tensor, alpha: f64) -> Tensor {
    exponential_below(x, alpha, alpha)
}

/// `x * Φ(x)`.
#[track_caller]
pub fn gelu(x: &Tensor) -> Tensor {
    x.gelu()
}

/// `x * sigmoid(x)`.
#[track_caller]
pub fn silu(x: &Tensor) -> Tensor {
    x.silu()
}

/// `x * tanh(ln(1 + e^x))`.
#[track_caller]
pub fn mish(x: &Tensor) -> Tensor {
    x * x.softplus().tanh()
}

/// `1 / (1 + e^-x)`.
#[track_caller]
pub fn sigmoid(x: &Tensor) -> Tensor {
    x.sigmoid()
}

/// `ln sigmoid(x)`, without overflow or underflow.
#[track_caller]
pub fn logsigmoid(x: &Tensor) -> Tensor {
    -(-x).softplus()
}

/// `min(max(x + 3, 0), 6) / 6`.
#[track_caller]
pub fn hardsigmoid(x: &Tensor) -> Tensor {
    // Limited before it is shifted: just inside a limit the sum would round to it.
    (hardtanh(x, -3.0, 3.0) + 3.0) / 6.0
}

/// `x * hardsigmoid(x)`.
#[track_caller]
pub fn hardswish(x: &Tensor) -> Tensor {
    x * hardsigmoid(x)
}

/// `min(max(x, min_val), max_val)`, with gradient 0 on the limits.
#[track_caller]
pub fn hardtanh(x: &Tensor, min_val: f64, max_val: f64) -> Tensor {
    x.maximum(min_val).minimum(max_val)
}

/// Hyperbolic tangent.
#[track_caller]
pub fn tanh(x: &Tensor) -> Tensor {
    x.tanh()
}

/// `x - tanh(x)`.
#[track_caller]
pub fn tanhshrink(x: &Tensor) -> Tensor {
    x - x.tanh()
}

/// `ln(1 + e^(beta * x)) / beta`, and `x` where `beta * x` is above `threshold`.
#[track_caller]
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Tensor {
    let scaled = if beta == 1.0 { x.clone() } else { x * beta };
    let smooth = scaled.softplus();
    let smooth = if beta == 1.0 { smooth } else { smooth / beta };
    where_(&scaled.gt(threshold), x, smooth)
}

/// `x / (1 + |x|)`.
#[track_caller]
pub fn softsign(x: &Tensor) -> Tensor {
    x / (x.abs() + 1.0)
}

/// `x` moved toward 0 by `lambd`, and 0 within `lambd` of it.
#[track_caller]
pub fn softshrink(x: &Tensor, lambd: f64) -> Tensor {
    if lambd < 0.0 {
        return fault(format!("softshrink: lambd is {lambd}, expected a number that is not negative"));
    }
    x - x.clamp(-lambd, lambd)
}

/// `x`, and 0 within `lambd` of 0.
#[track_caller]
pub fn hardshrink(x: &Tensor, lambd: f64) -> Tensor {
    x.hardshrink(lambd)
}

/// `x` if above `threshold`, else `value`.
#[track_caller]
pub fn threshold(x: &Tensor, threshold: f64, value: f64) -> Tensor {
    where_(&x.le(threshold), value, x)
}

/// The first half of `dim` times the sigmoid of the second: a gated linear unit.
#[track_caller]
pub fn glu(x: &Tensor, dim: i64) -> Tensor {
    let ty = live!(x);
    let position = sound!(resolve_dim("glu", dim, &ty));
    let half = match ty.shape[position].as_const() {
        Some(extent) if extent % 2 == 0 => extent / 2,
        _ => return fault(format!("glu: dimension {dim} of {ty} is halved, expected an even extent")),
    };
    x.narrow(dim, 0, half) * x.narrow(dim, half, half).sigmoid()
}

/// `e^x / Σ e^x` along `dim`.
#[track_caller]
pub fn softmax(x: &Tensor, dim: i64) -> Tensor {
    x.softmax(dim)
}

/// `e^-x / Σ e^-x` along `dim`.
#[track_caller]
pub fn softmin(x: &Tensor, dim: i64) -> Tensor {
    (-x).softmax(dim)
}

/// `ln softmax(x)` along `dim`.
#[track_caller]
pub fn log_softmax(x: &Tensor, dim: i64) -> Tensor {
    x.log_softmax(dim)
}

impl Tensor {
    /// The element, and 0 within `lambd` of 0.
    #[track_caller]
    pub fn hardshrink(&self, lambd: f64) -> Tensor {
        where_(&self.abs().le(lambd), 0, self)
    }

    /// [`prelu`] of this tensor.
    #[track_caller]
    pub fn prelu(&self, weight: &Parameter) -> Tensor {
        prelu(self, weight)
    }
}
