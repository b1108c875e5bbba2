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
    if region.params().len() != operands.len() {
        return Err(format!("the region has {} parameters, expected {}", region.params().len(), operands.len()));
    }
    for (idx, (operand, &param)) in operands.iter().zip(region.params()).enumerate() {
        if *operand != region.ty(param) {
            return Err(format!("operand {idx} has type {operand}, expected {}", region.ty(param)));
        }
    }
    if region.results().is_empty() {
        return Err("the region has no results".to_string());
    }
    Ok(region.results().iter().map(|&result| region.ty(result).clone()).collect())
}
