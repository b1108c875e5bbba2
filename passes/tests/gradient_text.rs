//! The text of differentiated functions and of training steps: what a reader sees.

use nnc_ir::parse::parse_func;
use nnc_ir::{Diagnostic, Func};
use nnc_passes::autodiff::{trainable, value_and_grad};
use nnc_passes::optimizer::{OptimizerSpec, train_step};
use pretty_assertions::assert_eq;

fn func(text: &str) -> Func {
    parse_func(text).unwrap_or_else(|faults| panic!("{}", lines(&faults)))
}

fn lines(faults: &[Diagnostic]) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// Compares the function in `before`, with the gradients of all its trainable parameters, with `after`.
fn check(before: &str, after: &str) {
    let before = func(before);
    let found = value_and_grad(&before, &trainable(&before), 0).unwrap_or_else(|faults| panic!("{}", lines(&faults)));
    assert_eq!(found.to_string(), after);
}

#[test]
fn a_product() {
    check(
        "\
func @f(param %w: f32[4], %x: f32[4]) -> (loss: f32[]) {
  %0 = multiply %w, %x : f32[4]
  %1 = reduce %0 {kind = sum, dims = [0]} : f32[]
  return %1
}
",
        "\
func @f(param %w: f32[4], %x: f32[4]) -> (loss: f32[], w: f32[4]) {
  %0 = multiply %w, %x : f32[4]
  %1 = reduce %0 {kind = sum, dims = [0]} : f32[]
  %2 = constant 1.0 : f32[]
  %3 = broadcast_in_dim %2 : f32[4]
  %4 = multiply %3, %x : f32[4]
  return %1, %4
}
",
    );
}

#[test]
fn a_layer_needs_no_transposition() {
    check(
        "\
func @layer(%x: f32[N, 784], param %weight: f32[10, 784], param %bias: f32[10]) -> (loss: f32[]) {
  %0 = dot_general %x, %weight {lhs_contract = [1], rhs_contract = [1]} : f32[N, 10]
  %1 = broadcast_in_dim %bias {dims = [1]} : f32[N, 10]
  %2 = add %0, %1 : f32[N, 10]
  %3 = constant 0.0 : f32[N, 10]
  %4 = maximum %2, %3 : f32[N, 10]
  %5 = reduce %4 {kind = sum, dims = [0, 1]} : f32[]
  return %5
}
",
        "\
func @layer(
  %x: f32[N, 784],
  param %weight: f32[10, 784],
  param %bias: f32[10],
) -> (
  loss: f32[],
  weight: f32[10, 784],
  bias: f32[10],
) {
  %0 = dot_general %x, %weight {lhs_contract = [1], rhs_contract = [1]} : f32[N, 10]
  %1 = broadcast_in_dim %bias {dims = [1]} : f32[N, 10]
  %2 = add %0, %1 : f32[N, 10]
  %3 = constant 0.0 : f32[N, 10]
  %4 = maximum %2, %3 : f32[N, 10]
  %5 = reduce %4 {kind = sum, dims = [0, 1]} : f32[]
  %6 = constant 1.0 : f32[]
  %7 = broadcast_in_dim %6 : f32[N, 10]
  %8 = constant 0.0 : f32[N, 10]
  %9 = compare %4, %3 {direction = eq} : bool[N, 10]
  %10 = select %9, %8, %7 : f32[N, 10]
  %11 = reduce %10 {kind = sum, dims = [0]} : f32[10]
  %12 = dot_general %10, %x {lhs_contract = [0], rhs_contract = [0]} : f32[10, 784]
  return %5, %12, %11
}
",
    );
}

#[test]
fn contributions_are_summed_from_the_last_use_to_the_first() {
    check(
        "\
func @reuse(param %w: f32[]) -> (loss: f32[]) {
  %0 = sine %w : f32[]
  %1 = exponential %w : f32[]
  %2 = add %0, %1 : f32[]
  return %2
}
",
        "\
func @reuse(param %w: f32[]) -> (loss: f32[], w: f32[]) {
  %0 = sine %w : f32[]
  %1 = exponential %w : f32[]
  %2 = add %0, %1 : f32[]
  %3 = constant 1.0 : f32[]
  %4 = multiply %3, %1 : f32[]
  %5 = cosine %w : f32[]
  %6 = multiply %3, %5 : f32[]
  %7 = add %4, %6 : f32[]
  return %2, %7
}
",
    );
}

#[test]
fn fusions_are_dissolved_and_names_stay_unique() {
    check(
        "\
func @fused(param %loss: f32[]) -> (loss: f32[]) {
  %0 = fusion %loss {kind = pointwise} (%a: f32[]) {
    %0 = negate %a : f32[]
    return %0
  } : f32[]
  return %0
}
",
        "\
func @fused(param %loss: f32[]) -> (loss: f32[], loss.grad: f32[]) {
  %0 = negate %loss : f32[]
  %1 = constant 1.0 : f32[]
  %2 = negate %1 : f32[]
  return %0, %2
}
",
    );
}

#[test]
fn a_training_step() {
    let func = func(
        "\
func @train(%x: f32[4], param %w: f32[4], state %mean: f32[4]) -> (mean: f32[4] into %mean, loss: f32[]) {
  %0 = multiply %w, %x : f32[4]
  %1 = reduce %0 {kind = sum, dims = [0]} : f32[]
  return %x, %1
}
",
    );
    let spec = OptimizerSpec::parse("sgd:momentum=0.9,dampening=0.5,weight_decay=0.1").unwrap();
    let step = train_step(&func, 1, &spec).unwrap_or_else(|faults| panic!("{}", lines(&faults)));
    let expected = "\
func @train(
  %x: f32[4],
  param %w: f32[4],
  state %mean: f32[4],
  %lr: f32[],
  state %optimizer.step: i64[],
  state %w.momentum_buffer: f32[4],
) -> (
  loss: f32[],
  mean: f32[4] into %mean,
  w: f32[4] into %w,
  w.momentum_buffer: f32[4] into %w.momentum_buffer,
  optimizer.step: i64[] into %optimizer.step,
) {
  %0 = multiply %w, %x : f32[4]
  %1 = reduce %0 {kind = sum, dims = [0]} : f32[]
  %2 = constant 1.0 : f32[]
  %3 = broadcast_in_dim %2 : f32[4]
  %4 = multiply %3, %x : f32[4]
  %5 = constant 1 : i64[]
  %6 = add %optimizer.step, %5 : i64[]
  %7 = convert %6 : f64[]
  %8 = constant 0.1 : f32[4]
  %9 = multiply %w, %8 : f32[4]
  %10 = add %4, %9 : f32[4]
  %11 = constant 0.9 : f32[4]
  %12 = multiply %w.momentum_buffer, %11 : f32[4]
  %13 = constant 0.5 : f32[4]
  %14 = multiply %10, %13 : f32[4]
  %15 = add %12, %14 : f32[4]
  %16 = constant 1.0 : f64[]
  %17 = compare %7, %16 {direction = eq} : bool[]
  %18 = broadcast_in_dim %17 : bool[4]
  %19 = select %18, %10, %15 : f32[4]
  %20 = broadcast_in_dim %lr : f32[4]
  %21 = multiply %20, %19 : f32[4]
  %22 = subtract %w, %21 : f32[4]
  return %1, %x, %22, %19, %6
}
";
    assert_eq!(step.to_string(), expected);
}
