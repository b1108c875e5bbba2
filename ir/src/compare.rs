//! Comparing computed tensors with expected ones.
//!
//! All tests of passes and back ends go through here: the interpreter gives the expected tensor, the op's
//! [`Tolerance`] says how far a result may be from it, and a mismatch is reported at its worst element.

use std::fmt;

use crate::interp::{EvalError, eval};
use crate::literal::{Scalar, TensorData};
use crate::ops::{DotAttrs, Op, ReduceKind, ReduceWindowAttrs, Tolerance};
use crate::types::{DType, TensorType};

/// How far an element may be from the expected one. It must be within *one* of the bounds; integers must be equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Distance in units in the last place of the element type, see [`ulp_distance`].
    pub ulps: u64,
    /// Absolute distance.
    pub absolute: f64,
    /// Distance as a share of the expected value.
    pub relative: f64,
}

impl Allowance {
    /// The same bits (any NaN for a NaN).
    pub const EXACT: Self = Self { ulps: 0, absolute: 0.0, relative: 0.0 };

    /// At most `ulps` units in the last place.
    pub const fn ulps(ulps: u64) -> Self {
        Self { ulps, ..Self::EXACT }
    }

    /// At most the share `relative` of the expected value, or `absolute`.
    pub const fn within(relative: f64, absolute: f64) -> Self {
        Self { ulps: 0, absolute, relative }
    }

    /// What `tolerance` allows for results of type `dtype`. `n_roundings` and `magnitude` matter to
    /// [`Tolerance::Accumulation`] only: the roundings a term goes through, and the sum of the terms' magnitudes.
    pub fn of(tolerance: Tolerance, dtype: DType, n_roundings: usize, magnitude: f64) -> Self {
        match tolerance {
            Tolerance::Exact => Self::EXACT,
            Tolerance::Rounding => Self::ulps(1),
            Tolerance::Transcendental => Self::ulps(4),
            // The classic bound of recursive summation, n * u / (1 - n * u) times the magnitudes (Higham, 2002); the
            // result's own rounding is the unit in the last place.
            Tolerance::Accumulation => {
                let error = n_roundings as f64 * unit_roundoff(dtype);
                Self { ulps: 1, absolute: error / (1.0 - error).max(f64::MIN_POSITIVE) * magnitude, relative: 0.0 }
            }
        }
    }

    /// Whether `found` is close enough to `expected`.
    pub fn admits(&self, expected: Scalar, found: Scalar) -> bool {
        if expected.dtype != found.dtype || !expected.dtype.is_float() {
            return expected == found;
        }
        let (value, distance) = (expected.to_f64(), (expected.to_f64() - found.to_f64()).abs());
        // Infinities are close to nothing but in units in the last place.
        let near = distance.is_finite() && distance > 0.0 && distance <= self.absolute.max(self.relative * value.abs());
        let zeros = value == 0.0 && found.to_f64() == 0.0 && *self != Self::EXACT;
        near || zeros || ulp_distance(expected, found) <= self.ulps
    }
}

/// Half the distance between 1 and the next value of `dtype`: the largest relative error of one rounding. 0 for
/// integers.
pub fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        DType::F32 => 2f64.powi(-24),
        DType::F64 => 2f64.powi(-53),
        _ => 0.0,
    }
}

/// Number of steps from one value of a type to the other: -0 and 0 are one apart, the largest number and infinity
/// too, two NaNs none, a NaN and a number `u64::MAX`. For integers, their difference.
///
/// # Panics
/// If the values are of different types.
pub fn ulp_distance(lhs: Scalar, rhs: Scalar) -> u64 {
    assert_eq!(lhs.dtype, rhs.dtype, "units in the last place are counted between values of one type");
    if !lhs.dtype.is_float() {
        return lhs.to_integer().abs_diff(rhs.to_integer()) as u64;
    }
    match (lhs.to_f64().is_nan(), rhs.to_f64().is_nan()) {
        (true, true) => 0,
        (false, false) => position(lhs).abs_diff(position(rhs)),
        _ => u64::MAX,
    }
}

/// The place of a float in the order of all values of its type; -0 stands below 0.
fn position(value: Scalar) -> i64 {
    // Sign-extended, the bits of positive values rise with the value and those of negative values fall.
    let spare = 64 - 8 * value.dtype.size() as u32;
    let bits = (value.bits << spare) as i64 >> spare;
    if bits < 0 { !(bits & i64::MAX >> spare) } else { bits }
}

/// Why two tensors differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// The types differ.
    Type {
        /// Type expected.
        expected: TensorType,
        /// Type found.
        found: TensorType,
    },
    /// Elements are too far apart.
    Elements {
        /// Index of the element that is most units in the last place away.
        index: Vec<usize>,
        /// What it should be.
        expected: Scalar,
        /// What it is.
        found: Scalar,
        /// What was allowed.
        allowed: Allowance,
        /// Number of elements too far apart.
        n_wrong: usize,
        /// Number of elements.
        n_elements: usize,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { expected, found } => write!(f, "found {found}, expected {expected}"),
            Self::Elements { index, expected, found, allowed, n_wrong, n_elements } => {
                write!(f, "{n_wrong} of {n_elements} elements differ, worst at {index:?}: found {found}, ")?;
                write!(f, "expected {expected} ({} ulp apart, ", ulp_distance(*expected, *found))?;
                let distance = (expected.to_f64() - found.to_f64()).abs();
                write!(f, "distance {distance:.3e}; allowed {} ulp", allowed.ulps)?;
                if allowed.absolute > 0.0 {
                    write!(f, ", {:.3e} absolute", allowed.absolute)?;
                }
                if allowed.relative > 0.0 {
                    write!(f, ", {:.3e} relative", allowed.relative)?;
                }
                f.write_str(")")
            }
        }
    }
}

impl std::error::Error for Mismatch {}

/// Checks that every element of `found` is as close to `expected` as `allowed` says.
///
/// # Errors
/// The types differ, or elements do; the report is of the worst.
pub fn compare(expected: &TensorData, found: &TensorData, allowed: Allowance) -> Result<(), Mismatch> {
    compare_by(expected, found, |_| allowed)
}

/// [`compare`] as a test's assertion.
///
/// # Panics
/// With the report, if the tensors differ.
#[track_caller]
pub fn assert_close(expected: &TensorData, found: &TensorData, allowed: Allowance) {
    if let Err(mismatch) = compare(expected, found, allowed) {
        panic!("{mismatch}\n  found:    {found:?}\n  expected: {expected:?}");
    }
}

/// Checks that `found` is what `op` may give on `operands`: within its [`Tolerance`] of what the interpreter gives.
/// The bound of a sum or a contraction is that of its canonical order, element by element.
///
/// # Errors
/// The outer error if the interpreter cannot evaluate the op, the inner if the first result differs.
pub fn check_result(op: &Op, operands: &[&TensorData], found: &TensorData) -> Result<Result<(), Mismatch>, EvalError> {
    let expected = &eval(op, operands, &[])?[0];
    let allowances = op_allowances(op, operands, expected)?;
    Ok(compare_by(expected, found, |idx| allowances[idx]))
}

/// What the op's tolerance allows each element of its result, `expected`.
///
/// # Errors
/// The magnitudes of the terms of a sum cannot be evaluated.
pub fn op_allowances(op: &Op, operands: &[&TensorData], expected: &TensorData) -> Result<Vec<Allowance>, EvalError> {
    let (tolerance, dtype) = (op.info().tolerance, expected.dtype);
    // The sums of the terms' magnitudes are the result on the operands' magnitudes, in double precision.
    let magnitudes = || -> Result<Vec<f64>, EvalError> {
        let widen = |&operand: &&TensorData| match operand.dtype.is_float() {
            true => {
                let values = operand.to_f64().into_iter().map(f64::abs);
                TensorData::from_doubles(DType::F64, operand.shape.clone(), values)
            }
            false => operand.clone(),
        };
        let operands: Vec<TensorData> = operands.iter().map(widen).collect();
        Ok(eval(op, &operands.iter().collect::<Vec<_>>(), &[])?[0].to_f64())
    };
    let spread = |n_roundings: usize, magnitudes: Vec<f64>| {
        magnitudes.into_iter().map(|magnitude| Allowance::of(tolerance, dtype, n_roundings, magnitude)).collect()
    };
    Ok(match op {
        Op::Reduce(attrs) => match attrs.kind {
            ReduceKind::Sum | ReduceKind::Prod => {
                // A lane's chain, the tree of the lanes, and the rounding of the result.
                let n_terms: usize = attrs.dims.iter().map(|&dim| operands[0].shape[dim]).product();
                spread(n_terms.div_ceil(16) + 5, magnitudes()?)
            }
            _ => vec![Allowance::EXACT; expected.len()],
        },
        Op::DotGeneral(DotAttrs { lhs_contract, .. }) => {
            let depth: usize = lhs_contract.iter().map(|&dim| operands[0].shape[dim]).product();
            spread(depth + 1, magnitudes()?)
        }
        Op::Convolution(_) => {
            let depth: usize = operands[1].shape[1..].iter().product();
            spread(depth + 1, magnitudes()?)
        }
        Op::ReduceWindow(ReduceWindowAttrs { kind: ReduceKind::Sum | ReduceKind::Prod, window, .. }) => {
            spread(window.iter().product::<usize>() + 1, magnitudes()?)
        }
        Op::SelectAndScatter(attrs) => {
            // The windows must pick as they do: only what is added is made positive.
            let (operand, source) = (operands[0].to_f64(), operands[1].to_f64());
            let doubles = |like: &TensorData, values| TensorData::from_doubles(DType::F64, like.shape.clone(), values);
            let operand = doubles(operands[0], operand);
            let source = doubles(operands[1], source.into_iter().map(f64::abs).collect());
            let sums = eval(op, &[&operand, &source], &[])?[0].to_f64();
            spread(attrs.n_taps() + 1, sums)
        }
        Op::ReduceWindow(_) => vec![Allowance::EXACT; expected.len()],
        Op::Cumulative(attrs) => match attrs.kind {
            ReduceKind::Sum | ReduceKind::Prod => spread(operands[0].shape[attrs.dim] + 1, magnitudes()?),
            _ => vec![Allowance::EXACT; expected.len()],
        },
        // All updates may meet one element.
        Op::Scatter(_) => spread(operands[2].len() + 1, magnitudes()?),
        _ => spread(1, expected.to_f64().into_iter().map(f64::abs).collect()),
    })
}

fn compare_by(expected: &TensorData, found: &TensorData, allowed: impl Fn(usize) -> Allowance) -> Result<(), Mismatch> {
    if (expected.dtype, &expected.shape) != (found.dtype, &found.shape) {
        return Err(Mismatch::Type { expected: expected.ty(), found: found.ty() });
    }
    let mut n_wrong = 0;
    let mut worst: Option<(u64, usize)> = None;
    for (idx, (expected, found)) in expected.scalars().zip(found.scalars()).enumerate() {
        if allowed(idx).admits(expected, found) {
            continue;
        }
        n_wrong += 1;
        let distance = ulp_distance(expected, found);
        if worst.is_none_or(|(most, _)| distance > most) {
            worst = Some((distance, idx));
        }
    }
    let Some((_, idx)) = worst else { return Ok(()) };
    Err(Mismatch::Elements {
        index: unravel(idx, &expected.shape),
        expected: expected.get(idx),
        found: found.get(idx),
        allowed: allowed(idx),
        n_wrong,
        n_elements: expected.len(),
    })
}

/// The index whose row-major number is `linear`.
fn unravel(mut linear: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (idx, &extent) in index.iter_mut().zip(shape).rev() {
        *idx = linear % extent;
        linear /= extent;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::ReduceAttrs;

    fn distance(dtype: DType, lhs: f64, rhs: f64) -> u64 {
        ulp_distance(Scalar::from_f64(dtype, lhs), Scalar::from_f64(dtype, rhs))
    }

    #[test]
    fn ulps_count_the_values_between() {
        assert_eq!(distance(DType::F32, 1.0, 1.0 + 2f64.powi(-23)), 1);
        assert_eq!(distance(DType::F32, -1.0, -1.0 - 2f64.powi(-23)), 1);
        assert_eq!(distance(DType::F32, 0.0, -0.0), 1);
        assert_eq!(distance(DType::F32, 1e-45, -1e-45), 3);
        assert_eq!(distance(DType::F32, f64::from(f32::MAX), f64::INFINITY), 1);
        assert_eq!(distance(DType::F32, f64::NAN, f64::NAN), 0);
        assert_eq!(distance(DType::F32, f64::NAN, 0.0), u64::MAX);
        assert_eq!(distance(DType::F16, 1.0, 2.0), 1024);
        assert_eq!(distance(DType::BF16, -1.0, -2.0), 128);
        assert_eq!(distance(DType::F64, f64::INFINITY, f64::NEG_INFINITY), 2 * 0x7ff0_0000_0000_0000 + 1);
        assert_eq!(distance(DType::I8, -128.0, 127.0), 255);
        assert_eq!(distance(DType::I64, i64::MIN as f64, i64::MAX as f64), u64::MAX);
    }

    #[test]
    fn reports_name_the_worst_element() {
        let expected = TensorData::from_f32(vec![2, 2], &[1.0, 2.0, f32::NAN, -0.0]);
        let found = TensorData::from_f32(vec![2, 2], &[1.0, 2.0 + 1e-6, f32::NAN, -0.0]);
        assert_eq!(compare(&expected, &expected, Allowance::EXACT), Ok(()));
        assert_eq!(compare(&expected, &found, Allowance::ulps(4)), Ok(()));
        assert_eq!(compare(&expected, &found, Allowance::within(1e-6, 0.0)), Ok(()));
        assert_eq!(
            compare(&expected, &found, Allowance::within(1e-7, 1e-7)).unwrap_err().to_string(),
            "1 of 4 elements differ, worst at [0, 1]: found 2.000001, expected 2.0 (4 ulp apart, distance 9.537e-7; \
             allowed 0 ulp, 1.000e-7 absolute, 1.000e-7 relative)"
        );
        let narrow = TensorData::from_f32(vec![4], &[0.0; 4]);
        assert_eq!(
            compare(&expected, &narrow, Allowance::EXACT).unwrap_err().to_string(),
            "found f32[4], expected f32[2, 2]"
        );
    }

    #[test]
    fn signs_of_zero_and_infinities_are_told_apart() {
        let check = |expected: f32, found: f32, allowed| {
            let one = |value| TensorData::from_f32(vec![1], &[value]);
            compare(&one(expected), &one(found), allowed).is_ok()
        };
        assert!(!check(0.0, -0.0, Allowance::EXACT));
        assert!(check(0.0, -0.0, Allowance::within(1e-6, 0.0)));
        assert!(!check(f32::INFINITY, f32::NEG_INFINITY, Allowance::within(1.0, 1e30)));
        assert!(!check(f32::INFINITY, 1.0, Allowance::within(1.0, 1e30)));
        assert!(check(f32::INFINITY, f32::INFINITY, Allowance::EXACT));
        assert!(!check(f32::NAN, 1.0, Allowance::within(1.0, 1e30)));
    }

    #[test]
    fn sums_are_allowed_the_error_of_their_order() {
        let operand = TensorData::from_f32(vec![64], &[1e8, 1.0, -1e8, 1.0].repeat(16));
        let op = Op::Reduce(ReduceAttrs { kind: ReduceKind::Sum, dims: vec![0] });
        let check = |sum: f32| check_result(&op, &[&operand], &TensorData::from_f32(vec![], &[sum])).unwrap();
        assert_eq!(check(32.0), Ok(()));
        // Cancellation may cost all digits of the result, but not more than the magnitudes explain.
        assert_eq!(check(0.0), Ok(()));
        assert!(check(10000.0).is_err());
        let doubled = check_result(&Op::Add, &[&operand, &operand], &operand).unwrap();
        assert!(doubled.is_err());
    }
}
