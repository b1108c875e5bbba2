//! Resampling of one dimension: each position of the result is a weighted sum of elements at positions that are known
//! while tracing.
//!
//! Regular resampling repeats itself: with a factor of `p / q`, what the next `p` positions are made of is what the last
//! `p` are made of, `q` elements further on. Such sums are a few slices, multiplied by numbers and laid side by side,
//! which compile to loops of vectors; no element is addressed by a table. Only what does not repeat gathers.

use nnc_ir::ops::SliceAttrs;
use nnc_ir::{Dim, Op, Shape};

use crate::tensor::{Tensor, apply, fault, live, resolve_dim, sound};

/// A position along the dimension and the weight of the element there. Positions before the first and behind the last
/// element mean the nearest one.
pub type Tap = (i64, f64);

/// Periods up to this are looked for; longer ones would be many small slices.
const LONGEST_PERIOD: usize = 8;
/// Weights closer than this are the same number, computed at another position.
const SAME_WEIGHT: f64 = 1e-9;

/// Replaces the elements along `dim`, whose extent must be known, by weighted sums of them: `taps` says which for each
/// position of the result.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 4.0]);
/// // The middle of each two neighbors; there is nothing behind the last but itself.
/// let taps: Vec<Vec<(i64, f64)>> = (0..3).map(|at| vec![(at, 0.5), (at + 1, 0.5)]).collect();
/// let y = functional::resample(&x, 0, &taps);
/// assert_eq!(y.to_array()?.into_raw_vec_and_offset().0, [1.5, 3.0, 4.0]);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn resample(x: &Tensor, dim: i64, taps: &[Vec<Tap>]) -> Tensor {
    let ty = live!(x);
    let axis = sound!(resolve_dim("resample", dim, &ty));
    let Some(extent) = ty.shape[axis].as_const().filter(|&extent| extent > 0) else {
        return fault(format!("resample: dimension {dim} of {ty} must be known and not empty"));
    };
    if taps.iter().any(Vec::is_empty) {
        return fault("resample: a position has no taps, expected at least one");
    }
    let taps: Vec<Vec<Tap>> = taps.iter().map(|taps| without_zeros(taps)).collect();
    if taps.len() == extent
        && taps.iter().enumerate().all(|(at, taps)| matches!(taps[..], [(position, 1.0)] if position == at as i64))
    {
        return x.clone();
    }
    let Some((step, period)) = period(&taps) else { return gathered(x, axis, extent, &taps) };
    let n_periods = taps.len().div_ceil(period);
    let repeated = periodic(x, axis, &taps[..period], step, &Dim::from(n_periods));
    // The last period may be cut short.
    repeated.narrow(axis as i64, 0, taps.len())
}

/// [`resample`] to `phases.len()` times the extent, which may be symbolic: element `i` becomes as many neighboring sums,
/// with positions relative to `i`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::from_slice(&[0.0f32, 4.0]);
/// let doubled = functional::resample_by(&x, 0, &[vec![(-1, 0.25), (0, 0.75)], vec![(0, 0.75), (1, 0.25)]]);
/// assert_eq!(doubled.to_array()?.into_raw_vec_and_offset().0, [0.0, 1.0, 3.0, 4.0]);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn resample_by(x: &Tensor, dim: i64, phases: &[Vec<Tap>]) -> Tensor {
    let ty = live!(x);
    let axis = sound!(resolve_dim("resample", dim, &ty));
    if phases.is_empty() || phases.iter().any(Vec::is_empty) {
        return fault("resample: a position has no taps, expected at least one");
    }
    let phases: Vec<Vec<Tap>> = phases.iter().map(|taps| without_zeros(taps)).collect();
    periodic(x, axis, &phases, 1, &ty.shape[axis])
}

/// The taps that count; one of them at least.
fn without_zeros(taps: &[Tap]) -> Vec<Tap> {
    let counting: Vec<Tap> = taps.iter().copied().filter(|&(_, weight)| weight.abs() > SAME_WEIGHT).collect();
    if counting.is_empty() { taps[..1].to_vec() } else { counting }
}

/// The shortest period `taps` have, if it is short: how far the positions move from one to the next, and its length.
fn period(taps: &[Vec<Tap>]) -> Option<(usize, usize)> {
    (1..=LONGEST_PERIOD.min(taps.len())).find_map(|period| {
        let step = match taps.get(period) {
            Some(next) => next[0].0 - taps[0][0].0,
            None => 1,
        };
        let repeats = |(here, there): (&Vec<Tap>, &Vec<Tap>)| {
            here.len() == there.len()
                && here
                    .iter()
                    .zip(there)
                    .all(|(here, there)| there.0 - here.0 == step && (there.1 - here.1).abs() <= SAME_WEIGHT)
        };
        (step >= 1 && taps.iter().zip(&taps[period..]).all(repeats)).then_some((step as usize, period))
    })
}

/// `n_periods` times the sums `phases`, each time `step` elements further on. A symbolic `n_periods` is the extent.
#[track_caller]
fn periodic(x: &Tensor, axis: usize, phases: &[Vec<Tap>], step: usize, n_periods: &Dim) -> Tensor {
    let ty = live!(x);
    let extent = &ty.shape[axis];
    let plain = phases.iter().all(|taps| matches!(taps[..], [(0, 1.0)]));
    if plain && step == 1 && n_periods == extent {
        return repeat(x, axis, phases.len());
    }
    let positions = || phases.iter().flatten().map(|&(position, _)| position);
    let low = positions().map(|position| -position).max().unwrap_or(0).max(0);
    let last = positions().max().unwrap_or(0);
    let high = match (extent.as_const(), n_periods.as_const()) {
        (Some(extent), Some(n_periods)) => last + (step * n_periods.saturating_sub(1)) as i64 - (extent as i64 - 1),
        _ => last,
    };
    let padded = with_edges(x, axis, low as usize, high.max(0) as usize);
    let every = |position: i64| {
        let ty = live!(padded);
        let start = Dim::from((position + low) as usize);
        let count = (n_periods.clone() - Dim::from(1)) * Dim::from(step) + Dim::from(1);
        let mut attrs =
            SliceAttrs { start: vec![Dim::from(0); ty.rank()], limit: ty.shape.0.clone(), stride: vec![1; ty.rank()] };
        (attrs.start[axis], attrs.limit[axis], attrs.stride[axis]) = (start.clone(), start + count, step);
        apply(Op::Slice(attrs), &[&padded])
    };
    let sums: Vec<Tensor> = phases
        .iter()
        .map(|taps| {
            let term = |&(position, weight): &Tap| {
                let element = every(position);
                if weight == 1.0 { element } else { element * weight }
            };
            let first = term(&taps[0]);
            taps[1..].iter().fold(first, |sum, tap| sum + term(tap))
        })
        .collect();
    match sums.as_slice() {
        [only] => only.clone(),
        several => Tensor::stack(several, axis as i64 + 1).flatten(axis as i64, axis as i64 + 1),
    }
}

/// The first element `low` times more before it, the last `high` times more behind it.
#[track_caller]
fn with_edges(x: &Tensor, axis: usize, low: usize, high: usize) -> Tensor {
    let ty = live!(x);
    let edge = |element: Tensor, times: usize| {
        let mut shape = ty.shape.clone();
        shape.0[axis] = Dim::from(times);
        element.broadcast_to(shape)
    };
    let dim = axis as i64;
    let before = (low > 0).then(|| edge(x.slice(dim, 0, Some(1), 1), low));
    let after = (high > 0).then(|| edge(x.slice(dim, -1, None, 1), high));
    let parts: Vec<Tensor> = before.into_iter().chain([x.clone()]).chain(after).collect();
    Tensor::cat(&parts, dim)
}

/// Each element of `axis` `factor` times.
#[track_caller]
fn repeat(x: &Tensor, axis: usize, factor: usize) -> Tensor {
    if factor == 1 {
        return x.clone();
    }
    let mut shape = live!(x).shape.0;
    shape.insert(axis + 1, Dim::from(factor));
    let dim = axis as i64;
    x.unsqueeze(dim + 1).broadcast_to(Shape(shape)).flatten(dim, dim + 1)
}

/// The sums, tap by tap: the elements of all first taps times their weights, and so on.
#[track_caller]
fn gathered(x: &Tensor, axis: usize, extent: usize, taps: &[Vec<Tap>]) -> Tensor {
    let ty = live!(x);
    let n_taps = taps.iter().map(Vec::len).max().unwrap_or(1);
    // Sums of fewer taps have further ones of weight 0, of an element that they have already.
    let tap = |taps: &Vec<Tap>, idx: usize| taps.get(idx).copied().unwrap_or((taps[0].0, 0.0));
    let term = |idx: usize| {
        let position = |taps: &Vec<Tap>| tap(taps, idx).0.clamp(0, extent as i64 - 1);
        let positions: Vec<i64> = taps.iter().map(position).collect();
        let weights: Vec<f64> = taps.iter().map(|taps| tap(taps, idx).1).collect();
        let picked = x.index_select(axis as i64, &Tensor::from_slice(&positions));
        if weights.iter().all(|&weight| weight == 1.0) {
            return picked;
        }
        let mut shape = vec![1i64; ty.rank()];
        shape[axis] = -1;
        picked * Tensor::from_slice(&weights).to_dtype(ty.dtype).reshape(shape)
    };
    (1..n_taps).fold(term(0), |sum, idx| sum + term(idx))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(extent: usize, target: usize) -> Vec<Vec<Tap>> {
        let taps = |at: usize| {
            let source = (at as f64 + 0.5) * extent as f64 / target as f64 - 0.5;
            let low = source.floor();
            vec![(low as i64, 1.0 - (source - low)), (low as i64 + 1, source - low)]
        };
        (0..target).map(|at| without_zeros(&taps(at))).collect()
    }

    #[test]
    fn periods_are_found() {
        assert_eq!(period(&linear(5, 10)), Some((1, 2)));
        assert_eq!(period(&linear(8, 12)), Some((2, 3)));
        assert_eq!(period(&linear(12, 4)), Some((3, 1)));
        assert_eq!(period(&linear(12, 6)), Some((2, 1)));
        assert_eq!(period(&linear(17, 23)), None);
    }

    #[test]
    fn periodic_sums_are_those_of_a_gather() {
        for (extent, target) in [(5, 10), (8, 12), (12, 4), (4, 7), (3, 2), (1, 4), (9, 15), (16, 10)] {
            let x = Tensor::arange(3 * extent * 2).float().square().reshape([3, extent, 2]);
            let taps = linear(extent, target);
            let expected = gathered(&x, 1, extent, &taps).to_array().unwrap();
            let found = resample(&x, 1, &taps).to_array().unwrap();
            assert_eq!(found.shape(), expected.shape());
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-4 * expected.abs().max(1.0),
                    "{extent} to {target}: {found}, expected {expected}"
                );
            }
        }
    }
}
