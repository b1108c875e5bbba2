//! NumPy's `.npy` files and `.npz` archives: how tensors enter and leave the command line.
//!
//! The format is that of NumPy's `numpy.lib.format`, versions 1 to 3: a magic string, a version, the length of the
//! header, the header (a Python dictionary, see `header`), and the elements. Nothing a file claims is believed
//! before it is seen: memory grows with the bytes that are there, never with what a header announces.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use thiserror::Error;

use crate::diagnostic::{Diagnostic, Location};
use crate::interp::transpose;
use crate::literal::TensorData;
use crate::types::DType;

pub mod archive;
mod header;

pub use archive::{is_npz, load_npz, read_npz, save_npz, write_files, write_npz};
use header::Header;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest header read; that of an array with 64 dimensions has less than 2 KiB.
const MAX_HEADER_BYTES: u32 = 1 << 16;

/// Why bytes are not a readable array, or an array cannot be written.
#[derive(Debug, Error)]
pub enum NpyError {
    /// The file does not start as `.npy` files do.
    #[error("the file does not start with the magic string of .npy files")]
    Magic,
    /// The format's version is unknown.
    #[error("the file has version {0}.{1} of the .npy format, expected 1.0, 2.0, or 3.0")]
    Version(u8, u8),
    /// The header is malformed.
    #[error("malformed header at byte {offset}: {message}")]
    Header {
        /// Position in the header's text.
        offset: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// The element type is none of nnc's.
    #[error("element type `{0}` is not supported, expected one of ?, i1, i2, i4, i8, u1, u2, u4, u8, f2, f4, f8")]
    ElementType(String),
    /// The element type has no NumPy equivalent.
    #[error("NumPy has no element type {0}; convert to f32 first")]
    NotNumpy(DType),
    /// The extents multiply to more than an address space holds.
    #[error("shape {0:?} has more elements than memory can hold")]
    TooLarge(Vec<usize>),
    /// The file ends early.
    #[error("the file ends after {found} bytes of {what}, expected {expected}")]
    Truncated {
        /// Which part of the file.
        what: &'static str,
        /// Bytes the part should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// Bytes follow the array.
    #[error("bytes follow the array of {0} bytes")]
    Trailing(u64),
    /// A truth value is neither 0 nor 1.
    #[error("element {idx} of a bool array is byte {byte}, expected 0 or 1")]
    Bool {
        /// Row-major (or in Fortran order, column-major) index.
        idx: usize,
        /// The byte found.
        byte: u8,
    },
    /// The archive is malformed or uses what nnc does not read (encryption, other compressions than deflate).
    #[error("unreadable archive: {0}")]
    Archive(#[from] zip::result::ZipError),
    /// Two members have one name.
    #[error("the archive holds two arrays called `{0}`")]
    Duplicate(String),
    /// A member is not an array.
    #[error("archive member `{0}` is not an .npy file")]
    Member(String),
    /// A member's array is not readable.
    #[error("array `{name}`: {error}")]
    InMember {
        /// Name of the array.
        name: String,
        /// What is wrong with it.
        error: Box<NpyError>,
    },
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl NpyError {
    fn at(self, path: &Path) -> Diagnostic {
        Diagnostic::new(
            Location { file: Some(path.display().to_string().into()), ..Location::unknown() },
            self.to_string(),
        )
    }
}

/// Reads the `.npy` file at `path`.
///
/// # Errors
/// The file cannot be read or is malformed.
pub fn load_npy(path: &Path) -> Result<TensorData, Diagnostic> {
    let read = || read_npy(BufReader::new(File::open(path)?));
    read().map_err(|error| error.at(path))
}

/// Writes `data` to an `.npy` file at `path`.
///
/// # Errors
/// The file cannot be written, or NumPy lacks the element type.
pub fn save_npy(path: &Path, data: &TensorData) -> Result<(), Diagnostic> {
    let write = || Ok(std::fs::write(path, write_npy(data)?)?);
    write().map_err(|error: NpyError| error.at(path))
}

/// Reads one array, and that `reader` ends with it.
///
/// # Errors
/// The bytes are malformed, truncated, or of an element type that is none of nnc's.
pub fn read_npy(mut reader: impl Read) -> Result<TensorData, NpyError> {
    let prefix = read_exactly(&mut reader, 8, "magic string and version")?;
    if !prefix.starts_with(MAGIC) {
        return Err(NpyError::Magic);
    }
    let header_len = match (prefix[6], prefix[7]) {
        (1, 0) => {
            let len = read_exactly(&mut reader, 2, "header length")?;
            u32::from(u16::from_le_bytes([len[0], len[1]]))
        }
        (2 | 3, 0) => {
            let len = read_exactly(&mut reader, 4, "header length")?;
            u32::from_le_bytes([len[0], len[1], len[2], len[3]])
        }
        (major, minor) => return Err(NpyError::Version(major, minor)),
    };
    if header_len > MAX_HEADER_BYTES {
        let message = format!("the header has {header_len} bytes, expected at most {MAX_HEADER_BYTES}");
        return Err(NpyError::Header { offset: 0, message });
    }
    let header = Header::parse(&read_exactly(&mut reader, u64::from(header_len), "header")?)?;

    let n_elements = header.n_elements().ok_or_else(|| NpyError::TooLarge(header.shape.clone()))?;
    let n_bytes = (n_elements as u64)
        .checked_mul(header.dtype.size() as u64)
        .filter(|&n_bytes| n_bytes <= isize::MAX as u64)
        .ok_or_else(|| NpyError::TooLarge(header.shape.clone()))?;
    let mut bytes = read_exactly(&mut reader, n_bytes, "elements")?;
    if reader.read(&mut [0])? > 0 {
        return Err(NpyError::Trailing(n_bytes));
    }

    if header.big_endian {
        bytes.chunks_exact_mut(header.dtype.size()).for_each(<[u8]>::reverse);
    }
    if header.dtype == DType::Bool
        && let Some(idx) = bytes.iter().position(|&byte| byte > 1)
    {
        return Err(NpyError::Bool { idx, byte: bytes[idx] });
    }
    if header.fortran_order {
        // Column-major elements are the row-major elements of the transpose.
        let reversed: Vec<usize> = header.shape.iter().rev().copied().collect();
        let permutation: Vec<usize> = (0..header.shape.len()).rev().collect();
        return Ok(transpose(&permutation, &TensorData::new(header.dtype, reversed, bytes)));
    }
    Ok(TensorData::new(header.dtype, header.shape, bytes))
}

/// The bytes of an `.npy` file that holds `data`.
///
/// # Errors
/// NumPy has no `bf16`.
pub fn write_npy(data: &TensorData) -> Result<Vec<u8>, NpyError> {
    Ok(file_of(&Header::of(data)?.text(), &data.bytes))
}

/// The bytes of an `.npy` file that holds strings in NumPy's element type for them: as wide as the longest, in UTF-32.
pub fn write_npy_strings(shape: &[usize], elements: &[&str]) -> Vec<u8> {
    // NumPy has no strings of width 0.
    let width = elements.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut bytes = Vec::with_capacity(elements.len() * width * 4);
    for text in elements {
        let codes = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        bytes.extend(codes.flat_map(u32::to_le_bytes));
    }
    file_of(&header::text_of(&format!("<U{width}"), shape), &bytes)
}

/// A file of a header's text and the bytes of the elements.
fn file_of(text: &str, elements: &[u8]) -> Vec<u8> {
    // The elements start at a multiple of 64 bytes; the header's text ends with a line feed.
    let header_len = |prefix: usize| (prefix + text.len() + 1).next_multiple_of(64) - prefix;
    let mut bytes = MAGIC.to_vec();
    let end = match u16::try_from(header_len(10)) {
        Ok(len) => {
            bytes.extend([1, 0]);
            bytes.extend(len.to_le_bytes());
            10 + usize::from(len)
        }
        Err(_) => {
            let len = header_len(12);
            bytes.extend([2, 0]);
            bytes.extend((len as u32).to_le_bytes());
            12 + len
        }
    };
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(end - 1, b' ');
    bytes.push(b'\n');
    bytes.extend_from_slice(elements);
    bytes
}

/// The next `n_bytes` bytes. Memory grows with what is there.
fn read_exactly(reader: &mut impl Read, n_bytes: u64, what: &'static str) -> Result<Vec<u8>, NpyError> {
    let mut bytes = Vec::new();
    let found = reader.take(n_bytes).read_to_end(&mut bytes)? as u64;
    if found < n_bytes {
        return Err(NpyError::Truncated { what, expected: n_bytes, found });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
