//! Writing by position: `scatter` and its kin.

use nnc_ir::Op;
use nnc_ir::ops::{Combiner, ScatterAttrs};

use super::index::{check_along, check_vectors, coordinates, vectors_from_front};
use super::{Tensor, apply, fault, live, resolve_dim, sound};

impl Tensor {
    /// Adds each row of `rows` to the row of this matrix that the vector `index` names, in order.
    #[track_caller]
    pub(crate) fn add_rows(&self, index: &Tensor, rows: &Tensor) -> Tensor {
        let attrs = ScatterAttrs {
            update_window_dims: vec![1],
            inserted_window_dims: vec![0],
            input_batching_dims: Vec::new(),
            scatter_indices_batching_dims: Vec::new(),
            scatter_dims_to_operand_dims: vec![0],
            index_vector_dim: 1,
            combiner: Combiner::Add,
        };
        apply(Op::Scatter(attrs), &[self, index, rows])
    }

    /// `torch.scatter_add`: adds each element of `source` to the element of `self` that `index` names along `dim`, in
    /// row-major order of `index`.
    #[track_caller]
    pub fn scatter_add(&self, dim: i64, index: &Tensor, source: &Tensor) -> Tensor {
        scatter("scatter_add", Combiner::Add, self, dim, index, source)
    }

    /// `torch.scatter`: puts each element of `source` where `index` names along `dim`; of several the last stays.
    #[track_caller]
    pub fn scatter(&self, dim: i64, index: &Tensor, source: &Tensor) -> Tensor {
        scatter("scatter", Combiner::Assign, self, dim, index, source)
    }

    /// `torch.scatter_reduce` with `include_self=True`: combines each element of `source` with the element of `self` that
    /// `index` names along `dim`, in row-major order of `index`.
    #[track_caller]
    pub fn scatter_reduce(&self, dim: i64, index: &Tensor, source: &Tensor, combiner: Combiner) -> Tensor {
        scatter("scatter_reduce", combiner, self, dim, index, source)
    }

    /// Combines slices with those that vectors of positions name, in order: `tensor_scatter_nd_update` of TensorFlow and
    /// its kin. The last dimension of `indices`, of a known extent, holds one position for each of the first dimensions
    /// of `self`; `updates` has the other dimensions of `indices` and then what is left of `self`. Negative positions
    /// count from the end, and what lies outside is dropped.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// use nnc_ir::ops::Combiner;
    ///
    /// let (indices, updates) = (Tensor::from_slice(&[1i64, -1, 1]).view([3, 1]), Tensor::from_slice(&[5.0f32, 6.0, 7.0]));
    /// let sums = Tensor::ones([4]).scatter_nd(&indices, &updates, Combiner::Add);
    /// assert_eq!(sums.to_array()?.as_slice(), Some(&[1.0, 13.0, 1.0, 7.0][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn scatter_nd(&self, indices: &Tensor, updates: &Tensor, combiner: Combiner) -> Tensor {
        let (ty, index_ty) = (live!(self), live!(indices));
        let depth = sound!(check_vectors("scatter_nd", &ty, 0, &index_ty));
        let n_batch = index_ty.rank() - 1;
        let addressed: Vec<usize> = (0..depth).collect();
        let attrs = ScatterAttrs {
            update_window_dims: (n_batch..n_batch + ty.rank() - depth).collect(),
            inserted_window_dims: addressed.clone(),
            input_batching_dims: Vec::new(),
            scatter_indices_batching_dims: Vec::new(),
            scatter_dims_to_operand_dims: addressed.clone(),
            index_vector_dim: n_batch,
            combiner,
        };
        apply(Op::Scatter(attrs), &[self, &vectors_from_front(indices, &ty, &addressed), updates])
    }
}

#[track_caller]
fn scatter(what: &str, combiner: Combiner, operand: &Tensor, dim: i64, index: &Tensor, source: &Tensor) -> Tensor {
    let (ty, index_ty, source_ty) = (live!(operand), live!(index), live!(source));
    let dim = sound!(resolve_dim(what, dim, &ty));
    sound!(check_along(what, &ty, dim, &index_ty));
    if source_ty != index_ty.with_dtype(ty.dtype) {
        return fault(format!("{what}: the source is {source_ty}, expected {}", index_ty.with_dtype(ty.dtype)));
    }
    let others: Vec<usize> = (0..ty.rank()).filter(|&other| other != dim).collect();
    let aligned = others.iter().all(|&other| ty.shape[other] == index_ty.shape[other]);
    let attrs = ScatterAttrs {
        update_window_dims: Vec::new(),
        inserted_window_dims: if aligned { vec![dim] } else { (0..ty.rank()).collect() },
        input_batching_dims: if aligned { others.clone() } else { Vec::new() },
        scatter_indices_batching_dims: if aligned { others } else { Vec::new() },
        scatter_dims_to_operand_dims: if aligned { vec![dim] } else { (0..ty.rank()).collect() },
        index_vector_dim: ty.rank(),
        combiner,
    };
    let index = if aligned { index.clone() } else { coordinates(index, dim) };
    apply(Op::Scatter(attrs), &[operand, &index, source])
}
