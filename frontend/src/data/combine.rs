//! Data sets made of others: parts and concatenations.

use std::sync::Arc;

use nnc_ir::{Diagnostic, Location};

use super::dataset::{Collate, Dataset};
use crate::random::Generator;

/// Some examples of another data set, in an order of their own: `torch.utils.data.Subset`.
#[derive(Clone, Debug)]
pub struct Subset<D> {
    dataset: Arc<D>,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The examples at `indices`.
    ///
    /// # Panics
    /// If an index is out of range; see [`Subset::try_new`].
    pub fn new(dataset: impl Into<Arc<D>>, indices: impl IntoIterator<Item = usize>) -> Self {
        match Self::try_new(dataset, indices) {
            Ok(subset) => subset,
            Err(fault) => panic!("{fault}"),
        }
    }

    /// The examples at `indices`.
    ///
    /// # Errors
    /// If an index is out of range.
    pub fn try_new(dataset: impl Into<Arc<D>>, indices: impl IntoIterator<Item = usize>) -> Result<Self, Diagnostic> {
        let (dataset, indices) = (dataset.into(), indices.into_iter().collect::<Vec<_>>());
        let len = dataset.len();
        match indices.iter().find(|&&idx| idx >= len) {
            Some(idx) => Err(fault(format!("a subset names example {idx}, expected one of the {len} of its data set"))),
            None => Ok(Self { dataset, indices }),
        }
    }

    /// Positions of the examples in the data set that they are of.
    pub fn indices(&self) -> &[usize] {
        &self.indices
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

/// Data sets one after the other: `torch.utils.data.ConcatDataset`.
///
/// Different types of data sets go together as `Arc<dyn Dataset<Item = ...> + Send + Sync>`.
///
/// ```
/// use nnc_frontend::data::{ConcatDataset, Dataset, TensorDataset};
///
/// let part = |n| TensorDataset::new(ndarray::Array2::<f32>::zeros((n, 3)), ndarray::Array1::<i64>::zeros(n));
/// let all = ConcatDataset::new([part(4), part(0), part(6)]);
/// assert_eq!((all.len(), all.get(4).0.shape()), (10, &[3][..]));
/// ```
#[derive(Clone, Debug)]
pub struct ConcatDataset<D> {
    datasets: Vec<D>,
    /// Number of examples up to and with each data set.
    ends: Vec<usize>,
}

impl<D: Dataset> ConcatDataset<D> {
    /// The examples of all data sets in order.
    pub fn new(datasets: impl IntoIterator<Item = D>) -> Self {
        let datasets: Vec<D> = datasets.into_iter().collect();
        let mut end = 0;
        let ends = datasets.iter().map(|dataset| {
            end += dataset.len();
            end
        });
        let ends = ends.collect();
        Self { datasets, ends }
    }
}

impl<D: Dataset> Dataset for ConcatDataset<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get(&self, idx: usize) -> Self::Item {
        let part = self.ends.partition_point(|&end| end <= idx);
        assert!(part < self.datasets.len(), "example {idx} of a data set of {}", self.len());
        let start = if part == 0 { 0 } else { self.ends[part - 1] };
        self.datasets[part].get(idx - start)
    }
}

/// How long the parts of a [`random_split`] are: numbers of examples, or fractions of all.
#[derive(Clone, Debug, PartialEq)]
pub enum Lengths {
    /// Numbers of examples, which add up to all.
    Counts(Vec<usize>),
    /// Fractions, which add up to 1. Each is rounded down, and what is left goes to the first parts, one each.
    Fractions(Vec<f64>),
}

impl Lengths {
    /// Numbers of examples of each part of `total`.
    fn counts(&self, total: usize) -> Result<Vec<usize>, Diagnostic> {
        match self {
            Self::Counts(counts) => {
                let sum = counts.iter().try_fold(0usize, |sum, &count| sum.checked_add(count));
                if sum == Some(total) {
                    return Ok(counts.clone());
                }
                Err(fault(format!("random_split: the lengths {counts:?} do not add up to the {total} examples")))
            }
            Self::Fractions(fractions) => {
                let sum: f64 = fractions.iter().sum();
                let valid = fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction));
                if !valid || (sum - 1.0).abs() > 1e-9 {
                    let message =
                        format!("random_split: the fractions are {fractions:?}, expected ones that add up to 1");
                    return Err(fault(message));
                }
                let mut counts: Vec<usize> =
                    fractions.iter().map(|fraction| (fraction * total as f64).floor() as usize).collect();
                let n_parts = counts.len();
                let left = total - counts.iter().sum::<usize>().min(total);
                (0..left).for_each(|idx| counts[idx % n_parts] += 1);
                Ok(counts)
            }
        }
    }
}

macro_rules! lengths_from {
    ($($element:ty => $variant:ident),*) => {
        $(
            impl<const N: usize> From<[$element; N]> for Lengths {
                fn from(lengths: [$element; N]) -> Self {
                    Self::$variant(lengths.to_vec())
                }
            }

            impl<const N: usize> From<&[$element; N]> for Lengths {
                fn from(lengths: &[$element; N]) -> Self {
                    Self::$variant(lengths.to_vec())
                }
            }

            impl From<&[$element]> for Lengths {
                fn from(lengths: &[$element]) -> Self {
                    Self::$variant(lengths.to_vec())
                }
            }

            impl From<Vec<$element>> for Lengths {
                fn from(lengths: Vec<$element>) -> Self {
                    Self::$variant(lengths)
                }
            }
        )*
    };
}

lengths_from!(usize => Counts, f64 => Fractions);

/// Parts of a data set, drawn without replacement; `seed` decides which examples go where:
/// `torch.utils.data.random_split`.
///
/// ```
/// use nnc_frontend::data::{Dataset, TensorDataset, random_split};
///
/// let all = TensorDataset::new(ndarray::Array2::<f32>::zeros((10, 3)), ndarray::Array1::<i64>::zeros(10));
/// let parts = random_split(all, [0.5, 0.25, 0.25], 0)?;
/// assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [6, 2, 2]);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
///
/// # Errors
/// If the lengths do not add up.
pub fn random_split<D: Dataset>(
    dataset: impl Into<Arc<D>>,
    lengths: impl Into<Lengths>,
    seed: u64,
) -> Result<Vec<Subset<D>>, Diagnostic> {
    let dataset = dataset.into();
    let total = dataset.len();
    let counts = lengths.into().counts(total)?;
    let order = Generator::new(seed).permutation(total);
    let mut start = 0;
    let parts = counts.iter().map(|&count| {
        let indices = order[start..start + count].to_vec();
        start += count;
        Subset { dataset: dataset.clone(), indices }
    });
    Ok(parts.collect())
}

fn fault(message: String) -> Diagnostic {
    Diagnostic::new(Location::unknown(), message)
}
