//! What depends on the order of elements along a dimension: running folds, sorting, selection by rank.

use nnc_ir::ops::{CumulativeAttrs, ReduceKind, SortAttrs};
use nnc_ir::{DType, Op, TensorType};

use super::arith::where_;
use super::{Tensor, apply, apply_all, fault, live, resolve_dim, sound};

/// Like [`live!`] in functions that give a pair.
macro_rules! live_pair {
    ($tensor:expr) => {
        match $tensor.checked_ty() {
            Some(ty) => ty,
            None => return ($tensor.clone(), $tensor.clone()),
        }
    };
}

/// Like [`sound!`] in functions that give a pair.
macro_rules! sound_pair {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(poisoned) => return (poisoned.clone(), poisoned),
        }
    };
}

impl Tensor {
    /// Sums of the elements up to each along `dim`: `torch.cumsum`. `bool` and integers add up in `i64`.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::from_slice(&[1.0, 2.0, 3.0]);
    /// assert_eq!(x.cumsum(0).to_array()?.as_slice(), Some(&[1.0, 3.0, 6.0][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn cumsum(&self, dim: i64) -> Tensor {
        running("cumsum", ReduceKind::Sum, &widened(self), dim)
    }

    /// Products of the elements up to each along `dim`: `torch.cumprod`. `bool` and integers multiply in `i64`.
    #[track_caller]
    pub fn cumprod(&self, dim: i64) -> Tensor {
        running("cumprod", ReduceKind::Prod, &widened(self), dim)
    }

    /// The largest element up to each along `dim`, and its `i64` position (of equals the last): `torch.cummax`.
    #[track_caller]
    pub fn cummax(&self, dim: i64) -> (Tensor, Tensor) {
        running_extremum("cummax", ReduceKind::Max, self, dim)
    }

    /// The smallest element up to each along `dim`, and its `i64` position (of equals the last): `torch.cummin`.
    #[track_caller]
    pub fn cummin(&self, dim: i64) -> (Tensor, Tensor) {
        running_extremum("cummin", ReduceKind::Min, self, dim)
    }

    /// `ln Σ e^x` of the elements up to each along `dim`, without overflow or underflow: `torch.logcumsumexp`. The
    /// dimension has a known extent.
    #[track_caller]
    pub fn logcumsumexp(&self, dim: i64) -> Tensor {
        let ty = live!(self);
        let at = sound!(resolve_dim("logcumsumexp", dim, &ty));
        if !ty.dtype.is_float() {
            return fault(format!("logcumsumexp: the tensor is {ty}, expected a floating-point type"));
        }
        let Some(extent) = ty.shape[at].as_const() else {
            return fault(format!("logcumsumexp: dimension {dim} of {ty} is symbolic, expected a known extent"));
        };
        // Each element takes in those 1, 2, 4, ... places before it. Exponentials are of differences only.
        let mut sums = self.clone();
        let mut covered = 1;
        while covered < extent {
            let mut padding = vec![(0, 0); ty.rank() - at];
            padding[ty.rank() - 1 - at] = (covered as i64, -(covered as i64));
            sums = log_add_exp(&sums, &sums.pad(&padding, f64::NEG_INFINITY));
            covered *= 2;
        }
        sums
    }

    /// The elements in order along `dim` and their `i64` positions before: `torch.sort` with `stable=True`. NaN is larger
    /// than every number.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::from_slice(&[3.0, 1.0, 2.0]);
    /// let (values, indices) = x.sort(-1, false);
    /// assert_eq!(values.to_array()?.as_slice(), Some(&[1.0, 2.0, 3.0][..]));
    /// assert_eq!(indices.to_array_i64()?.as_slice(), Some(&[1, 2, 0][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn sort(&self, dim: i64, descending: bool) -> (Tensor, Tensor) {
        let ty = live_pair!(self);
        let dim = sound_pair!(resolve_dim("sort", dim, &ty));
        let position = Tensor::iota(DType::I64, ty.shape, dim);
        let sorted = apply_all(Op::Sort(SortAttrs { dim, descending }), &[self, &position]);
        (sorted[0].clone(), sorted[1].clone())
    }

    /// The positions that would sort the elements along `dim`: `torch.argsort` with `stable=True`.
    #[track_caller]
    pub fn argsort(&self, dim: i64, descending: bool) -> Tensor {
        self.detach().sort(dim, descending).1
    }

    /// The `k` largest elements along `dim` (the smallest, unless `largest`), best first, and their `i64` positions:
    /// `torch.topk`. Of equal elements the first are taken.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: i64, largest: bool) -> (Tensor, Tensor) {
        let ty = live_pair!(self);
        sound_pair!(check_rank("topk", k, dim, &ty));
        let (values, indices) = self.sort(dim, largest);
        (values.narrow(dim, 0, k), indices.narrow(dim, 0, k))
    }

    /// The `k`-th smallest element along `dim`, counted from 1, and its `i64` position: `torch.kthvalue`.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, dim: i64) -> (Tensor, Tensor) {
        let ty = live_pair!(self);
        sound_pair!(check_rank("kthvalue", k, dim, &ty));
        if k == 0 {
            let poisoned = fault(format!("kthvalue: k is 0, expected 1 to the extent of dimension {dim} of {ty}"));
            return (poisoned.clone(), poisoned);
        }
        let (values, indices) = self.sort(dim, false);
        (values.select(dim, k as i64 - 1), indices.select(dim, k as i64 - 1))
    }

    /// The median along `dim` (of an even number the lower one) and its `i64` position: `torch.median`. Where there is a
    /// NaN it is NaN.
    #[track_caller]
    pub fn median(&self, dim: i64) -> (Tensor, Tensor) {
        let ty = live_pair!(self);
        let at = sound_pair!(resolve_dim("median", dim, &ty));
        let Some(extent) = ty.shape[at].as_const().filter(|&extent| extent > 0) else {
            let poisoned = fault(format!("median: dimension {dim} of {ty}, expected a known extent of at least 1"));
            return (poisoned.clone(), poisoned);
        };
        let (values, indices) = self.kthvalue(extent.div_ceil(2), dim);
        if !ty.dtype.is_float() {
            return (values, indices);
        }
        let has_nan = self.isnan().any(dim);
        (where_(&has_nan, f64::NAN, &values), where_(&has_nan, self.argmax(dim), &indices))
    }
}

/// Checks that there are `k` elements along `dim`.
#[track_caller]
fn check_rank(what: &str, k: usize, dim: i64, ty: &TensorType) -> Result<(), Tensor> {
    let at = resolve_dim(what, dim, ty)?;
    match ty.shape[at].as_const() {
        Some(extent) if k > extent => Err(fault(format!("{what}: k is {k}, but dimension {dim} of {ty} is {extent}"))),
        _ => Ok(()),
    }
}

/// The tensor in the type that its sums and products have.
#[track_caller]
fn widened(x: &Tensor) -> Tensor {
    if x.dtype().is_float() { x.clone() } else { x.to_dtype(DType::I64) }
}

#[track_caller]
fn running(what: &str, kind: ReduceKind, x: &Tensor, dim: i64) -> Tensor {
    let ty = live!(x);
    let dim = sound!(resolve_dim(what, dim, &ty));
    apply(Op::Cumulative(CumulativeAttrs { kind, dim, reverse: false }), &[x])
}

#[track_caller]
fn running_extremum(what: &str, kind: ReduceKind, x: &Tensor, dim: i64) -> (Tensor, Tensor) {
    let ty = live_pair!(x);
    let values = running(what, kind, x, dim);
    if values.is_poisoned() {
        return (values.clone(), values);
    }
    let at = sound_pair!(resolve_dim(what, dim, &ty));
    let seen = x.detach();
    let mut is_extremum = seen.eq(values.detach());
    if ty.dtype.is_float() {
        is_extremum = is_extremum.logical_or(seen.isnan());
    }
    // The latest position of an extremum so far is the largest.
    let position = Tensor::iota(DType::I64, ty.shape, at);
    let position = where_(&is_extremum, &position, -1);
    (values, running(what, ReduceKind::Max, &position, dim))
}

/// `ln(e^x + e^y)`. Equal arguments, infinities among them, have the difference 0.
#[track_caller]
fn log_add_exp(x: &Tensor, y: &Tensor) -> Tensor {
    let difference = where_(&x.eq(y), 0, x - y);
    x.maximum(y) + (-difference.abs()).exp().log1p()
}
