//! Every instruction of kernel IR on the emulated GPU, and what the emulator is there to find.

#![cfg(feature = "emulate")]

mod support;

use nnc_codegen::kernel::{Index, Kernel, KernelBuilder, LoopKind, Space, Stmt, Ty, interp};
use nnc_codegen::llvm::emulate::Emulator;
use nnc_ir::DType;
use nnc_ir::ops::CompareDir;
use support::{cases, gpu, random};

#[test]
fn loads_and_stores_of_every_type() {
    cases::loads_and_stores_of_every_type(&mut |kernel, tensors, bindings| {
        gpu::check(&gpu::on_gpu(kernel), tensors, bindings)
    });
}

#[test]
fn unary_ops() {
    cases::unary_ops(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn binary_ops() {
    cases::binary_ops(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn extrema_with_a_constant() {
    cases::extrema_with_a_constant(&mut |kernel, tensors, bindings| {
        gpu::check(&gpu::on_gpu(kernel), tensors, bindings)
    });
}

#[test]
fn shifts_by_one_amount() {
    cases::shifts_by_one_amount(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn fused_multiply_add() {
    cases::fused_multiply_add(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn product_and_sum() {
    cases::product_and_sum(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn compare_and_select() {
    cases::compare_and_select(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn casts_between_register_types() {
    cases::casts_between_register_types(&mut |kernel, tensors, bindings| {
        gpu::check(&gpu::on_gpu(kernel), tensors, bindings)
    });
}

#[test]
fn bitcasts_and_narrowing() {
    cases::bitcasts_and_narrowing(&mut |kernel, tensors, bindings| gpu::check(&gpu::on_gpu(kernel), tensors, bindings));
}

#[test]
fn lanes_partial_vectors_and_folds() {
    cases::lanes_partial_vectors_and_folds(&mut |kernel, tensors, bindings| {
        gpu::check(&gpu::on_gpu(kernel), tensors, bindings)
    });
}

#[test]
fn strided_and_repeated_lanes() {
    cases::strided_and_repeated_lanes(&mut |kernel, tensors, bindings| {
        gpu::check(&gpu::on_gpu(kernel), tensors, bindings)
    });
}

#[test]
fn register_tiles_loops_and_conditions() {
    cases::register_tiles_loops_and_conditions(&mut |kernel, tensors, bindings| {
        gpu::check(&gpu::on_gpu(kernel), tensors, bindings)
    });
}

const N: u64 = 64;

/// Sums a row in a tree over shared memory: halves of the threads add what the other half holds.
fn tree_sum(skipped_barrier: Option<u32>) -> Kernel {
    let mut b = KernelBuilder::new("tree_sum");
    let x = b.arg("x", DType::F32, 3 * N as usize, false);
    let out = b.arg("out", DType::F32, 3, true);
    let shared = b.scratch("s", DType::F32, N as usize, Space::Shared);
    b.for_loop(3, LoopKind::Grid(0), |b, block| {
        b.for_loop(N, LoopKind::Thread(0), |b, thread| {
            let value = b.load_scalar(x, Index::term(block, N as i64).plus(thread, 1));
            b.store_scalar(shared, Index::term(thread, 1), value);
            let mut half = N as i64 / 2;
            for round in 0.. {
                if skipped_barrier != Some(round) {
                    b.push(Stmt::Barrier);
                }
                if half == 0 {
                    break;
                }
                let bound = b.const_i64(Ty::I64, 1, half);
                let is_low = b.compare(CompareDir::Lt, thread, bound);
                b.if_then(is_low, |b| {
                    let low = b.load_scalar(shared, Index::term(thread, 1));
                    let high = b.load_scalar(shared, Index::term(thread, 1).plus_const(half));
                    let sum = b.add(low, high);
                    b.store_scalar(shared, Index::term(thread, 1), sum);
                });
                half /= 2;
            }
            // Every thread writes the same sum, but thread 0 alone may.
            let zero = b.const_i64(Ty::I64, 1, 0);
            let is_first = b.compare(CompareDir::Eq, thread, zero);
            b.if_then(is_first, |b| {
                let sum = b.load_scalar(shared, Index::constant(0));
                b.store_scalar(out, Index::term(block, 1), sum);
            });
        });
    });
    b.finish()
}

fn row_tensors() -> Vec<Vec<u8>> {
    let row: Vec<u8> = (0..3 * N).flat_map(|idx| ((idx as f32 * 0.37).sin()).to_le_bytes()).collect();
    vec![row, vec![0; 12]]
}

#[test]
fn threads_sum_a_row_in_a_tree() {
    gpu::check(&tree_sum(None), &row_tensors(), &[0, 1]);
}

#[test]
fn a_missing_barrier_is_found_by_both() {
    let mut expected = row_tensors();
    interp::run(&tree_sum(None), &mut expected, &[0, 1]).unwrap();
    // The last barrier orders nothing: the thread that reads the sum wrote it.
    let n_needed = N.ilog2();
    for skipped in 0..n_needed {
        let kernel = tree_sum(Some(skipped));
        let fault = interp::run(&kernel, &mut row_tensors(), &[0, 1]).unwrap_err();
        assert!(fault.message.contains("race on element"), "{fault}");
        let mut emulator = Emulator::new(&[kernel]).unwrap();
        let wrong = (0..32).any(|seed| {
            let mut found = row_tensors();
            emulator.launch(0, &mut found, &[0, 1], seed).unwrap();
            found != expected
        });
        assert!(wrong, "no order of threads shows that barrier {skipped} is missing");
    }
}

#[test]
fn a_barrier_for_some_threads_is_an_error() {
    let mut b = KernelBuilder::new("diverges");
    let out = b.arg("out", DType::F32, 8, true);
    b.for_loop(1, LoopKind::Grid(0), |b, _| {
        b.for_loop(8, LoopKind::Thread(0), |b, thread| {
            let three = b.const_i64(Ty::I64, 1, 3);
            let few = b.compare(CompareDir::Lt, thread, three);
            b.if_then(few, |b| b.push(Stmt::Barrier));
            let one = b.const_f64(Ty::F32, 1, 1.0);
            b.store_scalar(out, Index::term(thread, 1), one);
        });
    });
    let kernel = b.finish();
    let fault = interp::run(&kernel, &mut [vec![0; 32]], &[0]).unwrap_err();
    assert_eq!(fault.message, "diverges: barrier in divergent control flow");
    let mut emulator = Emulator::new(&[kernel]).unwrap();
    for _ in 0..2 {
        let fault = emulator.launch(0, &mut [vec![0; 32]], &[0], 7).unwrap_err();
        assert_eq!(fault.message, "diverges: 3 of 8 threads of block [0, 0, 0] reach a barrier");
    }
}

#[test]
fn blocks_threads_and_axes_are_numbered_as_loops_say() {
    let mut b = KernelBuilder::new("axes");
    let out = b.arg("out", DType::I64, 2 * 3 * 2 * 4 * 3 * 2, true);
    b.for_loop(2, LoopKind::Grid(2), |b, gz| {
        b.for_loop(3, LoopKind::Grid(1), |b, gy| {
            b.for_loop(2, LoopKind::Grid(0), |b, gx| {
                b.for_loop(2, LoopKind::Thread(2), |b, tz| {
                    b.for_loop(3, LoopKind::Thread(1), |b, ty| {
                        b.for_loop(4, LoopKind::Thread(0), |b, tx| {
                            let at = Index::term(gz, 144).plus(gy, 48).plus(gx, 24);
                            let at = at.plus(tz, 12).plus(ty, 4).plus(tx, 1);
                            let mut digits = gz;
                            for axis in [gy, gx, tz, ty, tx] {
                                let ten = b.const_i64(Ty::I64, 1, 10);
                                let shifted = b.mul(digits, ten);
                                digits = b.add(shifted, axis);
                            }
                            b.store_scalar(out, at, digits);
                        });
                    });
                });
            });
        });
    });
    gpu::check(&b.finish(), &[vec![0; 288 * 8]], &[0]);
}

#[test]
fn shared_memory_starts_each_block_undefined() {
    let mut b = KernelBuilder::new("stale");
    let out = b.arg("out", DType::F32, 2, true);
    let shared = b.scratch("s", DType::F32, 1, Space::Shared);
    b.for_loop(2, LoopKind::Grid(0), |b, block| {
        b.for_loop(1, LoopKind::Thread(0), |b, _| {
            let value = b.load_scalar(shared, Index::constant(0));
            b.store_scalar(out, Index::term(block, 1), value);
            let one = b.const_f64(Ty::F32, 1, 1.0);
            b.store_scalar(shared, Index::constant(0), one);
        });
    });
    let mut tensors = [vec![0; 8]];
    Emulator::new(&[b.finish()]).unwrap().launch(0, &mut tensors, &[0], 0).unwrap();
    let values = tensors[0].chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    assert!(values.into_iter().all(f32::is_nan), "{:?}", tensors[0]);
}

#[test]
fn a_store_past_a_tensor_is_an_error() {
    let mut b = KernelBuilder::new("past");
    let out = b.arg("out", DType::F32, 4, true);
    b.for_loop(1, LoopKind::Grid(0), |b, _| {
        b.for_loop(5, LoopKind::Thread(0), |b, thread| {
            let one = b.const_f64(Ty::F32, 1, 1.0);
            b.store_scalar(out, Index::term(thread, 1), one);
        });
    });
    let fault = Emulator::new(&[b.finish()]).unwrap().launch(0, &mut [vec![0; 16]], &[0], 0).unwrap_err();
    assert_eq!(fault.message, "past: store outside of tensor 0, at byte 16");
}

#[test]
fn random_kernels() {
    for seed in 0..120 {
        let (kernel, tensors) = random::kernel("random", seed);
        let bindings: Vec<usize> = (0..tensors.len()).collect();
        gpu::check(&kernel, &tensors, &bindings);
    }
}

#[test]
fn tiles_of_a_product_are_staged_in_shared_memory() {
    let (m, n, k) = (64, 32, 24);
    let values = |len: usize, step: f32| -> Vec<u8> {
        (0..len).flat_map(|idx| (idx as f32 * step).sin().to_le_bytes()).collect()
    };
    let tensors = [values(m * k, 1.7), values(k * n, 0.9), vec![0; m * n * 4]];
    gpu::check(&gpu::tiled_matmul("product", m, n, k), &tensors, &[0, 1, 2]);
}
