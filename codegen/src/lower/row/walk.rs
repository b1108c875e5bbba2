//! The loops of a row kernel on the CPU (and of one thread a row on a GPU).

use nnc_ir::Value;
use nnc_ir::ops::Op;

use super::super::Planner;
use super::super::affine::Affine;
use super::super::cx::{Cx, Eval, Source, Stop};
use super::super::fold::{FOLD_LANES, Fold, Layout, memory_type};
use super::super::nest::{Axis, Task, count, merge, unflatten};
use super::super::pointwise::{LANES, split_last_digit};
use super::{Pass, Rows};
use crate::kernel::{BinOp, BufferId, Index, LoopKind, Space, Ty};
use crate::schedule::{FoldMode, RowSchedule, element_ns};

/// Bodies up to this many instructions are replicated for the 16 accumulators of a column.
const MAX_UNROLLED: usize = 24;

/// The loops of a row kernel on the CPU.
pub(in crate::lower) struct Walk<'a> {
    rows: &'a Rows,
    kept: Vec<Axis>,
    reduced: Vec<Axis>,
    mode: FoldMode,
    /// Instructions of one element of the row, in all passes.
    n_insts: usize,
    /// Elements it loads.
    n_loads: usize,
}

impl<'a> Walk<'a> {
    /// One row after the other, element by element.
    pub(in crate::lower) fn scalar(rows: &'a Rows, kept: Vec<Axis>, reduced: Vec<Axis>, n_insts: usize) -> Self {
        Self { rows, kept, reduced, mode: FoldMode::Scalar, n_insts, n_loads: 0 }
    }

    /// How rows are walked, and how their elements are laid over accumulators.
    pub(super) fn plan(planner: &Planner<'_>, rows: &'a Rows) -> Eval<Self> {
        let ranges = rows.ranges();
        let (trace, n_insts) = rows.trace(planner)?;
        let kept = merge(&trace, &rows.kept, &ranges);
        let reduced = merge(&trace, &rows.reduced, &ranges);
        let mut walk = Self::scalar(rows, kept, reduced, n_insts);
        walk.n_loads = trace.loads.len();
        walk.choose_mode(planner)?;
        Ok(walk)
    }

    pub(super) fn schedule(&self, tasks: u64) -> RowSchedule {
        RowSchedule {
            fold: self.mode,
            rows: self.rows.n_rows,
            len: self.rows.len,
            passes: self.rows.passes.len() as u32,
            kept: self.rows.passes.iter().map(|pass| self.kept_values(pass).len() as u32).sum(),
            tasks,
        }
    }

    /// Row number `at`.
    pub(in crate::lower) fn row_at(&self, cx: &mut Cx<'_>, at: &Index) -> Eval {
        cx.set_space(self.rows.ranges().iter().copied());
        unflatten(cx, &self.kept, at);
        self.row(cx)
    }

    fn lanes(&self) -> u16 {
        if self.mode == FoldMode::Scalar { 1 } else { LANES }
    }

    /// Vectors along the row if its elements lie innermost, across rows if rows do, where the lanes' addresses allow.
    fn choose_mode(&mut self, planner: &Planner<'_>) -> Eval {
        let rank = self.rows.extents.len();
        let innermost = (0..rank).rev().find(|&dim| self.rows.extents[dim] != 1);
        let row_is_innermost = innermost.is_none_or(|dim| self.rows.reduced.contains(&dim));
        // Lanes must not wrap from one run of the row to the next.
        let whole_vectors =
            self.reduced.len() <= 1 || self.reduced.last().is_some_and(|axis| axis.extent % FOLD_LANES == 0);
        let candidate = match row_is_innermost {
            true if whole_vectors => (FoldMode::Lanes, self.reduced.last()),
            true => return Ok(()),
            false => (FoldMode::Columns, self.kept.last()),
        };
        let (mode, axis) = candidate;
        let axis = axis.cloned();
        let prepare = |cx: &mut Cx<'_>| {
            (cx.lanes, cx.active) = (LANES, LANES);
            if let Some(axis) = &axis {
                axis.bind(cx, &Index::constant(0), 1);
            }
        };
        match self.rows.probe(planner, &prepare, &mut |_, _| {}) {
            Ok(()) => self.mode = mode,
            Err(Stop::Scalar) => {}
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// One task a row, or a block of 16 rows side by side.
    pub(super) fn tasks<'t, 'r>(&'t self) -> Vec<Task<'t, 'r>> {
        let row_ns = self.rows.len as f64 * element_ns(self.n_insts, 4 * self.n_loads, self.lanes()) + 30.0;
        let ranges = self.rows.ranges();
        let mut tasks: Vec<Task<'t, 'r>> = Vec::new();
        if self.mode == FoldMode::Columns {
            let (columns, outer) = self.kept.split_last().expect("rows side by side have a dimension");
            let n_outer = count(outer);
            let (whole, rest) = (columns.extent / u64::from(LANES), (columns.extent % u64::from(LANES)) as u16);
            let mut add = |blocks: u64, first: u64, active: u16| {
                let ranges = ranges.clone();
                tasks.push(Task {
                    count: n_outer * blocks,
                    ns: row_ns * f64::from(LANES),
                    body: Box::new(move |cx, at| {
                        cx.set_space(ranges.iter().copied());
                        let blocks = Axis { dims: columns.dims.clone(), first: 0, extent: blocks };
                        let (at, block) = split_last_digit(cx, &at, n_outer, blocks.extent);
                        unflatten(cx, outer, &at);
                        let position = Index::constant(first as i64).plus_scaled(&block, i64::from(LANES));
                        columns.bind(cx, &position, 1);
                        (cx.lanes, cx.active) = (LANES, active);
                        self.row(cx)
                    }),
                });
            };
            if whole > 0 {
                add(whole, 0, LANES);
            }
            if rest > 0 {
                add(1, whole * u64::from(LANES), rest);
            }
        } else {
            tasks.push(Task {
                count: count(&self.kept),
                ns: row_ns,
                body: Box::new(move |cx, at| {
                    cx.set_space(ranges.iter().copied());
                    unflatten(cx, &self.kept, &at);
                    self.row(cx)
                }),
            });
        }
        tasks
    }

    fn layout(&self) -> Layout {
        match self.mode {
            FoldMode::Lanes => Layout::Lanes,
            _ => Layout::Slots { count: self.rows.len.clamp(1, FOLD_LANES), lanes: self.lanes() },
        }
    }

    /// All passes over one row (or one block of rows side by side).
    fn row(&self, cx: &mut Cx<'_>) -> Eval {
        let len = self.rows.len;
        for (idx, pass) in self.rows.passes.iter().enumerate() {
            cx.phase = idx as u32;
            let layout = self.layout();
            let folds: Vec<Fold> = pass
                .reduces
                .iter()
                .map(|&value| {
                    let Op::Reduce(attrs) = cx.region.op(value) else { unreachable!("the group holds reductions") };
                    Fold::declare(cx, value, attrs.kind, len, layout)
                })
                .collect();
            for fold in &folds {
                fold.init(cx);
            }
            let kept: Vec<(Value, BufferId)> =
                self.kept_values(pass).iter().map(|&value| (value, self.keep_buffer(cx, value))).collect();
            let roots = self.rows.roots(cx, pass)?;
            cx.hoist(&roots)?;
            self.elements(cx, &mut |cx, slot| {
                let operands = self.rows.evaluate_pass(cx, pass)?;
                let position = self.rows.position(cx);
                for (fold, operand) in folds.iter().zip(operands) {
                    fold.step(cx, operand, &position, slot, cx.active);
                }
                for &(value, buffer) in &kept {
                    self.keep(cx, value, buffer, &position)?;
                }
                Ok(())
            })?;
            for fold in &folds {
                let coords = self.rows.row_coords(cx, fold.value)?;
                let reg = fold.finish(cx, len);
                cx.set_source(fold.value, Source::Reg { coords, reg });
            }
            for (value, buffer) in kept {
                self.use_kept(cx, value, buffer)?;
            }
        }
        self.rows.store_rows(cx)
    }

    /// What the pass keeps; blocks of 16 long rows would not fit the L1 cache.
    fn kept_values<'p>(&self, pass: &'p Pass) -> &'p [Value] {
        const MAX_BLOCK: u64 = 4096;
        let fits = self.mode != FoldMode::Columns || self.rows.len * u64::from(LANES) <= MAX_BLOCK;
        if fits { &pass.keep } else { &[] }
    }

    fn keep_buffer(&self, cx: &mut Cx<'_>, value: Value) -> BufferId {
        let dtype = memory_type(Ty::of(cx.region.dtype(value)));
        let lanes = if self.mode == FoldMode::Columns { u64::from(LANES) } else { 1 };
        cx.scratch(&format!("kept{}", value.0), dtype, (self.rows.len * lanes) as usize, Space::Local)
    }

    /// Where the current element is kept.
    fn kept_index(&self, cx: &Cx<'_>, position: &Affine) -> (Index, i64) {
        match self.mode {
            FoldMode::Columns => {
                let (index, _) = cx.resolve(position);
                (Index::default().plus_scaled(&index, i64::from(LANES)), 1)
            }
            _ => cx.resolve(position),
        }
    }

    fn keep(&self, cx: &mut Cx<'_>, value: Value, buffer: BufferId, position: &Affine) -> Eval {
        let coords = self.rows.full_coords(cx, value)?;
        let reg = cx.eval(value, &coords)?;
        let (index, lane_stride) = self.kept_index(cx, position);
        let reg = cx.promote(reg, self.lanes());
        cx.b.store(buffer, index, lane_stride.max(1), cx.active, reg);
        Ok(())
    }

    /// From here on the value is read back.
    fn use_kept(&self, cx: &mut Cx<'_>, value: Value, buffer: BufferId) -> Eval {
        let coords = self.rows.full_coords(cx, value)?;
        let position = self.rows.position(cx);
        let scale = if self.mode == FoldMode::Columns { i64::from(LANES) } else { 1 };
        cx.set_source(value, Source::Kept { coords, buffer, position, scale });
        Ok(())
    }

    /// Walks the row; `body` gets the number of the accumulator its element belongs to.
    fn elements(&self, cx: &mut Cx<'_>, body: &mut dyn FnMut(&mut Cx<'_>, &Index) -> Eval) -> Eval {
        if self.rows.len == 0 {
            return Ok(());
        }
        let Some((innermost, outer)) = self.reduced.split_last() else {
            return cx.scoped(|cx| {
                if self.mode == FoldMode::Lanes {
                    (cx.lanes, cx.active) = (LANES, 1);
                }
                body(cx, &Index::constant(0))
            });
        };
        self.outer_elements(cx, outer, innermost, body)
    }

    fn outer_elements(
        &self,
        cx: &mut Cx<'_>,
        outer: &[Axis],
        innermost: &Axis,
        body: &mut dyn FnMut(&mut Cx<'_>, &Index) -> Eval,
    ) -> Eval {
        if let Some((axis, rest)) = outer.split_first() {
            return cx.for_loop(axis.extent, LoopKind::Serial, |cx, at| {
                axis.bind(cx, &at, 0);
                self.outer_elements(cx, rest, innermost, body)
            });
        }
        let extent = innermost.extent;
        if self.mode == FoldMode::Lanes {
            return cx.vector_loop(extent, LANES, |cx, at| {
                innermost.bind(cx, &at, 1);
                body(cx, &Index::constant(0))
            });
        }
        if self.reduced.len() > 1 {
            // Runs need not start at a multiple of 16: the accumulator's number is computed.
            return cx.for_loop(extent, LoopKind::Serial, |cx, at| {
                innermost.bind(cx, &at, 0);
                let (position, _) = cx.resolve(&self.rows.position(cx));
                let position = cx.index_reg(&position);
                let mask = cx.b.const_i64(Ty::I64, 1, FOLD_LANES as i64 - 1);
                let slot = cx.b.binary(BinOp::And, position, mask);
                body(cx, &Index::term(slot, 1))
            });
        }
        let kind = if self.n_insts <= MAX_UNROLLED { LoopKind::Unrolled } else { LoopKind::Serial };
        let (whole, rest) = (extent / FOLD_LANES, extent % FOLD_LANES);
        cx.for_loop(whole, LoopKind::Serial, |cx, at| {
            let base = Index::default().plus_scaled(&at, FOLD_LANES as i64);
            cx.for_loop(FOLD_LANES, kind, |cx, slot| {
                innermost.bind(cx, &slot.clone().plus_scaled(&base, 1), 0);
                body(cx, &slot)
            })
        })?;
        cx.for_loop(rest, kind, |cx, slot| {
            innermost.bind(cx, &slot.clone().plus_const((whole * FOLD_LANES) as i64), 0);
            body(cx, &slot)
        })
    }
}
