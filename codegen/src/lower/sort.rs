//! Sorting: the keys of a row become integers in the order of the keys, are sorted together with their positions, and
//! the positions then say where each element of each input comes from.
//!
//! A key and its position are ordered by key, then by position, so no two are equal and the outcome is that of a
//! stable sort whatever compares them. What compares them is a network ([`network`]): it does the same comparisons for
//! every row, many side by side. A CPU task sorts one row, along vectors; a block of a GPU sorts one row, its threads
//! meeting after every step, in shared memory if the row fits.

use nnc_ir::Value;
use nnc_ir::ops::{CompareDir, Op, SortAttrs};

use super::affine::{dense_strides, dot};
use super::cx::{Cx, Eval, Stop};
use super::nest::{Axis, Split, Task, dispatch, unflatten};
use super::pointwise::LANES;
use super::{Built, Out, Planner};
use crate::kernel::{BinOp, BufferId, Index, LoopKind, Reg, Space, Stmt, Ty, UnOp};
use crate::schedule::{KernelSchedule, SortSchedule};

mod network;
mod pairs;

use network::{Network, Step};
use pairs::Pairs;

/// Longest row that a CPU task keeps in scratch of its own; longer ones have a place in memory.
const MAX_LOCAL: usize = 4096;

/// Longest row that a GPU block keeps in shared memory.
const MAX_SHARED: usize = 2048;

/// Lanes of comparisons: words of 64 bits fill a vector sooner.
const PAIR_LANES: u16 = 8;

/// Steps of a network that are written out one by one; of a longer one each kind stands once, in a loop over stages.
const MAX_WRITTEN_OUT: usize = 10;

/// Threads of a GPU block.
const GPU_THREADS: u64 = 256;

/// Time of one vector comparison and exchange, and of moving one element.
const EXCHANGE_NS: f64 = 12.0;
const MOVE_NS: f64 = 3.0;

/// Lowers the results of one `sort` that are among `outs` to one kernel.
pub(super) fn lower<'r>(planner: &mut Planner<'r>, outs: &[Out]) -> Eval<Built<'r>> {
    let region = planner.region;
    let Op::Sort(attrs) = region.op(outs[0].value) else { unreachable!("the planner gives sorts") };
    let key = region.operands(outs[0].value)[0];
    let extents = region.shape(key).to_vec();
    let len = extents[attrs.dim];
    if i32::try_from(len).is_err() {
        return Err(Stop::Unsupported(format!("sort of {len} elements, expected at most {}", i32::MAX)));
    }
    let is_packed = !Ty::of(region.dtype(key)).is_wide();
    let is_gpu = planner.target.is_gpu();
    let is_local = len <= if is_gpu { MAX_SHARED } else { MAX_LOCAL };
    let n_rows: usize = extents.iter().enumerate().filter(|&(dim, _)| dim != attrs.dim).map(|(_, &n)| n).product();
    let mut scratch = Vec::new();
    if !is_local {
        for dtype in Pairs::dtypes(is_packed) {
            let arg = planner.new_scratch((n_rows * len * dtype.size()) as u64);
            scratch.push((arg, dtype, n_rows * len));
        }
    }
    let (mut cx, buffers) = planner.start_with("sort", outs, &scratch);
    let (results, memory) = buffers.split_at(outs.len());
    let space = if is_gpu { Space::Shared } else { Space::Local };
    let pairs = if is_local { Pairs::declare(&mut cx, is_packed, len, space) } else { Pairs::of(memory) };
    let sort = Sort {
        attrs,
        key,
        outs: outs.iter().map(|out| out.value).zip(results.iter().copied()).collect(),
        ranges: extents.iter().map(|&extent| (0, extent as i64)).collect(),
        pairs,
        row_stride: if is_local { 0 } else { len as i64 },
        lanes: if is_gpu { 1 } else { lanes(planner, attrs, key, &extents)? },
        n_rows: n_rows as u64,
        len: len as u64,
    };
    let split = match is_gpu {
        true => sort.gpu(&mut cx)?,
        false => sort.cpu(&mut cx)?,
    };
    let schedule = SortSchedule { rows: sort.n_rows, len: sort.len, is_local, tasks: split.extent };
    Ok(Built { cx, split, schedule: KernelSchedule::Sort(schedule) })
}

/// Whether keys can be read a vector at a time.
fn lanes(planner: &Planner<'_>, attrs: &SortAttrs, key: Value, extents: &[usize]) -> Eval<u16> {
    let ranges: Vec<(i64, i64)> = extents.iter().map(|&extent| (0, extent as i64)).collect();
    let mut cx = planner.probe(&ranges);
    (cx.lanes, cx.active) = (LANES, LANES);
    cx.bind(attrs.dim, Index::constant(0), 1);
    let coords = cx.coords();
    match cx.eval(key, &coords) {
        Ok(_) => Ok(LANES),
        Err(Stop::Scalar) => Ok(1),
        Err(other) => Err(other),
    }
}

struct Sort<'a> {
    attrs: &'a SortAttrs,
    key: Value,
    outs: Vec<(Value, BufferId)>,
    ranges: Vec<(i64, i64)>,
    pairs: Pairs,
    /// Distance between the rows' pairs; 0 if each task has its own.
    row_stride: i64,
    /// Lanes of the loop that reads the keys.
    lanes: u16,
    n_rows: u64,
    len: u64,
}

impl Sort<'_> {
    /// Binds the dimensions that number the rows to row `at`, and gives where the row's pairs begin.
    fn enter_row(&self, cx: &mut Cx<'_>, at: &Index) -> Index {
        cx.set_space(self.ranges.iter().copied());
        let axes: Vec<Axis> = (0..self.ranges.len())
            .filter(|&dim| dim != self.attrs.dim && self.ranges[dim].1 > 1)
            .map(|dim| Axis { dims: vec![dim], first: 0, extent: self.ranges[dim].1 as u64 })
            .collect();
        unflatten(cx, &axes, at);
        Index::default().plus_scaled(at, self.row_stride)
    }

    /// One task a row.
    fn cpu(&self, cx: &mut Cx<'_>) -> Eval<Split> {
        let network = Network::new(self.len);
        let n_exchanges: u64 = network.steps().map(|step| step.blocks * step.distance + step.rest).sum();
        let ns = EXCHANGE_NS * n_exchanges as f64 / f64::from(PAIR_LANES)
            + MOVE_NS * (self.len * (1 + self.outs.len() as u64)) as f64;
        let body = |cx: &mut Cx<'_>, at: Index| {
            let base = self.enter_row(cx, &at);
            cx.vector_loop(self.len, self.lanes, |cx, at| self.read(cx, &base, at))?;
            self.compare(cx, &base, &network)?;
            cx.for_loop(self.len, LoopKind::Serial, |cx, at| self.write(cx, &base, at))
        };
        dispatch(cx, vec![Task { count: self.n_rows, ns, body: Box::new(body) }])
    }

    /// Stores the pairs of the elements from position `at` on.
    fn read(&self, cx: &mut Cx<'_>, base: &Index, at: Index) -> Eval {
        cx.bind(self.attrs.dim, at.clone(), i64::from(cx.lanes != 1));
        let coords = cx.coords();
        let key = cx.eval(self.key, &coords)?;
        let lanes = cx.lanes;
        let key = cx.promote(key, lanes);
        let key = sortable(cx, key, self.attrs.descending);
        let position = cx.coord_reg(&cx.coord(self.attrs.dim), Ty::I64);
        let position = cx.promote(position, lanes);
        self.pairs.put(cx, key, position, base.clone().plus_scaled(&at, 1));
        Ok(())
    }

    /// Stores the elements that belong at position `at`.
    fn write(&self, cx: &mut Cx<'_>, base: &Index, at: Index) -> Eval {
        let dim = self.attrs.dim;
        let from = self.pairs.position(cx, base.clone().plus_scaled(&at, 1));
        let from = cx.reg_coord(from, (0, self.len as i64 - 1));
        cx.bind(dim, at, 0);
        let to = cx.coords();
        let mut source = to.clone();
        source[dim] = from;
        let region = cx.region;
        let strides = dense_strides(region.shape(self.key));
        for &(value, buffer) in &self.outs {
            let number = region.graph.value(value).result_idx as usize;
            let element = cx.eval(region.operands(value)[number], &source)?;
            cx.store(buffer, dot(&to, &strides), element);
        }
        Ok(())
    }

    /// The network, along vectors.
    fn compare(&self, cx: &mut Cx<'_>, base: &Index, network: &Network) -> Eval {
        if network.steps().count() <= MAX_WRITTEN_OUT {
            return network.steps().try_for_each(|step| self.step(cx, base, step));
        }
        let n_stages = network.merges.len() as u64;
        cx.for_loop(n_stages, LoopKind::Serial, |cx, stage| {
            let stage = cx.index_reg(&stage);
            let where_stage = |cx: &mut Cx<'_>, dir: CompareDir, number: usize, step: &Step| {
                let number = cx.b.const_i64(Ty::I64, 1, number as i64);
                let takes_place = cx.b.compare(dir, stage, number);
                cx.if_then(takes_place, |cx| self.step(cx, base, step))
            };
            for (number, merge) in network.merges.iter().enumerate() {
                where_stage(cx, CompareDir::Eq, number, merge)?;
            }
            for (number, half) in network.halves.iter().enumerate().rev() {
                where_stage(cx, CompareDir::Gt, number, half)?;
            }
            Ok(())
        })
    }

    /// One step of the network, along vectors.
    fn step(&self, cx: &mut Cx<'_>, base: &Index, step: &Step) -> Eval {
        let block = 2 * step.distance as i64;
        let sign = if step.mirrored { -1 } else { 1 };
        let first_high = if step.mirrored { block - 1 } else { step.distance as i64 };
        // Comparison `at` of the block at `origin`, and those beside it `lane` elements apart.
        let exchange = |cx: &mut Cx<'_>, origin: &Index, at: &Index, (low_lane, high_lane): (i64, i64)| {
            let low = origin.clone().plus_scaled(at, 1);
            let high = origin.clone().plus_const(first_high).plus_scaled(at, sign);
            self.pairs.exchange(cx, (low, low_lane), (high, high_lane));
            Ok(())
        };
        if step.distance >= u64::from(PAIR_LANES) {
            cx.for_loop(step.blocks, LoopKind::Serial, |cx, number| {
                let origin = base.clone().plus_scaled(&number, block);
                pair_loop(cx, step.distance, |cx, at| exchange(cx, &origin, &at, (1, sign)))
            })?;
        } else {
            // Short blocks: lanes run over blocks.
            cx.for_loop(step.distance, LoopKind::Serial, |cx, at| {
                pair_loop(cx, step.blocks, |cx, number| {
                    exchange(cx, &base.clone().plus_scaled(&number, block), &at, (block, block))
                })
            })?;
        }
        // What the last, incomplete block has of pairs.
        let origin = base.clone().plus_const(step.blocks as i64 * block);
        pair_loop(cx, step.rest, |cx, at| exchange(cx, &origin, &at.plus_const(step.skipped as i64), (1, sign)))
    }

    /// One block a row.
    fn gpu(&self, cx: &mut Cx<'_>) -> Eval<Split> {
        let threads = (self.len / 2).next_power_of_two().clamp(1, GPU_THREADS);
        cx.for_loop(self.n_rows, LoopKind::Grid(0), |cx, row| {
            cx.for_loop(threads, LoopKind::Thread(0), |cx, thread| {
                let base = self.enter_row(cx, &row);
                spread(cx, &thread, threads, self.len, &mut |cx, at| self.read(cx, &base, at))?;
                for step in Network::new(self.len).steps() {
                    cx.b.push(Stmt::Barrier);
                    let count = step.blocks * step.distance + step.rest;
                    spread(cx, &thread, threads, count, &mut |cx, at| self.step_at(cx, &base, step, &at))?;
                }
                cx.b.push(Stmt::Barrier);
                spread(cx, &thread, threads, self.len, &mut |cx, at| self.write(cx, &base, at))
            })
        })?;
        Ok(Split { extent: 1, chunk: 1 })
    }

    /// Exchange number `at` of a step.
    fn step_at(&self, cx: &mut Cx<'_>, base: &Index, step: &Step, at: &Index) -> Eval {
        let number = cx.index_reg(at);
        let distance = cx.b.const_i64(Ty::I64, 1, step.distance as i64);
        let (block, within) = (cx.b.div(number, distance), cx.b.binary(BinOp::Rem, number, distance));
        let mut within = Index::term(within, 1);
        if step.skipped > 0 {
            // The pairs of the last block begin later.
            let last = cx.b.const_i64(Ty::I64, 1, step.blocks as i64);
            let is_last = cx.b.compare(CompareDir::Ge, block, last);
            let (skipped, none) = (cx.b.const_i64(Ty::I64, 1, step.skipped as i64), cx.b.const_i64(Ty::I64, 1, 0));
            within = within.plus(cx.b.select(is_last, skipped, none), 1);
        }
        let origin = base.clone().plus(block, 2 * step.distance as i64);
        let low = origin.clone().plus_scaled(&within, 1);
        let high = match step.mirrored {
            true => origin.plus_const(2 * step.distance as i64 - 1).plus_scaled(&within, -1),
            false => origin.plus_const(step.distance as i64).plus_scaled(&within, 1),
        };
        self.pairs.exchange(cx, (low, 1), (high, 1));
        Ok(())
    }
}

/// `count` comparisons, by vectors and then one by one.
fn pair_loop<'r>(cx: &mut Cx<'r>, count: u64, mut body: impl FnMut(&mut Cx<'r>, Index) -> Eval) -> Eval {
    let whole = count - count % u64::from(PAIR_LANES);
    cx.vector_loop(whole, PAIR_LANES, &mut body)?;
    cx.for_loop(count - whole, LoopKind::Serial, |cx, at| {
        (cx.lanes, cx.active) = (1, 1);
        body(cx, at.plus_const(whole as i64))
    })
}

/// `count` iterations dealt out to the threads of a block.
fn spread<'r>(
    cx: &mut Cx<'r>,
    thread: &Index,
    threads: u64,
    count: u64,
    body: &mut dyn FnMut(&mut Cx<'r>, Index) -> Eval,
) -> Eval {
    let (whole, rest) = (count / threads, count % threads);
    cx.for_loop(whole, LoopKind::Serial, |cx, round| body(cx, thread.clone().plus_scaled(&round, threads as i64)))?;
    if rest == 0 {
        return Ok(());
    }
    let position = cx.index_reg(thread);
    let end = cx.b.const_i64(Ty::I64, 1, rest as i64);
    let takes_part = cx.b.compare(CompareDir::Lt, position, end);
    cx.if_then(takes_part, |cx| body(cx, thread.clone().plus_const((whole * threads) as i64)))
}

/// A key as a signed `i64` of the same order: of 32 bits unless the key has 64. The two zeros are one, a NaN is above
/// all else.
fn sortable(cx: &mut Cx<'_>, key: Reg, descending: bool) -> Reg {
    let b = &mut cx.b;
    let ty = b.reg_type(key);
    let lanes = ty.lanes;
    let wide = match ty.ty {
        Ty::F32 | Ty::F64 => {
            let int = if ty.ty == Ty::F32 { Ty::I32 } else { Ty::I64 };
            // -0 + 0 is 0.
            let zero = b.const_f64(ty.ty, lanes, 0.0);
            let key = b.add(key, zero);
            let nan = b.const_f64(ty.ty, lanes, f64::NAN);
            let is_nan = b.compare(CompareDir::Ne, key, key);
            let key = b.select(is_nan, nan, key);
            // Negative numbers are ordered by decreasing magnitude.
            let bits = b.bitcast(int, key);
            let width = if int == Ty::I32 { 31 } else { 63 };
            let width = b.const_i64(int, lanes, width);
            let sign = b.binary(BinOp::ShrArithmetic, bits, width);
            let magnitude = b.const_i64(int, lanes, if int == Ty::I32 { i64::from(i32::MAX) } else { i64::MAX });
            let flips = b.binary(BinOp::And, sign, magnitude);
            let ordered = b.binary(BinOp::Xor, bits, flips);
            b.cast(Ty::I64, ordered)
        }
        Ty::U32 => {
            let wide = b.cast(Ty::I64, key);
            let middle = b.const_i64(Ty::I64, lanes, 1 << 31);
            b.sub(wide, middle)
        }
        Ty::U64 => {
            let (word, top) = (b.cast(Ty::I64, key), b.const_i64(Ty::I64, lanes, i64::MIN));
            b.binary(BinOp::Xor, word, top)
        }
        Ty::Bool | Ty::I32 | Ty::I64 => b.cast(Ty::I64, key),
    };
    if descending { b.unary(UnOp::Not, wide) } else { wide }
}
