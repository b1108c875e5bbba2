//! Fused against unfused: the same training steps and inference with and without the fusion pass, on both CPU tiers.
//!
//! `cargo bench --features llvm --bench fusion`; pin it (`taskset -c 0`) for steady numbers on one thread.

#![allow(missing_docs, reason = "criterion makes undocumented functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array1, Array2};
use nnc::passes::pipeline::OptLevel;
use nnc::prelude::*;

fn stack(widths: &[usize]) -> Sequential {
    let mut model = Sequential::new();
    for (idx, pair) in widths.windows(2).enumerate() {
        if idx > 0 {
            model = model.push(ReLU::new());
        }
        model = model.push(Linear::new(pair[0], pair[1]));
    }
    model
}

fn tiers() -> Vec<Tier> {
    let mut tiers = vec![Tier::Cranelift];
    if cfg!(feature = "llvm") {
        tiers.push(Tier::Llvm);
    }
    tiers
}

fn variants() -> [(&'static str, OptLevel); 2] {
    [("fused", OptLevel { level: 2, fuse: true }), ("unfused", OptLevel { level: 2, fuse: false })]
}

/// Training steps at batch 64.
fn train(c: &mut Criterion) {
    let x = Array2::from_shape_fn((64, 784), |(row, col)| ((row * 31 + col * 7) % 100) as f32 / 100.0);
    let y = Array1::from_shape_fn(64, |row| (row % 10) as i64);
    for (name, widths) in [("logistic", &[784, 10][..]), ("mlp", &[784, 512, 512, 10][..])] {
        let mut group = c.benchmark_group(format!("train_{name}"));
        for tier in tiers() {
            for (variant, opt) in variants() {
                let builder = Trainer::new(stack(widths), Loss::cross_entropy(), Sgd::new(0.1).momentum(0.9));
                let mut trainer = builder.tier(tier).opt(opt).threads(1).build().expect("the settings are valid");
                group.bench_function(format!("{}/{variant}", tier.name()), |b| {
                    b.iter(|| trainer.step(&x, &y).expect("the step runs"));
                });
            }
        }
        group.finish();
    }
}

/// TinyModel with frozen weights.
fn infer(c: &mut Criterion) {
    for batch in [1, 64] {
        let mut group = c.benchmark_group(format!("infer_tiny_{batch}"));
        for tier in tiers() {
            for (variant, opt) in variants() {
                let model = stack(&[100, 200, 10]).push(Softmax::new(1));
                let module = trace("forward", |t| {
                    t.bind(&model);
                    model.forward(&t.input("x", "f32[N, 100]"))
                });
                let options = nnc::Options { tier, opt, freeze: true, ..Default::default() };
                let mut forward =
                    jit(module.expect("the model traces")).expect("one function").options(options).threads(1);
                let x = TensorData::from_f32(vec![batch, 100], &vec![0.5; batch * 100]);
                let instance = forward.prepare(std::slice::from_ref(&x)).expect("the model compiles");
                group.bench_function(format!("{}/{variant}", tier.name()), |b| {
                    b.iter(|| instance.run_with(&[("x", &*x.bytes)]).expect("the model runs"));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, train, infer);
criterion_main!(benches);
