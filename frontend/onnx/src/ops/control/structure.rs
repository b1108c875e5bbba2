//! Values as structures of tensors, which is all that loops and branches of the IR know.

use std::rc::Rc;

use nnc_frontend::Tensor;

use super::{Cx, Fault};
use crate::bound::Bound;
use crate::labels::{Maps, Picked};
use crate::value::{TensorValue, Value};

/// The tensors of a value in order; behind one of which only some slices count, their number.
pub(super) fn leaves(cx: &Cx<'_>, value: &Value, into: &mut Vec<Tensor>) -> Result<(), Fault> {
    match value {
        Value::Tensor(tensor) => {
            into.push(cx.walker.tensor(tensor));
            into.extend(tensor.bound.as_ref().map(|bound| (*bound.count).clone()));
        }
        Value::Sequence(elements) => elements.iter().try_for_each(|element| leaves(cx, element, into))?,
        Value::Optional(element) => element.iter().try_for_each(|element| leaves(cx, element, into))?,
        Value::Picked(picked) => into.push(picked.positions.clone()),
        Value::Maps(maps) => into.push(maps.values.clone()),
        Value::Strings(_) => return Err(cx.unsupported("strings that depend on tensors")),
    }
    Ok(())
}

/// The tensors of several values, one after the other.
pub(super) fn all_leaves(cx: &Cx<'_>, values: &[Value]) -> Result<Vec<Tensor>, Fault> {
    let mut tensors = Vec::new();
    values.iter().try_for_each(|value| leaves(cx, value, &mut tensors))?;
    Ok(tensors)
}

/// A value structured like `like`, of the next tensors. What was known of `like` is not known of it.
fn rebuild(like: &Value, tensors: &mut impl Iterator<Item = Tensor>) -> Value {
    match like {
        Value::Tensor(tensor) => {
            let mut next = || tensors.next().expect("a value is rebuilt from as many tensors as it has");
            let value = Value::with_elem(next(), tensor.elem);
            match &tensor.bound {
                Some(bound) => value.with_bound(Bound { count: Rc::new(next()), ..bound.clone() }),
                None => value,
            }
        }
        Value::Sequence(elements) => {
            Value::Sequence(elements.iter().map(|element| rebuild(element, tensors)).collect())
        }
        Value::Optional(element) => {
            Value::Optional(element.as_ref().map(|element| Box::new(rebuild(element, tensors))))
        }
        Value::Strings(strings) => Value::Strings(strings.clone()),
        Value::Picked(picked) => {
            let positions = tensors.next().expect("a value is rebuilt from as many tensors as it has");
            Value::Picked(Picked { positions, table: picked.table.clone() })
        }
        Value::Maps(maps) => {
            let values = tensors.next().expect("a value is rebuilt from as many tensors as it has");
            Value::Maps(Maps { values, keys: maps.keys.clone() })
        }
    }
}

/// Values structured like `like`, of these tensors.
pub(super) fn rebuild_all(like: &[Value], tensors: Vec<Tensor>) -> Vec<Value> {
    let mut tensors = tensors.into_iter();
    like.iter().map(|value| rebuild(value, &mut tensors)).collect()
}

/// Whether two values are structured alike, of tensors of the same types.
fn is_same(lhs: &Value, rhs: &Value) -> bool {
    match (lhs, rhs) {
        (Value::Tensor(lhs), Value::Tensor(rhs)) => {
            let axis = |tensor: &TensorValue| tensor.bound.as_ref().map(|bound| bound.axis);
            lhs.elem == rhs.elem && lhs.shape() == rhs.shape() && axis(lhs) == axis(rhs)
        }
        (Value::Sequence(lhs), Value::Sequence(rhs)) => all_same(lhs, rhs),
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(lhs)), Value::Optional(Some(rhs))) => is_same(lhs, rhs),
        (Value::Picked(lhs), Value::Picked(rhs)) => {
            lhs.table == rhs.table && lhs.positions.shape() == rhs.positions.shape()
        }
        (Value::Maps(lhs), Value::Maps(rhs)) => lhs.keys == rhs.keys && lhs.values.ty() == rhs.values.ty(),
        _ => false,
    }
}

/// [`is_same`] of each pair, of which there are as many on both sides.
pub(super) fn all_same(lhs: &[Value], rhs: &[Value]) -> bool {
    lhs.len() == rhs.len() && lhs.iter().zip(rhs).all(|(lhs, rhs)| is_same(lhs, rhs))
}

/// Whether a fault that is on record keeps a value from being one.
pub(super) fn is_poisoned(value: &Value) -> bool {
    match value {
        Value::Tensor(tensor) => tensor.is_poisoned(),
        Value::Sequence(elements) => elements.iter().any(is_poisoned),
        Value::Optional(element) => element.as_deref().is_some_and(is_poisoned),
        Value::Picked(picked) => picked.positions.is_poisoned(),
        Value::Maps(maps) => maps.values.is_poisoned(),
        Value::Strings(_) => false,
    }
}

/// Whether all that a value holds is known while importing.
pub(super) fn is_known(value: &Value) -> bool {
    match value {
        Value::Tensor(tensor) => tensor.known().is_some(),
        Value::Sequence(elements) => elements.iter().all(is_known),
        Value::Optional(element) => element.as_deref().is_none_or(is_known),
        Value::Strings(_) => true,
        Value::Picked(_) | Value::Maps(_) => false,
    }
}
