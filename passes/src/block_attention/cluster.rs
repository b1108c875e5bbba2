//! Which nodes are computed in blocks.

use std::collections::BTreeMap;

use nnc_ir::ops::{DotAttrs, Trait};
use nnc_ir::{Dim, Graph, Node, NodeData, Op, Value};

use super::Limits;

/// Nodes around a wide contraction whose results all begin with its batch dimensions, each element of the batch
/// computed from the same element of what they read.
pub(super) struct Cluster {
    /// The contraction it grew from.
    pub(super) seed: Node,
    /// Extents of the batch dimensions.
    pub(super) lead: Vec<usize>,
    /// Extents of the batch dimensions in a block; blocks follow one another in row-major order of the batch.
    pub(super) block: Vec<usize>,
    /// The stage of each node: a node that reads, through nodes outside, what a stage gives belongs to a later one.
    pub(super) stage_of: BTreeMap<Node, usize>,
    /// Elements from which a value is wide.
    wide: usize,
}

/// Every cluster worth the name, in order of its seed. Clusters may overlap.
pub(super) fn find(graph: &Graph, limits: Limits) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for (seed, data) in graph.nodes() {
        let Op::DotGeneral(attrs) = &data.op else { continue };
        let taken = clusters.iter().any(|cluster| cluster.stage_of.contains_key(&seed));
        let bytes = |value: Value| graph.ty(value).bytes().unwrap_or(0);
        let result = data.result();
        let largest_operand = data.operands.iter().map(|&operand| bytes(operand)).max().unwrap_or(0);
        if taken || attrs.lhs_batch.is_empty() || bytes(result) < limits.total || bytes(result) <= largest_operand {
            continue;
        }
        let Some(extents) = graph.ty(result).shape.as_fixed() else { continue };
        let lead = extents[..attrs.lhs_batch.len()].to_vec();
        let n_elements: usize = lead.iter().product();
        let block = block_of(&lead, limits.block / (bytes(result) / n_elements).max(1));
        let mut cluster = Cluster { seed, lead, block, stage_of: BTreeMap::new(), wide: extents.iter().product() };
        cluster.grow(graph);
        clusters.push(cluster);
    }
    clusters
}

/// The largest block of at most `most` batch elements (at least one) that follow one another: whole inner dimensions,
/// and a divisor of the next one.
fn block_of(lead: &[usize], most: usize) -> Vec<usize> {
    let mut block = vec![1; lead.len()];
    let mut left = most.max(1);
    for (dim, &extent) in lead.iter().enumerate().rev() {
        block[dim] = (1..=extent.min(left)).rev().find(|size| extent % size == 0).unwrap_or(1);
        if block[dim] < extent {
            break;
        }
        left /= extent;
    }
    block
}

impl Cluster {
    /// How many blocks there are.
    pub(super) fn n_blocks(&self) -> usize {
        self.lead.iter().product::<usize>() / self.block.iter().product::<usize>()
    }

    /// Whether the value is one that blocks are made for.
    pub(super) fn is_wide(&self, graph: &Graph, value: Value) -> bool {
        graph.ty(value).n_elements().is_some_and(|n_elements| n_elements >= self.wide) && self.leads(graph, value)
    }

    /// Whether the value's first dimensions are those of the batch.
    pub(super) fn leads(&self, graph: &Graph, value: Value) -> bool {
        let dims = graph.ty(value).shape.dims();
        dims.len() >= self.lead.len()
            && dims.iter().zip(&self.lead).all(|(dim, &extent)| dim.as_const() == Some(extent))
    }

    pub(super) fn contains(&self, graph: &Graph, value: Value) -> bool {
        self.stage_of.contains_key(&graph.value(value).node)
    }

    /// Takes in what depends on the seed, as far as batch elements stay apart, then the wide values it meets there, and
    /// then leaves out what neither is nor reads a wide value and leads to none.
    fn grow(&mut self, graph: &Graph) {
        self.stage_of.insert(self.seed, 0);
        let mut met = vec![false; graph.n_values()];
        for (node, data) in graph.nodes().skip(self.seed.idx() + 1) {
            let depends = data.operands.iter().any(|&operand| self.contains(graph, operand));
            if depends && self.keeps_batch_apart(graph, data) {
                self.stage_of.insert(node, 0);
                data.operands.iter().for_each(|operand| met[operand.idx()] = true);
            }
        }
        // In the backward pass: the product of a cotangent with the values, which is as wide as the scores.
        for (node, data) in graph.nodes().rev() {
            let is_met = data.results().any(|result| met[result.idx()] && self.is_wide(graph, result));
            if is_met && !self.stage_of.contains_key(&node) && self.keeps_batch_apart(graph, data) {
                self.stage_of.insert(node, 0);
                data.operands.iter().for_each(|operand| met[operand.idx()] = true);
            }
        }
        let mut leads_to_wide = vec![false; graph.n_values()];
        let joined: Vec<Node> = self.stage_of.keys().copied().collect();
        for node in joined.into_iter().rev() {
            let data = graph.node(node);
            let result = data.result();
            let needed = leads_to_wide[result.idx()] || self.is_wide(graph, result);
            let reads_wide = |&operand: &Value| self.contains(graph, operand) && self.is_wide(graph, operand);
            if needed {
                data.operands.iter().for_each(|operand| leads_to_wide[operand.idx()] = true);
            } else if !data.operands.iter().any(reads_wide) {
                self.stage_of.remove(&node);
            }
        }
        self.number_stages(graph);
    }

    fn number_stages(&mut self, graph: &Graph) {
        // For each value the first stage that may read it.
        let mut from = vec![0usize; graph.n_values()];
        for (node, data) in graph.nodes() {
            let inside = self.stage_of.contains_key(&node);
            let stages = data.operands.iter().map(|&operand| match self.stage_of.get(&graph.value(operand).node) {
                Some(&stage) if !inside => stage + 1,
                Some(&stage) => stage,
                None => from[operand.idx()],
            });
            let first = stages.max().unwrap_or(0);
            data.results().for_each(|result| from[result.idx()] = first);
            if inside {
                self.stage_of.insert(node, first);
            }
        }
    }

    /// Whether the node computes each batch element from the same element of its operands.
    fn keeps_batch_apart(&self, graph: &Graph, data: &NodeData) -> bool {
        if data.n_results != 1 || data.operands.is_empty() {
            return false;
        }
        let n_lead = self.lead.len();
        let result = data.result();
        let all_lead = data.operands.iter().all(|&operand| self.leads(graph, operand));
        self.leads(graph, result)
            && match &data.op {
                op if op.has(Trait::Elementwise) => all_lead,
                Op::BroadcastInDim(attrs) => all_lead && attrs.dims.iter().take(n_lead).copied().eq(0..n_lead),
                Op::Reduce(attrs) => all_lead && attrs.dims.iter().all(|&dim| dim >= n_lead),
                Op::Transpose(permutation) => permutation[..n_lead].iter().copied().eq(0..n_lead),
                Op::Reshape(_) => all_lead,
                Op::DotGeneral(attrs) => self.is_batch_by_batch(graph, data, attrs),
                _ => false,
            }
    }

    /// Whether a contraction keeps exactly the batch dimensions apart. Operands from outside may have them anywhere.
    fn is_batch_by_batch(&self, graph: &Graph, data: &NodeData, attrs: &DotAttrs) -> bool {
        let n_lead = self.lead.len();
        let fits = |operand: Value, batch: &[usize]| {
            batch.len() == n_lead
                && (!self.contains(graph, operand) || batch.iter().copied().eq(0..n_lead))
                && batch.iter().zip(&self.lead).all(|(&dim, &extent)| {
                    graph.ty(operand).shape.dims().get(dim).and_then(Dim::as_const) == Some(extent)
                })
        };
        fits(data.operands[0], &attrs.lhs_batch) && fits(data.operands[1], &attrs.rhs_batch)
    }
}
