use super::*;

/// Numbers with full mantissas, so that a wrong order of rounding shows.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn available() -> impl Iterator<Item = (Isa, Kernels)> {
    Isa::ALL.into_iter().filter_map(|isa| Some((isa, Kernels::of(isa)?)))
}

/// The taps of a matrix.
static MATRIX: [i64; 1] = [0];

/// How a test lays out the operands of one call.
#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    transposed_a: bool,
    padding: usize,
    accumulate: bool,
}

/// Runs one call on every instruction set and compares all bits, those around the result included.
fn check_matmul(case: Case) {
    let Case { m, n, k, transposed_a, padding, accumulate } = case;
    let (a_row_stride, a_k_stride) = if transposed_a { (1, m + padding) } else { (k + padding, 1) };
    let (b_k_stride, acc_row_stride) = (n + padding, n + padding + 3);
    let a = noise(m * a_row_stride + k * a_k_stride + 1, 1);
    let b = noise(k * b_k_stride + 1, 2);
    let before = noise(m * acc_row_stride + 1, 3);

    let mut expect = before.clone();
    for i in 0..m {
        for j in 0..n {
            let start = if accumulate { before[i * acc_row_stride + j] } else { 0.0 };
            expect[i * acc_row_stride + j] =
                (0..k).fold(start, |sum, p| a[i * a_row_stride + p * a_k_stride].mul_add(b[p * b_k_stride + j], sum));
        }
    }
    for (isa, kernels) in available() {
        let mut acc = before.clone();
        let args = TileArgs {
            a: a.as_ptr(),
            b: b.as_ptr(),
            acc: acc.as_mut_ptr(),
            a_row_stride: a_row_stride as i64,
            a_k_stride: a_k_stride as i64,
            b_k_stride: b_k_stride as i64,
            acc_row_stride: acc_row_stride as i64,
            m: m as u32,
            n: n as u32,
            k: k as u64,
            accumulate: accumulate.into(),
            b_taps: MATRIX.as_ptr(),
            n_taps: 1,
        };
        // SAFETY: the operands were made to fit the strides above.
        unsafe { (kernels.tile_matmul_f32)(&args) };
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(bits(&acc) == bits(&expect), "{} differs from the definition on {case:?}", isa.name());
    }
}

#[test]
fn matmul_is_one_chain_per_element_at_every_tile_shape() {
    // All row counts up to beyond the tallest tile, against widths with all kinds of tails.
    for m in 0..=18 {
        for n in [0, 1, 3, 4, 7, 8, 10, 15, 16, 17, 31, 32, 33, 47, 48, 50, 64, 100, 130] {
            for k in [0, 1, 5] {
                let odd = (m + n + k) % 2 == 1;
                check_matmul(Case { m, n, k, transposed_a: odd, padding: m % 3, accumulate: m % 3 == 1 });
            }
        }
    }
}

#[test]
fn matmul_is_one_chain_per_element_at_model_sizes() {
    for (m, n, k) in [(64, 32, 784), (64, 200, 100), (64, 10, 512), (1, 200, 100), (29, 48, 300)] {
        for accumulate in [false, true] {
            check_matmul(Case { m, n, k, transposed_a: accumulate, padding: 0, accumulate });
        }
    }
    // Rows far apart, so that strips are packed, whole ones and with a tail, in one part and in several.
    for (m, n, k) in [(64, 64, 20), (45, 50, 700), (23, 10, 530)] {
        for accumulate in [false, true] {
            check_matmul(Case { m, n, k, transposed_a: accumulate, padding: 300, accumulate });
        }
    }
}

#[test]
fn matmul_keeps_nan_and_signed_zero() {
    for (isa, kernels) in available() {
        let (a, b) = ([0.0_f32, -0.0], [f32::INFINITY, -1.0]);
        let mut acc = [1.0_f32];
        let mut args = TileArgs {
            a: a.as_ptr(),
            b: b.as_ptr(),
            acc: acc.as_mut_ptr(),
            a_row_stride: 2,
            a_k_stride: 1,
            b_k_stride: 1,
            acc_row_stride: 1,
            m: 1,
            n: 1,
            k: 2,
            accumulate: 0,
            b_taps: MATRIX.as_ptr(),
            n_taps: 1,
        };
        // SAFETY: one element of result, two of each operand.
        unsafe { (kernels.tile_matmul_f32)(&args) };
        assert!(acc[0].is_nan(), "{}", isa.name());
        (acc[0], args.k, args.accumulate) = (-0.0, 0, 1);
        args.acc = acc.as_mut_ptr();
        // SAFETY: as above.
        unsafe { (kernels.tile_matmul_f32)(&args) };
        assert_eq!(acc[0].to_bits(), (-0.0_f32).to_bits(), "{}", isa.name());
    }
}

#[test]
fn windows_are_multiplied_where_they_overlap() {
    // Three channels of rows of 40; windows of 2 x 3 elements, over two rows and the seam between them.
    let (channels, pitch, taps) = (3, 40, [0_i64, 1, 2, 40, 41, 42]);
    let k = channels * taps.len();
    for (m, n) in [(1, 78), (5, 33), (24, 78)] {
        let (a, b) = (noise(m * k, 8), noise(channels * 3 * pitch, 9));
        for (isa, kernels) in available() {
            let mut acc = vec![0.0_f32; m * n];
            let args = TileArgs {
                a: a.as_ptr(),
                b: b.as_ptr(),
                acc: acc.as_mut_ptr(),
                a_row_stride: k as i64,
                a_k_stride: 1,
                b_k_stride: 3 * pitch as i64,
                acc_row_stride: n as i64,
                m: m as u32,
                n: n as u32,
                k: k as u64,
                accumulate: 0,
                b_taps: taps.as_ptr(),
                n_taps: taps.len() as u64,
            };
            // SAFETY: the last element read is 42 + 77 of three rows of 40.
            unsafe { (kernels.tile_matmul_f32)(&args) };
            for (at, sum) in acc.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let element = |p: usize| b[p / taps.len() * 3 * pitch + taps[p % taps.len()] as usize + j];
                let expect = (0..k).fold(0.0, |sum, p| a[i * k + p].mul_add(element(p), sum));
                assert_eq!(sum.to_bits(), expect.to_bits(), "{} at {i}, {j} of {m} x {n}", isa.name());
            }
        }
    }
}

#[test]
fn strides_may_be_zero_or_negative() {
    // A bias broadcast down `k` (stride 0) and rows of `a` in reverse.
    let (a, b) = (noise(12, 4), noise(5, 5));
    for (isa, kernels) in available() {
        let mut acc = [0.0_f32; 15];
        let args = TileArgs {
            a: &a[8],
            b: b.as_ptr(),
            acc: acc.as_mut_ptr(),
            a_row_stride: -4,
            a_k_stride: 1,
            b_k_stride: 0,
            acc_row_stride: 5,
            m: 3,
            n: 5,
            k: 4,
            accumulate: 0,
            b_taps: MATRIX.as_ptr(),
            n_taps: 1,
        };
        // SAFETY: rows start at elements 8, 4 and 0 of `a`.
        unsafe { (kernels.tile_matmul_f32)(&args) };
        for i in 0..3 {
            for j in 0..5 {
                let expect = (0..4).fold(0.0, |sum, p| a[8 - 4 * i + p].mul_add(b[j], sum));
                assert_eq!(acc[i * 5 + j].to_bits(), expect.to_bits(), "{} at {i}, {j}", isa.name());
            }
        }
    }
}

#[test]
fn transpose_moves_every_element_and_touches_no_other() {
    for rows in [0, 1, 4, 7, 8, 15, 16, 17, 33, 48] {
        for cols in [0, 1, 3, 4, 8, 9, 16, 20, 32, 35] {
            let (src_stride, dst_stride) = (cols + 2, rows + 3);
            let src = noise(rows * src_stride + 1, 6);
            let before = noise(cols * dst_stride + 1, 7);
            let mut expect = before.clone();
            for row in 0..rows {
                for col in 0..cols {
                    expect[col * dst_stride + row] = src[row * src_stride + col];
                }
            }
            for (isa, kernels) in available() {
                let mut dst = before.clone();
                let (src_stride, dst_stride) = (src_stride as i64, dst_stride as i64);
                // SAFETY: the matrices were made to fit the strides.
                unsafe {
                    (kernels.transpose_f32)(
                        src.as_ptr(),
                        dst.as_mut_ptr(),
                        src_stride,
                        dst_stride,
                        rows as u64,
                        cols as u64,
                    )
                };
                assert!(dst == expect, "{} at {rows} x {cols}", isa.name());
            }
        }
    }
}

#[test]
fn exported_symbols_are_the_best_kernels() {
    let (src, mut dst) = (noise(6, 8), [0.0; 6]);
    // SAFETY: two dense 2 x 3 matrices.
    unsafe { nnc_transpose_f32(src.as_ptr(), dst.as_mut_ptr(), 3, 2, 2, 3) };
    assert_eq!(dst, [src[0], src[3], src[1], src[4], src[2], src[5]]);
    assert!(Isa::best().is_available());
    assert_eq!(std::mem::size_of::<TileArgs>(), 96, "compiled code lays out the arguments itself");
}
