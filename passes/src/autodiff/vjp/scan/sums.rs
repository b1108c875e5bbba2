//! Sums over all steps, for the cotangents of invariants.
//!
//! A sum is linear, so it goes through what is linear: sums and movements, down to a contraction or a reduction, where
//! the step becomes one more contracted or reduced dimension of stacks. That takes stacks instead of a carry as large as
//! the sum, which each step reads and writes, and takes a kernel out of the loop: [`Plan`] chooses what costs less.

use nnc_ir::builder::Built;
use nnc_ir::ops::{DotAttrs, ReduceAttrs, ReduceKind};
use nnc_ir::{Builder, Op, Value};

use super::residuals::nominal_bytes;
use super::{Joint, Source};

/// A small kernel in each step costs about as much as moving this many bytes: some microseconds.
const KERNEL_BYTES: usize = 64 << 10;

/// How the terms of all steps are summed.
pub(super) enum Sum {
    /// By a carry.
    Carried(Value),
    /// By a contraction of stacks.
    Dot(DotAttrs, Value, Value),
    /// By a reduction of a stack.
    Reduce(Vec<usize>, Value),
    /// The sum of two sums.
    Add(Box<Sum>, Box<Sum>),
    /// A linear op of a sum.
    Linear(Op, Box<Sum>),
}

impl Sum {
    /// The terms that are carried, in order.
    pub(super) fn carried(&self) -> Vec<Value> {
        match self {
            Self::Carried(term) => vec![*term],
            Self::Dot(..) | Self::Reduce(..) => Vec::new(),
            Self::Add(lhs, rhs) => [lhs.carried(), rhs.carried()].concat(),
            Self::Linear(_, inner) => inner.carried(),
        }
    }

    /// Appends what comes after the loop. `stack` gives the stack of a value, `carried` the last value of each carry.
    pub(super) fn build(
        &self,
        b: &mut Builder<'_>,
        stack: &dyn Fn(Value) -> Value,
        carried: &mut dyn Iterator<Item = Value>,
    ) -> Built {
        // The step is dimension 0 of a stack.
        let behind = |dims: &[usize]| dims.iter().map(|dim| dim + 1).collect::<Vec<_>>();
        let with_step = |dims: &[usize]| [&[0], behind(dims).as_slice()].concat();
        match self {
            Self::Carried(_) => Ok(carried.next().expect("each carried term has a carry")),
            Self::Dot(attrs, lhs, rhs) => {
                let attrs = DotAttrs {
                    lhs_batch: behind(&attrs.lhs_batch),
                    rhs_batch: behind(&attrs.rhs_batch),
                    lhs_contract: with_step(&attrs.lhs_contract),
                    rhs_contract: with_step(&attrs.rhs_contract),
                };
                b.dot(stack(*lhs), stack(*rhs), attrs)
            }
            Self::Reduce(dims, operand) => b.reduce_sum(stack(*operand), &with_step(dims)),
            Self::Add(lhs, rhs) => {
                let lhs = lhs.build(b, stack, carried)?;
                let rhs = rhs.build(b, stack, carried)?;
                b.add(lhs, rhs)
            }
            Self::Linear(op, inner) => {
                let inner = inner.build(b, stack, carried)?;
                b.op(op.clone(), &[inner])
            }
        }
    }
}

/// Decides how sums are made, and collects what has to be stacked.
pub(super) struct Plan<'p, 'a> {
    joint: &'p Joint<'a>,
    /// Forward values to keep a stack of.
    kept: Vec<Value>,
    /// Values to be stacked by the backward scan.
    given: Vec<Value>,
}

impl<'p, 'a> Plan<'p, 'a> {
    /// A plan that stacks the cotangents of slices and nothing else yet.
    pub(super) fn new(joint: &'p Joint<'a>) -> Self {
        let mut plan = Self { joint, kept: Vec::new(), given: Vec::new() };
        joint.slices.iter().for_each(|&(_, slice)| plan.stack(slice));
        plan
    }

    /// What the forward scan keeps, and what the backward scan gives.
    pub(super) fn finish(self) -> (Vec<Value>, Vec<Value>) {
        (self.kept, self.given)
    }

    /// The sum of `term` over all steps.
    pub(super) fn sum(&mut self, term: Value) -> Sum {
        let graph = &self.joint.graph;
        if self.joint.source(term).is_some() {
            return Sum::Carried(term);
        }
        let data = graph.def(term);
        let saved = KERNEL_BYTES + 2 * nominal_bytes(graph.ty(term));
        match (&data.op, data.operands.as_slice()) {
            (Op::Add, &[lhs, rhs]) => match (self.sum(lhs), self.sum(rhs)) {
                (Sum::Carried(_), Sum::Carried(_)) => Sum::Carried(term),
                (lhs, rhs) => Sum::Add(Box::new(lhs), Box::new(rhs)),
            },
            (Op::DotGeneral(attrs), &[lhs, rhs]) if self.all_stack(&[lhs, rhs], saved) => {
                Sum::Dot(attrs.clone(), lhs, rhs)
            }
            (Op::Reduce(ReduceAttrs { kind: ReduceKind::Sum, dims }), &[operand])
                if self.all_stack(&[operand], saved) =>
            {
                Sum::Reduce(dims.clone(), operand)
            }
            (Op::Transpose(_) | Op::Reshape(_) | Op::Reverse(_) | Op::Negate, &[operand]) => match self.sum(operand) {
                Sum::Carried(_) => Sum::Carried(term),
                sum => Sum::Linear(data.op.clone(), Box::new(sum)),
            },
            _ => Sum::Carried(term),
        }
    }

    /// Stacks the values, if each differs from step to step and the stacks cost less than `saved` bytes a step.
    fn all_stack(&mut self, values: &[Value], saved: usize) -> bool {
        let cost = |value: &Value| match self.joint.source(*value) {
            Some(Source::Fixed) => None,
            Some(Source::Slice(_)) => Some(0),
            _ if self.kept.contains(value) || self.given.contains(value) => Some(0),
            _ => Some(2 * nominal_bytes(self.joint.graph.ty(*value))),
        };
        let costs: Option<Vec<usize>> = values.iter().map(cost).collect();
        let pays = costs.is_some_and(|costs| costs.into_iter().fold(0, usize::saturating_add) <= saved);
        if pays {
            values.iter().for_each(|&value| self.stack(value));
        }
        pays
    }

    fn stack(&mut self, value: Value) {
        let list = match self.joint.source(value) {
            Some(Source::Step) => &mut self.kept,
            Some(Source::Fixed | Source::Slice(_)) => return,
            None => &mut self.given,
        };
        if !list.contains(&value) {
            list.push(value);
        }
    }
}
