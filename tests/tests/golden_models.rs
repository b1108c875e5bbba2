//! Whole models against PyTorch: loss, output, every gradient, and ten steps of every form of SGD.
//!
//! Each model is taken twice: as the text `golden/models/NAME.ir`, and written with the front end, loaded from PyTorch's
//! parameters and traced. Differentiation and the training step are nnc's.

use std::error::Error;
use std::sync::Arc;

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc_frontend::prelude::*;
use nnc_ir::interp::eval_func;
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{Bindings, Func, ParamKind};
use nnc_passes::autodiff::{trainable, value_and_grad};
use nnc_passes::optimizer::{OptimizerSpec, train_step};
use nnc_tests::golden::{Golden, Scale, close, folder, hash, symmetric, unit};

const RELATIVE: f64 = 1e-5;
const MODELS: [&str; 6] =
    ["linear_layer", "tiny_model_mse", "tiny_model_cross_entropy", "logistic", "mlp_small", "fashion_mnist"];
const OPTIMIZERS: [(&str, &str); 4] = [
    ("sgd", ""),
    ("momentum", ",momentum=0.9"),
    ("nesterov", ",momentum=0.9,nesterov=true"),
    ("weight_decay", ",momentum=0.9,weight_decay=0.01"),
];

type Tensors = IndexMap<String, TensorData>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut trials = Vec::new();
    for model in MODELS {
        for source in [Source::Text, Source::FrontEnd] {
            let case = move || Case::read(model, source);
            trials.push(Trial::test(format!("{model}::{source:?}::gradients"), move || case()?.check_gradients()));
            for (optimizer, settings) in OPTIMIZERS {
                // Forty more steps of the full-size network would add seconds and show nothing new.
                if model == "fashion_mnist" && source == Source::FrontEnd {
                    continue;
                }
                let check = move || case()?.check_steps(optimizer, settings);
                trials.push(Trial::test(format!("{model}::{source:?}::{optimizer}"), check));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// Where the function of a model and its loss comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Text,
    FrontEnd,
}

struct Case {
    golden: Golden,
    func: Func,
    inputs: Tensors,
    params: Tensors,
}

impl Case {
    fn read(name: &str, source: Source) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(folder().join(format!("models/{name}.ir")))?;
        let mut module = parse_module(&text, name, WeightSource::none()).map_err(lines)?;
        let func = module.funcs.pop().ok_or("no function")?;
        let golden = Golden::read(&format!("models/{name}"));
        let (mut inputs, mut params) = (golden.group("in."), golden.group("param."));
        if params.is_empty() {
            (inputs, params) = computed(&func);
        }
        let func = match source {
            Source::Text => func,
            Source::FrontEnd => traced(name, &inputs, &params)?,
        };
        Ok(Self { golden, func, inputs, params })
    }

    fn check_gradients(&self) -> Result<(), Failed> {
        let gradient = value_and_grad(&self.func, &trainable(&self.func), 0).map_err(lines)?;
        let results = run(&gradient, self.inputs.iter().chain(&self.params))?;
        close(self.golden.get("loss"), &results["loss"], RELATIVE, Scale::Element)?;
        close(self.golden.get("out"), &results["out"], RELATIVE, Scale::Tensor)?;
        for name in self.params.keys() {
            self.check_tensor(&format!("grad.{name}"), &results[name.as_str()])?;
        }
        Ok(())
    }

    fn check_steps(&self, optimizer: &str, settings: &str) -> Result<(), Failed> {
        let lr = self.golden.get("lr");
        let spec = OptimizerSpec::parse(&format!("sgd:lr={}{settings}", lr.get(0).to_f64())).map_err(lines)?;
        let step = train_step(&self.func, 0, &spec).map_err(lines)?;
        let mut carried = self.params.clone();
        for (idx, param) in step.params.iter().enumerate().filter(|(_, param)| param.kind == ParamKind::State) {
            let ty = step.graph.ty(step.graph.params()[idx]);
            let shape = ty.shape.as_fixed().ok_or("a state has a symbolic shape")?;
            let zeros = vec![0.0; shape.iter().product()];
            carried.insert(param.name.clone(), TensorData::from_doubles(ty.dtype, shape, zeros));
        }
        carried.insert("lr".into(), lr.clone());
        let losses = self.golden.get(&format!("losses.{optimizer}"));
        for idx in 0..losses.len() {
            let results = run(&step, self.inputs.iter().chain(&carried))?;
            let expected = TensorData::from_scalars(losses.dtype, vec![], [losses.get(idx)]);
            close(&expected, &results["loss"], RELATIVE, Scale::Element).map_err(|why| format!("step {idx}: {why}"))?;
            for (name, value) in results {
                carried.entry(name).and_modify(|old| *old = value);
            }
        }
        for name in self.params.keys() {
            self.check_tensor(&format!("after10.{optimizer}.{name}"), &carried[name.as_str()])?;
        }
        Ok(())
    }

    /// Compares with the tensor under `key`, or with what is stored of it.
    fn check_tensor(&self, key: &str, found: &TensorData) -> Result<(), Failed> {
        let fail = |why| Failed::from(format!("{key}: {why}"));
        if let Some(expected) = self.golden.find(key) {
            return close(expected, found, RELATIVE, Scale::Tensor).map_err(fail);
        }
        let values: Vec<f64> = found.scalars().map(|scalar| scalar.to_f64()).collect();
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let norm = TensorData::from_doubles(found.dtype, vec![], [norm]);
        close(self.golden.get(&format!("{key}.norm")), &norm, RELATIVE, Scale::Element).map_err(fail)?;
        let expected = self.golden.get(&format!("{key}.prefix"));
        let prefix = TensorData::from_doubles(found.dtype, expected.shape.clone(), values[..expected.len()].to_vec());
        close(expected, &prefix, RELATIVE, Scale::Tensor).map_err(fail)
    }
}

#[derive(Module)]
struct LinearLayer {
    lin: Linear,
}

impl Forward for LinearLayer {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.lin.forward(x)
    }
}

#[derive(Module)]
struct TinyModel {
    linear1: Linear,
    activation: ReLU,
    linear2: Linear,
    softmax: Softmax,
}

impl TinyModel {
    fn new() -> Self {
        let (linear1, linear2) = (Linear::new(100, 200), Linear::new(200, 10));
        Self { linear1, activation: ReLU::new(), linear2, softmax: Softmax::new(1) }
    }
}

impl Forward for TinyModel {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.activation.forward(&self.linear1.forward(x));
        self.softmax.forward(&self.linear2.forward(&x))
    }
}

#[derive(Module)]
struct NeuralNetwork {
    flatten: Flatten,
    linear_relu_stack: Sequential,
}

impl NeuralNetwork {
    fn new(hidden: usize) -> Self {
        let linear_relu_stack = sequential![
            Linear::new(28 * 28, hidden),
            ReLU::new(),
            Linear::new(hidden, hidden),
            ReLU::new(),
            Linear::new(hidden, 10),
        ];
        Self { flatten: Flatten::new(), linear_relu_stack }
    }
}

impl Forward for NeuralNetwork {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.linear_relu_stack.forward(&self.flatten.forward(x))
    }
}

/// The model written with the front end, holding `params`, and its loss.
fn traced(name: &str, inputs: &Tensors, params: &Tensors) -> Result<Func, Failed> {
    match name {
        "linear_layer" => trace_loss(&LinearLayer { lin: Linear::new(3, 2) }, functional::mse_loss, inputs, params),
        "tiny_model_mse" => trace_loss(&TinyModel::new(), functional::mse_loss, inputs, params),
        "tiny_model_cross_entropy" => trace_loss(&TinyModel::new(), functional::cross_entropy, inputs, params),
        "logistic" => trace_loss(&LinearLayer { lin: Linear::new(784, 10) }, functional::cross_entropy, inputs, params),
        "mlp_small" => trace_loss(&NeuralNetwork::new(32), functional::cross_entropy, inputs, params),
        "fashion_mnist" => trace_loss(&NeuralNetwork::new(512), functional::cross_entropy, inputs, params),
        _ => Err(format!("no front-end form of {name}").into()),
    }
}

fn trace_loss<M: Module + Forward>(
    model: &M,
    loss: fn(&Tensor, &Tensor) -> Tensor,
    inputs: &Tensors,
    params: &Tensors,
) -> Result<Func, Failed> {
    let mut state = StateDict::new();
    for (name, data) in params {
        state.insert(name, data.clone());
    }
    // Strict: PyTorch's names and shapes are the model's.
    model.load_state_dict(&state)?;
    let mut module = trace("loss", |t| {
        t.bind(model);
        let (x, y) = (t.input("x", inputs["x"].ty()), t.input("y", inputs["y"].ty()));
        let out = model.forward(&x);
        t.output("loss", loss(&out, &y));
        t.output("out", out);
    })?;
    for param in &module.funcs[0].params {
        let Some(weight) = &param.weight else { continue };
        if module.weights[weight] != params[param.name.as_str()] {
            return Err(format!("the traced weight of {} is not the one loaded", param.name).into());
        }
    }
    Ok(module.funcs.remove(0))
}

/// Inputs and parameters of the full-size network, which its file leaves out.
fn computed(func: &Func) -> (Tensors, Tensors) {
    let (mut inputs, mut params) = (Tensors::new(), Tensors::new());
    let mut fan_in = 0;
    for (param, &value) in func.params.iter().zip(func.graph.params()) {
        let shape = func.graph.ty(value).shape.as_fixed().expect("golden models have fixed shapes");
        let n_layers = params.len() as u32 / 2 + 1;
        match param.name.as_str() {
            "x" => drop(inputs.insert("x".into(), unit(&shape, 100))),
            "y" => {
                let labels: Vec<i64> = (0..shape[0] as u32).map(|idx| i64::from(hash(idx, 200) % 10)).collect();
                inputs.insert("y".into(), TensorData::from_i64(shape, &labels));
            }
            name => {
                let is_weight = shape.len() == 2;
                fan_in = if is_weight { shape[1] } else { fan_in };
                let bound = (1.0 / (fan_in as f64).sqrt()) as f32;
                let salt = 2 * n_layers + u32::from(!is_weight);
                params.insert(name.into(), symmetric(&shape, salt, bound));
            }
        }
    }
    (inputs, params)
}

fn run<'a>(func: &Func, inputs: impl Iterator<Item = (&'a String, &'a TensorData)>) -> Result<Tensors, Failed> {
    let inputs: Tensors = inputs.map(|(name, data)| (name.clone(), data.clone())).collect();
    let weights: IndexMap<Arc<str>, TensorData> = IndexMap::new();
    eval_func(func, &weights, &inputs, &Bindings::new()).map_err(|faults| lines(faults).into())
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
