//! The IDX format of MNIST and Fashion-MNIST, plain or gzipped.
//!
//! A file is: two zero bytes, the element type (8 is `u8`, the only one here), the number of dimensions, each extent as
//! a big-endian `u32`, the elements in row-major order.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use ndarray::{Array1, Array2, ArrayD, IxDyn};

use super::tensor_dataset::TensorDataset;

/// Most elements of a file that is read: Fashion-MNIST has 47 million.
const MAX_ELEMENTS: usize = 1 << 30;

/// Why a file is not a data set.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// The file system's reason.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// What was found and what was expected.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
}

/// Reads an IDX file of bytes; gzip is recognized by its first bytes.
///
/// # Errors
/// If the file cannot be read or is not what it should be. No more is allocated than the file holds.
pub fn read_idx(path: impl AsRef<Path>) -> Result<ArrayD<u8>, IdxError> {
    let path = path.as_ref();
    let io = |source: std::io::Error| match source.kind() {
        // A damaged gzip stream is damaged data, not a failing disk.
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
            IdxError::Malformed { path: path.to_path_buf(), message: format!("the gzip stream is damaged: {source}") }
        }
        _ => IdxError::Io { path: path.to_path_buf(), source },
    };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let mut magic = [0u8; 2];
    let n_read = read_up_to(&mut reader, &mut magic).map_err(io)?;
    let rest = magic[..n_read].chain(reader);
    let parsed = match magic {
        [0x1f, 0x8b] => parse(&mut GzDecoder::new(rest)),
        _ => parse(&mut { rest }),
    };
    parsed.map_err(|error| match error {
        ParseError::Io(source) => io(source),
        ParseError::Malformed(message) => IdxError::Malformed { path: path.to_path_buf(), message },
    })
}

/// Reads an IDX file held in memory, not compressed.
///
/// # Errors
/// What was found and what was expected.
pub fn read_idx_bytes(mut bytes: &[u8]) -> Result<ArrayD<u8>, String> {
    parse(&mut bytes).map_err(|error| match error {
        ParseError::Io(source) => source.to_string(),
        ParseError::Malformed(message) => message,
    })
}

enum ParseError {
    Io(std::io::Error),
    Malformed(String),
}

/// Fills `buffer` as far as there is data.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n_read = 0;
    while n_read < buffer.len() {
        match reader.read(&mut buffer[n_read..])? {
            0 => break,
            n => n_read += n,
        }
    }
    Ok(n_read)
}

fn parse(reader: &mut impl Read) -> Result<ArrayD<u8>, ParseError> {
    let malformed = |message: String| Err(ParseError::Malformed(message));
    let mut header = [0u8; 4];
    let n_read = read_up_to(reader, &mut header).map_err(ParseError::Io)?;
    if n_read < header.len() {
        return malformed(format!("{n_read} bytes, expected an IDX header of 4"));
    }
    let [zero0, zero1, kind, rank] = header;
    if (zero0, zero1) != (0, 0) {
        return malformed(format!("starts with {header:02x?}, expected two zero bytes as an IDX file"));
    }
    if kind != 8 {
        return malformed(format!("element type 0x{kind:02x}, expected 0x08 (unsigned bytes)"));
    }
    let mut shape = Vec::with_capacity(usize::from(rank));
    for dim in 0..rank {
        let mut extent = [0u8; 4];
        if read_up_to(reader, &mut extent).map_err(ParseError::Io)? < extent.len() {
            return malformed(format!("ends in the header, expected {rank} extents but found {dim}"));
        }
        shape.push(u32::from_be_bytes(extent) as usize);
    }
    let n_elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let Some(n_elements) = n_elements.filter(|&n| n <= MAX_ELEMENTS) else {
        return malformed(format!("shape {shape:?}, expected at most {MAX_ELEMENTS} elements"));
    };
    // Grows with what is really there: a header that promises more costs nothing.
    let mut elements = Vec::new();
    let n_found = reader.take(n_elements as u64).read_to_end(&mut elements).map_err(ParseError::Io)?;
    if n_found < n_elements {
        return malformed(format!("{n_found} elements, expected {n_elements} for shape {shape:?}"));
    }
    if read_up_to(reader, &mut [0u8]).map_err(ParseError::Io)? > 0 {
        return malformed(format!("data after the {n_elements} elements of shape {shape:?}"));
    }
    Ok(ArrayD::from_shape_vec(IxDyn(&shape), elements).expect("as many elements as the shape says"))
}

/// Images `[n, 784]` scaled to 0..1 and labels `[n]` of a set in the four-file form of MNIST and Fashion-MNIST:
/// `train` is the set `train-*`, otherwise `t10k-*`, with or without `.gz`, in `dir`.
///
/// # Errors
/// If a file is missing or malformed, or images and labels differ in number.
pub fn fashion_mnist(dir: impl AsRef<Path>, train: bool) -> Result<TensorDataset<f32, i64>, IdxError> {
    let dir = dir.as_ref();
    let part = if train { "train" } else { "t10k" };
    let find = |name: String| {
        let plain = dir.join(&name);
        if plain.exists() { plain } else { dir.join(format!("{name}.gz")) }
    };
    let image_path = find(format!("{part}-images-idx3-ubyte"));
    let label_path = find(format!("{part}-labels-idx1-ubyte"));
    let (images, labels) = (read_idx(&image_path)?, read_idx(&label_path)?);
    let (&[n_images, n_rows, n_columns], &[n_labels]) = (images.shape(), labels.shape()) else {
        let message = format!(
            "images of shape {:?} and labels of shape {:?}, expected [n, rows, columns] and [n]",
            images.shape(),
            labels.shape()
        );
        return Err(IdxError::Malformed { path: image_path, message });
    };
    if n_images != n_labels {
        let message = format!("{n_labels} labels, expected {n_images} as there are images");
        return Err(IdxError::Malformed { path: label_path, message });
    }
    let bytes = images.into_raw_vec_and_offset().0;
    let pixels: Vec<f32> = bytes.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
    let inputs = Array2::from_shape_vec((n_images, n_rows * n_columns), pixels).expect("one row an image");
    let targets: Array1<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    Ok(TensorDataset::new(inputs, targets))
}
