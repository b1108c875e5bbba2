//! `scan`, `cond` and `while` as steps: loops and branches around the steps of their regions.
//!
//! This is where addresses come to move: a region's parameters and results are given the addresses that
//! [`nnc_passes::plan_memory`] has decided on.

use nnc_ir::{Diagnostic, Node, NodeData, Op, Value};
use nnc_passes::plan_memory::{Carry, ControlPlan, MemoryPlan, ScanPlan};
use nnc_runtime::program::{Address, MAX_LOOPS, MAX_NESTING, Place, Step};

use super::Error;
use super::launches::{Assembler, Scope};
use super::nodes::LoweredGraph;

impl Assembler<'_> {
    /// The steps of a control-flow node.
    pub(super) fn control(&mut self, scope: &Scope<'_>, node: Node, regions: &[LoweredGraph]) -> Result<(), Error> {
        let data = scope.graph.node(node);
        check_depth(scope, data)?;
        match &scope.plan.control[&node] {
            ControlPlan::Scan(plan) => self.scan(scope, node, plan, &regions[0]),
            ControlPlan::Cond(plans) => self.cond(scope, node, plans, regions),
            ControlPlan::While(plans) => self.while_loop(scope, node, plans, regions),
        }
    }

    fn scan(&mut self, scope: &Scope<'_>, node: Node, plan: &ScanPlan, lowered: &LoweredGraph) -> Result<(), Error> {
        let data = scope.graph.node(node);
        let Op::Scan(attrs) = &data.op else { unreachable!("the plan of a scan") };
        let operands: Vec<Address> = data.operands.iter().map(|&operand| self.address_of(scope, operand)).collect();
        let results: Vec<Address> = data.results().map(|result| self.address_of(scope, result)).collect();
        let carried = |idx: usize| (scope.bytes(data.operands[idx]), operands[idx].clone(), results[idx].clone());
        if plan.length == 0 {
            for idx in 0..attrs.n_carried {
                let (bytes, first, result) = carried(idx);
                self.copy(bytes, first, result);
            }
            return Ok(());
        }
        let body = &data.regions[0];
        let stacks = Stacks { depth: scope.loops as u8, length: plan.length as i64, reverse: attrs.reverse };
        let bytes_of = |value: Value| body.ty(value).bytes().expect("shapes are fixed before code is generated");
        let output = |idx: usize, ahead: i64| {
            let bytes = bytes_of(body.results()[attrs.n_carried + idx]);
            stacks.slice(&results[attrs.n_carried + idx], bytes, ahead)
        };
        let mut inner = Scope {
            graph: body,
            plan: &plan.body,
            lowered,
            params: operands.clone(),
            results: results.clone(),
            arena: scope.arena_offset(scope.plan.scratch[&node][0]),
            loops: scope.loops + 1,
            nesting: scope.nesting + 1,
        };
        let scanned = inner.params.iter_mut().zip(body.params()).skip(attrs.n_carried).take(attrs.n_scanned);
        for (address, &param) in scanned {
            *address = stacks.slice(address, bytes_of(param), 0);
        }
        for idx in 0..body.results().len() - attrs.n_carried {
            inner.results[attrs.n_carried + idx] = output(idx, 0);
        }
        let depth = stacks.depth;
        let then = |first: Address, rest: Address| if plan.length == 1 { first } else { first.before(depth, 1, &rest) };
        let mut last_values = Vec::new();
        for (idx, carry) in plan.carries.iter().enumerate() {
            let (bytes, first, result) = carried(idx);
            let (read, written) = match *carry {
                Carry::Unchanged => {
                    last_values.push((idx, first.clone()));
                    (first, result)
                }
                Carry::Follows(value) => {
                    let source = self.address_of(&inner, value);
                    last_values.push((idx, source.fixed_at(depth, plan.length - 1)));
                    (then(first, source.previous(depth)), result)
                }
                Carry::Stacked(stack) => {
                    last_values.push((idx, output(stack, 0).fixed_at(depth, plan.length - 1)));
                    (then(first, output(stack, -1)), output(stack, 0))
                }
                Carry::StackedBefore(stack) => {
                    self.copy(bytes, first, output(stack, 0).fixed_at(depth, 0));
                    let written = match plan.length {
                        1 => result,
                        length => output(stack, 1).before(depth, length - 1, &result),
                    };
                    (output(stack, 0), written)
                }
                Carry::InPlace => {
                    self.copy(bytes, first, result.clone());
                    (result.clone(), result)
                }
                Carry::Alternating(_) if plan.length == 1 => (first, result),
                Carry::Alternating(scratch) => {
                    let other = Place::Arena(scope.arena_offset(scope.plan.scratch[&node][scratch])).into();
                    // The last iteration writes to the result.
                    let (odd, even) = if plan.length % 2 == 1 { (&other, &result) } else { (&result, &other) };
                    (then(first, even.odd(depth, odd)), odd.odd(depth, even))
                }
            };
            inner.params[idx] = read;
            inner.results[idx] = written;
        }
        self.hoisted(&inner);
        let at = self.open(Step::Loop { trips: plan.length, body: 0 });
        self.block(&inner)?;
        let n_steps = self.n_steps_after(at);
        self.steps[at] = Step::Loop { trips: plan.length, body: n_steps };
        if n_steps == 0 {
            self.steps.pop();
        }
        for (idx, last) in last_values {
            let (bytes, _, result) = carried(idx);
            if is_used(scope, Value(data.first_result.0 + idx as u32)) {
                self.copy(bytes, last, result);
            }
        }
        Ok(())
    }

    fn cond(
        &mut self,
        scope: &Scope<'_>,
        node: Node,
        plans: &[MemoryPlan; 2],
        lowered: &[LoweredGraph],
    ) -> Result<(), Error> {
        let data = scope.graph.node(node);
        let mut operands = data.operands.iter().map(|&operand| self.address_of(scope, operand)).collect::<Vec<_>>();
        let condition = operands.remove(0);
        let results: Vec<Address> = data.results().map(|result| self.address_of(scope, result)).collect();
        let mut n_steps = [0; 2];
        let at = self.open(Step::Launch(0));
        for (idx, n_steps) in n_steps.iter_mut().enumerate() {
            let start = self.steps.len();
            self.block(&Scope {
                graph: &data.regions[idx],
                plan: &plans[idx],
                lowered: &lowered[idx],
                params: operands.clone(),
                results: results.clone(),
                arena: scope.arena_offset(scope.plan.scratch[&node][0]),
                loops: scope.loops,
                nesting: scope.nesting + 1,
            })?;
            *n_steps = (self.steps.len() - start) as u32;
        }
        let [on_true, on_false] = n_steps;
        self.steps[at] = Step::Branch { condition, on_true, on_false };
        if on_true + on_false == 0 {
            self.steps.pop();
        }
        Ok(())
    }

    fn while_loop(
        &mut self,
        scope: &Scope<'_>,
        node: Node,
        plans: &[MemoryPlan; 2],
        lowered: &[LoweredGraph],
    ) -> Result<(), Error> {
        let data = scope.graph.node(node);
        let results: Vec<Address> = data.results().map(|result| self.address_of(scope, result)).collect();
        for (&operand, result) in data.operands.iter().zip(&results) {
            let first = self.address_of(scope, operand);
            self.copy(scope.bytes(operand), first, result.clone());
        }
        let inner = |idx: usize| Scope {
            graph: &data.regions[idx],
            plan: &plans[idx],
            lowered: &lowered[idx],
            params: results.clone(),
            // The condition's value is found where it is computed.
            results: results.clone(),
            arena: scope.arena_offset(scope.plan.scratch[&node][idx]),
            loops: scope.loops + 1,
            nesting: scope.nesting + 1,
        };
        let (head, body) = (inner(0), inner(1));
        self.hoisted(&head);
        self.hoisted(&body);
        let condition = self.address(&head, head.plan.results[0]);
        let at = self.open(Step::Launch(0));
        self.block(&head)?;
        let n_head = self.n_steps_after(at);
        self.block(&body)?;
        let n_body = self.n_steps_after(at) - n_head;
        self.steps[at] = Step::While { condition, head: n_head, body: n_body };
        Ok(())
    }

    /// Starts a step that others belong to; gives its position.
    fn open(&mut self, step: Step) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Number of steps behind the one at this position.
    fn n_steps_after(&self, at: usize) -> u32 {
        (self.steps.len() - at - 1) as u32
    }
}

/// Slices of the stacks that a scan goes along.
struct Stacks {
    depth: u8,
    length: i64,
    reverse: bool,
}

impl Stacks {
    /// The slice, of `bytes` bytes, that the iteration `ahead` iterations from the current one has to do with.
    fn slice(&self, stack: &Address, bytes: usize, ahead: i64) -> Address {
        let bytes = bytes as i64;
        match self.reverse {
            false => stack.moved(ahead * bytes, self.depth, bytes),
            true => stack.moved((self.length - 1 - ahead) * bytes, self.depth, -bytes),
        }
    }
}

fn is_used(scope: &Scope<'_>, value: Value) -> bool {
    let reads = |data: &NodeData| data.operands.contains(&value);
    scope.graph.results().contains(&value) || scope.graph.nodes().any(|(_, data)| reads(data))
}

/// A program has room for so many loops in each other.
fn check_depth(scope: &Scope<'_>, data: &NodeData) -> Result<(), Error> {
    let is_loop = !matches!(data.op, Op::Cond);
    let (found, most, what) = match is_loop && scope.loops == MAX_LOOPS {
        true => (scope.loops + 1, MAX_LOOPS, "loops"),
        false if scope.nesting == MAX_NESTING => (scope.nesting + 1, MAX_NESTING, "loops and branches"),
        false => return Ok(()),
    };
    let message = format!("{}: found {found} {what} in each other, expected at most {most}", data.op.mnemonic());
    Err(Error::Lower(Diagnostic::new(data.location.clone(), message)))
}
