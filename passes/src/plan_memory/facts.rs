//! What the planner must know of how nodes were lowered: a tree, as regions are.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::{Graph, Node};

use super::{is_control_flow, is_launch};

/// What the planner must know of how a node was lowered.
#[derive(Clone, Debug, Default)]
pub struct LaunchFacts {
    /// Pairs (operand, result) that may share a buffer: same bytes, each read of the operand is at the index being
    /// written and comes before the write.
    pub in_place: Vec<(usize, usize)>,
    /// Bytes of scratch buffers that live during the node only, but for those that are `kept`.
    pub scratch: Vec<u64>,
    /// Scratch buffers, by number, that are written before the loop whose body the node is in, and keep their contents
    /// through all iterations: operands that no iteration changes, rearranged.
    pub kept: BTreeSet<usize>,
}

/// Facts of all launches of a graph.
#[derive(Clone, Debug, Default)]
pub struct Facts(pub BTreeMap<Node, NodeFacts>);

/// Facts of one launch.
#[derive(Clone, Debug)]
pub enum NodeFacts {
    /// The node is kernels.
    Launch(LaunchFacts),
    /// The node is control flow: facts of each region.
    Regions(Vec<Facts>),
}

impl Facts {
    /// The facts that `facts` gives for each node that is kernels, in all regions.
    pub fn of(graph: &Graph, facts: &dyn Fn(&Graph, Node) -> LaunchFacts) -> Self {
        let launches = graph.nodes().filter(|&(node, _)| is_launch(graph, node));
        let facts_of = launches.map(|(node, data)| {
            let facts = match is_control_flow(&data.op) {
                true => NodeFacts::Regions(data.regions.iter().map(|region| Self::of(region, facts)).collect()),
                false => NodeFacts::Launch(facts(graph, node)),
            };
            (node, facts)
        });
        Self(facts_of.collect())
    }
}
