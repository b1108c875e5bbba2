//! `Loop`.

use std::rc::Rc;

use nnc_frontend::Tensor;
use nnc_frontend::functional::while_loop;
use nnc_frontend::tensor::apply;
use nnc_ir::{DType, Dim, Op, TensorType};

use super::steps::{Step, Steps, stack, stackable};
use super::structure::{all_leaves, all_same, is_known, rebuild_all};
use super::{Cx, Fault, Outcome, body, scalar};
use crate::bound::Bound;
use crate::elem::ElemType;
use crate::ops::{iota, zeros};
use crate::proto::GraphProto;
use crate::shape_int::ShapeInt;
use crate::value::Value;
use crate::walk::poisoned_by_earlier;

/// More steps than this are never unrolled.
pub(super) const MAX_UNROLLED: usize = 1 << 12;

/// How often a loop runs at most.
enum Limit {
    /// As often as its condition holds.
    None,
    /// A number or a symbolic extent.
    Known(Dim),
    /// A scalar.
    Unknown(Tensor),
}

/// Whether a loop begins.
enum Begin {
    /// It does, and its body says whether it goes on; or, without a condition, nobody does.
    Yes {
        is_asked: bool,
    },
    No,
    /// A `bool` scalar says so.
    If(Tensor),
}

/// A loop and its body, which takes the number of the step, the condition, and what is carried.
struct Repeat<'c> {
    cx: &'c Cx<'c>,
    graph: &'c GraphProto,
    carried: Vec<Value>,
    /// Number of results that are stacked.
    n_stacked: usize,
}

/// What a step gives, and the condition for the next one.
struct Asked {
    condition: Value,
    step: Step,
}

pub(super) fn loop_(cx: &mut Cx<'_>) -> Outcome {
    let cx = &*cx;
    let graph = cx.graph("body")?;
    let carried: Vec<Value> = (2..cx.n_inputs()).map(|index| cx.value(index)).collect::<Result<_, _>>()?;
    let Some(n_stacked) = graph.output.len().checked_sub(1 + carried.len()) else {
        let (found, expected) = (graph.output.len(), 1 + carried.len());
        return Err(cx.invalid(format!("the body gives {found} results, expected at least {expected}")));
    };
    let limit = match cx.has(0) {
        false => Limit::None,
        true => match cx.shape_ints(0) {
            Ok(ints) => match ints.as_slice() {
                // Negative numbers are no steps.
                [ShapeInt::Known(n)] => Limit::Known(Dim::from(usize::try_from(*n).unwrap_or(0))),
                [ShapeInt::Symbolic(dim)] => Limit::Known(dim.clone()),
                _ => return Err(cx.invalid(format!("{} trip counts, expected one", ints.len()))),
            },
            Err(_) => Limit::Unknown(scalar(cx, cx.input(0)?, "trip count")?),
        },
    };
    let begin = match (cx.has(1), cx.try_known(1)) {
        (false, _) => Begin::Yes { is_asked: false },
        (true, Some(condition)) if condition.to_i64() == [0] => Begin::No,
        (true, Some(_)) => Begin::Yes { is_asked: true },
        (true, None) => Begin::If(scalar(cx, cx.input(1)?, "condition")?.to_dtype(DType::Bool)),
    };
    Repeat { cx, graph, carried, n_stacked }.import(&limit, &begin)
}

impl Repeat<'_> {
    fn import(self, limit: &Limit, begin: &Begin) -> Outcome {
        let cx = self.cx;
        match (limit, begin) {
            (_, Begin::No) => return self.no_steps(),
            (Limit::Known(n), _) if n.as_const() == Some(0) => return self.no_steps(),
            (Limit::Known(n), Begin::Yes { is_asked }) => {
                // What is known stays known if the loop is unrolled: shapes, say, that are computed in steps.
                let folds = !self.carried.is_empty() && self.carried.iter().all(is_known);
                if folds
                    && let Some(n) = n.as_const().filter(|&n| n <= MAX_UNROLLED)
                    && let Ok(values) = cx.walker.attempt(|| self.unroll(n, *is_asked, true))
                {
                    return Ok(values);
                }
                let failure = match cx.walker.attempt(|| self.scan(n, *is_asked)) {
                    Ok(values) => return Ok(values),
                    Err(failure) => failure,
                };
                match n.as_const() {
                    Some(n) if n <= MAX_UNROLLED => match cx.walker.attempt(|| self.unroll(n, *is_asked, false)) {
                        Ok(values) => return Ok(values),
                        Err(failure) if !is_asked => return Err(cx.walker.give_up(failure)),
                        Err(_) => {}
                    },
                    _ if !is_asked => return Err(cx.walker.give_up(failure)),
                    _ => {}
                }
            }
            (Limit::None, Begin::Yes { is_asked: false }) => {
                return Err(cx.invalid("neither a trip count nor a condition, expected one: the loop has no end"));
            }
            _ => {}
        }
        if self.n_stacked > 0 && !matches!(limit, Limit::Known(_)) {
            // What is stacked has as many slices as there are steps, and not even their greatest number is known.
            return Err(cx.needs_value(0));
        }
        match cx.walker.attempt(|| self.while_loop(limit, begin)) {
            Ok(values) => Ok(values),
            Err(failure) => {
                if !matches!(limit, Limit::Known(_)) && cx.has(0) {
                    // With the number of steps the loop could be unrolled.
                    return Err(cx.needs_value(0));
                }
                Err(cx.walker.give_up(failure))
            }
        }
    }

    /// One step.
    fn step(&self, number: Value, condition: Value, carried: Vec<Value>) -> Result<Asked, Fault> {
        let n_carried = self.carried.len();
        let mut inputs = vec![number, condition];
        inputs.extend(carried);
        let mut results = body(self.cx, self.graph, inputs)?;
        let given = results.split_off(1 + n_carried);
        let carried = results.split_off(1);
        let condition = results.swap_remove(0);
        Ok(Asked { condition, step: Step { carried, given } })
    }

    /// What the condition of a step is, if it is known.
    fn known(condition: &Value) -> Option<bool> {
        match condition {
            Value::Tensor(tensor) => tensor.known().map(|data| data.to_i64().iter().all(|&value| value != 0)),
            _ => None,
        }
    }

    fn values(result: Step) -> Vec<Value> {
        [result.carried, result.given].concat()
    }

    /// All steps as one, if the condition holds whatever is carried.
    fn scan(&self, n: &Dim, is_asked: bool) -> Outcome {
        let cx = self.cx;
        let numbers = Value::from(iota(DType::I64, [n.clone()], 0));
        let steps =
            Steps { length: n.clone(), reverse: false, carried: &self.carried, slices: std::slice::from_ref(&numbers) };
        let result = steps.scan(cx, |carried, mut slices| {
            let asked = self.step(slices.swap_remove(0), truth(), carried)?;
            match is_asked && Self::known(&asked.condition) != Some(true) {
                true => Err(cx.needs_value(1)),
                false => Ok(asked.step),
            }
        });
        result.map(Self::values)
    }

    /// Each step by itself; with `folds` only as long as all that is carried is known.
    fn unroll(&self, n: usize, is_asked: bool, folds: bool) -> Outcome {
        let cx = self.cx;
        let (mut carried, mut given) = (self.carried.clone(), Vec::new());
        for number in 0..n {
            let asked = self.step(Tensor::scalar(number as i64).into(), truth(), carried)?;
            carried = asked.step.carried;
            given.push(asked.step.given);
            if folds && !carried.iter().all(is_known) {
                return Err(Fault::Reported);
            }
            match Self::known(&asked.condition) {
                Some(false) if is_asked => break,
                None if is_asked => return Err(cx.needs_value(1)),
                _ => {}
            }
        }
        Ok(Self::values(Step { carried, given: stack(cx, &given)? }))
    }

    /// Nothing is run, and what is stacked is empty.
    fn no_steps(&self) -> Outcome {
        if self.n_stacked == 0 {
            return Ok(self.carried.clone());
        }
        let failure = match self.cx.walker.attempt(|| self.scan(&Dim::from(0), false)) {
            Ok(values) => return Ok([self.carried.clone(), values[self.carried.len()..].to_vec()].concat()),
            Err(failure) => failure,
        };
        Err(self.cx.walker.give_up(failure))
    }

    /// As many steps as turn out. What is carried must keep its type; what is stacked gets room for as many slices as
    /// there may be, and their number.
    fn while_loop(&self, limit: &Limit, begin: &Begin) -> Outcome {
        let cx = self.cx;
        let given = self.given()?;
        let mut initial = vec![Tensor::scalar(0i64)];
        let (start, is_asked) = match begin {
            Begin::Yes { is_asked } => (Tensor::scalar(true), *is_asked),
            Begin::No => (Tensor::scalar(false), true),
            Begin::If(start) => (start.clone(), true),
        };
        initial.push(start);
        initial.extend(all_leaves(cx, &self.carried)?);
        let first_stack = initial.len();
        let limit = match limit {
            Limit::None => None,
            Limit::Known(n) => {
                let stack = |(_, ty): &(Value, TensorType)| {
                    zeros(ty.dtype, [std::slice::from_ref(n), ty.shape.dims()].concat())
                };
                initial.extend(given.iter().map(stack));
                Some(Tensor::extent(n))
            }
            Limit::Unknown(n) => Some(n.to_dtype(DType::I64)),
        };
        let n_state = initial.len();
        let mut fault = None;
        let mut last = while_loop(
            initial,
            |state: &Vec<Tensor>| match &limit {
                Some(limit) => state[1].logical_and(state[0].lt(limit)),
                None => state[1].clone(),
            },
            |state| match self.next(state, first_stack, is_asked) {
                Ok(state) => state,
                Err(found) => {
                    fault = Some(found);
                    vec![poisoned_by_earlier(); n_state]
                }
            },
        );
        if let Some(fault) = fault {
            return Err(fault);
        }
        let stacks = last.split_off(first_stack);
        let count = Rc::new(last[0].clone());
        let mut values = rebuild_all(&self.carried, last.split_off(2));
        values.extend(given.iter().zip(stacks).map(|((like, _), stack)| {
            let stack = rebuild_all(std::slice::from_ref(like), vec![stack]).swap_remove(0);
            stack.with_bound(Bound { axis: 0, count: count.clone() })
        }));
        Ok(values)
    }

    /// The state of a `while` after a step: number, condition, what is carried, and from `first_stack` on the stacks.
    fn next(&self, mut state: Vec<Tensor>, first_stack: usize, is_asked: bool) -> Result<Vec<Tensor>, Fault> {
        let cx = self.cx;
        let stacks = state.split_off(first_stack);
        let carried = rebuild_all(&self.carried, state.split_off(2));
        let (number, condition) = (state[0].clone(), state[1].clone());
        let asked = self.step(number.clone().into(), condition.clone().into(), carried)?;
        if !all_same(&asked.step.carried, &self.carried) {
            let message = "a loop of an unknown number of steps that carries values whose types change";
            return Err(cx.unsupported(message));
        }
        let condition = match cx.tensor_of(&asked.condition) {
            Some(next) if is_asked => scalar(cx, next, "next condition")?.to_dtype(DType::Bool),
            _ => condition,
        };
        let mut next = vec![&number + 1, condition];
        next.extend(all_leaves(cx, &asked.step.carried)?);
        for (stack, value) in stacks.iter().zip(&asked.step.given) {
            let slice = stackable(cx, value)?.unsqueeze(0);
            let mut operands = vec![stack.clone(), slice, number.clone()];
            operands.extend(vec![Tensor::scalar(0i64); stack.rank() - 1]);
            next.push(apply(Op::DynamicUpdateSlice, &operands.iter().collect::<Vec<_>>()));
        }
        Ok(next)
    }

    /// What a step gives to be stacked, found by importing the body for nothing else.
    fn given(&self) -> Result<Vec<(Value, TensorType)>, Fault> {
        if self.n_stacked == 0 {
            return Ok(Vec::new());
        }
        let cx = self.cx;
        let mut found = Err(Fault::Reported);
        let numbers = Value::from(iota(DType::I64, [Dim::from(1)], 0));
        let truths = Value::from(zeros(DType::Bool, [Dim::from(1)]));
        let slices = [numbers, truths];
        let steps = Steps { length: Dim::from(1), reverse: false, carried: &self.carried, slices: &slices };
        let failure = cx.walker.attempt(|| {
            steps.scan(cx, |carried, slices| {
                let asked = self.step(slices[0].clone(), slices[1].clone(), carried);
                found = asked.and_then(|asked| {
                    let typed = |value: Value| Ok((value.clone(), stackable(cx, &value)?.ty()));
                    asked.step.given.into_iter().map(typed).collect()
                });
                Err(Fault::Reported)
            })
        });
        match (found, failure) {
            (Ok(found), _) => Ok(found),
            (Err(fault), Ok(_)) => Err(fault),
            (Err(fault), Err(failure)) => {
                cx.walker.give_up(failure);
                Err(fault)
            }
        }
    }
}

fn truth() -> Value {
    Value::with_elem(Tensor::scalar(true), ElemType::Bool)
}
