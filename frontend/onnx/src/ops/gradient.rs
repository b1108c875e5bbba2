//! `Gradient`: the derivatives of one name of the graph with respect to others.
//!
//! The operator does not read what it differentiates; it names it. So the nodes between those names are imported once
//! more, on the values that the operator is given, into a graph of its own. `nnc_passes::autodiff` appends the
//! derivatives, and the whole takes the operator's place. The forward nodes that this repeats are merged when the
//! program is compiled. A derivative of a derivative is the same once more: a `Gradient` may be among the nodes.

use std::collections::BTreeSet;

use nnc_frontend::Tensor;
use nnc_frontend::functional::outline;
use nnc_ir::{Builder, Diagnostic, Graph, Location, TensorType, Value as IrValue};
use nnc_passes::autodiff::coverage::{Coverage, coverage};
use nnc_passes::autodiff::vjp;

use super::{Cx, Domain, Entry, Fault, Outcome, many, op};
use crate::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};
use crate::value::Value;
use crate::walk::poisoned_by_earlier;

pub(super) const OPS: &[Entry] = &[op("Gradient", 1.., gradient).in_domain(Domain::Training)];

fn gradient(cx: &mut Cx<'_>) -> Outcome {
    let required = |cx: &Cx<'_>, name: &str| cx.invalid(format!("attribute `{name}` is left out, expected names"));
    let xs = cx.strings("xs")?.ok_or_else(|| required(cx, "xs"))?;
    let zs = cx.strings("zs")?.unwrap_or_default();
    let y = cx.string("y")?.ok_or_else(|| required(cx, "y"))?;
    let names: Vec<&str> = xs.iter().chain(&zs).map(String::as_str).collect();
    if cx.n_inputs() != names.len() {
        return Err(cx.invalid(format!("{} inputs for {} names in xs and zs", cx.n_inputs(), names.len())));
    }
    let graph = between(cx.siblings(), &names, &y);

    // Known values that nothing is differentiated by stay known: a shape, say.
    let mut fixed = Vec::with_capacity(names.len());
    let mut inputs = Vec::new();
    for index in 0..names.len() {
        let is_fixed = index >= xs.len() && cx.try_known(index).is_some();
        fixed.push(if is_fixed { Some(cx.value(index)?) } else { None });
        if !is_fixed {
            let tensor = cx.input(index)?;
            if index < xs.len() && !tensor.dtype().is_float() {
                return Err(cx.invalid(format!(
                    "`{}` is {}, expected floats to differentiate by",
                    xs[index],
                    tensor.ty()
                )));
            }
            inputs.push(tensor);
        }
    }
    let types: Vec<TensorType> = inputs.iter().map(Tensor::ty).collect();
    let mut fault = None;
    let outlined = outline(&types, |tensors| {
        let mut tensors = tensors.into_iter();
        let given = fixed.iter().map(|fixed| match fixed {
            Some(value) => value.clone(),
            None => tensors.next().map_or_else(|| poisoned_by_earlier().into(), Value::from),
        });
        let result = cx.subgraph(&graph, given.collect()).and_then(|results| match results.as_slice() {
            [result] => cx.tensor_of(result).ok_or_else(|| cx.invalid(format!("`{y}` is no tensor"))),
            _ => Err(cx.invalid(format!("`{y}` is no single tensor"))),
        });
        vec![result.unwrap_or_else(|found| {
            fault = Some(found);
            poisoned_by_earlier()
        })]
    });
    let Ok(outlined) = outlined else { return Err(fault.unwrap_or(Fault::Reported)) };
    let differentiated = outlined.rewritten(|graph| differentiate(graph, &xs, &y));
    let derivatives = differentiated.map_err(|fault| cx.invalid(fault.message))?;
    many(derivatives.call(&inputs))
}

/// The graph with the derivatives of its result with respect to its first parameters, `xs`, as results. Those of a
/// result of several elements are those of its sum.
fn differentiate(mut graph: Graph, xs: &[String], y: &str) -> Result<Graph, Diagnostic> {
    let (result, wants) = (graph.results()[0], graph.params()[..xs.len()].to_vec());
    let location = Location::unknown();
    let fault = |message: String| Diagnostic::new(Location::unknown(), message);
    if !graph.ty(result).dtype.is_float() {
        return Err(fault(format!("`{y}` is {}, expected floats to differentiate", graph.ty(result))));
    }
    for (name, covered) in xs.iter().zip(coverage(&graph, &wants, result)) {
        if let Coverage::Blocked(blocks) = covered
            && let Some(block) = blocks.first()
        {
            let (mnemonic, reason) = (block.mnemonic, block.reason);
            return Err(fault(format!("`{y}` has no derivative by `{name}`: {mnemonic} {reason}")));
        }
    }
    let seed = Builder::new(&mut graph, location.clone()).ones_like(result)?;
    let found = vjp(&mut graph, &[(result, seed)], &wants)?;
    let mut derivatives: Vec<IrValue> = Vec::with_capacity(found.len());
    for (want, derivative) in wants.into_iter().zip(found) {
        derivatives.push(match derivative {
            Some(derivative) => derivative,
            None => Builder::new(&mut graph, location.clone()).zeros_like(want)?,
        });
    }
    graph.set_results(derivatives);
    Ok(graph)
}

/// The nodes that compute `y` from `inputs`, as a graph. What they read beyond that is seen outside.
fn between(nodes: &[NodeProto], inputs: &[&str], y: &str) -> GraphProto {
    let mut dependent: BTreeSet<&str> = inputs.iter().copied().collect();
    let mut kept = vec![false; nodes.len()];
    for (keep, node) in kept.iter_mut().zip(nodes) {
        let gives_input = node.output.iter().any(|name| inputs.contains(&name.as_str()));
        *keep = !gives_input && reads(node).iter().any(|name| dependent.contains(name));
        if *keep {
            dependent.extend(node.output.iter().map(String::as_str).filter(|name| !name.is_empty()));
        }
    }
    let mut wanted: BTreeSet<&str> = BTreeSet::from([y]);
    for (keep, node) in kept.iter_mut().zip(nodes).rev() {
        *keep &= node.output.iter().any(|name| wanted.contains(name.as_str()));
        if *keep {
            wanted.extend(reads(node));
        }
    }
    let named = |name: &str| ValueInfoProto { name: Some(name.to_string()), ..ValueInfoProto::default() };
    GraphProto {
        name: Some(format!("derivative of {y}")),
        node: nodes.iter().zip(&kept).filter(|(_, keep)| **keep).map(|(node, _)| node.clone()).collect(),
        input: inputs.iter().map(|name| named(name)).collect(),
        output: vec![named(y)],
        ..GraphProto::default()
    }
}

/// Every name that a node may read: its inputs, those of the nodes in its graphs, and those a `Gradient` names.
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for attribute in &node.attribute {
        for graph in graphs(attribute) {
            names.extend(graph.node.iter().flat_map(reads));
            names.extend(graph.output.iter().map(ValueInfoProto::name));
        }
        if node.op_type() == "Gradient" {
            let list = attribute.strings.iter().map(Vec::as_slice).chain(attribute.s.as_deref());
            names.extend(list.filter_map(|name| std::str::from_utf8(name).ok()));
        }
    }
    names
}

fn graphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.as_deref().into_iter().chain(&attribute.graphs)
}
