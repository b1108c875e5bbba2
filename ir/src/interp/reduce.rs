//! `reduce`.

use super::elementwise::{float_binary, int_binary};
use super::strided::{Strided, pick, row_major};
use crate::literal::TensorData;
use crate::ops::{Op, ReduceAttrs, ReduceKind};
use crate::types::DType;

pub(super) fn reduce(attrs: &ReduceAttrs, operand: &TensorData, shape: Vec<usize>) -> TensorData {
    let dtype = operand.dtype;
    let kept_dims: Vec<usize> = (0..operand.shape.len()).filter(|dim| !attrs.dims.contains(dim)).collect();
    let strides = row_major(&operand.shape);
    let space =
        |dims: &[usize]| Strided { shape: pick(&operand.shape, dims), strides: pick(&strides, dims), offset: 0 };
    let folded: Vec<usize> = space(&attrs.dims).offsets().collect();
    let kept = space(&kept_dims);

    if let ReduceKind::ArgMin | ReduceKind::ArgMax = attrs.kind {
        let wins = |x: f64, best: f64| if attrs.kind == ReduceKind::ArgMin { x < best } else { x > best };
        let int_wins = |x: i128, best: i128| if attrs.kind == ReduceKind::ArgMin { x < best } else { x > best };
        let firsts: Vec<i64> = if dtype.is_float() {
            let elements = operand.to_f64();
            let wins = |x: f64, best: f64| !best.is_nan() && (x.is_nan() || wins(x, best));
            kept.offsets().map(|base| first(folded.iter().map(|offset| elements[base + offset]), wins)).collect()
        } else {
            let elements = operand.to_integers();
            kept.offsets().map(|base| first(folded.iter().map(|offset| elements[base + offset]), int_wins)).collect()
        };
        return TensorData::from_i64(shape, &firsts);
    }
    let op = fold_op(attrs.kind);
    if dtype.is_float() {
        let elements = operand.to_f64();
        let identity = float_identity(attrs.kind);
        let combine = |x, y| float_binary(&op, x, y);
        let results =
            kept.offsets().map(|base| fold(folded.iter().map(|offset| elements[base + offset]), identity, combine));
        TensorData::from_doubles(dtype, shape, results)
    } else {
        let elements = operand.to_integers();
        let identity = int_identity(attrs.kind, dtype);
        let combine = |x, y| int_binary(&op, dtype, x, y);
        let results =
            kept.offsets().map(|base| fold(folded.iter().map(|offset| elements[base + offset]), identity, combine));
        TensorData::from_integers(dtype, shape, results)
    }
}

/// The elementwise op that folds two elements. What folds positions has none.
pub(super) fn fold_op(kind: ReduceKind) -> Op {
    match kind {
        ReduceKind::Sum => Op::Add,
        ReduceKind::Prod => Op::Multiply,
        ReduceKind::Min | ReduceKind::All => Op::Minimum,
        ReduceKind::Max | ReduceKind::Any => Op::Maximum,
        ReduceKind::ArgMin | ReduceKind::ArgMax => unreachable!("{} folds positions", kind.name()),
    }
}

/// What a fold of floats starts from.
pub(super) fn float_identity(kind: ReduceKind) -> f64 {
    match fold_op(kind) {
        Op::Add => 0.0,
        Op::Multiply => 1.0,
        Op::Minimum => f64::INFINITY,
        _ => f64::NEG_INFINITY,
    }
}

/// What a fold of integers (or `bool`) starts from.
pub(super) fn int_identity(kind: ReduceKind, dtype: DType) -> i128 {
    let (least, largest) = range(dtype);
    match fold_op(kind) {
        Op::Add => 0,
        Op::Multiply => 1,
        Op::Minimum => largest,
        _ => least,
    }
}

/// The canonical fold: element `r` goes to lane `r % 16`, and the lanes are combined as a tree.
fn fold<T: Copy>(elements: impl Iterator<Item = T>, identity: T, combine: impl Fn(T, T) -> T) -> T {
    let mut lanes = [identity; 16];
    for (idx, element) in elements.enumerate() {
        lanes[idx % 16] = combine(lanes[idx % 16], element);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

/// Position of the first element that no later one beats.
fn first<T: Copy>(elements: impl Iterator<Item = T>, wins: impl Fn(T, T) -> bool) -> i64 {
    let mut elements = elements.enumerate();
    let (_, mut best) = elements.next().expect("infer asks for at least one element");
    let mut best_idx = 0;
    for (idx, element) in elements {
        if wins(element, best) {
            (best_idx, best) = (idx as i64, element);
        }
    }
    best_idx
}

/// The least and the largest value of an integer type (or `bool`).
fn range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::Bool => (0, 1),
        dtype if dtype.is_float() => unreachable!("{dtype} is not an integer type"),
        dtype => {
            let width = 8 * dtype.size();
            if dtype.is_signed() { (-1 << (width - 1), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
        }
    }
}
