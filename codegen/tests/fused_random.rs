//! Whatever fusion makes of a random function can be lowered, and its kernels compute what the regions mean.

#[path = "../../passes/tests/random/generator.rs"]
mod generator;
// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "lowering/harness.rs"]
mod harness;
mod support;

use generator::{Random, random_func};
use nnc_ir::TensorData;
use nnc_passes::pipeline::{OptLevel, optimize};

fn check(seed: u64, n_nodes: usize) {
    let func = random_func(seed, n_nodes);
    let (fused, _) = optimize(&func, OptLevel::default()).expect("the function is valid");
    let mut random = Random(seed);
    let inputs: Vec<TensorData> =
        fused.graph.params().iter().map(|&param| random.tensor(fused.graph.ty(param))).collect();
    harness::check_graph(&fused.graph, &inputs, Some(1e-4));
}

#[test]
fn small_functions() {
    (0..150).for_each(|seed| check(seed, 8));
}

#[test]
fn larger_functions() {
    (1000..1060).for_each(|seed| check(seed, 40));
}
