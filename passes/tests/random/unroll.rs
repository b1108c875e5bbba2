//! Loops and branches written out: what they mean without regions.

use nnc_ir::{Diagnostic, Graph, Node, NodeData, Op, Rewriter, Shape, Value};
use nnc_passes::inline::splice;

/// The graph with the steps of every `scan` one after the other, and both branches of every `cond` computed and one
/// selected; `None` if a length is a symbol or there is a `while`.
///
/// # Errors
/// None on a verified graph.
pub(crate) fn unroll(graph: &Graph) -> Result<Option<Graph>, Diagnostic> {
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        let mut regions = Vec::with_capacity(data.regions.len());
        for region in &data.regions {
            match unroll(region)? {
                Some(region) => regions.push(region),
                None => return Ok(None),
            }
        }
        let results = match &data.op {
            Op::Scan(_) => match scan(&mut rewriter, node, data, &regions[0])? {
                Some(results) => results,
                None => return Ok(None),
            },
            Op::Cond => cond(&mut rewriter, node, &regions)?,
            Op::While => return Ok(None),
            _ => {
                rewriter.copy(node);
                continue;
            }
        };
        for (old, new) in data.results().zip(results) {
            rewriter.map(old, new);
        }
    }
    Ok(Some(rewriter.finish()))
}

fn scan(
    rewriter: &mut Rewriter<'_>,
    node: Node,
    data: &NodeData,
    body: &Graph,
) -> Result<Option<Vec<Value>>, Diagnostic> {
    let Op::Scan(attrs) = &data.op else { unreachable!("the node is a scan") };
    let Some(length) = attrs.length.as_const() else { return Ok(None) };
    let operands = rewriter.operands(node);
    let (carried, rest) = operands.split_at(attrs.n_carried);
    let (scanned, invariants) = rest.split_at(attrs.n_scanned);
    let mut carries = carried.to_vec();
    let mut stacks: Vec<Vec<Option<Value>>> = vec![vec![None; length]; data.n_results as usize - attrs.n_carried];
    for step in 0..length {
        let at = if attrs.reverse { length - 1 - step } else { step };
        let mut inputs = carries;
        for &stack in scanned {
            let mut b = rewriter.build_at(node);
            let shape = Shape(b.shape(stack).0[1..].to_vec());
            let slice = b.slice_dim(stack, 0, at, at + 1)?;
            inputs.push(b.reshape(slice, shape)?);
        }
        inputs.extend(invariants);
        carries = splice(body, &inputs, rewriter.graph_mut());
        for (stack, output) in stacks.iter_mut().zip(carries.split_off(attrs.n_carried)) {
            stack[at] = Some(output);
        }
    }
    for (stack, result) in stacks.into_iter().zip(data.results().skip(attrs.n_carried)) {
        let ty = rewriter.old().ty(result).clone();
        let one = Shape([&[1.into()], &ty.shape.0[1..]].concat());
        let mut b = rewriter.build_at(node);
        let parts = stack.into_iter().flatten().map(|part| b.reshape(part, one.clone()));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        carries.push(if parts.is_empty() { b.splat(ty, 0.0)? } else { b.concatenate(&parts, 0)? });
    }
    Ok(Some(carries))
}

fn cond(rewriter: &mut Rewriter<'_>, node: Node, regions: &[Graph]) -> Result<Vec<Value>, Diagnostic> {
    let operands = rewriter.operands(node);
    let on_true = splice(&regions[0], &operands[1..], rewriter.graph_mut());
    let on_false = splice(&regions[1], &operands[1..], rewriter.graph_mut());
    let mut b = rewriter.build_at(node);
    let select = |(on_true, on_false)| {
        let pred = b.broadcast_to(operands[0], b.shape(on_true).clone())?;
        b.select(pred, on_true, on_false)
    };
    on_true.into_iter().zip(on_false).map(select).collect()
}
