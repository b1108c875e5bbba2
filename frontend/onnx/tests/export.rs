//! Exported models: imported again they give what the function gave, and ONNX's checker and ONNX Runtime agree.
//!
//! The cases are the golden ops and models of `tests/golden`, and programs with symbolic extents, loops and branches. The
//! checker needs Python: `NNC_ONNX_PYTHON`, or the virtual environment of `make conformance`; without either that trial
//! is reported as ignored. ONNX Runtime takes part where that Python has it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc_ir::interp::eval_func;
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{Bindings, DType, Diagnostic, Func, ParamKind, Scalar, TensorData, WeightFile, npy};
use nnc_onnx::{ExportOptions, Options, export_bytes, import_bytes};

type Tensors = IndexMap<String, TensorData>;
type Weights = IndexMap<Arc<str>, TensorData>;

/// A function with values of its parameters.
struct Case {
    name: String,
    func: Func,
    weights: Weights,
    inputs: Tensors,
    dims: Bindings,
}

fn main() -> Result<(), Box<dyn Error>> {
    let python = std::env::var_os("NNC_ONNX_PYTHON").map(PathBuf::from).or_else(|| {
        let own = root().join(".venv-onnx/bin/python");
        own.exists().then_some(own)
    });
    let is_missing = python.is_none();
    type Source = fn() -> Result<Vec<Case>, Failed>;
    let sources: [(&str, Source); 3] =
        [("golden_ops", golden_ops), ("golden_models", golden_models), ("programs", programs)];
    let mut trials = Vec::new();
    for (name, source) in sources {
        trials.push(Trial::test(format!("import_again::{name}"), move || each(source()?, import_again)));
        let python = python.clone().unwrap_or_default();
        let check = move || runtime_agrees(&python, &source()?);
        trials.push(Trial::test(format!("onnx::{name}"), check).with_ignored_flag(is_missing));
    }
    trials.push(Trial::test("refusals_are_listed", refusals_are_listed));
    trials.push(Trial::test("large_weights_lie_beside", large_weights_lie_beside));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

fn each(cases: Vec<Case>, check: fn(&Case) -> Result<(), String>) -> Result<(), Failed> {
    let fail = |case: &Case| check(case).err().map(|why| format!("{}: {why}", case.name));
    let faults: Vec<String> = cases.iter().filter_map(fail).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!("{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n")).into())
}

/// The tensors of a golden file whose keys start with `prefix`, by the rest of the key.
fn golden(name: &str, prefix: &str) -> Result<Tensors, Failed> {
    let file = WeightFile::read(&root().join(format!("tests/golden/{name}.safetensors")))
        .map_err(|fault| fault.to_string())?;
    let strip = |(key, data): (Arc<str>, TensorData)| Some((key.strip_prefix(prefix)?.to_string(), data));
    Ok(file.tensors.into_iter().filter_map(strip).collect())
}

fn parse(text: &str, weights: Weights) -> Result<Func, Failed> {
    let mut module = parse_module(text, "f.ir", WeightSource::given(weights)).map_err(lines)?;
    let main = module.funcs.iter().position(|func| func.name == "main").unwrap_or(0);
    Ok(module.funcs.swap_remove(main))
}

fn golden_ops() -> Result<Vec<Case>, Failed> {
    let mut paths = std::fs::read_dir(root().join("tests/golden/ops"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ir"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let func = parse(&std::fs::read_to_string(&path)?, Weights::new())?;
        let inputs = golden(&format!("ops/{name}"), "in.")?;
        cases.push(Case { name, func, weights: Weights::new(), inputs, dims: Bindings::new() });
    }
    Ok(cases)
}

fn golden_models() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for name in ["linear_layer", "tiny_model_mse", "tiny_model_cross_entropy", "logistic", "mlp_small"] {
        let weights = golden(&format!("models/{name}"), "param.")?;
        let weights: Weights = weights.into_iter().map(|(name, data)| (name.as_str().into(), data)).collect();
        let text = std::fs::read_to_string(root().join(format!("tests/golden/models/{name}.ir")))?;
        let func = parse(&text, weights.clone())?;
        let inputs = golden(&format!("models/{name}"), "in.")?;
        cases.push(Case { name: name.to_string(), func, weights, inputs, dims: Bindings::new() });
    }
    Ok(cases)
}

/// A name, extents of symbolic dimensions, and the text of a function.
type Program = (&'static str, &'static [(&'static str, usize)], &'static str);

/// Programs with what the golden files lack.
const PROGRAMS: &[Program] = &[
    (
        "symbolic_shapes",
        &[("N", 3), ("S", 4)],
        "func @f(%x: f32[N, S, 6]) -> (y: f32[N*S + 1, 6], z: f32[N, S, 6], c: i64[S], h: f32[N, S - 1, 6]) {
  %0 = reshape %x : f32[N*S, 6]
  %1 = constant 2.5 : f32[1, 6]
  %2 = concatenate %0, %1 {dim = 0} : f32[N*S + 1, 6]
  %3 = constant 0.5 : f32[N, S, 6]
  %4 = iota {dim = 0} : i64[S]
  %5 = slice %x {start = [0, 1, 0], limit = [N, S, 6]} : f32[N, S - 1, 6]
  return %2, %3, %4, %5
}",
    ),
    (
        "scan",
        &[],
        "func @f(%h: f32[2], %x: f32[5, 2], %w: f32[2]) -> (last: f32[2], all: f32[5, 2]) {
  %0, %1 = scan %h, %x, %w {n_carried = 1, n_scanned = 1, length = 5, reverse = true} (%p0: f32[2], %p1: f32[2], %p2: f32[2]) {
    %0 = multiply %p0, %p2 : f32[2]
    %1 = add %0, %p1 : f32[2]
    return %1, %0
  } : f32[2], f32[5, 2]
  return %0, %1
}",
    ),
    (
        "scan_of_nothing",
        &[],
        "func @f(%h: i64[]) -> (last: i64[], all: i64[4]) {
  %0, %1 = scan %h {n_carried = 1, length = 4} (%p0: i64[]) {
    %0 = constant 3 : i64[]
    %1 = add %p0, %0 : i64[]
    return %1, %p0
  } : i64[], i64[4]
  return %0, %1
}",
    ),
    (
        "cond",
        &[],
        "func @f(%p: bool[], %x: f32[3], %y: f32[3]) -> (a: f32[3], b: f32[3]) {
  %0, %1 = cond %p, %x, %y (%p0: f32[3], %p1: f32[3]) {
    return %p1, %p1
  } (%p0: f32[3], %p1: f32[3]) {
    %0 = add %p0, %p1 : f32[3]
    %1 = constant 1.0 : f32[3]
    return %0, %1
  } : f32[3], f32[3]
  return %0, %1
}",
    ),
    (
        "while",
        &[],
        "func @f(%n: i32[], %x: f32[2]) -> (last: i32[], y: f32[2]) {
  %0, %1 = while %n, %x (%p0: i32[], %p1: f32[2]) {
    %0 = constant 20 : i32[]
    %1 = compare %p0, %0 {direction = lt} : bool[]
    return %1
  } (%p0: i32[], %p1: f32[2]) {
    %0 = constant 7 : i32[]
    %1 = add %p0, %0 : i32[]
    %2 = negate %p1 : f32[2]
    return %1, %2
  } : i32[], f32[2]
  return %0, %1
}",
    ),
    (
        "gather_windows",
        &[],
        "func @f(%x: f32[4, 5, 3], %i: i32[2, 2]) -> (y: f32[2, 2, 2, 3]) {
  %0 = gather %x, %i {offset_dims = [1, 2, 3], start_index_map = [0, 1], index_vector_dim = 1, slice_sizes = [2, 2, 3]} : f32[2, 2, 2, 3]
  return %0
}",
    ),
    (
        "scatter_beyond",
        &[],
        "func @f(%x: f32[4, 3], %i: i64[3, 1], %u: f32[3, 3]) -> (y: f32[4, 3], z: f32[4, 3]) {
  %0 = scatter %x, %i, %u {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = add} : f32[4, 3]
  %1 = scatter %x, %i, %u {update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = maximum} : f32[4, 3]
  return %0, %1
}",
    ),
    (
        "windows",
        &[],
        "func @f(%x: f32[1, 2, 6, 5], %n: i32[6, 5]) -> (a: f32[1, 2, 3, 5], b: i64[1, 2, 3, 2], c: f32[1, 2, 6, 5], d: i32[5, 3]) {
  %0 = reduce_window %x {kind = sum, window = [1, 1, 3, 1], stride = [1, 1, 2, 1], padding = [[0, 0], [0, 0], [1, 0], [0, 0]]} : f32[1, 2, 3, 5]
  %1 = reduce_window %x {kind = argmax, window = [1, 1, 2, 2], stride = [1, 1, 2, 2]} : i64[1, 2, 3, 2]
  %2 = slice %0 {limit = [1, 2, 3, 2]} : f32[1, 2, 3, 2]
  %3 = select_and_scatter %x, %2 {kind = max, window = [1, 1, 2, 2], stride = [1, 1, 2, 2]} : f32[1, 2, 6, 5]
  %4 = reduce_window %n {kind = min, window = [2, 2], stride = [1, 2], padding = [[0, 0], [0, 1]]} : i32[5, 3]
  return %0, %1, %3, %4
}",
    ),
    (
        "dilated_convolution",
        &[],
        "func @f(%x: f32[1, 2, 4, 4], %k: f32[4, 1, 2, 2]) -> (y: f32[1, 4, 5, 6]) {
  %0 = convolution %x, %k {padding = [[-1, 0], [0, 0]], lhs_dilation = [2, 2], groups = 2} : f32[1, 4, 5, 6]
  return %0
}",
    ),
    (
        "bits",
        &[],
        "func @f(%x: i32[6], %s: i32[6], %u: u32[6], %t: u32[6]) -> (a: i32[6], b: i32[6], c: i32[6], d: u32[6], e: i32[6]) {
  %0 = shift_left %x, %s : i32[6]
  %1 = shift_right_logical %x, %s : i32[6]
  %2 = shift_right_arithmetic %x, %s : i32[6]
  %3 = shift_right_arithmetic %u, %t : u32[6]
  %4 = remainder %x, %s : i32[6]
  return %0, %1, %2, %3, %4
}",
    ),
    (
        "orders",
        &[],
        "func @f(%x: f32[3, 4], %k: i32[3, 4]) -> (a: f32[3, 4], b: f32[3, 4], c: f32[3, 4], d: i32[3, 4], e: f32[3, 4]) {
  %0 = cumulative %x {kind = max, dim = 1, reverse = true} : f32[3, 4]
  %1 = cumulative %x {kind = prod, dim = 0} : f32[3, 4]
  %2 = cumulative %x {kind = sum, dim = 1, reverse = true} : f32[3, 4]
  %3, %4 = sort %k, %x {dim = 1, descending = true} : i32[3, 4], f32[3, 4]
  return %0, %1, %2, %3, %4
}",
    ),
    (
        "positions",
        &[],
        "func @f(%x: f32[4, 5], %u: f32[2, 2], %i: i32[], %j: i32[]) -> (a: f32[2, 2], b: f32[4, 5]) {
  %0 = dynamic_slice %x, %i, %j : f32[2, 2]
  %1 = dynamic_update_slice %x, %u, %i, %j : f32[4, 5]
  return %0, %1
}",
    ),
];

fn programs() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for (name, dims, text) in PROGRAMS {
        let func = parse(text, Weights::new()).map_err(|why| format!("{name}: {:?}", why.message()))?;
        let dims: Bindings = dims.iter().map(|&(symbol, extent)| (symbol.to_string(), extent)).collect();
        let mut inputs = Tensors::new();
        for (salt, (param, &value)) in func.params.iter().zip(func.graph.params()).enumerate() {
            let ty = func.graph.ty(value).substitute(&dims);
            let shape = ty.shape.as_fixed().ok_or("extents are given")?;
            let element = |idx: usize| {
                let number = ((idx * 37 + salt * 11) % 13) as i64 - 3;
                match ty.dtype {
                    DType::Bool => Scalar::from_i64(DType::Bool, number & 1),
                    dtype if dtype.is_float() => Scalar::from_f64(dtype, number as f64 / 4.0 + 0.1),
                    // Shifts, positions, divisors: small, few below zero, none zero.
                    dtype if dtype.is_signed() => Scalar::from_i64(dtype, if number == 0 { 5 } else { number }),
                    dtype => Scalar::from_i64(dtype, number.abs() << (idx % 3 * 14)),
                }
            };
            let n_elements = shape.iter().product();
            inputs.insert(param.name.clone(), TensorData::from_scalars(ty.dtype, shape, (0..n_elements).map(element)));
        }
        cases.push(Case { name: name.to_string(), func, weights: Weights::new(), inputs, dims });
    }
    Ok(cases)
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
        let relative = match data.dtype {
            DType::F16 => 4e-3,
            DType::BF16 => 3e-2,
            DType::F64 => 1e-12,
            _ => 1e-5,
        };
        let largest = data
            .scalars()
            .map(Scalar::to_f64)
            .filter(|value| value.is_finite())
            .fold(0.0, |max: f64, value| max.max(value.abs()));
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

/// Cases with NaN in maxima, minima and sorts, of which ONNX says nothing: ONNX Runtime passes over them.
const LEFT_OPEN: [&str; 6] =
    ["reduce_argmax_ties", "reduce_argmin_ties", "reduce_max_special", "reduce_min_special", "sort", "sort_descending"];

/// Whether NumPy has all types, so that values can be handed over.
fn is_numpy(tensors: &Tensors) -> bool {
    tensors.values().all(|data| data.dtype != DType::BF16)
}

fn runtime_agrees(python: &Path, cases: &[Case]) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    for Case { name, func, weights, inputs, dims } in cases {
        let case = dir.path().join(name);
        std::fs::create_dir(&case)?;
        let bytes = export_bytes(func, weights).map_err(|faults| format!("{name}: {}", lines(faults)))?;
        std::fs::write(case.join("model.onnx"), bytes)?;
        let outputs = evaluate(func, weights, inputs, dims).map_err(|why| format!("{name}: {why}"))?;
        let is_input =
            |name: &str| func.params.iter().any(|param| param.name == name && param.kind == ParamKind::Input);
        let inputs = inputs.iter().filter(|(name, _)| is_input(name));
        let inputs: Tensors = inputs.map(|(name, data)| (name.clone(), data.clone())).collect();
        if is_numpy(&inputs) && is_numpy(&outputs) && !LEFT_OPEN.contains(&name.as_str()) {
            npy::save_npz(&case.join("in.npz"), &inputs).map_err(|fault| fault.to_string())?;
            npy::save_npz(&case.join("out.npz"), &outputs).map_err(|fault| fault.to_string())?;
        }
    }
    let script = root().join("tests/golden/onnx_check.py");
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
    let cases = golden_models()?;
    let case = cases.iter().find(|case| case.name == "logistic").ok_or("there is such a model")?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.onnx");
    let options = ExportOptions { max_inline_bytes: 1000 };
    let exported = nnc_onnx::export::export(&case.func, &case.weights, &path, &options).map_err(lines)?;
    assert_eq!(exported.external_data, Some(dir.path().join("model.onnx.data")));
    assert!(std::fs::metadata(&path)?.len() < 4000, "the weights are elsewhere");
    let imported = nnc_onnx::import(&path, &Options::default()).map_err(|error| lines(error.diagnostics))?;
    let again = imported.module.func("main").ok_or("an import has a function @main")?;
    let found = evaluate(again, &imported.module.weights, &case.inputs, &case.dims)?;
    compare(&evaluate(&case.func, &case.weights, &case.inputs, &case.dims)?, &found)?;
    Ok(())
}
