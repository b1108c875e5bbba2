//! Element types of ONNX and the types that carry them in the IR.

use std::fmt;

use nnc_ir::DType;

macro_rules! elem_types {
    ($($number:literal $name:ident $text:literal $carrier:expr;)*) => {
        /// An element type of ONNX (`TensorProto.DataType`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the names are ONNX's own")]
        pub enum ElemType {
            $($name,)*
        }

        impl ElemType {
            /// The type of a number in a file, or `None` if the number means nothing.
            pub fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The number that stands for the type in files.
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// The name in operator signatures: `float`, `int64`, `float8e4m3fn`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The IR type whose values include this type's, or `None` where there is none.
            pub const fn carrier(self) -> Option<DType> {
                match self {
                    $(Self::$name => $carrier,)*
                }
            }
        }
    };
}

elem_types! {
    1 Float "float" Some(DType::F32);
    2 Uint8 "uint8" Some(DType::U8);
    3 Int8 "int8" Some(DType::I8);
    4 Uint16 "uint16" Some(DType::U16);
    5 Int16 "int16" Some(DType::I16);
    6 Int32 "int32" Some(DType::I32);
    7 Int64 "int64" Some(DType::I64);
    8 String "string" None;
    9 Bool "bool" Some(DType::Bool);
    10 Float16 "float16" Some(DType::F16);
    11 Double "double" Some(DType::F64);
    12 Uint32 "uint32" Some(DType::U32);
    13 Uint64 "uint64" Some(DType::U64);
    14 Complex64 "complex64" None;
    15 Complex128 "complex128" None;
    16 Bfloat16 "bfloat16" Some(DType::BF16);
    17 Float8E4M3FN "float8e4m3fn" Some(DType::F32);
    18 Float8E4M3FNUZ "float8e4m3fnuz" Some(DType::F32);
    19 Float8E5M2 "float8e5m2" Some(DType::F32);
    20 Float8E5M2FNUZ "float8e5m2fnuz" Some(DType::F32);
    21 Uint4 "uint4" Some(DType::U8);
    22 Int4 "int4" Some(DType::I8);
    23 Float4E2M1 "float4e2m1" Some(DType::F32);
    24 Float8E8M0 "float8e8m0" Some(DType::F32);
    25 Uint2 "uint2" Some(DType::U8);
    26 Int2 "int2" Some(DType::I8);
    27 Float6E2M3 "float6e2m3" Some(DType::F32);
    28 Float6E3M2 "float6e3m2" Some(DType::F32);
}

impl ElemType {
    /// The ONNX type of the same values as an IR type.
    pub const fn of(dtype: DType) -> Self {
        match dtype {
            DType::Bool => Self::Bool,
            DType::U8 => Self::Uint8,
            DType::I8 => Self::Int8,
            DType::I16 => Self::Int16,
            DType::U16 => Self::Uint16,
            DType::I32 => Self::Int32,
            DType::U32 => Self::Uint32,
            DType::I64 => Self::Int64,
            DType::U64 => Self::Uint64,
            DType::F16 => Self::Float16,
            DType::BF16 => Self::Bfloat16,
            DType::F32 => Self::Float,
            DType::F64 => Self::Double,
        }
    }

    /// Whether an IR type has exactly the values of this type, and not merely more.
    pub fn is_exact(self) -> bool {
        self.carrier().is_some_and(|dtype| Self::of(dtype) == self)
    }
}

impl fmt::Display for ElemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
