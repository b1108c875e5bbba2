//! Runs GPU kernels on the interpreter and on the emulator, and compares the bits.

use nnc_codegen::kernel::{BinOp, Index, Inst, Kernel, KernelBuilder, Loop, LoopKind, Space, Stmt, Ty, interp, verify};
use nnc_codegen::llvm::emulate::Emulator;
use nnc_ir::DType;

use super::first_difference;

/// Seeds of the orders in which blocks and threads run.
pub const SEEDS: [u64; 2] = [1, 2];

/// Runs the kernel on both and requires the interpreter's bits, whatever the order of blocks and threads.
pub fn check(kernel: &Kernel, tensors: &[Vec<u8>], bindings: &[usize]) {
    verify(kernel).unwrap_or_else(|faults| panic!("{}\n{kernel}", faults.join("\n")));
    let mut expected = tensors.to_vec();
    interp::run(kernel, &mut expected, bindings).unwrap_or_else(|fault| panic!("{fault}\n{kernel}"));
    emulator_agrees(kernel, tensors, &expected, bindings);
}

/// Runs the kernel on the emulator, blocks and threads in several orders, and requires the expected bits.
pub fn emulator_agrees(kernel: &Kernel, tensors: &[Vec<u8>], expected: &[Vec<u8>], bindings: &[usize]) {
    let mut emulator = Emulator::new(std::slice::from_ref(kernel)).unwrap_or_else(|error| panic!("{error}\n{kernel}"));
    for seed in SEEDS {
        let mut found = tensors.to_vec();
        emulator.launch(0, &mut found, bindings, seed).unwrap_or_else(|fault| panic!("{fault}\n{kernel}"));
        for ((_, buffer), &tensor) in kernel.args().zip(bindings) {
            if let Some(difference) = first_difference(buffer.dtype, &expected[tensor], &found[tensor]) {
                panic!("emulator, seed {seed}: {} {difference}\n{kernel}", buffer.name);
            }
        }
    }
}

/// Threads of a block that a parallel loop is spread over.
const MAX_THREADS: u64 = 48;

/// A CPU kernel without tile statements as one for a GPU: its parallel loop becomes blocks of threads; without one, a
/// single thread does everything.
pub fn on_gpu(kernel: &Kernel) -> Kernel {
    let mut kernel = kernel.clone();
    let body = std::mem::take(&mut kernel.body);
    let scalar = |kernel: &mut Kernel| kernel.add_reg(Ty::I64, 1);
    let (block, thread) = (scalar(&mut kernel), scalar(&mut kernel));
    let (n_blocks, n_threads, body) = match body.as_slice() {
        [Stmt::For(Loop { var, extent, kind: LoopKind::Parallel, body })] => {
            let n_threads = (1..=MAX_THREADS).rev().find(|n| extent % n == 0).unwrap_or(1);
            let (n, first) = (scalar(&mut kernel), scalar(&mut kernel));
            let mut inner = vec![
                Stmt::Let(n, Inst::Const(n_threads)),
                Stmt::Let(first, Inst::Binary(BinOp::Mul, block, n)),
                Stmt::Let(*var, Inst::Binary(BinOp::Add, first, thread)),
            ];
            inner.extend_from_slice(body);
            (extent / n_threads, n_threads, inner)
        }
        _ => (1, 1, body),
    };
    let threads = Loop { var: thread, extent: n_threads, kind: LoopKind::Thread(0), body };
    let blocks = Loop { var: block, extent: n_blocks, kind: LoopKind::Grid(0), body: vec![Stmt::For(threads)] };
    kernel.body = vec![Stmt::For(blocks)];
    kernel
}

/// `out[m, n] = a[m, k] * b[k, n]` in tiles of 32 x 32 by 8, staged in shared memory, with a register tile of 4 x 4 for
/// each of 64 threads. The extents are multiples of the tile's.
pub fn tiled_matmul(name: &str, m: usize, n: usize, k: usize) -> Kernel {
    const TILE: i64 = 32;
    const DEPTH: i64 = 8;
    let mut b = KernelBuilder::new(name);
    let lhs = b.arg("a", DType::F32, m * k, false);
    let rhs = b.arg("b", DType::F32, k * n, false);
    let out = b.arg("out", DType::F32, m * n, true);
    let lhs_tile = b.scratch("a_tile", DType::F32, (TILE * DEPTH) as usize, Space::Shared);
    let rhs_tile = b.scratch("b_tile", DType::F32, (TILE * DEPTH) as usize, Space::Shared);
    let acc = b.scratch("acc", DType::F32, 16, Space::Local);
    let (k, n) = (k as i64, n as i64);
    b.for_loop(m as u64 / TILE as u64, LoopKind::Grid(1), |b, by| {
        b.for_loop(n as u64 / TILE as u64, LoopKind::Grid(0), |b, bx| {
            b.for_loop(8, LoopKind::Thread(1), |b, ty| {
                b.for_loop(8, LoopKind::Thread(0), |b, tx| {
                    b.for_loop(4, LoopKind::Unrolled, |b, row| {
                        let zero = b.const_f64(Ty::F32, 4, 0.0);
                        b.store(acc, Index::term(row, 4), 1, 4, zero);
                    });
                    b.for_loop((k / DEPTH) as u64, LoopKind::Serial, |b, step| {
                        b.push(Stmt::Barrier);
                        b.for_loop(4, LoopKind::Unrolled, |b, part| {
                            // Rows of `a` become columns of its tile, so that both tiles are read along rows.
                            let at = Index::term(by, TILE * k).plus(part, 8 * k).plus(ty, k).plus(step, DEPTH);
                            let value = b.load_scalar(lhs, at.plus(tx, 1));
                            let at = Index::term(tx, TILE).plus(part, 8).plus(ty, 1);
                            b.store_scalar(lhs_tile, at, value);
                        });
                        let at = Index::term(step, DEPTH * n).plus(ty, n).plus(bx, TILE).plus(tx, 4);
                        let value = b.load(rhs, at, 1, 4, 4);
                        b.store(rhs_tile, Index::term(ty, TILE).plus(tx, 4), 1, 4, value);
                        b.push(Stmt::Barrier);
                        b.for_loop(DEPTH as u64, LoopKind::Unrolled, |b, inner| {
                            let right = b.load(rhs_tile, Index::term(inner, TILE).plus(tx, 4), 1, 4, 4);
                            let left = b.load(lhs_tile, Index::term(inner, TILE).plus(ty, 4), 1, 4, 4);
                            for row in 0..4 {
                                let scalar = b.inst(Ty::F32, 1, Inst::Extract { vector: left, lane: row });
                                let scalar = b.splat(scalar, 4);
                                let at = Index::constant(4 * i64::from(row));
                                let sum = b.load(acc, at.clone(), 1, 4, 4);
                                let sum = b.fma(scalar, right, sum);
                                b.store(acc, at, 1, 4, sum);
                            }
                        });
                    });
                    b.for_loop(4, LoopKind::Unrolled, |b, row| {
                        let sum = b.load(acc, Index::term(row, 4), 1, 4, 4);
                        let at = Index::term(by, TILE * n).plus(ty, 4 * n).plus(row, n).plus(bx, TILE).plus(tx, 4);
                        b.store(out, at, 1, 4, sum);
                    });
                });
            });
        });
    });
    b.finish()
}
