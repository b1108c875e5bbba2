//! Loop nests: which dimensions merge into one loop, and how iterations become tasks of the parallel loop.

use nnc_ir::ops::CompareDir;

use super::cx::{Cx, Eval, Trace};
use crate::kernel::{BinOp, Index, LoopKind, Ty};
use crate::schedule;

/// One loop: a run of dimensions (outermost first) walked as one.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) dims: Vec<usize>,
    /// Index of the first iteration; 0 if several dimensions were merged.
    pub(super) first: i64,
    pub(super) extent: u64,
}

impl Axis {
    /// Realizes the dimensions of the axis: all of the position goes to the innermost one. That is sound because
    /// merged dimensions are used by accesses only, in which they are one dimension.
    pub(super) fn bind(&self, cx: &mut Cx<'_>, position: &Index, lane: i64) {
        let (&last, outer) = self.dims.split_last().expect("an axis has a dimension");
        for &dim in outer {
            cx.bind(dim, Index::constant(0), 0);
        }
        cx.bind(last, position.clone().plus_const(self.first), lane);
    }
}

/// Merges neighbors among `dims` (outermost first; `ranges` by dimension) where every access allows it.
pub(super) fn merge(trace: &Trace, dims: &[usize], ranges: &[(i64, i64)]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for &dim in dims {
        let (first, end) = ranges[dim];
        let extent = (end - first) as u64;
        if extent == 1 {
            continue;
        }
        if let Some(axis) = axes.last_mut() {
            let outer = *axis.dims.last().expect("an axis has a dimension");
            let fits = |outer: usize| !trace.opaque.contains(&outer);
            let loads = trace.loads.iter().map(|(_, access)| &access.linear);
            let stores = trace.stores.iter().map(|(_, access)| &access.linear);
            let consistent =
                loads.chain(stores).all(|linear| linear.stride(outer) == linear.stride(dim) * extent as i64);
            if fits(outer) && fits(dim) && first == 0 && axis.first == 0 && consistent {
                axis.dims.push(dim);
                axis.extent *= extent;
                continue;
            }
        }
        axes.push(Axis { dims: vec![dim], first, extent });
    }
    axes
}

/// Realizes `axes` (outermost first) from one flat position.
pub(super) fn unflatten(cx: &mut Cx<'_>, axes: &[Axis], flat: &Index) {
    if let [axis] = axes {
        axis.bind(cx, flat, 0);
        return;
    }
    let Some((last, outer)) = axes.split_last() else { return };
    if flat.as_const() == Some(0) {
        axes.iter().for_each(|axis| axis.bind(cx, &Index::constant(0), 0));
        return;
    }
    let position = cx.index_reg(flat);
    let extent = cx.b.const_i64(Ty::I64, 1, last.extent as i64);
    let rest = cx.b.div(position, extent);
    let inner = cx.b.binary(BinOp::Rem, position, extent);
    last.bind(cx, &Index::term(inner, 1), 0);
    unflatten(cx, outer, &Index::term(rest, 1));
}

/// Number of iterations of several axes.
pub(super) fn count(axes: &[Axis]) -> u64 {
    axes.iter().map(|axis| axis.extent).product()
}

/// Writes one iteration, given its number.
pub(super) type Body<'t, 'r> = Box<dyn FnMut(&mut Cx<'r>, Index) -> Eval + 't>;

/// Independent iterations of one kind.
pub(super) struct Task<'t, 'r> {
    /// Number of iterations.
    pub(super) count: u64,
    /// Estimated time of one iteration.
    pub(super) ns: f64,
    /// Writes one iteration.
    pub(super) body: Body<'t, 'r>,
}

/// How a kernel's work is handed to threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub(super) extent: u64,
    pub(super) chunk: u64,
}

/// Writes all tasks: one after the other if that is too little for several threads, else as ranges of one parallel loop.
pub(super) fn dispatch<'r>(cx: &mut Cx<'r>, mut tasks: Vec<Task<'_, 'r>>) -> Eval<Split> {
    let extent: u64 = tasks.iter().map(|task| task.count).sum();
    let total_ns: f64 = tasks.iter().map(|task| task.count as f64 * task.ns).sum();
    if extent <= 1 || total_ns < schedule::SERIAL_NS {
        for task in &mut tasks {
            cx.for_loop(task.count, LoopKind::Serial, |cx, at| (task.body)(cx, at))?;
        }
        return Ok(Split { extent: 1, chunk: 1 });
    }
    cx.for_loop(extent, LoopKind::Parallel, |cx, at| dispatch_ranges(cx, &mut tasks, &at))?;
    Ok(Split { extent, chunk: schedule::chunk(total_ns / extent as f64, extent) })
}

/// Runs iteration `at` of the tasks laid end to end.
pub(super) fn dispatch_ranges<'r>(cx: &mut Cx<'r>, tasks: &mut [Task<'_, 'r>], at: &Index) -> Eval {
    if let [task] = tasks {
        return (task.body)(cx, at.clone());
    }
    let position = cx.index_reg(at);
    let (mut first, n_tasks) = (0, tasks.len());
    for (idx, task) in tasks.iter_mut().enumerate() {
        let end = first + task.count as i64;
        let (first_reg, end_reg) = (cx.b.const_i64(Ty::I64, 1, first), cx.b.const_i64(Ty::I64, 1, end));
        let mut inside = cx.b.compare(CompareDir::Ge, position, first_reg);
        if idx + 1 < n_tasks {
            let below = cx.b.compare(CompareDir::Lt, position, end_reg);
            inside = if idx == 0 { below } else { cx.b.binary(BinOp::And, inside, below) };
        }
        let local = at.clone().plus_const(-first);
        if task.count > 0 {
            cx.if_then(inside, |cx| (task.body)(cx, local))?;
        }
        first = end;
    }
    Ok(())
}
