//! The front end of nnc: models, losses, optimizers and data, written as with `torch.nn`, traced to the IR.
//!
//! This crate knows layers, parameters, initial distributions, data sets and how a `forward` becomes a graph. It must
//! not know how a graph is differentiated, compiled or run (but for the reference interpreter, which evaluates tensors
//! outside a trace).
//!
//! | module | owns |
//! |---|---|
//! | [`tensor`] | `Tensor`, the handle, and its functions |
//! | [`trace`](mod@trace) | the graph under construction, names and places |
//! | [`module`] | `Module`, `Forward`, names, printing, state dicts |
//! | [`nn`], [`functional`] | layers; activations and losses as functions |
//! | [`optim`], [`init`], [`random`] | optimizers as descriptions; initial values; the generator behind them |
//! | [`data`] | data sets and loaders |

// `#[derive(Module)]` names the crate from outside; inside it means itself.
extern crate self as nnc_frontend;

pub mod array;
pub mod data;
mod eager;
pub mod functional;
pub mod init;
pub mod module;
pub mod nn;
pub mod optim;
pub mod parameter;
pub mod prelude;
pub mod random;
pub mod tensor;
pub mod trace;

pub use module::{Forward, Module};
pub use parameter::{Buffer, Parameter, Training};
pub use tensor::Tensor;
