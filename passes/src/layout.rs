//! Layout: weights are laid out the way contractions read them, where that costs little or nothing.
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
//! [`const_fold`](mod@crate::const_fold); that of an operand which no step of a `scan` changes is moved before the
//! loop, by [`control`](mod@crate::control), and done once for all steps. Nothing between may absorb it into the
//! dimension numbers again. A weight that is an argument of the function stays as it is.

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Constant, Diagnostic, Graph, NodeData, Op, Rewriter, Value};

use crate::regions::with_regions;
use crate::remark::Remarks;

/// The graph, and the regions of its loops and branches, with right operands of contractions transposed to
/// `[batch, contracted, free]` if they are constant or the same in every step.
///
/// # Errors
/// None on a verified graph.
pub fn layout(graph: &Graph, remarks: &mut Remarks) -> Result<Graph, Diagnostic> {
    laid_out(graph, &[], remarks)
}

/// The parameters of a region that are the same in each of several steps.
fn invariants(owner: &NodeData, region: &Graph) -> Vec<Value> {
    match &owner.op {
        Op::Scan(attrs) if attrs.length.as_const().is_none_or(|length| length > 1) => {
            region.params()[attrs.n_carried + attrs.n_scanned..].to_vec()
        }
        _ => Vec::new(),
    }
}

/// The graph laid out; `invariants` are its parameters that are the same in every step.
fn laid_out(graph: &Graph, invariants_here: &[Value], remarks: &mut Remarks) -> Result<Graph, Diagnostic> {
    let inner =
        with_regions(graph, &mut |owner, _, region| laid_out(region, &invariants(owner, region), &mut *remarks))?;
    // Parameters keep their ids.
    let graph = inner.as_ref().unwrap_or(graph);
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
        let is_invariant = invariants_here.contains(&rhs);
        if !(is_constant || is_invariant) || free.is_empty() || permutation.is_sorted() {
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
        let how = if is_constant { "stored" } else { "turned before the loop, once," };
        let message = format!("the weight of type {} is {how} with dimensions {permutation:?}", graph.ty(rhs));
        remarks.made("layout", &data.location, message, 0);
    }
    Ok(rewriter.finish())
}

#[cfg(test)]
mod tests {
    use nnc_ir::parse::parse_func;
    use nnc_ir::{Builder, DType, Location, TensorData, TensorType};

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

    #[test]
    fn a_weight_of_all_steps_is_transposed_before_the_loop() {
        let func = parse_func(
            "func @f(%h: f32[4, 3], %w: f32[3, 3]) -> (h: f32[4, 3]) {
              %0 = scan %h, %w {n_carried = 1, n_scanned = 0, length = 5} (%p0: f32[4, 3], %p1: f32[3, 3]) {
                %0 = dot_general %p0, %p1 {lhs_contract = [1], rhs_contract = [1]} : f32[4, 3]
                return %0
              } : f32[4, 3]
              return %0
            }",
        )
        .unwrap();
        let remarks = &mut Remarks::new();
        let graph = crate::control::control(&layout(&func.graph, remarks).unwrap(), remarks).unwrap();
        let weight = graph.def(graph.results()[0]).operands[1];
        assert_eq!(graph.def_op(weight), &Op::Transpose(vec![1, 0]));
    }
}
