//! Random windows, running folds, sorts and slices at a run-time start.

use nnc_ir::ops::{CumulativeAttrs, ReduceKind, ReduceWindowAttrs, SortAttrs};
use nnc_ir::{Builder, DType, Shape, Value};

use super::Random;

const FOLDS: [ReduceKind; 3] = [ReduceKind::Sum, ReduceKind::Min, ReduceKind::Max];

/// One more node on `x`, or on `x` and `y` of the same type, if the try fits.
pub(super) fn random_node(random: &mut Random, b: &mut Builder<'_>, x: Value, y: Option<Value>) -> Option<Value> {
    let ty = b.ty(x).clone();
    let (rank, extents) = (ty.rank(), ty.shape.as_fixed()?);
    if rank == 0 || extents.contains(&0) {
        return None;
    }
    match random.below(6) {
        0 => {
            let kinds = [FOLDS.as_slice(), &[ReduceKind::ArgMin, ReduceKind::ArgMax]].concat();
            let attrs = windows(random, &extents, random.0.is_multiple_of(2)).with_kind(random.pick(&kinds));
            b.reduce_window(x, attrs).ok()
        }
        1 => {
            let attrs = windows(random, &extents, true).with_kind(random.pick(&[ReduceKind::Min, ReduceKind::Max]));
            b.select_and_scatter(x, y?, attrs).ok()
        }
        2 => {
            let attrs =
                CumulativeAttrs { kind: random.pick(&FOLDS), dim: random.below(rank), reverse: random.below(2) == 0 };
            b.cumulative(x, attrs).ok()
        }
        3 => {
            let attrs = SortAttrs { dim: random.below(rank), descending: random.below(2) == 0 };
            let sorted = b.sort(&[x, y?], attrs).ok()?;
            Some(random.pick(&sorted))
        }
        choice => {
            let start = |random: &mut Random, b: &mut Builder<'_>| b.scalar(DType::I64, random.below(5) as f64 - 1.0);
            let starts: Vec<Value> = (0..rank).map(|_| start(random, b)).collect::<Result<_, _>>().ok()?;
            let sizes: Vec<usize> = extents.iter().map(|&extent| 1 + random.below(extent)).collect();
            let slice = b.dynamic_slice(x, &starts, Shape::fixed(&sizes)).ok()?;
            if choice == 4 { Some(slice) } else { b.dynamic_update_slice(y?, slice, &starts).ok() }
        }
    }
}

/// Windows over a tensor; with `keeps_shape`, as many as it has elements.
fn windows(random: &mut Random, extents: &[usize], keeps_shape: bool) -> ReduceWindowAttrs {
    let mut attrs = ReduceWindowAttrs::plain(ReduceKind::Max, extents.len());
    for (dim, &extent) in extents.iter().enumerate() {
        match random.below(3) {
            0 => {}
            1 if !keeps_shape && extent > 1 => (attrs.window[dim], attrs.stride[dim]) = (2, 1 + random.below(3)),
            _ => (attrs.window[dim], attrs.padding[dim]) = (3, random.pick(&[(1, 1), (2, 0), (0, 2)])),
        }
    }
    attrs
}
