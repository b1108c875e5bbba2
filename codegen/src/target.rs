//! What code is made for, and what emitters make of kernels.

use std::fmt;

/// A processor family and the facts schedules need of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The machine nnc runs on.
    Cpu,
    /// An NVIDIA GPU by architecture, for example `sm_90`.
    Cuda {
        /// Architecture name.
        arch: String,
    },
}

impl Target {
    /// Reads `cpu`, `cuda` or `cuda:sm_90`.
    ///
    /// # Errors
    /// What was found and which forms exist.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda { arch: DEFAULT_ARCH.to_string() }),
            Some(("cuda", arch)) if CUDA_ARCHES.contains(&arch) => Ok(Self::Cuda { arch: arch.to_string() }),
            Some(("cuda", arch)) => {
                Err(format!("unknown CUDA architecture `{arch}`, expected one of {}", CUDA_ARCHES.join(", ")))
            }
            _ => Err(format!("unknown target `{text}`, expected cpu, cuda or cuda:ARCH")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { arch } => write!(f, "cuda:{arch}"),
        }
    }
}

/// GPU architectures nnc emits code for.
pub const CUDA_ARCHES: &[&str] = &["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

/// The architecture `cuda` alone means: PTX for it runs on everything newer.
pub const DEFAULT_ARCH: &str = "sm_80";

/// Machine code of a list of kernels for the machine nnc runs on.
#[derive(Clone, Debug)]
pub struct HostCode {
    /// Target triple.
    pub triple: String,
    /// Processor features the code may use.
    pub features: Vec<String>,
    /// Relocatable ELF objects that have one global symbol a kernel between them.
    pub objects: Vec<Vec<u8>>,
}

/// A fault of an emitter: the kernel uses something the target lacks, or the toolkit refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitError {
    /// The kernel.
    pub kernel: String,
    /// What went wrong.
    pub message: String,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}: {}", self.kernel, self.message)
    }
}

impl std::error::Error for EmitError {}
