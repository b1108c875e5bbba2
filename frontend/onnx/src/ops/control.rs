//! Control flow: `If`, `Loop`, `Scan` and `SequenceMap`.
//!
//! What is known while importing is decided while importing: the branch of a known condition is all that is left of an
//! `If`. A loop becomes the IR's `scan` where its number of steps is known (a symbolic extent is), its condition holds
//! throughout, and what it carries keeps its type. Otherwise it is unrolled, if the number of steps is a number, and
//! becomes the IR's `while` if not. Which of them it is turns out by trying ([`Walker::attempt`]): the body tells, not
//! its description.
//!
//! [`Walker::attempt`]: crate::walk::Walker::attempt

use std::cell::RefCell;

use nnc_frontend::Tensor;
use nnc_frontend::functional::cond;
use nnc_ir::DType;

use super::{Cx, Entry, Fault, Outcome, op, op_range, sequence};
use crate::proto::GraphProto;
use crate::value::Value;
use crate::walk::poisoned_by_earlier;

mod repeat;
mod scan;
mod steps;
mod structure;

use structure::{all_leaves, all_same, rebuild_all};

pub(super) const OPS: &[Entry] = &[
    op("If", 1.., if_),
    op("Loop", 1.., repeat::loop_),
    op_range("Scan", 8..=8, scan::scan_batch),
    op("Scan", 9.., scan::scan),
    op("SequenceMap", 17.., sequence_map),
];

fn if_(cx: &mut Cx<'_>) -> Outcome {
    let (on_true, on_false) = (cx.graph("then_branch")?, cx.graph("else_branch")?);
    if let Some(condition) = cx.try_known(0) {
        return match condition.to_i64().as_slice() {
            [value] => cx.subgraph(if *value != 0 { on_true } else { on_false }, Vec::new()),
            _ => Err(cx.invalid(format!("the condition is {}, expected one element", condition.ty()))),
        };
    }
    match cx.walker.attempt(|| branches(cx, on_true, on_false)) {
        Ok(values) => Ok(values),
        Err(failure) => {
            // A branch that is never taken for inputs like these may well be at fault: with the condition known, the
            // other one is all that is imported.
            cx.would_help(0);
            Err(cx.walker.give_up(failure))
        }
    }
}

/// Both branches, one of which is taken when the program runs.
fn branches(cx: &Cx<'_>, on_true: &GraphProto, on_false: &GraphProto) -> Outcome {
    let condition = scalar(cx, cx.input(0)?, "condition")?.to_dtype(DType::Bool);
    // A branch that cannot be one gives a poisoned tensor, with which `cond` does nothing.
    let branches: RefCell<Vec<Result<Vec<Value>, Fault>>> = RefCell::default();
    let trace = |branch: &GraphProto| {
        let traced = body(cx, branch, Vec::new()).and_then(|values| Ok((all_leaves(cx, &values)?, values)));
        let (leaves, result) = match traced {
            Ok((leaves, values)) => (leaves, Ok(values)),
            Err(fault) => (vec![poisoned_by_earlier()], Err(fault)),
        };
        branches.borrow_mut().push(result);
        leaves
    };
    let results = cond(
        &condition,
        (),
        |()| trace(on_true),
        |()| {
            let leaves = trace(on_false);
            match branches.borrow().as_slice() {
                // Branches of different types have no result in common: the condition must be known.
                [Ok(first), Ok(second)] if !all_same(first, second) => vec![poisoned_by_earlier()],
                _ => leaves,
            }
        },
    );
    let mut branches = branches.into_inner().into_iter();
    match (branches.next(), branches.next()) {
        (Some(Ok(first)), Some(Ok(second))) if all_same(&first, &second) => Ok(rebuild_all(&first, results)),
        (Some(Ok(_)), Some(Ok(_))) => Err(cx.needs_value(0)),
        (Some(Err(fault)), _) | (_, Some(Err(fault))) => Err(fault),
        _ => Err(Fault::Reported),
    }
}

/// What a nested graph gives for `inputs`, if nothing in it is at fault.
fn body(cx: &Cx<'_>, graph: &GraphProto, inputs: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let results = cx.subgraph(graph, inputs)?;
    match results.iter().any(structure::is_poisoned) {
        true => Err(Fault::Reported),
        false => Ok(results),
    }
}

/// A tensor of one element as a scalar.
fn scalar(cx: &Cx<'_>, tensor: Tensor, what: &str) -> Result<Tensor, Fault> {
    match tensor.numel().as_const() {
        Some(1) => Ok(tensor.reshape(())),
        _ => Err(cx.invalid(format!("the {what} is {}, expected one element", tensor.ty()))),
    }
}

/// Imports the body once for each element: the length of a sequence is always known.
fn sequence_map(cx: &mut Cx<'_>) -> Outcome {
    let graph = cx.graph("body")?;
    let mut inputs = Vec::with_capacity(cx.n_inputs());
    for index in 0..cx.n_inputs() {
        inputs.push(cx.value(index)?);
    }
    let Some(Value::Sequence(first)) = inputs.first() else {
        return Err(cx.invalid("input 0 is no sequence, expected one"));
    };
    let n = first.len();
    for (index, input) in inputs.iter().enumerate() {
        if let Value::Sequence(elements) = input
            && elements.len() != n
        {
            return Err(cx.invalid(format!("sequence {index} has {} elements, expected {n}", elements.len())));
        }
    }
    let mut results = vec![Vec::with_capacity(n); graph.output.len()];
    for position in 0..n {
        let of_element = |input: &Value| match input {
            Value::Sequence(elements) => elements[position].clone(),
            whole => whole.clone(),
        };
        let given = body(cx, graph, inputs.iter().map(of_element).collect())?;
        for (result, value) in results.iter_mut().zip(given) {
            result.push(value);
        }
    }
    results.into_iter().map(|parts| sequence::of_parts(cx, parts)).collect()
}
