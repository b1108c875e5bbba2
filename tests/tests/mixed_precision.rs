//! Training in mixed precision, compiled: near training in `f32`, the same bits from every tier, and steps that overflow
//! leave everything as it was.

use ndarray::{Array1, Array2};
use nnc::passes::optimizer::LossScaling;
use nnc::prelude::*;
use nnc_tests::execute::tiers;

const STEPS: usize = 12;

fn model() -> Sequential {
    manual_seed(3);
    sequential![Linear::new(20, 32), ReLU::new(), Linear::new(32, 24), Tanh::new(), Linear::new(24, 5)]
}

/// A batch whose labels can be learned from its inputs.
fn batch() -> (Array2<f32>, Array1<i64>) {
    let x = Array2::from_shape_fn((16, 20), |(row, col)| ((row * 7 + col * 3) % 11) as f32 / 5.5 - 1.0);
    let y = Array1::from_shape_fn(16, |row| (row % 5) as i64);
    (x, y)
}

fn trainer(tier: Tier, autocast: Option<DType>) -> Trainer<Sequential> {
    let builder = Trainer::new(model(), Loss::cross_entropy(), AdamW::new(0.01)).tier(tier).threads(1);
    let builder = match autocast {
        Some(dtype) => builder.autocast(dtype),
        None => builder,
    };
    builder.build().expect("the settings fit")
}

/// The losses of some steps, and the parameters after them.
fn train(tier: Tier, autocast: Option<DType>) -> (Vec<f64>, Vec<TensorData>) {
    let (x, y) = batch();
    let mut trainer = trainer(tier, autocast);
    let losses = (0..STEPS).map(|_| trainer.step(&x, &y).expect("the step can be taken")).collect();
    (losses, parameters(&mut trainer))
}

fn parameters(trainer: &mut Trainer<Sequential>) -> Vec<TensorData> {
    trainer.sync().expect("the parameters can be read").parameters().iter().map(Parameter::data).collect()
}

#[test]
fn training_in_half_precision_follows_training_in_single() {
    let (expected, _) = train(Tier::Cranelift, None);
    for dtype in [DType::BF16, DType::F16] {
        let runs: Vec<_> = tiers().iter().map(|&tier| train(tier, Some(dtype))).collect();
        let (losses, parameters) = &runs[0];
        for (found, expected) in losses.iter().zip(&expected) {
            assert!((found - expected).abs() <= 2e-2 * expected.abs(), "{dtype}: found {found}, expected {expected}");
        }
        assert_ne!(losses, &expected, "{dtype} is narrower");
        assert!(losses[STEPS - 1] < 0.9 * losses[0], "{dtype}: the loss falls: {losses:?}");
        assert!(parameters.iter().all(|data| data.dtype == DType::F32), "parameters stay in f32");
        assert!(runs.iter().all(|run| run == &runs[0]), "{dtype}: every tier gives the same bits");
    }
}

#[test]
fn a_step_that_overflows_is_not_taken() {
    for &tier in tiers() {
        let (x, y) = batch();
        let huge = x.mapv(|value| value * 1e6);
        let mut trainer = trainer(tier, Some(DType::F16));
        trainer.step(&x, &y).expect("the step can be taken");
        let before = parameters(&mut trainer);
        trainer.step(&huge, &y).expect("the step can be made");
        assert_eq!(parameters(&mut trainer), before, "nothing changes");
        trainer.step(&x, &y).expect("the step can be taken");
        assert_ne!(parameters(&mut trainer), before, "training goes on");
    }
}

#[test]
fn predictions_are_cast_too_and_keep_their_type() {
    let (x, _) = batch();
    let wide = trainer(Tier::Cranelift, None).predict(&x).expect("runs");
    let narrow = trainer(Tier::Cranelift, Some(DType::BF16)).predict(&x).expect("runs");
    assert_eq!(wide.ty(), narrow.ty());
    assert_ne!(wide, narrow);
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let message = |builder: nnc::trainer::TrainerBuilder<Sequential>| {
        builder.build().err().map(|error| error.to_string()).unwrap_or_default()
    };
    let builder = || Trainer::new(model(), Loss::cross_entropy(), Sgd::new(0.1));
    let scaling = LossScaling { backoff_factor: 2.0, ..LossScaling::default() };
    assert!(message(builder().loss_scaling(scaling)).contains("`backoff_factor` is 2, expected a number in (0, 1)"));
    assert!(message(builder().clip_grad_norm(-1.0)).contains("`max_norm` is -1, expected a number of at least 0"));
    assert!(message(builder().autocast(DType::F32)).contains("`dtype` is f32, expected bf16 or f16"));
}

#[test]
fn norms_and_momenta_are_seen_and_scheduled() {
    let (x, y) = batch();
    let builder = Trainer::new(model(), Loss::cross_entropy(), Sgd::new(0.1).momentum(0.9)).clip_grad_norm(0.01);
    let mut trainer = builder.build().expect("the settings fit");
    let optimizer = Optimizer::from(Sgd::new(0.1).momentum(0.9));
    let mut scheduler = optimizer.scheduler(optim::lr_scheduler::OneCycleLR::new(0.5, 8)).expect("the arguments fit");
    assert_eq!(trainer.grad_norm(), None);
    for _ in 0..8 {
        trainer.set_lrs(&scheduler.get_last_lr()).expect("one a group");
        let momenta: Vec<f64> = scheduler.rates().groups().iter().filter_map(|group| group.momentum).collect();
        trainer.set_momenta(&momenta).expect("one a group");
        trainer.step(&x, &y).expect("the step can be taken");
        assert!(trainer.grad_norm().is_some_and(|norm| norm > 0.01), "the norm before clipping");
        scheduler.step().expect("not yet over");
    }
    assert_eq!(trainer.compilations().len(), 1, "schedules compile nothing again");
}
