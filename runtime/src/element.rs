//! Rust types whose slices are views of tensors.

use half::{bf16, f16};

use crate::program::ElemType;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that tensors can be viewed as.
///
/// Every bit pattern is a value and there is no padding, so any bytes of the right size and alignment make a view.
/// Elements are little-endian, as on every machine that programs run on. `bool` tensors are viewed as `u8`, 0 or 1.
pub trait Element: Copy + Default + Send + Sync + sealed::Sealed + 'static {
    /// The element type that lies in memory as this type does.
    const ELEM: ElemType;

    /// Whether a tensor of type `elem` can be viewed as this type.
    fn views(elem: ElemType) -> bool {
        elem == Self::ELEM
    }
}

macro_rules! elements {
    ($($ty:ty => $elem:ident),* $(,)?) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const ELEM: ElemType = ElemType::$elem;
        }
    )*};
}

elements!(
    i8 => I8,
    i16 => I16,
    u16 => U16,
    i32 => I32,
    u32 => U32,
    i64 => I64,
    u64 => U64,
    f16 => F16,
    bf16 => BF16,
    f32 => F32,
    f64 => F64,
);

impl sealed::Sealed for u8 {}
impl Element for u8 {
    const ELEM: ElemType = ElemType::U8;

    fn views(elem: ElemType) -> bool {
        matches!(elem, ElemType::U8 | ElemType::Bool)
    }
}

/// Views bytes as elements, or `None` where size or alignment does not fit.
pub fn view<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: every bit pattern is a `T`.
    let (head, elements, tail) = unsafe { bytes.align_to() };
    (head.is_empty() && tail.is_empty()).then_some(elements)
}

/// As [`view`], for writing.
pub fn view_mut<T: Element>(bytes: &mut [u8]) -> Option<&mut [T]> {
    // SAFETY: every bit pattern is a `T`, and every `T` is plain bytes.
    let (head, elements, tail) = unsafe { bytes.align_to_mut() };
    (head.is_empty() && tail.is_empty()).then_some(elements)
}

/// The bytes of elements.
pub fn bytes_of<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: elements have no padding.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_the_bytes_they_came_from() {
        let mut values = [1.0_f32, -2.5, f32::NAN];
        let bytes = bytes_of(&values).to_vec();
        assert_eq!(bytes.len(), 12);
        assert_eq!(bytes[4..8], (-2.5_f32).to_le_bytes());
        assert_eq!(view::<f32>(bytes_of(&values)).expect("aligned")[..2], [1.0, -2.5]);
        assert!(view::<f32>(&bytes_of(&values)[..11]).is_none(), "a part of an element");
        assert!(view::<i32>(&bytes_of(&values)[1..9]).is_none(), "misaligned");
        assert_eq!(view::<f32>(&[]), Some(&[][..]));
        // SAFETY: plain bytes.
        let raw = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), 12) };
        view_mut::<f32>(raw).expect("aligned")[2] = 7.0;
        assert_eq!(values[2], 7.0);
    }

    #[test]
    fn booleans_are_viewed_as_bytes() {
        assert!(u8::views(ElemType::Bool) && u8::views(ElemType::U8) && !u8::views(ElemType::I8));
        assert!(f16::views(ElemType::F16) && !f16::views(ElemType::BF16));
    }
}
