//! `Scan`, and the batches of its first version.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::repeat::MAX_UNROLLED;
use super::steps::{Step, Steps, stack};
use super::structure::rebuild_all;
use super::{Cx, Fault, Outcome, body};
use crate::ops::iota;
use crate::value::Value;

/// Axes and directions of what is scanned or stacked.
struct Sides {
    axes: Vec<i64>,
    /// Whether the last slice comes first.
    backward: Vec<bool>,
}

impl Sides {
    fn of(cx: &Cx<'_>, side: &str, n: usize) -> Result<Self, Fault> {
        let list = |name: String| -> Result<Vec<i64>, Fault> {
            let list = cx.ints_or(&name, &vec![0; n])?;
            match list.len() == n {
                true => Ok(list),
                false => Err(cx.invalid(format!("{name} has {} numbers, expected {n}", list.len()))),
            }
        };
        let axes = list(format!("scan_{side}_axes"))?;
        let backward = list(format!("scan_{side}_directions"))?.iter().map(|&direction| direction != 0).collect();
        Ok(Self { axes, backward })
    }
}

/// A tensor with the dimension `from` put at `to`.
#[track_caller]
fn move_axis(tensor: &Tensor, from: usize, to: usize) -> Tensor {
    let mut axes: Vec<usize> = (0..tensor.rank()).collect();
    let axis = axes.remove(from);
    axes.insert(to, axis);
    tensor.permute(axes)
}

/// A tensor value with another tensor in it.
fn with_tensor(like: &Value, tensor: Tensor) -> Value {
    rebuild_all(std::slice::from_ref(like), vec![tensor]).swap_remove(0)
}

pub(super) fn scan(cx: &mut Cx<'_>) -> Outcome {
    let graph = cx.graph("body")?;
    let (n_states, n_scanned) = counts(cx, 0)?;
    let inputs = Sides::of(cx, "input", n_scanned)?;
    let outputs = Sides::of(cx, "output", graph.output.len().saturating_sub(n_states))?;
    let states: Vec<Value> = (0..n_states).map(|index| cx.value(index)).collect::<Result<_, _>>()?;
    // Everything backward is a loop that runs backward; else what is backward is turned around.
    let reverse = inputs.backward.iter().all(|&backward| backward);
    let mut scanned = Vec::with_capacity(n_scanned);
    for (position, (&axis, &backward)) in inputs.axes.iter().zip(&inputs.backward).enumerate() {
        let (value, tensor) = (cx.value(n_states + position)?, cx.input(n_states + position)?);
        let axis = cx.axis(axis, tensor.rank())?;
        let tensor = move_axis(&tensor, axis, 0);
        scanned.push(with_tensor(&value, if backward != reverse { tensor.flip(0) } else { tensor }));
    }
    let length = length(cx, &scanned)?;

    let step = |carried: Vec<Value>, slices: Vec<Value>| one_step(cx, n_states, carried, slices);
    let steps = Steps { length: length.clone(), reverse, carried: &states, slices: &scanned };
    let failure = match cx.walker.attempt(|| steps.scan(cx, step)) {
        Ok(result) => return finish(cx, result, &outputs, reverse),
        Err(failure) => failure,
    };
    let Some(length @ 1..=MAX_UNROLLED) = length.as_const() else { return Err(cx.walker.give_up(failure)) };
    let (mut carried, mut given) = (states, Vec::with_capacity(length));
    for position in 0..length {
        let at = if reverse { length - 1 - position } else { position };
        let slice = |value: &Value| match cx.tensor_of(value) {
            Some(tensor) => with_tensor(value, tensor.select(0, at as i64)),
            None => value.clone(),
        };
        let result = step(carried, scanned.iter().map(slice).collect())?;
        carried = result.carried;
        given.push(result.given);
    }
    if reverse {
        given.reverse();
    }
    finish(cx, Step { carried, given: stack(cx, &given)? }, &outputs, reverse)
}

/// Numbers of states and of scanned inputs, of which the first is input `first`.
fn counts(cx: &Cx<'_>, first: usize) -> Result<(usize, usize), Fault> {
    let n_scanned = cx.int_or("num_scan_inputs", 0)?;
    let n_inputs = cx.n_inputs().saturating_sub(first);
    match usize::try_from(n_scanned).ok().filter(|&n| (1..=n_inputs).contains(&n)) {
        Some(n_scanned) => Ok((n_inputs - n_scanned, n_scanned)),
        None => Err(cx.invalid(format!("num_scan_inputs is {n_scanned}, expected 1 to {n_inputs}"))),
    }
}

/// The number of steps that all of `scanned` have.
fn length(cx: &Cx<'_>, scanned: &[Value]) -> Result<Dim, Fault> {
    let mut length: Option<Dim> = None;
    for tensor in scanned.iter().filter_map(|value| cx.tensor_of(value)) {
        let found = tensor.size(0);
        match &length {
            Some(length) if *length != found => {
                return Err(cx.invalid(format!("inputs are scanned in {length} and in {found} steps")));
            }
            _ => length = Some(found),
        }
    }
    length.ok_or_else(|| cx.invalid("nothing is scanned"))
}

fn one_step(cx: &Cx<'_>, n_states: usize, carried: Vec<Value>, slices: Vec<Value>) -> Result<Step, Fault> {
    let mut results = body(cx, cx.graph("body")?, [carried, slices].concat())?;
    if results.len() < n_states {
        return Err(cx.invalid(format!("the body gives {} results, expected {n_states} states", results.len())));
    }
    let given = results.split_off(n_states);
    Ok(Step { carried: results, given })
}

/// States, and what was stacked with its axis and direction. Stacks stand in the order of the slices they belong to.
fn finish(cx: &Cx<'_>, result: Step, outputs: &Sides, reverse: bool) -> Outcome {
    let mut values = result.carried;
    for ((value, &axis), &backward) in result.given.iter().zip(&outputs.axes).zip(&outputs.backward) {
        let Some(tensor) = cx.tensor_of(value) else { return Err(cx.invalid("the body gives no tensor to stack")) };
        let tensor = if backward != reverse { tensor.flip(0) } else { tensor };
        let axis = cx.axis(axis, tensor.rank())?;
        values.push(with_tensor(value, move_axis(&tensor, 0, axis)));
    }
    Ok(values)
}

/// `Scan` of operator set 8: every input has a batch in front, of which each element is scanned by itself, for as many
/// steps as `sequence_lens` says. Steps beyond give zeros and leave the state as it is.
pub(super) fn scan_batch(cx: &mut Cx<'_>) -> Outcome {
    let (n_states, n_scanned) = counts(cx, 1)?;
    let backward = cx.ints_or("directions", &vec![0; n_scanned])?;
    if backward.len() != n_scanned {
        return Err(cx.invalid(format!("directions has {} numbers, expected {n_scanned}", backward.len())));
    }
    let lengths = cx.optional(0)?.map(|lengths| lengths.to_dtype(DType::I64));
    let mut batches: Vec<Value> =
        (0..n_states + n_scanned).map(|index| cx.value(1 + index)).collect::<Result<_, _>>()?;
    for value in &batches[n_states..] {
        if cx.tensor_of(value).is_none_or(|tensor| tensor.rank() < 2) {
            return Err(cx.invalid("a scanned input without a batch and steps, expected [N, T, ...]"));
        }
    }
    let n = length(cx, &batches)?;
    let has_lengths = lengths.is_some();
    batches.extend(lengths.map(Value::from));

    // The loop over the batch carries nothing; its steps are the loops over the steps.
    let one = |_: Vec<Value>, mut slices: Vec<Value>| {
        let count = if has_lengths { slices.pop().and_then(|value| cx.tensor_of(&value)) } else { None };
        let scanned = slices.split_off(n_states);
        let result = scan_one(cx, slices, &scanned, &backward, count.as_ref())?;
        Ok(Step { carried: Vec::new(), given: [result.carried, result.given].concat() })
    };
    let steps = Steps { length: n, reverse: false, carried: &[], slices: &batches };
    Ok(steps.scan(cx, one)?.given)
}

/// One element of a batch: `count` steps, if given.
fn scan_one(
    cx: &Cx<'_>,
    states: Vec<Value>,
    scanned: &[Value],
    backward: &[i64],
    count: Option<&Tensor>,
) -> Result<Step, Fault> {
    let n_states = states.len();
    let n_steps = length(cx, scanned)?;
    let numbers = iota(DType::I64, [n_steps.clone()], 0);
    let mut slices = Vec::with_capacity(scanned.len() + 1);
    for (value, &backward) in scanned.iter().zip(backward) {
        let Some(tensor) = cx.tensor_of(value) else { return Err(cx.invalid("a scanned input is no tensor")) };
        slices.push(with_tensor(
            value,
            match (backward != 0, count) {
                (false, _) => tensor,
                (true, None) => tensor.flip(0),
                // The steps that count are turned around among themselves.
                (true, Some(count)) => {
                    let mirrored = count - 1 - &numbers;
                    tensor.index_select(0, &where_(&numbers.lt(count), mirrored, &numbers))
                }
            },
        ));
    }
    let step = |carried: Vec<Value>, mut slices: Vec<Value>| {
        let number = slices.pop().and_then(|value| cx.tensor_of(&value));
        let before = carried.clone();
        let result = one_step(cx, n_states, carried, slices)?;
        let (Some(count), Some(number)) = (count, number) else { return Ok(result) };
        let counts = number.lt(count);
        let choose = |next: &Value, otherwise: Option<&Value>| match (cx.tensor_of(next), otherwise) {
            (Some(tensor), Some(before)) => {
                let before = cx.tensor_of(before).unwrap_or_else(|| tensor.zeros_like());
                with_tensor(next, where_(&counts, tensor, before))
            }
            (Some(tensor), None) => with_tensor(next, where_(&counts, &tensor, tensor.zeros_like())),
            (None, _) => next.clone(),
        };
        Ok(Step {
            carried: result.carried.iter().zip(&before).map(|(next, before)| choose(next, Some(before))).collect(),
            given: result.given.iter().map(|next| choose(next, None)).collect(),
        })
    };
    slices.push(numbers.into());
    Steps { length: n_steps, reverse: false, carried: &states, slices: &slices }.scan(cx, step)
}
