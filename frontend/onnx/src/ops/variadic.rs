//! Folds of any number of inputs, element by element.

use nnc_frontend::Tensor;

use super::{Entry, Outcome, ints, one, op};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;

pub(super) const OPS: &[Entry] = &[
    op("Max", 6.., |cx| extremum(cx, ShapeInt::max, |x, y| x.maximum(y))),
    op("Mean", 6.., mean),
    op("Min", 6.., |cx| extremum(cx, ShapeInt::min, |x, y| x.minimum(y))),
    op("Sum", 6.., |cx| one(fold(cx, |x, y| x + y)?)),
];

fn fold(cx: &Cx<'_>, f: fn(&Tensor, &Tensor) -> Tensor) -> Result<Tensor, Fault> {
    let elem = cx.elem(0)?;
    let mut result = cx.input(0)?;
    for index in 1..cx.n_inputs() {
        let other = cx.elem(index)?;
        if other != elem {
            return Err(cx.invalid(format!("input {index} is {other}, expected {elem} as input 0")));
        }
        result = f(&result, &cx.input(index)?);
    }
    Ok(result)
}

fn extremum(
    cx: &Cx<'_>,
    of_ints: fn(&ShapeInt, &ShapeInt) -> Option<ShapeInt>,
    f: fn(&Tensor, &Tensor) -> Tensor,
) -> Outcome {
    let folded = |x: &[&ShapeInt]| x[1..].iter().try_fold(x[0].clone(), |best, next| of_ints(&best, next));
    match ints::arithmetic(cx, cx.n_inputs(), folded) {
        Some(value) => Ok(vec![value]),
        None => one(fold(cx, f)?),
    }
}

fn mean(cx: &mut Cx<'_>) -> Outcome {
    one(fold(cx, |x, y| x + y)? / cx.n_inputs() as f64)
}
