//! The state of a module by name, to and from files with PyTorch's key names.
//!
//! [`StateDict::load`] reads every format (`files`, `pytorch`); what a file calls its tensors becomes what a module calls
//! them in `names`; [`load`] puts them into the module.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use nnc_ir::{DType, Diagnostic, Location, Scalar, TensorData, TensorType, WeightFile, npy};

use super::{Member, Members, walk_tensors};

mod files;
mod names;
mod pytorch;

/// Tensors by dotted name, in a module's order.
///
/// Two dicts are equal if they hold equal tensors under the same names, wherever they were read from.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    tensors: IndexMap<String, TensorData>,
    /// The file it was read from, for diagnostics.
    file: Option<Arc<str>>,
}

impl PartialEq for StateDict {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors
    }
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

    /// Rounds every floating tensor to another floating element type, to nearest even; others stay.
    #[must_use]
    pub fn to_dtype(mut self, dtype: DType) -> Self {
        for data in self.tensors.values_mut() {
            if data.dtype.is_float() && dtype.is_float() && data.dtype != dtype {
                let scalars = data.scalars().map(|scalar| Scalar::from_f64(dtype, scalar.to_f64()));
                *data = TensorData::from_scalars(dtype, data.shape.clone(), scalars);
            }
        }
        self
    }

    /// Reads the tensors of a file, whose format is told from its content:
    ///
    /// | format | what is read |
    /// |---|---|
    /// | safetensors | every tensor |
    /// | `*.index.json` | the shards it names beside it, safetensors or PyTorch's |
    /// | `.npz` | every array |
    /// | `.pt`, `.pth`, `.bin` as `torch.save` writes them, since its first versions | every tensor in nested dicts, lists and tuples, under its dotted path; of a whole module its `state_dict()`; nothing in the file is executed |
    /// | a folder | the `model.safetensors`, `pytorch_model.bin` or index of one of them in it |
    ///
    /// Tensors keep the file's order, those of PyTorch's files are sorted by name (numbers by value). Names become a
    /// module's with [`StateDict::below`], [`StateDict::rename`] and [`StateDict::concat`].
    ///
    /// # Errors
    /// If a file cannot be read, is malformed, or holds tensors of types that nnc lacks: all faults of the file, as
    /// notes if there are several.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Diagnostic> {
        let path = path.as_ref();
        Ok(Self { tensors: files::read(path)?, file: Some(path.display().to_string().into()) })
    }

    /// Writes a safetensors file, or an archive of arrays if the extension is `npz`; a reader never sees half of one.
    ///
    /// # Errors
    /// If the file cannot be written, or NumPy lacks an element type.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Diagnostic> {
        let path = path.as_ref();
        if path.extension().is_some_and(|extension| extension == "npz") {
            return npy::save_npz(path, &self.tensors);
        }
        let tensors = self.iter().map(|(name, data)| (Arc::from(name), data.clone())).collect();
        WeightFile { tensors, ..WeightFile::default() }.write(path)
    }

    /// A fault of the dict, placed at its file.
    fn fault(&self, message: impl Into<String>) -> Diagnostic {
        let location = self.file.as_ref().map_or_else(Location::unknown, |file| Location::at(file.clone(), 0, 0));
        Diagnostic::new(location, message)
    }
}

impl From<WeightFile> for StateDict {
    fn from(file: WeightFile) -> Self {
        file.tensors.into_iter().map(|(name, data)| (name.to_string(), data)).collect()
    }
}

impl FromIterator<(String, TensorData)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, TensorData)>>(tensors: I) -> Self {
        Self { tensors: tensors.into_iter().collect(), file: None }
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
    /// The file the dict was read from.
    pub file: Option<Arc<str>>,
    /// The module's names that the dict lacks.
    pub missing: Vec<String>,
    /// The dict's names that the module lacks.
    pub unexpected: Vec<String>,
    /// Name, type found in the dict, type expected by the module.
    pub mismatched: Vec<(String, TensorType, TensorType)>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
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
        let LoadReport { missing, unexpected } = report;
        return Err(LoadError { file: state.file.clone(), missing, unexpected, mismatched });
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
