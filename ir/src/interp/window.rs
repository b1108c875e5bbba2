//! `reduce_window` and `select_and_scatter`.

use super::elementwise::{float_binary, int_binary};
use super::reduce::{float_identity, fold_op, int_identity};
use super::strided::row_major;
use crate::literal::TensorData;
use crate::ops::{ReduceKind, ReduceWindowAttrs};

pub(super) fn reduce_window(attrs: &ReduceWindowAttrs, operand: &TensorData, shape: Vec<usize>) -> TensorData {
    let dtype = operand.dtype;
    if let ReduceKind::ArgMin | ReduceKind::ArgMax = attrs.kind {
        let picked: Vec<i64> =
            picked(attrs, operand, &shape).into_iter().map(|pick| pick.map_or(-1, |offset| offset as i64)).collect();
        return TensorData::from_i64(shape, &picked);
    }
    let windows = Windows::new(attrs, &operand.shape, &shape);
    let op = fold_op(attrs.kind);
    if dtype.is_float() {
        let elements = operand.to_f64();
        let mut results = Vec::new();
        windows.visit(|window| {
            let fold = |acc, &offset: &usize| float_binary(&op, acc, elements[offset]);
            results.push(window.iter().fold(float_identity(attrs.kind), fold));
        });
        TensorData::from_doubles(dtype, shape, results)
    } else {
        let elements = operand.to_integers();
        let mut results = Vec::new();
        windows.visit(|window| {
            let fold = |acc, &offset: &usize| int_binary(&op, dtype, acc, elements[offset]);
            results.push(window.iter().fold(int_identity(attrs.kind, dtype), fold));
        });
        TensorData::from_integers(dtype, shape, results)
    }
}

pub(super) fn select_and_scatter(attrs: &ReduceWindowAttrs, operand: &TensorData, source: &TensorData) -> TensorData {
    let dtype = operand.dtype;
    let shape = operand.shape.clone();
    let picked = picked(attrs, operand, &source.shape);
    let pairs = picked.into_iter().enumerate().filter_map(|(window, pick)| Some((window, pick?)));
    if dtype.is_float() {
        let source = source.to_f64();
        let mut sums = vec![0.0; operand.len()];
        pairs.for_each(|(window, pick)| sums[pick] += source[window]);
        TensorData::from_doubles(dtype, shape, sums)
    } else {
        let source = source.to_integers();
        let mut sums = vec![0i128; operand.len()];
        pairs.for_each(|(window, pick)| sums[pick] = sums[pick].wrapping_add(source[window]));
        TensorData::from_integers(dtype, shape, sums)
    }
}

/// For each window the offset of the element that the fold by `minimum` (kinds `min` and `argmin`) or `maximum` ends
/// with, or `None` if it has no elements.
fn picked(attrs: &ReduceWindowAttrs, operand: &TensorData, shape: &[usize]) -> Vec<Option<usize>> {
    let is_min = matches!(attrs.kind, ReduceKind::Min | ReduceKind::ArgMin);
    let mut picks = Vec::new();
    // A later element replaces the best one if it is beyond it; a NaN always does.
    let mut visit = |beats: &dyn Fn(usize, usize) -> bool| {
        Windows::new(attrs, &operand.shape, shape).visit(|window| {
            let pick = |best: usize, offset: usize| if beats(offset, best) { offset } else { best };
            picks.push(window.iter().copied().reduce(pick));
        });
    };
    if operand.dtype.is_float() {
        let elements = operand.to_f64();
        let beyond = |x: f64, best: f64| if is_min { x < best } else { x > best };
        visit(&|at, best| elements[at].is_nan() || beyond(elements[at], elements[best]));
    } else {
        let elements = operand.to_integers();
        visit(&|at, best| if is_min { elements[at] < elements[best] } else { elements[at] > elements[best] });
    }
    picks
}

/// All windows over an operand.
struct Windows {
    /// For each dimension and each window along it, the offsets of the elements inside the operand.
    offsets: Vec<Vec<Vec<usize>>>,
}

impl Windows {
    /// The windows of shape `shape` in number over an operand of shape `extents`.
    fn new(attrs: &ReduceWindowAttrs, extents: &[usize], shape: &[usize]) -> Self {
        let along = |(dim, stride): (usize, isize)| {
            let inside = |at: usize| {
                let position = |tap: usize| attrs.position(dim, at as i64, tap as i64);
                // The taps before the operand are skipped by number: there may be many.
                let missing = (-position(0)).max(0) as usize;
                let skipped = missing.div_ceil(attrs.dilation[dim]);
                (skipped..attrs.window[dim])
                    .map(position)
                    .take_while(|&position| position < extents[dim] as i64)
                    .map(|position| position as usize * stride as usize)
                    .collect()
            };
            (0..shape[dim]).map(inside).collect()
        };
        if shape.contains(&0) {
            return Self { offsets: vec![Vec::new()] };
        }
        Self { offsets: row_major(extents).into_iter().enumerate().map(along).collect() }
    }

    /// Calls `found` with the offsets of the elements of each window, both in row-major order.
    fn visit(&self, mut found: impl FnMut(&[usize])) {
        self.along(0, &[0], &mut found);
    }

    /// The windows along the dimensions from `dim` on; `before` are the offsets of the dimensions before.
    fn along(&self, dim: usize, before: &[usize], found: &mut impl FnMut(&[usize])) {
        let Some(windows) = self.offsets.get(dim) else {
            return found(before);
        };
        for inside in windows {
            let offsets: Vec<usize> =
                before.iter().flat_map(|&before| inside.iter().map(move |&offset| before + offset)).collect();
            self.along(dim + 1, &offsets, found);
        }
    }
}
