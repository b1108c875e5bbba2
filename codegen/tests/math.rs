//! The transcendental expansions against correctly rounded values: largest errors, special values, and the same bits
//! from every emitter.

use nnc_codegen::kernel::{Index, Kernel, KernelBuilder, LoopKind, Reg, interp, verify};
use nnc_codegen::math;
use nnc_ir::DType;

mod support;

const LANES: usize = 16;

type Unary = fn(&mut KernelBuilder, Reg) -> Reg;
type Binary = fn(&mut KernelBuilder, Reg, Reg) -> Reg;

/// How a function is expanded.
#[derive(Clone, Copy)]
enum Expansion {
    Unary(Unary),
    Binary(Binary),
}

/// Every function: its name, its expansion, and the largest error in units of the last place, in either format.
const FUNCTIONS: [(&str, Expansion, f64); 12] = [
    ("exp", Expansion::Unary(math::exp), 1.0),
    ("expm1", Expansion::Unary(math::expm1), 1.5),
    ("log", Expansion::Unary(math::log), 1.0),
    ("log1p", Expansion::Unary(math::log1p), 1.5),
    ("tanh", Expansion::Unary(math::tanh), 2.5),
    ("logistic", Expansion::Unary(math::logistic), 2.5),
    ("erf", Expansion::Unary(math::erf), 1.5),
    ("sin", Expansion::Unary(math::sin), 1.0),
    ("cos", Expansion::Unary(math::cos), 1.0),
    ("tan", Expansion::Unary(math::tan), 2.0),
    ("pow", Expansion::Binary(math::pow), 1.5),
    ("atan2", Expansion::Binary(math::atan2), 2.0),
];

fn function(name: &str) -> (Expansion, f64) {
    let (_, expansion, bound) = FUNCTIONS.into_iter().find(|entry| entry.0 == name).unwrap();
    (expansion, bound)
}

/// A kernel that applies the function to `len` elements, a multiple of the lanes.
fn kernel(expansion: Expansion, dtype: DType, len: usize) -> Kernel {
    let mut b = KernelBuilder::new("apply");
    let x = b.arg("x", dtype, len, false);
    let y = b.arg("y", dtype, len, false);
    let out = b.arg("out", dtype, len, true);
    b.for_loop((len / LANES) as u64, LoopKind::Serial, |b, chunk| {
        let index = Index::term(chunk, LANES as i64);
        let x = b.load(x, index.clone(), 1, LANES as u16, LANES as u16);
        let result = match expansion {
            Expansion::Unary(function) => function(b, x),
            Expansion::Binary(function) => {
                let y = b.load(y, index.clone(), 1, LANES as u16, LANES as u16);
                function(b, x, y)
            }
        };
        b.store(out, index, 1, LANES as u16, result);
    });
    b.finish()
}

/// Results of the interpreter for `f32` operands.
fn apply_f32(expansion: Expansion, points: &[(f32, f32)]) -> Vec<f32> {
    let len = points.len().next_multiple_of(LANES);
    let pack = |pick: fn(&(f32, f32)) -> f32| {
        let mut bytes: Vec<u8> = points.iter().flat_map(|point| pick(point).to_le_bytes()).collect();
        bytes.resize(len * 4, 0);
        bytes
    };
    let mut tensors = [pack(|point| point.0), pack(|point| point.1), vec![0; len * 4]];
    let kernel = kernel(expansion, DType::F32, len);
    verify(&kernel).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    interp::run(&kernel, &mut tensors, &[0, 1, 2]).unwrap();
    let results = tensors[2].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    results.take(points.len()).collect()
}

/// Results of the interpreter for `f64` operands.
fn apply_f64(expansion: Expansion, points: &[(f64, f64)]) -> Vec<f64> {
    let len = points.len().next_multiple_of(LANES);
    let pack = |pick: fn(&(f64, f64)) -> f64| {
        let mut bytes: Vec<u8> = points.iter().flat_map(|point| pick(point).to_le_bytes()).collect();
        bytes.resize(len * 8, 0);
        bytes
    };
    let mut tensors = [pack(|point| point.0), pack(|point| point.1), vec![0; len * 8]];
    let kernel = kernel(expansion, DType::F64, len);
    verify(&kernel).unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    interp::run(&kernel, &mut tensors, &[0, 1, 2]).unwrap();
    let results = tensors[2].as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
    results.take(points.len()).collect()
}

/// Error of `found` in units of the last place of `exact`, 0 for results that are equal or both NaN, infinite where NaN
/// or the sign is wrong.
fn ulps_f32(found: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if found.to_bits() == rounded.to_bits() || found.is_nan() && exact.is_nan() {
        return 0.0;
    }
    if found.is_nan() || exact.is_nan() || found.is_sign_negative() != exact.is_sign_negative() {
        return f64::INFINITY;
    }
    // Infinity is one step beyond the largest number.
    let beyond = 2f64.powi(128);
    let (found, exact) = (f64::from(found).abs().min(beyond), exact.abs().min(beyond));
    let exponent = (exact.to_bits() >> 52) as i32 - 1023;
    (found - exact).abs() / 2f64.powi(exponent.clamp(-126, 127) - 23)
}

/// Numbers from every corner of the format: a sweep over all bit patterns, dense ranges, and special values.
fn points_f32(n_sweep: u32) -> Vec<f32> {
    let mut points: Vec<f32> = Vec::new();
    let step = (u32::MAX / n_sweep) | 1;
    points.extend((0..n_sweep).map(|at| f32::from_bits(at.wrapping_mul(step).wrapping_add(at & 0xff))));
    points.extend((0..n_sweep).map(|at| (f64::from(at) / f64::from(n_sweep) * 24.0 - 12.0) as f32));
    points.extend((0..n_sweep / 2).map(|at| (f64::from(at) / f64::from(n_sweep / 2) * 240.0 - 120.0) as f32));
    for special in [
        0.0,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        1.0,
        2.0,
        0.5,
        0.75,
        3.0,
        1e-3,
        88.72284,
        103.97208,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
    ] {
        for bits in special.to_bits().saturating_sub(4)..special.to_bits() + 4 {
            points.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
        }
    }
    points
}

/// Asserts the function's bound over points; the message names the worst.
fn check_f32(name: &str, exact: impl Fn(f64, f64) -> f64, points: &[(f32, f32)]) {
    let (expansion, bound) = function(name);
    let results = apply_f32(expansion, points);
    let errors =
        points.iter().zip(&results).map(|(&(x, y), &found)| (ulps_f32(found, exact(x.into(), y.into())), x, y, found));
    let (error, x, y, found) = errors.max_by(|lhs, rhs| lhs.0.total_cmp(&rhs.0)).unwrap();
    println!("{name} f32: {error:.3} ULP at {x:e}, {y:e}");
    assert!(error <= bound, "{name}({x:e}, {y:e}) = {found:e}, expected {:e}: {error} ULP", exact(x.into(), y.into()));
}

fn check_unary_f32(name: &str, exact: fn(f64) -> f64) {
    let points: Vec<(f32, f32)> = points_f32(20_000).into_iter().map(|x| (x, 0.0)).collect();
    check_f32(name, |x, _| exact(x), &points);
}

#[test]
fn exp_f32() {
    check_unary_f32("exp", libm::exp);
}

#[test]
fn expm1_f32() {
    check_unary_f32("expm1", libm::expm1);
}

#[test]
fn log_f32() {
    check_unary_f32("log", libm::log);
}

#[test]
fn log1p_f32() {
    check_unary_f32("log1p", libm::log1p);
}

#[test]
fn tanh_f32() {
    check_unary_f32("tanh", libm::tanh);
}

/// Without overflow on the way.
fn exact_logistic(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

#[test]
fn logistic_f32() {
    check_unary_f32("logistic", exact_logistic);
}

#[test]
fn erf_f32() {
    check_unary_f32("erf", libm::erf);
}

#[test]
fn sin_f32() {
    check_unary_f32("sin", libm::sin);
}

#[test]
fn cos_f32() {
    check_unary_f32("cos", libm::cos);
}

#[test]
fn tan_f32() {
    check_unary_f32("tan", libm::tan);
}

/// Pairs: every special value with every other, and random ones.
fn pairs_f32() -> Vec<(f32, f32)> {
    let special = [
        0.0,
        f32::from_bits(1),
        f32::MIN_POSITIVE,
        0.5,
        0.999,
        1.0,
        1.5,
        2.0,
        3.0,
        7.0,
        16_777_217.0,
        33_554_432.0,
        1e20,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
    ];
    let special: Vec<f32> = special.into_iter().flat_map(|x| [x, -x]).collect();
    let mut pairs: Vec<(f32, f32)> = special.iter().flat_map(|&x| special.iter().map(move |&y| (x, y))).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    for _ in 0..20_000 {
        pairs.push((f32::from_bits(next()), f32::from_bits(next())));
        // Moderate bases with exponents that use the whole range of results.
        let x = f32::from_bits((next() >> 6) + 0x3e80_0000);
        let y = (f64::from(next()) / 2f64.powi(32) - 0.5) * 210.0 / f64::from(x.ln()).abs().max(1e-6);
        pairs.push((x, y as f32));
        pairs.push((y as f32, x));
        pairs.push((-x, (y as f32).round()));
    }
    pairs
}

#[test]
fn pow_f32() {
    check_f32("pow", libm::pow, &pairs_f32());
}

#[test]
fn atan2_f32() {
    check_f32("atan2", libm::atan2, &pairs_f32());
}

/// The module's page states the bounds that are tested here.
#[test]
fn documented_bounds_are_the_tested_ones() {
    let page = include_str!("../src/math.rs");
    for (name, _, bound) in FUNCTIONS {
        let row = format!("//! | {:10} | {bound:<5.1} |", format!("`{name}`"));
        assert!(page.contains(&row), "missing: {row}");
    }
}

/// Every emitter computes the interpreter's bits.
#[test]
fn emitters_agree() {
    let pairs: Vec<(f32, f32)> = pairs_f32().into_iter().take(2048).collect();
    for (name, expansion, _) in FUNCTIONS {
        println!("{name}");
        for dtype in [DType::F32, DType::F64] {
            let bytes = |pick: fn(&(f32, f32)) -> f32| -> Vec<u8> {
                match dtype {
                    DType::F32 => pairs.iter().flat_map(|pair| pick(pair).to_le_bytes()).collect(),
                    _ => pairs.iter().flat_map(|pair| f64::from(pick(pair)).powi(7).to_le_bytes()).collect(),
                }
            };
            let tensors = [bytes(|pair| pair.0), bytes(|pair| pair.1), vec![0; pairs.len() * dtype.size()]];
            support::check(&kernel(expansion, dtype, pairs.len()), &tensors, &[0, 1, 2]);
        }
    }
}

/// Error of `found` in units of the last place of `exact`, 0 for results that are equal or both NaN.
fn ulps_f64(found: f64, exact: f64) -> f64 {
    if found.to_bits() == exact.to_bits() || found.is_nan() && exact.is_nan() {
        return 0.0;
    }
    if found.is_nan() || exact.is_nan() || found.is_sign_negative() != exact.is_sign_negative() {
        return f64::INFINITY;
    }
    // Numbers of one sign are ordered as their bits are.
    found.to_bits().abs_diff(exact.to_bits()) as f64
}

/// `f64` operands of the same kind as those of [`points_f32`].
fn points_f64() -> Vec<f64> {
    let mut points: Vec<f64> = points_f32(4000).into_iter().map(|x| f64::from(x) * 1.000_000_123_456_7).collect();
    points.extend((0..20_000_u64).map(|at| f64::from_bits(at.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    points.extend([0.0, f64::MIN_POSITIVE, f64::from_bits(1), 1.0, 709.78, 745.13, f64::MAX, f64::INFINITY]);
    points.extend(points.clone().into_iter().map(|x| -x));
    points
}

/// The oracle itself may be off by almost one unit.
const LIBM_ERROR: f64 = 1.0;

fn check_f64(name: &str, exact: impl Fn(f64, f64) -> f64, points: &[(f64, f64)]) {
    let (expansion, bound) = function(name);
    let results = apply_f64(expansion, points);
    let errors = points.iter().zip(&results).map(|(&(x, y), &found)| (ulps_f64(found, exact(x, y)), x, y, found));
    let (error, x, y, found) = errors.max_by(|lhs, rhs| lhs.0.total_cmp(&rhs.0)).unwrap();
    println!("{name} f64: {error} ULP from libm at {x:e}, {y:e}");
    let bound = bound + LIBM_ERROR;
    assert!(error <= bound, "{name}({x:e}, {y:e}) = {found:e}, expected {:e}: {error} ULP", exact(x, y));
}

fn check_unary_f64(name: &str, exact: fn(f64) -> f64) {
    let points: Vec<(f64, f64)> = points_f64().into_iter().map(|x| (x, 0.0)).collect();
    check_f64(name, |x, _| exact(x), &points);
}

#[test]
fn exp_f64() {
    check_unary_f64("exp", libm::exp);
}

#[test]
fn expm1_f64() {
    check_unary_f64("expm1", libm::expm1);
}

#[test]
fn log_f64() {
    check_unary_f64("log", libm::log);
}

#[test]
fn log1p_f64() {
    check_unary_f64("log1p", libm::log1p);
}

#[test]
fn tanh_f64() {
    check_unary_f64("tanh", libm::tanh);
}

#[test]
fn logistic_f64() {
    check_unary_f64("logistic", exact_logistic);
}

#[test]
fn erf_f64() {
    check_unary_f64("erf", libm::erf);
}

#[test]
fn sin_f64() {
    check_unary_f64("sin", libm::sin);
}

#[test]
fn cos_f64() {
    check_unary_f64("cos", libm::cos);
}

#[test]
fn tan_f64() {
    check_unary_f64("tan", libm::tan);
}

fn pairs_f64() -> Vec<(f64, f64)> {
    let widen = |x: f32| f64::from(x) * if x.is_finite() && x.fract() != 0.0 { 1.000_000_123_456_7 } else { 1.0 };
    let mut pairs: Vec<(f64, f64)> = pairs_f32().into_iter().take(40_000).map(|(x, y)| (widen(x), widen(y))).collect();
    // Exponents that use the whole range of results.
    pairs.extend(pairs.clone().into_iter().map(|(x, y)| (x, y * 7.0)));
    pairs
}

#[test]
fn pow_f64() {
    check_f64("pow", libm::pow, &pairs_f64());
}

#[test]
fn atan2_f64() {
    check_f64("atan2", libm::atan2, &pairs_f64());
}

/// Doubles against correctly rounded values of a multiprecision library, among them the hardest operands of the angle
/// reduction. See `golden/transcendental.py`.
#[test]
fn doubles_meet_their_bounds() {
    for (name, expansion, bound) in FUNCTIONS {
        let (mut points, mut exact) = (Vec::new(), Vec::new());
        for line in include_str!("golden/transcendental.txt").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [function, operands @ .., nearest, rest] = fields.as_slice() else { panic!("{line}") };
            if *function == name {
                let read = |bits: &str| f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
                points.push((read(operands[0]), operands.get(1).map_or(0.0, |bits| read(bits))));
                exact.push((read(nearest), rest.parse::<f64>().unwrap() / 1000.0));
            }
        }
        assert!(!points.is_empty(), "no values of {name}");
        for ((point, found), (nearest, rest)) in points.iter().zip(apply_f64(expansion, &points)).zip(exact) {
            // Near the border of two exponents the unit changes, by a factor that the bounds leave room for.
            let unit = nearest.abs().next_up() - nearest.abs();
            let error = ((found - nearest) / unit - rest).abs();
            assert!(error <= bound, "{name}{point:?} = {found:e}, expected {nearest:e}: {error} ULP");
        }
    }
}
