//! AVX-512 and AVX2 vectors.

use std::arch::asm;
use std::arch::x86_64::*;

use super::call::{TileSet, tile_set};
use super::tile::Vector;
use super::{Kernels, TileArgs, transpose};

/// The kernels for AVX-512F.
pub(super) const AVX512: Kernels =
    Kernels { tile_matmul_f32: tile_matmul_avx512, transpose_f32: transpose::transpose_avx };

/// The kernels for AVX2 with FMA.
pub(super) const AVX2: Kernels = Kernels { tile_matmul_f32: tile_matmul_avx2, transpose_f32: transpose::transpose_avx };

/// # Safety
/// As [`super::nnc_tile_matmul_f32`], on a machine with AVX-512F.
unsafe extern "C" fn tile_matmul_avx512(args: *const TileArgs) {
    // 32 registers: the sums, the row of `b`, and a broadcast element of `a`.
    static TILES: TileSet = tile_set!(__m512, "avx512f",
        1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16],
        2: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
        3: [1 2 3 4 5 6 7 8],
        4: [1 2 3 4 5 6],
        5: [1 2 3 4],
        6: [1 2 3 4],
        7: [1 2 3],
        8: [1 2],
    );
    // SAFETY: the caller's promise.
    unsafe { TILES.run(&*args) }
}

/// # Safety
/// As [`super::nnc_tile_matmul_f32`], on a machine with AVX2 and FMA.
unsafe extern "C" fn tile_matmul_avx2(args: *const TileArgs) {
    // 16 registers.
    static TILES: TileSet = tile_set!(__m256, "avx2,fma",
        1: [1 2 3 4 5 6 7 8 9 10 11 12],
        2: [1 2 3 4 5 6],
        3: [1 2 3 4],
        4: [1 2],
        5: [1],
        6: [1],
        7: [1],
        8: [1],
    );
    // SAFETY: the caller's promise.
    unsafe { TILES.run(&*args) }
}

/// Defines `lhs * rhs + sum` as an instruction that is not called `pure`, and so stays where it is among loads.
macro_rules! fma_in_order {
    ($name:ident, $vector:ty, $register:ident, $feature:literal) => {
        #[inline]
        #[target_feature(enable = $feature)]
        unsafe fn $name(mut sum: $vector, lhs: $vector, rhs: $vector) -> $vector {
            // SAFETY: the caller has the instruction set, and nothing but the register is written.
            unsafe {
                asm!(
                    "vfmadd231ps {0}, {1}, {2}",
                    inout($register) sum,
                    in($register) lhs,
                    in($register) rhs,
                    options(nomem, nostack, preserves_flags),
                );
            }
            sum
        }
    };
}

fma_in_order!(fma_zmm, __m512, zmm_reg, "avx512f");
fma_in_order!(fma_ymm, __m256, ymm_reg, "avx2,fma");

// SAFETY of all methods below: the trait's contract gives the instruction set and valid addresses.
impl Vector for __m512 {
    const LANES: usize = 16;
    type Mask = __mmask16;

    #[inline(always)]
    unsafe fn mask(n_lanes: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - n_lanes)) as __mmask16
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(src: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(*src) }
    }

    #[inline(always)]
    unsafe fn load(src: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(src) }
    }

    #[inline(always)]
    unsafe fn load_masked(src: *const f32, mask: __mmask16) -> Self {
        // SAFETY: see above; lanes outside the mask are not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, src) }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(dst, self) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, dst: *mut f32, mask: __mmask16) {
        // SAFETY: see above; lanes outside the mask are not touched.
        unsafe { _mm512_mask_storeu_ps(dst, mask, self) }
    }

    #[inline(always)]
    unsafe fn fma(self, lhs: Self, rhs: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(lhs, rhs, self) }
    }

    #[inline(always)]
    unsafe fn fma_in_order(self, lhs: Self, rhs: Self) -> Self {
        // SAFETY: see above.
        unsafe { fma_zmm(self, lhs, rhs) }
    }

    #[inline(always)]
    unsafe fn prefetch(src: *const f32) {
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(src.cast()) }
    }
}

// SAFETY of all methods below: the trait's contract gives the instruction set and valid addresses.
impl Vector for __m256 {
    const LANES: usize = 8;
    type Mask = __m256i;

    #[inline(always)]
    unsafe fn mask(n_lanes: usize) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n_lanes as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: see above.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(src: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_broadcast_ss(&*src) }
    }

    #[inline(always)]
    unsafe fn load(src: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(src) }
    }

    #[inline(always)]
    unsafe fn load_masked(src: *const f32, mask: __m256i) -> Self {
        // SAFETY: see above; lanes outside the mask are not touched.
        unsafe { _mm256_maskload_ps(src, mask) }
    }

    #[inline(always)]
    unsafe fn store(self, dst: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(dst, self) }
    }

    #[inline(always)]
    unsafe fn store_masked(self, dst: *mut f32, mask: __m256i) {
        // SAFETY: see above; lanes outside the mask are not touched.
        unsafe { _mm256_maskstore_ps(dst, mask, self) }
    }

    #[inline(always)]
    unsafe fn fma(self, lhs: Self, rhs: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(lhs, rhs, self) }
    }

    #[inline(always)]
    unsafe fn fma_in_order(self, lhs: Self, rhs: Self) -> Self {
        // SAFETY: see above.
        unsafe { fma_ymm(self, lhs, rhs) }
    }

    #[inline(always)]
    unsafe fn prefetch(src: *const f32) {
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(src.cast()) }
    }
}
