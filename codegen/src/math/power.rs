//! Powers.

use super::exponential::exp_sum;
use super::logarithm::log_pair;
use super::pair::Pair;
use super::value::Value;

/// `x^y = exp(y log|x|)`, the logarithm and the product to twice the precision.
pub(super) fn pow<'e>(x: Value<'e>, y: Value<'e>) -> Value<'e> {
    let base = x.abs();
    let finite = log_pair(base);
    let pole = base.equals(0.0).select(x.constant(f64::NEG_INFINITY), finite.high);
    // Infinity and NaN are their own logarithms.
    let log = Pair { high: base.lt(f64::INFINITY).select(pole, base), ..finite };
    let exponent = Pair::product(y, log.high);
    let magnitude = exp_sum(exponent.high, y.fma(log.low, exponent.low));
    // The logarithm 0 times infinity is not a number, but the power is 1.
    let magnitude = (base.equals(1.0) & !is_nan(y)).select(x.constant(1.0), magnitude);

    let half = y * 0.5;
    let whole = y.equals(y.round());
    let odd = whole & half.differs(half.round());
    let negative = x.bits().lt(0);
    let signed = (negative & odd).select(-magnitude, magnitude);
    // -0 and -inf have powers of every exponent; NaN stays NaN.
    let undefined = x.lt(0.0) & x.gt(f64::NEG_INFINITY) & !whole;
    let power = undefined.select(x.constant(f64::NAN), signed);
    (x.equals(1.0) | y.equals(0.0)).select(x.constant(1.0), power)
}

fn is_nan(x: Value<'_>) -> Value<'_> {
    x.differs(x)
}
