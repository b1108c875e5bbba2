//! `nnc export`: what is written runs as the model it was written from.

use nnc::ir::{TensorData, WeightFile};

use crate::artifacts::{sandbox, tensor};
use crate::sandbox::Sandbox;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("export::the_model_is_the_same", the_model_is_the_same),
    ("export::extents_stay_symbols_or_are_given", extents_stay_symbols_or_are_given),
    ("export::half_precision", half_precision),
    ("export::weights_in_a_file_beside", weights_in_a_file_beside),
    ("export::trained_models", trained_models),
    ("export::what_has_no_form_is_said", what_has_no_form_is_said),
];

/// Runs a model on `x.npy` and gives its results as they are printed.
fn run(sandbox: &Sandbox, model: &str) -> String {
    sandbox.succeed(&["run", model, "--input", "x=x.npy"])
}

fn the_model_is_the_same() {
    let sandbox = sandbox();
    let expected = run(&sandbox, "model.ir");
    let said = sandbox.succeed(&["export", "model.ir"]);
    assert!(said.starts_with("model.onnx: @layer as ONNX, opset 18, "), "{said}");
    assert_eq!(run(&sandbox, "model.onnx"), expected);
    // From a binary module, of one function of several; and from the model that was written.
    sandbox.succeed(&["compile", "model.ir", "-o", "model.irb"]);
    sandbox.succeed(&["export", "model.irb", "--func", "layer", "-o", "second.onnx"]);
    assert!(sandbox.read("second.onnx") == sandbox.read("model.onnx"), "one module, one file");
    sandbox.succeed(&["export", "model.onnx", "-o", "third.onnx"]);
    assert_eq!(run(&sandbox, "third.onnx"), expected);
    let shown = sandbox.succeed(&["inspect", "third.onnx"]);
    assert!(shown.contains("input  x: float[N, 12]") && shown.contains("output y: float[N, 8]"), "{shown}");
    // Never over the model that is read.
    let said = sandbox.refuse(&["export", "model.onnx"]);
    assert!(said.contains("would be written over") && said.contains("--output"), "{said}");
}

fn extents_stay_symbols_or_are_given() {
    let sandbox = sandbox();
    sandbox.succeed(&["export", "model.ir", "--dim", "N=5", "-o", "fixed.onnx"]);
    assert!(sandbox.succeed(&["inspect", "fixed.onnx"]).contains("input  x: float[5, 12]"));
    assert_eq!(run(&sandbox, "fixed.onnx"), run(&sandbox, "model.ir"));
    sandbox.write_npy("x.npy", &tensor(&[2, 12], 3));
    let said = sandbox.refuse(&["run", "fixed.onnx", "--input", "x=x.npy"]);
    assert!(said.contains("f32[2, 12], expected f32[5, 12]"), "{said}");
}

fn half_precision() {
    for (dtype, name) in [("bf16", "bfloat16"), ("f16", "float16")] {
        let sandbox = Sandbox::new();
        let text = format!(
            "func @f(%x: {dtype}[N, 4], %y: {dtype}[4]) -> (r: {dtype}[N]) {{\n  \
               %0 = dot_general %x, %y {{lhs_contract = [1], rhs_contract = [0]}} : {dtype}[N]\n  \
               %1 = tanh %0 : {dtype}[N]\n  return %1\n}}\n"
        );
        sandbox.write("half.ir", text.as_bytes());
        sandbox.succeed(&["export", "half.ir"]);
        let shown = sandbox.succeed(&["inspect", "half.onnx"]);
        assert!(shown.contains(&format!("input  x: {name}[N, 4]")), "{shown}");
        let run = |model: &str| sandbox.succeed(&["run", model, "--dim", "N=3", "--seed", "5"]);
        assert_eq!(run("half.onnx"), run("half.ir"), "{dtype}");
    }
}

fn weights_in_a_file_beside() {
    let sandbox = Sandbox::new();
    let mut weights = WeightFile::default();
    weights.tensors.insert("w".into(), tensor(&[40, 12], 1));
    let text = "func @f(%x: f32[5, 12], param %w: f32[40, 12] = @w) -> (y: f32[5, 40]) {\n  \
                  %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [1]} : f32[5, 40]\n  return %0\n}\n";
    sandbox.write("wide.ir", text.as_bytes());
    sandbox.write("wide.safetensors", &weights.to_bytes());
    sandbox.write_npy("x.npy", &tensor(&[5, 12], 3));
    let said = sandbox.succeed(&["export", "wide.ir", "--external-data"]);
    assert!(said.contains(" of weights in wide.onnx.data"), "{said}");
    assert_eq!(sandbox.read("wide.onnx.data").len() % 4096, 0);
    assert_eq!(run(&sandbox, "wide.onnx"), run(&sandbox, "wide.ir"));
}

/// The exported model of a trained one, which holds the weights that training left.
fn trained_models() {
    let sandbox = sandbox();
    let mut weights = WeightFile::default();
    weights.tensors.insert("layer.weight".into(), tensor(&[8, 12], 9));
    weights.tensors.insert("layer.bias".into(), TensorData::from_f32(vec![8], &[0.25; 8]));
    sandbox.succeed(&["export", "model.ir", "-o", "before.onnx"]);
    sandbox.write("model.safetensors", &weights.to_bytes());
    sandbox.succeed(&["export", "model.ir", "-o", "after.onnx"]);
    assert_eq!(run(&sandbox, "after.onnx"), run(&sandbox, "model.ir"));
    assert_ne!(run(&sandbox, "after.onnx"), run(&sandbox, "before.onnx"));
}

fn what_has_no_form_is_said() {
    let sandbox = Sandbox::new();
    let text = "func @f(%s: u32[4]) -> (a: u32[3], b: u32[5]) {\n  %0 = rng_bits %s : u32[3]\n  \
                  %1 = rng_bits %s : u32[5]\n  return %0, %1\n}\n";
    sandbox.write("random.ir", text.as_bytes());
    let said = sandbox.refuse(&["export", "random.ir"]);
    assert!(said.contains("random.ir:2:3") && said.contains("random.ir:3:3"), "{said}");
    assert!(said.contains("export the model in evaluation mode"), "{said}");
    assert!(!sandbox.path("random.onnx").exists(), "nothing is written");
}
