//! Contractions with elementwise work on their result.
//!
//! Every element is one chain of fused multiply-adds in order of the contracted index, so tiles may be cut along rows
//! and columns of the result in any way, and along the contraction only in order. `f32` goes through tile products
//! ([`tiles`]), other types through plain loops ([`loops`]). Either leaves a tile of sums, from which the consumers of
//! the contraction are computed while it is in cache: bias, activation, the activation's mask, an optimizer's update
//! of the very weights, in place.

use nnc_ir::ops::{DotAttrs, Op};
use nnc_ir::{DType, Value};

use super::affine::Affine;
use super::cx::{Access, Cx, Eval, Source, Stop, Trace};
use super::nest::{Axis, merge};
use super::pointwise::LANES;
use super::{Out, Planner, view};
use crate::kernel::{BufferId, Index, Reg, Ty};

mod loops;
mod tiles;

pub(super) use loops::multiply_add;

/// What is contracted. Dimensions of the iteration space are those of the result: batch, free of `lhs`, free of `rhs`.
pub(super) struct Contraction<'r> {
    pub(super) dot: Value,
    pub(super) attrs: &'r DotAttrs,
    pub(super) lhs: Value,
    pub(super) rhs: Value,
    /// Extents of the result.
    pub(super) extents: Vec<usize>,
    pub(super) n_batch: usize,
    pub(super) n_lhs_free: usize,
    /// Extents of the contracted dimensions.
    pub(super) contracted: Vec<usize>,
}

/// Lowers those of `outs` that are computed from the contraction at the same index.
pub(super) fn lower(planner: &mut Planner<'_>, dot: Value, outs: &[Out]) -> Eval<Vec<Out>> {
    let region = planner.region;
    let Op::DotGeneral(attrs) = region.op(dot) else { unreachable!("the planner gives contractions") };
    let &[lhs, rhs] = region.operands(dot) else { unreachable!("a contraction has two operands") };
    let lhs_shape = region.shape(lhs);
    let contraction = Contraction {
        dot,
        attrs,
        lhs,
        rhs,
        extents: region.shape(dot).to_vec(),
        n_batch: attrs.lhs_batch.len(),
        n_lhs_free: DotAttrs::free_dims(lhs_shape.len(), &attrs.lhs_batch, &attrs.lhs_contract).len(),
        contracted: attrs.lhs_contract.iter().map(|&dim| lhs_shape[dim]).collect(),
    };
    let in_memory = |value: Value| planner.memory.contains_key(&value);
    let needs_dot = |value: Value| region.slice(&[value], &in_memory).contains(&dot);
    // Between the contraction and the result there may be elementwise work and views only.
    let consumes = |out: &&Out| {
        let slice = region.slice(&[out.value], &in_memory);
        let folds = |value: Value| {
            matches!(region.op(value), Op::Reduce(_) | Op::DotGeneral(_) | Op::Scatter(_) | Op::Fusion(_))
        };
        region.n_elements(out.value) == region.n_elements(dot)
            && slice.contains(&dot)
            && !slice.iter().any(|&value| value != dot && folds(value) && !in_memory(value) && needs_dot(value))
    };
    let done: Vec<Out> = outs.iter().filter(consumes).copied().collect();
    if done.is_empty() {
        return Err(Stop::Materialize(dot));
    }
    let is_f32 = region.dtype(lhs) == DType::F32 && region.dtype(dot) == DType::F32;
    if planner.target.is_gpu() {
        let built = super::gpu::contraction(planner, &contraction, &done)?;
        planner.finish(built, &done);
    } else if !(is_f32 && tiles::lower(planner, &contraction, &done)?) {
        let built = loops::lower(planner, &contraction, &done)?;
        planner.finish(built, &done);
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
        cx.eval(self.lhs, &self.lhs_coords(result, contracted))?;
        let lhs = last_load(&cx);
        cx.eval(self.rhs, &self.rhs_coords(result, contracted))?;
        let rhs = last_load(&cx);
        let ty = Ty::of(planner.region.dtype(self.dot));
        let reg = cx.b.const_i64(ty, cx.lanes, 1);
        cx.set_source(self.dot, Source::Reg { coords: result.to_vec(), reg });
        epilogue.evaluate(&mut cx, &self.extents)?;
        Ok((cx.trace, [lhs, rhs]))
    }

    pub(super) fn lhs_free_dims(&self) -> Vec<usize> {
        (self.n_batch..self.n_batch + self.n_lhs_free).collect()
    }

    pub(super) fn rhs_free_dims(&self) -> Vec<usize> {
        (self.n_batch + self.n_lhs_free..self.extents.len()).collect()
    }

    /// Index into `lhs` at a result index and a contracted index.
    pub(super) fn lhs_coords(&self, result: &[Affine], contracted: &[Affine]) -> Vec<Affine> {
        let free = result[self.n_batch..self.n_batch + self.n_lhs_free].iter();
        operand_coords(&self.attrs.lhs_batch, &self.attrs.lhs_contract, result, free, contracted)
    }

    /// Index into `rhs` at a result index and a contracted index.
    pub(super) fn rhs_coords(&self, result: &[Affine], contracted: &[Affine]) -> Vec<Affine> {
        let free = result[self.n_batch + self.n_lhs_free..].iter();
        operand_coords(&self.attrs.rhs_batch, &self.attrs.rhs_contract, result, free, contracted)
    }
}

/// Where an operand lies, if it is a plain view of memory; else it must go there first.
pub(super) fn locate(planner: &Planner<'_>, operand: Value) -> Eval<Strided> {
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
                return Err(Stop::Materialize(operand));
            }
            let strides = (0..ranges.len()).map(|dim| linear.stride(dim)).collect();
            return Ok(Strided { buffer, offset: linear.offset, strides });
        }
        if !view::is_view(planner.region.op(value)) {
            return Err(Stop::Materialize(operand));
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
                    return Err(Stop::Materialize(operand));
                }
            }
            None => return Err(Stop::Materialize(operand)),
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
    /// What to compute ahead of the loop over columns; `shape` is that of the contraction, the first dimensions of the
    /// space.
    pub(super) fn hoist(&self, cx: &mut Cx<'_>, shape: &[usize]) -> Eval {
        let coords: Vec<Affine> = (0..shape.len()).map(|dim| cx.coord(dim)).collect();
        let roots = cx.roots(&self.outs, &coords, shape);
        cx.hoist(&roots)
    }

    /// Computes and stores all results at the current element.
    pub(super) fn evaluate(&self, cx: &mut Cx<'_>, shape: &[usize]) -> Eval {
        let coords: Vec<Affine> = (0..shape.len()).map(|dim| cx.coord(dim)).collect();
        cx.evaluate(&self.outs, &coords, shape)
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
        let coords = cx.coords();
        let ty = Ty::of(planner.region.dtype(contraction.dot));
        let sum: Reg = cx.b.const_i64(ty, if vector.is_some() { lanes } else { 1 }, 1);
        cx.set_source(contraction.dot, Source::Reg { coords, reg: sum });
        self.evaluate(&mut cx, &contraction.extents)?;
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
