//! Losses, as layers with PyTorch's names and options. [`crate::functional`] has each with its defaults as a function.

use crate::tensor::{Tensor, fault};

/// Declares a loss: its settings, [`Reduction`] among them, with their defaults and setters. In brackets, tensors that
/// it may have; in braces, plain values.
macro_rules! loss {
    (
        $(#[doc = $doc:literal])*
        $name:ident
        $([ $($(#[doc = $tensor_doc:literal])* $tensor:ident,)* ])?
        { $($(#[doc = $field_doc:literal])* $field:ident: $ty:ty = $default:expr,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Module)]
        #[module(custom_forward)]
        pub struct $name {
            $($($tensor: Option<Tensor>,)*)?
            $($field: $ty,)*
            reduction: Reduction,
        }

        impl $name {
            /// The loss with PyTorch's defaults.
            pub fn new() -> Self {
                Self {
                    $($($tensor: None,)*)?
                    $($field: $default,)*
                    reduction: Reduction::Mean,
                }
            }

            $($(
                $(#[doc = $tensor_doc])*
                #[must_use]
                pub fn $tensor(mut self, $tensor: impl $crate::tensor::ToTensor) -> Self {
                    self.$tensor = Some($tensor.to_tensor());
                    self
                }
            )*)?

            $(
                $(#[doc = $field_doc])*
                #[must_use]
                pub fn $field(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )*

            /// What becomes of the terms.
            #[must_use]
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.reduction = reduction;
                self
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

mod cross_entropy;
mod ctc;
mod linear_cross_entropy;
mod margin;
mod pointwise;

pub use cross_entropy::{CrossEntropyLoss, NLLLoss};
pub use ctc::CTCLoss;
pub use linear_cross_entropy::{AdaptiveLogSoftmaxWithLoss, LinearCrossEntropyLoss};
pub use margin::{
    CosineEmbeddingLoss, HingeEmbeddingLoss, MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss,
    MultiMarginLoss, SoftMarginLoss, TripletMarginLoss, TripletMarginWithDistanceLoss,
};
pub use pointwise::{
    BCELoss, BCEWithLogitsLoss, GaussianNLLLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, PoissonNLLLoss, SmoothL1Loss,
};

/// What a loss makes of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Nothing: one loss an example or element.
    None,
    /// Their mean; weighted classes are divided by the sum of the weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the extent of the first dimension: what makes [`KLDivLoss`] the divergence.
    BatchMean,
}

impl Reduction {
    /// PyTorch's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::BatchMean => "batchmean",
        }
    }

    #[track_caller]
    pub(super) fn apply(self, terms: Tensor) -> Tensor {
        match self {
            Self::None => terms,
            Self::Mean => terms.mean(..),
            Self::Sum => terms.sum(..),
            Self::BatchMean => match terms.rank() {
                0 => terms,
                rank => terms.sum((1..rank).collect::<Vec<usize>>().as_slice()).mean(..),
            },
        }
    }
}

/// A loss of a model's output and one target: what training minimizes.
pub trait Criterion {
    /// The loss.
    fn loss(&self, output: &Tensor, target: &Tensor) -> Tensor;
}

macro_rules! criteria {
    ($($name:ident),* $(,)?) => {
        $(
            impl Criterion for $name {
                #[track_caller]
                fn loss(&self, output: &Tensor, target: &Tensor) -> Tensor {
                    self.forward(output, target)
                }
            }
        )*
    };
}

criteria! {
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, LinearCrossEntropyLoss, MSELoss,
    MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss, SmoothL1Loss,
    SoftMarginLoss,
}

/// Two tensors that must have one shape.
///
/// # Errors
/// A poisoned tensor.
#[track_caller]
fn same_shape(what: &str, input: &Tensor, target: &Tensor) -> Result<(), Tensor> {
    let Some(input_ty) = input.checked_ty() else { return Err(input.clone()) };
    let Some(target_ty) = target.checked_ty() else { return Err(target.clone()) };
    match input_ty.shape == target_ty.shape {
        true => Ok(()),
        false => Err(fault(format!("{what}: the input is {input_ty} and the target {target_ty}, expected one shape"))),
    }
}
