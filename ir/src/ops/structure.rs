//! Operand and region counts of every op, and the rules of ops that own regions.

use super::{InferError, Op, Trait};
use crate::graph::Graph;
use crate::types::TensorType;

pub(super) fn check_counts(op: &Op, operands: &[&TensorType], regions: &[Graph]) -> Result<(), InferError> {
    let expected_regions = match op {
        Op::Fusion(_) | Op::Scan(_) => 1,
        Op::Cond | Op::While => 2,
        _ => 0,
    };
    if regions.len() != expected_regions {
        return Err(format!("{} regions, expected {expected_regions}", regions.len()));
    }
    let named = op.info().operands.len();
    if op.has(Trait::Variadic) {
        // A fusion of constants alone has no operands.
        let least = if op.has(Trait::HasRegions) { 0 } else { named };
        if operands.len() < least {
            return Err(format!("{} operands, expected at least {least}", operands.len()));
        }
    } else if operands.len() != named {
        return Err(format!("{} operands, expected {named}", operands.len()));
    }
    Ok(())
}

/// (c1) the region has one parameter an operand, of its type. (c2) the results are the region's.
pub(super) fn infer_fusion(operands: &[&TensorType], region: &Graph) -> Result<Vec<TensorType>, InferError> {
    check_n_params(region, operands.len(), "the region")?;
    for (idx, (operand, &param)) in operands.iter().zip(region.params()).enumerate() {
        if *operand != region.ty(param) {
            return Err(format!("operand {idx} has type {operand}, expected {}", region.ty(param)));
        }
    }
    if region.results().is_empty() {
        return Err("the region has no results".to_string());
    }
    Ok(result_types(region))
}

/// Checks how many parameters `region` has, which the message calls `name`.
pub(super) fn check_n_params(region: &Graph, expected: usize, name: &str) -> Result<(), InferError> {
    match region.params().len() {
        found if found == expected => Ok(()),
        found => Err(format!("{name} has {found} parameters, expected {expected}")),
    }
}

/// Types of the region's results.
pub(super) fn result_types(region: &Graph) -> Vec<TensorType> {
    region.results().iter().map(|&result| region.ty(result).clone()).collect()
}
