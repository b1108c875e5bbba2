//! Products of matrices, Einstein sums, determinants.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{apply, einsum};
use nnc_ir::Op;
use nnc_ir::ops::DotAttrs;

use super::elementwise::pair;
use super::{Entry, Outcome, one, op};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[
    op("Det", 11.., |cx| one(cx.input(0)?.det())),
    op("Einsum", 12.., |cx| one(einsum(&cx.string_or("equation", "")?, &cx.inputs()?))),
    op("Gemm", 1.., gemm),
    op("MatMul", 1.., matmul),
];

fn matmul(cx: &mut Cx<'_>) -> Outcome {
    let (x, y) = pair(cx)?;
    one(x.matmul(y))
}

/// `alpha * A * B + beta * C`, where `C` broadcasts and may be left out.
pub(super) fn gemm(cx: &mut Cx<'_>) -> Outcome {
    let (a, b) = pair(cx)?;
    if a.rank() != 2 || b.rank() != 2 {
        return Err(cx.invalid(format!("inputs 0 and 1 are {} and {}, expected matrices", a.ty(), b.ty())));
    }
    let (trans_a, trans_b) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    let attrs = DotAttrs {
        lhs_contract: vec![usize::from(!trans_a)],
        rhs_contract: vec![usize::from(trans_b)],
        ..DotAttrs::default()
    };
    let product = scaled(&apply(Op::DotGeneral(attrs), &[&a, &b]), cx.float_or("alpha", 1.0)?);
    one(match cx.optional(2)? {
        Some(c) => product + scaled(&c, cx.float_or("beta", 1.0)?),
        None => product,
    })
}

/// `factor * x` in the type of `x`.
fn scaled(x: &Tensor, factor: f64) -> Tensor {
    if factor == 1.0 { x.clone() } else { x * x.full_like(factor) }
}
