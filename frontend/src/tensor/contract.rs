//! Contractions: matrix products.

use nnc_ir::ops::DotAttrs;
use nnc_ir::{Dim, Op, Shape};

use super::arith::{broadcast_shape, stretch};
use super::{Tensor, ToTensor, apply, fault, live};

#[track_caller]
pub(super) fn dot(lhs: &Tensor, rhs: &Tensor, attrs: DotAttrs) -> Tensor {
    apply(Op::DotGeneral(attrs), &[lhs, rhs])
}

impl Tensor {
    /// Matrix product, PyTorch's `@`: two vectors give a scalar; a vector counts as a row on the left and a column on
    /// the right; dimensions before the last two are batch dimensions and broadcast.
    #[track_caller]
    pub fn matmul(&self, other: impl ToTensor) -> Tensor {
        let other = other.to_tensor();
        let (lhs_ty, rhs_ty) = (live!(self), live!(other));
        if lhs_ty.rank() == 0 || rhs_ty.rank() == 0 {
            return fault(format!("matmul: {lhs_ty} and {rhs_ty}, expected at least one dimension each"));
        }
        if lhs_ty.dtype != rhs_ty.dtype {
            return fault(format!("matmul: {lhs_ty} and {rhs_ty} differ in element type; convert one with `to_dtype`"));
        }
        let lhs_contract = lhs_ty.rank() - 1;
        let rhs_contract = rhs_ty.rank().saturating_sub(2);
        if lhs_ty.shape[lhs_contract] != rhs_ty.shape[rhs_contract] {
            return fault(format!(
                "matmul: {lhs_ty} and {rhs_ty} do not fit: {} columns on the left, {} rows on the right",
                lhs_ty.shape[lhs_contract], rhs_ty.shape[rhs_contract]
            ));
        }
        // Without batch dimensions on the right, those on the left are more rows.
        if rhs_ty.rank() <= 2 {
            let attrs =
                DotAttrs { lhs_contract: vec![lhs_contract], rhs_contract: vec![rhs_contract], ..DotAttrs::default() };
            return dot(self, &other, attrs);
        }
        let lhs = if lhs_ty.rank() == 1 { self.unsqueeze(0) } else { self.clone() };
        let (lhs_shape, rhs_shape) = (lhs.shape().0, rhs_ty.shape.0.clone());
        let (lhs_batch, lhs_matrix) = lhs_shape.split_at(lhs_shape.len() - 2);
        let (rhs_batch, rhs_matrix) = rhs_shape.split_at(rhs_shape.len() - 2);
        let Some(batch) = broadcast_shape(&Shape(lhs_batch.to_vec()), &Shape(rhs_batch.to_vec())) else {
            return fault(format!("matmul: the batch dimensions of {lhs_ty} and {rhs_ty} do not broadcast"));
        };
        let n_batch = batch.rank();
        let with_batch = |matrix: &[Dim]| Shape([batch.dims(), matrix].concat());
        let lhs = stretch(&lhs, &with_batch(lhs_matrix));
        let rhs = stretch(&other, &with_batch(rhs_matrix));
        let attrs = DotAttrs {
            lhs_batch: (0..n_batch).collect(),
            rhs_batch: (0..n_batch).collect(),
            lhs_contract: vec![n_batch + 1],
            rhs_contract: vec![n_batch],
        };
        let product = dot(&lhs, &rhs, attrs);
        if lhs_ty.rank() == 1 { product.squeeze(-2) } else { product }
    }

    /// Product of two matrices: [`Tensor::matmul`].
    #[track_caller]
    pub fn mm(&self, other: impl ToTensor) -> Tensor {
        self.matmul(other)
    }

    /// Products of two stacks of matrices: [`Tensor::matmul`].
    #[track_caller]
    pub fn bmm(&self, other: impl ToTensor) -> Tensor {
        self.matmul(other)
    }

    /// Inner product of two vectors.
    #[track_caller]
    pub fn dot(&self, other: impl ToTensor) -> Tensor {
        let other = other.to_tensor();
        let (lhs_ty, rhs_ty) = (live!(self), live!(other));
        if lhs_ty.rank() != 1 || rhs_ty.rank() != 1 {
            return fault(format!("dot: {lhs_ty} and {rhs_ty}, expected two vectors"));
        }
        self.matmul(other)
    }

    /// `x · weightᵀ + bias` over the last dimension: what a `Linear` layer computes. `weight` is `[out, in]`.
    #[track_caller]
    pub fn linear(&self, weight: impl ToTensor, bias: Option<&dyn ToTensor>) -> Tensor {
        let weight = weight.to_tensor();
        let (ty, weight_ty) = (live!(self), live!(weight));
        if weight_ty.rank() != 2 {
            return fault(format!("linear: the weight is {weight_ty}, expected two dimensions, [out, in]"));
        }
        if ty.shape.dims().last() != Some(&weight_ty.shape[1]) {
            return fault(format!(
                "linear: the input is {ty}, expected {} features in the last dimension for a weight of {weight_ty}",
                weight_ty.shape[1]
            ));
        }
        if ty.dtype != weight_ty.dtype {
            return fault(format!(
                "linear: the input is {ty}, expected element type {} as the weight",
                weight_ty.dtype
            ));
        }
        let attrs = DotAttrs { lhs_contract: vec![ty.rank() - 1], rhs_contract: vec![1], ..DotAttrs::default() };
        let product = dot(self, &weight, attrs);
        match bias {
            Some(bias) => product + bias.to_tensor(),
            None => product,
        }
    }
}
