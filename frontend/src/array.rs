//! `ndarray` arrays in and out: the concrete data of users, against [`TensorData`], that of the IR.

use half::{bf16, f16};
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};
use nnc_ir::{DType, Scalar, TensorData};

mod sealed {
    /// Keeps [`super::Element`] to types without padding, which [`super::ToData::view`] relies on.
    pub trait Sealed {}
}

/// A Rust type that is an element type of tensors. Implemented for the primitive numbers, `bool`, and `half`'s types.
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// The element type.
    const DTYPE: DType;

    /// The element as a scalar of the IR.
    fn to_scalar(self) -> Scalar;

    /// The scalar's value; conversions follow the IR's `convert`.
    fn from_scalar(scalar: Scalar) -> Self;
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident, $value:ident $to:expr, $scalar:ident $from:expr;)*) => {
        $(
            impl sealed::Sealed for $ty {}

            impl Element for $ty {
                const DTYPE: DType = DType::$dtype;

                fn to_scalar(self) -> Scalar {
                    let $value = self;
                    $to
                }

                fn from_scalar($scalar: Scalar) -> Self {
                    $from
                }
            }
        )*
    };
}

elements! {
    bool => Bool, v Scalar::from_i64(DType::Bool, i64::from(v)), s s.to_f64() != 0.0;
    u8 => U8, v Scalar::from_i64(DType::U8, i64::from(v)), s s.to_i64() as u8;
    i8 => I8, v Scalar::from_i64(DType::I8, i64::from(v)), s s.to_i64() as i8;
    i16 => I16, v Scalar::from_i64(DType::I16, i64::from(v)), s s.to_i64() as i16;
    u16 => U16, v Scalar::from_i64(DType::U16, i64::from(v)), s s.to_i64() as u16;
    i32 => I32, v Scalar::from_i64(DType::I32, i64::from(v)), s s.to_i64() as i32;
    u32 => U32, v Scalar::from_i64(DType::U32, i64::from(v)), s s.to_i64() as u32;
    i64 => I64, v Scalar::from_i64(DType::I64, v), s s.to_i64();
    u64 => U64, v Scalar { dtype: DType::U64, bits: v }, s s.to_integer() as u64;
    f16 => F16, v Scalar { dtype: DType::F16, bits: u64::from(v.to_bits()) }, s f16::from_f64(s.to_f64());
    bf16 => BF16, v Scalar { dtype: DType::BF16, bits: u64::from(v.to_bits()) }, s bf16::from_f64(s.to_f64());
    f32 => F32, v Scalar { dtype: DType::F32, bits: u64::from(v.to_bits()) }, s s.to_f64() as f32;
    f64 => F64, v Scalar { dtype: DType::F64, bits: v.to_bits() }, s s.to_f64();
}

/// The elements of an array, in row-major order whatever its layout.
pub fn from_array<A, S, D>(array: &ArrayBase<S, D>) -> TensorData
where
    A: Element,
    S: Data<Elem = A>,
    D: Dimension,
{
    let mut bytes = Vec::with_capacity(array.len() * A::DTYPE.size());
    for &element in array {
        element.to_scalar().write(&mut bytes);
    }
    TensorData::new(A::DTYPE, array.shape().to_vec(), bytes)
}

/// The elements of `data` as an array, converted to `A`.
pub fn to_array<A: Element>(data: &TensorData) -> ArrayD<A> {
    let elements: Vec<A> = data.scalars().map(A::from_scalar).collect();
    ArrayD::from_shape_vec(IxDyn(&data.shape), elements).expect("tensor data hold as many elements as their shape says")
}

/// [`to_array`] to `f32`.
pub fn to_f32(data: &TensorData) -> ArrayD<f32> {
    to_array(data)
}

/// [`to_array`] to `i64`.
pub fn to_i64(data: &TensorData) -> ArrayD<i64> {
    to_array(data)
}

/// Anything that holds concrete data: arrays, and data of the IR itself.
pub trait ToData {
    /// The data.
    fn to_data(&self) -> TensorData;

    /// The data where it lies, if it lies dense and row-major.
    fn view(&self) -> Option<View<'_>> {
        None
    }
}

/// Concrete data that somebody else holds.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: &'a [usize],
    /// Elements, dense and row-major.
    pub bytes: &'a [u8],
}

impl ToData for TensorData {
    fn to_data(&self) -> TensorData {
        self.clone()
    }

    fn view(&self) -> Option<View<'_>> {
        Some(View { dtype: self.dtype, shape: &self.shape, bytes: &self.bytes })
    }
}

impl<A: Element, S: Data<Elem = A>, D: Dimension> ToData for ArrayBase<S, D> {
    fn to_data(&self) -> TensorData {
        from_array(self)
    }

    fn view(&self) -> Option<View<'_>> {
        if cfg!(target_endian = "big") {
            return None;
        }
        let elements = self.as_slice()?;
        // SAFETY: the elements of a slice are initialized memory, and `Element` types have no padding.
        let bytes =
            unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), std::mem::size_of_val(elements)) };
        Some(View { dtype: A::DTYPE, shape: self.shape(), bytes })
    }
}

impl<T: ToData + ?Sized> ToData for &T {
    fn to_data(&self) -> TensorData {
        (**self).to_data()
    }

    fn view(&self) -> Option<View<'_>> {
        (**self).view()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn arrays_survive_the_way_there_and_back() {
        let transposed = array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes();
        let data = from_array(&transposed);
        assert_eq!((data.shape.as_slice(), data.to_f32()), (&[3, 2][..], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(to_f32(&data), transposed.into_dyn());
        assert_eq!(to_i64(&from_array(&array![true, false])), array![1, 0].into_dyn());
    }
}
