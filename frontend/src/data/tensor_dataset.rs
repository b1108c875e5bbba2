//! Arrays as a data set.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayView, Axis, Dimension, IxDyn, RemoveAxis};

use super::dataset::Dataset;
use crate::array::Element;

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
