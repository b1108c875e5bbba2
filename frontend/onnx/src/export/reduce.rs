//! `reduce`.

use nnc_ir::ops::{ReduceAttrs, ReduceKind};
use nnc_ir::{DType, Dim, Shape, TensorType};

use super::emitter::{Emitter, Refusal, Val, int};
use super::lower::Site;

/// Whether ONNX folds the type only after widening it: `bool` and integers below 32 bits.
pub(super) fn is_narrow(dtype: DType) -> bool {
    dtype == DType::Bool || dtype.is_int() && dtype.size() < 4
}

/// The computation in `i32` if the type is narrow; sums and products wrap when they are narrowed again.
pub(super) fn widened(e: &mut Emitter, val: &Val, compute: impl FnOnce(&mut Emitter, &Val) -> Val) -> Val {
    if is_narrow(val.dtype()) { e.through(DType::I32, val, compute) } else { compute(e, val) }
}

pub(super) fn reduce(e: &mut Emitter, at: &Site<'_>, attrs: &ReduceAttrs) -> Result<Val, Refusal> {
    let ReduceAttrs { kind, dims } = attrs;
    let operand = at.full(e, 0)?;
    let op = match kind {
        ReduceKind::Sum => "ReduceSum",
        ReduceKind::Prod => "ReduceProd",
        ReduceKind::Min | ReduceKind::All => "ReduceMin",
        ReduceKind::Max | ReduceKind::Any => "ReduceMax",
        ReduceKind::ArgMin | ReduceKind::ArgMax => return arg(e, at, &operand, attrs),
    };
    if dims.is_empty() {
        return Ok(operand);
    }
    let axes: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    let axes = e.ints(&axes);
    let shape = at.result().shape.clone();
    Ok(widened(e, &operand, |e, val| {
        e.op_with(op, &[val, &axes], vec![int("keepdims", 0)], TensorType { dtype: val.dtype(), shape })
    }))
}

/// The index of an extreme element, row-major over the reduced dimensions.
fn arg(e: &mut Emitter, at: &Site<'_>, operand: &Val, attrs: &ReduceAttrs) -> Result<Val, Refusal> {
    let op = if attrs.kind == ReduceKind::ArgMin { "ArgMin" } else { "ArgMax" };
    if attrs.dims.is_empty() {
        return Ok(e.int(0));
    }
    let operand = if operand.dtype() == DType::Bool { e.cast(operand, DType::I32) } else { operand.clone() };
    let (operand, axis) = match &attrs.dims[..] {
        [dim] => (operand, *dim),
        dims => {
            let kept: Vec<usize> = (0..operand.rank()).filter(|dim| !dims.contains(dim)).collect();
            let row = dims.iter().fold(Dim::from(1), |product, &dim| product * operand.dim(dim).clone());
            let mut shape: Vec<Dim> = kept.iter().map(|&dim| operand.dim(dim).clone()).collect();
            shape.push(row);
            let axis = kept.len();
            let rows = e.transpose(&operand, &[kept, dims.to_vec()].concat());
            (e.reshape(&rows, &Shape(shape))?, axis)
        }
    };
    let attrs = vec![int("axis", axis as i64), int("keepdims", 0)];
    Ok(e.op_with(op, &[&operand], attrs, at.result().clone()))
}
