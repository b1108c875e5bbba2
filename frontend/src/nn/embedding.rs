//! `Embedding` and `EmbeddingBag`: rows of a table, one by one or folded in bags.

use nnc_ir::{Dim, TensorType};

use crate::functional;
use crate::init;
use crate::module::{Forward, Module};
use crate::parameter::Parameter;
use crate::tensor::{Tensor, ToTensor, fault, live, sound, where_};
use crate::trace;

/// `, padding_idx=3`, or nothing.
fn padding_repr(padding_idx: Option<usize>) -> String {
    padding_idx.map(|padding_idx| format!(", padding_idx={padding_idx}")).unwrap_or_default()
}

/// A table that starts standard normal.
#[track_caller]
fn table(num_embeddings: usize, embedding_dim: usize) -> Parameter {
    let weight = Parameter::new(Tensor::zeros([num_embeddings, embedding_dim]));
    init::normal_(&weight, 0.0, 1.0);
    weight
}

/// `padding_idx` counted from the front; its row of `weight` becomes zeros.
fn pad(weight: &Parameter, padding_idx: i64) -> Option<usize> {
    let n_rows = weight.shape().first().map_or(0, |&n_rows| n_rows as i64);
    let position = if padding_idx < 0 { padding_idx + n_rows } else { padding_idx };
    if !(0..n_rows).contains(&position) {
        return None;
    }
    let mut data = weight.to_array();
    data.index_axis_mut(ndarray::Axis(0), position as usize).fill(0.0);
    weight.set(&data).expect("the data have the parameter's type");
    Some(position as usize)
}

/// What a table does not do, said when it is used.
#[derive(Clone, Debug, Default)]
struct Refused(Option<String>);

impl Refused {
    fn max_norm() -> Self {
        let message = "max_norm is not supported, since it would change the weight inside `forward`; renormalize the \
                       rows between steps";
        Self(Some(message.to_string()))
    }

    fn padding(padding_idx: i64, num_embeddings: usize) -> Self {
        Self(Some(format!("padding_idx is {padding_idx}, expected a row of {num_embeddings}")))
    }

    #[track_caller]
    fn check(&self, what: &str) -> Result<(), Tensor> {
        self.0.as_ref().map_or(Ok(()), |message| Err(fault(format!("{what}: {message}"))))
    }
}

/// Maps integers to the rows of a learned table: `[...]` to `[..., embedding_dim]`.
///
/// The table starts standard normal. An index out of range takes the nearest row: nothing checks tensors while a
/// compiled program runs.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = Embedding::new(10, 3).padding_idx(-1);
/// assert_eq!(layer.to_string(), "Embedding(10, 3, padding_idx=9)");
/// let y = layer.forward(&Tensor::from_slice(&[4i64, 9]));
/// assert_eq!(y.shape().to_string(), "[2, 3]");
/// assert_eq!(y.select(0, 1).abs().sum(..).item()?, 0.0);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Clone, Debug, Module)]
#[module(repr = "{}, {}{}", self.num_embeddings, self.embedding_dim, padding_repr(self.padding_idx))]
pub struct Embedding {
    /// Number of rows.
    pub num_embeddings: usize,
    /// Extent of a row.
    pub embedding_dim: usize,
    /// The row that gets no gradient.
    pub padding_idx: Option<usize>,
    /// The table, `[num_embeddings, embedding_dim]`.
    pub weight: Parameter,
    refused: Refused,
}

impl Embedding {
    /// A table of `num_embeddings` rows.
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Self {
        let weight = table(num_embeddings, embedding_dim);
        Self { num_embeddings, embedding_dim, padding_idx: None, weight, refused: Refused::default() }
    }

    /// A table of the given rows, `[num_embeddings, embedding_dim]`, which training leaves alone if `freeze`. Rows that are
    /// no matrix are a fault where the layer is used.
    ///
    /// # Panics
    /// As for [`Parameter::new`].
    #[track_caller]
    pub fn from_pretrained(rows: impl ToTensor, freeze: bool) -> Self {
        let weight = Parameter::new(rows);
        weight.set_requires_grad(!freeze);
        let (num_embeddings, embedding_dim) = match weight.shape()[..] {
            [num_embeddings, embedding_dim] => (num_embeddings, embedding_dim),
            // The lookup itself says what a table must be.
            _ => (0, 0),
        };
        Self { num_embeddings, embedding_dim, padding_idx: None, weight, refused: Refused::default() }
    }

    /// A row, counted from the end if negative, that starts as zeros and gets no gradient.
    #[must_use]
    pub fn padding_idx(mut self, padding_idx: i64) -> Self {
        self.padding_idx = pad(&self.weight, padding_idx);
        if self.padding_idx.is_none() {
            self.refused = Refused::padding(padding_idx, self.num_embeddings);
        }
        self
    }

    /// Not supported: using the layer is a fault that says what to do instead.
    #[must_use]
    pub fn max_norm(mut self, _: f64) -> Self {
        self.refused = Refused::max_norm();
        self
    }
}

impl Forward for Embedding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        sound!(self.refused.check("Embedding"));
        functional::embedding(x, &self.weight, self.padding_idx)
    }
}

/// What [`EmbeddingBag`] makes of the rows of a bag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EmbeddingBagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The largest of each column.
    Max,
}

impl EmbeddingBagMode {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Max => "max",
        }
    }
}

/// Sums, means or maxima of bags of rows of a learned table. An empty bag gives zeros.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = EmbeddingBag::new(10, 3).mode(nn::EmbeddingBagMode::Sum);
/// assert_eq!(layer.to_string(), "EmbeddingBag(10, 3, mode='sum')");
/// let indices = Tensor::from_slice(&[1i64, 2, 4, 5, 4, 3, 2, 9]);
/// let offsets = Tensor::from_slice(&[0i64, 4]);
/// assert_eq!(layer.forward(&indices, Some(&offsets), None).shape().to_string(), "[2, 3]");
/// ```
#[derive(Clone, Debug, Module)]
#[module(
    custom_forward,
    repr = "{}, {}, mode='{}'{}",
    self.num_embeddings,
    self.embedding_dim,
    self.mode.name(),
    padding_repr(self.padding_idx)
)]
pub struct EmbeddingBag {
    /// Number of rows.
    pub num_embeddings: usize,
    /// Extent of a row.
    pub embedding_dim: usize,
    /// What becomes of the rows of a bag.
    pub mode: EmbeddingBagMode,
    /// The row that counts for nothing.
    pub padding_idx: Option<usize>,
    /// The table, `[num_embeddings, embedding_dim]`.
    pub weight: Parameter,
    include_last_offset: bool,
    refused: Refused,
}

impl EmbeddingBag {
    /// A table of `num_embeddings` rows; bags give means.
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Self {
        Self {
            num_embeddings,
            embedding_dim,
            mode: EmbeddingBagMode::Mean,
            padding_idx: None,
            weight: table(num_embeddings, embedding_dim),
            include_last_offset: false,
            refused: Refused::default(),
        }
    }

    /// What becomes of the rows of a bag.
    #[must_use]
    pub fn mode(mut self, mode: EmbeddingBagMode) -> Self {
        self.mode = mode;
        self
    }

    /// A row, counted from the end if negative, that starts as zeros and counts for nothing.
    #[must_use]
    pub fn padding_idx(mut self, padding_idx: i64) -> Self {
        self.padding_idx = pad(&self.weight, padding_idx);
        if self.padding_idx.is_none() {
            self.refused = Refused::padding(padding_idx, self.num_embeddings);
        }
        self
    }

    /// Whether the offsets end with the number of indices.
    #[must_use]
    pub fn include_last_offset(mut self, include_last_offset: bool) -> Self {
        self.include_last_offset = include_last_offset;
        self
    }

    /// Not supported: using the layer is a fault that says what to do instead.
    #[must_use]
    pub fn max_norm(mut self, _: f64) -> Self {
        self.refused = Refused::max_norm();
        self
    }

    /// The bags, `[B, embedding_dim]`. `input` holds a bag a row, `[B, L]`; or, with `offsets`, `[B]`, all bags one after
    /// the other, `[L]`, each from its offset to the next. `per_sample_weights`, of the input's shape, multiply the rows
    /// of a sum.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, offsets: Option<&Tensor>, per_sample_weights: Option<&Tensor>) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(self.refused.check("EmbeddingBag"));
        let offsets = match offsets {
            Some(offsets) if self.include_last_offset => Some(offsets.slice(0, 0, Some(-1), 1)),
            offsets => offsets.cloned(),
        };
        let weight = self.weight.tensor();
        Self::reduce(input, &weight, offsets.as_ref(), per_sample_weights, self.mode, self.padding_idx)
    }

    /// The bags of rows of `weight`.
    #[track_caller]
    pub(crate) fn reduce(
        input: &Tensor,
        weight: &Tensor,
        offsets: Option<&Tensor>,
        per_sample_weights: Option<&Tensor>,
        mode: EmbeddingBagMode,
        padding_idx: Option<usize>,
    ) -> Tensor {
        let ty = live!(input);
        let mut rows = weight.rows("embedding_bag", input);
        if let Some(weights) = per_sample_weights {
            let weights_ty = live!(weights);
            if mode != EmbeddingBagMode::Sum || weights_ty.shape != ty.shape {
                return fault(format!(
                    "embedding_bag: per_sample_weights are {weights_ty} for an input of {ty} and mode '{}', expected \
                     the input's shape and mode 'sum'",
                    mode.name()
                ));
            }
            rows *= weights.unsqueeze(-1);
        }
        let counted = padding_idx.map(|padding_idx| input.ne(padding_idx));
        match (offsets, ty.rank()) {
            (None, 2) => fold_rows(&rows, counted.as_ref(), &ty, mode),
            (Some(offsets), 1) => fold_bags(&rows, counted.as_ref(), offsets, &ty, mode),
            _ => {
                fault(format!("embedding_bag: the input is {ty}, expected [B, L] without offsets or [L] with offsets"))
            }
        }
    }
}

/// Folds `rows`, `[B, L, D]`, over `L`; those not `counted` are left out.
#[track_caller]
fn fold_rows(rows: &Tensor, counted: Option<&Tensor>, ty: &TensorType, mode: EmbeddingBagMode) -> Tensor {
    let Some(counted) = counted else {
        let empty = ty.shape[1] == Dim::from(0);
        return match mode {
            EmbeddingBagMode::Mean if !empty => rows.mean(1),
            EmbeddingBagMode::Max if !empty => rows.max(1),
            _ => rows.sum(1),
        };
    };
    let mask = counted.unsqueeze(-1);
    match mode {
        EmbeddingBagMode::Sum => where_(&mask, rows, 0).sum(1),
        EmbeddingBagMode::Mean => {
            let n = counted.sum(1).maximum(1).unsqueeze(-1).to_dtype(rows.dtype());
            where_(&mask, rows, 0).sum(1) / n
        }
        EmbeddingBagMode::Max => largest(rows, &mask, 1),
    }
}

/// Folds `rows`, `[L, D]`, in bags that start at `offsets`.
#[track_caller]
fn fold_bags(
    rows: &Tensor,
    counted: Option<&Tensor>,
    offsets: &Tensor,
    ty: &TensorType,
    mode: EmbeddingBagMode,
) -> Tensor {
    let offsets_ty = live!(offsets);
    if !offsets_ty.dtype.is_int() || offsets_ty.rank() != 1 {
        return fault(format!("embedding_bag: the offsets are {offsets_ty}, expected a vector of integers"));
    }
    let starts = offsets.long().unsqueeze(1);
    let position = Tensor::arange(ty.shape[0].clone());
    // The bag of a position is the last one that starts no later.
    let bag = starts.le(&position).sum(0) - 1;
    let n_bags = offsets_ty.shape[0].clone();
    let member = Tensor::arange(n_bags.clone()).unsqueeze(1).eq(&bag);
    let member = match counted {
        Some(counted) => member.logical_and(counted),
        None => member,
    };
    if mode == EmbeddingBagMode::Max {
        return largest(&rows.unsqueeze(0), &member.unsqueeze(-1), 1);
    }
    let rows = match counted {
        Some(counted) => where_(&counted.unsqueeze(-1), rows, 0),
        None => rows.clone(),
    };
    let width = live!(rows).shape[1].clone();
    let zeros = Tensor::zeros([n_bags, width]).to_dtype(rows.dtype());
    let sum = zeros.add_rows(&bag, &rows);
    match mode {
        EmbeddingBagMode::Mean => sum / member.sum(1).maximum(1).unsqueeze(-1).to_dtype(rows.dtype()),
        _ => sum,
    }
}

/// The largest of the masked elements along `dim`; zero where there is none.
#[track_caller]
fn largest(rows: &Tensor, mask: &Tensor, dim: i64) -> Tensor {
    let largest = where_(mask, rows, f64::NEG_INFINITY).max(dim);
    where_(&mask.any(dim), largest, 0)
}
