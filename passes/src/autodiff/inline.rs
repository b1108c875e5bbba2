//! Dissolves fusions: autodiff runs before `fuse`, and on a graph that was fused already it undoes that first.

use nnc_ir::{Graph, Node, Op, Rewriter, Value};

/// The graph with the nodes of every fusion region in place of the fusion, nested ones included.
pub(crate) fn inline_fusions(graph: &Graph) -> Graph {
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
fn splice(region: &Graph, operands: &[Value], into: &mut Graph) -> Vec<Value> {
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
                let node: Node =
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
