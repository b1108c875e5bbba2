//! Gradients against central finite differences, in `f64`: each case of the table once for its gradient and once for
//! the gradient of its gradient.

use nnc_ir::builder::Built;
use nnc_ir::interp::eval_graph;
use nnc_ir::ops::TABLE;
use nnc_ir::{Builder, Graph, Location, TensorData, Value};
use nnc_passes::autodiff;

#[path = "gradients/closed_forms.rs"]
mod closed_forms;
#[path = "gradients/control.rs"]
mod control;
#[path = "gradients/kinks.rs"]
mod kinks;
#[path = "gradients/random.rs"]
mod random;
#[path = "gradients/symbolic.rs"]
mod symbolic;
#[path = "gradients/table.rs"]
mod table;

use table::{Case, cases, f64s, spread};

/// Ops through which no gradient flows.
const NON_DIFFERENTIABLE: &[&str] = &[
    "param",
    "constant",
    "iota",
    "rng_bits",
    "sign",
    "floor",
    "ceil",
    "round_nearest_even",
    "is_finite",
    "not",
    "bitcast_convert",
    "and",
    "or",
    "xor",
    "shift_left",
    "shift_right_logical",
    "shift_right_arithmetic",
    "compare",
    "stop_gradient",
    "while",
];

/// Step of the finite differences: a power of two, so that it is exact beside simple numbers.
const STEP: f64 = 1.0 / 65536.0;

/// Largest difference allowed, relative to the larger of 1 and the expected value. The error of the finite
/// differences is of the order of the step's square.
const TOLERANCE: f64 = 1e-7;

/// The sum of all elements of `value`, each weighted differently, so that no two are mistaken for each other. Weights
/// are multiples of 1/64, so that few products with them are rounded.
fn weighted_sum(b: &mut Builder<'_>, value: Value, seed: usize) -> Built {
    let shape = b.shape(value).as_fixed().expect("shapes are fixed");
    let dims: Vec<usize> = (0..shape.len()).collect();
    let weights: Vec<f64> = spread(&shape, 32.0, 96.0, seed).to_f64().iter().map(|w| w.round() / 64.0).collect();
    let weights = b.tensor(f64s(&shape, &weights))?;
    let product = b.multiply(value, weights)?;
    b.reduce_sum(product, &dims)
}

/// The case as a graph from its inputs to a scalar.
fn forward(case: &Case) -> Graph {
    let mut graph = Graph::new();
    let params: Vec<Value> = case.inputs.iter().map(|input| graph.param(input.ty(), Location::unknown())).collect();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let result = (case.build)(&mut b, &params).and_then(|value| weighted_sum(&mut b, value, 7));
    let result = result.unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
    graph.set_results(vec![result]);
    graph
}

/// The graph of the gradients of the first result of `graph`, checked by the verifier; zeros are made where there are none.
fn differentiate(name: &str, graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let (loss, params) = (graph.results()[0], graph.params().to_vec());
    let seed = Builder::new(&mut graph, Location::unknown()).ones_like(loss).expect("a constant");
    let gradients =
        autodiff::vjp(&mut graph, &[(loss, seed)], &params).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let mut results = Vec::new();
    for (param, gradient) in params.into_iter().zip(gradients) {
        let mut b = Builder::new(&mut graph, Location::unknown());
        results.push(gradient.unwrap_or_else(|| b.zeros_like(param).expect("a constant")));
    }
    graph.set_results(results);
    graph.verify().unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
    graph
}

/// The graph of one scalar that sums the results of `graph`, each element weighted differently.
fn scalarize(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let results = graph.results().to_vec();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let sums: Vec<Value> = results
        .iter()
        .enumerate()
        .map(|(idx, &result)| weighted_sum(&mut b, result, 11 + idx).expect("floats"))
        .collect();
    let total = sums.into_iter().reduce(|sum, next| b.add(sum, next).expect("scalars")).expect("has a result");
    graph.set_results(vec![total]);
    graph
}

fn eval(name: &str, graph: &Graph, inputs: &[TensorData]) -> Vec<TensorData> {
    eval_graph(graph, inputs).unwrap_or_else(|faults| panic!("{name}: {faults:?}"))
}

/// Compares the gradient of the scalar function `graph` at `inputs` with finite differences.
fn check(name: &str, graph: &Graph, inputs: &[TensorData]) {
    let gradients = eval(name, &differentiate(name, graph), inputs);
    for (input_idx, gradient) in gradients.iter().enumerate() {
        let gradient = gradient.to_f64();
        for (idx, &found) in gradient.iter().enumerate() {
            let at = |offset: f64| {
                let mut moved = inputs.to_vec();
                let mut values = moved[input_idx].to_f64();
                values[idx] += offset;
                moved[input_idx] = f64s(&moved[input_idx].shape, &values);
                eval(name, graph, &moved)[0].to_f64()[0]
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(
                error <= TOLERANCE,
                "{name}: gradient of input {input_idx}, element {idx}: found {found}, finite differences give {expected}"
            );
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for case in cases() {
        check(case.name, &forward(&case), &case.inputs);
    }
}

#[test]
fn second_gradients_agree_with_finite_differences() {
    for case in cases() {
        let name = format!("second derivative of {}", case.name);
        let gradient = scalarize(&differentiate(case.name, &forward(&case)));
        check(&name, &gradient, &case.inputs);
    }
}

#[test]
fn every_op_is_in_the_table_or_known_to_have_no_gradient() {
    let mut used: Vec<&str> = Vec::new();
    for case in cases() {
        used.extend(forward(&case).nodes().map(|(_, data)| data.op.mnemonic()));
    }
    // Fusions are dissolved before differentiation.
    used.push("fusion");
    for op in TABLE {
        let listed = NON_DIFFERENTIABLE.contains(&op.mnemonic);
        assert!(
            listed || used.contains(&op.mnemonic),
            "`{}` is neither in the table of gradients nor in the list of ops without",
            op.mnemonic
        );
    }
}
