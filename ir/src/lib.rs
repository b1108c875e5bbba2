//! The IR of nnc: typed tensor graphs and everything needed to read, write, check and evaluate them.
//!
//! This crate knows types, ops, graphs, formats and the meaning of each op. It must not know any pass, any layer of the
//! front end, or any target.

mod attrs;
pub mod binary;
pub mod bind;
pub mod builder;
pub mod compare;
pub mod diagnostic;
pub mod dim;
pub mod draw;
pub mod file;
pub mod graph;
pub mod interp;
pub mod literal;
pub mod module;
mod names;
pub mod npy;
pub mod ops;
pub mod parse;
pub mod print;
pub mod report;
pub mod rewrite;
pub mod types;
pub mod verify;
pub mod visit;
pub mod weights;

pub use builder::Builder;
pub use diagnostic::{Diagnostic, Location};
pub use dim::{Bindings, Dim};
pub use file::{load_module, save_module};
pub use graph::{Graph, Node, NodeData, Value, ValueData};
pub use literal::{Constant, Scalar, TensorData};
pub use module::{Func, FuncParam, FuncResult, Module, ParamKind};
pub use ops::Op;
pub use parse::{WeightSource, parse_func, parse_module};
pub use print::Printer;
pub use report::Reporter;
pub use rewrite::Rewriter;
pub use types::{DType, Shape, TensorType};
pub use weights::WeightFile;
