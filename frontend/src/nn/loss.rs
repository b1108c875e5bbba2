//! Losses, as layers with PyTorch's names and options. [`crate::functional`] has each with its defaults as a function.

use crate::module::Module;
use crate::tensor::{Tensor, fault, live};
use crate::trace;

mod cross_entropy;

pub use cross_entropy::{CrossEntropyLoss, NLLLoss};

/// What a loss makes of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Nothing: one loss an example.
    None,
    /// Their mean; weighted terms are divided by the sum of the weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Reduction {
    #[track_caller]
    pub(super) fn apply(self, terms: Tensor) -> Tensor {
        match self {
            Self::None => terms,
            Self::Mean => terms.mean(..),
            Self::Sum => terms.sum(..),
        }
    }
}

/// Losses of two tensors of one shape, term by term.
macro_rules! pointwise_losses {
    ($($(#[doc = $doc:literal])* $name:ident $function:literal |$difference:ident| $term:expr;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, Module)]
            #[module(custom_forward)]
            pub struct $name {
                reduction: Reduction,
            }

            impl $name {
                /// The mean.
                pub fn new() -> Self {
                    Self::default()
                }

                /// What becomes of the terms.
                #[must_use]
                pub fn reduction(mut self, reduction: Reduction) -> Self {
                    self.reduction = reduction;
                    self
                }

                /// The loss. Input and target have one shape: broadcasting `[N, 1]` against `[N]` would be the
                /// classic silent mistake.
                #[track_caller]
                pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
                    let _scope = trace::enter(self.key());
                    let (input_ty, target_ty) = (live!(input), live!(target));
                    if input_ty.shape != target_ty.shape {
                        return fault(format!(
                            "{}: the input is {input_ty} and the target {target_ty}, expected one shape",
                            $function
                        ));
                    }
                    let $difference = input - target;
                    self.reduction.apply($term)
                }
            }
        )*
    };
}

pointwise_losses! {
    /// `(input - target)²`.
    MSELoss "mse_loss" |difference| difference.square();
    /// `|input - target|`.
    L1Loss "l1_loss" |difference| difference.abs();
}
