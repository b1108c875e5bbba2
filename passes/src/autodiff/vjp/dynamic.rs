//! Rules of the slices at a run-time start, which are each other's adjoints.

use nnc_ir::builder::Built;
use nnc_ir::{Shape, Value};

use super::{Cotangents, Site};

/// The cotangent of the slice, put back among zeros.
pub(super) fn slice(mut site: Site<'_>) -> Built<Cotangents> {
    let (operand, starts, g) = (site.operands[0], &site.operands[1..], site.cotangent);
    let zeros = site.b.zeros_like(operand)?;
    let whole = site.b.dynamic_update_slice(zeros, g, starts)?;
    Ok(with_starts(vec![Some(whole)], starts))
}

/// The update gets the cotangent of its slice, the operand that of the rest.
pub(super) fn update_slice(mut site: Site<'_>) -> Built<Cotangents> {
    let (update, starts, g) = (site.operands[1], &site.operands[2..], site.cotangent);
    let rest = site.give(0, |b| {
        let zeros = b.zeros_like(update)?;
        b.dynamic_update_slice(g, zeros, starts)
    })?;
    let slice = site.give(1, |b| {
        let sizes: Shape = b.shape(update).clone();
        b.dynamic_slice(g, starts, sizes)
    })?;
    Ok(with_starts(vec![rest, slice], starts))
}

/// Starts are indices, and get no cotangents.
fn with_starts(mut cotangents: Cotangents, starts: &[Value]) -> Cotangents {
    cotangents.resize(cotangents.len() + starts.len(), None);
    cotangents
}
