//! Steps of a loop, traced once or one by one.

use nnc_frontend::Tensor;
use nnc_frontend::functional::Scan;
use nnc_ir::Dim;

use super::structure::{all_leaves, all_same, rebuild_all};
use super::{Cx, Fault};
use crate::value::Value;
use crate::walk::poisoned_by_earlier;

/// What a step gives: what it hands on, and its part of what is stacked.
pub(super) struct Step {
    pub(super) carried: Vec<Value>,
    pub(super) given: Vec<Value>,
}

/// What all steps are made of: what the first one is handed, and what each takes a slice of.
pub(super) struct Steps<'s> {
    pub(super) length: Dim,
    /// Whether the last slice is taken first, and what a step gives stands where its slice stood.
    pub(super) reverse: bool,
    pub(super) carried: &'s [Value],
    /// Steps first; values that tell the element types of the slices.
    pub(super) slices: &'s [Value],
}

impl Steps<'_> {
    /// All steps as one `scan`, whose body is imported once; `step` gets what is carried and its slices.
    ///
    /// # Errors
    /// What `step` gives as error, and a step that hands on what it is not handed itself: meant for
    /// [`Walker::attempt`](crate::walk::Walker::attempt).
    pub(super) fn scan(
        &self,
        cx: &Cx<'_>,
        mut step: impl FnMut(Vec<Value>, Vec<Value>) -> Result<Step, Fault>,
    ) -> Result<Step, Fault> {
        let initial = all_leaves(cx, self.carried)?;
        let scanned = all_leaves(cx, self.slices)?;
        let mut outcome = Err(Fault::Reported);
        let (last, stacks) = Scan::new().length(self.length.clone()).reverse(self.reverse).run(
            initial,
            scanned,
            |carried: Vec<Tensor>, slices: Vec<Tensor>| {
                let n_carried = carried.len();
                let traced = step(rebuild_all(self.carried, carried), rebuild_all(self.slices, slices));
                let traced = traced.and_then(|step| {
                    if !all_same(&step.carried, self.carried) {
                        return Err(cx.unsupported("a loop that carries values whose types change from step to step"));
                    }
                    let given = step.given.iter().map(|value| stackable(cx, value)).collect::<Result<Vec<_>, _>>()?;
                    Ok((all_leaves(cx, &step.carried)?, given, step))
                });
                match traced {
                    Ok((carried, given, step)) => {
                        outcome = Ok(step);
                        (carried, given)
                    }
                    Err(fault) => {
                        outcome = Err(fault);
                        (vec![poisoned_by_earlier(); n_carried], Vec::new())
                    }
                }
            },
        );
        let step = outcome?;
        Ok(Step { carried: rebuild_all(&step.carried, last), given: rebuild_all(&step.given, stacks) })
    }
}

/// What steps gave one by one, stacked along a new first dimension.
///
/// # Errors
/// Steps that give tensors of different types.
pub(super) fn stack(cx: &Cx<'_>, steps: &[Vec<Value>]) -> Result<Vec<Value>, Fault> {
    let Some(first) = steps.first() else { return Ok(Vec::new()) };
    if let Some(other) = steps.iter().find(|step| !all_same(step, first)) {
        let types = |values: &[Value]| {
            let types = values.iter().map(|value| cx.tensor_of(value).map_or(String::new(), |t| t.ty().to_string()));
            types.collect::<Vec<_>>().join(", ")
        };
        let message = format!("the body gives {} and {} in different steps", types(first), types(other));
        return Err(cx.invalid(message));
    }
    let stacked = (0..first.len()).map(|position| {
        let parts = steps.iter().map(|step| stackable(cx, &step[position])).collect::<Result<Vec<_>, _>>()?;
        Ok(rebuild_all(&first[position..=position], vec![Tensor::stack(&parts, 0)]).swap_remove(0))
    });
    stacked.collect()
}

/// A value that steps give to be stacked, which is a tensor.
pub(super) fn stackable(cx: &Cx<'_>, value: &Value) -> Result<Tensor, Fault> {
    cx.tensor_of(value).ok_or_else(|| cx.invalid("the body gives no tensor, expected one to be stacked"))
}
