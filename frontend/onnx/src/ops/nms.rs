//! `NonMaxSuppression`: the best boxes of each class that do not overlap better ones too much.
//!
//! One loop for all batch elements and classes together. Each step takes, in each, the best box that is left (of equal
//! scores the first), and strikes out the boxes that overlap it; it ends when nothing is left anywhere or as many boxes
//! were taken as asked for. So the work is that of the boxes kept, not of all pairs.

use nnc_frontend::Tensor;
use nnc_frontend::functional::while_loop;
use nnc_frontend::tensor::{apply, where_};
use nnc_ir::{Dim, Op};

use super::nonzero::Found;
use super::positions::{counting, look_up};
use super::{Entry, Outcome, op};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[op("NonMaxSuppression", 10.., non_max_suppression)];

fn non_max_suppression(cx: &mut Cx<'_>) -> Outcome {
    let (boxes, scores) = (cx.input(0)?.detach(), cx.input(1)?.detach());
    let (box_shape, shape) = (boxes.shape(), scores.shape());
    let fits = box_shape.rank() == 3
        && shape.rank() == 3
        && box_shape[0] == shape[0]
        && box_shape[1] == shape[2]
        && box_shape[2] == Dim::from(4);
    if !fits {
        let (boxes, scores) = (boxes.ty(), scores.ty());
        return Err(
            cx.invalid(format!("the boxes are {boxes} and the scores {scores}, expected [B, N, 4] and [B, C, N]"))
        );
    }
    let n_boxes = shape[2].clone();
    let limit = limit(cx, &n_boxes)?;
    if limit.most == Dim::from(0) {
        return Ok(vec![Tensor::zeros([0, 3]).long().into()]);
    }
    let corners = Corners::of(cx, &boxes)?;
    let threshold = scalar(cx, 3)?.unwrap_or_else(|| Tensor::scalar(0.0f32));
    let candidates = match scalar(cx, 4)? {
        Some(least) => scores.gt(least),
        None => counting(shape.dims(), 2).ge(0),
    };
    // Below every score, so that a candidate is always better than what was struck out.
    let scores = scores.maximum(f64::from(f32::MIN));

    let picked_shape = [shape[0].clone(), shape[1].clone(), limit.most.clone()];
    let none = counting(&picked_shape, 0).full_like(-1.0);
    let position = counting(&[Dim::from(1), Dim::from(1), n_boxes], 2);
    let (_, _, picked) = while_loop(
        (Tensor::scalar(0i64), candidates, none),
        |(step, left, _)| step.lt(&limit.count).logical_and(left.any(..)),
        |(step, left, picked)| {
            let best = where_(&left, &scores, f64::NEG_INFINITY).argmax(-1);
            let taken = where_(&left.any(-1), &best, -1).unsqueeze(-1);
            let origin = Tensor::scalar(0i64);
            let picked = apply(Op::DynamicUpdateSlice, &[&picked, &taken, &origin, &origin, &step]);
            let struck = corners.overlap(&best, &threshold).logical_or(position.eq(best.unsqueeze(-1)));
            (step + 1, left.logical_and(struck.eq(false)), picked)
        },
    );

    let flat = picked.reshape([-1]);
    let found = Found::of(&flat.ge(0));
    let coordinate = |dim: usize| look_up(&counting(&picked_shape, dim).reshape([-1]), &found.positions);
    let rows = Tensor::stack(&[coordinate(0), coordinate(1), look_up(&flat, &found.positions)], 1);
    let rows = found.cleared(&rows, 0);
    Ok(vec![Found::value(rows.into(), 0, &found.bound())])
}

/// How many boxes to take of a class.
struct Limit {
    /// As an `i64` scalar.
    count: Tensor,
    /// At most.
    most: Dim,
}

fn limit(cx: &Cx<'_>, n_boxes: &Dim) -> Result<Limit, Fault> {
    if !cx.has(2) {
        return Ok(Limit { count: Tensor::scalar(0i64), most: Dim::from(0) });
    }
    if cx.try_known(2).is_none() {
        let count = cx.input(2)?.reshape(()).minimum(Tensor::extent(n_boxes));
        return Ok(Limit { count, most: n_boxes.clone() });
    }
    let asked = cx.known_int(2)?.max(0);
    match n_boxes.as_const() {
        Some(extent) => {
            let most = (extent as i64).min(asked);
            Ok(Limit { count: Tensor::scalar(most), most: Dim::from(most as usize) })
        }
        // More than there are boxes is harmless: nothing is left to take.
        None if asked == 0 => Ok(Limit { count: Tensor::scalar(0i64), most: Dim::from(0) }),
        None => Ok(Limit { count: Tensor::scalar(asked).minimum(Tensor::extent(n_boxes)), most: n_boxes.clone() }),
    }
}

/// Optional input `index`, one number, as a scalar.
fn scalar(cx: &Cx<'_>, index: usize) -> Result<Option<Tensor>, Fault> {
    Ok(cx.optional(index)?.map(|tensor| tensor.reshape(())))
}

/// Boxes as `[B, N]` tensors.
struct Corners {
    low: [Tensor; 2],
    high: [Tensor; 2],
    area: Tensor,
}

impl Corners {
    /// `[B, N, 4]` boxes: two opposite corners, or with `center_point_box` center and extents.
    fn of(cx: &Cx<'_>, boxes: &Tensor) -> Result<Self, Fault> {
        let part = |at: i64| boxes.select(2, at);
        let (low, high) = match cx.int_or("center_point_box", 0)? {
            0 => {
                let corners = [(part(0), part(2)), (part(1), part(3))];
                let ends = |lowest: bool| {
                    let pick = |(one, other): &(Tensor, Tensor)| {
                        if lowest { one.minimum(other) } else { one.maximum(other) }
                    };
                    [pick(&corners[0]), pick(&corners[1])]
                };
                (ends(true), ends(false))
            }
            1 => {
                let (centers, halves) = ([part(0), part(1)], [part(2) * 0.5, part(3) * 0.5]);
                let low = [&centers[0] - &halves[0], &centers[1] - &halves[1]];
                let high = [&centers[0] + &halves[0], &centers[1] + &halves[1]];
                (low, high)
            }
            format => return Err(cx.invalid(format!("center_point_box is {format}, expected 0 or 1"))),
        };
        let area = (&high[0] - &low[0]) * (&high[1] - &low[1]);
        Ok(Self { low, high, area })
    }

    /// Whether intersection over union of each box with box `best` (`[B, C]`) is above `threshold`: `[B, C, N]`.
    fn overlap(&self, best: &Tensor, threshold: &Tensor) -> Tensor {
        let of_best = |part: &Tensor| part.gather(1, best).unsqueeze(-1);
        let of_all = |part: &Tensor| part.unsqueeze(1);
        let span = |dim: usize| {
            let high = of_all(&self.high[dim]).minimum(of_best(&self.high[dim]));
            high - of_all(&self.low[dim]).maximum(of_best(&self.low[dim]))
        };
        let (height, width) = (span(0), span(1));
        let both = &height * &width;
        let (area, area_of_best) = (of_all(&self.area), of_best(&self.area));
        let union = &area + &area_of_best - &both;
        let meets = height.gt(0).logical_and(width.gt(0)).logical_and(both.gt(0));
        let has_area = area.gt(0).logical_and(area_of_best.gt(0)).logical_and(union.gt(0));
        meets.logical_and(has_area).logical_and((both / union).gt(threshold))
    }
}
