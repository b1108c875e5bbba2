//! Element types, shapes and tensor types.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dim::{Bindings, Dim};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DType {
    /// Truth values, one byte each in memory, 0 or 1.
    Bool,
    /// Unsigned 8-bit integers.
    U8,
    /// Signed 8-bit integers.
    I8,
    /// Signed 16-bit integers.
    I16,
    /// Unsigned 16-bit integers.
    U16,
    /// Signed 32-bit integers.
    I32,
    /// Unsigned 32-bit integers.
    U32,
    /// Signed 64-bit integers.
    I64,
    /// Unsigned 64-bit integers.
    U64,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl DType {
    /// Every element type, in declaration order.
    pub const ALL: [DType; 13] = [
        Self::Bool,
        Self::U8,
        Self::I8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
    ];

    /// The name in the text format, for example `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// The type called `name` in the text format.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether this is a floating-point type. Gradients exist only for these.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// Whether this is an integer type (`bool` is not).
    pub const fn is_int(self) -> bool {
        matches!(self, Self::U8 | Self::I8 | Self::I16 | Self::U16 | Self::I32 | Self::U32 | Self::I64 | Self::U64)
    }

    /// Whether this is a signed integer or a floating-point type.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64) || self.is_float()
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Extents of a tensor, outermost first. Dimensions may be symbolic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of constant extents.
    pub fn fixed(extents: &[usize]) -> Self {
        Self(extents.iter().map(|&extent| Dim::from(extent)).collect())
    }

    /// The shape of a scalar.
    pub fn scalar() -> Self {
        Self(Vec::new())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The extents.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The extents as numbers, or `None` if one is symbolic.
    pub fn as_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::as_const).collect()
    }

    /// Product of all extents (1 for a scalar).
    pub fn n_elements(&self) -> Dim {
        self.0.iter().fold(Dim::from(1), |product, dim| product * dim.clone())
    }

    /// The shape with every bound symbol replaced by its value.
    pub fn substitute(&self, bindings: &Bindings) -> Self {
        Self(self.0.iter().map(|dim| dim.substitute(bindings)).collect())
    }
}

impl From<Vec<Dim>> for Shape {
    fn from(dims: Vec<Dim>) -> Self {
        Self(dims)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Self::fixed(&extents)
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = Dim;

    fn index(&self, idx: usize) -> &Dim {
        &self.0[idx]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (idx, dim) in self.0.iter().enumerate() {
            if idx > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// Element type and shape of a value, printed as `f32[N, 784]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

impl TensorType {
    /// The type of `dtype` elements in `shape`.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// The type of one `dtype` element.
    pub fn scalar(dtype: DType) -> Self {
        Self { dtype, shape: Shape::scalar() }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        Self { dtype, shape: self.shape.clone() }
    }

    /// The type with every bound symbol replaced by its value.
    pub fn substitute(&self, bindings: &Bindings) -> Self {
        Self { dtype: self.dtype, shape: self.shape.substitute(bindings) }
    }

    /// Number of elements, or `None` if a dimension is symbolic or the product overflows.
    pub fn n_elements(&self) -> Option<usize> {
        self.shape.as_fixed()?.into_iter().try_fold(1usize, usize::checked_mul)
    }

    /// Bytes of the dense tensor, or `None` if a dimension is symbolic or the product overflows.
    pub fn bytes(&self) -> Option<usize> {
        self.n_elements()?.checked_mul(self.dtype.size())
    }
}

/// Tensors have at most this many dimensions.
pub const MAX_RANK: usize = 32;
/// The number of elements of a symbolic shape has at most this many terms when it is multiplied out.
const MAX_TERMS: usize = 1024;

impl TensorType {
    /// Checks that the type is of a size that can be reasoned about: at most [`MAX_RANK`] dimensions, extents and a number
    /// of elements that can be written down, and at most `isize::MAX` bytes if the shape is known.
    ///
    /// # Errors
    /// Which of these it is not.
    pub fn check_size(&self) -> Result<(), String> {
        if self.rank() > MAX_RANK {
            return Err(format!("a type has {} dimensions, expected at most {MAX_RANK}", self.rank()));
        }
        self.shape.0.iter().try_for_each(Dim::check_size)?;
        let n_terms = self.shape.0.iter().map(Dim::n_terms).fold(1, usize::saturating_mul);
        if n_terms > MAX_TERMS {
            return Err(format!("the number of elements of {self} has {n_terms} terms, expected at most {MAX_TERMS}"));
        }
        let n_bytes = self.bytes().and_then(|bytes| isize::try_from(bytes).ok());
        if self.shape.as_fixed().is_some() && n_bytes.is_none() {
            return Err(format!("a tensor of type {self} does not fit into memory"));
        }
        Ok(())
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}
