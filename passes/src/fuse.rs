//! Fusion: nodes become kernels. After this pass every node that computes is one launch.
//!
//! ```text
//! %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [0]} : f32[64, 512]
//! %1 = broadcast_in_dim %b {shape = [64, 512], dims = [1]} : f32[64, 512]
//! %2 = add %0, %1 : f32[64, 512]
//! %3 = maximum %2, 0.0 : f32[64, 512]
//!
//! %0 = fusion %x, %w, %b {kind = contraction} (...) { the four nodes } : f32[64, 512]
//! ```
//!
//! Nodes are first given roles (`fuse/roles.rs`): *free* ones (views, masks, scalar arithmetic) are copied into
//! whatever reads them; the others are partitioned (`fuse/partition.rs`), each cluster growing as far as it pays and
//! its kind allows ([`check_region`]), in this order:
//!
//! 1. *Contractions* take the elementwise work on their result, forward, and what only that work reads: bias,
//!    activation, residual, the activation's mask in the backward pass, the optimizer's update of a weight.
//! 2. *Rows* take all pointwise work around reductions over the same dimensions of the same shape: softmax,
//!    cross-entropy with its gradient, layer norm; a bias gradient with the update of the bias.
//! 3. *Pointwise* clusters take what is left, with several results of one shape.
//! 4. *Horizontal* clusters put small independent ones of any shape into one launch.
//!
//! A node joins a cluster only if (a) clusters stay acyclic, reads of a parameter before its update included, so that
//! *donation* is never prevented; (b) [`check_region`] accepts the region; (c) no costly work is done twice. Joining
//! always saves at least the trip of one value through memory, so there is no case where (a) to (c) hold and it does
//! not pay. Nothing is recomputed except free nodes, so that a fused graph has the same bits as the unfused one.
//!
//! Bodies of loops and branches are fused each for itself; `scan`, `cond` and `while` are part of no cluster.
//!
//! Every cluster leaves a remark with the bytes it saves, every edge between clusters that could not be fused one with
//! the reason.

use std::collections::BTreeMap;

use nnc_ir::ops::{FusionKind, Trait};
use nnc_ir::{Diagnostic, Func, Graph, Node, Op, Value};

use crate::cost;
use crate::regions::{bottom_up, with_regions};
use crate::remark::Remarks;

mod grow;
mod horizontal;
mod kinds;
mod partition;
mod region;
mod roles;
#[cfg(test)]
mod tests;

use grow::Growth;
use partition::{Cluster, Partition};
use roles::Roles;

pub use kinds::{Group, check_region, groups, is_expression, row_space};

/// The function with its nodes fused.
///
/// # Errors
/// None on a verified function.
pub fn fuse(func: &Func, remarks: &mut Remarks) -> Result<Func, Diagnostic> {
    // Bodies of loops and branches are fused like functions.
    let inner =
        with_regions(&func.graph, &mut |_, _, region| bottom_up(region, &mut |graph| fuse_graph(graph, &[], remarks)))?;
    let graph = inner.as_ref().unwrap_or(&func.graph);
    let donations: Vec<_> = func
        .results
        .iter()
        .zip(graph.results())
        .filter_map(|(result, &value)| Some((graph.params()[result.donates? as usize], value)))
        .collect();
    let graph = fuse_graph(graph, &donations, remarks)?;
    Ok(Func { name: func.name.clone(), params: func.params.clone(), results: func.results.clone(), graph })
}

/// One graph with its nodes fused. `donations` pairs each parameter that is updated with its next value.
fn fuse_graph(graph: &Graph, donations: &[(Value, Value)], remarks: &mut Remarks) -> Result<Graph, Diagnostic> {
    let roles = Roles::compute(graph, donations);
    let mut growth = Growth::new(Partition::new(graph, &roles));
    growth.contractions();
    growth.rows();
    growth.pointwise();
    let (mut partition, misses) = growth.finish();
    let parts = horizontal::merge_small(&mut partition);
    report_misses(&partition, &misses, remarks);
    region::emit(&partition, &parts, &mut |cluster, kind, region| {
        report_fusion(&partition, cluster, kind, region, remarks);
    })
}

fn report_fusion(
    partition: &Partition<'_>,
    cluster: Cluster,
    kind: FusionKind,
    region: &region::Region,
    remarks: &mut Remarks,
) {
    let graph = &region.graph;
    let bytes = |ty: &nnc_ir::TensorType| ty.bytes().unwrap_or(0) as u64;
    let boundary: u64 = graph.params().iter().chain(graph.results()).map(|&value| bytes(graph.ty(value))).sum();
    let apart: u64 = graph.nodes().filter_map(|(node, _)| cost::node_bytes(graph, node)).sum();
    let mnemonics: Vec<&str> =
        graph.nodes().filter(|(_, data)| !data.op.has(Trait::Leaf)).map(|(_, data)| data.op.mnemonic()).collect();
    let results = match graph.results().len() {
        1 => "1 result".to_string(),
        n_results => format!("{n_results} results"),
    };
    let message = format!("{} kernel of {} with {results}", kind.name(), mnemonics.join(", "));
    let root = region::root(partition, cluster);
    remarks.made("fuse", &partition.graph.node(root).location, message, apart.saturating_sub(boundary));
}

/// Values that pass between kernels though one elementwise op reads them: why they were not fused.
fn report_misses(partition: &Partition<'_>, misses: &BTreeMap<(Node, Node), String>, remarks: &mut Remarks) {
    let graph: &Graph = partition.graph;
    for (&(producer, consumer), reason) in misses {
        let (Some(from), Some(to)) = (partition.cluster(producer), partition.cluster(consumer)) else { continue };
        if from == to || matches!(graph.node(producer).op, Op::OptimizationBarrier) {
            continue;
        }
        let data = graph.node(producer);
        let bytes = graph.ty(data.first_result).bytes().unwrap_or(0) as u64;
        let message = format!("{} and {} stay apart: {reason}", data.op.mnemonic(), graph.node(consumer).op.mnemonic());
        remarks.missed("fuse", &graph.node(consumer).location, message, bytes);
    }
}
