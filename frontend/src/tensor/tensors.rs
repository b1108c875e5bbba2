//! Structures of tensors: what loops carry, scan and give.

use super::Tensor;

/// A tensor, or tensors in tuples, arrays, vectors and options: whatever a body of [`scan`](crate::functional::scan)
/// takes or gives.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let state = (Tensor::zeros([2]), vec![Tensor::ones([3]), Tensor::ones([4])]);
/// assert_eq!(state.tensors().len(), 3);
/// let doubled = state.map(|tensor| tensor * 2.0);
/// assert_eq!(doubled.1[1].sum(..).item()?, 8.0);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
pub trait Tensors: Sized {
    /// Appends the tensors in order.
    fn collect_into(&self, tensors: &mut Vec<Tensor>);

    /// The same structure of the next tensors, as many as there are in `self`.
    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self;

    /// The tensors in order.
    fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        self.collect_into(&mut tensors);
        tensors
    }

    /// The same structure with each tensor replaced.
    fn map(&self, replace: impl FnMut(Tensor) -> Tensor) -> Self {
        self.rebuild(&mut self.tensors().into_iter().map(replace))
    }
}

impl Tensors for Tensor {
    fn collect_into(&self, tensors: &mut Vec<Tensor>) {
        tensors.push(self.clone());
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self {
        tensors.next().expect("a structure is rebuilt from as many tensors as it has")
    }
}

impl<T: Tensors> Tensors for Vec<T> {
    fn collect_into(&self, tensors: &mut Vec<Tensor>) {
        self.iter().for_each(|part| part.collect_into(tensors));
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self {
        self.iter().map(|part| part.rebuild(tensors)).collect()
    }
}

impl<T: Tensors> Tensors for Option<T> {
    fn collect_into(&self, tensors: &mut Vec<Tensor>) {
        self.iter().for_each(|part| part.collect_into(tensors));
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self {
        self.as_ref().map(|part| part.rebuild(tensors))
    }
}

impl<T: Tensors, const N: usize> Tensors for [T; N] {
    fn collect_into(&self, tensors: &mut Vec<Tensor>) {
        self.iter().for_each(|part| part.collect_into(tensors));
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self {
        std::array::from_fn(|idx| self[idx].rebuild(tensors))
    }
}

/// Tuples of each length.
macro_rules! tuples {
    ($( ($($part:ident $at:tt),*) )*) => {
        $(
            impl<$($part: Tensors),*> Tensors for ($($part,)*) {
                #[allow(unused_variables, reason = "the empty tuple has no tensors")]
                fn collect_into(&self, tensors: &mut Vec<Tensor>) {
                    $( self.$at.collect_into(tensors); )*
                }

                #[allow(unused_variables, clippy::unused_unit, reason = "the empty tuple has no tensors")]
                fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self {
                    ($( self.$at.rebuild(tensors), )*)
                }
            }
        )*
    };
}

tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
