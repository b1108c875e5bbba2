//! Whole models against PyTorch: loss, output, every gradient, and ten steps of every form of SGD.
//!
//! `golden/models/NAME.ir` is the model with its loss; differentiation and the training step are nnc's.

use std::error::Error;
use std::sync::Arc;

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc_ir::interp::eval_func;
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{Bindings, Diagnostic, Func, ParamKind, TensorData};
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
        trials.push(Trial::test(format!("{model}::gradients"), move || Case::read(model)?.check_gradients()));
        for (optimizer, settings) in OPTIMIZERS {
            let check = move || Case::read(model)?.check_steps(optimizer, settings);
            trials.push(Trial::test(format!("{model}::{optimizer}"), check));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

struct Case {
    golden: Golden,
    func: Func,
    inputs: Tensors,
    params: Tensors,
}

impl Case {
    fn read(name: &str) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(folder().join(format!("models/{name}.ir")))?;
        let mut module = parse_module(&text, name, WeightSource::none()).map_err(lines)?;
        let func = module.funcs.pop().ok_or("no function")?;
        let golden = Golden::read(&format!("models/{name}"));
        let (mut inputs, mut params) = (golden.group("in."), golden.group("param."));
        if params.is_empty() {
            (inputs, params) = computed(&func);
        }
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
