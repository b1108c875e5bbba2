//! Transposed copies of `f32` tensors through tile transpositions.
//!
//! A view whose innermost dimension is not the operand's innermost one would be a vector of scattered loads; a tile
//! transposition reads and writes whole cache lines.

use super::affine::{Affine, dense_strides};
use super::contraction::{locate, merge_with};
use super::cx::{Access, Cx, Eval, Stop, Trace};
use super::nest::{Axis, Task, count, dispatch, unflatten};
use super::pointwise::split_last_digit;
use super::{Built, Out, Planner};
use crate::kernel::{BufferId, Index, Stmt, TileTranspose};
use crate::schedule::{KernelSchedule, PackSchedule};

/// Columns of the source that a task copies.
const TILE: u64 = 64;

/// Shorter dimensions are left to vector loops.
const SHORTEST: u64 = 8;

/// Lowers `out` if it is a transposed copy.
pub(super) fn lower<'r>(planner: &Planner<'r>, out: Out) -> Eval<Option<Built<'r>>> {
    let region = planner.region;
    if planner.target.is_gpu() || region.dtype(out.value) != nnc_ir::DType::F32 {
        return Ok(None);
    }
    let source = match locate(planner, out.value) {
        Ok(source) => source,
        Err(Stop::Materialize(_)) => return Ok(None),
        Err(stop) => return Err(stop),
    };
    let extents = region.shape(out.value);
    let ranges: Vec<(i64, i64)> = extents.iter().map(|&extent| (0, extent as i64)).collect();
    let dims: Vec<usize> = (0..extents.len()).collect();
    let dense = dense_strides(extents);
    let mut axes = merge_with(&Trace::default(), &[source.strides.clone(), dense.clone()], &dims, &ranges);
    let of_axis = |axis: &Axis, strides: &[i64]| strides[*axis.dims.last().expect("an axis has a dimension")];
    let Some(rows) = axes.pop() else { return Ok(None) };
    let is_column = |axis: &Axis| of_axis(axis, &source.strides) == 1 && axis.extent >= SHORTEST;
    let fits = |extent: u64| extent <= u64::from(u32::MAX);
    let Some(at) = axes.iter().position(is_column) else { return Ok(None) };
    if of_axis(&rows, &source.strides) == 1 || rows.extent < SHORTEST || !fits(rows.extent) {
        return Ok(None);
    }
    let columns = axes.remove(at);
    let (mut cx, buffers) = planner.start("transpose", &[out]);
    let linear = |strides: &[i64]| {
        dims.iter().fold(Affine::default(), |sum, &dim| sum.plus_scaled(&Affine::dim(dim), strides[dim]))
    };
    cx.trace.scattered.push(source.buffer);
    cx.trace.stores.push((buffers[0], Access { linear: linear(&dense), space: 0, phase: 0 }));
    let n_outer = count(&axes);
    let (whole, rest) = (columns.extent / TILE, columns.extent % TILE);
    let mut tasks = Vec::new();
    for (first, width, n_tiles) in [(0, TILE, whole), (whole * TILE, rest, u64::from(rest > 0))] {
        let (ranges, axes, rows, columns, source, dense) = (&ranges, &axes, &rows, &columns, &source, &dense);
        let linear = &linear;
        let out: BufferId = buffers[0];
        tasks.push(Task {
            count: n_outer * n_tiles,
            ns: 0.5 * (rows.extent * width) as f64,
            body: Box::new(move |cx: &mut Cx<'r>, at: Index| {
                cx.set_space(ranges.iter().copied());
                let (outer, tile) = split_last_digit(cx, &at, n_outer, n_tiles);
                unflatten(cx, axes, &outer);
                rows.bind(cx, &Index::constant(0), 0);
                columns.bind(cx, &Index::constant(first as i64).plus_scaled(&tile, width as i64), 0);
                let (src_index, _) = cx.resolve(&linear(&source.strides).plus_const(source.offset));
                let (dst_index, _) = cx.resolve(&linear(dense));
                cx.b.push(Stmt::Transpose(TileTranspose {
                    src: source.buffer,
                    src_index,
                    src_stride: of_axis(rows, &source.strides),
                    dst: out,
                    dst_index,
                    dst_stride: of_axis(columns, dense),
                    rows: rows.extent as u32,
                    cols: width as u32,
                }));
                Ok(())
            }),
        });
    }
    tasks.retain(|task| task.count > 0);
    let n_tasks = tasks.iter().map(|task| task.count).sum();
    let split = dispatch(&mut cx, tasks)?;
    let schedule = KernelSchedule::Pack(PackSchedule { tile: TILE, tasks: n_tasks });
    Ok(Some(Built { cx, split, schedule }))
}
