//! A line search for the strong Wolfe conditions (Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6),
//! with the safeguards of minFunc that PyTorch uses.

/// How much the loss must fall, as a share of what its slope promises.
const SUFFICIENT_DECREASE: f64 = 1e-4;

/// How much flatter than at the start it must be.
const CURVATURE: f64 = 0.9;

/// The loss at some point along a direction.
#[derive(Clone, Debug)]
pub(super) struct Evaluation {
    /// How far along.
    pub(super) at: f64,
    pub(super) loss: f64,
    pub(super) gradient: Vec<f64>,
    /// The derivative along the direction.
    pub(super) slope: f64,
}

/// Finds a point along a direction whose largest element is `size`, beginning with length `first`; gives it with the
/// number of evaluations.
pub(super) fn strong_wolfe<E>(
    evaluate: &mut dyn FnMut(f64) -> Result<Evaluation, E>,
    first: f64,
    start: &Evaluation,
    size: f64,
    tolerance_change: f64,
    max_search: usize,
) -> Result<(Evaluation, usize), E> {
    let falls_short = |point: &Evaluation| point.loss > start.loss + SUFFICIENT_DECREASE * point.at * start.slope;
    let is_flat = |point: &Evaluation| point.slope.abs() <= -CURVATURE * start.slope;

    // Go further until a point is good enough, or one lies beyond the valley.
    let mut previous = start.clone();
    let mut point = evaluate(first)?;
    let (mut n_evaluations, mut n_searched) = (1, 0);
    let mut bracket = None;
    while n_searched < max_search {
        if falls_short(&point) || (n_searched > 1 && point.loss >= previous.loss) {
            bracket = Some((previous.clone(), point.clone()));
            break;
        }
        if is_flat(&point) {
            return Ok((point, n_evaluations));
        }
        if point.slope >= 0.0 {
            bracket = Some((previous.clone(), point.clone()));
            break;
        }
        let bounds = (point.at + 0.01 * (point.at - previous.at), point.at * 10.0);
        let next = evaluate(cubic_minimum(&previous, &point, bounds))?;
        previous = std::mem::replace(&mut point, next);
        n_evaluations += 1;
        n_searched += 1;
    }

    // Then narrow down what lies between. `low` is the better end.
    let (mut low, mut high) = bracket.unwrap_or((start.clone(), point));
    if low.loss > high.loss {
        std::mem::swap(&mut low, &mut high);
    }
    let mut has_stalled = false;
    while n_searched < max_search && (high.at - low.at).abs() * size >= tolerance_change {
        let (left, right) = (low.at.min(high.at), low.at.max(high.at));
        let mut at = cubic_minimum(&low, &high, (left, right));
        // A point near an end tells little: the second time it is moved inside.
        let margin = 0.1 * (right - left);
        if (right - at).min(at - left) < margin {
            if has_stalled || at >= right || at <= left {
                at = if (at - right).abs() < (at - left).abs() { right - margin } else { left + margin };
                has_stalled = false;
            } else {
                has_stalled = true;
            }
        } else {
            has_stalled = false;
        }
        let point = evaluate(at)?;
        n_evaluations += 1;
        n_searched += 1;
        if falls_short(&point) || point.loss >= low.loss {
            high = point;
            if low.loss > high.loss {
                std::mem::swap(&mut low, &mut high);
            }
        } else {
            let is_done = is_flat(&point);
            if !is_done && point.slope * (high.at - low.at) >= 0.0 {
                high = low;
            }
            low = point;
            if is_done {
                break;
            }
        }
    }
    Ok((low, n_evaluations))
}

/// Where the cubic through two points with these slopes is lowest, kept within `bounds`.
fn cubic_minimum(first: &Evaluation, second: &Evaluation, bounds: (f64, f64)) -> f64 {
    let (left, right) = if first.at <= second.at { (first, second) } else { (second, first) };
    let d1 = first.slope + second.slope - 3.0 * (first.loss - second.loss) / (first.at - second.at);
    let square = d1 * d1 - first.slope * second.slope;
    if square >= 0.0 {
        let d2 = square.sqrt();
        let way = (right.slope + d2 - d1) / (right.slope - left.slope + 2.0 * d2);
        let minimum = right.at - (right.at - left.at) * way;
        minimum.max(bounds.0).min(bounds.1)
    } else {
        f64::midpoint(bounds.0, bounds.1)
    }
}

/// The sum of products.
pub(super) fn dot(lhs: &[f64], rhs: &[f64]) -> f64 {
    lhs.iter().zip(rhs).map(|(lhs, rhs)| lhs * rhs).sum()
}

/// The largest absolute value.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}
