//! Functions that move elements without computing: views, permutations, joins and cuts.

use nnc_ir::ops::{PadAttrs, SliceAttrs};
use nnc_ir::types::MAX_RANK;
use nnc_ir::{Dim, Op, Shape};

use super::{Tensor, ToTensor, apply, fault, live, resolve_dim, sound};

/// One extent of a requested shape: a number, a symbol, or -1 for "what is left".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimSpec {
    /// This extent.
    Is(Dim),
    /// The extent that makes the number of elements come out: -1. In [`Tensor::expand`], the extent as it is.
    Infer,
    /// A negative number other than -1, which no extent is.
    Invalid(i64),
}

macro_rules! signed_dims {
    ($($ty:ty),*) => {
        $(
            impl From<$ty> for DimSpec {
                fn from(extent: $ty) -> Self {
                    match extent {
                        -1 => Self::Infer,
                        extent if extent < 0 => Self::Invalid(extent as i64),
                        extent => Self::Is(Dim::from(extent as usize)),
                    }
                }
            }
        )*
    };
}

signed_dims!(i32, i64);

impl From<usize> for DimSpec {
    fn from(extent: usize) -> Self {
        Self::Is(Dim::from(extent))
    }
}

impl From<Dim> for DimSpec {
    fn from(extent: Dim) -> Self {
        Self::Is(extent)
    }
}

impl From<&Dim> for DimSpec {
    fn from(extent: &Dim) -> Self {
        Self::Is(extent.clone())
    }
}

/// A requested shape, which may leave one extent open: `[-1, 784]`, `(x.size(0), -1)`, a `Shape`.
pub trait IntoShape {
    /// The extents.
    fn into_shape(self) -> Vec<DimSpec>;
}

impl<D: Into<DimSpec>, const N: usize> IntoShape for [D; N] {
    fn into_shape(self) -> Vec<DimSpec> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<D: Into<DimSpec>> IntoShape for Vec<D> {
    fn into_shape(self) -> Vec<DimSpec> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<D: Clone + Into<DimSpec>> IntoShape for &[D] {
    fn into_shape(self) -> Vec<DimSpec> {
        self.iter().cloned().map(Into::into).collect()
    }
}

impl<D: Clone + Into<DimSpec>> IntoShape for &Vec<D> {
    fn into_shape(self) -> Vec<DimSpec> {
        self.as_slice().into_shape()
    }
}

impl IntoShape for Shape {
    fn into_shape(self) -> Vec<DimSpec> {
        self.0.into_shape()
    }
}

impl IntoShape for &Shape {
    fn into_shape(self) -> Vec<DimSpec> {
        self.0.as_slice().into_shape()
    }
}

impl IntoShape for () {
    fn into_shape(self) -> Vec<DimSpec> {
        Vec::new()
    }
}

macro_rules! tuple_shapes {
    ($(($($ty:ident $idx:tt),+))*) => {
        $(
            impl<$($ty: Into<DimSpec>),+> IntoShape for ($($ty,)+) {
                fn into_shape(self) -> Vec<DimSpec> {
                    vec![$(self.$idx.into()),+]
                }
            }
        )*
    };
}

tuple_shapes! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// A list of dimension numbers, each of which may be negative to count from the last.
pub trait IntoDims {
    /// The numbers.
    fn into_dims(self) -> Vec<i64>;
}

macro_rules! dim_lists {
    ($($ty:ty),*) => {
        $(
            impl IntoDims for $ty {
                fn into_dims(self) -> Vec<i64> {
                    vec![self as i64]
                }
            }

            impl<const N: usize> IntoDims for [$ty; N] {
                fn into_dims(self) -> Vec<i64> {
                    self.into_iter().map(|dim| dim as i64).collect()
                }
            }

            impl IntoDims for &[$ty] {
                fn into_dims(self) -> Vec<i64> {
                    self.iter().map(|&dim| dim as i64).collect()
                }
            }

            impl IntoDims for Vec<$ty> {
                fn into_dims(self) -> Vec<i64> {
                    self.into_iter().map(|dim| dim as i64).collect()
                }
            }
        )*
    };
}

dim_lists!(i32, i64, usize);

impl Tensor {
    /// The same elements in row-major order under another shape; one extent may be -1.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::zeros([2, 3, 4]);
    /// assert_eq!(x.reshape([-1, 4]).shape().to_string(), "[6, 4]");
    /// assert_eq!(x.view((x.size(0), -1)).shape().to_string(), "[2, 12]");
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoShape) -> Tensor {
        let ty = live!(self);
        let specs = shape.into_shape();
        if specs.len() > MAX_RANK {
            return fault(format!("reshape: {} extents, expected at most {MAX_RANK}", specs.len()));
        }
        let mut known = Dim::from(1);
        let mut inferred = None;
        for (idx, spec) in specs.iter().enumerate() {
            match spec {
                DimSpec::Is(extent) => match known.checked_mul(extent) {
                    Some(product) => known = product,
                    None => return fault("reshape: the product of the extents is too long an expression"),
                },
                DimSpec::Infer if inferred.is_none() => inferred = Some(idx),
                DimSpec::Infer => return fault("reshape: more than one extent is -1".to_string()),
                DimSpec::Invalid(extent) => return fault(format!("reshape: {extent} is not an extent")),
            }
        }
        let total = ty.shape.n_elements();
        let left = match inferred {
            None => Dim::from(1),
            Some(_) => match total.exact_div(&known).or_else(|| quotient(&ty.shape, &specs)) {
                Some(left) => left,
                None => return fault(format!("reshape: the elements of {ty} do not divide into {}", display(&specs))),
            },
        };
        let extents = specs.iter().map(|spec| match spec {
            DimSpec::Is(extent) => extent.clone(),
            _ => left.clone(),
        });
        let target = Shape(extents.collect());
        if target.n_elements() != total {
            return fault(format!("reshape: {ty} does not fit shape {target}"));
        }
        if target == ty.shape { self.clone() } else { apply(Op::Reshape(target), &[self]) }
    }

    /// [`Tensor::reshape`].
    #[track_caller]
    pub fn view(&self, shape: impl IntoShape) -> Tensor {
        self.reshape(shape)
    }

    /// Joins dimensions `start_dim` to `end_dim` (inclusive) into one: `x.flatten(0, -1)` gives a vector.
    #[track_caller]
    pub fn flatten(&self, start_dim: i64, end_dim: i64) -> Tensor {
        let ty = live!(self);
        if ty.rank() == 0 {
            return self.reshape([1]);
        }
        let start = sound!(resolve_dim("flatten", start_dim, &ty));
        let end = sound!(resolve_dim("flatten", end_dim, &ty));
        if start > end {
            return fault(format!("flatten: dimension {start_dim} of {ty} comes after {end_dim}"));
        }
        let joined = Shape(ty.shape.0[start..=end].to_vec()).n_elements();
        let mut dims = ty.shape.0[..start].to_vec();
        dims.push(joined);
        dims.extend_from_slice(&ty.shape.0[end + 1..]);
        self.reshape(dims)
    }

    /// Splits dimension `dim` into `sizes`, one of which may be -1.
    #[track_caller]
    pub fn unflatten(&self, dim: i64, sizes: impl IntoShape) -> Tensor {
        let ty = live!(self);
        let dim = sound!(resolve_dim("unflatten", dim, &ty));
        let mut specs: Vec<DimSpec> = ty.shape.0[..dim].iter().map(DimSpec::from).collect();
        specs.extend(sizes.into_shape());
        specs.extend(ty.shape.0[dim + 1..].iter().map(DimSpec::from));
        self.reshape(specs)
    }

    /// Dimension `i` of the result is dimension `dims[i]`.
    #[track_caller]
    pub fn permute(&self, dims: impl IntoDims) -> Tensor {
        let ty = live!(self);
        let given = dims.into_dims();
        let mut permutation = Vec::with_capacity(given.len());
        for &dim in &given {
            permutation.push(sound!(resolve_dim("permute", dim, &ty)));
        }
        let mut sorted = permutation.clone();
        sorted.sort_unstable();
        if sorted != (0..ty.rank()).collect::<Vec<_>>() {
            return fault(format!("permute: {given:?} does not name each dimension of {ty} once"));
        }
        if permutation == sorted { self.clone() } else { apply(Op::Transpose(permutation), &[self]) }
    }

    /// Swaps two dimensions.
    #[track_caller]
    pub fn transpose(&self, dim0: i64, dim1: i64) -> Tensor {
        let ty = live!(self);
        let dim0 = sound!(resolve_dim("transpose", dim0, &ty));
        let dim1 = sound!(resolve_dim("transpose", dim1, &ty));
        let mut dims: Vec<usize> = (0..ty.rank()).collect();
        dims.swap(dim0, dim1);
        self.permute(dims)
    }

    /// The transposed matrix; a vector or scalar is left as it is.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        let ty = live!(self);
        match ty.rank() {
            0 | 1 => self.clone(),
            2 => self.transpose(0, 1),
            _ => fault(format!("t: the tensor is {ty}, expected at most two dimensions; use `transpose` or `permute`")),
        }
    }

    /// A new dimension of extent 1 at `dim`, which may be negative to count from the end of the result.
    #[track_caller]
    pub fn unsqueeze(&self, dim: i64) -> Tensor {
        let ty = live!(self);
        let rank = ty.rank() as i64 + 1;
        let at = if dim < 0 { dim + rank } else { dim };
        if !(0..rank).contains(&at) {
            return fault(format!("unsqueeze: {dim} is out of range for {ty}, expected {} to {}", -rank, rank - 1));
        }
        let mut dims = ty.shape.0;
        dims.insert(at as usize, Dim::from(1));
        self.reshape(dims)
    }

    /// Drops dimension `dim` if its extent is 1.
    #[track_caller]
    pub fn squeeze(&self, dim: i64) -> Tensor {
        let ty = live!(self);
        let dim = sound!(resolve_dim("squeeze", dim, &ty));
        let mut dims = ty.shape.0;
        if dims[dim] == Dim::from(1) {
            dims.remove(dim);
        }
        self.reshape(dims)
    }

    /// Drops every dimension of extent 1: PyTorch's `squeeze()`.
    #[track_caller]
    pub fn squeeze_all(&self) -> Tensor {
        let ty = live!(self);
        self.reshape(ty.shape.0.into_iter().filter(|dim| *dim != Dim::from(1)).collect::<Vec<_>>())
    }

    /// Repeats dimensions of extent 1 up to `shape`; -1 leaves an extent as it is.
    #[track_caller]
    pub fn expand(&self, shape: impl IntoShape) -> Tensor {
        let ty = live!(self);
        let specs = shape.into_shape();
        let Some(n_new) = specs.len().checked_sub(ty.rank()) else {
            return fault(format!("expand: {ty} has more dimensions than {}", display(&specs)));
        };
        let mut target = Vec::with_capacity(specs.len());
        for (idx, spec) in specs.iter().enumerate() {
            target.push(match (spec, idx.checked_sub(n_new)) {
                (DimSpec::Is(extent), _) => extent.clone(),
                (DimSpec::Infer, Some(dim)) => ty.shape[dim].clone(),
                _ => return fault(format!("expand: {ty} cannot be expanded to {}", display(&specs))),
            });
        }
        self.broadcast_to(Shape(target))
    }

    /// Broadcasts to `shape`: dimensions are aligned at the last, and extents of 1 repeat.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Tensor {
        let ty = live!(self);
        let shape = shape.into();
        if super::arith::broadcast_shape(&ty.shape, &shape).as_ref() != Some(&shape) {
            return fault(format!("expand: {ty} does not broadcast to {shape}"));
        }
        super::arith::stretch(self, &shape)
    }

    /// The tensor `repeats[i]` times along each dimension `i`; where there are more numbers than dimensions, the first
    /// are for new ones.
    #[track_caller]
    pub fn repeat(&self, repeats: impl IntoShape) -> Tensor {
        let ty = live!(self);
        let repeats = repeats.into_shape();
        let Some(n_new) = repeats.len().checked_sub(ty.rank()) else {
            return fault(format!("repeat: {} numbers of repetitions for {ty}", repeats.len()));
        };
        // Each dimension becomes a pair (repetition, extent), the repetitions are broadcast, and the pairs are joined.
        let (mut paired, mut spread, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for (idx, times) in repeats.iter().enumerate() {
            let DimSpec::Is(times) = times else {
                return fault(format!("repeat: {} has a number of repetitions below 0", display(&repeats)));
            };
            let extent = idx.checked_sub(n_new).map_or(Dim::from(1), |dim| ty.shape[dim].clone());
            joined.push(times.clone() * extent.clone());
            if *times != Dim::from(1) {
                paired.push(Dim::from(1));
                spread.push(times.clone());
            }
            paired.push(extent.clone());
            spread.push(extent);
        }
        self.reshape(paired).broadcast_to(Shape(spread)).reshape(joined)
    }

    /// Elements `start` to `start + length` along `dim`.
    #[track_caller]
    pub fn narrow(&self, dim: i64, start: usize, length: usize) -> Tensor {
        self.slice(dim, start as i64, Some((start + length) as i64), 1)
    }

    /// Elements `start, start + step, ...` below `end` (`None`: to the last) along `dim`. Negative bounds count from the
    /// end; bounds beyond it are cut, as in Python.
    #[track_caller]
    pub fn slice(&self, dim: i64, start: i64, end: Option<i64>, step: usize) -> Tensor {
        let ty = live!(self);
        let dim = sound!(resolve_dim("slice", dim, &ty));
        if step == 0 {
            return fault("slice: the step is 0, expected at least 1".to_string());
        }
        let extent = &ty.shape[dim];
        let bound = |at: i64| match (extent.as_const(), at < 0) {
            (Some(extent), true) => Dim::from(extent.saturating_sub(at.unsigned_abs() as usize)),
            (Some(extent), false) => Dim::from(extent.min(at as usize)),
            (None, true) => extent.clone() - Dim::from(at.unsigned_abs() as usize),
            (None, false) => Dim::from(at as usize),
        };
        let begin = bound(start);
        let limit = end.map_or(extent.clone(), bound);
        let limit = match (begin.as_const(), limit.as_const()) {
            (Some(first), Some(last)) if last < first => begin.clone(),
            _ => limit,
        };
        let mut attrs =
            SliceAttrs { start: vec![Dim::from(0); ty.rank()], limit: ty.shape.0.clone(), stride: vec![1; ty.rank()] };
        attrs.start[dim] = begin;
        attrs.limit[dim] = limit;
        attrs.stride[dim] = step;
        let whole = attrs.start[dim] == Dim::from(0) && attrs.limit[dim] == *extent && step == 1;
        if whole { self.clone() } else { apply(Op::Slice(attrs), &[self]) }
    }

    /// Element `index` (negative counts from the end) along `dim`, which vanishes.
    #[track_caller]
    pub fn select(&self, dim: i64, index: i64) -> Tensor {
        let ty = live!(self);
        let at = sound!(resolve_dim("select", dim, &ty));
        if let Some(extent) = ty.shape[at].as_const()
            && super::normalize_dim(index, extent).is_none()
        {
            return fault(format!("select: element {index} of dimension {dim} is out of range for {ty}"));
        }
        let end = if index == -1 { None } else { Some(index + 1) };
        let mut dims = ty.shape.0;
        dims.remove(at);
        self.slice(dim, index, end, 1).reshape(dims)
    }

    /// Cuts `dim` into pieces of `size` elements; the last may be shorter.
    #[track_caller]
    pub fn split(&self, size: usize, dim: i64) -> Vec<Tensor> {
        let Some(ty) = self.checked_ty() else { return vec![self.clone()] };
        let at = match resolve_dim("split", dim, &ty) {
            Ok(at) => at,
            Err(poisoned) => return vec![poisoned],
        };
        match ty.shape[at].as_const() {
            None => vec![fault(format!("split: dimension {dim} of {ty} is symbolic"))],
            Some(_) if size == 0 => vec![fault("split: pieces of 0 elements".to_string())],
            Some(extent) => {
                let mut pieces = Vec::with_capacity(extent.div_ceil(size));
                for start in (0..extent).step_by(size) {
                    pieces.push(self.narrow(dim, start, size.min(extent - start)));
                }
                pieces
            }
        }
    }

    /// Cuts `dim` into at most `chunks` pieces of equal size (the last may be shorter).
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: i64) -> Vec<Tensor> {
        let Some(ty) = self.checked_ty() else { return vec![self.clone(); chunks] };
        let at = match resolve_dim("chunk", dim, &ty) {
            Ok(at) => at,
            Err(poisoned) => return vec![poisoned; chunks],
        };
        match ty.shape[at].as_const() {
            None => vec![fault(format!("chunk: dimension {dim} of {ty} is symbolic")); chunks],
            Some(_) if chunks == 0 => vec![fault("chunk: expected at least one piece".to_string())],
            Some(extent) => self.split(extent.div_ceil(chunks).max(1), dim),
        }
    }

    /// Reverses the order of elements along `dims`.
    #[track_caller]
    pub fn flip(&self, dims: impl IntoDims) -> Tensor {
        let ty = live!(self);
        let mut reversed = Vec::new();
        for dim in dims.into_dims() {
            reversed.push(sound!(resolve_dim("flip", dim, &ty)));
        }
        apply(Op::Reverse(reversed), &[self])
    }

    /// Puts `value` around the elements: `padding` holds pairs (before, after) from the last dimension on, as
    /// PyTorch's `functional.pad`; negative amounts crop.
    #[track_caller]
    pub fn pad(&self, padding: &[(i64, i64)], value: f64) -> Tensor {
        let ty = live!(self);
        if padding.len() > ty.rank() {
            return fault(format!("pad: {} pairs of amounts for {ty}", padding.len()));
        }
        let rank = ty.rank();
        let mut attrs = PadAttrs { low: vec![0; rank], high: vec![0; rank], interior: vec![0; rank] };
        for (idx, &(low, high)) in padding.iter().enumerate() {
            attrs.low[rank - 1 - idx] = low;
            attrs.high[rank - 1 - idx] = high;
        }
        let value = Tensor::full((), value).to_dtype(ty.dtype);
        apply(Op::Pad(attrs), &[self, &value])
    }

    /// Joins tensors along an existing dimension: `torch.cat`.
    #[track_caller]
    pub fn cat<T: ToTensor>(tensors: &[T], dim: i64) -> Tensor {
        let mut inputs = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            inputs.push(tensor.to_tensor());
        }
        let Some(first) = inputs.first() else { return fault("cat: no tensors".to_string()) };
        let ty = live!(first);
        let at = sound!(resolve_dim("cat", dim, &ty));
        for (idx, input) in inputs.iter().enumerate().skip(1) {
            let other = live!(input);
            let fits = other.dtype == ty.dtype
                && other.rank() == ty.rank()
                && (0..ty.rank()).all(|dim| dim == at || other.shape[dim] == ty.shape[dim]);
            if !fits {
                return fault(format!("cat: tensor {idx} is {other}, expected {ty} but for dimension {at}"));
            }
        }
        if inputs.len() == 1 {
            return inputs.remove(0);
        }
        apply(Op::Concatenate(at), &inputs.iter().collect::<Vec<_>>())
    }

    /// Joins tensors of one shape along a new dimension: `torch.stack`.
    #[track_caller]
    pub fn stack<T: ToTensor>(tensors: &[T], dim: i64) -> Tensor {
        let mut inputs = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            inputs.push(tensor.to_tensor().unsqueeze(dim));
        }
        Tensor::cat(&inputs, dim)
    }
}

/// The extent left for -1 where expressions do not divide as a whole: extents on both sides cancel first.
fn quotient(shape: &Shape, specs: &[DimSpec]) -> Option<Dim> {
    let mut own = shape.0.clone();
    let mut known = Dim::from(1);
    for spec in specs {
        let DimSpec::Is(extent) = spec else { continue };
        match own.iter().position(|other| other == extent) {
            Some(at) => drop(own.swap_remove(at)),
            None => known = known.checked_mul(extent)?,
        }
    }
    Shape(own).n_elements().exact_div(&known)
}

fn display(specs: &[DimSpec]) -> String {
    let specs: Vec<String> = specs
        .iter()
        .map(|spec| match spec {
            DimSpec::Is(extent) => extent.to_string(),
            DimSpec::Infer => "-1".to_string(),
            DimSpec::Invalid(extent) => extent.to_string(),
        })
        .collect();
    format!("[{}]", specs.join(", "))
}
