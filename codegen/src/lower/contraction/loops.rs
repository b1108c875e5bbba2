//! Contractions of any element type as plain loops: a vector of sums at a time.

use super::super::cx::{Cx, Eval, Source, Stop};
use super::super::fold::memory_type;
use super::super::nest::{Axis, Task, count, dispatch, merge, unflatten};
use super::super::pointwise::LANES;
use super::super::{Built, Out, Planner};
use super::{Contraction, Epilogue};
use crate::kernel::{Index, LoopKind, Reg, Space, Ty};
use crate::schedule::{ContractionSchedule, KernelSchedule, Orientation};

/// Lowers the contraction and `outs` to one kernel.
pub(super) fn lower<'r>(planner: &mut Planner<'r>, contraction: &Contraction<'_>, outs: &[Out]) -> Eval<Built<'r>> {
    let (mut cx, buffers) = planner.start("contraction", outs);
    let epilogue = Epilogue { outs: outs.iter().map(|out| out.value).zip(buffers).collect() };
    let rank = contraction.extents.len();
    let ranges = contraction.whole_space();
    let dims: Vec<usize> = (0..rank).collect();
    let contracted: Vec<usize> = (rank..ranges.len()).collect();
    let (trace, _) = contraction.probe(planner, &epilogue, &ranges, None)?;
    let axes = merge(&trace, &dims, &ranges);
    let contracted = merge(&trace, &contracted, &ranges);
    let lanes = match axes.last() {
        Some(axis) => match contraction.probe(planner, &epilogue, &ranges, Some(axis)) {
            Ok(_) => LANES,
            Err(Stop::Scalar) => 1,
            Err(other) => return Err(other),
        },
        None => 1,
    };
    let ty = Ty::of(planner.region.dtype(contraction.dot));
    let acc = cx.scratch("acc", memory_type(ty), usize::from(lanes), Space::Local);
    let (outer, vector) = match axes.split_last() {
        Some((vector, outer)) => (outer.to_vec(), Some(vector.clone())),
        None => (Vec::new(), None),
    };
    let k: u64 = contraction.contracted.iter().map(|&extent| extent as u64).product();
    let columns = vector.as_ref().map_or(1, |axis| axis.extent);
    let tasks = vec![Task {
        count: count(&outer),
        ns: 0.6 * (k * columns.div_ceil(u64::from(lanes)) * u64::from(lanes.div_ceil(8))) as f64,
        body: Box::new(move |cx: &mut Cx<'r>, at: Index| {
            cx.set_space(ranges.iter().copied());
            unflatten(cx, &outer, &at);
            cx.vector_loop(columns, lanes, |cx, at| {
                if let Some(axis) = &vector {
                    axis.bind(cx, &at, i64::from(lanes != 1));
                }
                let zero = cx.b.const_i64(ty, lanes, 0);
                cx.b.store(acc, Index::constant(0), 1, lanes, zero);
                sum(cx, contraction, &contracted, rank, &mut |cx, lhs, rhs| {
                    let sum = cx.b.load(acc, Index::constant(0), 1, lanes, lanes);
                    let (lhs, rhs) = (cx.promote(lhs, lanes), cx.promote(rhs, lanes));
                    let sum = multiply_add(cx, lhs, rhs, sum);
                    cx.b.store(acc, Index::constant(0), 1, lanes, sum);
                })?;
                let sum = cx.b.load(acc, Index::constant(0), 1, lanes, lanes);
                let sum = cx.b.narrow(cx.region.dtype(contraction.dot), sum);
                let coords = contraction.result_coords(cx);
                cx.set_source(contraction.dot, Source::Reg { coords, reg: sum });
                epilogue.evaluate(cx, contraction)
            })
        }),
    }];
    let n_tasks = tasks.iter().map(|task| task.count).sum();
    let split = dispatch(&mut cx, tasks)?;
    let schedule = KernelSchedule::Contraction(ContractionSchedule {
        orientation: Orientation::Loops,
        tile_m: 1,
        tile_n: u64::from(lanes),
        tile_k: k,
        tasks: n_tasks,
    });
    Ok(Built { cx, split, schedule })
}

/// Walks the contracted index; `step` gets one element of each operand.
fn sum(
    cx: &mut Cx<'_>,
    contraction: &Contraction<'_>,
    contracted: &[Axis],
    rank: usize,
    step: &mut dyn FnMut(&mut Cx<'_>, Reg, Reg),
) -> Eval {
    if let Some((axis, rest)) = contracted.split_first() {
        return cx.for_loop(axis.extent, LoopKind::Serial, |cx, at| {
            axis.bind(cx, &at, 0);
            sum(cx, contraction, rest, rank, step)
        });
    }
    if contraction.contracted.contains(&0) {
        return Ok(());
    }
    cx.scoped(|cx| {
        let coords = cx.coords();
        let (result, contracted) = coords.split_at(rank);
        let lhs = contraction.lhs_element(cx, result, contracted)?;
        let rhs = contraction.rhs_element(cx, result, contracted)?;
        step(cx, lhs, rhs);
        Ok(())
    })
}

/// One link of the chain.
pub(in crate::lower) fn multiply_add(cx: &mut Cx<'_>, lhs: Reg, rhs: Reg, sum: Reg) -> Reg {
    if cx.b.reg_type(sum).ty.is_float() {
        return cx.b.fma(lhs, rhs, sum);
    }
    let product = cx.b.mul(lhs, rhs);
    cx.b.add(sum, product)
}
