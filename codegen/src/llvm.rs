//! The LLVM tier: optimized host code, and PTX for NVIDIA GPUs.
//!
//! [`text`] writes LLVM IR and needs no toolkit. Everything below it (parsing, passes, machine code) needs the feature
//! `llvm`; without it, the same functions say how to get it.

#[cfg(feature = "emulate")]
pub mod emulate;
mod fmod;
#[cfg(feature = "llvm")]
pub mod host;
#[cfg(feature = "llvm")]
pub mod nvptx;
pub mod ptxas;
pub mod text;
