//! Rules of `gather` and `scatter`, which are each other's adjoints but for the indices that fall outside: `gather`
//! clamps them into range, `scatter` drops their updates.

use nnc_ir::builder::Built;
use nnc_ir::ops::{Combiner, CompareDir, GatherAttrs, ScatterAttrs};
use nnc_ir::{Builder, DType, Dim, Scalar, Shape, TensorData, TensorType, Value};

use super::{Cotangents, Site};

/// Each element of the operand gets the sum over its copies. The indices are clamped as the gather clamped them.
///
/// A gather that picks one element of each row, as a loss picks the class, needs no scatter: the cotangent of a row is
/// its element's cotangent at the picked position and zero elsewhere, which is elementwise and can be fused.
pub(super) fn gather(attrs: &GatherAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (operand, indices, g) = (site.operands[0], site.operands[1], site.cotangent);
    let b = &mut site.b;
    let shape = b.shape(operand).clone();
    let largest: Vec<Dim> =
        attrs.start_index_map.iter().map(|&dim| shape[dim].clone() - Dim::from(attrs.slice_sizes[dim])).collect();
    let (indices, largest) = largest_starts(b, indices, attrs.index_vector_dim, &largest)?;
    let zeros = b.zeros_like(indices)?;
    let clamped = b.clamp(zeros, indices, largest)?;
    if let Some(picked) = Picked::of(attrs, &shape, b.shape(indices)) {
        return Ok(vec![Some(picked.spread(b, shape, clamped, g)?), None]);
    }
    let scatter = ScatterAttrs {
        update_window_dims: attrs.offset_dims.clone(),
        inserted_window_dims: attrs.collapsed_slice_dims.clone(),
        input_batching_dims: attrs.operand_batching_dims.clone(),
        scatter_indices_batching_dims: attrs.start_indices_batching_dims.clone(),
        scatter_dims_to_operand_dims: attrs.start_index_map.clone(),
        index_vector_dim: attrs.index_vector_dim,
        combiner: Combiner::Add,
    };
    let zeros = b.zeros_like(operand)?;
    Ok(vec![Some(b.scatter(zeros, clamped, g, scatter)?), None])
}

/// A gather of one element from each row along a dimension; all other dimensions are batch dimensions.
struct Picked {
    /// The dimension of the rows.
    dim: usize,
    /// The shape of the batch: that of the indices without the index vectors, and of the result.
    batch: Shape,
    /// The dimensions of `batch` in the order of the operand's other dimensions, followed by those of extent 1.
    order: Vec<usize>,
}

impl Picked {
    fn of(attrs: &GatherAttrs, operand: &Shape, indices: &Shape) -> Option<Self> {
        let &[dim] = attrs.start_index_map.as_slice() else {
            return None;
        };
        if attrs.operand_batching_dims.len() + 1 != operand.rank() || attrs.slice_sizes[dim] != 1 {
            return None;
        }
        let in_batch = |indices_dim: usize| indices_dim - usize::from(indices_dim > attrs.index_vector_dim);
        let mut batching: Vec<(usize, usize)> = attrs
            .operand_batching_dims
            .iter()
            .zip(&attrs.start_indices_batching_dims)
            .map(|(&operand_dim, &indices_dim)| (operand_dim, in_batch(indices_dim)))
            .collect();
        batching.sort_unstable();
        let mut order: Vec<usize> = batching.into_iter().map(|(_, batch_dim)| batch_dim).collect();
        let kept = (0..indices.rank()).filter(|&at| at != attrs.index_vector_dim);
        let batch = Shape(kept.map(|at| indices[at].clone()).collect());
        // One element a row: whatever else the batch has is of extent 1. A window dimension may be of extent 1, too.
        for at in 0..batch.rank() {
            if !order.contains(&at) {
                if batch[at] != Dim::from(1) {
                    return None;
                }
                order.push(at);
            }
        }
        Some(Self { dim, batch, order })
    }

    /// A tensor of `shape` with the elements of `g` at the positions `picked` along the rows, among zeros.
    fn spread(&self, b: &mut Builder<'_>, shape: Shape, picked: Value, g: Value) -> Built {
        // Narrow index types cannot count the positions of a row.
        let dtype = if b.dtype(picked).size() < 4 { DType::I32 } else { b.dtype(picked) };
        let picked = b.convert(picked, dtype)?;
        let (picked, g) = (self.along_rows(b, &shape, picked)?, self.along_rows(b, &shape, g)?);
        let position = b.iota(TensorType { dtype, shape }, self.dim)?;
        let is_picked = b.eq(position, picked)?;
        let zeros = b.zeros_like(g)?;
        b.select(is_picked, g, zeros)
    }

    /// The elements of `value`, one for each row, repeated along the rows of `shape`.
    fn along_rows(&self, b: &mut Builder<'_>, shape: &Shape, value: Value) -> Built {
        let others: Vec<usize> = (0..shape.rank()).filter(|&dim| dim != self.dim).collect();
        let value = b.reshape(value, self.batch.clone())?;
        let value = b.transpose(value, &self.order)?;
        let value = b.reshape(value, Shape(others.iter().map(|&dim| shape[dim].clone()).collect()))?;
        b.broadcast_in_dim(value, shape.clone(), &others)
    }
}

/// One rule a combiner. An update that was dropped gets no gradient.
///
/// - `assign`: an overwritten element gets none, and of colliding updates only the last gets any.
/// - `multiply`: the product of the other factors, zeros included. The gradient of this gradient misses terms where
///   a product has a factor of zero.
/// - `minimum`, `maximum`: the element and the updates that equal the result share evenly.
pub(super) fn scatter(attrs: &ScatterAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (operand, updates, result, g) = (site.operands[0], site.operands[2], site.result, site.cotangent);
    let mut scattered = Scattered::new(&mut site.b, attrs, operand, site.operands[1], updates)?;
    let (wants_operand, wants_updates) = (site.wanted[0], site.wanted[2]);
    let (operand_cotangent, updates_cotangent) = match attrs.combiner {
        Combiner::Add => {
            let updates_cotangent = if wants_updates { Some(scattered.collect(g)?) } else { None };
            (Some(g), updates_cotangent)
        }
        Combiner::Assign => {
            let kept = if wants_operand { Some(scattered.overwrite_with_zeros(g)?) } else { None };
            let written = if wants_updates { Some(scattered.collect_from_last(g)?) } else { None };
            (kept, written)
        }
        Combiner::Multiply => {
            let kept = if wants_operand {
                let ones = scattered.b.ones_like(operand)?;
                let factor = scattered.combine(Combiner::Multiply, ones, updates)?;
                Some(scattered.b.multiply(g, factor)?)
            } else {
                None
            };
            let others = if wants_updates { Some(scattered.product_of_others(g)?) } else { None };
            (kept, others)
        }
        Combiner::Minimum | Combiner::Maximum => {
            let (kept, written) = scattered.share_extremum(result, g)?;
            (Some(kept), Some(written))
        }
    };
    Ok(vec![operand_cotangent, None, updates_cotangent])
}

/// A scatter being differentiated.
struct Scattered<'b, 'g> {
    b: &'b mut Builder<'g>,
    attrs: &'b ScatterAttrs,
    /// The gather that reads what the scatter wrote.
    gather: GatherAttrs,
    operand: Value,
    indices: Value,
    updates: Value,
    /// `bool` of the shape of `updates`: whether the update was applied.
    applied: Value,
}

impl<'b, 'g> Scattered<'b, 'g> {
    fn new(
        b: &'b mut Builder<'g>,
        attrs: &'b ScatterAttrs,
        operand: Value,
        indices: Value,
        updates: Value,
    ) -> Built<Self> {
        let shape = b.shape(operand).clone();
        let updates_shape = b.shape(updates).clone();
        let mut window = attrs.update_window_dims.iter().map(|&dim| updates_shape[dim].clone());
        let mut window_of = |dim: usize| {
            let dropped = attrs.inserted_window_dims.contains(&dim) || attrs.input_batching_dims.contains(&dim);
            if dropped { Dim::from(1) } else { window.next().expect("infer counted the window dimensions") }
        };
        let windows: Vec<Dim> = (0..shape.rank()).map(&mut window_of).collect();
        let Some(slice_sizes) = Shape(windows.clone()).as_fixed() else {
            let window = Shape(windows);
            return Err(b.fault(format!("scatter: the window {window} has to be fixed to be differentiated")));
        };
        let gather = GatherAttrs {
            offset_dims: attrs.update_window_dims.clone(),
            collapsed_slice_dims: attrs.inserted_window_dims.clone(),
            operand_batching_dims: attrs.input_batching_dims.clone(),
            start_indices_batching_dims: attrs.scatter_indices_batching_dims.clone(),
            start_index_map: attrs.scatter_dims_to_operand_dims.clone(),
            index_vector_dim: attrs.index_vector_dim,
            slice_sizes,
        };
        let largest: Vec<Dim> =
            gather.start_index_map.iter().map(|&dim| shape[dim].clone() - Dim::from(gather.slice_sizes[dim])).collect();

        let (starts, largest) = largest_starts(b, indices, attrs.index_vector_dim, &largest)?;
        let zeros = b.zeros_like(starts)?;
        let (from_zero, to_largest) = (b.ge(starts, zeros)?, b.le(starts, largest)?);
        let mut inside = b.and(from_zero, to_largest)?;
        if attrs.index_vector_dim < b.shape(indices).rank() {
            inside = b.reduce_all(inside, &[attrs.index_vector_dim])?;
        }
        let batch: Vec<usize> =
            (0..updates_shape.rank()).filter(|dim| !attrs.update_window_dims.contains(dim)).collect();
        let applied = b.broadcast_in_dim(inside, updates_shape, &batch)?;
        Ok(Self { b, attrs, gather, operand, indices, updates, applied })
    }

    /// Scatters `updates` onto `operand` as the forward op does, with another combiner.
    fn combine(&mut self, combiner: Combiner, operand: Value, updates: Value) -> Built {
        self.b.scatter(operand, self.indices, updates, ScatterAttrs { combiner, ..self.attrs.clone() })
    }

    /// For each update the element of `value` that it met; that of a dropped update has no meaning.
    fn read(&mut self, value: Value) -> Built {
        self.b.gather(value, self.indices, self.gather.clone())
    }

    /// `value`, of the shape of the updates, with zeros where `mask` is false.
    fn keep(&mut self, mask: Value, value: Value) -> Built {
        let zeros = self.b.zeros_like(value)?;
        self.b.select(mask, value, zeros)
    }

    /// For each update the element of `g` that it met, or zero.
    fn collect(&mut self, g: Value) -> Built {
        let met = self.read(g)?;
        self.keep(self.applied, met)
    }

    fn overwrite_with_zeros(&mut self, g: Value) -> Built {
        let zeros = self.b.zeros_like(self.updates)?;
        self.combine(Combiner::Assign, g, zeros)
    }

    /// As [`Self::collect`], for the updates that no later one overwrote: the scatter is repeated with the numbers
    /// of the updates, and an update whose number is still in place was the last.
    fn collect_from_last(&mut self, g: Value) -> Built {
        let shape = self.b.shape(self.updates).clone();
        let counter = TensorType { dtype: DType::I64, shape: Shape(vec![shape.n_elements()]) };
        let counter = self.b.iota(counter, 0)?;
        let numbers = self.b.reshape(counter, shape)?;
        let untouched = self.b.ty(self.operand).with_dtype(DType::I64);
        let untouched = self.b.splat(untouched, -1.0)?;
        let last = self.combine(Combiner::Assign, untouched, numbers)?;
        let last = self.read(last)?;
        let is_last = self.b.eq(last, numbers)?;
        let written = self.b.and(is_last, self.applied)?;
        let met = self.read(g)?;
        self.keep(written, met)
    }

    /// For each update `g` times the element and the other updates it was multiplied with. The product is taken
    /// without zeros, which are counted: a factor's others are zero if another factor is.
    fn product_of_others(&mut self, g: Value) -> Built {
        let zeros = self.b.zeros_like(self.updates)?;
        let ones = self.b.ones_like(self.updates)?;
        let is_zero = self.b.eq(self.updates, zeros)?;
        let nonzero = self.b.select(is_zero, ones, self.updates)?;
        let empty_product = self.b.ones_like(self.operand)?;
        let product = self.combine(Combiner::Multiply, empty_product, nonzero)?;
        let product = self.read(product)?;
        let others = self.b.divide(product, nonzero)?;

        let zero_flags = self.b.convert(is_zero, DType::I64)?;
        let none = self.b.ty(self.operand).with_dtype(DType::I64);
        let none = self.b.splat(none, 0.0)?;
        let n_zeros = self.combine(Combiner::Add, none, zero_flags)?;
        let n_zeros = self.read(n_zeros)?;
        let no_other_zero = self.b.compare(CompareDir::Eq, n_zeros, zero_flags)?;
        let others = self.keep(no_other_zero, others)?;

        let weighted = self.b.multiply(g, self.operand)?;
        let weighted = self.collect(weighted)?;
        self.b.multiply(weighted, others)
    }

    /// Cotangents of the operand and the updates of a `minimum` or `maximum`.
    fn share_extremum(&mut self, result: Value, g: Value) -> Built<(Value, Value)> {
        let dtype = self.b.dtype(result);
        let kept = self.b.eq(self.operand, result)?;
        let attained = self.read(result)?;
        let attained = self.b.eq(self.updates, attained)?;
        let written = self.b.and(attained, self.applied)?;
        let (kept_ones, written_ones) = (self.b.convert(kept, dtype)?, self.b.convert(written, dtype)?);
        let n_attained = self.combine(Combiner::Add, kept_ones, written_ones)?;
        let share = self.b.divide(g, n_attained)?;
        let met = self.read(share)?;
        let updates_cotangent = self.keep(written, met)?;
        Ok((self.keep(kept, share)?, updates_cotangent))
    }
}

/// The indices and, in the same type, the largest start `largest` of each component of an index vector. Extents that
/// are still symbolic are counted at run time, in `i64`.
fn largest_starts(
    b: &mut Builder<'_>,
    indices: Value,
    index_vector_dim: usize,
    largest: &[Dim],
) -> Built<(Value, Value)> {
    let fixed: Option<Vec<usize>> = largest.iter().map(Dim::as_const).collect();
    let dtype = if fixed.is_some() { b.dtype(indices) } else { DType::I64 };
    let indices = b.convert(indices, dtype)?;
    let shape = b.shape(indices).clone();
    let (bounds, dims) = match fixed {
        Some(bounds) => {
            if let Some(&bound) = bounds.first()
                && bounds.iter().all(|&other| other == bound)
            {
                // `from_f64` saturates: a bound beyond the index type holds of every index.
                return Ok((indices, b.splat_like(indices, bound as f64)?));
            }
            let scalars = bounds.iter().map(|&bound| Scalar::from_f64(dtype, bound as f64));
            let bounds = b.tensor(TensorData::from_scalars(dtype, vec![bounds.len()], scalars))?;
            (bounds, vec![index_vector_dim])
        }
        None => {
            let mut parts = Vec::with_capacity(largest.len());
            for extent in largest {
                let ones = b.splat(TensorType { dtype, shape: Shape(vec![extent.clone()]) }, 1.0)?;
                let count = b.reduce_sum(ones, &[0])?;
                parts.push(b.reshape(count, [1])?);
            }
            let bounds = b.concatenate(&parts, 0)?;
            if index_vector_dim < shape.rank() {
                (bounds, vec![index_vector_dim])
            } else {
                (b.reshape(bounds, Shape::scalar())?, Vec::new())
            }
        }
    };
    let bounds = b.broadcast_in_dim(bounds, shape, &dims)?;
    Ok((indices, bounds))
}
