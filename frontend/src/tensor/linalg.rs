//! Matrices as such: diagonals and determinants.

use nnc_ir::{DType, Shape};

use super::reduce::Reduced;
use super::{Tensor, fault, live, resolve_dim, sound, where_};
use crate::functional::Scan;

/// Up to so many columns, elimination is written out; beyond, it is a loop.
const MAX_UNROLLED: usize = 4;

impl Tensor {
    /// The elements `[i, i + offset]` of dimensions `dim1` and `dim2`, which become the last dimension:
    /// `torch.diagonal`. Both extents are known.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::arange(12).view([3, 4]);
    /// assert_eq!(x.diagonal(1, 0, 1).to_array_i64()?.as_slice(), Some(&[1, 6, 11][..]));
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn diagonal(&self, offset: i64, dim1: i64, dim2: i64) -> Tensor {
        let ty = live!(self);
        let rows = sound!(resolve_dim("diagonal", dim1, &ty));
        let columns = sound!(resolve_dim("diagonal", dim2, &ty));
        let extents = (ty.shape[rows].as_const(), ty.shape[columns].as_const());
        let (Some(n_rows), Some(n_columns)) = extents else {
            return fault(format!("diagonal: dimensions {dim1} and {dim2} of {ty}, expected known extents"));
        };
        if rows == columns {
            return fault(format!("diagonal: dimension {rows} of {ty} is given twice"));
        }
        let mut order: Vec<usize> = (0..ty.rank()).filter(|dim| ![rows, columns].contains(dim)).collect();
        order.extend([rows, columns]);
        let (below, right) = ((-offset).max(0), offset.max(0));
        let length = (n_rows as i64 - below).min(n_columns as i64 - right).max(0);
        // In row-major order, neighbors on a diagonal are a row and a column apart.
        let start = below * n_columns as i64 + right;
        let step = n_columns as i64 + 1;
        let end = if length == 0 { start } else { start + (length - 1) * step + 1 };
        self.permute(order).flatten(-2, -1).slice(-1, start, Some(end), step as usize)
    }

    /// The determinant of each matrix in the last two dimensions: `torch.linalg.det`. By elimination with complete
    /// pivoting, so that the gradient is right for matrices without an inverse too; half precision is computed in `f32`.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let x = Tensor::from_slice(&[0.0, 2.0, 3.0, 4.0]).view([2, 2]);
    /// assert_eq!(x.det().item()?, -6.0);
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn det(&self) -> Tensor {
        let ty = live!(self);
        let square = ty.rank() >= 2 && ty.shape[ty.rank() - 2] == ty.shape[ty.rank() - 1];
        if !square || !ty.dtype.is_float() {
            return fault(format!("det: the tensor is {ty}, expected floats in square matrices, [..., N, N]"));
        }
        self.in_wide(determinant)
    }
}

/// What elimination has come to: the matrix, its rows and columns that are still free (`bool[..., N]`), the product of
/// the pivots so far.
type Elimination = (Tensor, Tensor, Tensor, Tensor);

#[track_caller]
fn determinant(x: &Tensor) -> Tensor {
    let ty = live!(x);
    let batch = Shape(ty.shape.0[..ty.rank() - 2].to_vec());
    let rows = Shape(ty.shape.0[..ty.rank() - 1].to_vec());
    let n = &ty.shape[ty.rank() - 1];
    let at = Tensor::arange(n.clone());
    let scalar = |dtype| Tensor::scalar(1.0).to_dtype(dtype);
    let free = scalar(DType::Bool).broadcast_to(rows);
    let start: Elimination = (x.clone(), free.clone(), free, scalar(ty.dtype).broadcast_to(batch));
    let (.., det) = match n.as_const() {
        Some(n) if n <= MAX_UNROLLED => (0..n).fold(start, |state, _| eliminate(state, &at)),
        _ => Scan::new().length(n.clone()).run(start, (), |state, ()| (eliminate(state, &at), ())).0,
    };
    det
}

/// Takes the next pivot, the largest element of free rows and columns, whose row is then taken away from the other free
/// rows so that they are 0 in its column. The product of pivots changes its sign with each free row and column that the
/// pivot's would have to pass on their way to the front. `at` counts rows and columns.
///
/// Pivots are sought in all columns so that one is 0 only where nothing is left: derivatives are then those of the
/// product, also of a matrix without an inverse.
#[track_caller]
fn eliminate((matrix, free_rows, free_columns, det): Elimination, at: &Tensor) -> Elimination {
    let free = free_rows.unsqueeze(-1).logical_and(free_columns.unsqueeze(-2));
    let largest = where_(&free, matrix.abs(), -1.0).detach().max(-1);
    let row_at = largest.argmax(Reduced::keep(-1));
    let is_row = at.eq(&row_at);
    let pivot_row = where_(&is_row.unsqueeze(-1), &matrix, 0).sum(-2);
    let column_at = where_(&free_columns, pivot_row.abs(), -1.0).detach().argmax(Reduced::keep(-1));
    let is_column = at.eq(&column_at);
    let column = where_(&is_column.unsqueeze(-2), &matrix, 0).sum(-1);
    let pivot = where_(&is_column, &pivot_row, 0).sum(-1);
    let n_passed = |free: &Tensor, pivot_at: &Tensor| free.logical_and(at.lt(pivot_at)).sum(-1);
    let n_passed = n_passed(&free_rows, &row_at) + n_passed(&free_columns, &column_at);
    let signed = where_(&n_passed.fmod(2).eq(1), -&pivot, &pivot);

    let free_rows = free_rows.logical_and(!&is_row);
    let free_columns = free_columns.logical_and(!&is_column);
    // Zeros that are left leave nothing to take away, and the determinant is 0 from here on.
    let divisor = where_(&pivot.eq(0), 1, &pivot).unsqueeze(-1);
    let factor = where_(&free_rows, column / divisor, 0);
    let matrix = matrix - factor.unsqueeze(-1) * pivot_row.unsqueeze(-2);
    (matrix, free_rows, free_columns, det * signed)
}
