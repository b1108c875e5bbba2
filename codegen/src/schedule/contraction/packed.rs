//! Numbers for contractions whose operands are laid out beside each tile: limits of tiles, and what layouts cost.

use super::super::ContractionSchedule;

/// Most elements of a tile of sums.
pub(crate) const MAX_SUMS: u64 = 16 * 1024;

/// Most contracted elements of a tile whose operands are read where they lie.
pub(crate) const MAX_DEPTH: u64 = 512;

/// Most elements of a panel, and of a stage: they lie on the stack.
pub(crate) const MAX_PANEL: u64 = 32 * 1024;

/// Cycles an element to turn a matrix.
pub(crate) const TURN: f64 = 0.8;

/// Most taps of a window that is multiplied where it lies: each has its own code.
const MAX_TAPS: u64 = 50;

/// Most elements of a stage that tile products of few rows read: with the sums, a part of the L1 cache.
const MAX_NEAR_STAGE: u64 = 6 * 1024;

/// Most rows, columns and contracted elements of a tile, and most elements of a stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    pub(crate) depth: u64,
    pub(crate) stage: u64,
}

impl Limits {
    /// The limits, or those of a given schedule.
    pub(crate) fn of(given: Option<&ContractionSchedule>, swapped: bool) -> Self {
        match given {
            Some(given) => {
                let (rows, columns) = if swapped { (given.tile_n, given.tile_m) } else { (given.tile_m, given.tile_n) };
                let (rows, columns) = (rows.clamp(1, 1024), columns.clamp(1, 512));
                Self { rows, columns, depth: given.tile_k.max(1), stage: MAX_PANEL }
            }
            None => Self { rows: 512, columns: 160, depth: 512, stage: MAX_PANEL },
        }
    }

    /// Limits where windows of so many taps are multiplied in the stage, to so many channels of a group; `None` if that
    /// is no way to do it. The fewer rows a product has, the longer they may be, and the nearer the stage must be.
    pub(crate) fn overlapping(outputs: u64, taps: u64) -> Option<Self> {
        // Many channels share a stage, and with it the work of filling it, in taller and narrower tiles.
        let rows = if outputs < 128 { outputs.clamp(1, 64) } else { 128 };
        let stage = if outputs < 8 { MAX_NEAR_STAGE } else { MAX_PANEL };
        let columns = (MAX_SUMS / rows).min(4096);
        (taps <= MAX_TAPS).then_some(Self { rows, columns, depth: u64::MAX, stage })
    }
}

/// Relative cost of tiles of so many columns: whole vectors, two at a time, and an overhead a tile.
pub(crate) fn columns(n: u64) -> f64 {
    let vectors = n.div_ceil(16);
    vectors as f64 + if vectors % 2 == 1 { 0.4 } else { 0.0 } + 1.5
}

/// Cycles an element of a panel that is evaluated.
pub(crate) fn value(lanes: u16) -> f64 {
    if lanes == 1 { 2.0 } else { 0.4 }
}

/// Cycles an element of a panel of patches whose rows are copied in runs of `run` elements.
pub(crate) fn patch(run: u64) -> f64 {
    (4.0 + 1.5 * run.div_ceil(16) as f64) / run as f64
}

/// Cycles an element of a stage that windows in steps of `steps` along the last dimension are multiplied in.
pub(crate) fn staged(lanes: u16, steps: i64) -> f64 {
    if lanes == 1 || steps > 1 { 1.0 } else { 0.2 }
}
