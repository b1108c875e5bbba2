//! What can go wrong between a compiled program and its results.

use std::path::PathBuf;

use crate::program::ElemType;

/// An error of this crate. The text names the place, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program contradicts itself.
    #[error("invalid program: {place}: found {found}, expected {expected}")]
    InvalidProgram {
        /// The part of the program, for example `launch 3 (relu), argument 1`.
        place: String,
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: String,
    },

    /// Object code is malformed or uses something the loader does not know.
    #[error("invalid object code: {place}: {problem}")]
    InvalidObject {
        /// The section, symbol or relocation.
        place: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Object code calls a function that the runtime does not have.
    #[error("object code needs symbol `{symbol}`, which the runtime does not provide")]
    UnresolvedSymbol {
        /// Name of the symbol.
        symbol: String,
    },

    /// A kernel is missing from the program's code.
    #[error("kernel `{symbol}` is not in the program's code")]
    MissingKernel {
        /// The kernel's symbol.
        symbol: String,
    },

    /// Code for another architecture.
    #[error("code is for `{found}`, this machine is `{expected}`")]
    WrongArchitecture {
        /// Architecture of the code.
        found: String,
        /// Architecture of this machine.
        expected: &'static str,
    },

    /// Code that needs more than this CPU has.
    #[error("code needs CPU feature `{feature}`, which this machine does not have")]
    MissingCpuFeature {
        /// Name of the feature.
        feature: String,
    },

    /// Code that the device cannot run.
    #[error("device `{device}` cannot run {code}; {hint}")]
    WrongDevice {
        /// The device.
        device: String,
        /// The form of the code.
        code: &'static str,
        /// What to do instead.
        hint: &'static str,
    },

    /// The device runs the code it loaded and no other.
    #[error("device `{device}` cannot replace kernels of a loaded program; load another program")]
    FixedCode {
        /// The device.
        device: &'static str,
    },

    /// A device name that is not known.
    #[error("unknown device `{name}`, expected `cpu`, `null`, `cuda` or `cuda:INDEX`")]
    UnknownDevice {
        /// The name as given.
        name: String,
    },

    /// A tensor that the program does not have.
    #[error("program `{program}` has no {kind} `{key}`; it has {known}")]
    UnknownTensor {
        /// Name of the program.
        program: String,
        /// `input` or `output`.
        kind: &'static str,
        /// The name or index as given.
        key: String,
        /// The names it has, in order.
        known: String,
    },

    /// Data of the wrong size for a tensor.
    #[error("{tensor}: found {found} bytes, expected {expected}")]
    WrongSize {
        /// The tensor with its type.
        tensor: String,
        /// Bytes given.
        found: usize,
        /// Bytes of the tensor.
        expected: usize,
    },

    /// A typed view of a tensor of another type.
    #[error("{tensor}: found a view of {found}, expected {}", expected.name())]
    WrongElemType {
        /// The tensor with its type.
        tensor: String,
        /// The Rust type of the view.
        found: &'static str,
        /// Element type of the tensor.
        expected: ElemType,
    },

    /// A byte other than 0 or 1 written to a `bool` tensor.
    #[error("{tensor}: found byte {found} at element {element}, expected 0 or 1")]
    NotABool {
        /// The tensor with its type.
        tensor: String,
        /// The byte.
        found: u8,
        /// Index of the element.
        element: usize,
    },

    /// Memory that the system would not give.
    #[error("cannot allocate {bytes} bytes of tensor memory")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },

    /// Executable memory that the system would not give.
    #[error("cannot map {bytes} bytes of code")]
    MapCode {
        /// Bytes asked for.
        bytes: usize,
        /// The system's reason.
        source: std::io::Error,
    },

    /// Worker threads that could not be started.
    #[error("cannot start {threads} threads")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// The thread pool's reason.
        source: rayon::ThreadPoolBuildError,
    },

    /// Contents asked of a device that computes nothing.
    #[error("the null device plans without running, so {tensor} has no contents")]
    NoContents {
        /// The tensor with its type.
        tensor: String,
    },

    /// The CUDA device in a build without it.
    #[error("built without the `cuda` feature: rebuild with `--features cuda` to run on NVIDIA GPUs")]
    NoCudaSupport,

    /// No NVIDIA driver on this machine.
    #[error("the CUDA driver library (libcuda.so.1, part of the NVIDIA driver) is not on this machine")]
    NoCudaDriver,

    /// A CUDA call that failed.
    #[error("CUDA: cannot {action}: {reason}")]
    Cuda {
        /// What was attempted.
        action: &'static str,
        /// The driver's name for the error.
        reason: String,
    },

    /// A file that is not a compiled program at all.
    #[error("not a compiled nnc program: found {found}, expected the .nnc signature")]
    NotAnArtifact {
        /// The first bytes.
        found: String,
    },

    /// A compiled program of another format version.
    #[error("compiled program has format version {found}, this build reads version {expected}; compile it again")]
    ArtifactVersion {
        /// Version of the file.
        found: u32,
        /// Version of this build.
        expected: u32,
    },

    /// A compiled program of the wrong length.
    #[error("compiled program is truncated or has trailing bytes: found {found} bytes, expected {expected}")]
    ArtifactLength {
        /// Bytes of the file.
        found: u64,
        /// Bytes its header announces.
        expected: u64,
    },

    /// A compiled program whose contents changed after it was written.
    #[error("compiled program is corrupt: found checksum {found:08x}, expected {expected:08x}")]
    ArtifactChecksum {
        /// CRC-32 of the contents.
        found: u32,
        /// CRC-32 in the header.
        expected: u32,
    },

    /// Contents that do not encode a program.
    #[error("compiled program does not decode: {reason}")]
    ArtifactDecode {
        /// The decoder's reason.
        reason: String,
    },

    /// A program that does not fit the file format.
    #[error("cannot encode program: {reason}")]
    ArtifactEncode {
        /// The encoder's reason.
        reason: String,
    },

    /// A file that could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
