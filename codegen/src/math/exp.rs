//! `exp` and what is made of it.
//!
//! `x = n ln 2 + r` with `|r| <= ln 2 / 2`, and `e^x = 2^n e^r` with `e^r = 1 + r + r^2 q(r)`. The remainder is exact:
//! its subtraction cancels, and a fused multiply-add rounds once.

use nnc_ir::ops::CompareDir;

use super::Math;
use crate::kernel::{KernelBuilder, Reg};

/// Largest weighted error 2^-28.3.
const EXP_F32: [f64; 5] = [0.5000000095, 0.16666518898, 0.041666206335, 0.0083688824313, 0.0013950458212];

/// Largest weighted error 2^-64.0.
const EXP_F64: [f64; 11] = [
    0.5,
    0.166_666_666_666_666_85,
    0.041_666_666_666_666_73,
    0.008_333_333_333_316_754,
    0.001_388_888_888_885_854,
    0.000_198_412_698_970_202_98,
    0.000_024_801_587_373_563_116,
    0.000_002_755_723_427_586_903_3,
    0.000_000_275_572_335_015_828_1,
    0.000_000_025_112_226_094_764_944,
    0.000_000_002_092_690_225_096_024_3,
];

/// Largest weighted error 2^-29.1.
const TANH_F32: [f64; 6] =
    [-0.33333333162, 0.13333301767, -0.053958784258, 0.021764753981, -0.008329603318, 0.0022759061015];

/// `e^x` for `f32`: 0 below, infinity above; `f64` likewise.
const RANGE_F32: (f64, f64) = (-104.0, 89.0);
const RANGE_F64: (f64, f64) = (-746.0, 710.0);

impl Math<'_> {
    /// The integer `n` and `e^r - 1` of the reduction.
    pub(super) fn exp_parts(&mut self, x: Reg) -> (Reg, Reg) {
        let (rounded, n) = self.round_scaled(x, std::f64::consts::LOG2_E);
        // ln 2 as the nearest number of the type and what is left.
        let (high, low) = match self.is_f32() {
            true => (0.693_147_182_464_599_6, -1.904_654_299_957_768e-9),
            false => (std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17),
        };
        let (high, low) = (self.c(-high), self.c(-low));
        let r = self.fma(rounded, high, x);
        let r = self.fma(rounded, low, r);
        let q = if self.is_f32() { self.polynomial(r, &EXP_F32) } else { self.polynomial(r, &EXP_F64) };
        let square = self.mul(r, r);
        (n, self.fma(square, q, r))
    }

    pub(super) fn exp(&mut self, x: Reg) -> Reg {
        let (low, high) = if self.is_f32() { RANGE_F32 } else { RANGE_F64 };
        let x = self.clamp(x, low, high);
        let (n, tail) = self.exp_parts(x);
        let one = self.c(1.0);
        let power = self.add(one, tail);
        self.scale(power, n)
    }

    pub(super) fn expm1(&mut self, x: Reg) -> Reg {
        // Below, the result is -1; above, infinity.
        let (low, high) = if self.is_f32() { (-18.0, RANGE_F32.1) } else { (-38.0, RANGE_F64.1) };
        let clamped = self.clamp(x, low, high);
        let (n, tail) = self.exp_parts(clamped);
        let one = self.c(1.0);
        // 2^n may overflow although the result does not; then the 1 has no weight.
        let limit = self.int(if self.is_f32() { 40 } else { 80 });
        let small_n = self.b.binary(crate::kernel::BinOp::Min, n, limit);
        let power = self.power_of_two(small_n);
        let rest = self.sub(power, one);
        let near = self.fma(power, tail, rest);
        let whole = self.add(one, tail);
        let far = self.scale(whole, n);
        let is_far = self.compare(CompareDir::Gt, n, limit);
        let result = self.select(is_far, far, near);
        // The sign of zero.
        let is_zero = self.is(x, CompareDir::Eq, 0.0);
        self.select(is_zero, x, result)
    }
}

/// `e^x`.
pub(crate) fn exp(b: &mut KernelBuilder, x: Reg) -> Reg {
    Math::new(b, x).exp(x)
}

/// `e^x - 1`.
pub(crate) fn expm1(b: &mut KernelBuilder, x: Reg) -> Reg {
    Math::new(b, x).expm1(x)
}

/// `1 / (1 + e^-x)`, as `e / (1 + e)` for negative `x` so that small results keep their precision.
pub(crate) fn logistic(b: &mut KernelBuilder, x: Reg) -> Reg {
    let mut m = Math::new(b, x);
    let magnitude = m.abs(x);
    let negated = m.neg(magnitude);
    let power = m.exp(negated);
    let one = m.c(1.0);
    let below = m.add(one, power);
    let is_negative = m.is(x, CompareDir::Lt, 0.0);
    let above = m.select(is_negative, power, one);
    m.div(above, below)
}

/// Hyperbolic tangent: for `f32` a polynomial near 0 and `1 - 2 / (e^2x + 1)` elsewhere, for `f64` through `expm1`.
pub(crate) fn tanh(b: &mut KernelBuilder, x: Reg) -> Reg {
    let mut m = Math::new(b, x);
    let magnitude = m.abs(x);
    let (one, two) = (m.c(1.0), m.c(2.0));
    let twice = m.add(magnitude, magnitude);
    let result = if m.is_f32() {
        let power = m.exp(twice);
        let below = m.add(power, one);
        let share = m.div(two, below);
        let far = m.sub(one, share);
        let square = m.mul(magnitude, magnitude);
        let tail = m.polynomial(square, &TANH_F32);
        let cube = m.mul(square, magnitude);
        let near = m.fma(cube, tail, magnitude);
        let is_near = m.is(magnitude, CompareDir::Lt, 0.625);
        m.select(is_near, near, far)
    } else {
        // Beyond 22 the result is 1.
        let limit = m.c(44.0);
        let twice = m.b.binary(crate::kernel::BinOp::Min, limit, twice);
        let grown = m.expm1(twice);
        let below = m.add(grown, two);
        m.div(grown, below)
    };
    m.copy_sign(result, x)
}
