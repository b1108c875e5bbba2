//! Graphs, functions and regions.

use indexmap::IndexMap;

use super::*;
use crate::dim::{Bindings, Dim};
use crate::graph::Graph;
use crate::interp::{eval_func, eval_graph};
use crate::ops::{BroadcastAttrs, FusionKind, ReduceAttrs, ReduceKind};
use crate::types::{Shape, TensorType};
use crate::{Diagnostic, Func, FuncParam, FuncResult, Location, ParamKind};

fn here(line: u32) -> Location {
    Location::at("model.ir", line, 3)
}

/// `x: f32[N, 3]`, `w: f32[3]` to the sums of the rows of `x * w`, and `x`'s double.
fn weighted_sum() -> Func {
    let mut graph = Graph::new();
    let wide = Shape(vec![Dim::symbol("N"), Dim::from(3)]);
    let x = graph.param(TensorType::new(DType::F32, wide.clone()), here(1));
    let w = graph.param(TensorType::new(DType::F32, [3]), here(1));
    let rows = graph.op(Op::BroadcastInDim(BroadcastAttrs { shape: wide, dims: vec![1] }), &[w], here(2)).unwrap();
    let product = graph.op(Op::Multiply, &[x, rows], here(3)).unwrap();
    let sum = Op::Reduce(ReduceAttrs { kind: ReduceKind::Sum, dims: vec![1] });
    let sum = graph.op(sum, &[product], here(4)).unwrap();
    let double = graph.op(Op::Add, &[x, x], here(5)).unwrap();
    graph.set_results(vec![sum, double]);
    let param = |name: &str, kind, weight: Option<&str>| FuncParam {
        name: name.to_string(),
        kind,
        weight: weight.map(Into::into),
    };
    let result = |name: &str| FuncResult { name: name.to_string(), donates: None };
    Func {
        name: "weighted_sum".to_string(),
        params: vec![param("x", ParamKind::Input, None), param("w", ParamKind::Param, Some("layer.w"))],
        results: vec![result("sum"), result("double")],
        graph,
    }
}

fn texts(faults: Vec<Diagnostic>) -> Vec<String> {
    faults.iter().map(Diagnostic::to_string).collect()
}

#[test]
fn graphs_take_any_extent_of_a_symbol() {
    let func = weighted_sum();
    let w = floats(DType::F32, &[3], &[1.0, 10.0, 100.0]);
    for (n, sums) in [(2, vec![210.0, 543.0]), (1, vec![210.0]), (0, vec![])] {
        let found = eval_graph(&func.graph, &[counting(&[n, 3]), w.clone()]).unwrap();
        assert_eq!(found[0].shape, [n]);
        assert_eq!(found[0].to_f64(), sums);
        assert_eq!(found[1].shape, [n, 3]);
    }
    let faults = eval_graph(&func.graph, &[counting(&[2, 4]), w.clone()]).unwrap_err();
    assert_eq!(texts(faults), ["argument `%0` has type f32[2, 4], expected f32[2, 3]\n  note: N is 2 because of `%0`"]);
    assert_eq!(texts(eval_graph(&func.graph, &[w]).unwrap_err()), ["1 arguments, expected 2"]);
}

#[test]
fn functions_take_inputs_by_name_and_weights() {
    let func = weighted_sum();
    let weights = IndexMap::from([("layer.w".into(), floats(DType::F32, &[3], &[1.0, 1.0, 1.0]))]);
    let inputs = |entries: &[(&str, TensorData)]| -> IndexMap<String, TensorData> {
        entries.iter().map(|(name, data)| (name.to_string(), data.clone())).collect()
    };
    let dims = Bindings::new();
    let found = eval_func(&func, &weights, &inputs(&[("x", counting(&[2, 3]))]), &dims).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["sum", "double"]);
    assert_eq!(found["sum"].to_f64(), [3.0, 12.0]);
    // An input of the parameter's name stands before the weight.
    let w = floats(DType::F32, &[3], &[0.0, 0.0, 1.0]);
    let found = eval_func(&func, &weights, &inputs(&[("x", counting(&[2, 3])), ("w", w)]), &dims).unwrap();
    assert_eq!(found["sum"].to_f64(), [2.0, 5.0]);

    let faults = eval_func(&func, &IndexMap::new(), &inputs(&[("y", counting(&[2, 3]))]), &dims).unwrap_err();
    assert_eq!(
        texts(faults),
        [
            "function @weighted_sum has no parameter `y`\n  note: its parameters are `x`, `w`",
            "input `x` has no value, expected f32[N, 3]",
            "parameter `w` has no value, expected f32[3]\n  note: there is no weight `layer.w`",
        ]
    );
    let given = Bindings::from([("N".to_string(), 5)]);
    let faults = eval_func(&func, &weights, &inputs(&[("x", counting(&[2, 3]))]), &given).unwrap_err();
    assert_eq!(texts(faults), ["argument `x` has type f32[2, 3], expected f32[5, 3]\n  note: N was given as 5"]);
}

#[test]
fn symbols_nothing_binds_are_named() {
    let mut graph = Graph::new();
    let ty = TensorType::new(DType::F32, Shape(vec![Dim::symbol("M")]));
    let zeros = Op::Constant(crate::Constant::Splat { ty, value: Scalar::zero(DType::F32) });
    let zeros = graph.op(zeros, &[], here(7)).unwrap();
    graph.set_results(vec![zeros]);
    assert_eq!(
        texts(eval_graph(&graph, &[]).unwrap_err()),
        ["model.ir:7:3: constant: dimension M does not follow from the inputs\n  note: give it a value"]
    );
}

#[test]
fn fusions_are_their_regions() {
    let mut region = Graph::new();
    let wide = TensorType::new(DType::F32, Shape(vec![Dim::symbol("N")]));
    let a = region.param(wide.clone(), here(2));
    let square = region.op(Op::Multiply, &[a, a], here(2)).unwrap();
    let root = region.op(Op::Sqrt, &[square], here(2)).unwrap();
    region.set_results(vec![root, square]);
    let mut graph = Graph::new();
    let x = graph.param(wide, here(1));
    let fusion = Op::Fusion(FusionKind::Pointwise);
    let node = graph.push_with_regions(fusion, &[x], vec![region.clone()], here(2)).unwrap();
    graph.set_results(graph.node(node).results().collect());
    let found = eval_graph(&graph, &[floats(DType::F32, &[3], &[-1.0, 2.0, -3.0])]).unwrap();
    assert_eq!(found[0].to_f64(), [1.0, 2.0, 3.0]);
    assert_eq!(found[1].to_f64(), [1.0, 4.0, 9.0]);
}

#[test]
fn a_node_without_a_value_is_named_with_its_place() {
    let mut graph = Graph::new();
    let x = graph.param(TensorType::new(DType::F32, [1]), here(1));
    let op = Op::BroadcastInDim(BroadcastAttrs { shape: Shape::fixed(&[1 << 50]), dims: vec![0] });
    let huge = graph.op(op, &[x], here(2)).unwrap();
    graph.set_results(vec![huge]);
    assert_eq!(
        texts(eval_graph(&graph, &[counting(&[1])]).unwrap_err()),
        [
            "model.ir:2:3: broadcast_in_dim: the result has type f32[1125899906842624], expected at most 268435456 elements"
        ]
    );
}

#[test]
fn parameters_and_unused_values_may_be_results() {
    let mut graph = Graph::new();
    let x = graph.param(TensorType::new(DType::F32, [2]), here(1));
    graph.op(Op::Negate, &[x], here(2)).unwrap();
    graph.set_results(vec![x, x]);
    let found = eval_graph(&graph, &[counting(&[2])]).unwrap();
    assert_eq!(found, [counting(&[2]), counting(&[2])]);
}
