//! Gradient coverage: no parameter is silently left untrained.
//!
//! Every parameter that is differentiated must reach the loss on a path along which each op has a derivative. One that
//! does not is a fault: it names the parameter, the op that cuts the path (`floor`, `compare`, a conversion to
//! integers, ...) and both places. `stop_gradient` on every path is the user's own wish, and no fault.

use nnc_ir::{Diagnostic, Func, Graph, Node, Op, Value};

use super::flow::{Flow, flow};

/// What became of a parameter's gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// A differentiable path leads to the loss.
    Reached,
    /// Every path to the loss leads through `stop_gradient`.
    OptedOut,
    /// Every path that the user did not stop is cut, first by one of these nodes, in id order.
    Blocked(Vec<(Node, &'static str)>),
    /// The loss does not depend on it.
    Unused,
}

/// Finds, for each parameter of `wrt` in order, how it reaches `loss` in `graph`.
pub fn coverage(graph: &Graph, wrt: &[Value], loss: Value) -> Vec<Coverage> {
    let differentiable = ancestors(graph, loss, |flow| flow == Flow::Passes);
    let not_stopped = ancestors(graph, loss, |flow| flow != Flow::Stops);
    let connected = ancestors(graph, loss, |_| true);
    wrt.iter()
        .map(|&param| {
            if differentiable[param.idx()] {
                Coverage::Reached
            } else if not_stopped[param.idx()] {
                Coverage::Blocked(first_blocks(graph, param, &not_stopped))
            } else if connected[param.idx()] {
                Coverage::OptedOut
            } else {
                Coverage::Unused
            }
        })
        .collect()
}

/// One diagnostic for each parameter of `wrt` (positions in `func`) that does not reach `loss` in `graph`, the body
/// of `func` without fusions.
pub fn check(func: &Func, graph: &Graph, wrt: &[usize], loss: Value) -> Vec<Diagnostic> {
    let params: Vec<Value> = wrt.iter().map(|&idx| graph.params()[idx]).collect();
    let mut faults = Vec::new();
    for ((&idx, &param), coverage) in wrt.iter().zip(&params).zip(coverage(graph, &params, loss)) {
        let name = &func.params[idx].name;
        match coverage {
            Coverage::Reached | Coverage::OptedOut => {}
            Coverage::Blocked(blocks) => faults.push(blocked(graph, name, param, &blocks)),
            Coverage::Unused => faults.push(unused(graph, name, param, loss)),
        }
    }
    faults
}

fn blocked(graph: &Graph, name: &str, param: Value, blocks: &[(Node, &'static str)]) -> Diagnostic {
    let [(first, reason), others @ ..] = blocks else {
        unreachable!("a path without a derivative has an op that cuts it");
    };
    let mnemonic = graph.node(*first).op.mnemonic();
    let message = format!("parameter `{name}` gets no gradient: `{mnemonic}` cuts its path to the loss, as {reason}");
    let mut fault = Diagnostic::new(graph.node(*first).location.clone(), message);
    for (node, reason) in others {
        let data = graph.node(*node);
        fault = fault
            .note_at(data.location.clone(), format!("another path is cut by `{}`, as {reason}", data.op.mnemonic()));
    }
    fault
        .note_at(graph.def(param).location.clone(), format!("parameter `{name}` is declared here"))
        .note("apply stop_gradient (`detach`) on the way if no gradient is wanted")
}

fn unused(graph: &Graph, name: &str, param: Value, loss: Value) -> Diagnostic {
    let last_use = graph.nodes().rev().find(|(_, data)| data.operands.contains(&param));
    let message = match last_use {
        Some(_) => format!("parameter `{name}` gets no gradient: nothing computed from it reaches the loss"),
        None => format!("parameter `{name}` gets no gradient: it is never used"),
    };
    let mut fault = Diagnostic::new(graph.def(param).location.clone(), message);
    if let Some((_, data)) = last_use {
        fault = fault.note_at(data.location.clone(), format!("its last use is this `{}`", data.op.mnemonic()));
    }
    fault.note_at(graph.def(loss).location.clone(), "the loss is computed here")
}

/// For each value, whether `loss` depends on it along operands whose flow `admits`.
fn ancestors(graph: &Graph, loss: Value, admits: impl Fn(Flow) -> bool) -> Vec<bool> {
    let mut found = vec![false; graph.n_values()];
    found[loss.idx()] = true;
    for (_, data) in graph.nodes().rev() {
        if data.results().any(|result| found[result.idx()]) {
            for (idx, operand) in data.operands.iter().enumerate() {
                if !found[operand.idx()] && admits(flow(graph, data, idx)) {
                    found[operand.idx()] = true;
                }
            }
        }
    }
    found
}

/// The nodes that first cut the paths from `param` along values in `alive`.
fn first_blocks(graph: &Graph, param: Value, alive: &[bool]) -> Vec<(Node, &'static str)> {
    let mut reached = vec![false; graph.n_values()];
    reached[param.idx()] = true;
    let mut blocks = Vec::new();
    for (node, data) in graph.nodes() {
        if matches!(data.op, Op::Param(_)) || !data.results().any(|result| alive[result.idx()]) {
            continue;
        }
        let mut block = None;
        for (idx, operand) in data.operands.iter().enumerate() {
            if !reached[operand.idx()] {
                continue;
            }
            match flow(graph, data, idx) {
                Flow::Passes => data.results().for_each(|result| reached[result.idx()] = true),
                Flow::Blocks(reason) => block = block.or(Some((node, reason))),
                Flow::Stops => {}
            }
        }
        blocks.extend(block);
    }
    blocks
}
