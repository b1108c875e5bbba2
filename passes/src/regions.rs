//! Passes inside the bodies of loops and branches.
//!
//! A pass is written for one graph. [`bottom_up`] applies it to the regions of `scan`, `cond` and `while` first,
//! innermost first, and then to the graph that owns them. A pass leaves the parameters of a region as they are, and the
//! number of its results.

use nnc_ir::{Diagnostic, Graph, Node, NodeData, Op, Rewriter, Value};

/// Whether the node runs its regions as steps or branches: a fusion's region is one kernel instead.
pub fn is_control(op: &Op) -> bool {
    matches!(op, Op::Scan(_) | Op::Cond | Op::While)
}

/// The graph after `pass` on every region of a loop or branch and then on the graph itself.
///
/// # Errors
/// Those of the pass.
pub fn bottom_up(
    graph: &Graph,
    pass: &mut dyn FnMut(&Graph) -> Result<Graph, Diagnostic>,
) -> Result<Graph, Diagnostic> {
    match with_regions(graph, &mut |_, _, region| bottom_up(region, pass))? {
        Some(rewritten) => pass(&rewritten),
        None => pass(graph),
    }
}

/// The graph with `rewrite` applied to the regions of its own loops and branches, or `None` if it has none. `rewrite`
/// gets the owner, the region's position in it and the region.
///
/// # Errors
/// Those of `rewrite`.
pub fn with_regions(
    graph: &Graph,
    rewrite: &mut dyn FnMut(&NodeData, usize, &Graph) -> Result<Graph, Diagnostic>,
) -> Result<Option<Graph>, Diagnostic> {
    if !graph.nodes().any(|(_, data)| is_control(&data.op)) {
        return Ok(None);
    }
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        if is_control(&data.op) {
            let regions = data.regions.iter().enumerate().map(|(idx, region)| rewrite(data, idx, region));
            let regions = regions.collect::<Result<_, _>>()?;
            copy_with(&mut rewriter, node, regions);
        } else {
            rewriter.copy(node);
        }
    }
    Ok(Some(rewriter.finish()))
}

/// Copies a node with other regions of the same parameters and results.
fn copy_with(rewriter: &mut Rewriter<'_>, node: Node, regions: Vec<Graph>) {
    let graph = rewriter.old();
    let data = graph.node(node);
    let operands = rewriter.operands(node);
    let types = data.results().map(|result| graph.ty(result).clone()).collect();
    let copied = rewriter.graph_mut().push_typed(data.op.clone(), &operands, regions, types, data.location.clone());
    rewriter.map_results(node, copied);
}

/// The part of `graph` that its results need, as a graph of the given parameters. They may be any values: what defines
/// them is left out.
pub(crate) fn graph_of(graph: &Graph, params: &[Value]) -> Graph {
    let mut rewriter = Rewriter::without_params(graph);
    let params: Vec<(Value, Value)> = params.iter().map(|&param| (param, rewriter.param(param))).collect();
    let is_param = |value: Value| params.iter().find(|(old, _)| *old == value);
    let mut needed = vec![false; graph.n_values()];
    graph.results().iter().for_each(|result| needed[result.idx()] = true);
    for (_, data) in graph.nodes().rev() {
        if data.results().any(|result| needed[result.idx()] && is_param(result).is_none()) {
            data.operands.iter().for_each(|operand| needed[operand.idx()] = true);
        }
    }
    for (node, data) in graph.nodes() {
        if data.results().any(|result| needed[result.idx()] && is_param(result).is_none()) {
            rewriter.copy(node);
            for &(old, new) in data.results().filter_map(is_param) {
                rewriter.map(old, new);
            }
        }
    }
    rewriter.finish()
}
