//! Layers against PyTorch: `golden/nn/LAYER.safetensors`, written by `golden/nn.py`.
//!
//! A [`Case`] says how nnc builds the layer of one stored configuration and calls it. [`Case::check`] loads PyTorch's
//! parameters and buffers by name, traces the layer, differentiates the sum of its results against the stored
//! cotangents, and compares results, gradients and updated buffers on the interpreter and on every CPU tier of the
//! build, then the results of evaluation mode, and the printed form.

use std::fmt;

use nnc::Target;
use nnc_frontend::module::{Forward, Module, StateDict, write_tree};
use nnc_frontend::tensor::Tensor;
use nnc_frontend::trace::trace;
use nnc_ir::interp::eval_func;
use nnc_ir::{Bindings, DType, Diagnostic, Func, Scalar, TensorData};
use nnc_passes::autodiff::value_and_grad;

use crate::execute::{self, Tensors, Way, Weights, check_ways};
use crate::golden::{Golden, Scale, close};

/// How far a result may be from PyTorch's unless a case says otherwise.
const RELATIVE: f64 = 1e-5;

/// How far a result in `bf16`, which has 8 bits, may be from the one in `f32`, of the tensor's largest element or 1.
const BFLOAT16_RELATIVE: f64 = 2e-2;

/// What a layer's `forward` may give.
pub trait Outputs {
    /// Appends the tensors in order, nested ones in depth.
    fn flatten(self, outputs: &mut Vec<Tensor>);
}

impl Outputs for Tensor {
    fn flatten(self, outputs: &mut Vec<Tensor>) {
        outputs.push(self);
    }
}

impl<T: Outputs> Outputs for Option<T> {
    fn flatten(self, outputs: &mut Vec<Tensor>) {
        if let Some(value) = self {
            value.flatten(outputs);
        }
    }
}

impl<T: Outputs> Outputs for Vec<T> {
    fn flatten(self, outputs: &mut Vec<Tensor>) {
        self.into_iter().for_each(|value| value.flatten(outputs));
    }
}

impl<A: Outputs, B: Outputs> Outputs for (A, B) {
    fn flatten(self, outputs: &mut Vec<Tensor>) {
        self.0.flatten(outputs);
        self.1.flatten(outputs);
    }
}

impl<A: Outputs, B: Outputs, C: Outputs> Outputs for (A, B, C) {
    fn flatten(self, outputs: &mut Vec<Tensor>) {
        self.0.flatten(outputs);
        self.1.flatten(outputs);
        self.2.flatten(outputs);
    }
}

/// A layer with a way to call it, whatever its signature.
trait Subject {
    fn module(&self) -> &dyn Module;
    fn call(&self, inputs: &[Tensor]) -> Vec<Tensor>;
}

struct Called<M, F> {
    module: M,
    call: F,
}

impl<M: Module, O: Outputs, F: Fn(&M, &[Tensor]) -> O> Subject for Called<M, F> {
    fn module(&self) -> &dyn Module {
        &self.module
    }

    fn call(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let mut outputs = Vec::new();
        (self.call)(&self.module, inputs).flatten(&mut outputs);
        outputs
    }
}

/// One stored configuration of a layer, built and called by nnc.
pub struct Case {
    layer: &'static str,
    name: &'static str,
    build: Box<dyn Fn() -> Box<dyn Subject> + Send + Sync>,
    relative: f64,
    scale: Scale,
    bfloat16: f64,
}

/// The case `name` of a layer that takes one tensor to one tensor.
pub fn case<M: Module + Forward + 'static>(
    layer: &'static str,
    name: &'static str,
    build: impl Fn() -> M + Send + Sync + 'static,
) -> Case {
    case_with(layer, name, build, |module: &M, inputs| Forward::forward(module, &inputs[0]))
}

/// The case `name` of a layer of any signature: `call` gets the stored inputs in order.
pub fn case_with<M: Module + 'static, O: Outputs + 'static>(
    layer: &'static str,
    name: &'static str,
    build: impl Fn() -> M + Send + Sync + 'static,
    call: impl Fn(&M, &[Tensor]) -> O + Copy + Send + Sync + 'static,
) -> Case {
    let build = move || -> Box<dyn Subject> { Box::new(Called { module: build(), call }) };
    Case { layer, name, build: Box::new(build), relative: RELATIVE, scale: Scale::Tensor, bfloat16: BFLOAT16_RELATIVE }
}

impl Case {
    /// Measures errors against each element (or 1) instead of the largest of the tensor: for elementwise layers.
    #[must_use]
    pub fn elementwise(mut self) -> Self {
        self.scale = Scale::ElementOrOne;
        self
    }

    /// Allows another relative error; say why at the call.
    #[must_use]
    pub fn within(mut self, relative: f64) -> Self {
        self.relative = relative;
        self
    }

    /// Allows another error in `bf16`, of the tensor's largest element or 1; say why at the call.
    #[must_use]
    pub fn within_in_bfloat16(mut self, relative: f64) -> Self {
        self.bfloat16 = relative;
        self
    }

    /// The layer's name in `torch.nn`.
    pub fn layer(&self) -> &'static str {
        self.layer
    }

    /// The configuration's name in the layer's file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Compares everything that is stored.
    ///
    /// # Errors
    /// The first thing that differs.
    pub fn check(&self) -> Result<(), String> {
        let stored = Stored::read(self.layer, self.name)?;
        let subject = (self.build)();
        let module = subject.module();
        let printed = Tree(module).to_string();
        if printed != stored.repr {
            return Err(format!("prints as\n{printed}\nexpected\n{}", stored.repr));
        }
        // Strict: PyTorch's names and types are the layer's.
        module.load_state_dict(&stored.state).map_err(|error| error.to_string())?;
        if stored.training {
            module.train();
        } else {
            module.eval();
        }
        self.check_mode(&*subject, &stored, &stored.mode("out."))?;
        let evaluated = stored.mode("eval.");
        if !evaluated.is_empty() {
            module.eval();
            let stored = Stored { gradients: Tensors::new(), after: Tensors::new(), ..stored };
            self.check_mode(&*subject, &stored, &evaluated).map_err(|why| format!("in evaluation mode: {why}"))?;
        }
        self.check_bfloat16().map_err(|why| format!("in bf16: {why}"))
    }

    /// Compares the layer in `bf16` with the layer in `f32`, which PyTorch's numbers have confirmed, at the same rounded
    /// inputs and parameters.
    fn check_bfloat16(&self) -> Result<(), String> {
        let mut stored = Stored::read(self.layer, self.name)?;
        let subject = (self.build)();
        let module = subject.module();
        module.load_state_dict(&stored.state).map_err(|error| error.to_string())?;
        if stored.training {
            module.train()
        } else {
            module.eval()
        }
        let round =
            |data: &TensorData| if data.dtype == DType::F32 { convert(data, DType::BF16) } else { data.clone() };
        for tensors in [&mut stored.inputs, &mut stored.cotangents] {
            tensors.values_mut().for_each(|data| *data = round(data));
        }
        let mut results = Vec::new();
        for dtype in [DType::BF16, DType::F32] {
            // Rounded first, then widened: both start from the same numbers.
            module.to_dtype(dtype);
            let widen = |tensors: &Tensors| -> Tensors {
                let of =
                    |data: &TensorData| if data.dtype == DType::BF16 { convert(data, dtype) } else { data.clone() };
                tensors.iter().map(|(name, data)| (name.clone(), of(data))).collect()
            };
            let widened =
                Stored { inputs: widen(&stored.inputs), cotangents: widen(&stored.cotangents), ..stored.part() };
            let (func, weights) = self.trace(&*subject, &widened, None)?;
            let inputs = inputs(&func, &weights, &widened);
            let evaluated = eval_func(&func, &weights, &inputs, &Bindings::new()).map_err(lines)?;
            let way = Way { target: Target::Cpu, tier: execute::tiers()[0], fuse: true, threads: 1 };
            let compiled =
                execute::run(&func, &weights, &inputs, &Bindings::new(), &way).map_err(|error| error.to_string())?;
            results.push([evaluated, compiled]);
        }
        let [[expected, _], found] = [results.remove(1), results.remove(0)];
        for (how, found) in ["interpreter", "compiled"].into_iter().zip(&found) {
            // The sum is the harness's own, and integers need not be equal where numbers are drawn.
            let compared = expected.iter().filter(|(name, data)| *name != "loss" && data.dtype.is_float());
            for (name, data) in compared {
                let found = &found[name.as_str()];
                let found = if found.dtype == DType::BF16 { convert(found, DType::F32) } else { found.clone() };
                let largest = data
                    .to_f64()
                    .into_iter()
                    .filter(|value| value.is_finite())
                    .fold(1.0, |max, value| value.abs().max(max));
                let (lhs, rhs) = (data.to_f64(), found.to_f64());
                let worst = lhs.iter().zip(&rhs).map(|(lhs, rhs)| (lhs - rhs).abs() / largest).fold(0.0, f64::max);
                if worst > self.bfloat16 {
                    return Err(format!("{how}: {name} differs by {worst:.4} of its largest element (or 1)"));
                }
            }
        }
        Ok(())
    }

    /// Traces the layer in its present mode and compares it with `results`, named `out.N`.
    fn check_mode(&self, subject: &dyn Subject, stored: &Stored, results: &Tensors) -> Result<(), String> {
        let (func, weights) = self.trace(subject, stored, Some(results.len()))?;
        let mut expected = results.clone();
        expected.extend(stored.after.clone());
        // A gradient is named after its parameter.
        expected.extend(stored.gradients.clone());
        let inputs = inputs(&func, &weights, stored);
        let evaluated = eval_func(&func, &weights, &inputs, &Bindings::new()).map_err(lines)?;
        self.compare(&expected, &evaluated).map_err(|why| format!("interpreter: {why}"))?;

        let ways: Vec<Way> =
            execute::tiers().iter().map(|&tier| Way { target: Target::Cpu, tier, fuse: true, threads: 1 }).collect();
        let compiled = check_ways(&func, &weights, &inputs, &Bindings::new(), &ways, None, None)?;
        self.compare(&expected, &compiled).map_err(|why| format!("compiled: {why}"))
    }

    /// The layer in its present mode as a function, with the gradients that are stored.
    fn trace(
        &self,
        subject: &dyn Subject,
        stored: &Stored,
        n_results: Option<usize>,
    ) -> Result<(Func, Weights), String> {
        let module = trace("layer", |t| {
            t.bind(subject.module());
            let inputs: Vec<Tensor> = stored.inputs.iter().map(|(name, data)| t.input(name, data.ty())).collect();
            let outputs = subject.call(&inputs);
            let mut loss: Option<Tensor> = None;
            for (idx, output) in outputs.iter().enumerate() {
                let name = format!("ct.{idx}");
                if let Some(data) = stored.cotangents.get(&name)
                    && !stored.gradients.is_empty()
                {
                    let term = (output * t.input(&name, data.ty())).float().sum(..);
                    loss = Some(loss.map_or(term.clone(), |loss| loss + &term));
                }
            }
            if let Some(loss) = loss {
                t.output("loss", loss);
            }
            for (idx, output) in outputs.iter().enumerate() {
                t.output(&format!("out.{idx}"), output);
            }
        });
        let module = module.map_err(|error| error.to_string())?;
        let func = &module.funcs[0];
        let found = func.results.iter().filter(|result| result.name.starts_with("out.")).count();
        if let Some(expected) = n_results
            && found != expected
        {
            return Err(format!("gives {found} results, expected {expected}"));
        }
        let func = match stored.gradients.is_empty() {
            true => func.clone(),
            false => value_and_grad(func, &positions(func, &stored.gradients)?, 0).map_err(lines)?,
        };
        Ok((func, module.weights))
    }

    fn compare(&self, expected: &Tensors, found: &Tensors) -> Result<(), String> {
        for (name, data) in expected {
            let found = found.get(name).ok_or_else(|| format!("there is no {name}"))?;
            close(data, found, self.relative, self.scale).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }
}

/// What is stored of one configuration.
struct Stored {
    repr: String,
    training: bool,
    /// `in.N`, in order.
    inputs: Tensors,
    /// Parameters and buffers by name.
    state: StateDict,
    /// `ct.N`.
    cotangents: Tensors,
    /// By the name of the traced function's parameter: `in.N`, or a parameter's name.
    gradients: Tensors,
    /// Buffers that a call in training mode changes, by name.
    after: Tensors,
    /// `out.N` and `eval.N`.
    results: Tensors,
}

impl Stored {
    fn read(layer: &str, name: &str) -> Result<Self, String> {
        let golden = Golden::read(&format!("nn/{layer}"));
        let about = &golden.about()["cases"][name];
        let repr = about["repr"].as_str().ok_or_else(|| format!("{layer}.safetensors has no case {name}"))?;
        let group = |prefix: &str| golden.group(&format!("{name}/{prefix}"));
        let named = |prefix: &str, group: Tensors| -> Tensors {
            group.into_iter().map(|(key, data)| (format!("{prefix}{key}"), data)).collect()
        };
        let mut state = StateDict::new();
        for (key, data) in group("param.").into_iter().chain(group("buffer.")) {
            state.insert(key, data);
        }
        // Keys sort as text; inputs are taken by number.
        let mut inputs = named("in.", group("in."));
        inputs.sort_by_key(|key, _| key["in.".len()..].parse::<usize>().unwrap_or(usize::MAX));
        let mut gradients = named("in.", group("grad.in."));
        gradients.extend(group("grad.param."));
        let mut results = named("out.", group("out."));
        results.extend(named("eval.", group("eval.")));
        Ok(Self {
            repr: repr.to_string(),
            training: about["training"].as_bool().unwrap_or(true),
            inputs,
            state,
            cotangents: named("ct.", group("ct.")),
            gradients,
            after: group("after."),
            results,
        })
    }

    /// What is left to say of the configuration once inputs and cotangents are given.
    fn part(&self) -> Self {
        Self {
            repr: String::new(),
            training: self.training,
            inputs: Tensors::new(),
            state: StateDict::new(),
            cotangents: Tensors::new(),
            gradients: self.gradients.clone(),
            after: Tensors::new(),
            results: Tensors::new(),
        }
    }

    /// The results of one mode, as `out.N`.
    fn mode(&self, prefix: &str) -> Tensors {
        let of_mode = self.results.iter().filter_map(|(key, data)| Some((key.strip_prefix(prefix)?, data)));
        of_mode.map(|(idx, data)| (format!("out.{idx}"), data.clone())).collect()
    }
}

/// The inputs of the function by name: the case's own, and the weights that the trace kept.
fn inputs(func: &Func, weights: &Weights, stored: &Stored) -> Tensors {
    let mut inputs = Tensors::new();
    for param in &func.params {
        let weight = param.weight.as_ref().and_then(|weight| weights.get(weight));
        let data = weight.or_else(|| stored.inputs.get(&param.name)).or_else(|| stored.cotangents.get(&param.name));
        if let Some(data) = data {
            inputs.insert(param.name.clone(), data.clone());
        }
    }
    inputs
}

/// Positions of the parameters that gradients are stored of.
fn positions(func: &Func, gradients: &Tensors) -> Result<Vec<usize>, String> {
    let position = |name: &String| {
        let found = func.params.iter().position(|param| param.name == *name);
        found.ok_or_else(|| format!("there is no parameter {name} to differentiate by"))
    };
    gradients.keys().map(position).collect()
}

/// The names of the cases that are stored of a layer.
pub fn stored_cases(layer: &str) -> Vec<String> {
    let golden = Golden::read(&format!("nn/{layer}"));
    let cases = golden.about()["cases"].as_object();
    cases.map(|cases| cases.keys().cloned().collect()).unwrap_or_default()
}

/// The same numbers in another floating element type.
fn convert(data: &TensorData, dtype: DType) -> TensorData {
    let scalars = data.scalars().map(|scalar| Scalar::from_f64(dtype, scalar.to_f64()));
    TensorData::from_scalars(dtype, data.shape.clone(), scalars)
}

/// A module's printed form.
struct Tree<'a>(&'a dyn Module);

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self.0, f)
    }
}

fn lines(faults: Vec<Diagnostic>) -> String {
    faults.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}
