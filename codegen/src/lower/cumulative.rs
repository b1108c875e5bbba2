//! Running folds: one chain along a dimension, element by element.
//!
//! The chain itself cannot be cut, so the other dimensions are what runs side by side: 16 rows along a vector (whose
//! lanes lie apart if the chain runs along the innermost dimension), blocks of rows as tasks, one row a thread of a GPU.

use nnc_ir::Value;
use nnc_ir::ops::{CompareDir, CumulativeAttrs, Op};

use super::affine::{Affine, dense_strides, dot};
use super::cx::{Cx, Eval, Stop};
use super::elementwise::identity;
use super::fold::{fold_op, memory_type};
use super::nest::{Axis, Split, Task, count, dispatch, merge, unflatten};
use super::pointwise::{LANES, split_last_digit};
use super::{Built, Out, Planner};
use crate::kernel::{BinOp, BufferId, Index, LoopKind, Space, Ty};
use crate::schedule::{CumulativeSchedule, KernelSchedule, element_ns};

/// Threads of a GPU block.
const GPU_THREADS: u64 = 128;

/// Time of one step of a chain: it waits for the step before.
const STEP_NS: f64 = 1.5;

/// Lowers a `cumulative` to one kernel.
pub(super) fn lower<'r>(planner: &Planner<'r>, out: Out) -> Eval<Built<'r>> {
    let region = planner.region;
    let Op::Cumulative(attrs) = region.op(out.value) else { unreachable!("the planner gives running folds") };
    let (mut cx, buffers) = planner.start("cumulative", &[out]);
    let extents = region.shape(out.value);
    let ranges: Vec<(i64, i64)> = extents.iter().map(|&extent| (0, extent as i64)).collect();
    let mut chain = Chain {
        attrs,
        op: fold_op(attrs.kind).expect("infer refuses kinds that fold positions"),
        value: out.value,
        buffer: buffers[0],
        axes: Vec::new(),
        lanes: 1,
        step_ns: 0.0,
        ranges,
    };
    let probed = chain.probe(planner, None)?;
    let others: Vec<usize> = (0..extents.len()).filter(|&dim| dim != attrs.dim).collect();
    chain.axes = merge(&probed.trace, &others, &chain.ranges);
    chain.step_ns = element_ns(probed.b.kernel().regs.len(), region.dtype(out.value).size() * 2, 1).max(STEP_NS);
    let split = if planner.target.is_gpu() {
        chain.gpu(&mut cx)?;
        Split { extent: 1, chunk: 1 }
    } else {
        if let Some(axis) = chain.axes.last() {
            chain.lanes = match chain.probe(planner, Some(axis)) {
                Ok(_) => LANES,
                Err(Stop::Scalar) => 1,
                Err(other) => return Err(other),
            };
        }
        let tasks = chain.tasks();
        dispatch(&mut cx, tasks)?
    };
    let schedule = CumulativeSchedule {
        rows: count(&chain.axes),
        len: extents[attrs.dim] as u64,
        lanes: chain.lanes,
        tasks: split.extent,
    };
    Ok(Built { cx, split, schedule: KernelSchedule::Cumulative(schedule) })
}

/// A running fold and how its rows are laid over loops.
struct Chain<'a> {
    attrs: &'a CumulativeAttrs,
    op: BinOp,
    value: Value,
    buffer: BufferId,
    ranges: Vec<(i64, i64)>,
    /// The other dimensions, merged; the last axis runs along vectors.
    axes: Vec<Axis>,
    lanes: u16,
    /// Estimated time of one step of a vector of chains.
    step_ns: f64,
}

impl Chain<'_> {
    /// Evaluates one step in a throw-away context.
    fn probe<'r>(&self, planner: &Planner<'r>, vector: Option<&Axis>) -> Eval<Cx<'r>> {
        let mut cx = planner.probe(&self.ranges);
        if let Some(axis) = vector {
            (cx.lanes, cx.active) = (LANES, LANES);
            axis.bind(&mut cx, &Index::constant(0), 1);
        }
        let operand = cx.region.operands(self.value)[0];
        let coords = cx.coords();
        let x = cx.eval(operand, &coords)?;
        cx.store(self.buffer, dot(&coords, &dense_strides(cx.region.shape(self.value))), x);
        Ok(cx)
    }

    /// Blocks of rows side by side.
    fn tasks<'t, 'r>(&'t self) -> Vec<Task<'t, 'r>> {
        let ns = self.ranges[self.attrs.dim].1 as f64 * self.step_ns;
        let Some((columns, outer)) = self.axes.split_last().filter(|_| self.lanes != 1) else {
            let body = move |cx: &mut Cx<'r>, at: Index| {
                cx.set_space(self.ranges.iter().copied());
                unflatten(cx, &self.axes, &at);
                self.row(cx, 1)
            };
            return vec![Task { count: count(&self.axes), ns, body: Box::new(body) }];
        };
        let n_outer = count(outer);
        let lanes = u64::from(self.lanes);
        let (whole, rest) = (columns.extent / lanes, (columns.extent % lanes) as u16);
        let mut tasks: Vec<Task<'t, 'r>> = Vec::new();
        for (blocks, first, active) in [(whole, 0, self.lanes), (u64::from(rest > 0), whole * lanes, rest)] {
            if blocks == 0 {
                continue;
            }
            let body = move |cx: &mut Cx<'r>, at: Index| {
                cx.set_space(self.ranges.iter().copied());
                let (at, block) = split_last_digit(cx, &at, n_outer, blocks);
                unflatten(cx, outer, &at);
                columns.bind(cx, &Index::constant(first as i64).plus_scaled(&block, lanes as i64), 1);
                (cx.lanes, cx.active) = (self.lanes, active);
                self.row(cx, self.lanes)
            };
            // A vector step is a handful of instructions for each of its strided lanes.
            let ns = ns * f64::from(active).max(4.0) / 4.0;
            tasks.push(Task { count: n_outer * blocks, ns, body: Box::new(body) });
        }
        tasks
    }

    fn gpu(&self, cx: &mut Cx<'_>) -> Eval {
        let n_rows = count(&self.axes);
        let threads = n_rows.clamp(1, GPU_THREADS);
        cx.for_loop(n_rows.div_ceil(threads), LoopKind::Grid(0), |cx, block| {
            cx.for_loop(threads, LoopKind::Thread(0), |cx, thread| {
                let at = thread.plus_scaled(&block, threads as i64);
                let position = cx.index_reg(&at);
                let end = cx.b.const_i64(Ty::I64, 1, n_rows as i64);
                let exists = cx.b.compare(CompareDir::Lt, position, end);
                cx.if_then(exists, |cx| {
                    cx.set_space(self.ranges.iter().copied());
                    unflatten(cx, &self.axes, &at);
                    self.row(cx, 1)
                })
            })
        })
    }

    /// The chains of one row, or of a vector of rows.
    fn row(&self, cx: &mut Cx<'_>, lanes: u16) -> Eval {
        let region = cx.region;
        let (dtype, operand) = (region.dtype(self.value), region.operands(self.value)[0]);
        let (ty, dim) = (Ty::of(dtype), self.attrs.dim);
        let acc = cx.scratch("acc", memory_type(ty), usize::from(lanes), Space::Local);
        let first = identity(&mut cx.b, self.op, dtype, ty, lanes);
        cx.b.store(acc, Index::constant(0), 1, lanes, first);
        let extent = self.ranges[dim].1;
        cx.for_loop(extent as u64, LoopKind::Serial, |cx, at| {
            let at = match self.attrs.reverse {
                true => Index::constant(extent - 1).plus_scaled(&at, -1),
                false => at,
            };
            cx.bind(dim, at, 0);
            let coords: Vec<Affine> = cx.coords();
            let x = cx.eval(operand, &coords)?;
            let x = cx.promote(x, lanes);
            let before = cx.b.load(acc, Index::constant(0), 1, lanes, lanes);
            let next = cx.b.binary(self.op, before, x);
            cx.b.store(acc, Index::constant(0), 1, lanes, next);
            let rounded = cx.b.narrow(dtype, next);
            cx.store(self.buffer, dot(&coords, &dense_strides(region.shape(self.value))), rounded);
            Ok(())
        })
    }
}
