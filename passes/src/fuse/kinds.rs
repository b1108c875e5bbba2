//! What a region of each kind may hold: the contract between fusion and code generation.
//!
//! [`check_region`] is the single source of truth. Fusion asks it before a node joins a region, tests ask it of every
//! region made, and code generation may rely on it.

use nnc_ir::ops::{FusionKind, Trait};
use nnc_ir::{Graph, Op, Shape, Value};

/// Whether `op` computes one element at a time from elements of its operands, so that it can be part of an expression.
pub fn is_expression(op: &Op) -> bool {
    op.has(Trait::Elementwise)
        || (op.has(Trait::Movement) && !matches!(op, Op::DynamicUpdateSlice))
        || matches!(op, Op::Param(_) | Op::Constant(_) | Op::Iota(_) | Op::RngBits(_))
        || folds_windows(op)
}

/// Whether each element of the result takes a walk over several elements of an operand: cheap enough to be part of an
/// expression where it is read once an element, too much to be done again.
pub(super) fn folds_windows(op: &Op) -> bool {
    matches!(op, Op::ReduceWindow(_) | Op::SelectAndScatter(_))
}

/// Whether a contraction reads a result of `op` through it, where the operand lies.
pub(super) fn is_contracted_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::BroadcastInDim(_) | Op::Slice(_) | Op::Reverse(_))
}

/// Whether a region of `kind` may look like `region`:
///
/// - *pointwise*: expressions only (see [`is_expression`]); all results have one shape, the iteration space.
/// - *row*: at least one `reduce`, and all reduce the same dimensions of the same full shape. What depends on a
///   reduction is either of *row* shape (the full shape without those dimensions): reductions, and elementwise ops on
///   row values; or of *full* shape: broadcasts of row values back along the reduced dimensions, and elementwise ops
///   on full values. What does not is an arbitrary expression. Results have full or row shape. The reduced dimensions
///   need not be trailing.
/// - *contraction*: one `dot_general` or `convolution`, whose operands are parameters of the region (or literals), or
///   views of them. What depends on it is elementwise, of its shape, or of one in which neighboring dimensions are joined
///   to one (panels of columns, say: see [`panels`](mod@crate::panels)), or the reshape that does that; what does not is
///   an arbitrary expression. All results have such a shape.
/// - *horizontal*: [groups](groups) that share no node, each a legal pointwise or row region.
///
/// # Errors
/// The rule that is broken, with the node that breaks it.
pub fn check_region(kind: FusionKind, region: &Graph) -> Result<(), String> {
    match kind {
        FusionKind::Pointwise => check_pointwise(region),
        FusionKind::Row => check_row(region),
        FusionKind::Contraction => check_contraction(region),
        FusionKind::Horizontal => groups(region).iter().try_for_each(|group| check_region(group.kind, &group.region)),
    }
}

fn check_pointwise(region: &Graph) -> Result<(), String> {
    if let Some((_, data)) = region.nodes().find(|(_, data)| !is_expression(&data.op)) {
        return Err(format!("{} is not computed an element at a time", data.op.mnemonic()));
    }
    let Some(&first) = region.results().first() else { return Err("the region has no result".to_string()) };
    let shape = &region.ty(first).shape;
    match region.results().iter().find(|&&result| region.ty(result).shape != *shape) {
        Some(&result) => Err(format!("results have shapes {shape} and {}", region.ty(result).shape)),
        None => Ok(()),
    }
}

/// For each value, whether it depends on a node whose op `is_source` accepts.
fn dependents(region: &Graph, is_source: impl Fn(&Op) -> bool) -> Vec<bool> {
    let mut dependent = vec![false; region.n_values()];
    for (_, data) in region.nodes() {
        let depends = is_source(&data.op) || data.operands.iter().any(|operand| dependent[operand.idx()]);
        for result in data.results() {
            dependent[result.idx()] = depends;
        }
    }
    dependent
}

/// Full shape and reduced dimensions of a row region.
pub fn row_space(region: &Graph) -> Option<(Shape, Vec<usize>)> {
    region.nodes().find_map(|(_, data)| match &data.op {
        Op::Reduce(attrs) => Some((region.ty(data.operands[0]).shape.clone(), attrs.dims.clone())),
        _ => None,
    })
}

fn check_row(region: &Graph) -> Result<(), String> {
    let Some((full, dims)) = row_space(region) else { return Err("the region has no reduction".to_string()) };
    if dims.is_empty() {
        return Err("the reduction folds no dimension".to_string());
    }
    let kept: Vec<usize> = (0..full.rank()).filter(|dim| !dims.contains(dim)).collect();
    let row = Shape(kept.iter().map(|&dim| full[dim].clone()).collect());
    let shape = |value: Value| &region.ty(value).shape;
    let dependent = dependents(region, |op| matches!(op, Op::Reduce(_)));
    for (_, data) in region.nodes() {
        if !dependent[data.first_result.idx()] {
            if !is_expression(&data.op) {
                return Err(format!("{} is not computed an element at a time", data.op.mnemonic()));
            }
            continue;
        }
        let result = data.first_result;
        match &data.op {
            Op::Reduce(attrs) if attrs.dims != dims || *shape(data.operands[0]) != full => {
                return Err(format!(
                    "one reduction folds dimensions {dims:?} of {full}, another {:?} of {}",
                    attrs.dims,
                    shape(data.operands[0])
                ));
            }
            Op::Reduce(_) => {}
            op if op.has(Trait::Elementwise) && (*shape(result) == full || *shape(result) == row) => {}
            Op::BroadcastInDim(attrs)
                if attrs.dims == kept && attrs.shape == full && *shape(data.operands[0]) == row => {}
            op => {
                return Err(format!("{} of shape {} follows a reduction of {full}", op.mnemonic(), shape(result)));
            }
        }
    }
    match region.results().iter().find(|&&result| *shape(result) != full && *shape(result) != row) {
        Some(&result) => Err(format!("a result has shape {}, expected {full} or {row}", shape(result))),
        None => Ok(()),
    }
}

fn check_contraction(region: &Graph) -> Result<(), String> {
    let mut dots = region.nodes().filter(|(_, data)| data.op.has(Trait::Contraction));
    let (Some((_, dot)), None) = (dots.next(), dots.next()) else {
        return Err("the region has not exactly one contraction".to_string());
    };
    for &operand in &dot.operands {
        let mut source = operand;
        while is_contracted_view(region.def_op(source)) {
            source = region.def(source).operands[0];
        }
        if !region.def_op(source).has(Trait::Leaf) {
            return Err(format!("the contraction reads a {} of the region", region.def_op(source).mnemonic()));
        }
    }
    let full = &region.ty(dot.first_result).shape;
    let dependent = dependents(region, |op| op.has(Trait::Contraction));
    let fits_result = |value: Value| joins(full, &region.ty(value).shape);
    for (_, data) in region.nodes() {
        let fits = match dependent[data.first_result.idx()] {
            true => {
                data.op.has(Trait::Contraction)
                    || ((data.op.has(Trait::Elementwise) || matches!(data.op, Op::Reshape(_)))
                        && fits_result(data.first_result))
            }
            false => is_expression(&data.op),
        };
        if !fits {
            return Err(format!(
                "{} of type {} is no elementwise work on a contraction of shape {full}",
                data.op.mnemonic(),
                region.ty(data.first_result)
            ));
        }
    }
    match region.results().iter().find(|&&result| !fits_result(result)) {
        Some(&result) => Err(format!("a result has shape {}, expected {full}", region.ty(result).shape)),
        None => Ok(()),
    }
}

/// Whether `shape` is `full`, or has runs of its dimensions joined to one each.
pub(super) fn joins(full: &Shape, shape: &Shape) -> bool {
    let mut dims = full.dims().iter();
    let joined = shape.dims().iter().all(|extent| {
        let Some(first) = dims.next() else { return false };
        let mut product = first.clone();
        while product != *extent {
            let Some(next) = dims.next() else { return false };
            product = product * next.clone();
        }
        true
    });
    joined && dims.next().is_none()
}

/// One group of a horizontal fusion: a region of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Pointwise or row.
    pub kind: FusionKind,
    /// The group's nodes.
    pub region: Graph,
    /// For each parameter of `region`, the position of the fusion's operand it stands for.
    pub operands: Vec<usize>,
    /// For each result of `region`, the position of the fusion's result it is.
    pub results: Vec<usize>,
}

/// The groups of a horizontal region: results that share a computed node are of one group, in order of their first
/// result. Parameters and leaves may be shared by several groups.
pub fn groups(region: &Graph) -> Vec<Group> {
    // Which result first reached each node; groups that meet in a node become one.
    let n_results = region.results().len();
    let mut group_of: Vec<usize> = (0..n_results).collect();
    let mut owner: Vec<Option<usize>> = vec![None; region.n_nodes()];
    for (at, &result) in region.results().iter().enumerate() {
        let mut pending = vec![region.value(result).node];
        while let Some(node) = pending.pop() {
            let data = region.node(node);
            if data.op.has(Trait::Leaf) {
                continue;
            }
            match owner[node.idx()] {
                None => {
                    owner[node.idx()] = Some(at);
                    pending.extend(data.operands.iter().map(|&operand| region.value(operand).node));
                }
                Some(other) => {
                    let (from, to) = (group_of[at], group_of[other]);
                    let (from, to) = (from.max(to), from.min(to));
                    group_of.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
                }
            }
        }
    }
    let mut firsts = group_of.clone();
    firsts.sort_unstable();
    firsts.dedup();
    let members = |first: usize| (0..n_results).filter(|&at| group_of[at] == first).collect::<Vec<_>>();
    firsts.into_iter().map(|first| group(region, members(first))).collect()
}

/// The part of `region` that the given results need.
fn group(region: &Graph, results: Vec<usize>) -> Group {
    let mut needed = vec![false; region.n_nodes()];
    for &at in &results {
        needed[region.value(region.results()[at]).node.idx()] = true;
    }
    for (node, data) in region.nodes().rev() {
        if needed[node.idx()] {
            for &operand in &data.operands {
                needed[region.value(operand).node.idx()] = true;
            }
        }
    }
    let mut rewriter = nnc_ir::Rewriter::without_params(region);
    let mut operands = Vec::new();
    for (node, data) in region.nodes().filter(|(node, _)| needed[node.idx()]) {
        if let Op::Param(idx) = data.op {
            operands.push(idx as usize);
        }
        rewriter.copy(node);
    }
    let values = results.iter().map(|&at| rewriter.get(region.results()[at])).collect();
    let region = rewriter.finish_with(values);
    let kind = if row_space(&region).is_some() { FusionKind::Row } else { FusionKind::Pointwise };
    Group { kind, region, operands, results }
}
