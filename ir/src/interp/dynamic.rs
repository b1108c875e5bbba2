//! `dynamic_slice` and `dynamic_update_slice`.

use super::strided::{Strided, row_major};
use crate::literal::TensorData;

/// The offsets in `operand` of a slice of extents `sizes` at the given starts, clamped into range.
fn slice_of(operand: &TensorData, starts: &[&TensorData], sizes: &[usize]) -> Strided {
    let strides = row_major(&operand.shape);
    let place = |dim: usize| {
        let largest = (operand.shape[dim] - sizes[dim]) as i64;
        (starts[dim].to_i64()[0].clamp(0, largest) as isize).wrapping_mul(strides[dim])
    };
    let offset = (0..sizes.len()).map(place).fold(0, isize::wrapping_add);
    Strided { shape: sizes.to_vec(), strides, offset }
}

pub(super) fn slice(operand: &TensorData, starts: &[&TensorData], shape: Vec<usize>) -> TensorData {
    let size = operand.dtype.size();
    let mut bytes = Vec::new();
    for offset in slice_of(operand, starts, &shape).offsets() {
        bytes.extend_from_slice(&operand.bytes[offset * size..][..size]);
    }
    TensorData { dtype: operand.dtype, shape, bytes: bytes.into() }
}

pub(super) fn update_slice(operand: &TensorData, update: &TensorData, starts: &[&TensorData]) -> TensorData {
    let size = operand.dtype.size();
    let mut bytes = operand.bytes.to_vec();
    let slice = slice_of(operand, starts, &update.shape);
    for (offset, element) in slice.offsets().zip(update.bytes.chunks_exact(size)) {
        bytes[offset * size..][..size].copy_from_slice(element);
    }
    TensorData { bytes: bytes.into(), ..operand.clone() }
}
