//! Horizontal fusion: small clusters that do not depend on each other share a launch.
//!
//! A launch costs about a microsecond, more than the work of updating a bias. Only pointwise clusters and rows without
//! full-shape results take part, and only small ones: they are latency, not bandwidth.

use std::collections::BTreeMap;

use nnc_ir::ops::{FusionKind, Trait};
use nnc_ir::{Node, Op};

use super::kinds::is_expression;
use super::partition::{Cluster, Partition};
use super::region::extract;
use crate::cost;

/// Bytes that one part reads and writes at most.
const MAX_PART_BYTES: u64 = 256 << 10;

/// Work of one part at most.
const MAX_PART_FLOPS: u64 = 256 << 10;

/// Parts of one kernel at most.
const MAX_PARTS: usize = 16;

/// Clusters that may still grow, at most: a small cluster joins one of those formed last.
const MAX_OPEN: usize = 8;

/// The clusters that each horizontal cluster was made of, as lists of nodes.
pub(super) type Parts = BTreeMap<Cluster, Vec<Vec<Node>>>;

/// Merges small independent clusters, greedily in topological order.
pub(super) fn merge_small(partition: &mut Partition<'_>) -> Parts {
    let mut parts = Parts::new();
    let mut open: Vec<Cluster> = Vec::new();
    let small: Vec<Cluster> = partition.clusters().filter(|&cluster| is_small(partition, cluster)).collect();
    for cluster in small {
        let first_open = open.len().saturating_sub(MAX_OPEN);
        let into = open[first_open..].iter().copied().find(|&into| {
            parts.get(&into).is_none_or(|parts| parts.len() < MAX_PARTS)
                && partition.are_apart(into, cluster)
                && partition.obstacle(into, cluster).is_none()
        });
        let Some(into) = into else {
            open.push(cluster);
            continue;
        };
        let part = partition.members(cluster).to_vec();
        let first = partition.members(into).to_vec();
        parts.entry(into).or_insert_with(|| vec![first]).push(part);
        partition.merge(into, cluster);
        partition.set_kind(into, FusionKind::Horizontal);
    }
    parts
}

fn is_small(partition: &Partition<'_>, cluster: Cluster) -> bool {
    let members = partition.members(cluster);
    let graph = partition.graph;
    let is_row = members.iter().any(|&member| matches!(graph.node(member).op, Op::Reduce(_)));
    let computes = |&member: &Node| {
        let op = &graph.node(member).op;
        matches!(op, Op::Reduce(_)) || (is_expression(op) && !op.has(Trait::Contraction))
    };
    if !members.iter().all(computes) {
        return false;
    }
    let region = extract(partition, members).graph;
    let bytes = region.params().iter().chain(region.results()).map(|&value| region.ty(value).bytes());
    let Some(bytes) = bytes.sum::<Option<usize>>() else { return false };
    let flops = region.nodes().map(|(node, _)| cost::node_flops(&region, node)).sum::<Option<u64>>();
    let rows_only = !is_row || {
        let full = super::kinds::row_space(&region).map(|(full, _)| full);
        region.results().iter().all(|&result| Some(&region.ty(result).shape) != full.as_ref())
    };
    rows_only && bytes as u64 <= MAX_PART_BYTES && flops.is_some_and(|flops| flops <= MAX_PART_FLOPS)
}
