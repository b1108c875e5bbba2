//! Loops and branches made smaller: what need not happen in them moves out or goes.
//!
//! ```text
//! %0, %1 = scan %h, %w, %x {n_carried = 2, n_scanned = 1, ...} (%p0, %p1, %p2) {
//!   %0 = exponential %p1                                      %0 = exponential %w
//!   %1 = add %p0, %p2                                         %1 = scan %h, %x, %0 {n_carried = 1, ...} (...) {
//!   %2 = multiply %1, %0                           ->           %0 = add %p0, %p1
//!   return %2, %p1                                              %1 = multiply %0, %p2
//! }                                                             return %1
//!                                                             }
//! ```
//!
//! - *Merge* (`control/merge.rs`): of equal nodes the first stays; scans that differ in their outputs alone become one
//!   that has all of them. The gradient of a scan relies on it.
//! - *Resolve*: a `cond` on a constant is its branch; a `scan` of no step is its initial carries, one of a single step
//!   is its body.
//! - *Hoist* (`control/hoist.rs`): what is the same in each step of a `scan` is computed once before it.
//! - *Trim* (`control/trim.rs`): unused results, carries and operands go, carries that never change become invariants,
//!   operands that are given twice are given once, and constants are made inside.
//!
//! Regions are rewritten before the graph that owns them.

use nnc_ir::{Constant, DType, Diagnostic, Graph, Node, NodeData, Op, Rewriter, Scalar, Shape, TensorType, Value};

use crate::inline::splice;
use crate::regions::is_control;
use crate::remark::Remarks;

mod hoist;
mod merge;
mod trim;

pub use merge::merge;

/// The graph with its own loops and branches made smaller; regions are left to [`crate::regions::bottom_up`].
///
/// # Errors
/// None on a verified graph.
pub fn control(graph: &Graph, remarks: &mut Remarks) -> Result<Graph, Diagnostic> {
    if !graph.nodes().any(|(_, data)| is_control(&data.op)) {
        return Ok(graph.clone());
    }
    let graph = merge(graph)?;
    let mut used = vec![false; graph.n_values()];
    for operand in graph.nodes().flat_map(|(_, data)| &data.operands).chain(graph.results()) {
        used[operand.idx()] = true;
    }
    let mut rewriter = Rewriter::new(&graph);
    for (node, data) in graph.nodes() {
        let used: Vec<bool> = data.results().map(|result| used[result.idx()]).collect();
        // What nobody uses is swept by `dce`.
        if !is_control(&data.op) || !used.contains(&true) {
            rewriter.copy(node);
        } else if let Some(results) = resolve(&mut rewriter, node, data, remarks)? {
            for (old, new) in data.results().zip(results) {
                rewriter.map(old, new);
            }
        } else {
            match data.op {
                Op::Scan(_) => {
                    let hoisted = hoist::hoist(&mut rewriter, node, remarks)?;
                    trim::scan(&mut rewriter, node, hoisted, &used)?;
                }
                Op::Cond => trim::cond(&mut rewriter, node, &used)?,
                _ => trim::while_loop(&mut rewriter, node, &used)?,
            }
        }
    }
    Ok(rewriter.finish())
}

/// The results of a node whose steps are known to be none or one, or whose branch is known.
fn resolve(
    rewriter: &mut Rewriter<'_>,
    node: Node,
    data: &NodeData,
    remarks: &mut Remarks,
) -> Result<Option<Vec<Value>>, Diagnostic> {
    let operands = rewriter.operands(node);
    let mut made = |message: &str| remarks.made("control", &data.location, message, 0);
    match &data.op {
        Op::Cond => {
            let Some(pred) = truth(rewriter.graph(), operands[0]) else { return Ok(None) };
            made(if pred {
                "the predicate is true: the first branch stays"
            } else {
                "the predicate is false: the second branch stays"
            });
            let region = &data.regions[usize::from(!pred)];
            Ok(Some(splice(region, &operands[1..], rewriter.graph_mut())))
        }
        // A loop whose condition fails at once.
        Op::While => {
            let condition = &data.regions[0];
            let never = truth(condition, condition.results()[0]) == Some(false);
            Ok(never.then_some(operands))
        }
        Op::Scan(attrs) => match attrs.length.as_const() {
            Some(0) => {
                made("the loop has no step");
                let old = rewriter.old();
                let mut results = operands[..attrs.n_carried].to_vec();
                for result in data.results().skip(attrs.n_carried) {
                    let ty = old.ty(result).clone();
                    results.push(rewriter.build_at(node).splat(ty, 0.0)?);
                }
                Ok(Some(results))
            }
            Some(1) => {
                made("the loop has one step: its body stays");
                let body = &data.regions[0];
                let mut inputs = operands;
                let scanned = attrs.n_carried..attrs.n_carried + attrs.n_scanned;
                for (input, &param) in inputs[scanned.clone()].iter_mut().zip(&body.params()[scanned]) {
                    *input = rewriter.build_at(node).reshape(*input, body.ty(param).shape.clone())?;
                }
                let mut results = splice(body, &inputs, rewriter.graph_mut());
                for (result, old) in results.iter_mut().zip(data.results()).skip(attrs.n_carried) {
                    let shape: Shape = rewriter.old().ty(old).shape.clone();
                    *result = rewriter.build_at(node).reshape(*result, shape)?;
                }
                Ok(Some(results))
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// The truth value that `value` is known to have.
fn truth(graph: &Graph, value: Value) -> Option<bool> {
    match graph.def_op(value) {
        Op::Constant(constant) if constant.ty() == TensorType::scalar(DType::Bool) => {
            constant.splat_value().map(|scalar: Scalar| scalar.bits != 0)
        }
        _ => None,
    }
}

/// The constant that `value` is, if it is one.
fn constant_of(graph: &Graph, value: Value) -> Option<Constant> {
    match graph.def_op(value) {
        Op::Constant(constant) => Some(constant.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
