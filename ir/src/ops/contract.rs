//! Rules of the contractions.

use super::movement::check_dims;
use super::{DotAttrs, InferError};
use crate::types::{DType, Shape, TensorType};

pub(super) fn infer_dot(attrs: &DotAttrs, lhs: &TensorType, rhs: &TensorType) -> Result<TensorType, InferError> {
    // (c1) one element type, a number.
    if lhs.dtype != rhs.dtype || lhs.dtype == DType::Bool {
        return Err(format!("operands have types {lhs} and {rhs}, expected the same number type"));
    }
    // (c2) dimensions are distinct and in range.
    check_dims("lhs_batch and lhs_contract", &[attrs.lhs_batch.as_slice(), &attrs.lhs_contract].concat(), lhs.rank())?;
    check_dims("rhs_batch and rhs_contract", &[attrs.rhs_batch.as_slice(), &attrs.rhs_contract].concat(), rhs.rank())?;
    // (c3) batch and contracted dimensions pair up with equal extents.
    for (what, lhs_dims, rhs_dims) in
        [("batch", &attrs.lhs_batch, &attrs.rhs_batch), ("contracted", &attrs.lhs_contract, &attrs.rhs_contract)]
    {
        if lhs_dims.len() != rhs_dims.len() {
            return Err(format!("{} {what} dimensions of lhs meet {} of rhs", lhs_dims.len(), rhs_dims.len()));
        }
        for (&lhs_dim, &rhs_dim) in lhs_dims.iter().zip(rhs_dims) {
            if lhs.shape[lhs_dim] != rhs.shape[rhs_dim] {
                return Err(format!(
                    "{what} dimension {lhs_dim} of {lhs} is {}, but dimension {rhs_dim} of {rhs} is {}",
                    lhs.shape[lhs_dim], rhs.shape[rhs_dim]
                ));
            }
        }
    }
    let batch = attrs.lhs_batch.iter().map(|&dim| lhs.shape[dim].clone());
    let lhs_free = DotAttrs::free_dims(lhs.rank(), &attrs.lhs_batch, &attrs.lhs_contract);
    let rhs_free = DotAttrs::free_dims(rhs.rank(), &attrs.rhs_batch, &attrs.rhs_contract);
    let free = lhs_free.into_iter().map(|dim| &lhs.shape[dim]).chain(rhs_free.into_iter().map(|dim| &rhs.shape[dim]));
    Ok(TensorType { dtype: lhs.dtype, shape: Shape(batch.chain(free.cloned()).collect()) })
}
