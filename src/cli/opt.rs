//! `nnc opt`.

use std::path::PathBuf;

use nnc_ir::{Diagnostic, Func, Location, Module};
use nnc_passes::pipeline::{PASSES, Pass, PassManager, Step, pass, pipeline};
use nnc_passes::specialize::specialize;

use super::build::{print, write_file};
use super::given::GivenArgs;
use super::select::{load, opt_level, parse_dims};
use super::{Failure, OptArgs, Outcome, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model.
    #[arg(required_unless_present = "list")]
    model: Option<PathBuf>,
    /// Passes to run in order; the whole pipeline if left out.
    #[arg(long = "pass", value_name = "NAME,...", value_delimiter = ',')]
    passes: Vec<String>,
    /// Function to take; every function if left out.
    #[arg(long, value_name = "NAME")]
    func: Option<String>,
    /// Extent of a symbolic dimension.
    #[arg(long = "dim", value_name = "SYMBOL=EXTENT")]
    dims: Vec<String>,
    /// Print the function to standard error after each run of this pass (`all` for every pass).
    #[arg(long, value_name = "NAME")]
    print_after: Option<String>,
    /// Stop after the first run of this pass.
    #[arg(long, value_name = "NAME")]
    stop_after: Option<String>,
    /// Check the function after every pass.
    #[arg(long)]
    verify_each: bool,
    /// Print the time of every pass to standard error.
    #[arg(long)]
    timings: bool,
    /// List the passes.
    #[arg(long)]
    list: bool,
    /// Where to write; standard output if left out.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    given: GivenArgs,
    #[command(flatten)]
    opt: OptArgs,
}

pub(super) fn main(args: &Args) -> Outcome {
    let model = match &args.model {
        Some(model) if !args.list => model,
        _ => {
            let width = PASSES.iter().map(|pass| pass.name.len()).max().unwrap_or(0);
            return print(
                &PASSES.iter().map(|pass| format!("{:width$}  {}\n", pass.name, pass.doc)).collect::<String>(),
            );
        }
    };
    let steps = if args.passes.is_empty() {
        pipeline(opt_level(&args.opt))
    } else {
        args.passes.iter().map(|name| Ok(Step::Once(find(name, "--pass")?))).collect::<Result<_, Failure>>()?
    };
    let stop_after = args.stop_after.as_deref().map(|name| find(name, "--stop-after")).transpose()?;
    let print_after = match args.print_after.as_deref() {
        Some("all") | None => None,
        Some(name) => Some(find(name, "--print-after")?.name),
    };
    let mut dims = parse_dims(&args.dims)?;
    let Module { funcs, weights } = load(model, &mut dims, &mut args.given.read()?)?.module;
    let mut optimized = Vec::with_capacity(funcs.len());
    for func in funcs.iter().filter(|func| args.func.as_ref().is_none_or(|name| *name == func.name)) {
        let func = if dims.is_empty() { func.clone() } else { specialize(func, &dims)? };
        let mut manager = PassManager::new();
        manager.stop_after = stop_after.map(|pass| pass.name);
        if args.verify_each {
            manager.verify_each = Some(Func::verify);
        }
        if args.print_after.is_some() {
            manager.observer = Some(Box::new(|name, func: &Func| {
                if print_after.is_none_or(|wanted| wanted == name) {
                    eprintln!("// after {name}\n{func}");
                }
            }));
        }
        optimized.push(manager.run(&func, &steps)?);
        if args.timings {
            for timing in manager.timings() {
                eprintln!(
                    "{:<14} {:>10}  {} -> {} nodes",
                    timing.pass,
                    report::millis(timing.duration),
                    timing.nodes_before,
                    timing.nodes_after
                );
            }
        }
    }
    let module = Module { funcs: optimized, weights };
    match &args.output {
        Some(path) => write_file(path, module.to_string().as_bytes()),
        None => print(&module.to_string()),
    }
}

fn find(name: &str, argument: &str) -> Result<&'static Pass, Failure> {
    let found = pass(name.trim());
    Ok(found.ok_or_else(|| {
        let names: Vec<&str> = PASSES.iter().map(|pass| pass.name).collect();
        Diagnostic::new(
            Location::at(argument, 0, 0),
            format!("unknown pass `{name}`, expected one of {}", names.join(", ")),
        )
    })?)
}
