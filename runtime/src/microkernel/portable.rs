//! Vectors for machines without a kernel of their own: four lanes of `f32::mul_add`.

use super::call::{TileSet, tile_set};
use super::tile::Vector;
use super::{Kernels, TileArgs, transpose};

/// The kernels that run anywhere.
pub(super) const PORTABLE: Kernels =
    Kernels { tile_matmul_f32: tile_matmul, transpose_f32: transpose::transpose_portable };

/// # Safety
/// As [`super::nnc_tile_matmul_f32`].
unsafe extern "C" fn tile_matmul(args: *const TileArgs) {
    static TILES: TileSet = tile_set!(F32x4, none, 1: [1 2 3 4], 2: [1 2 3 4]);
    // SAFETY: the caller's promise.
    unsafe { TILES.run(&*args) }
}

/// Four lanes.
#[derive(Clone, Copy)]
struct F32x4([f32; 4]);

impl Vector for F32x4 {
    const LANES: usize = 4;
    type Mask = usize;

    #[inline(always)]
    unsafe fn mask(n_lanes: usize) -> usize {
        n_lanes
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        F32x4([0.0; 4])
    }

    #[inline(always)]
    unsafe fn splat(src: *const f32) -> Self {
        // SAFETY: the trait's contract.
        F32x4([unsafe { *src }; 4])
    }

    #[inline(always)]
    unsafe fn load(src: *const f32) -> Self {
        // SAFETY: the trait's contract.
        F32x4(unsafe { src.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_masked(src: *const f32, n_lanes: usize) -> Self {
        // SAFETY: the trait's contract; only existing lanes are read.
        F32x4(std::array::from_fn(|lane| if lane < n_lanes { unsafe { *src.add(lane) } } else { 0.0 }))
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { dst.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, dst: *mut f32, n_lanes: usize) {
        for (lane, value) in self.0.into_iter().enumerate().take(n_lanes) {
            // SAFETY: the trait's contract; only existing lanes are written.
            unsafe { *dst.add(lane) = value }
        }
    }

    #[inline(always)]
    unsafe fn fma(self, lhs: Self, rhs: Self) -> Self {
        F32x4(std::array::from_fn(|lane| lhs.0[lane].mul_add(rhs.0[lane], self.0[lane])))
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
}
