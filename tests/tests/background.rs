//! Code that is exchanged while programs run: nobody sees it but the clock.
#![cfg(feature = "llvm")]

use ndarray::{Array1, Array2};
use nnc::prelude::*;
use nnc::{Options, background};

#[derive(Module)]
struct Mlp {
    hidden: Linear,
    activation: ReLU,
    output: Linear,
}

impl Forward for Mlp {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.output.forward(&self.activation.forward(&self.hidden.forward(x)))
    }
}

fn model() -> Mlp {
    manual_seed(7);
    Mlp { hidden: Linear::new(40, 64), activation: ReLU::new(), output: Linear::new(64, 10) }
}

fn step(trainer: &mut Trainer<Mlp>) -> u64 {
    let x = Array2::from_shape_fn((32, 40), |(row, column)| ((row * 7 + column * 3) % 11) as f32 / 11.0);
    let y = Array1::from_shape_fn(32, |row| row as i64 % 10);
    trainer.step(&x, &y).expect("runs").to_bits()
}

#[test]
fn training_goes_on_unseen() {
    let builder = || Trainer::new(model(), Loss::cross_entropy(), AdamW::new(0.01)).threads(2);
    let mut trainer = builder().background(Tier::Llvm).build().expect("compiles");
    // Before, while, and after kernels are replaced.
    let mut losses = vec![step(&mut trainer)];
    while background::pending() > 0 {
        losses.push(step(&mut trainer));
    }
    background::wait().expect("all kernels compile");
    losses.push(step(&mut trainer));
    let mut alone = builder().build().expect("compiles");
    let expected: Vec<u64> = losses.iter().map(|_| step(&mut alone)).collect();
    assert_eq!(losses, expected);
}

#[test]
fn inference_keeps_its_bits() {
    let model = model();
    let module = trace("forward", |t| {
        t.bind(&model);
        model.forward(&t.input("x", "f32[N, 40]"))
    });
    let module = module.expect("traces");
    let options = Options { background: Some(Tier::Llvm), freeze: true, ..Options::default() };
    let mut jit = nnc::jit(module).expect("one function").options(options);
    let x = Array2::from_shape_fn((9, 40), |(row, column)| (row as f32 - column as f32).sin());
    let before = jit.call(&[&x]).expect("runs");
    background::wait().expect("all kernels compile");
    assert_eq!(jit.call(&[&x]).expect("runs"), before);
}

#[test]
fn gpus_are_refused() {
    let module = trace("double", |t| t.input("x", "f32[4]") * 2.0).expect("traces");
    let target = Target::parse("cuda").expect("a target");
    let options = Options { background: Some(Tier::Llvm), target, ..Options::default() };
    let mut jit = nnc::jit(module).expect("one function").options(options);
    let error = jit.call(&[&Array1::<f32>::zeros(4)]).expect_err("GPU code is compiled whole");
    let message = error.to_string();
    assert!(message.contains("compiling in the background is for the target `cpu`, found `cuda:sm_80`"), "{message}");
}
