//! Reductions over dimensions.
//!
//! Which dimensions is one argument: a number (negative counts from the last), an array of numbers, or `..` for all
//! of them. The reduced dimensions vanish; wrapped in [`Reduced::keep`] they stay with extent 1. So PyTorch's
//! `x.sum(-1)` is the same here, `x.mean()` is `x.mean(..)`, and `x.sum(1, keepdim=True)` is
//! `x.sum(Reduced::keep(1))`, or shorter `x.sum_keepdim(1)`.

use std::ops::RangeFull;

use nnc_ir::ops::{ReduceAttrs, ReduceKind};
use nnc_ir::{DType, Dim, Op, Scalar, Shape, TensorType};

use super::arith::where_;
use super::{Tensor, apply, fault, live, resolve_dim, sound};
use crate::trace;

/// The dimensions of a reduction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduced {
    /// `None` is all.
    dims: Option<Vec<i64>>,
    keep: bool,
}

impl Reduced {
    /// `dims`, which stay in the result with extent 1.
    pub fn keep(dims: impl Into<Self>) -> Self {
        Self { keep: true, ..dims.into() }
    }

    fn of(dims: impl IntoIterator<Item = i64>) -> Self {
        Self { dims: Some(dims.into_iter().collect()), keep: false }
    }
}

impl From<RangeFull> for Reduced {
    fn from(_: RangeFull) -> Self {
        Self { dims: None, keep: false }
    }
}

macro_rules! reduced_from {
    ($($ty:ty),*) => {
        $(
            impl From<$ty> for Reduced {
                fn from(dim: $ty) -> Self {
                    Self::of([dim as i64])
                }
            }

            impl<const N: usize> From<[$ty; N]> for Reduced {
                fn from(dims: [$ty; N]) -> Self {
                    Self::of(dims.map(|dim| dim as i64))
                }
            }

            impl From<&[$ty]> for Reduced {
                fn from(dims: &[$ty]) -> Self {
                    Self::of(dims.iter().map(|&dim| dim as i64))
                }
            }
        )*
    };
}

reduced_from!(i32, i64, usize);

impl Tensor {
    /// Sum over `dims`; `bool` and narrow integers add up in `i64`.
    #[track_caller]
    pub fn sum(&self, dims: impl Into<Reduced>) -> Tensor {
        let ty = live!(self);
        let operand = if ty.dtype.is_float() { self.clone() } else { self.to_dtype(DType::I64) };
        reduce("sum", ReduceKind::Sum, &operand, dims.into())
    }

    /// [`Tensor::sum`] that keeps the reduced dimensions with extent 1.
    #[track_caller]
    pub fn sum_keepdim(&self, dims: impl Into<Reduced>) -> Tensor {
        self.sum(Reduced::keep(dims))
    }

    /// Product over `dims`.
    #[track_caller]
    pub fn prod(&self, dims: impl Into<Reduced>) -> Tensor {
        let ty = live!(self);
        let operand = if ty.dtype.is_float() { self.clone() } else { self.to_dtype(DType::I64) };
        reduce("prod", ReduceKind::Prod, &operand, dims.into())
    }

    /// Largest element over `dims` (`amax` in PyTorch); see [`Tensor::max_dim`] for the positions too.
    #[track_caller]
    pub fn max(&self, dims: impl Into<Reduced>) -> Tensor {
        reduce("max", ReduceKind::Max, self, dims.into())
    }

    /// [`Tensor::max`] that keeps the reduced dimensions with extent 1.
    #[track_caller]
    pub fn max_keepdim(&self, dims: impl Into<Reduced>) -> Tensor {
        self.max(Reduced::keep(dims))
    }

    /// Smallest element over `dims` (`amin` in PyTorch).
    #[track_caller]
    pub fn min(&self, dims: impl Into<Reduced>) -> Tensor {
        reduce("min", ReduceKind::Min, self, dims.into())
    }

    /// [`Tensor::min`] that keeps the reduced dimensions with extent 1.
    #[track_caller]
    pub fn min_keepdim(&self, dims: impl Into<Reduced>) -> Tensor {
        self.min(Reduced::keep(dims))
    }

    /// Largest elements along `dim` and their positions: PyTorch's `x.max(dim)`.
    #[track_caller]
    pub fn max_dim(&self, dim: i64) -> (Tensor, Tensor) {
        (self.max(dim), self.argmax(dim))
    }

    /// Smallest elements along `dim` and their positions: PyTorch's `x.min(dim)`.
    #[track_caller]
    pub fn min_dim(&self, dim: i64) -> (Tensor, Tensor) {
        (self.min(dim), self.argmin(dim))
    }

    /// `i64` position of the first largest element (row-major if over several dimensions).
    #[track_caller]
    pub fn argmax(&self, dims: impl Into<Reduced>) -> Tensor {
        reduce("argmax", ReduceKind::ArgMax, self, dims.into())
    }

    /// `i64` position of the first smallest element (row-major if over several dimensions).
    #[track_caller]
    pub fn argmin(&self, dims: impl Into<Reduced>) -> Tensor {
        reduce("argmin", ReduceKind::ArgMin, self, dims.into())
    }

    /// Whether any element is true (not 0).
    #[track_caller]
    pub fn any(&self, dims: impl Into<Reduced>) -> Tensor {
        reduce("any", ReduceKind::Any, &self.bool(), dims.into())
    }

    /// Whether all elements are true (not 0).
    #[track_caller]
    pub fn all(&self, dims: impl Into<Reduced>) -> Tensor {
        reduce("all", ReduceKind::All, &self.bool(), dims.into())
    }

    /// Arithmetic mean over `dims`.
    #[track_caller]
    pub fn mean(&self, dims: impl Into<Reduced>) -> Tensor {
        let dims = dims.into();
        let ty = live!(self);
        if !ty.dtype.is_float() {
            return fault(format!(
                "mean: the tensor is {ty}, expected a floating-point type; convert it with `float()`"
            ));
        }
        let n = sound!(count("mean", &ty, &dims));
        let sum = self.sum(dims);
        sum / n.of(ty.dtype)
    }

    /// [`Tensor::mean`] that keeps the reduced dimensions with extent 1.
    #[track_caller]
    pub fn mean_keepdim(&self, dims: impl Into<Reduced>) -> Tensor {
        self.mean(Reduced::keep(dims))
    }

    /// Mean, differences from it and the sum of their squares over `dims`, which stay with extent 1: the parts of every
    /// normalization. Squares are taken of differences, never subtracted from one another, so nothing cancels when the
    /// mean is large.
    #[track_caller]
    pub(crate) fn moments(&self, dims: &[usize]) -> Result<Moments, Tensor> {
        let Some(ty) = self.checked_ty() else { return Err(self.clone()) };
        let kept = Reduced::keep(dims);
        let count = count("moments", &ty, &kept)?.of(ty.dtype);
        let mean = self.sum(kept.clone()) / &count;
        let centered = self - &mean;
        let squares = centered.square().sum(kept);
        Ok(Moments { mean, centered, squares, count })
    }

    /// Variance over `dims`, divided by `n - correction`: 1 (PyTorch's default) is unbiased, 0 is of the sample itself.
    #[track_caller]
    pub fn var(&self, dims: impl Into<Reduced>, correction: usize) -> Tensor {
        let dims = dims.into();
        let ty = live!(self);
        let n = sound!(count("var", &ty, &dims));
        let centered = self - self.mean(Reduced::keep(dims.clone()));
        let sum = centered.square().sum(dims);
        let n = n.of(ty.dtype);
        let n = if correction == 0 { n } else { n - correction as i64 };
        sum / n
    }

    /// [`Tensor::var`] that keeps the reduced dimensions with extent 1.
    #[track_caller]
    pub fn var_keepdim(&self, dims: impl Into<Reduced>, correction: usize) -> Tensor {
        self.var(Reduced::keep(dims), correction)
    }

    /// Standard deviation over `dims`: the root of [`Tensor::var`].
    #[track_caller]
    pub fn std(&self, dims: impl Into<Reduced>, correction: usize) -> Tensor {
        self.var(dims, correction).sqrt()
    }

    /// The `p`-norm over `dims`: `(Σ |x|^p)^(1/p)`; infinity is the largest magnitude. The gradient of a zero vector is
    /// zero for `p` = 2.
    #[track_caller]
    pub fn norm(&self, p: f64, dims: impl Into<Reduced>) -> Tensor {
        if p == f64::INFINITY {
            self.abs().max(dims)
        } else if p == 1.0 {
            self.abs().sum(dims)
        } else if p == 2.0 {
            let squares = self.square().sum(dims);
            // The root's slope at 0 is infinite; its gradient would be infinity times zero.
            let zero = squares.eq(0);
            where_(&zero, 0, where_(&zero, 1, &squares).sqrt())
        } else {
            self.abs().pow(p).sum(dims).pow(1.0 / p)
        }
    }

    /// `ln Σ e^x` over `dims`, without overflow.
    #[track_caller]
    pub fn logsumexp(&self, dims: impl Into<Reduced>) -> Tensor {
        let dims = dims.into();
        let max = self.max(Reduced::keep(dims.clone())).detach();
        // A row of infinities has no finite largest element to take away.
        let max = where_(&max.isfinite(), &max, 0);
        let sum = (self - &max).exp().sum(Reduced::keep(dims.clone()));
        let kept = sum.log() + max;
        match dims.keep {
            true => kept,
            false => {
                let ty = live!(self);
                let dims = sound!(resolve("logsumexp", &ty, &dims));
                kept.reshape(without(&ty.shape, &dims))
            }
        }
    }

    /// `e^x / Σ e^x` along `dim`, without overflow.
    #[track_caller]
    pub fn softmax(&self, dim: i64) -> Tensor {
        let x = self.floating();
        let exp = (&x - x.max_keepdim(dim).detach()).exp();
        let sum = exp.sum_keepdim(dim);
        exp / sum
    }

    /// `ln softmax(x)` along `dim`, without overflow or underflow.
    #[track_caller]
    pub fn log_softmax(&self, dim: i64) -> Tensor {
        let x = self.floating();
        let shifted = &x - x.max_keepdim(dim).detach();
        let log_sum = shifted.exp().sum_keepdim(dim).log();
        shifted - log_sum
    }
}

/// The dimensions meant, increasing.
#[track_caller]
fn resolve(what: &str, ty: &TensorType, dims: &Reduced) -> Result<Vec<usize>, Tensor> {
    let Some(given) = &dims.dims else { return Ok((0..ty.rank()).collect()) };
    let mut resolved = Vec::with_capacity(given.len());
    for &dim in given {
        let dim = resolve_dim(what, dim, ty)?;
        if resolved.contains(&dim) {
            return Err(fault(format!("{what}: dimension {dim} of {ty} is given twice")));
        }
        resolved.push(dim);
    }
    resolved.sort_unstable();
    Ok(resolved)
}

fn without(shape: &Shape, dims: &[usize]) -> Shape {
    Shape((0..shape.rank()).filter(|dim| !dims.contains(dim)).map(|dim| shape[dim].clone()).collect())
}

#[track_caller]
fn reduce(what: &str, kind: ReduceKind, operand: &Tensor, dims: Reduced) -> Tensor {
    let ty = live!(operand);
    let resolved = sound!(resolve(what, &ty, &dims));
    let result = apply(Op::Reduce(ReduceAttrs { kind, dims: resolved.clone() }), &[operand]);
    if !dims.keep {
        return result;
    }
    let mut kept = ty.shape;
    for dim in resolved {
        kept.0[dim] = Dim::from(1);
    }
    result.reshape(kept)
}

/// What [`Tensor::moments`] gives.
pub(crate) struct Moments {
    pub mean: Tensor,
    /// Differences from the mean, of the tensor's own shape.
    pub centered: Tensor,
    /// Sum of the squared differences.
    pub squares: Tensor,
    /// Number of elements folded into one, as a scalar.
    pub count: Tensor,
}

/// How many elements a reduction folds into one.
struct Count {
    dims: Vec<Dim>,
}

#[track_caller]
fn count(what: &str, ty: &TensorType, dims: &Reduced) -> Result<Count, Tensor> {
    let dims = resolve(what, ty, dims)?;
    Ok(Count { dims: dims.into_iter().map(|dim| ty.shape[dim].clone()).collect() })
}

impl Count {
    /// The count as a scalar tensor. A symbolic count is the sum of that many ones, which is folded to a number once
    /// the symbols are bound.
    #[track_caller]
    fn of(&self, dtype: DType) -> Tensor {
        match Shape(self.dims.clone()).n_elements().as_const() {
            Some(n) => apply(trace::splat(TensorType::scalar(dtype), Scalar::from_f64(dtype, n as f64)), &[]),
            None => {
                // Counting in `f32` is exact up to 2^24 of a lane; halves would stop at 2048.
                let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
                let ones = TensorType::new(wide, Shape(self.dims.clone()));
                let ones = apply(trace::splat(ones, Scalar::one(wide)), &[]);
                ones.sum(..).to_dtype(dtype)
            }
        }
    }
}
