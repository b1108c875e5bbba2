//! The partition of a graph's nodes into clusters, kept acyclic.
//!
//! Every cluster has a position in a topological order of clusters. Two clusters may become one only if no path leads
//! from the first through a third to the second; such a path stays between their positions, so the search for it is
//! short, and so is the repair of the order afterward (after Pearce and Kelly's dynamic topological sort).

use std::collections::{BTreeSet, HashSet};

use nnc_ir::ops::FusionKind;
use nnc_ir::{Graph, Node};

use super::roles::Roles;

/// A cluster of nodes, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Cluster(u32);

impl Cluster {
    fn idx(self) -> usize {
        self.0 as usize
    }
}

/// Why two clusters cannot become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// One reads a value of the other as a whole.
    Memory,
    /// A path leads from one to the other through this cluster.
    Path(Cluster),
}

/// Disjoint clusters of the partitioned nodes of a graph, in topological order.
pub(super) struct Partition<'g> {
    pub(super) graph: &'g Graph,
    pub(super) roles: &'g Roles,
    cluster_of: Vec<Option<Cluster>>,
    /// Members in id order; empty once merged into another cluster.
    members: Vec<Vec<Node>>,
    kinds: Vec<Option<FusionKind>>,
    positions: Vec<usize>,
    order: Vec<Option<Cluster>>,
}

impl<'g> Partition<'g> {
    /// Every partitioned node in a cluster of its own.
    pub(super) fn new(graph: &'g Graph, roles: &'g Roles) -> Self {
        let mut partition = Self {
            graph,
            roles,
            cluster_of: vec![None; graph.n_nodes()],
            members: Vec::new(),
            kinds: Vec::new(),
            positions: Vec::new(),
            order: Vec::new(),
        };
        for node in topological(graph, roles) {
            let cluster = Cluster(partition.members.len() as u32);
            partition.cluster_of[node.idx()] = Some(cluster);
            partition.members.push(vec![node]);
            partition.kinds.push(None);
            partition.positions.push(partition.order.len());
            partition.order.push(Some(cluster));
        }
        partition
    }

    /// The cluster of a partitioned node.
    pub(super) fn cluster(&self, node: Node) -> Option<Cluster> {
        self.cluster_of[node.idx()]
    }

    /// Members in id order.
    pub(super) fn members(&self, cluster: Cluster) -> &[Node] {
        &self.members[cluster.idx()]
    }

    /// Whether the cluster is one node that nothing has claimed.
    pub(super) fn is_single(&self, cluster: Cluster) -> bool {
        self.kinds[cluster.idx()].is_none()
    }

    /// Kind, once decided.
    pub(super) fn kind(&self, cluster: Cluster) -> Option<FusionKind> {
        self.kinds[cluster.idx()]
    }

    /// Decides the kind.
    pub(super) fn set_kind(&mut self, cluster: Cluster, kind: FusionKind) {
        self.kinds[cluster.idx()] = Some(kind);
    }

    /// All clusters in topological order.
    pub(super) fn clusters(&self) -> impl Iterator<Item = Cluster> + '_ {
        self.order.iter().filter_map(|&cluster| cluster)
    }

    /// Clusters that read from `cluster`, each with whether one of them reads memory.
    fn succs(&self, cluster: Cluster) -> impl Iterator<Item = (Cluster, bool)> + '_ {
        self.members(cluster).iter().flat_map(move |&member| {
            self.roles.succs(member).iter().filter_map(move |edge| {
                let succ = self.cluster(edge.node).expect("edges join partitioned nodes");
                (succ != cluster).then_some((succ, edge.is_hard))
            })
        })
    }

    /// Whether neither cluster reads a value of the other, or must precede it.
    pub(super) fn are_apart(&self, lhs: Cluster, rhs: Cluster) -> bool {
        self.succs(lhs).all(|(succ, _)| succ != rhs) && self.succs(rhs).all(|(succ, _)| succ != lhs)
    }

    /// Whether two clusters can become one.
    pub(super) fn obstacle(&self, lhs: Cluster, rhs: Cluster) -> Option<Obstacle> {
        self.reachable_between(lhs, rhs).err()
    }

    /// Clusters after the first and before the second that the first leads to, if none of them leads to the second.
    fn reachable_between(&self, lhs: Cluster, rhs: Cluster) -> Result<HashSet<Cluster>, Obstacle> {
        let (first, last) = if self.positions[lhs.idx()] < self.positions[rhs.idx()] { (lhs, rhs) } else { (rhs, lhs) };
        // For lookup only.
        let mut reachable = HashSet::new();
        let mut pending = vec![first];
        while let Some(cluster) = pending.pop() {
            for (succ, is_hard) in self.succs(cluster) {
                if succ == last {
                    if cluster != first {
                        return Err(Obstacle::Path(cluster));
                    }
                    if is_hard {
                        return Err(Obstacle::Memory);
                    }
                } else if self.positions[succ.idx()] < self.positions[last.idx()] && reachable.insert(succ) {
                    pending.push(succ);
                }
            }
        }
        Ok(reachable)
    }

    /// Makes `from` part of `into`, which keeps its kind.
    ///
    /// # Panics
    /// If there is an [obstacle](Partition::obstacle).
    pub(super) fn merge(&mut self, into: Cluster, from: Cluster) {
        let reachable = self.reachable_between(into, from).expect("the clusters can become one");
        let (lhs, rhs) = (self.positions[into.idx()], self.positions[from.idx()]);
        let (begin, end) = (lhs.min(rhs), lhs.max(rhs));
        // Between the two: what the first does not lead to, then the merged cluster, then what the first leads to.
        let between: Vec<Cluster> = self.order[begin + 1..end].iter().filter_map(|&cluster| cluster).collect();
        let (after, before): (Vec<Cluster>, Vec<Cluster>) =
            between.into_iter().partition(|cluster| reachable.contains(cluster));
        let mut sequence = before.into_iter().chain([into]).chain(after);
        for position in begin..=end {
            let cluster = sequence.next();
            self.order[position] = cluster;
            if let Some(cluster) = cluster {
                self.positions[cluster.idx()] = position;
            }
        }
        let moved = std::mem::take(&mut self.members[from.idx()]);
        for &node in &moved {
            self.cluster_of[node.idx()] = Some(into);
        }
        let members = &mut self.members[into.idx()];
        members.extend(moved);
        members.sort_unstable();
    }
}

/// The partitioned nodes in a topological order of their edges: by id where that leaves a choice.
fn topological(graph: &Graph, roles: &Roles) -> Vec<Node> {
    let mut n_waiting: Vec<usize> = graph.nodes().map(|(node, _)| roles.preds(node).len()).collect();
    let mut ready: BTreeSet<Node> = graph
        .nodes()
        .filter(|&(node, _)| roles.is_partitioned(graph, node) && n_waiting[node.idx()] == 0)
        .map(|(node, _)| node)
        .collect();
    let mut order = Vec::new();
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for edge in roles.succs(node) {
            n_waiting[edge.node.idx()] -= 1;
            if n_waiting[edge.node.idx()] == 0 {
                ready.insert(edge.node);
            }
        }
    }
    order
}
