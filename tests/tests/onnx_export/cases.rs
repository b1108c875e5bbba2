//! What is exported: golden ops and models, the programs of `filetests/run`, random functions.

use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{Bindings, DType, Diagnostic, Func, Graph, Op, ParamKind};
use nnc_tests::execute::{Tensors, Weights};
use nnc_tests::filetest::{FileTest, files};
use nnc_tests::golden::{Golden, folder};
use nnc_tests::models::{MODELS, inputs_and_results, saved};
use nnc_tests::random::{Mix, random_func_of, random_inputs};

/// Random functions of each kind.
const N_RANDOM: u64 = 60;

/// A function with values of its parameters.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) func: Func,
    pub(crate) weights: Weights,
    pub(crate) inputs: Tensors,
    pub(crate) dims: Bindings,
    /// Whether the numbers meet what ONNX says nothing of.
    pub(crate) is_open: bool,
}

pub(crate) fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// The function `@main`, or the first.
pub(crate) fn parse(text: &str, weights: Weights) -> Result<Func, Failed> {
    let mut module = parse_module(text, "f.ir", WeightSource::given(weights)).map_err(lines)?;
    let main = module.funcs.iter().position(|func| func.name == "main").unwrap_or(0);
    Ok(module.funcs.swap_remove(main))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

pub(crate) fn golden_ops() -> Result<Vec<Case>, Failed> {
    let entries = std::fs::read_dir(folder().join("ops"))?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<PathBuf>, std::io::Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ir"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let name = stem(&path);
        let func = parse(&std::fs::read_to_string(&path)?, Weights::new())?;
        let inputs = Golden::read(&format!("ops/{name}")).group("in.");
        cases.push(Case { name, func, weights: Weights::new(), inputs, dims: Bindings::new(), is_open: false });
    }
    Ok(cases)
}

/// Perceptrons with their losses, and what is built in layers: convolutions, recurrence, attention.
pub(crate) fn golden_models() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for name in ["linear_layer", "tiny_model_mse", "tiny_model_cross_entropy", "logistic", "mlp_small"] {
        let golden = Golden::read(&format!("models/{name}"));
        let weights = golden.group("param.").into_iter();
        let weights: Weights = weights.map(|(name, data)| (name.as_str().into(), data)).collect();
        let text = std::fs::read_to_string(folder().join(format!("models/{name}.ir")))?;
        let func = parse(&text, weights.clone())?;
        let (inputs, dims) = (golden.group("in."), Bindings::new());
        cases.push(Case { name: name.to_string(), func, weights, inputs, dims, is_open: false });
    }
    for (name, build, _) in MODELS {
        let built = build();
        built.module.load_state_dict(&saved(name)?)?;
        let (inputs, _) = inputs_and_results(name);
        let mut module = built.trace(&inputs)?;
        let (func, weights) = (module.funcs.swap_remove(0), module.weights);
        cases.push(Case { name: name.to_string(), func, weights, inputs, dims: Bindings::new(), is_open: false });
    }
    Ok(cases)
}

/// The programs of `filetests/run`, as functions of all their parameters.
pub(crate) fn file_programs() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for path in files("run") {
        let test = FileTest::read(&path)?;
        if test.directives("optimizer").next().is_some() {
            continue;
        }
        let (func, weights, inputs, dims) = test.program()?;
        cases.push(Case { name: stem(&path), func: inference(func), weights, inputs, dims, is_open: false });
    }
    cases.retain(|case| has_form(&case.func.graph));
    Ok(cases)
}

pub(crate) fn random() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    for (kind, mix, n_nodes) in
        [("plain", Mix::PLAIN, 5), ("control", Mix::CONTROL, 5), ("exact", Mix::EXACT_CONTROL, 8)]
    {
        for seed in 0..N_RANDOM {
            let func = inference(random_func_of(seed, n_nodes, mix));
            let inputs = random_inputs(&func, seed);
            let (name, is_open) = (format!("{kind}.{seed}"), leaves_open(&func.graph));
            cases.push(Case { name, func, weights: Weights::new(), inputs, dims: Bindings::new(), is_open });
        }
    }
    cases.retain(|case| has_form(&case.func.graph));
    Ok(cases)
}

/// The function with every parameter an input, and no result in place of one or of the same name, of which ONNX has one.
fn inference(mut func: Func) -> Func {
    for param in func.params.iter_mut().filter(|param| param.weight.is_none()) {
        param.kind = ParamKind::Input;
    }
    for result in &mut func.results {
        result.donates = None;
        if func.params.iter().any(|param| param.name == result.name) {
            result.name.push_str(".next");
        }
    }
    func
}

/// Whether ONNX can express the graph: no random bits of nnc's own, no convolutions of integers.
fn has_form(graph: &Graph) -> bool {
    graph.nodes().all(|(_, data)| {
        let lacks = match data.op {
            Op::RngBits(_) => true,
            Op::Convolution(_) => !graph.ty(data.operands[0]).dtype.is_float(),
            _ => false,
        };
        !lacks && data.regions.iter().all(has_form)
    })
}

/// Whether a random graph may meet what ONNX leaves open (`nnc_onnx::export`): integers divided by zero, powers of
/// integers that overflow, floats that fit no integer.
fn leaves_open(graph: &Graph) -> bool {
    graph.nodes().any(|(_, data)| {
        let of_integers = data.operands.first().is_some_and(|&operand| !graph.ty(operand).dtype.is_float());
        let is_open = match data.op {
            Op::Divide | Op::Remainder | Op::Power => of_integers,
            // ONNX Runtime computes half precision in `f32`, and leaves out a rounding that a conversion follows.
            Op::Convert(dtype) => !of_integers && (!dtype.is_float() || graph.ty(data.operands[0]).dtype == DType::F16),
            _ => false,
        };
        is_open || data.regions.iter().any(leaves_open)
    })
}

/// Whether NumPy has all types, so that values can be handed over.
pub(crate) fn is_numpy(tensors: &Tensors) -> bool {
    tensors.values().all(|data| data.dtype != DType::BF16)
}
