//! Positions of extrema.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{Reduced, where_};

use super::{Entry, Outcome, one, op};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op("ArgMax", 1.., |cx| position(cx, Tensor::argmax, Tensor::max)),
    op("ArgMin", 1.., |cx| position(cx, Tensor::argmin, Tensor::min)),
];

type Fold = fn(&Tensor, Reduced) -> Tensor;

/// Of equal elements the first counts, or with `select_last_index` the last.
fn position(cx: &Cx<'_>, arg: Fold, extremum: Fold) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", 0)?, x.rank())?;
    let kept = Reduced::keep(axis);
    let reduced = if cx.flag("keepdims", true)? { kept.clone() } else { Reduced::from(axis) };
    if !cx.flag("select_last_index", false)? {
        return one(arg(&x, reduced));
    }
    let x = x.detach();
    let mut is_extremum = x.eq(extremum(&x, kept));
    if x.dtype().is_float() {
        is_extremum = is_extremum.logical_or(x.isnan());
    }
    let counted: Vec<i64> = (0..x.rank()).map(|dim| if dim == axis { -1 } else { 1 }).collect();
    let place = Tensor::arange(x.size(axis as i64)).reshape(counted);
    one(where_(&is_extremum, place, -1).max(reduced))
}
