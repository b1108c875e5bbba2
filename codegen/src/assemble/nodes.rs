//! Every node lowered, in all regions, and what of a loop's body is better done before the loop.

use std::collections::{BTreeMap, BTreeSet};

use nnc_ir::{Graph, Node, NodeData, Op, Value};
use nnc_passes::plan_memory::{Facts, LaunchFacts, NodeFacts, is_control_flow, is_launch};
use rayon::prelude::*;

use super::Error;
use crate::lower::{self, Arg, Lowered};
use crate::target::Target;

/// How the nodes of a graph were lowered.
#[derive(Clone, Debug)]
pub struct LoweredGraph(pub BTreeMap<Node, LoweredNode>);

/// How a node was lowered.
#[derive(Clone, Debug)]
pub enum LoweredNode {
    /// To kernels.
    Launch(LoweredLaunch),
    /// Control flow: each region.
    Regions(Vec<LoweredGraph>),
}

/// A node as kernels.
#[derive(Clone, Debug)]
pub struct LoweredLaunch {
    /// The kernels.
    pub lowered: Lowered,
    /// For each kernel, whether it runs before the loop whose body the node is in: it reads nothing that an iteration
    /// changes, and writes scratch only.
    pub hoisted: Vec<bool>,
    /// The scratch that hoisted kernels write, which keeps its contents through all iterations.
    pub kept: BTreeSet<usize>,
}

impl LoweredGraph {
    /// Lowers all nodes of a graph and its regions.
    pub(super) fn of(graph: &Graph, target: &Target) -> Result<Self, Error> {
        let mut launches = Vec::new();
        collect(graph, &mut launches);
        let lowered: Vec<Result<Lowered, Error>> = launches
            .par_iter()
            .enumerate()
            .map(|(idx, &(graph, node))| {
                let options = lower::Options { name: kernel_name(graph, node, idx), schedule: None };
                lower::lower(graph, node, target, &options).map_err(|error| Error::Lower(error.0))
            })
            .collect();
        let mut lowered = lowered.into_iter().collect::<Result<Vec<_>, Error>>()?.into_iter();
        Ok(Self::build(graph, &BTreeSet::new(), &mut lowered))
    }

    /// Hands out what was lowered, in the order in which it was collected. `invariants` are the values that no
    /// iteration of the loop changes whose body this is.
    fn build(graph: &Graph, invariants: &BTreeSet<Value>, lowered: &mut dyn Iterator<Item = Lowered>) -> Self {
        let nodes = graph.nodes().filter(|&(node, _)| is_launch(graph, node));
        let nodes = nodes.map(|(node, data)| {
            if !is_control_flow(&data.op) {
                let lowered = lowered.next().expect("every launch was lowered");
                return (node, LoweredNode::Launch(LoweredLaunch::new(graph, data, lowered, invariants)));
            }
            let unchanged = unchanged_params(data);
            let regions = data.regions.iter().map(|region| {
                let invariants = unchanged.iter().map(|&idx| region.params()[idx]).collect();
                Self::build(region, &invariants, lowered)
            });
            (node, LoweredNode::Regions(regions.collect()))
        });
        Self(nodes.collect())
    }

    /// All launches, those of regions where their owner stands.
    pub fn launches(&self) -> Vec<&LoweredLaunch> {
        let mut launches = Vec::new();
        for node in self.0.values() {
            match node {
                LoweredNode::Launch(launch) => launches.push(launch),
                LoweredNode::Regions(regions) => launches.extend(regions.iter().flat_map(Self::launches)),
            }
        }
        launches
    }

    /// What the memory plan must know.
    pub(super) fn facts(&self) -> Facts {
        let facts = |node: &LoweredNode| match node {
            LoweredNode::Launch(LoweredLaunch { lowered, kept, .. }) => NodeFacts::Launch(LaunchFacts {
                in_place: lowered.inplace.clone(),
                scratch: lowered.scratch.clone(),
                kept: kept.clone(),
            }),
            LoweredNode::Regions(regions) => NodeFacts::Regions(regions.iter().map(Self::facts).collect()),
        };
        Facts(self.0.iter().map(|(&node, lowered)| (node, facts(lowered))).collect())
    }
}

impl LoweredLaunch {
    fn new(graph: &Graph, data: &NodeData, lowered: Lowered, invariants: &BTreeSet<Value>) -> Self {
        let (hoisted, kept) = hoist(graph, data, &lowered, invariants);
        Self { lowered, hoisted, kept }
    }
}

/// All nodes that are kernels, those of regions where their owner stands.
fn collect<'g>(graph: &'g Graph, launches: &mut Vec<(&'g Graph, Node)>) {
    for (node, data) in graph.nodes() {
        if is_control_flow(&data.op) {
            data.regions.iter().for_each(|region| collect(region, launches));
        } else if is_launch(graph, node) {
            launches.push((graph, node));
        }
    }
}

/// Parameters of a loop's regions that have the same value in every iteration.
fn unchanged_params(data: &NodeData) -> Vec<usize> {
    let keeps = |body: &Graph, idx: usize| root(body, body.results()[idx]) == body.params()[idx];
    match &data.op {
        Op::Scan(attrs) => {
            let body = &data.regions[0];
            let carried = (0..attrs.n_carried).filter(|&idx| keeps(body, idx));
            carried.chain(attrs.n_carried + attrs.n_scanned..body.params().len()).collect()
        }
        Op::While => (0..data.operands.len()).filter(|&idx| keeps(&data.regions[1], idx)).collect(),
        _ => Vec::new(),
    }
}

/// The value whose buffer `value` is.
fn root(graph: &Graph, value: Value) -> Value {
    match graph.def(value) {
        data if matches!(data.op, Op::Reshape(_)) => root(graph, data.operands[0]),
        _ => value,
    }
}

/// Which kernels of a node in the body of a loop can run before the loop, and which scratch they write.
fn hoist(
    graph: &Graph,
    data: &NodeData,
    lowered: &Lowered,
    invariants: &BTreeSet<Value>,
) -> (Vec<bool>, BTreeSet<usize>) {
    let none = (vec![false; lowered.kernels.len()], BTreeSet::new());
    if invariants.is_empty() {
        return none;
    }
    let is_invariant = |operand: usize| {
        let value = root(graph, data.operands[operand]);
        invariants.contains(&value) || matches!(graph.def_op(value), Op::Constant(_))
    };
    let args = |idx: usize| {
        let part = &lowered.kernels[idx];
        part.args.iter().copied().zip(part.kernel.args().map(|(_, buffer)| buffer.written))
    };
    let mut hoisted: Vec<bool> = (0..lowered.kernels.len())
        .map(|idx| {
            args(idx).all(|(arg, _)| match arg {
                Arg::Operand(operand) => is_invariant(operand),
                Arg::Scratch(_) => true,
                Arg::Result(_) => false,
            })
        })
        .collect();
    // Scratch that anything else writes, or that is not written yet, ties a kernel to the iteration.
    loop {
        let changes: Vec<usize> = (0..hoisted.len())
            .filter(|&idx| hoisted[idx])
            .filter(|&idx| {
                args(idx).any(|(arg, _)| {
                    let writes = |other: &usize| args(*other).any(|(of, written)| of == arg && written);
                    matches!(arg, Arg::Scratch(_)) && (0..hoisted.len()).filter(writes).any(|other| !hoisted[other])
                })
            })
            .collect();
        if changes.is_empty() {
            break;
        }
        changes.into_iter().for_each(|idx| hoisted[idx] = false);
    }
    let scratch_of = |idx: usize| {
        args(idx).filter_map(|(arg, _)| match arg {
            Arg::Scratch(scratch) => Some(scratch),
            Arg::Operand(_) | Arg::Result(_) => None,
        })
    };
    let kept = (0..hoisted.len()).filter(|&idx| hoisted[idx]).flat_map(scratch_of).collect();
    (hoisted, kept)
}

/// A symbol that says what the kernel computes: its number and its ops.
fn kernel_name(graph: &Graph, node: Node, idx: usize) -> String {
    let data = graph.node(node);
    let mut ops: Vec<&str> = match (&data.op, data.regions.as_slice()) {
        (Op::Fusion(_), [region]) => region
            .nodes()
            .map(|(_, inner)| &inner.op)
            .filter(|op| !matches!(op, Op::Param(_) | Op::Constant(_) | Op::BroadcastInDim(_) | Op::Reshape(_)))
            .map(Op::mnemonic)
            .collect(),
        (op, _) => vec![op.mnemonic()],
    };
    ops.dedup();
    ops.truncate(4);
    format!("k{idx}_{}", ops.join("_"))
}
