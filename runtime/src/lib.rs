//! Runs compiled nnc programs: program format, executor, buffers, devices.
//!
//! This crate knows machine code, memory and devices. It must not know the compiler: an artifact runs with this crate
//! alone. The way of a program through it:
//!
//! ```text
//! program ──► artifact (.nnc file)
//!    │
//!    ▼ Executable::load: validate, then device: check the CPU, loader (ELF) + externs (micro-kernels), or PTX module
//! executable
//!    │
//!    ▼ Executable::instance: layout, one buffer, constants and initial contents, bound arguments, a team of threads
//! instance ──► write, run (threads), output, profile_run (profile)
//! ```

pub mod artifact;
pub mod buffer;
mod cpu_features;
pub mod device;
pub mod element;
pub mod error;
pub mod executor;
pub mod externs;
pub mod layout;
pub mod loader;
pub mod microkernel;
pub mod profile;
pub mod program;
pub mod rng;
mod threads;
mod validate;

pub use device::Device;
pub use element::Element;
pub use error::Error;
pub use executor::{Executable, Instance, TensorKey};
pub use program::Program;
