//! Powers: `x^y = e^(y ln |x|)` and the sign.
//!
//! For `f32` doubles are precise enough. For `f64` the product `y ln |x|`, up to 709, would magnify the rounding of the
//! logarithm by as much, so the logarithm is computed as the unevaluated sum of two doubles.

use nnc_ir::ops::CompareDir;

use super::Math;
use crate::kernel::{KernelBuilder, Reg, Ty, UnOp};

/// The first coefficient of the logarithm's series in two parts, and the others (see `log.rs`).
const LOG_FIRST: (f64, f64) = (0.666_666_666_666_666_6, 3.494_076_748_750_522e-17);
const LOG_REST: [f64; 7] = [
    0.400_000_000_000_008_85,
    0.285_714_285_707_986_24,
    0.222_222_223_927_312_33,
    0.181_817_955_413_022_43,
    0.153_862_446_306_979_57,
    0.132_686_513_111_918_98,
    0.130_878_092_610_839_35,
];

/// An unevaluated sum: the low part is below half a unit of the high part.
#[derive(Clone, Copy)]
struct Pair {
    high: Reg,
    low: Reg,
}

impl Math<'_> {
    /// `x + y` where `|x| >= |y|` or `x` is 0.
    fn fast_sum(&mut self, x: Reg, y: Reg) -> Pair {
        let high = self.add(x, y);
        let back = self.sub(high, x);
        Pair { high, low: self.sub(y, back) }
    }

    fn product(&mut self, x: Reg, y: Reg) -> Pair {
        let high = self.mul(x, y);
        let negated = self.neg(high);
        Pair { high, low: self.fma(x, y, negated) }
    }

    fn pair_product(&mut self, x: Pair, y: Pair) -> Pair {
        let Pair { high, low } = self.product(x.high, y.high);
        let low = self.fma(x.high, y.low, low);
        let low = self.fma(x.low, y.high, low);
        self.fast_sum(high, low)
    }

    /// `ln x` for positive `x`, to about 66 bits.
    fn log_pair(&mut self, x: Reg) -> Pair {
        let (e, f) = self.log_parts(x);
        let two = self.c(2.0);
        // s = f / (2 + f)
        let below = self.fast_sum(two, f);
        let s = self.div(f, below.high);
        let negated = self.neg(s);
        let rest = self.fma(negated, below.high, f);
        let rest = self.fma(negated, below.low, rest);
        let s = Pair { high: s, low: self.div(rest, below.high) };
        let z = self.pair_product(s, s);
        // z (c0 + z L(z))
        let tail = self.polynomial(z.high, &LOG_REST);
        let tail = self.mul(z.high, tail);
        let first = Pair { high: self.c(LOG_FIRST.0), low: self.c(LOG_FIRST.1) };
        let factor = self.fast_sum(first.high, tail);
        let factor = Pair { high: factor.high, low: self.add(factor.low, first.low) };
        let series = self.pair_product(z, factor);
        let factor = self.fast_sum(two, series.high);
        let factor = Pair { high: factor.high, low: self.add(factor.low, series.low) };
        let log = self.pair_product(s, factor);
        // e ln 2: the product with the high part is exact.
        let (high, low) = (self.c(6.931_471_803_691_238e-1), self.c(1.908_214_929_270_587_7e-10));
        let whole = self.mul(e, high);
        let whole_low = self.product(e, low);
        let sum = self.fast_sum(whole, whole_low.high);
        // If e is 0 the first operand is 0, else it is the larger.
        let total = self.fast_sum(sum.high, log.high);
        let low = self.add(sum.low, log.low);
        let low = self.add(low, whole_low.low);
        let low = self.add(low, total.low);
        self.fast_sum(total.high, low)
    }

    /// `e^(y ln x)` for positive finite `x`.
    fn power_pair(&mut self, x: Reg, y: Reg) -> Reg {
        let log = self.log_pair(x);
        let exponent = self.product(y, log.high);
        let low = self.fma(y, log.low, exponent.low);
        let clamped = self.clamp(exponent.high, -746.0, 710.0);
        // Where the product leaves the range (or overflows) its low part means nothing.
        let inside = self.compare(CompareDir::Eq, clamped, exponent.high);
        let zero = self.c(0.0);
        let low = self.select(inside, low, zero);
        let (n, tail) = self.exp_parts(clamped);
        // e^(h + l) = e^h + l e^h, and l is tiny.
        let one = self.c(1.0);
        let whole = self.fast_sum(one, tail);
        let correction = self.fma(low, whole.high, whole.low);
        let power = self.add(whole.high, correction);
        self.scale(power, n)
    }
}

/// `x^y` as C's `pow`.
pub(crate) fn pow(b: &mut KernelBuilder, x: Reg, y: Reg) -> Reg {
    match b.reg_type(x).ty {
        Ty::F32 => Math::through_f64(b, &[x, y], |b, operands| power(b, operands[0], operands[1], false)),
        _ => power(b, x, y, true),
    }
}

fn power(b: &mut KernelBuilder, x: Reg, y: Reg, precise: bool) -> Reg {
    let mut m = Math::new(b, x);
    let (zero, one, nan) = (m.c(0.0), m.c(1.0), m.c(f64::NAN));
    let infinity = m.c(f64::INFINITY);
    let magnitude = m.abs(x);
    let result = if precise {
        m.power_pair(magnitude, y)
    } else {
        let log = m.log(magnitude);
        let exponent = m.mul(y, log);
        m.exp(exponent)
    };
    // Zero and infinity to a power: one of zero and infinity.
    let is_zero = m.is(x, CompareDir::Eq, 0.0);
    let is_infinite = m.is(magnitude, CompareDir::Eq, f64::INFINITY);
    let (rises, falls) = (m.is(y, CompareDir::Gt, 0.0), m.is(y, CompareDir::Lt, 0.0));
    let of_zero = m.select(falls, infinity, zero);
    let of_infinity = m.select(rises, infinity, zero);
    let result = m.select(is_zero, of_zero, result);
    let result = m.select(is_infinite, of_infinity, result);
    // An infinite exponent.
    let abs_y = m.abs(y);
    let endless = m.is(abs_y, CompareDir::Eq, f64::INFINITY);
    let above_one = m.is(magnitude, CompareDir::Gt, 1.0);
    let grows = m.select(above_one, of_infinity, of_zero);
    let result = m.select(endless, grows, result);
    let is_unit = m.is(magnitude, CompareDir::Eq, 1.0);
    let result = m.select(is_unit, one, result);
    // Negative bases: odd powers are negative, fractional ones do not exist.
    let sign = m.sign_bits(x);
    let no_sign = m.int(0);
    let is_negative = m.compare(CompareDir::Ne, sign, no_sign);
    let rounded = m.b.unary(UnOp::RoundEven, y);
    let is_whole = m.compare(CompareDir::Eq, rounded, y);
    let half = m.c(0.5);
    let half_y = m.mul(y, half);
    let half_rounded = m.b.unary(UnOp::RoundEven, half_y);
    let is_odd = m.compare(CompareDir::Ne, half_rounded, half_y);
    let is_odd = m.and(is_whole, is_odd);
    let flips = m.and(is_negative, is_odd);
    let negated = m.neg(result);
    let result = m.select(flips, negated, result);
    let below_zero = m.is(x, CompareDir::Lt, 0.0);
    let fractional = m.compare(CompareDir::Ne, rounded, y);
    let is_ordinary = m.is(magnitude, CompareDir::Lt, f64::INFINITY);
    let undefined = m.and(below_zero, fractional);
    let undefined = m.and(undefined, is_ordinary);
    let result = m.select(undefined, nan, result);
    // NaN, but for 1^y and x^0.
    let (x_is_nan, y_is_nan) = (m.compare(CompareDir::Ne, x, x), m.compare(CompareDir::Ne, y, y));
    let is_nan = m.or(x_is_nan, y_is_nan);
    let result = m.select(is_nan, nan, result);
    let (is_one, is_flat) = (m.is(x, CompareDir::Eq, 1.0), m.is(y, CompareDir::Eq, 0.0));
    let is_one = m.or(is_one, is_flat);
    m.select(is_one, one, result)
}
