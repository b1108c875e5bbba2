//! Runs GPU kernels on the interpreter and on the emulator, and compares the bits.

use nnc_codegen::kernel::{BinOp, Inst, Kernel, Loop, LoopKind, Stmt, Ty, interp, verify};
use nnc_codegen::llvm::emulate::Emulator;

use super::first_difference;

/// Seeds of the orders in which blocks and threads run.
pub const SEEDS: [u64; 2] = [1, 2];

/// Runs the kernel on both and requires the interpreter's bits, whatever the order of blocks and threads.
pub fn check(kernel: &Kernel, tensors: &[Vec<u8>], bindings: &[usize]) {
    verify(kernel).unwrap_or_else(|faults| panic!("{}\n{kernel}", faults.join("\n")));
    let mut expected = tensors.to_vec();
    interp::run(kernel, &mut expected, bindings).unwrap_or_else(|fault| panic!("{fault}\n{kernel}"));
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
