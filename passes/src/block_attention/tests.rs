use nnc_ir::interp::eval_func;
use nnc_ir::parse::parse_func;
use nnc_ir::{Bindings, Func, ParamKind, TensorData};

use super::*;
use crate::autodiff::value_and_grad;
use crate::pipeline::{OptLevel, PassManager, pipeline};

/// Everything is wide, and a block is three batch elements at most.
const TINY: Limits = Limits { total: 1, block: 3 * 4 * 5 * 7 };

/// Attention of 2 × 3 heads: 5 queries, 7 keys, 4 features, and a loss whose gradient depends on all of it; `masks` are more operands of the scores.
fn attention(params: &str, masks: &str, masked: &str) -> Func {
    let text = format!(
        "func @attention(param %q: f32[2, 5, 3, 4], param %k: f32[2, 7, 3, 4], param %v: f32[2, 7, 3, 4], \
         %ct: f32[2, 3, 5, 4]{params}) -> (loss: f32[], out: f32[2, 3, 5, 4]) {{
  %s = dot_general %q, %k {{lhs_batch = [0, 2], rhs_batch = [0, 2], lhs_contract = [3], rhs_contract = [3]}} : f32[2, 3, 5, 7]
{masks}
  %m = reduce {masked} {{kind = max, dims = [3]}} : f32[2, 3, 5]
  %fixed = stop_gradient %m : f32[2, 3, 5]
  %mb = broadcast_in_dim %fixed {{dims = [0, 1, 2]}} : f32[2, 3, 5, 7]
  %c = subtract {masked}, %mb : f32[2, 3, 5, 7]
  %e = exponential %c : f32[2, 3, 5, 7]
  %z = reduce %e {{kind = sum, dims = [3]}} : f32[2, 3, 5]
  %zb = broadcast_in_dim %z {{dims = [0, 1, 2]}} : f32[2, 3, 5, 7]
  %p = divide %e, %zb : f32[2, 3, 5, 7]
  %out = dot_general %p, %v {{lhs_batch = [0, 1], rhs_batch = [0, 2], lhs_contract = [3], rhs_contract = [1]}} : f32[2, 3, 5, 4]
  %w = multiply %out, %ct : f32[2, 3, 5, 4]
  %sum = reduce %w {{kind = sum, dims = [0, 1, 2, 3]}} : f32[]
  %loss = multiply %sum, %sum : f32[]
  return %loss, %out
}}
"
    );
    parse_func(&text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"))
}

fn cleaned(func: &Func) -> Func {
    let mut steps = pipeline(OptLevel { level: 2, fuse: false });
    steps.truncate(4);
    PassManager::new().run(func, &steps).expect("the function verifies")
}

fn blocked(func: &Func, limits: Limits) -> (Func, Remarks) {
    let mut remarks = Remarks::new();
    let graph = block_attention(&func.graph, &mut remarks, limits).expect("the graph verifies");
    let graph = crate::dce::dce(&graph);
    let func = Func { graph, ..func.clone() };
    func.verify().expect("the pass leaves a valid function");
    (func, remarks)
}

fn data(func: &Func) -> indexmap::IndexMap<String, TensorData> {
    let params = func.params.iter().zip(func.graph.params()).enumerate();
    let values = params.map(|(salt, (param, &value))| {
        let shape = func.graph.ty(value).shape.as_fixed().expect("shapes are fixed");
        let n_elements: usize = shape.iter().product();
        let element = |idx: usize| ((idx * 37 + salt * 101) % 64) as f32 / 32.0 - 1.0;
        let elements: Vec<f32> = (0..n_elements).map(element).collect();
        (param.name.clone(), TensorData::from_f32(shape, &elements))
    });
    values.collect()
}

/// The function before and after: the same bits, and no wide value but in loops. Gives the number of loops.
fn check(func: &Func) -> usize {
    let before = cleaned(func);
    let (after, remarks) = blocked(&before, TINY);
    let inputs = data(func);
    let evaluate = |func: &Func| {
        eval_func(func, &indexmap::IndexMap::new(), &inputs, &Bindings::new()).expect("the function can be evaluated")
    };
    assert_eq!(evaluate(&before), evaluate(&after));
    assert_eq!(remarks.len(), 1);
    let is_wide = |value: nnc_ir::Value| after.graph.ty(value).to_string().contains("3, 5, 7]");
    let wide: Vec<&str> = after
        .graph
        .nodes()
        .filter(|(_, data)| !matches!(data.op, nnc_ir::Op::Param(_)) && data.results().any(is_wide))
        .map(|(_, data)| data.op.mnemonic())
        .collect();
    assert!(wide.is_empty(), "{wide:?}\n{after}");
    after.graph.nodes().filter(|(_, data)| matches!(data.op, nnc_ir::Op::Scan(_))).count()
}

fn with_gradients(func: &Func) -> Func {
    let params = func.params.iter().enumerate();
    let wrt: Vec<usize> = params.filter(|(_, param)| param.kind == ParamKind::Param).map(|(idx, _)| idx).collect();
    value_and_grad(func, &wrt, 0).expect("attention is differentiable")
}

#[test]
fn forward_is_one_loop() {
    assert_eq!(check(&attention("", "", "%s")), 1);
}

#[test]
fn backward_is_another_which_computes_the_scores_again() {
    assert_eq!(check(&with_gradients(&attention("", "", "%s"))), 2);
}

#[test]
fn a_mask_without_batch_is_shared_by_all_blocks() {
    let masks = "  %mask.b = broadcast_in_dim %mask {dims = [2, 3]} : f32[2, 3, 5, 7]
  %masked = add %s, %mask.b : f32[2, 3, 5, 7]";
    let func = attention(", %mask: f32[5, 7]", masks, "%masked");
    assert_eq!(check(&func), 1);
    assert_eq!(check(&with_gradients(&func)), 2);
}

#[test]
fn a_mask_of_part_of_the_batch_is_repeated_along_the_rest() {
    let masks = "  %pad.b = broadcast_in_dim %pad {dims = [0, 1, 2, 3]} : f32[2, 3, 5, 7]
  %zero = constant 0.0 : f32[2, 3, 5, 7]
  %low = constant -1e9 : f32[2, 3, 5, 7]
  %hidden = compare %pad.b, %zero {direction = gt} : bool[2, 3, 5, 7]
  %masked = select %hidden, %low, %s : f32[2, 3, 5, 7]";
    let func = attention(", %pad: f32[2, 1, 1, 7]", masks, "%masked");
    assert_eq!(check(&func), 1);
    assert_eq!(check(&with_gradients(&func)), 2);
}

#[test]
fn small_scores_stay_whole() {
    let func = cleaned(&attention("", "", "%s"));
    let (after, remarks) = blocked(&func, Limits::default());
    assert_eq!(after.graph, crate::dce::dce(&func.graph));
    assert!(remarks.is_empty());
}

#[test]
fn scores_that_are_asked_for_stay_whole() {
    let mut func = attention("", "", "%s");
    let scores = func.graph.nodes().find(|(_, data)| matches!(data.op, nnc_ir::Op::DotGeneral(_))).expect("a dot");
    let scores = scores.1.result();
    let mut results = func.graph.results().to_vec();
    results.push(scores);
    func.graph.set_results(results);
    func.results.push(nnc_ir::FuncResult { name: "scores".to_string(), donates: None });
    let (after, _) = blocked(&func, TINY);
    let inputs = data(&func);
    let evaluate = |func: &Func| {
        eval_func(func, &indexmap::IndexMap::new(), &inputs, &Bindings::new()).expect("the function can be evaluated")
    };
    assert_eq!(evaluate(&func), evaluate(&after));
}
