//! Growth of clusters from their seeds.

use std::collections::BTreeMap;

use nnc_ir::ops::{FusionKind, Trait};
use nnc_ir::{Node, Op, Shape, Value};

use super::kinds::{check_region, folds_windows, is_expression, joins};
use super::partition::{Cluster, Obstacle, Partition};
use super::region::extract;
use crate::cost;

/// Nodes of one cluster at most: beyond, a kernel would keep too much at once.
const MAX_MEMBERS: usize = 256;

/// Tensors that one kernel reads and writes at most: each takes an address and a stream of the prefetcher.
const MAX_BUFFERS: usize = 32;

/// Work for each element that is done again for every repetition of a broadcast, rather than stored.
const MAX_REPEATED_FLOPS: u64 = 2;

/// The growing partition, and why edges that were tried stay between clusters.
pub(super) struct Growth<'g> {
    partition: Partition<'g>,
    misses: BTreeMap<(Node, Node), String>,
}

impl<'g> Growth<'g> {
    pub(super) fn new(partition: Partition<'g>) -> Self {
        Self { partition, misses: BTreeMap::new() }
    }

    pub(super) fn finish(self) -> (Partition<'g>, BTreeMap<(Node, Node), String>) {
        (self.partition, self.misses)
    }

    fn op(&self, node: Node) -> &'g Op {
        &self.partition.graph.node(node).op
    }

    fn shape(&self, node: Node) -> &'g Shape {
        let graph = self.partition.graph;
        &graph.ty(graph.node(node).first_result).shape
    }

    /// The node's cluster, if nothing has claimed it.
    fn unclaimed(&self, node: Node) -> Option<Cluster> {
        self.partition.cluster(node).filter(|&cluster| self.partition.is_single(cluster))
    }

    /// Nodes that read values of the cluster, or whose values it reads, with the member at the other end.
    fn neighbors(&self, cluster: Cluster, forward: bool) -> Vec<(Node, Node)> {
        let roles = self.partition.roles;
        let mut found = Vec::new();
        for &member in self.partition.members(cluster) {
            let edges = if forward { roles.succs(member) } else { roles.preds(member) };
            for edge in edges.iter().filter(|edge| edge.is_data) {
                if self.partition.cluster(edge.node) != Some(cluster) {
                    found.push((edge.node, member));
                }
            }
        }
        found
    }

    /// Whether every reader of the node's value is in `cluster`.
    fn is_read_only_by(&self, node: Node, cluster: Cluster) -> bool {
        let roles = self.partition.roles;
        !roles.escapes(node)
            && roles
                .succs(node)
                .iter()
                .filter(|edge| edge.is_data)
                .all(|edge| self.partition.cluster(edge.node) == Some(cluster))
    }

    /// Makes the unclaimed `node` part of `cluster` if it may be; `member` is at the other end of their edge.
    fn absorb(&mut self, cluster: Cluster, kind: FusionKind, node: Node, member: Node) -> bool {
        let Some(single) = self.unclaimed(node).filter(|&single| single != cluster) else { return false };
        let mut members = [self.partition.members(cluster), &[node]].concat();
        members.sort_unstable();
        let refusal = match self.partition.obstacle(cluster, single) {
            Some(Obstacle::Memory) => Some("the value is read as a whole".to_string()),
            Some(Obstacle::Path(through)) => {
                let through = self.partition.members(through)[0];
                Some(format!("they also meet by way of {}", self.op(through).mnemonic()))
            }
            None if members.len() > MAX_MEMBERS => Some(format!("the kernel would have over {MAX_MEMBERS} nodes")),
            None => {
                let region = extract(&self.partition, &members);
                let n_buffers = region.inputs.len() + region.outputs.len();
                if n_buffers > MAX_BUFFERS {
                    Some(format!("the kernel would have {n_buffers} tensors"))
                } else {
                    check_region(kind, &region.graph).err()
                }
            }
        };
        match refusal {
            None => self.partition.merge(cluster, single),
            Some(reason) => {
                self.misses.insert((node.min(member), node.max(member)), reason);
                return false;
            }
        }
        true
    }

    /// Absorbs neighbors that `wanted` accepts until none is left, and says whether there was any.
    fn absorb_all(
        &mut self,
        cluster: Cluster,
        kind: FusionKind,
        forward: bool,
        wanted: impl Fn(&Self, Node, Node) -> bool,
    ) -> bool {
        let mut any = false;
        loop {
            let mut changed = false;
            for (node, member) in self.neighbors(cluster, forward) {
                if self.unclaimed(node).is_some() && wanted(self, node, member) {
                    changed |= self.absorb(cluster, kind, node, member);
                }
            }
            if !changed {
                return any;
            }
            any = true;
        }
    }

    /// The partitioned nodes whose op `is_seed` accepts.
    fn seeds(&self, is_seed: impl Fn(&Op) -> bool) -> Vec<Node> {
        let graph = self.partition.graph;
        let partitioned = |node| self.partition.cluster(node).is_some();
        graph.nodes().filter(|&(node, data)| partitioned(node) && is_seed(&data.op)).map(|(node, _)| node).collect()
    }

    /// Contractions with the elementwise work on their results.
    pub(super) fn contractions(&mut self) {
        let kind = FusionKind::Contraction;
        for dot in self.seeds(|op| op.has(Trait::Contraction)) {
            let cluster = self.unclaimed(dot).expect("only contractions are claimed, and this one is not");
            self.partition.set_kind(cluster, kind);
            let full = self.shape(dot);
            let is_epilogue =
                |growth: &Self, node: Node| growth.op(node).has(Trait::Elementwise) && joins(full, growth.shape(node));
            loop {
                let forward = self.absorb_all(cluster, kind, true, |growth, node, _| is_epilogue(growth, node));
                let backward = self.absorb_all(cluster, kind, false, |growth, node, _| {
                    is_epilogue(growth, node) && growth.is_read_only_by(node, cluster)
                });
                if !forward && !backward {
                    break;
                }
            }
        }
    }

    /// Reductions with the pointwise work around them. Those along trailing dimensions come first: what lies between
    /// them and a sum over rows belongs to them.
    pub(super) fn rows(&mut self) {
        let kind = FusionKind::Row;
        let mut seeds = self.seeds(|op| matches!(op, Op::Reduce(attrs) if !attrs.dims.is_empty()));
        let is_trailing = |node: &Node| match self.op(*node) {
            Op::Reduce(attrs) => attrs.dims.last() == Some(&(self.operand_shape(*node).rank() - 1)),
            _ => false,
        };
        seeds.sort_by_cached_key(|node| (!is_trailing(node), *node));
        for reduce in seeds {
            let Some(cluster) = self.unclaimed(reduce) else { continue };
            self.partition.set_kind(cluster, kind);
            let (full, row) = (self.operand_shape(reduce), self.shape(reduce));
            let fits = |growth: &Self, node: Node| {
                let op = growth.op(node);
                let shape = growth.shape(node);
                match op {
                    Op::Reduce(_) => growth.operand_shape(node) == full,
                    _ => op.has(Trait::Elementwise) && (shape == full || shape == row),
                }
            };
            loop {
                let forward = self.absorb_all(cluster, kind, true, |growth, node, _| fits(growth, node));
                let backward = self.absorb_all(cluster, kind, false, |growth, node, _| {
                    growth.is_read_only_by(node, cluster) && (fits(growth, node) || growth.is_inlined_expression(node))
                });
                // A value that others read too is stored on the way: that spares reading it back.
                let stored = !forward && !backward && {
                    self.absorb_all(cluster, kind, false, |growth, node, _| {
                        growth.op(node).has(Trait::Elementwise) && growth.shape(node) == full
                    })
                };
                if !forward && !backward && !stored {
                    break;
                }
            }
        }
        self.join_readers(kind);
    }

    fn operand_shape(&self, node: Node) -> &'g Shape {
        let graph = self.partition.graph;
        &graph.ty(graph.node(node).operands[0]).shape
    }

    /// Whether the node's elements can be computed where they are read without work being repeated.
    fn is_inlined_expression(&self, node: Node) -> bool {
        let op = self.op(node);
        is_expression(op) && !matches!(op, Op::RngBits(_)) && !folds_windows(op) && !self.is_repeated(node)
    }

    /// Clusters of one kind over the same space that read one tensor of its shape become one, which reads it once.
    fn join_readers(&mut self, kind: FusionKind) {
        let is_of_kind = |&cluster: &Cluster| self.partition.kind(cluster) == Some(kind);
        let clusters: Vec<Cluster> = self.partition.clusters().filter(is_of_kind).collect();
        // The cluster that reads each tensor of its own shape.
        let mut reader_of: BTreeMap<Value, Cluster> = BTreeMap::new();
        for cluster in clusters {
            let space = self.space(cluster);
            let mut inputs = extract(&self.partition, self.partition.members(cluster)).inputs;
            inputs.retain(|&input| self.partition.graph.ty(input).shape == *space);
            let candidates = inputs.iter().filter_map(|input| reader_of.get(input)).copied();
            let into = candidates.into_iter().find(|&into| self.can_join(kind, into, cluster));
            if let Some(into) = into {
                self.partition.merge(into, cluster);
            }
            reader_of.extend(inputs.into_iter().map(|input| (input, into.unwrap_or(cluster))));
        }
    }

    /// Whether two clusters make a legal one together.
    fn can_join(&self, kind: FusionKind, lhs: Cluster, rhs: Cluster) -> bool {
        let mut members = [self.partition.members(lhs), self.partition.members(rhs)].concat();
        members.sort_unstable();
        if members.len() > MAX_MEMBERS || self.partition.obstacle(lhs, rhs).is_some() {
            return false;
        }
        let region = extract(&self.partition, &members);
        region.inputs.len() + region.outputs.len() <= MAX_BUFFERS && check_region(kind, &region.graph).is_ok()
    }

    /// Shape that a row cluster reduces, or of a pointwise cluster's results.
    fn space(&self, cluster: Cluster) -> &'g Shape {
        let members = self.partition.members(cluster);
        match members.iter().find(|&&member| matches!(self.op(member), Op::Reduce(_))) {
            Some(&reduce) => self.operand_shape(reduce),
            None => self.shape(*members.last().expect("a cluster has a member")),
        }
    }

    /// What is left, from the results backward, so that a producer finds its readers together.
    pub(super) fn pointwise(&mut self) {
        let kind = FusionKind::Pointwise;
        for seed in self.seeds(is_expression).into_iter().rev() {
            let Some(cluster) = self.unclaimed(seed) else { continue };
            self.partition.set_kind(cluster, kind);
            let space = self.shape(seed);
            loop {
                let backward = self.absorb_all(cluster, kind, false, |growth, node, member| {
                    let direct = growth.shape(node) == space && growth.reads_directly(member, node);
                    is_expression(growth.op(node))
                        && (direct || (growth.is_read_only_by(node, cluster) && growth.is_inlined_expression(node)))
                });
                let forward = self.absorb_all(cluster, kind, true, |growth, node, _| {
                    is_expression(growth.op(node)) && growth.shape(node) == space
                });
                if !forward && !backward {
                    break;
                }
            }
        }
        self.join_readers(kind);
    }

    fn reads_directly(&self, member: Node, node: Node) -> bool {
        let graph = self.partition.graph;
        graph.node(member).operands.iter().any(|&operand| graph.value(operand).node == node)
    }

    /// Whether some reader would compute the node's elements again and again, at a cost, because it repeats them.
    fn is_repeated(&self, node: Node) -> bool {
        let graph = self.partition.graph;
        cost::element_flops(self.op(node)) > MAX_REPEATED_FLOPS
            && self.partition.roles.succs(node).iter().any(|edge| {
                graph
                    .node(edge.node)
                    .operands
                    .iter()
                    .any(|&operand| self.reaches_through_broadcast(operand, node, false))
            })
    }

    fn reaches_through_broadcast(&self, value: Value, node: Node, broadcast: bool) -> bool {
        let graph = self.partition.graph;
        let def = graph.value(value).node;
        if def == node {
            return broadcast;
        }
        let broadcast = broadcast || matches!(self.op(def), Op::BroadcastInDim(_));
        self.partition.roles.is_free(def)
            && graph.node(def).operands.iter().any(|&operand| self.reaches_through_broadcast(operand, node, broadcast))
    }
}
