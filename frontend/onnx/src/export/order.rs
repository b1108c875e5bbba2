//! Ops that work in order along one dimension.

use nnc_ir::ops::{CumulativeAttrs, ReduceKind, SortAttrs};
use nnc_ir::{DType, Scalar, TensorType};

use super::elementwise::{maximum, minimum};
use super::emitter::{Emitter, Refusal, Val, bf16_since, graph, int, ints};
use super::lower::{Site, without};
use super::reduce::{is_narrow, widened};
use super::signature::value_info;

/// What a fold starts from.
pub(super) fn identity(kind: ReduceKind, dtype: DType) -> Scalar {
    let width = 8 * dtype.size() as u32;
    let (least, greatest) = if dtype.is_float() {
        return Scalar::from_f64(
            dtype,
            match kind {
                ReduceKind::Prod => 1.0,
                ReduceKind::Min => f64::INFINITY,
                ReduceKind::Max => f64::NEG_INFINITY,
                _ => 0.0,
            },
        );
    } else if dtype.is_signed() {
        (1 << (width - 1), (1 << (width - 1)) - 1)
    } else {
        (0, u64::MAX >> (64 - width))
    };
    match kind {
        ReduceKind::Prod => Scalar::one(dtype),
        ReduceKind::Min => Scalar { dtype, bits: greatest },
        ReduceKind::Max => Scalar { dtype, bits: least },
        _ => Scalar::zero(dtype),
    }
}

pub(super) fn cumulative(e: &mut Emitter, at: &Site<'_>, attrs: &CumulativeAttrs) -> Result<Val, Refusal> {
    let operand = at.full(e, 0)?;
    let CumulativeAttrs { kind, dim, reverse } = *attrs;
    if kind == ReduceKind::Sum {
        let axis = e.int(dim as i64);
        let reverse = vec![int("reverse", reverse.into())];
        return Ok(widened(e, &operand, |e, val| e.op_with("CumSum", &[val, &axis], reverse, val.ty.clone())));
    }
    // Other folds are a loop over the slices, which carries the fold so far.
    let slice = TensorType { dtype: operand.dtype(), shape: without(&operand.ty.shape, dim) };
    let initial = e.scalar(identity(kind, operand.dtype()));
    let initial = e.full(&initial, &slice.shape)?;
    let placed = e.placed();
    e.open("fold");
    let [fold, next] = ["fold.so_far", "fold.next"].map(|name| Val { name: e.claim(name), ty: slice.clone() });
    let folded = match kind {
        ReduceKind::Prod => e.map("Mul", &[&fold, &next]),
        ReduceKind::Min => minimum(e, &fold, &next),
        _ => maximum(e, &fold, &next),
    };
    let output = e.map("Identity", &[&folded]);
    let body = e.graph();
    body.input = vec![value_info(&fold.name, &slice), value_info(&next.name, &slice)];
    body.output = vec![value_info(&folded.name, &slice), value_info(&output.name, &slice)];
    let body = e.close();
    e.restore(placed);
    let attrs = vec![
        graph("body", body),
        int("num_scan_inputs", 1),
        ints("scan_input_axes", [dim as i64]),
        ints("scan_output_axes", [dim as i64]),
        ints("scan_input_directions", [reverse.into()]),
        ints("scan_output_directions", [reverse.into()]),
    ];
    let mut results = e.push("Scan", &[&initial.name, &operand.name], attrs, &[slice, operand.ty.clone()]);
    Ok(results.remove(1))
}

/// The `k` largest or smallest of all `k` elements, and the others in the order of their positions.
pub(super) fn sort(e: &mut Emitter, at: &Site<'_>, attrs: &SortAttrs) -> Result<Vec<Val>, Refusal> {
    let operands = at.all_full(e, 0)?;
    let key = &operands[0];
    let wide = if is_narrow(key.dtype()) { e.cast(key, DType::I32) } else { key.clone() };
    let count = e.extent(key.dim(attrs.dim))?;
    let axis = int("axis", attrs.dim as i64);
    let settings = vec![axis.clone(), int("largest", attrs.descending.into()), int("sorted", 1)];
    let types = [wide.ty.clone(), key.ty.with_dtype(DType::I64)];
    if wide.dtype() == DType::BF16 {
        e.needs(bf16_since("TopK"));
    }
    let sorted = e.push("TopK", &[&wide.name, &count.name], settings, &types);
    let mut results = vec![e.cast(&sorted[0], key.dtype())];
    for other in &operands[1..] {
        results.push(e.op_with("GatherElements", &[other, &sorted[1]], vec![axis.clone()], other.ty.clone()));
    }
    Ok(results)
}
