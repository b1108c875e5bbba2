//! From an optimized function to a [`Program`]: every node lowered, memory planned, code emitted, launches listed.
//!
//! [`nodes`] lowers the nodes of all regions, [`launches`] lists launches and steps as the memory plan has them,
//! [`control`] makes loops and branches of regions, [`copy`] is the kernel of copies.

mod control;
mod copy;
mod launches;
mod nodes;

use std::fmt;
use std::time::{Duration, Instant};

use nnc_ir::{DType, Diagnostic, Func, Graph, ParamKind, TensorData, Value};
use nnc_passes::plan_memory::{MemoryPlan, plan_memory};
use nnc_runtime::program::{
    Code, Constant, ElemType, Input, InputRole, KernelArg, KernelInfo, Launch, Output, Ports, Program, Step, TensorSpec,
};

use self::launches::{Assembler, Scope};
pub use self::nodes::{LoweredGraph, LoweredLaunch, LoweredNode};
use crate::kernel::{Buffer, Kernel};
use crate::target::{EmitError, Target};

/// Which emitter makes CPU code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Compiles in milliseconds, needs nothing installed.
    #[default]
    Cranelift,
    /// Optimized code; needs the feature `llvm`.
    Llvm,
}

impl Tier {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cranelift => "cranelift",
            Self::Llvm => "llvm",
        }
    }
}

/// Why a function could not be compiled.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// A node has no code.
    Lower(Diagnostic),
    /// An emitter failed.
    Emit(EmitError),
    /// What was asked for is not in this build.
    NotBuilt(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower(diagnostic) => diagnostic.fmt(f),
            Self::Emit(error) => error.fmt(f),
            Self::NotBuilt(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// A function lowered and planned, before code is emitted.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// The distinct kernels.
    pub kernels: Vec<Kernel>,
    /// How each node was lowered.
    pub lowered: LoweredGraph,
    /// Where tensors lie.
    pub plan: MemoryPlan,
    /// Inputs of the program to be.
    pub inputs: Vec<Input>,
    /// Outputs of the program to be.
    pub outputs: Vec<Output>,
    /// Constants of the program to be.
    pub constants: Vec<Constant>,
    /// Facts of each kernel.
    pub kernel_infos: Vec<KernelInfo>,
    /// Launches of the program to be.
    pub launches: Vec<Launch>,
    /// Their order.
    pub steps: Vec<Step>,
    name: String,
    target: Target,
}

/// How long the steps of making a program took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Lowering and memory planning.
    pub lower: Duration,
    /// Machine code.
    pub emit: Duration,
}

/// Lowers every node of a fused function of fixed shapes and plans its memory. `initial` gives the first contents of
/// parameters that have some.
///
/// # Errors
/// [`Error::Lower`] for a node without code, and for control flow nested deeper than a program can be.
pub fn lower_func(
    func: &Func,
    initial: &dyn Fn(usize) -> Option<TensorData>,
    target: &Target,
) -> Result<Assembly, Error> {
    let graph = &func.graph;
    let lowered = LoweredGraph::of(graph, target)?;
    let plan = plan_memory(func, &lowered.facts());
    let mut assembler = Assembler::new(target);
    let scope = Scope::of_func(graph, &plan, &lowered);
    assembler.block(&scope)?;
    let outputs = func
        .results
        .iter()
        .enumerate()
        .map(|(idx, result)| Output {
            name: result.name.clone(),
            spec: spec_of(graph, graph.results()[idx]),
            place: assembler.place(&scope, plan.results[idx]),
        })
        .collect();
    let inputs = func
        .params
        .iter()
        .enumerate()
        .map(|(idx, param)| Input {
            name: param.name.clone(),
            spec: spec_of(graph, graph.params()[idx]),
            role: match param.kind {
                ParamKind::Input => InputRole::Data,
                ParamKind::Param | ParamKind::State => InputRole::State,
            },
            initial: initial(idx).map(|data| data.bytes.to_vec()),
        })
        .collect();
    let Assembler { constants, kernels, kernel_infos, launches, steps, .. } = assembler;
    Ok(Assembly {
        kernels,
        lowered,
        inputs,
        outputs,
        constants,
        kernel_infos,
        launches,
        steps,
        name: func.name.clone(),
        target: target.clone(),
        plan,
    })
}

impl Assembly {
    /// Emits the code and completes the program.
    ///
    /// # Errors
    /// [`Error::Emit`], or [`Error::NotBuilt`] where the target or tier needs a feature this build lacks.
    pub fn emit(self, tier: Tier) -> Result<(Program, Duration), Error> {
        let start = Instant::now();
        let (code, tier_name) = match &self.target {
            Target::Cpu => (emit_cpu(&self.kernels, tier)?, tier.name()),
            Target::Cuda { arch } => (emit_cuda(&self.kernels, arch)?, "nvptx"),
        };
        let program = Program {
            name: self.name,
            target: self.target.to_string(),
            tier: tier_name.to_string(),
            inputs: self.inputs,
            outputs: self.outputs,
            ports: Ports::default(),
            constants: self.constants,
            arena_bytes: self.plan.arena_bytes,
            kernels: self.kernel_infos,
            steps: self.steps,
            launches: self.launches,
            code,
        };
        Ok((program, start.elapsed()))
    }
}

/// Code of kernels for the machine nnc runs on.
///
/// # Errors
/// [`Error::Emit`], or [`Error::NotBuilt`] where the tier needs a feature this build lacks.
pub fn emit_cpu(kernels: &[Kernel], tier: Tier) -> Result<Code, Error> {
    let code = match tier {
        Tier::Cranelift => crate::cranelift::compile(kernels).map_err(Error::Emit)?,
        #[cfg(feature = "llvm")]
        Tier::Llvm => crate::llvm::host::compile(kernels).map_err(Error::Emit)?,
        #[cfg(not(feature = "llvm"))]
        Tier::Llvm => return Err(Error::NotBuilt(without_llvm("the tier `llvm`"))),
    };
    Ok(Code::Object { triple: code.triple, features: code.features, objects: code.objects })
}

#[cfg(feature = "llvm")]
fn emit_cuda(kernels: &[Kernel], arch: &str) -> Result<Code, Error> {
    let text = crate::llvm::nvptx::compile(kernels, arch).map_err(Error::Emit)?;
    Ok(Code::Ptx { arch: arch.to_string(), text })
}

#[cfg(not(feature = "llvm"))]
fn emit_cuda(_: &[Kernel], _: &str) -> Result<Code, Error> {
    Err(Error::NotBuilt(without_llvm("the target `cuda`")))
}

/// How to get what needs LLVM.
pub fn without_llvm(what: &str) -> String {
    format!("{what} needs LLVM, and this nnc was built without it; install llvm-22-dev and build with --features llvm")
}

/// What the runtime must know of a kernel's arguments.
pub(crate) fn kernel_args(kernel: &Kernel) -> Vec<KernelArg> {
    let is_gpu = !kernel.gpu_extents(true).iter().chain(&kernel.gpu_extents(false)).all(|&extent| extent == 1);
    let arg = |(_, buffer): (_, &Buffer)| {
        let size = buffer.dtype.size();
        KernelArg {
            bytes: (buffer.len * size) as u64,
            // Only GPUs need more than elements do, for vectors.
            align: if is_gpu { buffer.align.min(MAX_VECTOR).max(size) } else { size } as u32,
            written: buffer.written,
        }
    };
    kernel.args().map(arg).collect()
}

/// Bytes of the largest vector that a GPU moves at once.
const MAX_VECTOR: usize = 16;

/// The element type of tensors in memory that an IR type is.
pub fn elem_type(dtype: DType) -> ElemType {
    match dtype {
        DType::Bool => ElemType::Bool,
        DType::U8 => ElemType::U8,
        DType::I8 => ElemType::I8,
        DType::I16 => ElemType::I16,
        DType::U16 => ElemType::U16,
        DType::I32 => ElemType::I32,
        DType::U32 => ElemType::U32,
        DType::I64 => ElemType::I64,
        DType::U64 => ElemType::U64,
        DType::F16 => ElemType::F16,
        DType::BF16 => ElemType::BF16,
        DType::F32 => ElemType::F32,
        DType::F64 => ElemType::F64,
    }
}

fn spec_of(graph: &Graph, value: Value) -> TensorSpec {
    let ty = graph.ty(value);
    let shape = ty.shape.as_fixed().expect("shapes are fixed before code is generated");
    TensorSpec { elem: elem_type(ty.dtype), shape }
}
