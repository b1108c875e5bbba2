//! Data sets: examples by index.

use std::sync::Arc;

use ndarray::{ArrayD, Axis, IxDyn};

use crate::array::Element;

/// Examples that become a batch.
pub trait Collate: Sized {
    /// What several examples become.
    type Batch;

    /// Puts examples of one shape together along a new first dimension.
    ///
    /// # Panics
    /// If the examples differ in shape.
    fn collate(examples: Vec<Self>) -> Self::Batch;
}

impl<A: Element> Collate for ArrayD<A> {
    type Batch = ArrayD<A>;

    fn collate(examples: Vec<Self>) -> ArrayD<A> {
        let views: Vec<_> = examples.iter().map(|example| example.view()).collect();
        if views.is_empty() {
            return ArrayD::from_shape_simple_fn(IxDyn(&[0]), A::default);
        }
        ndarray::stack(Axis(0), &views).expect("the examples of a data set have one shape")
    }
}

macro_rules! collate_scalars {
    ($($ty:ty),*) => {
        $(
            impl Collate for $ty {
                type Batch = ArrayD<$ty>;

                fn collate(examples: Vec<Self>) -> ArrayD<$ty> {
                    ndarray::Array1::from_vec(examples).into_dyn()
                }
            }
        )*
    };
}

collate_scalars!(f32, f64, i32, i64, u8, bool);

/// Lists, whose lengths may differ, stay lists; a [`collate_fn`](crate::data::DataLoader::collate_fn) pads or packs them.
impl<T> Collate for Vec<T> {
    type Batch = Vec<Vec<T>>;

    fn collate(examples: Vec<Self>) -> Self::Batch {
        examples
    }
}

impl Collate for String {
    type Batch = Vec<String>;

    fn collate(examples: Vec<Self>) -> Self::Batch {
        examples
    }
}

impl<A: Collate, B: Collate> Collate for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn collate(examples: Vec<Self>) -> Self::Batch {
        let (first, second) = examples.into_iter().unzip();
        (A::collate(first), B::collate(second))
    }
}

impl<A: Collate, B: Collate, C: Collate> Collate for (A, B, C) {
    type Batch = (A::Batch, B::Batch, C::Batch);

    fn collate(examples: Vec<Self>) -> Self::Batch {
        let (first, (second, third)): (_, (Vec<B>, Vec<C>)) =
            examples.into_iter().map(|(first, second, third)| (first, (second, third))).unzip();
        (A::collate(first), B::collate(second), C::collate(third))
    }
}

/// Examples by index: `torch.utils.data.Dataset`.
///
/// ```
/// use nnc_frontend::data::{DataLoader, Dataset};
///
/// /// The squares.
/// struct Squares;
///
/// impl Dataset for Squares {
///     type Item = (f32, f32);
///
///     fn len(&self) -> usize {
///         5
///     }
///
///     fn get(&self, idx: usize) -> (f32, f32) {
///         (idx as f32, (idx * idx) as f32)
///     }
/// }
///
/// let loader = DataLoader::new(Squares).batch_size(2);
/// let (_, squares) = loader.iter().last().unwrap();
/// assert_eq!((loader.len(), squares.sum()), (3, 16.0));
/// ```
pub trait Dataset {
    /// One example.
    type Item: Collate;

    /// Number of examples.
    fn len(&self) -> usize;

    /// Example `idx`, below [`Dataset::len`]. Random changes are drawn from the thread's generator, which a loader seeds
    /// anew for each batch; so they follow from the loader's seed, whoever makes the batch.
    fn get(&self, idx: usize) -> Self::Item;

    /// The examples at `indices` as a batch. Data sets that hold arrays do better than one by one.
    fn batch(&self, indices: &[usize]) -> <Self::Item as Collate>::Batch {
        Collate::collate(indices.iter().map(|&idx| self.get(idx)).collect())
    }

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, idx: usize) -> Self::Item {
        (**self).get(idx)
    }

    fn batch(&self, indices: &[usize]) -> <Self::Item as Collate>::Batch {
        (**self).batch(indices)
    }
}
