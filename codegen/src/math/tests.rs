//! Measures every function against `libm`'s double-precision functions, through the kernel interpreter.

use nnc_ir::{DType, Scalar};

use super::*;
use crate::kernel::{Index, interp};

const LANES: u16 = 16;

/// Runs a function of one or two operands on vectors of `dtype`.
fn run(dtype: DType, operands: &[Vec<f64>], emit: &dyn Fn(&mut KernelBuilder, &[Reg]) -> Reg) -> Vec<f64> {
    let len = operands[0].len().next_multiple_of(usize::from(LANES));
    let mut b = KernelBuilder::new("measure");
    let inputs: Vec<_> = (0..operands.len()).map(|idx| b.arg(format!("x{idx}"), dtype, len, false)).collect();
    let output = b.arg("out", dtype, len, true);
    b.for_loop(len as u64 / u64::from(LANES), crate::kernel::LoopKind::Serial, |b, at| {
        let index = || Index::term(at, i64::from(LANES));
        let regs: Vec<Reg> = inputs.iter().map(|&input| b.load(input, index(), 1, LANES, LANES)).collect();
        let result = emit(b, &regs);
        b.store(output, index(), 1, LANES, result);
    });
    let kernel = b.finish();
    crate::kernel::verify(&kernel).expect("a sound kernel");
    let bytes = |values: &[f64]| {
        let mut bytes = Vec::new();
        values.iter().for_each(|&value| Scalar::from_f64(dtype, value).write(&mut bytes));
        bytes.resize(len * dtype.size(), 0);
        bytes
    };
    let mut tensors: Vec<Vec<u8>> = operands.iter().map(|operand| bytes(operand)).collect();
    tensors.push(vec![0; len * dtype.size()]);
    let bindings: Vec<usize> = (0..tensors.len()).collect();
    interp::run(&kernel, &mut tensors, &bindings).expect("the kernel runs");
    let found = tensors[operands.len()].chunks_exact(dtype.size());
    found.map(|bytes| Scalar::read(dtype, bytes).to_f64()).take(operands[0].len()).collect()
}

/// Largest error in units in the last place; NaN, infinities and zeros (with their signs) must be met exactly.
fn worst(
    dtype: DType,
    operands: &[Vec<f64>],
    emit: &dyn Fn(&mut KernelBuilder, &[Reg]) -> Reg,
    expected: &dyn Fn(&[f64]) -> f64,
) -> f64 {
    let found = run(dtype, operands, emit);
    let mut worst: f64 = 0.0;
    for (idx, &found) in found.iter().enumerate() {
        let point: Vec<f64> = operands.iter().map(|operand| Scalar::from_f64(dtype, operand[idx]).to_f64()).collect();
        let exact = expected(&point);
        let rounded = Scalar::from_f64(dtype, exact).to_f64();
        if !rounded.is_finite() || rounded == 0.0 || !found.is_finite() {
            let same = found == rounded || (found.is_nan() && rounded.is_nan());
            let near_edge = rounded == 0.0 && found.abs() <= unit(dtype, 0.0)
                || (dtype == DType::F32 && found.abs() >= f64::from(f32::MAX) && exact.abs() >= 3.4028e38)
                || (dtype == DType::F64 && found.abs() >= f64::MAX && exact.abs() >= 1.797e308);
            assert!(same || near_edge, "at {point:?}: found {found:e}, expected {rounded:e}");
            let signs = rounded != 0.0 || found != 0.0 || found.is_sign_negative() == rounded.is_sign_negative();
            assert!(signs, "at {point:?}: found {found:?}, expected {rounded:?}");
            continue;
        }
        let error = ((found - exact) / unit(dtype, exact)).abs();
        if error > worst {
            worst = error;
            if std::env::var("NNC_SHOW").is_ok() {
                println!("{point:?}: {error} ({found:e} for {exact:e})");
            }
        }
    }
    worst
}

/// Distance between neighbors of `dtype` at `x`.
fn unit(dtype: DType, x: f64) -> f64 {
    let magnitude = x.abs();
    if dtype == DType::F64 {
        return magnitude.next_up() - magnitude;
    }
    let exponent = if x == 0.0 { -126 } else { (magnitude.log2().floor() as i32).max(-126) };
    2f64.powi(exponent - 23)
}

/// Points over the whole range of the type, and `dense` ones in an interval.
fn points(dtype: DType, low: f64, high: f64) -> Vec<f64> {
    let mut values = vec![0.0, -0.0, 1.0, -1.0, 0.5, -0.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let (largest, least) = if dtype == DType::F32 { (127, -149) } else { (1023, -1074) };
    for exponent in (least..=largest).step_by(if dtype == DType::F32 { 1 } else { 7 }) {
        let power = 2f64.powi(exponent.max(-1022)) * 2f64.powi(exponent - exponent.max(-1022));
        values.extend([power, -power, power * 1.2345678, -power * 1.75]);
    }
    let n = 4000;
    let mut state = 1u64;
    for step in 0..n {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let fraction = (f64::from(step) + (state >> 11) as f64 * 2f64.powi(-53)) / f64::from(n);
        values.push(low + (high - low) * fraction);
    }
    values
}

type Emit = fn(&mut KernelBuilder, Reg) -> Reg;

#[test]
fn functions_of_one_operand_meet_their_bounds() {
    let logistic_exact =
        |x: f64| if x < 0.0 { libm::exp(x) / (1.0 + libm::exp(x)) } else { 1.0 / (1.0 + libm::exp(-x)) };
    // name, function, reference, interval, bound for f32, bound for f64 (the reference itself is within 1)
    let table: Vec<(&str, Emit, fn(f64) -> f64, (f64, f64), f64, f64)> = vec![
        ("exp", exp, libm::exp, (-20.0, 20.0), 1.0, 2.0),
        ("exp", exp, libm::exp, (-110.0, 95.0), 1.0, 2.0),
        ("expm1", expm1, libm::expm1, (-2.0, 2.0), 2.0, 3.0),
        ("expm1", expm1, libm::expm1, (-60.0, 90.0), 2.0, 3.0),
        ("log", log, libm::log, (0.25, 4.0), 1.0, 2.0),
        ("log", log, libm::log, (0.0, 1e6), 1.0, 2.0),
        ("log1p", log1p, libm::log1p, (-0.999, 1.0), 1.0, 2.0),
        ("log1p", log1p, libm::log1p, (0.0, 1e3), 1.0, 2.0),
        ("tanh", tanh, libm::tanh, (-2.0, 2.0), 2.0, 4.0),
        ("tanh", tanh, libm::tanh, (-25.0, 25.0), 2.0, 4.0),
        ("logistic", logistic, logistic_exact, (-20.0, 20.0), 2.0, 4.0),
        ("logistic", logistic, logistic_exact, (-100.0, 30.0), 2.0, 4.0),
        ("erf", erf, libm::erf, (-1.5, 1.5), 2.0, 3.0),
        ("erf", erf, libm::erf, (-6.5, 6.5), 2.0, 3.0),
        ("sin", sin, libm::sin, (-10.0, 10.0), 0.6, 2.0),
        ("cos", cos, libm::cos, (-10.0, 10.0), 0.6, 2.0),
        ("tan", tan, libm::tan, (-10.0, 10.0), 0.6, 4.0),
        ("sin", sin, libm::sin, (1e4, 1e6), 0.6, 2.0),
    ];
    for (name, emit, exact, (low, high), single, double) in table {
        for (dtype, bound) in [(DType::F32, single), (DType::F64, double)] {
            let mut xs = points(dtype, low, high);
            if dtype == DType::F64 && ["sin", "cos", "tan"].contains(&name) {
                xs.retain(|x| x.abs() < 2f64.powi(48) || !x.is_finite());
            }
            let error = worst(dtype, &[xs], &|b, x| emit(b, x[0]), &|x| exact(x[0]));
            println!("{name} {dtype} on [{low}, {high}]: {error:.2}");
            assert!(error <= bound, "{name} of {dtype} on [{low}, {high}] is off by {error}, allowed {bound}");
        }
    }
}

#[test]
fn functions_of_two_operands_meet_their_bounds() {
    let table: Vec<(&str, fn(&mut KernelBuilder, Reg, Reg) -> Reg, fn(f64, f64) -> f64)> =
        vec![("pow", pow, libm::pow), ("atan2", atan2, libm::atan2)];
    let edges = [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, -2.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-310, 3e38];
    for (name, emit, exact) in table {
        for (dtype, bound) in [(DType::F32, 0.6), (DType::F64, 3.0)] {
            let (mut xs, mut ys) = (Vec::new(), Vec::new());
            for x in edges {
                for y in edges {
                    xs.push(x);
                    ys.push(y);
                }
            }
            let spread = points(dtype, 0.0, 10.0);
            for (idx, &x) in spread.iter().enumerate() {
                xs.push(x);
                ys.push(spread[(idx * 7919 + 13) % spread.len()] * if idx % 3 == 0 { -1.0 } else { 1.0 });
            }
            let error = worst(dtype, &[xs, ys], &|b, x| emit(b, x[0], x[1]), &|x| exact(x[0], x[1]));
            println!("{name} {dtype}: {error:.2}");
            assert!(error <= bound, "{name} of {dtype} is off by {error}, allowed {bound}");
        }
    }
}
