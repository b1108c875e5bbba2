//! Rule of `dot_general`.

use nnc_ir::builder::Built;
use nnc_ir::ops::DotAttrs;
use nnc_ir::{Builder, Value};

use super::{Cotangents, Site};

/// Each operand's cotangent is the contraction of the result's cotangent with the other operand over the other's
/// free dimensions.
pub(super) fn dot_general(attrs: &DotAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (lhs, rhs, g) = (site.operands[0], site.operands[1], site.cotangent);
    let lhs_rank = site.b.shape(lhs).rank();
    let rhs_rank = site.b.shape(rhs).rank();
    let n_batch = attrs.lhs_batch.len();
    let lhs_free = DotAttrs::free_dims(lhs_rank, &attrs.lhs_batch, &attrs.lhs_contract);
    let rhs_free = DotAttrs::free_dims(rhs_rank, &attrs.rhs_batch, &attrs.rhs_contract);
    // Dimensions of the result, hence of its cotangent: batch, free of lhs, free of rhs.
    let lhs_in_result: Vec<usize> = (n_batch..n_batch + lhs_free.len()).collect();
    let rhs_in_result: Vec<usize> = (n_batch + lhs_free.len()..n_batch + lhs_free.len() + rhs_free.len()).collect();

    let lhs_cotangent = site.give(0, |b| {
        let side = Side { batch: &attrs.lhs_batch, free: &lhs_free, contract: &attrs.lhs_contract };
        let other = Side { batch: &attrs.rhs_batch, free: &rhs_free, contract: &attrs.rhs_contract };
        adjoint(b, g, rhs, &rhs_in_result, &side, &other)
    })?;
    let rhs_cotangent = site.give(1, |b| {
        let side = Side { batch: &attrs.rhs_batch, free: &rhs_free, contract: &attrs.rhs_contract };
        let other = Side { batch: &attrs.lhs_batch, free: &lhs_free, contract: &attrs.lhs_contract };
        adjoint(b, g, lhs, &lhs_in_result, &side, &other)
    })?;
    Ok(vec![lhs_cotangent, rhs_cotangent])
}

/// The dimensions of one operand by role.
struct Side<'a> {
    batch: &'a [usize],
    free: &'a [usize],
    contract: &'a [usize],
}

/// The cotangent of the operand `side` describes: `g` contracted with `other` along `other`'s free dimensions, which
/// are `other_in_result` of `g`. Of the two operand orders the one is taken that needs no transposition, if there is
/// one: for `x[n, k] . w[m, k]` the cotangent of `w` is `g . x` over `n`, already `[m, k]`.
fn adjoint(
    b: &mut Builder<'_>,
    g: Value,
    other_value: Value,
    other_in_result: &[usize],
    side: &Side<'_>,
    other: &Side<'_>,
) -> Built {
    let g_batch: Vec<usize> = (0..side.batch.len()).collect();
    // The contracted dimensions come out in the order in which they stand in `other`.
    let mut pairs: Vec<(usize, usize)> = other.contract.iter().copied().zip(side.contract.iter().copied()).collect();
    pairs.sort_unstable();
    let contracted: Vec<usize> = pairs.into_iter().map(|(_, dim)| dim).collect();

    let g_first = [side.batch, side.free, &contracted].concat();
    let g_last = [side.batch, &contracted, side.free].concat();
    let (layout, product) = if g_first.is_sorted() || !g_last.is_sorted() {
        let attrs = DotAttrs {
            lhs_batch: g_batch,
            rhs_batch: other.batch.to_vec(),
            lhs_contract: other_in_result.to_vec(),
            rhs_contract: other.free.to_vec(),
        };
        (g_first, b.dot(g, other_value, attrs)?)
    } else {
        let attrs = DotAttrs {
            lhs_batch: other.batch.to_vec(),
            rhs_batch: g_batch,
            lhs_contract: other.free.to_vec(),
            rhs_contract: other_in_result.to_vec(),
        };
        (g_last, b.dot(other_value, g, attrs)?)
    };
    b.transpose(product, &inverse(&layout))
}

/// The permutation that undoes `permutation`.
pub(super) fn inverse(permutation: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; permutation.len()];
    for (to, &from) in permutation.iter().enumerate() {
        inverse[from] = to;
    }
    inverse
}
