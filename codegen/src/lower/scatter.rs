//! Scatter: a copy of the operand, then the updates in row-major order.
//!
//! Updates are applied one after the other, so collisions have one outcome. Only along window dimensions that no index
//! moves can two updates never meet; those are split over GPU threads, and the innermost of them over vector lanes.

use nnc_ir::ops::{Combiner, CompareDir, Op, ScatterAttrs};
use nnc_ir::{DType, Value};

use super::affine::{Affine, dense_strides, dot};
use super::cx::{Cx, Eval, Stop};
use super::nest::Split;
use super::pointwise::LANES;
use super::view::index_component;
use super::{Arg, Built, Out, Planner, elementwise, pointwise};
use crate::kernel::{BinOp, BufferId, LoopKind, Reg, Ty};
use crate::schedule::{KernelSchedule, ScatterSchedule};

/// Threads of a GPU block.
const GPU_THREADS: u64 = 128;

/// Lowers a scatter to two kernels.
pub(super) fn lower(planner: &mut Planner<'_>, out: Out) -> Eval {
    let region = planner.region;
    let &[operand, indices, updates] = region.operands(out.value) else { unreachable!("a scatter has three operands") };
    let copy = pointwise::lower(planner, &[Out { value: operand, arg: out.arg }])?;
    planner.finish(copy, &[Out { value: operand, arg: out.arg }]);
    if let (Some(&Arg::Operand(operand)), Arg::Result(result)) = (planner.memory.get(&operand), out.arg) {
        planner.kernels.last_mut().expect("the copy was added").copies = Some((operand, result));
    }
    if region.n_elements(updates) == 0 {
        return Ok(());
    }
    let lanes = match apply(planner, out, indices, updates, LANES) {
        Ok(built) if !planner.target.is_gpu() => {
            planner.finish_with(built, region.n_elements(updates) as u64);
            return Ok(());
        }
        Ok(_) | Err(Stop::Scalar) => 1,
        Err(other) => return Err(other),
    };
    let built = apply(planner, out, indices, updates, lanes)?;
    planner.finish_with(built, region.n_elements(updates) as u64);
    Ok(())
}

/// The second kernel.
struct Updates<'a> {
    attrs: &'a ScatterAttrs,
    operand: Value,
    indices: Value,
    updates: Value,
    buffer: BufferId,
    lanes: u16,
    /// For each dimension of `updates`, the operand dimension it is a window of.
    window_of: Vec<Option<usize>>,
}

fn apply<'r>(planner: &Planner<'r>, out: Out, indices: Value, updates: Value, lanes: u16) -> Eval<Built<'r>> {
    let region = planner.region;
    let Op::Scatter(attrs) = region.op(out.value) else { unreachable!("the planner gives scatters") };
    let operand = region.operands(out.value)[0];
    let (mut cx, buffers) = planner.start("scatter", &[out]);
    let rank = region.shape(operand).len();
    let dropped = |dim: &usize| attrs.inserted_window_dims.contains(dim) || attrs.input_batching_dims.contains(dim);
    let kept: Vec<usize> = (0..rank).filter(|dim| !dropped(dim)).collect();
    let window_of = |dim: usize| attrs.update_window_dims.iter().position(|&at| at == dim).map(|at| kept[at]);
    let extents = region.shape(updates).to_vec();
    let scatter = Updates {
        attrs,
        operand,
        indices,
        updates,
        buffer: buffers[0],
        lanes,
        window_of: (0..extents.len()).map(window_of).collect(),
    };
    // Dimensions along which updates never meet.
    let apart: Vec<bool> = scatter
        .window_of
        .iter()
        .map(|window| window.is_some_and(|dim| !attrs.scatter_dims_to_operand_dims.contains(&dim)))
        .collect();
    let vector = extents.len().checked_sub(1).filter(|&dim| apart[dim] && extents[dim] > 1);
    if lanes != 1 && vector.is_none() {
        return Err(Stop::Scalar);
    }
    cx.set_space(extents.iter().map(|&extent| (0, extent as i64)));
    if planner.target.is_gpu() {
        scatter.gpu(&mut cx, &extents, &apart)?;
    } else {
        let order: Vec<usize> = (0..extents.len()).filter(|&dim| lanes == 1 || Some(dim) != vector).collect();
        scatter.walk(&mut cx, &extents, &order, &mut |cx| match vector {
            Some(dim) if lanes != 1 => cx.vector_loop(extents[dim] as u64, lanes, |cx, at| {
                cx.bind(dim, at, 1);
                scatter.update(cx)
            }),
            _ => scatter.update(cx),
        })?;
    }
    let schedule = KernelSchedule::Scatter(ScatterSchedule { lanes });
    Ok(Built { cx, split: Split { extent: 1, chunk: 1 }, schedule })
}

impl Updates<'_> {
    /// Serial loops over `order`, outermost first.
    fn walk(
        &self,
        cx: &mut Cx<'_>,
        extents: &[usize],
        order: &[usize],
        body: &mut dyn FnMut(&mut Cx<'_>) -> Eval,
    ) -> Eval {
        let Some((&dim, rest)) = order.split_first() else { return body(cx) };
        cx.for_loop(extents[dim] as u64, LoopKind::Serial, |cx, at| {
            cx.bind(dim, at, 0);
            self.walk(cx, extents, rest, body)
        })
    }

    /// One thread for each combination of the dimensions along which updates never meet.
    fn gpu(&self, cx: &mut Cx<'_>, extents: &[usize], apart: &[bool]) -> Eval {
        let parallel: Vec<usize> = (0..extents.len()).filter(|&dim| apart[dim] && extents[dim] > 1).collect();
        let serial: Vec<usize> = (0..extents.len()).filter(|&dim| !apart[dim]).collect();
        let count: u64 = parallel.iter().map(|&dim| extents[dim] as u64).product();
        let threads = GPU_THREADS.min(count);
        cx.for_loop(count.div_ceil(threads), LoopKind::Grid(0), |cx, block| {
            cx.for_loop(threads, LoopKind::Thread(0), |cx, thread| {
                let at = thread.plus_scaled(&block, threads as i64);
                let body = |cx: &mut Cx<'_>| {
                    let shape: Vec<usize> = parallel.iter().map(|&dim| extents[dim]).collect();
                    let position = cx.index_reg(&at);
                    let flat = cx.reg_coord(position, (0, count as i64 - 1));
                    let coords = cx.unflatten(flat, &shape)?;
                    for (&dim, coord) in parallel.iter().zip(&coords) {
                        let (index, _) = cx.resolve(coord);
                        cx.bind(dim, index, 0);
                    }
                    self.walk(cx, extents, &serial, &mut |cx| self.update(cx))
                };
                if count.is_multiple_of(threads) {
                    return body(cx);
                }
                let position = cx.index_reg(&at);
                let end = cx.b.const_i64(Ty::I64, 1, count as i64);
                let inside = cx.b.compare(CompareDir::Lt, position, end);
                cx.if_then(inside, body)
            })
        })
    }

    /// Combines the update at the current index with the element it meets, if its window is inside.
    fn update(&self, cx: &mut Cx<'_>) -> Eval {
        let region = cx.region;
        let extents = region.shape(self.operand);
        let at = cx.coords();
        let batch: Vec<Affine> =
            at.iter().zip(&self.window_of).filter(|(_, window)| window.is_none()).map(|(at, _)| at.clone()).collect();
        let mut coords = vec![Affine::constant(0); extents.len()];
        let mut window = vec![1i64; extents.len()];
        for (dim, operand_dim) in self.window_of.iter().enumerate() {
            if let Some(operand_dim) = *operand_dim {
                coords[operand_dim] = at[dim].clone();
                window[operand_dim] = region.shape(self.updates)[dim] as i64;
            }
        }
        let pairs = self.attrs.input_batching_dims.iter().zip(&self.attrs.scatter_indices_batching_dims);
        for (&operand_dim, &indices_dim) in pairs {
            let position = indices_dim - usize::from(indices_dim > self.attrs.index_vector_dim);
            coords[operand_dim] = coords[operand_dim].plus(&batch[position]);
        }
        let mut inside: Option<Reg> = None;
        for (component, &operand_dim) in self.attrs.scatter_dims_to_operand_dims.iter().enumerate() {
            let start = index_component(cx, self.indices, &batch, self.attrs.index_vector_dim, component)?;
            let last = extents[operand_dim] as i64 - window[operand_dim];
            let (zero, last_reg) = (cx.b.const_i64(Ty::I64, 1, 0), cx.b.const_i64(Ty::I64, 1, last));
            let not_below = cx.b.compare(CompareDir::Ge, start, zero);
            let not_above = cx.b.compare(CompareDir::Le, start, last_reg);
            let fits = cx.b.binary(BinOp::And, not_below, not_above);
            inside = Some(inside.map_or(fits, |inside| cx.b.binary(BinOp::And, inside, fits)));
            // Only used where the condition holds.
            let start = cx.reg_coord(start, (0, last.max(1)));
            coords[operand_dim] = coords[operand_dim].plus(&start);
        }
        let body = |cx: &mut Cx<'_>| {
            let update = cx.eval(self.updates, &at)?;
            self.combine(cx, &coords, update)
        };
        match inside {
            Some(inside) => cx.if_then(inside, body),
            None => cx.scoped(body),
        }
    }

    fn combine(&self, cx: &mut Cx<'_>, coords: &[Affine], update: Reg) -> Eval {
        let linear = dot(coords, &dense_strides(cx.region.shape(self.operand)));
        let (index, lane) = cx.resolve(&linear);
        let (lanes, active) = if lane == 0 { (1, 1) } else { (self.lanes, cx.active) };
        let stride = if lanes == 1 { 1 } else { lane };
        let update = cx.promote(update, lanes);
        let dtype = cx.region.dtype(self.operand);
        let op = match (self.attrs.combiner, dtype) {
            (Combiner::Assign, _) => None,
            (Combiner::Add, DType::Bool) => Some(Op::Or),
            (Combiner::Multiply, DType::Bool) => Some(Op::And),
            (Combiner::Add, _) => Some(Op::Add),
            (Combiner::Multiply, _) => Some(Op::Multiply),
            (Combiner::Minimum, _) => Some(Op::Minimum),
            (Combiner::Maximum, _) => Some(Op::Maximum),
        };
        let combined = match op {
            None => update,
            Some(op) => {
                let element = cx.b.load(self.buffer, index.clone(), stride, lanes, active);
                elementwise::emit(&mut cx.b, &op, dtype, dtype, &[element, update]).map_err(Stop::Unsupported)?
            }
        };
        let access = cx.access(linear);
        cx.trace.stores.push((self.buffer, access));
        cx.b.store(self.buffer, index, stride, active, combined);
        Ok(())
    }
}
