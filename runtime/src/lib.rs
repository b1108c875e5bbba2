//! Runs compiled nnc programs: program format, executor, buffers, devices.
//!
//! This crate knows machine code, memory and devices. It must not know the compiler: an artifact runs with this crate
//! alone.

pub mod buffer;
pub mod error;
pub mod externs;
pub mod layout;
pub mod loader;
pub mod microkernel;
pub mod program;
mod validate;

pub use error::Error;
