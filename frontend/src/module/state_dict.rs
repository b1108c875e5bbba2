//! The state of a module by name, to and from safetensors files with PyTorch's key names.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nnc_ir::{DType, TensorData, TensorType};
use safetensors::{Dtype, SafeTensors, View};

use super::{Member, Members, walk_tensors};

/// Tensors by dotted name, in a module's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    tensors: IndexMap<String, TensorData>,
}

/// Why a file could not be read or written as a state dict.
#[derive(Debug, thiserror::Error)]
pub enum StateDictError {
    /// The file system's reason.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// What is wrong with the contents.
    #[error("{}: not a safetensors file: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        message: String,
    },
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

    /// The contents of a safetensors file.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut state = Self::new();
        for (name, view) in file.iter() {
            let dtype = from_file_dtype(view.dtype())
                .ok_or_else(|| format!("tensor `{name}` has element type {}, which nnc has not", view.dtype()))?;
            state.insert(name, TensorData::new(dtype, view.shape().to_vec(), view.data()));
        }
        Ok(state)
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If the file cannot be read or is malformed.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, StateDictError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| StateDictError::Io { path: path.to_path_buf(), source })?;
        Self::from_bytes(&bytes).map_err(|message| StateDictError::Malformed { path: path.to_path_buf(), message })
    }

    /// The safetensors file that holds the dict.
    pub fn to_bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, data)| (name.as_str(), DataView(data)));
        safetensors::serialize(views, None).expect("views agree with their shapes")
    }

    /// Writes a safetensors file; a reader never sees half of one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), StateDictError> {
        let path = path.as_ref();
        let write = || -> std::io::Result<()> {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(&self.to_bytes())?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|source| StateDictError::Io { path: path.to_path_buf(), source })
    }
}

struct DataView<'a>(&'a TensorData);

impl View for DataView<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.dtype {
            DType::Bool => Dtype::BOOL,
            DType::U8 => Dtype::U8,
            DType::I8 => Dtype::I8,
            DType::I32 => Dtype::I32,
            DType::U32 => Dtype::U32,
            DType::I64 => Dtype::I64,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0.bytes)
    }

    fn data_len(&self) -> usize {
        self.0.bytes.len()
    }
}

fn from_file_dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
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
