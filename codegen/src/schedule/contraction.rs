//! Chooses tiles, orientation and packing of `f32` contractions on the CPU, from sizes and strides.

use super::{ContractionSchedule, Orientation};

pub(crate) mod packed;

/// What the choice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Number of independent products.
    pub(crate) batches: u64,
    /// Free extent of `lhs`.
    pub(crate) m: u64,
    /// Free extent of `rhs`.
    pub(crate) n: u64,
    /// Contracted extent.
    pub(crate) k: u64,
    /// Strides of `lhs`: free, contracted.
    pub(crate) lhs: (i64, i64),
    /// Strides of `rhs`: free, contracted.
    pub(crate) rhs: (i64, i64),
}

/// Lanes of the tile product.
const LANES: u64 = 16;

/// Most elements of a tile of sums: an L1 cache of them.
const MAX_TILE: u64 = 8192;

/// Work that makes the overhead of a tile small.
const MIN_TILE_FLOPS: u64 = 200_000;

/// Most elements of a panel of the right operand that tiles reuse from the L2 cache.
const MAX_PANEL: u64 = 64 * 1024;

/// Most elements of a copied panel: it lies on the stack.
const MAX_COPIED_PANEL: u64 = 32 * 1024;

/// Cycles of a tile product of whole operands: two vector multiply-adds a cycle, bound by loads if there is only one
/// vector of columns, and at least the latency of a chain.
pub(crate) fn product_cycles(rows: u64, cols: u64, k: u64) -> f64 {
    let vectors = cols.div_ceil(LANES);
    let cycles = if vectors == 1 { 0.9 } else { 0.55 * vectors as f64 };
    (rows as f64 * cycles).max(4.0) * k as f64
}

/// Cycles to transpose so many elements.
fn transpose_cycles(elements: u64) -> f64 {
    1.6 * elements as f64
}

/// Cycles lost on the operand whose elements are broadcast, with `stride` elements from one step of the contraction to
/// the next: where each step is on another page or so, nothing is fetched ahead, and what the L2 cache does not hold
/// is waited for, a line at a time.
fn scattered_cycles(rows: u64, k: u64, stride: i64) -> f64 {
    const FAR: u64 = 256;
    const HELD: u64 = 128 * 1024;
    let is_scattered = stride.unsigned_abs() > FAR && rows * k > HELD;
    if is_scattered { 30.0 * (k * rows.div_ceil(LANES)) as f64 } else { 0.0 }
}

/// Whether `schedule` can be used on these operands.
pub(crate) fn is_possible(facts: &Facts, schedule: &ContractionSchedule) -> bool {
    let positive = schedule.tile_m > 0 && schedule.tile_n > 0 && schedule.tile_k > 0;
    let fits = schedule.tile_m.saturating_mul(schedule.tile_n) <= 4 * MAX_TILE;
    let panel = match schedule.orientation {
        Orientation::Panels => schedule.tile_k.saturating_mul(schedule.tile_n) <= 2 * MAX_COPIED_PANEL,
        _ => true,
    };
    positive && fits && panel && cycles(facts, schedule.orientation).is_some()
}

/// Estimated cycles of an orientation, if the operands allow it.
fn cycles(facts: &Facts, orientation: Orientation) -> Option<f64> {
    let Facts { m, n, k, lhs, rhs, .. } = *facts;
    let fits = |extent: u64| extent <= u64::from(u32::MAX);
    if k == 0 || !fits(m) || !fits(n) {
        return None;
    }
    let turn = if m == 1 { 0.0 } else { transpose_cycles(m * n) };
    match orientation {
        Orientation::Direct => (rhs.0 == 1).then(|| product_cycles(m, n, k) + scattered_cycles(m, k, lhs.1)),
        Orientation::Panels => {
            let copy = if rhs.1 == 1 { transpose_cycles(n * k) } else { 0.5 * (n * k) as f64 };
            (rhs.1 == 1 || rhs.0 != 0).then(|| product_cycles(m, n, k) + copy)
        }
        Orientation::Swapped => {
            (lhs.0 == 1 || m == 1).then(|| product_cycles(n, m, k) + turn + scattered_cycles(n, k, rhs.1))
        }
        Orientation::SwappedPacked => {
            // A launch more, and scratch that travels through the cache.
            (lhs.1 == 1 && m > 1).then(|| product_cycles(n, m, k) + turn + 1.2 * transpose_cycles(m * k) + 1000.0)
        }
        Orientation::Loops => Some(f64::INFINITY),
        Orientation::Staged | Orientation::SwappedStaged | Orientation::Overlapping | Orientation::Shared => None,
    }
}

/// The schedule of a contraction.
pub(crate) fn choose(facts: &Facts) -> ContractionSchedule {
    let candidates = [Orientation::Direct, Orientation::Swapped, Orientation::SwappedPacked, Orientation::Panels];
    let mut best = (f64::INFINITY, Orientation::Loops);
    for orientation in candidates {
        if let Some(cycles) = cycles(facts, orientation)
            && cycles < best.0
        {
            best = (cycles, orientation);
        }
    }
    let orientation = best.1;
    let swapped = matches!(orientation, Orientation::Swapped | Orientation::SwappedPacked);
    let (rows, cols) = if swapped { (facts.n, facts.m) } else { (facts.m, facts.n) };
    let (tile_rows, tile_cols) = tile(rows, cols, facts, orientation);
    let max_panel = if orientation == Orientation::Panels { MAX_COPIED_PANEL } else { 4 * MAX_PANEL };
    let tile_k = (max_panel / tile_cols.next_multiple_of(LANES)).clamp(1, facts.k.max(1));
    let (tile_m, tile_n) = if swapped { (tile_cols, tile_rows) } else { (tile_rows, tile_cols) };
    ContractionSchedule { orientation, tile_m, tile_n, tile_k, tasks: 0 }
}

/// Rows and columns of a tile.
///
/// Measured on AVX-512 with the micro-kernels: strips of three vectors run best, so columns come in multiples of 48;
/// a few rows at a time keep the sums in the L1 cache beside the operands. Small products take more rows, so that a
/// tile is worth its overhead.
fn tile(rows: u64, cols: u64, facts: &Facts, orientation: Orientation) -> (u64, u64) {
    let tile_cols = share(cols, 96, 48);
    let most_rows = (MAX_TILE / tile_cols.next_multiple_of(LANES)).max(1);
    if orientation == Orientation::Panels {
        // Panels are copied once a tile, so tiles take all the rows they can.
        return (share(rows, most_rows, 1), tile_cols);
    }
    let (wanted, unit) = if orientation == Orientation::Direct { (16, 8) } else { (48, 24) };
    let worthwhile = MIN_TILE_FLOPS / (2 * tile_cols * facts.k).max(1);
    (share(rows, worthwhile.clamp(wanted, most_rows.max(wanted)), unit), tile_cols)
}

/// An equal share of `extent`, a multiple of `unit`, of about `most`.
fn share(extent: u64, most: u64, unit: u64) -> u64 {
    if extent <= most + most / 2 {
        return extent;
    }
    let shares = extent.div_ceil(most);
    extent.div_ceil(shares).next_multiple_of(unit)
}
