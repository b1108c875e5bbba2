//! Tensors in files: `TensorProto` to data, inside the file or beside it.
//!
//! Lengths are checked against the shape before anything is allocated, so memory is bounded by what was read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use memmap2::Mmap;
use nnc_ir::{DType, TensorData};

use crate::elem::ElemType;
use crate::lowbit::{decode, packed_bits, packed_bytes, unpack};
use crate::proto::{SparseTensorProto, TensorProto};

/// A tensor that was read: numbers, or strings.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// Numbers in the type that carries them.
    Numbers {
        /// ONNX's element type.
        elem: ElemType,
        /// The elements.
        data: TensorData,
    },
    /// Strings.
    Strings {
        /// Extents.
        shape: Vec<usize>,
        /// Elements in row-major order.
        elements: Vec<Vec<u8>>,
    },
}

/// Reads tensors of one model; keeps the files beside it that were opened.
#[derive(Debug, Default)]
pub(crate) struct TensorReader {
    /// Directory of the model, where its external data lie.
    base: Option<PathBuf>,
    /// Where links among them may lead: that directory, and the one the model's own file is in if it is a link.
    roots: Vec<PathBuf>,
    opened: RefCell<HashMap<PathBuf, Rc<Mmap>>>,
}

impl TensorReader {
    /// A reader for a model in directory `base`; without one, external data are a fault. `file` is the model's own, if
    /// it is known.
    pub(crate) fn new(base: Option<&Path>, file: Option<&Path>) -> Self {
        let here = base.map(|base| if base.as_os_str().is_empty() { Path::new(".") } else { base });
        let there = file.and_then(|file| Some(file.canonicalize().ok()?.parent()?.to_path_buf()));
        let roots = here.and_then(|here| here.canonicalize().ok()).into_iter().chain(there).collect();
        Self { base: base.map(Path::to_path_buf), roots, opened: RefCell::default() }
    }

    /// The tensor of a message.
    ///
    /// # Errors
    /// An unknown type, a shape that is none, and data of another length than the shape asks for.
    pub(crate) fn read(&self, proto: &TensorProto) -> Result<Stored, String> {
        let number = proto.data_type.unwrap_or(0);
        let Some(elem) = ElemType::from_number(number) else {
            return Err(format!("element type {number}, which ONNX does not know"));
        };
        let shape = extents(&proto.dims)?;
        let n_elements = count(&shape)?;
        if elem == ElemType::String {
            if proto.string_data.len() != n_elements {
                return Err(length_fault("strings", proto.string_data.len(), n_elements, &shape));
            }
            return Ok(Stored::Strings { shape, elements: proto.string_data.clone() });
        }
        let Some(carrier) = elem.carrier() else {
            return Err(format!("element type {elem}, which nnc does not have"));
        };
        let bytes = if proto.data_location == Some(1) {
            self.external(proto, elem, n_elements)?
        } else if let Some(raw) = &proto.raw_data {
            from_raw(elem, carrier, raw, n_elements, &shape)?
        } else {
            from_fields(proto, elem, carrier, n_elements, &shape)?.into()
        };
        Ok(Stored::Numbers { elem, data: TensorData::new(carrier, shape, bytes) })
    }

    /// The dense tensor of a sparse one.
    ///
    /// # Errors
    /// As for [`TensorReader::read`], and positions outside the shape.
    pub(crate) fn read_sparse(&self, proto: &SparseTensorProto) -> Result<Stored, String> {
        /// A sparse tensor may be far larger than its file; this many elements are made of it at most.
        const MAX_DENSE: usize = 1 << 28;

        let (Some(values), Some(indices)) = (&proto.values, &proto.indices) else {
            return Err("a sparse tensor without values or indices".to_string());
        };
        let shape = extents(&proto.dims)?;
        let n_elements = count(&shape)?;
        if n_elements > MAX_DENSE {
            return Err(format!("a sparse tensor of {n_elements} elements, expected at most {MAX_DENSE}"));
        }
        let (Stored::Numbers { elem, data }, Stored::Numbers { data: indices, .. }) =
            (self.read(values)?, self.read(indices)?)
        else {
            return Err("a sparse tensor of strings".to_string());
        };
        let positions = indices.to_i64();
        let linear: Vec<i64> = match indices.shape.as_slice() {
            [n] if *n == data.len() => positions,
            [n, rank] if *n == data.len() && *rank == shape.len() => {
                let row = |row: &[i64]| {
                    row.iter().zip(&shape).fold(0i64, |sum, (&at, &extent)| match at {
                        // Never in range: a position that is none of its row must not become one of another.
                        _ if sum < 0 || at < 0 || at >= extent as i64 => -1,
                        _ => sum * extent as i64 + at,
                    })
                };
                positions.chunks(shape.len().max(1)).map(row).collect()
            }
            _ => return Err(format!("sparse indices of shape {:?} for {} values", indices.shape, data.len())),
        };
        let width = data.dtype.size();
        let mut bytes = vec![0u8; n_elements * width];
        for (&at, value) in linear.iter().zip(data.bytes.chunks(width)) {
            let at = usize::try_from(at).ok().filter(|&at| at < n_elements);
            let at = at.ok_or_else(|| format!("a sparse index outside the shape {shape:?}"))?;
            bytes[at * width..][..width].copy_from_slice(value);
        }
        Ok(Stored::Numbers { elem, data: TensorData::new(data.dtype, shape, bytes) })
    }

    fn external(&self, proto: &TensorProto, elem: ElemType, n_elements: usize) -> Result<Arc<[u8]>, String> {
        let entry = |key: &str| {
            let found = proto.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.as_deref())
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => text
                .trim()
                .parse::<usize>()
                .map(Some)
                .map_err(|_| format!("external {key} `{text}`, expected a number")),
        };
        let location = entry("location").ok_or("external data without a location")?;
        let base = self.base.as_ref().ok_or_else(|| {
            format!("external data in `{location}`, but the model was given without the directory it lies in")
        })?;
        let inside =
            Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(format!("external data in `{location}`, expected a path inside the model's directory"));
        }
        let path = base.join(location);
        let map = self.open(&path)?;
        let offset = number("offset")?.unwrap_or(0);
        let rest = map.len().saturating_sub(offset);
        let length = number("length")?.unwrap_or(rest);
        let bytes = offset.checked_add(length).and_then(|end| map.get(offset..end)).ok_or_else(|| {
            format!("external data of {length} bytes at {offset} of `{location}`, which has {} bytes", map.len())
        })?;
        let carrier = elem.carrier().expect("types without a carrier were refused before");
        let shape = extents(&proto.dims)?;
        from_raw(elem, carrier, bytes, n_elements, &shape)
    }

    fn open(&self, path: &Path) -> Result<Rc<Mmap>, String> {
        if let Some(map) = self.opened.borrow().get(path) {
            return Ok(map.clone());
        }
        let fault = |error: std::io::Error| format!("external data `{}`: {error}", path.display());
        let target = path.canonicalize().map_err(fault)?;
        if !self.roots.iter().any(|root| target.starts_with(root)) {
            let (path, target) = (path.display(), target.display());
            return Err(format!(
                "external data `{path}` lead to `{target}`, expected a path inside the model's directory"
            ));
        }
        // A pipe or a device would never end.
        if !target.is_file() {
            return Err(format!("external data `{}`, which is no file", path.display()));
        }
        let file = File::open(path).map_err(fault)?;
        // SAFETY: the bytes are copied out at once; that nobody truncates the file meanwhile is asked of every reader
        // of mapped files.
        let map = Rc::new(unsafe { Mmap::map(&file) }.map_err(fault)?);
        self.opened.borrow_mut().insert(path.to_path_buf(), map.clone());
        Ok(map)
    }
}

/// Extents that are none are refused.
fn extents(dims: &[i64]) -> Result<Vec<usize>, String> {
    dims.iter().map(|&dim| usize::try_from(dim).map_err(|_| format!("shape {dims:?} with a negative extent"))).collect()
}

fn count(shape: &[usize]) -> Result<usize, String> {
    let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    // Eight bytes an element at most.
    product.filter(|&n| n <= isize::MAX as usize / 16).ok_or_else(|| format!("shape {shape:?}, which no memory holds"))
}

fn length_fault(what: &str, found: usize, expected: usize, shape: &[usize]) -> String {
    format!("{found} {what}, expected {expected} for shape {shape:?}")
}

/// The carrier's bytes from little-endian bytes of the element type.
fn from_raw(
    elem: ElemType,
    carrier: DType,
    raw: &[u8],
    n_elements: usize,
    shape: &[usize],
) -> Result<Arc<[u8]>, String> {
    if elem.is_exact() {
        let expected = n_elements * carrier.size();
        if raw.len() != expected {
            return Err(length_fault("bytes", raw.len(), expected, shape));
        }
        return Ok(match carrier {
            // Whatever is not 0 is true.
            DType::Bool => raw.iter().map(|&byte| u8::from(byte != 0)).collect(),
            _ => Arc::from(raw),
        });
    }
    let codes = match packed_bits(elem) {
        None => raw.to_vec(),
        Some(bits) => {
            let expected = packed_bytes(bits, n_elements);
            if raw.len() != expected {
                return Err(length_fault("bytes", raw.len(), expected, shape));
            }
            unpack(bits, raw, n_elements)
        }
    };
    if codes.len() != n_elements {
        return Err(length_fault("bytes", codes.len(), n_elements, shape));
    }
    decoded(elem, &codes).map(Arc::from)
}

/// The carrier's bytes from one code an element.
fn decoded(elem: ElemType, codes: &[u8]) -> Result<Vec<u8>, String> {
    decode(elem, codes).ok_or_else(|| format!("element type {elem}, which cannot be read"))
}

/// The carrier's bytes from the fields of the message.
fn from_fields(
    proto: &TensorProto,
    elem: ElemType,
    carrier: DType,
    n_elements: usize,
    shape: &[usize],
) -> Result<Vec<u8>, String> {
    let check = |found: usize| match found == n_elements {
        true => Ok(()),
        false => Err(length_fault("elements", found, n_elements, shape)),
    };
    match carrier {
        DType::F32 if elem == ElemType::Float => {
            check(proto.float_data.len())?;
            Ok(proto.float_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DType::F64 => {
            check(proto.double_data.len())?;
            Ok(proto.double_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DType::I64 => {
            check(proto.int64_data.len())?;
            Ok(proto.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DType::U64 => {
            check(proto.uint64_data.len())?;
            Ok(proto.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DType::U32 => {
            check(proto.uint64_data.len())?;
            Ok(proto.uint64_data.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect())
        }
        DType::I32 => {
            check(proto.int32_data.len())?;
            Ok(proto.int32_data.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => {
            check(proto.int32_data.len())?;
            Ok(proto.int32_data.iter().flat_map(|&value| (value as u16).to_le_bytes()).collect())
        }
        // Those of 6 bits are packed in raw data only.
        _ if packed_bits(elem).is_some_and(|bits| bits != 6) => {
            let raw: Vec<u8> = proto.int32_data.iter().map(|&value| value as u8).collect();
            from_raw(elem, carrier, &raw, n_elements, shape).map(|bytes| bytes.to_vec())
        }
        DType::Bool => {
            check(proto.int32_data.len())?;
            Ok(proto.int32_data.iter().map(|&value| u8::from(value != 0)).collect())
        }
        DType::U8 | DType::I8 => {
            check(proto.int32_data.len())?;
            Ok(proto.int32_data.iter().map(|&value| value as u8).collect())
        }
        DType::F32 => {
            check(proto.int32_data.len())?;
            let mask = packed_bits(elem).map_or(u8::MAX, |bits| (1 << bits) - 1);
            let codes: Vec<u8> = proto.int32_data.iter().map(|&value| value as u8 & mask).collect();
            decoded(elem, &codes)
        }
    }
}
