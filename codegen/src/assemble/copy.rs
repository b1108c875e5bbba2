//! Copies between tensors, where no launch can leave a value where it is wanted.

use nnc_ir::DType;

use crate::kernel::{Index, Kernel, KernelBuilder, LoopKind, Ty};
use crate::target::Target;

/// Copies `bytes` bytes from the first argument to the second, wherever they lie.
pub(super) fn copy_kernel(bytes: usize, target: &Target) -> Kernel {
    let (dtype, name) = if bytes.is_multiple_of(4) { (DType::U32, "words") } else { (DType::U8, "bytes") };
    let n = bytes / dtype.size();
    let mut b = KernelBuilder::new(format!("copy_{n}_{name}"));
    let from = b.arg("from", dtype, n, false);
    let to = b.arg("to", dtype, n, true);
    match target {
        Target::Cpu => {
            let lanes = if dtype == DType::U32 { 16 } else { 1 };
            let whole = n as u64 / u64::from(lanes);
            b.for_loop(whole, LoopKind::Serial, |b, var| {
                let at = Index::term(var, i64::from(lanes));
                let value = b.load(from, at.clone(), 1, lanes, lanes);
                b.store(to, at, 1, lanes, value);
            });
            let rest = (n as u64 - whole * u64::from(lanes)) as u16;
            if rest > 0 {
                let at = Index::constant((whole * u64::from(lanes)) as i64);
                let value = b.load(from, at.clone(), 1, lanes, rest);
                b.store(to, at, 1, rest, value);
            }
        }
        Target::Cuda { .. } => {
            const THREADS: u64 = 256;
            b.for_loop((n as u64).div_ceil(THREADS), LoopKind::Grid(0), |b, block| {
                b.for_loop(THREADS, LoopKind::Thread(0), |b, thread| {
                    let scale = b.const_i64(Ty::I64, 1, THREADS as i64);
                    let first = b.mul(block, scale);
                    let at = b.add(first, thread);
                    let end = b.const_i64(Ty::I64, 1, n as i64);
                    let inside = b.compare(nnc_ir::ops::CompareDir::Lt, at, end);
                    b.if_then(inside, |b| {
                        let value = b.load_scalar(from, Index::term(at, 1));
                        b.store_scalar(to, Index::term(at, 1), value);
                    });
                });
            });
        }
    }
    let mut kernel = b.finish();
    // Slices lie anywhere.
    kernel.buffers.iter_mut().for_each(|buffer| buffer.align = dtype.size());
    kernel
}
