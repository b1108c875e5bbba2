//! Runs compiled nnc programs: program format, executor, buffers, devices.
//!
//! This crate knows machine code, memory and devices. It must not know the compiler: an artifact runs with this crate
//! alone.

pub mod microkernel;
pub mod program;
