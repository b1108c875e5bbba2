//! `dot_general`.

use super::strided::{Strided, pick, row_major};
use crate::literal::TensorData;
use crate::ops::DotAttrs;
use crate::types::DType;

/// Extents of a contraction brought to the form `[batch, rows, depth] x [batch, depth, columns]`.
struct Extents {
    batch: usize,
    rows: usize,
    depth: usize,
    columns: usize,
}

pub(super) fn dot_general(attrs: &DotAttrs, lhs: &TensorData, rhs: &TensorData, shape: Vec<usize>) -> TensorData {
    let lhs_free = DotAttrs::free_dims(lhs.shape.len(), &attrs.lhs_batch, &attrs.lhs_contract);
    let rhs_free = DotAttrs::free_dims(rhs.shape.len(), &attrs.rhs_batch, &attrs.rhs_contract);
    let volume = |operand: &TensorData, dims: &[usize]| pick(&operand.shape, dims).into_iter().product();
    if shape.contains(&0) {
        return TensorData { dtype: lhs.dtype, shape, bytes: Vec::new().into() };
    }
    let extents = Extents {
        batch: volume(lhs, &attrs.lhs_batch),
        rows: volume(lhs, &lhs_free),
        depth: volume(lhs, &attrs.lhs_contract),
        columns: volume(rhs, &rhs_free),
    };
    let lhs_order = [attrs.lhs_batch.as_slice(), &lhs_free, &attrs.lhs_contract].concat();
    let rhs_order = [attrs.rhs_batch.as_slice(), &attrs.rhs_contract, &rhs_free].concat();
    match lhs.dtype {
        // A double's product is rounded unless it is fused; the product of two narrower floats is exact in `f64`.
        DType::F64 => {
            let (lhs, rhs) = (permuted(lhs, &lhs_order, lhs.to_f64()), permuted(rhs, &rhs_order, rhs.to_f64()));
            let sums = contract(&extents, &lhs, &rhs, 0.0, |sum, x: f64, y: f64| x.mul_add(y, sum));
            TensorData::from_doubles(DType::F64, shape, sums)
        }
        DType::F16 | DType::BF16 | DType::F32 => {
            let dtype = lhs.dtype;
            let (lhs, rhs) = (permuted(lhs, &lhs_order, lhs.to_f64()), permuted(rhs, &rhs_order, rhs.to_f64()));
            TensorData::from_doubles(dtype, shape, contract(&extents, &lhs, &rhs, 0.0, |sum, x, y| sum + x * y))
        }
        _ => {
            let dtype = lhs.dtype;
            let (lhs, rhs) = (permuted(lhs, &lhs_order, words(lhs)), permuted(rhs, &rhs_order, words(rhs)));
            let sums = contract(&extents, &lhs, &rhs, 0, |sum: i64, x: i64, y| sum.wrapping_add(x.wrapping_mul(y)));
            TensorData::from_integers(dtype, shape, sums)
        }
    }
}

/// The elements of a tensor of integers modulo 2^64, which sums of products need no more than.
pub(super) fn words(operand: &TensorData) -> Vec<i64> {
    match operand.dtype {
        DType::U64 => operand.to_integers().into_iter().map(|value| value as i64).collect(),
        _ => operand.to_i64(),
    }
}

/// `elements` of `operand` with the dimensions in `order`.
fn permuted<T: Copy>(operand: &TensorData, order: &[usize], elements: Vec<T>) -> Vec<T> {
    if order.is_sorted() {
        return elements;
    }
    let strides = pick(&row_major(&operand.shape), order);
    let view = Strided { shape: pick(&operand.shape, order), strides, offset: 0 };
    view.offsets().map(|offset| elements[offset]).collect()
}

/// Every result element is a chain in order of the depth; a row of chains advances together, so that both operands
/// are read in order.
fn contract<T: Copy>(
    extents: &Extents,
    lhs: &[T],
    rhs: &[T],
    zero: T,
    multiply_add: impl Fn(T, T, T) -> T + Copy,
) -> Vec<T> {
    let &Extents { batch, rows, depth, columns } = extents;
    let mut sums = vec![zero; batch * rows * columns];
    for (row_idx, row) in sums.chunks_exact_mut(columns).enumerate() {
        let lhs = &lhs[row_idx * depth..][..depth];
        let rhs = &rhs[row_idx / rows * depth * columns..][..depth * columns];
        for (&x, rhs) in lhs.iter().zip(rhs.chunks_exact(columns)) {
            for (sum, &y) in row.iter_mut().zip(rhs) {
                *sum = multiply_add(*sum, x, y);
            }
        }
    }
    sums
}
