//! The register tile, generic over the vector type.
//!
//! A register tile keeps `MR` rows of `NV` vectors in registers for the whole chain: each step over `k` loads `NV`
//! vectors of `b`, broadcasts one element of `a` a row, and issues `MR * NV` independent fused multiply-adds.

/// A vector of `f32` lanes of one instruction set.
///
/// The methods are inlined into functions that enable the instruction set; that is what makes them one instruction.
pub(super) trait Vector: Copy {
    /// Number of lanes.
    const LANES: usize;
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
    /// As [`Vector::fma`], where the source has it between the loads around it. Left alone, the optimizer moves all loads of
    /// a step before its multiplications, and tiles that need all registers spill half of them.
    #[inline(always)]
    unsafe fn fma_in_order(self, lhs: Self, rhs: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.fma(lhs, rhs) }
    }
    /// Asks for the cache line at `src`, which need not be readable.
    unsafe fn prefetch(src: *const f32);
}

/// One tile's share of a call: operands at the tile's origin.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) a: *const f32,
    pub(super) b: *const f32,
    pub(super) acc: *mut f32,
    /// Strides in bytes: addresses are then sums without a shift.
    pub(super) a_row_stride: isize,
    pub(super) a_k_stride: isize,
    pub(super) b_k_stride: isize,
    /// Rows of a group of `b`, in elements from its first.
    pub(super) b_taps: *const i64,
    pub(super) n_taps: usize,
    pub(super) acc_row_stride: isize,
    pub(super) k: usize,
    pub(super) accumulate: bool,
    /// Lanes of the last vector that exist, `1..=LANES`.
    pub(super) tail: usize,
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

/// Repeats a block for `row` in `0..MR`, in the source: the optimizer does not unroll loops of this size reliably, and
/// a tile whose rows are indexed by a variable does not stay in registers.
macro_rules! for_rows {
    ($row:ident in 0..$n:ident $body:block) => {
        for_rows!(@each $row $n $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@each $row:ident $n:ident $body:block $($index:literal)*) => {
        const { assert!($n <= 16) };
        $(if $index < $n {
            let $row: usize = $index;
            $body
        })*
    };
}

/// Rows of `a` reached from one pointer: at 0, 1 and 2 strides, which x86-64 addresses without arithmetic.
const ROWS_PER_POINTER: usize = 3;

/// The most pointers a tile needs.
const MAX_POINTERS: usize = 6;

/// One step over `k`: `sums += a · b` for one column of `a`, which then moves to the next, and one row of `b`. With `AHEAD`
/// a later row of `b` is asked for.
///
/// # Safety
/// The machine has `V`'s instruction set, and `a` and `b` are the operands at one `k` of a valid tile.
#[inline(always)]
unsafe fn step<V: Vector, const MR: usize, const NV: usize, const MASKED: bool, const AHEAD: bool>(
    sums: &mut [[V; NV]; MR],
    a: &mut [*const f32; MAX_POINTERS],
    b: *const f32,
    tile: &Tile,
    mask: V::Mask,
) {
    // SAFETY: the caller's promise; the tile has `MR` rows of `a` and `NV` vectors of `b`.
    unsafe {
        for pointer in &mut a[..MR.div_ceil(ROWS_PER_POINTER)] {
            *pointer = opaque(*pointer);
        }
        let mut rhs = [V::zero(); NV];
        for (vec_idx, lane) in rhs.iter_mut().enumerate() {
            *lane = load::<V, NV, MASKED>(b, vec_idx, mask);
            if AHEAD {
                V::prefetch(b.wrapping_byte_offset(PREFETCH_ROWS * tile.b_k_stride).wrapping_add(vec_idx * V::LANES));
            }
        }
        for_rows!(row in 0..MR {
            let pointer = a[row / ROWS_PER_POINTER];
            let lhs = V::splat(pointer.wrapping_byte_offset((row % ROWS_PER_POINTER) as isize * tile.a_row_stride));
            for vec_idx in 0..NV {
                let sum = sums[row][vec_idx];
                // A single vector takes its factor straight from memory.
                sums[row][vec_idx] =
                    if NV == 1 { sum.fma(lhs, rhs[vec_idx]) } else { sum.fma_in_order(lhs, rhs[vec_idx]) };
            }
        });
        for pointer in &mut a[..MR.div_ceil(ROWS_PER_POINTER)] {
            *pointer = pointer.wrapping_byte_offset(tile.a_k_stride);
        }
    }
}

/// Returns its argument, and keeps the optimizer from knowing that.
///
/// Left alone, it computes each row's address from the one before, a chain of additions as long as the multiplications
/// take, or keeps more addresses than there are registers.
#[inline(always)]
fn opaque(pointer: *const f32) -> *const f32 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let pointer = {
        let mut pointer = pointer;
        #[allow(clippy::pointers_in_nomem_asm_block, reason = "there are no instructions to read or write anything")]
        // SAFETY: as the reason says.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags))
        };
        pointer
    };
    pointer
}

/// Computes one register tile. With `MASKED` the last vector has `tile.tail` lanes, else all.
///
/// # Safety
/// The machine has `V`'s instruction set and the tile satisfies the contract of [`super::TileArgs`].
#[inline(always)]
pub(super) unsafe fn compute<V: Vector, const MR: usize, const NV: usize, const MASKED: bool>(tile: &Tile) {
    // SAFETY: all addresses are those of the contract: rows `0..MR`, columns `0..(NV - 1) * LANES + tail`, `0..k`.
    unsafe {
        let tile = *tile;
        let mask = V::mask(tile.tail);
        let mut sums = [[V::zero(); NV]; MR];
        if tile.accumulate {
            for_rows!(row in 0..MR {
                let src = tile.acc.wrapping_byte_offset(row as isize * tile.acc_row_stride);
                for (vec_idx, lane) in sums[row].iter_mut().enumerate() {
                    *lane = load::<V, NV, MASKED>(src, vec_idx, mask);
                }
            });
        }
        let mut a = [tile.a; MAX_POINTERS];
        for (group, pointer) in a.iter_mut().enumerate() {
            *pointer = tile.a.wrapping_byte_offset((group * ROWS_PER_POINTER) as isize * tile.a_row_stride);
        }
        if tile.n_taps == 1 {
            let mut b = tile.b.wrapping_offset(*tile.b_taps as isize);
            for _ in 0..tile.k {
                step::<V, MR, NV, MASKED, true>(&mut sums, &mut a, b, &tile, mask);
                b = b.wrapping_byte_offset(tile.b_k_stride);
            }
        } else {
            // Rows of a group overlap, so they are in the cache.
            let (mut b, mut k_left) = (tile.b, tile.k);
            while k_left > 0 {
                for tap in 0..tile.n_taps {
                    let tap = *tile.b_taps.wrapping_add(tap) as isize;
                    step::<V, MR, NV, MASKED, false>(&mut sums, &mut a, b.wrapping_offset(tap), &tile, mask);
                }
                b = b.wrapping_byte_offset(tile.b_k_stride);
                k_left -= tile.n_taps;
            }
        }
        for_rows!(row in 0..MR {
            let dst = tile.acc.wrapping_byte_offset(row as isize * tile.acc_row_stride);
            for (vec_idx, lane) in sums[row].into_iter().enumerate() {
                let dst = dst.wrapping_add(vec_idx * V::LANES);
                if MASKED && vec_idx + 1 == NV {
                    lane.store_masked(dst, mask);
                } else {
                    lane.store(dst);
                }
            }
        });
    }
}

/// Copies `rows` rows of `NV` vectors, the last one with `tail` lanes, from rows `src_stride` bytes apart to dense ones.
///
/// # Safety
/// The machine has `V`'s instruction set, and all elements lie in memory of their own.
#[inline(always)]
pub(super) unsafe fn pack<V: Vector>(
    mut src: *const f32,
    src_stride: isize,
    mut dst: *mut f32,
    rows: usize,
    nv: usize,
    tail: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mask = V::mask(tail);
        for _ in 0..rows {
            for vec_idx in 0..nv - 1 {
                let from = src.wrapping_add(vec_idx * V::LANES);
                V::prefetch(from.wrapping_byte_offset(PREFETCH_ROWS * src_stride));
                V::load(from).store(dst.wrapping_add(vec_idx * V::LANES));
            }
            let from = src.wrapping_add((nv - 1) * V::LANES);
            V::prefetch(from.wrapping_byte_offset(PREFETCH_ROWS * src_stride));
            V::load_masked(from, mask).store(dst.wrapping_add((nv - 1) * V::LANES));
            src = src.wrapping_byte_offset(src_stride);
            dst = dst.wrapping_add(nv * V::LANES);
        }
    }
}
