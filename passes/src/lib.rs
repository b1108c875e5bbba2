//! Graph to graph passes of nnc: clean-up rewrites, differentiation, training steps, fusion, memory planning.
//!
//! This crate knows graphs and nothing of layers, machine code or devices. [`pipeline`] holds the order of the passes,
//! in one place.

pub mod autocast;
pub mod autodiff;
pub mod block_attention;
pub mod canonicalize;
pub mod const_fold;
pub mod control;
pub mod cost;
pub mod cse;
pub mod dce;
pub mod fuse;
pub mod inline;
pub mod layout;
pub mod optimizer;
pub mod panels;
pub mod pipeline;
pub mod plan_memory;
pub mod regions;
pub mod remark;
pub mod simplify;
pub mod specialize;

pub use remark::{Remark, RemarkKind, Remarks};
