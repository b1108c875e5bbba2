//! `.npz`: a zip archive with one `.npy` member an array.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, Write};
use std::path::Path;

use indexmap::IndexMap;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::{NpyError, read_npy, write_npy};
use crate::diagnostic::Diagnostic;
use crate::literal::TensorData;

/// Reads the arrays of the `.npz` archive at `path`, in the archive's order.
///
/// # Errors
/// The file cannot be read, or it or one of its arrays is malformed.
pub fn load_npz(path: &Path) -> Result<IndexMap<String, TensorData>, Diagnostic> {
    let read = || read_npz(BufReader::new(File::open(path)?));
    read().map_err(|error| error.at(path))
}

/// Writes `arrays` to an `.npz` archive at `path`.
///
/// # Errors
/// The file cannot be written, or NumPy lacks an element type.
pub fn save_npz(path: &Path, arrays: &IndexMap<String, TensorData>) -> Result<(), Diagnostic> {
    let write = || Ok(std::fs::write(path, write_npz(arrays)?)?);
    write().map_err(|error: NpyError| error.at(path))
}

/// Whether `reader` gives an archive of nothing but arrays: zip archives hold many things.
pub fn is_npz(reader: impl Read + Seek) -> bool {
    ZipArchive::new(reader).is_ok_and(|archive| archive.file_names().all(|name| name.ends_with(".npy")))
}

/// Reads the arrays of an archive, in its order.
///
/// # Errors
/// The archive or one of its arrays is malformed.
pub fn read_npz(reader: impl Read + Seek) -> Result<IndexMap<String, TensorData>, NpyError> {
    let mut archive = ZipArchive::new(reader)?;
    let mut arrays = IndexMap::new();
    for idx in 0..archive.len() {
        let member = archive.by_index(idx)?;
        let Some(name) = member.name().strip_suffix(".npy").map(str::to_string) else {
            return Err(NpyError::Member(member.name().to_string()));
        };
        // No deflated byte stands for more than 1032, so that a small file cannot take all memory.
        let most = member.compressed_size().saturating_add(1).saturating_mul(1032);
        let array = read_npy(member.take(most))
            .map_err(|error| NpyError::InMember { name: name.clone(), error: Box::new(error) })?;
        if arrays.contains_key(&name) {
            return Err(NpyError::Duplicate(name));
        }
        arrays.insert(name, array);
    }
    Ok(arrays)
}

/// The bytes of an archive that holds `arrays` in their order, uncompressed as `numpy.savez` writes them. The same
/// arrays give the same bytes.
///
/// # Errors
/// NumPy has no `bf16`.
pub fn write_npz(arrays: &IndexMap<String, TensorData>) -> Result<Vec<u8>, NpyError> {
    let mut files = IndexMap::new();
    for (name, array) in arrays {
        let bytes =
            write_npy(array).map_err(|error| NpyError::InMember { name: name.clone(), error: Box::new(error) })?;
        files.insert(name.clone(), bytes);
    }
    write_files(&files)
}

/// The bytes of an archive of `.npy` files, by the names of the arrays in them.
///
/// # Errors
/// The archive is larger than the format allows.
pub fn write_files(files: &IndexMap<String, Vec<u8>>) -> Result<Vec<u8>, NpyError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            .large_file(u32::try_from(bytes.len()).is_err());
        writer.start_file(format!("{name}.npy"), options)?;
        writer.write_all(bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}
