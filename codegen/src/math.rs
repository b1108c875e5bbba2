//! Transcendental functions as kernel IR arithmetic.
//!
//! Every target runs the same instructions, so every target gives the same bits. All functions take `f32` or `f64`
//! registers of any number of lanes, use no branches, and handle zeros, denormals, infinities and NaN by selection.
//! Bounds in units in the last place, as the tests measure them against `libm`'s double-precision functions (which are
//! themselves within one):
//!
//! | function | `f32` | `f64` |
//! |---|---|---|
//! | `exp`, `expm1` | 1, 2 | 2, 3 |
//! | `log`, `log1p` | 1, 1 | 2, 2 |
//! | `tanh`, `logistic` | 2, 2 | 4, 2 |
//! | `erf` | 2 | 2 |
//! | `sin`, `cos`, `tan` | 1, 1, 1 | 2, 2, 3 |
//! | `pow`, `atan2` | 1, 1 | 2, 3 |
//!
//! The polynomials come from `tools/polynomials.py`.

use nnc_ir::ops::CompareDir;

use crate::kernel::{BinOp, KernelBuilder, Reg, RegType, Ty, UnOp};

mod erf;
mod exp;
mod log;
mod pow;
#[cfg(test)]
mod tests;
mod trig;

pub(crate) use erf::erf;
pub(crate) use exp::{exp, expm1, logistic, tanh};
pub(crate) use log::{log, log1p};
pub(crate) use pow::pow;
pub(crate) use trig::{atan2, cos, sin, tan};

/// Arithmetic on registers of one floating-point type.
struct Math<'b> {
    b: &'b mut KernelBuilder,
    ty: Ty,
    lanes: u16,
}

/// The layout of a floating-point type.
struct Format {
    /// Integer type of the same width.
    int: Ty,
    mantissa_bits: i64,
    bias: i64,
    /// `1.5 * 2^mantissa_bits`: adding it leaves the nearest integer in the low bits.
    magic: f64,
}

impl<'b> Math<'b> {
    fn new(b: &'b mut KernelBuilder, x: Reg) -> Self {
        let RegType { ty, lanes } = b.reg_type(x);
        debug_assert!(ty.is_float(), "transcendentals are of floats");
        Self { b, ty, lanes }
    }

    fn is_f32(&self) -> bool {
        self.ty == Ty::F32
    }

    fn format(&self) -> Format {
        match self.ty {
            Ty::F32 => Format { int: Ty::I32, mantissa_bits: 23, bias: 127, magic: 12_582_912.0 },
            _ => Format { int: Ty::I64, mantissa_bits: 52, bias: 1023, magic: 6_755_399_441_055_744.0 },
        }
    }

    fn c(&mut self, value: f64) -> Reg {
        self.b.const_f64(self.ty, self.lanes, value)
    }

    fn int(&mut self, value: i64) -> Reg {
        let int = self.format().int;
        self.b.const_i64(int, self.lanes, value)
    }

    fn add(&mut self, x: Reg, y: Reg) -> Reg {
        self.b.add(x, y)
    }

    fn sub(&mut self, x: Reg, y: Reg) -> Reg {
        self.b.sub(x, y)
    }

    fn mul(&mut self, x: Reg, y: Reg) -> Reg {
        self.b.mul(x, y)
    }

    fn div(&mut self, x: Reg, y: Reg) -> Reg {
        self.b.div(x, y)
    }

    fn fma(&mut self, x: Reg, y: Reg, z: Reg) -> Reg {
        self.b.fma(x, y, z)
    }

    fn neg(&mut self, x: Reg) -> Reg {
        self.b.unary(UnOp::Neg, x)
    }

    fn abs(&mut self, x: Reg) -> Reg {
        self.b.unary(UnOp::Abs, x)
    }

    fn compare(&mut self, dir: CompareDir, x: Reg, y: Reg) -> Reg {
        self.b.compare(dir, x, y)
    }

    /// Comparison with a constant.
    fn is(&mut self, x: Reg, dir: CompareDir, value: f64) -> Reg {
        let value = self.c(value);
        self.b.compare(dir, x, value)
    }

    fn select(&mut self, pred: Reg, on_true: Reg, on_false: Reg) -> Reg {
        self.b.select(pred, on_true, on_false)
    }

    fn and(&mut self, x: Reg, y: Reg) -> Reg {
        self.b.binary(BinOp::And, x, y)
    }

    fn or(&mut self, x: Reg, y: Reg) -> Reg {
        self.b.binary(BinOp::Or, x, y)
    }

    /// `x` forced into a range; NaN stays NaN.
    fn clamp(&mut self, x: Reg, low: f64, high: f64) -> Reg {
        // The second operand of `max` and `min` is the one whose NaN wins.
        let low = self.c(low);
        let raised = self.b.binary(BinOp::Max, low, x);
        let high = self.c(high);
        self.b.binary(BinOp::Min, high, raised)
    }

    /// `Σ c[i] x^i`.
    fn polynomial(&mut self, x: Reg, coefficients: &[f64]) -> Reg {
        let (&last, rest) = coefficients.split_last().expect("a polynomial has coefficients");
        let last = self.c(last);
        rest.iter().rev().fold(last, |sum, &coefficient| {
            let coefficient = self.c(coefficient);
            self.fma(sum, x, coefficient)
        })
    }

    fn bits(&mut self, x: Reg) -> Reg {
        let int = self.format().int;
        self.b.bitcast(int, x)
    }

    fn from_bits(&mut self, bits: Reg) -> Reg {
        self.b.bitcast(self.ty, bits)
    }

    /// The sign bit of `x`, all else 0.
    fn sign_bits(&mut self, x: Reg) -> Reg {
        let bits = self.bits(x);
        let mask = if self.is_f32() { i64::from(i32::MIN) } else { i64::MIN };
        let mask = self.int(mask);
        self.and(bits, mask)
    }

    /// `magnitude` (not negative) with the sign of `sign`.
    fn copy_sign(&mut self, magnitude: Reg, sign: Reg) -> Reg {
        let sign = self.sign_bits(sign);
        let bits = self.bits(magnitude);
        let bits = self.b.binary(BinOp::Xor, bits, sign);
        self.from_bits(bits)
    }

    /// The integer nearest to `x * scale`, as a float and as an integer; its magnitude is far below `2^mantissa_bits`.
    fn round_scaled(&mut self, x: Reg, scale: f64) -> (Reg, Reg) {
        let (scale, magic) = (self.c(scale), self.format().magic);
        let magic = self.c(magic);
        let shifted = self.fma(x, scale, magic);
        let rounded = self.sub(shifted, magic);
        let (bits, magic_bits) = (self.bits(shifted), self.bits(magic));
        (rounded, self.b.sub(bits, magic_bits))
    }

    /// `2^n` for an integer register `n` in the range of normal numbers.
    fn power_of_two(&mut self, n: Reg) -> Reg {
        let Format { mantissa_bits, bias, .. } = self.format();
        let (bias, shift) = (self.int(bias), self.int(mantissa_bits));
        let biased = self.b.add(n, bias);
        let bits = self.b.binary(BinOp::Shl, biased, shift);
        self.from_bits(bits)
    }

    /// `x * 2^n`, rounded once, for `n` up to twice the range of normal numbers.
    fn scale(&mut self, x: Reg, n: Reg) -> Reg {
        let one = self.int(1);
        let half = self.b.binary(BinOp::ShrArithmetic, n, one);
        let rest = self.b.sub(n, half);
        let (half, rest) = (self.power_of_two(half), self.power_of_two(rest));
        let scaled = self.mul(x, half);
        self.mul(scaled, rest)
    }

    /// Computes on doubles and rounds back, for `f32` functions that are rare enough.
    fn through_f64(
        b: &mut KernelBuilder,
        operands: &[Reg],
        compute: impl FnOnce(&mut KernelBuilder, &[Reg]) -> Reg,
    ) -> Reg {
        let wide: Vec<Reg> = operands.iter().map(|&operand| b.cast(Ty::F64, operand)).collect();
        let result = compute(b, &wide);
        b.cast(Ty::F32, result)
    }
}
