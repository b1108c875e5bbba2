//! `f32` contractions through tile products.
//!
//! The tile product wants the columns of its right operand side by side. Where `rhs` has its free dimension innermost
//! it is read where it lies; where both operands have the contraction innermost (a linear layer's forward pass) either
//! panels of `rhs` are transposed next to each tile, or `lhs` is transposed once and the operands change roles, in
//! which case the tile of sums is turned before the epilogue. [`choose`] compares what that costs.

use super::super::affine::{Affine, dense_strides};
use super::super::cx::{Cx, Eval, Source, Stop};
use super::super::nest::{Axis, Split, Task, dispatch, merge, unflatten};
use super::super::pointwise::{LANES, split_last_digit};
use super::super::{Arg, Built, Out, Planner};
use super::{Contraction, Epilogue, Form, Strided, locate, merge_with};
use crate::kernel::{BufferId, Index, LoopKind, Space, Stmt, TileMatmul, TileTranspose};
use crate::schedule::contraction::{Facts, choose, is_possible};
use crate::schedule::{ContractionSchedule, KernelSchedule, Orientation, PackSchedule};

/// A matrix operand: where it starts in a batch, and its strides.
#[derive(Clone)]
struct Matrix {
    buffer: BufferId,
    /// Element (0, 0) of the current batch, over the batch dimensions of the result.
    base: Affine,
    /// Stride along the free dimension.
    free: i64,
    /// Stride along the contraction.
    k: i64,
}

/// Lowers the contraction if its operands are matrices: `false` if their dimensions do not merge so far.
pub(super) fn lower(planner: &mut Planner<'_>, contraction: &Contraction<'_>, outs: &[Out], flops: u64) -> Eval<bool> {
    let (lhs, rhs) = (locate(planner, contraction.lhs)?, locate(planner, contraction.rhs)?);
    let Some((lhs, rhs, facts)) = matrices(planner, contraction, &lhs, &rhs) else { return Ok(false) };
    let schedule = match planner.given_schedule() {
        Some(KernelSchedule::Contraction(given)) if is_possible(&facts, given) => given.clone(),
        _ => choose(&facts),
    };
    if schedule.orientation == Orientation::Loops {
        return Ok(false);
    }
    let packed = match schedule.orientation {
        Orientation::SwappedPacked => Some(pack_lhs(planner, contraction, &lhs, &facts)?),
        _ => None,
    };
    let built = main_kernel(planner, contraction, outs, lhs, rhs, &facts, &schedule, packed)?;
    planner.finish_with(built, flops);
    Ok(true)
}

/// The operands as batches of matrices, and the sizes.
fn matrices(
    planner: &Planner<'_>,
    contraction: &Contraction<'_>,
    lhs: &Strided,
    rhs: &Strided,
) -> Option<(Matrix, Matrix, Facts)> {
    let region = planner.region;
    let (lhs_shape, rhs_shape) = (region.shape(contraction.lhs), region.shape(contraction.rhs));
    let Form::Dot(attrs) = &contraction.form else { return None };
    let free =
        |rank: usize, batch: &[usize], contract: &[usize]| nnc_ir::ops::DotAttrs::free_dims(rank, batch, contract);
    let lhs_free = free(lhs_shape.len(), &attrs.lhs_batch, &attrs.lhs_contract);
    let rhs_free = free(rhs_shape.len(), &attrs.rhs_batch, &attrs.rhs_contract);
    let along = |shape: &[usize], strides: &[i64], dims: &[usize]| -> Option<(u64, i64)> {
        flatten(dims.iter().map(|&dim| (shape[dim] as u64, strides[dim])))
    };
    let (m, lhs_m) = along(lhs_shape, &lhs.strides, &lhs_free)?;
    let (n, rhs_n) = along(rhs_shape, &rhs.strides, &rhs_free)?;
    let (k, lhs_k) = along(lhs_shape, &lhs.strides, &attrs.lhs_contract)?;
    let (_, rhs_k) = along(rhs_shape, &rhs.strides, &attrs.rhs_contract)?;
    let base = |strided: &Strided, dims: &[usize], extents: &[usize]| {
        let start = Affine::constant(strided.offset);
        dims.iter()
            .enumerate()
            .filter(|(at, _)| extents[*at] != 1)
            .fold(start, |sum, (at, &dim)| sum.plus_scaled(&Affine::dim(at), strided.strides[dim]))
    };
    let batches = contraction.extents[..contraction.batch.len()].iter().map(|&extent| extent as u64).product();
    let facts = Facts { batches, m, n, k, lhs: (lhs_m, lhs_k), rhs: (rhs_n, rhs_k) };
    let lhs_base = base(lhs, &attrs.lhs_batch, &contraction.extents);
    let rhs_base = base(rhs, &attrs.rhs_batch, &contraction.extents);
    Some((
        Matrix { buffer: lhs.buffer, base: lhs_base, free: lhs_m, k: lhs_k },
        Matrix { buffer: rhs.buffer, base: rhs_base, free: rhs_n, k: rhs_k },
        facts,
    ))
}

/// Dimensions as one of a single stride. A dimension of one element may have any stride; 1 is the most useful.
pub(super) fn flatten(dims: impl Iterator<Item = (u64, i64)>) -> Option<(u64, i64)> {
    let mut flat: Option<(u64, i64)> = None;
    for (extent, stride) in dims.filter(|(extent, _)| *extent != 1) {
        flat = match flat {
            None => Some((extent, stride)),
            Some((outer, outer_stride)) if outer_stride == stride * extent as i64 => Some((outer * extent, stride)),
            Some(_) => return None,
        };
    }
    Some(flat.unwrap_or((1, 1)))
}

/// Transposes `lhs` into scratch, `[batch, k, m]`, by a kernel of its own.
fn pack_lhs(planner: &mut Planner<'_>, contraction: &Contraction<'_>, lhs: &Matrix, facts: &Facts) -> Eval<Arg> {
    let Facts { batches, m, k, .. } = *facts;
    let elements = (batches * m * k) as usize;
    let arg = planner.new_scratch(4 * elements as u64);
    let (mut cx, _) = planner.start("pack", &[]);
    let scratch = declare_packed(&mut cx, arg, elements, true);
    let tile = 64.min(k);
    let (whole, rest) = (k / tile, k % tile);
    let ranges = contraction.ranges();
    let batch_axes = batch_axes(contraction);
    let mut tasks = Vec::new();
    for (first, cols, steps) in [(0, tile, whole), (whole * tile, rest, 1)] {
        if cols == 0 {
            continue;
        }
        let (ranges, batch_axes) = (&ranges, &batch_axes);
        tasks.push(Task {
            count: batches * steps,
            ns: (m * cols) as f64 * 0.5,
            body: Box::new(move |cx: &mut Cx<'_>, at: Index| {
                cx.set_space(ranges.iter().copied());
                let (batch, step) = split_last_digit(cx, &at, batches, steps);
                unflatten(cx, batch_axes, &batch);
                let k_index = Index::constant(first as i64).plus_scaled(&step, cols as i64);
                let (base, _) = cx.resolve(&lhs.base);
                let dst = Index::default().plus_scaled(&batch, (m * k) as i64).plus_scaled(&k_index, m as i64);
                cx.b.push(Stmt::Transpose(TileTranspose {
                    src: lhs.buffer,
                    src_index: base.plus_scaled(&k_index, lhs.k),
                    src_stride: lhs.free,
                    dst: scratch,
                    dst_index: dst,
                    dst_stride: m as i64,
                    rows: m as u32,
                    cols: cols as u32,
                }));
                Ok(())
            }),
        });
    }
    let n_tasks = tasks.iter().map(|task| task.count).sum();
    cx.trace.scattered.push(lhs.buffer);
    let split = dispatch(&mut cx, tasks)?;
    let schedule = KernelSchedule::Pack(PackSchedule { tile, tasks: n_tasks });
    planner.finish_with(Built { cx, split, schedule }, 0);
    Ok(arg)
}

/// Every batch dimension by itself.
fn batch_axes(contraction: &Contraction<'_>) -> Vec<Axis> {
    let extents = contraction.extents[..contraction.batch.len()].iter().enumerate();
    let wide = extents.filter(|(_, extent)| **extent != 1);
    wide.map(|(dim, &extent)| Axis { dims: vec![dim], first: 0, extent: extent as u64 }).collect()
}

fn declare_packed(cx: &mut Cx<'_>, arg: Arg, elements: usize, written: bool) -> BufferId {
    cx.args.push(arg);
    cx.b.arg("packed", nnc_ir::DType::F32, elements, written)
}

/// The tile loop: everything about one tile that is fixed.
struct Tiles<'a> {
    contraction: &'a Contraction<'a>,
    epilogue: Epilogue,
    /// Left and right operand of the tile product, whose rows and columns follow.
    a: Matrix,
    b: Matrix,
    /// Whether rows of the product are columns of the result.
    swapped: bool,
    /// Copy of a panel of the right operand.
    panel: Option<BufferId>,
    /// Sums, and the sums turned; `None` if they go straight to the result.
    acc: Option<BufferId>,
    turned: Option<BufferId>,
    /// The result, if nothing but the sums is wanted.
    plain: Option<BufferId>,
    facts: Facts,
    tile_k: u64,
    /// Loops over the result as the epilogue allows.
    batch_axes: Vec<Axis>,
    row_axes: Vec<Axis>,
    column_axes: Vec<Axis>,
    lanes: u16,
}

/// One size of tile: rows and columns of the product.
#[derive(Clone, Copy)]
struct Tile {
    rows: u64,
    cols: u64,
}

#[allow(clippy::too_many_arguments)]
fn main_kernel<'r>(
    planner: &Planner<'r>,
    contraction: &Contraction<'_>,
    outs: &[Out],
    lhs: Matrix,
    rhs: Matrix,
    facts: &Facts,
    schedule: &ContractionSchedule,
    packed: Option<Arg>,
) -> Eval<Built<'r>> {
    let (mut cx, buffers) = planner.start("contraction", outs);
    let Facts { batches, m, k, .. } = *facts;
    let swapped = matches!(schedule.orientation, Orientation::Swapped | Orientation::SwappedPacked);
    let mut lhs = lhs;
    cx.trace.scattered.push(rhs.buffer);
    if let Some(arg) = packed {
        let buffer = declare_packed(&mut cx, arg, (batches * m * k) as usize, false);
        // The packed batches lie one after the other, whatever the dimensions of the original.
        let batch_strides = dense_strides(&contraction.extents[..contraction.batch.len()]);
        let base = batch_strides.iter().enumerate().filter(|(dim, _)| contraction.extents[*dim] != 1);
        let base = base
            .fold(Affine::default(), |sum, (dim, &stride)| sum.plus_scaled(&Affine::dim(dim), stride * (m * k) as i64));
        lhs = Matrix { buffer, base, free: 1, k: m as i64 };
    } else {
        cx.trace.scattered.push(lhs.buffer);
    }
    let is_plain = outs.len() == 1 && outs[0].value == contraction.dot;
    let epilogue = Epilogue { outs: outs.iter().map(|out| out.value).zip(buffers.iter().copied()).collect() };
    let (tile_rows, tile_cols) =
        if swapped { (schedule.tile_n, schedule.tile_m) } else { (schedule.tile_m, schedule.tile_n) };
    let elements = (tile_rows * tile_cols) as usize;
    let needs_turn = swapped && m != 1;
    let scratch = |cx: &mut Cx<'_>, name: &str, elements: usize, wanted: bool| {
        wanted.then(|| cx.scratch(name, nnc_ir::DType::F32, elements, Space::Local))
    };
    let acc = scratch(&mut cx, "acc", elements, !is_plain || needs_turn);
    let turned = scratch(&mut cx, "turned", elements, needs_turn && !is_plain);
    let panel_elements = (schedule.tile_k * tile_cols) as usize;
    let panel = scratch(&mut cx, "panel", panel_elements, schedule.orientation == Orientation::Panels);
    let ranges = contraction.ranges();
    let trace = epilogue.probe(planner, contraction, None)?;
    let row_axes = merge(&trace, &contraction.rows, &ranges);
    let column_axes = merge(&trace, &contraction.columns, &ranges);
    let mut lanes = if column_axes.len() <= 1 { LANES } else { 1 };
    if let (LANES, Some(axis), false) = (lanes, column_axes.first(), is_plain) {
        lanes = match epilogue.probe(planner, contraction, Some(axis)) {
            Ok(_) => LANES,
            Err(Stop::Scalar) => 1,
            Err(other) => return Err(other),
        };
    }
    let (a, b) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
    if is_plain {
        note_plain_store(&mut cx, contraction, buffers[0]);
    }
    let tiles = Tiles {
        contraction,
        epilogue,
        a,
        b,
        swapped,
        panel,
        acc,
        turned,
        plain: is_plain.then(|| buffers[0]),
        facts: facts.clone(),
        tile_k: schedule.tile_k,
        batch_axes: merge_with(&trace, &[], &[], &ranges).into_iter().chain(batch_axes(contraction)).collect(),
        row_axes,
        column_axes,
        lanes,
    };
    let split = tiles.emit(&mut cx, tile_rows, tile_cols)?;
    Ok(Built {
        cx,
        split: split.0,
        schedule: KernelSchedule::Contraction(ContractionSchedule { tasks: split.1, ..schedule.clone() }),
    })
}

/// The product writes the result itself: note it, so that in-place reuse is judged.
fn note_plain_store(cx: &mut Cx<'_>, contraction: &Contraction<'_>, buffer: BufferId) {
    let linear = dense_strides(&contraction.extents)
        .iter()
        .enumerate()
        .fold(Affine::default(), |sum, (dim, &stride)| sum.plus_scaled(&Affine::dim(dim), stride));
    cx.trace.stores.push((buffer, super::super::cx::Access { linear, space: 0, phase: 0 }));
}

impl Tiles<'_> {
    /// All tiles: whole ones, and the narrower ones at the edges.
    fn emit<'r>(&self, cx: &mut Cx<'r>, tile_rows: u64, tile_cols: u64) -> Eval<(Split, u64)> {
        let Facts { batches, m, n, k, .. } = self.facts;
        let (rows, cols) = if self.swapped { (n, m) } else { (m, n) };
        let parts = |extent: u64, tile: u64| {
            let (whole, rest) = (extent / tile, extent % tile);
            [(0, tile, whole), (whole * tile, rest, u64::from(rest > 0))].into_iter().filter(|(.., count)| *count > 0)
        };
        let mut tasks: Vec<Task<'_, 'r>> = Vec::new();
        for (first_col, cols, n_cols) in parts(cols, tile_cols) {
            for (first_row, rows, n_rows) in parts(rows, tile_rows) {
                let tile = Tile { rows, cols };
                let body = move |cx: &mut Cx<'r>, at: Index| {
                    cx.set_space(self.contraction.ranges().iter().copied());
                    // Tiles that share a panel of the right operand follow one another.
                    let (at, row) = split_last_digit(cx, &at, batches * n_cols, n_rows);
                    let (batch, col) = split_last_digit(cx, &at, batches, n_cols);
                    unflatten(cx, &self.batch_axes, &batch);
                    let row = Index::constant(first_row as i64).plus_scaled(&row, rows as i64);
                    let col = Index::constant(first_col as i64).plus_scaled(&col, cols as i64);
                    self.tile(cx, tile, &row, &col)
                };
                let multiplies = (rows * cols.next_multiple_of(16) * k) as f64;
                let ns = 2.0 * multiplies / 100.0 + (rows * cols) as f64 * 0.3;
                tasks.push(Task { count: batches * n_cols * n_rows, ns, body: Box::new(body) });
            }
        }
        let n_tasks = tasks.iter().map(|task| task.count).sum();
        Ok((dispatch(cx, tasks)?, n_tasks))
    }

    /// One tile: sums, then what follows them.
    fn tile(&self, cx: &mut Cx<'_>, tile: Tile, row: &Index, col: &Index) -> Eval {
        let (m_at, n_at) = if self.swapped { (col, row) } else { (row, col) };
        // Where the sums of the tile start, and the distance between its rows.
        let in_result = |cx: &Cx<'_>| {
            let strides = dense_strides(&self.contraction.extents);
            let batch = (0..self.contraction.batch.len())
                .fold(Affine::default(), |sum, dim| sum.plus_scaled(&cx.coord(dim), strides[dim]));
            let (base, _) = cx.resolve(&batch);
            base.plus_scaled(m_at, self.facts.n as i64).plus_scaled(n_at, 1)
        };
        let (acc, acc_index, acc_stride) = match (self.acc, self.plain) {
            (Some(acc), _) => (acc, Index::constant(0), tile.cols as i64),
            (None, Some(out)) if self.swapped => (out, in_result(cx), 1),
            (None, Some(out)) => (out, in_result(cx), self.facts.n as i64),
            (None, None) => unreachable!("sums go to scratch or to the result"),
        };
        self.products(cx, tile, row, col, acc, &acc_index, acc_stride)?;
        if !self.swapped || self.facts.m == 1 {
            return match self.plain {
                Some(_) => Ok(()),
                None => self.consume(cx, acc, (tile.rows, tile.cols), m_at, n_at),
            };
        }
        let (dst, dst_index, dst_stride) = match (self.turned, self.plain) {
            (Some(turned), _) => (turned, Index::constant(0), tile.rows as i64),
            (None, Some(out)) => (out, in_result(cx), self.facts.n as i64),
            (None, None) => unreachable!("turned sums go to scratch or to the result"),
        };
        cx.b.push(Stmt::Transpose(TileTranspose {
            src: acc,
            src_index: Index::constant(0),
            src_stride: tile.cols as i64,
            dst,
            dst_index,
            dst_stride,
            rows: tile.rows as u32,
            cols: tile.cols as u32,
        }));
        match self.plain {
            Some(_) => Ok(()),
            None => self.consume(cx, dst, (tile.cols, tile.rows), m_at, n_at),
        }
    }

    /// The chains of one tile, a block of the contraction after the other.
    #[allow(clippy::too_many_arguments)]
    fn products(
        &self,
        cx: &mut Cx<'_>,
        tile: Tile,
        row: &Index,
        col: &Index,
        acc: BufferId,
        acc_index: &Index,
        acc_stride: i64,
    ) -> Eval {
        let (a_base, _) = cx.resolve(&self.a.base);
        let (b_base, _) = cx.resolve(&self.b.base);
        let a_base = a_base.plus_scaled(row, self.a.free);
        let b_base = b_base.plus_scaled(col, self.b.free);
        let product = |cx: &mut Cx<'_>, k_at: &Index, k: u64, accumulate: bool| {
            let b_index = b_base.clone().plus_scaled(k_at, self.b.k);
            let (b, b_index, b_k_stride) = match self.panel {
                Some(panel) => {
                    self.copy_panel(cx, panel, &b_index, tile.cols, k)?;
                    (panel, Index::constant(0), tile.cols as i64)
                }
                None => (self.b.buffer, b_index, self.b.k),
            };
            cx.b.push(Stmt::Matmul(TileMatmul {
                a: self.a.buffer,
                a_index: a_base.clone().plus_scaled(k_at, self.a.k),
                a_row_stride: self.a.free,
                a_k_stride: self.a.k,
                b,
                b_index,
                b_k_stride,
                b_taps: vec![0],
                acc,
                acc_index: acc_index.clone(),
                acc_row_stride: acc_stride,
                m: tile.rows as u32,
                n: tile.cols as u32,
                k,
                accumulate,
            }));
            Ok(())
        };
        let k = self.facts.k;
        if k <= self.tile_k {
            return product(cx, &Index::constant(0), k, false);
        }
        let (whole, rest) = (k / self.tile_k, k % self.tile_k);
        product(cx, &Index::constant(0), self.tile_k, false)?;
        cx.for_loop(whole - 1, LoopKind::Serial, |cx, at| {
            let k_at = Index::constant(self.tile_k as i64).plus_scaled(&at, self.tile_k as i64);
            product(cx, &k_at, self.tile_k, true)
        })?;
        if rest > 0 {
            product(cx, &Index::constant((whole * self.tile_k) as i64), rest, true)?;
        }
        Ok(())
    }

    /// Copies `k` rows of `cols` columns of the right operand, so that they lie side by side.
    fn copy_panel(&self, cx: &mut Cx<'_>, panel: BufferId, from: &Index, cols: u64, k: u64) -> Eval {
        if self.b.k == 1 {
            cx.b.push(Stmt::Transpose(TileTranspose {
                src: self.b.buffer,
                src_index: from.clone(),
                src_stride: self.b.free,
                dst: panel,
                dst_index: Index::constant(0),
                dst_stride: cols as i64,
                rows: cols as u32,
                cols: k as u32,
            }));
            return Ok(());
        }
        cx.for_loop(k, LoopKind::Serial, |cx, k_at| {
            cx.vector_loop(cols, LANES, |cx, at| {
                let src = from.clone().plus_scaled(&k_at, self.b.k).plus_scaled(&at, self.b.free);
                let row = cx.b.load(self.b.buffer, src, self.b.free, LANES, cx.active);
                let dst = Index::default().plus_scaled(&k_at, cols as i64).plus_scaled(&at, 1);
                cx.b.store(panel, dst, 1, cx.active, row);
                Ok(())
            })
        })
    }

    /// Evaluates the consumers on a tile of finished sums, `rows` of `cols`, in the orientation of the result.
    fn consume(&self, cx: &mut Cx<'_>, sums: BufferId, extent: (u64, u64), m_at: &Index, n_at: &Index) -> Eval {
        // A single row of sums was left as a column by a swapped product, which is the same in memory.
        let (rows, cols) = if self.swapped && self.facts.m == 1 { (extent.1, extent.0) } else { extent };
        cx.for_loop(rows, LoopKind::Serial, |cx, row| {
            unflatten(cx, &self.row_axes, &m_at.clone().plus_scaled(&row, 1));
            self.epilogue.hoist(cx, self.contraction)?;
            cx.vector_loop(cols, self.lanes, |cx, col| {
                let n_index = n_at.clone().plus_scaled(&col, 1);
                match (self.lanes, self.column_axes.first()) {
                    (LANES, Some(axis)) => axis.bind(cx, &n_index, 1),
                    _ => unflatten(cx, &self.column_axes, &n_index),
                }
                let coords = self.contraction.result_coords(cx);
                let index = Index::default().plus_scaled(&row, cols as i64).plus_scaled(&col, 1);
                // A single column does not vary with the lane.
                let lane_stride = i64::from(self.lanes == LANES && !self.column_axes.is_empty());
                let source = Source::Place { coords, buffer: sums, index, lane_stride };
                cx.set_source(self.contraction.dot, source);
                self.epilogue.evaluate(cx, self.contraction)
            })
        })
    }
}
