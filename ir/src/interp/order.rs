//! `cumulative` and `sort`: ops that work in order along one dimension.

use std::cmp::Ordering;

use super::elementwise::{float_binary, int_binary};
use super::reduce::{float_identity, fold_op, int_identity};
use super::strided::{Strided, row_major};
use crate::literal::TensorData;
use crate::ops::{CumulativeAttrs, SortAttrs};

/// The offset of each row along `dim` and the offsets of its elements from there.
fn rows(shape: &[usize], dim: usize) -> (Vec<usize>, Vec<usize>) {
    let strides = row_major(shape);
    let mut others = shape.to_vec();
    others[dim] = others[dim].min(1);
    let starts = Strided { shape: others, strides: strides.clone(), offset: 0 }.offsets().collect();
    (starts, (0..shape[dim]).map(|at| at * strides[dim] as usize).collect())
}

pub(super) fn cumulative(attrs: &CumulativeAttrs, operand: &TensorData) -> TensorData {
    let (dtype, shape) = (operand.dtype, operand.shape.clone());
    let (starts, mut along) = rows(&shape, attrs.dim);
    if attrs.reverse {
        along.reverse();
    }
    let op = fold_op(attrs.kind);
    if dtype.is_float() {
        let elements = operand.to_f64();
        let fold = |acc, x| float_binary(&op, acc, x);
        TensorData::from_doubles(dtype, shape, running(elements, &starts, &along, float_identity(attrs.kind), fold))
    } else {
        let elements = operand.to_integers();
        let fold = |acc, x| int_binary(&op, dtype, acc, x);
        TensorData::from_integers(
            dtype,
            shape,
            running(elements, &starts, &along, int_identity(attrs.kind, dtype), fold),
        )
    }
}

/// Replaces each element of a row by the fold of the row up to it.
fn running<T: Copy>(
    mut elements: Vec<T>,
    starts: &[usize],
    along: &[usize],
    identity: T,
    fold: impl Fn(T, T) -> T,
) -> Vec<T> {
    for start in starts {
        let mut acc = identity;
        for offset in along {
            acc = fold(acc, elements[start + offset]);
            elements[start + offset] = acc;
        }
    }
    elements
}

pub(super) fn sort(attrs: &SortAttrs, inputs: &[&TensorData]) -> Vec<TensorData> {
    let keys = inputs[0];
    let (starts, along) = rows(&keys.shape, attrs.dim);
    let (floats, integers) =
        if keys.dtype.is_float() { (keys.to_f64(), Vec::new()) } else { (Vec::new(), keys.to_integers()) };
    let compare = |lhs: usize, rhs: usize| {
        if !keys.dtype.is_float() {
            return integers[lhs].cmp(&integers[rhs]);
        }
        let (lhs, rhs) = (floats[lhs], floats[rhs]);
        lhs.partial_cmp(&rhs).unwrap_or_else(|| match (lhs.is_nan(), rhs.is_nan()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => Ordering::Equal,
        })
    };
    // For each element of the result, the offset of the element that moves there.
    let mut sources: Vec<usize> = (0..keys.len()).collect();
    for start in starts {
        let mut row: Vec<usize> = along.iter().map(|offset| start + offset).collect();
        row.sort_by(|&lhs, &rhs| if attrs.descending { compare(rhs, lhs) } else { compare(lhs, rhs) });
        for (offset, source) in along.iter().zip(row) {
            sources[start + offset] = source;
        }
    }
    let permuted = |input: &&TensorData| {
        let size = input.dtype.size();
        let bytes: Vec<u8> =
            sources.iter().flat_map(|&source| input.bytes[source * size..][..size].iter().copied()).collect();
        TensorData { bytes: bytes.into(), ..(*input).clone() }
    };
    inputs.iter().map(permuted).collect()
}
