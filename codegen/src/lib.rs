//! Lowers graphs to kernel IR and kernel IR to machine code.
//!
//! This crate knows loops, schedules and instruction sets. It must not know layers, files or device drivers.

pub mod assemble;
pub mod cranelift;
pub mod kernel;
pub mod llvm;
pub mod lower;
pub mod math;
pub mod schedule;
pub mod target;
