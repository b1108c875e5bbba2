//! Tensors whose extent along an axis depends on data: what `NonZero` or `NonMaxSuppression` find.
//!
//! Such a tensor has its greatest possible extent. What was found comes first, fill comes behind it, and a count goes
//! along: the [`Bound`]. Operators that treat the slices along the axis alike keep the bound, those that fold the slices
//! leave the fill out, and every other operator refuses (`rules` has the list), because it would take fill for data. At
//! an output of the model the count is a result of its own ([`Port::bound`](crate::Port)).

use std::rc::Rc;

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{Dim, TensorData};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::ops::{Import, Outcome, counting};
use crate::value::Value;

mod rules;

/// How many slices along an axis of a tensor count; fill comes behind them.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) axis: usize,
    /// An `i64` scalar. Tensors that share it have the same slices.
    pub(crate) count: Rc<Tensor>,
}

impl Bound {
    pub(crate) fn new(axis: usize, count: Tensor) -> Self {
        Self { axis, count: Rc::new(count) }
    }

    /// The same count along another axis.
    pub(crate) fn along(&self, axis: usize) -> Self {
        Self { axis, count: self.count.clone() }
    }

    /// Whether both are the number of the same slices.
    pub(crate) fn same_count(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.count, &other.count)
    }

    /// `tensor` with `fill` in place of what does not count.
    fn filled(&self, tensor: &Tensor, fill: &Tensor) -> Tensor {
        let mut shape = vec![Dim::from(1); tensor.ty().rank()];
        shape[self.axis] = tensor.shape()[self.axis].clone();
        where_(&counting(&shape, self.axis).lt(&*self.count), tensor, fill)
    }
}

/// Imports a node some of whose inputs have a bound.
pub(crate) fn import(cx: &mut Cx<'_>, import: Import) -> Outcome {
    let bounds = cx.take_bounds()?;
    match rules::of(cx.op_type()) {
        Some(rule) => rule(cx, import, &bounds),
        None => Err(refusal(cx, &bounds)),
    }
}

/// The fault of an operator that cannot take what it is given.
fn refusal(cx: &Cx<'_>, bounds: &[Option<Bound>]) -> Fault {
    let found = bounds.iter().enumerate().find_map(|(input, bound)| Some((input, bound.as_ref()?.axis)));
    let (input, axis) = found.unwrap_or_default();
    cx.unsupported(format!(
        "operator `{}` on dimension {axis} of input {input}, whose extent is known only when the program runs",
        cx.op_type()
    ))
}

/// Every bound in a value, those of the parts of a sequence included.
pub(crate) fn is_bounded(value: &Value) -> bool {
    match value {
        Value::Tensor(value) => value.bound.is_some(),
        Value::Sequence(parts) => parts.iter().any(is_bounded),
        Value::Optional(inner) => inner.as_deref().is_some_and(is_bounded),
        Value::Strings(_) | Value::Picked(_) | Value::Maps(_) => false,
    }
}

/// The first `count` slices along `axis`: what a result with a bound stands for.
pub fn crop(data: &TensorData, axis: usize, count: usize) -> TensorData {
    let inner: usize = data.shape[axis + 1..].iter().product::<usize>() * data.dtype.size();
    let row = data.shape[axis] * inner;
    let count = count.min(data.shape[axis]);
    let mut shape = data.shape.clone();
    shape[axis] = count;
    let outer: usize = data.shape[..axis].iter().product();
    let bytes: Vec<u8> =
        (0..outer).flat_map(|block| data.bytes[block * row..][..count * inner].iter().copied()).collect();
    TensorData::new(data.dtype, shape, bytes)
}
