//! Running sums and products.

use nnc_frontend::tensor::apply;
use nnc_ir::Op;
use nnc_ir::ops::{CumulativeAttrs, ReduceKind};

use super::{Entry, Outcome, one, op};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op("CumProd", 26.., |cx| running(cx, ReduceKind::Prod, 1.0)),
    op("CumSum", 11.., |cx| running(cx, ReduceKind::Sum, 0.0)),
];

/// Folds in the element type. With `exclusive` each element folds those before it alone, beginning with `identity`.
fn running(cx: &Cx<'_>, kind: ReduceKind, identity: f64) -> Outcome {
    let x = cx.input(0)?;
    let dim = cx.axis(cx.known_int(1)?, x.rank())?;
    let reverse = cx.flag("reverse", false)?;
    let folded = apply(Op::Cumulative(CumulativeAttrs { kind, dim, reverse }), &[&x]);
    if !cx.flag("exclusive", false)? {
        return one(folded);
    }
    // Amounts are given from the last dimension on.
    let mut amounts = vec![(0, 0); x.rank() - dim];
    amounts[x.rank() - 1 - dim] = if reverse { (-1, 1) } else { (1, -1) };
    one(folded.pad(&amounts, identity))
}
