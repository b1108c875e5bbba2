//! `nnc export`.

use std::path::PathBuf;

use nnc_onnx::ExportOptions;
use nnc_passes::specialize::specialize;

use super::build::print;
use super::given::GivenArgs;
use super::select::select;
use super::{FuncArgs, Outcome, beside, file_fault, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: `.ir` text (weights in the `.safetensors` beside it), a binary module, or `.onnx`.
    model: PathBuf,
    #[command(flatten)]
    func: FuncArgs,
    #[command(flatten)]
    given: GivenArgs,
    /// Where to write. Default: beside the model.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Write weights to a file beside the model, OUTPUT.data, as is done anyway with more than 1 GiB of them.
    #[arg(long)]
    external_data: bool,
}

pub(super) fn main(args: &Args) -> Outcome {
    let path = args.output.clone().unwrap_or_else(|| beside(&args.model, "onnx"));
    if path == args.model {
        let fault = file_fault(&path, "the model itself would be written over");
        return Err(fault.note("say where to write with --output FILE.onnx").into());
    }
    let selected = select(&args.model, &args.func, &mut args.given.read()?)?;
    let mut options = ExportOptions { bounds: selected.bounds(), ..ExportOptions::default() };
    if args.external_data {
        options.max_inline_bytes = 0;
    }
    let func = match selected.dims.is_empty() {
        true => selected.func,
        false => specialize(&selected.func, &selected.dims)?,
    };
    let exported = nnc_onnx::export(&func, &selected.weights, &path, &options)?;
    let external = match &exported.external_data {
        Some(path) => format!(" in {}", path.display()),
        None => String::new(),
    };
    print(&format!(
        "{}: @{} as ONNX, opset {}, {} nodes, {} of weights{external}\n",
        path.display(),
        func.name,
        exported.opset,
        exported.n_nodes,
        report::bytes(exported.n_weight_bytes),
    ))
}
