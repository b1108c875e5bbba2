//! Losses that ask for a margin: between classes, pairs, or the two sides of a decision.

use std::fmt;
use std::rc::Rc;

use nnc_ir::TensorType;

use super::{Reduction, same_shape};
use crate::functional;
use crate::module::{Member, Members, Module, write_tree};
use crate::nn::PairwiseDistance;
use crate::tensor::{Tensor, fault, live, sound, where_};
use crate::trace;

loss! {
    /// For targets 1 and -1: the input where the target is 1, and `max(margin - input, 0)` where it is -1.
    HingeEmbeddingLoss {
        /// How large an input of target -1 should be; 1 by default.
        margin: f64 = 1.0,
    }
}

impl HingeEmbeddingLoss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("hinge_embedding_loss", input, target));
        let hinge = (self.margin - input).relu();
        let terms = where_(&target.ne(1), hinge, 0) + where_(&target.ne(-1), input, 0);
        self.reduction.apply(terms)
    }
}

loss! {
    /// For targets 1 and -1: `ln(1 + e^(-target * input))`.
    SoftMarginLoss {}
}

impl SoftMarginLoss {
    /// The loss. Input and target have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("soft_margin_loss", input, target));
        self.reduction.apply((-(target * input)).softplus())
    }
}

/// An input `[N, C]` or `[C]` as `[N, C]`, its target with one more dimension if the input has, and its type.
#[track_caller]
fn batched(what: &str, input: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor, TensorType), Tensor> {
    let Some(ty) = input.checked_ty() else { return Err(input.clone()) };
    let (input, target) = match ty.rank() {
        1 => (input.unsqueeze(0), target.unsqueeze(0)),
        2 => (input.clone(), target.clone()),
        _ => return Err(fault(format!("{what}: the input is {ty}, expected [N, C] or [C]"))),
    };
    let Some(ty) = input.checked_ty() else { return Err(input) };
    Ok((input, target, ty))
}

/// The terms of a batch that was made of one example are no vector.
#[track_caller]
fn unbatched(terms: Tensor, input: &Tensor) -> Tensor {
    if input.rank() == 1 { terms.squeeze(0) } else { terms }
}

/// The number of classes as a factor.
#[track_caller]
fn n_classes(what: &str, ty: &TensorType) -> Result<f64, Tensor> {
    match ty.shape[1].as_const() {
        Some(n) if n > 0 => Ok(n as f64),
        _ => Err(fault(format!("{what}: the number of classes in {ty} is not a positive number"))),
    }
}

loss! {
    /// Classes by margin: the mean over all wrong classes `i` of `max(margin - input[target] + input[i], 0)^p`.
    MultiMarginLoss [
        /// A factor of each example by its class, `[C]`.
        weight,
    ] {
        /// The exponent: 1 (the default) or 2.
        p: f64 = 1.0,
        /// By how much the right class should win; 1 by default.
        margin: f64 = 1.0,
    }
}

impl MultiMarginLoss {
    /// The loss of an input `[N, C]` and classes `[N]`, or `[C]` and a scalar.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let what = "multi_margin_loss";
        if self.p != 1.0 && self.p != 2.0 {
            return fault(format!("{what}: p is {}, expected 1 or 2", self.p));
        }
        let (x, y, ty) = sound!(batched(what, input, target));
        let target_ty = live!(y);
        if !target_ty.dtype.is_int() || target_ty.shape.dims() != &ty.shape.dims()[..1] {
            return fault(format!("{what}: the target is {target_ty} for an input of {ty}, expected one class a row"));
        }
        let n_classes = sound!(n_classes(what, &ty));
        let right = Tensor::iota(target_ty.dtype, ty.shape.clone(), 1).eq(y.unsqueeze(1));
        let score = where_(&right, &x, 0).sum_keepdim(1);
        let short = (self.margin - score + &x).maximum(0);
        let short = if self.p == 2.0 { short.square() } else { short };
        let short = where_(&right, 0, short);
        let terms = match &self.weight {
            Some(weight) => short.sum(1) * where_(&right, weight, 0).sum(1),
            None => short.sum(1),
        };
        self.reduction.apply(unbatched(terms / n_classes, input))
    }
}

loss! {
    /// Several classes an example: the mean over all right classes `j` and wrong classes `i` of
    /// `max(1 - input[j] + input[i], 0)`, counted once a class.
    MultiLabelMarginLoss {}
}

impl MultiLabelMarginLoss {
    /// The loss of an input `[N, C]` (or `[C]`) and a target of the same shape, whose rows list classes up to the first
    /// -1.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let what = "multilabel_margin_loss";
        sound!(same_shape(what, input, target));
        let (x, y, ty) = sound!(batched(what, input, target));
        let dtype = live!(y).dtype;
        if !dtype.is_int() || !dtype.is_signed() {
            return fault(format!("{what}: the target is {}, expected signed integers", y.ty()));
        }
        let n_classes = sound!(n_classes(what, &ty));
        // A row ends at its first negative entry.
        let position = Tensor::iota(dtype, ty.shape.clone(), 1);
        let end = where_(&y.lt(0), &position, n_classes as i64).min_keepdim(1);
        let listed = position.lt(end).unsqueeze(2);
        // [N, entry, class]: which entry names which class.
        let cube = [ty.shape[0].clone(), ty.shape[1].clone(), ty.shape[1].clone()].to_vec();
        let names = Tensor::iota(dtype, cube.into(), 2).eq(y.unsqueeze(2)).logical_and(&listed);
        let right = names.any(1).unsqueeze(1);
        let score = where_(&names, x.unsqueeze(1), 0).sum_keepdim(2);
        let short = (1.0 - score + x.unsqueeze(1)).maximum(0);
        let counted = listed.logical_and(!right);
        let terms = where_(&counted, short, 0).sum([1, 2]) / n_classes;
        self.reduction.apply(unbatched(terms, input))
    }
}

loss! {
    /// Several classes an example: the mean over classes of `-(target * ln sigmoid(input) + (1 - target) * ln
    /// sigmoid(-input))`.
    MultiLabelSoftMarginLoss [
        /// A factor of each class, `[C]`.
        weight,
    ] {}
}

impl MultiLabelSoftMarginLoss {
    /// The loss. Input and target have one shape, whose last dimension counts classes.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("multilabel_soft_margin_loss", input, target));
        let terms = (1.0 - target) * input - functional::logsigmoid(input);
        let terms = match &self.weight {
            Some(weight) => terms * weight,
            None => terms,
        };
        self.reduction.apply(terms.mean(-1))
    }
}

loss! {
    /// For targets 1 (the first should be larger) and -1: `max(-target * (input1 - input2) + margin, 0)`.
    MarginRankingLoss {
        /// By how much the one should be larger; 0 by default.
        margin: f64 = 0.0,
    }
}

impl MarginRankingLoss {
    /// The loss. Inputs and target have one shape.
    #[track_caller]
    pub fn forward(&self, input1: &Tensor, input2: &Tensor, target: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("margin_ranking_loss", input1, input2));
        sound!(same_shape("margin_ranking_loss", input1, target));
        self.reduction.apply((-target * (input1 - input2) + self.margin).relu())
    }
}

loss! {
    /// For pairs of vectors with targets 1 and -1: `1 - cos` where the target is 1, and `max(cos - margin, 0)` where it
    /// is -1.
    CosineEmbeddingLoss {
        /// The cosine that pairs of target -1 may have; 0 by default.
        margin: f64 = 0.0,
    }
}

impl CosineEmbeddingLoss {
    /// The loss of inputs `[N, D]` and a target `[N]`, or `[D]` and a scalar.
    #[track_caller]
    pub fn forward(&self, input1: &Tensor, input2: &Tensor, target: &Tensor) -> Tensor {
        const EPS: f64 = 1e-12;
        let _scope = trace::enter(self.key());
        sound!(same_shape("cosine_embedding_loss", input1, input2));
        let (ty, target_ty) = (live!(input1), live!(target));
        let extents = ty.shape.dims();
        if !(1..=2).contains(&extents.len()) || target_ty.shape.dims() != &extents[..extents.len() - 1] {
            return fault(format!(
                "cosine_embedding_loss: the inputs are {ty} and the target {target_ty}, expected [N, D] and [N], or \
                 [D] and a scalar"
            ));
        }
        let squares = |x: &Tensor| x.square().sum(-1) + EPS;
        let cosine = (input1 * input2).sum(-1) / (squares(input1) * squares(input2)).sqrt();
        let apart = (&cosine - self.margin).relu();
        let terms = where_(&target.eq(1), 1.0 - &cosine, 0) + where_(&target.eq(-1), apart, 0);
        self.reduction.apply(terms)
    }
}

loss! {
    /// An anchor should be closer to a positive than to a negative example:
    /// `max(d(anchor, positive) - d(anchor, negative) + margin, 0)`.
    TripletMarginLoss {
        /// By how much; 1 by default.
        margin: f64 = 1.0,
        /// Degree of the norm; 2 by default.
        p: f64 = 2.0,
        /// Added to each difference; 1e-6 by default.
        eps: f64 = 1e-6,
        /// Whether the distance from positive to negative counts if it is smaller than that from the anchor.
        swap: bool = false,
    }
}

impl TripletMarginLoss {
    /// The loss of vectors along the last dimension.
    #[track_caller]
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        sound!(same_shape("triplet_margin_loss", anchor, positive));
        sound!(same_shape("triplet_margin_loss", anchor, negative));
        let distance = |x1: &Tensor, x2: &Tensor| functional::pairwise_distance(x1, x2, self.p, self.eps, false);
        self.reduction.apply(triplet(anchor, positive, negative, distance, self.margin, self.swap))
    }
}

#[track_caller]
fn triplet(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    distance: impl Fn(&Tensor, &Tensor) -> Tensor,
    margin: f64,
    swap: bool,
) -> Tensor {
    let (near, far) = (distance(anchor, positive), distance(anchor, negative));
    let far = if swap { far.minimum(distance(positive, negative)) } else { far };
    (near - far + margin).relu()
}

/// [`TripletMarginLoss`] with a distance of your own.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let manhattan = |x1: &Tensor, x2: &Tensor| (x1 - x2).abs().sum(-1);
/// let loss = TripletMarginWithDistanceLoss::new().distance_function(manhattan);
/// let (a, p, n) = (Tensor::zeros([1, 2]), Tensor::ones([1, 2]), Tensor::full([1, 2], 3.0));
/// assert_eq!(loss.forward(&a, &p, &n).item()?, 0.0);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Clone)]
pub struct TripletMarginWithDistanceLoss {
    distance_function: Distance,
    margin: f64,
    swap: bool,
    reduction: Reduction,
}

/// A distance of the user's.
type DistanceFn = dyn Fn(&Tensor, &Tensor) -> Tensor;

#[derive(Clone)]
enum Distance {
    Pairwise(PairwiseDistance),
    Custom(Rc<DistanceFn>),
}

impl TripletMarginWithDistanceLoss {
    /// The Euclidean distance and margin 1.
    pub fn new() -> Self {
        let distance_function = Distance::Pairwise(PairwiseDistance::new());
        Self { distance_function, margin: 1.0, swap: false, reduction: Reduction::Mean }
    }

    /// The distance: two tensors to one term an example.
    #[must_use]
    pub fn distance_function(mut self, distance: impl Fn(&Tensor, &Tensor) -> Tensor + 'static) -> Self {
        self.distance_function = Distance::Custom(Rc::new(distance));
        self
    }

    /// By how much the positive should be closer.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Whether the distance from positive to negative counts if it is smaller than that from the anchor.
    #[must_use]
    pub fn swap(mut self, swap: bool) -> Self {
        self.swap = swap;
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
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        let distance = |x1: &Tensor, x2: &Tensor| match &self.distance_function {
            Distance::Pairwise(distance) => distance.forward(x1, x2),
            Distance::Custom(distance) => distance(x1, x2),
        };
        self.reduction.apply(triplet(anchor, positive, negative, distance, self.margin, self.swap))
    }
}

impl Default for TripletMarginWithDistanceLoss {
    fn default() -> Self {
        Self::new()
    }
}

impl Module for TripletMarginWithDistanceLoss {
    fn members(&self) -> Members<'_> {
        match &self.distance_function {
            Distance::Pairwise(distance) => vec![("distance_function".to_string(), Member::Module(distance))],
            Distance::Custom(_) => Members::new(),
        }
    }
}

impl fmt::Display for TripletMarginWithDistanceLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}

impl fmt::Debug for TripletMarginWithDistanceLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}
