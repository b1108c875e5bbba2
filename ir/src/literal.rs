//! Concrete data: scalars, dense tensors, and the constants a graph holds.

use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use crate::types::{DType, TensorType};

/// One element, held as its bit pattern in the low bits of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scalar {
    /// Element type.
    pub dtype: DType,
    /// The element's bits, zero-extended.
    pub bits: u64,
}

impl Scalar {
    /// `value` rounded to `dtype` (integers saturate; `bool` is `value != 0`).
    pub fn from_f64(dtype: DType, value: f64) -> Self {
        let bits = match dtype {
            DType::Bool => u64::from(value != 0.0),
            DType::U8 => u64::from(value as u8),
            DType::I8 => u64::from(value as i8 as u8),
            DType::I16 => u64::from(value as i16 as u16),
            DType::U16 => u64::from(value as u16),
            DType::I32 => u64::from(value as i32 as u32),
            DType::U32 => u64::from(value as u32),
            DType::I64 => value as i64 as u64,
            DType::U64 => value as u64,
            DType::F16 => u64::from(f16::from_f32(round_to_odd(value)).to_bits()),
            DType::BF16 => u64::from(bf16::from_f32(round_to_odd(value)).to_bits()),
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F64 => value.to_bits(),
        };
        Self { dtype, bits }
    }

    /// `value` converted to `dtype` (integers wrap, floats round; `bool` is `value != 0`).
    pub fn from_i64(dtype: DType, value: i64) -> Self {
        Self::from_integer(dtype, value.into())
    }

    /// [`Scalar::from_i64`] of an integer that may lie beyond `i64`.
    pub fn from_integer(dtype: DType, value: i128) -> Self {
        let bits = match dtype {
            DType::Bool => u64::from(value != 0),
            DType::U8 | DType::I8 => u64::from(value as u8),
            DType::I16 | DType::U16 => u64::from(value as u16),
            DType::I32 | DType::U32 => u64::from(value as u32),
            DType::I64 | DType::U64 => value as u64,
            DType::F32 => u64::from((value as f32).to_bits()),
            DType::F64 => (value as f64).to_bits(),
            // All but the lowest 32 bits carry what a half keeps; whether any of those is set is folded into the next.
            DType::F16 | DType::BF16 => {
                let sticky = i128::from(value as i32 != 0);
                let exact = if value.unsigned_abs() >> 53 == 0 { value } else { (value >> 32 | sticky) << 32 };
                return Self::from_f64(dtype, exact as f64);
            }
        };
        Self { dtype, bits }
    }

    /// The zero of `dtype`.
    pub fn zero(dtype: DType) -> Self {
        Self { dtype, bits: 0 }
    }

    /// The one of `dtype`.
    pub fn one(dtype: DType) -> Self {
        Self::from_i64(dtype, 1)
    }

    /// The value as a double; exact for every type but 64-bit integers beyond 2^53.
    pub fn to_f64(self) -> f64 {
        match self.dtype {
            DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => self.bits as f64,
            DType::I8 => f64::from(self.bits as u8 as i8),
            DType::I16 => f64::from(self.bits as u16 as i16),
            DType::I32 => f64::from(self.bits as u32 as i32),
            DType::I64 => self.bits as i64 as f64,
            DType::F16 => f16::from_bits(self.bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(self.bits as u16).to_f64(),
            DType::F32 => f64::from(f32::from_bits(self.bits as u32)),
            DType::F64 => f64::from_bits(self.bits),
        }
    }

    /// The value as an integer; floats are truncated, and what is beyond the range saturates.
    pub fn to_i64(self) -> i64 {
        match self.dtype {
            DType::Bool | DType::U8 | DType::U16 | DType::U32 => self.bits as i64,
            DType::I8 => i64::from(self.bits as u8 as i8),
            DType::I16 => i64::from(self.bits as u16 as i16),
            DType::I32 => i64::from(self.bits as u32 as i32),
            DType::I64 => self.bits as i64,
            DType::U64 => i64::try_from(self.bits).unwrap_or(i64::MAX),
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => self.to_f64() as i64,
        }
    }

    /// The value as an integer of a type that holds those of all integer types; floats are truncated and saturate.
    pub fn to_integer(self) -> i128 {
        match self.dtype {
            DType::U64 => self.bits.into(),
            dtype if dtype.is_float() => self.to_f64() as i128,
            _ => self.to_i64().into(),
        }
    }

    /// Reads one element from the first bytes of `bytes` (little-endian).
    ///
    /// # Panics
    /// If `bytes` is shorter than the element.
    pub fn read(dtype: DType, bytes: &[u8]) -> Self {
        let mut word = [0u8; 8];
        word[..dtype.size()].copy_from_slice(&bytes[..dtype.size()]);
        Self { dtype, bits: u64::from_le_bytes(word) }
    }

    /// Appends the element's bytes (little-endian).
    pub fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.bits.to_le_bytes()[..self.dtype.size()]);
    }
}

/// `value` as `f32`, rounded to odd: an inexact result is the neighbor whose last bit is set. Rounding that to a narrower
/// type gives what rounding `value` at once would give (Boldo and Melquiond, 2008), where rounding twice to nearest
/// would not.
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let exact = f64::from(nearest);
    if exact == value || nearest.to_bits() & 1 == 1 || !nearest.is_finite() {
        return nearest;
    }
    let bits = nearest.to_bits();
    f32::from_bits(if exact.abs() < value.abs() { bits + 1 } else { bits - 1 })
}

impl fmt::Display for Scalar {
    /// The shortest text that reads back to the same bits; floats always show a point or exponent, `inf`, `-inf`,
    /// `nan`, and NaNs other than the canonical one as their bits, for example `nan(0x7fc00001)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::Bool => f.write_str(if self.bits != 0 { "true" } else { "false" }),
            dtype if dtype.is_int() => write!(f, "{}", self.to_integer()),
            _ => {
                let value = self.to_f64();
                if value.is_nan() {
                    if *self == Self::from_f64(self.dtype, f64::NAN) {
                        return f.write_str("nan");
                    }
                    return write!(f, "nan(0x{:x})", self.bits);
                }
                match self.dtype {
                    // The shortest decimal that identifies a half-precision value is found through f32's printer only
                    // approximately; the exact f32 text always reads back to the same half.
                    DType::F64 => write!(f, "{value:?}"),
                    _ => write!(f, "{:?}", value as f32),
                }
            }
        }
    }
}

/// A dense row-major tensor of known shape.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorData {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Elements, little-endian.
    pub bytes: Arc<[u8]>,
}

impl TensorData {
    /// A tensor from raw little-endian bytes.
    ///
    /// # Panics
    /// If the number of bytes is not what `dtype` and `shape` need.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let expected = shape.iter().product::<usize>() * dtype.size();
        assert_eq!(bytes.len(), expected, "tensor data of {dtype}{shape:?} has the wrong number of bytes");
        Self { dtype, shape, bytes }
    }

    /// A tensor from its elements.
    ///
    /// # Panics
    /// If the number of scalars is not the product of `shape`.
    pub fn from_scalars(dtype: DType, shape: Vec<usize>, scalars: impl IntoIterator<Item = Scalar>) -> Self {
        let mut bytes = Vec::new();
        for scalar in scalars {
            debug_assert_eq!(scalar.dtype, dtype, "scalar of another type");
            scalar.write(&mut bytes);
        }
        Self::new(dtype, shape, bytes)
    }

    /// A `f32` tensor.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        Self::new(DType::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// An `i64` tensor.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Self {
        Self::new(DType::I64, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at linear (row-major) index `idx`.
    pub fn get(&self, idx: usize) -> Scalar {
        Scalar::read(self.dtype, &self.bytes[idx * self.dtype.size()..])
    }

    /// All elements in row-major order.
    pub fn scalars(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.bytes.chunks_exact(self.dtype.size()).map(|chunk| Scalar::read(self.dtype, chunk))
    }

    /// A tensor of `values` rounded to `dtype`, as [`Scalar::from_f64`] does.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`.
    pub fn from_doubles(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = f64>) -> Self {
        let values = values.into_iter();
        let mut bytes = Vec::with_capacity(values.size_hint().0 * dtype.size());
        match dtype {
            DType::F32 => values.for_each(|value| bytes.extend_from_slice(&(value as f32).to_le_bytes())),
            DType::F64 => values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes())),
            _ => values.for_each(|value| Scalar::from_f64(dtype, value).write(&mut bytes)),
        }
        Self::new(dtype, shape, bytes)
    }

    /// A tensor of `values` converted to `dtype`, as [`Scalar::from_integer`] does.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`.
    pub fn from_integers<T: Into<i128>>(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter();
        let mut bytes = Vec::with_capacity(values.size_hint().0 * dtype.size());
        values.for_each(|value| Scalar::from_integer(dtype, value.into()).write(&mut bytes));
        Self::new(dtype, shape, bytes)
    }

    /// All elements as doubles, as [`Scalar::to_f64`] gives them.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.dtype {
            DType::F32 => self.words(|word| f64::from(f32::from_le_bytes(word))),
            DType::F64 => self.words(f64::from_le_bytes),
            _ => self.scalars().map(Scalar::to_f64).collect(),
        }
    }

    /// All elements as integers, as [`Scalar::to_i64`] gives them.
    pub fn to_i64(&self) -> Vec<i64> {
        match self.dtype {
            DType::I64 => self.words(i64::from_le_bytes),
            _ => self.scalars().map(Scalar::to_i64).collect(),
        }
    }

    /// All elements as integers, as [`Scalar::to_integer`] gives them.
    pub fn to_integers(&self) -> Vec<i128> {
        match self.dtype {
            DType::I64 => self.words(|word| i64::from_le_bytes(word).into()),
            DType::U64 => self.words(|word| u64::from_le_bytes(word).into()),
            _ => self.scalars().map(Scalar::to_integer).collect(),
        }
    }

    fn words<const SIZE: usize, T>(&self, read: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
        self.bytes.as_chunks::<SIZE>().0.iter().map(|&word| read(word)).collect()
    }

    /// All elements as `f32` (rounded where the type is wider).
    pub fn to_f32(&self) -> Vec<f32> {
        self.scalars().map(|scalar| scalar.to_f64() as f32).collect()
    }

    /// The tensor's type.
    pub fn ty(&self) -> TensorType {
        TensorType { dtype: self.dtype, shape: crate::types::Shape::fixed(&self.shape) }
    }
}

impl fmt::Debug for TensorData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}(", self.dtype, self.shape)?;
        for (idx, scalar) in self.scalars().take(16).enumerate() {
            write!(f, "{}{scalar}", if idx > 0 { ", " } else { "" })?;
        }
        f.write_str(if self.len() > 16 { ", ...)" } else { ")" })
    }
}

/// The payload of a `constant` node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Constant {
    /// Every element is `value`; the shape may be symbolic.
    Splat {
        /// Type of the constant; its element type is that of `value`.
        ty: TensorType,
        /// The element.
        value: Scalar,
    },
    /// Dense data. A named one is a weight, kept in the `.safetensors` file beside the text.
    Dense {
        /// The elements.
        data: TensorData,
        /// Name of the weight.
        name: Option<Arc<str>>,
    },
}

impl Constant {
    /// The constant's type.
    pub fn ty(&self) -> TensorType {
        match self {
            Self::Splat { ty, .. } => ty.clone(),
            Self::Dense { data, .. } => data.ty(),
        }
    }

    /// The one element every position holds, if the constant is a splat (a dense constant of one element counts).
    pub fn splat_value(&self) -> Option<Scalar> {
        match self {
            Self::Splat { value, .. } => Some(*value),
            Self::Dense { data, .. } if data.len() == 1 => Some(data.get(0)),
            Self::Dense { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_once() {
        // Halfway between two f16 values, plus less than an f32 can show: rounding through f32 would go down to 1.
        let above_tie = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(Scalar::from_f64(DType::F16, above_tie).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(Scalar::from_f64(DType::F16, -above_tie).to_f64(), -1.0 - 2f64.powi(-10));
        let below_tie = 1.0 + 3.0 * 2f64.powi(-11) - 2f64.powi(-40);
        assert_eq!(Scalar::from_f64(DType::F16, below_tie).to_f64(), 1.0 + 2f64.powi(-10));
        let above_tie = 1.0 + 2f64.powi(-8) + 2f64.powi(-45);
        assert_eq!(Scalar::from_f64(DType::BF16, above_tie).to_f64(), 1.0 + 2f64.powi(-7));
        // The least denormals, overflow, and what is not a number.
        assert_eq!(Scalar::from_f64(DType::F16, 2f64.powi(-25) * 1.000001).bits, 1);
        assert_eq!(Scalar::from_f64(DType::F16, 2f64.powi(-25)).bits, 0);
        assert_eq!(Scalar::from_f64(DType::F16, 65520.0).to_f64(), f64::INFINITY);
        assert_eq!(Scalar::from_f64(DType::F16, 65519.99).to_f64(), 65504.0);
        assert_eq!(Scalar::from_f64(DType::BF16, 1e300).to_f64(), f64::INFINITY);
        assert!(Scalar::from_f64(DType::BF16, f64::NAN).to_f64().is_nan());
    }

    #[test]
    fn integers_are_rounded_once() {
        // A tie of f32 (and of bf16) plus one, which a double cannot show.
        let above_tie = (1i64 << 62) + (1 << 38) + 1;
        assert_eq!(Scalar::from_i64(DType::F32, above_tie).to_f64(), (1i64 << 62) as f64 + (1i64 << 39) as f64);
        let above_tie = (1i64 << 62) + (1 << 54) + 1;
        assert_eq!(Scalar::from_i64(DType::BF16, above_tie).to_f64(), (1i64 << 62) as f64 + (1i64 << 55) as f64);
        assert_eq!(Scalar::from_i64(DType::BF16, -above_tie).to_f64(), -((1i64 << 62) as f64) - (1i64 << 55) as f64);
        assert_eq!(Scalar::from_i64(DType::F16, 2049).to_f64(), 2048.0);
        assert_eq!(Scalar::from_i64(DType::F16, 1 << 40).to_f64(), f64::INFINITY);
    }
}
