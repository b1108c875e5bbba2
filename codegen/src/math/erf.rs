//! The error function.

use super::coefficients::{ERF_LARGE, ERF_SMALL};
use super::exponential::exp_moderate;
use super::value::Value;
use crate::kernel::Ty;

/// An odd polynomial up to 1, `1 - exp(q(|x|))` beyond.
pub(super) fn erf(x: Value<'_>) -> Value<'_> {
    let magnitude = x.abs();
    let small = magnitude.fma(ERF_SMALL.polynomial(x * x), magnitude);
    // Beyond the bound the result is 1.
    let bounded = magnitude.min(if x.ty == Ty::F32 { 4.0 } else { 6.0 });
    let large = x.constant(1.0) - exp_moderate(ERF_LARGE.polynomial(bounded - 2.0));
    magnitude.lt(1.0).select(small, large).flip_sign(x.sign_bit())
}
