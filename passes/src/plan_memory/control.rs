//! Plans of `scan`, `cond` and `while`: their regions, and where what is carried lies from iteration to iteration.
//!
//! A region is planned as a function is: its parameters and results have buffers of their own, which the owner gives
//! it; the rest lies in the region's arena, which is scratch of the owner. To the graph around it, control flow is one
//! launch.
//!
//! ```text
//! %1, %2 = scan %h0, %c0, %xs {n_carried = 2, ...}        h: is stacked too: carried in the stacked result
//!   (%p0: f32[8], %p1: f32[8], %p2: f32[8]) {             c: in place, in the buffer of the result
//!     ...
//!     return %h, %c, %h
//!   }
//! ```
//!
//! Nothing is copied that need not be: see [`Carry`].

use nnc_ir::{Graph, NodeData, Op, Value};

use super::facts::Facts;
use super::tasks::Want;
use super::{MemoryPlan, Place, bytes_of, plan_graph};

/// How a control-flow node is run.
#[derive(Clone, Debug)]
pub enum ControlPlan {
    /// `scan`.
    Scan(ScanPlan),
    /// `cond`: the plans of both regions. Their results lie in the node's results.
    Cond(Box<[MemoryPlan; 2]>),
    /// `while`. The body leaves its results where its parameters are: in the node's results, into which the operands
    /// are copied first. The condition's result lies where [`MemoryPlan::results`] says.
    While(Box<[MemoryPlan; 2]>),
}

/// How a `scan` is run.
#[derive(Clone, Debug)]
pub struct ScanPlan {
    /// The plan of the body.
    pub body: MemoryPlan,
    /// Where each carry lies.
    pub carries: Vec<Carry>,
    /// Steps.
    pub length: u64,
}

/// Where a carry lies from iteration to iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// It never changes: where its first value lies.
    Unchanged,
    /// It is another value of the iteration before, which is still there: a slice of a scanned operand, an invariant, a
    /// constant.
    Follows(Value),
    /// In the stack of this output, which holds the same value: every iteration reads what the one before wrote.
    Stacked(usize),
    /// In the stack of this output, which holds the values *before* each step: every iteration writes what the next one
    /// reads; the last one writes to the node's result.
    StackedBefore(usize),
    /// In the buffer of the node's result, changed in place. Its first value is copied there, if it does not lie there.
    InPlace,
    /// In two slots by turns, the node's result and this scratch of the node, so that the last iteration writes
    /// to the result.
    Alternating(usize),
}

/// A planned control-flow node, as a launch.
pub(super) struct Planned {
    pub(super) plan: ControlPlan,
    /// Pairs of operand and result that may share a buffer.
    pub(super) in_place: Vec<(usize, usize)>,
    /// Scratch: the arenas of the regions first.
    pub(super) scratch: Vec<u64>,
}

/// Plans the regions of a node.
pub(super) fn plan(data: &NodeData, facts: &[Facts]) -> Planned {
    match &data.op {
        Op::Scan(attrs) => {
            let length = attrs.length.as_const().expect("lengths are fixed before memory is planned");
            scan(&data.regions[0], attrs.n_carried, length as u64, &facts[0])
        }
        Op::Cond => {
            let arm = |idx: usize| plan_graph(&data.regions[idx], &wants(&data.regions[idx], Want::Own), &facts[idx]);
            let arms = [arm(0), arm(1)];
            let scratch = vec![arms[0].arena_bytes.max(arms[1].arena_bytes)];
            Planned { plan: ControlPlan::Cond(Box::new(arms)), in_place: Vec::new(), scratch }
        }
        Op::While => {
            let [condition, body] = &data.regions[..] else { unreachable!("the verifier counts regions") };
            let into_params: Vec<Want> = (0..body.results().len() as u32).map(Want::Param).collect();
            let condition = plan_graph(condition, &wants(condition, Want::Anywhere), &facts[0]);
            let body = plan_graph(body, &into_params, &facts[1]);
            let scratch = vec![condition.arena_bytes, body.arena_bytes];
            let in_place = (0..data.operands.len()).map(|idx| (idx, idx)).collect();
            Planned { plan: ControlPlan::While(Box::new([condition, body])), in_place, scratch }
        }
        op => unreachable!("{} is no control flow", op.mnemonic()),
    }
}

fn wants(region: &Graph, want: Want) -> Vec<Want> {
    vec![want; region.results().len()]
}

fn scan(body: &Graph, n_carried: usize, length: u64, facts: &Facts) -> Planned {
    let roots: Vec<Value> = body.results().iter().map(|&result| root(body, result)).collect();
    let (next, outputs) = roots.split_at(n_carried);
    let mut wants = wants(body, Want::Own);
    let mut carries = Vec::with_capacity(n_carried);
    for (idx, &value) in next.iter().enumerate() {
        let param = body.params()[idx];
        let output_is = |wanted: Value| move |(at, &output): (usize, &Value)| (output == wanted).then_some(at);
        let carry = match body.def_op(value) {
            Op::Param(_) if value == param => Carry::Unchanged,
            Op::Param(of) if *of as usize >= n_carried => Carry::Follows(value),
            Op::Constant(_) => Carry::Follows(value),
            // Another carry: copied, lest two that change places run after each other.
            Op::Param(_) => Carry::Alternating(0),
            _ => {
                let after = outputs.iter().enumerate().find_map(output_is(value));
                let before = outputs.iter().enumerate().find_map(output_is(param));
                match (after, before) {
                    (Some(output), _) => Carry::Stacked(output),
                    (None, Some(output)) => Carry::StackedBefore(output),
                    (None, None) => Carry::InPlace,
                }
            }
        };
        wants[idx] = match carry {
            Carry::Unchanged | Carry::Follows(_) | Carry::Stacked(_) => Want::Nowhere,
            Carry::StackedBefore(output) => {
                wants[n_carried + output] = Want::Nowhere;
                Want::Own
            }
            Carry::InPlace => Want::ParamIfFree(idx as u32),
            Carry::Alternating(_) => Want::Own,
        };
        carries.push(carry);
    }
    let plan = plan_graph(body, &wants, facts);
    let mut scratch = vec![plan.arena_bytes];
    for (idx, carry) in carries.iter_mut().enumerate() {
        let is_apart = *carry == Carry::InPlace && plan.results[idx] != Place::Param(idx as u32);
        if is_apart || matches!(carry, Carry::Alternating(_)) {
            *carry = Carry::Alternating(scratch.len());
            // A loop of one iteration goes from the first value to the result.
            scratch.push(if length > 1 { bytes_of(body, body.params()[idx]) } else { 0 });
        }
    }
    let in_place = (0..n_carried).filter(|&idx| carries[idx] == Carry::InPlace).map(|idx| (idx, idx)).collect();
    Planned { plan: ControlPlan::Scan(ScanPlan { body: plan, carries, length }), in_place, scratch }
}

/// The value whose buffer `value` is.
fn root(graph: &Graph, value: Value) -> Value {
    match graph.def(value) {
        data if matches!(data.op, Op::Reshape(_)) => root(graph, data.operands[0]),
        _ => value,
    }
}
