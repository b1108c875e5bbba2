//! Sine, cosine, tangent, and the angle of a point.
//!
//! `x = (n + r) pi/2` with integer `n` and `|r| <= 1/2`. For `f32`, `2/pi` is cut into pieces of 29 bits, so that their
//! products with `x` are exact doubles; whole turns are dropped from each exactly (Payne and Hanek's idea without its
//! table look-up), and the rest is as good as a double for every finite `x`. For `f64`, `pi/2` in three parts is
//! subtracted `n` times (Cody and Waite); that holds to `2^48`, beyond which the result loses accuracy gradually.

use nnc_ir::ops::CompareDir;

use super::Math;
use crate::kernel::{KernelBuilder, Reg, Ty, UnOp};

/// Largest weighted error 2^-68.8.
const SIN_F64: [f64; 7] = [
    -0.166_666_666_666_666_66,
    0.008_333_333_333_333_323,
    -0.000_198_412_698_412_551_37,
    0.000_002_755_731_921_422_718,
    -0.000_000_025_052_104_921_366_827,
    0.000_000_000_160_583_678_981_592_9,
    -0.000_000_000_000_757_876_203_205_787_4,
];

/// Largest weighted error 2^-75.2.
const COS_F64: [f64; 7] = [
    0.041_666_666_666_666_664,
    -0.001_388_888_888_888_887_4,
    0.000_024_801_587_301_571_537,
    -0.000_000_275_573_192_153_938_1,
    0.000_000_002_087_675_437_023_079,
    -0.000000000011470293730542282,
    0.000_000_000_000_047_381_300_650_313_676,
];

/// Largest weighted error 2^-69.0.
const ATAN_F64: [f64; 13] = [
    -0.333_333_333_333_333_3,
    0.199_999_999_999_998_87,
    -0.142_857_142_856_957_36,
    0.111_111_111_095_876_47,
    -0.090_909_090_169_940_4,
    0.076_923_053_828_615_18,
    -0.066_666_177_709_507_46,
    0.058_816_303_417_698_51,
    -0.052_555_953_539_129_75,
    0.047_057_675_689_416_71,
    -0.040_556_659_556_153_146,
    0.029_622_701_918_721_56,
    -0.012_990_023_142_980_525,
];

/// `2/pi` in pieces of 29 bits, enough for the largest `f32` and 60 bits more.
const TWO_OVER_PI: [f64; 7] = [
    0.636619770899415,
    1.4681663246252086e-09,
    2.2760100671971816e-18,
    5.8812147387730434e-27,
    1.0346868700836215e-35,
    3.783256351091319e-45,
    3.720474878517739e-53,
];

/// `pi/2` as the nearest double, the nearest of the rest, and of that rest.
const HALF_PI: [f64; 3] = [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33];

/// The reduced angle: quadrant (`i64`), angle and its low part (doubles).
struct Angle {
    quadrant: Reg,
    angle: Reg,
    low: Reg,
}

impl Math<'_> {
    /// Reduces a double that is an `f32`.
    fn reduce_single(&mut self, x: Reg) -> Angle {
        let (quarter, minus_four) = (self.c(0.25), self.c(-4.0));
        let mut parts = Vec::with_capacity(TWO_OVER_PI.len());
        for piece in TWO_OVER_PI {
            let piece = self.c(piece);
            let product = self.mul(x, piece);
            let turns = self.mul(product, quarter);
            let turns = self.b.unary(UnOp::RoundEven, turns);
            parts.push(self.fma(turns, minus_four, product));
        }
        let first = parts[0];
        let sum = parts[1..].iter().fold(first, |sum, &part| self.add(sum, part));
        let n = self.b.unary(UnOp::RoundEven, sum);
        // Subtracting from the largest first keeps every difference exact.
        let rest = self.sub(first, n);
        let rest = parts[1..].iter().fold(rest, |rest, &part| self.add(rest, part));
        let half_pi = self.c(HALF_PI[0]);
        let quadrant = self.b.cast(Ty::I64, n);
        Angle { quadrant, angle: self.mul(rest, half_pi), low: self.c(0.0) }
    }

    /// Reduces any double.
    fn reduce_double(&mut self, x: Reg) -> Angle {
        let scale = self.c(std::f64::consts::FRAC_2_PI);
        let n = self.mul(x, scale);
        let n = self.b.unary(UnOp::RoundEven, n);
        let [first, second, third] = HALF_PI.map(|part| self.c(-part));
        let exact = self.fma(n, first, x);
        let angle = self.fma(n, second, exact);
        let lost = self.sub(exact, angle);
        let lost = self.fma(n, second, lost);
        let low = self.fma(n, third, lost);
        let quadrant = self.b.cast(Ty::I64, n);
        Angle { quadrant, angle, low }
    }

    /// Sine and cosine of a reduced angle.
    fn sin_cos(&mut self, angle: Reg, low: Reg) -> (Reg, Reg) {
        let z = self.mul(angle, angle);
        let (one, minus_half) = (self.c(1.0), self.c(-0.5));
        let tail = self.polynomial(z, &SIN_F64);
        let cube = self.mul(z, angle);
        let tail = self.mul(cube, tail);
        // sin(a + l) = sin a + l cos a, and 1 - a^2/2 is cosine enough for the low part.
        let rough_cos = self.fma(z, minus_half, one);
        let tail = self.fma(low, rough_cos, tail);
        let sin = self.add(angle, tail);
        let tail = self.polynomial(z, &COS_F64);
        let fourth = self.mul(z, z);
        let cross = self.mul(angle, low);
        let cross = self.neg(cross);
        let tail = self.fma(fourth, tail, cross);
        // 1 - z/2 with what its rounding loses.
        let head = self.fma(z, minus_half, one);
        let lost = self.sub(one, head);
        let lost = self.fma(z, minus_half, lost);
        let tail = self.add(tail, lost);
        (sin, self.add(head, tail))
    }

    /// Whether a bit of the quadrant is set.
    fn quadrant_bit(&mut self, quadrant: Reg, bit: i64) -> Reg {
        let (mask, zero) = (self.int(bit), self.int(0));
        let masked = self.and(quadrant, mask);
        self.compare(CompareDir::Ne, masked, zero)
    }

    /// Sine of the quadrant and angle.
    fn sin_of(&mut self, quadrant: Reg, sin: Reg, cos: Reg) -> Reg {
        let (odd, negative) = (self.quadrant_bit(quadrant, 1), self.quadrant_bit(quadrant, 2));
        let magnitude = self.select(odd, cos, sin);
        let negated = self.neg(magnitude);
        self.select(negative, negated, magnitude)
    }
}

/// Which function of the angle.
#[derive(Clone, Copy)]
enum Kind {
    Sin,
    Cos,
    Tan,
}

/// The function of a double; `single` if it is an `f32`.
fn trigonometric(b: &mut KernelBuilder, x: Reg, kind: Kind, single: bool) -> Reg {
    let mut m = Math::new(b, x);
    let Angle { quadrant, angle, low } = if single { m.reduce_single(x) } else { m.reduce_double(x) };
    let (sin, cos) = m.sin_cos(angle, low);
    let result = match kind {
        Kind::Sin => m.sin_of(quadrant, sin, cos),
        Kind::Cos => {
            let one = m.int(1);
            let next = m.b.add(quadrant, one);
            m.sin_of(next, sin, cos)
        }
        Kind::Tan => {
            let odd = m.quadrant_bit(quadrant, 1);
            let above = m.select(odd, cos, sin);
            let below = m.select(odd, sin, cos);
            let quotient = m.div(above, below);
            let negated = m.neg(quotient);
            m.select(odd, negated, quotient)
        }
    };
    // The sign of zero; infinities have become NaN on the way.
    if matches!(kind, Kind::Cos) {
        return result;
    }
    let is_zero = m.is(x, CompareDir::Eq, 0.0);
    m.select(is_zero, x, result)
}

fn any_type(b: &mut KernelBuilder, x: Reg, kind: Kind) -> Reg {
    match b.reg_type(x).ty {
        Ty::F32 => Math::through_f64(b, &[x], |b, x| trigonometric(b, x[0], kind, true)),
        _ => trigonometric(b, x, kind, false),
    }
}

/// Sine of radians.
pub(crate) fn sin(b: &mut KernelBuilder, x: Reg) -> Reg {
    any_type(b, x, Kind::Sin)
}

/// Cosine of radians.
pub(crate) fn cos(b: &mut KernelBuilder, x: Reg) -> Reg {
    any_type(b, x, Kind::Cos)
}

/// Tangent of radians.
pub(crate) fn tan(b: &mut KernelBuilder, x: Reg) -> Reg {
    any_type(b, x, Kind::Tan)
}

/// Angle of the point (`x`, `y`).
pub(crate) fn atan2(b: &mut KernelBuilder, y: Reg, x: Reg) -> Reg {
    match b.reg_type(x).ty {
        Ty::F32 => Math::through_f64(b, &[y, x], |b, operands| atan2_double(b, operands[0], operands[1])),
        _ => atan2_double(b, y, x),
    }
}

/// The arctangent of the smaller over the larger coordinate, moved to its octant. Ratios above `tan(pi/8)` are turned by
/// `pi/4` first, so that the polynomial is short.
fn atan2_double(b: &mut KernelBuilder, y: Reg, x: Reg) -> Reg {
    let mut m = Math::new(b, x);
    let (abs_x, abs_y) = (m.abs(x), m.abs(y));
    let steep = m.compare(CompareDir::Gt, abs_y, abs_x);
    let large = m.select(steep, abs_y, abs_x);
    let small = m.select(steep, abs_x, abs_y);
    // Coordinates so large that their sum overflows, or so small that it is imprecise, are scaled; the ratio stays.
    let (big, tiny, one) = (m.is(large, CompareDir::Gt, 1e300), m.is(large, CompareDir::Lt, 1e-290), m.c(1.0));
    let (down, up) = (m.c(2f64.powi(-60)), m.c(2f64.powi(100)));
    let factor = m.select(tiny, up, one);
    let factor = m.select(big, down, factor);
    let (small, large) = (m.mul(small, factor), m.mul(large, factor));
    // Two infinities make the ratio 1, two zeros make it 0.
    let infinite = m.is(small, CompareDir::Eq, f64::INFINITY);
    let zero = m.is(large, CompareDir::Eq, 0.0);
    let small = m.select(infinite, one, small);
    let large = m.select(infinite, one, large);
    let large = m.select(zero, one, large);
    let bound = m.c(std::f64::consts::SQRT_2 - 1.0);
    let bound = m.mul(large, bound);
    let turn = m.compare(CompareDir::Gt, small, bound);
    let (difference, sum) = (m.sub(small, large), m.add(small, large));
    let above = m.select(turn, difference, small);
    let below = m.select(turn, sum, large);
    let ratio = m.div(above, below);
    let z = m.mul(ratio, ratio);
    let tail = m.polynomial(z, &ATAN_F64);
    let cube = m.mul(z, ratio);
    let tail = m.mul(cube, tail);
    // angle = base + sign * (ratio + tail), where base is a multiple of pi/4 with a low part.
    let (quarter, half, whole) = (std::f64::consts::FRAC_PI_4, std::f64::consts::FRAC_PI_2, std::f64::consts::PI);
    let low_of = |part: f64| HALF_PI[1] * (part / half);
    let mut base = m.c(0.0);
    let mut base_low = m.c(0.0);
    let (quarter_reg, quarter_low) = (m.c(quarter), m.c(low_of(quarter)));
    base = m.select(turn, quarter_reg, base);
    base_low = m.select(turn, quarter_low, base_low);
    let (mut ratio, mut tail) = (ratio, tail);
    let negative_x = {
        // The sign of zero counts.
        let sign = m.sign_bits(x);
        let zero = m.int(0);
        m.compare(CompareDir::Ne, sign, zero)
    };
    // Reflect at the diagonal, then at the vertical axis: angle becomes right angle or straight angle minus it.
    for (reflect, total) in [(steep, half), (negative_x, whole)] {
        let (total_reg, total_low) = (m.c(total), m.c(low_of(total)));
        let (reflected, reflected_low) = (m.sub(total_reg, base), m.sub(total_low, base_low));
        base = m.select(reflect, reflected, base);
        base_low = m.select(reflect, reflected_low, base_low);
        let (negated_ratio, negated_tail) = (m.neg(ratio), m.neg(tail));
        ratio = m.select(reflect, negated_ratio, ratio);
        tail = m.select(reflect, negated_tail, tail);
    }
    // base dominates ratio wherever it is not 0.
    let sum = m.add(base, ratio);
    let back = m.sub(sum, base);
    let lost = m.sub(ratio, back);
    let rest = m.add(lost, tail);
    let rest = m.add(rest, base_low);
    let angle = m.add(sum, rest);
    let angle = m.abs(angle);
    let result = m.copy_sign(angle, y);
    // NaN in either coordinate.
    let spoiled = m.add(x, y);
    let (x_is_nan, y_is_nan) = (m.compare(CompareDir::Ne, x, x), m.compare(CompareDir::Ne, y, y));
    let is_nan = m.or(x_is_nan, y_is_nan);
    m.select(is_nan, spoiled, result)
}
