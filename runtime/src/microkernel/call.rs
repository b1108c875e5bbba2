//! The split of a call into register tiles.
//!
//! The result is cut into strips of columns and these into blocks of rows, all of equal size as far as possible, since a
//! small tile at the edge would run at a fraction of the speed. Where several blocks read a strip of `b`, it is copied
//! next to itself first, so that it is read from few cache lines and pages.

use std::mem::MaybeUninit;

use super::TileArgs;
use super::tile::Tile;

/// A compiled register tile.
pub(super) type TileFn = unsafe fn(&Tile);

/// A compiled [`pack`](super::tile::pack).
pub(super) type PackFn = unsafe fn(*const f32, isize, *mut f32, usize, usize, usize);

/// The register tiles of one instruction set.
pub(super) struct TileSet {
    /// Lanes of a vector.
    pub(super) lanes: usize,
    /// `tiles[nv - 1][mr - 1]` is the tile of `mr` rows and `nv` vectors: full last vector, then partial.
    pub(super) tiles: &'static [&'static [[TileFn; 2]]],
    /// Copies a strip of `b`.
    pub(super) pack: PackFn,
}

/// Elements of a packed strip of `b`, half of a first-level cache.
const PACKED: usize = 8192;

/// A strip of `b` with its rows next to each other.
#[repr(align(64))]
struct Packed(MaybeUninit<[f32; PACKED]>);

/// From how many row tiles on, each of which reads the whole strip, packing it pays.
const PACK_FROM_BLOCKS: u32 = 3;

/// From how many bytes between its rows on packing a strip pays: nearer ones share pages and spread over the cache.
const PACK_FROM_STRIDE: usize = 1024;

/// Bytes after which addresses fall into the same set of a first-level cache.
const CACHE_PERIOD: u32 = 4096;

/// How many rows of `a` may compete for one cache set.
const ROWS_PER_SET: u32 = 7;

/// How a call is cut into tiles: equal shares of at most these.
#[derive(Clone, Copy)]
struct Shape {
    /// Strips of columns.
    strips: u32,
    /// The most rows of a tile.
    rows: u32,
}

impl TileSet {
    /// The shape of tiles at which a call of `m` rows and `n_vecs` vectors takes the fewest cycles.
    ///
    /// Rows that fit one block take the widest tile that holds them, which reads `b` in the longest runs. Otherwise, in
    /// half cycles, a step over `k` of an `mr` x `nv` tile takes `mr * nv` for the multiply-adds, `mr + 2 * nv` for loads
    /// and prefetches, at least `3 * nv` for bringing the row of `b` from the second-level cache, and at least the
    /// latency of a multiply-add. `max_rows` bounds the rows.
    fn best_shape(&self, m: u32, n_vecs: u32, max_rows: u32) -> Shape {
        const LATENCY: u32 = 8;
        /// Wider tiles are for few rows.
        const WIDEST: u32 = 4;
        let widest = n_vecs.min(self.tiles.len() as u32);
        let rows_of = |nv: u32| (self.tiles[nv as usize - 1].len() as u32).min(max_rows);
        if m <= rows_of(2) {
            let nv = (1..=widest).rev().find(|&nv| m <= rows_of(nv)).unwrap_or(1);
            return Shape { strips: n_vecs.div_ceil(nv), rows: m };
        }
        let mut best = (u64::MAX, Shape { strips: n_vecs, rows: 1 });
        for nv in 1..=widest.min(WIDEST) {
            let strips = n_vecs.div_ceil(nv);
            let nv = n_vecs.div_ceil(strips);
            let rows = rows_of(nv);
            let blocks = m.div_ceil(rows);
            let mr = m.div_ceil(blocks);
            let step = (mr * nv).max(mr + 2 * nv).max(3 * nv).max(LATENCY);
            let cost = u64::from(strips) * u64::from(blocks) * u64::from(step);
            if cost <= best.0 {
                best = (cost, Shape { strips, rows });
            }
        }
        best.1
    }

    /// Runs a whole call.
    ///
    /// # Safety
    /// The machine has the instruction set of the tiles, and `args` satisfies the contract of [`TileArgs`].
    pub(super) unsafe fn run(&self, args: &TileArgs) {
        let n = args.n as usize;
        if args.m == 0 || n == 0 {
            return;
        }
        let bytes = |elements: i64| elements as isize * size_of::<f32>() as isize;
        let mut tile = Tile {
            a: args.a,
            b: args.b,
            acc: args.acc,
            a_row_stride: bytes(args.a_row_stride),
            a_k_stride: bytes(args.a_k_stride),
            b_k_stride: bytes(args.b_k_stride),
            acc_row_stride: bytes(args.acc_row_stride),
            b_taps: args.b_taps,
            n_taps: args.n_taps as usize,
            k: args.k as usize,
            accumulate: args.accumulate != 0,
            tail: self.lanes,
        };
        // A shift: lanes are a power of two, and divisions would show in small calls.
        let n_vecs = ((n - 1) >> self.lanes.trailing_zeros()) + 1;
        // Rows a power of two apart meet in few cache sets.
        let sets = CACHE_PERIOD >> tile.a_row_stride.trailing_zeros().min(CACHE_PERIOD.trailing_zeros());
        let shape = self.best_shape(args.m, n_vecs as u32, ROWS_PER_SET * sets);
        let blocks = args.m.div_ceil(shape.rows);
        let mut vecs_left = n_vecs;
        for strips_left in (1..=shape.strips).rev() {
            // Equal shares, wider ones first.
            let nv = (vecs_left as u32).div_ceil(strips_left) as usize;
            let col = (n_vecs - vecs_left) * self.lanes;
            vecs_left -= nv;
            if vecs_left == 0 {
                tile.tail = n - (n_vecs - 1) * self.lanes;
            }
            tile.b = args.b.wrapping_add(col);
            tile.acc = args.acc.wrapping_add(col);
            // SAFETY: the tile is the strip of columns `col..` and as wide as `nv` and `tail` say.
            unsafe {
                if args.n_taps == 1 && blocks >= PACK_FROM_BLOCKS && tile.b_k_stride.unsigned_abs() >= PACK_FROM_STRIDE
                {
                    self.packed_strip(&tile, args.m, nv, blocks);
                } else {
                    self.strip(&tile, args.m, nv, blocks);
                }
            }
        }
    }

    /// Runs one strip of columns: `m` rows in `blocks` tiles, `nv` vectors wide.
    ///
    /// # Safety
    /// As [`TileSet::run`]; `strip` is the strip's first row.
    #[inline]
    unsafe fn strip(&self, strip: &Tile, m: u32, nv: usize, blocks: u32) {
        let by_rows = self.tiles[nv - 1];
        let mut tile = *strip;
        let mut rows_left = m;
        for blocks_left in (1..=blocks).rev() {
            let mr = rows_left.div_ceil(blocks_left);
            rows_left -= mr;
            // SAFETY: the tile is the part of the strip with `mr` rows from the current one on.
            unsafe { by_rows[mr as usize - 1][usize::from(tile.tail != self.lanes)](&tile) };
            tile.a = tile.a.wrapping_byte_offset(mr as isize * tile.a_row_stride);
            tile.acc = tile.acc.wrapping_byte_offset(mr as isize * tile.acc_row_stride);
        }
    }

    /// As [`TileSet::strip`], with the rows of `b` copied next to each other first, as many at a time as fit.
    ///
    /// Continuing the chains from one part of `k` to the next goes through memory, which does not change them.
    ///
    /// # Safety
    /// As [`TileSet::strip`].
    #[inline(never)]
    unsafe fn packed_strip(&self, strip: &Tile, m: u32, nv: usize, blocks: u32) {
        let mut packed = Packed(MaybeUninit::uninit());
        let buffer = packed.0.as_mut_ptr().cast::<f32>();
        let width = nv * self.lanes;
        let mut tile = Tile { b: buffer, b_k_stride: (width * size_of::<f32>()) as isize, ..*strip };
        let (mut b, mut k_left) = (strip.b, strip.k);
        loop {
            tile.k = k_left.min(PACKED / width);
            // SAFETY: the strip has `k_left` more rows, and `tile.k` packed ones fit the buffer.
            unsafe {
                (self.pack)(b, strip.b_k_stride, buffer, tile.k, nv, strip.tail);
                self.strip(&tile, m, nv, blocks);
            }
            k_left -= tile.k;
            if k_left == 0 {
                return;
            }
            b = b.wrapping_byte_offset(tile.k as isize * strip.b_k_stride);
            tile.a = tile.a.wrapping_byte_offset(tile.k as isize * tile.a_k_stride);
            tile.accumulate = true;
        }
    }
}

/// Instantiates the register tiles of one instruction set: for each count of vectors `nv`, rows `1..=max`.
macro_rules! tile_set {
    ($vector:ty, $feature:tt, $( $nv:literal: [$($mr:literal)*] ),* $(,)?) => {{
        use crate::microkernel::call::{TileFn, TileSet};
        use crate::microkernel::tile::{self, Tile, Vector};
        tile_set!(@wrap $feature
            /// # Safety
            /// As [`tile::compute`].
            unsafe fn compute<const MR: usize, const NV: usize, const MASKED: bool>(tile: &Tile) {
                // SAFETY: the caller's promise; the attribute makes the instruction set available here.
                unsafe { tile::compute::<$vector, MR, NV, MASKED>(tile) }
            }
        );
        tile_set!(@wrap $feature
            /// # Safety
            /// As [`tile::pack`].
            unsafe fn pack(src: *const f32, stride: isize, dst: *mut f32, rows: usize, nv: usize, tail: usize) {
                // SAFETY: as above.
                unsafe { tile::pack::<$vector>(src, stride, dst, rows, nv, tail) }
            }
        );
        TileSet {
            lanes: <$vector>::LANES,
            tiles: &[$( {
                const NV: usize = $nv;
                const TILES: &[[TileFn; 2]] = &[$( [compute::<$mr, NV, false>, compute::<$mr, NV, true>] ),*];
                TILES
            } ),*],
            pack,
        }
    }};
    (@wrap none $($item:tt)*) => { $($item)* };
    (@wrap $feature:literal $($item:tt)*) => { #[target_feature(enable = $feature)] $($item)* };
}
pub(super) use tile_set;
