//! From an optimized function to a [`Program`]: every node lowered, memory planned, code emitted, launches listed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use nnc_ir::{
    Constant as IrConstant, DType, Diagnostic, Func, Graph, Location, Node, Op, ParamKind, TensorData, Value,
};
use nnc_passes::plan_memory::{LaunchFacts, MemoryPlan, Place as PlannedPlace, Step, is_launch, plan_memory};
use nnc_runtime::program::{
    Address, Code, Constant, ElemType, Input, InputRole, KernelArg, KernelInfo, Launch, Output, Place, Program,
    Step as ProgramStep, TensorSpec,
};
use rayon::prelude::*;

use crate::kernel::{Index, Kernel, KernelBuilder, LoopKind, Space};
use crate::lower::{self, Arg, Lowered};
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
    pub lowered: BTreeMap<Node, Lowered>,
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
/// [`Error::Lower`] for a node without code.
pub fn lower_func(
    func: &Func,
    initial: &dyn Fn(usize) -> Option<TensorData>,
    target: &Target,
) -> Result<Assembly, Error> {
    let graph = &func.graph;
    let nodes: Vec<Node> = graph.nodes().map(|(node, _)| node).filter(|&node| is_launch(graph, node)).collect();
    let lowered: Vec<Result<Lowered, Error>> = nodes
        .par_iter()
        .enumerate()
        .map(|(idx, &node)| {
            let options = lower::Options { name: kernel_name(graph, node, idx), schedule: None };
            lower::lower(graph, node, target, &options).map_err(|error| Error::Lower(error.0))
        })
        .collect();
    let lowered: BTreeMap<Node, Lowered> =
        nodes.into_iter().zip(lowered).map(|(node, lowered)| Ok((node, lowered?))).collect::<Result<_, Error>>()?;
    let plan = plan_memory(func, &|node| LaunchFacts {
        in_place: lowered[&node].inplace.clone(),
        scratch: lowered[&node].scratch.clone(),
    });
    let mut assembler = Assembler {
        graph,
        plan: &plan,
        target,
        constants: Vec::new(),
        constant_idx: HashMap::new(),
        kernels: Vec::new(),
        kernel_infos: Vec::new(),
        kernel_idx: HashMap::new(),
        launches: Vec::new(),
    };
    for step in &plan.steps {
        match *step {
            Step::Launch(node) => assembler.launch(node, &lowered[&node]),
            Step::Copy { value, from, to } => assembler.copy(value, from, to),
        }
    }
    let outputs = func
        .results
        .iter()
        .enumerate()
        .map(|(idx, result)| Output {
            name: result.name.clone(),
            spec: spec_of(graph, graph.results()[idx]),
            place: assembler.place(plan.results[idx]),
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
    let Assembler { constants, kernels, kernel_infos, launches, .. } = assembler;
    Ok(Assembly {
        kernels,
        lowered,
        inputs,
        outputs,
        constants,
        kernel_infos,
        launches,
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
            Target::Cpu => emit_cpu(&self.kernels, tier)?,
            Target::Cuda { arch } => (emit_cuda(&self.kernels, arch)?, "nvptx"),
        };
        let program = Program {
            name: self.name,
            target: self.target.to_string(),
            tier: tier_name.to_string(),
            inputs: self.inputs,
            outputs: self.outputs,
            constants: self.constants,
            arena_bytes: self.plan.arena_bytes,
            kernels: self.kernel_infos,
            steps: ProgramStep::sequence(self.launches.len()),
            launches: self.launches,
            code,
        };
        Ok((program, start.elapsed()))
    }
}

fn emit_cpu(kernels: &[Kernel], tier: Tier) -> Result<(Code, &'static str), Error> {
    match tier {
        Tier::Cranelift => {
            let code = crate::cranelift::compile(kernels).map_err(Error::Emit)?;
            Ok((Code::Object { triple: code.triple, features: code.features, elf: code.elf }, tier.name()))
        }
        #[cfg(feature = "llvm")]
        Tier::Llvm => {
            let code = crate::llvm::host::compile(kernels).map_err(Error::Emit)?;
            Ok((Code::Object { triple: code.triple, features: code.features, elf: code.elf }, tier.name()))
        }
        #[cfg(not(feature = "llvm"))]
        Tier::Llvm => Err(Error::NotBuilt(without_llvm("the tier `llvm`"))),
    }
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

/// A symbol that says what the kernel computes: its number and its ops.
fn kernel_name(graph: &Graph, node: Node, idx: usize) -> String {
    let data = graph.node(node);
    let mut ops: Vec<&str> = match (&data.op, data.regions.as_slice()) {
        (Op::Fusion(_), [region]) => region
            .nodes()
            .map(|(_, inner)| &inner.op)
            .filter(|op| !matches!(op, Op::Param(_) | Op::Constant(_) | Op::BroadcastInDim(_) | Op::Reshape(_)))
            .map(Op::mnemonic)
            .collect(),
        (op, _) => vec![op.mnemonic()],
    };
    ops.dedup();
    ops.truncate(4);
    format!("k{idx}_{}", ops.join("_"))
}

/// What a launch is called in profiles: the module it came from and the node's first op.
fn label(graph: &Graph, node: Node, kernel: &str) -> String {
    let Location { scope, .. } = &graph.node(node).location;
    match scope.as_deref().filter(|scope| !scope.is_empty()) {
        Some(scope) => format!("{scope}: {kernel}"),
        None => kernel.to_string(),
    }
}

fn elem_type(dtype: DType) -> ElemType {
    match dtype {
        DType::Bool => ElemType::Bool,
        DType::U8 => ElemType::U8,
        DType::I8 => ElemType::I8,
        DType::I32 => ElemType::I32,
        DType::U32 => ElemType::U32,
        DType::I64 => ElemType::I64,
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

struct Assembler<'a> {
    graph: &'a Graph,
    plan: &'a MemoryPlan,
    target: &'a Target,
    constants: Vec<Constant>,
    constant_idx: HashMap<Node, u32>,
    kernels: Vec<Kernel>,
    kernel_infos: Vec<KernelInfo>,
    /// Kernels by everything but their name, for lookup only.
    kernel_idx: HashMap<Kernel, u32>,
    launches: Vec<Launch>,
}

impl Assembler<'_> {
    fn place(&mut self, planned: PlannedPlace) -> Place {
        match planned {
            PlannedPlace::Param(idx) => Place::Input(idx),
            PlannedPlace::Result(idx) => Place::Output(idx),
            PlannedPlace::Arena(offset) => Place::Arena(offset),
            PlannedPlace::Constant(node) => Place::Constant(self.constant(node)),
        }
    }

    fn constant(&mut self, node: Node) -> u32 {
        if let Some(&idx) = self.constant_idx.get(&node) {
            return idx;
        }
        let data = self.graph.node(node);
        let Op::Constant(constant) = &data.op else {
            unreachable!("the plan places constants only at constant nodes");
        };
        let spec = spec_of(self.graph, data.first_result);
        let bytes = match constant {
            IrConstant::Dense { data, .. } => data.bytes.to_vec(),
            IrConstant::Splat { value, .. } => {
                let mut element = Vec::new();
                value.write(&mut element);
                element.repeat(spec.len())
            }
        };
        self.constants.push(Constant { spec, data: bytes });
        let idx = self.constants.len() as u32 - 1;
        self.constant_idx.insert(node, idx);
        idx
    }

    fn launch(&mut self, node: Node, lowered: &Lowered) {
        let data = self.graph.node(node);
        for part in &lowered.kernels {
            let planned: Vec<PlannedPlace> = part
                .args
                .iter()
                .map(|arg| match *arg {
                    Arg::Operand(idx) => self.planned(data.operands[idx]),
                    Arg::Result(idx) => self.planned(Value(data.first_result.0 + idx as u32)),
                    Arg::Scratch(idx) => self.plan.scratch[&node][idx],
                })
                .collect();
            if let Some((operand, result)) = part.copies
                && self.planned(data.operands[operand]) == self.planned(Value(data.first_result.0 + result as u32))
            {
                continue;
            }
            let args = planned.into_iter().map(|place| self.place(place).into()).collect();
            let label = label(self.graph, node, &part.kernel.name);
            self.push(&part.kernel, args, part.chunk, part.flops, part.bytes, label);
        }
    }

    fn planned(&self, value: Value) -> PlannedPlace {
        self.plan.places[value.idx()].expect("every value that a launch touches has a place")
    }

    fn copy(&mut self, value: Value, from: PlannedPlace, to: PlannedPlace) {
        let bytes = self.graph.ty(value).bytes().expect("shapes are fixed before code is generated");
        if bytes == 0 {
            return;
        }
        let kernel = copy_kernel(bytes, self.target);
        let args = vec![self.place(from).into(), self.place(to).into()];
        let label = kernel.name.clone();
        self.push(&kernel, args, 1, 0, 2 * bytes as u64, label);
    }

    fn push(&mut self, kernel: &Kernel, args: Vec<Address>, chunk: u64, flops: u64, bytes: u64, label: String) {
        let (block, grid) = (kernel.gpu_extents(false), kernel.gpu_extents(true));
        if grid.contains(&0) {
            // An empty tensor has nothing to compute, and a GPU refuses an empty grid.
            return;
        }
        let key = Kernel { name: String::new(), ..kernel.clone() };
        let idx = *self.kernel_idx.entry(key).or_insert_with(|| {
            let shared = kernel.buffers.iter().filter(|buffer| buffer.space == Space::Shared);
            self.kernels.push(kernel.clone());
            self.kernel_infos.push(KernelInfo {
                symbol: kernel.name.clone(),
                bytes,
                flops,
                block,
                args: kernel_args(kernel),
                shared_bytes: shared.map(|buffer| (buffer.len * buffer.dtype.size()) as u32).sum(),
            });
            self.kernels.len() as u32 - 1
        });
        self.launches.push(Launch { kernel: idx, args, extent: kernel.parallel_extent(), chunk, grid, label });
    }
}

/// What the runtime must know of a kernel's arguments.
pub(crate) fn kernel_args(kernel: &Kernel) -> Vec<KernelArg> {
    let arg = |(_, buffer): (_, &crate::kernel::Buffer)| KernelArg {
        bytes: (buffer.len * buffer.dtype.size()) as u64,
        align: buffer.dtype.size() as u32,
        written: buffer.written,
    };
    kernel.args().map(arg).collect()
}

/// Copies `bytes` bytes from the first argument to the second.
fn copy_kernel(bytes: usize, target: &Target) -> Kernel {
    let (dtype, name) = if bytes.is_multiple_of(4) { (DType::U32, "words") } else { (DType::U8, "bytes") };
    let n = bytes / dtype.size();
    let mut b = KernelBuilder::new(format!("copy_{n}_{name}"));
    let from = b.arg("from", dtype, n, false);
    let to = b.arg("to", dtype, n, true);
    match target {
        Target::Cpu => {
            let lanes = if dtype == DType::U32 { 16 } else { 1 };
            let whole = n as u64 / u64::from(lanes);
            b.for_loop(whole, LoopKind::Serial, |b, var| {
                let at = Index::term(var, i64::from(lanes));
                let value = b.load(from, at.clone(), 1, lanes, lanes);
                b.store(to, at, 1, lanes, value);
            });
            let rest = (n as u64 - whole * u64::from(lanes)) as u16;
            if rest > 0 {
                let at = Index::constant((whole * u64::from(lanes)) as i64);
                let value = b.load(from, at.clone(), 1, lanes, rest);
                b.store(to, at, 1, rest, value);
            }
        }
        Target::Cuda { .. } => {
            const THREADS: u64 = 256;
            b.for_loop((n as u64).div_ceil(THREADS), LoopKind::Grid(0), |b, block| {
                b.for_loop(THREADS, LoopKind::Thread(0), |b, thread| {
                    let scale = b.const_i64(crate::kernel::Ty::I64, 1, THREADS as i64);
                    let first = b.mul(block, scale);
                    let at = b.add(first, thread);
                    let end = b.const_i64(crate::kernel::Ty::I64, 1, n as i64);
                    let inside = b.compare(nnc_ir::ops::CompareDir::Lt, at, end);
                    b.if_then(inside, |b| {
                        let value = b.load_scalar(from, Index::term(at, 1));
                        b.store_scalar(to, Index::term(at, 1), value);
                    });
                });
            });
        }
    }
    b.finish()
}
