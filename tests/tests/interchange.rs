//! State dicts between PyTorch and nnc: `golden/interchange/NAME.safetensors` is what PyTorch saved, unchanged, and
//! `NAME.io.safetensors` holds inputs and results in evaluation mode.
//!
//! The way back needs PyTorch: with `NNC_PYTHON` naming a Python that has it, nnc saves models of its own and
//! `golden/interchange.py` loads them with `strict=True`; without, that trial is reported as ignored.

use std::error::Error;
use std::ffi::OsStr;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_frontend::prelude::*;
use nnc_ir::Bindings;
use nnc_ir::interp::eval_func;
use nnc_tests::execute::{check_ways, cpu_ways};
use nnc_tests::golden::{Scale, close, folder, symmetric};
use nnc_tests::models::{Built, MODELS, inputs_and_results, saved};

const RELATIVE: f64 = 1e-5;

fn main() -> Result<(), Box<dyn Error>> {
    let load = |(name, build, _)| Trial::test(format!("load::{name}"), move || loads(name, build));
    let mut trials: Vec<Trial> = MODELS.into_iter().map(load).collect();
    let python = std::env::var_os("NNC_PYTHON");
    let is_missing = python.is_none();
    let back = Trial::test("pytorch_loads_back", move || loads_back(&python.unwrap_or_default()));
    trials.push(back.with_ignored_flag(is_missing));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// What PyTorch saved loads, and gives PyTorch's results, interpreted and compiled in every way.
fn loads(name: &str, build: fn() -> Built) -> Result<(), Failed> {
    let built = build();
    built.module.load_state_dict(&saved(name)?)?;
    let (inputs, expected) = inputs_and_results(name);
    let module = built.trace(&inputs)?;
    let func = &module.funcs[0];
    let mut values = inputs;
    values.extend(module.weights.iter().map(|(name, data)| (name.to_string(), data.clone())));
    let faults = |faults: Vec<Diagnostic>| format!("{faults:?}");
    let evaluated = eval_func(func, &module.weights, &values, &Bindings::new()).map_err(faults)?;
    for (key, data) in &expected {
        close(data, &evaluated[key.as_str()], RELATIVE, Scale::Tensor).map_err(|why| format!("{key}: {why}"))?;
    }
    let ways = cpu_ways();
    check_ways(func, &module.weights, &values, &Bindings::new(), &ways, Some(&expected), Some(RELATIVE))?;
    Ok(())
}

/// What nnc saves PyTorch loads, and gives nnc's results.
fn loads_back(python: &OsStr) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    for (name, build, shapes) in MODELS {
        let built = build();
        built.module.state_dict().save(dir.path().join(format!("{name}.safetensors")))?;
        let mut io = StateDict::new();
        let mut inputs = Vec::new();
        for (idx, shape) in shapes.iter().enumerate() {
            let data = symmetric(shape, 600 + idx as u32, 1.0);
            io.insert(format!("in.{idx}"), data.clone());
            inputs.push(Tensor::from_data(data));
        }
        for (idx, output) in (built.forward)(&inputs).iter().enumerate() {
            io.insert(format!("out.{idx}"), output.data()?);
        }
        io.save(dir.path().join(format!("{name}.io.safetensors")))?;
    }
    let script = folder().join("interchange.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(text.into()) }
}
