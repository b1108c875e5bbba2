//! Data sets: examples by index.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayView, Axis, Dimension, IxDyn, RemoveAxis};

use crate::array::Element;
use crate::random::Generator;

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

impl<A: Collate, B: Collate> Collate for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn collate(examples: Vec<Self>) -> Self::Batch {
        let (first, second) = examples.into_iter().unzip();
        (A::collate(first), B::collate(second))
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

    /// Example `idx`, below [`Dataset::len`].
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

/// Two arrays whose first dimensions pair up: inputs and targets. Clones share the arrays.
///
/// ```
/// use nnc_frontend::data::{Dataset, TensorDataset};
///
/// let x = ndarray::Array2::<f32>::zeros((10, 3));
/// let y = ndarray::Array1::<i64>::zeros(10);
/// let train = TensorDataset::new(x, y);
/// let (xb, yb) = train.slice(2..6);
/// assert_eq!((train.len(), xb.shape(), yb.shape()), (10, &[4, 3][..], &[4][..]));
/// ```
#[derive(Debug)]
pub struct TensorDataset<A, B> {
    inputs: Arc<ArrayD<A>>,
    targets: Arc<ArrayD<B>>,
}

impl<A, B> Clone for TensorDataset<A, B> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), targets: self.targets.clone() }
    }
}

impl<A: Element, B: Element> TensorDataset<A, B> {
    /// Pairs of rows.
    ///
    /// # Panics
    /// If the first dimensions differ; see [`TensorDataset::try_new`].
    pub fn new<D: Dimension, E: Dimension>(inputs: ndarray::Array<A, D>, targets: ndarray::Array<B, E>) -> Self {
        match Self::try_new(inputs, targets) {
            Ok(dataset) => dataset,
            Err(message) => panic!("{message}"),
        }
    }

    /// Pairs of rows.
    ///
    /// # Errors
    /// If the first dimensions differ, or one has none.
    pub fn try_new<D: Dimension, E: Dimension>(
        inputs: ndarray::Array<A, D>,
        targets: ndarray::Array<B, E>,
    ) -> Result<Self, String> {
        let (inputs, targets) = (inputs.into_dyn(), targets.into_dyn());
        match (inputs.shape().first(), targets.shape().first()) {
            (Some(lhs), Some(rhs)) if lhs == rhs => {
                // Rows are copied whole, which needs them to be contiguous.
                let inputs = Arc::new(inputs.as_standard_layout().into_owned());
                let targets = Arc::new(targets.as_standard_layout().into_owned());
                Ok(Self { inputs, targets })
            }
            _ => Err(format!(
                "inputs of shape {:?} and targets of shape {:?} do not pair up",
                inputs.shape(),
                targets.shape()
            )),
        }
    }

    /// All inputs.
    pub fn inputs(&self) -> &ArrayD<A> {
        &self.inputs
    }

    /// All targets.
    pub fn targets(&self) -> &ArrayD<B> {
        &self.targets
    }

    /// Examples `range` as a batch; bounds beyond the end are cut, as in Python.
    pub fn slice(&self, range: Range<usize>) -> (ArrayD<A>, ArrayD<B>) {
        let end = range.end.min(self.len());
        let indices: Vec<usize> = (range.start.min(end)..end).collect();
        self.batch(&indices)
    }
}

impl<A: Element, B: Element> Dataset for TensorDataset<A, B> {
    type Item = (ArrayD<A>, ArrayD<B>);

    fn len(&self) -> usize {
        self.inputs.shape()[0]
    }

    fn get(&self, idx: usize) -> Self::Item {
        (row(&self.inputs.view(), idx), row(&self.targets.view(), idx))
    }

    fn batch(&self, indices: &[usize]) -> Self::Item {
        (rows(&self.inputs, indices), rows(&self.targets, indices))
    }
}

fn row<A: Element, D: RemoveAxis>(array: &ArrayView<'_, A, D>, idx: usize) -> ArrayD<A> {
    array.index_axis(Axis(0), idx).to_owned().into_dyn()
}

/// Copies rows, each of which is contiguous.
fn rows<A: Element>(array: &ArrayD<A>, indices: &[usize]) -> ArrayD<A> {
    let row_len: usize = array.shape()[1..].iter().product();
    let elements = array.as_slice().expect("the data set keeps its arrays in standard layout");
    let mut batch = Vec::with_capacity(indices.len() * row_len);
    for &idx in indices {
        batch.extend_from_slice(&elements[idx * row_len..(idx + 1) * row_len]);
    }
    let mut shape = array.shape().to_vec();
    shape[0] = indices.len();
    ArrayD::from_shape_vec(IxDyn(&shape), batch).expect("as many rows as indices")
}

/// Some examples of another data set, in an order of their own.
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: Arc<D>,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The examples at `indices`.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn new(dataset: impl Into<Arc<D>>, indices: impl IntoIterator<Item = usize>) -> Self {
        let (dataset, indices) = (dataset.into(), indices.into_iter().collect::<Vec<_>>());
        let len = dataset.len();
        if let Some(idx) = indices.iter().find(|&&idx| idx >= len) {
            panic!("example {idx} of a data set of {len}");
        }
        Self { dataset, indices }
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, idx: usize) -> Self::Item {
        self.dataset.get(self.indices[idx])
    }

    fn batch(&self, indices: &[usize]) -> <Self::Item as Collate>::Batch {
        let indices: Vec<usize> = indices.iter().map(|&idx| self.indices[idx]).collect();
        self.dataset.batch(&indices)
    }
}

/// Parts of a data set, drawn without replacement; `seed` decides which examples go where.
///
/// # Panics
/// If the lengths do not add up to the number of examples.
pub fn random_split<D: Dataset>(dataset: impl Into<Arc<D>>, lengths: &[usize], seed: u64) -> Vec<Subset<D>> {
    let dataset = dataset.into();
    let total: usize = lengths.iter().sum();
    assert_eq!(total, dataset.len(), "the lengths {lengths:?} do not add up to the number of examples");
    let order = Generator::new(seed).permutation(total);
    let mut start = 0;
    let parts = lengths.iter().map(|&len| {
        let indices = order[start..start + len].to_vec();
        start += len;
        Subset { dataset: dataset.clone(), indices }
    });
    parts.collect()
}
