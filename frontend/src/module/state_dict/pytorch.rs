//! PyTorch's own files, `.pt`, `.pth` and `.bin`.
//!
//! The pickle in such a file is a program of Python's; `pytorch-reader` interprets the few calls that tensors are made of
//! and executes nothing. It gathers strided views and reads every container that `torch.save` ever wrote.

use std::cmp::Ordering;
use std::path::Path;

use nnc_ir::{DType, Diagnostic, TensorData};
use pytorch_reader::{DType as TorchType, PytorchReader, Tensor};

use super::files::{Tensors, fault, faults};

/// Bytes of tensors for each byte of a file, at most: the ratio of deflate, of which no byte stands for more. A view that
/// repeats its storage has no such bound, and a small file must not take all memory.
const MAX_BYTES_PER_BYTE: u64 = 1032;

/// Reads every tensor of the file.
pub(super) fn read(path: &Path) -> Result<Tensors, Diagnostic> {
    let reader = PytorchReader::new(path).map_err(|error| fault(path, explain(&error)))?;
    // The reader keeps no order.
    let mut tensors: Vec<Tensor> = reader.into_tensors().into_values().collect();
    tensors.sort_by(|lhs, rhs| by_name(&lhs.name, &rhs.name));

    let n_file = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let n_tensors = tensors.iter().map(|tensor| tensor.byte_len() as u64).fold(0, u64::saturating_add);
    if n_tensors > n_file.saturating_mul(MAX_BYTES_PER_BYTE) {
        return Err(fault(path, format!("the tensors take {n_tensors} bytes, which a file of {n_file} cannot hold")));
    }
    let mut found = Vec::new();
    let mut read = Tensors::new();
    for tensor in tensors {
        match data(&tensor) {
            Ok(data) => {
                read.insert(tensor.name, data);
            }
            Err(message) => found.push(message),
        }
    }
    if found.is_empty() { Ok(read) } else { Err(faults(path, "tensors cannot be read", found)) }
}

fn data(tensor: &Tensor) -> Result<TensorData, String> {
    let name = type_name(tensor.dtype());
    let dtype = DType::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = DType::ALL.into_iter().map(DType::name).collect();
        format!("tensor `{}` has element type {name}, expected one of {}", tensor.name, names.join(", "))
    })?;
    let mut bytes = tensor.read().map_err(|error| error.to_string())?;
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    Ok(TensorData::new(dtype, tensor.shape().to_vec(), bytes))
}

/// The name that the IR gives an element type, or would give.
fn type_name(dtype: TorchType) -> &'static str {
    match dtype {
        TorchType::F64 => "f64",
        TorchType::F32 => "f32",
        TorchType::F16 => "f16",
        TorchType::BF16 => "bf16",
        TorchType::I64 => "i64",
        TorchType::I32 => "i32",
        TorchType::I16 => "i16",
        TorchType::I8 => "i8",
        TorchType::U64 => "u64",
        TorchType::U32 => "u32",
        TorchType::U16 => "u16",
        TorchType::U8 => "u8",
        TorchType::Bool => "bool",
    }
}

/// The library's message as one of ours: a phrase, not a sentence.
fn explain(error: &pytorch_reader::PytorchError) -> String {
    format!("the file is no weights that nnc reads: {error}")
}

/// Orders dotted names component by component, numbers by value and before words: `layers.2` before `layers.10`.
fn by_name(lhs: &str, rhs: &str) -> Ordering {
    let number = |component: &str| component.parse::<u64>().ok();
    let mut pairs = lhs.split('.').zip(rhs.split('.'));
    let differing = pairs.find_map(|(lhs, rhs)| {
        let order = match (number(lhs), number(rhs)) {
            (Some(lhs), Some(rhs)) => lhs.cmp(&rhs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => lhs.cmp(rhs),
        };
        order.is_ne().then_some(order)
    });
    // Equal as far as both go, or different texts of one number.
    differing.unwrap_or_else(|| lhs.split('.').count().cmp(&rhs.split('.').count())).then_with(|| lhs.cmp(rhs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_number() {
        let mut names = ["a.10.w", "a.2.w", "a", "a.2", "b", "a.02.w", "a.x"];
        names.sort_by(|lhs, rhs| by_name(lhs, rhs));
        assert_eq!(names, ["a", "a.2", "a.02.w", "a.2.w", "a.10.w", "a.x", "b"]);
        // By their letters, "1x" would be between "10" and "2".
        let mut mixed = ["1x", "10", "2"];
        mixed.sort_by(|lhs, rhs| by_name(lhs, rhs));
        assert_eq!(mixed, ["2", "10", "1x"]);
    }
}
