//! `exp` and what follows from it.

use super::coefficients::{EXP, LN_2, LOG2_E};
use super::value::Value;
use crate::kernel::Ty;

/// `x = n ln(2) + r` with `|r| <= ln(2)/2`.
struct Reduced<'e> {
    /// The multiple, an integer.
    n: Value<'e>,
    r: Value<'e>,
}

/// Splits `x`, which is at most a few times beyond the range in which `exp` is finite and not 0.
fn reduce(x: Value<'_>) -> Reduced<'_> {
    let (multiple, n) = x.scale_and_round(LOG2_E.at(x.ty, 0));
    let r = multiple.fma(-LN_2.at(x.ty, 0), x);
    Reduced { n, r: multiple.fma(-LN_2.at(x.ty, 1), r) }
}

/// `exp(r) - 1` for `|r| <= ln(2)/2`.
fn expm1_reduced(r: Value<'_>) -> Value<'_> {
    (r * r).fma(EXP.polynomial(r), r)
}

/// Bounds outside of which `exp` is 0 or infinite and still within reach of [`reduce`].
fn exp_range(x: Value<'_>) -> (f64, f64) {
    if x.ty == Ty::F32 { (-104.0, 89.0) } else { (-746.0, 710.0) }
}

/// `e^x`.
pub(super) fn exp(x: Value<'_>) -> Value<'_> {
    let (low, high) = exp_range(x);
    let Reduced { n, r } = reduce(x.max(low).min(high));
    scale(expm1_reduced(r) + 1.0, n)
}

/// `e^(x + x_low)`, where `x_low` is at most a few last places of `x`.
pub(super) fn exp_sum<'e>(x: Value<'e>, x_low: Value<'e>) -> Value<'e> {
    let (low, high) = exp_range(x);
    let clamped = x.max(low).min(high);
    let x_low = x.equals(clamped).select(x_low, 0.0);
    let Reduced { n, r } = reduce(clamped);
    scale(expm1_reduced(r + x_low) + 1.0, n)
}

/// `e^x` for `x` between -80 and 0, where neither `e^x` nor the factor leaves the normal numbers.
pub(super) fn exp_moderate(x: Value<'_>) -> Value<'_> {
    let Reduced { n, r } = reduce(x);
    (expm1_reduced(r) + 1.0) * n.exp2(x)
}

/// `p 2^n`. The factor is applied in two steps, so that each is a normal number; only the second may round.
fn scale<'e>(p: Value<'e>, n: Value<'e>) -> Value<'e> {
    let half = n >> 1;
    p * half.exp2(p) * (n - half).exp2(p)
}

/// `e^x - 1`.
pub(super) fn expm1(x: Value<'_>) -> Value<'_> {
    // Below -60 the result is -1 in both formats.
    let Reduced { n, r } = reduce(x.max(-60.0).min(exp_range(x).1));
    // Half the factor is a normal number even where the result overflows.
    let scale = (n - 1).exp2(x);
    let half = expm1_reduced(r).fma(scale, scale - 0.5);
    // Where the result is x itself, halving could lose the last bit of a denormal number, and -0 its sign.
    x.abs().lt(tiny(x)).select(x, half + half)
}

/// Below this number `x` itself is nearest to `expm1(x)` and `log1p(x)`.
pub(super) fn tiny(x: Value<'_>) -> f64 {
    (-(x.fraction_bits() as f64) - 2.0).exp2()
}

/// Hyperbolic tangent, from `t = expm1(2 |x|)`: small results as `t / (t + 2)`, results near 1 as `1 - 2 / (t + 2)`.
pub(super) fn tanh(x: Value<'_>) -> Value<'_> {
    // Beyond 20 the result is 1 in both formats.
    let Reduced { n, r } = reduce(x.abs().min(20.0) * 2.0);
    let (p, scale) = (expm1_reduced(r), n.exp2(x));
    let t = p.fma(scale, scale - 1.0);
    let small = t.lt(2.0);
    let quotient = small.select(t, 2.0) / p.fma(scale, scale + 1.0);
    small.select(quotient, x.constant(1.0) - quotient).flip_sign(x.sign_bit())
}

/// `1 / (1 + e^-x)`, computed from `e = exp(-|x|)` so that nothing overflows and small results stay accurate.
pub(super) fn logistic(x: Value<'_>) -> Value<'_> {
    let e = exp(-x.abs());
    x.lt(0.0).select(e, 1.0) / (e + 1.0)
}
