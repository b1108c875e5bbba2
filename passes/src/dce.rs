//! Dead code elimination: nodes that no result depends on go.
//!
//! ```text
//! %0 = add %x, %y : f32[4]                     %0 = add %x, %y : f32[4]
//! %1 = exponential %0 : f32[4]       ->        return %0
//! return %0
//! ```
//!
//! All ops are pure, so nothing else can depend on a node. Parameters stay: they are the function's signature. A fusion
//! with an unused result keeps its region whole; `fuse` makes no such results.

use nnc_ir::{Graph, Op, Rewriter};

/// The graph without the nodes that its results do not depend on.
pub fn dce(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.n_nodes()];
    for &result in graph.results() {
        live[graph.value(result).node.idx()] = true;
    }
    for (node, data) in graph.nodes().rev() {
        if live[node.idx()] {
            for &operand in &data.operands {
                live[graph.value(operand).node.idx()] = true;
            }
        }
    }
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        if live[node.idx()] && !matches!(data.op, Op::Param(_)) {
            rewriter.copy(node);
        }
    }
    rewriter.finish()
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, Location, TensorType};

    use super::*;

    #[test]
    fn unused_nodes_go_and_parameters_stay() {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
        let _unused = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let kept = b.add(x, x).unwrap();
        let dead = b.exponential(kept).unwrap();
        b.negate(dead).unwrap();
        graph.set_results(vec![kept]);
        let swept = dce(&graph);
        assert_eq!(swept.n_nodes(), 3);
        assert_eq!(swept.params().len(), 2);
        assert_eq!(swept.def_op(swept.results()[0]), &Op::Add);
    }
}
