//! What a node costs: floating-point operations, and bytes read and written, from its types alone.
//!
//! An elementwise op counts 1 an element, a transcendental [`TRANSCENDENTAL_FLOPS`], a contraction 2 a product (an fma
//! counts 2), a reduction 1 an element folded, a window 1 for each of its elements, a sort 1 a comparison of its
//! network. Views and leaves compute nothing. Bytes are the lower bound of one launch: each operand read once, each result written once.

use nnc_ir::ops::{Tolerance, Trait};
use nnc_ir::{Graph, Node, Op, TensorType};

/// What a transcendental counts for each element: about the length of its polynomial.
pub const TRANSCENDENTAL_FLOPS: u64 = 16;

/// What `rng_bits` counts for each element: ten rounds of Philox give four words.
const RNG_FLOPS: u64 = 20;

/// Floating-point operations of `op`, or `None` if a shape is symbolic or nobody knows how often a loop runs.
pub fn flops(op: &Op, operands: &[&TensorType], results: &[&TensorType], regions: &[Graph]) -> Option<u64> {
    let elements = |ty: &TensorType| ty.n_elements().map(|n_elements| n_elements as u64);
    let result = results.first().copied();
    Some(match op {
        Op::Param(_) | Op::Constant(_) | Op::Iota(_) | Op::OptimizationBarrier | Op::StopGradient => 0,
        Op::Fusion(_) => graph_flops(regions.first()?)?,
        Op::Scan(attrs) => graph_flops(regions.first()?)?.saturating_mul(attrs.length.as_const()? as u64),
        // One branch runs; the more costly one is the bound.
        Op::Cond => regions.iter().map(graph_flops).try_fold(0, |most, flops| Some(most.max(flops?)))?,
        Op::While => return None,
        Op::RngBits(_) => elements(result?)?.saturating_mul(RNG_FLOPS),
        Op::DotGeneral(attrs) => {
            attrs.lhs_contract.iter().try_fold(elements(result?)?.saturating_mul(2), |sum, &dim| {
                Some(sum.saturating_mul(operands[0].shape[dim].as_const()? as u64))
            })?
        }
        Op::Convolution(_) => {
            let taps = operands[1].shape.dims()[1..].iter();
            { taps }.try_fold(elements(result?)?.saturating_mul(2), |sum, extent| {
                Some(sum.saturating_mul(extent.as_const()? as u64))
            })?
        }
        Op::Reduce(_) => elements(operands.first()?)?,
        Op::Scatter(_) => elements(operands.get(2)?)?,
        Op::ReduceWindow(attrs) => elements(result?)?.saturating_mul(attrs.n_taps() as u64),
        Op::SelectAndScatter(attrs) => elements(operands.get(1)?)?.saturating_mul(attrs.n_taps() as u64),
        // Comparisons of a sorting network.
        Op::Sort(attrs) => {
            let steps = u64::from(operands.first()?.shape[attrs.dim].as_const()?.max(1).ilog2()) + 1;
            elements(operands[0])?.saturating_mul(steps * (steps + 1) / 4 + 1)
        }
        op if op.has(Trait::Elementwise) => elements(result?)?.saturating_mul(element_flops(op)),
        op if op.has(Trait::Movement) => 0,
        _ => elements(result?)?,
    })
}

/// Floating-point operations of an elementwise op for one element.
pub fn element_flops(op: &Op) -> u64 {
    match op.info().tolerance {
        Tolerance::Transcendental => TRANSCENDENTAL_FLOPS,
        _ => match op {
            Op::Divide | Op::Remainder | Op::Sqrt | Op::Rsqrt => 4,
            _ => 1,
        },
    }
}

/// Floating-point operations of all nodes of a graph.
fn graph_flops(graph: &Graph) -> Option<u64> {
    graph.nodes().try_fold(0u64, |sum, (node, _)| Some(sum.saturating_add(node_flops(graph, node)?)))
}

/// Floating-point operations of a node, or `None` if a shape is symbolic or nobody knows how often a loop runs.
pub fn node_flops(graph: &Graph, node: Node) -> Option<u64> {
    let data = graph.node(node);
    let operands: Vec<&TensorType> = data.operands.iter().map(|&operand| graph.ty(operand)).collect();
    let results: Vec<&TensorType> = data.results().map(|result| graph.ty(result)).collect();
    flops(&data.op, &operands, &results, &data.regions)
}

/// Bytes a node reads (each distinct operand once) and writes, or `None` if a shape is symbolic.
///
/// `gather` reads as much of its operand as it gives.
pub fn node_bytes(graph: &Graph, node: Node) -> Option<u64> {
    let data = graph.node(node);
    if data.op.has(Trait::Leaf) {
        return Some(0);
    }
    let mut operands = data.operands.clone();
    operands.sort_unstable();
    operands.dedup();
    let result_bytes =
        data.results().try_fold(0u64, |sum, result| Some(sum.saturating_add(graph.ty(result).bytes()? as u64)))?;
    operands.iter().try_fold(result_bytes, |sum, &operand| {
        let bytes = graph.ty(operand).bytes()? as u64;
        let read = if matches!(data.op, Op::Gather(_)) { bytes.min(result_bytes) } else { bytes };
        Some(sum.saturating_add(read))
    })
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, Location};

    use super::*;

    #[test]
    fn a_product_counts_two_flops_an_element_and_a_step() {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [64, 784]), Location::unknown());
        let w = graph.param(TensorType::new(DType::F32, [784, 512]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let y = b.matmul(x, w).unwrap();
        let y = graph.value(y).node;
        assert_eq!(node_flops(&graph, y), Some(2 * 64 * 784 * 512));
        assert_eq!(node_bytes(&graph, y), Some(4 * (64 * 784 + 784 * 512 + 64 * 512)));
    }
}
