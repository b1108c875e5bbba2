//! Integers as bits.

use nnc_frontend::Tensor;

use super::elementwise::pair;
use super::{Entry, Outcome, one, op};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op("BitShift", 11.., shift),
    op("BitwiseAnd", 18.., |cx| bits(cx, |x, y| x.bitwise_and(y))),
    op("BitwiseNot", 18.., |cx| one(cx.input(0)?.bitwise_not())),
    op("BitwiseOr", 18.., |cx| bits(cx, |x, y| x.bitwise_or(y))),
    op("BitwiseXor", 18.., |cx| bits(cx, |x, y| x.bitwise_xor(y))),
];

fn bits(cx: &Cx<'_>, f: fn(&Tensor, &Tensor) -> Tensor) -> Outcome {
    let (x, y) = pair(cx)?;
    one(f(&x, &y))
}

/// A shift by the width or more leaves nothing but the sign.
fn shift(cx: &mut Cx<'_>) -> Outcome {
    match cx.string_or("direction", "")?.as_str() {
        "LEFT" => bits(cx, |x, y| x.bitwise_left_shift(y)),
        "RIGHT" => bits(cx, |x, y| x.bitwise_right_shift(y)),
        other => Err(cx.invalid(format!("attribute `direction` is `{other}`, expected `LEFT` or `RIGHT`"))),
    }
}
