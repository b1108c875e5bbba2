//! Speed of the micro-kernels next to the machine's peak.
//!
//! `cargo bench -p nnc-runtime --bench microkernel`, best pinned to one core (`taskset -c 0`). Throughput is in elements
//! a second, an element being one floating-point operation (an fma counts 2): `Gelem/s` reads as GF/s. The group `peak`
//! is what a loop of fused multiply-adds without any memory access reaches.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use nnc_runtime::microkernel::{Isa, Kernels, TileArgs};

/// `m`, `k`, `n` of the contractions in the models the project measures itself by.
const SHAPES: [(usize, usize, usize); 9] = [
    (64, 784, 512),
    (64, 512, 512),
    (64, 512, 10),
    (64, 100, 200),
    (128, 128, 128),
    (512, 512, 512),
    (784, 64, 512),
    (1, 784, 512),
    (1, 100, 200),
];

/// How the right operand lies in memory.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Row-major, as it comes.
    Plain,
    /// In panels of 32 columns, one call a panel.
    Panels,
    /// Row-major, and the left operand column-major.
    TransposedA,
}

fn isas() -> impl Iterator<Item = (Isa, Kernels)> {
    Isa::ALL.into_iter().filter(|isa| *isa != Isa::Portable).filter_map(|isa| Some((isa, Kernels::of(isa)?)))
}

fn matmul(criterion: &mut Criterion) {
    for layout in [Layout::Plain, Layout::Panels, Layout::TransposedA] {
        let name = match layout {
            Layout::Plain => "matmul plain",
            Layout::Panels => "matmul panels",
            Layout::TransposedA => "matmul transposed a",
        };
        let mut group = criterion.benchmark_group(name);
        for (m, k, n) in SHAPES {
            let a = vec![0.5_f32; m * k];
            let b = vec![0.25_f32; k * n.next_multiple_of(32)];
            let mut acc = vec![0.0_f32; m * n];
            let (a_row_stride, a_k_stride) = if layout == Layout::TransposedA { (1, m) } else { (k, 1) };
            let width = if layout == Layout::Panels { 32 } else { n };
            group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
            for (isa, kernels) in isas() {
                let id = BenchmarkId::new(isa.name(), format!("{m}x{k}x{n}"));
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        for col in (0..n).step_by(width) {
                            let args = TileArgs {
                                a: a.as_ptr(),
                                b: b[if layout == Layout::Panels { col * k } else { col }..].as_ptr(),
                                acc: acc[col..].as_mut_ptr(),
                                a_row_stride: a_row_stride as i64,
                                a_k_stride: a_k_stride as i64,
                                b_k_stride: width as i64,
                                acc_row_stride: n as i64,
                                m: m as u32,
                                n: width.min(n - col) as u32,
                                k: k as u64,
                                accumulate: 0,
                                b_taps: &0,
                                n_taps: 1,
                            };
                            // SAFETY: the operands have these extents.
                            unsafe { (kernels.tile_matmul_f32)(black_box(&args)) }
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

fn transpose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transpose");
    for (rows, cols) in [(32, 784), (512, 784), (1024, 1024)] {
        let src = vec![0.5_f32; rows * cols];
        let mut dst = vec![0.0_f32; rows * cols];
        group.throughput(Throughput::Bytes(8 * (rows * cols) as u64));
        for (isa, kernels) in isas() {
            group.bench_function(BenchmarkId::new(isa.name(), format!("{rows}x{cols}")), |bencher| {
                let (src, dst) = (src.as_ptr(), dst.as_mut_ptr());
                bencher.iter(|| {
                    // SAFETY: two dense matrices.
                    unsafe {
                        (kernels.transpose_f32)(src, dst, cols as i64, rows as i64, rows as u64, cols as u64);
                    }
                });
            });
        }
    }
    group.finish();
}

#[cfg(target_arch = "x86_64")]
fn peak(criterion: &mut Criterion) {
    use std::arch::x86_64::*;

    const STEPS: usize = 1000;
    const CHAINS: usize = 12;

    #[target_feature(enable = "avx512f")]
    fn avx512() {
        let factor = black_box(_mm512_set1_ps(0.999));
        let mut sums = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2() {
        let factor = black_box(_mm256_set1_ps(0.999));
        let mut sums = [_mm256_set1_ps(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    let mut group = criterion.benchmark_group("peak");
    if Isa::Avx512.is_available() {
        group.throughput(Throughput::Elements((2 * 16 * STEPS * CHAINS) as u64));
        // SAFETY: the machine has the instruction set.
        group.bench_function("avx512", |bencher| bencher.iter(|| unsafe { avx512() }));
    }
    if Isa::Avx2.is_available() {
        group.throughput(Throughput::Elements((2 * 8 * STEPS * CHAINS) as u64));
        // SAFETY: the machine has the instruction set.
        group.bench_function("avx2", |bencher| bencher.iter(|| unsafe { avx2() }));
    }
    group.finish();
}

#[cfg(not(target_arch = "x86_64"))]
fn peak(_: &mut Criterion) {}

criterion_group!(benches, peak, matmul, transpose);
criterion_main!(benches);
