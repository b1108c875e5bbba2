//! Gradient clipping: `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`, inside the step.

use nnc_ir::ops::ReduceKind;
use nnc_optim::formula::Term;

/// What limits the gradients of all trained parameters before the optimizers see them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Scales all gradients by one factor so that the norm of all of them together is at most `max_norm`.
    Norm {
        /// The largest norm.
        max_norm: f64,
        /// The `p` of the norm: a positive number, or infinity for the largest absolute value.
        norm_type: f64,
        /// A step whose norm is infinite or NaN changes nothing; who runs it finds the norm among the results.
        error_if_nonfinite: bool,
    },
    /// Limits every element to the range from `-clip_value` to `clip_value`.
    Value {
        /// The largest absolute value.
        clip_value: f64,
    },
}

impl Clip {
    /// By the Euclidean norm, with PyTorch's defaults.
    pub fn norm(max_norm: f64) -> Self {
        Self::Norm { max_norm, norm_type: 2.0, error_if_nonfinite: false }
    }

    /// By value.
    pub fn value(clip_value: f64) -> Self {
        Self::Value { clip_value }
    }

    /// Whether the numbers are allowed.
    pub(super) fn check(&self) -> Result<(), String> {
        let check = |argument: &str, value: f64, fits: bool, expected: &str| {
            if fits { Ok(()) } else { Err(format!("clip: `{argument}` is {value}, expected {expected}")) }
        };
        match *self {
            Self::Norm { max_norm, norm_type, .. } => {
                check("max_norm", max_norm, max_norm >= 0.0 && max_norm.is_finite(), "a number of at least 0")?;
                check("norm_type", norm_type, norm_type > 0.0, "a number above 0, or infinity")
            }
            Self::Value { clip_value } => {
                check("clip_value", clip_value, clip_value >= 0.0 && clip_value.is_finite(), "a number of at least 0")
            }
        }
    }

    /// Limits `gradients`, none of them narrower than `f32`, and gives their norm before that if it was computed.
    pub(super) fn apply<'f>(&self, gradients: &mut [Term<'f>]) -> Option<Term<'f>> {
        match *self {
            Self::Norm { max_norm, norm_type, .. } => {
                let norm = total_norm(gradients, norm_type)?;
                // PyTorch's own guard against division by zero.
                let factor = (norm.splat(max_norm) / (norm + 1e-6)).minimum(1.0);
                for gradient in gradients {
                    *gradient = *gradient * factor;
                }
                Some(norm)
            }
            Self::Value { clip_value } => {
                for gradient in gradients {
                    *gradient = gradient.maximum(-clip_value).minimum(clip_value);
                }
                None
            }
        }
    }
}

/// The `p`-norm of all elements together; `None` of no gradients.
pub(super) fn total_norm<'f>(gradients: &[Term<'f>], p: f64) -> Option<Term<'f>> {
    let folded = gradients.iter().map(|gradient| match p {
        f64::INFINITY => gradient.abs().reduce(ReduceKind::Max),
        1.0 => gradient.abs().reduce(ReduceKind::Sum),
        2.0 => gradient.square().reduce(ReduceKind::Sum),
        _ => gradient.abs().powf(p).reduce(ReduceKind::Sum),
    });
    let total = folded.reduce(|lhs, rhs| if p == f64::INFINITY { lhs.maximum(rhs) } else { lhs + rhs })?;
    Some(match p {
        f64::INFINITY | 1.0 => total,
        2.0 => total.sqrt(),
        _ => total.powf(1.0 / p),
    })
}
