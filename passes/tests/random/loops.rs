//! Random loops and branches through the whole pipeline: every pass leaves a valid function of the same bits, before and
//! after differentiation; and the gradient is that of the function without loops and branches.

use nnc_ir::interp::eval_graph;
use nnc_ir::{Builder, DType, Func, FuncResult, Graph, Location, TensorData, Value};
use nnc_passes::autodiff;
use nnc_passes::control::merge;
use nnc_passes::pipeline::{OptLevel, PassManager, pipeline};

use crate::control::random_func;
use crate::generator::Random;
use crate::normalized;
use crate::unroll::unroll;

fn value_of(graph: &Graph, inputs: &[TensorData]) -> Vec<TensorData> {
    eval_graph(graph, inputs).expect("the function has a value").iter().map(normalized).collect()
}

/// Runs the passes, each of which keeps the value.
fn check(what: &str, func: &Func, inputs: &[TensorData]) {
    let fail = |why: String| -> ! { panic!("{what}: {why}\n{func}") };
    if let Err(faults) = func.verify() {
        fail(faults[0].to_string());
    }
    let expected = value_of(&func.graph, inputs);
    let mut manager = PassManager::new();
    manager.verify_each = Some(Func::verify);
    manager.observer = Some(Box::new(|pass, after| {
        if value_of(&after.graph, inputs) != expected {
            fail(format!("{pass} changed the value:\n{after}"));
        }
    }));
    if let Err(fault) = manager.run(func, &pipeline(OptLevel::default())) {
        fail(fault.to_string());
    }
}

fn check_seed(seed: u64, n_nodes: usize) {
    let func = random_func(seed, n_nodes);
    let mut random = Random(seed);
    let inputs: Vec<TensorData> =
        func.graph.params().iter().map(|&param| random.tensor(func.graph.ty(param))).collect();
    check(&format!("seed {seed}"), &func, &inputs);
    if let Some(gradient) = gradient(&func) {
        check(&format!("gradient of seed {seed}"), &gradient, &inputs);
    }
}

/// The gradients of the sum of the floating-point results, zeros where there are none; `None` if a loop of unknown length
/// is in the way.
fn gradient(func: &Func) -> Option<Func> {
    let mut graph = func.graph.clone();
    let results: Vec<Value> =
        graph.results().iter().copied().filter(|&result| graph.ty(result).dtype == DType::F32).collect();
    let ones = |graph: &mut Graph, like| Builder::new(graph, Location::unknown()).ones_like(like).expect("a constant");
    let seeds: Vec<(Value, Value)> = results.into_iter().map(|result| (result, ones(&mut graph, result))).collect();
    let params = graph.params().to_vec();
    let found = autodiff::vjp(&mut graph, &seeds, &params).ok()?;
    let zeros =
        |graph: &mut Graph, like| Builder::new(graph, Location::unknown()).zeros_like(like).expect("a constant");
    let found: Vec<Value> =
        found.into_iter().zip(params).map(|(found, param)| found.unwrap_or_else(|| zeros(&mut graph, param))).collect();
    let results = (0..found.len()).map(|idx| FuncResult { name: format!("g{idx}"), donates: None }).collect();
    graph.set_results(found);
    let graph = merge(&graph).expect("merges");
    Some(Func { name: func.name.clone(), params: func.params.clone(), results, graph })
}

/// Compares the gradient, and its gradient, with those of the function without loops and branches. Whether that could be
/// done.
fn check_gradient(seed: u64, n_nodes: usize) -> bool {
    let func = random_func(seed, n_nodes);
    let mut random = Random(seed);
    let inputs: Vec<TensorData> =
        func.graph.params().iter().map(|&param| random.tensor(func.graph.ty(param))).collect();
    let Some(graph) = unroll(&func.graph).expect("unrolls") else { return false };
    let plain = Func { graph, ..func.clone() };
    assert_eq!(value_of(&plain.graph, &inputs), value_of(&func.graph, &inputs), "seed {seed}: unrolled");
    let (mut found, mut expected) = (func, plain);
    for order in 1..=2 {
        (found, expected) = (gradient(&found).expect("no while"), gradient(&expected).expect("no while"));
        let (found, expected) = (value_of(&found.graph, &inputs), value_of(&expected.graph, &inputs));
        for (param, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for (found, expected) in found.to_f64().into_iter().zip(expected.to_f64()) {
                // What overflows in a branch not taken is no number in a select.
                let is_close = (found - expected).abs() <= 1e-4 * expected.abs().max(1.0);
                assert!(
                    is_close || !expected.is_finite() || !found.is_finite(),
                    "seed {seed}: gradient {order} of parameter {param}: found {found}, unrolled {expected}"
                );
            }
        }
    }
    true
}

#[test]
fn gradients_are_those_of_unrolled_loops() {
    let n_compared = (0..400).filter(|&seed| check_gradient(seed, 8)).count();
    assert!(n_compared > 200, "{n_compared}");
}

#[test]
fn small_functions() {
    (0..300).for_each(|seed| check_seed(seed, 6));
}

#[test]
fn larger_functions() {
    (1000..1060).for_each(|seed| check_seed(seed, 20));
}
