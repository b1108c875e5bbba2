//! Leaves and movement ops: elements are copied as bits, never computed with.

use super::strided::{Strided, pick, row_major};
use crate::literal::{Scalar, TensorData};
use crate::ops::{IotaAttrs, PadAttrs, SliceAttrs};

pub(super) fn splat(value: Scalar, shape: Vec<usize>) -> TensorData {
    let n_elements = if shape.contains(&0) { 0 } else { shape.iter().product() };
    let mut element = Vec::new();
    value.write(&mut element);
    TensorData { dtype: value.dtype, shape, bytes: element.repeat(n_elements).into() }
}

pub(super) fn iota(attrs: &IotaAttrs, shape: Vec<usize>) -> TensorData {
    let mut strides = vec![0; shape.len()];
    strides[attrs.dim] = 1;
    let counts = Strided { shape: shape.clone(), strides, offset: 0 };
    TensorData::from_integers(attrs.ty.dtype, shape, counts.offsets().map(|count| count as i64))
}

/// The tensor whose elements are those of `operand` at the offsets of `view`, in order.
fn copy(operand: &TensorData, view: &Strided) -> TensorData {
    let size = operand.dtype.size();
    let mut bytes = Vec::new();
    for offset in view.offsets() {
        bytes.extend_from_slice(&operand.bytes[offset * size..][..size]);
    }
    TensorData { dtype: operand.dtype, shape: view.shape.clone(), bytes: bytes.into() }
}

pub(crate) fn transpose(permutation: &[usize], operand: &TensorData) -> TensorData {
    let strides = row_major(&operand.shape);
    let view = Strided { shape: pick(&operand.shape, permutation), strides: pick(&strides, permutation), offset: 0 };
    copy(operand, &view)
}

pub(super) fn broadcast_in_dim(dims: &[usize], operand: &TensorData, shape: Vec<usize>) -> TensorData {
    let mut strides = vec![0; shape.len()];
    for (dim, stride) in row_major(&operand.shape).into_iter().enumerate() {
        if operand.shape[dim] != 1 {
            strides[dims[dim]] = stride;
        }
    }
    copy(operand, &Strided { shape, strides, offset: 0 })
}

pub(super) fn slice(attrs: &SliceAttrs, operand: &TensorData, shape: Vec<usize>) -> TensorData {
    let mut view = Strided { shape, strides: row_major(&operand.shape), offset: 0 };
    if view.shape.contains(&0) {
        return TensorData { dtype: operand.dtype, shape: view.shape, bytes: Vec::new().into() };
    }
    for (dim, stride) in view.strides.iter_mut().enumerate() {
        let start = attrs.start[dim].as_const().expect("a slice of fixed shape starts at a number");
        view.offset += start as isize * *stride;
        *stride = stride.wrapping_mul(attrs.stride[dim] as isize);
    }
    copy(operand, &view)
}

pub(super) fn reverse(dims: &[usize], operand: &TensorData) -> TensorData {
    if operand.is_empty() {
        return operand.clone();
    }
    let mut view = Strided { shape: operand.shape.clone(), strides: row_major(&operand.shape), offset: 0 };
    for &dim in dims {
        view.offset += (view.shape[dim] - 1) as isize * view.strides[dim];
        view.strides[dim] = -view.strides[dim];
    }
    copy(operand, &view)
}

pub(super) fn pad(attrs: &PadAttrs, operand: &TensorData, value: Scalar, shape: Vec<usize>) -> TensorData {
    let size = operand.dtype.size();
    let mut bytes = splat(value, shape.clone()).bytes.to_vec();
    if operand.is_empty() || bytes.is_empty() {
        return TensorData { dtype: operand.dtype, shape, bytes: bytes.into() };
    }
    // For each dimension, where an operand index lands, scaled by the result's stride; `None` if it is cropped.
    let targets: Vec<Vec<Option<usize>>> = row_major(&shape)
        .into_iter()
        .enumerate()
        .map(|(dim, stride)| {
            let target = |idx: usize| {
                let at = i128::from(attrs.low[dim]) + idx as i128 * (attrs.interior[dim] as i128 + 1);
                let at = usize::try_from(at).ok().filter(|&at| at < shape[dim])?;
                Some(at * stride as usize)
            };
            (0..operand.shape[dim]).map(target).collect()
        })
        .collect();
    let mut index = vec![0; operand.shape.len()];
    for element in operand.bytes.chunks_exact(size) {
        let target: Option<usize> = index.iter().zip(&targets).map(|(&idx, targets)| targets[idx]).sum();
        if let Some(target) = target {
            bytes[target * size..][..size].copy_from_slice(element);
        }
        for dim in (0..index.len()).rev() {
            index[dim] += 1;
            if index[dim] < operand.shape[dim] {
                break;
            }
            index[dim] = 0;
        }
    }
    TensorData { dtype: operand.dtype, shape, bytes: bytes.into() }
}

pub(super) fn concatenate(dim: usize, operands: &[&TensorData], shape: Vec<usize>) -> TensorData {
    let dtype = operands[0].dtype;
    let mut bytes = Vec::new();
    if !shape.contains(&0) {
        let n_outer: usize = shape[..dim].iter().product();
        for outer in 0..n_outer {
            for operand in operands {
                let block = operand.bytes.len() / n_outer;
                bytes.extend_from_slice(&operand.bytes[outer * block..][..block]);
            }
        }
    }
    TensorData { dtype, shape, bytes: bytes.into() }
}
