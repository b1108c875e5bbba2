//! Inlining: fusion regions dissolve into the nodes they hold. The inverse of `fuse`.
//!
//! ```text
//! %0 = fusion %x {kind = pointwise} (%a: f32[4]) {
//!   %0 = negate %a : f32[4]
//!   %1 = exponential %0 : f32[4]               %0 = negate %x : f32[4]
//!   return %1                          ->      %1 = exponential %0 : f32[4]
//! } : f32[4]
//! ```
//!
//! Differentiation starts with it, and so does the pipeline: a function that was fused already is fused afresh.

use nnc_ir::{Graph, Op, Rewriter, Value};

use crate::regions::with_regions;

/// The graph with the nodes of every fusion region in place of the fusion, also inside loops and branches.
pub fn inline(graph: &Graph) -> Graph {
    let inner = with_regions(graph, &mut |_, _, region| Ok(inline(region))).expect("inlining has no faults");
    let graph = inner.as_ref().unwrap_or(graph);
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        if let Op::Fusion(_) = data.op {
            let operands = rewriter.operands(node);
            let results = splice(&data.regions[0], &operands, rewriter.graph_mut());
            for (old, new) in data.results().zip(results) {
                rewriter.map(old, new);
            }
        } else {
            rewriter.copy(node);
        }
    }
    rewriter.finish()
}

/// Appends the nodes of `region` to `into`, with `operands` for its parameters, and gives its results.
pub fn splice(region: &Graph, operands: &[Value], into: &mut Graph) -> Vec<Value> {
    let mut map: Vec<Option<Value>> = vec![None; region.n_values()];
    for (param, operand) in region.params().iter().zip(operands) {
        map[param.idx()] = Some(*operand);
    }
    let get = |map: &[Option<Value>], value: Value| map[value.idx()].expect("nodes are in topological order (g1)");
    for (_, data) in region.nodes() {
        let operands: Vec<Value> = data.operands.iter().map(|&operand| get(&map, operand)).collect();
        let results = match data.op {
            Op::Param(_) => continue,
            Op::Fusion(_) => splice(&data.regions[0], &operands, into),
            _ => {
                let types = data.results().map(|result| region.ty(result).clone()).collect();
                let node =
                    into.push_typed(data.op.clone(), &operands, data.regions.clone(), types, data.location.clone());
                into.node(node).results().collect()
            }
        };
        for (old, new) in data.results().zip(results) {
            map[old.idx()] = Some(new);
        }
    }
    region.results().iter().map(|&result| get(&map, result)).collect()
}

/// The graph without `stop_gradient`, which means nothing once gradients have been taken.
pub fn erase_markers(graph: &Graph) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        match data.op {
            Op::StopGradient => rewriter.map(data.result(), rewriter.get(data.operands[0])),
            _ => {
                rewriter.copy(node);
            }
        }
    }
    rewriter.finish()
}
