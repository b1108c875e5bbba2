//! The image of a convolution as an operand of tile products.
//!
//! What a block of windows sees of a block of channels is first *staged*: copied once, converted and padded with zeros,
//! into scratch of the thread. Every element is read from memory once for all taps, and borders, conversions and views
//! cost nothing afterwards. From there on there are two ways ([`Arrangement`]):
//!
//! - The windows are multiplied where they overlap in the stage. Elements in steps of the windows are staged together
//!   along every dimension, so that the elements which one tap meets in consecutive windows lie side by side, row after
//!   row, and each tap is an offset. Between two rows of windows lie elements that belong to no window (a *seam*: the halo of
//!   the windows' rows); sums are computed there too, and not used.
//! - A *panel* is laid out from the stage, where the elements that a tap meets in consecutive windows (or a window's in
//!   consecutive taps) lie side by side: along the last dimension, elements in steps of the windows (of the taps) are
//!   staged together. So a panel is made of contiguous copies whatever the strides.
//!
//! An image whose channels lie side by side in memory is turned while it is staged, a row of all channels at a time.

use super::super::affine::Affine;
use super::super::cx::{Cx, Eval};
use super::super::pointwise::LANES;
use super::blocks::Block;
use super::feed::place;
use super::window::{GROUP, Windows};
use super::{Contraction, Form};
use crate::kernel::{BinOp, BufferId, Index, LoopKind, Reg, Stmt, TileTranspose, Ty};
use nnc_ir::DType;
use nnc_ir::ops::CompareDir;

/// Most groups that elements of a row are dealt to: each has its own code.
const MAX_DEALT: i64 = 32;

/// What lies side by side where a tile product reads the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// In the stage itself: consecutive windows of a tap.
    Stage,
    /// In a panel: consecutive windows of a tap.
    Windows,
    /// In a panel: consecutive taps of a window.
    Taps,
}

/// One spatial dimension of a stage: elements `start + i * unit`, `i < len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StageDim {
    /// Distance between staged elements: the others meet no tap.
    unit: i64,
    len: i64,
    /// Staged elements from one window to the next, and from one tap to the next.
    by_window: i64,
    by_tap: i64,
    /// Element `i` is number `i / dealt` of group `i % dealt`, and a group has room for `pitch`.
    dealt: i64,
    pitch: i64,
    /// Whether the room is filled even where `len` has ended: a seam lies there.
    is_filled: bool,
    /// Distances between groups and between the elements of one.
    group_stride: i64,
    stride: i64,
}

impl StageDim {
    /// Where element `i` lies.
    fn offset(&self, i: i64) -> i64 {
        i % self.dealt * self.group_stride + i / self.dealt * self.stride
    }

    /// Elements of a group that are staged.
    fn in_group(&self, group: i64) -> i64 {
        if self.is_filled {
            return self.pitch;
        }
        (self.len - group).max(0).unsigned_abs().div_ceil(self.dealt as u64) as i64
    }
}

/// Sizes of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    images: i64,
    channels: i64,
    image_stride: i64,
    channel_stride: i64,
    dims: Vec<StageDim>,
    len: i64,
}

fn gcd(lhs: i64, rhs: i64) -> i64 {
    if rhs == 0 { lhs } else { gcd(rhs, lhs % rhs) }
}

impl Stage {
    /// The stage of a block of `windows` (batch first) and `taps` (channel first), or `None` if its elements would be
    /// dealt to too many groups.
    pub(super) fn new(phases: &Windows, windows: &[u64], taps: &[u64], arrangement: Arrangement) -> Option<Self> {
        let n_dims = phases.phases.len();
        let blocks = phases.phases.iter().zip(windows[1..].iter().zip(&taps[1..])).enumerate();
        let mut dims: Vec<StageDim> = blocks
            .map(|(dim, (phase, (&windows, &taps)))| {
                let by_window = if windows > 1 { phase.by_window } else { 0 };
                let by_tap = if taps > 1 { phase.by_tap } else { 0 };
                let unit = gcd(by_window, by_tap).max(1);
                let reach = (windows as i64 - 1) * by_window + (taps as i64 - 1) * by_tap;
                let (len, by_window, by_tap) = (reach / unit + 1, by_window / unit, by_tap / unit);
                let step = match arrangement {
                    Arrangement::Stage => by_window,
                    Arrangement::Windows if dim + 1 == n_dims => by_window,
                    Arrangement::Taps if dim + 1 == n_dims => by_tap,
                    Arrangement::Windows | Arrangement::Taps => 1,
                };
                let dealt = step.max(1);
                let pitch = (len as u64).div_ceil(dealt as u64) as i64;
                StageDim { unit, len, by_window, by_tap, dealt, pitch, is_filled: false, group_stride: 0, stride: 0 }
            })
            .collect();
        if dims.iter().map(|dim| dim.dealt).product::<i64>() > MAX_DEALT {
            return None;
        }
        let (images, channels) = (windows[0] as i64, taps[0] as i64);
        if arrangement == Arrangement::Stage {
            let mut is_repeated = images > 1;
            for (dim, &windows) in dims.iter_mut().zip(&windows[1..]) {
                dim.is_filled = is_repeated;
                is_repeated |= windows > 1;
            }
        }
        // From the inside out. Where windows are read in the stage, the elements of a tap lie together.
        let mut len = 1;
        for dim in dims.iter_mut().rev() {
            (dim.stride, dim.group_stride) = (len, len * dim.pitch);
            len *= dim.pitch * if arrangement == Arrangement::Stage { 1 } else { dim.dealt };
        }
        let (image_stride, channel_stride);
        if arrangement == Arrangement::Stage {
            for dim in dims.iter_mut().rev() {
                dim.group_stride = len;
                len *= dim.dealt;
            }
            (image_stride, channel_stride) = (len, len * images);
            len *= images * channels;
        } else {
            (channel_stride, image_stride) = (len, len * channels);
            len *= images * channels;
        }
        Some(Self { images, channels, image_stride, channel_stride, dims, len })
    }

    /// Number of elements.
    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Distance between channels.
    pub(super) fn channel_stride(&self) -> i64 {
        self.channel_stride
    }

    /// Where the taps lie, in row-major order.
    pub(super) fn taps(&self, taps: &[u64]) -> Vec<i64> {
        let mut offsets = vec![0];
        for (dim, &taps) in self.dims.iter().zip(&taps[1..]) {
            let along = |from: i64| (0..taps as i64).map(move |tap| from + dim.offset(tap * dim.by_tap));
            offsets = offsets.into_iter().flat_map(along).collect();
        }
        offsets
    }

    /// Where windows are read in the stage: distances between them (batch first).
    pub(super) fn window_strides(&self) -> Vec<i64> {
        [self.image_stride].into_iter().chain(self.dims.iter().map(|dim| dim.stride)).collect()
    }

    /// Where windows are read in the stage: elements from the first window of a block to the last, seams included.
    pub(super) fn span(&self, windows: &[u64]) -> u64 {
        let reach = windows.iter().zip(self.window_strides()).map(|(&windows, stride)| (windows - 1) * stride as u64);
        reach.sum::<u64>() + 1
    }

    /// Whether the stage is the panel already: one image, one tap, and whole rows.
    fn is_panel(&self, windows: &[u64], taps: &[u64]) -> bool {
        windows[0] == 1 && taps[1..].iter().all(|&taps| taps == 1) && self.dims.iter().all(|dim| dim.by_window <= 1)
    }
}

/// An image in memory whose channels are neighbors.
struct Turned {
    buffer: BufferId,
    /// Elements over the dimensions of the image.
    linear: Affine,
    /// The spatial dimension of the rows: the innermost of which a stage has more than one element.
    dim: usize,
    /// Channels of the stage.
    channels: u64,
}

/// What panels of the image are made of.
pub(super) struct Patches<'a> {
    pub(super) contraction: &'a Contraction<'a>,
    pub(super) stage: BufferId,
    /// Where a panel is laid out.
    pub(super) panel: Option<BufferId>,
    pub(super) arrangement: Arrangement,
    /// Lanes in which rows of the image are copied.
    pub(super) lanes: u16,
}

impl Turned {
    /// Copies `len` elements in steps of `step` along dimension `dim` of the image, of all channels, to a place in the stage.
    fn copy(&self, cx: &mut Cx<'_>, stage: &Stage, dim: usize, step: i64, to: (BufferId, Index), len: u64) {
        let (src_index, _) = cx.resolve(&self.linear);
        cx.b.push(Stmt::Transpose(TileTranspose {
            src: self.buffer,
            src_index,
            src_stride: self.linear.stride(dim) * step,
            dst: to.0,
            dst_index: to.1,
            dst_stride: stage.channel_stride,
            rows: len as u32,
            cols: self.channels as u32,
        }));
        cx.trace.scattered.push(self.buffer);
    }
}

impl Contraction<'_> {
    /// Elements from one window to the next along the last dimension.
    pub(super) fn window_steps(&self) -> i64 {
        match &self.form {
            Form::Convolution(windows) => windows.phases.last().map_or(1, |phase| phase.by_window),
            Form::Dot(_) => 1,
        }
    }
}

impl Patches<'_> {
    fn windows(&self) -> &Windows {
        let Form::Convolution(windows) = &self.contraction.form else { unreachable!("only convolutions have patches") };
        windows
    }

    /// Stages what a block of windows and a block of taps meet, lays out the panel if there is to be one, and gives the
    /// buffer that the tile product reads. Rows of a panel are taps (or windows), its columns, contiguous, windows (or
    /// taps).
    pub(super) fn lay_out(&self, cx: &mut Cx<'_>, windows: &Block, taps: &Block) -> Eval<(BufferId, Stage)> {
        let phases = self.windows();
        let stage = Stage::new(phases, &windows.extents, &taps.extents, self.arrangement).expect("checked for blocks");
        let group = cx.resolve(&cx.coord(GROUP)).0;
        cx.scoped(|cx| self.fill(cx, &stage, &group, windows, taps))?;
        let is_panel = || stage.is_panel(&windows.extents, &taps.extents);
        match self.panel {
            Some(panel) if self.arrangement != Arrangement::Windows || !is_panel() => {
                self.copy(cx, &stage, panel, windows, taps)?;
                Ok((panel, stage))
            }
            _ => Ok((self.stage, stage)),
        }
    }

    /// Copies what the blocks see of the image to the stage.
    fn fill(&self, cx: &mut Cx<'_>, stage: &Stage, group: &Index, windows: &Block, taps: &Block) -> Eval {
        let phases = self.windows();
        let extents = cx.region.shape(self.contraction.rhs);
        cx.set_space(extents.iter().map(|&extent| (0, extent as i64)));
        // Where the stage starts in the image, and between which values that is.
        let spots: Vec<(Index, i64, i64)> = (0..stage.dims.len())
            .map(|dim| {
                let phase = &phases.phases[dim];
                let (window, tap) = (&windows.starts[1 + dim], &taps.starts[1 + dim]);
                let start = Index::constant(phase.origin).plus_scaled(window, phase.by_window);
                let (window, tap_range) = (windows.start_ranges[1 + dim], taps.start_ranges[1 + dim]);
                let at = |window: i64, tap: i64| phase.origin + window * phase.by_window + tap * phase.by_tap;
                (start.plus_scaled(tap, phase.by_tap), at(window.0, tap_range.0), at(window.1, tap_range.1))
            })
            .collect();
        let image = windows.starts[0].clone();
        let channel = taps.starts[0].clone().plus_scaled(group, phases.inputs as i64);
        let turned = self.turned(cx, stage, &spots)?;
        cx.for_loop(stage.images as u64, LoopKind::Serial, |cx, image_at| {
            cx.bind(0, image.plus_scaled(&image_at, 1), 0);
            let to = Index::default().plus_scaled(&image_at, stage.image_stride);
            if turned.is_some() {
                cx.bind(1, channel, 0);
                return self.fill_rows(cx, stage, &spots, turned.as_ref(), 0, &to, None);
            }
            cx.for_loop(stage.channels as u64, LoopKind::Serial, |cx, channel_at| {
                cx.bind(1, channel.plus_scaled(&channel_at, 1), 0);
                let to = to.plus_scaled(&channel_at, stage.channel_stride);
                self.fill_rows(cx, stage, &spots, None, 0, &to, None)
            })
        })
    }

    /// How the image is turned while it is staged, if that is the way.
    fn turned(&self, cx: &mut Cx<'_>, stage: &Stage, spots: &[(Index, i64, i64)]) -> Eval<Option<Turned>> {
        /// Fewer are not worth a transposition.
        const MIN_EXTENT: i64 = 8;
        let image = self.contraction.rhs;
        let Some(dim) = stage.dims.iter().rposition(|dim| dim.len > 1) else { return Ok(None) };
        let extents = cx.region.shape(image);
        let is_inside = |at: usize| {
            let (_, low, high) = &spots[at];
            let this = &stage.dims[at];
            *low >= 0 && high + this.unit * (this.len - 1) < extents[2 + at] as i64
        };
        // Around dimensions of one element there must be no padding, nor along rows that are not of the last dimension.
        let is_last = dim + 1 == stage.dims.len();
        if cx.region.dtype(image) != DType::F32
            || stage.channels < MIN_EXTENT
            || stage.dims[dim].pitch < MIN_EXTENT
            || stage.dims[dim].stride != 1
            || !(is_last || (dim..stage.dims.len()).all(is_inside))
        {
            return Ok(None);
        }
        let coords: Vec<Affine> = (0..extents.len()).map(Affine::dim).collect();
        let Some((buffer, linear)) = place(cx, image, &coords)? else { return Ok(None) };
        let fits = linear.stride(1) == 1 && linear.stride(2 + dim) != 1;
        let channels = stage.channels as u64;
        Ok(fits.then_some(Turned { buffer, linear, dim, channels }))
    }

    /// Rows of the dimensions from `dim` on; `inside` is the condition under which the image has them.
    #[allow(clippy::too_many_arguments)]
    fn fill_rows(
        &self,
        cx: &mut Cx<'_>,
        stage: &Stage,
        spots: &[(Index, i64, i64)],
        turned: Option<&Turned>,
        dim: usize,
        to: &Index,
        inside: Option<Reg>,
    ) -> Eval {
        let this = &stage.dims[dim];
        let (start, low, high) = &spots[dim];
        let last = cx.region.shape(self.contraction.rhs)[2 + dim] as i64 - 1;
        if dim + 1 == stage.dims.len() || turned.is_some_and(|turned| turned.dim == dim) {
            for (inner, (start, ..)) in spots.iter().enumerate().skip(dim + 1) {
                cx.bind(2 + inner, start.clone(), 0);
            }
            let fill = |cx: &mut Cx<'_>| self.fill_row(cx, stage, turned, dim, (start, *low, last), to);
            let Some(inside) = inside else { return fill(cx) };
            let outside = cx.b.unary(crate::kernel::UnOp::Not, inside);
            cx.if_then(inside, fill)?;
            return cx.if_then(outside, |cx| {
                let group = |group: i64| to.clone().plus_const(group * this.group_stride);
                (0..this.dealt).try_for_each(|at| self.zero(cx, stage, turned, &group(at), this.pitch))
            });
        }
        let end = if this.is_filled { this.dealt * this.pitch } else { this.len };
        let always = *low >= 0 && high + this.unit * (end - 1) <= last;
        for group in 0..this.dealt {
            let (start, to) = (start.clone().plus_const(group * this.unit), to.clone());
            let to = to.plus_const(group * this.group_stride);
            cx.for_loop(this.in_group(group) as u64, LoopKind::Serial, |cx, at| {
                let position = start.plus_scaled(&at, this.dealt * this.unit);
                let to = to.plus_scaled(&at, this.stride);
                cx.bind(2 + dim, position.clone(), 0);
                if always {
                    return self.fill_rows(cx, stage, spots, turned, dim + 1, &to, inside);
                }
                let position = cx.index_reg(&position);
                let mut condition = inside;
                for (dir, bound) in [(CompareDir::Ge, 0), (CompareDir::Le, last)] {
                    let bound = cx.b.const_i64(Ty::I64, 1, bound);
                    let holds = cx.b.compare(dir, position, bound);
                    condition = Some(match condition {
                        Some(others) => cx.b.binary(BinOp::And, others, holds),
                        None => holds,
                    });
                }
                self.fill_rows(cx, stage, spots, turned, dim + 1, &to, condition)
            })?;
        }
        Ok(())
    }

    /// One row along dimension `dim`, of which `last` is the last element; `low` is the least value of `start`, and its only
    /// one unless the image has all of the row.
    fn fill_row(
        &self,
        cx: &mut Cx<'_>,
        stage: &Stage,
        turned: Option<&Turned>,
        dim: usize,
        (start, low, last): (&Index, i64, i64),
        to: &Index,
    ) -> Eval {
        let StageDim { unit, len, dealt, pitch, group_stride, .. } = stage.dims[dim];
        let dim = 2 + dim;
        // The staged elements that exist.
        let first = (-low).max(0).unsigned_abs().div_ceil(unit as u64) as i64;
        let end = if start.as_const().is_some() { ((last - low).div_euclid(unit) + 1).clamp(0, len) } else { len };
        let first = if start.as_const().is_some() { first.min(end) } else { 0 };
        for group in 0..dealt {
            let number = |i: i64| (i - group).max(0).unsigned_abs().div_ceil(dealt as u64) as i64;
            let (first, end) = (number(first), number(end));
            let to = to.clone().plus_const(group * group_stride);
            self.zero(cx, stage, turned, &to, first)?;
            self.zero(cx, stage, turned, &to.clone().plus_const(end), pitch - end)?;
            let from = start.clone().plus_const(unit * (group + dealt * first));
            let step = unit * dealt;
            if let Some(turned) = turned {
                if end > first {
                    cx.bind(dim, from, 0);
                    turned.copy(cx, stage, dim, step, (self.stage, to.plus_const(first)), (end - first) as u64);
                }
                continue;
            }
            cx.vector_loop((end - first) as u64, self.lanes, |cx, at| {
                cx.bind(dim, from.clone().plus_scaled(&at, step), if self.lanes == 1 { 0 } else { step });
                let coords = cx.coords();
                let seen = cx.trace.loads.len();
                let reg = cx.eval(self.contraction.rhs, &coords)?;
                super::scatter_loads(cx, seen);
                let reg = cx.promote(reg, cx.lanes);
                let to = to.clone().plus_const(first).plus_scaled(&at, 1);
                cx.b.store(self.stage, to, 1, cx.active, reg);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Stores `len` zeros, to every channel of what is turned.
    fn zero(&self, cx: &mut Cx<'_>, stage: &Stage, turned: Option<&Turned>, to: &Index, len: i64) -> Eval {
        if len <= 0 {
            return Ok(());
        }
        cx.for_loop(turned.map_or(1, |turned| turned.channels), LoopKind::Serial, |cx, channel| {
            zero(cx, self.stage, &to.clone().plus_scaled(&channel, stage.channel_stride), len)
        })
    }

    /// Lays the panel out from the stage.
    fn copy(&self, cx: &mut Cx<'_>, stage: &Stage, panel: BufferId, windows: &Block, taps: &Block) -> Eval {
        let n_dims = stage.dims.len();
        // Strides in the stage of windows (image first) and taps (channel first), but for the last dimension.
        let along = |first: i64, by: fn(&StageDim) -> i64| {
            let inner = stage.dims[..n_dims - 1].iter().map(|dim| by(dim) * dim.stride);
            [first].into_iter().chain(inner).collect::<Vec<i64>>()
        };
        let (window_strides, tap_strides) =
            (along(stage.image_stride, |dim| dim.by_window), along(stage.channel_stride, |dim| dim.by_tap));
        let last = &stage.dims[n_dims - 1];
        let (rows, row_strides, row_step, columns, column_strides) = match self.arrangement {
            Arrangement::Stage | Arrangement::Windows => (taps, &tap_strides, last.by_tap, windows, &window_strides),
            Arrangement::Taps => (windows, &window_strides, last.by_window, taps, &tap_strides),
        };
        let width = columns.len() as i64;
        let (row_len, column_len) = (rows.extents[n_dims], columns.extents[n_dims]);
        nest(cx, &rows.extents[..n_dims], row_strides, &Index::default(), &Index::default(), &mut |cx, from, row| {
            // Along the last dimension a step of the rows may lead to another group of the stage.
            let steady = row_step % last.dealt == 0;
            let one = |cx: &mut Cx<'_>, shift: Index, at: &Index| {
                let row = Index::default().plus_scaled(row, row_len as i64).plus_scaled(at, 1);
                let from = from.clone().plus_scaled(&shift, 1);
                let zero = Index::default();
                nest(cx, &columns.extents[..n_dims], column_strides, &from, &zero, &mut |cx, from, column| {
                    let to = Index::default().plus_scaled(&row, width).plus_scaled(column, column_len as i64);
                    short_vector_loop(cx, column_len, |cx, at| {
                        let from = from.clone().plus_scaled(&at, 1);
                        let reg = cx.b.load(self.stage, from, 1, cx.lanes, cx.active);
                        cx.b.store(panel, to.clone().plus_scaled(&at, 1), 1, cx.active, reg);
                        Ok(())
                    })
                })
            };
            if steady {
                return cx.for_loop(row_len, short(row_len), |cx, at| {
                    one(cx, Index::default().plus_scaled(&at, row_step / last.dealt), &at)
                });
            }
            (0..row_len as i64)
                .try_for_each(|at| one(cx, Index::constant(last.offset(at * row_step)), &Index::constant(at)))
        })
    }
}

/// A loop of a few iterations is written out: their addresses are one apart from constants.
fn short(extent: u64) -> LoopKind {
    if extent <= 4 { LoopKind::Unrolled } else { LoopKind::Serial }
}

/// Runs `body` over `0..len` by vectors, the loop written out if it is short.
fn short_vector_loop(cx: &mut Cx<'_>, len: u64, mut body: impl FnMut(&mut Cx<'_>, Index) -> Eval) -> Eval {
    let lanes = u64::from(LANES);
    if len / lanes > 4 {
        return cx.vector_loop(len, LANES, body);
    }
    (0..len.div_ceil(lanes)).try_for_each(|at| {
        cx.scoped(|cx| {
            (cx.lanes, cx.active) = (LANES, (len - at * lanes).min(lanes) as u16);
            body(cx, Index::constant((at * lanes) as i64))
        })
    })
}

/// Stores `len` zeros.
fn zero(cx: &mut Cx<'_>, buffer: BufferId, to: &Index, len: i64) -> Eval {
    cx.vector_loop(len.max(0) as u64, LANES, |cx, at| {
        let zero = cx.b.const_i64(Ty::F32, cx.lanes, 0);
        cx.b.store(buffer, to.clone().plus_scaled(&at, 1), 1, cx.active, zero);
        Ok(())
    })
}

/// Loops over `extents`; `body` gets `from` moved by the strides, and the flat position.
fn nest(
    cx: &mut Cx<'_>,
    extents: &[u64],
    strides: &[i64],
    from: &Index,
    flat: &Index,
    body: &mut dyn FnMut(&mut Cx<'_>, &Index, &Index) -> Eval,
) -> Eval {
    let Some((&extent, rest)) = extents.split_first() else { return body(cx, from, flat) };
    cx.for_loop(extent, LoopKind::Serial, |cx, at| {
        let from = from.clone().plus_scaled(&at, strides[0]);
        let flat = Index::default().plus_scaled(flat, extent as i64).plus_scaled(&at, 1);
        nest(cx, rest, &strides[1..], &from, &flat, body)
    })
}
