//! Functions of one tensor, element by element, under PyTorch's names.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2};

use nnc_ir::{DType, Op};

use super::{Tensor, apply, fault, live};
use crate::trace;

/// Functions that are one op. Integers become `f32` first where the op is defined on floats.
macro_rules! unary {
    ($($(#[doc = $doc:literal])* $name:ident => $op:ident;)*) => {
        impl Tensor {
            $(
                $(#[doc = $doc])*
                #[track_caller]
                pub fn $name(&self) -> Tensor {
                    apply(Op::$op, &[&self.floating()])
                }
            )*
        }
    };
}

unary! {
    /// `e^x`.
    exp => Exponential;
    /// `e^x - 1`, accurate near 0.
    expm1 => ExponentialMinusOne;
    /// Natural logarithm.
    log => Log;
    /// `ln(1 + x)`, accurate near 0.
    log1p => LogPlusOne;
    /// Square root.
    sqrt => Sqrt;
    /// `1 / sqrt(x)`.
    rsqrt => Rsqrt;
    /// Hyperbolic tangent.
    tanh => Tanh;
    /// `1 / (1 + e^-x)`.
    sigmoid => Logistic;
    /// Error function.
    erf => Erf;
    /// Sine of radians.
    sin => Sine;
    /// Cosine of radians.
    cos => Cosine;
    /// Tangent of radians.
    tan => Tan;
    /// Largest integer not above `x`.
    floor => Floor;
    /// Smallest integer not below `x`.
    ceil => Ceil;
    /// Nearest integer, ties to even.
    round => RoundNearestEven;
    /// Whether the element is neither infinite nor NaN; the result is `bool`.
    isfinite => IsFinite;
}

impl Tensor {
    /// `|x|`; unsigned integers and `bool` are their own magnitude.
    #[track_caller]
    pub fn abs(&self) -> Tensor {
        let ty = live!(self);
        if ty.dtype.is_signed() { apply(Op::Abs, &[self]) } else { self.clone() }
    }

    /// -1, 0 or 1.
    #[track_caller]
    pub fn sign(&self) -> Tensor {
        let ty = live!(self);
        if ty.dtype.is_signed() { apply(Op::Sign, &[self]) } else { self.bool().to_dtype(ty.dtype) }
    }

    /// `x * x`.
    #[track_caller]
    pub fn square(&self) -> Tensor {
        self * self
    }

    /// `1 / x`.
    #[track_caller]
    pub fn reciprocal(&self) -> Tensor {
        1.0 / self
    }

    /// Base-2 logarithm.
    #[track_caller]
    pub fn log2(&self) -> Tensor {
        self.log() / LN_2
    }

    /// The integer part: fractions are cut off toward 0.
    #[track_caller]
    pub fn trunc(&self) -> Tensor {
        super::arith::where_(&self.lt(0), self.ceil(), self.floor())
    }

    /// Whether the element is infinite; the result is `bool`.
    #[track_caller]
    pub fn isinf(&self) -> Tensor {
        self.abs().eq(f64::INFINITY)
    }

    /// Whether the element is NaN; the result is `bool`.
    #[track_caller]
    pub fn isnan(&self) -> Tensor {
        self.ne(self)
    }

    /// `max(x, 0)`; NaN propagates, and the gradient at 0 is 0.
    #[track_caller]
    pub fn relu(&self) -> Tensor {
        self.maximum(0)
    }

    /// `x` if positive, else `negative_slope * x`.
    #[track_caller]
    pub fn leaky_relu(&self, negative_slope: f64) -> Tensor {
        super::arith::where_(&self.gt(0), self, self * negative_slope)
    }

    /// `x * Φ(x)`, with the exact distribution function.
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        self * 0.5 * ((self * FRAC_1_SQRT_2).erf() + 1.0)
    }

    /// `gelu` with the distribution function approximated through `tanh`.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
        let inner = (self + self * self * self * 0.044715) * SQRT_2_OVER_PI;
        self * 0.5 * (inner.tanh() + 1.0)
    }

    /// `x * sigmoid(x)`.
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        self * self.sigmoid()
    }

    /// `ln(1 + e^x)`, without overflow.
    #[track_caller]
    pub fn softplus(&self) -> Tensor {
        // Not `maximum(x, 0)`: its gradient at 0 is 0, and the halves' is 1/2.
        let magnitude = self.abs();
        self * 0.5 + &magnitude * 0.5 + (-magnitude).exp().log1p()
    }

    /// The same values in another element type: floats to integers truncate, to `bool` compare with 0.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        let ty = live!(self);
        if ty.dtype == dtype { self.clone() } else { apply(Op::Convert(dtype), &[self]) }
    }

    /// [`Tensor::to_dtype`] `f32`.
    #[track_caller]
    pub fn float(&self) -> Tensor {
        self.to_dtype(DType::F32)
    }

    /// [`Tensor::to_dtype`] `f64`.
    #[track_caller]
    pub fn double(&self) -> Tensor {
        self.to_dtype(DType::F64)
    }

    /// [`Tensor::to_dtype`] `f16`.
    #[track_caller]
    pub fn half(&self) -> Tensor {
        self.to_dtype(DType::F16)
    }

    /// [`Tensor::to_dtype`] `bf16`.
    #[track_caller]
    pub fn bfloat16(&self) -> Tensor {
        self.to_dtype(DType::BF16)
    }

    /// [`Tensor::to_dtype`] `i64`.
    #[track_caller]
    pub fn long(&self) -> Tensor {
        self.to_dtype(DType::I64)
    }

    /// [`Tensor::to_dtype`] `i32`.
    #[track_caller]
    pub fn int(&self) -> Tensor {
        self.to_dtype(DType::I32)
    }

    /// [`Tensor::to_dtype`] `bool`.
    #[track_caller]
    pub fn bool(&self) -> Tensor {
        self.to_dtype(DType::Bool)
    }

    /// The same values, through which no gradient flows.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        // Outside a trace there are no gradients to stop.
        if trace::is_active() { apply(Op::StopGradient, &[self]) } else { self.clone() }
    }

    /// One-hot vectors along a new last dimension: `self` holds classes below `num_classes`. The result is `i64`, as in
    /// PyTorch; a class out of range gives zeros.
    #[track_caller]
    pub fn one_hot(&self, num_classes: usize) -> Tensor {
        self.one_hot_mask(num_classes).long()
    }

    /// [`Tensor::one_hot`] as `bool`: true where the class is the position along the last dimension.
    #[track_caller]
    pub(crate) fn one_hot_mask(&self, num_classes: usize) -> Tensor {
        let ty = live!(self);
        if !ty.dtype.is_int() {
            return fault(format!("one_hot: classes are {ty}, expected an integer type"));
        }
        let mut shape = ty.shape.clone();
        shape.0.push(num_classes.into());
        let classes = Tensor::iota(ty.dtype, shape, ty.rank());
        classes.eq(self.unsqueeze(-1))
    }

    /// Integers and `bool` as `f32`, floats as they are.
    #[track_caller]
    pub(crate) fn floating(&self) -> Tensor {
        let ty = live!(self);
        if ty.dtype.is_float() { self.clone() } else { self.to_dtype(DType::F32) }
    }
}
