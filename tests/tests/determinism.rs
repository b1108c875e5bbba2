//! Training gives the same bits however it is run (ARCHITECTURE.md, Numerics): at any number of threads, on both CPU
//! tiers, fused and unfused, from run to run, and when the batch size changes in between.

use ndarray::{Array1, Array2, Axis, Slice};
use nnc::passes::pipeline::OptLevel;
use nnc::prelude::*;
use nnc_tests::execute::tiers;

const FEATURES: usize = 24;
const CLASSES: usize = 5;
const STEPS: usize = 30;

/// How to train.
#[derive(Clone, Copy, Debug)]
struct Setting {
    tier: Tier,
    threads: usize,
    opt: OptLevel,
}

const PLAIN: Setting = Setting { tier: Tier::Cranelift, threads: 1, opt: OptLevel { level: 2, fuse: true } };

/// All settings that promise the same bits.
fn settings() -> Vec<Setting> {
    let mut settings = Vec::new();
    for &tier in tiers() {
        for threads in [1, 2, 3] {
            for fuse in [true, false] {
                settings.push(Setting { tier, threads, opt: OptLevel { level: 2, fuse } });
            }
        }
    }
    settings
}

fn data(n: usize) -> (Array2<f32>, Array1<i64>) {
    let x = Array2::from_shape_fn((n, FEATURES), |(row, col)| ((row * 131 + col * 71) % 97) as f32 / 48.0 - 1.0);
    (x, Array1::from_shape_fn(n, |row| ((row * 7) % CLASSES) as i64))
}

/// Losses of all steps and parameters after the last, as bits. Step `i` takes `batch(i)` samples.
fn train(setting: Setting, batch: impl Fn(usize) -> usize) -> (Vec<u64>, Vec<(String, Vec<u8>)>) {
    manual_seed(3);
    let model =
        sequential![Linear::new(FEATURES, 96), ReLU::new(), Linear::new(96, 40), Tanh::new(), Linear::new(40, CLASSES)];
    let optimizer = Sgd::new(0.05).momentum(0.9).weight_decay(1e-3);
    let builder = Trainer::new(model, Loss::cross_entropy(), optimizer);
    let builder = builder.tier(setting.tier).threads(setting.threads).opt(setting.opt);
    let mut trainer = builder.build().expect("the settings agree");
    let (x, y) = data(96);
    let losses = (0..STEPS)
        .map(|step| {
            let rows = Slice::from(0..batch(step) as isize);
            let (x, y) = (x.slice_axis(Axis(0), rows), y.slice_axis(Axis(0), rows));
            trainer.step(&x.to_owned(), &y.to_owned()).expect("the step runs").to_bits()
        })
        .collect();
    let model = trainer.sync().expect("the parameters can be read");
    let state = model.named_parameters().into_iter().map(|(name, parameter)| (name, parameter.data().bytes.to_vec()));
    (losses, state.collect())
}

fn check(batch: impl Fn(usize) -> usize + Copy) {
    let expected = train(PLAIN, batch);
    assert!(f64::from_bits(expected.0[STEPS - 1]) < f64::from_bits(expected.0[0]), "the loss falls");
    for setting in settings() {
        let found = train(setting, batch);
        assert_eq!(found.0, expected.0, "losses of {setting:?}");
        for ((name, found), (_, expected)) in found.1.iter().zip(&expected.1) {
            assert!(found == expected, "{name} differs at {setting:?}");
        }
    }
}

#[test]
fn training_gives_the_same_bits() {
    check(|_| 96);
}

#[test]
fn changing_batch_sizes_give_the_same_bits() {
    check(|step| [96, 64, 17, 1][step % 4]);
}
