//! `log` and `log1p`.

use super::coefficients::{ATANH, LN_2, TWO_THIRDS};
use super::exponential::tiny;
use super::pair::Pair;
use super::value::Value;

/// A positive finite number as `m 2^e` with `sqrt(1/2) <= m < sqrt(2)`.
pub(super) struct Split<'e> {
    pub(super) m: Value<'e>,
    /// The exponent, an integer.
    pub(super) e: Value<'e>,
}

impl<'e> Split<'e> {
    /// Of a normal number.
    fn of_normal(x: Value<'e>) -> Self {
        // Subtracting the bits of sqrt(1/2) carries into the exponent field exactly where m has to be halved.
        let sqrt_half = x.constant(std::f64::consts::FRAC_1_SQRT_2).bits();
        let e = (x.bits() - sqrt_half) >> x.fraction_bits();
        let m = (x.bits() - (e << x.fraction_bits())).bitcast(x.ty);
        Self { m, e }
    }

    /// Of any positive number.
    pub(super) fn of(x: Value<'e>) -> Self {
        let min_normal = (1.0 - x.bias() as f64).exp2();
        let shift = x.fraction_bits() + 1;
        let denormal = x.lt(min_normal);
        let Self { m, e } = Self::of_normal(denormal.select(x * (shift as f64).exp2(), x));
        let shift = denormal.select(x.integer(e.ty, shift), 0);
        Self { m, e: e - shift }
    }
}

/// `log(1 + f) + e ln(2)`, `e` an integer, `sqrt(1/2) <= 1 + f <= sqrt(2)`.
///
/// `log(1 + f) = 2 atanh(s) = 2 s + s series(s^2)` with `s = f / (2 + f)`. Written with `2 s = f - f^2/2 + s f^2/2`, its
/// largest term is exact.
fn log_reduced<'e>(f: Value<'e>, e: Value<'e>) -> Value<'e> {
    let s = f / (f + 2.0);
    let z = s * s;
    let series = z * z.fma(ATANH.polynomial(z), TWO_THIRDS.at(f.ty, 0));
    let half_square = f * f * 0.5;
    let e = e.to_float(f);
    let tail = s.fma(half_square + series, e * LN_2.at(f.ty, 1));
    e.fma(LN_2.at(f.ty, 0), f - (half_square - tail))
}

/// `log`, the logarithm of `u` if that is positive and finite, completed for all `u`.
fn complete<'e>(u: Value<'e>, log: Value<'e>) -> Value<'e> {
    let pole = u.equals(0.0).select(u.constant(f64::NEG_INFINITY), f64::NAN);
    u.gt(0.0).select(u.lt(f64::INFINITY).select(log, u), pole)
}

/// Natural logarithm.
pub(super) fn log(x: Value<'_>) -> Value<'_> {
    let Split { m, e } = Split::of(x);
    complete(x, log_reduced(m - 1.0, e))
}

/// `log(1 + x)`. The logarithm is taken of the rounded sum, corrected by what the rounding lost.
pub(super) fn log1p(x: Value<'_>) -> Value<'_> {
    let sum = x + 1.0;
    let lost = x - (sum - 1.0);
    let Split { m, e } = Split::of_normal(sum);
    // Both are divided by 2^e. With e = 0 this is x again; large sums lose nothing that counts.
    let f = lost.fma((-e).max(-64).exp2(x), m - 1.0);
    let log = complete(sum, log_reduced(f, e));
    x.abs().lt(tiny(x)).select(x, log)
}

/// Natural logarithm of a positive finite number to about twice the precision of its format.
///
/// `log(m) = 2 atanh(s)` with `s = (m - 1) / (m + 1)`: the first two terms of the series are summed in pairs, the rest is
/// small enough to be rounded.
pub(super) fn log_pair(x: Value<'_>) -> Pair<'_> {
    let ty = x.ty;
    let Split { m, e } = Split::of(x);
    let s = Pair::quotient(m - 1.0, Pair::ordered_sum(x.constant(1.0), m));
    let z = s * s;
    let factor = Pair::ordered_sum(x.constant(TWO_THIRDS.at(ty, 0)), z.high * ATANH.polynomial(z.high));
    let factor = factor.plus_low(x.constant(TWO_THIRDS.at(ty, 1)));
    let log_m = s.doubled() + s * z * factor;
    let e = e.to_float(x);
    let multiple = Pair::product(e, x.constant(LN_2.at(ty, 0))).plus_low(e * LN_2.at(ty, 1));
    multiple + log_m
}
