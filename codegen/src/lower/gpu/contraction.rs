//! Contractions on a GPU: tiles of both operands in shared memory, a register tile of sums a thread.
//!
//! A block of 256 threads computes a tile of up to 64 x 64 sums. Thread (x, y) owns the sums of rows `y, y + 16, ...`
//! and columns `x, x + 16, ...`, each one chain of multiply-adds in order of the contraction: the same bits as on the
//! CPU. Operands are evaluated element by element, so views and elementwise work on them are free. Rows and columns
//! beyond the edge repeat the last one and are not stored.

use super::super::affine::Affine;
use super::super::contraction::{Contraction, Epilogue, multiply_add, scatter_loads};
use super::super::cx::{Cx, Eval, Source};
use super::super::fold::memory_type;
use super::super::nest::{Axis, merge, unflatten};
use super::super::{Built, Out, Planner};
use super::WHOLE;
use crate::kernel::{BinOp, BufferId, Index, LoopKind, Reg, Space, Stmt, Ty};
use crate::schedule::{ContractionSchedule, KernelSchedule, Orientation};

/// Threads along each side of a block.
const SIDE: u64 = 16;

/// Contracted elements a step.
const TILE_K: u64 = 16;

/// Most rows or columns of sums a thread.
const MAX_MICRO: u64 = 4;

struct Blocks<'a> {
    contraction: &'a Contraction<'a>,
    epilogue: Epilogue,
    ty: Ty,
    m: u64,
    n: u64,
    k: u64,
    tile_m: u64,
    tile_n: u64,
    batch: Vec<Axis>,
    rows: Vec<Axis>,
    columns: Vec<Axis>,
    contracted: Vec<Axis>,
    /// Whether the contracted index runs along threads when a tile of `lhs`, of `rhs` is loaded.
    lhs_along_k: bool,
    rhs_along_k: bool,
    lhs_tile: BufferId,
    rhs_tile: BufferId,
    sums: BufferId,
}

/// Lowers the contraction and `outs` to one kernel.
pub(in crate::lower) fn lower<'r>(
    planner: &Planner<'r>,
    contraction: &Contraction<'_>,
    outs: &[Out],
) -> Eval<Built<'r>> {
    let (mut cx, buffers) = planner.start("contraction", outs);
    let epilogue = Epilogue { outs: outs.iter().map(|out| out.value).zip(buffers).collect() };
    let rank = contraction.extents.len();
    let ranges = contraction.whole_space();
    let (trace, operands) = contraction.probe(planner, &epilogue, &ranges, None)?;
    let product = |extents: &[usize]| extents.iter().map(|&extent| extent as u64).product::<u64>();
    let along = |dims: &[usize]| dims.iter().map(|&dim| contraction.extents[dim] as u64).product::<u64>();
    let (m, n) = (along(&contraction.rows), along(&contraction.columns));
    let (tile_m, tile_n) = (tile(m), tile(n));
    let ty = Ty::of(planner.region.dtype(contraction.dot));
    let dtype = memory_type(ty);
    let contracted: Vec<usize> = (rank..ranges.len()).collect();
    let along_k = |linear: Option<&Affine>| {
        let innermost = contracted.iter().rev().find(|&&dim| ranges[dim].1 != 1);
        innermost.is_some_and(|&dim| linear.is_some_and(|linear| linear.stride(dim) == 1))
    };
    let blocks = Blocks {
        contraction,
        epilogue,
        ty,
        m,
        n,
        k: product(&contraction.contracted),
        tile_m,
        tile_n,
        batch: merge(&trace, &contraction.batch, &ranges),
        rows: merge(&trace, &contraction.rows, &ranges),
        columns: merge(&trace, &contraction.columns, &ranges),
        contracted: merge(&trace, &contracted, &ranges),
        lhs_along_k: along_k(operands[0].as_ref()),
        rhs_along_k: along_k(operands[1].as_ref()),
        lhs_tile: cx.scratch("lhs_tile", dtype, (pitch(tile_m) * TILE_K) as usize, Space::Shared),
        rhs_tile: cx.scratch("rhs_tile", dtype, (pitch(tile_n) * TILE_K) as usize, Space::Shared),
        sums: cx.scratch("sums", dtype, (tile_m * tile_n / (SIDE * SIDE)) as usize, Space::Local),
    };
    let batches = along(&contraction.batch);
    let (rows, columns) = (m.div_ceil(tile_m), n.div_ceil(tile_n));
    cx.for_loop(batches * rows * columns, LoopKind::Grid(0), |cx, block| {
        cx.for_loop(SIDE * SIDE, LoopKind::Thread(0), |cx, thread| {
            cx.set_space(ranges.iter().copied());
            let (rest, column) = digit(cx, &block, columns, batches * rows);
            let (batch, row) = digit(cx, &rest, rows, batches);
            unflatten(cx, &blocks.batch, &batch);
            let row = Index::default().plus_scaled(&row, tile_m as i64);
            let column = Index::default().plus_scaled(&column, tile_n as i64);
            blocks.block(cx, &thread, &row, &column)
        })
    })?;
    let schedule = KernelSchedule::Contraction(ContractionSchedule {
        orientation: Orientation::Shared,
        tile_m,
        tile_n,
        tile_k: TILE_K,
        tasks: batches * rows * columns,
    });
    Ok(Built { cx, split: WHOLE, schedule })
}

/// Rows (or columns) of a tile: a multiple of the threads along the side.
fn tile(extent: u64) -> u64 {
    SIDE * extent.div_ceil(SIDE).clamp(1, MAX_MICRO).next_power_of_two()
}

/// Distance between rows of a tile in shared memory: one more than their width, so that threads which store along the
/// contracted index, each to another row, do not all meet in one bank.
fn pitch(width: u64) -> u64 {
    width + 1
}

/// Quotient and remainder of an index below `base * count`.
fn digit(cx: &mut Cx<'_>, index: &Index, base: u64, count: u64) -> (Index, Index) {
    super::super::pointwise::split_last_digit(cx, index, count, base)
}

impl Blocks<'_> {
    fn block(&self, cx: &mut Cx<'_>, thread: &Index, row: &Index, column: &Index) -> Eval {
        let position = cx.index_reg(thread);
        let side = cx.b.const_i64(Ty::I64, 1, SIDE as i64);
        let y = Index::term(cx.b.div(position, side), 1);
        let x = Index::term(cx.b.binary(BinOp::Rem, position, side), 1);
        let zero = cx.b.const_i64(self.ty, 1, 0);
        for sum in 0..self.tile_m * self.tile_n / (SIDE * SIDE) {
            cx.b.store_scalar(self.sums, Index::constant(sum as i64), zero);
        }
        let (whole, rest) = (self.k / TILE_K, self.k % TILE_K);
        cx.for_loop(whole, LoopKind::Serial, |cx, step| {
            let k_at = Index::default().plus_scaled(&step, TILE_K as i64);
            self.step(cx, thread, (&x, &y), (row, column), &k_at, TILE_K)
        })?;
        if rest > 0 {
            let k_at = Index::constant((whole * TILE_K) as i64);
            cx.scoped(|cx| self.step(cx, thread, (&x, &y), (row, column), &k_at, rest))?;
        }
        self.finish(cx, (&x, &y), row, column)
    }

    /// `depth` links of every chain of the block.
    fn step(
        &self,
        cx: &mut Cx<'_>,
        thread: &Index,
        (x, y): (&Index, &Index),
        (row, column): (&Index, &Index),
        k_at: &Index,
        depth: u64,
    ) -> Eval {
        self.load(cx, thread, row, k_at, depth, true)?;
        self.load(cx, thread, column, k_at, depth, false)?;
        cx.b.push(Stmt::Barrier);
        cx.for_loop(depth, LoopKind::Unrolled, |cx, k| {
            let fetch = |cx: &mut Cx<'_>, tile: BufferId, width: u64, first: &Index| -> Vec<Reg> {
                (0..width / SIDE)
                    .map(|part| {
                        let index = Index::constant((part * SIDE) as i64).plus_scaled(&k, pitch(width) as i64);
                        cx.b.load_scalar(tile, index.plus_scaled(first, 1))
                    })
                    .collect()
            };
            let lhs = fetch(cx, self.lhs_tile, self.tile_m, y);
            let rhs = fetch(cx, self.rhs_tile, self.tile_n, x);
            for (i, &lhs) in lhs.iter().enumerate() {
                for (j, &rhs_reg) in rhs.iter().enumerate() {
                    let index = Index::constant((i * rhs.len() + j) as i64);
                    let sum = cx.b.load_scalar(self.sums, index.clone());
                    let sum = multiply_add(cx, lhs, rhs_reg, sum);
                    cx.b.store_scalar(self.sums, index, sum);
                }
            }
            Ok(())
        })?;
        cx.b.push(Stmt::Barrier);
        Ok(())
    }

    /// Brings a tile of an operand to shared memory, `[k, row]` or `[k, column]`.
    fn load(&self, cx: &mut Cx<'_>, thread: &Index, first: &Index, k_at: &Index, depth: u64, is_lhs: bool) -> Eval {
        let (tile, width, extent, axes, along_k) = match is_lhs {
            true => (self.lhs_tile, self.tile_m, self.m, &self.rows, self.lhs_along_k),
            false => (self.rhs_tile, self.tile_n, self.n, &self.columns, self.rhs_along_k),
        };
        let elements = width * depth;
        for turn in 0..elements.div_ceil(SIDE * SIDE) {
            let at = thread.clone().plus_const((turn * SIDE * SIDE) as i64);
            let is_whole = (turn + 1) * SIDE * SIDE <= elements;
            super::guarded(cx, &at, elements, is_whole, |cx| {
                let position = cx.index_reg(&at);
                let base = cx.b.const_i64(Ty::I64, 1, if along_k { depth } else { width } as i64);
                let (outer, inner) = (cx.b.div(position, base), cx.b.binary(BinOp::Rem, position, base));
                let (k, free) = if along_k { (inner, outer) } else { (outer, inner) };
                let mut free_at = Index::term(free, 1).plus_scaled(first, 1);
                if extent % width != 0 {
                    let position = cx.index_reg(&free_at);
                    let last = cx.b.const_i64(Ty::I64, 1, extent as i64 - 1);
                    free_at = Index::term(cx.b.binary(BinOp::Min, position, last), 1);
                }
                unflatten(cx, axes, &free_at);
                unflatten(cx, &self.contracted, &k_at.clone().plus_scaled(&Index::term(k, 1), 1));
                let rank = self.contraction.extents.len();
                let coords = cx.coords();
                let (result, contracted) = coords.split_at(rank);
                let seen = cx.trace.loads.len();
                let element = match is_lhs {
                    true => self.contraction.lhs_element(cx, result, contracted)?,
                    false => self.contraction.rhs_element(cx, result, contracted)?,
                };
                // Other threads than the ones that read an element store the results.
                scatter_loads(cx, seen);
                let index = Index::term(k, pitch(width) as i64).plus(free, 1);
                cx.b.store_scalar(tile, index, element);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Evaluates the consumers of this thread's sums.
    fn finish(&self, cx: &mut Cx<'_>, (x, y): (&Index, &Index), row: &Index, column: &Index) -> Eval {
        let (rows, columns) = (self.tile_m / SIDE, self.tile_n / SIDE);
        for i in 0..rows {
            for j in 0..columns {
                let m_at = y.clone().plus_scaled(row, 1).plus_const((i * SIDE) as i64);
                let n_at = x.clone().plus_scaled(column, 1).plus_const((j * SIDE) as i64);
                let sum = cx.b.load_scalar(self.sums, Index::constant((i * columns + j) as i64));
                super::guarded(cx, &m_at, self.m, self.m.is_multiple_of(self.tile_m), |cx| {
                    super::guarded(cx, &n_at, self.n, self.n.is_multiple_of(self.tile_n), |cx| {
                        unflatten(cx, &self.rows, &m_at);
                        unflatten(cx, &self.columns, &n_at);
                        let dtype = cx.region.dtype(self.contraction.dot);
                        let sum = cx.b.narrow(dtype, sum);
                        let coords = self.contraction.result_coords(cx);
                        cx.set_source(self.contraction.dot, Source::Reg { coords, reg: sum });
                        self.epilogue.evaluate(cx, self.contraction)
                    })
                })?;
            }
        }
        Ok(())
    }
}
