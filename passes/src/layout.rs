//! Layout: constant weights are laid out the way contractions read them.
//!
//! ```text
//! %0 = constant @w : f32[512, 784]
//! %1 = dot_general %x, %0 {lhs_contract = [1], rhs_contract = [1]} : f32[64, 512]
//!
//! %0 = constant @w : f32[512, 784]
//! %1 = transpose %0 {permutation = [1, 0]} : f32[784, 512]
//! %2 = dot_general %x, %1 {lhs_contract = [1], rhs_contract = [0]} : f32[64, 512]
//! ```
//!
//! A contraction's kernel reads the right operand a vector of neighboring result columns at a time, so its free
//! dimension should be innermost. The transposition of a constant is folded right after, by
//! [`const_fold`](mod@crate::const_fold); nothing between may absorb it into the dimension numbers again. A weight
//! that is an argument of the function stays as it is.

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Constant, Diagnostic, Graph, Op, Rewriter};

use crate::remark::Remarks;

/// The graph with constant right operands of contractions transposed to `[batch, contracted, free]`.
///
/// # Errors
/// None on a verified graph.
pub fn layout(graph: &Graph, remarks: &mut Remarks) -> Result<Graph, Diagnostic> {
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        let (attrs, rhs) = match (&data.op, data.operands.as_slice()) {
            (Op::DotGeneral(attrs), &[_, rhs]) => (attrs, rhs),
            _ => {
                rewriter.copy(node);
                continue;
            }
        };
        let rank = graph.ty(rhs).rank();
        let free = DotAttrs::free_dims(rank, &attrs.rhs_batch, &attrs.rhs_contract);
        let permutation = [attrs.rhs_batch.as_slice(), &attrs.rhs_contract, &free].concat();
        let is_constant = matches!(graph.def_op(rhs), Op::Constant(Constant::Dense { .. }));
        if !is_constant || free.is_empty() || permutation.is_sorted() {
            rewriter.copy(node);
            continue;
        }
        let lhs = rewriter.get(data.operands[0]);
        let rhs_value = rewriter.get(rhs);
        let transposed = rewriter.build_at(node).transpose(rhs_value, &permutation)?;
        let n_batch = attrs.rhs_batch.len();
        let attrs = DotAttrs {
            rhs_batch: (0..n_batch).collect(),
            rhs_contract: (n_batch..n_batch + attrs.rhs_contract.len()).collect(),
            ..attrs.clone()
        };
        rewriter.replace(node, Op::DotGeneral(attrs), &[lhs, transposed])?;
        let message = format!("the weight of type {} is stored with dimensions {permutation:?}", graph.ty(rhs));
        remarks.made("layout", &data.location, message, 0);
    }
    Ok(rewriter.finish())
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, Location, TensorData, TensorType, Value};

    use super::*;

    fn laid_out(weight_is_constant: bool) -> Graph {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [4, 3]), Location::unknown());
        let w = graph.param(TensorType::new(DType::F32, [2, 3]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let frozen = b.weight("w", TensorData::from_f32(vec![2, 3], &[0., 1., 2., 3., 4., 5.])).unwrap();
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() };
        let y = b.dot(x, if weight_is_constant { frozen } else { w }, attrs).unwrap();
        graph.set_results(vec![y]);
        layout(&graph, &mut Remarks::new()).unwrap()
    }

    fn rhs(graph: &Graph) -> Value {
        graph.def(graph.results()[0]).operands[1]
    }

    #[test]
    fn a_constant_weight_is_transposed() {
        let graph = laid_out(true);
        assert_eq!(graph.def_op(rhs(&graph)), &Op::Transpose(vec![1, 0]));
    }

    #[test]
    fn an_argument_stays_as_it_is() {
        let graph = laid_out(false);
        assert_eq!(rhs(&graph), graph.params()[1]);
    }
}
