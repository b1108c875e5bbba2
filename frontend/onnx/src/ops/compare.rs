//! Comparisons and logic.

use std::cmp::Ordering;

use nnc_frontend::Tensor;
use nnc_ir::DType;

use super::elementwise::pair;
use super::{Entry, Outcome, ints, one, op};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op("And", 1.., |cx| logic(cx, |x, y| x.logical_and(y))),
    op("Equal", 1.., |cx| compare(cx, Ordering::is_eq, |x, y| x.eq(y))),
    op("Greater", 1.., |cx| compare(cx, Ordering::is_gt, |x, y| x.gt(y))),
    op("GreaterOrEqual", 12.., |cx| compare(cx, Ordering::is_ge, |x, y| x.ge(y))),
    op("Less", 1.., |cx| compare(cx, Ordering::is_lt, |x, y| x.lt(y))),
    op("LessOrEqual", 12.., |cx| compare(cx, Ordering::is_le, |x, y| x.le(y))),
    op("Not", 1.., |cx| one(!cx.input(0)?)),
    op("Or", 1.., |cx| logic(cx, |x, y| x.logical_or(y))),
    op("Xor", 1.., |cx| logic(cx, |x, y| x.logical_xor(y))),
];

fn compare(cx: &Cx<'_>, holds: fn(Ordering) -> bool, f: fn(&Tensor, &Tensor) -> Tensor) -> Outcome {
    if let Some(value) = ints::decided(cx, 2, |x| x[0].order(x[1]).map(holds)) {
        return Ok(vec![value]);
    }
    let (x, y) = pair(cx)?;
    one(f(&x, &y))
}

fn logic(cx: &Cx<'_>, f: fn(&Tensor, &Tensor) -> Tensor) -> Outcome {
    let (x, y) = pair(cx)?;
    if x.dtype() != DType::Bool {
        return Err(cx.invalid(format!("the inputs are {}, expected bool", cx.elem(0)?)));
    }
    one(f(&x, &y))
}
