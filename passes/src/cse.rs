//! Common subexpression elimination: of nodes that compute the same, the first one stays.
//!
//! ```text
//! %0 = exponential %x : f32[4]                 %0 = exponential %x : f32[4]
//! %1 = exponential %x : f32[4]       ->        %1 = add %0, %0 : f32[4]
//! %2 = add %0, %1 : f32[4]
//! ```
//!
//! Two nodes compute the same if op, attributes and operands are equal; ops are pure, so that is enough. Barriers are
//! never merged, and nodes with regions are left to
//! [`control`](mod@crate::control). The first node's location is kept.

use std::collections::HashMap;
use std::sync::Arc;

use nnc_ir::{Constant, Graph, Op, Rewriter, TensorType, Value};

/// The graph with equal nodes merged.
pub fn cse(graph: &Graph) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    // For lookup only: the walk is in id order.
    let mut seen: HashMap<(OpKey, Vec<Value>), Value> = HashMap::new();
    for (node, data) in graph.nodes() {
        if matches!(data.op, Op::Param(_)) {
            continue;
        }
        if matches!(data.op, Op::OptimizationBarrier) || !data.regions.is_empty() || data.n_results != 1 {
            rewriter.copy(node);
            continue;
        }
        let operands = rewriter.operands(node);
        match seen.get(&(OpKey::new(&data.op), operands.clone())) {
            Some(&first) => rewriter.map(data.result(), first),
            None => {
                rewriter.copy(node);
                seen.insert((OpKey::new(&data.op), operands), rewriter.get(data.result()));
            }
        }
    }
    rewriter.finish()
}

/// What two equal nodes have in common. Small payloads are compared by value, large ones by identity: hashing the
/// weights of a model again and again would cost more than a duplicate could.
#[derive(PartialEq, Eq, Hash)]
enum OpKey {
    Op(Op),
    Weight { data: *const u8, ty: TensorType, name: Option<Arc<str>> },
}

/// Payloads up to this many bytes are compared by value.
const BY_VALUE_BYTES: usize = 4096;

impl OpKey {
    fn new(op: &Op) -> Self {
        match op {
            Op::Constant(Constant::Dense { data, name }) if data.bytes.len() > BY_VALUE_BYTES => {
                Self::Weight { data: data.bytes.as_ptr(), ty: data.ty(), name: name.clone() }
            }
            _ => Self::Op(op.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, Location, TensorType};

    use super::*;

    fn merged(build: impl FnOnce(&mut Builder, Value) -> Vec<Value>) -> usize {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
        let results = build(&mut Builder::new(&mut graph, Location::unknown()), x);
        graph.set_results(results);
        cse(&graph).n_nodes()
    }

    #[test]
    fn equal_chains_become_one() {
        let n_nodes = merged(|b, x| {
            let lhs = b.exponential(x).unwrap();
            let rhs = b.exponential(x).unwrap();
            let lhs = b.negate(lhs).unwrap();
            let rhs = b.negate(rhs).unwrap();
            vec![b.add(lhs, rhs).unwrap()]
        });
        assert_eq!(n_nodes, 4, "param, exponential, negate, add");
    }

    #[test]
    fn what_differs_in_an_attribute_stays() {
        let n_nodes = merged(|b, x| {
            let half = b.convert(x, DType::F16).unwrap();
            let double = b.convert(x, DType::F64).unwrap();
            vec![half, double]
        });
        assert_eq!(n_nodes, 3);
    }

    #[test]
    fn zeros_of_both_signs_and_barriers_stay() {
        let n_nodes = merged(|b, x| vec![b.splat_like(x, 0.0).unwrap(), b.splat_like(x, -0.0).unwrap()]);
        assert_eq!(n_nodes, 3);
        let n_nodes = merged(|b, x| {
            let barrier = |b: &mut Builder| b.op(Op::OptimizationBarrier, &[x]).unwrap();
            vec![barrier(b), barrier(b)]
        });
        assert_eq!(n_nodes, 3);
    }
}
