//! Twenty steps of every optimizer against PyTorch's trajectories, interpreted and compiled.
//!
//! The model is `golden/optim/regression.ir`; each case of `golden/optim/*.safetensors` says in text which optimizers it
//! was made with (`golden/README.md`, Optimizers).

use std::error::Error;

use indexmap::IndexMap;
use libtest_mimic::{Arguments, Failed, Trial};
use nnc::{Options, Tier};
use nnc_ir::interp::eval_func;
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{Bindings, Func, TensorData};
use nnc_passes::optimizer::{Clip, GRAD_NORM, OptimizerSpec, ParamGroup, StepSpec, train_step};
use nnc_runtime::{Executable, Instance, device};
use nnc_tests::execute::tiers;
use nnc_tests::golden::{Golden, Scale, close, folder, symmetric};

const RELATIVE: f64 = 1e-5;

type Tensors = IndexMap<String, TensorData>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut files: Vec<String> = OptimizerSpec::NAMES.iter().map(ToString::to_string).collect();
    files.extend(["groups", "clip", "one_cycle"].map(String::from));
    let mut trials = Vec::new();
    for file in files {
        let golden = Golden::read(&format!("optim/{file}"));
        let cases = golden.group("").into_keys().filter_map(|key| Some(key.strip_suffix("/spec")?.to_string()));
        for case in cases {
            let machines = std::iter::once(None).chain(tiers().iter().copied().map(Some));
            for tier in machines {
                let (file, case) = (file.clone(), case.clone());
                let name = format!("{file}::{case}::{}", tier.map_or("interpreter", Tier::name));
                trials.push(Trial::test(name, move || check(&file, &case, tier)));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// Follows one trajectory, on a tier or on the interpreter.
fn check(file: &str, case: &str, tier: Option<Tier>) -> Result<(), Failed> {
    let golden = Golden::read(&format!("optim/{file}"));
    let expected: Tensors = golden.group(&format!("{case}/"));
    let spec = spec(case, &expected)?;
    let text = std::fs::read_to_string(folder().join("optim/regression.ir"))?;
    let module = parse_module(&text, "regression", WeightSource::none()).map_err(lines)?;
    let step = train_step(&module.funcs[0], 0, &spec).map_err(lines)?;
    let mut machine = Machine::new(step, tier)?;
    machine.set("x", symmetric(&[8, 5], 702, 1.5))?;
    machine.set("y", symmetric(&[8, 3], 703, 0.9))?;
    machine.set("weight", symmetric(&[3, 5], 700, 0.8))?;
    machine.set("bias", symmetric(&[3], 701, 0.4))?;

    for idx in 0..expected["loss"].len() {
        let near = |what: &str, found: &TensorData, scale: Scale| {
            close(&row(&expected[what], idx), found, RELATIVE, scale)
                .map_err(|why| format!("step {idx}: {what}: {why}"))
        };
        near("weight", &machine.get("weight")?, Scale::Tensor)?;
        near("bias", &machine.get("bias")?, Scale::Tensor)?;
        let rates = row(&expected["lr"], idx);
        for group in 0..spec.groups.len() {
            let rate = TensorData::from_f32(vec![], &[rates.get(group).to_f64() as f32]);
            machine.set(&StepSpec::learning_rate(group), rate)?;
            if spec.groups[group].schedules_momentum {
                machine.set(&StepSpec::momentum(group), row(&expected["momentum"], idx))?;
            }
        }
        let results = machine.step()?;
        near("loss", &results["loss"], Scale::Element)?;
        if expected.contains_key("norm") {
            near("norm", &results[GRAD_NORM], Scale::Element)?;
        }
    }
    for (key, expected) in &expected {
        if let Some(name) = key.strip_prefix("after.") {
            close(expected, &machine.get(name)?, RELATIVE, Scale::Tensor).map_err(|why| format!("{key}: {why}"))?;
        }
    }
    Ok(())
}

/// What the case was made with.
fn spec(case: &str, golden: &Tensors) -> Result<StepSpec, Failed> {
    let text = String::from_utf8(golden["spec"].bytes.to_vec())?;
    let mut groups = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        let optimizer = OptimizerSpec::parse(line).map_err(lines)?;
        let params = if idx == 0 { Vec::new() } else { vec!["bias".to_string()] };
        let schedules_momentum = golden.contains_key("momentum") && text.lines().count() == 1;
        groups.push(ParamGroup { optimizer, params, schedules_momentum });
    }
    let norm = |max_norm, norm_type| Clip::Norm { max_norm, norm_type, error_if_nonfinite: false };
    let clip = match case {
        "norm" => Some(Clip::norm(0.1)),
        "norm_1" => Some(norm(0.2, 1.0)),
        "norm_3" => Some(norm(0.05, 3.0)),
        "norm_inf" => Some(norm(0.03, f64::INFINITY)),
        "norm_unreached" => Some(Clip::norm(1e3)),
        "value" => Some(Clip::value(0.02)),
        _ => None,
    };
    Ok(StepSpec { groups, clip, loss_scaling: None })
}

/// Entry `idx` along the leading dimension.
fn row(data: &TensorData, idx: usize) -> TensorData {
    let shape = data.shape[1..].to_vec();
    let n_bytes = shape.iter().product::<usize>() * data.dtype.size();
    TensorData::new(data.dtype, shape, data.bytes[idx * n_bytes..][..n_bytes].to_vec())
}

/// Something that takes steps and keeps the state between them.
enum Machine {
    Interpreter { step: Box<Func>, values: Tensors },
    Compiled(Box<Instance>),
}

impl Machine {
    fn new(step: Func, tier: Option<Tier>) -> Result<Self, Failed> {
        let Some(tier) = tier else {
            let mut values = Tensors::new();
            for (param, &value) in step.params.iter().zip(step.graph.params()) {
                let ty = step.graph.ty(value);
                let shape = ty.shape.as_fixed().ok_or("a parameter has a symbolic shape")?;
                values.insert(param.name.clone(), TensorData::new(ty.dtype, shape, vec![0; ty.bytes().unwrap_or(0)]));
            }
            return Ok(Self::Interpreter { step: Box::new(step), values });
        };
        let options = Options { tier, ..Options::default() };
        let compiled = nnc::compile(&step, &IndexMap::default(), &options)?;
        let executable = Executable::load(compiled.program, &*device::for_target("cpu")?)?;
        Ok(Self::Compiled(Box::new(executable.instance(1)?)))
    }

    fn set(&mut self, name: &str, data: TensorData) -> Result<(), Failed> {
        match self {
            Self::Interpreter { values, .. } => {
                values.insert(name.to_string(), data);
            }
            Self::Compiled(instance) => instance.write(name, &data.bytes)?,
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Result<TensorData, Failed> {
        match self {
            Self::Interpreter { values, .. } => Ok(values.get(name).ok_or(format!("there is no {name}"))?.clone()),
            Self::Compiled(instance) => {
                let idx = instance.input_index(name)?;
                let spec = &instance.program().inputs[idx].spec;
                let dtype = nnc::jit::dtype_of(spec.elem);
                Ok(TensorData::new(dtype, spec.shape.clone(), instance.input(name)?.to_vec()))
            }
        }
    }

    /// Takes a step and gives what is not handed on to the next.
    fn step(&mut self) -> Result<Tensors, Failed> {
        match self {
            Self::Interpreter { step, values } => {
                let results = eval_func(step, &IndexMap::default(), values, &Bindings::new()).map_err(lines)?;
                let mut seen = Tensors::new();
                for (result, (name, data)) in step.results.iter().zip(results) {
                    let into = if result.donates.is_some() { &mut *values } else { &mut seen };
                    into.insert(name, data);
                }
                Ok(seen)
            }
            Self::Compiled(instance) => {
                instance.run()?;
                let names: Vec<String> = instance.program().outputs.iter().map(|output| output.name.clone()).collect();
                let read = |(idx, name)| Ok((name, nnc::jit::read_output(instance, idx)?));
                names.into_iter().enumerate().map(read).collect()
            }
        }
    }
}

fn lines(faults: Vec<nnc_ir::Diagnostic>) -> Failed {
    faults.iter().map(|fault| format!("{fault}\n")).collect::<String>().into()
}
