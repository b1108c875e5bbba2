//! `gather` and `scatter`.
//!
//! Both pair a *batch* space (the dimensions of `indices` other than the index vectors) with a *window* space (the
//! slice's kept dimensions), interleaved in the gathered result or the scattered updates. Each batch index has one
//! start in the operand; an element lies at its start plus its window offset.

use super::elementwise::{float_binary, int_binary};
use super::strided::{Strided, pick, row_major};
use crate::literal::TensorData;
use crate::ops::{Combiner, GatherAttrs, Op, ScatterAttrs};

/// What gather and scatter have in common.
struct Windows<'a> {
    operand: &'a TensorData,
    indices: &'a TensorData,
    /// For each component of an index vector, the operand dimension it addresses.
    index_map: &'a [usize],
    index_vector_dim: usize,
    operand_batching_dims: &'a [usize],
    indices_batching_dims: &'a [usize],
    /// Extent of the window in each operand dimension.
    window_sizes: &'a [usize],
    /// Operand dimensions of the window that the interleaved tensor keeps.
    kept_dims: Vec<usize>,
    /// Dimensions of the interleaved tensor that run over the window.
    window_dims: &'a [usize],
    /// Shape of the interleaved tensor.
    shape: &'a [usize],
}

impl Windows<'_> {
    /// The operand offset of each batch index's window. `place` maps a start, the extent it addresses and the
    /// window's extent there to where the window lies, or `None` to drop it.
    fn starts(&self, place: impl Fn(i64, i64, i64) -> Option<i64>) -> Vec<Option<usize>> {
        let operand_strides = row_major(&self.operand.shape);
        let batch_dims: Vec<usize> =
            (0..self.indices.shape.len()).filter(|&dim| dim != self.index_vector_dim).collect();
        let batch_shape = pick(&self.indices.shape, &batch_dims);

        let indices_strides = row_major(&self.indices.shape);
        let component_stride = indices_strides.get(self.index_vector_dim).map_or(0, |&stride| stride as usize);
        let vectors = Strided { shape: batch_shape.clone(), strides: pick(&indices_strides, &batch_dims), offset: 0 };

        let mut batching_strides = vec![0; batch_dims.len()];
        for (&operand_dim, &indices_dim) in self.operand_batching_dims.iter().zip(self.indices_batching_dims) {
            let position = indices_dim - usize::from(indices_dim > self.index_vector_dim);
            batching_strides[position] = operand_strides[operand_dim];
        }
        let batching = Strided { shape: batch_shape, strides: batching_strides, offset: 0 };

        let indices = self.indices.to_i64();
        let start = |(vector, batching): (usize, usize)| {
            let mut index = vec![0i64; self.operand.shape.len()];
            for (component, &dim) in self.index_map.iter().enumerate() {
                index[dim] = indices[vector + component * component_stride];
            }
            let mut offset = batching as isize;
            for (dim, index) in index.into_iter().enumerate() {
                let placed = place(index, self.operand.shape[dim] as i64, self.window_sizes[dim] as i64)?;
                offset += placed as isize * operand_strides[dim];
            }
            Some(offset as usize)
        };
        vectors.offsets().zip(batching.offsets()).map(start).collect()
    }

    /// For each element of the interleaved tensor, in row-major order, its batch index as a number and the operand
    /// offset of its position in the window.
    fn elements(&self) -> Vec<(usize, usize)> {
        let batch_dims: Vec<usize> = (0..self.shape.len()).filter(|dim| !self.window_dims.contains(dim)).collect();
        let spread = |dims: &[usize], strides: Vec<isize>| {
            let mut spread = vec![0; self.shape.len()];
            for (&dim, stride) in dims.iter().zip(strides) {
                spread[dim] = stride;
            }
            Strided { shape: self.shape.to_vec(), strides: spread, offset: 0 }
        };
        let batch = spread(&batch_dims, row_major(&pick(self.shape, &batch_dims)));
        let window = spread(self.window_dims, pick(&row_major(&self.operand.shape), &self.kept_dims));
        batch.offsets().zip(window.offsets()).collect()
    }
}

pub(super) fn gather(attrs: &GatherAttrs, operand: &TensorData, indices: &TensorData, shape: Vec<usize>) -> TensorData {
    let is_dropped =
        |dim: &usize| attrs.collapsed_slice_dims.contains(dim) || attrs.operand_batching_dims.contains(dim);
    let windows = Windows {
        operand,
        indices,
        index_map: &attrs.start_index_map,
        index_vector_dim: attrs.index_vector_dim,
        operand_batching_dims: &attrs.operand_batching_dims,
        indices_batching_dims: &attrs.start_indices_batching_dims,
        window_sizes: &attrs.slice_sizes,
        kept_dims: (0..operand.shape.len()).filter(|dim| !is_dropped(dim)).collect(),
        window_dims: &attrs.offset_dims,
        shape: &shape,
    };
    let starts = windows.starts(|start, extent, size| Some(start.clamp(0, extent - size)));
    let size = operand.dtype.size();
    let mut bytes = Vec::new();
    for (batch, window) in windows.elements() {
        let offset = starts[batch].expect("gather drops no window") + window;
        bytes.extend_from_slice(&operand.bytes[offset * size..][..size]);
    }
    TensorData { dtype: operand.dtype, shape, bytes: bytes.into() }
}

pub(super) fn scatter(
    attrs: &ScatterAttrs,
    operand: &TensorData,
    indices: &TensorData,
    updates: &TensorData,
) -> TensorData {
    let is_dropped = |dim: &usize| attrs.inserted_window_dims.contains(dim) || attrs.input_batching_dims.contains(dim);
    let kept_dims: Vec<usize> = (0..operand.shape.len()).filter(|dim| !is_dropped(dim)).collect();
    let mut window_sizes = vec![1; operand.shape.len()];
    for (&dim, &window_dim) in kept_dims.iter().zip(&attrs.update_window_dims) {
        window_sizes[dim] = updates.shape[window_dim];
    }
    let windows = Windows {
        operand,
        indices,
        index_map: &attrs.scatter_dims_to_operand_dims,
        index_vector_dim: attrs.index_vector_dim,
        operand_batching_dims: &attrs.input_batching_dims,
        indices_batching_dims: &attrs.scatter_indices_batching_dims,
        window_sizes: &window_sizes,
        kept_dims,
        window_dims: &attrs.update_window_dims,
        shape: &updates.shape,
    };
    let starts = windows.starts(|start, extent, size| (0 <= start && start <= extent - size).then_some(start));
    // (update, element it meets) in row-major order of the updates.
    let pairs = windows
        .elements()
        .into_iter()
        .enumerate()
        .filter_map(|(update, (batch, window))| Some((update, starts[batch]? + window)));

    let combine = match attrs.combiner {
        Combiner::Assign => {
            let size = operand.dtype.size();
            let mut bytes = operand.bytes.to_vec();
            for (update, element) in pairs {
                bytes[element * size..][..size].copy_from_slice(&updates.bytes[update * size..][..size]);
            }
            return TensorData { bytes: bytes.into(), ..operand.clone() };
        }
        Combiner::Add => Op::Add,
        Combiner::Multiply => Op::Multiply,
        Combiner::Minimum => Op::Minimum,
        Combiner::Maximum => Op::Maximum,
    };
    let (dtype, shape) = (operand.dtype, operand.shape.clone());
    if dtype.is_float() {
        let (mut elements, updates) = (operand.to_f64(), updates.to_f64());
        pairs.for_each(|(update, at)| elements[at] = float_binary(&combine, elements[at], updates[update]));
        TensorData::from_doubles(dtype, shape, elements)
    } else {
        let (mut elements, updates) = (operand.to_integers(), updates.to_integers());
        pairs.for_each(|(update, at)| elements[at] = int_binary(&combine, dtype, elements[at], updates[update]));
        TensorData::from_integers(dtype, shape, elements)
    }
}
