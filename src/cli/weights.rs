//! `nnc weights`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use nnc::frontend::module::StateDict;
use nnc_ir::DType;

use super::build::print;
use super::{Outcome, report};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Weights: `.safetensors`, `.npz`, PyTorch's `.pt`, `.pth` or `.bin`, the index of a sharded model, or a folder.
    file: PathBuf,
    /// Only the tensors whose names start with this, which is left out of them.
    #[arg(long, value_name = "PREFIX")]
    below: Option<String>,
    /// Round floating tensors to this element type.
    #[arg(long, value_name = "DTYPE", value_parser = float_type())]
    dtype: Option<DType>,
    /// Write the tensors to a `.safetensors` or `.npz` file instead of listing them.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Reads the name of a floating element type.
fn float_type() -> impl TypedValueParser<Value = DType> {
    let names = DType::ALL.into_iter().filter(|dtype| dtype.is_float()).map(DType::name);
    PossibleValuesParser::new(names).map(|name| DType::from_name(&name).expect("it is one of the names"))
}

pub(super) fn main(args: &Args) -> Outcome {
    let mut state = StateDict::load(&args.file)?;
    if let Some(prefix) = &args.below {
        state = state.below(prefix);
    }
    if let Some(dtype) = args.dtype {
        state = state.to_dtype(dtype);
    }
    let total: u64 = state.iter().map(|(_, data)| data.bytes.len() as u64).sum();
    let summary = format!("{} tensors, {}", state.len(), report::bytes(total));
    if let Some(output) = &args.output {
        state.save(output)?;
        return print(&format!("{}: {summary}\n", output.display()));
    }
    let mut text = String::new();
    for (name, data) in state.iter() {
        let _ = writeln!(text, "{name}: {}", data.ty());
    }
    print(&format!("{text}{summary}\n"))
}
