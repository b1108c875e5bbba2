//! The matrices that inputs and states are multiplied with.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::ToTensor;
use nnc_ir::DType;

use crate::ops::integers::Integers;
use crate::ops::quant::{dynamically_quantized, dynamically_quantized_rows};

/// A matrix with a row for each feature of the product.
pub(super) enum Factor {
    Plain(Tensor),
    /// Integers of 8 bits. The other side is quantized when it is there.
    Quantized {
        elements: Tensor,
        /// Of all elements or, a vector, of each row.
        scale: Tensor,
        /// As `scale`.
        zero_point: Tensor,
    },
}

impl Factor {
    /// Each row of `x` times the transpose of the matrix, and `bias`. To be quantized, `x` is taken as a whole.
    #[track_caller]
    pub(super) fn times(&self, x: &Tensor, bias: Option<&Tensor>) -> Tensor {
        match self {
            Self::Plain(matrix) => x.linear(matrix, bias.map(|bias| bias as &dyn ToTensor)),
            Self::Quantized { .. } => {
                let product = self.product(dynamically_quantized(x));
                bias.map_or_else(|| product.clone(), |bias| &product + bias)
            }
        }
    }

    /// [`Factor::times`] of rows that are quantized each by itself, so that sequences of a batch do not depend on each
    /// other: as ONNX Runtime does with a thread a sequence.
    #[track_caller]
    pub(super) fn times_rows(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Plain(matrix) => x.linear(matrix, None),
            Self::Quantized { .. } => self.product(dynamically_quantized_rows(x)),
        }
    }

    /// The product of integers with the integers of the matrix, scaled.
    #[track_caller]
    fn product(&self, (integers, scale_of_x, zero_of_x): (Tensor, Tensor, Tensor)) -> Tensor {
        let (elements, scale, zero_point) = match self {
            Self::Quantized { elements, scale, zero_point } => (elements, scale, zero_point),
            Self::Plain(_) => unreachable!("products of floats are not products of integers"),
        };
        let columns = Integers::new(&elements.transpose(0, 1), Some(zero_point));
        Integers::new(&integers, Some(&zero_of_x)).matmul(&columns).to_dtype(DType::F32) * (scale_of_x * scale)
    }

    /// Some rows of the matrix.
    #[track_caller]
    pub(super) fn rows(&self, start: usize, n: usize) -> Self {
        match self {
            Self::Plain(matrix) => Self::Plain(matrix.narrow(0, start, n)),
            Self::Quantized { elements, scale, zero_point } => {
                let of_rows =
                    |value: &Tensor| if value.rank() == 1 { value.narrow(0, start, n) } else { value.clone() };
                let (scale, zero_point) = (of_rows(scale), of_rows(zero_point));
                Self::Quantized { elements: elements.narrow(0, start, n), scale, zero_point }
            }
        }
    }
}
