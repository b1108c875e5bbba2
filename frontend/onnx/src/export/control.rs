//! Loops and branches. Regions become nested graphs, which see the names around them: what a region is given without
//! changing it is no input of the nested graph.

use nnc_ir::ops::ScanAttrs;
use nnc_ir::{DType, Graph, Shape, TensorType};

use super::emitter::{Emitter, Refusal, Val, graph, int, ints};
use super::lower::{Site, lower_region, whole, without};
use super::signature::value_info;

pub(super) fn scan(e: &mut Emitter, at: &Site<'_>, attrs: &ScanAttrs) -> Result<Vec<Val>, Refusal> {
    let operands = at.all_full(e, 0)?;
    let (carried, others) = operands.split_at(attrs.n_carried);
    let (scanned, invariants) = others.split_at(attrs.n_scanned);
    let mut scanned = scanned.to_vec();
    if scanned.is_empty() {
        // ONNX counts steps by what it scans.
        let (zero, length, one) = (e.int(0), e.extent_scalar(&attrs.length)?, e.int(1));
        let ty = TensorType::new(DType::I64, Shape(vec![attrs.length.clone()]));
        scanned.push(e.op("Range", &[&zero, &length, &one], ty));
    }
    let placed = e.placed();
    let stem = placed.0.clone();
    e.open(&format!("{stem}.body"));
    let input = |e: &mut Emitter, what: &str, ty: TensorType| Val { name: e.claim(&format!("{stem}.{what}")), ty };
    let carries: Vec<Val> = carried.iter().map(|carry| input(e, "carry", carry.ty.clone())).collect();
    let slices: Vec<Val> = scanned
        .iter()
        .map(|stack| input(e, "slice", TensorType { dtype: stack.dtype(), shape: without(&stack.ty.shape, 0) }))
        .collect();
    let params = carries.iter().chain(&slices[..attrs.n_scanned]).chain(invariants).cloned().collect();
    let infos = carries.iter().chain(&slices).map(|val| value_info(&val.name, &val.ty)).collect();
    let body = nested(e, &at.data.regions[0], params);
    e.graph().input = infos;
    let graph_proto = e.close();
    e.restore(placed);
    body?;

    let direction = |n: usize| vec![i64::from(attrs.reverse); n];
    let types = at.results();
    let settings = vec![
        graph("body", graph_proto),
        int("num_scan_inputs", scanned.len() as i64),
        ints("scan_input_directions", direction(scanned.len())),
        ints("scan_output_directions", direction(types.len() - attrs.n_carried)),
    ];
    let inputs: Vec<&str> = carried.iter().chain(&scanned).map(|val| val.name.as_str()).collect();
    Ok(e.push("Scan", &inputs, settings, &types))
}

pub(super) fn cond(e: &mut Emitter, at: &Site<'_>) -> Result<Vec<Val>, Refusal> {
    let pred = at.full(e, 0)?;
    let operands = at.all_full(e, 1)?;
    let placed = e.placed();
    let mut branches = Vec::new();
    let mut outcomes = Vec::new();
    for (name, region) in ["then_branch", "else_branch"].into_iter().zip(&at.data.regions) {
        e.open(&format!("{}.{name}", placed.0));
        outcomes.push(nested(e, region, operands.clone()));
        branches.push(graph(name, e.close()));
        e.restore(placed.clone());
    }
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(e.push("If", &[&pred.name], branches, &at.results()))
}

/// ONNX tests before the first step and after each: the condition stands before the loop and at the end of its body.
pub(super) fn while_loop(e: &mut Emitter, at: &Site<'_>) -> Result<Vec<Val>, Refusal> {
    let operands = at.all_full(e, 0)?;
    let [condition, body] = &at.data.regions[..] else { unreachable!("`while` has two regions") };
    let first = whole(lower_region(e, condition, operands.clone()))?.remove(0);
    let first = e.full(&first, &Shape::scalar())?;

    let placed = e.placed();
    let stem = placed.0.clone();
    e.open(&format!("{stem}.body"));
    let flag = TensorType::scalar(DType::Bool);
    let step = value_info(&e.claim(&format!("{stem}.step")), &TensorType::scalar(DType::I64));
    let going = value_info(&e.claim(&format!("{stem}.going")), &flag);
    let carries: Vec<Val> = operands
        .iter()
        .map(|operand| Val { name: e.claim(&format!("{stem}.carry")), ty: operand.ty.clone() })
        .collect();
    let infos = carries.iter().map(|val| value_info(&val.name, &val.ty));
    let inputs = [step, going].into_iter().chain(infos).collect();
    let outcome = step_graph(e, body, condition, carries);
    e.graph().input = inputs;
    let graph_proto = e.close();
    e.restore(placed);
    outcome?;
    // No limit to the number of steps.
    let inputs: Vec<&str> = ["", &first.name].into_iter().chain(operands.iter().map(|val| val.name.as_str())).collect();
    Ok(e.push("Loop", &inputs, vec![graph("body", graph_proto)], &at.results()))
}

/// Writes a step of a loop into the open nested graph: whether it goes on, and what is carried.
fn step_graph(e: &mut Emitter, body: &Graph, condition: &Graph, carries: Vec<Val>) -> Result<(), Refusal> {
    let types: Vec<TensorType> = carries.iter().map(|carry| carry.ty.clone()).collect();
    let next = whole(lower_region(e, body, carries))?;
    let mut full = Vec::new();
    for (val, ty) in next.iter().zip(&types) {
        full.push(e.full(val, &ty.shape)?);
    }
    let goes_on = whole(lower_region(e, condition, full.clone()))?.remove(0);
    full.insert(0, e.full(&goes_on, &Shape::scalar())?);
    give(e, full);
    Ok(())
}

/// Writes a region into the open nested graph, with its results as outputs.
fn nested(e: &mut Emitter, region: &Graph, params: Vec<Val>) -> Result<(), Refusal> {
    let results = whole(lower_region(e, region, params))?;
    let mut full = Vec::new();
    for (val, &value) in results.iter().zip(region.results()) {
        full.push(e.full(val, &region.ty(value).shape)?);
    }
    give(e, full);
    Ok(())
}

/// Makes values the outputs of the open graph. Names of outer graphs, inputs, and those given already get new ones.
fn give(e: &mut Emitter, vals: Vec<Val>) {
    for val in vals {
        let graph = e.graph();
        let is_own = graph.node.iter().any(|node| node.output.contains(&val.name));
        let is_given = graph.output.iter().any(|info| info.name.as_deref() == Some(val.name.as_str()));
        let val = if is_own && !is_given { val } else { e.map("Identity", &[&val]) };
        e.graph().output.push(value_info(&val.name, &val.ty));
    }
}
