//! Which format a file of tensors has, and weights that lie in several files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use nnc_ir::{Diagnostic, Location, TensorData, WeightFile, npy};
use serde::Deserialize;

use super::pytorch;

/// Tensors by name.
pub(super) type Tensors = IndexMap<String, TensorData>;

/// Files looked for in a folder, in this order.
const IN_FOLDER: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Longest index read; that of a model with a million tensors has less.
const MAX_INDEX_BYTES: u64 = 1 << 28;

/// What a file of tensors is.
enum Format {
    Safetensors,
    Index,
    Npz,
    Pytorch,
}

/// A fault of a file as a whole.
pub(super) fn fault(path: &Path, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Location::at(path.display().to_string(), 0, 0), message)
}

/// One fault as it is, several as notes of one that says `what` they have in common.
pub(super) fn faults(path: &Path, what: &str, mut found: Vec<String>) -> Diagnostic {
    match found.len() {
        1 => fault(path, found.remove(0)),
        n => found.into_iter().fold(fault(path, format!("{n} {what}")), Diagnostic::note),
    }
}

/// Reads the tensors of a file or folder.
pub(super) fn read(path: &Path) -> Result<Tensors, Diagnostic> {
    if path.is_dir() {
        let file = IN_FOLDER.into_iter().map(|name| path.join(name)).find(|file| file.is_file());
        let file = file.ok_or_else(|| fault(path, format!("the folder has none of {}", IN_FOLDER.join(", "))))?;
        return read_file(&file, true);
    }
    read_file(path, true)
}

/// Reads the tensors of a file, which may be an index if `index` says so.
fn read_file(path: &Path, index: bool) -> Result<Tensors, Diagnostic> {
    match format(path)? {
        Format::Safetensors => {
            let tensors = WeightFile::read(path)?.tensors;
            Ok(tensors.into_iter().map(|(name, data)| (name.to_string(), data)).collect())
        }
        Format::Npz => npy::load_npz(path),
        Format::Pytorch => pytorch::read(path),
        Format::Index if index => read_shards(path),
        Format::Index => Err(fault(path, "the file is an index of weights, expected weights")),
    }
}

/// Tells formats apart by content; the extension decides only what a damaged file is said to be.
fn format(path: &Path) -> Result<Format, Diagnostic> {
    let unreadable = |error: std::io::Error| fault(path, format!("cannot read the file: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let mut start = Vec::new();
    file.by_ref().take(9).read_to_end(&mut start).map_err(unreadable)?;
    let is_npz = || File::open(path).is_ok_and(|file| npy::is_npz(BufReader::new(file)));
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match (&start[..], extension) {
        // A safetensors file starts with the length of its header, which starts with a brace.
        ([_, _, _, _, _, _, 0, 0, b'{'], _) | (_, "safetensors") => Format::Safetensors,
        ([b'P', b'K', 3 | 5, 4 | 6, ..], _) if is_npz() => Format::Npz,
        (_, "npz") => Format::Npz,
        ([b'{', ..], _) | (_, "json") => Format::Index,
        ([0x93, b'N', b'U', b'M', b'P', b'Y', ..], _) => {
            return Err(fault(path, "the file holds one array without a name, expected an .npz archive of arrays"));
        }
        _ => Format::Pytorch,
    })
}

/// The part of an index file that says what lies where.
#[derive(Deserialize)]
struct Index {
    weight_map: IndexMap<String, PathBuf>,
}

/// Reads what an index file names, from the shards beside it.
fn read_shards(path: &Path) -> Result<Tensors, Diagnostic> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_INDEX_BYTES).read_to_string(&mut text));
    read.map_err(|error| fault(path, format!("cannot read the file: {error}")))?;
    let index: Index =
        serde_json::from_str(&text).map_err(|error| fault(path, format!("malformed index of weights: {error}")))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    let mut shards = BTreeMap::new();
    for shard in index.weight_map.values() {
        if shards.contains_key(shard) {
            continue;
        }
        // An index cannot make nnc read files elsewhere.
        let inside = shard.components().all(|component| matches!(component, Component::Normal(_)));
        let tensors = match inside {
            true => read_file(&folder.join(shard), false).map_err(|fault| fault.to_string()),
            false => Err(format!("`{}` is not the name of a file beside the index", shard.display())),
        };
        let tensors = tensors.unwrap_or_else(|fault| {
            found.push(fault);
            Tensors::new()
        });
        shards.insert(shard.clone(), tensors);
    }
    if !found.is_empty() {
        return Err(faults(path, "shards cannot be read", found));
    }
    let mut tensors = Tensors::new();
    for (name, shard) in &index.weight_map {
        match shards.get_mut(shard).and_then(|tensors| tensors.swap_remove(name)) {
            Some(data) => {
                tensors.insert(name.clone(), data);
            }
            None => found.push(format!("tensor `{name}` is not in `{}`", shard.display())),
        }
    }
    if found.is_empty() { Ok(tensors) } else { Err(faults(path, "tensors are missing", found)) }
}
