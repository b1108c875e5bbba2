//! Numbers for contractions whose operands are laid out beside each tile: limits of tiles, and what layouts cost.

use super::super::ContractionSchedule;

/// Most elements of a tile of sums.
pub(crate) const MAX_SUMS: u64 = 16 * 1024;

/// Most elements of a panel, and of a stage: they lie on the stack.
pub(crate) const MAX_PANEL: u64 = 32 * 1024;

/// Cycles an element to turn a matrix.
pub(crate) const TURN: f64 = 0.8;

/// Most rows, columns and contracted elements of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: u64,
    pub(crate) columns: u64,
    pub(crate) depth: u64,
}

impl Limits {
    /// The limits, or those of a given schedule.
    pub(crate) fn of(given: Option<&ContractionSchedule>, swapped: bool) -> Self {
        match given {
            Some(given) => {
                let (rows, columns) = if swapped { (given.tile_n, given.tile_m) } else { (given.tile_m, given.tile_n) };
                Self { rows: rows.clamp(1, 1024), columns: columns.clamp(1, 512), depth: given.tile_k.max(1) }
            }
            None => Self { rows: 512, columns: 160, depth: 512 },
        }
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
