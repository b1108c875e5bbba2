//! What the forward scan keeps for the backward scan: the fewest bytes from which everything needed follows.
//!
//! A forward value that the gradient needs can be stacked, or computed again from others by cheap ops. With bytes as
//! capacities of values and recomputation as the edges between them, the values to stack are a minimum cut between what
//! cannot be computed again (carries, contractions, transcendentals, ...) and what is needed: the max-flow min-cut
//! theorem (Ford and Fulkerson, 1956), with shortest augmenting paths (Edmonds and Karp, 1972). Of equal cuts it is the
//! one closest to what is needed, which computes least again.

use std::collections::{BTreeSet, VecDeque};

use nnc_ir::ops::Trait;
use nnc_ir::{Bindings, Graph, Op, TensorType, Value};

use super::{Joint, Source};
use crate::cost;

/// What a symbolic extent counts when bytes are compared before shapes are known.
const NOMINAL_EXTENT: usize = 64;

/// Work for each element up to which an elementwise op is done again rather than its result stored.
const MAX_RECOMPUTED_FLOPS: u64 = 4;

/// Bytes of a tensor of type `ty`, with a typical number for each symbol.
pub(super) fn nominal_bytes(ty: &TensorType) -> usize {
    let symbols = ty.shape.dims().iter().flat_map(|dim| dim.symbols());
    let bindings: Bindings = symbols.map(|symbol| (symbol, NOMINAL_EXTENT)).collect();
    ty.substitute(&bindings).bytes().unwrap_or(usize::MAX / 4)
}

/// Whether an op is done again rather than its result kept.
fn is_cheap(op: &Op) -> bool {
    match op {
        Op::Gather(_) => false,
        _ => op.has(Trait::Movement) || (op.has(Trait::Elementwise) && cost::element_flops(op) <= MAX_RECOMPUTED_FLOPS),
    }
}

/// The forward values to keep so that `computed` follows from them and what is there anyway; `kept_anyway` is among them.
/// In order of definition.
pub(super) fn keep(joint: &Joint<'_>, computed: &[Value], kept_anyway: &[Value]) -> Vec<Value> {
    let needed = frontier(&joint.graph, computed, &|value| joint.source(value).is_some());
    let needed: Vec<Value> = needed.into_iter().filter(|&value| joint.source(value) == Some(Source::Step)).collect();
    let mut cut = Network::new(joint, &needed, kept_anyway).min_cut();
    cut.extend(kept_anyway);
    cut.into_iter().collect()
}

/// The values with a stack that the backward scan reads to make `computed`, in order of definition.
pub(super) fn read(joint: &Joint<'_>, computed: &[Value], has_stack: &dyn Fn(Value) -> bool) -> Vec<Value> {
    let read = frontier(&joint.graph, computed, has_stack);
    read.into_iter().filter(|&value| has_stack(value)).collect()
}

/// The values that `is_end` accepts and on which `values` depend not by way of others of them.
fn frontier(graph: &Graph, values: &[Value], is_end: &dyn Fn(Value) -> bool) -> BTreeSet<Value> {
    let mut ends = BTreeSet::new();
    let mut seen = vec![false; graph.n_values()];
    let mut pending = values.to_vec();
    while let Some(value) = pending.pop() {
        if std::mem::replace(&mut seen[value.idx()], true) {
            continue;
        }
        if is_end(value) {
            ends.insert(value);
        } else {
            pending.extend(&graph.def(value).operands);
        }
    }
    ends
}

/// A flow network: each value is an edge of its bytes from its entry to its exit.
struct Network {
    /// Values in the network; value `at` has entry `2 * at` and exit `2 * at + 1`.
    values: Vec<Value>,
    /// Edges by number, with what more can flow; the reverse of edge `e` is `e ^ 1`.
    edges: Vec<(usize, usize)>,
    /// Edges that leave each vertex.
    leaving: Vec<Vec<usize>>,
}

const UNBOUNDED: usize = usize::MAX / 2;

impl Network {
    fn new(joint: &Joint<'_>, needed: &[Value], free: &[Value]) -> Self {
        let body = &joint.body;
        // What is needed, and what it could be computed from.
        let mut members = BTreeSet::new();
        let mut pending = needed.to_vec();
        while let Some(value) = pending.pop() {
            let is_step = joint.source(value) == Some(Source::Step);
            if is_step && members.insert(value) && is_cheap(body.def_op(value)) {
                pending.extend(&body.def(value).operands);
            }
        }
        let values: Vec<Value> = members.into_iter().collect();
        let n_vertices = 2 * values.len() + 2;
        let mut network = Self { values, edges: Vec::new(), leaving: vec![Vec::new(); n_vertices] };
        let (source, sink) = network.ends();
        for at in 0..network.values.len() {
            let value = network.values[at];
            let capacity = if free.contains(&value) { 0 } else { nominal_bytes(body.ty(value)) };
            network.connect(2 * at, 2 * at + 1, capacity);
            if is_cheap(body.def_op(value)) {
                for operand in &body.def(value).operands {
                    if let Ok(from) = network.values.binary_search(operand) {
                        network.connect(2 * from + 1, 2 * at, UNBOUNDED);
                    }
                }
            } else {
                network.connect(source, 2 * at, UNBOUNDED);
            }
            if needed.contains(&value) {
                network.connect(2 * at + 1, sink, UNBOUNDED);
            }
        }
        network
    }

    /// Source and sink.
    fn ends(&self) -> (usize, usize) {
        (2 * self.values.len(), 2 * self.values.len() + 1)
    }

    fn connect(&mut self, from: usize, to: usize, capacity: usize) {
        self.leaving[from].push(self.edges.len());
        self.edges.push((to, capacity));
        self.leaving[to].push(self.edges.len());
        self.edges.push((from, 0));
    }

    /// The values whose edges are cut.
    fn min_cut(mut self) -> BTreeSet<Value> {
        while self.augment() {}
        // Backward from the sink along edges on which more could flow.
        let (_, sink) = self.ends();
        let mut reaches = vec![false; self.leaving.len()];
        reaches[sink] = true;
        let mut pending = vec![sink];
        while let Some(vertex) = pending.pop() {
            for &edge in &self.leaving[vertex] {
                let (from, more) = (self.edges[edge].0, self.edges[edge ^ 1].1);
                if more > 0 && !std::mem::replace(&mut reaches[from], true) {
                    pending.push(from);
                }
            }
        }
        let is_cut = |at: &usize| !reaches[2 * at] && reaches[2 * at + 1];
        (0..self.values.len()).filter(is_cut).map(|at| self.values[at]).collect()
    }

    /// Sends what it can along a shortest path; whether there was one.
    fn augment(&mut self) -> bool {
        let (source, sink) = self.ends();
        let mut arrived_by: Vec<Option<usize>> = vec![None; self.leaving.len()];
        let mut pending = VecDeque::from([source]);
        while let Some(vertex) = pending.pop_front() {
            for &edge in &self.leaving[vertex] {
                let (to, more) = self.edges[edge];
                if more > 0 && to != source && arrived_by[to].is_none() {
                    arrived_by[to] = Some(edge);
                    pending.push_back(to);
                }
            }
        }
        let mut path = Vec::new();
        let mut vertex = sink;
        while vertex != source {
            let Some(edge) = arrived_by[vertex] else { return false };
            path.push(edge);
            vertex = self.edges[edge ^ 1].0;
        }
        let amount = path.iter().map(|&edge| self.edges[edge].1).min().unwrap_or(0);
        for edge in path {
            self.edges[edge].1 -= amount;
            self.edges[edge ^ 1].1 += amount;
        }
        true
    }
}
