//! How an operand of tile products gets to where they read it.
//!
//! An operand whose elements lie in memory at strides that a tile product can follow is read there. Any other is
//! evaluated, element by element through [`Cx::eval`], into a panel beside the tile: half-precision values widen,
//! views are followed, and what is computed from memory is computed on the way.

use nnc_ir::{DType, Value};

use super::super::affine::{Affine, dense_strides};
use super::super::cx::{Cx, Eval, Source, Stop};
use super::super::nest::{Axis, merge};
use super::super::pointwise::LANES;
use super::super::{Planner, view};
use super::blocks::{Block, Run, walk};
use super::{Contraction, Form};
use crate::kernel::{BufferId, Index, Stmt, TileTranspose};
use nnc_ir::ops::Op;

/// Which operand of a contraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Lhs,
    Rhs,
}

/// Where a tile product reads an operand: element (0, 0), strides along the free and the contracted index, and the taps
/// of which every step of the latter has one element (a matrix has one, at 0).
pub(super) struct Operand {
    pub(super) buffer: BufferId,
    pub(super) index: Index,
    pub(super) free: i64,
    pub(super) depth: i64,
    pub(super) taps: Vec<i64>,
}

/// Elements of an operand in memory, over the whole iteration space.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) buffer: BufferId,
    pub(super) linear: Affine,
}

/// How panels of evaluated elements are made.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Loops along the free and the contracted index.
    pub(super) free: Vec<Axis>,
    pub(super) depth: Vec<Axis>,
    /// Whether vectors run along the contracted index; else along the free one.
    pub(super) along_depth: bool,
    pub(super) lanes: u16,
}

/// Where the element of `value` at `coords` lies, if only views come between it and memory.
pub(super) fn place(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Option<(BufferId, Affine)>> {
    let (mut value, mut at) = (value, coords.to_vec());
    loop {
        if let Some(Source::Memory(buffer)) = cx.source(value) {
            let buffer = *buffer;
            let shape = cx.region.shape(value);
            return Ok(Some((buffer, super::super::affine::dot(&at, &dense_strides(shape)))));
        }
        if !view::is_view(cx.region.op(value)) || matches!(cx.region.op(value), Op::Gather(_)) {
            return Ok(None);
        }
        match view::source_of(cx, value, &at)? {
            Some((source, moved)) => (value, at) = (source, moved),
            None => return Ok(None),
        }
    }
}

impl Contraction<'_> {
    /// The operand's elements in memory, if all of them are `f32` there and none is padding.
    pub(super) fn in_memory(&self, planner: &Planner<'_>, side: Side) -> Eval<Option<Memory>> {
        let mut cx = planner.probe(&self.whole_space());
        let coords = cx.coords();
        let (space, contracted) = coords.split_at(self.extents.len());
        let value = self.operand(side);
        let coords = self.operand_coords(side, space, contracted);
        let inside = |(coord, &extent): (&Affine, &usize)| {
            let (low, high) = cx.range(coord);
            low >= 0 && high < extent as i64
        };
        if planner.region.dtype(value) != DType::F32 || !coords.iter().zip(cx.region.shape(value)).all(inside) {
            return Ok(None);
        }
        Ok(place(&mut cx, value, &coords)?.map(|(buffer, linear)| Memory { buffer, linear }))
    }

    /// How to make panels of the operand by evaluation; `free` lists its free dimensions.
    pub(super) fn values(&self, planner: &Planner<'_>, side: Side, free: &[usize]) -> Eval<Values> {
        let ranges = self.whole_space();
        let depth: Vec<usize> = (self.extents.len()..ranges.len()).collect();
        let evaluate = |vector: Option<&Axis>| {
            let mut cx = planner.probe(&ranges);
            if let Some(axis) = vector {
                (cx.lanes, cx.active) = (LANES, LANES);
                axis.bind(&mut cx, &Index::constant(0), 1);
            }
            self.element(&mut cx, side)?;
            Ok((
                cx.trace.clone(),
                cx.trace.loads.iter().map(|(_, access)| cx.resolve(&access.linear).1).collect::<Vec<_>>(),
            ))
        };
        let (trace, _) = evaluate(None)?;
        let (free, depth) = (merge(&trace, free, &ranges), merge(&trace, &depth, &ranges));
        let mut best = (f64::INFINITY, true, 1);
        for (along_depth, axis) in [(true, depth.last()), (false, free.last())] {
            let Some(axis) = axis else { continue };
            let (cost, lanes) = match evaluate(Some(axis)) {
                Ok((_, strides)) => {
                    let per_lane = |stride: &i64| if stride.abs() <= 1 { 0.1 } else { 1.0 };
                    (strides.iter().map(per_lane).sum::<f64>() + 4.0 / axis.extent as f64, LANES)
                }
                Err(Stop::Scalar) => (4.0, 1),
                Err(other) => return Err(other),
            };
            if cost < best.0 {
                best = (cost, along_depth, lanes);
            }
        }
        Ok(Values { free, depth, along_depth: best.1, lanes: best.2 })
    }

    pub(super) fn operand(&self, side: Side) -> Value {
        match side {
            Side::Lhs => self.lhs,
            Side::Rhs => self.rhs,
        }
    }

    fn element(&self, cx: &mut Cx<'_>, side: Side) -> Eval<crate::kernel::Reg> {
        let coords = cx.coords();
        let (space, contracted) = coords.split_at(self.extents.len());
        match side {
            Side::Lhs => self.lhs_element(cx, space, contracted),
            Side::Rhs => self.rhs_element(cx, space, contracted),
        }
    }
}

impl Memory {
    /// Strides along blocks of the free and the contracted index, if each has one.
    pub(super) fn strides(&self, free: (&[usize], &[u64]), depth: (&[usize], &[u64])) -> Option<(i64, i64)> {
        let flat = |(dims, extents): (&[usize], &[u64])| {
            let strides = dims.iter().zip(extents).map(|(&dim, &extent)| (extent, self.linear.stride(dim)));
            Some(super::tiles::flatten(strides)?.1)
        };
        Some((flat(free)?, flat(depth)?))
    }

    /// The operand at a block.
    pub(super) fn operand(&self, cx: &mut Cx<'_>, free: &Block, depth: &Block) -> Operand {
        free.bind_start(cx);
        depth.bind_start(cx);
        let (index, _) = cx.resolve(&self.linear);
        let strides = self.strides((&free.dims, &free.extents), (&depth.dims, &depth.extents));
        let (free, depth) = strides.expect("blocks have one stride each");
        Operand { buffer: self.buffer, index, free, depth, taps: vec![0] }
    }
}

/// Copies `operand` (free index by rows, contracted index contiguous) turned into `panel`.
pub(super) fn turn(cx: &mut Cx<'_>, operand: &Operand, panel: BufferId, free: u64, depth: u64) -> Operand {
    cx.b.push(Stmt::Transpose(TileTranspose {
        src: operand.buffer,
        src_index: operand.index.clone(),
        src_stride: operand.free,
        dst: panel,
        dst_index: Index::constant(0),
        dst_stride: free as i64,
        rows: free as u32,
        cols: depth as u32,
    }));
    Operand { buffer: panel, index: Index::constant(0), free: 1, depth: free as i64, taps: vec![0] }
}

impl Values {
    /// Evaluates a block of the operand into `panel`, vectors side by side.
    pub(super) fn pack(
        &self,
        cx: &mut Cx<'_>,
        contraction: &Contraction<'_>,
        side: Side,
        panel: BufferId,
        free: &Block,
        depth: &Block,
    ) -> Eval<Operand> {
        let (rows, columns) = if self.along_depth { (free, depth) } else { (depth, free) };
        let (row_axes, column_axes) =
            if self.along_depth { (&self.free, &self.depth) } else { (&self.depth, &self.free) };
        let (row_runs, column_runs) = (rows.runs(row_axes), columns.runs(column_axes));
        let width = columns.len() as i64;
        cx.scoped(|cx| {
            walk(cx, &row_runs, &Index::default(), &mut |cx, row| {
                vectors(cx, &column_runs, self.lanes, &mut |cx, column| {
                    let seen = cx.trace.loads.len();
                    let reg = contraction.element(cx, side)?;
                    super::scatter_loads(cx, seen);
                    let reg = cx.promote(reg, cx.lanes);
                    let to = Index::default().plus_scaled(row, width).plus_scaled(column, 1);
                    cx.b.store(panel, to, 1, cx.active, reg);
                    Ok(())
                })
            })
        })?;
        let (outer, inner) = (width, 1);
        let (free, depth) = if self.along_depth { (outer, inner) } else { (inner, outer) };
        Ok(Operand { buffer: panel, index: Index::constant(0), free, depth, taps: vec![0] })
    }
}

/// Loops over `runs`, the last one by vectors; `body` gets the flat position of lane 0.
pub(super) fn vectors(
    cx: &mut Cx<'_>,
    runs: &[Run],
    lanes: u16,
    body: &mut dyn FnMut(&mut Cx<'_>, &Index) -> Eval,
) -> Eval {
    let Some((last, outer)) = runs.split_last() else {
        return cx.scoped(|cx| {
            (cx.lanes, cx.active) = (1, 1);
            body(cx, &Index::constant(0))
        });
    };
    walk(cx, outer, &Index::constant(0), &mut |cx, flat| {
        cx.vector_loop(last.extent, lanes, |cx, at| {
            last.axis.bind(cx, &last.start.clone().plus_scaled(&at, 1), i64::from(lanes != 1));
            body(cx, &flat.clone().plus_scaled(&at, last.stride))
        })
    })
}

/// Whether the operand is the image of a convolution.
pub(super) fn is_image(contraction: &Contraction<'_>, side: Side) -> bool {
    side == Side::Rhs && matches!(contraction.form, Form::Convolution(_))
}
