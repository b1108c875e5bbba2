//! ONNX models that no suite of ONNX has: operators of ONNX Runtime's own, and classifiers whose classes have names. What
//! the interpreter and compiled code give is what ONNX Runtime gave (`golden/onnx_runtime.py`).

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc::frontend::array::ToData;
use nnc::{Options, load_with};
use nnc_ir::{Bindings, TensorData, interp};
use nnc_onnx::{Keys, Labels};
use nnc_tests::golden::{Golden, folder};
use serde_json::Value;

/// Greatest difference allowed, relative to 1 or the greatest output. Quantized numbers may be one step apart.
const TOLERANCE: f64 = 1e-5;

fn main() {
    let arguments = Arguments::from_args();
    let mut names: Vec<String> = std::fs::read_dir(folder().join("onnx_runtime"))
        .expect("the golden files are there")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".onnx")?.to_string()))
        .collect();
    names.sort();
    let trial = |name: String| Trial::test(name.clone(), move || run(&name));
    libtest_mimic::run(&arguments, names.into_iter().map(trial).collect()).exit();
}

fn run(name: &str) -> Result<(), Failed> {
    let golden = Golden::read(&format!("onnx_runtime/{name}"));
    let path = folder().join(format!("onnx_runtime/{name}.onnx"));
    let given = golden.group("in.");
    let mut model = load_with(&path, &Bindings::new(), &given)?;
    let module = std::mem::take(&mut model.module);

    let interpreted = interp::eval_func(&module.funcs[0], &module.weights, &given, &Bindings::new())
        .map_err(|faults| format!("{faults:?}"))?;
    check(&golden, &model, &interpreted).map_err(|message| format!("interpreter: {message}"))?;
    let names: Vec<String> = module.funcs[0].results.iter().map(|result| result.name.clone()).collect();
    let options = Options { freeze: true, ..Options::default() };
    let arrays: Vec<&dyn ToData> = model.inputs.iter().map(|port| &given[port.name.as_str()] as &dyn ToData).collect();
    let results = nnc::jit(module)?.options(options).call(&arrays)?;
    let compiled = names.into_iter().zip(results).collect();
    Ok(check(&golden, &model, &compiled).map_err(|message| format!("compiled code: {message}"))?)
}

fn check(golden: &Golden, model: &nnc::Model, results: &IndexMap<String, TensorData>) -> Result<(), String> {
    let strings = |value: &Value| -> Vec<String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        value.as_array().into_iter().flatten().map(text).collect()
    };
    for (name, expected) in golden.about()["strings"].as_object().into_iter().flatten() {
        let Some(Labels::Elements(list)) = model.labels(name) else {
            return Err(format!("output {name} has labels {:?}", model.labels(name)));
        };
        let found: Vec<String> = results[name].to_i64().into_iter().map(|at| list[at as usize].clone()).collect();
        if found != strings(expected) {
            return Err(format!("output {name} is {found:?}, expected {expected}"));
        }
    }
    for (name, expected) in golden.about()["keys"].as_object().into_iter().flatten() {
        let found = match model.labels(name) {
            Some(Labels::Columns(Keys::Ints(keys))) => keys.iter().map(i64::to_string).collect(),
            Some(Labels::Columns(Keys::Strings(keys))) => keys.clone(),
            other => return Err(format!("output {name} has labels {other:?}")),
        };
        if found != strings(expected) {
            return Err(format!("the keys of output {name} are {found:?}, expected {expected}"));
        }
    }
    for (name, expected) in golden.group("out.") {
        let found = &results[name.as_str()];
        if found.ty() != expected.ty() {
            return Err(format!("output {name} is {}, expected {}", found.ty(), expected.ty()));
        }
        let step: f64 = if expected.dtype.is_float() { 0.0 } else { 1.0 };
        let scale = expected.to_f64().into_iter().fold(1.0f64, |scale, value| scale.max(value.abs()));
        for (idx, (found, expected)) in found.to_f64().into_iter().zip(expected.to_f64()).enumerate() {
            let difference = (found - expected).abs();
            if difference.is_nan() || difference > step.max(TOLERANCE * scale) {
                return Err(format!("element {idx} of output {name} is {found}, expected {expected}"));
            }
        }
    }
    Ok(())
}
