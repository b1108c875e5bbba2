//! Row kernels: reductions over the same dimensions together with what surrounds them.
//!
//! The iteration space is the shape of the reduced values: its reduced dimensions are a *row*, its other dimensions
//! number the rows. Reductions that need other reductions (softmax: the sum needs the maximum) come in levels, each a
//! pass over the row; results of the full shape are stored in the first pass that has all they need. Values are
//! computed again in every pass that uses them, unless they are expensive and the row is short: then they are kept.
//!
//! Rows run along vectors if their elements lie side by side ([`crate::schedule::FoldMode::Lanes`]). If instead the rows lie side by
//! side (sums over the leading dimensions), a vector holds elements of 16 rows ([`crate::schedule::FoldMode::Columns`]).

use std::collections::HashMap;

use nnc_ir::Value;
use nnc_ir::ops::{Op, ReduceAttrs};

use super::affine::{Affine, dense_strides, dot};
use super::cx::{Cx, Eval, Source, Stop, Trace};
use super::nest::dispatch;
use super::pointwise::Nest;
use super::{Built, Out, Planner, pointwise};
use crate::kernel::{BufferId, Reg, Ty};
use crate::schedule::KernelSchedule;

mod walk;

pub(super) use walk::Walk;

/// Longest row whose expensive values are kept, in elements: to read one from the L2 cache takes less than an exponential.
const MAX_KEPT: u64 = 16 * 1024;

/// What a row kernel computes.
pub(super) struct Rows {
    /// Extents of the iteration space, and which of its dimensions are reduced.
    pub(super) extents: Vec<usize>,
    pub(super) reduced: Vec<usize>,
    pub(super) kept: Vec<usize>,
    pub(super) n_rows: u64,
    pub(super) len: u64,
    /// The passes; the last one may have no reductions.
    pub(super) passes: Vec<Pass>,
    /// Results of one element a row.
    pub(super) row_outs: Vec<(Value, BufferId)>,
}

/// One walk over a row.
#[derive(Clone, Default)]
pub(super) struct Pass {
    pub(super) reduces: Vec<Value>,
    pub(super) outs: Vec<(Value, BufferId)>,
    /// Values to keep for later passes.
    pub(super) keep: Vec<Value>,
}

/// Lowers as many of `outs` as one kernel can: the results around the first reduction's rows, and beside them (on the
/// CPU) independent ones with rows of their own, or with none.
pub(super) fn lower<'r>(planner: &mut Planner<'r>, reduces: &[Value], outs: &[Out]) -> Eval<(Built<'r>, Vec<Out>)> {
    let (cx, buffers) = planner.start("row", outs);
    let mut open: Vec<(Out, BufferId)> = outs.iter().copied().zip(buffers).collect();
    let mut pending = reduces.to_vec();
    let mut done = Vec::new();
    let mut parts = Vec::new();
    while let Some(&anchor) = pending.first() {
        let (mut rows, group, taken) = Rows::plan(planner, anchor, &pending, &open);
        pending.retain(|reduce| !group.contains(reduce));
        let planned = match taken.is_empty() {
            true => Err(Stop::Materialize(last_independent(planner, &group, reduces))),
            false => rows.choose_kept(planner),
        };
        match planned {
            Ok(()) => {}
            // What is left needs results of this kernel, or values in memory: it goes into another kernel.
            Err(Stop::Materialize(_)) if !parts.is_empty() => continue,
            Err(stop) => return Err(stop),
        }
        open.retain(|(out, _)| !taken.contains(out));
        done.extend(taken);
        if planner.target.is_gpu() {
            return Ok((super::gpu::rows(planner, cx, &rows)?, done));
        }
        parts.push(rows);
    }
    let mut nests = Vec::new();
    for (out, buffer) in open {
        match pointwise::plan(planner, &[(out.value, buffer)]) {
            Ok(planned) => {
                nests.extend(planned);
                done.push(out);
            }
            Err(Stop::Materialize(_)) => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok((lower_parts(planner, cx, &parts, &nests)?, done))
}

/// One kernel of several independent parts.
fn lower_parts<'r>(planner: &Planner<'r>, mut cx: Cx<'r>, parts: &[Rows], nests: &[Nest]) -> Eval<Built<'r>> {
    let mut walks = Vec::with_capacity(parts.len());
    for rows in parts {
        walks.push(Walk::plan(planner, rows)?);
    }
    let mut tasks = Vec::new();
    let mut schedules = Vec::new();
    for walk in &walks {
        let before = tasks.len();
        tasks.extend(walk.tasks());
        let n_tasks = tasks[before..].iter().map(|task| task.count).sum();
        schedules.push(KernelSchedule::Row(walk.schedule(n_tasks)));
    }
    if !nests.is_empty() {
        let (more, schedule) = pointwise::tasks(nests);
        tasks.extend(more);
        schedules.push(KernelSchedule::Pointwise(schedule));
    }
    let split = dispatch(&mut cx, tasks)?;
    let schedule = match schedules.len() {
        1 => schedules.remove(0),
        _ => KernelSchedule::Several(schedules),
    };
    Ok(Built { cx, split, schedule })
}

pub(super) fn reduce_attrs<'r>(planner: &Planner<'r>, value: Value) -> &'r ReduceAttrs {
    match planner.region.op(value) {
        Op::Reduce(attrs) => attrs,
        op => unreachable!("{} is not a reduction", op.mnemonic()),
    }
}

/// The last reduction of `group` that needs no pending reduction but those of the group; else the first one.
fn last_independent(planner: &Planner<'_>, group: &[Value], pending: &[Value]) -> Value {
    let needs_only_group = |value: &&Value| {
        let slice = planner.region.slice(&[**value], &|value| planner.memory.contains_key(&value));
        slice.iter().all(|needed| group.contains(needed) || !pending.contains(needed))
    };
    *group.iter().rev().find(needs_only_group).unwrap_or(&group[0])
}

/// Whether the rows of `reduce` are those of a reduction of `extents` by `attrs`, without arithmetic on indices.
fn maps_onto(planner: &Planner<'_>, extents: &[usize], attrs: &ReduceAttrs, reduce: Value) -> bool {
    let operand = planner.region.shape(planner.region.operands(reduce)[0]);
    let other = &reduce_attrs(planner, reduce).dims;
    let ranges: Vec<(i64, i64)> = extents.iter().map(|&extent| (0, extent as i64)).collect();
    let cx = planner.probe(&ranges);
    [true, false].into_iter().all(|folded| {
        let from = (0..extents.len()).filter(|dim| attrs.dims.contains(dim) == folded);
        let (coords, from): (Vec<Affine>, Vec<usize>) = from.map(|dim| (cx.coord(dim), extents[dim])).unzip();
        let to: Vec<usize> =
            (0..operand.len()).filter(|dim| other.contains(dim) == folded).map(|dim| operand[dim]).collect();
        cx.reshape_affine(&coords, &from, &to).is_some()
    })
}

/// How many passes must have ended before each value is known: those of the reductions it needs.
fn levels(planner: &Planner<'_>, group: &[Value]) -> HashMap<Value, usize> {
    let mut levels: HashMap<Value, usize> = HashMap::new();
    for idx in 0..planner.region.graph.n_values() {
        let value = Value(idx as u32);
        let operands = planner.region.operands(value);
        let deepest = operands.iter().map(|operand| levels[operand]).max().unwrap_or(0);
        let deepest = if planner.memory.contains_key(&value) { 0 } else { deepest };
        levels.insert(value, deepest + usize::from(group.contains(&value)));
    }
    levels
}

impl Rows {
    /// The rows of `anchor`, the reductions over such rows, and those of `outs` that need nothing but them.
    fn plan(
        planner: &Planner<'_>,
        anchor: Value,
        reduces: &[Value],
        outs: &[(Out, BufferId)],
    ) -> (Self, Vec<Value>, Vec<Out>) {
        let region = planner.region;
        let attrs = reduce_attrs(planner, anchor);
        let extents = region.shape(region.operands(anchor)[0]).to_vec();
        let kept: Vec<usize> = (0..extents.len()).filter(|dim| !attrs.dims.contains(dim)).collect();
        let n_rows: u64 = kept.iter().map(|&dim| extents[dim] as u64).product();
        let len: u64 = attrs.dims.iter().map(|&dim| extents[dim] as u64).product();
        let fits_rows = |value: &Value| {
            let operand = region.shape(region.operands(*value)[0]);
            let folded: u64 = reduce_attrs(planner, *value).dims.iter().map(|&dim| operand[dim] as u64).product();
            folded == len && region.n_elements(*value) as u64 == n_rows && maps_onto(planner, &extents, attrs, *value)
        };
        let group: Vec<Value> = reduces.iter().copied().filter(fits_rows).collect();
        let levels = levels(planner, &group);
        let depth = group.iter().map(|reduce| levels[reduce]).max().unwrap_or(0);
        let reduced = attrs.dims.clone();
        let mut passes = vec![Pass::default(); depth + 1];
        for &reduce in &group {
            passes[levels[&reduce] - 1].reduces.push(reduce);
        }
        let mut row_outs = Vec::new();
        let mut taken = Vec::new();
        for &(out, buffer) in outs {
            let size = region.n_elements(out.value) as u64;
            let slice = region.slice(&[out.value], &|value| planner.memory.contains_key(&value));
            let is_pending = |value: &&Value| matches!(region.op(**value), Op::Reduce(_)) && reduces.contains(value);
            let needs: Vec<&Value> = slice.iter().filter(is_pending).collect();
            // What needs no reduction may have the same size by chance only.
            let shape = region.shape(out.value);
            let related = match needs.is_empty() {
                true => shape == extents || shape.iter().eq(kept.iter().map(|&dim| &extents[dim])),
                false => needs.iter().all(|reduce| group.contains(reduce)),
            };
            if !related || ![n_rows, n_rows * len].contains(&size) {
                continue;
            }
            taken.push(out);
            let level = levels[&out.value];
            if size == n_rows && (len != 1 || level > 0) {
                row_outs.push((out.value, buffer));
            } else {
                passes[level].outs.push((out.value, buffer));
            }
        }
        if passes.last().is_some_and(|pass| pass.outs.is_empty()) {
            passes.pop();
        }
        (Self { extents, reduced, kept, n_rows, len, passes, row_outs }, group, taken)
    }

    /// Index of the current element of the row in a value that has one element for each of the iteration space.
    pub(super) fn full_coords(&self, cx: &mut Cx<'_>, value: Value) -> Eval<Vec<Affine>> {
        let coords = cx.coords();
        cx.reshape(&coords, &self.extents, cx.region.shape(value))
    }

    /// Index of the current row in a value that has one element a row.
    pub(super) fn row_coords(&self, cx: &mut Cx<'_>, value: Value) -> Eval<Vec<Affine>> {
        let (coords, extents) = self.kept_space(cx);
        cx.reshape(&coords, &extents, cx.region.shape(value))
    }

    /// Index and extents of the dimensions that number the rows.
    fn kept_space(&self, cx: &Cx<'_>) -> (Vec<Affine>, Vec<usize>) {
        self.kept.iter().map(|&dim| (cx.coord(dim), self.extents[dim])).unzip()
    }

    /// Index and extents of the dimensions of a row.
    fn reduced_space(&self, cx: &Cx<'_>) -> (Vec<Affine>, Vec<usize>) {
        self.reduced.iter().map(|&dim| (cx.coord(dim), self.extents[dim])).unzip()
    }

    /// Index of the current element in the operand of one of the reductions.
    pub(super) fn operand_coords(&self, cx: &mut Cx<'_>, reduce: Value) -> Eval<Vec<Affine>> {
        let region = cx.region;
        let Op::Reduce(attrs) = region.op(reduce) else { unreachable!("the group holds reductions") };
        let operand = region.shape(region.operands(reduce)[0]);
        let kept = self.row_coords(cx, reduce)?;
        let (coords, from) = self.reduced_space(cx);
        let to: Vec<usize> = attrs.dims.iter().map(|&dim| operand[dim]).collect();
        let mut folded = cx.reshape(&coords, &from, &to)?.into_iter();
        let mut kept = kept.into_iter();
        let pick = |dim: usize| if attrs.dims.contains(&dim) { folded.next() } else { kept.next() };
        Ok((0..operand.len()).map(pick).map(|coord| coord.expect("dimensions are kept or folded")).collect())
    }

    /// Position in the row, in row-major order of the reduced dimensions.
    pub(super) fn position(&self, cx: &Cx<'_>) -> Affine {
        let (coords, extents) = self.reduced_space(cx);
        dot(&coords, &dense_strides(&extents))
    }

    pub(super) fn ranges(&self) -> Vec<(i64, i64)> {
        self.extents.iter().map(|&extent| (0, extent as i64)).collect()
    }

    /// What all passes access, and the instructions they take for one element.
    pub(super) fn trace(&self, planner: &Planner<'_>) -> Eval<(Trace, usize)> {
        let mut seen = (Trace::default(), 0);
        self.probe(planner, &|_| {}, &mut |_, cx| seen = (cx.trace.clone(), cx.b.kernel().regs.len()))?;
        Ok(seen)
    }

    /// Evaluates all passes in a throw-away context; the context of each pass is given to `on_pass`.
    fn probe<'r>(
        &self,
        planner: &Planner<'r>,
        prepare: &dyn Fn(&mut Cx<'r>),
        on_pass: &mut dyn FnMut(usize, &Cx<'r>),
    ) -> Eval {
        let mut cx = planner.probe(&self.ranges());
        prepare(&mut cx);
        for (idx, pass) in self.passes.iter().enumerate() {
            cx.phase = idx as u32;
            cx.scoped(|cx| {
                self.evaluate_pass(cx, pass)?;
                on_pass(idx, cx);
                Ok(())
            })?;
            for &reduce in &pass.reduces {
                let coords = self.row_coords(&mut cx, reduce)?;
                let stand_in = stand_in(&mut cx, reduce, &coords);
                cx.set_source(reduce, Source::Reg { coords, reg: stand_in });
            }
        }
        self.store_rows(&mut cx)?;
        on_pass(self.passes.len(), &cx);
        Ok(())
    }

    /// Computes what one pass needs of the current element; gives the operands of its reductions.
    pub(super) fn evaluate_pass(&self, cx: &mut Cx<'_>, pass: &Pass) -> Eval<Vec<Reg>> {
        let mut operands = Vec::with_capacity(pass.reduces.len());
        for &reduce in &pass.reduces {
            let coords = self.operand_coords(cx, reduce)?;
            operands.push(cx.eval(cx.region.operands(reduce)[0], &coords)?);
        }
        let coords = cx.coords();
        cx.evaluate(&pass.outs, &coords, &self.extents)?;
        Ok(operands)
    }

    /// What a pass evaluates, for hoisting.
    fn roots(&self, cx: &mut Cx<'_>, pass: &Pass) -> Eval<Vec<(Value, Vec<Affine>)>> {
        let mut roots = Vec::new();
        for &reduce in &pass.reduces {
            roots.push((cx.region.operands(reduce)[0], self.operand_coords(cx, reduce)?));
        }
        roots.extend(cx.roots(&pass.outs, &cx.coords(), &self.extents));
        Ok(roots)
    }

    pub(super) fn store_rows(&self, cx: &mut Cx<'_>) -> Eval {
        cx.phase = self.passes.len() as u32;
        let (coords, extents) = self.kept_space(cx);
        cx.evaluate(&self.row_outs, &coords, &extents)
    }

    /// Finds the expensive values that more than one pass computes at the current element.
    fn choose_kept(&mut self, planner: &Planner<'_>) -> Eval {
        if self.len > MAX_KEPT || planner.target.is_gpu() {
            return self.trace(planner).map(|_| ());
        }
        let mut by_pass: Vec<Vec<Value>> = vec![Vec::new(); self.passes.len() + 1];
        let mut identity = HashMap::new();
        {
            let mut cx = planner.probe(&self.ranges());
            for idx in 0..planner.region.graph.n_values() {
                let value = Value(idx as u32);
                if planner.region.n_elements(value) as u64 == self.n_rows * self.len {
                    identity.insert(value, self.full_coords(&mut cx, value).ok());
                }
            }
        }
        let mut seen = 0;
        self.probe(planner, &|_| {}, &mut |idx, cx| {
            for (value, coords) in &cx.trace.expensive[seen..] {
                if identity.get(value).is_some_and(|at| at.as_ref() == Some(coords)) {
                    by_pass[idx].push(*value);
                }
            }
            seen = cx.trace.expensive.len();
        })?;
        for idx in 0..self.passes.len() {
            let used_later = |value: &Value| by_pass[idx + 1..].iter().any(|later| later.contains(value));
            let mut keep: Vec<Value> = by_pass[idx].iter().copied().filter(used_later).collect();
            keep.retain(|value| !self.passes[..idx].iter().any(|pass| pass.keep.contains(value)));
            self.passes[idx].keep = keep;
        }
        Ok(())
    }
}

/// A register of the type of a reduction's result, for probes.
fn stand_in(cx: &mut Cx<'_>, reduce: Value, coords: &[Affine]) -> Reg {
    let varies = coords.iter().any(|coord| cx.varies(coord));
    let lanes = if varies { cx.lanes } else { 1 };
    let ty = Ty::of(cx.region.dtype(reduce));
    cx.b.const_i64(ty, lanes, 1)
}
