//! `gather` and `scatter`.
//!
//! Rows of a table are ONNX's `Gather`. Everything else is reduced to one dimension: each element's position in the
//! operand, laid out in a row, is computed from iotas and the index vectors, and elements are taken from there or put
//! there.

use nnc_ir::ops::{Combiner, CompareDir, GatherAttrs, IotaAttrs, ScatterAttrs};
use nnc_ir::{DType, Dim, Shape, TensorType};

use super::elementwise::compare;
use super::emitter::{Emitter, Refusal, Val, int, text};
use super::leaf;
use super::lower::{Site, without};

pub(super) fn gather(e: &mut Emitter, at: &Site<'_>, attrs: &GatherAttrs) -> Result<Val, Refusal> {
    if let Some(rows) = rows(e, at, attrs)? {
        return Ok(rows);
    }
    let (operand, indices) = (at.full(e, 0)?, at.full(e, 1)?);
    let is_dropped =
        |dim: &usize| attrs.collapsed_slice_dims.contains(dim) || attrs.operand_batching_dims.contains(dim);
    let windows = Windows {
        operand: operand.ty.shape.clone(),
        indices,
        index_map: &attrs.start_index_map,
        index_vector_dim: attrs.index_vector_dim,
        operand_batching_dims: &attrs.operand_batching_dims,
        indices_batching_dims: &attrs.start_indices_batching_dims,
        sizes: attrs.slice_sizes.iter().map(|&size| Dim::from(size)).collect(),
        kept_dims: (0..operand.rank()).filter(|dim| !is_dropped(dim)).collect(),
        window_dims: &attrs.offset_dims,
        rank: at.result().rank(),
    };
    let mut position = e.int(0);
    for dim in 0..operand.rank() {
        let place = windows.place(e, dim)?;
        let start = match place.start {
            Some(start) => Some(clamp(e, &start, &place.room)?),
            None => None,
        };
        position = windows.advance(e, dim, position, start, place.offset)?;
    }
    let flat = e.reshape(&operand, &Shape(vec![operand.ty.shape.n_elements()]))?;
    let ty = TensorType { dtype: operand.dtype(), shape: position.ty.shape.clone() };
    Ok(e.op("Gather", &[&flat, &position], ty))
}

/// Whole slices at one index each.
fn rows(e: &mut Emitter, at: &Site<'_>, attrs: &GatherAttrs) -> Result<Option<Val>, Refusal> {
    let ([axis], [collapsed]) = (&attrs.start_index_map[..], &attrs.collapsed_slice_dims[..]) else { return Ok(None) };
    let operand = at.ty(0);
    let is_whole = |dim: usize| dim == *axis || Dim::from(attrs.slice_sizes[dim]) == operand.shape[dim];
    if axis != collapsed || !attrs.operand_batching_dims.is_empty() || !(0..operand.rank()).all(is_whole) {
        return Ok(None);
    }
    let (operand, mut indices) = (at.full(e, 0)?, at.full(e, 1)?);
    if attrs.index_vector_dim < indices.rank() {
        indices = e.reshape(&indices, &without(&indices.ty.shape, attrs.index_vector_dim))?;
    }
    let n_batch = indices.rank();
    let indices = e.cast(&indices, DType::I64);
    let indices = clamp(e, &indices, &(operand.dim(*axis).clone() - Dim::from(1)))?;
    // What ONNX gives: the indices' dimensions in the place of the axis.
    let (front, back) = (&operand.ty.shape.0[..*axis], &operand.ty.shape.0[axis + 1..]);
    let shape = Shape([front, indices.ty.shape.dims(), back].concat());
    let taken = e.op_with(
        "Gather",
        &[&operand, &indices],
        vec![int("axis", *axis as i64)],
        TensorType { dtype: operand.dtype(), shape },
    );
    let mut batch = *axis..axis + n_batch;
    let mut window = (0..*axis).chain(axis + n_batch..taken.rank());
    let permutation: Vec<usize> = (0..taken.rank())
        .map(|dim| if attrs.offset_dims.contains(&dim) { window.next() } else { batch.next() })
        .map(|dim| dim.expect("as many dimensions as the result has"))
        .collect();
    Ok(Some(e.transpose(&taken, &permutation)))
}

/// An index moved into 0 to `last`.
fn clamp(e: &mut Emitter, index: &Val, last: &Dim) -> Result<Val, Refusal> {
    let (zero, last) = (e.int(0), e.extent_scalar(last)?);
    let below = e.map("Min", &[index, &last]);
    Ok(e.map("Max", &[&below, &zero]))
}

pub(super) fn scatter(e: &mut Emitter, at: &Site<'_>, attrs: &ScatterAttrs) -> Result<Val, Refusal> {
    let (operand, indices, updates) = (at.full(e, 0)?, at.full(e, 1)?, at.full(e, 2)?);
    let is_dropped = |dim: &usize| attrs.inserted_window_dims.contains(dim) || attrs.input_batching_dims.contains(dim);
    let kept_dims: Vec<usize> = (0..operand.rank()).filter(|dim| !is_dropped(dim)).collect();
    let mut sizes = vec![Dim::from(1); operand.rank()];
    for (&dim, &window_dim) in kept_dims.iter().zip(&attrs.update_window_dims) {
        sizes[dim] = updates.dim(window_dim).clone();
    }
    let windows = Windows {
        operand: operand.ty.shape.clone(),
        indices,
        index_map: &attrs.scatter_dims_to_operand_dims,
        index_vector_dim: attrs.index_vector_dim,
        operand_batching_dims: &attrs.input_batching_dims,
        indices_batching_dims: &attrs.scatter_indices_batching_dims,
        sizes,
        kept_dims,
        window_dims: &attrs.update_window_dims,
        rank: updates.rank(),
    };
    let mut position = e.int(0);
    let mut is_inside: Option<Val> = None;
    for dim in 0..operand.rank() {
        let place = windows.place(e, dim)?;
        if let Some(start) = &place.start {
            let (zero, last) = (e.int(0), e.extent_scalar(&place.room)?);
            for (dir, bound) in [(CompareDir::Ge, zero), (CompareDir::Le, last)] {
                let fits = compare(e, dir, start, &bound);
                is_inside = Some(match is_inside {
                    None => fits,
                    Some(others) => e.map("And", &[&others, &fits]),
                });
            }
        }
        position = windows.advance(e, dim, position, place.start, place.offset)?;
    }
    // Windows that are not wholly inside fall on an element behind the last, which is cut off again.
    let n_elements = operand.ty.shape.n_elements();
    if let Some(is_inside) = is_inside {
        let behind = e.extent_scalar(&n_elements)?;
        position = e.select(&is_inside, &position, &behind);
    }
    put(e, &operand, &position, &updates, attrs.combiner)
}

/// `operand` with each of `updates` combined in at `position` among its elements; one behind the last is ignored.
pub(super) fn put(
    e: &mut Emitter,
    operand: &Val,
    position: &Val,
    updates: &Val,
    combiner: Combiner,
) -> Result<Val, Refusal> {
    let n_elements = operand.ty.shape.n_elements();
    let n_updates = updates.ty.shape.n_elements();
    let position = e.full(position, &updates.ty.shape)?;
    let position = e.reshape(&position, &Shape(vec![n_updates.clone(), Dim::from(1)]))?;
    let updates = e.reshape(updates, &Shape(vec![n_updates]))?;
    let flat = e.reshape(operand, &Shape(vec![n_elements.clone()]))?;
    let spare = e.number(operand.dtype(), 0.0);
    let spare = e.reshape(&spare, &Shape::fixed(&[1]))?;
    let flat = e.concat(&[flat, spare], 0);
    let reduction = match combiner {
        Combiner::Assign => "none",
        Combiner::Add => "add",
        Combiner::Multiply => "mul",
        Combiner::Minimum => "min",
        Combiner::Maximum => "max",
    };
    let inputs = [&flat, &position, &updates];
    let updated = e.op_with("ScatterND", &inputs, vec![text("reduction", reduction)], flat.ty.clone());
    let (first, last) = (e.ints(&[0]), e.ints(&[-1]));
    let updated = e.slice(&updated, 0, (&first, &last), 1, n_elements);
    e.reshape(&updated, &operand.ty.shape)
}

/// What gather and scatter have in common: windows of an operand, at starts that index vectors give, whose elements
/// make a tensor in which dimensions of the window and of the indices (the batch) interleave.
struct Windows<'a> {
    operand: Shape,
    indices: Val,
    /// For each component of an index vector, the operand dimension it addresses.
    index_map: &'a [usize],
    index_vector_dim: usize,
    operand_batching_dims: &'a [usize],
    indices_batching_dims: &'a [usize],
    /// Extents of the window in the operand.
    sizes: Vec<Dim>,
    /// Operand dimensions of the window that the tensor keeps.
    kept_dims: Vec<usize>,
    /// Dimensions of the tensor that run over the window.
    window_dims: &'a [usize],
    /// Rank of the tensor.
    rank: usize,
}

/// Where elements of the tensor lie along one dimension of the operand; parts broadcast to the tensor.
struct Place {
    /// The first element of the window, as the indices say.
    start: Option<Val>,
    /// The largest start at which a window fits.
    room: Dim,
    /// Position in the window, or along a batch dimension.
    offset: Option<Val>,
}

impl Windows<'_> {
    fn place(&self, e: &mut Emitter, dim: usize) -> Result<Place, Refusal> {
        let room = self.operand[dim].clone() - self.sizes[dim].clone();
        let start = match self.index_map.iter().position(|&mapped| mapped == dim) {
            Some(component) => Some(self.component(e, component)?),
            None => None,
        };
        let counted = if let Some(batching) = self.operand_batching_dims.iter().position(|&other| other == dim) {
            let of_indices = self.indices_batching_dims[batching];
            let batch = of_indices - usize::from(of_indices > self.index_vector_dim);
            let batch_dims = (0..self.rank).filter(|dim| !self.window_dims.contains(dim));
            Some((batch_dims.collect::<Vec<_>>()[batch], self.operand[dim].clone()))
        } else {
            let window = self.kept_dims.iter().position(|&kept| kept == dim);
            window.map(|window| (self.window_dims[window], self.sizes[dim].clone()))
        };
        let offset = match counted.filter(|(_, extent)| *extent != Dim::from(1)) {
            Some((dim, extent)) => {
                let mut shape = Shape(vec![Dim::from(1); self.rank]);
                shape.0[dim] = extent;
                let ty = TensorType { dtype: DType::I64, shape };
                Some(leaf::iota(e, &IotaAttrs { ty, dim })?)
            }
            None => None,
        };
        Ok(Place { start, room, offset })
    }

    /// Component `component` of the index vectors, one a batch index.
    fn component(&self, e: &mut Emitter, component: usize) -> Result<Val, Refusal> {
        let mut starts = e.cast(&self.indices, DType::I64);
        if self.index_vector_dim < starts.rank() {
            let axis = self.index_vector_dim;
            let (first, last) = (e.ints(&[component as i64]), e.ints(&[component as i64 + 1]));
            if self.index_map.len() > 1 {
                starts = e.slice(&starts, axis, (&first, &last), 1, Dim::from(1));
            }
            starts = e.reshape(&starts, &without(&starts.ty.shape, axis))?;
        }
        Ok(e.unsqueeze(&starts, self.window_dims))
    }

    /// The position among all elements, after the dimensions before `dim`, that of `dim` added.
    fn advance(
        &self,
        e: &mut Emitter,
        dim: usize,
        position: Val,
        start: Option<Val>,
        offset: Option<Val>,
    ) -> Result<Val, Refusal> {
        let mut position = position;
        if dim > 0 {
            let extent = e.extent_scalar(&self.operand[dim])?;
            position = e.map("Mul", &[&position, &extent]);
        }
        for part in [start, offset].into_iter().flatten() {
            position = e.map("Add", &[&position, &part]);
        }
        Ok(position)
    }
}
