//! GPU forms of the templates: the same meaning and the same bits, other loops.
//!
//! - Pointwise: one thread an element, innermost dimension along the threads of a block.
//! - Rows of elements side by side: 16 threads a row, each one lane of the canonical order; the lanes are combined as a
//!   tree through shared memory. Rows side by side: one thread a row.
//! - Contractions: [`contraction`], tiles of both operands in shared memory.

use nnc_ir::ops::{CompareDir, Op};

use super::cx::{Cx, Eval, Source};
use super::fold::{self, FOLD_LANES, Fold, Layout};
use super::nest::{Axis, Split, count, merge, unflatten};
use super::row::{Rows, Walk};
use super::{Built, Planner, pointwise};
use crate::kernel::{BinOp, Index, LoopKind, Reg, Space, Stmt, Ty};
use crate::schedule::{FoldMode, KernelSchedule, NestSchedule, PointwiseSchedule, RowSchedule};

mod contraction;

pub(super) use contraction::lower as contraction;

/// Threads of a block.
const THREADS: u64 = 256;

/// The CPU splits nothing of a GPU kernel.
const WHOLE: Split = Split { extent: 1, chunk: 1 };

/// Results of one shape: where they go, the ranges of the iteration space, and its merged loops.
pub(super) type GpuNest = (pointwise::Outs, Vec<(i64, i64)>, Vec<Axis>);

/// Runs `body` where `position < end`; nowhere else if that is always so.
fn guarded(cx: &mut Cx<'_>, position: &Index, end: u64, always: bool, body: impl FnOnce(&mut Cx<'_>) -> Eval) -> Eval {
    if always {
        return cx.scoped(body);
    }
    let position = cx.index_reg(position);
    let end = cx.b.const_i64(Ty::I64, 1, end as i64);
    let inside = cx.b.compare(CompareDir::Lt, position, end);
    cx.if_then(inside, body)
}

/// One thread an element; each nest has blocks of its own.
pub(super) fn pointwise<'r>(mut cx: Cx<'r>, nests: Vec<GpuNest>) -> Eval<Built<'r>> {
    let blocks: Vec<u64> = nests.iter().map(|(_, _, axes)| count(axes).div_ceil(THREADS)).collect();
    let threads = nests.iter().map(|(_, _, axes)| count(axes)).max().unwrap_or(1).clamp(1, THREADS);
    cx.for_loop(blocks.iter().sum(), LoopKind::Grid(0), |cx, block| {
        cx.for_loop(threads, LoopKind::Thread(0), |cx, thread| {
            let mut first = 0;
            for ((outs, ranges, axes), &n_blocks) in nests.iter().zip(&blocks) {
                let (begin, end) = (first, first + n_blocks as i64);
                first = end;
                let body = |cx: &mut Cx<'_>| {
                    let at = thread.clone().plus_scaled(&block, threads as i64).plus_const(-begin * threads as i64);
                    let n_elements = count(axes);
                    guarded(cx, &at, n_elements, n_elements.is_multiple_of(threads), |cx| {
                        cx.set_space(ranges.iter().copied());
                        unflatten(cx, axes, &at);
                        pointwise::evaluate(cx, outs)
                    })
                };
                if nests.len() == 1 {
                    body(cx)?;
                } else {
                    in_blocks(cx, &block, begin, end, body)?;
                }
            }
            Ok(())
        })
    })?;
    let nest = |(_, _, axes): &GpuNest| NestSchedule {
        extents: axes.iter().map(|axis| axis.extent).collect(),
        lanes: 1,
        tasks: count(axes).div_ceil(threads),
    };
    let schedule = KernelSchedule::Pointwise(PointwiseSchedule { nests: nests.iter().map(nest).collect() });
    Ok(Built { cx, split: WHOLE, schedule })
}

/// Runs `body` in the blocks `begin..end`.
fn in_blocks(cx: &mut Cx<'_>, block: &Index, begin: i64, end: i64, body: impl FnOnce(&mut Cx<'_>) -> Eval) -> Eval {
    let position = cx.index_reg(block);
    let (begin, end) = (cx.b.const_i64(Ty::I64, 1, begin), cx.b.const_i64(Ty::I64, 1, end));
    let above = cx.b.compare(CompareDir::Ge, position, begin);
    let below = cx.b.compare(CompareDir::Lt, position, end);
    let inside = cx.b.binary(BinOp::And, above, below);
    cx.if_then(inside, body)
}

/// A row kernel.
pub(super) fn rows<'r>(planner: &Planner<'r>, mut cx: Cx<'r>, rows: &Rows) -> Eval<Built<'r>> {
    let (trace, n_insts) = rows.trace(planner)?;
    let ranges = rows.ranges();
    let kept = merge(&trace, &rows.kept, &ranges);
    let reduced = merge(&trace, &rows.reduced, &ranges);
    let innermost = (0..rows.extents.len()).rev().find(|&dim| rows.extents[dim] != 1);
    let side_by_side = innermost.is_some_and(|dim| rows.reduced.contains(&dim));
    let (fold, tasks) = if side_by_side && rows.len > 1 {
        let threads = HalfWarp { rows, kept, reduced };
        threads.lower(&mut cx)?;
        (FoldMode::Threads, rows.n_rows.div_ceil(THREADS / FOLD_LANES))
    } else {
        let threads = rows.n_rows.clamp(1, THREADS);
        let walk = Walk::scalar(rows, kept, reduced, n_insts);
        cx.for_loop(rows.n_rows.div_ceil(threads), LoopKind::Grid(0), |cx, block| {
            cx.for_loop(threads, LoopKind::Thread(0), |cx, thread| {
                let at = thread.plus_scaled(&block, threads as i64);
                guarded(cx, &at, rows.n_rows, rows.n_rows.is_multiple_of(threads), |cx| walk.row_at(cx, &at))
            })
        })?;
        (FoldMode::Scalar, rows.n_rows.div_ceil(threads))
    };
    let passes = rows.passes.len() as u32;
    let schedule = KernelSchedule::Row(RowSchedule { fold, rows: rows.n_rows, len: rows.len, passes, kept: 0, tasks });
    Ok(Built { cx, split: WHOLE, schedule })
}

/// 16 threads a row.
struct HalfWarp<'a> {
    rows: &'a Rows,
    kept: Vec<Axis>,
    reduced: Vec<Axis>,
}

/// What one of the threads is.
struct Member {
    /// Number of the thread in the block.
    thread: Index,
    /// First thread of the row.
    first: Index,
    lane: Reg,
    row: Index,
}

impl HalfWarp<'_> {
    fn lower(&self, cx: &mut Cx<'_>) -> Eval {
        let rows = THREADS / FOLD_LANES;
        cx.for_loop(self.rows.n_rows.div_ceil(rows), LoopKind::Grid(0), |cx, block| {
            cx.for_loop(THREADS, LoopKind::Thread(0), |cx, thread| {
                let position = cx.index_reg(&thread);
                let lanes = cx.b.const_i64(Ty::I64, 1, FOLD_LANES as i64);
                let number = cx.b.div(position, lanes);
                let lane = cx.b.binary(BinOp::Rem, position, lanes);
                let row = Index::term(number, 1).plus_scaled(&block, rows as i64);
                let first = Index::term(number, FOLD_LANES as i64);
                cx.set_space(self.rows.ranges().iter().copied());
                unflatten(cx, &self.kept, &row);
                self.row(cx, &Member { thread, first, lane, row })
            })
        })
    }

    fn row(&self, cx: &mut Cx<'_>, member: &Member) -> Eval {
        for (idx, pass) in self.rows.passes.iter().enumerate() {
            cx.phase = idx as u32;
            let layout = Layout::Slots { count: 1, lanes: 1 };
            let folds: Vec<Fold> = pass
                .reduces
                .iter()
                .map(|&value| {
                    let Op::Reduce(attrs) = cx.region.op(value) else { unreachable!("the group holds reductions") };
                    Fold::declare(cx, value, attrs.kind, self.rows.len, layout)
                })
                .collect();
            for fold in &folds {
                fold.init(cx);
            }
            self.if_row(cx, member, |cx| {
                self.elements(cx, member, &mut |cx| {
                    let operands = self.rows.evaluate_pass(cx, pass)?;
                    let position = self.rows.position(cx);
                    for (fold, operand) in folds.iter().zip(operands) {
                        fold.step(cx, operand, &position, &Index::constant(0), 1);
                    }
                    Ok(())
                })
            })?;
            for fold in &folds {
                let reg = self.combine(cx, fold, member)?;
                let coords = self.rows.row_coords(cx, fold.value)?;
                cx.set_source(fold.value, Source::Reg { coords, reg });
            }
        }
        let zero = cx.b.const_i64(Ty::I64, 1, 0);
        let first = cx.b.compare(CompareDir::Eq, member.lane, zero);
        cx.if_then(first, |cx| self.if_row(cx, member, |cx| self.rows.store_rows(cx)))
    }

    /// Runs `body` if the row exists.
    fn if_row(&self, cx: &mut Cx<'_>, member: &Member, body: impl FnOnce(&mut Cx<'_>) -> Eval) -> Eval {
        let n_rows = self.rows.n_rows;
        guarded(cx, &member.row, n_rows, n_rows.is_multiple_of(THREADS / FOLD_LANES), body)
    }

    /// The elements of this lane, in order.
    fn elements(&self, cx: &mut Cx<'_>, member: &Member, body: &mut dyn FnMut(&mut Cx<'_>) -> Eval) -> Eval {
        let (whole, rest) = (self.rows.len / FOLD_LANES, self.rows.len % FOLD_LANES);
        let lane = Index::term(member.lane, 1);
        cx.for_loop(whole, LoopKind::Serial, |cx, at| {
            unflatten(cx, &self.reduced, &lane.clone().plus_scaled(&at, FOLD_LANES as i64));
            body(cx)
        })?;
        guarded(cx, &lane, rest, rest == 0, |cx| {
            if rest == 0 {
                return Ok(());
            }
            unflatten(cx, &self.reduced, &lane.clone().plus_const((whole * FOLD_LANES) as i64));
            body(cx)
        })
    }

    /// The lanes as a tree, `l` with `l + 8`, then `+ 4`, `+ 2`, `+ 1`; every thread gets the result.
    fn combine(&self, cx: &mut Cx<'_>, fold: &Fold, member: &Member) -> Eval<Reg> {
        let (value, position) = fold.accumulators(cx);
        let share = |cx: &mut Cx<'_>, name: String, reg: Reg| {
            let dtype = fold::memory_type(cx.b.reg_type(reg).ty);
            let shared = cx.scratch(&name, dtype, THREADS as usize, Space::Shared);
            cx.b.store_scalar(shared, member.thread.clone(), reg);
            shared
        };
        let values = share(cx, format!("shared{}", fold.value.0), value);
        let positions = position.map(|position| share(cx, format!("places{}", fold.value.0), position));
        cx.b.push(Stmt::Barrier);
        let mut half = FOLD_LANES / 2;
        while half > 0 {
            // A lane of a short row that no element reached has no position, and its value is no candidate.
            let limit = match positions {
                Some(_) => half.min(self.rows.len.min(FOLD_LANES).saturating_sub(half)),
                None => half,
            };
            let limit = cx.b.const_i64(Ty::I64, 1, limit as i64);
            let takes_part = cx.b.compare(CompareDir::Lt, member.lane, limit);
            cx.if_then(takes_part, |cx| {
                let other = member.thread.clone().plus_const(half as i64);
                let (mine, theirs) =
                    (cx.b.load_scalar(values, member.thread.clone()), cx.b.load_scalar(values, other.clone()));
                let Some(positions) = positions else {
                    let sum = cx.b.binary(fold.op(), mine, theirs);
                    cx.b.store_scalar(values, member.thread.clone(), sum);
                    return Ok(());
                };
                let (at, their_at) =
                    (cx.b.load_scalar(positions, member.thread.clone()), cx.b.load_scalar(positions, other));
                let (best, best_at) = fold.better(&mut cx.b, (mine, at), (theirs, their_at));
                cx.b.store_scalar(values, member.thread.clone(), best);
                cx.b.store_scalar(positions, member.thread.clone(), best_at);
                Ok(())
            })?;
            cx.b.push(Stmt::Barrier);
            half /= 2;
        }
        let result = cx.b.load_scalar(positions.unwrap_or(values), member.first.clone());
        Ok(match positions {
            Some(_) => cx.b.cast(Ty::I64, result),
            None => fold.result(&mut cx.b, result),
        })
    }
}
