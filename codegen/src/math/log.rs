//! Logarithms.
//!
//! `x = 2^e (1 + f)` with `1 + f` between the roots of 1/2 and 2. With `s = f / (2 + f)`, `ln(1 + f) = 2 atanh s`, whose
//! series in `z = s^2` converges fast; it is arranged as `f - (f^2/2 - s (f^2/2 + z L(z)))`, where only `f`, which is
//! exact, has full weight.

use nnc_ir::ops::CompareDir;

use super::{Format, Math};
use crate::kernel::{BinOp, KernelBuilder, Reg, Ty};

/// Largest weighted error 2^-29.7.
const LOG_F32: [f64; 4] = [0.66666666553, 0.40000122715, 0.28550741357, 0.23332268849];

/// Largest weighted error 2^-58.8.
const LOG_F64: [f64; 8] = [
    0.666_666_666_666_666_6,
    0.400_000_000_000_008_85,
    0.285_714_285_707_986_24,
    0.222_222_223_927_312_33,
    0.181_817_955_413_022_43,
    0.153_862_446_306_979_57,
    0.132_686_513_111_918_98,
    0.130_878_092_610_839_35,
];

impl Math<'_> {
    /// `e` as a float and `f` for `x > 0`, denormals included.
    pub(super) fn log_parts(&mut self, x: Reg) -> (Reg, Reg) {
        let Format { mantissa_bits, int, .. } = self.format();
        let (least_normal, lift, lift_exponent, root_bits) = match self.ty {
            Ty::F32 => (f64::from(f32::MIN_POSITIVE), 33_554_432.0, -25.0, 0x3f35_04f3),
            _ => (f64::MIN_POSITIVE, 18_014_398_509_481_984.0, -54.0, 0x3fe6_a09e_667f_3bcd),
        };
        let is_denormal = self.is(x, CompareDir::Lt, least_normal);
        let lift = self.c(lift);
        let lifted = self.mul(x, lift);
        let x = self.select(is_denormal, lifted, x);
        let (lift_exponent, zero) = (self.c(lift_exponent), self.c(0.0));
        let lift_exponent = self.select(is_denormal, lift_exponent, zero);
        let bits = self.bits(x);
        let (root, shift) = (self.int(root_bits), self.int(mantissa_bits));
        let above_root = self.b.sub(bits, root);
        let e = self.b.binary(BinOp::ShrArithmetic, above_root, shift);
        let exponent_bits = self.b.binary(BinOp::Shl, e, shift);
        let mantissa = self.b.sub(bits, exponent_bits);
        let mantissa = self.from_bits(mantissa);
        let one = self.c(1.0);
        let f = self.sub(mantissa, one);
        debug_assert_eq!(self.b.reg_type(e).ty, int);
        let e = self.b.cast(self.ty, e);
        (self.add(e, lift_exponent), f)
    }

    /// `e ln 2 + ln(1 + f) + c`, where `c` is a small correction.
    fn log_of_parts(&mut self, e: Reg, f: Reg, c: Option<Reg>) -> Reg {
        // The high part has so few bits that its product with `e` is exact.
        let (high, low) = match self.is_f32() {
            true => (0.693_359_375, -2.121_944_400_546_905_8e-4),
            false => (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10),
        };
        let (two, half, high, low) = (self.c(2.0), self.c(0.5), self.c(high), self.c(low));
        let below = self.add(f, two);
        let s = self.div(f, below);
        let z = self.mul(s, s);
        let series = if self.is_f32() { self.polynomial(z, &LOG_F32) } else { self.polynomial(z, &LOG_F64) };
        let series = self.mul(z, series);
        let square = self.mul(f, f);
        let half_square = self.mul(square, half);
        let both = self.add(half_square, series);
        let correction = match c {
            Some(c) => self.fma(e, low, c),
            None => self.mul(e, low),
        };
        let small = self.fma(s, both, correction);
        let rest = self.sub(half_square, small);
        let rest = self.sub(rest, f);
        let whole = self.mul(e, high);
        self.sub(whole, rest)
    }

    /// The values outside the domain: NaN below `least`, minus infinity at it; infinity and NaN stay.
    fn log_edges(&mut self, x: Reg, least: f64, result: Reg) -> Reg {
        let nan = self.c(f64::NAN);
        let (infinity, minus_infinity) = (f64::INFINITY, self.c(f64::NEG_INFINITY));
        let below = self.is(x, CompareDir::Lt, least);
        let at = self.is(x, CompareDir::Eq, least);
        // False for infinity and for NaN.
        let is_finite = self.is(x, CompareDir::Lt, infinity);
        let result = self.select(is_finite, result, x);
        let result = self.select(at, minus_infinity, result);
        self.select(below, nan, result)
    }

    pub(super) fn log(&mut self, x: Reg) -> Reg {
        let (e, f) = self.log_parts(x);
        let result = self.log_of_parts(e, f, None);
        self.log_edges(x, 0.0, result)
    }
}

/// Natural logarithm.
pub(crate) fn log(b: &mut KernelBuilder, x: Reg) -> Reg {
    Math::new(b, x).log(x)
}

/// `ln(1 + x)`: near 0 with `f = x`, elsewhere with `1 + x` and a correction for its rounding.
pub(crate) fn log1p(b: &mut KernelBuilder, x: Reg) -> Reg {
    let mut m = Math::new(b, x);
    let (one, zero) = (m.c(1.0), m.c(0.0));
    let sum = m.add(one, x);
    let (e, f) = m.log_parts(sum);
    // What was lost in `sum`, exact whichever operand is larger.
    let back = m.sub(sum, x);
    let lost_of_one = m.sub(one, back);
    let back = m.sub(sum, one);
    let lost_of_x = m.sub(x, back);
    let is_large = m.is(x, CompareDir::Gt, 1.0);
    let lost = m.select(is_large, lost_of_one, lost_of_x);
    let correction = m.div(lost, sum);
    let above = m.is(x, CompareDir::Gt, -0.292_893_218_813);
    let below = m.is(x, CompareDir::Lt, 0.414_213_562_373);
    let is_near = m.and(above, below);
    let e = m.select(is_near, zero, e);
    let f = m.select(is_near, x, f);
    let correction = m.select(is_near, zero, correction);
    let result = m.log_of_parts(e, f, Some(correction));
    let result = m.log_edges(x, -1.0, result);
    let is_zero = m.is(x, CompareDir::Eq, 0.0);
    m.select(is_zero, x, result)
}
