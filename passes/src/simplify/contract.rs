//! Rules on contractions. Dimension numbers say which dimensions pair up, so that a transposition around a
//! `dot_general` costs nothing.

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Op, Value};

use super::Outcome::Node;
use super::{Outcome, Site, rule_table};

rule_table! {
    dot_of_transpose: "dot_general(transpose(x), y) -> dot_general(x, y), where free dimensions keep their order";
    transpose_of_dot: "transpose(dot_general(x, y)) -> dot_general(y, x), where the free dimensions change places";
}

fn dot_of_transpose(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::DotGeneral(attrs), &[lhs, rhs]) = (op, operands) else { return None };
    if let Some((source, batch, contract)) = through_transpose(site, lhs, &attrs.lhs_batch, &attrs.lhs_contract) {
        let attrs = DotAttrs { lhs_batch: batch, lhs_contract: contract, ..attrs.clone() };
        return Some(Node(Op::DotGeneral(attrs), vec![source, rhs]));
    }
    let (source, batch, contract) = through_transpose(site, rhs, &attrs.rhs_batch, &attrs.rhs_contract)?;
    let attrs = DotAttrs { rhs_batch: batch, rhs_contract: contract, ..attrs.clone() };
    Some(Node(Op::DotGeneral(attrs), vec![lhs, source]))
}

/// What `operand` is a transposition of, with the batch and contracted dimensions there.
fn through_transpose(
    site: &Site,
    operand: Value,
    batch: &[usize],
    contract: &[usize],
) -> Option<(Value, Vec<usize>, Vec<usize>)> {
    let (Op::Transpose(permutation), inner) = site.def(operand) else { return None };
    let free = DotAttrs::free_dims(permutation.len(), batch, contract);
    if !free.iter().map(|&dim| permutation[dim]).is_sorted() {
        return None;
    }
    let below = |dims: &[usize]| dims.iter().map(|&dim| permutation[dim]).collect();
    Some((inner[0], below(batch), below(contract)))
}

fn transpose_of_dot(site: &mut Site, op: &Op, operands: &[Value]) -> Option<Outcome> {
    let (Op::Transpose(permutation), &[product]) = (op, operands) else { return None };
    let (Op::DotGeneral(attrs), inner) = site.def(product) else { return None };
    // With another use the contraction would run twice.
    if !site.is_used_once(product) {
        return None;
    }
    let n_batch = attrs.lhs_batch.len();
    let n_lhs = site.ty(inner[0]).rank() - n_batch - attrs.lhs_contract.len();
    let rank = permutation.len();
    let swapped = (0..n_batch).chain(n_batch + n_lhs..rank).chain(n_batch..n_batch + n_lhs);
    if !permutation.iter().copied().eq(swapped) {
        return None;
    }
    // Products commute, and each element keeps its order of summation.
    let attrs = DotAttrs {
        lhs_batch: attrs.rhs_batch,
        rhs_batch: attrs.lhs_batch,
        lhs_contract: attrs.rhs_contract,
        rhs_contract: attrs.lhs_contract,
    };
    Some(Node(Op::DotGeneral(attrs), vec![inner[1], inner[0]]))
}
