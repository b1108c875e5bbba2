//! What depends on what, along operands whose [`Flow`] is admitted: forward from sources, backward from targets.
//!
//! Both go through the regions of loops and branches. In a loop, what reaches a carry reaches the next step too, so its
//! region is walked until nothing new is found. A loop of no step hands its carries on; one whose length is a symbol is
//! taken to have a step.

use nnc_ir::{Graph, NodeData, Op, Value};

use super::flow::{Flow, flow};

/// Which flows count.
pub(super) type Admits<'a> = &'a dyn Fn(Flow) -> bool;

/// For each value, whether it depends on one of `sources`.
pub(super) fn dependents(graph: &Graph, sources: &[Value], admits: Admits<'_>) -> Vec<bool> {
    let mut found = vec![false; graph.n_values()];
    for source in sources {
        found[source.idx()] = true;
    }
    for (_, data) in graph.nodes() {
        let reached: Vec<bool> = (data.operands.iter().enumerate())
            .map(|(idx, operand)| found[operand.idx()] && admits(flow(graph, data, idx)))
            .collect();
        if !reached.contains(&true) {
            continue;
        }
        let given = match data.op {
            Op::Scan(_) if hands_on(data) => {
                (0..data.n_results as usize).map(|idx| is_carry(data, idx) && reached[idx]).collect()
            }
            Op::Scan(_) | Op::Cond => {
                let inside = region_dependents(data, &reached, admits);
                let is_reached = |idx: usize| {
                    data.regions.iter().zip(&inside).any(|(region, inside)| inside[region.results()[idx].idx()])
                };
                (0..data.n_results as usize).map(is_reached).collect()
            }
            _ => vec![true; data.n_results as usize],
        };
        for (result, given) in data.results().zip(given) {
            found[result.idx()] |= given;
        }
    }
    found
}

/// For each value, whether one of `targets` depends on it.
pub(super) fn ancestors(graph: &Graph, targets: &[Value], admits: Admits<'_>) -> Vec<bool> {
    let mut found = vec![false; graph.n_values()];
    for target in targets {
        found[target.idx()] = true;
    }
    for (_, data) in graph.nodes().rev() {
        let wanted: Vec<bool> = data.results().map(|result| found[result.idx()]).collect();
        if !wanted.contains(&true) {
            continue;
        }
        let inside = region_ancestors(data, &wanted, admits);
        for (idx, operand) in data.operands.iter().enumerate() {
            let leads_on = inside.is_empty()
                || if hands_on(data) {
                    is_carry(data, idx) && wanted[idx]
                } else {
                    let param = param_of(data, idx);
                    param.is_none_or(|param| {
                        data.regions.iter().zip(&inside).any(|(region, inside)| inside[region.params()[param].idx()])
                    })
                };
            if leads_on && admits(flow(graph, data, idx)) {
                found[operand.idx()] = true;
            }
        }
    }
    found
}

/// Whether the node is a loop of no step.
fn hands_on(data: &NodeData) -> bool {
    matches!(&data.op, Op::Scan(attrs) if attrs.length.as_const() == Some(0))
}

fn is_carry(data: &NodeData, idx: usize) -> bool {
    matches!(&data.op, Op::Scan(attrs) if idx < attrs.n_carried)
}

/// The position of the region parameter that operand `idx` enters by; the predicate of a `cond` enters nowhere.
fn param_of(data: &NodeData, idx: usize) -> Option<usize> {
    match data.op {
        Op::Cond => idx.checked_sub(1),
        _ => Some(idx),
    }
}

/// For each region of a `scan` or `cond`, the values that depend on operands that are `reached`. None for other ops.
pub(super) fn region_dependents(data: &NodeData, reached: &[bool], admits: Admits<'_>) -> Vec<Vec<bool>> {
    let n_carried = match &data.op {
        Op::Scan(attrs) => attrs.n_carried,
        Op::Cond => 0,
        _ => return Vec::new(),
    };
    let mut entered: Vec<bool> = match data.op {
        Op::Cond => reached[1..].to_vec(),
        _ => reached.to_vec(),
    };
    loop {
        let sources = |region: &Graph| -> Vec<Value> {
            region.params().iter().zip(&entered).filter(|(_, entered)| **entered).map(|(&param, _)| param).collect()
        };
        let inside: Vec<Vec<bool>> =
            data.regions.iter().map(|region| dependents(region, &sources(region), admits)).collect();
        let next = |carry: usize| inside[0][data.regions[0].results()[carry].idx()];
        let news: Vec<usize> = (0..n_carried).filter(|&carry| !entered[carry] && next(carry)).collect();
        if news.is_empty() {
            return inside;
        }
        news.into_iter().for_each(|carry| entered[carry] = true);
    }
}

/// For each region of a `scan` or `cond`, the values on which results that are `wanted` depend. None for other ops.
pub(super) fn region_ancestors(data: &NodeData, wanted: &[bool], admits: Admits<'_>) -> Vec<Vec<bool>> {
    let n_carried = match &data.op {
        Op::Scan(attrs) => attrs.n_carried,
        Op::Cond => 0,
        _ => return Vec::new(),
    };
    let mut wanted = wanted.to_vec();
    loop {
        let targets = |region: &Graph| -> Vec<Value> {
            region.results().iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(&result, _)| result).collect()
        };
        let inside: Vec<Vec<bool>> =
            data.regions.iter().map(|region| ancestors(region, &targets(region), admits)).collect();
        let before = |carry: usize| inside[0][data.regions[0].params()[carry].idx()];
        let news: Vec<usize> = (0..n_carried).filter(|&carry| !wanted[carry] && before(carry)).collect();
        if news.is_empty() {
            return inside;
        }
        news.into_iter().for_each(|carry| wanted[carry] = true);
    }
}
