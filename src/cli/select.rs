//! From a model file and arguments to the one function a command works on.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use nnc::{Model, Options, load_with};
use nnc_ir::{Bindings, DType, Diagnostic, Func, Location, Module, TensorData};
use nnc_onnx::Port;
use nnc_onnx::export::BoundedResult;
use nnc_passes::autocast::autocast;
use nnc_passes::autodiff::{trainable, value_and_grad};
use nnc_passes::optimizer::{LossScaling, OptimizerSpec, StepSpec, train_step};
use nnc_passes::pipeline::OptLevel;
use nnc_runtime::program::{Ports, Program};

use super::given::Given;
use super::outputs::Outputs;
use super::{Failure, FuncArgs, OptArgs, file_fault, report};

/// A function, the weights it names, and what was asked for.
pub(super) struct Selected {
    pub(super) func: Func,
    pub(super) weights: IndexMap<Arc<str>, TensorData>,
    /// Whether the function is differentiated or a training step: its parameters stay inputs.
    pub(super) trains: bool,
    /// The learning rate the optimizer starts with.
    pub(super) learning_rate: Option<f64>,
    /// Extents of symbolic dimensions that were asked for.
    pub(super) dims: Bindings,
    /// The model, without functions and weights.
    model: Model,
    /// Values of the inputs that have become part of the model's graph.
    fixed: Given,
}

impl Selected {
    /// The model's outputs, from what the function gives; those of a training step are the function's.
    pub(super) fn outputs_of(&self, results: IndexMap<String, TensorData>) -> Outputs {
        match self.trains {
            true => Outputs::new(results, |_| None),
            false => Outputs::new(self.model.outputs_of(results), |name| self.model.labels(name)),
        }
    }

    /// The results of which a part counts.
    pub(super) fn bounds(&self) -> Vec<BoundedResult> {
        let bound = |port: &Port| {
            let bound = port.bound?;
            Some(BoundedResult { result: port.positions.start, axis: bound.axis, count: bound.count })
        };
        if self.trains { Vec::new() } else { self.model.outputs.iter().filter_map(bound).collect() }
    }

    /// What the model calls the inputs and outputs of the program that its function was compiled to.
    pub(super) fn ports(&self, program: &Program) -> Ports {
        if self.trains { Ports::default() } else { self.model.ports(&self.func, program, &self.fixed) }
    }
}

/// Reads a model of any kind, and says which of the arrays given for its inputs have become part of it; they are taken from
/// `given`. The extents that the reading has used are taken from `dims`: the others are a function's to know, or nobody's.
pub(super) fn load(path: &Path, dims: &mut Bindings, given: &mut Given) -> Result<Model, Failure> {
    let model = load_with(path, dims, given)?;
    dims.retain(|symbol, _| !model.bound.contains(symbol));
    for name in &model.fixed {
        given.shift_remove(name);
        report::note(&format!(
            "input {name} is fixed to the value given: the model's graph depends on it, and would be another for another value"
        ));
    }
    Ok(model)
}

/// Picks and prepares the function.
pub(super) fn select(path: &Path, args: &FuncArgs, given: &mut Given) -> Result<Selected, Failure> {
    let mut dims = parse_dims(&args.dims)?;
    let before = given.clone();
    let mut model = load(path, &mut dims, given)?;
    let is_fixed = |name: &String| model.fixed.contains(name);
    let fixed = before.into_iter().filter(|(name, _)| is_fixed(name)).collect();
    let Module { funcs, weights } = std::mem::take(&mut model.module);
    let names: Vec<String> = funcs.iter().map(|func| format!("@{}", func.name)).collect();
    let func = match &args.func {
        Some(name) => {
            let name = name.trim_start_matches('@');
            let found = funcs.into_iter().find(|func| func.name == name);
            found.ok_or_else(|| {
                file_fault(path, format!("there is no function @{name}; the module has {}", names.join(", ")))
            })?
        }
        None if names.len() == 1 => funcs.into_iter().next().expect("there is one"),
        None => {
            let message = format!("the module has {} functions, expected one", names.len());
            return Err(file_fault(path, message).note(format!("choose with --func: {}", names.join(", "))).into());
        }
    };
    let func = match args.autocast {
        Some(dtype) => autocast(&func, dtype)?,
        None => func,
    };
    let mut learning_rate = None;
    let func = if let Some(text) = &args.optimizer {
        let optimizer = OptimizerSpec::parse(text)?;
        learning_rate = Some(optimizer.learning_rate());
        let mut spec = StepSpec::new(optimizer);
        spec.loss_scaling = (args.autocast == Some(DType::F16)).then(LossScaling::default);
        train_step(&func, loss_idx(&func, path)?, spec)?
    } else if args.grad {
        value_and_grad(&func, &trainable(&func), loss_idx(&func, path)?)?
    } else {
        func
    };
    Ok(Selected { func, weights, trains: args.grad || args.optimizer.is_some(), learning_rate, dims, model, fixed })
}

/// The result called `loss`, or the only result.
fn loss_idx(func: &Func, path: &Path) -> Result<usize, Failure> {
    let named = func.results.iter().position(|result| result.name == "loss");
    match (named, func.results.len()) {
        (Some(idx), _) => Ok(idx),
        (None, 1) => Ok(0),
        (None, n) => {
            let message = format!("@{} has {n} results and none is called `loss`", func.name);
            Err(file_fault(path, message).into())
        }
    }
}

/// Reads `--dim SYMBOL=EXTENT` arguments.
pub(super) fn parse_dims(texts: &[String]) -> Result<Bindings, Failure> {
    let mut dims = Bindings::new();
    let mut faults = Vec::new();
    for text in texts {
        let fault = |message: String| Diagnostic::new(Location::at("--dim", 0, 0), message);
        let Some((symbol, extent)) = text.split_once('=') else {
            faults.push(fault(format!("found `{text}`, expected SYMBOL=EXTENT such as N=64")));
            continue;
        };
        match extent.trim().parse::<usize>() {
            Ok(extent) => {
                if dims.insert(symbol.trim().to_string(), extent).is_some_and(|before| before != extent) {
                    faults.push(fault(format!("{symbol} is given twice")));
                }
            }
            Err(_) => faults.push(fault(format!("the extent of {symbol} is `{extent}`, expected a whole number"))),
        }
    }
    if faults.is_empty() { Ok(dims) } else { Err(faults.into()) }
}

/// The optimization level that arguments ask for.
pub(super) fn opt_level(args: &OptArgs) -> OptLevel {
    OptLevel { level: args.level, fuse: !args.no_fuse }
}

/// Options of a compilation of the selected function.
pub(super) fn options(selected: &Selected, opt: &OptArgs) -> Options {
    Options { opt: opt_level(opt), dims: selected.dims.clone(), freeze: !selected.trains, ..Options::default() }
}
