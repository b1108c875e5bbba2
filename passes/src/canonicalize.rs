//! Canonical forms, so that later rules match one form instead of several.
//!
//! ```text
//! %1 = add 2.0, %x                   ->        %1 = add %x, 2.0
//! %2 = compare 0.0, %x {dir = lt}    ->        %2 = compare %x, 0.0 {dir = gt}
//! %3 = constant [1.0, 1.0]           ->        %3 = constant 1.0 : f32[2]
//! ```
//!
//! - A constant operand of a commutative op or of `compare` stands on the right. `maximum` and `minimum` are not
//!   commutative: of two zeros, and of two NaNs, they keep the left one.
//! - The operands of a commutative op are otherwise in the order of their definition, so that `cse` sees `x + y` and
//!   `y + x` as one.
//! - A dense constant whose elements have equal bits is a splat, unless it is a weight (has a name).

use nnc_ir::ops::{CompareDir, Trait};
use nnc_ir::{Constant, Diagnostic, Graph, Op, Rewriter, TensorData, Value};

/// The graph in canonical form.
///
/// # Errors
/// None on a verified graph.
pub fn canonicalize(graph: &Graph) -> Result<Graph, Diagnostic> {
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        let operands = match data.op {
            Op::Param(_) => continue,
            _ => rewriter.operands(node),
        };
        match (&data.op, operands.as_slice()) {
            (Op::Constant(Constant::Dense { data: dense, name: None }), _) if is_uniform(dense) => {
                let splat = Constant::Splat { ty: dense.ty(), value: dense.get(0) };
                rewriter.replace(node, Op::Constant(splat), &[])?;
            }
            (op, &[lhs, rhs]) if op.has(Trait::Commutative) && out_of_order(rewriter.graph(), lhs, rhs) => {
                rewriter.replace(node, op.clone(), &[rhs, lhs])?;
            }
            (Op::Compare(dir), &[lhs, rhs]) if out_of_order(rewriter.graph(), lhs, rhs) => {
                rewriter.replace(node, Op::Compare(swapped(*dir)), &[rhs, lhs])?;
            }
            _ => {
                rewriter.copy(node);
            }
        }
    }
    Ok(rewriter.finish())
}

/// Whether `rhs` belongs on the left of `lhs`: constants go last, others by definition.
fn out_of_order(graph: &Graph, lhs: Value, rhs: Value) -> bool {
    let rank = |value: Value| (matches!(graph.def_op(value), Op::Constant(_)), value);
    rank(lhs) > rank(rhs)
}

/// The direction that says the same with the operands swapped.
fn swapped(dir: CompareDir) -> CompareDir {
    match dir {
        CompareDir::Eq | CompareDir::Ne => dir,
        CompareDir::Lt => CompareDir::Gt,
        CompareDir::Le => CompareDir::Ge,
        CompareDir::Gt => CompareDir::Lt,
        CompareDir::Ge => CompareDir::Le,
    }
}

/// Whether all elements (at least one) have the same bits.
fn is_uniform(data: &TensorData) -> bool {
    !data.is_empty() && data.scalars().all(|scalar| scalar == data.get(0))
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, Location, TensorType};

    use super::*;

    fn canonical(build: impl FnOnce(&mut Builder, Value, Value) -> Value) -> Graph {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [2]), Location::unknown());
        let y = graph.param(TensorType::new(DType::F32, [2]), Location::unknown());
        let result = build(&mut Builder::new(&mut graph, Location::unknown()), x, y);
        graph.set_results(vec![result]);
        canonicalize(&graph).unwrap()
    }

    #[test]
    fn constants_go_right() {
        let graph = canonical(|b, x, _| {
            let two = b.splat_like(x, 2.0).unwrap();
            b.add(two, x).unwrap()
        });
        let add = graph.def(graph.results()[0]);
        assert_eq!(add.operands[0], graph.params()[0]);

        let graph = canonical(|b, x, _| {
            let zero = b.zeros_like(x).unwrap();
            b.compare(CompareDir::Le, zero, x).unwrap()
        });
        let compare = graph.def(graph.results()[0]);
        assert_eq!(compare.op, Op::Compare(CompareDir::Ge));
        assert_eq!(compare.operands[0], graph.params()[0]);
    }

    #[test]
    fn operands_are_in_the_order_of_their_definition() {
        let graph = canonical(|b, x, y| b.multiply(y, x).unwrap());
        assert_eq!(graph.def(graph.results()[0]).operands, graph.params());
    }

    #[test]
    fn maximum_keeps_its_order() {
        let graph = canonical(|b, x, _| {
            let zero = b.zeros_like(x).unwrap();
            b.maximum(zero, x).unwrap()
        });
        assert_eq!(graph.def(graph.results()[0]).operands[1], graph.params()[0]);
    }

    #[test]
    fn equal_elements_make_a_splat() {
        let splat_of = |values: &[f32]| {
            let data = TensorData::from_f32(vec![2], values);
            let graph = canonical(|b, _, _| b.tensor(data).unwrap());
            matches!(graph.def_op(graph.results()[0]), Op::Constant(Constant::Splat { .. }))
        };
        assert!(splat_of(&[1.5, 1.5]));
        assert!(!splat_of(&[0.0, -0.0]));
    }
}
