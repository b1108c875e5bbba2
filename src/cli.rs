//! Arguments and commands. Only this module and its children print.

mod build;
mod explain;
mod export;
mod given;
mod inspect;
mod opt;
mod outputs;
mod report;
mod run;
mod select;
mod weights;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use nnc::{Error, Target, Tier};
use nnc_ir::DType;
use nnc_ir::{Diagnostic, Location};

/// A graph compiler for neural networks.
#[derive(Debug, Parser)]
#[command(name = "nnc", version, about, after_help = "Run `nnc COMMAND --help` for examples.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a function to an artifact, or to any text on the way there.
    #[command(after_help = "\
Examples:
  nnc compile model.ir --dim N=1                          inference with frozen weights: model.nnc
  nnc compile model.onnx --dim batch=1 -o model.nnc       the same for an ONNX model
  nnc compile model.onnx -o model.ir                      the model in nnc's own text, weights in model.safetensors
  nnc compile model.ir --dim N=64 --target cuda:sm_90     PTX and launch plan for NVIDIA GPUs
  nnc compile loss.ir --dim N=64 --optimizer sgd:lr=0.1   a whole training step
  nnc compile model.ir --dim N=1 --emit kernel            the kernels as text, to standard output")]
    Compile(build::Args),
    /// Run a model or an artifact on arrays.
    #[command(after_help = "\
Examples:
  nnc run model.ir --input x=x.npy
  nnc run model.nnc --inputs in.npz --outputs out.npz
  nnc run model.onnx --inputs in.npz                      dimensions are taken from the inputs
  nnc run model.onnx --inputs input_0.pb                  the test data that comes with a model
  nnc run model.ir --dim N=4 --seed 0 --device interp     random inputs, on the reference interpreter")]
    Run(run::Args),
    /// Run passes on a module and print it.
    #[command(after_help = "\
Examples:
  nnc opt model.ir --pass const_fold,dce
  nnc opt model.ir --dim N=64 --print-after simplify --verify-each --timings
  nnc opt --list")]
    Opt(opt::Args),
    /// Show what a model or an artifact holds, or draw its graph.
    #[command(after_help = "\
Examples:
  nnc inspect model.ir
  nnc inspect model.onnx                                  operators too, and which are not supported
  nnc inspect model.nnc
  nnc inspect model.ir --graph svg > model.svg")]
    Inspect(inspect::Args),
    /// Say which fusions were made and missed and why, where memory goes, and what each kernel costs.
    #[command(after_help = "\
Examples:
  nnc explain model.ir --dim N=64
  nnc explain loss.ir --dim N=64 --optimizer sgd:lr=0.1 --json")]
    Explain(explain::Args),
    /// Write a function as an ONNX model.
    #[command(after_help = "\
Examples:
  nnc export model.ir -o model.onnx
  nnc export model.irb --func forward --dim N=1 -o model.onnx")]
    Export(export::Args),
    /// List the tensors of a file of weights, or convert it.
    #[command(after_help = "\
Examples:
  nnc weights model.safetensors
  nnc weights checkpoint.pt --below state_dict. -o model.safetensors
  nnc weights model.safetensors.index.json --dtype f16 -o model.npz")]
    Weights(weights::Args),
    /// List targets, tiers and devices, and what this build and machine can do of them.
    Targets,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How to choose and prepare the function of a module.
#[derive(Debug, clap::Args)]
struct FuncArgs {
    /// Function to take; may be left out if the module has one.
    #[arg(long, value_name = "NAME")]
    func: Option<String>,
    /// Differentiate: the function's scalar result `loss` (or its only result) with respect to every `param`.
    #[arg(long)]
    grad: bool,
    /// Build a training step with this optimizer.
    #[arg(long, value_name = "NAME:SETTING=VALUE,...", conflicts_with = "grad")]
    optimizer: Option<String>,
    /// Compute contractions in half precision, as `torch.autocast`; with `f16`, an optimizer's step scales the loss.
    #[arg(long, value_name = "DTYPE", value_parser = half_precision())]
    autocast: Option<DType>,
    /// Extent of a symbolic dimension.
    #[arg(long = "dim", value_name = "SYMBOL=EXTENT")]
    dims: Vec<String>,
}

/// Reads `bf16` or `f16`.
fn half_precision() -> impl TypedValueParser<Value = DType> {
    let names = [DType::BF16, DType::F16].map(DType::name);
    PossibleValuesParser::new(names).map(|name| DType::from_name(&name).expect("it is one of the names"))
}

/// How to optimize.
#[derive(Debug, clap::Args)]
struct OptArgs {
    /// Optimization level.
    #[arg(short = 'O', value_name = "LEVEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    level: u8,
    /// Leave every op a kernel of its own.
    #[arg(long)]
    no_fuse: bool,
}

/// Emitter of CPU code, as an argument.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum TierArg {
    /// Compiles in milliseconds.
    #[default]
    Cranelift,
    /// Optimized.
    Llvm,
}

impl From<TierArg> for Tier {
    fn from(tier: TierArg) -> Self {
        match tier {
            TierArg::Cranelift => Self::Cranelift,
            TierArg::Llvm => Self::Llvm,
        }
    }
}

/// A command's outcome.
type Outcome = Result<(), Failure>;

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// A fault in what was given.
    Input(Error),
    /// The output could not be written.
    Output(std::io::Error),
}

impl<T: Into<Error>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self::Input(error.into())
    }
}

/// A fault that concerns a whole file.
fn file_fault(path: &std::path::Path, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Location::at(path.display().to_string(), 0, 0), message)
}

/// Parses arguments and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Compile(args) => build::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Opt(args) => opt::main(&args),
        Command::Inspect(args) => inspect::main(&args),
        Command::Explain(args) => explain::main(&args),
        Command::Export(args) => export::main(&args),
        Command::Weights(args) => weights::main(&args),
        Command::Targets => targets(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "nnc", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough (`nnc ... | head`) is no failure.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => {
            report::error(&format!("cannot write: {error}"));
            ExitCode::FAILURE
        }
        Err(Failure::Input(error)) => {
            report::failure(&error);
            ExitCode::from(2)
        }
    }
}

fn targets() -> Outcome {
    use std::io::Write;

    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}").map_err(Failure::Output);
    let llvm = if cfg!(feature = "llvm") { "available" } else { "not in this build (feature llvm)" };
    line("targets".to_string())?;
    line("  cpu          available: code for this machine".to_string())?;
    for arch in nnc::codegen::target::CUDA_ARCHES {
        let default = if *arch == nnc::codegen::target::DEFAULT_ARCH { ", the default of `cuda`" } else { "" };
        line(format!("  cuda:{arch:<7} {llvm}{default}"))?;
    }
    line("tiers of cpu".to_string())?;
    line("  cranelift    available: compiles in milliseconds".to_string())?;
    line(format!("  llvm         {llvm}: optimized"))?;
    line("devices".to_string())?;
    line("  interp       available: the reference interpreter".to_string())?;
    let isa = nnc::runtime::microkernel::Isa::best().name();
    line(format!("  cpu          available: micro-kernels for {isa}"))?;
    match nnc::runtime::device::open("cuda") {
        Ok(device) => line(format!("  cuda         available: {}", device.name())),
        Err(error) => line(format!("  cuda         {error}")),
    }
}

/// The path of the output beside the input, with another extension.
fn beside(model: &std::path::Path, extension: &str) -> PathBuf {
    model.with_extension(extension)
}

/// Reads a target, as a fault of the arguments if there is no such one.
fn parse_target(text: &str) -> Result<Target, Failure> {
    Ok(Target::parse(text).map_err(|message| Diagnostic::new(Location::at("--target", 0, 0), message))?)
}
