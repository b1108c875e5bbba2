//! Hoisting: what is the same in each step of a scan is computed once before it.
//!
//! Views stay inside, where they cost nothing and would otherwise become memory; so does what would only repeat small
//! values.

use nnc_ir::ops::Trait;
use nnc_ir::{Diagnostic, Graph, Node, Op, Rewriter, Value};

use crate::cost;
use crate::regions::graph_of;
use crate::remark::Remarks;

/// A scan's operands in the new graph, and its body.
pub(super) struct Hoisted {
    pub(super) operands: Vec<Value>,
    pub(super) body: Graph,
}

/// Work for each element up to which an op that only repeats small values is done in each step.
const MAX_REPEATED_FLOPS: u64 = 4;

/// The scan `node` with what does not depend on the step moved before it.
pub(super) fn hoist(rewriter: &mut Rewriter<'_>, node: Node, remarks: &mut Remarks) -> Result<Hoisted, Diagnostic> {
    let data = rewriter.old().node(node);
    let Op::Scan(attrs) = &data.op else { unreachable!("only scans are hoisted from") };
    let body = &data.regions[0];
    let mut operands = rewriter.operands(node);
    let n_looped = attrs.n_carried + attrs.n_scanned;

    // What is the same in each step, and the bytes it is made of.
    let mut fixed: Vec<Option<usize>> = vec![None; body.n_values()];
    let mut hoisted: Vec<Option<Value>> = vec![None; body.n_values()];
    for (&param, &operand) in body.params().iter().zip(&operands).skip(n_looped) {
        fixed[param.idx()] = Some(body.ty(param).bytes().unwrap_or(usize::MAX));
        hoisted[param.idx()] = Some(operand);
    }
    let mut wanted: Vec<Node> = Vec::new();
    for (inner, data) in body.nodes().filter(|(_, data)| !matches!(data.op, Op::Param(_) | Op::OptimizationBarrier)) {
        let bytes: Option<Vec<usize>> = data.operands.iter().map(|operand| fixed[operand.idx()]).collect();
        let Some(bytes) = bytes else { continue };
        let bytes = bytes.into_iter().fold(0, usize::saturating_add);
        data.results().for_each(|result| fixed[result.idx()] = Some(bytes));
        // A constant alone is folded, not hoisted.
        let is_leaf = data.op.has(Trait::Leaf) || bytes == 0;
        let is_view = matches!(data.op, Op::BroadcastInDim(_) | Op::Reshape(_) | Op::Slice(_) | Op::Reverse(_));
        let repeats = data.op.has(Trait::Elementwise)
            && cost::element_flops(&data.op) <= MAX_REPEATED_FLOPS
            && body.ty(data.first_result).bytes().is_none_or(|result| result > bytes);
        if !is_leaf && !is_view && !repeats {
            wanted.push(inner);
        }
    }
    if wanted.is_empty() {
        return Ok(Hoisted { operands, body: body.clone() });
    }
    for &inner in &wanted {
        let message =
            format!("{} is the same in each step: it is computed before the loop", body.node(inner).op.mnemonic());
        remarks.made("control", &body.node(inner).location, message, 0);
        emit(rewriter.graph_mut(), body, inner, &mut hoisted)?;
    }

    // What is hoisted and still read inside enters as further invariants.
    let mut enters: Vec<Value> = Vec::new();
    let is_wanted = |value: Value| wanted.contains(&body.value(value).node);
    let readers = body.nodes().filter(|(inner, _)| !wanted.contains(inner)).flat_map(|(_, data)| &data.operands);
    for &value in readers.chain(body.results()).filter(|value| is_wanted(**value)) {
        if !enters.contains(&value) {
            enters.push(value);
        }
    }
    operands.extend(enters.iter().map(|value| hoisted[value.idx()].expect("it was emitted")));
    let params = [body.params(), &enters].concat();
    Ok(Hoisted { operands, body: graph_of(body, &params) })
}

/// Appends a node of the body, and what it is made of, to the graph around the scan.
fn emit(into: &mut Graph, body: &Graph, node: Node, hoisted: &mut [Option<Value>]) -> Result<(), Diagnostic> {
    let data = body.node(node);
    if hoisted[data.first_result.idx()].is_some() {
        return Ok(());
    }
    let mut operands = Vec::with_capacity(data.operands.len());
    for operand in &data.operands {
        if hoisted[operand.idx()].is_none() {
            emit(into, body, body.value(*operand).node, hoisted)?;
        }
        operands.push(hoisted[operand.idx()].expect("it was emitted"));
    }
    let emitted = into.push_with_regions(data.op.clone(), &operands, data.regions.clone(), data.location.clone())?;
    for (old, new) in data.results().zip(into.node(emitted).results()) {
        hoisted[old.idx()] = Some(new);
    }
    Ok(())
}
