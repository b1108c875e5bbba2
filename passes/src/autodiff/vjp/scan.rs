//! Rule of `scan`: a `scan` in the other direction.
//!
//! ```text
//! h[t+1], y[t] = body(h[t], x[t], w)
//! g[t], dx[t] = gradient of body(h[t], x[t], w) for (g[t+1], dy[t])        from the last step to the first
//! dw = sum over t
//! ```
//!
//! The body and its gradient are one graph first, the *joint* graph of a step. What its second half needs of the first is
//! read again where it is there anyway (slices, invariants, stacked outputs), computed again where that is a matter of
//! a few cheap ops, and otherwise stacked by a second forward scan, equal to the first but for more outputs, which takes
//! its place in the end ([`mod@crate::control`]). What to stack is the smallest cut between what must be kept and what is
//! needed (`residuals`).
//!
//! The cotangent of an invariant is the sum over all steps. If the step's term is a contraction or a sum, the sum is one
//! contraction or reduction of stacks after the loop: `dw = sum_t x[t]ᵀ dz[t]` is one product of matrices (`sums`).
//! Otherwise the backward scan carries it.

use nnc_ir::builder::Built;
use nnc_ir::ops::ScanAttrs;
use nnc_ir::{Builder, Graph, Value};

use super::{Cotangents, Site};
use crate::autodiff::flow::Flow;
use crate::autodiff::reach::{region_ancestors, region_dependents};
use crate::autodiff::vjp as differentiate;
use crate::regions::graph_of;

mod residuals;
mod sums;

use sums::{Plan, Sum};

pub(super) fn scan(attrs: &ScanAttrs, site: Site<'_>) -> Built<Cotangents> {
    let Some(joint) = Joint::new(attrs, &site)? else { return Ok(vec![None; site.operands.len()]) };
    joint.backward(site)
}

/// What each step has of a forward value, seen from the backward scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The same in every step: it follows from the invariants.
    Fixed,
    /// A slice of this operand or result of the forward node.
    Slice(Value),
    /// Nothing but what the forward scan keeps of it, or what it can be computed from again.
    Step,
}

/// A step forward and backward, in one graph.
struct Joint<'a> {
    attrs: &'a ScanAttrs,
    /// The forward body.
    body: Graph,
    /// By value of the body.
    sources: Vec<Source>,
    /// The body, and behind it the cotangent parameters and the gradient.
    graph: Graph,
    carries: Vec<Carry>,
    /// Outputs with a cotangent, and the parameter that holds its slice.
    outputs: Vec<(usize, Value)>,
    /// Scanned operands whose cotangent is wanted and not zero, with the cotangent of the slice.
    slices: Vec<(usize, Value)>,
    /// Invariant operands whose cotangent is wanted and not zero, with the term of one step.
    invariants: Vec<(usize, Value)>,
}

/// A carry that has a cotangent.
struct Carry {
    /// Which it is.
    idx: usize,
    /// The parameter that holds the cotangent of what the step gives.
    next: Value,
    /// The cotangent of what the step begins with.
    cotangent: Value,
}

impl<'a> Joint<'a> {
    /// The joint graph, or `None` if nothing that is wanted has a cotangent.
    fn new(attrs: &'a ScanAttrs, site: &Site<'_>) -> Built<Option<Self>> {
        let data = site.b.graph().def(site.result);
        let body = data.regions[0].clone();
        let location = data.location.clone();
        let sources = sources(attrs, &body, site);
        let live = live_carries(attrs, &body, site);
        let (n_carried, n_looped) = (attrs.n_carried, attrs.n_carried + attrs.n_scanned);

        let mut graph = body.clone();
        let mut cotangent = |value: Value| graph.param(body.ty(value).clone(), body.def(value).location.clone());
        let next: Vec<Value> = live.iter().map(|&carry| cotangent(body.results()[carry])).collect();
        let outputs: Vec<(usize, Value)> = (n_carried..body.results().len())
            .filter(|&result| site.cotangents[result].is_some())
            .map(|result| (result, cotangent(body.results()[result])))
            .collect();

        let of_carries = live.iter().copied().zip(next.iter().copied());
        let pairs: Vec<(Value, Value)> = of_carries
            .chain(outputs.iter().copied())
            .map(|(result, cotangent)| (body.results()[result], cotangent))
            .collect();
        let others: Vec<usize> = (n_carried..site.operands.len()).filter(|&idx| site.wanted[idx]).collect();
        let wants: Vec<Value> = live.iter().chain(&others).map(|&idx| body.params()[idx]).collect();
        let found = differentiate(&mut graph, &pairs, &wants)?;

        let (of_carries, of_others) = found.split_at(live.len());
        let mut carries = Vec::with_capacity(live.len());
        for ((idx, next), found) in live.into_iter().zip(next).zip(of_carries) {
            let cotangent = match found {
                Some(cotangent) => *cotangent,
                None => Builder::new(&mut graph, location.clone()).zeros_like(next)?,
            };
            carries.push(Carry { idx, next, cotangent });
        }
        let of_others = others.into_iter().zip(of_others).filter_map(|(idx, value)| Some((idx, (*value)?)));
        let (slices, invariants): (Vec<_>, Vec<_>) = of_others.partition(|&(idx, _)| idx < n_looped);
        let is_wanted = carries.iter().any(|carry| site.wanted[carry.idx]);
        if slices.is_empty() && invariants.is_empty() && !is_wanted {
            return Ok(None);
        }
        Ok(Some(Self { attrs, body, sources, graph, carries, outputs, slices, invariants }))
    }

    /// What the forward pass has of `value`; `None` if the backward scan computes it.
    fn source(&self, value: Value) -> Option<Source> {
        self.sources.get(value.idx()).copied()
    }

    /// Appends the backward scan and what comes after it.
    fn backward(self, mut site: Site<'_>) -> Built<Cotangents> {
        // How the terms of the invariants are summed, and what has to be stacked for it.
        let mut plan = Plan::new(&self);
        let sums: Vec<Sum> = self.invariants.iter().map(|&(_, term)| plan.sum(term)).collect();
        let (kept_for_sums, stacked) = plan.finish();
        let accumulated: Vec<Value> = sums.iter().flat_map(Sum::carried).collect();

        // What the backward scan computes, and what it needs of the forward scan for that.
        let mut computed: Vec<Value> = self.carries.iter().map(|carry| carry.cotangent).collect();
        computed.extend(&accumulated);
        computed.extend(&stacked);
        let kept = residuals::keep(&self, &computed, &kept_for_sums);
        let stacks = self.forward_stacks(&mut site, &kept)?;
        let stack_of = |value: Value| match self.source(value) {
            Some(Source::Slice(outer)) => Some(outer),
            _ => kept.iter().position(|&other| other == value).map(|at| stacks[at]),
        };
        let read = residuals::read(&self, &computed, &|value| stack_of(value).is_some());

        let mut backward = Loop::new(self.graph.clone());
        for carry in &self.carries {
            let start = match site.cotangents[carry.idx] {
                Some(cotangent) => cotangent,
                None => site.b.zeros_like(site.operands[carry.idx])?,
            };
            backward.carry(start, carry.next, carry.cotangent);
        }
        for &term in &accumulated {
            let ty = self.graph.ty(term).clone();
            let param = backward.body.param(ty.clone(), site.b.location().clone());
            let sum = Builder::new(&mut backward.body, site.b.location().clone()).add(param, term)?;
            backward.carry(site.b.splat(ty, 0.0)?, param, sum);
        }
        for value in read {
            backward.scan(stack_of(value).expect("only what is stacked is read"), value);
        }
        for &(result, param) in &self.outputs {
            backward.scan(site.cotangents[result].expect("the output has a cotangent"), param);
        }
        let n_looped = self.attrs.n_carried + self.attrs.n_scanned;
        for (&operand, &param) in site.operands.iter().zip(self.body.params()).skip(n_looped) {
            backward.invariant(operand, param);
        }
        let found = backward.finish(&mut site.b, self.attrs, &stacked)?;

        let mut cotangents = vec![None; site.operands.len()];
        let (of_carries, found) = found.split_at(self.carries.len());
        let (accumulated, given) = found.split_at(accumulated.len());
        for (carry, &cotangent) in self.carries.iter().zip(of_carries) {
            cotangents[carry.idx] = Some(cotangent).filter(|_| site.wanted[carry.idx]);
        }
        let given_of = |value: Value| stacked.iter().position(|&other| other == value).map(|at| given[at]);
        for &(idx, slice) in &self.slices {
            cotangents[idx] = given_of(slice);
        }
        let of = |value: Value| given_of(value).or_else(|| stack_of(value)).expect("what a sum needs is stacked");
        let mut accumulated = accumulated.iter().copied();
        for (&(idx, _), sum) in self.invariants.iter().zip(&sums) {
            cotangents[idx] = Some(sum.build(&mut site.b, &of, &mut accumulated)?);
        }
        Ok(cotangents)
    }

    /// Stacks of the values to keep, by a forward scan with more outputs.
    fn forward_stacks(&self, site: &mut Site<'_>, kept: &[Value]) -> Built<Vec<Value>> {
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let mut body = self.body.clone();
        body.set_results([body.results(), kept].concat());
        let found = site.b.scan(site.operands, self.attrs.clone(), body)?;
        Ok(found[self.body.results().len()..].to_vec())
    }
}

/// For each value of the body what the backward scan has of it.
fn sources(attrs: &ScanAttrs, body: &Graph, site: &Site<'_>) -> Vec<Source> {
    let mut sources = vec![Source::Fixed; body.n_values()];
    for (idx, param) in body.params().iter().enumerate().take(attrs.n_carried + attrs.n_scanned) {
        let is_carried = idx < attrs.n_carried;
        sources[param.idx()] = if is_carried { Source::Step } else { Source::Slice(site.operands[idx]) };
    }
    for (_, data) in body.nodes() {
        if data.operands.iter().any(|operand| sources[operand.idx()] != Source::Fixed) {
            data.results().for_each(|result| sources[result.idx()] = Source::Step);
        }
    }
    for (idx, output) in body.results().iter().enumerate().skip(attrs.n_carried) {
        if sources[output.idx()] == Source::Step {
            sources[output.idx()] = Source::Slice(Value(site.result.0 + idx as u32));
        }
    }
    sources
}

/// The carries that have a cotangent: those that depend on what is wanted and on which something with a cotangent
/// depends.
fn live_carries(attrs: &ScanAttrs, body: &Graph, site: &Site<'_>) -> Vec<usize> {
    let data = site.b.graph().def(site.result);
    let passes = |flow: Flow| flow == Flow::Passes;
    let given: Vec<bool> = site.cotangents.iter().map(Option::is_some).collect();
    let depends = &region_dependents(data, site.wanted, &passes)[0];
    let leads_on = &region_ancestors(data, &given, &passes)[0];
    let is_live = |carry: &usize| {
        let (param, next) = (body.params()[*carry], body.results()[*carry]);
        let is_active = site.wanted[*carry] || depends[next.idx()];
        is_active && body.ty(param).dtype.is_float() && (given[*carry] || leads_on[param.idx()])
    };
    (0..attrs.n_carried).filter(is_live).collect()
}

/// A loop under construction: operands, and the values of a graph that are parameters and results of its body.
struct Loop {
    body: Graph,
    carried: Vec<(Value, Value)>,
    scanned: Vec<(Value, Value)>,
    invariants: Vec<(Value, Value)>,
    next: Vec<Value>,
}

impl Loop {
    fn new(body: Graph) -> Self {
        Self { body, carried: Vec::new(), scanned: Vec::new(), invariants: Vec::new(), next: Vec::new() }
    }

    fn carry(&mut self, start: Value, param: Value, next: Value) {
        self.carried.push((start, param));
        self.next.push(next);
    }

    fn scan(&mut self, operand: Value, param: Value) {
        self.scanned.push((operand, param));
    }

    fn invariant(&mut self, operand: Value, param: Value) {
        self.invariants.push((operand, param));
    }

    /// Appends the loop, against the direction of `forward`; the results are the carries, then the stacks of `outputs`.
    fn finish(mut self, b: &mut Builder<'_>, forward: &ScanAttrs, outputs: &[Value]) -> Built<Vec<Value>> {
        self.body.set_results([&self.next, outputs].concat());
        if self.body.results().is_empty() {
            return Ok(Vec::new());
        }
        let attrs = ScanAttrs {
            n_carried: self.carried.len(),
            n_scanned: self.scanned.len(),
            length: forward.length.clone(),
            reverse: !forward.reverse,
        };
        let (operands, params): (Vec<Value>, Vec<Value>) =
            self.carried.into_iter().chain(self.scanned).chain(self.invariants).unzip();
        b.scan(&operands, attrs, graph_of(&self.body, &params))
    }
}
