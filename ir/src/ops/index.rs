//! Rules of `gather` and `scatter` (StableHLO's dimension numbers).

use super::movement::check_dims;
use super::{Combiner, GatherAttrs, InferError, ScatterAttrs};
use crate::dim::Dim;
use crate::types::{DType, Shape, TensorType};

pub(super) fn infer_gather(
    attrs: &GatherAttrs,
    operand: &TensorType,
    indices: &TensorType,
) -> Result<TensorType, InferError> {
    let batch = check_indices(
        operand,
        indices,
        &attrs.start_index_map,
        attrs.index_vector_dim,
        &attrs.operand_batching_dims,
        &attrs.start_indices_batching_dims,
    )?;
    let dropped = [attrs.collapsed_slice_dims.as_slice(), &attrs.operand_batching_dims].concat();
    check_dims("collapsed_slice_dims and operand_batching_dims", &dropped, operand.rank())?;
    if attrs.slice_sizes.len() != operand.rank() {
        return Err(format!(
            "slice_sizes {:?} has {} entries, expected {}",
            attrs.slice_sizes,
            attrs.slice_sizes.len(),
            operand.rank()
        ));
    }
    for (dim, &size) in attrs.slice_sizes.iter().enumerate() {
        if operand.shape[dim].as_const().is_some_and(|extent| size > extent) {
            return Err(format!("slice size {size} of dimension {dim} is beyond operand type {operand}"));
        }
        if dropped.contains(&dim) && size != 1 {
            return Err(format!("slice size of dropped dimension {dim} is {size}, expected 1"));
        }
    }
    let window: Vec<Dim> =
        (0..operand.rank()).filter(|dim| !dropped.contains(dim)).map(|dim| Dim::from(attrs.slice_sizes[dim])).collect();
    let shape = interleave(&attrs.offset_dims, "offset_dims", window, batch)?;
    Ok(TensorType { dtype: operand.dtype, shape })
}

pub(super) fn infer_scatter(
    attrs: &ScatterAttrs,
    operand: &TensorType,
    indices: &TensorType,
    updates: &TensorType,
) -> Result<TensorType, InferError> {
    let batch = check_indices(
        operand,
        indices,
        &attrs.scatter_dims_to_operand_dims,
        attrs.index_vector_dim,
        &attrs.input_batching_dims,
        &attrs.scatter_indices_batching_dims,
    )?;
    let dropped = [attrs.inserted_window_dims.as_slice(), &attrs.input_batching_dims].concat();
    check_dims("inserted_window_dims and input_batching_dims", &dropped, operand.rank())?;
    check_dims("update_window_dims", &attrs.update_window_dims, updates.rank())?;
    if updates.dtype != operand.dtype {
        return Err(format!("operand `updates` has type {updates}, expected element type {}", operand.dtype));
    }
    if operand.dtype == DType::Bool && matches!(attrs.combiner, Combiner::Add | Combiner::Multiply) {
        return Err(format!("operand `operand` has type {operand}, expected a number to {}", attrs.combiner.name()));
    }
    let kept: Vec<usize> = (0..operand.rank()).filter(|dim| !dropped.contains(dim)).collect();
    if kept.len() != attrs.update_window_dims.len() {
        return Err(format!("{} update_window_dims, expected {}", attrs.update_window_dims.len(), kept.len()));
    }
    let window: Vec<Dim> = attrs.update_window_dims.iter().map(|&dim| updates.shape[dim].clone()).collect();
    for (&dim, size) in kept.iter().zip(&window) {
        if let (Some(extent), Some(size)) = (operand.shape[dim].as_const(), size.as_const())
            && size > extent
        {
            return Err(format!("window extent {size} is beyond dimension {dim} of operand type {operand}"));
        }
    }
    let expected = interleave(&attrs.update_window_dims, "update_window_dims", window, batch)?;
    if updates.shape != expected {
        return Err(format!("operand `updates` has type {updates}, expected {}{expected}", operand.dtype));
    }
    Ok(operand.clone())
}

/// Checks the rules that gather and scatter share and gives the batch extents: those of `indices` but for the index
/// vectors.
fn check_indices(
    operand: &TensorType,
    indices: &TensorType,
    index_map: &[usize],
    index_vector_dim: usize,
    operand_batching: &[usize],
    indices_batching: &[usize],
) -> Result<Vec<Dim>, InferError> {
    if !indices.dtype.is_int() {
        return Err(format!("operand `indices` has type {indices}, expected an integer type"));
    }
    if index_vector_dim > indices.rank() {
        return Err(format!("index_vector_dim {index_vector_dim} is out of range for indices type {indices}"));
    }
    let n_components = match indices.shape.dims().get(index_vector_dim) {
        Some(extent) => {
            extent.as_const().ok_or_else(|| format!("the index vectors of {indices} have a symbolic length"))?
        }
        None => 1,
    };
    if index_map.len() != n_components {
        return Err(format!(
            "{} operand dimensions are addressed by index vectors of length {n_components}",
            index_map.len()
        ));
    }
    check_dims("index map and batching dims", &[index_map, operand_batching].concat(), operand.rank())?;
    if operand_batching.len() != indices_batching.len() {
        return Err(format!(
            "{} batching dims of the operand meet {} of the indices",
            operand_batching.len(),
            indices_batching.len()
        ));
    }
    check_dims("batching dims of indices", indices_batching, indices.rank())?;
    for (&operand_dim, &indices_dim) in operand_batching.iter().zip(indices_batching) {
        if indices_dim == index_vector_dim {
            return Err(format!("batching dim {indices_dim} of indices is the index vector"));
        }
        if operand.shape[operand_dim] != indices.shape[indices_dim] {
            return Err(format!(
                "batching dimension {operand_dim} of {operand} differs from dimension {indices_dim} of {indices}"
            ));
        }
    }
    Ok((0..indices.rank()).filter(|&dim| dim != index_vector_dim).map(|dim| indices.shape[dim].clone()).collect())
}

/// The shape with `window` at the positions `window_dims` (increasing) and `batch` at the others.
fn interleave(window_dims: &[usize], what: &str, window: Vec<Dim>, batch: Vec<Dim>) -> Result<Shape, InferError> {
    let rank = window.len() + batch.len();
    if window_dims.len() != window.len() {
        return Err(format!("{what} {window_dims:?} has {} entries, expected {}", window_dims.len(), window.len()));
    }
    check_dims(what, window_dims, rank)?;
    if !window_dims.is_sorted() {
        return Err(format!("{what} {window_dims:?} does not increase"));
    }
    let (mut window, mut batch) = (window.into_iter(), batch.into_iter());
    let shape = (0..rank).map(|dim| if window_dims.contains(&dim) { window.next() } else { batch.next() });
    Ok(Shape(shape.map(|dim| dim.expect("window and batch fill the rank")).collect()))
}
