//! Attention a block at a time: large values of batched contractions are computed for a few batch elements in turn.
//!
//! ```text
//! %0 = dot_general %q, %k {lhs_batch = [0, 1], rhs_batch = [0, 1], ...} : f32[8, 12, 512, 512]
//! ...softmax over the last dimension...
//! %9 = dot_general %8, %v {lhs_batch = [0, 1], rhs_batch = [0, 1], ...} : f32[8, 12, 512, 64]
//!
//! %0 = reshape %q : f32[96, 1, 1, 512, 64]
//! ...
//! %3 = scan %0, %1, %2 {length = 96, n_scanned = 3} (%p0: f32[1, 1, 512, 64], ...) {
//!   ...the same for one batch element, whose scores stay in the cache...
//! } : f32[96, 1, 1, 512, 64]
//! ```
//!
//! Scores of all heads at once (the value of `S × S` elements a head) fill memory that nothing else needs: a row of the
//! result depends on the scores of its own batch element alone. The pass looks for a contraction with batch dimensions
//! whose result is *wide* (larger than its operands, and beyond [`Limits::total`] bytes), follows it through ops that
//! keep the batch dimensions apart ([`cluster`]), and moves what it found into the body of a `scan` over blocks of the
//! batch ([`body`]). Every element is computed by the same operations in the same order, so no bit changes.
//!
//! Forward and backward pass are one graph here, with much between them, so one cluster becomes several *stages*, each
//! a loop. A later stage does not get wide values from an earlier one: it computes them again from what is small (scores
//! from queries and keys, their softmax from the maxima and sums of rows).
//!
//! A block is at least one batch element: the scores of one head are never cut by rows, since a sum over queries in the
//! backward pass would then be added up in another order.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::ops::ScanAttrs;
use nnc_ir::{Builder, Diagnostic, Dim, Graph, Node, Rewriter, Shape, TensorType, Value};

use crate::remark::Remarks;

mod body;
mod cluster;

use body::{Body, Input};
use cluster::Cluster;

/// From where on values are cut into blocks, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A contraction's result below this stays whole: it fits the caches as it is.
    pub total: usize,
    /// A block is as many batch elements as stay within this, at least one: what a core's second-level cache holds beside
    /// the operands.
    pub block: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 4 << 20, block: 512 << 10 }
    }
}

/// One loop to be: a stage of a cluster.
struct Stage {
    nodes: Vec<Node>,
    inputs: Vec<Input>,
    outputs: Vec<Value>,
}

/// What is emitted as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Node(Node),
    Stage { cluster: usize, stage: usize },
}

/// The graph with wide values of batched contractions computed in blocks.
///
/// # Errors
/// None on a verified graph.
pub fn block_attention(graph: &Graph, remarks: &mut Remarks, limits: Limits) -> Result<Graph, Diagnostic> {
    let mut planned: Vec<(Cluster, Vec<Stage>)> = Vec::new();
    let mut owner: BTreeMap<Node, (usize, usize)> = BTreeMap::new();
    for cluster in cluster::find(graph, limits) {
        if cluster.stage_of.keys().any(|node| owner.contains_key(node)) {
            continue;
        }
        let stages = stages(graph, &cluster);
        let outputs: Vec<Value> = stages.iter().flat_map(|stage| stage.outputs.iter().copied()).collect();
        let kept_in = |value: &Value| cluster.is_wide(graph, *value) && !outputs.contains(value);
        let vanishing = cluster.stage_of.keys().map(|&node| graph.node(node).result()).filter(kept_in);
        let saved: usize = vanishing.filter_map(|value| graph.ty(value).bytes()).sum();
        let n_blocks = cluster.n_blocks();
        if saved == 0 || n_blocks == 1 {
            continue;
        }
        let location = &graph.node(cluster.seed).location;
        let scores = graph.ty(graph.node(cluster.seed).result());
        let message = format!(
            "what comes of {scores} is computed in {n_blocks} blocks of its batch, in {} loop{}",
            stages.len(),
            if stages.len() == 1 { "" } else { "s" }
        );
        remarks.made("block_attention", location, message, 2 * saved as u64);
        owner.extend(cluster.stage_of.iter().map(|(&node, &stage)| (node, (planned.len(), stage))));
        planned.push((cluster, stages));
    }
    if planned.is_empty() {
        return Ok(graph.clone());
    }
    let unit_of = |node: Node| match owner.get(&node) {
        Some(&(cluster, stage)) => Unit::Stage { cluster, stage },
        None => Unit::Node(node),
    };
    let mut rewriter = Rewriter::new(graph);
    for unit in in_order(graph, &unit_of, &planned) {
        match unit {
            Unit::Node(node) => {
                rewriter.copy(node);
            }
            Unit::Stage { cluster, stage } => {
                let (cluster, stages) = &planned[cluster];
                emit(&mut rewriter, cluster, &stages[stage])?;
            }
        }
    }
    Ok(rewriter.finish())
}

/// The stages of a cluster with what goes in and out of each.
fn stages(graph: &Graph, cluster: &Cluster) -> Vec<Stage> {
    let n_stages = cluster.stage_of.values().max().map_or(0, |last| last + 1);
    let mut stages: Vec<Stage> = (0..n_stages)
        .map(|stage| {
            let nodes: Vec<Node> =
                cluster.stage_of.iter().filter(|(_, of)| **of == stage).map(|(node, _)| *node).collect();
            let inputs = body::inputs(graph, cluster, stage, &nodes);
            Stage { nodes, inputs, outputs: Vec::new() }
        })
        .collect();
    // A stage gives what somebody outside of it reads: other nodes, results, and inputs of other stages.
    let mut read: Vec<bool> = vec![false; graph.n_values()];
    for (node, data) in graph.nodes() {
        if !cluster.stage_of.contains_key(&node) {
            data.operands.iter().for_each(|operand| read[operand.idx()] = true);
        }
    }
    graph.results().iter().for_each(|result| read[result.idx()] = true);
    stages.iter().flat_map(|stage| &stage.inputs).for_each(|input| read[input.source.idx()] = true);
    for stage in &mut stages {
        let results = stage.nodes.iter().map(|&node| graph.node(node).result());
        stage.outputs = results.filter(|result| read[result.idx()]).collect();
    }
    stages
}

/// Every unit after those it reads from, as early as the order of nodes allows.
fn in_order(graph: &Graph, unit_of: &dyn Fn(Node) -> Unit, planned: &[(Cluster, Vec<Stage>)]) -> Vec<Unit> {
    let node_of = |value: &Value| graph.value(*value).node;
    let before = |unit: Unit| -> Vec<Unit> {
        match unit {
            Unit::Node(node) => graph.node(node).operands.iter().map(|value| unit_of(node_of(value))).collect(),
            Unit::Stage { cluster, stage } => {
                let inputs = planned[cluster].1[stage].inputs.iter();
                inputs.map(|input| unit_of(node_of(&input.source))).collect()
            }
        }
    };
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for (node, _) in graph.nodes() {
        // A unit is left when all before it are done; it then is on the stack a second time.
        let mut stack = vec![(unit_of(node), false)];
        while let Some((unit, done)) = stack.pop() {
            if done {
                order.push(unit);
            } else if seen.insert(unit) {
                stack.push((unit, true));
                stack.extend(
                    before(unit).into_iter().rev().filter(|unit| !seen.contains(unit)).map(|unit| (unit, false)),
                );
            }
        }
    }
    order
}

/// Appends the loop of a stage and maps what it gives.
fn emit(rewriter: &mut Rewriter<'_>, cluster: &Cluster, stage: &Stage) -> Result<(), Diagnostic> {
    if stage.outputs.is_empty() {
        return Ok(());
    }
    let old = rewriter.old();
    let location = old.node(stage.nodes[0]).location.clone();
    let sources: Vec<Value> = stage.inputs.iter().map(|input| rewriter.get(input.source)).collect();
    let mut b = Builder::new(rewriter.graph_mut(), location);
    let n_blocks = cluster.n_blocks();
    let mut scanned = Vec::new();
    let mut invariants = Vec::new();
    for (input, &source) in stage.inputs.iter().zip(&sources) {
        let value = input.outside(&mut b, cluster, source)?;
        if input.is_scanned() { scanned.push(value) } else { invariants.push(value) }
    }
    let body = Body::build(old, cluster, stage)?;
    let attrs = ScanAttrs { n_carried: 0, n_scanned: scanned.len(), length: Dim::from(n_blocks), reverse: false };
    let stacks = b.scan(&[scanned, invariants].concat(), attrs, body)?;
    let whole = stage.outputs.iter().zip(stacks).map(|(&output, stack)| b.reshape(stack, old.ty(output).shape.clone()));
    let whole: Vec<Value> = whole.collect::<Result<_, _>>()?;
    for (&output, value) in stage.outputs.iter().zip(whole) {
        rewriter.map(output, value);
    }
    Ok(())
}

/// A type with other leading extents.
fn with_lead(ty: &TensorType, lead: &[usize]) -> TensorType {
    let rest = ty.shape.dims()[lead.len()..].iter().cloned();
    TensorType { dtype: ty.dtype, shape: Shape(lead.iter().map(|&extent| Dim::from(extent)).chain(rest).collect()) }
}

#[cfg(test)]
mod tests;
