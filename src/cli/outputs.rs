//! What a run gives, as people and NumPy read it.
//!
//! Strings that a model picks are positions in a list to everything below; here they become strings again. The keys of
//! maps are written beside their values.

use std::path::Path;

use indexmap::IndexMap;
use nnc_ir::TensorData;
use nnc_ir::npy::{save_npz, write_files, write_npy, write_npy_strings};
use nnc_onnx::{Keys, Labels};

use super::build::write_file;
use super::{Outcome, file_fault};

/// The outputs of a run, by name, and what their numbers stand for if not for themselves.
pub(super) struct Outputs {
    arrays: IndexMap<String, TensorData>,
    labels: IndexMap<String, Labels>,
}

impl Outputs {
    /// Outputs of which `labels` says what they stand for.
    pub(super) fn new<'l>(arrays: IndexMap<String, TensorData>, labels: impl Fn(&str) -> Option<&'l Labels>) -> Self {
        let labels = arrays.keys().filter_map(|name| Some((name.clone(), labels(name)?.clone()))).collect();
        Self { arrays, labels }
    }

    /// Writes an `.npz` archive. The keys of the columns of output `y` are array `y.keys`.
    pub(super) fn save(&self, path: &Path) -> Outcome {
        if self.labels.is_empty() {
            return Ok(save_npz(path, &self.arrays)?);
        }
        let fault = |error: nnc_ir::npy::NpyError| file_fault(path, error.to_string());
        let mut files = IndexMap::new();
        for (name, data) in &self.arrays {
            let labels = self.labels.get(name);
            let file = match labels {
                Some(Labels::Elements(list)) => {
                    let elements: Vec<&str> = picks(list, data).collect();
                    write_npy_strings(&data.shape, &elements)
                }
                Some(Labels::Columns(_)) | None => write_npy(data).map_err(fault)?,
            };
            files.insert(name.clone(), file);
            let keys = match labels {
                Some(Labels::Columns(Keys::Ints(keys))) => {
                    write_npy(&TensorData::from_i64(vec![keys.len()], keys)).map_err(fault)?
                }
                Some(Labels::Columns(Keys::Strings(keys))) => {
                    write_npy_strings(&[keys.len()], &keys.iter().map(String::as_str).collect::<Vec<_>>())
                }
                Some(Labels::Elements(_)) | None => continue,
            };
            files.insert(format!("{name}.keys"), keys);
        }
        write_file(path, &write_files(&files).map_err(fault)?)
    }

    /// Of each output name, type and, if they are few, the elements.
    pub(super) fn describe(&self) -> String {
        self.arrays.iter().map(|(name, data)| describe(name, data, self.labels.get(name))).collect()
    }
}

/// The strings at the positions `data`.
fn picks<'l>(list: &'l [String], data: &TensorData) -> impl Iterator<Item = &'l str> {
    data.to_i64().into_iter().map(|at| usize::try_from(at).ok().and_then(|at| list.get(at)).map_or("", String::as_str))
}

fn describe(name: &str, data: &TensorData, labels: Option<&Labels>) -> String {
    const MAX_ELEMENTS: usize = 256;
    let ty = match labels {
        Some(Labels::Elements(_)) => {
            let extents: Vec<String> = data.shape.iter().map(usize::to_string).collect();
            format!("string[{}]", extents.join(", "))
        }
        _ => data.ty().to_string(),
    };
    if data.len() > MAX_ELEMENTS {
        return format!("{name}: {ty}, {} elements (write them with --outputs FILE.npz)\n", data.len());
    }
    let elements: Vec<String> = match labels {
        Some(Labels::Elements(list)) => picks(list, data).map(|text| format!("{text:?}")).collect(),
        _ => data.scalars().map(|scalar| scalar.to_string()).collect(),
    };
    let columns = match labels {
        Some(Labels::Columns(Keys::Ints(keys))) => keys.iter().map(i64::to_string).collect::<Vec<_>>().join(" "),
        Some(Labels::Columns(Keys::Strings(keys))) => {
            keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    };
    let of_columns = if columns.is_empty() { columns } else { format!(", columns {columns}") };
    let mut text = format!("{name}: {ty}{of_columns}\n");
    let row = data.shape.last().copied().unwrap_or(1).max(1);
    for line in elements.chunks(row) {
        text.push_str(&format!("  {}\n", line.join(" ")));
    }
    text
}
