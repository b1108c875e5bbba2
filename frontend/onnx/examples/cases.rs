//! Runs cases of ONNX's backend test suite on the reference interpreter: `cases DIR [PART-OF-NAME...]`.
//!
//! A case is a directory with `model.onnx` and `test_data_set_*` of inputs and expected outputs. A case whose import
//! needs the value of an input is tried again with that input fixed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nnc_ir::{Bindings, DType, TensorData, interp};
use nnc_onnx::proto::ModelProto;
use nnc_onnx::{ImportError, Options, crop, import, read_tensor};
use prost::Message;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(dir) = arguments.next() else {
        eprintln!("usage: cases DIR [PART-OF-NAME...]");
        return ExitCode::FAILURE;
    };
    let parts: Vec<String> = arguments.collect();
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&dir).expect("the directory").filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    for case in names {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !parts.is_empty() && !parts.iter().any(|part| name.contains(part)) {
            continue;
        }
        match std::panic::catch_unwind(|| run(&case)) {
            Ok(Ok(note)) => {
                passed += 1;
                println!("ok          {name} {note}");
            }
            Ok(Err(message)) if message.contains("is not supported; nodes") => {
                unsupported += 1;
                println!("unsupported {name}: {message}");
            }
            Ok(Err(message)) => {
                failed += 1;
                println!("FAILED      {name}: {message}");
            }
            Err(_) => {
                failed += 1;
                println!("PANICKED    {name}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {unsupported} unsupported");
    ExitCode::from(u8::from(failed > 0))
}

fn tensors(set: &Path, what: &str) -> Result<Vec<(String, TensorData)>, String> {
    let mut found = Vec::new();
    loop {
        let path = set.join(format!("{what}_{}.pb", found.len()));
        let Ok(bytes) = std::fs::read(&path) else { return Ok(found) };
        let (name, _, data) = read_tensor(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        found.push((name, data));
    }
}

/// What the model calls its inputs; some cases do not name their values.
fn input_names(model: &Path) -> Result<Vec<String>, String> {
    let bytes = std::fs::read(model).map_err(|error| error.to_string())?;
    let graph = ModelProto::decode(&*bytes).map_err(|error| error.to_string())?.graph.unwrap_or_default();
    let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name() == name);
    Ok(graph.input.iter().map(|info| info.name().to_string()).filter(|name| !is_constant(name)).collect())
}

fn run(case: &Path) -> Result<String, String> {
    let model = case.join("model.onnx");
    let mut note = String::new();
    for number in 0.. {
        let set = case.join(format!("test_data_set_{number}"));
        if !set.exists() {
            break;
        }
        let mut inputs = tensors(&set, "input")?;
        for ((name, _), own) in inputs.iter_mut().zip(input_names(&model)?) {
            *name = own;
        }
        let expected = tensors(&set, "output")?;
        let mut options = Options {
            shapes: inputs.iter().map(|(name, data)| (name.clone(), data.shape.clone())).collect(),
            ..Options::default()
        };
        let imported = loop {
            match import(&model, &options) {
                Ok(imported) => break imported,
                Err(error) if fix(&mut options.values, &inputs, &error) => {
                    note = format!("(fixed: {})", options.values.keys().cloned().collect::<Vec<_>>().join(", "));
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        let func = &imported.module.funcs[0];
        // Files of old cases have no names.
        let named = |(idx, (name, data)): (usize, (String, TensorData))| match name.is_empty() {
            true => (imported.inputs.get(idx).map(|port| port.name.clone()).unwrap_or_default(), data),
            false => (name, data),
        };
        let given = inputs.into_iter().enumerate().map(named).filter(|(name, _)| func.param(name).is_some()).collect();
        let results = interp::eval_func(func, &imported.module.weights, &given, &Bindings::new())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        for ((name, expected), port) in expected.iter().zip(&imported.outputs) {
            if port.is_sequence {
                return Err(format!("output `{name}` is a sequence"));
            }
            let found = &results[port.positions.start];
            match port.bound {
                Some(bound) => {
                    let count = results[bound.count].to_i64()[0] as usize;
                    compare(name, &crop(found, bound.axis, count), expected)?;
                }
                None => compare(name, found, expected)?,
            }
        }
    }
    Ok(note)
}

/// Fixes the inputs that an import asks for; whether there was any.
fn fix(values: &mut BTreeMap<String, TensorData>, inputs: &[(String, TensorData)], error: &ImportError) -> bool {
    let before = values.len();
    for (name, data) in inputs.iter().filter(|(name, _)| error.needs.contains(name)) {
        values.insert(name.clone(), data.clone());
    }
    values.len() > before
}

fn compare(name: &str, found: &TensorData, expected: &TensorData) -> Result<(), String> {
    if (found.dtype, &found.shape) != (expected.dtype, &expected.shape) {
        return Err(format!("output `{name}` is {}, expected {}", found.ty(), expected.ty()));
    }
    let (rtol, atol) = match expected.dtype {
        DType::BF16 => (1e-2, 1e-2),
        DType::F16 => (1e-3, 1e-3),
        dtype if dtype.is_float() => (1e-3, 1e-7),
        _ => (0.0, 0.0),
    };
    for (idx, (found, expected)) in found.to_f64().into_iter().zip(expected.to_f64()).enumerate() {
        let equal = found == expected || found.is_nan() && expected.is_nan();
        if !equal && !((found - expected).abs() <= atol + rtol * expected.abs()) {
            return Err(format!("output `{name}` element {idx} is {found}, expected {expected}"));
        }
    }
    Ok(())
}
