//! What recurrent layers look like to the compiler: which products are inside the loop over steps and which are one for
//! all steps.

use nnc_frontend::prelude::*;
use nnc_ir::{Graph, Op};
use nnc_passes::autodiff::value_and_grad;

/// Contractions of a graph, outside its regions, by result type.
fn products(graph: &Graph) -> Vec<String> {
    let dots = graph.nodes().filter(|(_, data)| matches!(data.op, Op::DotGeneral(_)));
    let mut types: Vec<String> = dots.map(|(_, data)| graph.ty(data.result()).to_string()).collect();
    types.sort();
    types
}

/// Contractions in the body of each loop, in order.
fn products_in_loops(graph: &Graph) -> Vec<Vec<String>> {
    let loops = graph.nodes().filter(|(_, data)| matches!(data.op, Op::Scan(_)));
    loops.map(|(_, data)| products(&data.regions[0])).collect()
}

/// A step of the loop multiplies the hidden state by `weight_hh`, a step backward its cotangent. Everything else is one
/// product for all steps: the inputs' projection, its gradient, and the gradients of both weights.
fn check(layer: &dyn Module, n_gates: usize, forward: impl Fn(&Tensor) -> Tensor) {
    let (steps, batch, input, hidden) = (7, 5, 3, 4);
    let module = trace("layer", |t| {
        t.bind(layer);
        let output = forward(&t.input("x", format!("f32[{steps}, {batch}, {input}]")));
        t.output("loss", output.square().sum(..));
    });
    let module = module.expect("the layer is sound");
    let func = &module.funcs[0];
    let rows = n_gates * hidden;
    assert_eq!(products(&func.graph), [format!("f32[{steps}, {batch}, {rows}]")]);
    assert_eq!(products_in_loops(&func.graph), [[format!("f32[{batch}, {rows}]")]]);

    let wrt: Vec<usize> = (0..func.params.len()).collect();
    let func = value_and_grad(func, &wrt, 0).expect("the layer is differentiable");
    let mut expected = [
        format!("f32[{steps}, {batch}, {rows}]"),
        format!("f32[{steps}, {batch}, {input}]"),
        format!("f32[{rows}, {input}]"),
        format!("f32[{rows}, {hidden}]"),
    ];
    expected.sort();
    let mut found = products(&func.graph);
    // A product may be written with its free dimensions the other way round, and transposed after.
    let transposed = |text: &str| match text.strip_prefix("f32[").and_then(|rest| rest.strip_suffix(']')) {
        Some(dims) if dims.matches(',').count() == 1 => {
            let (lhs, rhs) = dims.split_once(", ").expect("there is a comma");
            format!("f32[{rhs}, {lhs}]")
        }
        _ => text.to_string(),
    };
    for text in &mut found {
        if !expected.contains(text) {
            *text = transposed(text);
        }
    }
    found.sort();
    assert_eq!(found, expected);
    let in_loops = products_in_loops(&func.graph);
    assert_eq!(in_loops.last(), Some(&vec![format!("f32[{batch}, {hidden}]")]), "{in_loops:?}");
}

#[test]
fn an_lstm_has_one_product_a_step() {
    let layer = LSTM::new(3, 4);
    check(&layer, 4, |x| layer.forward(x).0);
}

#[test]
fn a_gru_has_one_product_a_step() {
    let layer = GRU::new(3, 4);
    check(&layer, 3, |x| layer.forward(x).0);
}

#[test]
fn an_rnn_has_one_product_a_step() {
    let layer = RNN::new(3, 4);
    check(&layer, 1, |x| layer.forward(x).0);
}
