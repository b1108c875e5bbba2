//! Exported models: imported again they give what the function gave, and ONNX's checker and ONNX Runtime agree.
//!
//! The way back through the importer is always tested. Checker and runtime need Python: `NNC_ONNX_PYTHON`, or the virtual
//! environment of `make conformance`, which runs these trials; without either they are reported as ignored.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_ir::interp::eval_func;
use nnc_ir::{Bindings, Func, ParamKind, Scalar, npy};
use nnc_onnx::export::{BoundedResult, export};
use nnc_onnx::{ExportOptions, Options, export_bytes, import, import_bytes};
use nnc_tests::execute::{Tensors, Weights, allowed};
use nnc_tests::golden::folder;

use self::cases::{Case, is_numpy, lines, parse};

mod cases;
mod programs;

fn main() -> Result<(), Box<dyn Error>> {
    let python = std::env::var_os("NNC_ONNX_PYTHON").map(PathBuf::from).or_else(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv-onnx/bin/python");
        own.exists().then_some(own)
    });
    let is_missing = python.is_none();
    type Source = fn() -> Result<Vec<Case>, Failed>;
    let sources: [(&str, Source); 5] = [
        ("golden_ops", cases::golden_ops),
        ("golden_models", cases::golden_models),
        ("programs", programs::programs),
        ("file_programs", cases::file_programs),
        ("random", cases::random),
    ];
    let mut trials = Vec::new();
    for (name, source) in sources {
        trials.push(Trial::test(format!("import_again::{name}"), move || each(source()?, import_again)));
        let python = python.clone().unwrap_or_default();
        let check = move || runtime_agrees(&python, &source()?);
        trials.push(Trial::test(format!("onnx::{name}"), check).with_ignored_flag(is_missing));
    }
    trials.push(Trial::test("refusals_are_listed", refusals_are_listed));
    trials.push(Trial::test("large_weights_lie_beside", large_weights_lie_beside));
    trials.push(Trial::test("results_with_a_bound_are_cut", results_with_a_bound_are_cut));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn each(cases: Vec<Case>, check: fn(&Case) -> Result<(), String>) -> Result<(), Failed> {
    let fail = |case: &Case| check(case).err().map(|why| format!("{}: {why}", case.name));
    let faults: Vec<String> = cases.iter().filter_map(fail).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n")).into())
}

/// The function's results, by the interpreter.
fn evaluate(func: &Func, weights: &Weights, inputs: &Tensors, dims: &Bindings) -> Result<Tensors, String> {
    let mut values = inputs.clone();
    for param in func.params.iter().filter(|param| param.kind != ParamKind::Input) {
        let name = param.weight.as_deref().unwrap_or(&param.name);
        if let Some(data) = weights.get(name) {
            values.entry(param.name.clone()).or_insert_with(|| data.clone());
        }
    }
    eval_func(func, weights, &values, dims).map_err(lines)
}

fn compare(expected: &Tensors, found: &Tensors) -> Result<(), String> {
    for (name, data) in expected {
        let other = found.get(name).ok_or_else(|| format!("there is no result {name}"))?;
        if data.ty() != other.ty() {
            return Err(format!("{name} is {}, expected {}", other.ty(), data.ty()));
        }
        let relative = allowed(data.dtype);
        let finite = data.scalars().map(Scalar::to_f64).filter(|value| value.is_finite());
        let largest = finite.fold(0.0, |max: f64, value| max.max(value.abs()));
        for (idx, (lhs, rhs)) in data.scalars().zip(other.scalars()).enumerate() {
            let (lhs, rhs) = (lhs.to_f64(), rhs.to_f64());
            let near = data.dtype.is_float() && (lhs - rhs).abs() <= relative * largest;
            if !(lhs == rhs || near || lhs.is_nan() && rhs.is_nan()) {
                return Err(format!("{name}: element {idx} is {rhs}, expected {lhs}"));
            }
        }
    }
    Ok(())
}

/// The inputs that the imported function still has.
fn import_again(case: &Case) -> Result<(), String> {
    let Case { func, weights, inputs, dims, .. } = case;
    let with_text = |why: String| format!("{why}\n{func}");
    let expected = evaluate(func, weights, inputs, dims)?;
    let bytes = export_bytes(func, weights).map_err(|faults| with_text(lines(faults)))?;
    let imported = import_bytes(&bytes, None, "model.onnx", &Options::default())
        .map_err(|error| with_text(lines(error.diagnostics)))?;
    let again = imported.module.func("main").ok_or("an import has a function @main")?;
    let names: Vec<&str> = imported.inputs.iter().map(|port| port.name.as_str()).collect();
    let given = inputs.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let given: Tensors = given.map(|(name, data)| (name.clone(), data.clone())).collect();
    let found =
        evaluate(again, &imported.module.weights, &given, dims).map_err(|why| with_text(format!("{why}\n{again}")))?;
    compare(&expected, &found).map_err(|why| with_text(format!("{why}\n{again}")))
}

/// Cases that ONNX Runtime passes over: what ONNX says nothing of (NaN in maxima, minima and sorts, floats that fit no
/// integer), and a loop of no steps, which it refuses.
const LEFT_OPEN: [&str; 9] = [
    "reduce_argmax_ties",
    "reduce_argmin_ties",
    "reduce_max_special",
    "reduce_min_special",
    "sort",
    "sort_descending",
    "sort_of_rows",
    "conversions_saturate",
    "scan_of_length_0_and_1",
];

fn runtime_agrees(python: &Path, cases: &[Case]) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    for Case { name, func, weights, inputs, dims, is_open } in cases {
        let case = dir.path().join(name);
        std::fs::create_dir(&case)?;
        let bytes = export_bytes(func, weights).map_err(|faults| format!("{name}: {}", lines(faults)))?;
        std::fs::write(case.join("model.onnx"), bytes)?;
        std::fs::write(case.join("model.ir"), func.to_string())?;
        let outputs = evaluate(func, weights, inputs, dims).map_err(|why| format!("{name}: {why}"))?;
        let is_input =
            |name: &str| func.params.iter().any(|param| param.name == name && param.kind == ParamKind::Input);
        let inputs = inputs.iter().filter(|(name, _)| is_input(name));
        let inputs: Tensors = inputs.map(|(name, data)| (name.clone(), data.clone())).collect();
        if is_numpy(&inputs) && is_numpy(&outputs) && !is_open && !LEFT_OPEN.contains(&name.as_str()) {
            npy::save_npz(&case.join("in.npz"), &inputs)?;
            npy::save_npz(&case.join("out.npz"), &outputs)?;
        }
    }
    let script = folder().join("onnx_check.py");
    let output = Command::new(python).arg(script).arg(dir.path()).output()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        print!("{text}");
        return Ok(());
    }
    Err(text.into())
}

/// All of them, with their places.
fn refusals_are_listed() -> Result<(), Failed> {
    let text = "\
func @f(%s: u32[4], %x: i32[1, 1, 4], %k: i32[1, 1, 2]) -> (bits: u32[3], y: i32[1, 1, 3], z: u32[4]) {
  %0 = rng_bits %s : u32[3]
  %1 = convolution %x, %k : i32[1, 1, 3]
  %2 = add %s, %s : u32[4]
  return %0, %1, %2
}
";
    let faults = export_bytes(&parse(text, Weights::new())?, &Weights::new()).expect_err("two ops have no form");
    let messages: Vec<String> =
        faults.iter().map(|fault| format!("{}: {}", fault.location.line, fault.message)).collect();
    assert_eq!(
        messages,
        [
            "2: rng_bits has no form in ONNX: its random bits are nnc's own; export the model in evaluation mode",
            "3: convolution has no form in ONNX: operands have types i32[1, 1, 4] and i32[1, 1, 2], expected floats",
        ]
    );
    Ok(())
}

/// A model whose weights are in a file beside it is read like any other.
fn large_weights_lie_beside() -> Result<(), Failed> {
    let cases = cases::golden_models()?;
    let case = cases.iter().find(|case| case.name == "logistic").ok_or("there is such a model")?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.onnx");
    let options = ExportOptions { max_inline_bytes: 1000, ..ExportOptions::default() };
    let exported = export(&case.func, &case.weights, &path, &options).map_err(lines)?;
    assert_eq!(exported.external_data, Some(dir.path().join("model.onnx.data")));
    assert!(std::fs::metadata(&path)?.len() < 4000, "the weights are elsewhere");
    let imported = import(&path, &Options::default()).map_err(|error| lines(error.diagnostics))?;
    let again = imported.module.func("main").ok_or("an import has a function @main")?;
    let found = evaluate(again, &imported.module.weights, &case.inputs, &case.dims)?;
    compare(&evaluate(&case.func, &case.weights, &case.inputs, &case.dims)?, &found)?;
    Ok(())
}

/// What a function gives at its greatest extent is written with the extent that counts, which is no output then.
fn results_with_a_bound_are_cut() -> Result<(), Failed> {
    let text = "\
func @f(%x: f32[2, 4], %n: i32[]) -> (y: f32[2, 4], n: i64[]) {
  %0 = add %x, %x : f32[2, 4]
  %1 = convert %n : i64[]
  return %0, %1
}
";
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.onnx");
    let options =
        ExportOptions { bounds: vec![BoundedResult { result: 0, axis: 1, count: 1 }], ..ExportOptions::default() };
    export(&parse(text, Weights::new())?, &Weights::new(), &path, &options).map_err(lines)?;
    let imported = import(&path, &Options::default()).map_err(|error| lines(error.diagnostics))?;
    let [port] = imported.outputs.as_slice() else {
        return Err(format!("the outputs are {:?}, expected y alone", imported.outputs).into());
    };
    let bound = port.bound.ok_or("the extent of y depends on data")?;
    assert_eq!((port.name.as_str(), bound.axis), ("y", 1));
    Ok(())
}
