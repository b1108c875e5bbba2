//! Transposition of 32-bit matrices in blocks that fit the registers.
//!
//! Blocks of 8 x 8 (AVX) or 4 x 4 (NEON) elements are transposed in registers, so that both sides move in vectors. On
//! x86-64 four blocks are taken together, 16 x 16 elements: both sides then move whole cache lines. What does not fill a
//! block at the right and bottom edges goes to the next smaller size, in the end to single elements.

/// A matrix to transpose: where it is and where it goes.
#[derive(Clone, Copy)]
struct Job {
    src: *const f32,
    dst: *mut f32,
    src_stride: isize,
    dst_stride: isize,
    rows: usize,
    cols: usize,
}

impl Job {
    /// The part of `rows` x `cols` elements at `row`, `col`.
    #[inline(always)]
    fn part(self, row: usize, col: usize, rows: usize, cols: usize) -> Job {
        Job {
            src: self.src.wrapping_offset(row as isize * self.src_stride).wrapping_add(col),
            dst: self.dst.wrapping_offset(col as isize * self.dst_stride).wrapping_add(row),
            rows,
            cols,
            ..self
        }
    }

    /// Transposes whole blocks of `BLOCK` x `BLOCK` with `block` and the edges with `rest`.
    #[inline(always)]
    fn in_blocks<const BLOCK: usize>(self, block: impl Fn(Job), rest: impl Fn(Job)) {
        let Job { rows, cols, .. } = self;
        let (whole_rows, whole_cols) = (rows - rows % BLOCK, cols - cols % BLOCK);
        for row in (0..whole_rows).step_by(BLOCK) {
            for col in (0..whole_cols).step_by(BLOCK) {
                block(self.part(row, col, BLOCK, BLOCK));
            }
        }
        if whole_cols < cols {
            rest(self.part(0, whole_cols, whole_rows, cols - whole_cols));
        }
        if whole_rows < rows {
            rest(self.part(whole_rows, 0, rows - whole_rows, cols));
        }
    }

    /// Transposes one element after the other.
    ///
    /// # Safety
    /// As [`super::nnc_transpose_f32`].
    #[inline(always)]
    unsafe fn by_elements(self) {
        for row in 0..self.rows {
            for col in 0..self.cols {
                let element = self.part(row, col, 1, 1);
                // SAFETY: the caller's promise.
                unsafe { *element.dst = *element.src };
            }
        }
    }

    /// Transposes in blocks of 4 x 4, which a compiler may or may not turn into vectors.
    ///
    /// # Safety
    /// As [`super::nnc_transpose_f32`].
    #[inline(always)]
    unsafe fn portable(self) {
        // SAFETY: the caller's promise.
        unsafe { self.in_blocks::<4>(|block| block.by_elements(), |edge| edge.by_elements()) }
    }
}

/// Defines a [`super::TransposeF32`] that calls `$implementation` with a [`Job`].
macro_rules! transpose_fn {
    ($name:ident => $implementation:path) => {
        /// # Safety
        /// As [`crate::microkernel::nnc_transpose_f32`], on a machine with the instruction set.
        pub(in crate::microkernel) unsafe extern "C" fn $name(
            src: *const f32,
            dst: *mut f32,
            src_stride: i64,
            dst_stride: i64,
            rows: u64,
            cols: u64,
        ) {
            let (src_stride, dst_stride) = (src_stride as isize, dst_stride as isize);
            let job = Job { src, dst, src_stride, dst_stride, rows: rows as usize, cols: cols as usize };
            // SAFETY: the caller's promise.
            unsafe { $implementation(job) }
        }
    };
}

transpose_fn!(transpose_portable => Job::portable);

#[cfg(target_arch = "x86_64")]
pub(super) use x86::transpose_avx;

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! 8 x 8 blocks in AVX registers. AVX-512 could take 16 x 16, but has half the ports for shuffles: in the cache it is
    //! half as fast, beyond it the same.

    use std::arch::x86_64::*;

    use super::Job;

    transpose_fn!(transpose_avx => avx);

    #[target_feature(enable = "avx")]
    unsafe fn avx(job: Job) {
        // SAFETY: the caller's promise; parts of a job are within it.
        unsafe {
            job.in_blocks::<16>(
                |block| {
                    // The two halves of a line of the destination follow each other.
                    for col in [0, 8] {
                        for row in [0, 8] {
                            avx_block(block.part(row, col, 8, 8));
                        }
                    }
                },
                |edge| edge.in_blocks::<8>(|block| avx_block(block), |edge| edge.portable()),
            )
        }
    }

    /// Transposes 8 x 8 elements.
    #[inline]
    #[target_feature(enable = "avx")]
    unsafe fn avx_block(Job { src, dst, src_stride, dst_stride, .. }: Job) {
        // SAFETY: the caller's promise.
        unsafe {
            // Half `h` of register `r` is columns `4 * (r / 4)..` of row `r % 4 + 4 * h`. Gathering halves from rows four
            // apart does half of the transposition while loading.
            let mut rows = [_mm256_setzero_ps(); 8];
            for (idx, row) in rows.iter_mut().enumerate() {
                let (first_col, row_idx) = (4 * (idx / 4), (idx % 4) as isize);
                let half = |part: isize| src.offset((row_idx + 4 * part) * src_stride).add(first_col);
                *row = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(half(0))), _mm_loadu_ps(half(1)));
            }
            // Now 4 x 4 within each group of four registers, in both halves at once.
            for (group, quad) in rows.chunks_exact(4).enumerate() {
                let lo01 = _mm256_unpacklo_ps(quad[0], quad[1]);
                let hi01 = _mm256_unpackhi_ps(quad[0], quad[1]);
                let lo23 = _mm256_unpacklo_ps(quad[2], quad[3]);
                let hi23 = _mm256_unpackhi_ps(quad[2], quad[3]);
                let cols = [
                    _mm256_shuffle_ps::<0b01_00_01_00>(lo01, lo23),
                    _mm256_shuffle_ps::<0b11_10_11_10>(lo01, lo23),
                    _mm256_shuffle_ps::<0b01_00_01_00>(hi01, hi23),
                    _mm256_shuffle_ps::<0b11_10_11_10>(hi01, hi23),
                ];
                for (idx, col) in cols.into_iter().enumerate() {
                    _mm256_storeu_ps(dst.offset((4 * group + idx) as isize * dst_stride), col);
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use self::neon::transpose_neon;

#[cfg(target_arch = "aarch64")]
mod neon {
    //! 4 x 4 blocks in NEON registers.

    use std::arch::aarch64::*;

    use super::Job;

    transpose_fn!(transpose_neon => neon);

    #[target_feature(enable = "neon")]
    unsafe fn neon(job: Job) {
        // SAFETY: the caller's promise; parts of a job are within it.
        unsafe { job.in_blocks::<4>(|block| neon_block(block), |edge| edge.by_elements()) }
    }

    /// Transposes 4 x 4 elements.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn neon_block(Job { src, dst, src_stride, dst_stride, .. }: Job) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = |idx: isize| vld1q_f32(src.offset(idx * src_stride));
            let even = vzipq_f32(row(0), row(2));
            let odd = vzipq_f32(row(1), row(3));
            let first = vzipq_f32(even.0, odd.0);
            let second = vzipq_f32(even.1, odd.1);
            for (idx, col) in [first.0, first.1, second.0, second.1].into_iter().enumerate() {
                vst1q_f32(dst.offset(idx as isize * dst_stride), col);
            }
        }
    }
}
