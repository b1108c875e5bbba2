//! The state of a module by name, to and from safetensors files with PyTorch's key names.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use nnc_ir::{Diagnostic, TensorData, TensorType, WeightFile};

use super::{Member, Members, walk_tensors};

/// Tensors by dotted name, in a module's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    tensors: IndexMap<String, TensorData>,
}

impl StateDict {
    /// An empty dict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, replacing one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, data: TensorData) -> Option<TensorData> {
        self.tensors.insert(name.into(), data)
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&TensorData> {
        self.tensors.get(name)
    }

    /// Removes and gives the tensor called `name`.
    pub fn remove(&mut self, name: &str) -> Option<TensorData> {
        self.tensors.shift_remove(name)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Names in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.tensors.iter().map(|(name, data)| (name.as_str(), data))
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed: the place, what was found and what was expected.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Diagnostic> {
        Ok(WeightFile::read(path.as_ref())?.into())
    }

    /// Writes a safetensors file; a reader never sees half of one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Diagnostic> {
        let tensors = self.iter().map(|(name, data)| (Arc::from(name), data.clone())).collect();
        WeightFile { tensors, ..WeightFile::default() }.write(path.as_ref())
    }
}

impl From<WeightFile> for StateDict {
    fn from(file: WeightFile) -> Self {
        Self { tensors: file.tensors.into_iter().map(|(name, data)| (name.to_string(), data)).collect() }
    }
}

/// What a lenient load passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The module's names that the dict lacks, in the module's order.
    pub missing: Vec<String>,
    /// The dict's names that the module lacks, in the dict's order.
    pub unexpected: Vec<String>,
}

/// Everything that keeps a state dict from being loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadError {
    /// The module's names that the dict lacks.
    pub missing: Vec<String>,
    /// The dict's names that the module lacks.
    pub unexpected: Vec<String>,
    /// Name, type found in the dict, type expected by the module.
    pub mismatched: Vec<(String, TensorType, TensorType)>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state dict does not fit the module")?;
        for (what, names) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if !names.is_empty() {
                write!(f, "\n  {what}: {}", names.join(", "))?;
            }
        }
        for (name, found, expected) in &self.mismatched {
            write!(f, "\n  mismatched: {name} is {found}, expected {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Checks everything, then replaces everything. Two names of one shared tensor each load it; the later wins.
pub(super) fn load(members: Members<'_>, state: &StateDict, strict: bool) -> Result<LoadReport, LoadError> {
    let mut targets: IndexMap<String, (TensorType, Member<'_>)> = IndexMap::new();
    walk_tensors(members, "", &mut |path, member| {
        let ty = match member {
            Member::Parameter(parameter) => parameter.ty(),
            Member::Buffer(buffer) => buffer.ty(),
            Member::Module(_) | Member::Training(_) => return,
        };
        targets.insert(path, (ty, member));
    });
    let mut report = LoadReport::default();
    let mut mismatched = Vec::new();
    for (name, (expected, _)) in &targets {
        match state.get(name) {
            None => report.missing.push(name.clone()),
            Some(data) if data.ty() != *expected => mismatched.push((name.clone(), data.ty(), expected.clone())),
            Some(_) => {}
        }
    }
    report.unexpected = state.keys().filter(|name| !targets.contains_key(*name)).map(str::to_string).collect();
    let refused = strict && !(report.missing.is_empty() && report.unexpected.is_empty());
    if refused || !mismatched.is_empty() {
        return Err(LoadError { missing: report.missing, unexpected: report.unexpected, mismatched });
    }
    for (name, (_, member)) in &targets {
        let Some(data) = state.get(name) else { continue };
        let set = match member {
            Member::Parameter(parameter) => parameter.set(data),
            Member::Buffer(buffer) => buffer.set(data),
            Member::Module(_) | Member::Training(_) => Ok(()),
        };
        set.expect("types were compared above");
    }
    Ok(report)
}
