//! From clusters back to a graph: each cluster becomes a node, with the free nodes it reads copied into its region.

use std::collections::BTreeMap;

use nnc_ir::ops::{FusionKind, Trait};
use nnc_ir::{Diagnostic, Graph, Node, Op, Rewriter, Value};

use super::horizontal::Parts;
use super::kinds::is_contracted_view;
use super::partition::{Cluster, Partition};
use super::roles::reads_memory;
use crate::inline::splice;

/// A cluster as a graph of its own.
pub(super) struct Region {
    /// The members and copies of the free nodes they read.
    pub(super) graph: Graph,
    /// The values its parameters stand for.
    pub(super) inputs: Vec<Value>,
    /// The values its results are.
    pub(super) outputs: Vec<Value>,
}

/// The region of the given nodes (in id order), as if they were one cluster.
pub(super) fn extract(partition: &Partition<'_>, members: &[Node]) -> Region {
    Extraction::new(partition, members).run()
}

struct Extraction<'a> {
    partition: &'a Partition<'a>,
    members: &'a [Node],
    inputs: Vec<Value>,
    /// Value of the region for each value copied or entered so far.
    map: BTreeMap<Value, Value>,
    region: Graph,
}

impl<'a> Extraction<'a> {
    fn new(partition: &'a Partition<'a>, members: &'a [Node]) -> Self {
        Self { partition, members, inputs: Vec::new(), map: BTreeMap::new(), region: Graph::new() }
    }

    fn is_member(&self, node: Node) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    fn run(mut self) -> Region {
        let graph = self.partition.graph;
        // Parameters come first, so what enters is collected before anything is copied.
        for &member in self.members {
            let data = graph.node(member);
            for (idx, &operand) in data.operands.iter().enumerate() {
                let is_view = data.op.has(Trait::Contraction) && is_contracted_view(graph.def_op(operand));
                self.collect_inputs(operand, reads_memory(&data.op, idx) && !is_view);
            }
        }
        for idx in 0..self.inputs.len() {
            let input = self.inputs[idx];
            let param = self.region.param(graph.ty(input).clone(), graph.def(input).location.clone());
            self.map.insert(input, param);
        }
        for &member in self.members {
            self.copy(member);
        }
        let outputs: Vec<Value> = self
            .members
            .iter()
            .filter(|&&member| self.is_read_outside(member))
            .flat_map(|&member| graph.node(member).results())
            .collect();
        self.region.set_results(outputs.iter().map(|output| self.map[output]).collect());
        Region { graph: self.region, inputs: self.inputs, outputs }
    }

    fn is_read_outside(&self, member: Node) -> bool {
        let roles = self.partition.roles;
        roles.escapes(member) || roles.succs(member).iter().any(|edge| !self.is_member(edge.node) && edge.is_data)
    }

    fn collect_inputs(&mut self, value: Value, is_hard: bool) {
        let graph = self.partition.graph;
        let node = graph.value(value).node;
        if self.is_member(node) {
            return;
        }
        if !is_hard && self.is_copied(node) {
            for &operand in &graph.node(node).operands {
                self.collect_inputs(operand, false);
            }
        } else if !self.inputs.contains(&value) {
            self.inputs.push(value);
        }
    }

    /// Whether a node outside is copied into the region rather than read from memory. A reshape of something in
    /// memory is read from there, under its own shape.
    fn is_copied(&self, node: Node) -> bool {
        let (graph, roles) = (self.partition.graph, self.partition.roles);
        if !roles.is_free(node) {
            return false;
        }
        let data = graph.node(node);
        if !matches!(data.op, Op::Reshape(_)) {
            return true;
        }
        let inner = graph.value(data.operands[0]).node;
        self.is_member(inner) || (roles.is_free(inner) && self.is_copied(inner))
    }

    fn copy(&mut self, node: Node) {
        let graph = self.partition.graph;
        let data = graph.node(node);
        if self.map.contains_key(&data.first_result) {
            return;
        }
        for &operand in &data.operands {
            if !self.map.contains_key(&operand) {
                self.copy(graph.value(operand).node);
            }
        }
        let operands: Vec<Value> = data.operands.iter().map(|operand| self.map[operand]).collect();
        let types = data.results().map(|result| graph.ty(result).clone()).collect();
        let copied =
            self.region.push_typed(data.op.clone(), &operands, data.regions.clone(), types, data.location.clone());
        for (old, new) in data.results().zip(self.region.node(copied).results()) {
            self.map.insert(old, new);
        }
    }
}

/// The regions of several lists of nodes side by side, sharing inputs only.
fn extract_parts(partition: &Partition<'_>, parts: &[Vec<Node>]) -> Region {
    let regions: Vec<Region> = parts.iter().map(|part| extract(partition, part)).collect();
    let inputs: Vec<Value> = distinct(&regions.iter().flat_map(|region| region.inputs.clone()).collect::<Vec<_>>());
    let outputs: Vec<Value> = regions.iter().flat_map(|region| region.outputs.clone()).collect();
    let mut graph = Graph::new();
    let source = partition.graph;
    let params: Vec<Value> =
        inputs.iter().map(|&input| graph.param(source.ty(input).clone(), source.def(input).location.clone())).collect();
    let mut results = Vec::new();
    for region in &regions {
        let at = |input: &Value| inputs.iter().position(|other| other == input).expect("inputs were collected");
        let operands: Vec<Value> = region.inputs.iter().map(|input| params[at(input)]).collect();
        results.extend(splice(&region.graph, &operands, &mut graph));
    }
    graph.set_results(results);
    Region { graph, inputs, outputs }
}

/// The node that stands for a cluster: its contraction, else its last reduction, else its last node.
pub(super) fn root(partition: &Partition<'_>, cluster: Cluster) -> Node {
    let members = partition.members(cluster);
    let find = |wanted: Trait| members.iter().rev().find(|&&member| partition.graph.node(member).op.has(wanted));
    *find(Trait::Contraction)
        .or_else(|| find(Trait::Reduction))
        .unwrap_or_else(|| members.last().expect("a cluster has a member"))
}

/// The graph whose nodes are the clusters, in their order. `formed` hears of every fusion made.
pub(super) fn emit(
    partition: &Partition<'_>,
    parts: &Parts,
    formed: &mut dyn FnMut(Cluster, FusionKind, &Region),
) -> Result<Graph, Diagnostic> {
    let graph = partition.graph;
    let mut rewriter = Rewriter::new(graph);
    for cluster in partition.clusters() {
        let members = partition.members(cluster);
        let region = match parts.get(&cluster) {
            Some(parts) => extract_parts(partition, parts),
            None => extract(partition, members),
        };
        let inputs: Vec<Value> = region.inputs.iter().map(|&input| materialize(&mut rewriter, input)).collect();
        let root = root(partition, cluster);
        let data = graph.node(root);
        let is_plain = members.len() == 1 && region.inputs == distinct(&data.operands);
        match partition.kind(cluster).or_else(|| single_kind(&data.op)) {
            Some(kind) if !is_plain => {
                formed(cluster, kind, &region);
                let location = data.location.clone();
                let results = rewriter.build(location).fusion(kind, &inputs, region.graph)?;
                for (&output, result) in region.outputs.iter().zip(results) {
                    rewriter.map(output, result);
                }
            }
            _ => {
                for &operand in &data.operands {
                    materialize(&mut rewriter, operand);
                }
                rewriter.copy(root);
            }
        }
    }
    for &result in graph.results() {
        materialize(&mut rewriter, result);
    }
    Ok(rewriter.finish())
}

/// The kind of a lone node that reads free nodes.
fn single_kind(op: &Op) -> Option<FusionKind> {
    match op {
        Op::Reduce(_) => Some(FusionKind::Row),
        op if op.has(Trait::Contraction) => Some(FusionKind::Contraction),
        op if super::kinds::is_expression(op) => Some(FusionKind::Pointwise),
        // Other ops read memory only; no region can hold them.
        _ => None,
    }
}

fn distinct(values: &[Value]) -> Vec<Value> {
    let mut seen = Vec::new();
    for &value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// The new value for an old one that must be in memory: leaves, reshapes and other free nodes are copied on demand.
fn materialize(rewriter: &mut Rewriter<'_>, value: Value) -> Value {
    if let Some(new) = rewriter.try_get(value) {
        return new;
    }
    let node = rewriter.old().value(value).node;
    let data = rewriter.old().node(node);
    debug_assert!(
        data.op.has(Trait::Leaf) || matches!(data.op, Op::Reshape(_)),
        "{} is read from memory before it is computed",
        data.op.mnemonic()
    );
    for &operand in &data.operands {
        materialize(rewriter, operand);
    }
    rewriter.copy(node);
    rewriter.get(value)
}
