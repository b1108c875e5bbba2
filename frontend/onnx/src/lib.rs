//! ONNX for nnc: models in, models out.
//!
//! An import traces the model: every ONNX operator is a composition of the front end's `Tensor` functions, looked up in
//! one table ([`operators`] lists it). What is concrete is computed on the way, so shape arithmetic leaves no nodes;
//! the model's floating-point tensors become the function's parameters under their ONNX names, so that an imported
//! model can be trained, or frozen and compiled like any other.
//!
//! ```no_run
//! use nnc_onnx::{Options, import};
//!
//! let imported = import("model.onnx".as_ref(), &Options::default())?;
//! println!("{}", imported.module);
//! # Ok::<(), nnc_onnx::ImportError>(())
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`proto`] | the messages of the file format |
//! | [`elem`] | element types, and which IR type carries each |
//! | `data` | tensors of a file, or in files beside it |
//! | `lowbit` | element types of at most 8 bits: packing, codes, rounding |
//! | `walk`, `cx` | the walk over a graph; a node as an operator's function sees it |
//! | `value`, `shape_int` | what names stand for; integers that follow from symbolic extents |
//! | `bound` | extents that depend on data |
//! | `functions` | a model's own functions; versions of the operators |
//! | [`labels`] | what numbers stand for where a model has strings or maps |
//! | `survey` | operators that the table lacks, all at once |
//! | [`summary`] | what a file holds, without importing it |
//! | `ops` | the table |
//! | [`given`] | imports with the inputs in hand |
//! | [`values`] | values in files of their own |
//! | [`module`] | models as layers, to be trained and saved again |
//! | [`export`](mod@export) | the way back: functions of the IR as models |

mod bound;
mod cx;
mod data;
pub mod elem;
pub mod export;
mod fault;
mod functions;
pub mod given;
mod import;
pub mod labels;
mod lowbit;
pub mod module;
mod ops;
pub mod proto;
mod shape_int;
pub mod summary;
mod survey;
mod value;
pub mod values;
mod walk;

pub use bound::crop;
pub use elem::ElemType;
pub use export::{ExportOptions, Exported, export, export_bytes};
pub use fault::{ImportError, Unsupported};
pub use import::{Imported, Options, Port, PortBound, import, import_bytes};
pub use labels::{Keys, Labels};
pub use module::OnnxModule;
pub use ops::{Domain, NEWEST_OPSET, operators};
