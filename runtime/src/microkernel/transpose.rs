//! Transposition of 32-bit matrices in blocks that fit the registers.
//!
//! Whole blocks are transposed in registers, so that both sides move in full vectors; what is left over at the right
//! and bottom edges is copied element by element.

/// Transposes whole `BLOCK` x `BLOCK` blocks with `block(src, dst)` and the edges one element at a time.
///
/// # Safety
/// As [`super::nnc_transpose_f32`]; `block` transposes one block under the same contract.
#[inline(always)]
unsafe fn in_blocks<const BLOCK: usize>(
    src: *const f32,
    dst: *mut f32,
    (src_stride, dst_stride): (isize, isize),
    (rows, cols): (usize, usize),
    block: impl Fn(*const f32, *mut f32),
) {
    let (block_rows, block_cols) = (rows - rows % BLOCK, cols - cols % BLOCK);
    let src_at = |row: usize, col: usize| src.wrapping_offset(row as isize * src_stride).wrapping_add(col);
    let dst_at = |row: usize, col: usize| dst.wrapping_offset(col as isize * dst_stride).wrapping_add(row);
    // SAFETY: all elements are in `rows` x `cols`.
    let element = |row, col| unsafe { *dst_at(row, col) = *src_at(row, col) };
    for row in (0..block_rows).step_by(BLOCK) {
        for col in (0..block_cols).step_by(BLOCK) {
            block(src_at(row, col), dst_at(row, col));
        }
    }
    for col in block_cols..cols {
        for row in 0..block_rows {
            element(row, col);
        }
    }
    for col in 0..cols {
        for row in block_rows..rows {
            element(row, col);
        }
    }
}

/// # Safety
/// As [`super::nnc_transpose_f32`].
pub(super) unsafe extern "C" fn transpose_portable(
    src: *const f32,
    dst: *mut f32,
    src_stride: i64,
    dst_stride: i64,
    rows: u64,
    cols: u64,
) {
    let (src_stride, dst_stride) = (src_stride as isize, dst_stride as isize);
    // SAFETY: the caller's promise.
    unsafe {
        in_blocks::<4>(src, dst, (src_stride, dst_stride), (rows as usize, cols as usize), |src, dst| {
            for row in 0..4 {
                for col in 0..4 {
                    *dst.offset(col * dst_stride + row) = *src.offset(row * src_stride + col);
                }
            }
        })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{transpose_avx2, transpose_avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! 16 x 16 blocks in AVX-512 registers, 8 x 8 blocks in AVX registers.

    use std::arch::x86_64::*;

    use super::in_blocks;

    /// # Safety
    /// As [`crate::microkernel::nnc_transpose_f32`], on a machine with AVX-512F.
    pub(in super::super) unsafe extern "C" fn transpose_avx512(
        src: *const f32,
        dst: *mut f32,
        src_stride: i64,
        dst_stride: i64,
        rows: u64,
        cols: u64,
    ) {
        // SAFETY: the caller's promise.
        unsafe { avx512(src, dst, src_stride as isize, dst_stride as isize, rows as usize, cols as usize) }
    }

    /// # Safety
    /// As [`crate::microkernel::nnc_transpose_f32`], on a machine with AVX.
    pub(in super::super) unsafe extern "C" fn transpose_avx2(
        src: *const f32,
        dst: *mut f32,
        src_stride: i64,
        dst_stride: i64,
        rows: u64,
        cols: u64,
    ) {
        // SAFETY: the caller's promise.
        unsafe { avx2(src, dst, src_stride as isize, dst_stride as isize, rows as usize, cols as usize) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512(src: *const f32, dst: *mut f32, src_stride: isize, dst_stride: isize, rows: usize, cols: usize) {
        // SAFETY: the caller's promise; a block is 16 x 16 elements of it.
        unsafe {
            in_blocks::<16>(src, dst, (src_stride, dst_stride), (rows, cols), |src, dst| {
                let mut rows = [_mm512_setzero_ps(); 16];
                // Quarter `q` of register `r` (r < 4 * 4) is columns `4q..4q + 4` of row `r`. Loading quarters from
                // rows four apart does half of the transposition for free.
                for (idx, row) in rows.iter_mut().enumerate() {
                    let (col, row_idx) = (4 * (idx / 4), idx % 4);
                    let quarter =
                        |part: isize| _mm_loadu_ps(src.offset((row_idx as isize + 4 * part) * src_stride).add(col));
                    let all = _mm512_castps128_ps512(quarter(0));
                    let all = _mm512_insertf32x4::<1>(all, quarter(1));
                    let all = _mm512_insertf32x4::<2>(all, quarter(2));
                    *row = _mm512_insertf32x4::<3>(all, quarter(3));
                }
                // Now transpose 4 x 4 within each group of four registers, in all quarters at once.
                for (group, quad) in rows.chunks_exact(4).enumerate() {
                    let lo01 = _mm512_unpacklo_ps(quad[0], quad[1]);
                    let hi01 = _mm512_unpackhi_ps(quad[0], quad[1]);
                    let lo23 = _mm512_unpacklo_ps(quad[2], quad[3]);
                    let hi23 = _mm512_unpackhi_ps(quad[2], quad[3]);
                    let columns = [
                        _mm512_shuffle_ps::<0b01_00_01_00>(lo01, lo23),
                        _mm512_shuffle_ps::<0b11_10_11_10>(lo01, lo23),
                        _mm512_shuffle_ps::<0b01_00_01_00>(hi01, hi23),
                        _mm512_shuffle_ps::<0b11_10_11_10>(hi01, hi23),
                    ];
                    for (idx, column) in columns.into_iter().enumerate() {
                        _mm512_storeu_ps(dst.offset((4 * group + idx) as isize * dst_stride), column);
                    }
                }
            })
        }
    }

    #[target_feature(enable = "avx")]
    unsafe fn avx2(src: *const f32, dst: *mut f32, src_stride: isize, dst_stride: isize, rows: usize, cols: usize) {
        // SAFETY: the caller's promise; a block is 8 x 8 elements of it.
        unsafe {
            in_blocks::<8>(src, dst, (src_stride, dst_stride), (rows, cols), |src, dst| {
                let mut rows = [_mm256_setzero_ps(); 8];
                // Half `h` of register `r` holds four columns of row `r % 4 + 4h`; see the 16 x 16 block.
                for (idx, row) in rows.iter_mut().enumerate() {
                    let (col, row_idx) = (4 * (idx / 4), idx % 4);
                    let half =
                        |part: isize| _mm_loadu_ps(src.offset((row_idx as isize + 4 * part) * src_stride).add(col));
                    *row = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(half(0)), half(1));
                }
                for (group, quad) in rows.chunks_exact(4).enumerate() {
                    let lo01 = _mm256_unpacklo_ps(quad[0], quad[1]);
                    let hi01 = _mm256_unpackhi_ps(quad[0], quad[1]);
                    let lo23 = _mm256_unpacklo_ps(quad[2], quad[3]);
                    let hi23 = _mm256_unpackhi_ps(quad[2], quad[3]);
                    let columns = [
                        _mm256_shuffle_ps::<0b01_00_01_00>(lo01, lo23),
                        _mm256_shuffle_ps::<0b11_10_11_10>(lo01, lo23),
                        _mm256_shuffle_ps::<0b01_00_01_00>(hi01, hi23),
                        _mm256_shuffle_ps::<0b11_10_11_10>(hi01, hi23),
                    ];
                    for (idx, column) in columns.into_iter().enumerate() {
                        _mm256_storeu_ps(dst.offset((4 * group + idx) as isize * dst_stride), column);
                    }
                }
            })
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use self::neon::transpose_neon;

#[cfg(target_arch = "aarch64")]
mod neon {
    //! 4 x 4 blocks in NEON registers.

    use std::arch::aarch64::*;

    use super::in_blocks;

    /// # Safety
    /// As [`crate::microkernel::nnc_transpose_f32`], on a machine with NEON.
    pub(in super::super) unsafe extern "C" fn transpose_neon(
        src: *const f32,
        dst: *mut f32,
        src_stride: i64,
        dst_stride: i64,
        rows: u64,
        cols: u64,
    ) {
        // SAFETY: the caller's promise.
        unsafe { blocks(src, dst, src_stride as isize, dst_stride as isize, rows as usize, cols as usize) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn blocks(src: *const f32, dst: *mut f32, src_stride: isize, dst_stride: isize, rows: usize, cols: usize) {
        // SAFETY: the caller's promise; a block is 4 x 4 elements of it.
        unsafe {
            in_blocks::<4>(src, dst, (src_stride, dst_stride), (rows, cols), |src, dst| {
                let row = |idx: isize| vld1q_f32(src.offset(idx * src_stride));
                let lo = vzipq_f32(row(0), row(2));
                let hi = vzipq_f32(row(1), row(3));
                let first = vzipq_f32(lo.0, hi.0);
                let second = vzipq_f32(lo.1, hi.1);
                vst1q_f32(dst, first.0);
                vst1q_f32(dst.offset(dst_stride), first.1);
                vst1q_f32(dst.offset(2 * dst_stride), second.0);
                vst1q_f32(dst.offset(3 * dst_stride), second.1);
            })
        }
    }
}
