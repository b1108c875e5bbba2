//! Arrays for the inputs of a model, from files.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nnc_ir::npy::{load_npy, load_npz};
use nnc_ir::{Diagnostic, Location, TensorData};

use super::{Failure, file_fault};

/// Where inputs come from.
#[derive(Debug, clap::Args)]
pub(super) struct GivenArgs {
    /// An input from a `.npy` file or an ONNX tensor (`.pb`).
    #[arg(long = "input", value_name = "NAME=FILE")]
    inputs: Vec<String>,
    /// Inputs by name from an `.npz` file or an ONNX tensor (`.pb`).
    #[arg(long = "inputs", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Arrays by name of input.
pub(super) type Given = IndexMap<String, TensorData>;

impl GivenArgs {
    /// Reads the files.
    pub(super) fn read(&self) -> Result<Given, Failure> {
        let mut given = Given::new();
        for path in &self.files {
            if !is_tensor_file(path) {
                given.extend(load_npz(path)?);
                continue;
            }
            let (name, data) = nnc_onnx::values::load_tensor(path)?;
            if name.is_empty() {
                let fault = file_fault(path, "the tensor has no name");
                return Err(fault.note(format!("say which input it is: --input NAME={}", path.display())).into());
            }
            given.insert(name, data);
        }
        for text in &self.inputs {
            let Some((name, path)) = text.split_once('=') else {
                let message = format!("found `{text}`, expected NAME=FILE");
                return Err(Diagnostic::new(Location::at("--input", 0, 0), message).into());
            };
            let path: &Path = path.as_ref();
            let data = if is_tensor_file(path) { nnc_onnx::values::load_tensor(path)?.1 } else { load_npy(path)? };
            given.insert(name.to_string(), data);
        }
        Ok(given)
    }
}

/// Whether a file is an ONNX tensor. Those begin with nothing in particular, so the extension says it.
fn is_tensor_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pb")
}
