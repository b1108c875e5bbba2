//! Reductions over axes.
//!
//! The axes are an attribute, and an input from operator set 18 on (of `ReduceSum` from 13). Without any, everything is
//! reduced, unless `noop_with_empty_axes` says that nothing is; what else the operator does to elements is done anyway.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{Reduced, apply};
use nnc_ir::ops::{ReduceAttrs, ReduceKind};
use nnc_ir::{DType, Dim, Op};

use super::{Entry, Outcome, ints, one, op};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("ReduceL1", 1.., |cx| reduce(cx, |x, axes| axes.fold(&x.abs(), ReduceKind::Sum))),
    op("ReduceL2", 1.., |cx| reduce(cx, l2)),
    op("ReduceLogSum", 1.., |cx| reduce(cx, |x, axes| axes.fold(x, ReduceKind::Sum).log())),
    op("ReduceLogSumExp", 1.., |cx| reduce(cx, log_sum_exp)),
    op("ReduceMax", 1.., |cx| reduce_ints(cx, ShapeInt::max, |x, axes| axes.fold(x, ReduceKind::Max))),
    op("ReduceMean", 1.., |cx| reduce(cx, mean)),
    op("ReduceMin", 1.., |cx| reduce_ints(cx, ShapeInt::min, |x, axes| axes.fold(x, ReduceKind::Min))),
    op("ReduceProd", 1.., |cx| reduce_ints(cx, ShapeInt::mul, |x, axes| axes.fold(x, ReduceKind::Prod))),
    op("ReduceSum", 1.., |cx| reduce_ints(cx, ShapeInt::add, |x, axes| axes.fold(x, ReduceKind::Sum))),
    op("ReduceSumSquare", 1.., |cx| reduce(cx, |x, axes| axes.fold(&x.square(), ReduceKind::Sum))),
];

/// What is reduced.
struct Axes {
    /// Increasing.
    dims: Vec<usize>,
    keep: bool,
}

impl Axes {
    fn of(cx: &Cx<'_>, rank: usize) -> Result<Self, Fault> {
        let keep = cx.flag("keepdims", true)?;
        let noop = cx.flag("noop_with_empty_axes", false)?;
        let mut dims = Vec::new();
        for axis in cx.axes(1)?.unwrap_or_default() {
            dims.push(cx.axis(axis, rank)?);
        }
        if dims.is_empty() && !noop {
            dims = (0..rank).collect();
        }
        dims.sort_unstable();
        dims.dedup();
        Ok(Self { dims, keep })
    }

    fn reduced(&self) -> Reduced {
        let dims = Reduced::from(self.dims.as_slice());
        if self.keep { Reduced::keep(dims) } else { dims }
    }

    /// A fold that stays in the element type, as ONNX has it: integers wrap.
    fn fold(&self, x: &Tensor, kind: ReduceKind) -> Tensor {
        if self.dims.is_empty() {
            return x.clone();
        }
        let folded = apply(Op::Reduce(ReduceAttrs { kind, dims: self.dims.clone() }), &[x]);
        if !self.keep || folded.is_poisoned() {
            return folded;
        }
        let mut kept = x.shape();
        for &dim in &self.dims {
            kept.0[dim] = Dim::from(1);
        }
        folded.reshape(kept)
    }
}

fn reduce(cx: &Cx<'_>, f: fn(&Tensor, &Axes) -> Tensor) -> Outcome {
    let x = cx.input(0)?;
    let axes = Axes::of(cx, x.rank())?;
    one(f(&x, &axes))
}

/// [`reduce`] for what is done to shapes too.
fn reduce_ints(
    cx: &Cx<'_>,
    of_ints: fn(&ShapeInt, &ShapeInt) -> Option<ShapeInt>,
    f: fn(&Tensor, &Axes) -> Tensor,
) -> Outcome {
    let value = cx.value(0)?;
    if ints::is_symbolic(&value)
        && let Some(own) = ints::ints_of(&value)
        && let [first, rest @ ..] = own.elements.as_slice()
    {
        let axes = Axes::of(cx, own.shape.len())?;
        let all = axes.dims.len() == own.shape.len();
        let folded = rest.iter().try_fold(first.clone(), |folded, next| of_ints(&folded, next));
        if let Some(folded) = folded.filter(|_| all) {
            let shape = if axes.keep { vec![1; own.shape.len()] } else { Vec::new() };
            return Ok(vec![Value::ints(vec![folded], shape, cx.elem(0)?)]);
        }
    }
    reduce(cx, f)
}

/// Integers are averaged without the fraction.
fn mean(x: &Tensor, axes: &Axes) -> Tensor {
    if axes.dims.is_empty() {
        return x.clone();
    }
    match x.dtype() {
        dtype if dtype.is_float() => x.mean(axes.reduced()),
        dtype => {
            let (sum, count) = (x.sum(axes.reduced()), x.ones_like().sum(axes.reduced()));
            sum.div_trunc(count).to_dtype(dtype)
        }
    }
}

fn l2(x: &Tensor, axes: &Axes) -> Tensor {
    match x.dtype() {
        dtype if axes.dims.is_empty() && dtype.is_signed() => x.abs(),
        _ if axes.dims.is_empty() => x.clone(),
        dtype if dtype.is_float() => x.norm(2.0, axes.reduced()),
        dtype => x.double().norm(2.0, axes.reduced()).to_dtype(dtype),
    }
}

fn log_sum_exp(x: &Tensor, axes: &Axes) -> Tensor {
    match x.dtype() {
        _ if axes.dims.is_empty() => x.clone(),
        dtype if dtype.is_float() => x.logsumexp(axes.reduced()),
        dtype => x.to_dtype(DType::F64).logsumexp(axes.reduced()).to_dtype(dtype),
    }
}
