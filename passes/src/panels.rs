//! Panels: large constant weights are cut into panels of columns, each of which lies in one piece.
//!
//! ```text
//! %0 = constant @w : f32[784, 512]
//! %1 = dot_general %x, %0 {lhs_contract = [1], rhs_contract = [0]} : f32[64, 512]
//!
//! %0 = constant @w : f32[784, 512]
//! %1 = reshape %0 : f32[784, 4, 128]
//! %2 = transpose %1 {permutation = [1, 0, 2]} : f32[4, 784, 128]
//! %3 = dot_general %x, %2 {lhs_contract = [1], rhs_contract = [1]} : f32[64, 4, 128]
//! %4 = reshape %3 : f32[64, 512]
//! ```
//!
//! A tile of the product reads a panel: consecutive memory, and not a few cache lines of each of many pages. For processors
//! only; a GPU reads as many columns as it has threads. Comes after [`layout`](mod@crate::layout), which puts the contracted
//! dimensions first; what is made of the constant is folded right after, by [`const_fold`](mod@crate::const_fold).

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Constant, DType, Diagnostic, Dim, Graph, Op, Rewriter, Shape, TensorType};

use crate::remark::Remarks;

/// The graph with constant right operands of contractions in panels, where that pays.
///
/// # Errors
/// None on a verified graph.
pub fn panels(graph: &Graph, remarks: &mut Remarks) -> Result<Graph, Diagnostic> {
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        let found = match (&data.op, data.operands.as_slice()) {
            (Op::DotGeneral(attrs), &[lhs, rhs]) if is_constant(graph.def_op(rhs)) => {
                panel_width(graph.ty(rhs), attrs).map(|width| (attrs, lhs, rhs, width))
            }
            _ => None,
        };
        let Some((attrs, lhs, rhs, (width, count))) = found else {
            if !matches!(data.op, Op::Param(_)) {
                rewriter.copy(node);
            }
            continue;
        };
        let n_contracted = attrs.rhs_contract.len();
        let mut dims: Vec<Dim> = graph.ty(rhs).shape.dims().to_vec();
        dims.splice(n_contracted.., [Dim::from(count), Dim::from(width)]);
        let permutation: Vec<usize> =
            [n_contracted].into_iter().chain(0..n_contracted).chain([n_contracted + 1]).collect();
        let (lhs, weight) = (rewriter.get(lhs), rewriter.get(rhs));
        let mut b = rewriter.build_at(node);
        let cut = b.reshape(weight, Shape(dims))?;
        let panels = b.transpose(cut, &permutation)?;
        let attrs = DotAttrs { rhs_contract: (1..1 + n_contracted).collect(), ..attrs.clone() };
        let product = b.dot(lhs, panels, attrs)?;
        rewriter.replace(node, Op::Reshape(graph.ty(data.result()).shape.clone()), &[product])?;
        let message = format!("the weight of type {} is stored in {count} panels of {width} columns", graph.ty(rhs));
        remarks.made("panels", &data.location, message, 0);
    }
    Ok(rewriter.finish())
}

fn is_constant(op: &Op) -> bool {
    matches!(op, Op::Constant(Constant::Dense { .. }))
}

/// Columns of a panel of a weight, and the number of panels, if it is worth cutting into any.
///
/// A panel has about as many columns as a tile of the product, and hardly more vectors in all than the weight whole.
fn panel_width(ty: &TensorType, attrs: &DotAttrs) -> Option<(usize, usize)> {
    /// Smaller weights stay in the cache however they lie.
    const MIN_BYTES: usize = 64 << 10;
    /// Widths, the best first.
    const WIDTHS: [usize; 6] = [96, 128, 112, 144, 160, 80];
    /// Lanes of a vector.
    const LANES: usize = 16;
    let n_contracted = attrs.rhs_contract.len();
    let is_in_order = attrs.rhs_contract.iter().copied().eq(0..n_contracted) && n_contracted + 1 == ty.rank();
    if !attrs.rhs_batch.is_empty() || !is_in_order {
        return None;
    }
    let columns = ty.shape.dims()[n_contracted].as_const().filter(|_| ty.dtype == DType::F32)?;
    if ty.bytes()? < MIN_BYTES || columns < 2 * LANES {
        return None;
    }
    let vectors = |columns: usize| columns.div_ceil(LANES);
    let fits = |width: &usize| {
        let count = columns / width;
        columns % width == 0 && count > 1 && 32 * count * vectors(*width) <= 33 * vectors(columns)
    };
    let width = WIDTHS.into_iter().find(fits).or_else(|| (WIDTHS[5]..=WIDTHS[4]).find(fits))?;
    Some((width, columns / width))
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, Location, TensorData};

    use super::*;

    #[test]
    fn a_large_weight_is_cut() {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [4, 64]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let weight = b.weight("w", TensorData::from_f32(vec![64, 512], &[0.5; 64 * 512])).unwrap();
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![0], ..DotAttrs::default() };
        let y = b.dot(x, weight, attrs).unwrap();
        graph.set_results(vec![y]);
        let graph = panels(&graph, &mut Remarks::new()).unwrap();
        let result = graph.results()[0];
        assert_eq!(graph.ty(result), &TensorType::new(DType::F32, [4, 512]));
        let product = graph.def(result).operands[0];
        assert_eq!(graph.ty(product), &TensorType::new(DType::F32, [4, 4, 128]));
        assert_eq!(graph.def_op(graph.def(product).operands[1]), &Op::Transpose(vec![1, 0, 2]));
    }

    #[test]
    fn widths_of_panels() {
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![0], ..DotAttrs::default() };
        let width = |rows, columns| panel_width(&TensorType::new(DType::F32, [rows, columns]), &attrs);
        assert_eq!(width(384, 1152), Some((96, 12)));
        assert_eq!(width(784, 512), Some((128, 4)));
        assert_eq!(width(120, 6625), Some((125, 53)));
        // One panel is no panel; 200 columns make no equal ones of whole vectors, 331 are prime; little stays as it is.
        assert_eq!(width(1024, 96), None);
        assert_eq!(width(100, 200), None);
        assert_eq!(width(1024, 331), None);
        assert_eq!(width(16, 384), None);
    }

    #[test]
    fn weights_that_lie_otherwise_stay() {
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() };
        assert_eq!(panel_width(&TensorType::new(DType::F32, [384, 1152]), &attrs), None);
        let attrs = DotAttrs { lhs_batch: vec![0], rhs_batch: vec![0], lhs_contract: vec![2], rhs_contract: vec![1] };
        assert_eq!(panel_width(&TensorType::new(DType::F32, [2, 384, 1152]), &attrs), None);
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![0], ..DotAttrs::default() };
        assert_eq!(panel_width(&TensorType::new(DType::BF16, [384, 1152]), &attrs), None);
    }
}
