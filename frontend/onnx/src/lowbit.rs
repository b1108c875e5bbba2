//! Element types of at most 8 bits that the IR does not have: how files pack them, which values their codes stand for,
//! and rounding to those values as a composition of IR ops, so that it compiles like anything else.
//!
//! Floats of these types travel as `f32` tensors whose elements are values of the type, integers as `i8` or `u8`
//! ([`ElemType::carrier`]).

use nnc_frontend::tensor::{Tensor, apply, where_};
use nnc_ir::{DType, Op, TensorData};

use crate::elem::ElemType;

/// How many bits an element takes in a file, if it is less than a byte: elements follow each other from the lowest bit
/// of the first byte up.
pub(crate) fn packed_bits(elem: ElemType) -> Option<usize> {
    match elem {
        ElemType::Int2 | ElemType::Uint2 => Some(2),
        ElemType::Int4 | ElemType::Uint4 | ElemType::Float4E2M1 => Some(4),
        ElemType::Float6E2M3 | ElemType::Float6E3M2 => Some(6),
        _ => None,
    }
}

/// Bytes that `n_elements` take when they are packed.
pub(crate) fn packed_bytes(bits: usize, n_elements: usize) -> usize {
    (n_elements * bits).div_ceil(8)
}

/// The codes of `n_elements` elements of `bits` bits each, from the [`packed_bytes`] they take.
pub(crate) fn unpack(bits: usize, raw: &[u8], n_elements: usize) -> Vec<u8> {
    let code = |idx: usize| {
        let at = idx * bits;
        let pair = [raw[at / 8], raw.get(at / 8 + 1).copied().unwrap_or(0)];
        (u16::from_le_bytes(pair) >> (at % 8)) as u8 & ((1 << bits) - 1)
    };
    (0..n_elements).map(code).collect()
}

/// The carrier's bytes from one code an element, or `None` if the IR has the type itself or nothing for it.
pub(crate) fn decode(elem: ElemType, codes: &[u8]) -> Option<Vec<u8>> {
    if let Some(format) = Format::of(elem) {
        return Some(codes.iter().flat_map(|&code| format.value(code).to_le_bytes()).collect());
    }
    let integer = SmallInt::of(elem)?;
    Some(codes.iter().map(|&code| integer.value(code)).collect())
}

/// A floating-point type of at most 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Sign, exponent and fraction, with denormals.
    Signed { exponent_bits: u32, fraction_bits: u32, bias: i32, specials: Specials },
    /// `float8e8m0`: a power of two without sign, fraction or zero; the highest code is NaN.
    Power,
}

/// Which codes are no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Specials {
    /// All codes are numbers.
    None,
    /// The highest exponent holds infinities and NaNs, as in IEEE 754.
    Ieee,
    /// The codes with all magnitude bits set are NaN.
    AllOnes,
    /// What would be -0 is NaN.
    NegativeZero,
}

/// The exponents of `float8e8m0` are -127 to 127.
const POWER_BIAS: i32 = 127;

impl Format {
    /// The format of an element type, if it is one.
    pub(crate) const fn of(elem: ElemType) -> Option<Self> {
        match elem {
            ElemType::Float8E4M3FN => Self::signed(4, 3, 7, Specials::AllOnes),
            ElemType::Float8E4M3FNUZ => Self::signed(4, 3, 8, Specials::NegativeZero),
            ElemType::Float8E5M2 => Self::signed(5, 2, 15, Specials::Ieee),
            ElemType::Float8E5M2FNUZ => Self::signed(5, 2, 16, Specials::NegativeZero),
            ElemType::Float6E2M3 => Self::signed(2, 3, 1, Specials::None),
            ElemType::Float6E3M2 => Self::signed(3, 2, 3, Specials::None),
            ElemType::Float4E2M1 => Self::signed(2, 1, 1, Specials::None),
            ElemType::Float8E8M0 => Some(Self::Power),
            _ => None,
        }
    }

    const fn signed(exponent_bits: u32, fraction_bits: u32, bias: i32, specials: Specials) -> Option<Self> {
        Some(Self::Signed { exponent_bits, fraction_bits, bias, specials })
    }

    /// Bits of a code.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Self::Signed { exponent_bits, fraction_bits, .. } => 1 + exponent_bits + fraction_bits,
            Self::Power => 8,
        }
    }

    /// The number of a code, whose unused upper bits are 0.
    pub(crate) fn value(self, code: u8) -> f32 {
        let Self::Signed { exponent_bits, fraction_bits, bias, specials } = self else {
            return if code == u8::MAX { f32::NAN } else { power_of_two(i32::from(code) - POWER_BIAS) };
        };
        let magnitude = code & ((1 << (exponent_bits + fraction_bits)) - 1);
        let is_negative = code != magnitude;
        let (exponent, fraction) = (i32::from(magnitude >> fraction_bits), magnitude & ((1 << fraction_bits) - 1));
        let highest = exponent == (1 << exponent_bits) - 1;
        let number = match specials {
            Specials::AllOnes if magnitude == (1 << (exponent_bits + fraction_bits)) - 1 => f32::NAN,
            Specials::NegativeZero if is_negative && magnitude == 0 => f32::NAN,
            Specials::Ieee if highest && fraction == 0 => f32::INFINITY,
            Specials::Ieee if highest => f32::NAN,
            _ => {
                // Denormals have the exponent of the smallest normal numbers, and no leading one.
                let leading = u8::from(exponent > 0) << fraction_bits;
                f32::from(leading + fraction) * power_of_two(exponent.max(1) - bias - fraction_bits as i32)
            }
        };
        if is_negative { -number } else { number }
    }

    /// The numbers of all codes.
    fn table(self) -> Vec<f32> {
        (0..1u16 << self.bits()).map(|code| self.value(code as u8)).collect()
    }

    /// The largest number.
    fn largest(self) -> f64 {
        self.table().into_iter().filter(|value| value.is_finite()).map(f64::from).fold(0.0, f64::max)
    }

    /// The tensor `x` of floats (`f64`, or what fits into `f32`) rounded to numbers of the format, as `f32`: to nearest,
    /// ties to even. What is beyond the largest number becomes that number, or, unless `saturate`, what the format has
    /// instead: an infinity, or NaN. The gradient passes where nothing saturates.
    ///
    /// For [`Format::Power`] see [`round_power`].
    pub(crate) fn round(self, x: &Tensor, saturate: bool) -> Tensor {
        let Self::Signed { fraction_bits, bias, specials, .. } = self else {
            return round_power(x, saturate, PowerRounding::Up);
        };
        let largest = self.largest();
        // Without saturation, the number after the largest (and any beyond) shows what is too large.
        let bound = if saturate || specials == Specials::None { largest } else { 2.0 * largest };
        let bounded = x.clamp(-bound, bound);
        // The distance of numbers of the format around each element: a power of two, so that dividing is exact.
        let step = exponent_of(&bounded, 1 - bias) * f64::from(power_of_two(-(fraction_bits as i32)));
        let rounded = (&bounded / &step).round() * &step;
        // Rounding has no gradient; the bounded element, whose difference from itself is 0, does.
        let rounded = rounded.detach() - (bounded.detach() - &bounded);
        let rounded = match specials {
            Specials::None => where_(&x.isnan(), -0.0, rounded),
            _ if saturate => rounded,
            Specials::Ieee => {
                let infinity = where_(&rounded.lt(0.0), f64::NEG_INFINITY, rounded.full_like(f64::INFINITY));
                where_(&rounded.abs().gt(largest), infinity, rounded)
            }
            Specials::AllOnes | Specials::NegativeZero => where_(&rounded.abs().gt(largest), f64::NAN, rounded),
        };
        // -0 + 0 is 0.
        let rounded = if specials == Specials::NegativeZero { rounded + 0.0 } else { rounded };
        rounded.to_dtype(DType::F32)
    }

    /// The `u8` codes of a tensor of numbers of the format.
    pub(crate) fn codes(self, x: &Tensor) -> Tensor {
        let bits = apply(Op::BitcastConvert(DType::U32), &[x]);
        let Self::Signed { exponent_bits, fraction_bits, bias, specials } = self else {
            // The number is a power of two, or the denormal 2^-127, whose exponent bits are 0: its code.
            let exponents = shifted_right(&bits, 23);
            return exponents.to_dtype(DType::U8);
        };
        let magnitude_bits = exponent_bits + fraction_bits;
        let all_ones = (1i64 << magnitude_bits) - 1;
        let magnitude = x.abs();
        // In units of the last place, a number is its fraction with the leading one, which counts up the exponent.
        let finite = where_(&magnitude.isfinite(), &magnitude, 0.0);
        let exponent = exponent_of(&finite, 1 - bias);
        let places = (&finite / &exponent * f64::from(1u32 << fraction_bits)).to_dtype(DType::I32);
        let exponent_field = shifted_right(&apply(Op::BitcastConvert(DType::U32), &[&exponent]), 23);
        let steps = exponent_field.to_dtype(DType::I32) - i64::from(127 + 1 - bias);
        let code = steps * (1i64 << fraction_bits) + places;
        let highest = ((1i64 << exponent_bits) - 1) << fraction_bits;
        let code = match specials {
            Specials::None => code,
            Specials::Ieee => {
                let special = where_(&x.isnan(), highest + 1, code.full_like(highest as f64));
                where_(&magnitude.isfinite(), code, special)
            }
            Specials::AllOnes => where_(&x.isnan(), all_ones, code),
            Specials::NegativeZero => code,
        };
        let sign = shifted_right(&bits, 31).to_dtype(DType::I32) * (1i64 << magnitude_bits);
        let code = match specials {
            Specials::NegativeZero => where_(&x.isnan(), 1i64 << magnitude_bits, code + sign),
            _ => code + sign,
        };
        code.to_dtype(DType::U8)
    }

    /// The numbers of a tensor of `u8` codes.
    pub(crate) fn numbers(self, codes: &Tensor) -> Tensor {
        let table = self.table();
        Tensor::from_data(TensorData::from_f32(vec![table.len()], &table)).index(codes.to_dtype(DType::I32))
    }
}

/// How numbers between two powers of two become one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PowerRounding {
    /// To the larger.
    Up,
    /// To the smaller.
    Down,
    /// To the nearer, the larger of two that are equally near.
    Nearest,
}

/// The magnitudes of `x` rounded to powers of two from 2^-127 to 2^127, as `f32`. Those beyond become the first or the
/// last, or, unless `saturate`, NaN.
pub(crate) fn round_power(x: &Tensor, saturate: bool, rounding: PowerRounding) -> Tensor {
    let magnitude = x.to_dtype(DType::F32).abs();
    let (least, largest) = (f64::from(power_of_two(-127)), f64::from(power_of_two(127)));
    // The power at or below each element, and the next.
    let low = where_(&magnitude.lt(f64::from(f32::MIN_POSITIVE)), least, exponent_of(&magnitude, -126));
    let high = &low * 2.0;
    let rounded = match rounding {
        PowerRounding::Up => where_(&magnitude.gt(&low), high, low),
        PowerRounding::Nearest => where_(&magnitude.ge(&low * 1.5), high, low),
        PowerRounding::Down => low,
    };
    let rounded = if saturate {
        rounded.minimum(largest)
    } else {
        let outside = rounded.gt(largest).logical_or(magnitude.lt(least));
        where_(&outside, f64::NAN, rounded)
    };
    where_(&magnitude.isnan(), f64::NAN, rounded)
}

/// The power of two at or below the magnitude of each element, at least 2^`least`, in the type of `x`. That of an
/// infinity or NaN is infinity.
fn exponent_of(x: &Tensor, least: i32) -> Tensor {
    let (words, bias, fraction_bits, mask) = match x.dtype() {
        DType::F64 => (DType::U64, 1023, 52, 0x7ff0_0000_0000_0000_i64),
        _ => (DType::U32, 127, 23, 0x7f80_0000),
    };
    let bits = apply(Op::BitcastConvert(words), &[x]).logical_and(mask);
    let bits = bits.maximum(i64::from(least + bias) << fraction_bits);
    apply(Op::BitcastConvert(x.dtype()), &[&bits])
}

fn shifted_right(bits: &Tensor, amount: u32) -> Tensor {
    apply(Op::ShiftRightLogical, &[bits, &bits.full_like(amount.into())])
}

/// 2^`exponent` for exponents from -149 to 127.
fn power_of_two(exponent: i32) -> f32 {
    // Through `f64`, where none of them is a denormal.
    f64::from_bits(((exponent + 1023) as u64) << 52) as f32
}

/// An integer type of less than 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SmallInt {
    bits: u32,
    is_signed: bool,
}

impl SmallInt {
    /// The element type as such, if it is one.
    pub(crate) const fn of(elem: ElemType) -> Option<Self> {
        match elem {
            ElemType::Int2 => Some(Self { bits: 2, is_signed: true }),
            ElemType::Uint2 => Some(Self { bits: 2, is_signed: false }),
            ElemType::Int4 => Some(Self { bits: 4, is_signed: true }),
            ElemType::Uint4 => Some(Self { bits: 4, is_signed: false }),
            _ => None,
        }
    }

    /// Bits of a code.
    pub(crate) const fn bits(self) -> u32 {
        self.bits
    }

    /// The least and the largest value.
    pub(crate) const fn range(self) -> (i64, i64) {
        if self.is_signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }

    /// The carrier's byte of a code.
    fn value(self, code: u8) -> u8 {
        let spare = 8 - self.bits;
        if self.is_signed { ((code << spare) as i8 >> spare) as u8 } else { code }
    }

    /// A tensor of numbers as its carrier: integers wrap, floats are truncated first.
    pub(crate) fn wrap(self, x: &Tensor) -> Tensor {
        let integers = if x.dtype().is_float() { x.to_dtype(DType::I32) } else { x.clone() };
        if self.is_signed {
            let spare = f64::from(8 - self.bits);
            let bytes = integers.to_dtype(DType::I8);
            let spare = bytes.full_like(spare);
            apply(Op::ShiftRightArithmetic, &[&apply(Op::ShiftLeft, &[&bytes, &spare]), &spare])
        } else {
            integers.to_dtype(DType::U8).logical_and((1i64 << self.bits) - 1)
        }
    }

    /// The `u8` codes of a tensor of the carrier.
    pub(crate) fn codes(self, x: &Tensor) -> Tensor {
        x.to_dtype(DType::U8).logical_and((1i64 << self.bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [ElemType; 8] = [
        ElemType::Float8E4M3FN,
        ElemType::Float8E4M3FNUZ,
        ElemType::Float8E5M2,
        ElemType::Float8E5M2FNUZ,
        ElemType::Float6E2M3,
        ElemType::Float6E3M2,
        ElemType::Float4E2M1,
        ElemType::Float8E8M0,
    ];

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_data(TensorData::from_f32(vec![values.len()], values))
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        tensor.data().expect("concrete").to_f32()
    }

    #[test]
    fn largest_and_smallest_numbers() {
        let case = |elem, largest: f64, smallest: f32| {
            let format = Format::of(elem).expect("a format");
            let table = format.table();
            let least = table.into_iter().filter(|&value| value > 0.0).fold(f32::INFINITY, f32::min);
            assert_eq!((format.largest(), least), (largest, smallest), "{elem}");
        };
        case(ElemType::Float8E4M3FN, 448.0, power_of_two(-9));
        case(ElemType::Float8E4M3FNUZ, 240.0, power_of_two(-10));
        case(ElemType::Float8E5M2, 57344.0, power_of_two(-16));
        case(ElemType::Float8E5M2FNUZ, 57344.0, power_of_two(-17));
        case(ElemType::Float6E2M3, 7.5, 0.125);
        case(ElemType::Float6E3M2, 28.0, 0.0625);
        case(ElemType::Float4E2M1, 6.0, 0.5);
        case(ElemType::Float8E8M0, f64::from(power_of_two(127)), power_of_two(-127));
    }

    #[test]
    fn numbers_of_a_format_round_to_themselves_and_have_their_codes() {
        for elem in FORMATS {
            let format = Format::of(elem).expect("a format");
            let table = format.table();
            let codes: Vec<u8> = (0..table.len()).map(|code| code as u8).collect();
            let numbers = tensor(&table);
            assert_eq!(format.codes(&numbers).data().expect("concrete").to_i64().len(), codes.len());
            let found = format.codes(&numbers).data().expect("concrete");
            for (idx, (&code, found)) in codes.iter().zip(found.to_i64()).enumerate() {
                // All NaNs of a sign are one.
                let same = format.value(found as u8);
                assert!(i64::from(code) == found || table[idx].is_nan() && same.is_nan(), "{elem}: {code} {found}");
            }
            for saturate in [true, false] {
                let rounded = floats(&format.round(&numbers, saturate));
                for (&number, rounded) in table.iter().zip(rounded) {
                    let overflows = saturate && number.is_infinite() || number.is_nan();
                    assert!(number.to_bits() == rounded.to_bits() || overflows, "{elem}: {number} became {rounded}");
                }
            }
            let again = format.numbers(&Tensor::from_data(TensorData::from_integers(
                DType::U8,
                vec![codes.len()],
                codes.iter().copied(),
            )));
            assert!(floats(&again).iter().zip(&table).all(|(x, y)| x.to_bits() == y.to_bits() || x.is_nan()));
        }
    }

    #[test]
    fn the_nearest_number_wins_and_an_even_code_between_two() {
        for elem in &FORMATS[..7] {
            let format = Format::of(*elem).expect("a format");
            let mut numbers: Vec<(f32, u8)> = (0..1u16 << format.bits())
                .map(|code| (format.value(code as u8), code as u8))
                .filter(|(value, _)| value.is_finite() && value.is_sign_positive())
                .collect();
            numbers.sort_by(|x, y| x.0.total_cmp(&y.0));
            for pair in numbers.windows(2) {
                let [(low, low_code), (high, _)] = *pair else { unreachable!("windows of two") };
                let middle = (low + high) / 2.0;
                let (below, above) = (f32::from_bits(middle.to_bits() - 1), f32::from_bits(middle.to_bits() + 1));
                let even = if low_code % 2 == 0 { low } else { high };
                let x = [below, middle, above, -below, -middle, -above];
                for dtype in [DType::F32, DType::F64] {
                    let rounded = floats(&format.round(&tensor(&x).to_dtype(dtype), true));
                    assert_eq!(rounded, [low, even, high, -low, -even, -high], "{elem} around {middle}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_saturates_or_becomes_special() {
        let case = |elem, x: &[f32], saturate, expected: &[f32]| {
            let found = floats(&Format::of(elem).expect("a format").round(&tensor(x), saturate));
            let same = |(x, y): (&f32, &f32)| x == y || x.is_nan() && y.is_nan();
            assert!(found.iter().zip(expected).all(same), "{elem}: {found:?}");
        };
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        case(ElemType::Float8E4M3FN, &[464.0, 465.0, -1e9, inf, nan], true, &[448.0, 448.0, -448.0, 448.0, nan]);
        case(ElemType::Float8E4M3FN, &[464.0, 465.0, -1e9, inf, nan], false, &[448.0, nan, nan, nan, nan]);
        case(ElemType::Float8E5M2, &[61439.0, 61440.0, -inf, nan], false, &[57344.0, inf, -inf, nan]);
        case(ElemType::Float8E5M2FNUZ, &[61439.0, 61440.0, -inf, -1e-9], false, &[57344.0, nan, nan, 0.0]);
        case(ElemType::Float4E2M1, &[7.0, -inf, 5.0, 2.5, nan], false, &[6.0, -6.0, 4.0, 2.0, 0.0]);
    }

    #[test]
    fn powers_round_in_three_ways() {
        use PowerRounding::{Down, Nearest, Up};
        let case = |x: f32, saturate, rounding, expected: f32| {
            let found = floats(&round_power(&tensor(&[x]), saturate, rounding))[0];
            assert!(found == expected || found.is_nan() && expected.is_nan(), "{x} {rounding:?} became {found}");
        };
        case(1.1, true, Up, 2.0);
        case(1.9, true, Down, 1.0);
        case(1.5, true, Nearest, 2.0);
        case(1.49, true, Nearest, 1.0);
        case(4.0, true, Up, 4.0);
        case(0.0, true, Up, power_of_two(-127));
        case(f32::INFINITY, true, Up, power_of_two(127));
        case(f32::MAX, true, Nearest, power_of_two(127));
        case(f32::MAX, false, Nearest, f32::NAN);
        case(0.0, false, Nearest, f32::NAN);
        case(f32::NAN, true, Down, f32::NAN);
    }

    #[test]
    fn packed_elements_follow_from_the_lowest_bit_up() {
        assert_eq!(unpack(4, &[0x21, 0x03], 3), [1, 2, 3]);
        assert_eq!(unpack(2, &[0b1110_0100, 1], 5), [0, 1, 2, 3, 1]);
        assert_eq!(unpack(6, &[0b0100_0001, 0b0011_0000, 0b0001_0000], 4), [1, 1, 3, 4]);
        assert_eq!(packed_bytes(6, 5), 4);
        assert_eq!(decode(ElemType::Int4, &[7, 8, 15]), Some(vec![7, 0xf8, 0xff]));
        let wrapped = SmallInt::of(ElemType::Int4).expect("small").wrap(&tensor(&[-9.0, 7.9, 8.0]));
        assert_eq!(wrapped.data().expect("concrete").to_i64(), [7, 7, -8]);
    }
}
