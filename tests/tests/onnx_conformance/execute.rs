//! One case, run as `nnc run` would.

use std::panic::{AssertUnwindSafe, catch_unwind};

use indexmap::IndexMap;
use nnc::jit::{bind_inputs, read_output};
use nnc::runtime::{Executable, device};
use nnc::{Error, Model, Options, Tier, compile, load_with};
use nnc_ir::{Bindings, Func, ParamKind, TensorData};
use nnc_onnx::proto::ModelProto;
use nnc_onnx::values::FileValue;

use crate::compare::near;
use crate::exclusions;
use crate::report::{Outcome, Report};
use crate::suite::{self, Case, DataSet};

/// What runs a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The reference interpreter.
    Interp,
    /// Compiled code on this machine.
    Cpu(Tier),
}

/// The interpreter takes minutes for a model of this kind; it is run in compiled code alone.
const TOO_LARGE_TO_INTERPRET: &str = "light/";

/// Runs a case on both back ends. Panics are failures of the case.
pub(crate) fn run(case: &Case, backends: &[Backend]) -> Report {
    let model = match case.model() {
        Ok(model) => model,
        Err(message) => return Report::failed(&case.name, "", &message),
    };
    let operator = suite::operator(case, &model);
    let excluded = exclusions::reason(&case.name, &operator, &model).map(str::to_string);
    let mut report = match guarded(|| outcomes(case, &model, backends)) {
        Ok(Ok((outcomes, bound))) => {
            let [interp, cpu] = outcomes;
            Report { bound, ..Report::of(&case.name, interp, cpu) }
        }
        Ok(Err(outcome)) => Report::of(&case.name, outcome.clone(), outcome),
        Err(message) => Report::failed(&case.name, "", &message),
    };
    report.operator = operator;
    report.excluded = excluded;
    report
}

/// What comes of the case on the interpreter and in compiled code, and the inputs that were bound to their values; or the one
/// reason why it was not run at all.
fn outcomes(case: &Case, model: &ModelProto, backends: &[Backend]) -> Result<([Outcome; 2], Vec<String>), Outcome> {
    let mut all = [Outcome::Pass, Outcome::Pass];
    let mut bound = Vec::new();
    let sets = case.data_sets(model).map_err(Outcome::Fail)?;
    if sets.is_empty() {
        return Err(Outcome::Fail("the case has no data".to_string()));
    }
    for set in &sets {
        let inputs = tensors(&set.inputs);
        let loaded = load_with(&case.model_path(), &Bindings::new(), &inputs).map_err(|error| outcome_of(&error))?;
        bound.extend(loaded.fixed.iter().filter(|name| !bound.contains(*name)).cloned().collect::<Vec<_>>());
        for &backend in backends {
            let at = usize::from(backend != Backend::Interp);
            if all[at] != Outcome::Pass || (at == 0 && case.name.starts_with(TOO_LARGE_TO_INTERPRET)) {
                continue;
            }
            all[at] = match guarded(|| check(&loaded, &inputs, set, backend, case.tolerance())) {
                Ok(Ok(())) => Outcome::Pass,
                Ok(Err(outcome)) => outcome,
                Err(message) => Outcome::Fail(message),
            };
        }
    }
    Ok((all, bound))
}

/// The outcome of a panic is its message.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panic: {}", text.unwrap_or_default())
    })
}

fn outcome_of(error: &Error) -> Outcome {
    match error {
        Error::Import(import) if !import.unsupported.is_empty() => Outcome::Unsupported(error.to_string()),
        error if error.to_string().contains("not supported") => Outcome::Unsupported(error.to_string()),
        error => Outcome::Fail(error.to_string()),
    }
}

/// The inputs as the command line would be given them: a sequence or optional as its tensors.
fn tensors(inputs: &[(String, FileValue)]) -> IndexMap<String, TensorData> {
    let mut tensors = IndexMap::new();
    inputs.iter().for_each(|(name, value)| flatten(name, value, &mut tensors));
    tensors
}

/// The tensors of a value: `x`, or `x.0`, `x.1`, ... of a sequence `x`.
fn flatten(name: &str, value: &FileValue, tensors: &mut IndexMap<String, TensorData>) {
    match value {
        FileValue::Tensor { data, .. } => drop(tensors.insert(name.to_string(), data.clone())),
        FileValue::Sequence(items) => {
            items.iter().enumerate().for_each(|(idx, item)| flatten(&format!("{name}.{idx}"), item, tensors));
        }
        FileValue::Optional(Some(value)) => flatten(name, value, tensors),
        FileValue::Optional(None) | FileValue::Strings { .. } => {}
    }
}

/// Runs the model and compares every output.
fn check(
    model: &Model,
    inputs: &IndexMap<String, TensorData>,
    set: &DataSet,
    backend: Backend,
    tolerance: (f64, f64),
) -> Result<(), Outcome> {
    let func = model.module.funcs.first().ok_or_else(|| Outcome::Fail("the module has no function".to_string()))?;
    let outputs = outputs(model, func, inputs, backend).map_err(|error| outcome_of(&error))?;
    let outputs = model.outputs_of(outputs);
    for (idx, (name, expected)) in set.outputs.iter().enumerate() {
        let mut tensors = IndexMap::new();
        flatten(name, expected, &mut tensors);
        let port = model.outputs.get(idx).ok_or_else(|| Outcome::Fail(format!("there is no output {idx}")))?;
        if port.positions.len() != tensors.len() {
            let (found, expected) = (port.positions.len(), tensors.len());
            return Err(Outcome::Fail(format!("output {name}: {found} tensors, expected {expected}")));
        }
        for (name, expected) in &tensors {
            let found = outputs.get(name).ok_or_else(|| Outcome::Fail(format!("there is no output {name}")))?;
            near(expected, found, tolerance).map_err(|why| Outcome::Fail(format!("output {name}: {why}")))?;
        }
        if let FileValue::Tensor { elem, .. } = expected
            && *elem != port.elem
        {
            return Err(Outcome::Fail(format!("output {name}: found elements of {}, expected {elem}", port.elem)));
        }
    }
    Ok(())
}

/// What the function gives, by name.
fn outputs(
    model: &Model,
    func: &Func,
    inputs: &IndexMap<String, TensorData>,
    backend: Backend,
) -> Result<IndexMap<String, TensorData>, Error> {
    let expected = func.params.iter().filter(|param| param.kind == ParamKind::Input);
    let mut named = IndexMap::new();
    for param in expected {
        let data = inputs.get(&param.name);
        let data = data.ok_or_else(|| Error::message(format!("the case has no input {}", param.name)))?;
        named.insert(param.name.clone(), data.clone());
    }
    let arrays: Vec<TensorData> = named.values().cloned().collect();
    let dims = bind_inputs(func, &arrays, &Bindings::new())?;
    let weights = &model.module.weights;
    let tier = match backend {
        Backend::Interp => return Ok(nnc_ir::interp::eval_func(func, weights, &named, &dims)?),
        Backend::Cpu(tier) => tier,
    };
    let options = Options { tier, dims, freeze: true, ..Options::default() };
    let compiled = compile(func, weights, &options)?;
    let executable = Executable::load(compiled.program, &*device::for_target("cpu")?)?;
    let mut instance = executable.instance(1)?;
    for (name, data) in &named {
        instance.write(name.as_str(), &data.bytes)?;
    }
    instance.run()?;
    let outputs = executable.program().outputs.iter().enumerate();
    outputs.map(|(idx, output)| Ok((output.name.clone(), read_output(&instance, idx)?))).collect()
}
