//! Sequences and optionals: lists whose lengths are known while importing.
//!
//! They leave nothing in the graph. So positions and lengths of parts must be known.

use std::rc::Rc;

use nnc_frontend::Tensor;
use nnc_ir::{DType, TensorData};

use super::{Entry, Outcome, one, op};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const OPS: &[Entry] = &[
    op("ConcatFromSequence", 11.., concat),
    op("Optional", 15.., |cx| {
        let element = if cx.has(0) { Some(Box::new(cx.value(0)?)) } else { None };
        match element.as_deref() {
            Some(Value::Optional(_)) => Err(cx.invalid("input 0 is an optional, expected a tensor or a sequence")),
            _ => Ok(vec![Value::Optional(element)]),
        }
    }),
    op("OptionalGetElement", 15.., |cx| match cx.value(0)? {
        Value::Optional(Some(element)) => Ok(vec![*element]),
        Value::Optional(None) => Err(cx.invalid("input 0 is an optional without an element")),
        value => Ok(vec![value]),
    }),
    op("OptionalHasElement", 15.., |cx| {
        let has = cx.has(0) && !matches!(cx.value(0)?, Value::Optional(None));
        one(Tensor::from_data(TensorData::from_integers(DType::Bool, Vec::new(), [i64::from(has)])))
    }),
    op("SequenceAt", 11.., |cx| {
        let elements = sequence(cx)?;
        Ok(vec![elements[position(cx, 1, elements.len())?].clone()])
    }),
    op("SequenceConstruct", 11.., |cx| {
        let elements: Result<Vec<Value>, Fault> = (0..cx.n_inputs()).map(|index| cx.value(index)).collect();
        Ok(vec![of_parts(cx, elements?)?])
    }),
    op("SequenceEmpty", 11.., |_| Ok(vec![Value::Sequence(Rc::default())])),
    op("SequenceErase", 11.., |cx| {
        let mut elements = sequence(cx)?.to_vec();
        let at = if cx.has(1) { position(cx, 1, elements.len())? } else { elements.len().saturating_sub(1) };
        if elements.is_empty() {
            return Err(cx.invalid("the sequence is empty"));
        }
        elements.remove(at);
        Ok(vec![of_parts(cx, elements)?])
    }),
    op("SequenceInsert", 11.., |cx| {
        let mut elements = sequence(cx)?.to_vec();
        // Behind the last is a place too, and -1 is before the last.
        let n = elements.len() as i64;
        let given = if cx.has(2) { cx.known_int(2)? } else { n };
        let at = if given < 0 { given + n } else { given };
        if !(0..=n).contains(&at) {
            return Err(cx.invalid(format!("position {given} in a sequence of {n}, expected {} to {n}", -n)));
        }
        elements.insert(at as usize, cx.value(1)?);
        Ok(vec![of_parts(cx, elements)?])
    }),
    op("SequenceLength", 11.., |cx| {
        let n = sequence(cx)?.len() as i64;
        one(Tensor::from_data(TensorData::from_i64(Vec::new(), &[n])))
    }),
    op("SplitToSequence", 11.., split),
];

/// The sequence in input 0.
fn sequence(cx: &Cx<'_>) -> Result<Rc<[Value]>, Fault> {
    let value = match cx.value(0)? {
        Value::Optional(Some(element)) => *element,
        value => value,
    };
    match value {
        Value::Sequence(elements) => Ok(elements),
        _ => Err(cx.invalid("input 0 is no sequence, expected one")),
    }
}

/// A sequence has at most this many parts: each is a value of its own, and what changes a sequence copies the list.
const MOST_PARTS: usize = 1 << 12;

/// The sequence of these parts.
pub(super) fn of_parts(cx: &Cx<'_>, parts: Vec<Value>) -> Result<Value, Fault> {
    if parts.len() > MOST_PARTS {
        return Err(cx.unsupported(format!("a sequence of {} parts, expected at most {MOST_PARTS}", parts.len())));
    }
    match parts.iter().position(|part| !matches!(part, Value::Tensor(_) | Value::Strings(_))) {
        Some(at) => Err(cx.invalid(format!("part {at} of the sequence is no tensor, expected one"))),
        None => Ok(Value::Sequence(parts.into())),
    }
}

/// The position in input `index`, counted from the front.
fn position(cx: &Cx<'_>, index: usize, n: usize) -> Result<usize, Fault> {
    let given = cx.known_int(index)?;
    let at = if given < 0 { given + n as i64 } else { given };
    match usize::try_from(at) {
        Ok(at) if at < n => Ok(at),
        _ => Err(cx.invalid(format!("position {given} in a sequence of {n}"))),
    }
}

/// Joins the tensors along `axis`, or stacks them along a new one.
fn concat(cx: &mut Cx<'_>) -> Outcome {
    let axis = cx.int("axis")?.ok_or_else(|| cx.invalid("attribute `axis` is left out"))?;
    let elements = sequence(cx)?;
    let mut elem = None;
    let mut tensors = Vec::with_capacity(elements.len());
    for (idx, element) in elements.iter().enumerate() {
        let tensor = cx.tensor_of(element);
        let (Some(tensor), Value::Tensor(value)) = (tensor, element) else {
            return Err(cx.unsupported(format!("element {idx} of the sequence is no tensor of numbers")));
        };
        elem.get_or_insert(value.elem);
        tensors.push(tensor);
    }
    let joined = if cx.flag("new_axis", false)? { Tensor::stack(&tensors, axis) } else { Tensor::cat(&tensors, axis) };
    Ok(vec![Value::with_elem(joined, elem.unwrap_or(ElemType::Float))])
}

/// Parts of the extents in input 1, or all of the one extent there; without it of one element each, whose axis
/// `keepdims` = 0 drops.
fn split(cx: &mut Cx<'_>) -> Outcome {
    let (x, elem) = (cx.input(0)?, cx.elem(0)?);
    let dim = cx.axis(cx.int_or("axis", 0)?, x.rank())?;
    let Some(extent) = x.size(dim as i64).as_const() else {
        return Err(cx.unsupported(format!("splitting the symbolic axis {dim} of {}; bind the symbol", x.ty())));
    };
    let drop_axis = !cx.has(1) && !cx.flag("keepdims", true)?;
    let given = if cx.has(1) { Some(cx.known(1)?) } else { None };
    let lengths: Vec<usize> = match &given {
        Some(lengths) if !lengths.shape.is_empty() => {
            let lengths: Option<Vec<usize>> = lengths.to_i64().into_iter().map(|n| usize::try_from(n).ok()).collect();
            lengths.ok_or_else(|| cx.invalid("input 1 has a negative length"))?
        }
        scalar => {
            let each = scalar.as_ref().map_or(1, |scalar| scalar.get(0).to_i64());
            let Some(each) = usize::try_from(each).ok().filter(|&each| each > 0) else {
                return Err(cx.invalid(format!("input 1, the length of the parts, is {each}, expected at least 1")));
            };
            let n = extent.div_ceil(each);
            if n > MOST_PARTS {
                return Err(cx.unsupported(format!("a sequence of {n} parts, expected at most {MOST_PARTS}")));
            }
            (0..extent).step_by(each).map(|start| each.min(extent - start)).collect()
        }
    };
    let total = lengths.iter().fold(0usize, |total, &length| total.saturating_add(length));
    if total != extent {
        return Err(cx.invalid(format!("the parts have {total} elements, expected {extent}")));
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(lengths.len());
    for length in lengths {
        let part = x.narrow(dim as i64, start, length);
        start += length;
        let part = if drop_axis { part.squeeze(dim as i64) } else { part };
        parts.push(Value::with_elem(part, elem));
    }
    Ok(vec![of_parts(cx, parts)?])
}
