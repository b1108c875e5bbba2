//! Evaluation of whole graphs and functions.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{EvalError, eval};
use crate::bind::{Argument, bind_dims};
use crate::diagnostic::{Diagnostic, Location};
use crate::dim::{Bindings, Dim};
use crate::graph::Graph;
use crate::literal::TensorData;
use crate::module::{Func, ParamKind};
use crate::ops::Op;

/// Most bytes of all values alive at once.
const MAX_LIVE_BYTES: usize = 1 << 34;

/// The results of `graph`, which is valid, on `inputs`. Symbols in the parameters' types are bound by the inputs.
///
/// # Errors
/// Every input whose type does not fit; or the first node that has no value, at its location.
pub fn eval_graph(graph: &Graph, inputs: &[TensorData]) -> Result<Vec<TensorData>, Vec<Diagnostic>> {
    if inputs.len() != graph.params().len() {
        let message = format!("{} arguments, expected {}", inputs.len(), graph.params().len());
        return Err(vec![Diagnostic::new(Location::unknown(), message)]);
    }
    let names: Vec<String> = graph.params().iter().map(|param| param.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    eval_named(graph, &names, inputs.to_vec(), &Bindings::new())
}

/// The results of `func`, which is valid, by name.
///
/// A parameter takes the input of its name, else its weight. `dims` gives values to symbols; the others are bound by
/// the inputs.
///
/// # Errors
/// Every parameter without a value, every input that is no parameter, and every value of the wrong type; or the first
/// node that has no value, at its location.
pub fn eval_func(
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    inputs: &IndexMap<String, TensorData>,
    dims: &Bindings,
) -> Result<IndexMap<String, TensorData>, Vec<Diagnostic>> {
    let arguments = arguments(func, weights, inputs)?;
    let names: Vec<&str> = func.params.iter().map(|param| param.name.as_str()).collect();
    let results = eval_named(&func.graph, &names, arguments, dims)?;
    Ok(func.results.iter().map(|result| result.name.clone()).zip(results).collect())
}

/// The value of each parameter of `func`: the input of its name, else its weight.
///
/// # Errors
/// Every parameter without a value and every input that is no parameter.
pub fn arguments(
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    inputs: &IndexMap<String, TensorData>,
) -> Result<Vec<TensorData>, Vec<Diagnostic>> {
    let fault = |message: String| Diagnostic::new(Location::unknown(), message);
    let mut faults = Vec::new();
    for name in inputs.keys().filter(|name| func.param(name).is_none()) {
        let known: Vec<String> = func.params.iter().map(|param| format!("`{}`", param.name)).collect();
        faults.push(
            fault(format!("function @{} has no parameter `{name}`", func.name))
                .note(format!("its parameters are {}", known.join(", "))),
        );
    }
    let mut arguments = Vec::with_capacity(func.params.len());
    for (param, &value) in func.params.iter().zip(func.graph.params()) {
        let weight = || weights.get(param.weight.as_ref()?);
        if let Some(found) = inputs.get(&param.name).or_else(weight) {
            arguments.push(found.clone());
            continue;
        }
        let kind = match param.kind {
            ParamKind::Input => "input",
            ParamKind::Param => "parameter",
            ParamKind::State => "state",
        };
        let missing = fault(format!("{kind} `{}` has no value, expected {}", param.name, func.graph.ty(value)));
        faults.push(match &param.weight {
            Some(weight) => missing.note(format!("there is no weight `{weight}`")),
            None => missing,
        });
    }
    if faults.is_empty() { Ok(arguments) } else { Err(faults) }
}

fn eval_named(
    graph: &Graph,
    names: &[&str],
    inputs: Vec<TensorData>,
    dims: &Bindings,
) -> Result<Vec<TensorData>, Vec<Diagnostic>> {
    let params = names.iter().zip(graph.params()).zip(&inputs);
    let arguments: Vec<Argument> = params
        .map(|((name, &param), input)| Argument {
            name,
            expected: graph.ty(param),
            dtype: input.dtype,
            shape: &input.shape,
        })
        .collect();
    let bindings = bind_dims(&arguments, dims)?;
    let one = |fault| vec![fault];
    if graph.is_fixed() {
        return run(graph, inputs).map_err(one);
    }
    let bound = graph.substitute(&bindings).map_err(one)?;
    check_bound(&bound)?;
    run(&bound, inputs).map_err(one)
}

/// Names the symbols that nothing bound, each at the first node that needs it.
fn check_bound(graph: &Graph) -> Result<(), Vec<Diagnostic>> {
    let mut seen = Vec::new();
    let mut faults = Vec::new();
    for (_, node) in graph.nodes() {
        for result in node.results() {
            for symbol in graph.ty(result).shape.dims().iter().flat_map(Dim::symbols) {
                if seen.contains(&symbol) {
                    continue;
                }
                let message = format!("{}: dimension {symbol} does not follow from the inputs", node.op.mnemonic());
                faults.push(Diagnostic::new(node.location.clone(), message).note("give it a value"));
                seen.push(symbol);
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The results of `graph`, whose shapes are fixed, on `inputs` of its parameters' types. A value is freed after its
/// last use.
pub(super) fn run(graph: &Graph, inputs: Vec<TensorData>) -> Result<Vec<TensorData>, Diagnostic> {
    let n_nodes = graph.n_nodes();
    let mut last_use: Vec<usize> =
        graph.nodes().flat_map(|(node, data)| data.results().map(move |_| node.idx())).collect();
    for (node, data) in graph.nodes() {
        for operand in &data.operands {
            last_use[operand.idx()] = node.idx();
        }
    }
    for result in graph.results() {
        last_use[result.idx()] = n_nodes;
    }

    let mut inputs: Vec<Option<TensorData>> = inputs.into_iter().map(Some).collect();
    let mut values: Vec<Option<TensorData>> = vec![None; graph.n_values()];
    let mut live_bytes = 0usize;
    for (node, data) in graph.nodes() {
        let fault =
            |error: EvalError| Diagnostic::new(data.location.clone(), format!("{}: {error}", data.op.mnemonic()));
        let operands: Vec<&TensorData> = data
            .operands
            .iter()
            .map(|operand| values[operand.idx()].as_ref().expect("operands live until their last use"))
            .collect();
        let results = match data.op {
            Op::Param(idx) => vec![inputs[idx as usize].take().expect("a parameter stands once in a graph")],
            _ => eval(&data.op, &operands, &data.regions).map_err(fault)?,
        };
        for (value, result) in data.results().zip(results) {
            live_bytes += result.bytes.len();
            values[value.idx()] = Some(result);
        }
        if live_bytes > MAX_LIVE_BYTES {
            let message = format!("values of {live_bytes} bytes are alive here, expected at most {MAX_LIVE_BYTES}");
            return Err(Diagnostic::new(data.location.clone(), message));
        }
        for value in data.operands.iter().copied().chain(data.results()) {
            if last_use[value.idx()] == node.idx()
                && let Some(dead) = values[value.idx()].take()
            {
                live_bytes -= dead.bytes.len();
            }
        }
    }
    let result = |value: &crate::graph::Value| values[value.idx()].clone().expect("results live to the end");
    Ok(graph.results().iter().map(result).collect())
}
