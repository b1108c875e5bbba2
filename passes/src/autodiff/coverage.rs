//! Gradient coverage: no parameter is silently left untrained.
//!
//! Every parameter that is differentiated must reach the loss on a path along which each op has a derivative. One that
//! does not is a fault: it names the parameter, the op that cuts the path (`floor`, `compare`, a conversion to
//! integers, ...) and both places. `stop_gradient` on every path is the user's own wish, and no fault.

use nnc_ir::{Diagnostic, Func, Graph, Location, Op, Value};

use super::flow::{Flow, flow};
use super::reach::{ancestors, dependents, region_ancestors, region_dependents};

/// What became of a parameter's gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// A differentiable path leads to the loss.
    Reached,
    /// Every path to the loss leads through `stop_gradient`.
    OptedOut,
    /// Every path that the user did not stop is cut, first by one of these nodes, in the order of the graph.
    Blocked(Vec<Block>),
    /// The loss does not depend on it.
    Unused,
}

/// A node that cuts a path, perhaps inside a loop or branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where the node came from.
    pub location: Location,
    /// Its op.
    pub mnemonic: &'static str,
    /// Why the path ends there.
    pub reason: &'static str,
}

/// Finds, for each parameter of `wrt` in order, how it reaches `loss` in `graph`.
pub fn coverage(graph: &Graph, wrt: &[Value], loss: Value) -> Vec<Coverage> {
    let differentiable = ancestors(graph, &[loss], &|flow| flow == Flow::Passes);
    let not_stopped = ancestors(graph, &[loss], &|flow| flow != Flow::Stops);
    let connected = ancestors(graph, &[loss], &|_| true);
    wrt.iter()
        .map(|&param| {
            if differentiable[param.idx()] {
                Coverage::Reached
            } else if not_stopped[param.idx()] {
                let reached = dependents(graph, &[param], &|flow| flow == Flow::Passes);
                let mut blocks = Vec::new();
                first_blocks(graph, &reached, &not_stopped, &mut blocks);
                Coverage::Blocked(blocks)
            } else if connected[param.idx()] {
                Coverage::OptedOut
            } else {
                Coverage::Unused
            }
        })
        .collect()
}

/// One diagnostic for each parameter of `wrt` (positions in `func`) that does not reach `loss` in `graph`, the body
/// of `func` without fusions; and one for each loop of unknown length between them.
pub fn check(func: &Func, graph: &Graph, wrt: &[usize], loss: Value) -> Vec<Diagnostic> {
    let params: Vec<Value> = wrt.iter().map(|&idx| graph.params()[idx]).collect();
    let mut faults = Vec::new();
    let reached = dependents(graph, &params, &|flow| flow == Flow::Passes);
    let alive = ancestors(graph, &[loss], &|flow| flow == Flow::Passes);
    endless(graph, &reached, &alive, &mut faults);
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

fn blocked(graph: &Graph, name: &str, param: Value, blocks: &[Block]) -> Diagnostic {
    let [Block { location, mnemonic, reason }, others @ ..] = blocks else {
        unreachable!("a path without a derivative has an op that cuts it");
    };
    let message = format!("parameter `{name}` gets no gradient: `{mnemonic}` cuts its path to the loss, as {reason}");
    let mut fault = Diagnostic::new(location.clone(), message);
    for Block { location, mnemonic, reason } in others {
        fault = fault.note_at(location.clone(), format!("another path is cut by `{mnemonic}`, as {reason}"));
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

/// A fault for each `while` through which a gradient would have to flow.
fn endless(graph: &Graph, reached: &[bool], alive: &[bool], faults: &mut Vec<Diagnostic>) {
    for (_, data) in graph.nodes() {
        let into: Vec<bool> = data.operands.iter().map(|operand| reached[operand.idx()]).collect();
        let out_of: Vec<bool> = data.results().map(|result| alive[result.idx()]).collect();
        if !into.contains(&true) || !out_of.contains(&true) {
            continue;
        }
        if let Op::While = data.op {
            let is_real = |idx: usize| into[idx] && flow(graph, data, idx) == Flow::Passes;
            if (0..into.len()).any(is_real) {
                let message = "while: a loop whose number of steps is not known beforehand has no gradient";
                let fault = Diagnostic::new(data.location.clone(), message);
                faults.push(fault.note("use `scan`, with as many steps as it takes at most, or `detach` what enters"));
            }
        }
        let passes = |flow| flow == Flow::Passes;
        let (inside, wanted) = (region_dependents(data, &into, &passes), region_ancestors(data, &out_of, &passes));
        for ((region, reached), alive) in data.regions.iter().zip(&inside).zip(&wanted) {
            endless(region, reached, alive, faults);
        }
    }
}

/// Appends the nodes that first cut the paths from values that are `reached` along values in `alive`.
fn first_blocks(graph: &Graph, reached: &[bool], alive: &[bool], blocks: &mut Vec<Block>) {
    for (_, data) in graph.nodes() {
        let wanted: Vec<bool> = data.results().map(|result| alive[result.idx()]).collect();
        if matches!(data.op, Op::Param(_)) || !wanted.contains(&true) {
            continue;
        }
        let flows: Vec<Option<Flow>> = (data.operands.iter().enumerate())
            .map(|(idx, operand)| reached[operand.idx()].then(|| flow(graph, data, idx)))
            .collect();
        let reason = flows.iter().find_map(|flow| match flow {
            Some(Flow::Blocks(reason)) => Some(*reason),
            _ => None,
        });
        blocks.extend(reason.map(|reason| Block {
            location: data.location.clone(),
            mnemonic: data.op.mnemonic(),
            reason,
        }));
        let entered: Vec<bool> = flows.iter().map(|flow| *flow == Some(Flow::Passes)).collect();
        if entered.contains(&true) {
            let inside = region_dependents(data, &entered, &|flow| flow == Flow::Passes);
            let wanted = region_ancestors(data, &wanted, &|flow| flow != Flow::Stops);
            for ((region, reached), alive) in data.regions.iter().zip(&inside).zip(&wanted) {
                first_blocks(region, reached, alive, blocks);
            }
        }
    }
}
