//! The compiled program: what a compiler hands to the runtime, and what a `.nnc` file holds.
//!
//! A [`Program`] is a list of kernel launches over numbered tensors and a list of [`Step`]s that says in what order and
//! how often they run: straight on, in loops, in one arm of a branch. All sizes are fixed: the memory plan was made by
//! the compiler, so running a program never allocates. A program knows nothing of the IR it came from beyond the labels
//! it carries for profiles and errors.
//!
//! Steps and their order are in `program/steps.rs`, where arguments lie in `program/address.rs`, how both
//! look as text in `program/outline.rs`, what a model calls inputs and outputs in `program/ports.rs`.

mod address;
mod bytes;
mod outline;
mod ports;
mod steps;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::address::{Address, Case, Guard};
pub use self::outline::{Line, outline, repeats};
pub use self::ports::{Bound, Port, Ports};
pub(crate) use self::steps::walk_part;
pub use self::steps::{Iterations, MAX_LOOPS, MAX_NESTING, Step, Visitor, walk};
use crate::error::Error;
use crate::layout::Layout;

/// Element types as they lie in memory. `Bool` takes one byte, 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ElemType {
    Bool,
    U8,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

impl ElemType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The name used in the text format and in diagnostics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

/// A dense row-major tensor: element type and extents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Element type.
    pub elem: ElemType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of elements, at most `usize::MAX`: a size beyond the address space is an error when the program is
    /// validated, not here.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |len, &extent| len.saturating_mul(extent))
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the dense tensor, at most `usize::MAX`.
    pub fn bytes(&self) -> usize {
        self.len().saturating_mul(self.elem.size())
    }

    /// Bytes of the dense tensor, or `None` where they do not fit the address space.
    pub(crate) fn checked_bytes(&self) -> Option<usize> {
        let len = self.shape.iter().try_fold(1_usize, |len, &extent| len.checked_mul(extent))?;
        len.checked_mul(self.elem.size())
    }
}

impl fmt::Display for TensorSpec {
    /// As the text format writes types: `f32[64, 10]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.elem.name())?;
        for (idx, extent) in self.shape.iter().enumerate() {
            write!(f, "{}{extent}", if idx == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// What an input is to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InputRole {
    /// Written by the caller before each run.
    Data,
    /// A trainable parameter or other state: written once, then kept (and, when donated, updated) from run to run.
    State,
}

/// One input of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The name callers use, for example `x` or `linear1.weight`.
    pub name: String,
    /// Type and shape.
    pub spec: TensorSpec,
    /// Whether the input is fresh data or state.
    pub role: InputRole,
    /// First contents of a state input (dense little-endian bytes), where the compiler knew them.
    #[serde(with = "bytes::option")]
    pub initial: Option<Vec<u8>>,
}

/// One output of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The name callers use.
    pub name: String,
    /// Type and shape.
    pub spec: TensorSpec,
    /// Where the output lies after a run: its own buffer, or the buffer of the input donated to it.
    pub place: Place,
}

/// Where a tensor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The buffer of input `index`.
    Input(u32),
    /// The buffer of output `index` (only outputs whose own `place` is this one have a buffer).
    Output(u32),
    /// Constant `index` of the program.
    Constant(u32),
    /// Byte offset in the arena.
    Arena(u64),
}

/// A constant: read-only data that belongs to the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// Type and shape.
    pub spec: TensorSpec,
    /// Dense little-endian elements, shared with the weight they are.
    #[serde(with = "bytes")]
    pub data: Arc<[u8]>,
}

/// One kernel of the program's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Symbol of the kernel in the program's code.
    pub symbol: String,
    /// Bytes read and written by one launch, from the shapes.
    pub bytes: u64,
    /// Floating-point operations of one launch (an fma counts 2).
    pub flops: u64,
    /// GPU only: threads a block in x, y, z.
    pub block: [u32; 3],
    /// GPU only: static shared memory in bytes.
    pub shared_bytes: u32,
    /// What it does with its buffer arguments, in order.
    pub args: Vec<KernelArg>,
}

/// What a kernel does with one of its buffer arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KernelArg {
    /// Bytes it may touch, from the start of the argument.
    pub bytes: u64,
    /// What its address must be a multiple of: a power of two of at most [`ALIGN`].
    pub align: u32,
    /// Whether the kernel writes it.
    pub written: bool,
}

/// One kernel and the tensors it runs over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Index into [`Program::kernels`].
    pub kernel: u32,
    /// The kernel's buffer arguments in order.
    pub args: Vec<Address>,
    /// CPU: extent of the kernel's parallel loop (1 when it has none). Any split of `0..extent` gives the same bits.
    pub extent: u64,
    /// CPU: number of iterations of the parallel loop handed out at a time, chosen by shape.
    pub chunk: u64,
    /// GPU: blocks in x, y, z.
    pub grid: [u32; 3],
    /// What the launch computes, for profiles: module paths and op names.
    pub label: String,
}

/// Machine code of all kernels, in the form the target needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// Relocatable ELF objects whose global symbols are the kernels; each is a [`CpuKernel`].
    Object {
        /// Target triple, for example `x86_64-unknown-linux-gnu`.
        triple: String,
        /// CPU features the code needs, for example `avx512f`; checked at load.
        features: Vec<String>,
        /// The ELF files.
        #[serde(with = "bytes::list")]
        objects: Vec<Vec<u8>>,
    },
    /// PTX text with one entry a kernel.
    Ptx {
        /// Architecture, for example `sm_90`.
        arch: String,
        /// The module.
        text: String,
    },
}

/// The signature of every CPU kernel: buffer pointers in the order of [`Launch::args`], then the half-open range of
/// iterations of the parallel loop to run.
///
/// Contract: each pointer is valid for the bytes that [`KernelArg`] states and aligned to its elements; distinct arguments
/// may alias only where the memory plan says so; the function keeps no pointer and does not unwind.
pub type CpuKernel = unsafe extern "C" fn(buffers: *const *mut u8, begin: u64, end: u64);

/// A compiled function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Name of the function it was compiled from.
    pub name: String,
    /// Target as the user wrote it: `cpu`, `cuda:sm_90`.
    pub target: String,
    /// Which tier made the code: `cranelift`, `llvm`, `nvptx`.
    pub tier: String,
    /// Inputs in calling order.
    pub inputs: Vec<Input>,
    /// Outputs in result order.
    pub outputs: Vec<Output>,
    /// What the model it comes from calls inputs and outputs.
    pub ports: Ports,
    /// Constants.
    pub constants: Vec<Constant>,
    /// Bytes of the arena for intermediate tensors.
    pub arena_bytes: u64,
    /// The kernels.
    pub kernels: Vec<KernelInfo>,
    /// The launches, in the order in which `steps` name them.
    pub launches: Vec<Launch>,
    /// What to do.
    pub steps: Vec<Step>,
    /// The code of all kernels.
    pub code: Code,
}

impl Program {
    /// Where each tensor lies in the one block that holds them all.
    ///
    /// # Errors
    /// [`Error::InvalidProgram`] where the sizes do not fit the address space.
    pub fn layout(&self) -> Result<Layout, Error> {
        Layout::of(self)
    }

    /// Bytes of tensor memory that running the program takes: inputs, outputs that have their own buffer, constants
    /// and arena, with the padding that keeps them aligned. `u64::MAX` where that does not fit the address space.
    /// Loops take what one iteration takes: this is known before the run, however long it is.
    pub fn peak_bytes(&self) -> u64 {
        self.layout().map_or(u64::MAX, |layout| layout.total as u64)
    }
}

/// Alignment of every tensor in bytes: one cache line, one AVX-512 register.
pub const ALIGN: usize = 64;

/// A program without code for tests: `f32` inputs and outputs and an arena.
#[cfg(test)]
pub(crate) fn test_program(inputs: &[(&str, &[usize])], outputs: &[(&str, &[usize])], arena_bytes: u64) -> Program {
    let spec = |shape: &[usize]| TensorSpec { elem: ElemType::F32, shape: shape.to_vec() };
    let input = |&(name, shape): &(&str, &[usize])| Input {
        name: name.to_owned(),
        spec: spec(shape),
        role: InputRole::Data,
        initial: None,
    };
    let output = |(idx, &(name, shape)): (usize, &(&str, &[usize]))| Output {
        name: name.to_owned(),
        spec: spec(shape),
        place: Place::Output(idx as u32),
    };
    Program {
        name: "test".to_owned(),
        target: "cpu".to_owned(),
        tier: "none".to_owned(),
        inputs: inputs.iter().map(input).collect(),
        outputs: outputs.iter().enumerate().map(output).collect(),
        ports: Ports::default(),
        constants: Vec::new(),
        arena_bytes,
        kernels: Vec::new(),
        launches: Vec::new(),
        steps: Vec::new(),
        code: Code::Object { triple: String::new(), features: Vec::new(), objects: Vec::new() },
    }
}
