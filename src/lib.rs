//! nnc: a graph compiler for neural networks.
//!
//! Models are written as in `torch.nn`, traced into a typed graph, differentiated, optimized, and compiled for the CPU
//! in milliseconds or for NVIDIA GPUs ahead of time.
//!
//! ```
//! use nnc::prelude::*;
//!
//! #[derive(Module)]
//! struct Classifier {
//!     hidden: Linear,
//!     activation: ReLU,
//!     output: Linear,
//! }
//!
//! impl Forward for Classifier {
//!     fn forward(&self, x: &Tensor) -> Tensor {
//!         self.output.forward(&self.activation.forward(&self.hidden.forward(x)))
//!     }
//! }
//!
//! # fn main() -> Result<(), nnc::Error> {
//! let model = Classifier { hidden: Linear::new(4, 8), activation: ReLU::new(), output: Linear::new(8, 3) };
//! let mut trainer = Trainer::new(model, Loss::cross_entropy(), Sgd::new(0.1).momentum(0.9)).build()?;
//! let x = ndarray::Array2::<f32>::ones((16, 4));
//! let y = ndarray::Array1::<i64>::zeros(16);
//! let first = trainer.step(&x, &y)?;
//! let second = trainer.step(&x, &y)?;
//! assert!(second < first);
//! # Ok(())
//! # }
//! ```
//!
//! This crate strings the others together: [`load()`] reads a model file of any kind, [`Session`] runs one; [`compile()`] runs passes, lowering and an emitter on one function; [`Jit`]
//! does so on first call with new shapes; [`grad_fn()`] gives gradients as arrays; [`Trainer`] compiles whole training steps. The parts are [`ir`], [`passes`],
//! [`codegen`], [`runtime`], [`frontend`] and [`onnx`].

pub mod background;
pub mod compile;
pub mod error;
pub mod grad;
pub mod jit;
pub mod model;
pub mod session;
pub mod trainer;

pub use compile::{Compiled, Options, compile};
pub use error::Error;
pub use grad::{GradFn, grad_fn};
pub use jit::{Compilation, Jit, jit};
pub use model::{Model, load, load_with};
pub use nnc_codegen as codegen;
pub use nnc_codegen::assemble::Tier;
pub use nnc_codegen::target::Target;
pub use nnc_frontend as frontend;
pub use nnc_ir as ir;
pub use nnc_onnx as onnx;
pub use nnc_passes as passes;
pub use nnc_passes::autodiff::value_and_grad;
pub use nnc_runtime as runtime;
pub use session::Session;
pub use trainer::{History, Loss, Trainer};

/// What a program that defines, trains and runs models needs.
pub mod prelude {
    pub use nnc_frontend::prelude::*;

    pub use crate::trainer::{Callback, Checkpoint, Checkpoints, EarlyStopping, FitContext, History, metrics};
    pub use crate::{Error, Jit, Loss, Session, Target, Tier, Trainer, jit};
}
