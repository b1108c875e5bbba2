//! Rule of `cond`: a `cond` of the branches' gradients.
//!
//! Each branch of it computes its part of the forward branch again: what a branch would have to keep for its gradient
//! exists only if it ran, so keeping it would mean zeros of the same size from the other.

use nnc_ir::builder::Built;
use nnc_ir::{Builder, Graph, Location, Value};

use super::{Cotangents, Site};
use crate::autodiff::vjp as differentiate;
use crate::regions::graph_of;

pub(super) fn cond(mut site: Site<'_>) -> Built<Cotangents> {
    let data = site.b.graph().def(site.result).clone();
    let inputs = &site.operands[1..];
    let wanted: Vec<usize> = (0..inputs.len()).filter(|&idx| site.wanted[idx + 1]).collect();
    // Results with a cotangent, and their cotangents.
    let given: Vec<(usize, Value)> =
        site.cotangents.iter().enumerate().filter_map(|(idx, cotangent)| Some((idx, (*cotangent)?))).collect();
    let results: Vec<usize> = given.iter().map(|&(idx, _)| idx).collect();

    let branches: Vec<Branch> =
        data.regions.iter().map(|region| Branch::new(region, &results, &wanted)).collect::<Built<_>>()?;
    let reached: Vec<usize> =
        (0..wanted.len()).filter(|&at| branches.iter().any(|branch| branch.found[at].is_some())).collect();
    let mut cotangents = vec![None; site.operands.len()];
    if reached.is_empty() {
        return Ok(cotangents);
    }
    let operands: Vec<Value> = site.operands.iter().copied().chain(given.iter().map(|&(_, value)| value)).collect();
    let mut regions = branches.into_iter().map(|branch| branch.finish(&reached, &data.location));
    let (on_true, on_false) = match (regions.next(), regions.next()) {
        (Some(on_true), Some(on_false)) => (on_true?, on_false?),
        _ => unreachable!("a cond has two regions"),
    };
    let found = site.b.cond(&operands, on_true, on_false)?;
    for (at, value) in reached.into_iter().zip(found) {
        cotangents[wanted[at] + 1] = Some(value);
    }
    Ok(cotangents)
}

/// A branch with its gradient behind it.
struct Branch {
    graph: Graph,
    /// Parameters of the gradient: the inputs, then the cotangents of results.
    params: Vec<Value>,
    /// The inputs that are wanted, and what their cotangents are.
    wants: Vec<Value>,
    found: Vec<Option<Value>>,
}

impl Branch {
    fn new(region: &Graph, results: &[usize], wanted: &[usize]) -> Built<Self> {
        let mut graph = region.clone();
        let outputs: Vec<(Value, Value)> = results
            .iter()
            .map(|&idx| {
                let result = region.results()[idx];
                (result, graph.param(region.ty(result).clone(), region.def(result).location.clone()))
            })
            .collect();
        let params = [region.params(), &outputs.iter().map(|&(_, cotangent)| cotangent).collect::<Vec<_>>()].concat();
        let wants: Vec<Value> = wanted.iter().map(|&idx| region.params()[idx]).collect();
        let found = differentiate(&mut graph, &outputs, &wants)?;
        Ok(Self { graph, params, wants, found })
    }

    /// The graph of the cotangents in `reached`, zeros where this branch gives none.
    fn finish(mut self, reached: &[usize], location: &Location) -> Built<Graph> {
        let mut results = Vec::with_capacity(reached.len());
        for &at in reached {
            results.push(match self.found[at] {
                Some(value) => value,
                None => Builder::new(&mut self.graph, location.clone()).zeros_like(self.wants[at])?,
            });
        }
        self.graph.set_results(results);
        Ok(graph_of(&self.graph, &self.params))
    }
}
