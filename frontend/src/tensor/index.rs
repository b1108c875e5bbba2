//! Reading by position: `x[...]` of PyTorch as [`Tensor::index`], and `gather`, `gather_nd`, `index_select`.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo};

use nnc_ir::ops::GatherAttrs;
use nnc_ir::{DType, Dim, Op, Shape, TensorType};

use super::arith::{broadcast_shape, stretch};
use super::{Tensor, ToTensor, apply, fault, live, resolve_dim, sound, where_};
use crate::trace;

/// One entry between the brackets of an index expression.
#[derive(Clone, Debug)]
pub enum Index {
    /// One element, negative counting from the end; the dimension vanishes.
    At(i64),
    /// `start:end:step`; `end` may be left open, and negative bounds count from the end.
    Slice {
        /// First element.
        start: i64,
        /// One past the last.
        end: Option<i64>,
        /// Distance of two elements, at least 1.
        step: usize,
    },
    /// The elements at integer positions: PyTorch's integer-array indexing.
    Tensor(Tensor),
    /// A new dimension of extent 1 (`None` in Python).
    NewAxis,
    /// As many whole dimensions as it takes (`...` in Python). A plain `..` is one whole dimension (`:` in Python).
    Ellipsis,
}

macro_rules! index_from {
    ($($ty:ty),*) => {
        $(
            impl From<$ty> for Index {
                fn from(at: $ty) -> Self {
                    Self::At(at as i64)
                }
            }

            impl From<Range<$ty>> for Index {
                fn from(range: Range<$ty>) -> Self {
                    Self::Slice { start: range.start as i64, end: Some(range.end as i64), step: 1 }
                }
            }

            impl From<RangeFrom<$ty>> for Index {
                fn from(range: RangeFrom<$ty>) -> Self {
                    Self::Slice { start: range.start as i64, end: None, step: 1 }
                }
            }

            impl From<RangeTo<$ty>> for Index {
                fn from(range: RangeTo<$ty>) -> Self {
                    Self::Slice { start: 0, end: Some(range.end as i64), step: 1 }
                }
            }

            impl From<RangeInclusive<$ty>> for Index {
                fn from(range: RangeInclusive<$ty>) -> Self {
                    let end = *range.end() as i64 + 1;
                    Self::Slice { start: *range.start() as i64, end: (end != 0).then_some(end), step: 1 }
                }
            }
        )*
    };
}

index_from!(i32, i64, usize);

impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        Self::Slice { start: 0, end: None, step: 1 }
    }
}

impl From<Tensor> for Index {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl From<&Tensor> for Index {
    fn from(tensor: &Tensor) -> Self {
        Self::Tensor(tensor.clone())
    }
}

/// What stands between the brackets: one entry, an array or a tuple of entries.
pub trait IntoIndices {
    /// The entries.
    fn into_indices(self) -> Vec<Index>;
}

impl<I: Into<Index>, const N: usize> IntoIndices for [I; N] {
    fn into_indices(self) -> Vec<Index> {
        self.into_iter().map(Into::into).collect()
    }
}

impl IntoIndices for Vec<Index> {
    fn into_indices(self) -> Vec<Index> {
        self
    }
}

macro_rules! single_indices {
    ($($ty:ty),*) => {
        $(
            impl IntoIndices for $ty {
                fn into_indices(self) -> Vec<Index> {
                    vec![self.into()]
                }
            }
        )*
    };
}

single_indices!(
    i32,
    i64,
    usize,
    Range<i32>,
    Range<i64>,
    Range<usize>,
    RangeFrom<i32>,
    RangeTo<i32>,
    Tensor,
    &Tensor,
    Index
);

macro_rules! tuple_indices {
    ($(($($ty:ident $idx:tt),+))*) => {
        $(
            impl<$($ty: Into<Index>),+> IntoIndices for ($($ty,)+) {
                fn into_indices(self) -> Vec<Index> {
                    vec![$(self.$idx.into()),+]
                }
            }
        )*
    };
}

tuple_indices! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

impl Tensor {
    /// PyTorch's `x[...]`: numbers, ranges, new axes, an ellipsis, and integer tensors, which broadcast together.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::arange(12).view([3, 4]);
    /// assert_eq!(x.index((1, ..)).to_array_i64()?.as_slice(), Some(&[4, 5, 6, 7][..]));
    /// assert_eq!(x.index((.., 1..3)).shape().to_string(), "[3, 2]");
    /// let target = Tensor::from_slice(&[3i64, 0, -1]);
    /// assert_eq!(x.index([range(3), target]).to_array_i64()?.as_slice(), Some(&[3, 4, 11][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn index(&self, indices: impl IntoIndices) -> Tensor {
        let ty = live!(self);
        let indices = indices.into_indices();
        let n_taken = indices.iter().filter(|index| !matches!(index, Index::NewAxis | Index::Ellipsis)).count();
        if n_taken > ty.rank() {
            return fault(format!("index: {n_taken} indices for {ty}"));
        }
        let mut result = self.clone();
        let mut dim = 0;
        let mut tensors: Vec<(usize, Tensor)> = Vec::new();
        for index in indices {
            match index {
                Index::At(at) => result = result.select(dim as i64, at),
                Index::Slice { start, end, step } => {
                    result = result.slice(dim as i64, start, end, step);
                    dim += 1;
                }
                Index::NewAxis => {
                    result = result.unsqueeze(dim as i64);
                    dim += 1;
                }
                Index::Ellipsis => dim += ty.rank() - n_taken,
                Index::Tensor(tensor) => {
                    tensors.push((dim, tensor));
                    dim += 1;
                }
            }
        }
        if tensors.is_empty() { result } else { gather_at(&result, tensors) }
    }

    /// Rows (slices) of `dim` at the positions of a vector: `torch.index_select`.
    #[track_caller]
    pub fn index_select(&self, dim: i64, index: &Tensor) -> Tensor {
        let (ty, index_ty) = (live!(self), live!(index));
        let dim = sound!(resolve_dim("index_select", dim, &ty));
        if index_ty.rank() != 1 {
            return fault(format!("index_select: the index is {index_ty}, expected a vector"));
        }
        gather_at(self, vec![(dim, index.clone())])
    }

    /// The rows of this matrix that integers of any shape name, along a new last dimension. An index out of range takes
    /// the nearest row; `what` asks.
    #[track_caller]
    pub(crate) fn rows(&self, what: &str, index: &Tensor) -> Tensor {
        let (ty, index_ty) = (live!(self), live!(index));
        let width = ty.shape.dims().get(1).and_then(nnc_ir::Dim::as_const);
        let Some(width) = width.filter(|_| ty.rank() == 2) else {
            return fault(format!("{what}: the table is {ty}, expected a matrix of fixed width"));
        };
        if !index_ty.dtype.is_int() {
            return fault(format!("{what}: the indices are {index_ty}, expected an integer type"));
        }
        let rank = index_ty.rank();
        let attrs = GatherAttrs {
            offset_dims: vec![rank],
            collapsed_slice_dims: vec![0],
            start_index_map: vec![0],
            index_vector_dim: rank,
            slice_sizes: vec![1, width],
            ..GatherAttrs::default()
        };
        apply(Op::Gather(attrs), &[self, index])
    }

    /// `torch.gather`: along `dim`, the element at the position that `index` names; elsewhere the same position. `index`
    /// has as many dimensions as `self`, no larger than it but for `dim`.
    #[track_caller]
    pub fn gather(&self, dim: i64, index: &Tensor) -> Tensor {
        let (ty, index_ty) = (live!(self), live!(index));
        let dim = sound!(resolve_dim("gather", dim, &ty));
        sound!(check_along("gather", &ty, dim, &index_ty));
        let others: Vec<usize> = (0..ty.rank()).filter(|&other| other != dim).collect();
        let attrs = if others.iter().all(|&other| ty.shape[other] == index_ty.shape[other]) {
            GatherAttrs {
                collapsed_slice_dims: vec![dim],
                operand_batching_dims: others.clone(),
                start_indices_batching_dims: others,
                start_index_map: vec![dim],
                index_vector_dim: ty.rank(),
                slice_sizes: vec![1; ty.rank()],
                ..GatherAttrs::default()
            }
        } else {
            let attrs = GatherAttrs {
                collapsed_slice_dims: (0..ty.rank()).collect(),
                start_index_map: (0..ty.rank()).collect(),
                index_vector_dim: ty.rank(),
                slice_sizes: vec![1; ty.rank()],
                ..GatherAttrs::default()
            };
            return apply(Op::Gather(attrs), &[self, &coordinates(index, dim)]);
        };
        apply(Op::Gather(attrs), &[self, index])
    }

    /// The slices that vectors of positions name: `gather_nd` of TensorFlow. The last dimension of `indices`, of a known
    /// extent, holds one position a dimension behind the first `batch_dims`, which both have in common; what is left of
    /// `self` comes behind the other dimensions of `indices`. Negative positions count from the end.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::arange(12).view([3, 4]);
    /// let rows = Tensor::from_slice(&[2i64, -3]).view([2, 1]);
    /// assert_eq!(x.gather_nd(0, &rows).to_array_i64()?.as_slice(), Some(&[8, 9, 10, 11, 0, 1, 2, 3][..]));
    /// let elements = Tensor::from_slice(&[2i64, 1, 0, 3]).view([2, 2]);
    /// assert_eq!(x.gather_nd(0, &elements).to_array_i64()?.as_slice(), Some(&[9, 3][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn gather_nd(&self, batch_dims: usize, indices: &Tensor) -> Tensor {
        let (ty, index_ty) = (live!(self), live!(indices));
        let depth = sound!(check_vectors("gather_nd", &ty, batch_dims, &index_ty));
        let addressed: Vec<usize> = (batch_dims..batch_dims + depth).collect();
        let (symbolic, windows): (Vec<usize>, Vec<usize>) =
            (batch_dims + depth..ty.rank()).partition(|&dim| ty.shape[dim].as_const().is_none());
        // A window has a known size, so a symbolic dimension becomes one of the batch: in front of the others.
        let mut stretched: Vec<Dim> = symbolic.iter().map(|&dim| ty.shape[dim].clone()).collect();
        stretched.extend(index_ty.shape.dims().iter().cloned());
        let indices = stretch(&vectors_from_front(indices, &ty, &addressed), &Shape(stretched));
        let n_batch = symbolic.len() + index_ty.rank() - 1;
        let mut attrs = GatherAttrs {
            offset_dims: (n_batch..n_batch + windows.len()).collect(),
            collapsed_slice_dims: addressed.clone(),
            operand_batching_dims: symbolic.iter().copied().chain(0..batch_dims).collect(),
            start_indices_batching_dims: (0..symbolic.len() + batch_dims).collect(),
            start_index_map: addressed,
            index_vector_dim: n_batch,
            slice_sizes: vec![1; ty.rank()],
        };
        for &dim in &windows {
            attrs.slice_sizes[dim] = ty.shape[dim].as_const().expect("symbolic dimensions are batch dimensions");
        }
        let gathered = apply(Op::Gather(attrs), &[self, &indices]);
        let mut permutation: Vec<usize> = (symbolic.len()..n_batch).collect();
        permutation.extend((batch_dims + depth..ty.rank()).map(|dim| {
            let place = |dims: &[usize]| dims.iter().position(|&other| other == dim);
            place(&symbolic).or_else(|| Some(n_batch + place(&windows)?)).expect("every dimension is one or the other")
        }));
        gathered.permute(permutation)
    }

    /// Integers as positions counted from the front of a dimension of this extent: negative ones count from the end.
    #[track_caller]
    pub fn positions_in(&self, extent: &Dim) -> Tensor {
        let ty = live!(self);
        let counts = matches!(trace::defining_op(self), Some(Op::Iota(_)));
        if counts || !ty.dtype.is_signed() {
            return self.clone();
        }
        let from_end = match extent.as_const() {
            Some(extent) => self + extent as i64,
            None => self.long() + Tensor::extent(extent),
        };
        where_(&self.lt(0), from_end, self)
    }

    /// The lower triangle of the last two dimensions, up to the diagonal `diagonal`; zeros elsewhere.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Tensor {
        triangle("tril", self, diagonal, false)
    }

    /// The upper triangle of the last two dimensions, from the diagonal `diagonal` on; zeros elsewhere.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Tensor {
        triangle("triu", self, diagonal, true)
    }
}

/// The rules that `gather` and `scatter` along one dimension share.
#[track_caller]
pub(super) fn check_along(what: &str, ty: &TensorType, dim: usize, index: &TensorType) -> Result<(), Tensor> {
    if !index.dtype.is_int() {
        return Err(fault(format!("{what}: the index is {index}, expected an integer type")));
    }
    if index.rank() != ty.rank() {
        return Err(fault(format!("{what}: the index is {index}, expected {} dimensions as in {ty}", ty.rank())));
    }
    for other in (0..ty.rank()).filter(|&other| other != dim) {
        let fits = match (index.shape[other].as_const(), ty.shape[other].as_const()) {
            (Some(index), Some(extent)) => index <= extent,
            _ => index.shape[other] == ty.shape[other],
        };
        if !fits {
            return Err(fault(format!("{what}: dimension {other} of the index {index} is larger than in {ty}")));
        }
    }
    Ok(())
}

/// The full coordinates of what `index` names along `dim`: a last dimension that holds one component a dimension.
#[track_caller]
pub(super) fn coordinates(index: &Tensor, dim: usize) -> Tensor {
    let ty = live!(index);
    let mut components = Vec::with_capacity(ty.rank());
    for other in 0..ty.rank() {
        let component = if other == dim { index.clone() } else { Tensor::iota(ty.dtype, ty.shape.clone(), other) };
        components.push(component);
    }
    Tensor::stack(&components, -1)
}

#[track_caller]
fn triangle(what: &str, x: &Tensor, diagonal: i64, upper: bool) -> Tensor {
    let ty = live!(x);
    let Some(row_dim) = ty.rank().checked_sub(2) else {
        return fault(format!("{what}: the tensor is {ty}, expected at least two dimensions"));
    };
    let rows = Tensor::iota(DType::I64, ty.shape.clone(), row_dim) + diagonal;
    let columns = Tensor::iota(DType::I64, ty.shape.clone(), row_dim + 1);
    let mask = if upper { columns.ge(rows) } else { columns.le(rows) };
    where_(&mask, x, 0)
}

/// Integer-array indexing: element `b` of the common shape of the index tensors picks the slice at their values.
///
/// As in PyTorch, the common shape takes the place of the indexed dimensions if those are neighbors, else it comes
/// first. Two kinds of dimension become batch dimensions of the gather: symbolic ones that are not indexed (a window
/// has a known size), and ones that are indexed by a plain count (`range(n)`): that is a pairing, not a search.
#[track_caller]
fn gather_at(operand: &Tensor, indexed: Vec<(usize, Tensor)>) -> Tensor {
    let ty = live!(operand);
    let mut common = Shape::scalar();
    for (dim, index) in &indexed {
        let index_ty = live!(index);
        if !index_ty.dtype.is_int() {
            return fault(format!("index: dimension {dim} is indexed by {index_ty}, expected an integer type"));
        }
        let Some(shape) = broadcast_shape(&common, &index_ty.shape) else {
            return fault(format!(
                "index: the index tensors have shapes {common} and {}, which do not broadcast",
                index_ty.shape
            ));
        };
        common = shape;
    }
    let is_indexed = |dim: usize| indexed.iter().any(|(other, _)| *other == dim);
    let (symbolic, windows): (Vec<usize>, Vec<usize>) =
        (0..ty.rank()).filter(|&dim| !is_indexed(dim)).partition(|&dim| ty.shape[dim].as_const().is_none());

    // Result of the gather: the symbolic dimensions, the common shape, the windows.
    let batch: Vec<Dim> = symbolic.iter().map(|&dim| ty.shape[dim].clone()).chain(common.0.iter().cloned()).collect();
    let batch = Shape(batch);
    let mut attrs = GatherAttrs {
        offset_dims: (batch.rank()..batch.rank() + windows.len()).collect(),
        operand_batching_dims: symbolic.clone(),
        start_indices_batching_dims: (0..symbolic.len()).collect(),
        index_vector_dim: batch.rank(),
        slice_sizes: vec![1; ty.rank()],
        ..GatherAttrs::default()
    };
    for &dim in &windows {
        attrs.slice_sizes[dim] = ty.shape[dim].as_const().expect("symbolic dimensions are batch dimensions");
    }
    let mut components = Vec::new();
    for (position, (dim, index)) in indexed.iter().enumerate() {
        let is_last = position + 1 == indexed.len();
        let counted = counted_dim(index, &common).map(|common_dim| symbolic.len() + common_dim);
        match counted.filter(|batch_dim| batch.0[*batch_dim] == ty.shape[*dim]) {
            Some(batch_dim)
                // An index vector has at least one component.
                if (!is_last || !components.is_empty())
                    && !attrs.start_indices_batching_dims.contains(&batch_dim) =>
            {
                attrs.operand_batching_dims.push(*dim);
                attrs.start_indices_batching_dims.push(batch_dim);
            }
            _ => {
                attrs.collapsed_slice_dims.push(*dim);
                attrs.start_index_map.push(*dim);
                let index = index.positions_in(&ty.shape[*dim]).long();
                components.push(stretch(&index, &batch));
            }
        }
    }
    let indices = match components.as_slice() {
        [only] => only.clone(),
        several => Tensor::stack(several, -1),
    };
    let gathered = apply(Op::Gather(attrs), &[operand, &indices]);

    // Back to PyTorch's order.
    let first = indexed[0].0;
    let adjacent = indexed.iter().enumerate().all(|(position, (dim, _))| *dim == first + position);
    let common_dims = symbolic.len()..batch.rank();
    let mut permutation: Vec<usize> = Vec::new();
    if !adjacent {
        permutation.extend(common_dims.clone());
    }
    for dim in 0..ty.rank() {
        if dim == first && adjacent {
            permutation.extend(common_dims.clone());
        }
        if let Some(at) = symbolic.iter().position(|&other| other == dim) {
            permutation.push(at);
        } else if let Some(at) = windows.iter().position(|&other| other == dim) {
            permutation.push(batch.rank() + at);
        }
    }
    gathered.permute(permutation)
}

/// The dimension of `common` along which `index`, broadcast to it, just counts from 0.
fn counted_dim(index: &Tensor, common: &Shape) -> Option<usize> {
    let Some(Op::Iota(attrs)) = trace::defining_op(&index.to_tensor()) else { return None };
    // Only a plain vector: its dimension is the last of the common shape.
    (attrs.ty.rank() == 1 && common.dims().last() == Some(&attrs.ty.shape[0])).then(|| common.rank() - 1)
}

/// The rules that `gather_nd` and `scatter_nd` share: the length of the index vectors.
#[track_caller]
pub(super) fn check_vectors(
    what: &str,
    ty: &TensorType,
    batch_dims: usize,
    indices: &TensorType,
) -> Result<usize, Tensor> {
    if !indices.dtype.is_int() {
        return Err(fault(format!("{what}: the indices are {indices}, expected an integer type")));
    }
    let Some(depth) = indices.shape.dims().last().and_then(Dim::as_const).filter(|&depth| depth > 0) else {
        return Err(fault(format!("{what}: the indices are {indices}, expected a last dimension of known extent")));
    };
    if batch_dims >= indices.rank() || batch_dims + depth > ty.rank() {
        return Err(fault(format!(
            "{what}: vectors of {depth} positions behind {batch_dims} batch dimensions ({indices}) do not fit {ty}"
        )));
    }
    if let Some(dim) = (0..batch_dims).find(|&dim| ty.shape[dim] != indices.shape[dim]) {
        return Err(fault(format!("{what}: batch dimension {dim} of the indices {indices} differs from that of {ty}")));
    }
    Ok(depth)
}

/// Vectors of positions, each counted from the front of the dimension that it addresses.
#[track_caller]
pub(super) fn vectors_from_front(indices: &Tensor, ty: &TensorType, addressed: &[usize]) -> Tensor {
    let index_ty = live!(indices);
    if !index_ty.dtype.is_signed() {
        return indices.clone();
    }
    let known: Option<Vec<i64>> =
        addressed.iter().map(|&dim| ty.shape[dim].as_const().map(|extent| extent as i64)).collect();
    let extents = match known {
        Some(extents) => Tensor::from_slice(&extents),
        None => {
            let extents: Vec<Tensor> = addressed.iter().map(|&dim| Tensor::extent(&ty.shape[dim])).collect();
            Tensor::stack(&extents, 0)
        }
    };
    let indices = indices.long();
    where_(&indices.lt(0), &indices + extents, &indices)
}
