//! NEON vectors.
#![allow(unused_unsafe, reason = "NEON is part of most aarch64 targets, where its intrinsics are safe to call")]

use std::arch::aarch64::*;

use super::call::{TileSet, tile_set};
use super::tile::Vector;
use super::{Kernels, TileArgs, transpose};

/// The kernels for aarch64.
pub(super) const NEON: Kernels = Kernels { tile_matmul_f32: tile_matmul, transpose_f32: transpose::transpose_neon };

/// # Safety
/// As [`super::nnc_tile_matmul_f32`], on a machine with NEON.
unsafe extern "C" fn tile_matmul(args: *const TileArgs) {
    // 32 registers.
    static TILES: TileSet = tile_set!(float32x4_t, "neon",
        1: [1 2 3 4 5 6 7 8 9 10 11 12],
        2: [1 2 3 4 5 6 7 8 9 10 11 12],
        3: [1 2 3 4 5 6 7 8],
        4: [1 2 3 4 5 6],
        5: [1 2 3 4],
        6: [1 2 3 4],
        7: [1 2],
        8: [1 2],
    );
    // SAFETY: the caller's promise.
    unsafe { TILES.run(&*args) }
}

// SAFETY of all methods below: the trait's contract gives the instruction set and valid addresses.
impl Vector for float32x4_t {
    const LANES: usize = 4;
    type Mask = usize;

    #[inline(always)]
    unsafe fn mask(n_lanes: usize) -> usize {
        n_lanes
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    unsafe fn splat(src: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { vld1q_dup_f32(src) }
    }

    #[inline(always)]
    unsafe fn load(src: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { vld1q_f32(src) }
    }

    #[inline(always)]
    unsafe fn load_masked(src: *const f32, n_lanes: usize) -> Self {
        // SAFETY: see above; only existing lanes are read.
        unsafe {
            let mut lanes = [0.0; 4];
            for (lane, value) in lanes.iter_mut().enumerate().take(n_lanes) {
                *value = *src.add(lane);
            }
            vld1q_f32(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut f32) {
        // SAFETY: see above.
        unsafe { vst1q_f32(dst, self) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, dst: *mut f32, n_lanes: usize) {
        // SAFETY: see above; only existing lanes are written.
        unsafe {
            let mut lanes = [0.0; 4];
            vst1q_f32(lanes.as_mut_ptr(), self);
            for (lane, value) in lanes.into_iter().enumerate().take(n_lanes) {
                *dst.add(lane) = value;
            }
        }
    }

    #[inline(always)]
    unsafe fn fma(self, lhs: Self, rhs: Self) -> Self {
        // SAFETY: see above.
        unsafe { vfmaq_f32(self, lhs, rhs) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {
        // The stable intrinsics have no prefetch for aarch64, and its hardware prefetchers follow constant strides.
    }
}
