//! `nnc compile`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use nnc::codegen::assemble::Assembly;
#[cfg(not(feature = "llvm"))]
use nnc::codegen::assemble::without_llvm;
use nnc::codegen::cranelift::{Text, emit_text};
use nnc::codegen::llvm::text::{Dialect, emit_module};
use nnc::compile::{Lowered, lower, optimize};
use nnc::runtime::program::{Line, Step, outline};
use nnc::{Error, Options, Target};
use nnc_ir::Diagnostic;
use nnc_ir::weights::write_atomically;

use super::given::GivenArgs;
use super::select::{options, select};
use super::{Failure, FuncArgs, OptArgs, Outcome, TierArg, beside, parse_target, report};

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The function as it was read, before any pass, with its weights: nnc's own form of a model.
    Model,
    /// The optimized function.
    Ir,
    /// The kernels.
    Kernel,
    /// Cranelift IR.
    Clif,
    /// LLVM IR.
    Llvm,
    /// Assembly of the tier.
    Asm,
    /// PTX.
    Ptx,
    /// The artifact.
    Nnc,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: `.ir` text (weights in the `.safetensors` beside it), a binary module, or `.onnx`.
    model: PathBuf,
    /// `cpu`, `cuda`, or `cuda:ARCH` such as `cuda:sm_90`.
    #[arg(long, default_value = "cpu")]
    target: String,
    /// Emitter of CPU code.
    #[arg(long, value_enum, default_value_t)]
    tier: TierArg,
    /// What to write. Default: a model if the output is an `.ir` or `.irb` file, else the artifact.
    #[arg(long, value_enum)]
    emit: Option<Emit>,
    /// Where to write. Default: beside the model for artifacts, standard output for text.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Check the function after every pass.
    #[arg(long)]
    verify_each: bool,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    func: FuncArgs,
    #[command(flatten)]
    opt: OptArgs,
}

pub(super) fn main(args: &Args) -> Outcome {
    let start = Instant::now();
    let form = args.emit.unwrap_or_else(|| default_form(args.output.as_deref()));
    let selected = select(&args.model, &args.func, &mut args.given.read()?)?;
    let options = Options {
        target: parse_target(&args.target)?,
        tier: args.tier.into(),
        verify_each: args.verify_each,
        ..options(&selected, &args.opt)
    };
    if matches!(form, Emit::Model | Emit::Ir) {
        let func = match form {
            Emit::Model => selected.func,
            _ => optimize(&selected.func, &selected.weights, &options)?.0,
        };
        let module = nnc_ir::Module { funcs: vec![func], weights: selected.weights };
        return match &args.output {
            Some(path) => Ok(nnc_ir::file::save_module(path, &module)?),
            None => print(&module.to_string()),
        };
    }
    let lowered = lower(&selected.func, &selected.weights, &options)?;
    if form != Emit::Nnc {
        let text = emit(form, args.tier, &options, &lowered)?;
        return match &args.output {
            Some(path) => write_file(path, text.as_bytes()),
            None => print(&text),
        };
    }
    let n_nodes = lowered.func.graph.n_nodes();
    let passes: std::time::Duration = lowered.passes.iter().map(|timing| timing.duration).sum();
    let lowering = lowered.lowering;
    let (mut program, emission) = lowered.assembly.emit(options.tier).map_err(Error::from)?;
    program.ports = selected.ports(&program);
    let path = args.output.clone().unwrap_or_else(|| beside(&args.model, "nnc"));
    nnc::runtime::artifact::save(&program, &path)?;
    print(&format!(
        "{}: @{} for {} ({})\npeak memory   {}\nkernels       {} in {} launches, from {n_nodes} nodes\ntime          {} \
         (passes {}, lowering {}, code {})\n",
        path.display(),
        program.name,
        program.target,
        program.tier,
        report::bytes(program.peak_bytes()),
        program.kernels.len(),
        program.launches.len(),
        report::millis(start.elapsed()),
        report::millis(passes),
        report::millis(lowering),
        report::millis(emission),
    ))
}

/// What is written where nothing is asked for.
fn default_form(output: Option<&Path>) -> Emit {
    let extension = output.and_then(Path::extension);
    let is_model = extension.is_some_and(|extension| extension == "ir" || extension == nnc_ir::file::BINARY_EXTENSION);
    if is_model { Emit::Model } else { Emit::Nnc }
}

/// The text form asked for.
fn emit(form: Emit, tier: TierArg, options: &Options, lowered: &Lowered) -> Result<String, Failure> {
    let kernels = &lowered.assembly.kernels;
    let emit_error = |error| Error::from(nnc::codegen::assemble::Error::Emit(error));
    let is_cpu = options.target == Target::Cpu;
    let wrong_target = |what: &str, target: &str| -> Failure {
        let location = nnc_ir::Location::at("--emit", 0, 0);
        Diagnostic::new(location, format!("{what} exists for the target {target}, found {}", options.target)).into()
    };
    Ok(match form {
        Emit::Kernel => {
            let text = kernels.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
            format!("{text}{}", steps(&lowered.assembly))
        }
        Emit::Clif if is_cpu => emit_text(kernels, Text::Clif).map_err(emit_error)?,
        Emit::Clif => return Err(wrong_target("Cranelift IR", "cpu")),
        Emit::Asm if is_cpu => match tier {
            TierArg::Cranelift => emit_text(kernels, Text::Asm).map_err(emit_error)?,
            TierArg::Llvm => llvm_assembly(kernels)?,
        },
        Emit::Asm => return Err(wrong_target("assembly", "cpu")),
        Emit::Llvm => {
            let dialect = if is_cpu { Dialect::Host } else { Dialect::Nvptx };
            emit_module(kernels, dialect).map_err(emit_error)?
        }
        Emit::Ptx => match &options.target {
            Target::Cuda { arch } => ptx(kernels, arch)?,
            Target::Cpu => return Err(wrong_target("PTX", "cuda")),
        },
        Emit::Model | Emit::Ir | Emit::Nnc => unreachable!("handled by the caller"),
    })
}

/// The order of the kernels, where it is more than one after the other: loops and branches, and the addresses that move
/// with them.
fn steps(assembly: &Assembly) -> String {
    if assembly.steps.iter().all(|step| matches!(step, Step::Launch(_))) {
        return String::new();
    }
    let lines = outline(&assembly.steps).into_iter().map(|(depth, line)| {
        let line = match line {
            Line::Heading(heading) => heading,
            Line::Launch(launch) => {
                let launch = &assembly.launches[launch];
                let args: Vec<String> = launch.args.iter().map(ToString::to_string).collect();
                format!("{}({})", assembly.kernel_infos[launch.kernel as usize].symbol, args.join("; "))
            }
        };
        format!("// {}{line}\n", "  ".repeat(depth))
    });
    std::iter::once("\n".to_string()).chain(lines).collect()
}

#[cfg(feature = "llvm")]
fn llvm_assembly(kernels: &[nnc::codegen::kernel::Kernel]) -> Result<String, Failure> {
    let text = nnc::codegen::llvm::host::assembly(kernels);
    Ok(text.map_err(|error| Error::from(nnc::codegen::assemble::Error::Emit(error)))?)
}

#[cfg(feature = "llvm")]
fn ptx(kernels: &[nnc::codegen::kernel::Kernel], arch: &str) -> Result<String, Failure> {
    let text = nnc::codegen::llvm::nvptx::compile(kernels, arch);
    Ok(text.map_err(|error| Error::from(nnc::codegen::assemble::Error::Emit(error)))?)
}

#[cfg(not(feature = "llvm"))]
fn llvm_assembly(_: &[nnc::codegen::kernel::Kernel]) -> Result<String, Failure> {
    Err(Error::message(without_llvm("assembly of the tier `llvm`")).into())
}

#[cfg(not(feature = "llvm"))]
fn ptx(_: &[nnc::codegen::kernel::Kernel], _: &str) -> Result<String, Failure> {
    Err(Error::message(without_llvm("PTX")).into())
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Replaces a file in one step.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Outcome {
    Ok(write_atomically(path, |out| out.write_all(bytes))?)
}
