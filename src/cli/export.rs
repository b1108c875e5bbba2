//! `nnc export`.

use std::path::PathBuf;

use nnc_passes::specialize::specialize;

use super::build::print;
use super::given::Given;
use super::select::select;
use super::{FuncArgs, Outcome, beside, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: `.ir` text (weights in the `.safetensors` beside it), a binary module, or `.onnx`.
    model: PathBuf,
    #[command(flatten)]
    func: FuncArgs,
    /// Where to write. Default: beside the model.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> Outcome {
    let selected = select(&args.model, &args.func, &mut Given::default())?;
    let func = match selected.dims.is_empty() {
        true => selected.func,
        false => specialize(&selected.func, &selected.dims)?,
    };
    let path = args.output.clone().unwrap_or_else(|| beside(&args.model, "onnx"));
    let exported = nnc_onnx::export::export(&func, &selected.weights, &path, &Default::default())?;
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
