//! What is fused, on text, and that fusion changes no bit of any result.

use nnc_ir::interp::eval_graph;
use nnc_ir::ops::Trait;
use nnc_ir::parse::parse_func;
use nnc_ir::{DType, Func, Op, Scalar, TensorData};

use super::*;
use crate::optimizer::{OptimizerSpec, train_step};
use crate::pipeline::{OptLevel, optimize};
use crate::remark::RemarkKind;

/// One line for each kernel: its kind (or op), what it computes, and the types of its results.
fn summary(func: &Func) -> Vec<String> {
    let graph = &func.graph;
    let line = |data: &nnc_ir::NodeData| {
        let types: Vec<String> = data.results().map(|result| graph.ty(result).to_string()).collect();
        let what = match &data.op {
            Op::Fusion(kind) => {
                let region = &data.regions[0];
                let ops = region.nodes().filter(|(_, data)| !data.op.has(Trait::Leaf) && !data.op.has(Trait::View));
                let ops: Vec<&str> = ops.map(|(_, data)| data.op.mnemonic()).collect();
                format!("{}: {}", kind.name(), ops.join(" "))
            }
            op => op.mnemonic().to_string(),
        };
        format!("{what} -> {}", types.join(" "))
    };
    graph.nodes().filter(|(_, data)| !data.op.has(Trait::Leaf)).map(|(_, data)| line(data)).collect()
}

/// Numbers that look random, the same on every run: small ones, so that sums stay exact enough to compare bits.
fn inputs(func: &Func) -> Vec<TensorData> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    let tensor = |ty: &nnc_ir::TensorType, next: &mut dyn FnMut() -> f64| {
        let shape = ty.shape.as_fixed().expect("tests have fixed shapes");
        let n_elements: usize = shape.iter().product();
        let scalars = (0..n_elements).map(|_| match ty.dtype {
            dtype if dtype.is_float() => Scalar::from_f64(dtype, next() * 2.0 - 1.0),
            DType::Bool => Scalar::from_f64(DType::Bool, (next() * 2.0).floor()),
            dtype => Scalar::from_f64(dtype, (next() * 3.0).floor()),
        });
        TensorData::from_scalars(ty.dtype, shape, scalars.collect::<Vec<_>>())
    };
    func.graph.params().iter().map(|&param| tensor(func.graph.ty(param), &mut next)).collect()
}

/// Checks that every region keeps its kind's rules and that both functions compute the same bits.
fn check_same(unfused: &Func, fused: &Func) {
    fused.verify().expect("the fused function is valid");
    for (_, data) in fused.graph.nodes() {
        if let Op::Fusion(kind) = data.op {
            check_region(kind, &data.regions[0]).expect("regions keep their kind's rules");
        }
    }
    let inputs = inputs(unfused);
    let expected = eval_graph(&unfused.graph, &inputs).expect("the function has a value");
    let found = eval_graph(&fused.graph, &inputs).expect("the fused function has a value");
    assert_eq!(found, expected, "fusion changes no bit");
}

/// Cleans up and fuses, and gives the summary.
#[track_caller]
fn check(text: &str, expected: &[&str]) -> (Func, Remarks) {
    let func = parse_func(text).expect("the test parses");
    check_func(&func, expected)
}

#[track_caller]
fn check_func(func: &Func, expected: &[&str]) -> (Func, Remarks) {
    let (clean, _) = optimize(func, OptLevel { fuse: false, ..OptLevel::default() }).unwrap();
    let mut remarks = Remarks::new();
    let fused = fuse(&clean, &mut remarks).unwrap();
    check_same(&clean, &fused);
    pretty_assertions::assert_eq!(summary(&fused), expected);
    (fused, remarks)
}

#[test]
fn bias_and_activation_join_the_contraction() {
    check(
        "func @f(%x: f32[4, 8], %w: f32[8, 6], %b: f32[6]) -> (y: f32[4, 6]) {
          %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[4, 6]
          %1 = broadcast_in_dim %b {dims = [1]} : f32[4, 6]
          %2 = add %0, %1 : f32[4, 6]
          %3 = constant 0.0 : f32[4, 6]
          %4 = maximum %2, %3 : f32[4, 6]
          return %4
        }",
        &["contraction: dot_general add maximum -> f32[4, 6]"],
    );
}

#[test]
fn softmax_is_one_row_kernel() {
    check(
        "func @f(%x: f32[4, 10]) -> (y: f32[4, 10]) {
          %0 = reduce %x {kind = max, dims = [1]} : f32[4]
          %1 = broadcast_in_dim %0 {dims = [0]} : f32[4, 10]
          %2 = subtract %x, %1 : f32[4, 10]
          %3 = exponential %2 : f32[4, 10]
          %4 = reduce %3 {kind = sum, dims = [1]} : f32[4]
          %5 = broadcast_in_dim %4 {dims = [0]} : f32[4, 10]
          %6 = divide %3, %5 : f32[4, 10]
          return %6
        }",
        &["row: reduce subtract exponential reduce divide -> f32[4, 10]"],
    );
}

#[test]
fn a_pointwise_chain_with_views_and_two_results() {
    check(
        "func @f(%x: f32[4, 10], %y: f32[10, 4]) -> (a: f32[4, 10], b: f32[4, 10]) {
          %0 = transpose %y {permutation = [1, 0]} : f32[4, 10]
          %1 = multiply %x, %0 : f32[4, 10]
          %2 = tanh %1 : f32[4, 10]
          %3 = add %1, %x : f32[4, 10]
          return %2, %3
        }",
        &["pointwise: multiply tanh add -> f32[4, 10] f32[4, 10]"],
    );
}

#[test]
fn a_reduction_between_keeps_its_readers_out_of_the_contraction() {
    check(
        "func @f(%x: f32[4, 8], %w: f32[8, 6]) -> (y: f32[4, 6]) {
          %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[4, 6]
          %1 = reduce %0 {kind = max, dims = [1]} : f32[4]
          %2 = broadcast_in_dim %1 {dims = [0]} : f32[4, 6]
          %3 = subtract %0, %2 : f32[4, 6]
          return %3
        }",
        &["dot_general -> f32[4, 6]", "row: reduce subtract -> f32[4, 6]"],
    );
}

#[test]
fn sums_over_different_dimensions_are_different_kernels() {
    let (_, remarks) = check(
        "func @f(%x: f32[4, 10]) -> (a: f32[4], b: f32[10]) {
          %0 = exponential %x : f32[4, 10]
          %1 = reduce %0 {kind = sum, dims = [1]} : f32[4]
          %2 = reduce %0 {kind = sum, dims = [0]} : f32[10]
          return %1, %2
        }",
        &["row: exponential reduce -> f32[4, 10] f32[4]", "reduce -> f32[10]"],
    );
    let missed: Vec<String> = remarks
        .iter()
        .filter(|remark| remark.kind == RemarkKind::Missed)
        .map(|remark| remark.message.clone())
        .collect();
    assert_eq!(
        missed,
        ["exponential and reduce stay apart: one reduction folds dimensions [1] of [4, 10], another [0] of [4, 10]"]
    );
}

#[test]
fn a_barrier_separates() {
    check(
        "func @f(%x: f32[64]) -> (y: f32[64]) {
          %0 = exponential %x : f32[64]
          %1 = optimization_barrier %0 : f32[64]
          %2 = tanh %1 : f32[64]
          return %2
        }",
        &["exponential -> f32[64]", "optimization_barrier -> f32[64]", "tanh -> f32[64]"],
    );
}

#[test]
fn small_independent_updates_share_a_launch() {
    check(
        "func @f(%x: f32[64], %y: f32[8, 8], %lr: f32[]) -> (a: f32[64], b: f32[8, 8]) {
          %0 = broadcast_in_dim %lr {dims = []} : f32[64]
          %1 = multiply %x, %0 : f32[64]
          %2 = broadcast_in_dim %lr {dims = []} : f32[8, 8]
          %3 = multiply %y, %2 : f32[8, 8]
          return %1, %3
        }",
        &["horizontal: multiply multiply -> f32[64] f32[8, 8]"],
    );
}

#[test]
fn a_fusion_never_makes_a_cycle() {
    // The sum of %0 and %4 must not join %0, for %4 needs %0 by way of a contraction.
    check(
        "func @f(%x: f32[8, 8], %w: f32[8, 8]) -> (y: f32[8, 8]) {
          %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[8, 8]
          %1 = tanh %0 : f32[8, 8]
          %2 = dot_general %1, %w {lhs_contract = [1], rhs_contract = [0]} : f32[8, 8]
          %3 = add %0, %2 : f32[8, 8]
          return %3
        }",
        &["contraction: dot_general tanh -> f32[8, 8] f32[8, 8]", "contraction: dot_general add -> f32[8, 8]"],
    );
}

#[test]
fn a_read_in_another_order_keeps_out_of_the_update() {
    let (fused, _) = check(
        "func @f(%g: f32[8, 8], param %w: f32[8, 8] = @w) -> (w: f32[8, 8] into %w, t: f32[8, 8]) {
          %0 = subtract %w, %g : f32[8, 8]
          %1 = transpose %w {permutation = [1, 0]} : f32[8, 8]
          %2 = add %1, %g : f32[8, 8]
          return %0, %2
        }",
        &["pointwise: add -> f32[8, 8]", "subtract -> f32[8, 8]"],
    );
    assert_eq!(fused.results[0].donates, Some(1));
}

const MLP: &str = "
func @loss(%x: f32[16, 20], %y: i64[16], param %w1: f32[32, 20] = @w1, param %b1: f32[32] = @b1, param %w2: f32[10, 32] = @w2, param %b2: f32[10] = @b2) -> (loss: f32[]) {
  %0 = dot_general %x, %w1 {lhs_contract = [1], rhs_contract = [1]} : f32[16, 32]
  %1 = broadcast_in_dim %b1 {dims = [1]} : f32[16, 32]
  %2 = add %0, %1 : f32[16, 32]
  %3 = constant 0.0 : f32[16, 32]
  %4 = maximum %2, %3 : f32[16, 32]
  %5 = dot_general %4, %w2 {lhs_contract = [1], rhs_contract = [1]} : f32[16, 10]
  %6 = broadcast_in_dim %b2 {dims = [1]} : f32[16, 10]
  %7 = add %5, %6 : f32[16, 10]
  %8 = reduce %7 {kind = max, dims = [1]} : f32[16]
  %9 = stop_gradient %8 : f32[16]
  %10 = reshape %9 : f32[16, 1]
  %11 = broadcast_in_dim %10 {dims = [0, 1]} : f32[16, 10]
  %12 = subtract %7, %11 : f32[16, 10]
  %13 = exponential %12 : f32[16, 10]
  %14 = reduce %13 {kind = sum, dims = [1]} : f32[16]
  %15 = log %14 : f32[16]
  %16 = broadcast_in_dim %15 {dims = [0]} : f32[16, 10]
  %17 = subtract %12, %16 : f32[16, 10]
  %18 = iota {dim = 1} : i64[16, 10]
  %19 = broadcast_in_dim %y {dims = [0]} : i64[16, 10]
  %20 = compare %18, %19 {direction = eq} : bool[16, 10]
  %21 = constant 0.0 : f32[16, 10]
  %22 = select %20, %17, %21 : f32[16, 10]
  %23 = reduce %22 {kind = sum, dims = [1]} : f32[16]
  %24 = negate %23 : f32[16]
  %25 = reduce %24 {kind = sum, dims = [0]} : f32[]
  %26 = constant 16.0 : f32[]
  %27 = divide %25, %26 : f32[]
  return %27
}";

#[test]
fn a_training_step_is_a_kernel_for_each_contraction_and_loss() {
    let func = parse_func(MLP).unwrap();
    let spec = OptimizerSpec::parse("sgd:lr=0.1").unwrap();
    let step = train_step(&func, 0, &spec).unwrap();
    check_func(
        &step,
        &[
            "contraction: dot_general add maximum -> f32[16, 32]",
            "contraction: dot_general add -> f32[16, 10]",
            "row: reduce subtract exponential reduce log subtract compare select reduce negate select negate reduce \
             divide multiply add -> f32[16] f32[16, 10]",
            "contraction: dot_general compare select -> f32[16, 32]",
            "contraction: dot_general multiply subtract -> f32[32, 20]",
            "contraction: dot_general multiply subtract -> f32[10, 32]",
            "horizontal: reduce multiply reduce multiply subtract reduce multiply subtract -> f32[] f32[32] f32[10]",
        ],
    );
}
