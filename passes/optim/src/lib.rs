//! Optimizers: what `torch.optim` holds, each defined once.
//!
//! One file of [`rules`] is one optimizer: its hyper-parameters with PyTorch's names and defaults, which are allowed,
//! its states, and its update as a graph. The front end hands the descriptions to the user; the passes build the update
//! into the training step; neither knows of the other.
//!
//! | module | owns |
//! |---|---|
//! | [`rules`] | the optimizers |
//! | [`rule`] | the trait they implement, and what an update is built from |
//! | [`formula`] | graphs written as arithmetic |
//! | [`lbfgs`] | L-BFGS, which is no rule: it evaluates the loss several times a step |
//! | [`lr_scheduler`] | learning rates over time |
//! | [`spec`] | an optimizer of any kind, and its text form `adam:lr=0.001` |
//!
//! This crate knows parameters, gradients and states as values of a graph. It must not know models, how gradients come
//! about, or how a graph is compiled.

pub mod formula;
pub mod lbfgs;
pub mod lr_scheduler;
pub mod rule;
pub mod rules;
mod settings;
pub mod spec;

pub use rule::{Fault, Rule};
pub use rules::{Adadelta, Adagrad, Adam, AdamW, Adamax, NAdam, RAdam, RMSprop, Rprop, Sgd};
pub use spec::OptimizerSpec;
