//! Numbers of twice the precision: unevaluated sums of two.
//!
//! See T. J. Dekker, "A floating-point technique for extending the available precision" (1971). With fused multiply-add
//! a product and its rounding error take two instructions.

use std::ops::{Add, Mul};

use super::value::Value;

/// `high + low`, where `low` is at most a few units in the last place of `high`.
#[derive(Clone, Copy)]
pub(super) struct Pair<'e> {
    pub(super) high: Value<'e>,
    pub(super) low: Value<'e>,
}

impl<'e> Pair<'e> {
    /// The sum, without error, if `large` is 0 or its exponent is at least that of `small`.
    pub(super) fn ordered_sum(large: Value<'e>, small: Value<'e>) -> Self {
        let high = large + small;
        Self { high, low: small - (high - large) }
    }

    /// The product, without error.
    pub(super) fn product(lhs: Value<'e>, rhs: Value<'e>) -> Self {
        let high = lhs * rhs;
        Self { high, low: lhs.fma(rhs, -high) }
    }

    /// A quotient.
    pub(super) fn quotient(lhs: Value<'e>, rhs: Pair<'e>) -> Self {
        let high = lhs / rhs.high;
        let remainder = (-high).fma(rhs.low, (-high).fma(rhs.high, lhs));
        Self { high, low: remainder / rhs.high }
    }

    /// Adds to the low part.
    pub(super) fn plus_low(self, low: Value<'e>) -> Self {
        Self { low: self.low + low, ..self }
    }

    pub(super) fn doubled(self) -> Self {
        Self { high: self.high + self.high, low: self.low + self.low }
    }
}

/// The exponent of the left operand must be at least that of the right one, or the left operand 0.
impl<'e> Add for Pair<'e> {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        let sum = Self::ordered_sum(self.high, rhs.high).plus_low(self.low + rhs.low);
        Self::ordered_sum(sum.high, sum.low)
    }
}

impl<'e> Mul for Pair<'e> {
    type Output = Self;

    fn mul(self, rhs: Self) -> Self {
        let product = Self::product(self.high, rhs.high);
        let cross = self.high.fma(rhs.low, self.low * rhs.high);
        Self::ordered_sum(product.high, product.low + cross)
    }
}
