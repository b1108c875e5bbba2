//! State dicts between PyTorch and nnc: `golden/interchange/NAME.safetensors` is what PyTorch saved, unchanged, and
//! `NAME.io.safetensors` holds inputs and results in evaluation mode.
//!
//! The way back needs PyTorch: with `NNC_PYTHON` naming a Python that has it, nnc saves models of its own and
//! `golden/interchange.py` loads them with `strict=True`; without, that trial is reported as ignored.

use std::error::Error;
use std::ffi::OsStr;
use std::process::Command;
use std::rc::Rc;

use libtest_mimic::{Arguments, Failed, Trial};
use nnc_frontend::prelude::*;
use nnc_ir::Bindings;
use nnc_ir::interp::eval_func;
use nnc_tests::execute::{Tensors, check_ways, cpu_ways};
use nnc_tests::golden::{Golden, Scale, close, folder, symmetric};
use nnc_tests::layers::Outputs;

const RELATIVE: f64 = 1e-5;

/// A model's name, how it is built, and the shapes of its inputs.
type Entry = (&'static str, fn() -> Built, &'static [&'static [usize]]);

/// Inputs to results.
type ForwardFn = dyn Fn(&[Tensor]) -> Vec<Tensor>;

/// Models that `interchange.py` builds alike.
const MODELS: [Entry; 3] = [
    ("transformer", transformer, &[&[2, 7, 16], &[2, 5, 16]]),
    ("lstm", lstm, &[&[9, 2, 6]]),
    ("batch_norm_cnn", batch_norm_cnn, &[&[3, 1, 9, 7]]),
];

fn transformer() -> Built {
    let model = Transformer::new(16, 4).num_encoder_layers(2).num_decoder_layers(2).dim_feedforward(24);
    let model = model.activation(functional::gelu).batch_first(true);
    Built::new(model, |model, x| model.forward(&x[0], &x[1]))
}

fn lstm() -> Built {
    let model = LSTM::new(6, 8).num_layers(2).bidirectional(true).dropout(0.2);
    Built::new(model, |model, x| model.forward(&x[0]))
}

fn batch_norm_cnn() -> Built {
    let model = sequential![
        Conv2d::new(1, 4, 3).padding(1),
        BatchNorm2d::new(4),
        ReLU::new(),
        MaxPool2d::new(2),
        Conv2d::new(4, 6, 3).bias(false),
        BatchNorm2d::new(6),
        ReLU::new(),
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(6, 3),
    ];
    Built::new(model, |model, x| model.forward(&x[0]))
}

fn main() -> Result<(), Box<dyn Error>> {
    let load = |(name, build, _)| Trial::test(format!("load::{name}"), move || loads(name, build));
    let mut trials: Vec<Trial> = MODELS.into_iter().map(load).collect();
    let python = std::env::var_os("NNC_PYTHON");
    let is_missing = python.is_none();
    let back = Trial::test("pytorch_loads_back", move || loads_back(&python.unwrap_or_default()));
    trials.push(back.with_ignored_flag(is_missing));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// A model, in evaluation mode, and its forward pass.
struct Built {
    module: Rc<dyn Module>,
    forward: Box<ForwardFn>,
}

impl Built {
    fn new<M: Module + 'static, O: Outputs + 'static>(module: M, forward: fn(&M, &[Tensor]) -> O) -> Self {
        module.eval();
        let module = Rc::new(module);
        let own = module.clone();
        let forward = move |inputs: &[Tensor]| {
            let mut outputs = Vec::new();
            forward(&own, inputs).flatten(&mut outputs);
            outputs
        };
        Self { module, forward: Box::new(forward) }
    }
}

/// What PyTorch saved loads, and gives PyTorch's results, interpreted and compiled in every way.
fn loads(name: &str, build: fn() -> Built) -> Result<(), Failed> {
    let built = build();
    let state = StateDict::load(folder().join(format!("interchange/{name}.safetensors")))?;
    built.module.load_state_dict(&state)?;
    let golden = Golden::read(&format!("interchange/{name}.io"));
    let inputs: Tensors = golden.group("").into_iter().filter(|(key, _)| key.starts_with("in.")).collect();
    let expected: Tensors = golden.group("").into_iter().filter(|(key, _)| key.starts_with("out.")).collect();

    let module = trace("forward", |t| {
        t.bind(&*built.module);
        let inputs: Vec<Tensor> = inputs.iter().map(|(name, data)| t.input(name, data.ty())).collect();
        for (idx, output) in (built.forward)(&inputs).iter().enumerate() {
            t.output(&format!("out.{idx}"), output);
        }
    })?;
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
