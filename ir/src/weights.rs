//! Weights in `.safetensors` files.
//!
//! A file is a length, a JSON header of that length, and the elements of all tensors. Reading goes through the
//! `safetensors` crate, which checks the header; what it refuses is looked at once more to say which tensor is at fault.
//! Writing keeps the order of the map (tensors of wider elements first, so that all are aligned), so that equal weights
//! give equal bytes, and replaces the file in one step.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Serialize as SerializeDerive};

use crate::diagnostic::{Diagnostic, Location};
use crate::literal::TensorData;
use crate::types::DType;

/// The content of a `.safetensors` file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightFile {
    /// Tensors by name, in file order.
    pub tensors: IndexMap<Arc<str>, TensorData>,
    /// Free text by key, such as `format`.
    pub metadata: BTreeMap<String, String>,
}

impl WeightFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, is truncated or malformed, or has a tensor of a type that nnc does not have.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        let bytes = std::fs::read(path).map_err(|error| file_fault(path, format!("cannot read the file: {error}")))?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }

    /// Reads `bytes`, which diagnostics call `place`.
    ///
    /// # Errors
    /// As for [`WeightFile::read`].
    pub fn from_bytes(bytes: &[u8], place: &str) -> Result<Self, Diagnostic> {
        let fault = |message: String| Diagnostic::new(Location::at(place, 0, 0), message);
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| fault(explain(&error, bytes)))?;
        let views = SafeTensors::deserialize(bytes).map_err(|error| fault(explain(&error, bytes)))?;
        let mut file = Self::default();
        for (key, value) in header.metadata().iter().flatten() {
            file.metadata.insert(key.clone(), value.clone());
        }
        for name in header.offset_keys() {
            let view = views.tensor(&name).map_err(|error| fault(explain(&error, bytes)))?;
            let Some(dtype) = dtype_of(view.dtype()) else {
                let names: Vec<&str> = DType::ALL.into_iter().map(safetensors_name).collect();
                return Err(fault(format!("tensor `{name}` has element type {}", view.dtype()))
                    .note(format!("expected one of {}", names.join(", "))));
            };
            if dtype == DType::Bool
                && let Some(at) = view.data().iter().position(|&byte| byte > 1)
            {
                return Err(fault(format!(
                    "tensor `{name}`: element {at} is {}, expected a BOOL of 0 or 1",
                    view.data()[at]
                )));
            }
            file.tensors.insert(name.into(), TensorData::new(dtype, view.shape().to_vec(), view.data()));
        }
        Ok(file)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Writes the file at `path`, replacing it in one step: whoever reads it finds the old content or the new.
    ///
    /// # Errors
    /// If the directory or the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        write_atomically(path, |file| self.write_to(file))
    }

    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        // Sorting is stable: among tensors of one width the order of the map is kept.
        let mut tensors: Vec<(&Arc<str>, &TensorData)> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, data)| std::cmp::Reverse(data.dtype.size()));
        let header = Header { metadata: &self.metadata, tensors: &tensors };
        let mut header = serde_json::to_string(&header).map_err(io::Error::other)?;
        // The elements start at a multiple of 8.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        tensors.iter().try_for_each(|(_, data)| out.write_all(&data.bytes))
    }
}

/// Replaces the file at `path` by what `write` gives, in one step: it is written under another name, brought to disk and
/// renamed, so that whoever reads it, even after a crash, finds the old content or the new.
///
/// # Errors
/// If the directory or the disk refuses; then the file is as it was.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Diagnostic> {
    let replace = || -> io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // A temporary file is private by default; this one becomes an ordinary file, subject to the umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = io::BufWriter::new(builder.prefix(".nnc-").tempfile_in(dir)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name is on disk once its directory is. Some file systems cannot be asked for that.
        #[cfg(unix)]
        let _ = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
        Ok(())
    };
    replace().map_err(|error| file_fault(path, format!("cannot write the file: {error}")))
}

/// A fault of a file as a whole.
pub(crate) fn file_fault(path: &Path, message: String) -> Diagnostic {
    Diagnostic::new(Location::at(path.display().to_string(), 0, 0), message)
}

/// The header, written in a given order.
struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: &'a [(&'a Arc<str>, &'a TensorData)],
}

/// What the header says of a tensor.
#[derive(SerializeDerive, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry("__metadata__", self.metadata)?;
        }
        let mut offset = 0;
        for (name, data) in self.tensors {
            let end = offset + data.bytes.len() as u64;
            let entry = Entry {
                dtype: safetensors_name(data.dtype).to_string(),
                shape: data.shape.iter().map(|&extent| extent as u64).collect(),
                data_offsets: (offset, end),
            };
            map.serialize_entry(name.as_ref(), &entry)?;
            offset = end;
        }
        map.end()
    }
}

const fn safetensors_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BOOL",
        DType::U8 => "U8",
        DType::I8 => "I8",
        DType::I16 => "I16",
        DType::U16 => "U16",
        DType::I32 => "I32",
        DType::U32 => "U32",
        DType::I64 => "I64",
        DType::U64 => "U64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
    }
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    let name = dtype.to_string();
    DType::ALL.into_iter().find(|&dtype| safetensors_name(dtype) == name)
}

/// What is wrong with `bytes`, which the library refused with `error`.
fn explain(error: &SafeTensorError, bytes: &[u8]) -> String {
    let found = bytes.len();
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return format!("the file has {found} bytes, expected at least the 8 of the header's length");
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    let Some(header) = header else {
        return format!(
            "the header's length is given as {length} bytes, but only {} follow: the file is truncated or no .safetensors file",
            rest.len()
        );
    };
    // Which tensor the library stumbled over.
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).unwrap_or_default();
    let n_data = (rest.len() - header.len()) as u64;
    let mut end_of_all = 0;
    for (name, entry) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
        let entry: Entry = match serde_json::from_value(entry) {
            Ok(entry) => entry,
            Err(error) => return format!("tensor `{name}`: malformed entry in the header: {error}"),
        };
        let (start, end) = entry.data_offsets;
        let dtype = DType::ALL.into_iter().find(|&dtype| safetensors_name(dtype) == entry.dtype);
        let needed = dtype.and_then(|dtype| {
            entry.shape.iter().try_fold(dtype.size() as u64, |product, &extent| product.checked_mul(extent))
        });
        if let Some(needed) = needed
            && end.checked_sub(start) != Some(needed)
        {
            return format!(
                "tensor `{name}`: {}{:?} needs {needed} bytes, but has those from {start} to {end}",
                entry.dtype, entry.shape
            );
        }
        if dtype.is_some() && needed.is_none() {
            return format!("tensor `{name}`: {}{:?} does not fit into memory", entry.dtype, entry.shape);
        }
        if end > n_data {
            return format!(
                "the file is truncated: tensor `{name}` needs the bytes from {start} to {end}, but there are {n_data}"
            );
        }
        end_of_all = end.max(end_of_all);
    }
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("{} bytes follow the last tensor, expected none", n_data - end_of_all)
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor `{name}`: its bytes do not follow those of the tensor before")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literal::Scalar;

    fn sample() -> WeightFile {
        let halves =
            TensorData::from_scalars(DType::BF16, vec![3], [1.0, -2.0, 0.5].map(|x| Scalar::from_f64(DType::BF16, x)));
        let flags = TensorData::from_scalars(DType::Bool, vec![2], [0, 1].map(|x| Scalar::from_i64(DType::Bool, x)));
        WeightFile {
            tensors: IndexMap::from([
                ("flags".into(), flags),
                ("0.weight".into(), TensorData::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])),
                ("odd \"name\"\n".into(), halves),
                ("0.bias".into(), TensorData::from_f32(vec![0], &[])),
                ("step".into(), TensorData::from_i64(vec![], &[7])),
            ]),
            metadata: BTreeMap::from([("b".to_string(), "2".to_string()), ("a".to_string(), "1".to_string())]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = sample();
        let bytes = file.to_bytes();
        let read = WeightFile::from_bytes(&bytes, "w").expect("sound");
        assert_eq!(read, file);
        let order: Vec<&str> = read.tensors.keys().map(AsRef::as_ref).collect();
        assert_eq!(order, ["step", "0.weight", "0.bias", "odd \"name\"\n", "flags"]);
        assert_eq!(read.to_bytes(), bytes, "the order of a file is kept");
    }

    #[test]
    fn files_are_replaced_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("model.safetensors");
        sample().write(&path).expect("written");
        WeightFile::default().write(&path).expect("written again");
        assert_eq!(WeightFile::read(&path).expect("sound"), WeightFile::default());
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "no temporary file stays");
        let fault = WeightFile::read(&dir.path().join("none")).expect_err("does not exist");
        assert!(fault.to_string().contains("none: cannot read the file: "), "{fault}");
        assert!(sample().write(&dir.path().join("no/such/dir")).is_err());
    }

    /// A file with this header and this many bytes of elements.
    fn file(header: &str, n_data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + n_data, 2);
        bytes
    }

    #[test]
    fn faults_say_what_is_wrong() {
        let check = |bytes: &[u8], expected: &str| {
            let fault = WeightFile::from_bytes(bytes, "w").expect_err("malformed").to_string();
            assert!(fault.starts_with(&format!("w: {expected}")), "{fault}");
        };
        check(b"abc", "the file has 3 bytes, expected at least the 8 of the header's length");
        check(&u64::MAX.to_le_bytes(), "the header's length is given as 18446744073709551615 bytes, but only 0 follow");
        check(&file("{", 0), "invalid JSON in header");
        check(&file("\u{1}[]", 0), "invalid JSON in header");
        let one = |dtype: &str, shape: &str, start: u64, end: u64| {
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
        };
        check(
            &file(&one("F32", "[2]", 0, 8), 4),
            "the file is truncated: tensor `x` needs the bytes from 0 to 8, but there are 4",
        );
        check(&file(&one("F32", "[2]", 0, 8), 9), "1 bytes follow the last tensor, expected none");
        check(&file(&one("F32", "[3]", 0, 8), 8), "tensor `x`: F32[3] needs 12 bytes, but has those from 0 to 8");
        check(&file(&one("F32", "[3]", 8, 0), 8), "tensor `x`: F32[3] needs 12 bytes, but has those from 8 to 0");
        check(&file(&one("F32", "[2]", 4, 12), 12), "tensor `x`: its bytes do not follow those of the tensor before");
        check(
            &file(&one("F32", "[4611686018427387904,4611686018427387904]", 0, 8), 8),
            "tensor `x`: F32[4611686018427387904, 4611686018427387904] does not fit into memory",
        );
        check(&file(&one("F99", "[2]", 0, 8), 8), "invalid JSON in header: unknown variant `F99`");
        check(&file(&one("C64", "[1]", 0, 8), 8), "tensor `x` has element type C64\n  note: expected one of BOOL, U8");
        check(&file(&one("BOOL", "[8]", 0, 8), 8), "tensor `x`: element 0 is 2, expected a BOOL of 0 or 1");
        check(
            &file(r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#, 0),
            "tensor `x`: malformed entry in the header",
        );
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_panics() {
        let bytes = sample().to_bytes();
        for len in 0..bytes.len() {
            assert!(WeightFile::from_bytes(&bytes[..len], "w").is_err(), "prefix of {len}");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                let _ = WeightFile::from_bytes(&bytes, "w");
            }
        }
    }
}
