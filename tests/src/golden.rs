//! Reading the golden files (`tests/golden/README.md`) and comparing with them.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nnc_ir::{DType, TensorData};
use safetensors::{Dtype, SafeTensors};

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// One golden file: its tensors by key, in file order.
pub struct Golden {
    path: PathBuf,
    tensors: IndexMap<String, TensorData>,
    about: serde_json::Value,
}

impl Golden {
    /// Reads `case`, such as `models/logistic`.
    ///
    /// # Panics
    /// If there is no such file, or it is not what `make golden` writes.
    pub fn read(case: &str) -> Self {
        let path = folder().join(format!("{case}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) =
            SafeTensors::read_metadata(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let about = header.metadata().as_ref().and_then(|metadata| metadata.get("about"));
        let about = about.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut tensors: Vec<(String, TensorData)> = file
            .tensors()
            .into_iter()
            .map(|(key, view)| {
                let data = TensorData::new(dtype(view.dtype()), view.shape().to_vec(), view.data().to_vec());
                (key, data)
            })
            .collect();
        // The file's order is by element type; keys sort into the groups the README lists.
        tensors.sort_by(|lhs, rhs| lhs.0.cmp(&rhs.0));
        Self { path, tensors: tensors.into_iter().collect(), about }
    }

    /// What the file says of itself: versions, and for layers the cases.
    pub fn about(&self) -> &serde_json::Value {
        &self.about
    }

    /// The tensor under `key`.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, key: &str) -> &TensorData {
        self.find(key).unwrap_or_else(|| panic!("{} has no {key}", self.path.display()))
    }

    /// The tensor under `key`, if there is one.
    pub fn find(&self, key: &str) -> Option<&TensorData> {
        self.tensors.get(key)
    }

    /// The tensors whose keys start with `prefix`, by the rest of the key.
    pub fn group(&self, prefix: &str) -> IndexMap<String, TensorData> {
        let strip = |key: &String| key.strip_prefix(prefix).map(str::to_string);
        self.tensors.iter().filter_map(|(key, data)| Some((strip(key)?, data.clone()))).collect()
    }
}

fn dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::I16 => DType::I16,
        Dtype::U16 => DType::U16,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::I64 => DType::I64,
        Dtype::U64 => DType::U64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        other => panic!("golden files hold no {other:?}"),
    }
}

/// What an element's error is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The expected element itself: for elementwise results.
    Element,
    /// The larger of the expected element and 1: for gradients of elementwise ops, whose factors cancel against 1.
    ElementOrOne,
    /// The largest finite expected element: for sums, where terms cancel.
    Tensor,
}

/// Below this a `f32` has lost the bits that a relative error is about.
const SUBNORMAL_STEP: f64 = 1.5e-45;

/// Compares with PyTorch's numbers: infinities must match, NaN must meet NaN, integers must be equal, and other
/// elements must be within `relative` of `scale`.
///
/// # Errors
/// The type, or the first element that differs and how many do.
pub fn close(expected: &TensorData, found: &TensorData, relative: f64, scale: Scale) -> Result<(), String> {
    if (expected.dtype, &expected.shape) != (found.dtype, &found.shape) {
        return Err(format!("found {}{:?}, expected {}{:?}", found.dtype, found.shape, expected.dtype, expected.shape));
    }
    if !expected.dtype.is_float() {
        let unequal: Vec<usize> = (0..expected.len()).filter(|&idx| expected.get(idx) != found.get(idx)).collect();
        return report(&unequal, expected, found);
    }
    let values = |data: &TensorData| data.scalars().map(|scalar| scalar.to_f64()).collect::<Vec<f64>>();
    let (lhs, rhs) = (values(expected), values(found));
    let largest = lhs.iter().filter(|value| value.is_finite()).fold(0.0f64, |max, value| max.max(value.abs()));
    let differs = |idx: &usize| {
        let (lhs, rhs) = (lhs[*idx], rhs[*idx]);
        let base = match scale {
            Scale::Element => lhs.abs(),
            Scale::ElementOrOne => lhs.abs().max(1.0),
            Scale::Tensor => largest,
        };
        let near = (lhs - rhs).abs() <= relative * base + 2.0 * SUBNORMAL_STEP;
        !(lhs == rhs || lhs.is_nan() && rhs.is_nan() || lhs.is_finite() && near)
    };
    let unequal: Vec<usize> = (0..lhs.len()).filter(differs).collect();
    report(&unequal, expected, found)
}

fn report(unequal: &[usize], expected: &TensorData, found: &TensorData) -> Result<(), String> {
    let Some(&idx) = unequal.first() else { return Ok(()) };
    let (n, of) = (unequal.len(), expected.len());
    Err(format!("{n} of {of} elements differ; element {idx} is {}, expected {}", found.get(idx), expected.get(idx)))
}

/// The hash behind the inputs that golden files leave out (`tests/golden/README.md`): MurmurHash3's finalizer.
pub fn hash(idx: u32, salt: u32) -> u32 {
    let mut h = idx.wrapping_add(salt.wrapping_mul(0x9E37_79B9));
    h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
    h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}

/// A tensor of `unit(i, salt)`, in [0, 1).
pub fn unit(shape: &[usize], salt: u32) -> TensorData {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|idx| unit_at(idx, salt)).collect();
    TensorData::from_f32(shape.to_vec(), &values)
}

/// A tensor of `(2 * unit(i, salt) - 1) * bound`.
pub fn symmetric(shape: &[usize], salt: u32, bound: f32) -> TensorData {
    let values = (0..shape.iter().product::<usize>()).map(|idx| (2.0 * unit_at(idx, salt) - 1.0) * bound);
    TensorData::from_f32(shape.to_vec(), &values.collect::<Vec<f32>>())
}

fn unit_at(idx: usize, salt: u32) -> f32 {
    (hash(idx as u32, salt) >> 8) as f32 * 2f32.powi(-24)
}
