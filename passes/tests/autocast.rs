//! Mixed precision: what is computed in which precision, and how far that is from `f32`.

use std::collections::BTreeMap;

use nnc_ir::interp::eval_graph;
use nnc_ir::parse::parse_func;
use nnc_ir::{DType, Func, ParamKind, TensorData};
use nnc_passes::autocast::autocast;
use nnc_passes::autodiff::{trainable, value_and_grad};
use nnc_passes::dce::dce;
use nnc_passes::optimizer::{Clip, LossScaling, OptimizerSpec, StepSpec, train_step};

/// A classifier: two layers with a bias, mean cross entropy of logits against probabilities.
const CLASSIFIER: &str = "\
func @loss(
  %x: f32[6, 5],
  %y: f32[6, 4],
  param %w1: f32[8, 5],
  param %b1: f32[8],
  param %w2: f32[4, 8],
) -> (
  loss: f32[],
  logits: f32[6, 4],
) {
  %0 = dot_general %x, %w1 {lhs_contract = [1], rhs_contract = [1]} : f32[6, 8]
  %1 = broadcast_in_dim %b1 {dims = [1]} : f32[6, 8]
  %2 = add %0, %1 : f32[6, 8]
  %3 = constant 0.0 : f32[6, 8]
  %4 = maximum %2, %3 : f32[6, 8]
  %5 = dot_general %4, %w2 {lhs_contract = [1], rhs_contract = [1]} : f32[6, 4]
  %6 = exponential %5 : f32[6, 4]
  %7 = reduce %6 {kind = sum, dims = [1]} : f32[6]
  %8 = log %7 : f32[6]
  %9 = broadcast_in_dim %8 {dims = [0]} : f32[6, 4]
  %10 = subtract %9, %5 : f32[6, 4]
  %11 = multiply %10, %y : f32[6, 4]
  %12 = reduce %11 {kind = sum, dims = [0, 1]} : f32[]
  %13 = constant 6.0 : f32[]
  %14 = divide %12, %13 : f32[]
  return %14, %5
}
";

fn classifier() -> Func {
    parse_func(CLASSIFIER).expect("the text is a function")
}

/// Numbers between -1 and 1 that look like none in particular.
fn numbers(func: &Func) -> BTreeMap<String, TensorData> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    };
    let mut values = BTreeMap::new();
    for (param, &value) in func.params.iter().zip(func.graph.params()) {
        let ty = func.graph.ty(value);
        let n_elements = ty.n_elements().expect("fixed");
        let is_state = param.kind == ParamKind::State;
        let elements: Vec<f64> = (0..n_elements).map(|_| if is_state { 0.0 } else { next() }).collect();
        values.insert(
            param.name.clone(),
            TensorData::from_doubles(ty.dtype, ty.shape.as_fixed().expect("fixed"), elements),
        );
    }
    values
}

fn run(func: &Func, values: &BTreeMap<String, TensorData>) -> BTreeMap<String, TensorData> {
    func.verify().expect("the function is valid");
    let arguments: Vec<TensorData> = func.params.iter().map(|param| values[&param.name].clone()).collect();
    let results = eval_graph(&func.graph, &arguments).expect("the function can be evaluated");
    func.results.iter().map(|result| result.name.clone()).zip(results).collect()
}

#[test]
fn contractions_are_narrow_and_sums_wide() {
    let cast = autocast(&classifier(), DType::BF16).expect("bf16 will do");
    let cast = Func { graph: dce(&cast.graph), ..cast };
    assert_eq!(
        cast.to_string(),
        "\
func @loss(
  %x: f32[6, 5],
  %y: f32[6, 4],
  param %w1: f32[8, 5],
  param %b1: f32[8],
  param %w2: f32[4, 8],
) -> (
  loss: f32[],
  logits: f32[6, 4],
) {
  %0 = convert %x : bf16[6, 5]
  %1 = convert %w1 : bf16[8, 5]
  %2 = dot_general %0, %1 {lhs_contract = [1], rhs_contract = [1]} : bf16[6, 8]
  %3 = broadcast_in_dim %b1 {dims = [1]} : f32[6, 8]
  %4 = convert %3 : bf16[6, 8]
  %5 = add %2, %4 : bf16[6, 8]
  %6 = constant 0.0 : bf16[6, 8]
  %7 = maximum %5, %6 : bf16[6, 8]
  %8 = convert %w2 : bf16[4, 8]
  %9 = dot_general %7, %8 {lhs_contract = [1], rhs_contract = [1]} : bf16[6, 4]
  %10 = convert %9 : f32[6, 4]
  %11 = exponential %10 : f32[6, 4]
  %12 = reduce %11 {kind = sum, dims = [1]} : f32[6]
  %13 = log %12 : f32[6]
  %14 = broadcast_in_dim %13 {dims = [0]} : f32[6, 4]
  %15 = subtract %14, %10 : f32[6, 4]
  %16 = multiply %15, %y : f32[6, 4]
  %17 = reduce %16 {kind = sum, dims = [0, 1]} : f32[]
  %18 = constant 6.0 : f32[]
  %19 = divide %17, %18 : f32[]
  return %19, %10
}
"
    );
}

#[test]
fn narrow_losses_and_gradients_are_near_the_wide_ones() {
    let func = classifier();
    let wide = value_and_grad(&func, &trainable(&func), 0).expect("has gradients");
    let values = numbers(&func);
    let expected = run(&wide, &values);
    for dtype in [DType::BF16, DType::F16] {
        let cast = autocast(&func, dtype).expect("a narrow type");
        let narrow = value_and_grad(&cast, &trainable(&cast), 0).expect("has gradients");
        for (name, found) in run(&narrow, &values) {
            let expected = expected[&name].to_f64();
            let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
            assert_eq!(found.dtype, DType::F32, "{name} keeps its type");
            for (found, expected) in found.to_f64().into_iter().zip(expected) {
                assert!((found - expected).abs() <= 2e-2 * largest, "{dtype} {name}: {found}, expected {expected}");
            }
        }
    }
}

/// The lines of the body of a function that was cast to `f16` and tidied up.
fn body_in_f16(text: &str) -> String {
    let func = parse_func(text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let cast = autocast(&func, DType::F16).expect("a narrow type");
    let cast = Func { graph: dce(&cast.graph), ..cast };
    cast.verify().expect("the function is valid");
    let text = cast.to_string();
    text.split_once(" {\n").map(|(_, body)| body.to_string()).expect("a function has a body")
}

#[test]
fn a_number_that_would_become_infinite_is_not_cast() {
    let text = "\
func @masked(%x: f32[4, 4], %mask: bool[4, 4]) -> (y: f32[4, 4]) {
  %0 = dot_general %x, %x {lhs_contract = [1], rhs_contract = [0]} : f32[4, 4]
  %1 = constant -65504.0 : f32[4, 4]
  %2 = select %mask, %0, %1 : f32[4, 4]
  %3 = constant -1e9 : f32[4, 4]
  %4 = select %mask, %2, %3 : f32[4, 4]
  return %4
}
";
    let expected = [
        "  %0 = convert %x : f16[4, 4]",
        "  %1 = dot_general %0, %0 {lhs_contract = [1], rhs_contract = [0]} : f16[4, 4]",
        "  %2 = constant -65504.0 : f16[4, 4]",
        "  %3 = select %mask, %1, %2 : f16[4, 4]",
        "  %4 = constant -1000000000.0 : f32[4, 4]",
        "  %5 = convert %3 : f32[4, 4]",
        "  %6 = select %mask, %5, %4 : f32[4, 4]",
        "  return %6",
        "}",
    ];
    assert_eq!(body_in_f16(text).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn bodies_of_loops_are_cast_and_carry_what_they_did() {
    let text = "\
func @power(%x: f32[4, 4], %w: f32[4, 4]) -> (y: f32[4, 4]) {
  %0 = scan %x, %w {n_carried = 1, length = 3} (%p0: f32[4, 4], %p1: f32[4, 4]) {
    %0 = dot_general %p0, %p1 {lhs_contract = [1], rhs_contract = [0]} : f32[4, 4]
    %1 = tanh %0 : f32[4, 4]
    return %1
  } : f32[4, 4]
  return %0
}
";
    let body = body_in_f16(text);
    for line in ["dot_general %0, %1", "= tanh %2 : f16[4, 4]", "= convert %3 : f32[4, 4]"] {
        assert!(body.contains(line), "{line} in {body}");
    }
}

#[test]
fn other_types_are_refused() {
    let fault = autocast(&classifier(), DType::F32).expect_err("is what it is");
    assert_eq!(fault.to_string(), "autocast: `dtype` is f32, expected bf16 or f16");
}

#[test]
fn a_step_that_overflows_changes_nothing_but_the_scale() {
    let cast = autocast(&classifier(), DType::F16).expect("a narrow type");
    let scaling = LossScaling { growth_interval: 3, ..LossScaling::default() };
    let spec = StepSpec {
        clip: Some(Clip::norm(1.0)),
        loss_scaling: Some(scaling),
        ..StepSpec::new(OptimizerSpec::parse("nadam:weight_decay=0.1").expect("a specification"))
    };
    let step = train_step(&cast, 0, &spec).expect("can be trained");
    let mut values = numbers(&step);
    values.insert("lr".to_string(), TensorData::from_f32(vec![], &[0.01]));
    let scalar = |values: &BTreeMap<String, TensorData>, name: &str| values[name].to_f64()[0];
    let good = values["x"].clone();
    let bad = TensorData::from_f32(good.shape.clone(), &vec![6e4; good.len()]);
    let mut expected_scale = 65536.0;
    for (idx, is_bad) in [false, false, true, false, false, false, true].into_iter().enumerate() {
        values.insert("x".to_string(), if is_bad { bad.clone() } else { good.clone() });
        let results = run(&step, &values);
        for (name, after) in &results {
            let is_carried = step.params.iter().any(|param| param.name == *name);
            if is_carried && !name.starts_with("scaler.") {
                assert_eq!(after.bytes == values[name].bytes, is_bad, "step {idx}: {name}");
            }
        }
        values.extend(results);
        expected_scale *= match idx {
            2 | 6 => 0.5,
            5 => 2.0,
            _ => 1.0,
        };
        assert_eq!(scalar(&values, "scaler.scale"), expected_scale, "step {idx}");
    }
    assert_eq!(scalar(&values, "optimizer.step"), 5.0, "two steps were left out");
}

#[test]
fn loss_scaling_is_not_seen_in_the_update() {
    // Powers of two change no bit of an f32.
    let func = classifier();
    let spec = StepSpec::new(OptimizerSpec::parse("adam").expect("a specification"));
    let plain = train_step(&func, 0, &spec).expect("can be trained");
    let scaled = StepSpec { loss_scaling: Some(LossScaling::default()), ..spec };
    let scaled = train_step(&func, 0, scaled).expect("can be trained");
    let (plain, scaled) = (run(&plain, &numbers(&plain)), run(&scaled, &numbers(&scaled)));
    for (name, expected) in plain {
        assert_eq!(scaled[&name].bytes, expected.bytes, "{name}");
    }
}
