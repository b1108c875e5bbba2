//! The compiled program: what a compiler hands to the runtime, and what a `.nnc` file holds.
//!
//! A [`Program`] is a straight list of kernel launches over numbered tensors. All sizes are fixed: the memory plan was
//! made by the compiler, so running a program never allocates. A program knows nothing of the IR it came from beyond
//! the labels it carries for profiles and errors.

use serde::{Deserialize, Serialize};

/// Element types as they lie in memory. `Bool` takes one byte, 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ElemType {
    Bool,
    U8,
    I8,
    I32,
    U32,
    I64,
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
            Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// The name used in the text format and in diagnostics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
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
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the dense tensor.
    pub fn bytes(&self) -> usize {
        self.len() * self.elem.size()
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
    /// Dense little-endian elements.
    pub data: Vec<u8>,
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
}

/// One step of the program: run a kernel over its tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Index into [`Program::kernels`].
    pub kernel: u32,
    /// The kernel's buffer arguments in order.
    pub args: Vec<Place>,
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
    /// A relocatable ELF object whose symbols are the kernels; each is a [`CpuKernel`].
    Object {
        /// Target triple, for example `x86_64-unknown-linux-gnu`.
        triple: String,
        /// CPU features the code needs, for example `avx512f`; checked at load.
        features: Vec<String>,
        /// The ELF file.
        #[serde(with = "serde_bytes_vec")]
        elf: Vec<u8>,
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
/// Contract: each pointer is valid for the whole tensor bound to it and aligned to 64 bytes; distinct arguments may
/// alias only where the memory plan says so; the function keeps no pointer and does not unwind.
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
    /// Constants.
    pub constants: Vec<Constant>,
    /// Bytes of the arena for intermediate tensors.
    pub arena_bytes: u64,
    /// The kernels.
    pub kernels: Vec<KernelInfo>,
    /// The launches in execution order.
    pub launches: Vec<Launch>,
    /// The code of all kernels.
    pub code: Code,
}

impl Program {
    /// Bytes of tensor memory that running the program takes: inputs, outputs that have their own buffer, constants
    /// and arena, each rounded up to [`ALIGN`].
    pub fn peak_bytes(&self) -> u64 {
        let round = |bytes: usize| bytes.next_multiple_of(ALIGN) as u64;
        let inputs: u64 = self.inputs.iter().map(|input| round(input.spec.bytes())).sum();
        let outputs: u64 = self
            .outputs
            .iter()
            .enumerate()
            .filter(|(idx, output)| output.place == Place::Output(*idx as u32))
            .map(|(_, output)| round(output.spec.bytes()))
            .sum();
        let constants: u64 = self.constants.iter().map(|constant| round(constant.spec.bytes())).sum();
        inputs + outputs + constants + round(self.arena_bytes as usize)
    }
}

/// Alignment of every tensor in bytes: one cache line, one AVX-512 register.
pub const ALIGN: usize = 64;

mod serde_bytes_vec {
    //! Code is one run of bytes, not a sequence of numbers.
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Vec::<u8>::deserialize(deserializer)
    }
}
