//! Contractions (`dot_general` and `convolution`) with elementwise work on their result.
//!
//! Every element is one chain of fused multiply-adds in order of the contracted index, so tiles may be cut along rows
//! and columns of the result in any way, and along the contraction only in order. `f32` matrices go through tile products
//! ([`tiles`]), convolutions and half-precision operands too, with panels laid out beside each tile ([`packed`]), and
//! other types through plain loops ([`loops`]). Any of them leaves a tile of sums, from which the consumers of
//! the contraction are computed while it is in cache: bias, activation, the activation's mask, an optimizer's update
//! of the very weights, in place.

use nnc_ir::ops::{DotAttrs, Op, Trait};
use nnc_ir::{DType, Value};

use super::affine::Affine;
use super::cx::{Access, Cx, Eval, Source, Stop, Trace};
use super::nest::{Axis, merge};
use super::pointwise::LANES;
use super::region::Region;
use super::{Out, Planner, view};
use crate::kernel::{BufferId, Index, Reg, Ty};

mod blocks;
mod feed;
mod loops;
mod packed;
mod patches;
mod tiles;
mod window;

use feed::Side;
pub(super) use loops::multiply_add;
use window::Windows;

/// What is contracted: a `dot_general`, or one combination of phases of a convolution.
///
/// The iteration space has a dimension for each way to move over the result: batch dimensions, *rows* (along which
/// only the left operand varies), and *columns* (along which only the right one does).
pub(super) struct Contraction<'r> {
    pub(super) dot: Value,
    form: Form<'r>,
    /// Left and right operand of the products: those of a `dot_general`, kernel and image of a convolution.
    pub(super) lhs: Value,
    pub(super) rhs: Value,
    /// Extents of the iteration space.
    pub(super) extents: Vec<usize>,
    /// Dimensions of the iteration space by role.
    pub(super) batch: Vec<usize>,
    pub(super) rows: Vec<usize>,
    pub(super) columns: Vec<usize>,
    /// Extents of the contracted dimensions.
    pub(super) contracted: Vec<usize>,
}

/// How an index into the iteration space and a contracted index become indices into the operands.
enum Form<'r> {
    /// The iteration space is the result: batch, free of `lhs`, free of `rhs`.
    Dot(&'r DotAttrs),
    Convolution(Windows),
}

impl<'r> Contraction<'r> {
    /// `value` as one or several contractions, which together compute every element once.
    fn all(region: &'r Region<'r>, value: Value) -> Vec<Self> {
        let &[lhs, rhs] = region.operands(value) else { unreachable!("a contraction has two operands") };
        let (lhs_shape, shape) = (region.shape(lhs), region.shape(value));
        match region.op(value) {
            Op::DotGeneral(attrs) => {
                let n_batch = attrs.lhs_batch.len();
                let n_rows = DotAttrs::free_dims(lhs_shape.len(), &attrs.lhs_batch, &attrs.lhs_contract).len();
                vec![Self {
                    dot: value,
                    form: Form::Dot(attrs),
                    lhs,
                    rhs,
                    extents: shape.to_vec(),
                    batch: (0..n_batch).collect(),
                    rows: (n_batch..n_batch + n_rows).collect(),
                    columns: (n_batch + n_rows..shape.len()).collect(),
                    contracted: attrs.lhs_contract.iter().map(|&dim| lhs_shape[dim]).collect(),
                }]
            }
            Op::Convolution(attrs) => {
                let all = Windows::all(attrs, region.shape(rhs), shape).into_iter();
                all.map(|windows| Self {
                    dot: value,
                    lhs: rhs,
                    rhs: lhs,
                    extents: windows.extents(shape),
                    batch: vec![window::GROUP],
                    rows: (window::OUTPUT..windows.first_window()).collect(),
                    columns: [window::BATCH].into_iter().chain(windows.columns()).collect(),
                    contracted: windows.contracted(),
                    form: Form::Convolution(windows),
                })
                .collect()
            }
            op => unreachable!("{} is no contraction", op.mnemonic()),
        }
    }
}

/// Lowers those of `outs` that are computed from the contraction at the same index.
pub(super) fn lower(planner: &mut Planner<'_>, dot: Value, outs: &[Out]) -> Eval<Vec<Out>> {
    let region = planner.region;
    let in_memory = |value: Value| planner.memory.contains_key(&value);
    let needs_dot = |value: Value| region.slice(&[value], &in_memory).contains(&dot);
    // Between the contraction and the result there may be elementwise work and views only.
    let consumes = |out: &&Out| {
        let slice = region.slice(&[out.value], &in_memory);
        let folds = |value: Value| {
            let op = region.op(value);
            op.has(Trait::Contraction) || matches!(op, Op::Reduce(_) | Op::Scatter(_) | Op::Fusion(_))
        };
        region.n_elements(out.value) == region.n_elements(dot)
            && slice.contains(&dot)
            && !slice.iter().any(|&value| value != dot && folds(value) && !in_memory(value) && needs_dot(value))
    };
    let done: Vec<Out> = outs.iter().filter(consumes).copied().collect();
    if done.is_empty() {
        return Err(Stop::Materialize(dot));
    }
    let all = Contraction::all(region, dot);
    let roots: Vec<Value> = done.iter().map(|out| out.value).collect();
    let epilogue_flops = planner.flops(&roots) / all.len() as u64;
    for contraction in all {
        let flops = contraction.flops() + epilogue_flops;
        let is_f32 = region.dtype(contraction.lhs) == DType::F32 && region.dtype(dot) == DType::F32;
        if planner.target.is_gpu() {
            let built = super::gpu::contraction(planner, &contraction, &done)?;
            planner.finish_with(built, flops);
            continue;
        }
        let is_matrix = is_f32 && matches!(contraction.form, Form::Dot(_));
        let is_lowered = is_matrix && tiles::lower(planner, &contraction, &done, flops)?;
        if !is_lowered && !packed::lower(planner, &contraction, &done, flops)? {
            let built = loops::lower(planner, &contraction, &done)?;
            planner.finish_with(built, flops);
        }
    }
    Ok(done)
}

/// An operand in memory: element 0, and the distance between elements along each of its dimensions.
#[derive(Clone, Debug)]
pub(super) struct Strided {
    pub(super) buffer: BufferId,
    pub(super) offset: i64,
    pub(super) strides: Vec<i64>,
}

impl Contraction<'_> {
    /// Arithmetic of the products.
    fn flops(&self) -> u64 {
        let product = |extents: &[usize]| extents.iter().product::<usize>() as u64;
        2 * product(&self.extents) * product(&self.contracted)
    }

    pub(super) fn ranges(&self) -> Vec<(i64, i64)> {
        self.extents.iter().map(|&extent| (0, extent as i64)).collect()
    }

    /// Ranges of the result's dimensions, then of the contracted ones.
    pub(super) fn whole_space(&self) -> Vec<(i64, i64)> {
        self.extents.iter().chain(&self.contracted).map(|&extent| (0, extent as i64)).collect()
    }

    /// Evaluates operands and consumers once in a throw-away context over [`Contraction::whole_space`]; `vector` is the
    /// axis to vectorize. Also gives where each operand's element lies, if it is loaded.
    pub(super) fn probe(
        &self,
        planner: &Planner<'_>,
        epilogue: &Epilogue,
        ranges: &[(i64, i64)],
        vector: Option<&Axis>,
    ) -> Eval<(Trace, [Option<Affine>; 2])> {
        let mut cx = planner.probe(ranges);
        if let Some(axis) = vector {
            (cx.lanes, cx.active) = (LANES, LANES);
            axis.bind(&mut cx, &Index::constant(0), 1);
        }
        let coords = cx.coords();
        let (result, contracted) = coords.split_at(self.extents.len());
        let last_load = |cx: &Cx<'_>| cx.trace.loads.last().map(|(_, access)| access.linear.clone());
        self.lhs_element(&mut cx, result, contracted)?;
        let lhs = last_load(&cx);
        self.rhs_element(&mut cx, result, contracted)?;
        let rhs = last_load(&cx);
        let ty = Ty::of(planner.region.dtype(self.dot));
        let reg = cx.b.const_i64(ty, cx.lanes, 1);
        let coords = self.result_coords(&cx);
        cx.set_source(self.dot, Source::Reg { coords, reg });
        epilogue.evaluate(&mut cx, self)?;
        Ok((cx.trace, [lhs, rhs]))
    }

    /// Index into the result at the current point of the iteration space.
    pub(super) fn result_coords(&self, cx: &Cx<'_>) -> Vec<Affine> {
        let space: Vec<Affine> = (0..self.extents.len()).map(|dim| cx.coord(dim)).collect();
        match &self.form {
            Form::Dot(_) => space,
            Form::Convolution(windows) => windows.result_coords(&space),
        }
    }

    /// Index into an operand at an index into the iteration space and a contracted index. That of an image may be
    /// outside of it.
    fn operand_coords(&self, side: Side, space: &[Affine], contracted: &[Affine]) -> Vec<Affine> {
        match (&self.form, side) {
            (Form::Dot(attrs), Side::Lhs) => {
                let free = self.rows.iter().map(|&dim| &space[dim]);
                operand_coords(&attrs.lhs_batch, &attrs.lhs_contract, space, free, contracted)
            }
            (Form::Dot(attrs), Side::Rhs) => {
                let free = self.columns.iter().map(|&dim| &space[dim]);
                operand_coords(&attrs.rhs_batch, &attrs.rhs_contract, space, free, contracted)
            }
            (Form::Convolution(windows), Side::Lhs) => windows.kernel_coords(space, contracted),
            (Form::Convolution(windows), Side::Rhs) => windows.image_coords(space, contracted),
        }
    }

    /// The element of the left operand at an index into the iteration space and a contracted index.
    pub(super) fn lhs_element(&self, cx: &mut Cx<'_>, space: &[Affine], contracted: &[Affine]) -> Eval<Reg> {
        cx.eval(self.lhs, &self.operand_coords(Side::Lhs, space, contracted))
    }

    /// The element of the right operand at an index into the iteration space and a contracted index.
    pub(super) fn rhs_element(&self, cx: &mut Cx<'_>, space: &[Affine], contracted: &[Affine]) -> Eval<Reg> {
        let coords = self.operand_coords(Side::Rhs, space, contracted);
        match &self.form {
            Form::Dot(_) => cx.eval(self.rhs, &coords),
            Form::Convolution(_) => {
                let ty = Ty::of(cx.region.dtype(self.rhs));
                let extents = cx.region.shape(self.rhs);
                window::zero_padded(cx, ty, extents, &coords, |cx, coords| cx.eval(self.rhs, coords))
            }
        }
    }
}

/// Notes loads since number `seen` as made in an order of the template's own.
pub(super) fn scatter_loads(cx: &mut Cx<'_>, seen: usize) {
    let read: Vec<BufferId> = cx.trace.loads.drain(seen..).map(|(buffer, _)| buffer).collect();
    cx.trace.scattered.extend(read);
}

/// Where an operand lies, if it is a plain view of memory; else it must go there first: what is reshaped, whose own
/// dimensions make better loops than those of the reshaped one.
pub(super) fn locate(planner: &Planner<'_>, operand: Value) -> Eval<Strided> {
    let region = planner.region;
    let mut dense = operand;
    while let (Op::Reshape(_), false) = (region.op(dense), planner.memory.contains_key(&dense)) {
        dense = region.operands(dense)[0];
    }
    let ranges: Vec<(i64, i64)> = planner.region.shape(operand).iter().map(|&extent| (0, extent as i64)).collect();
    let mut cx = planner.probe(&ranges);
    let coords = (0..ranges.len()).map(Affine::dim).collect::<Vec<_>>();
    let (mut value, mut at) = (operand, coords);
    loop {
        if let Some(Source::Memory(buffer)) = cx.source(value) {
            let buffer = *buffer;
            let shape = planner.region.shape(value);
            let linear = match at.as_slice() {
                [linear] if shape.len() != 1 => linear.clone(),
                _ => super::affine::dot(&at, &super::affine::dense_strides(shape)),
            };
            if linear.dims().count() != linear.terms.len() {
                return Err(Stop::Materialize(dense));
            }
            let strides = (0..ranges.len()).map(|dim| linear.stride(dim)).collect();
            return Ok(Strided { buffer, offset: linear.offset, strides });
        }
        if !view::is_view(planner.region.op(value)) {
            return Err(Stop::Materialize(dense));
        }
        match view::source_of(&mut cx, value, &at)? {
            Some((source, moved)) => (value, at) = (source, moved),
            // A reshape of a dense tensor is the tensor.
            None if matches!(planner.region.op(value), Op::Reshape(_)) => {
                let strides = super::affine::dense_strides(planner.region.shape(value));
                at = vec![super::affine::dot(&at, &strides)];
                value = planner.region.operands(value)[0];
                while let (None, Op::Reshape(_)) = (cx.source(value), planner.region.op(value)) {
                    value = planner.region.operands(value)[0];
                }
                if !matches!(cx.source(value), Some(Source::Memory(_))) {
                    return Err(Stop::Materialize(dense));
                }
            }
            None => return Err(Stop::Materialize(dense)),
        }
    }
}

fn operand_coords<'a>(
    batch: &[usize],
    contract: &[usize],
    result: &[Affine],
    mut free: impl ExactSizeIterator<Item = &'a Affine>,
    contracted: &[Affine],
) -> Vec<Affine> {
    let rank = batch.len() + contract.len() + free.len();
    let mut coords = Vec::with_capacity(rank);
    for dim in 0..rank {
        coords.push(if let Some(at) = batch.iter().position(|&batch| batch == dim) {
            result[at].clone()
        } else if let Some(at) = contract.iter().position(|&contract| contract == dim) {
            contracted[at].clone()
        } else {
            free.next().expect("every other dimension is free").clone()
        });
    }
    coords
}

/// What follows a contraction: its consumers, evaluated where a sum has just been finished.
pub(super) struct Epilogue {
    pub(super) outs: Vec<(Value, BufferId)>,
}

impl Epilogue {
    /// What to compute ahead of the loop over columns.
    pub(super) fn hoist(&self, cx: &mut Cx<'_>, contraction: &Contraction<'_>) -> Eval {
        let roots = cx.roots(&self.outs, &contraction.result_coords(cx), cx.region.shape(contraction.dot));
        cx.hoist(&roots)
    }

    /// Computes and stores all results at the current element.
    pub(super) fn evaluate(&self, cx: &mut Cx<'_>, contraction: &Contraction<'_>) -> Eval {
        cx.evaluate(&self.outs, &contraction.result_coords(cx), cx.region.shape(contraction.dot))
    }

    /// Evaluates once in a throw-away context; `vector` is the axis to vectorize.
    pub(super) fn probe(
        &self,
        planner: &Planner<'_>,
        contraction: &Contraction<'_>,
        vector: Option<&Axis>,
    ) -> Eval<Trace> {
        let mut cx = planner.probe(&contraction.ranges());
        let lanes = LANES;
        if let Some(axis) = vector {
            (cx.lanes, cx.active) = (lanes, lanes);
            axis.bind(&mut cx, &Index::constant(0), 1);
        }
        let coords = contraction.result_coords(&cx);
        let ty = Ty::of(planner.region.dtype(contraction.dot));
        let sum: Reg = cx.b.const_i64(ty, if vector.is_some() { lanes } else { 1 }, 1);
        cx.set_source(contraction.dot, Source::Reg { coords, reg: sum });
        self.evaluate(&mut cx, contraction)?;
        Ok(cx.trace)
    }
}

/// Merges dimensions of the result as the epilogue and the given operand strides (by result dimension) allow.
pub(super) fn merge_with(trace: &Trace, strides: &[Vec<i64>], dims: &[usize], ranges: &[(i64, i64)]) -> Vec<Axis> {
    let mut trace = trace.clone();
    for strides in strides {
        let linear = strides
            .iter()
            .enumerate()
            .fold(Affine::default(), |sum, (dim, &stride)| sum.plus_scaled(&Affine::dim(dim), stride));
        trace.loads.push((BufferId(0), Access { linear, space: 0, phase: 0 }));
    }
    merge(&trace, dims, ranges)
}
