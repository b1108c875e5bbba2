//! `sin`, `cos` and `tan`, with an argument reduction that is exact enough for every finite operand.
//!
//! The reduction is that of M. Payne and R. Hanek, "Radian reduction for trigonometric functions" (1983): a float is an
//! integer times a power of two, so its multiple of a full turn needs only those bits of `1 / (2 pi)` that the power of
//! two moves to just below the binary point. Fixed-point arithmetic that wraps around drops whole turns by itself.

use super::coefficients::{COS, INV_TAU_32, INV_TAU_64, SIN, TAN, TAU};
use super::pair::Pair;
use super::value::Value;
use crate::kernel::Ty;

/// `|x|` as `quadrant * pi/2 + r`, `|r| <= pi/4`.
struct Reduced<'e> {
    r: Value<'e>,
    /// What rounding `r` lost.
    low: Value<'e>,
    /// An `i64` of which the low two bits count.
    quadrant: Value<'e>,
}

fn reduce(x: Value<'_>) -> Reduced<'_> {
    let magnitude = x.abs();
    let Reduced { r, low, quadrant } =
        if x.ty == Ty::F32 { reduce_single(magnitude) } else { reduce_double(magnitude) };
    // Small operands are reduced already, and only their bits below 1 / (2 pi) are missing from the table.
    let small = magnitude.lt(std::f64::consts::FRAC_PI_4);
    let finite = magnitude.lt(f64::INFINITY);
    Reduced {
        r: small.select(magnitude, finite.select(r, f64::NAN)),
        low: small.select(x.constant(0.0), low),
        quadrant: small.select(x.integer(Ty::I64, 0), quadrant),
    }
}

/// The integer significand of a normal number and the position in a table, which starts with one word of zeros, of the
/// first bit that counts: all bits before it contribute whole turns.
fn significand_and_position(x: Value<'_>, word_bits: i64) -> (Value<'_>, Value<'_>) {
    let one = 1 << x.fraction_bits();
    let significand = (x.bits() & (one - 1)) | one;
    let exponent = (x.bits() >> x.fraction_bits()) - x.bias();
    (significand, exponent + (word_bits - x.fraction_bits()))
}

/// Four consecutive words of `table` starting at word `index`, which is at most `table.len() - 4`: a shifter of one
/// stage for each bit of the index.
fn window<'e>(mut words: Vec<Value<'e>>, index: Value<'e>) -> [Value<'e>; 4] {
    let n_stages = (words.len() - 4).ilog2() + 1;
    for stage in (0..n_stages).rev() {
        let step = 1 << stage;
        // Later stages move by at most step - 1 more.
        let n_needed = words.len().min(step + 3);
        let moved = (index & step as i64).differs(0);
        words = (0..n_needed)
            .map(|at| match words.get(at + step) {
                Some(&far) => moved.select(far, words[at]),
                None => words[at],
            })
            .collect();
    }
    [words[0], words[1], words[2], words[3]]
}

/// The fixed-point fraction of a turn of `|x|` has 64 bits, 30 more than the closest approach of a multiple of `pi/2`
/// needs.
fn reduce_single(x: Value<'_>) -> Reduced<'_> {
    let (significand, position) = significand_and_position(x, 32);
    let table = INV_TAU_32.iter().map(|&word| x.integer(Ty::U32, i64::from(word))).collect();
    let words = window(table, position >> 5).map(|word| word.cast(Ty::I64));
    let shift = (position & 31).cast(Ty::I64);
    let (high, low) = ((words[0] << 32) | words[1], (words[2] << 32) | words[3]);
    let fraction = significand.cast(Ty::I64);
    let turns = fraction * shift_pair(high, low, shift) + (fraction * (low << shift).shr_logical(32)).shr_logical(32);
    let (quadrant, rest) = nearest_quadrant(turns);
    let radians = rest.cast(Ty::F64) * (std::f64::consts::TAU * (-64f64).exp2());
    let r = radians.cast(Ty::F32);
    Reduced { r, low: (radians - r.cast(Ty::F64)).cast(Ty::F32), quadrant }
}

/// The high word of `(high, low) << shift`, `0 <= shift < 64`.
fn shift_pair<'e>(high: Value<'e>, low: Value<'e>, shift: Value<'e>) -> Value<'e> {
    // Shifting by 64 is not defined, so the low word is shifted right in two steps.
    (high << shift) | low.shr_logical(1).shr_logical(shift ^ 63)
}

/// Splits a fraction of a turn in quarters and a signed rest of at most an eighth.
fn nearest_quadrant(turns: Value<'_>) -> (Value<'_>, Value<'_>) {
    let quadrant = (turns + (1 << 61)) >> 62;
    (quadrant, turns - (quadrant << 62))
}

/// The fraction of a turn has 128 bits; the closest approach of a multiple of `pi/2` needs 62 before the first that
/// counts.
fn reduce_double(x: Value<'_>) -> Reduced<'_> {
    let (significand, position) = significand_and_position(x, 64);
    let table = INV_TAU_64.iter().map(|&word| x.integer(Ty::I64, word as i64)).collect();
    let words = window(table, position >> 6);
    let shift = position & 63;
    let factor = [0, 1, 2].map(|at| shift_pair(words[at], words[at + 1], shift));
    let middle_low = significand * factor[1];
    let low = middle_low + high_product(significand, factor[2]);
    // An unsigned sum wrapped around exactly if it is below an addend.
    let flip = i64::MIN;
    let carry = (low ^ flip).lt(middle_low ^ flip).cast(Ty::I64);
    let high = significand * factor[0] + high_product(significand, factor[1]) + carry;
    let (quadrant, rest) = nearest_quadrant(high);

    // The sum as a pair of floats: what the conversion of the high word rounds away goes to the low part.
    let rounded = rest.cast(Ty::F64);
    let lost = (rest - rounded.cast(Ty::I64)).cast(Ty::F64);
    let low = low.shr_logical(1).cast(Ty::F64) * (-127f64).exp2();
    let turns = Pair::ordered_sum(rounded * (-64f64).exp2(), lost.fma((-64f64).exp2(), low));
    let tau = Pair { high: x.constant(TAU.at(x.ty, 0)), low: x.constant(TAU.at(x.ty, 1)) };
    let radians = turns * tau;
    Reduced { r: radians.high, low: radians.low, quadrant }
}

/// The high word of the product of two unsigned words, of which the first is below 2^63.
fn high_product<'e>(lhs: Value<'e>, rhs: Value<'e>) -> Value<'e> {
    let halves = |word: Value<'e>| (word.shr_logical(32), word & 0xffff_ffff);
    let ((lhs_high, lhs_low), (rhs_high, rhs_low)) = (halves(lhs), halves(rhs));
    let (cross, other) = (lhs_low * rhs_high, lhs_high * rhs_low);
    let middle = (lhs_low * rhs_low).shr_logical(32) + (cross & 0xffff_ffff) + (other & 0xffff_ffff);
    lhs_high * rhs_high + cross.shr_logical(32) + other.shr_logical(32) + middle.shr_logical(32)
}

/// `sin(r + low)`, which is `sin(r) + low cos(r)`; for the small part `1 - r^2/2` is cosine enough.
fn sin_reduced<'e>(&Reduced { r, low, .. }: &Reduced<'e>, square: Value<'e>) -> Value<'e> {
    r + (r * square).fma(SIN.polynomial(square), (square * -0.5).fma(low, low))
}

/// `cos(r + low)`, which is `cos(r) - low sin(r)`; for the small part `r` is sine enough.
fn cos_reduced<'e>(&Reduced { r, low, .. }: &Reduced<'e>, square: Value<'e>) -> Value<'e> {
    let (one, half) = (square.constant(1.0), square * 0.5);
    let head = one - half;
    // What is lost in 1 - r^2/2 joins the small terms.
    let lost = (one - head) - half;
    head + (-low).fma(r, (square * square).fma(COS.polynomial(square), lost))
}

/// `sin(|x| + n_quarters * pi/2)`.
fn sin_shifted(x: Value<'_>, n_quarters: i64) -> Value<'_> {
    let reduced = reduce(x);
    let square = reduced.r * reduced.r;
    let quadrant = reduced.quadrant + n_quarters;
    let swapped = (quadrant & 1).differs(0);
    let magnitude = swapped.select(cos_reduced(&reduced, square), sin_reduced(&reduced, square));
    (quadrant & 2).differs(0).select(-magnitude, magnitude)
}

/// Sine.
pub(super) fn sin(x: Value<'_>) -> Value<'_> {
    sin_shifted(x, 0).flip_sign(x.sign_bit())
}

/// Cosine.
pub(super) fn cos(x: Value<'_>) -> Value<'_> {
    sin_shifted(x, 1)
}

/// Tangent: `tan(r)` or `-1 / tan(r)`.
pub(super) fn tan(x: Value<'_>) -> Value<'_> {
    let Reduced { r, low, quadrant } = reduce(x);
    let square = r * r;
    let tail = (r * square) * TAN.polynomial(square);
    // The derivative of the tangent is 1 + tan^2.
    let rough = r + tail;
    let tan = r + (tail + (rough * low).fma(rough, low));
    (quadrant & 1).differs(0).select(x.constant(-1.0) / tan, tan).flip_sign(x.sign_bit())
}
