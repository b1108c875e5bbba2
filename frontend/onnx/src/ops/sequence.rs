//! Sequences and optionals: lists whose lengths are known while importing.
//!
//! They leave nothing in the graph. So positions and lengths of parts must be known.

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
        Ok(vec![Value::Optional(element)])
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
        let mut elements = sequence(cx)?;
        let at = position(cx, 1, elements.len())?;
        Ok(vec![elements.swap_remove(at)])
    }),
    op("SequenceConstruct", 11.., |cx| {
        let elements: Result<Vec<Value>, Fault> = (0..cx.n_inputs()).map(|index| cx.value(index)).collect();
        Ok(vec![Value::Sequence(elements?)])
    }),
    op("SequenceEmpty", 11.., |_| Ok(vec![Value::Sequence(Vec::new())])),
    op("SequenceErase", 11.., |cx| {
        let mut elements = sequence(cx)?;
        let at = if cx.has(1) { position(cx, 1, elements.len())? } else { elements.len().saturating_sub(1) };
        if elements.is_empty() {
            return Err(cx.invalid("the sequence is empty"));
        }
        elements.remove(at);
        Ok(vec![Value::Sequence(elements)])
    }),
    op("SequenceInsert", 11.., |cx| {
        let mut elements = sequence(cx)?;
        // Behind the last is a place too, and -1 is before the last.
        let n = elements.len() as i64;
        let given = if cx.has(2) { cx.known_int(2)? } else { n };
        let at = if given < 0 { given + n } else { given };
        if !(0..=n).contains(&at) {
            return Err(cx.invalid(format!("position {given} in a sequence of {n}, expected {} to {n}", -n)));
        }
        elements.insert(at as usize, cx.value(1)?);
        Ok(vec![Value::Sequence(elements)])
    }),
    op("SequenceLength", 11.., |cx| {
        let n = sequence(cx)?.len() as i64;
        one(Tensor::from_data(TensorData::from_i64(Vec::new(), &[n])))
    }),
    op("SplitToSequence", 11.., split),
];

/// The sequence in input 0.
fn sequence(cx: &Cx<'_>) -> Result<Vec<Value>, Fault> {
    match cx.value(0)? {
        Value::Sequence(elements) => Ok(elements),
        Value::Optional(Some(element)) if matches!(*element, Value::Sequence(_)) => match *element {
            Value::Sequence(elements) => Ok(elements),
            _ => unreachable!("just matched"),
        },
        _ => Err(cx.invalid("input 0 is no sequence, expected one")),
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
            /// Each part is a tensor of its own.
            const MOST: usize = 1 << 16;
            let n = extent.div_ceil(each);
            if n > MOST {
                return Err(cx.unsupported(format!("a sequence of {n} parts, expected at most {MOST}")));
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
    Ok(vec![Value::Sequence(parts)])
}
