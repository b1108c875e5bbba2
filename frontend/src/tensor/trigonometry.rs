//! Inverse trigonometric functions, hyperbolic functions and their inverses, under PyTorch's names.
//!
//! Each is a composition that keeps its relative accuracy where the textbook formula cancels (near 0, near the ends of
//! the domain) and does not overflow before its result does. Half precision is computed in `f32`.

use std::f64::consts::LN_2;

use nnc_ir::DType;

use super::{Tensor, live, where_};

/// Beyond this `x² + 1` is `x²` to the last bit of a double, and squares of `f32` are still finite.
const SQUARE_DOMINATES: f64 = 1e8;

impl Tensor {
    /// Angle whose tangent is `x`, in (-π/2, π/2).
    #[track_caller]
    pub fn atan(&self) -> Tensor {
        self.floating().atan2(1.0)
    }

    /// Angle whose sine is `x`, in [-π/2, π/2]; NaN outside [-1, 1].
    #[track_caller]
    pub fn asin(&self) -> Tensor {
        self.in_wide(|x| x.atan2(other_leg(x)))
    }

    /// Angle whose cosine is `x`, in [0, π]; NaN outside [-1, 1].
    #[track_caller]
    pub fn acos(&self) -> Tensor {
        self.in_wide(|x| other_leg(x).atan2(x))
    }

    /// `(e^x - e^-x) / 2`.
    #[track_caller]
    pub fn sinh(&self) -> Tensor {
        // With h = e^(x/2) - 1, e^x - 1 is h * (h + 2): nothing overflows before the result.
        let half = |h: Tensor| (&h * 0.5) * (&h + 2.0);
        self.in_wide(|x| half((x * 0.5).expm1()) - half((x * -0.5).expm1()))
    }

    /// `(e^x + e^-x) / 2`.
    #[track_caller]
    pub fn cosh(&self) -> Tensor {
        let half = |h: Tensor| (&h * 0.5) * &h;
        self.in_wide(|x| half((x * 0.5).exp()) + half((x * -0.5).exp()))
    }

    /// The number whose hyperbolic sine is `x`.
    #[track_caller]
    pub fn asinh(&self) -> Tensor {
        self.in_wide(|x| {
            // Of the magnitude, and odd; a sign of 0 would have no gradient there.
            let negative = x.lt(0);
            let a = where_(&negative, -x, x);
            let large = a.gt(SQUARE_DOMINATES);
            let moderate = where_(&large, 1.0, &a);
            let square = moderate.square();
            let near = (&moderate + &square / ((&square + 1.0).sqrt() + 1.0)).log1p();
            let y = where_(&large, logarithm_of_double(&a, &large), near);
            where_(&negative, -&y, &y)
        })
    }

    /// The number of at least 0 whose hyperbolic cosine is `x`; NaN below 1.
    #[track_caller]
    pub fn acosh(&self) -> Tensor {
        self.in_wide(|x| {
            let large = x.gt(SQUARE_DOMINATES);
            let above = where_(&large, 1.0, x - 1.0);
            let near = (&above + (&above * (&above + 2.0)).sqrt()).log1p();
            where_(&large, logarithm_of_double(x, &large), near)
        })
    }

    /// The number whose hyperbolic tangent is `x`; infinite at -1 and 1, NaN beyond.
    #[track_caller]
    pub fn atanh(&self) -> Tensor {
        self.in_wide(|x| (x.log1p() - (-x).log1p()) * 0.5)
    }

    /// What `f` makes of the tensor as floats of at least 32 bits, in the tensor's own floating type.
    #[track_caller]
    pub(crate) fn in_wide(&self, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        let ty = live!(self);
        match ty.dtype {
            DType::F16 | DType::BF16 => f(&self.float()).to_dtype(ty.dtype),
            _ => f(&self.floating()),
        }
    }
}

/// `sqrt(1 - x²)`, without cancellation near the ends.
#[track_caller]
fn other_leg(x: &Tensor) -> Tensor {
    ((1.0 - x) * (x + 1.0)).sqrt()
}

/// `ln(2x)` where `chosen`, without overflow; elsewhere something finite.
#[track_caller]
fn logarithm_of_double(x: &Tensor, chosen: &Tensor) -> Tensor {
    where_(chosen, x, 1.0).log() + LN_2
}
