//! Layers, under `torch.nn`'s names and with its defaults, weight layouts, initial distributions and printed forms.
//!
//! A layer is a composition of tensor functions; the compiler recognizes structure, not layer names.

mod activation;
mod container;
mod flatten;
mod linear;
mod loss;

pub use activation::{GELU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh};
pub use container::{Identity, Lambda, ModuleList, Sequential};
pub use flatten::{Flatten, Unflatten};
pub use linear::Linear;
pub use loss::{CrossEntropyLoss, L1Loss, MSELoss, NLLLoss, Reduction};
