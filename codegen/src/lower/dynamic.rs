//! Slices at a run-time start. Reading one is a view; replacing one is a copy of the operand (left out where the result
//! takes its buffer) and a kernel over the update, whose elements lie at the start in the result.

use nnc_ir::Value;
use nnc_ir::ops::Op;

use super::affine::Affine;
use super::cx::{Cx, Eval, Placement};
use super::{Arg, Built, Out, Planner, pointwise};

/// The start along one dimension of `extent`, clamped so that a slice of extent `size` lies inside.
pub(super) fn start(cx: &mut Cx<'_>, start: Value, extent: usize, size: usize) -> Eval<Affine> {
    if extent == size {
        return Ok(Affine::constant(0));
    }
    let reg = cx.eval(start, &[])?;
    let reg = cx.position(reg);
    Ok(cx.clamp_index(reg, 0, (extent - size) as i64))
}

/// Index into the operand of a `dynamic_slice`.
pub(super) fn slice_coords(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Vec<Affine>> {
    let region = cx.region;
    let (&operand, starts) = region.operands(value).split_first().expect("a slice has an operand");
    let (extents, sizes) = (region.shape(operand), region.shape(value));
    let mut moved = Vec::with_capacity(coords.len());
    for (dim, coord) in coords.iter().enumerate() {
        let start = start(cx, starts[dim], extents[dim], sizes[dim])?;
        moved.push(coord.plus(&start));
    }
    Ok(moved)
}

/// Lowers a `dynamic_update_slice` to two kernels.
pub(super) fn update(planner: &mut Planner<'_>, out: Out) -> Eval {
    let region = planner.region;
    let Op::DynamicUpdateSlice = region.op(out.value) else { unreachable!("the planner gives updates of slices") };
    let [operand, update, starts @ ..] = region.operands(out.value) else { unreachable!("two operands and starts") };
    let placement = Placement { starts: starts.to_vec(), extents: region.shape(*operand).to_vec() };
    let (whole, slice) = (Out { value: *operand, arg: out.arg }, Out { value: *update, arg: out.arg });
    let is_empty = region.n_elements(*update) == 0;
    if !is_empty {
        // What the update needs in memory is asked for before the copy is made.
        write_slice(planner, slice, placement.clone())?;
    }
    let copy = pointwise::lower(planner, &[whole])?;
    planner.finish(copy, &[whole]);
    if let (Some(&Arg::Operand(operand)), Arg::Result(result)) = (planner.memory.get(operand), out.arg) {
        planner.kernels.last_mut().expect("the copy was added").copies = Some((operand, result));
    }
    if !is_empty {
        let built = write_slice(planner, slice, placement)?;
        planner.finish(built, &[slice]);
    }
    Ok(())
}

/// A kernel that stores the update at its start in the result.
fn write_slice<'r>(planner: &mut Planner<'r>, slice: Out, placement: Placement) -> Eval<Built<'r>> {
    planner.placement = Some(placement);
    let built = pointwise::lower(planner, &[slice]);
    planner.placement = None;
    built
}
