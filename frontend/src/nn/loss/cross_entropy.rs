//! `CrossEntropyLoss` and `NLLLoss`: losses of classes.

use nnc_ir::{DType, Dim, TensorType};

use super::Reduction;
use crate::module::Module;
use crate::tensor::{Tensor, ToTensor, fault, live, sound, where_};
use crate::trace;

/// Negative log-likelihood of classes under log-probabilities; see [`nll_loss`](crate::functional::nll_loss).
#[derive(Clone, Debug, Module)]
#[module(custom_forward)]
pub struct NLLLoss {
    weight: Option<Tensor>,
    ignore_index: i64,
    reduction: Reduction,
}

impl Default for NLLLoss {
    fn default() -> Self {
        Self { weight: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

impl NLLLoss {
    /// Unweighted, mean, class -100 ignored.
    pub fn new() -> Self {
        Self::default()
    }

    /// A weight `[C]` for each class.
    #[must_use]
    pub fn weight(mut self, weight: impl ToTensor) -> Self {
        self.weight = Some(weight.to_tensor());
        self
    }

    /// The class whose examples count for nothing. Any other class outside `0..C` is a mistake that costs nothing in
    /// the sum and is counted in the mean.
    #[must_use]
    pub fn ignore_index(mut self, class: i64) -> Self {
        self.ignore_index = class;
        self
    }

    /// What becomes of the terms.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let classes = sound!(Classes::new("nll_loss", input, target));
        let terms = -classes.pick(input);
        self.reduce(terms, &classes)
    }

    /// Weighs and folds the terms, one an example.
    #[track_caller]
    fn reduce(&self, terms: Tensor, classes: &Classes) -> Tensor {
        let weights = self.example_weights(classes);
        let terms = match &weights {
            Some(weights) if self.scales_terms(classes) => terms * weights,
            _ => terms,
        };
        self.fold(terms, weights)
    }

    /// Folds weighted terms; their mean is over the weights.
    #[track_caller]
    fn fold(&self, terms: Tensor, weights: Option<Tensor>) -> Tensor {
        match (self.reduction, weights) {
            (Reduction::Mean, Some(weights)) => terms.sum(..) / weights.sum(..),
            (reduction, _) => reduction.apply(terms),
        }
    }

    /// Whether the weights change a term. Those of a class outside `0..C` are 0 already: nothing was picked.
    fn scales_terms(&self, classes: &Classes) -> bool {
        self.weight.is_some() || (0..classes.n_classes as i64).contains(&self.ignore_index)
    }

    /// The weight of each example, if they can differ.
    #[track_caller]
    fn example_weights(&self, classes: &Classes) -> Option<Tensor> {
        match (&self.weight, self.counted(classes)) {
            (None, None) => None,
            (None, Some(counted)) => Some(counted.to_dtype(classes.dtype)),
            (Some(weight), counted) => {
                let weights = classes.pick(&classes.along_classes(weight));
                Some(match counted {
                    Some(counted) => where_(&counted, weights, 0),
                    None => weights,
                })
            }
        }
    }

    /// Which examples count, if not all: an unsigned class cannot be negative.
    #[track_caller]
    fn counted(&self, classes: &Classes) -> Option<Tensor> {
        let possible = self.ignore_index >= 0 || classes.target.dtype().is_signed();
        if possible { Some(classes.target.ne(self.ignore_index)) } else { None }
    }
}

/// Cross entropy of classes, or of probabilities, under logits; see
/// [`cross_entropy`](crate::functional::cross_entropy).
#[derive(Clone, Debug, Default, Module)]
#[module(custom_forward)]
pub struct CrossEntropyLoss {
    #[module(skip)]
    nll: NLLLoss,
    label_smoothing: f64,
}

impl CrossEntropyLoss {
    /// Unweighted, mean, class -100 ignored, no smoothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A weight `[C]` for each class.
    #[must_use]
    pub fn weight(mut self, weight: impl ToTensor) -> Self {
        self.nll = self.nll.weight(weight);
        self
    }

    /// The class whose examples count for nothing.
    #[must_use]
    pub fn ignore_index(mut self, class: i64) -> Self {
        self.nll = self.nll.ignore_index(class);
        self
    }

    /// What becomes of the terms.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.nll = self.nll.reduction(reduction);
        self
    }

    /// The share of the target that is spread evenly over all classes, in [0, 1].
    #[must_use]
    pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = label_smoothing;
        self
    }

    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let (input_ty, target_ty) = (live!(input), live!(target));
        if target_ty.dtype.is_float() {
            return self.soft(input, &input_ty, target, &target_ty);
        }
        let classes = sound!(Classes::new("cross_entropy", input, target));
        let log_probabilities = input.log_softmax(classes.dim as i64);
        let hard = -classes.pick(&log_probabilities);
        if self.label_smoothing == 0.0 {
            return self.nll.reduce(hard, &classes);
        }
        // The smoothed part has each class's own weight, and is divided by the same sum of weights as the hard part.
        let smooth = match &self.nll.weight {
            Some(weight) => -(&log_probabilities * classes.along_classes(weight)).sum(classes.dim),
            None => -log_probabilities.sum(classes.dim),
        };
        let smooth = smooth * (self.label_smoothing / classes.n_classes as f64);
        let smooth = match self.nll.counted(&classes) {
            Some(counted) => where_(&counted, smooth, 0),
            None => smooth,
        };
        let weights = self.nll.example_weights(&classes);
        let hard = match &weights {
            Some(weights) if self.nll.scales_terms(&classes) => hard * weights,
            _ => hard,
        };
        self.nll.fold(hard * (1.0 - self.label_smoothing) + smooth, weights)
    }

    /// Targets that are probabilities; the mean is over examples.
    #[track_caller]
    fn soft(&self, input: &Tensor, input_ty: &TensorType, target: &Tensor, target_ty: &TensorType) -> Tensor {
        if input_ty.shape != target_ty.shape {
            return fault(format!("cross_entropy: the input is {input_ty} and the probabilities {target_ty}"));
        }
        let dim = class_dim(input_ty.rank());
        let Some(n_classes) = input_ty.shape.dims().get(dim).and_then(Dim::as_const) else {
            return fault(format!("cross_entropy: the input is {input_ty}, expected classes in dimension {dim}"));
        };
        let smoothing = self.label_smoothing;
        let target = match smoothing {
            0.0 => target.clone(),
            _ => target * (1.0 - smoothing) + smoothing / n_classes as f64,
        };
        let log_probabilities = input.log_softmax(dim as i64);
        let weighted = match &self.nll.weight {
            Some(weight) => log_probabilities * along(weight, dim, input_ty.rank()),
            None => log_probabilities,
        };
        let terms = -(weighted * target).sum(dim);
        self.nll.reduction.apply(terms)
    }
}

/// The dimension that counts classes: the second, or the only one of a single example.
fn class_dim(rank: usize) -> usize {
    usize::from(rank > 1)
}

/// A vector over classes, shaped to broadcast along dimension `dim` of `rank`.
#[track_caller]
fn along(weight: &Tensor, dim: usize, rank: usize) -> Tensor {
    let mut shape = vec![1i64; rank];
    shape[dim] = -1;
    weight.reshape(shape)
}

/// Class targets against an input whose dimension `dim` counts classes.
struct Classes {
    target: Tensor,
    dim: usize,
    rank: usize,
    n_classes: usize,
    dtype: DType,
    /// `bool` of the input's shape: true at the target class.
    mask: Tensor,
}

impl Classes {
    #[track_caller]
    fn new(what: &str, input: &Tensor, target: &Tensor) -> Result<Self, Tensor> {
        let Some(ty) = input.checked_ty() else { return Err(input.clone()) };
        let Some(target_ty) = target.checked_ty() else { return Err(target.clone()) };
        if !ty.dtype.is_float() || ty.rank() == 0 {
            return Err(fault(format!("{what}: the input is {ty}, expected floats with a dimension of classes")));
        }
        let dim = class_dim(ty.rank());
        let Some(n_classes) = ty.shape[dim].as_const() else {
            return Err(fault(format!("{what}: the number of classes in {ty} is symbolic")));
        };
        let mut expected = TensorType::new(DType::I64, ty.shape.clone());
        expected.shape.0.remove(dim);
        if !target_ty.dtype.is_int() || target_ty.shape != expected.shape {
            return Err(fault(format!("{what}: the target is {target_ty}, expected {expected} for an input of {ty}")));
        }
        let classes = Tensor::iota(target_ty.dtype, ty.shape.clone(), dim);
        let mask = classes.eq(target.unsqueeze(dim as i64));
        Ok(Self { target: target.clone(), dim, rank: ty.rank(), n_classes, dtype: ty.dtype, mask })
    }

    /// The element of `x` at each example's class. Written as a masked sum: its gradient is a masked broadcast, and
    /// both fuse with what stands around them; a gather's gradient would be a scatter.
    #[track_caller]
    fn pick(&self, x: &Tensor) -> Tensor {
        where_(&self.mask, x, 0).sum(self.dim)
    }

    #[track_caller]
    fn along_classes(&self, weight: &Tensor) -> Tensor {
        along(weight, self.dim, self.rank)
    }
}
