//! What is fused, on text, and that fusion changes no bit of any result.

use nnc_ir::interp::eval_graph;
use nnc_ir::ops::Trait;
use nnc_ir::parse::parse_func;
use nnc_ir::{DType, Func, Graph, Op, Scalar, TensorData};

use super::*;
use crate::optimizer::{OptimizerSpec, train_step};
use crate::pipeline::{OptLevel, optimize};
use crate::plan_memory::{Facts, LaunchFacts, Step, plan_memory};
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
fn a_convolution_reads_views_of_its_operands_where_they_lie() {
    // The gradients of a convolution by its image and by its kernel, and what surrounds them.
    check(
        "func @f(%x: f32[2, 3, 5, 5], %w: f32[4, 3, 3, 3], %g: f32[2, 4, 5, 5], %b: f32[3]) -> (dx: f32[2, 3, 5, 5], dw: f32[3, 4, 3, 3]) {
  %0 = transpose %w {permutation = [1, 0, 2, 3]} : f32[3, 4, 3, 3]
  %1 = reverse %0 {dims = [2, 3]} : f32[3, 4, 3, 3]
  %2 = convolution %g, %1 {padding = [[1, 1], [1, 1]]} : f32[2, 3, 5, 5]
  %3 = broadcast_in_dim %b {dims = [1]} : f32[2, 3, 5, 5]
  %4 = add %2, %3 : f32[2, 3, 5, 5]
  %5 = transpose %x {permutation = [1, 0, 2, 3]} : f32[3, 2, 5, 5]
  %6 = exponential %g : f32[2, 4, 5, 5]
  %7 = transpose %6 {permutation = [1, 0, 2, 3]} : f32[4, 2, 5, 5]
  %8 = convolution %5, %7 {padding = [[1, 1], [1, 1]]} : f32[3, 4, 3, 3]
  return %4, %8
}",
        &[
            "contraction: convolution add -> f32[2, 3, 5, 5]",
            "exponential -> f32[2, 4, 5, 5]",
            "contraction: convolution -> f32[3, 4, 3, 3]",
        ],
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
fn work_on_joined_dimensions_joins_the_contraction_and_on_split_ones_does_not() {
    check(
        "func @f(%x: f32[4, 8], %w: f32[3, 8, 2], %b: f32[4, 6]) -> (y: f32[4, 6]) {
          %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [1]} : f32[4, 3, 2]
          %1 = reshape %0 : f32[4, 6]
          %2 = add %1, %b : f32[4, 6]
          return %2
        }",
        &["contraction: dot_general reshape add -> f32[4, 6]"],
    );
    check(
        "func @f(%x: f32[4, 8], %w: f32[8, 6], %b: f32[4, 2, 3]) -> (y: f32[4, 2, 3]) {
          %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[4, 6]
          %1 = reshape %0 : f32[4, 2, 3]
          %2 = add %1, %b : f32[4, 2, 3]
          return %2
        }",
        &["dot_general -> f32[4, 6]", "reshape -> f32[4, 2, 3]", "add -> f32[4, 2, 3]"],
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

#[test]
fn layer_norm_with_scale_and_shift_is_one_row_kernel() {
    check(
        "func @f(%x: f32[4, 16], %scale: f32[16], %shift: f32[16]) -> (y: f32[4, 16]) {
          %0 = reduce %x {kind = sum, dims = [1]} : f32[4]
          %1 = constant 16.0 : f32[4]
          %2 = divide %0, %1 : f32[4]
          %3 = broadcast_in_dim %2 {dims = [0]} : f32[4, 16]
          %4 = subtract %x, %3 : f32[4, 16]
          %5 = multiply %4, %4 : f32[4, 16]
          %6 = reduce %5 {kind = sum, dims = [1]} : f32[4]
          %7 = divide %6, %1 : f32[4]
          %8 = constant 1e-5 : f32[4]
          %9 = add %7, %8 : f32[4]
          %10 = rsqrt %9 : f32[4]
          %11 = reshape %10 : f32[4, 1]
          %12 = broadcast_in_dim %11 {dims = [0, 1]} : f32[4, 16]
          %13 = multiply %4, %12 : f32[4, 16]
          %14 = broadcast_in_dim %scale {dims = [1]} : f32[4, 16]
          %15 = multiply %13, %14 : f32[4, 16]
          %16 = broadcast_in_dim %shift {dims = [1]} : f32[4, 16]
          %17 = add %15, %16 : f32[4, 16]
          return %17
        }",
        &["row: reduce multiply subtract multiply reduce multiply add rsqrt multiply multiply add -> f32[4, 16]"],
    );
}

#[test]
fn rows_over_one_tensor_are_read_once() {
    check(
        "func @f(%x: f32[64, 1024]) -> (sum: f32[64], class: i64[64]) {
          %0 = reduce %x {kind = sum, dims = [1]} : f32[64]
          %1 = reduce %x {kind = argmax, dims = [1]} : i64[64]
          return %0, %1
        }",
        &["row: reduce reduce -> f32[64] i64[64]"],
    );
}

#[test]
fn a_tensor_that_two_chains_read_is_read_once() {
    check(
        "func @f(%x: f32[64, 2048], %y: f32[64, 2048]) -> (a: f32[64, 2048], b: f32[64, 2048]) {
          %0 = tanh %x : f32[64, 2048]
          %1 = exponential %x : f32[64, 2048]
          %2 = multiply %1, %y : f32[64, 2048]
          return %0, %2
        }",
        &["pointwise: tanh exponential multiply -> f32[64, 2048] f32[64, 2048]"],
    );
}

#[test]
fn a_mask_from_a_stored_value_is_computed_again_where_it_is_used() {
    // The activation %2 is stored for the second contraction; its mask is not.
    check(
        "func @f(%x: f32[8, 8], %w: f32[8, 8], %g: f32[8, 8]) -> (y: f32[8, 8], dx: f32[8, 8]) {
          %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[8, 8]
          %1 = constant 0.0 : f32[8, 8]
          %2 = maximum %0, %1 : f32[8, 8]
          %3 = dot_general %2, %w {lhs_contract = [1], rhs_contract = [0]} : f32[8, 8]
          %4 = compare %2, %1 {direction = eq} : bool[8, 8]
          %5 = dot_general %g, %3 {lhs_contract = [1], rhs_contract = [1]} : f32[8, 8]
          %6 = select %4, %1, %5 : f32[8, 8]
          return %3, %6
        }",
        &[
            "contraction: dot_general maximum -> f32[8, 8]",
            "dot_general -> f32[8, 8]",
            "contraction: dot_general compare select -> f32[8, 8]",
        ],
    );
}

#[test]
fn costly_work_is_not_repeated_by_a_broadcast() {
    check(
        "func @f(%x: f32[8], %y: f32[512, 8]) -> (r: f32[512, 8]) {
          %0 = abs %x : f32[8]
          %1 = reverse %0 {dims = [0]} : f32[8]
          %2 = tanh %1 : f32[8]
          %3 = broadcast_in_dim %2 {dims = [1]} : f32[512, 8]
          %4 = add %3, %y : f32[512, 8]
          return %4
        }",
        &["pointwise: abs tanh -> f32[8]", "pointwise: add -> f32[512, 8]"],
    );
}

#[test]
fn random_bits_are_drawn_once() {
    check(
        "func @f(%x: f32[64], %state: u32[4]) -> (a: f32[64], b: f32[8, 8]) {
          %0 = rng_bits %state : u32[64]
          %1 = convert %0 : f32[64]
          %2 = multiply %1, %x : f32[64]
          %3 = reshape %1 : f32[8, 8]
          %4 = transpose %3 {permutation = [1, 0]} : f32[8, 8]
          return %2, %4
        }",
        &["pointwise: rng_bits convert multiply -> f32[64] f32[64]", "reshape -> f32[8, 8]", "transpose -> f32[8, 8]"],
    );
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

#[test]
fn momentum_and_parameter_are_updated_by_one_epilogue() {
    let func = parse_func(MLP).unwrap();
    let spec = OptimizerSpec::parse("sgd:lr=0.1,momentum=0.9,weight_decay=0.01").unwrap();
    let step = train_step(&func, 0, &spec).unwrap();
    check_func(
        &step,
        &[
            "contraction: dot_general add maximum -> f32[16, 32]",
            "contraction: dot_general add -> f32[16, 10]",
            "row: reduce subtract exponential reduce log subtract compare select reduce negate select negate reduce \
             divide multiply add -> f32[16] f32[16, 10]",
            "contraction: dot_general compare select -> f32[16, 32]",
            "contraction: dot_general multiply add multiply add multiply subtract -> f32[32, 20] f32[32, 20]",
            "contraction: dot_general multiply add multiply add multiply subtract -> f32[10, 32] f32[10, 32]",
            "horizontal: reduce multiply reduce multiply add multiply add multiply subtract reduce multiply add \
             multiply add multiply subtract -> f32[] f32[32] f32[32] f32[10] f32[10]",
        ],
    );
}

#[test]
fn what_depends_on_the_number_of_the_step_is_computed_once() {
    let func = parse_func(MLP).unwrap();
    let spec = OptimizerSpec::parse("adam").unwrap();
    let step = train_step(&func, 0, &spec).unwrap();
    check_func(
        &step,
        &[
            "contraction: dot_general add maximum -> f32[16, 32]",
            "contraction: dot_general add -> f32[16, 10]",
            "row: reduce subtract exponential reduce log subtract compare select reduce negate select negate reduce \
             divide multiply add -> f32[16] f32[16, 10]",
            "contraction: dot_general compare select -> f32[16, 32]",
            "horizontal: reduce multiply add -> f32[] i64[]",
            "pointwise: convert power subtract convert divide power subtract sqrt convert convert -> f32[] f32[]",
            "contraction: dot_general subtract multiply add multiply multiply multiply add sqrt divide add divide \
             multiply subtract -> f32[32, 20] f32[32, 20] f32[32, 20]",
            "contraction: dot_general subtract multiply add multiply multiply multiply add sqrt divide add divide \
             multiply subtract -> f32[10, 32] f32[10, 32] f32[10, 32]",
            "horizontal: reduce subtract multiply add multiply multiply multiply add sqrt divide add divide multiply \
             subtract reduce subtract multiply add multiply multiply multiply add sqrt divide add divide multiply \
             subtract -> f32[32] f32[32] f32[32] f32[10] f32[10] f32[10]",
        ],
    );
}

#[test]
fn windows_take_the_work_on_their_result() {
    check(
        "func @f(%x: f32[2, 8, 8], %g: f32[2, 4, 4]) -> (r: f32[2, 4, 4], d: f32[2, 8, 8]) {
  %0 = tanh %x : f32[2, 8, 8]
  %1 = reduce_window %0 {kind = sum, window = [1, 2, 2], stride = [1, 2, 2]} : f32[2, 4, 4]
  %2 = constant 0.25 : f32[2, 4, 4]
  %3 = multiply %1, %2 : f32[2, 4, 4]
  %4 = select_and_scatter %0, %g {kind = max, window = [1, 2, 2], stride = [1, 2, 2]} : f32[2, 8, 8]
  %5 = constant 0.0 : f32[2, 8, 8]
  %6 = compare %x, %5 {direction = gt} : bool[2, 8, 8]
  %7 = select %6, %4, %5 : f32[2, 8, 8]
  return %3, %7
}",
        &[
            "tanh -> f32[2, 8, 8]",
            "horizontal: reduce_window multiply select_and_scatter compare select -> f32[2, 4, 4] f32[2, 8, 8]",
        ],
    );
}

#[test]
fn a_slice_at_a_run_time_start_is_a_view() {
    check(
        "func @f(%x: f32[8, 4], %i: i32[], %y: f32[1, 4]) -> (r: f32[1, 4]) {
  %0 = constant 0 : i32[]
  %1 = dynamic_slice %x, %i, %0 : f32[1, 4]
  %2 = multiply %1, %y : f32[1, 4]
  return %2
}",
        &["pointwise: dynamic_slice multiply -> f32[1, 4]"],
    );
}

/// A lowering that reads an operand at the index it writes wherever region and types allow it.
fn ideal_facts(graph: &Graph, node: Node) -> LaunchFacts {
    let data = graph.node(node);
    let Some(region) = data.regions.first() else { return LaunchFacts::default() };
    let read_at_index = |param: nnc_ir::Value| {
        region.nodes().all(|(_, data)| data.op.has(Trait::Elementwise) || !data.operands.contains(&param))
    };
    let mut in_place = Vec::new();
    for (operand, &param) in region.params().iter().enumerate() {
        for (result, &value) in region.results().iter().enumerate() {
            if region.ty(param) == region.ty(value) && read_at_index(param) {
                in_place.push((operand, result));
            }
        }
    }
    LaunchFacts { in_place, ..LaunchFacts::default() }
}

#[test]
fn a_training_step_needs_no_copy_and_no_gradient_buffer() {
    let func = parse_func(MLP).unwrap();
    for optimizer in ["sgd:lr=0.1", "sgd:lr=0.1,momentum=0.9,nesterov=true"] {
        let step = train_step(&func, 0, OptimizerSpec::parse(optimizer).unwrap()).unwrap();
        let (fused, _) = optimize(&step, OptLevel::default()).unwrap();
        let plan = plan_memory(&fused, &Facts::of(&fused.graph, &ideal_facts));
        assert!(plan.steps.iter().all(|step| matches!(step, Step::Launch(_))), "{}", plan.report(&fused));
        // Two activations, their gradients and what the loss keeps for each row: less than one gradient of %w1.
        assert!(plan.arena_bytes < 2 * 16 * 32 * 4 + 2 * 16 * 10 * 4 + 1024, "{}", plan.report(&fused));
    }
}
