//! The part each node plays in fusion, decided before any region is formed.
//!
//! *Anchored* nodes must exist in memory: results, what operands of contractions are views of, whatever is read as a whole. *Free* nodes
//! are cheaper to compute again in every region that reads them than to store once: splats, counters, views, scalar
//! arithmetic, masks from small vectors, and one cheap step from a value that exists anyway. They are never
//! partitioned; the others are, and see through free nodes to their *sources*.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::ops::Trait;
use nnc_ir::{Constant, Graph, Node, Op, Value};

use super::kinds::{folds_windows, is_contracted_view, is_expression};
use crate::cost;

/// Work for each element that a free chain of nodes may take.
const MAX_FREE_FLOPS: u64 = 6;

/// Work that a chain of scalar nodes may take to be free: less than a transcendental takes.
const MAX_FREE_SCALAR_FLOPS: u64 = cost::TRANSCENDENTAL_FLOPS - 1;

/// A transposition larger than this that several nodes read is made once: reading with a stride is slow.
const MAX_SHARED_TRANSPOSE_BYTES: usize = 16 << 10;

/// A node on which another depends, seen through free nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// The node at the other end.
    pub(super) node: Node,
    /// Whether the value must be in memory, so that the two nodes can never be in one region.
    pub(super) is_hard: bool,
    /// Whether a value passes; the others only order a read of a parameter before its update.
    pub(super) is_data: bool,
}

/// The parts all nodes of a graph play.
pub(super) struct Roles {
    is_free: Vec<bool>,
    preds: Vec<Vec<Edge>>,
    succs: Vec<Vec<Edge>>,
    escapes: Vec<bool>,
}

/// Whether operand `idx` of `op` is read otherwise than an element at a time at an index known beforehand.
pub(super) fn reads_memory(op: &Op, idx: usize) -> bool {
    match op {
        Op::Gather(_) | Op::DynamicSlice(_) => idx == 0,
        // A fold of nothing is no row.
        Op::Reduce(attrs) => attrs.dims.is_empty(),
        Op::RngBits(_) => true,
        op => folds_windows(op) || !is_expression(op),
    }
}

impl Roles {
    /// `donations` pairs each parameter that is updated with its next value.
    pub(super) fn compute(graph: &Graph, donations: &[(Value, Value)]) -> Self {
        let scalar_work = scalar_work(graph);
        let is_scalar = |node: Node| scalar_work[node.idx()].is_some();
        let mut roles = Self {
            is_free: free(graph, &anchored(graph), &scalar_work),
            preds: vec![Vec::new(); graph.n_nodes()],
            succs: vec![Vec::new(); graph.n_nodes()],
            escapes: vec![false; graph.n_nodes()],
        };
        for (node, data) in graph.nodes() {
            if !roles.is_partitioned(graph, node) {
                continue;
            }
            let mut preds = BTreeSet::new();
            for (idx, &operand) in data.operands.iter().enumerate() {
                let reads_memory = reads_memory(&data.op, idx);
                roles.sources(graph, operand, &mut |source| {
                    // What is worth storing is not to be computed for every element of a tensor.
                    let is_hard = reads_memory || (is_scalar(source) && !is_scalar(node));
                    preds.insert(Edge { node: source, is_hard, is_data: true });
                });
            }
            for edge in &preds {
                roles.succs[edge.node.idx()].push(Edge { node, ..*edge });
            }
            roles.preds[node.idx()] = preds.into_iter().collect();
        }
        for &result in graph.results() {
            let mut found = Vec::new();
            roles.sources(graph, result, &mut |source| found.push(source));
            for source in found {
                roles.escapes[source.idx()] = true;
            }
        }
        if !donations.is_empty() {
            let readers = roles.readers_of_params(graph);
            for &(param, next) in donations {
                roles.order_reads(graph, param, next, readers.get(&param).map_or(&[], Vec::as_slice));
            }
        }
        roles
    }

    /// The partitioned nodes that read each parameter, themselves or through free nodes.
    fn readers_of_params(&self, graph: &Graph) -> BTreeMap<Value, Vec<Node>> {
        let mut readers: BTreeMap<Value, Vec<Node>> = BTreeMap::new();
        for (node, data) in graph.nodes().filter(|&(node, _)| self.is_partitioned(graph, node)) {
            let mut params = BTreeSet::new();
            for &operand in &data.operands {
                self.params(graph, operand, &mut params);
            }
            for param in params {
                readers.entry(param).or_default().push(node);
            }
        }
        readers
    }

    /// Collects the parameters that `value` is, or is made of by free nodes.
    fn params(&self, graph: &Graph, value: Value, found: &mut BTreeSet<Value>) {
        let node = graph.value(value).node;
        let data = graph.node(node);
        if let Op::Param(_) = data.op {
            found.insert(value);
        } else if self.is_free(node) {
            for &operand in &data.operands {
                self.params(graph, operand, found);
            }
        }
    }

    /// Orders reads of `param` before its update, where no value flows the other way, so that the update can happen
    /// in place whatever is fused. The update itself may read the parameter at the index it writes.
    fn order_reads(&mut self, graph: &Graph, param: Value, next: Value, readers: &[Node]) {
        let update = graph.value(next).node;
        if !self.is_partitioned(graph, update) {
            return;
        }
        for &reader in readers {
            if reader == update || self.leads_to(update, reader) {
                continue;
            }
            let data = graph.node(reader);
            let is_hard = !data.op.has(Trait::Elementwise)
                || graph.ty(data.first_result).shape != graph.ty(next).shape
                || !data.operands.iter().all(|&operand| self.reads_at_index(graph, operand, param));
            self.preds[update.idx()].push(Edge { node: reader, is_hard, is_data: false });
            self.succs[reader.idx()].push(Edge { node: update, is_hard, is_data: false });
        }
    }

    /// Whether free nodes read `param` for `value` at the index of `value` only, or not at all.
    fn reads_at_index(&self, graph: &Graph, value: Value, param: Value) -> bool {
        let node = graph.value(value).node;
        let data = graph.node(node);
        if !self.is_free(node) {
            return true;
        }
        if data.op.has(Trait::Elementwise) {
            return data.operands.iter().all(|&operand| self.reads_at_index(graph, operand, param));
        }
        let mut read = BTreeSet::new();
        self.params(graph, value, &mut read);
        !read.contains(&param)
    }

    fn leads_to(&self, from: Node, to: Node) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut pending = vec![from];
        while let Some(node) = pending.pop() {
            if node == to {
                return true;
            }
            pending.extend(self.succs(node).iter().map(|edge| edge.node).filter(|&succ| seen.insert(succ)));
        }
        false
    }

    /// Whether the node is computed again wherever it is read.
    pub(super) fn is_free(&self, node: Node) -> bool {
        self.is_free[node.idx()]
    }

    /// Whether the node is to be assigned to a region (or to stand alone).
    pub(super) fn is_partitioned(&self, graph: &Graph, node: Node) -> bool {
        !self.is_free(node) && !graph.node(node).op.has(Trait::Leaf)
    }

    /// Partitioned nodes that this one depends on.
    pub(super) fn preds(&self, node: Node) -> &[Edge] {
        &self.preds[node.idx()]
    }

    /// Partitioned nodes that depend on this one.
    pub(super) fn succs(&self, node: Node) -> &[Edge] {
        &self.succs[node.idx()]
    }

    /// Whether a result of the graph is this node's value, or made of it by free nodes.
    pub(super) fn escapes(&self, node: Node) -> bool {
        self.escapes[node.idx()]
    }

    /// Calls `found` with each partitioned node that `value` is made of by free nodes alone.
    pub(super) fn sources(&self, graph: &Graph, value: Value, found: &mut dyn FnMut(Node)) {
        let node = graph.value(value).node;
        if self.is_free(node) {
            for &operand in &graph.node(node).operands {
                self.sources(graph, operand, found);
            }
        } else if !graph.node(node).op.has(Trait::Leaf) {
            found(node);
        }
    }
}

/// Nodes whose value must exist in memory. A reshape of a value in memory is that memory, so it passes this on. A
/// contraction reads views of its operands where they lie, so that what they are views of must exist.
fn anchored(graph: &Graph) -> Vec<bool> {
    let mut is_anchored = vec![false; graph.n_nodes()];
    let mut is_contracted = vec![false; graph.n_nodes()];
    for &result in graph.results() {
        is_anchored[graph.value(result).node.idx()] = true;
    }
    for (node, data) in graph.nodes().rev() {
        let is_viewed = is_contracted[node.idx()] && is_contracted_view(&data.op);
        is_anchored[node.idx()] |= is_contracted[node.idx()] && !is_viewed;
        let passes_on = matches!(data.op, Op::Reshape(_)) && is_anchored[node.idx()];
        for (idx, &operand) in data.operands.iter().enumerate() {
            let operand = graph.value(operand).node.idx();
            if is_viewed || data.op.has(Trait::Contraction) {
                is_contracted[operand] = true;
            } else if passes_on || reads_memory(&data.op, idx) {
                is_anchored[operand] = true;
            }
        }
    }
    is_anchored
}

/// By node, the work behind a value that is one element made of single elements alone, such as what an optimizer makes of
/// the number of the step; `None` for others: the mean of a tensor belongs to the pass over that tensor.
fn scalar_work(graph: &Graph) -> Vec<Option<u64>> {
    let mut work: Vec<Option<u64>> = vec![None; graph.n_nodes()];
    for (node, data) in graph.nodes() {
        let is_one = |value: Value| graph.ty(value).n_elements() == Some(1);
        let own = match &data.op {
            op if op.has(Trait::Leaf) => 0,
            op if op.has(Trait::Elementwise) => cost::element_flops(op),
            _ => continue,
        };
        if data.results().all(is_one) {
            let of_operands = data.operands.iter().map(|&operand| work[graph.value(operand).node.idx()]);
            work[node.idx()] = of_operands.sum::<Option<u64>>().map(|work| work.saturating_add(own));
        }
    }
    work
}

/// What it takes to compute a free value, for each element.
#[derive(Clone)]
struct Chain {
    flops: u64,
    /// The values in memory it reads.
    reads: BTreeSet<Value>,
}

fn free(graph: &Graph, is_anchored: &[bool], scalar_work: &[Option<u64>]) -> Vec<bool> {
    let uses = graph.uses();
    let elements = |value: Value| graph.ty(value).n_elements().unwrap_or(usize::MAX);
    let mut chains: Vec<Option<Chain>> = vec![None; graph.n_nodes()];
    for (node, data) in graph.nodes() {
        if data.n_results != 1 {
            continue;
        }
        let result = data.first_result;
        let mut chain = Chain { flops: 0, reads: BTreeSet::new() };
        for &operand in &data.operands {
            match &chains[graph.value(operand).node.idx()] {
                Some(inner) => {
                    chain.flops += inner.flops;
                    chain.reads.extend(inner.reads.iter().copied());
                }
                None => {
                    chain.reads.insert(operand);
                }
            }
        }
        let is_free = match &data.op {
            Op::Constant(Constant::Splat { .. }) | Op::Iota(_) => true,
            Op::Reshape(_) => true,
            _ if is_anchored[node.idx()] => false,
            Op::Transpose(_) => {
                uses[result.idx()].len() == 1
                    || chain.reads.is_empty()
                    || graph.ty(result).bytes().is_some_and(|bytes| bytes <= MAX_SHARED_TRANSPOSE_BYTES)
            }
            Op::BroadcastInDim(_) | Op::Slice(_) | Op::Reverse(_) => true,
            op if op.has(Trait::Elementwise) => {
                chain.flops += cost::element_flops(op);
                let from_smaller = chain.reads.iter().all(|&read| elements(read) < elements(result));
                if elements(result) == 1 {
                    // All of a long chain of scalars is stored, so that what is read at last is its end.
                    scalar_work[node.idx()].unwrap_or(chain.flops) <= MAX_FREE_SCALAR_FLOPS
                } else if from_smaller {
                    chain.flops <= MAX_FREE_FLOPS
                } else {
                    // One cheap step from a value that is in memory anyway.
                    chain.flops <= 2
                        && chain.reads.len() == 1
                        && chain.reads.iter().all(|&read| {
                            let def = graph.value(read).node;
                            data.operands.contains(&read)
                                && (is_anchored[def.idx()] || graph.node(def).op.has(Trait::Leaf))
                        })
                }
            }
            _ => false,
        };
        if is_free {
            chains[node.idx()] = Some(chain);
        }
    }
    chains.into_iter().map(|chain| chain.is_some()).collect()
}
