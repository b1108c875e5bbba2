//! Memory of whole programs: an instance allocates the bytes that `compile` announced, and training steps allocate
//! nothing after the first, on no thread.
//!
//! The allocator counts for all threads, so this test has the process for itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ndarray::{Array1, Array2};
use nnc::prelude::*;
use nnc::runtime::{Executable, device};
use nnc_tests::execute::tiers;

/// Counts allocations, and the bytes of those that are at least as large as the tensors of the test.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static LARGE_BYTES: AtomicUsize = AtomicUsize::new(0);
const LARGE: usize = 256 << 10;

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
            println!("announced_bytes_are_allocated: test\nsteps_allocate_nothing: test");
        }
        return;
    }
    // Kept, so that no thread ends, and allocates in doing so, while another trainer is watched.
    let mut trainers = Vec::new();
    for &tier in tiers() {
        announced_bytes_are_allocated(tier);
        for threads in [1, 2] {
            trainers.push(steps_allocate_nothing(tier, threads));
        }
    }
    println!("test announced_bytes_are_allocated ... ok\ntest steps_allocate_nothing ... ok");
}

const BATCH: usize = 64;
const FEATURES: usize = 256;
const CLASSES: usize = 10;

fn trainer(tier: Tier, threads: usize) -> Trainer<Sequential> {
    manual_seed(1);
    let model = sequential![Linear::new(FEATURES, 512), ReLU::new(), Linear::new(512, CLASSES)];
    let optimizer = Sgd::new(0.01).momentum(0.9);
    let builder = Trainer::new(model, Loss::cross_entropy(), optimizer).tier(tier).threads(threads);
    builder.build().expect("the settings agree")
}

fn batch() -> (Array2<f32>, Array1<i64>) {
    let x = Array2::from_shape_fn((BATCH, FEATURES), |(row, col)| ((row * 31 + col * 17) % 101) as f32 / 101.0);
    (x, Array1::from_shape_fn(BATCH, |row| (row % CLASSES) as i64))
}

/// What `compile` prints as the peak is the tensor memory of an instance, all of it.
fn announced_bytes_are_allocated(tier: Tier) {
    let (x, y) = batch();
    let module = trainer(tier, 1).step_module(&x, &y).expect("the model traces");
    let device = device::for_target("cpu").expect("there is a CPU");
    for batch in [1, 7, BATCH] {
        for fuse in [true, false] {
            let options = nnc::Options {
                tier,
                opt: nnc::passes::pipeline::OptLevel { fuse, ..Default::default() },
                dims: [("N".to_string(), batch)].into(),
                ..Default::default()
            };
            let compiled = nnc::compile(&module.funcs[0], &module.weights, &options).expect("the step compiles");
            let announced = compiled.program.peak_bytes() as usize;
            let executable = Executable::load(compiled.program, &*device).expect("the program is valid");
            let before = LARGE_BYTES.load(SeqCst);
            let instance = executable.instance(1).expect("there is memory");
            let found = LARGE_BYTES.load(SeqCst) - before;
            assert_eq!(found, announced, "tensor memory of batch {batch}, fused: {fuse}, {tier:?}");
            assert_eq!(instance.tensor_bytes(), announced as u64);
        }
    }
}

/// No allocation in any step after the first, on any thread.
fn steps_allocate_nothing(tier: Tier, threads: usize) -> Trainer<Sequential> {
    let mut trainer = trainer(tier, threads);
    let (x, y) = batch();
    let first = trainer.step(&x, &y).expect("the step compiles");
    let before = COUNT.load(SeqCst);
    let mut last = first;
    for step in 0..40 {
        if step % 10 == 9 {
            // Long enough for workers to fall asleep.
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        last = trainer.step(&x, &y).expect("the step runs");
    }
    assert_eq!(COUNT.load(SeqCst) - before, 0, "allocations in 40 steps on {threads} threads, {tier:?}");
    assert!(last < first, "the loss falls: {first} to {last}");
    trainer
}
