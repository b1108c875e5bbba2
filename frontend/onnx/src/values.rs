//! Values in files of their own: the test data that come with models (`input_0.pb`), and ONNX tensors as inputs of a run.

use std::path::Path;

use nnc_ir::{Diagnostic, Location, TensorData};
use prost::Message;

use crate::data::{Stored, TensorReader};
use crate::elem::ElemType;
use crate::proto::{OptionalProto, SequenceProto, TensorProto, TypeProto, type_proto};

/// A value of any type that ONNX has.
#[derive(Clone, Debug, PartialEq)]
pub enum FileValue {
    /// A tensor of numbers in the type that carries them.
    Tensor {
        /// ONNX's element type.
        elem: ElemType,
        /// The elements.
        data: TensorData,
    },
    /// A tensor of strings, row-major.
    Strings {
        /// Extents.
        shape: Vec<usize>,
        /// Elements, usually UTF-8.
        elements: Vec<Vec<u8>>,
    },
    /// A list.
    Sequence(Vec<FileValue>),
    /// Something or nothing.
    Optional(Option<Box<FileValue>>),
}

/// Reads a value of a declared type; without one, a tensor.
///
/// # Errors
/// What is wrong with the bytes, and types that are not read (maps, sparse tensors).
pub fn read_value(bytes: &[u8], ty: Option<&TypeProto>) -> Result<FileValue, String> {
    fn decode<T: Message + Default>(bytes: &[u8]) -> Result<T, String> {
        T::decode(bytes).map_err(|error| format!("the bytes are no ONNX value: {error}"))
    }
    match ty.and_then(|ty| ty.value.as_ref()) {
        None | Some(type_proto::Value::TensorType(_)) => tensor(&decode(bytes)?),
        Some(type_proto::Value::SequenceType(_)) => sequence(&decode(bytes)?),
        Some(type_proto::Value::OptionalType(_)) => optional(&decode(bytes)?),
        Some(type_proto::Value::MapType(_)) => Err("a map, which is not read".to_string()),
        Some(type_proto::Value::SparseTensorType(_)) => Err("a sparse tensor, which is not read".to_string()),
    }
}

/// Reads a file that holds one tensor of numbers: its name, which may be empty, and its elements.
///
/// # Errors
/// The file cannot be read or is malformed.
pub fn load_tensor(path: &Path) -> Result<(String, TensorData), Diagnostic> {
    let fault = |message: String| Diagnostic::new(Location::at(path.display().to_string(), 0, 0), message);
    let bytes = std::fs::read(path).map_err(|error| fault(format!("cannot read the file: {error}")))?;
    let proto = TensorProto::decode(bytes.as_slice());
    let proto = proto.map_err(|error| fault(format!("the file is no ONNX tensor: {error}")))?;
    match tensor(&proto).map_err(fault)? {
        FileValue::Tensor { data, .. } => Ok((proto.name().to_string(), data)),
        _ => Err(fault("a tensor of strings, expected numbers".to_string())),
    }
}

fn tensor(proto: &TensorProto) -> Result<FileValue, String> {
    Ok(match TensorReader::new(None, None).read(proto)? {
        Stored::Numbers { elem, data } => FileValue::Tensor { elem, data },
        Stored::Strings { shape, elements } => FileValue::Strings { shape, elements },
    })
}

fn sequence(proto: &SequenceProto) -> Result<FileValue, String> {
    let tensors = proto.tensor_values.iter().map(tensor);
    let sequences = proto.sequence_values.iter().map(sequence);
    let optionals = proto.optional_values.iter().map(optional);
    Ok(FileValue::Sequence(tensors.chain(sequences).chain(optionals).collect::<Result<_, _>>()?))
}

fn optional(proto: &OptionalProto) -> Result<FileValue, String> {
    let inner = match (&proto.tensor_value, &proto.sequence_value, &proto.optional_value) {
        (Some(value), ..) => Some(tensor(value)?),
        (_, Some(value), _) => Some(sequence(value)?),
        (_, _, Some(value)) => Some(optional(value)?),
        _ => None,
    };
    Ok(FileValue::Optional(inner.map(Box::new)))
}
