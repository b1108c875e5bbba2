//! The register tile, generic over the vector type, and the split of a call into tiles.
//!
//! A register tile keeps `MR` rows of `NV` vectors in registers for the whole chain: each step over `k` loads `NV`
//! vectors of `b`, broadcasts one element of `a` a row, and issues `MR * NV` independent fused multiply-adds.

use super::TileArgs;

/// A vector of `f32` lanes of one instruction set.
///
/// The methods are inlined into functions that enable the instruction set; that is what makes them one instruction.
pub(super) trait Vector: Copy {
    /// Number of lanes.
    const LANES: usize;
    /// Whether a masked load costs what a plain one costs, so that tiles need no unmasked variant.
    const MASK_IS_FREE: bool;
    /// Which lanes of a partial vector exist.
    type Mask: Copy;

    /// The mask of the first `n_lanes` lanes, `1..=LANES`.
    ///
    /// # Safety
    /// The machine has the instruction set; so for all methods.
    unsafe fn mask(n_lanes: usize) -> Self::Mask;
    /// All lanes `+0.0`.
    unsafe fn zero() -> Self;
    /// All lanes `*src`.
    unsafe fn splat(src: *const f32) -> Self;
    /// Reads `LANES` elements.
    unsafe fn load(src: *const f32) -> Self;
    /// Reads the elements of the mask and nothing else; other lanes are unspecified.
    unsafe fn load_masked(src: *const f32, mask: Self::Mask) -> Self;
    /// Writes `LANES` elements.
    unsafe fn store(self, dst: *mut f32);
    /// Writes the elements of the mask and nothing else.
    unsafe fn store_masked(self, dst: *mut f32, mask: Self::Mask);
    /// `lhs * rhs + self` in each lane, rounded once.
    unsafe fn fma(self, lhs: Self, rhs: Self) -> Self;
    /// Asks for the cache line at `src`, which need not be readable.
    unsafe fn prefetch(src: *const f32);
}

/// One tile's share of a call: operands at the tile's origin.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    a: *const f32,
    b: *const f32,
    acc: *mut f32,
    a_row_stride: isize,
    a_k_stride: isize,
    b_k_stride: isize,
    acc_row_stride: isize,
    k: usize,
    accumulate: bool,
    /// Lanes of the last vector that exist, `1..=LANES`.
    tail: usize,
}

/// How many steps over `k` ahead of its use a row of `b` is asked for.
const PREFETCH_ROWS: isize = 8;

/// Reads vector `vec_idx` of `NV` from `src`; with `MASKED` only the lanes in `mask` of the last one.
///
/// # Safety
/// The machine has `V`'s instruction set and the elements are readable.
#[inline(always)]
unsafe fn load<V: Vector, const NV: usize, const MASKED: bool>(src: *const f32, vec_idx: usize, mask: V::Mask) -> V {
    let src = src.wrapping_add(vec_idx * V::LANES);
    // SAFETY: the caller's promise.
    unsafe { if MASKED && vec_idx + 1 == NV { V::load_masked(src, mask) } else { V::load(src) } }
}

/// One step over `k`: `sums += a · b` for one column of `a` and one row of `b`.
///
/// # Safety
/// The machine has `V`'s instruction set, and `a` and `b` are the operands at one `k` of a valid tile.
#[inline(always)]
unsafe fn step<V: Vector, const MR: usize, const NV: usize, const MASKED: bool>(
    sums: &mut [[V; NV]; MR],
    a: *const f32,
    b: *const f32,
    tile: &Tile,
    mask: V::Mask,
) {
    // SAFETY: the caller's promise; the tile has `MR` rows of `a` and `NV` vectors of `b`.
    unsafe {
        let mut rhs = [V::zero(); NV];
        for (vec_idx, lane) in rhs.iter_mut().enumerate() {
            *lane = load::<V, NV, MASKED>(b, vec_idx, mask);
            V::prefetch(b.wrapping_offset(PREFETCH_ROWS * tile.b_k_stride).wrapping_add(vec_idx * V::LANES));
        }
        for (row, sum) in sums.iter_mut().enumerate() {
            let lhs = V::splat(a.wrapping_offset(row as isize * tile.a_row_stride));
            for (lane, rhs) in sum.iter_mut().zip(rhs) {
                *lane = lane.fma(lhs, rhs);
            }
        }
    }
}

/// Computes one register tile. With `MASKED` the last vector has `tile.tail` lanes, else all.
///
/// # Safety
/// The machine has `V`'s instruction set and the tile satisfies the contract of [`TileArgs`].
#[inline(always)]
pub(super) unsafe fn compute<V: Vector, const MR: usize, const NV: usize, const MASKED: bool>(tile: &Tile) {
    // SAFETY: all addresses are those of the contract: rows `0..MR`, columns `0..(NV - 1) * LANES + tail`, `0..k`.
    unsafe {
        let tile = *tile;
        let mask = V::mask(tile.tail);
        let mut sums = [[V::zero(); NV]; MR];
        if tile.accumulate {
            for (row, sum) in sums.iter_mut().enumerate() {
                let src = tile.acc.wrapping_offset(row as isize * tile.acc_row_stride);
                for (vec_idx, lane) in sum.iter_mut().enumerate() {
                    *lane = load::<V, NV, MASKED>(src, vec_idx, mask);
                }
            }
        }
        let (mut a, mut b) = (tile.a, tile.b);
        for _ in 0..tile.k {
            step::<V, MR, NV, MASKED>(&mut sums, a, b, &tile, mask);
            a = a.wrapping_offset(tile.a_k_stride);
            b = b.wrapping_offset(tile.b_k_stride);
        }
        for (row, sum) in sums.into_iter().enumerate() {
            let dst = tile.acc.wrapping_offset(row as isize * tile.acc_row_stride);
            for (vec_idx, lane) in sum.into_iter().enumerate() {
                let dst = dst.wrapping_add(vec_idx * V::LANES);
                if MASKED && vec_idx + 1 == NV {
                    lane.store_masked(dst, mask);
                } else {
                    lane.store(dst);
                }
            }
        }
    }
}

/// A compiled register tile.
pub(super) type TileFn = unsafe fn(&Tile);

/// The register tiles of one instruction set.
pub(super) struct TileSet {
    /// Lanes of a vector.
    pub(super) lanes: usize,
    /// `tiles[nv - 1][mr - 1]` is the tile of `mr` rows and `nv` vectors: full last vector, then partial.
    pub(super) tiles: &'static [&'static [[TileFn; 2]]],
}

impl TileSet {
    /// Vectors across a tile, for a call of `m` rows and `n_vecs` vectors: the width at which the whole call takes the
    /// fewest cycles.
    ///
    /// A step over `k` of an `mr` x `nv` tile issues `mr * nv` multiply-adds and `mr + nv` loads, two of each a cycle,
    /// and takes at least the latency of a multiply-add.
    fn best_width(&self, m: usize, n_vecs: usize) -> usize {
        const LATENCY: usize = 8;
        let mut best = (usize::MAX, 1);
        for nv in 1..=self.tiles.len().min(n_vecs) {
            let strips = n_vecs.div_ceil(nv);
            let nv = n_vecs.div_ceil(strips);
            let blocks = m.div_ceil(self.tiles[nv - 1].len());
            let mr = m.div_ceil(blocks);
            let cost = strips * blocks * (mr * nv).max(mr + nv).max(LATENCY);
            if cost <= best.0 {
                best = (cost, nv);
            }
        }
        best.1
    }

    /// Runs a whole call.
    ///
    /// # Safety
    /// The machine has the instruction set of the tiles, and `args` satisfies the contract of [`TileArgs`].
    pub(super) unsafe fn run(&self, args: &TileArgs) {
        let (m, n) = (args.m as usize, args.n as usize);
        if m == 0 || n == 0 {
            return;
        }
        let mut tile = Tile {
            a: args.a,
            b: args.b,
            acc: args.acc,
            a_row_stride: args.a_row_stride as isize,
            a_k_stride: args.a_k_stride as isize,
            b_k_stride: args.b_k_stride as isize,
            acc_row_stride: args.acc_row_stride as isize,
            k: args.k as usize,
            accumulate: args.accumulate != 0,
            tail: self.lanes,
        };
        let n_vecs = n.div_ceil(self.lanes);
        let tail = n - (n_vecs - 1) * self.lanes;
        let strips = n_vecs.div_ceil(self.best_width(m, n_vecs));
        let (mut col, mut vecs_left) = (0, n_vecs);
        for strips_left in (1..=strips).rev() {
            // Equal shares, wider ones first.
            let nv = vecs_left.div_ceil(strips_left);
            vecs_left -= nv;
            if vecs_left == 0 {
                tile.tail = tail;
            }
            tile.b = args.b.wrapping_add(col);
            let by_rows = self.tiles[nv - 1];
            let blocks = m.div_ceil(by_rows.len());
            let (mut row, mut rows_left) = (0, m);
            for blocks_left in (1..=blocks).rev() {
                let mr = rows_left.div_ceil(blocks_left);
                rows_left -= mr;
                tile.a = args.a.wrapping_offset(row as isize * tile.a_row_stride);
                tile.acc = args.acc.wrapping_offset(row as isize * tile.acc_row_stride).wrapping_add(col);
                // SAFETY: the tile is the part of the call at row `row`, with `mr` rows and `nv` vectors.
                unsafe { by_rows[mr - 1][usize::from(tile.tail != self.lanes)](&tile) };
                row += mr;
            }
            col += nv * self.lanes;
        }
    }
}

/// Instantiates the register tiles of one instruction set: for each count of vectors `nv`, rows `1..=max`.
macro_rules! tile_set {
    ($vector:ty, $feature:tt, $( $nv:literal: [$($mr:literal)*] ),* $(,)?) => {{
        use crate::microkernel::tile::{self, Tile, TileFn, TileSet, Vector};
        tile_set!(@wrap $feature
            /// # Safety
            /// As [`tile::compute`].
            unsafe fn full<const MR: usize, const NV: usize>(tile: &Tile) {
                // SAFETY: the caller's promise; the attribute makes the instruction set available here.
                unsafe {
                    if <$vector>::MASK_IS_FREE {
                        tile::compute::<$vector, MR, NV, true>(tile)
                    } else {
                        tile::compute::<$vector, MR, NV, false>(tile)
                    }
                }
            }
        );
        tile_set!(@wrap $feature
            /// # Safety
            /// As [`tile::compute`].
            unsafe fn partial<const MR: usize, const NV: usize>(tile: &Tile) {
                // SAFETY: as in `full`.
                unsafe { tile::compute::<$vector, MR, NV, true>(tile) }
            }
        );
        TileSet {
            lanes: <$vector>::LANES,
            tiles: &[$( {
                const NV: usize = $nv;
                const TILES: &[[TileFn; 2]] = &[$( [
                    if <$vector>::MASK_IS_FREE { partial::<$mr, NV> } else { full::<$mr, NV> },
                    partial::<$mr, NV>,
                ] ),*];
                TILES
            } ),*],
        }
    }};
    (@wrap none $($item:tt)*) => { $($item)* };
    (@wrap $feature:literal $($item:tt)*) => { #[target_feature(enable = $feature)] $($item)* };
}
pub(super) use tile_set;
