//! Graph to graph passes of nnc: rewrites, differentiation, training steps, fusion, memory planning.
//!
//! This crate knows graphs and nothing of layers, machine code or devices.

pub mod autodiff;
pub mod optimizer;
