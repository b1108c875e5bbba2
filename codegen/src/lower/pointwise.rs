//! Pointwise kernels: every result element is computed by itself, through whatever views lie between it and memory.
//!
//! Results of one shape share a loop nest. Dimensions merge where all accesses allow it, the innermost loop is
//! vectorized where every lane's address follows from the first one's, and concatenations and pads cut the iteration
//! space into pieces whose source is known. Where an element's source depends on its index modulo a small number (windows
//! in steps, gaps between elements), so many elements are computed together: then each has a source of its own kind, what
//! they have in common is computed once, and the lanes of a vector are all of one kind. Nests of different shapes (horizontal fusion) become ranges of one parallel
//! loop, or run one after the other if they are small.

use std::collections::BTreeMap;

use nnc_ir::Value;

use super::cx::{Cx, Eval, Stop, Trace};
use super::nest::{Axis, Task, count, dispatch, merge, unflatten};
use super::{Built, Out, Planner};
use crate::kernel::{BufferId, Index, LoopKind};
use crate::schedule::{KernelSchedule, NestSchedule, PointwiseSchedule, element_ns};

/// Most pieces an iteration space is cut into.
const MAX_PIECES: usize = 12;

/// Lanes of a vectorized loop.
pub(super) const LANES: u16 = 16;

/// Work of one iteration of the parallel loop when one long loop is cut.
const BLOCK_NS: f64 = 4_000.0;

/// Results and where they go.
pub(super) type Outs = Vec<(Value, BufferId)>;

/// Most elements that are computed together.
const MAX_PHASES: i64 = 16;

/// Most of them along one dimension.
const MAX_STEP: i64 = 8;

/// A part of an iteration space: along each dimension the numbers of a range, each standing for `step` elements.
#[derive(Clone, Debug)]
struct Space {
    ranges: Vec<(i64, i64)>,
    steps: Vec<i64>,
}

impl Space {
    fn whole(extents: &[usize]) -> Self {
        Self { ranges: extents.iter().map(|&extent| (0, extent as i64)).collect(), steps: vec![1; extents.len()] }
    }

    /// The whole space in steps of `steps`, and what is left at the end of each dimension.
    fn in_steps(extents: &[usize], steps: &BTreeMap<usize, i64>) -> Vec<Self> {
        let mut main = Self::whole(extents);
        let mut rests = Vec::new();
        for (&dim, &step) in steps {
            let count = main.ranges[dim].1 / step;
            if !(2..=MAX_STEP).contains(&step) || count == 0 || main.n_phases() * step > MAX_PHASES {
                continue;
            }
            let mut rest = Self::whole(extents);
            for (other, range) in rest.ranges.iter_mut().enumerate().take(dim) {
                range.1 = main.ranges[other].1 * main.steps[other];
            }
            rest.ranges[dim].0 = count * step;
            if rest.ranges[dim].0 < rest.ranges[dim].1 {
                rests.push(rest);
            }
            (main.ranges[dim].1, main.steps[dim]) = (count, step);
        }
        [vec![main], rests].concat()
    }

    fn n_phases(&self) -> i64 {
        self.steps.iter().product()
    }

    /// For each of the elements that a number stands for, step and origin along each dimension.
    fn phases(&self) -> Vec<Vec<(i64, i64)>> {
        let mut phases = vec![Vec::new()];
        for &step in &self.steps {
            let extend = |phase: &Vec<(i64, i64)>| {
                let phase = phase.clone();
                (0..step).map(move |origin| [phase.as_slice(), &[(step, origin)]].concat()).collect::<Vec<_>>()
            };
            phases = phases.iter().flat_map(extend).collect();
        }
        phases
    }
}

/// One loop nest.
pub(super) struct Nest {
    outs: Outs,
    space: Space,
    axes: Vec<Axis>,
    lanes: u16,
    element_ns: f64,
}

/// Lowers `outs` to one kernel.
pub(super) fn lower<'r>(planner: &mut Planner<'r>, outs: &[Out]) -> Eval<Built<'r>> {
    let (mut cx, buffers) = planner.start("pointwise", outs);
    let outs: Vec<(Value, BufferId)> = outs.iter().map(|out| out.value).zip(buffers).collect();
    let nests = plan(planner, &outs)?;
    if planner.target.is_gpu() {
        return super::gpu::pointwise(
            cx,
            nests.into_iter().map(|nest| (nest.outs, nest.space.ranges, nest.axes)).collect(),
        );
    }
    let (tasks, schedule) = tasks(&nests);
    let split = dispatch(&mut cx, tasks)?;
    Ok(Built { cx, split, schedule: KernelSchedule::Pointwise(schedule) })
}

/// The loop nests of results: one a shape, and a piece of it.
pub(super) fn plan(planner: &Planner<'_>, outs: &[(Value, BufferId)]) -> Eval<Vec<Nest>> {
    let mut groups: Vec<(Vec<usize>, Outs)> = Vec::new();
    for &(value, buffer) in outs {
        let shape = planner.region.shape(value);
        match groups.iter_mut().find(|(extents, _)| extents == shape) {
            Some((_, members)) => members.push((value, buffer)),
            None => groups.push((shape.to_vec(), vec![(value, buffer)])),
        }
    }
    let mut nests = Vec::new();
    for (extents, members) in groups {
        if extents.contains(&0) {
            continue;
        }
        let whole = Space::whole(&extents);
        let trace = probe(planner, &members, &whole, None)?.trace;
        let spaces = match planner.target.is_gpu() {
            true => vec![whole],
            false => Space::in_steps(&extents, &trace.steps),
        };
        let is_one = spaces.len() == 1 && spaces[0].n_phases() == 1;
        for space in spaces {
            // Where a source changes shows when it is known which it is.
            let trace = if is_one { trace.clone() } else { probe(planner, &members, &space, None)?.trace };
            for ranges in pieces(&trace, &space.ranges) {
                nests.push(plan_nest(planner, &members, Space { ranges, steps: space.steps.clone() })?);
            }
        }
    }
    Ok(nests)
}

/// The nests as tasks.
pub(super) fn tasks<'t, 'r>(nests: &'t [Nest]) -> (Vec<Task<'t, 'r>>, PointwiseSchedule) {
    let mut schedule = PointwiseSchedule::default();
    let mut tasks = Vec::new();
    for nest in nests {
        let before = tasks.len();
        tasks.extend(nest.tasks());
        schedule.nests.push(NestSchedule {
            extents: nest.axes.iter().map(|axis| axis.extent).collect(),
            lanes: nest.lanes,
            tasks: tasks[before..].iter().map(|task: &Task<'_, '_>| task.count).sum(),
        });
    }
    (tasks, schedule)
}

/// Evaluates the results once on a throw-away kernel, to see what they touch; `vector` is the axis to vectorize.
fn probe<'r>(planner: &Planner<'r>, outs: &[(Value, BufferId)], space: &Space, vector: Option<&Axis>) -> Eval<Cx<'r>> {
    let mut cx = planner.probe(&space.ranges);
    if let Some(axis) = vector {
        (cx.lanes, cx.active) = (LANES, LANES);
        axis.bind(&mut cx, &Index::constant(0), 1);
    }
    evaluate_phases(&mut cx, outs, space)?;
    Ok(cx)
}

/// [`evaluate`] for each of the elements that the current number stands for.
fn evaluate_phases(cx: &mut Cx<'_>, outs: &[(Value, BufferId)], space: &Space) -> Eval {
    if space.n_phases() == 1 {
        return evaluate(cx, outs);
    }
    for (number, phase) in space.phases().iter().enumerate() {
        cx.set_phase(phase);
        cx.phase = number as u32;
        evaluate(cx, outs)?;
    }
    Ok(())
}

/// Computes and stores all results at the current element.
pub(super) fn evaluate(cx: &mut Cx<'_>, outs: &[(Value, BufferId)]) -> Eval {
    let coords = cx.coords();
    cx.evaluate(outs, &coords, cx.region.shape(outs[0].0))
}

/// Cuts the iteration space where sources change.
fn pieces(trace: &Trace, whole: &[(i64, i64)]) -> Vec<Vec<(i64, i64)>> {
    let mut all_bounds: Vec<Vec<i64>> = whole.iter().map(|&(first, end)| vec![first, end]).collect();
    let mut n_pieces = 1;
    // The inner dimensions first: what is not cut there is computed element by element.
    for dim in (0..whole.len()).rev() {
        let (first, end) = whole[dim];
        let inside = |at: &i64| first < *at && *at < end;
        let cuts = trace.breaks.iter().filter(|(cut, _)| *cut == dim).map(|&(_, at)| at).filter(inside);
        let bounds: Vec<i64> = [first].into_iter().chain(cuts).chain([end]).collect();
        if (bounds.len() - 1) * n_pieces <= MAX_PIECES {
            n_pieces *= bounds.len() - 1;
            all_bounds[dim] = bounds;
        }
    }
    let mut pieces = vec![whole.to_vec()];
    for (dim, bounds) in all_bounds.iter().enumerate() {
        let cut = |piece: &Vec<(i64, i64)>| {
            let piece = piece.clone();
            let halves: Vec<Vec<(i64, i64)>> = bounds
                .windows(2)
                .map(|bound| {
                    let mut part = piece.clone();
                    part[dim] = (bound[0], bound[1]);
                    part
                })
                .collect();
            halves
        };
        pieces = pieces.iter().flat_map(cut).collect();
    }
    pieces
}

fn plan_nest(planner: &Planner<'_>, outs: &[(Value, BufferId)], space: Space) -> Eval<Nest> {
    let scalar = probe(planner, outs, &space, None)?;
    let dims: Vec<usize> = (0..space.ranges.len()).collect();
    let axes = merge(&scalar.trace, &dims, &space.ranges);
    let mut lanes = 1;
    if let Some(axis) = axes.last()
        && axis.extent > 1
        && !planner.target.is_gpu()
    {
        lanes = match probe(planner, outs, &space, Some(axis)) {
            Ok(_) => LANES,
            Err(Stop::Scalar) => 1,
            Err(other) => return Err(other),
        };
    }
    let bytes = |value: Value| planner.region.dtype(value).size();
    let kernel = scalar.b.kernel();
    let loaded: usize = scalar.trace.loads.iter().map(|(buffer, ..)| kernel.buffer(*buffer).dtype.size()).sum();
    let stored: usize = outs.iter().map(|&(value, _)| bytes(value)).sum();
    let element_ns = element_ns(scalar.n_insts(), loaded + stored, lanes);
    Ok(Nest { outs: outs.to_vec(), space, axes, lanes, element_ns })
}

impl Nest {
    /// The nest as tasks: the outer loops if they are many enough, else pieces of the innermost one.
    fn tasks<'t, 'r>(&'t self) -> Vec<Task<'t, 'r>> {
        let Some((vector, outer)) = self.axes.split_last() else {
            return vec![self.task(0, 1, 0..1)];
        };
        let vector_ns = vector.extent as f64 * self.element_ns;
        // As few loops as make enough tasks.
        let enough = (1..=outer.len()).find(|&n_outer| count(&outer[..n_outer]) >= 32);
        if let Some(n_outer) = enough {
            return vec![self.task(n_outer, 1, 0..vector.extent)];
        }
        if vector_ns < 2.0 * BLOCK_NS {
            return vec![self.task(outer.len(), 1, 0..vector.extent)];
        }
        // Pieces of one length, a multiple of the lanes, and the rest.
        let wanted = (BLOCK_NS / self.element_ns) as u64;
        let block = wanted.next_multiple_of(u64::from(LANES) * 4).min(vector.extent);
        let whole = vector.extent / block;
        let mut tasks = vec![self.task(outer.len(), whole, 0..block)];
        if vector.extent % block > 0 {
            tasks.push(self.task(outer.len(), 1, whole * block..vector.extent));
        }
        tasks
    }

    /// Iterations of the first `n_outer` loops times `n_blocks` pieces of the innermost one; piece `b` is `piece`
    /// moved on by `b` times its length.
    fn task<'t, 'r>(&'t self, n_outer: usize, n_blocks: u64, piece: std::ops::Range<u64>) -> Task<'t, 'r> {
        let n_loops = self.axes.len().saturating_sub(1);
        let inner: u64 = self.axes[n_outer.min(n_loops)..n_loops].iter().map(|axis| axis.extent).product();
        let length = piece.end - piece.start;
        let n_outer_iterations = count(&self.axes[..n_outer.min(n_loops)]);
        let body = move |cx: &mut Cx<'r>, at: Index| {
            cx.set_space(self.space.ranges.iter().copied());
            let Some((vector, outer)) = self.axes.split_last() else {
                return evaluate_phases(cx, &self.outs, &self.space);
            };
            // The piece's number is the innermost digit of the task's.
            let blocks = Axis { dims: Vec::new(), first: 0, extent: n_blocks };
            let (at, block) = split_last_digit(cx, &at, n_outer_iterations, blocks.extent);
            unflatten(cx, &outer[..n_outer], &at);
            let base = Index::constant(piece.start as i64).plus_scaled(&block, length as i64);
            self.inner_loops(cx, &outer[n_outer..], vector, &base, length)
        };
        Task {
            count: n_outer_iterations * n_blocks,
            ns: inner as f64 * length as f64 * self.element_ns,
            body: Box::new(body),
        }
    }

    fn inner_loops(&self, cx: &mut Cx<'_>, outer: &[Axis], vector: &Axis, base: &Index, length: u64) -> Eval {
        if let Some((axis, rest)) = outer.split_first() {
            return cx.for_loop(axis.extent, LoopKind::Serial, |cx, at| {
                axis.bind(cx, &at, 0);
                self.inner_loops(cx, rest, vector, base, length)
            });
        }
        for phase in self.space.phases() {
            cx.set_phase(&phase);
            let roots = cx.roots(&self.outs, &cx.coords(), cx.region.shape(self.outs[0].0));
            cx.hoist(&roots)?;
        }
        cx.vector_loop(length, self.lanes, |cx, at| {
            vector.bind(cx, &at.plus_scaled(base, 1), i64::from(self.lanes != 1));
            evaluate_phases(cx, &self.outs, &self.space)
        })
    }
}

/// Quotient and remainder of a task number by the count of its innermost digit.
pub(super) fn split_last_digit(cx: &mut Cx<'_>, at: &Index, n_outer: u64, digit: u64) -> (Index, Index) {
    if digit == 1 {
        return (at.clone(), Index::constant(0));
    }
    if n_outer == 1 {
        return (Index::constant(0), at.clone());
    }
    let position = cx.index_reg(at);
    let divisor = cx.b.const_i64(crate::kernel::Ty::I64, 1, digit as i64);
    let rest = cx.b.div(position, divisor);
    let inner = cx.b.binary(crate::kernel::BinOp::Rem, position, divisor);
    (Index::term(rest, 1), Index::term(inner, 1))
}
