//! Convolutions as contractions: which elements of the image meet which taps of the kernel.
//!
//! Where the image is dilated, only some taps of a window fall on elements, and which ones repeats with the window's
//! position. So the windows along a dimension come in *phases*: those of one phase are an arithmetic progression and
//! meet the same taps, also a progression. A combination of phases is a dense contraction of its own, without holes:
//! an input gradient of stride 2 multiplies a quarter of the products that holes and elements together would make.
//!
//! Where the phases along a dimension meet the same elements, each with taps of its own (a transposed convolution in
//! steps as long as its kernel), they are *joined*: one contraction computes all of them, as if each were a channel.

use nnc_ir::ops::{CompareDir, ConvolutionAttrs, WindowDim};

use super::super::affine::Affine;
use super::super::cx::{Cx, Eval};
use super::super::view;
use crate::kernel::{BinOp, Reg, Ty};

/// One phase along one spatial dimension: window `first + q * step` meets tap `tap_first + j * tap_step` on element
/// `origin + q * by_window + j * by_tap`, or on padding if the image has no such element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lower) struct Phase {
    pub(super) first: i64,
    pub(super) step: i64,
    /// Number of windows.
    pub(super) windows: usize,
    pub(super) tap_first: i64,
    pub(super) tap_step: i64,
    /// Number of taps; none, and the sums are 0.
    pub(super) taps: usize,
    pub(super) origin: i64,
    pub(super) by_window: i64,
    pub(super) by_tap: i64,
    /// Number of phases joined: number `j` has windows from `first + j` on, and taps from `tap_first + j * tap_by_joint`.
    pub(super) joined: usize,
    pub(super) tap_by_joint: i64,
}

/// The phases along one dimension; together they hold every window once.
pub(super) fn phases(window: &WindowDim, windows: usize, taps: usize) -> Vec<Phase> {
    let dilation = window.lhs_dilation;
    let step = dilation / gcd(window.stride, dilation);
    let tap_step = dilation / gcd(window.rhs_dilation, dilation);
    let phase = |first: i64| {
        let meets = |tap: &i64| window.position(first, *tap) % dilation == 0;
        let tap_first = (0..(taps as i64).min(tap_step)).find(meets);
        let n_taps = tap_first.map_or(0, |tap| (taps as u64 - tap as u64).div_ceil(tap_step as u64));
        Phase {
            first,
            step,
            windows: (windows as u64 - first as u64).div_ceil(step as u64) as usize,
            tap_first: tap_first.unwrap_or(0),
            tap_step,
            taps: n_taps as usize,
            origin: tap_first.map_or(0, |tap| window.position(first, tap) / dilation),
            by_window: window.stride * step / dilation,
            by_tap: window.rhs_dilation * tap_step / dilation,
            joined: 1,
            tap_by_joint: 0,
        }
    };
    join((0..step.min(windows as i64)).map(phase).collect())
}

/// Joins phases that differ in their taps only, by the same number of taps each.
fn join(phases: Vec<Phase>) -> Vec<Phase> {
    let &[first, second, ..] = phases.as_slice() else { return phases };
    let tap_by_joint = second.tap_first - first.tap_first;
    let is_next = |(at, phase): (i64, &Phase)| {
        let (first_window, tap_first) = (first.first + at, first.tap_first + at * tap_by_joint);
        *phase == Phase { first: first_window, tap_first, ..first }
    };
    let fit = phases.len() as i64 == first.step && first.taps > 0 && (0..).zip(&phases).all(is_next);
    if fit { vec![Phase { joined: phases.len(), tap_by_joint, ..first }] } else { phases }
}

fn gcd(lhs: i64, rhs: i64) -> i64 {
    if rhs == 0 { lhs } else { gcd(rhs, lhs % rhs) }
}

/// The phase of a convolution along every spatial dimension.
///
/// The iteration space is `[batch, group, channel of the group's results, joined phase..., window...]`, the contracted
/// index `[channel of the group's image, tap...]`.
#[derive(Clone, Debug)]
pub(in crate::lower) struct Windows {
    pub(super) phases: Vec<Phase>,
    /// Channels of a group: of the image and of the result.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Dimensions of the iteration space before the joined phases, of which, as of windows, there is one a spatial dimension.
pub(super) const BATCH: usize = 0;
pub(super) const GROUP: usize = 1;
pub(super) const OUTPUT: usize = 2;
pub(super) const JOINED: usize = 3;

impl Windows {
    /// All phases of a convolution of a kernel of shape `kernel` to a result of shape `result`.
    pub(super) fn all(attrs: &ConvolutionAttrs, kernel: &[usize], result: &[usize]) -> Vec<Self> {
        let mut combinations = vec![Vec::new()];
        for dim in 0..attrs.n_spatial() {
            let along = phases(&attrs.window(dim), result[2 + dim], kernel[2 + dim]);
            combinations = combinations
                .into_iter()
                .flat_map(|before: Vec<Phase>| along.iter().map(move |&phase| [before.as_slice(), &[phase]].concat()))
                .collect();
        }
        let (inputs, outputs) = (kernel[1], kernel[0] / attrs.groups);
        combinations.into_iter().map(|phases| Self { phases, inputs, outputs }).collect()
    }

    /// Extents of the iteration space; `result` is the shape of the whole result.
    pub(super) fn extents(&self, result: &[usize]) -> Vec<usize> {
        let groups = result[1] / self.outputs.max(1);
        let joined = self.phases.iter().map(|phase| phase.joined);
        let windows = self.phases.iter().map(|phase| phase.windows);
        [result[0], groups, self.outputs].into_iter().chain(joined).chain(windows).collect()
    }

    /// The first dimension of the iteration space that counts windows.
    pub(super) fn first_window(&self) -> usize {
        JOINED + self.phases.len()
    }

    /// Extents of the contracted index.
    pub(super) fn contracted(&self) -> Vec<usize> {
        [self.inputs].into_iter().chain(self.phases.iter().map(|phase| phase.taps)).collect()
    }

    /// Taps that a window meets in one channel.
    pub(super) fn n_taps(&self) -> u64 {
        self.phases.iter().map(|phase| phase.taps as u64).product()
    }

    /// The dimensions of the iteration space that count windows.
    pub(super) fn columns(&self) -> std::ops::Range<usize> {
        self.first_window()..self.first_window() + self.phases.len()
    }

    /// Index into the result.
    pub(super) fn result_coords(&self, space: &[Affine]) -> Vec<Affine> {
        let channel = space[OUTPUT].plus_scaled(&space[GROUP], self.outputs as i64);
        let windows = self.phases.iter().zip(&space[JOINED..]).zip(&space[self.first_window()..]);
        let windows = windows.map(|((phase, joint), at)| at.scaled(phase.step).plus(joint).plus_const(phase.first));
        [space[BATCH].clone(), channel].into_iter().chain(windows).collect()
    }

    /// Index into the kernel.
    pub(super) fn kernel_coords(&self, space: &[Affine], contracted: &[Affine]) -> Vec<Affine> {
        let channel = space[OUTPUT].plus_scaled(&space[GROUP], self.outputs as i64);
        let taps = self.phases.iter().zip(&space[JOINED..]).zip(&contracted[1..]);
        let taps = taps.map(|((phase, joint), at)| {
            at.scaled(phase.tap_step).plus_scaled(joint, phase.tap_by_joint).plus_const(phase.tap_first)
        });
        [channel, contracted[0].clone()].into_iter().chain(taps).collect()
    }

    /// Index into the image; outside of it is padding.
    pub(super) fn image_coords(&self, space: &[Affine], contracted: &[Affine]) -> Vec<Affine> {
        let channel = contracted[0].plus_scaled(&space[GROUP], self.inputs as i64);
        let spots = self.phases.iter().zip(&space[self.first_window()..]).zip(&contracted[1..]).map(
            |((phase, window), tap)| {
                window.scaled(phase.by_window).plus_scaled(tap, phase.by_tap).plus_const(phase.origin)
            },
        );
        [space[BATCH].clone(), channel].into_iter().chain(spots).collect()
    }
}

/// Evaluates an element of a tensor of `extents` that is 0 wherever `coords` is outside: `element` gets an index that
/// is inside.
pub(super) fn zero_padded(
    cx: &mut Cx<'_>,
    ty: Ty,
    extents: &[usize],
    coords: &[Affine],
    element: impl FnOnce(&mut Cx<'_>, &[Affine]) -> Eval<Reg>,
) -> Eval<Reg> {
    let mut inside: Option<Reg> = None;
    let mut moved = Vec::with_capacity(coords.len());
    for (coord, &extent) in coords.iter().zip(extents) {
        let (low, high) = cx.range(coord);
        let last = extent as i64 - 1;
        for (is_needed, dir, bound) in [(low < 0, CompareDir::Ge, 0), (high > last, CompareDir::Le, last)] {
            if is_needed {
                let condition = view::compare(cx, dir, coord, bound)?;
                inside = Some(match inside {
                    Some(inside) => cx.b.binary(BinOp::And, inside, condition),
                    None => condition,
                });
            }
        }
        moved.push(view::into_range(cx, coord, extent as i64));
    }
    let element = element(cx, &moved)?;
    let Some(inside) = inside else { return Ok(element) };
    let lanes = cx.b.reg_type(element).lanes;
    let zero = cx.b.const_i64(ty, lanes, 0);
    let inside = cx.promote(inside, lanes);
    Ok(cx.b.select(inside, element, zero))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_meet_the_same_elements_are_joined() {
        let window = WindowDim { stride: 1, low: 2, high: 2, lhs_dilation: 3, rhs_dilation: 1 };
        let joined = phases(&window, 12, 3);
        let [phase] = joined.as_slice() else { panic!("{joined:?}") };
        assert_eq!((phase.joined, phase.windows, phase.tap_first, phase.tap_by_joint), (3, 4, 2, -1));
        // One window more, and the first phase has more windows than the others.
        assert_eq!(phases(&window, 13, 3).len(), 3);
    }

    /// Every window and tap that meet on the dilated image belong to exactly one phase, at the element they meet on.
    #[test]
    fn phases_cover_what_meets() {
        for (stride, lhs_dilation, rhs_dilation, low) in [
            (1, 1, 1, 0),
            (1, 7, 1, 6),
            (2, 1, 3, 1),
            (1, 2, 1, 1),
            (2, 3, 1, -1),
            (3, 2, 2, 4),
            (2, 4, 6, 3),
            (2, 2, 1, 0),
        ] {
            let window = WindowDim { stride, low, high: 0, lhs_dilation, rhs_dilation };
            let (windows, taps) = (7, 5);
            let phases = phases(&window, windows, taps);
            let mut found = Vec::new();
            for phase in &phases {
                let pairs = (0..phase.joined as i64).flat_map(|at| (0..phase.windows as i64).map(move |q| (at, q)));
                for (joint, q) in pairs {
                    for j in 0..phase.taps as i64 {
                        found.push((
                            phase.first + joint + q * phase.step,
                            phase.tap_first + joint * phase.tap_by_joint + j * phase.tap_step,
                            phase.origin + q * phase.by_window + j * phase.by_tap,
                        ));
                    }
                }
            }
            found.sort_unstable();
            let pairs = (0..windows as i64).flat_map(|at| (0..taps as i64).map(move |tap| (at, tap)));
            let meeting = pairs.filter(|&(at, tap)| window.position(at, tap).rem_euclid(lhs_dilation) == 0);
            let expected: Vec<_> =
                meeting.map(|(at, tap)| (at, tap, window.position(at, tap).div_euclid(lhs_dilation))).collect();
            assert_eq!(found, expected, "{window:?}");
            assert_eq!(phases.iter().map(|phase| phase.joined * phase.windows).sum::<usize>(), windows);
        }
    }
}
