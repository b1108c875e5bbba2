//! Writing by position: `ScatterElements` (once `Scatter`), `ScatterND`, `TensorScatter`.
//!
//! Updates of one element meet in row-major order of the indices, the last one stays. An update that lies outside is
//! dropped.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::apply;
use nnc_ir::ops::{Combiner, ScatterAttrs};
use nnc_ir::{DType, Dim, Op};

use super::positions::{counting, of_type_of, slice_dims};
use super::{Entry, Outcome, op};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op("Scatter", 9.., scatter_elements),
    op("ScatterElements", 11.., scatter_elements),
    op("ScatterND", 11.., scatter_nd),
    op("TensorScatter", 24.., tensor_scatter),
];

/// How an update meets the element in place: attribute `reduction`. A sum of truth values is their disjunction, a
/// product their conjunction.
fn combiner(cx: &Cx<'_>, dtype: DType) -> Result<Combiner, Fault> {
    let reduction = cx.string_or("reduction", "none")?;
    Ok(match (reduction.as_str(), dtype) {
        ("none", _) => Combiner::Assign,
        ("add", DType::Bool) | ("max", _) => Combiner::Maximum,
        ("mul", DType::Bool) | ("min", _) => Combiner::Minimum,
        ("add", _) => Combiner::Add,
        ("mul", _) => Combiner::Multiply,
        _ => return Err(cx.invalid(format!("reduction is `{reduction}`, expected none, add, mul, min or max"))),
    })
}

fn scatter_elements(cx: &mut Cx<'_>) -> Outcome {
    let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = cx.axis(cx.int_or("axis", 0)?, data.ty().rank())?;
    let indices = indices.positions_in(&data.shape()[axis]);
    let scattered = data.scatter_reduce(axis as i64, &indices, &updates, combiner(cx, data.dtype())?);
    Ok(vec![of_type_of(cx, 0, scattered)?])
}

fn scatter_nd(cx: &mut Cx<'_>) -> Outcome {
    let (data, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let scattered = data.scatter_nd(&indices, &updates, combiner(cx, data.dtype())?);
    Ok(vec![of_type_of(cx, 0, scattered)?])
}

/// Writes the steps of `update` into a cache along `axis`, from a position of each batch element on.
fn tensor_scatter(cx: &mut Cx<'_>) -> Outcome {
    let (cache, update) = (cx.input(0)?, cx.input(1)?);
    let rank = cache.ty().rank();
    let axis = cx.axis(cx.int_or("axis", -2)?, rank)?;
    if axis == 0 {
        return Err(cx.invalid("axis is 0, which is the batch"));
    }
    if update.rank() != rank {
        return Err(cx.invalid(format!("an update of {} for a cache of {}", update.ty(), cache.ty())));
    }
    let mode = cx.string_or("mode", "linear")?;
    let circular = match mode.as_str() {
        "linear" => false,
        "circular" => true,
        _ => return Err(cx.invalid(format!("mode is `{mode}`, expected linear or circular"))),
    };
    let (steps, length) = (update.shape()[axis].clone(), cache.shape()[axis].clone());
    let Some(starts) = cx.optional(2)? else {
        // From the beginning on: the update, then what is left of the cache.
        let rest = slice_dims(&cache, axis, &steps, &length);
        return Ok(vec![of_type_of(cx, 0, Tensor::cat(&[update, rest], axis as i64))?]);
    };
    let step = counting(&[Dim::from(1), steps], 1);
    let mut position = starts.long().unsqueeze(1) + step;
    if circular {
        position = position.fmod(Tensor::extent(&length));
    }
    let attrs = ScatterAttrs {
        update_window_dims: (1..rank).filter(|&dim| dim != axis).collect(),
        inserted_window_dims: vec![axis],
        input_batching_dims: vec![0],
        scatter_indices_batching_dims: vec![0],
        scatter_dims_to_operand_dims: vec![axis],
        index_vector_dim: 2,
        combiner: Combiner::Assign,
    };
    Ok(vec![of_type_of(cx, 0, apply(Op::Scatter(attrs), &[&cache, &position, &update]))?])
}
