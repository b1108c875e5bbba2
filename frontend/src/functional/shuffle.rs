//! Moving elements between channels and positions: `pixel_shuffle` and its like.

use nnc_ir::Dim;

use crate::tensor::{Tensor, fault, live};

/// `[..., C * r², H, W]` to `[..., C, H * r, W * r]`: channels become positions.
#[track_caller]
pub fn pixel_shuffle(x: &Tensor, upscale_factor: usize) -> Tensor {
    let ty = live!(x);
    let (rank, r) = (ty.rank(), upscale_factor);
    let channels = rank.checked_sub(3).and_then(|dim| ty.shape[dim].as_const());
    if r == 0 || channels.is_none_or(|channels| channels % (r * r) != 0) {
        return fault(format!("pixel_shuffle: the input is {ty}, expected [..., C * {r}², H, W]"));
    }
    // [..., C, r, r, H, W] to [..., C, H, r, W, r].
    let split = x.unflatten(-3, [-1, r as i64, r as i64]);
    let outer = rank - 3;
    let mut order: Vec<i64> = (0..=outer as i64).collect();
    order.extend([3, 1, 4, 2].map(|at| (outer + at) as i64));
    let moved = split.permute(order);
    moved.flatten(-2, -1).flatten(-3, -2)
}

/// `[..., C, H * r, W * r]` to `[..., C * r², H, W]`: the inverse of [`pixel_shuffle`].
#[track_caller]
pub fn pixel_unshuffle(x: &Tensor, downscale_factor: usize) -> Tensor {
    let ty = live!(x);
    let (rank, r) = (ty.rank(), downscale_factor);
    let divides = |dim: usize| ty.shape[dim].as_const().is_some_and(|extent| extent % r == 0);
    if rank < 3 || r == 0 || !divides(rank - 1) || !divides(rank - 2) {
        return fault(format!("pixel_unshuffle: the input is {ty}, expected [..., C, H * {r}, W * {r}]"));
    }
    // [..., C, H, r, W, r] to [..., C, r, r, H, W].
    let split = x.unflatten(-1, [-1, r as i64]).unflatten(-3, [-1, r as i64]);
    let outer = rank - 3;
    let mut order: Vec<i64> = (0..=outer as i64).collect();
    order.extend([2, 4, 1, 3].map(|at| (outer + at) as i64));
    let moved = split.permute(order);
    moved.flatten(outer as i64, outer as i64 + 2)
}

/// Interleaves `groups` groups of channels (dimension 1): channel `i` of group `g` moves to `i * groups + g`.
#[track_caller]
pub fn channel_shuffle(x: &Tensor, groups: usize) -> Tensor {
    let ty = live!(x);
    let channels = ty.shape.dims().get(1).and_then(Dim::as_const);
    if groups == 0 || channels.is_none_or(|channels| channels % groups != 0) {
        return fault(format!("channel_shuffle: the input is {ty}, expected channels that {groups} groups divide"));
    }
    x.unflatten(1, [groups as i64, -1]).transpose(1, 2).flatten(1, 2)
}
