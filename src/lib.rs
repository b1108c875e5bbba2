//! nnc: a graph compiler for neural networks.

pub use nnc_frontend as frontend;
pub use nnc_frontend::prelude;
