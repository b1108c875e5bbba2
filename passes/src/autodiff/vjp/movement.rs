//! Rules of the movement ops: the adjoint moves elements back and sums what was repeated.

use nnc_ir::builder::Built;
use nnc_ir::ops::{BroadcastAttrs, PadAttrs, SliceAttrs};
use nnc_ir::{Builder, DType, Dim, TensorType, Value};

use super::contract::inverse;
use super::{Cotangents, Site};

pub(super) fn reshape(mut site: Site<'_>) -> Built<Cotangents> {
    let shape = site.b.shape(site.operands[0]).clone();
    Ok(vec![Some(site.b.reshape(site.cotangent, shape)?)])
}

pub(super) fn transpose(permutation: &[usize], mut site: Site<'_>) -> Built<Cotangents> {
    Ok(vec![Some(site.b.transpose(site.cotangent, &inverse(permutation))?)])
}

/// Sums over the dimensions along which elements were repeated.
pub(super) fn broadcast_in_dim(attrs: &BroadcastAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let shape = site.b.shape(site.operands[0]).clone();
    let repeated: Vec<usize> = (0..attrs.shape.rank())
        .filter(|result_dim| match attrs.dims.iter().position(|dim| dim == result_dim) {
            Some(dim) => shape[dim] != attrs.shape[*result_dim],
            None => true,
        })
        .collect();
    let mut sum = site.cotangent;
    if !repeated.is_empty() {
        sum = site.b.reduce_sum(sum, &repeated)?;
    }
    Ok(vec![Some(site.b.reshape(sum, shape)?)])
}

/// Puts the elements back where they were taken from, among zeros.
pub(super) fn slice(attrs: &SliceAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let shape = site.b.shape(site.operands[0]).clone();
    let sliced = site.b.shape(site.cotangent).clone();
    let rank = shape.rank();
    if sliced.dims().contains(&Dim::from(0)) {
        return Ok(vec![None]);
    }
    let mut padding = PadAttrs { low: vec![0; rank], high: vec![0; rank], interior: vec![0; rank] };
    // A symbolic amount cannot be a padding; a block of zeros of that extent is joined on instead.
    let mut blocks = Vec::new();
    for dim in 0..rank {
        let stride = attrs.stride[dim];
        let spread = (sliced[dim].clone() - Dim::from(1)) * Dim::from(stride) + Dim::from(1);
        let low = attrs.start[dim].clone();
        let high = shape[dim].clone() - low.clone() - spread;
        padding.interior[dim] = stride - 1;
        match low.as_const() {
            Some(amount) => padding.low[dim] = amount as i64,
            None => blocks.push((dim, low, true)),
        }
        match high.as_const() {
            Some(amount) => padding.high[dim] = amount as i64,
            None => blocks.push((dim, high, false)),
        }
    }
    let mut whole = site.cotangent;
    if [&padding.low, &padding.high].into_iter().flatten().any(|&amount| amount != 0)
        || padding.interior.iter().any(|&amount| amount != 0)
    {
        let zero = site.b.scalar(site.b.dtype(whole), 0.0)?;
        whole = site.b.pad(whole, zero, padding)?;
    }
    for (dim, extent, before) in blocks {
        let mut block = site.b.ty(whole).clone();
        block.shape.0[dim] = extent;
        let zeros = site.b.splat(block, 0.0)?;
        let parts = if before { [zeros, whole] } else { [whole, zeros] };
        whole = site.b.concatenate(&parts, dim)?;
    }
    Ok(vec![Some(whole)])
}

/// The operand gets what stands at its elements' places (nothing for cropped ones), the padding value the sum of
/// the rest.
pub(super) fn pad(attrs: &PadAttrs, mut site: Site<'_>) -> Built<Cotangents> {
    let (operand, g) = (site.operands[0], site.cotangent);
    let operand_cotangent = if site.b.shape(operand).dims().contains(&Dim::from(0)) {
        None
    } else {
        site.give(0, |b| unpad(b, attrs, operand, g))?
    };
    let value_cotangent = site.give(1, |b| {
        // Subtracting the operand's part from the total would cancel digits; a mask does not.
        let inside = TensorType { dtype: DType::Bool, shape: b.shape(operand).clone() };
        let inside = b.splat(inside, 0.0)?;
        let outside = b.scalar(DType::Bool, 1.0)?;
        let is_padding = b.pad(inside, outside, attrs.clone())?;
        let zeros = b.zeros_like(g)?;
        let padded = b.select(is_padding, g, zeros)?;
        let dims: Vec<usize> = (0..attrs.low.len()).collect();
        b.reduce_sum(padded, &dims)
    })?;
    Ok(vec![operand_cotangent, value_cotangent])
}

/// The elements of `g`, of the padded shape, at the places of the elements of `operand`.
fn unpad(b: &mut Builder<'_>, attrs: &PadAttrs, operand: Value, g: Value) -> Built {
    let mut whole = g;
    if attrs.low.iter().chain(&attrs.high).any(|&amount| amount < 0) {
        let uncrop = |amounts: &[i64]| amounts.iter().map(|&amount| (-amount).max(0)).collect();
        let zero = b.scalar(b.dtype(g), 0.0)?;
        let interior = vec![0; attrs.low.len()];
        whole = b.pad(g, zero, PadAttrs { low: uncrop(&attrs.low), high: uncrop(&attrs.high), interior })?;
    }
    let start: Vec<Dim> = attrs.low.iter().map(|&amount| Dim::from(amount.max(0) as usize)).collect();
    let stride: Vec<usize> = attrs.interior.iter().map(|&gap| gap + 1).collect();
    let limit = start
        .iter()
        .zip(&stride)
        .zip(b.shape(operand).dims())
        .map(|((start, &stride), extent)| {
            start.clone() + (extent.clone() - Dim::from(1)) * Dim::from(stride) + Dim::from(1)
        })
        .collect();
    b.slice(whole, SliceAttrs { start, limit, stride })
}

pub(super) fn concatenate(dim: usize, mut site: Site<'_>) -> Built<Cotangents> {
    let (operands, g) = (site.operands, site.cotangent);
    let mut start = Dim::from(0);
    let mut cotangents = Vec::with_capacity(operands.len());
    for (idx, &operand) in operands.iter().enumerate() {
        let limit = start.clone() + site.b.shape(operand)[dim].clone();
        cotangents.push(site.give(idx, |b| b.slice_dim(g, dim, start, limit.clone()))?);
        start = limit;
    }
    Ok(cotangents)
}

pub(super) fn reverse(dims: &[usize], mut site: Site<'_>) -> Built<Cotangents> {
    Ok(vec![Some(site.b.reverse(site.cotangent, dims)?)])
}
