//! Rules on ops that move elements: compositions become one op, and views sink below elementwise ops so that they
//! meet. A *unit* dimension has extent 1.

use nnc_ir::ops::{BroadcastAttrs, ReduceAttrs, ReduceKind, SliceAttrs};
use nnc_ir::{Dim, Op, Shape, Value};

use super::Outcome::{Node, Value as Is};
use super::{Outcome, Site, is_elementwise, rule_table};

rule_table! {
    reshape_identity: "reshape(x) -> x, where the shape stays";
    reshape_reshape: "reshape(reshape(x)) -> reshape(x)";
    reshape_broadcast: "reshape(broadcast(x)) -> broadcast(x), where only unit dimensions appear or x is a scalar";
    transpose_identity: "transpose(x) -> x, where nothing moves";
    transpose_transpose: "transpose(transpose(x)) -> transpose(x)";
    transpose_to_reshape: "transpose(x) -> reshape(x), where only unit dimensions move";
    transpose_broadcast: "transpose(broadcast(x)) -> broadcast(transpose(x))";
    broadcast_identity: "broadcast(x) -> x, where nothing repeats";
    broadcast_broadcast: "broadcast(broadcast(x)) -> broadcast(x)";
    broadcast_reshape: "broadcast(reshape(x)) -> broadcast(x), where the reshape adds unit dimensions";
    slice_identity: "slice(x) -> x, where nothing is cut";
    slice_slice: "slice(slice(x)) -> slice(x)";
    slice_broadcast: "slice(broadcast(x)) -> broadcast(x), where only repetitions are cut";
    reverse_identity: "reverse(x) -> x, where only unit dimensions turn";
    reverse_reverse: "reverse(reverse(x)) -> reverse(x) or x";
    pad_identity: "pad(x) -> x, where nothing is added";
    concatenate_single: "concatenate(x) -> x";
    elementwise_unit_reshape: "f(reshape(x), reshape(y)) -> reshape(f(x, y)), where the reshape adds unit dimensions";
    elementwise_broadcast: "f(broadcast(x), broadcast(y)) -> broadcast(f(x, y)), which computes less";
    reduce_broadcast: "maximum over repetitions of x -> x; likewise for min, any and all";
    reduce_unit: "reduce over unit dimensions -> reshape, for every kind but sum, which turns -0.0 into 0.0, and arg-*";
}

fn reshape_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reshape(shape), &[x]) = (op, operands) else { return None };
    (site.shape(x) == shape).then_some(Is(x))
}

fn reshape_reshape(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reshape(_), &[x]) = (op, operands) else { return None };
    let (Op::Reshape(_), inner) = site.def(x) else { return None };
    Some(Node(op.clone(), inner))
}

fn reshape_broadcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reshape(shape), &[wide]) = (op, operands) else { return None };
    let (Op::BroadcastInDim(attrs), inner) = site.def(wide) else { return None };
    let dims = if site.shape(inner[0]).rank() == 0 {
        Vec::new()
    } else {
        let places = unit_insertion(&attrs.shape, shape)?;
        attrs.dims.iter().map(|&dim| places[dim]).collect()
    };
    Some(Node(Op::BroadcastInDim(BroadcastAttrs { shape: shape.clone(), dims }), inner))
}

/// If `to` is `from` with unit dimensions added: for each dimension of `from`, its place in `to`.
fn unit_insertion(from: &Shape, to: &Shape) -> Option<Vec<usize>> {
    let mut places = Vec::with_capacity(from.rank());
    for (at, dim) in to.dims().iter().enumerate() {
        if from.dims().get(places.len()) == Some(dim) {
            places.push(at);
        } else if *dim != Dim::from(1) {
            return None;
        }
    }
    (places.len() == from.rank()).then_some(places)
}

fn is_identity(permutation: &[usize]) -> bool {
    permutation.iter().enumerate().all(|(at, &dim)| at == dim)
}

fn transpose_identity(_: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Transpose(permutation), &[x]) = (op, operands) else { return None };
    is_identity(permutation).then_some(Is(x))
}

fn transpose_transpose(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Transpose(outer), &[x]) = (op, operands) else { return None };
    let (Op::Transpose(inner), source) = site.def(x) else { return None };
    Some(Node(Op::Transpose(outer.iter().map(|&dim| inner[dim]).collect()), source))
}

fn transpose_to_reshape(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Transpose(permutation), &[x]) = (op, operands) else { return None };
    let shape = site.shape(x);
    let moved = permutation.iter().filter(|&&dim| shape[dim] != Dim::from(1));
    moved.is_sorted().then(|| Node(Op::Reshape(site.ty.shape.clone()), vec![x]))
}

fn transpose_broadcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Transpose(permutation), &[wide]) = (op, operands) else { return None };
    let (Op::BroadcastInDim(attrs), inner) = site.def(wide) else { return None };
    // Where each dimension of x ends up; x is transposed to have them increase.
    let place_of = |dim: usize| permutation.iter().position(|&from| from == dim).expect("a permutation");
    let mut order: Vec<(usize, usize)> =
        attrs.dims.iter().enumerate().map(|(dim, &wide_dim)| (place_of(wide_dim), dim)).collect();
    order.sort_unstable();
    let (dims, narrow): (Vec<usize>, Vec<usize>) = order.into_iter().unzip();
    let x = if is_identity(&narrow) { inner[0] } else { site.push(Op::Transpose(narrow), &inner) };
    Some(Node(Op::BroadcastInDim(BroadcastAttrs { shape: site.ty.shape.clone(), dims }), vec![x]))
}

fn broadcast_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::BroadcastInDim(attrs), &[x]) = (op, operands) else { return None };
    (is_identity(&attrs.dims) && *site.shape(x) == attrs.shape).then_some(Is(x))
}

fn broadcast_broadcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::BroadcastInDim(outer), &[x]) = (op, operands) else { return None };
    let (Op::BroadcastInDim(inner), source) = site.def(x) else { return None };
    let dims = inner.dims.iter().map(|&dim| outer.dims[dim]).collect();
    Some(Node(Op::BroadcastInDim(BroadcastAttrs { shape: outer.shape.clone(), dims }), source))
}

fn broadcast_reshape(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::BroadcastInDim(attrs), &[x]) = (op, operands) else { return None };
    let (Op::Reshape(shape), source) = site.def(x) else { return None };
    let places = unit_insertion(site.shape(source[0]), &shape)?;
    let dims = places.into_iter().map(|place| attrs.dims[place]).collect();
    Some(Node(Op::BroadcastInDim(BroadcastAttrs { shape: attrs.shape.clone(), dims }), source))
}

fn slice_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Slice(attrs), &[x]) = (op, operands) else { return None };
    (*site.shape(x) == site.ty.shape && attrs.start.iter().all(|start| *start == Dim::from(0))).then_some(Is(x))
}

fn slice_slice(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Slice(outer), &[x]) = (op, operands) else { return None };
    let (Op::Slice(inner), source) = site.def(x) else { return None };
    let rank = outer.start.len();
    let mut attrs = SliceAttrs { start: Vec::new(), limit: Vec::new(), stride: Vec::new() };
    for dim in 0..rank {
        let extent = site.ty.shape[dim].as_const()?;
        let start = inner.start[dim].as_const()? + outer.start[dim].as_const()? * inner.stride[dim];
        let stride = inner.stride[dim] * outer.stride[dim];
        // An empty result may start beyond the end.
        let (start, limit) = match extent {
            0 => (0, 0),
            _ => (start, start + (extent - 1) * stride + 1),
        };
        attrs.start.push(start.into());
        attrs.limit.push(limit.into());
        attrs.stride.push(stride);
    }
    Some(Node(Op::Slice(attrs), source))
}

fn slice_broadcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Slice(_), &[wide]) = (op, operands) else { return None };
    let (Op::BroadcastInDim(attrs), inner) = site.def(wide) else { return None };
    let narrow = site.shape(inner[0]);
    let cuts_x = |(dim, &wide_dim): (usize, &usize)| {
        (site.ty.shape[wide_dim] != attrs.shape[wide_dim] && narrow[dim] != Dim::from(1))
            || site.ty.shape[wide_dim] == Dim::from(0)
    };
    if attrs.dims.iter().enumerate().any(cuts_x) {
        return None;
    }
    // A dimension of full extent is not cut: its stride is 1 or it has one element.
    Some(Node(Op::BroadcastInDim(BroadcastAttrs { shape: site.ty.shape.clone(), dims: attrs.dims }), inner))
}

fn reverse_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reverse(dims), &[x]) = (op, operands) else { return None };
    dims.iter().all(|&dim| site.shape(x)[dim] == Dim::from(1)).then_some(Is(x))
}

fn reverse_reverse(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reverse(outer), &[x]) = (op, operands) else { return None };
    let (Op::Reverse(inner), source) = site.def(x) else { return None };
    let dims: Vec<usize> = (0..site.ty.rank()).filter(|dim| outer.contains(dim) != inner.contains(dim)).collect();
    Some(Node(Op::Reverse(dims), source))
}

fn pad_identity(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Pad(attrs), &[x, _]) = (op, operands) else { return None };
    let nothing = attrs.low.iter().chain(&attrs.high).all(|&amount| amount == 0);
    (nothing && *site.shape(x) == site.ty.shape).then_some(Is(x))
}

fn concatenate_single(_: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Concatenate(_), &[x]) = (op, operands) else { return None };
    Some(Is(x))
}

/// The operands from before `view`, if each operand is a splat or such a view of a value of one shape.
fn below_views(
    site: &mut Site,
    operands: &[Value],
    source_of: impl Fn(&Op, &Shape) -> bool,
) -> Option<(Op, Vec<Value>)> {
    let mut view: Option<(Op, Shape)> = None;
    for &operand in operands {
        if site.splat(operand).is_some() {
            continue;
        }
        let (op, inner) = site.def(operand);
        let shape = site.shape(*inner.first()?).clone();
        match &view {
            Some((seen_op, seen_shape)) if *seen_op == op && *seen_shape == shape => {}
            None if source_of(&op, &shape) => view = Some((op, shape)),
            _ => return None,
        }
    }
    let (op, shape) = view?;
    let sources = operands.iter().map(|&operand| match site.splat(operand) {
        Some(value) => {
            let ty = nnc_ir::TensorType { dtype: value.dtype, shape: shape.clone() };
            site.constant(ty, value)
        }
        None => site.graph.def(operand).operands[0],
    });
    Some((op, sources.collect()))
}

fn elementwise_unit_reshape(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    if !is_elementwise(op) {
        return None;
    }
    let (view, sources) = below_views(site, operands, |view, source| match view {
        Op::Reshape(shape) => unit_insertion(source, shape).is_some(),
        _ => false,
    })?;
    let value = site.push(op.clone(), &sources);
    Some(Node(view, vec![value]))
}

fn elementwise_broadcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    if !is_elementwise(op) {
        return None;
    }
    let (view, sources) = below_views(site, operands, |view, _| matches!(view, Op::BroadcastInDim(_)))?;
    let value = site.push(op.clone(), &sources);
    Some(Node(view, vec![value]))
}

fn reduce_broadcast(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reduce(ReduceAttrs { kind, dims }), &[wide]) = (op, operands) else { return None };
    let (Op::BroadcastInDim(attrs), inner) = site.def(wide) else { return None };
    let idempotent = matches!(kind, ReduceKind::Min | ReduceKind::Max | ReduceKind::Any | ReduceKind::All);
    let repeats =
        |&dim: &usize| !attrs.dims.contains(&dim) && attrs.shape[dim].as_const().is_some_and(|extent| extent > 0);
    if !idempotent || !dims.iter().all(repeats) {
        return None;
    }
    let kept: Vec<usize> = (0..attrs.shape.rank()).filter(|dim| !dims.contains(dim)).collect();
    let place_of = |dim: &usize| kept.iter().position(|kept| kept == dim).expect("dimensions of x are kept");
    let dims = attrs.dims.iter().map(place_of).collect();
    Some(Node(Op::BroadcastInDim(BroadcastAttrs { shape: site.ty.shape.clone(), dims }), inner))
}

fn reduce_unit(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Reduce(ReduceAttrs { kind, dims }), &[x]) = (op, operands) else { return None };
    let exact = match kind {
        ReduceKind::Prod | ReduceKind::Min | ReduceKind::Max | ReduceKind::Any | ReduceKind::All => true,
        ReduceKind::Sum => site.ty.dtype.is_int(),
        ReduceKind::ArgMin | ReduceKind::ArgMax => false,
    };
    (exact && dims.iter().all(|&dim| site.shape(x)[dim] == Dim::from(1)))
        .then(|| Node(Op::Reshape(site.ty.shape.clone()), vec![x]))
}
