//! Training of a model that comes from an ONNX file, against PyTorch (`golden/onnx_classifier.py`), and the way back to a
//! file.

use std::path::PathBuf;

use nnc::onnx::OnnxModule;
use nnc::prelude::*;
use nnc_tests::execute::tiers;
use nnc_tests::golden::{Golden, Scale, close, folder};

const RELATIVE: f64 = 1e-5;
const RATE: f64 = 0.1;

fn path() -> PathBuf {
    folder().join("onnx/classifier.onnx")
}

/// The losses of as many steps as `golden` has, and the trainer.
fn train(golden: &Golden, losses: &str, builder: nnc::trainer::TrainerBuilder<OnnxModule>) -> Trainer<OnnxModule> {
    let mut trainer = builder.build().expect("the settings are sound");
    let (x, y) = (golden.get("in.x"), golden.get("in.y"));
    let expected = golden.get(losses);
    let found: Vec<f32> = (0..expected.len()).map(|_| trainer.step(x, y).expect("the step runs") as f32).collect();
    close(expected, &TensorData::from_f32(vec![found.len()], &found), RELATIVE, Scale::Element).expect("the losses");
    trainer
}

#[test]
fn losses_are_pytorchs() {
    let golden = Golden::read("onnx/classifier");
    for &tier in tiers() {
        let trainer =
            || Trainer::from_onnx(path(), Loss::cross_entropy(), Sgd::new(RATE)).expect("the model is read").tier(tier);
        let mut whole = train(&golden, "losses", trainer());
        let state = whole.sync().expect("the state").state_dict();
        for (name, expected) in golden.group("after.") {
            let found = state.get(&name).unwrap_or_else(|| panic!("{name} is a parameter"));
            close(&expected, found, RELATIVE, Scale::Tensor).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        let mut head = train(&golden, "head_losses", trainer().trainable(|name| name.starts_with("head.")));
        let state = head.sync().expect("the state").state_dict();
        let first = OnnxModule::load(path()).expect("the model is read").state_dict();
        for (name, data) in state.iter() {
            assert_eq!(name.starts_with("head."), Some(data) != first.get(name), "{name}");
        }
    }
}

/// Models as PyTorch exports them (`golden/onnx_exported.py`): parameters are PyTorch's own and nothing else, and so are
/// losses and gradients, which the steps between them show.
#[test]
fn what_pytorch_exports_is_trained_as_by_pytorch() {
    for name in ["cnn", "cnn_training", "lstm", "transformer_block"] {
        let golden = Golden::read(&format!("onnx/{name}"));
        let path = folder().join(format!("onnx/{name}.onnx"));
        let model = OnnxModule::load(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        if name != "cnn_training" {
            let found = model.forward(&Tensor::from_data(golden.get("in.x").clone())).data().expect("concrete");
            close(golden.get("out"), &found, RELATIVE, Scale::Tensor).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        let builder = Trainer::from_onnx(&path, Loss::cross_entropy(), Sgd::new(RATE)).expect("the model is read");
        let mut trainer = train(&golden, "losses", builder);
        let state = trainer.sync().expect("the state").state_dict();
        let expected = golden.group("after.");
        for (parameter, expected) in &expected {
            let found = state.get(parameter).unwrap_or_else(|| panic!("{name}: {parameter} is a parameter"));
            close(expected, found, RELATIVE, Scale::Tensor).unwrap_or_else(|why| panic!("{name}: {parameter}: {why}"));
        }
        let others: Vec<&str> =
            state.iter().map(|(name, _)| name).filter(|name| !expected.contains_key(*name)).collect();
        // Statistics that an evaluation reads are there, and stay as they are.
        let statistics = ["norm.running_mean", "norm.running_var"];
        assert!(others.iter().all(|other| statistics.contains(other)), "{name}: {others:?} are parameters too");
    }
}

#[test]
fn a_trained_model_is_saved_and_read() {
    let golden = Golden::read("onnx/classifier");
    let builder = Trainer::from_onnx(path(), Loss::cross_entropy(), Sgd::new(RATE)).expect("the model is read");
    let mut trainer = train(&golden, "losses", builder);
    let output = trainer.predict(golden.get("in.x")).expect("the model runs");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let saved = dir.path().join("tuned.onnx");
    trainer.sync().expect("the state").save(&saved).expect("saved");

    let again = OnnxModule::load(&saved).expect("the model is read");
    assert_eq!(again.state_dict(), trainer.model().state_dict());
    let found = again.forward(&Tensor::from_data(golden.get("in.x").clone())).data().expect("concrete");
    close(&output, &found, RELATIVE, Scale::Tensor).expect("the same model");
    // Another program's weights, under ONNX names.
    trainer.model().state_dict().save(dir.path().join("tuned.safetensors")).expect("saved");
    let state = StateDict::load(dir.path().join("tuned.safetensors")).expect("sound");
    let fresh = OnnxModule::load(path()).expect("the model is read");
    fresh.load_state_dict(&state).expect("the same names");
    assert_eq!(fresh.state_dict(), again.state_dict());
}

#[test]
fn outputs_are_pytorchs_for_any_batch() {
    let golden = Golden::read("onnx/classifier");
    let model = OnnxModule::load(path()).expect("the model is read");
    let x = Tensor::from_data(golden.get("in.x").clone());
    close(golden.get("out"), &model.forward(&x).data().expect("concrete"), RELATIVE, Scale::Tensor)
        .expect("the outputs");
    let two = model.forward(&x.narrow(0, 1, 2)).data().expect("concrete");
    let expected = Tensor::from_data(golden.get("out").clone()).narrow(0, 1, 2).data().expect("concrete");
    close(&expected, &two, RELATIVE, Scale::Tensor).expect("the outputs of two");
    let fault = model.output("nothing").expect_err("there is no such output").to_string();
    assert!(fault.contains("there is no output `nothing`; the model gives logits"), "{fault}");
}
