//! Equal loops and branches become one, and so do scans that differ in their outputs alone.

use nnc_ir::{Diagnostic, Graph, Node, NodeData, Op, Rewriter, Value};

use crate::regions::is_control;

/// The graph with equal loops and branches merged into the first of them.
///
/// # Errors
/// None on a verified graph.
pub fn merge(graph: &Graph) -> Result<Graph, Diagnostic> {
    let groups = groups(graph);
    if groups.iter().all(|group| group.len() == 1) {
        return Ok(graph.clone());
    }
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        let Some(group) = groups.iter().find(|group| group.contains(&node)) else {
            rewriter.copy(node);
            continue;
        };
        if group[0] != node {
            continue;
        }
        if group.len() == 1 {
            rewriter.copy(node);
            continue;
        }
        // The outputs of all, each once.
        let n_carried = n_carried(data);
        let mut outputs: Vec<Value> = Vec::new();
        for &member in group {
            for &output in &graph.node(member).regions[0].results()[n_carried..] {
                if !outputs.contains(&output) {
                    outputs.push(output);
                }
            }
        }
        let mut regions = data.regions.clone();
        if let Op::Scan(_) = data.op {
            let results = [&regions[0].results()[..n_carried], &outputs].concat();
            regions[0].set_results(results);
        }
        let operands = rewriter.operands(node);
        let location = data.location.clone();
        let merged = rewriter.graph_mut().push_with_regions(data.op.clone(), &operands, regions, location)?;
        let merged: Vec<Value> = rewriter.graph().node(merged).results().collect();
        for &member in group {
            let member = graph.node(member);
            for (idx, old) in member.results().enumerate() {
                let at = match (&member.op, idx.checked_sub(n_carried)) {
                    (Op::Scan(_), Some(output)) => {
                        let output = member.regions[0].results()[n_carried + output];
                        n_carried + outputs.iter().position(|&other| other == output).expect("it was collected")
                    }
                    _ => idx,
                };
                rewriter.map(old, merged[at]);
            }
        }
    }
    Ok(rewriter.finish())
}

/// Leading results that equal nodes have in common; the others of a scan may differ.
fn n_carried(data: &NodeData) -> usize {
    match &data.op {
        Op::Scan(attrs) => attrs.n_carried,
        _ => 0,
    }
}

/// The loops and branches, those that can be merged together, in order.
fn groups(graph: &Graph) -> Vec<Vec<Node>> {
    let mut groups: Vec<Vec<Node>> = Vec::new();
    for (node, data) in graph.nodes().filter(|(_, data)| is_control(&data.op)) {
        match groups.iter_mut().find(|group| are_equal(graph.node(group[0]), data)) {
            Some(group) => group.push(node),
            None => groups.push(vec![node]),
        }
    }
    groups
}

fn are_equal(lhs: &NodeData, rhs: &NodeData) -> bool {
    if lhs.op != rhs.op || lhs.operands != rhs.operands {
        return false;
    }
    match lhs.op {
        Op::Scan(_) => {
            let (lhs_body, rhs_body) = (&lhs.regions[0], &rhs.regions[0]);
            let n_carried = n_carried(lhs);
            lhs_body.results()[..n_carried] == rhs_body.results()[..n_carried]
                && lhs_body.n_nodes() == rhs_body.n_nodes()
                && lhs_body.nodes().eq(rhs_body.nodes())
        }
        _ => lhs.regions == rhs.regions,
    }
}
