//! Losses of classes with the last layer in them: `LinearCrossEntropyLoss`, `AdaptiveLogSoftmaxWithLoss`.

use nnc_ir::Dim;

use super::{CrossEntropyLoss, Reduction};
use crate::module::{Forward, Module, python_bool, python_float};
use crate::nn::{Linear, ModuleList, Sequential};
use crate::sequential;
use crate::tensor::{Tensor, ToTensor, fault, live, where_};
use crate::trace;

/// [`CrossEntropyLoss`] of the logits that a [`Linear`] layer makes of the input.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let loss = LinearCrossEntropyLoss::new(3, 4);
/// let value = loss.forward(&Tensor::zeros([2, 3]), &Tensor::from_slice(&[0i64, 3]));
/// assert!((value.item()? - 4f64.ln()).abs() < 1e-6);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Debug, Module)]
#[module(
    custom_forward,
    repr = "in_features={}, num_classes={}, out_features=(), bias={}, reduction={}, ignore_index={}, \
            label_smoothing={}, options=None",
    self.linear.in_features,
    self.linear.out_features,
    python_bool(self.linear.bias.is_some()),
    self.reduction.name(),
    self.ignore_index.map_or_else(|| "None".to_string(), |class| class.to_string()),
    python_float(self.label_smoothing)
)]
pub struct LinearCrossEntropyLoss {
    /// What makes the logits; without bias unless [`LinearCrossEntropyLoss::bias`] says otherwise.
    pub linear: Linear,
    weight: Option<Tensor>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Reduction,
}

impl LinearCrossEntropyLoss {
    /// Logits of `num_classes` classes from `in_features` numbers; unweighted, mean, no smoothing.
    #[track_caller]
    pub fn new(in_features: usize, num_classes: usize) -> Self {
        Self {
            linear: Linear::new(in_features, num_classes).bias(false),
            weight: None,
            ignore_index: None,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }

    /// Whether the logits have a bias.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        self.linear = self.linear.bias(bias);
        self
    }

    /// A weight `[num_classes]` for each class.
    #[must_use]
    pub fn weight(mut self, weight: impl ToTensor) -> Self {
        self.weight = Some(weight.to_tensor());
        self
    }

    /// The class whose examples count for nothing.
    #[must_use]
    pub fn ignore_index(mut self, class: i64) -> Self {
        self.ignore_index = Some(class);
        self
    }

    /// The share of the target that is spread evenly over all classes, in [0, 1].
    #[must_use]
    pub fn label_smoothing(mut self, label_smoothing: f64) -> Self {
        self.label_smoothing = label_smoothing;
        self
    }

    /// What becomes of the terms.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The loss of inputs `[N, in_features]` (or `[in_features]`) and classes `[N]` (or a scalar).
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let mut loss = CrossEntropyLoss::new().reduction(self.reduction).label_smoothing(self.label_smoothing);
        if let Some(weight) = &self.weight {
            loss = loss.weight(weight);
        }
        if let Some(class) = self.ignore_index {
            loss = loss.ignore_index(class);
        }
        loss.forward(&self.linear.forward(input), target)
    }
}

/// Log-probabilities of very many classes, the rare ones in clusters with smaller layers of their own (Grave et al.,
/// 2017). Classes are numbered from the most to the least frequent.
///
/// Every example passes through every cluster and picks its own, so that all shapes are known while tracing.
#[derive(Debug, Module)]
#[module(custom_forward)]
pub struct AdaptiveLogSoftmaxWithLoss {
    /// Logits of the frequent classes and of the clusters.
    pub head: Linear,
    /// For each cluster the layers that make the logits of its classes.
    pub tail: ModuleList<Sequential>,
    /// The first class of each cluster, then the number of classes.
    cutoffs: Vec<usize>,
    /// What is wrong with the cutoffs.
    refused: Option<String>,
}

impl AdaptiveLogSoftmaxWithLoss {
    /// Clusters of the classes `cutoffs[0]..cutoffs[1]` and so on, the last up to `n_classes`; those of cluster `i` see
    /// `in_features / 4^(i + 1)` features. Cutoffs that do not increase within `1..n_classes` are a fault where the layer
    /// is used.
    #[track_caller]
    pub fn new(in_features: usize, n_classes: usize, cutoffs: &[usize]) -> Self {
        Self::with(in_features, n_classes, cutoffs, 4.0, false)
    }

    /// [`AdaptiveLogSoftmaxWithLoss::new`] with features divided by powers of `div_value`, and a bias of the head or not.
    #[track_caller]
    pub fn with(in_features: usize, n_classes: usize, cutoffs: &[usize], div_value: f64, head_bias: bool) -> Self {
        let increasing = cutoffs.windows(2).all(|pair| pair[0] < pair[1]);
        let within = cutoffs.first().is_some_and(|&first| first > 0) && cutoffs.last() < Some(&n_classes);
        let sound = increasing && within;
        let refused =
            (!sound).then(|| format!("cutoffs are {cutoffs:?}, expected increasing numbers between 0 and {n_classes}"));
        let cutoffs: &[usize] = if sound { cutoffs } else { &[] };
        let cutoffs: Vec<usize> = cutoffs.iter().copied().chain([n_classes]).collect();
        let head = Linear::new(in_features, cutoffs[0] + cutoffs.len() - 1).bias(head_bias);
        let cluster = |(idx, bounds): (usize, &[usize])| {
            let n_hidden = (in_features as f64 / div_value.powi(idx as i32 + 1)) as usize;
            let n_classes = bounds[1] - bounds[0];
            sequential![Linear::new(in_features, n_hidden).bias(false), Linear::new(n_hidden, n_classes).bias(false)]
        };
        let tail = cutoffs.windows(2).enumerate().map(cluster).collect();
        Self { head, tail, cutoffs, refused }
    }

    /// The log-probability of each example's class, `[N]`, and the mean of their negatives, for inputs
    /// `[N, in_features]` and classes `[N]` (or `[in_features]` and a scalar).
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
        let _scope = trace::enter(self.key());
        let (ty, target_ty) = (input.ty(), target.ty());
        let single = ty.rank() == 1;
        let extents = ty.shape.dims();
        let fits = (1..=2).contains(&ty.rank())
            && target_ty.dtype.is_int()
            && target_ty.shape.dims() == &extents[..extents.len() - 1];
        if !fits && !input.is_poisoned() && !target.is_poisoned() {
            let fault = fault(format!(
                "adaptive_log_softmax_with_loss: the input is {ty} and the target {target_ty}, expected [N, in_features] \
                 and [N], or [in_features] and a scalar"
            ));
            return (fault.clone(), fault);
        }
        let batch = |x: &Tensor| if single { x.unsqueeze(0) } else { x.clone() };
        let (x, target) = (batch(input), batch(target).unsqueeze(1));
        let log_probs = self.log_prob(&x);
        let class = Tensor::arange(self.n_classes()).to_dtype(target_ty.dtype);
        let output = where_(&class.eq(&target), log_probs, 0).sum(1);
        let loss = -output.mean(..);
        (if single { output.squeeze(0) } else { output }, loss)
    }

    fn n_classes(&self) -> usize {
        self.cutoffs[self.cutoffs.len() - 1]
    }

    /// Log-probabilities of all classes, `[N, n_classes]`.
    #[track_caller]
    pub fn log_prob(&self, input: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let ty = live!(input);
        if let Some(refused) = &self.refused {
            return fault(format!("adaptive_log_softmax_with_loss: {refused}"));
        }
        if ty.rank() != 2 || ty.shape[1] != Dim::from(self.head.in_features) {
            return fault(format!(
                "adaptive_log_softmax_with_loss: the input is {ty}, expected [N, {}]",
                self.head.in_features
            ));
        }
        let head = self.head.forward(input).log_softmax(1);
        let mut parts = vec![head.narrow(1, 0, self.cutoffs[0])];
        for (idx, cluster) in self.tail.iter().enumerate() {
            let within = Forward::forward(cluster, input).log_softmax(1);
            parts.push(within + head.narrow(1, self.cutoffs[0] + idx, 1));
        }
        Tensor::cat(&parts, 1)
    }

    /// The most probable class of each example, `i64[N]`.
    #[track_caller]
    pub fn predict(&self, input: &Tensor) -> Tensor {
        self.log_prob(input).argmax(1)
    }
}
