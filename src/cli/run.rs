//! `nnc run`.

use std::path::PathBuf;

use clap::ValueEnum;
use indexmap::IndexMap;
use nnc::jit::{bind_inputs, dtype_of, read_output};
use nnc::model::name_results;
use nnc::runtime::profile::chrome_trace;
use nnc::runtime::program::{InputRole, Ports};
use nnc::runtime::rng::philox4x32;
use nnc::runtime::{Executable, Instance, artifact, device};
use nnc::{Options, Target, compile};
use nnc_ir::{Bindings, DType, Diagnostic, Location, ParamKind, Scalar, TensorData, TensorType};

use super::build::print;
use super::given::{Given, GivenArgs};
use super::outputs::Outputs;
use super::select::{options, select};
use super::{Failure, FuncArgs, OptArgs, Outcome, TierArg, file_fault};

/// What runs the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DeviceArg {
    /// The reference interpreter.
    Interp,
    /// Compiled code on this machine.
    Cpu,
    /// Compiled code on an NVIDIA GPU.
    Cuda,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A model (`.ir`, binary, `.onnx`) or an artifact (`.nnc`).
    model: PathBuf,
    #[command(flatten)]
    given: GivenArgs,
    /// Where to write the outputs, as an `.npz` file. Without it, small outputs are printed.
    #[arg(long, value_name = "FILE.npz")]
    outputs: Option<PathBuf>,
    /// What runs it. Default: `cpu` for models, the artifact's own device for artifacts.
    #[arg(long, value_enum)]
    device: Option<DeviceArg>,
    /// Emitter of CPU code.
    #[arg(long, value_enum, default_value_t)]
    tier: TierArg,
    /// Threads to run on; 0 is one a core. Any number gives the same bits.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Fill inputs that are not given with uniform random numbers from this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Time each launch (the best of --repeat runs), print them, and write a trace for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// Runs to profile.
    #[arg(long, default_value_t = 20, requires = "profile")]
    repeat: usize,
    #[command(flatten)]
    func: FuncArgs,
    #[command(flatten)]
    opt: OptArgs,
}

pub(super) fn main(args: &Args) -> Outcome {
    let given = args.given.read()?;
    let outputs = if is_artifact(&args.model)? { run_artifact(args, given)? } else { run_model(args, given)? };
    match &args.outputs {
        Some(path) => outputs.save(path),
        None => print(&outputs.describe()),
    }
}

fn is_artifact(path: &std::path::Path) -> Result<bool, Failure> {
    use std::io::Read;
    let mut magic = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut magic));
    read.map_err(|error| file_fault(path, format!("cannot read the file: {error}")))?;
    Ok(artifact::is_artifact(&magic) || path.extension().is_some_and(|extension| extension == "nnc"))
}

/// What a program or function expects: names and types in order.
struct Expected {
    name: String,
    ty: TensorType,
}

/// Arrays in the expected order; those not given come from the seed.
fn arrange(
    expected: &[Expected],
    mut given: Given,
    seed: Option<u64>,
    dims: &Bindings,
    defaults: &IndexMap<String, TensorData>,
) -> Result<Vec<TensorData>, Failure> {
    let place = |name: &str| Location::at(format!("input {name}"), 0, 0);
    let mut faults = Vec::new();
    let mut arrays = Vec::with_capacity(expected.len());
    for (idx, Expected { name, ty }) in expected.iter().enumerate() {
        if let Some(data) = given.shift_remove(name).or_else(|| defaults.get(name).cloned()) {
            arrays.push(data);
            continue;
        }
        let fixed = ty.substitute(dims);
        match (seed, fixed.shape.as_fixed()) {
            (Some(_), Some(_)) if !fits_memory(&fixed) => {
                let message = format!("the random input has type {fixed}, which this machine has no memory for");
                faults.push(Diagnostic::new(place(name), message));
            }
            (Some(seed), Some(shape)) => arrays.push(random(seed, idx as u32, fixed.dtype, shape)),
            (Some(_), None) => {
                let message = format!("the random input has type {ty}, expected --dim for each symbol");
                faults.push(Diagnostic::new(place(name), message));
            }
            (None, _) => {
                let message = format!("not given, expected {ty}");
                faults.push(
                    Diagnostic::new(place(name), message)
                        .note(format!("give it with --input {name}=FILE.npy, or fill it with --seed 0")),
                );
            }
        }
    }
    for (name, _) in given {
        let names: Vec<&str> = expected.iter().map(|expected| expected.name.as_str()).collect();
        let message = format!("there is no such input; expected {}", names.join(", "));
        faults.push(Diagnostic::new(place(&name), message));
    }
    if faults.is_empty() { Ok(arrays) } else { Err(faults.into()) }
}

/// Whether a tensor of this type can be allocated.
fn fits_memory(ty: &TensorType) -> bool {
    ty.bytes().is_some_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
}

/// Uniform in [0, 1) for floats, small numbers for integers.
fn random(seed: u64, stream: u32, dtype: DType, shape: Vec<usize>) -> TensorData {
    let n = shape.iter().product::<usize>();
    let key = [seed as u32, (seed >> 32) as u32];
    let scalars = (0..n).map(|idx| {
        let block = philox4x32(key, [(idx / 4) as u32, ((idx / 4) >> 32) as u32, stream, 0]);
        let bits = block[idx % 4];
        match dtype {
            DType::Bool => Scalar::from_i64(dtype, i64::from(bits & 1)),
            _ if dtype.is_float() => Scalar::from_f64(dtype, f64::from(bits >> 8) / f64::from(1 << 24)),
            _ => Scalar::from_i64(dtype, i64::from(bits % 10)),
        }
    });
    TensorData::from_scalars(dtype, shape.clone(), scalars)
}

fn run_model(args: &Args, mut given: Given) -> Result<Outputs, Failure> {
    let selected = select(&args.model, &args.func, &mut given)?;
    let params = selected.func.params.iter().zip(selected.func.graph.params());
    let expected: Vec<Expected> = params
        .filter(|(param, _)| param.kind == ParamKind::Input)
        .map(|(param, &value)| Expected { name: param.name.clone(), ty: selected.func.graph.ty(value).clone() })
        .collect();
    let learning_rate = selected.learning_rate.map(|lr| {
        let data = TensorData::from_scalars(DType::F32, Vec::new(), [Scalar::from_f64(DType::F32, lr)]);
        ("lr".to_string(), data)
    });
    let arrays = arrange(&expected, given, args.seed, &selected.dims, &learning_rate.into_iter().collect())?;
    let dims = bind_inputs(&selected.func, &arrays, &selected.dims)?;
    if args.device == Some(DeviceArg::Interp) {
        let named = expected.into_iter().map(|expected| expected.name).zip(arrays).collect();
        let results = nnc_ir::interp::eval_func(&selected.func, &selected.weights, &named, &dims)?;
        return Ok(selected.outputs_of(results));
    }
    let target = match args.device {
        Some(DeviceArg::Cuda) => Target::Cuda { arch: nnc::codegen::target::DEFAULT_ARCH.to_string() },
        _ => Target::Cpu,
    };
    let options = Options { target, tier: args.tier.into(), dims, ..options(&selected, &args.opt) };
    let device = device::for_target(&options.target.to_string())?;
    let compiled = compile(&selected.func, &selected.weights, &options)?;
    let executable = Executable::load(compiled.program, &*device)?;
    let named = expected.iter().map(|expected| expected.name.as_str()).zip(&arrays);
    Ok(selected.outputs_of(run_executable(&executable, named, args)?))
}

fn run_artifact(args: &Args, mut given: Given) -> Result<Outputs, Failure> {
    let program = artifact::load(&args.model)?;
    let kind = program.target.split(':').next().unwrap_or_default().to_string();
    let device_name = match args.device {
        None => kind.clone(),
        Some(DeviceArg::Cpu) => "cpu".to_string(),
        Some(DeviceArg::Cuda) => "cuda".to_string(),
        Some(DeviceArg::Interp) => {
            return Err(file_fault(&args.model, "an artifact holds machine code, the interpreter needs a model").into());
        }
    };
    let device = device::for_target(&device_name)?;
    let executable = Executable::load(program, &*device)?;
    let program = executable.program();
    drop_fixed(&mut given, &program.ports)?;
    let data = program.inputs.iter().filter(|input| input.role == InputRole::Data);
    let expected: Vec<Expected> = data
        .map(|input| Expected {
            name: input.name.clone(),
            ty: TensorType { dtype: dtype_of(input.spec.elem), shape: nnc_ir::Shape::fixed(&input.spec.shape) },
        })
        .collect();
    let arrays = arrange(&expected, given, args.seed, &Bindings::new(), &IndexMap::new())?;
    let mut faults = Vec::new();
    for (Expected { name, ty }, data) in expected.iter().zip(&arrays) {
        if data.ty() != *ty {
            let place = Location::at(format!("input {name}"), 0, 0);
            faults.push(Diagnostic::new(place, format!("found {}, expected {ty}", data.ty())));
        }
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let named = expected.iter().map(|expected| expected.name.as_str()).zip(&arrays);
    let results = run_executable(&executable, named, args)?;
    let (names, results): (Vec<String>, Vec<TensorData>) = results.into_iter().unzip();
    Ok(Outputs::new(name_results(&executable.program().ports.outputs, &names, results), |_| None))
}

/// Takes those arrays away that the program was compiled for.
fn drop_fixed(given: &mut Given, ports: &Ports) -> Result<(), Failure> {
    let mut faults = Vec::new();
    for (name, value) in &ports.fixed {
        let Some(data) = given.shift_remove(name) else { continue };
        let compiled = TensorData::new(dtype_of(value.spec.elem), value.spec.shape.clone(), value.data.clone());
        if data != compiled {
            let message =
                format!("found {}, expected {}: the program was compiled for it", short(&data), short(&compiled));
            let fault = Diagnostic::new(Location::at(format!("input {name}"), 0, 0), message);
            faults.push(fault.note("compile the model again for another value, or run it as it is: nnc run MODEL"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.into()) }
}

/// Type and first elements.
fn short(data: &TensorData) -> String {
    const MAX_ELEMENTS: usize = 8;
    let mut items: Vec<String> = data.scalars().take(MAX_ELEMENTS).map(|scalar| scalar.to_string()).collect();
    if data.len() > MAX_ELEMENTS {
        items.push("...".to_string());
    }
    format!("{} ({})", data.ty(), items.join(" "))
}

fn run_executable<'a>(
    executable: &Executable,
    inputs: impl Iterator<Item = (&'a str, &'a TensorData)>,
    args: &Args,
) -> Result<IndexMap<String, TensorData>, Failure> {
    let mut instance = executable.instance(args.threads)?;
    for (name, data) in inputs {
        instance.write(name, &data.bytes)?;
    }
    instance.run()?;
    if let Some(path) = &args.profile {
        profile(&mut instance, args.repeat, path)?;
    }
    let outputs = executable.program().outputs.iter().enumerate();
    outputs.map(|(idx, output)| Ok((output.name.clone(), read_output(&instance, idx)?))).collect()
}

/// Times every launch over several runs, prints the best of each, and writes the last run as a trace.
fn profile(instance: &mut Instance, repeat: usize, path: &std::path::Path) -> Outcome {
    let mut best = instance.profile_run()?;
    let mut last = best.clone();
    for _ in 1..repeat {
        last = instance.profile_run()?;
        for (best, time) in best.iter_mut().zip(&last) {
            best.ns = best.ns.min(time.ns);
        }
    }
    let total: u64 = best.iter().map(|time| time.ns).sum();
    for time in &best {
        let seconds = time.ns.max(1) as f64 * 1e-9;
        eprintln!(
            "{:>10.2} us {:>5.1} %  {:>7.1} GFLOP/s {:>7.1} GB/s  {}{}",
            time.ns as f64 / 1e3,
            100.0 * time.ns as f64 / total.max(1) as f64,
            time.flops as f64 / seconds / 1e9,
            time.bytes as f64 / seconds / 1e9,
            time.label,
            if time.runs == 1 { String::new() } else { format!(" ({} times)", time.runs) }
        );
    }
    eprintln!("{:>10.2} us in all", total as f64 / 1e3);
    let name = instance.program().name.clone();
    super::build::write_file(path, chrome_trace(&name, &last).as_bytes())
}
