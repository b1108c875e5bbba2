//! What a run may allocate: nothing, on no thread. And an instance: its tensors, once, as many bytes as announced.
//!
//! The allocator counts for all threads, so this test has the process for itself, without the usual harness, whose
//! main thread allocates at times of its own.
#![cfg_attr(not(target_arch = "x86_64"), allow(unused))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use nnc_runtime::{Executable, device::Cpu};

#[path = "support/kernels.rs"]
mod kernels;

/// Counts allocations, and the bytes of those that are at least as large as a tensor of the test.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static LARGE_BYTES: AtomicUsize = AtomicUsize::new(0);
const LARGE: usize = 64 * 1024;

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, SeqCst);
        if layout.size() >= LARGE {
            LARGE_BYTES.fetch_add(layout.size(), SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let arg = |name| std::env::args().any(|arg| arg == name);
    if arg("--list") {
        // What test runners ask before they run anything.
        if !arg("--ignored") {
            println!("runs_allocate_nothing_and_instances_what_was_announced: test");
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    runs_allocate_nothing_and_instances_what_was_announced();
}

fn runs_allocate_nothing_and_instances_what_was_announced() {
    // Kept, so that no thread ends, and allocates in doing so, while another instance is watched.
    let mut instances = Vec::new();
    for (len, threads) in [(100_000, 1), (100_000, 2), (100_000, 4), (64 * 1024, 3)] {
        let program = kernels::step(len, 1000);
        let announced = program.peak_bytes() as usize;
        let executable = Executable::load(program, &Cpu::new()).expect("a valid program");
        let before = LARGE_BYTES.load(SeqCst);
        let mut instance = executable.instance(threads).expect("enough memory");
        assert_eq!(LARGE_BYTES.load(SeqCst) - before, announced, "tensor memory of {len} elements");
        assert_eq!(instance.tensor_bytes(), announced as u64);

        // Once for what the system sets up on a thread's first run.
        instance.run().expect("runs");
        let before = COUNT.load(SeqCst);
        for step in 0..200 {
            if step % 50 == 49 {
                // Long enough for workers to fall asleep.
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
            instance.input_mut::<f32>(0).expect("x")[0] = step as f32;
            instance.run().expect("runs");
            assert_eq!(instance.output_as::<f32>(0).expect("y")[0], 2.0 * step as f32 + 0.5);
        }
        assert_eq!(COUNT.load(SeqCst) - before, 0, "allocations in 200 runs on {threads} threads");
        instances.push(instance);
    }
    // And in loops, with arguments that move and threads that share them.
    for threads in [1, 2, 4] {
        let program = kernels::running_sums(1000, 50, 100);
        let executable = Executable::load(program, &Cpu::new()).expect("a valid program");
        let mut instance = executable.instance(threads).expect("enough memory");
        instance.run().expect("runs");
        let before = COUNT.load(SeqCst);
        for _ in 0..20 {
            instance.run().expect("runs");
        }
        assert_eq!(COUNT.load(SeqCst) - before, 0, "allocations in 20 runs of a loop on {threads} threads");
        instances.push(instance);
    }
}
