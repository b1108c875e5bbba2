//! Rules of the movement ops.

use super::{InferError, Op};
use crate::dim::Dim;
use crate::types::{Shape, TensorType};

pub(super) fn infer(op: &Op, operands: &[&TensorType]) -> Result<TensorType, InferError> {
    let operand = operands[0];
    let rank = operand.rank();
    let with_shape = |shape: Shape| TensorType { dtype: operand.dtype, shape };
    match op {
        Op::Reshape(shape) => {
            // (c1) the number of elements is kept.
            if shape.n_elements() != operand.shape.n_elements() {
                return Err(format!("operand has type {operand}, which cannot be reshaped to {shape}"));
            }
            Ok(with_shape(shape.clone()))
        }
        Op::Transpose(permutation) => {
            let mut sorted = permutation.clone();
            sorted.sort_unstable();
            if sorted != (0..rank).collect::<Vec<_>>() {
                return Err(format!("permutation {permutation:?} does not fit operand type {operand}"));
            }
            Ok(with_shape(Shape(permutation.iter().map(|&dim| operand.shape[dim].clone()).collect())))
        }
        Op::BroadcastInDim(attrs) => {
            if attrs.dims.len() != rank {
                return Err(format!("dims {:?} has {} entries, expected {rank}", attrs.dims, attrs.dims.len()));
            }
            if !attrs.dims.is_sorted_by(|lhs, rhs| lhs < rhs) {
                return Err(format!("dims {:?} does not increase", attrs.dims));
            }
            for (dim, &target) in attrs.dims.iter().enumerate() {
                let Some(extent) = attrs.shape.dims().get(target) else {
                    return Err(format!("dim {target} is out of range for result shape {}", attrs.shape));
                };
                if operand.shape[dim] != *extent && operand.shape[dim] != Dim::from(1) {
                    return Err(format!(
                        "operand dimension {dim} of {operand} is {}, expected 1 or {extent}",
                        operand.shape[dim]
                    ));
                }
            }
            Ok(with_shape(attrs.shape.clone()))
        }
        Op::Slice(attrs) => {
            check_len("start", attrs.start.len(), operand)?;
            check_len("limit", attrs.limit.len(), operand)?;
            check_len("stride", attrs.stride.len(), operand)?;
            let mut shape = Vec::with_capacity(rank);
            for dim in 0..rank {
                let (start, limit, stride) = (&attrs.start[dim], &attrs.limit[dim], attrs.stride[dim]);
                if stride == 0 || i64::try_from(stride).is_err() {
                    return Err(format!("stride of dimension {dim} is {stride}, expected 1 to {}", i64::MAX));
                }
                if let (Some(start), Some(limit)) = (start.as_const(), limit.as_const())
                    && start > limit
                {
                    return Err(format!("dimension {dim} is sliced from {start} to {limit}"));
                }
                if let (Some(limit), Some(extent)) = (limit.as_const(), operand.shape[dim].as_const())
                    && limit > extent
                {
                    return Err(format!("limit {limit} of dimension {dim} is beyond operand type {operand}"));
                }
                let span = limit.clone() - start.clone() + Dim::from(stride - 1);
                shape.push(span.floor_div(&Dim::from(stride)));
            }
            Ok(with_shape(Shape(shape)))
        }
        Op::Pad(attrs) => {
            check_len("low", attrs.low.len(), operand)?;
            check_len("high", attrs.high.len(), operand)?;
            check_len("interior", attrs.interior.len(), operand)?;
            let value = TensorType::scalar(operand.dtype);
            if *operands[1] != value {
                return Err(format!("operand `value` has type {}, expected {value}", operands[1]));
            }
            let mut shape = Vec::with_capacity(rank);
            for dim in 0..rank {
                let extent = &operand.shape[dim];
                // An empty dimension has no gaps to fill.
                let spread = match extent.as_const() {
                    Some(0) => Dim::from(0),
                    _ => extent.clone() + (extent.clone() - Dim::from(1)) * Dim::from(attrs.interior[dim]),
                };
                let edges = attrs.low[dim].saturating_add(attrs.high[dim]);
                let padded = if edges >= 0 {
                    spread + Dim::from(edges as usize)
                } else {
                    let crop = edges.unsigned_abs() as usize;
                    if spread.as_const().is_some_and(|spread| spread < crop) {
                        return Err(format!("dimension {dim} of {operand} is padded to less than nothing"));
                    }
                    spread - Dim::from(crop)
                };
                shape.push(padded);
            }
            Ok(with_shape(Shape(shape)))
        }
        Op::Concatenate(dim) => {
            if *dim >= rank {
                return Err(format!("dim {dim} is out of range for operand type {operand}"));
            }
            let mut shape = operand.shape.clone();
            for (idx, other) in operands.iter().enumerate().skip(1) {
                let fits = other.dtype == operand.dtype
                    && other.rank() == rank
                    && (0..rank).all(|at| at == *dim || other.shape[at] == operand.shape[at]);
                if !fits {
                    return Err(format!("operand {idx} has type {other}, expected {operand} but for dimension {dim}"));
                }
                shape.0[*dim] = shape.0[*dim].clone() + other.shape[*dim].clone();
            }
            Ok(with_shape(shape))
        }
        Op::Reverse(dims) => {
            check_dims("dims", dims, rank)?;
            Ok(operand.clone())
        }
        _ => unreachable!("{} is not a movement op", op.mnemonic()),
    }
}

fn check_len(what: &str, len: usize, operand: &TensorType) -> Result<(), InferError> {
    if len == operand.rank() {
        return Ok(());
    }
    Err(format!("{what} has {len} entries, expected {} for operand type {operand}", operand.rank()))
}

/// Checks that `dims` are distinct dimensions below `rank`.
pub(super) fn check_dims(what: &str, dims: &[usize], rank: usize) -> Result<(), InferError> {
    for (idx, dim) in dims.iter().enumerate() {
        if *dim >= rank {
            return Err(format!("{what} {dims:?} has dimension {dim}, expected less than {rank}"));
        }
        if dims[..idx].contains(dim) {
            return Err(format!("{what} {dims:?} repeats dimension {dim}"));
        }
    }
    Ok(())
}
