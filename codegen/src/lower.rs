//! From one node of a graph to kernels.
//!
//! [`lower`] takes a node of static shapes, usually a fusion, and gives the kernels that compute its results. A
//! template writes each kernel: [`contraction`] for a `dot_general` or `convolution` and the elementwise work on its result, [`row`] for
//! reductions and what surrounds them, [`scatter`], and [`pointwise`] for the rest. All templates get the values they
//! need from one mechanism, *the value of an IR value at an index* ([`cx`]), so views and broadcasts cost nothing.
//!
//! Any region can be lowered. What a template cannot have inline (a reduction asked for at another row, an operand of
//! a contraction that is computed) it asks to have in memory ([`cx::Stop::Materialize`]); a kernel for that value runs
//! first, and the template is tried again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use nnc_ir::ops::{Op, Trait};
use nnc_ir::{DType, Diagnostic, Graph, Location, Node, Value};
use serde::{Deserialize, Serialize};

use crate::kernel::{BufferId, Kernel, KernelBuilder, Ty};
use crate::schedule::{KernelSchedule, Schedule};
use crate::target::Target;

mod affine;
mod contraction;
mod cumulative;
mod cx;
mod dynamic;
mod elementwise;
mod fold;
mod gpu;
mod inplace;
mod nest;
mod pointwise;
mod prune;
mod random;
mod region;
mod row;
mod scatter;
mod sort;
mod transpose;
mod view;
mod window;

use cx::{Cx, Eval, Placement, Source, Stop};
use nest::Split;
use region::Region;

/// What a kernel argument is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Arg {
    /// The node's operand of this number.
    Operand(usize),
    /// The node's result of this number.
    Result(usize),
    /// Scratch that lives while the node runs, see [`Lowered::scratch`].
    Scratch(usize),
}

/// One launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoweredKernel {
    /// The kernel.
    pub kernel: Kernel,
    /// What its arguments are bound to, in order.
    pub args: Vec<Arg>,
    /// CPU: iterations of the parallel loop handed to a thread at a time.
    pub chunk: u64,
    /// Arithmetic operations of one launch; a fused multiply-add counts 2.
    pub flops: u64,
    /// Bytes of the tensors it reads and writes.
    pub bytes: u64,
    /// If these two share a buffer, the launch has nothing to do: it copies the operand to the result.
    pub copies: Option<(usize, usize)>,
}

/// A node as kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowered {
    /// Kernels in the order they run.
    pub kernels: Vec<LoweredKernel>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<u64>,
    /// How the kernels are scheduled.
    pub schedule: Schedule,
    /// Pairs of operand and result that may share a buffer: every kernel reads an element of the operand before it
    /// writes that element of the result, and nothing reads it later.
    pub inplace: Vec<(usize, usize)>,
}

/// How to lower.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Start of the kernels' symbol names: letters, digits and `_`.
    pub name: String,
    /// Schedules to use instead of the chosen ones, where they fit the kernel.
    pub schedule: Option<Schedule>,
}

/// A node that cannot be lowered, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub Diagnostic);

impl Error {
    fn new(location: &Location, message: impl Into<String>) -> Self {
        Self(Diagnostic::new(location.clone(), message))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// The kernels of `node`.
///
/// # Errors
/// Symbolic extents, and ops there is no code for.
pub fn lower(graph: &Graph, node: Node, target: &Target, options: &Options) -> Result<Lowered, Error> {
    let region = Region::of_node(graph, node)?;
    let mut planner = Planner::new(&region, target, options);
    let results = region.graph.results();
    let outs = results.iter().enumerate().map(|(idx, &value)| Out { value, arg: Arg::Result(idx) }).collect();
    planner.run(outs)?;
    let inplace = inplace::pairs(&region, &graph.node(node).operands, &planner.kernels, &planner.accesses);
    Ok(Lowered {
        kernels: planner.kernels,
        scratch: planner.scratch,
        schedule: Schedule { kernels: planner.schedules },
        inplace,
    })
}

/// A value and the buffer it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Out {
    value: Value,
    arg: Arg,
}

/// A finished kernel body.
struct Built<'r> {
    cx: Cx<'r>,
    split: Split,
    schedule: KernelSchedule,
}

/// What a kernel touches, with buffers named by what they are bound to.
#[derive(Clone, Debug, Default)]
struct Accesses {
    loads: Vec<(Arg, cx::Access)>,
    stores: Vec<(Arg, cx::Access)>,
    /// Operands read in an order of the template's own.
    scattered: Vec<Arg>,
}

/// The processor family that templates branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Cpu,
    Gpu,
}

impl Family {
    fn is_gpu(self) -> bool {
        self == Self::Gpu
    }
}

/// Lowers a region kernel by kernel.
struct Planner<'r> {
    region: &'r Region<'r>,
    target: Family,
    options: &'r Options,
    /// Values in memory: operands, and what finished kernels have stored.
    memory: BTreeMap<Value, Arg>,
    /// Values on their way to memory.
    underway: BTreeSet<Value>,
    kernels: Vec<LoweredKernel>,
    accesses: Vec<Accesses>,
    scratch: Vec<u64>,
    schedules: Vec<KernelSchedule>,
    /// Where the results of the next kernel lie, if not as in a dense tensor of their own.
    placement: Option<Placement>,
}

impl<'r> Planner<'r> {
    fn new(region: &'r Region<'r>, target: &Target, options: &'r Options) -> Self {
        let params = region.graph.params().iter().enumerate();
        Self {
            region,
            target: match target {
                Target::Cpu => Family::Cpu,
                Target::Cuda { .. } => Family::Gpu,
            },
            options,
            memory: params.map(|(idx, &param)| (param, Arg::Operand(idx))).collect(),
            underway: BTreeSet::new(),
            kernels: Vec::new(),
            accesses: Vec::new(),
            scratch: Vec::new(),
            schedules: Vec::new(),
            placement: None,
        }
    }

    /// Lowers `outs`, with as few kernels as the templates manage.
    fn run(&mut self, mut outs: Vec<Out>) -> Result<(), Error> {
        outs.retain(|out| self.region.n_elements(out.value) > 0);
        while !outs.is_empty() {
            match self.kernel(&outs) {
                Ok(done) => {
                    for out in &done {
                        self.memory.entry(out.value).or_insert(out.arg);
                    }
                    outs.retain(|out| !done.contains(out));
                }
                Err(Stop::Materialize(value)) => self.materialize(value)?,
                Err(Stop::Unsupported(message)) => return Err(Error::new(&self.region.location, message)),
                Err(Stop::Scalar) => unreachable!("scalar loops evaluate everything"),
            }
        }
        Ok(())
    }

    /// Puts a value into scratch.
    fn materialize(&mut self, value: Value) -> Result<(), Error> {
        if self.memory.contains_key(&value) || !self.underway.insert(value) {
            let op = self.region.op(value).mnemonic();
            return Err(Error::new(&self.region.location, format!("{op} cannot be lowered inside this region")));
        }
        let arg = self.new_scratch(self.region.ty(value).bytes().unwrap_or(0) as u64);
        self.run(vec![Out { value, arg }])
    }

    /// Adds a scratch buffer.
    fn new_scratch(&mut self, bytes: u64) -> Arg {
        self.scratch.push(bytes);
        Arg::Scratch(self.scratch.len() - 1)
    }

    /// Lowers some of `outs` to one kernel (and kernels before it that the template wants); gives those that are done.
    fn kernel(&mut self, outs: &[Out]) -> Eval<Vec<Out>> {
        let region = self.region;
        let roots: Vec<Value> = outs.iter().map(|out| out.value).collect();
        let slice = region.slice(&roots, &|value| self.memory.contains_key(&value));
        let pending = |wanted: fn(&Op) -> bool| {
            let values = slice.iter().copied().filter(|value| !self.memory.contains_key(value));
            values.filter(|&value| wanted(region.op(value))).collect::<Vec<_>>()
        };
        let dots = pending(|op| op.has(Trait::Contraction));
        let reduces = pending(|op| matches!(op, Op::Reduce(_)));
        let scatters = pending(|op| matches!(op, Op::Scatter(_)));
        let sequences = pending(|op| matches!(op, Op::Sort(_) | Op::Cumulative(_) | Op::DynamicUpdateSlice));
        if let Some(&value) = sequences.last() {
            return self.sequence(value, outs);
        }
        if let Some(&scatter) = scatters.last() {
            let wanted: Vec<Out> = outs.iter().copied().filter(|out| out.value == scatter).collect();
            let Some(out) = wanted.first() else { return Err(Stop::Materialize(scatter)) };
            scatter::lower(self, *out)?;
            return Ok(vec![*out]);
        }
        if let Some(&dot) = dots.last() {
            return contraction::lower(self, dot, outs);
        }
        if let (true, &[out]) = (reduces.is_empty(), outs)
            && let Some(built) = transpose::lower(self, out)?
        {
            self.finish(built, outs);
            return Ok(outs.to_vec());
        }
        let (built, done) = match reduces.is_empty() {
            true => (pointwise::lower(self, outs)?, outs.to_vec()),
            false => row::lower(self, &reduces, outs)?,
        };
        self.finish(built, &done);
        Ok(done)
    }

    /// Lowers an op whose kernel computes it alone, if it is among `outs`.
    fn sequence(&mut self, value: Value, outs: &[Out]) -> Eval<Vec<Out>> {
        let node = self.region.graph.value(value).node;
        let of_node = |out: &&Out| self.region.graph.value(out.value).node == node;
        let wanted: Vec<Out> = outs.iter().filter(of_node).copied().collect();
        let Some(&first) = wanted.first() else { return Err(Stop::Materialize(value)) };
        match self.region.op(value) {
            Op::Sort(_) => {
                let built = sort::lower(self, &wanted)?;
                self.finish(built, &wanted);
                Ok(wanted)
            }
            Op::Cumulative(_) => {
                let built = cumulative::lower(self, first)?;
                self.finish(built, &[first]);
                Ok(vec![first])
            }
            Op::DynamicUpdateSlice => {
                dynamic::update(self, first)?;
                Ok(vec![first])
            }
            op => unreachable!("{} has no kernel of its own", op.mnemonic()),
        }
    }

    /// The arguments a kernel may use: everything in memory, then `outs`.
    fn arguments(&self, outs: &[Out], b: &mut KernelBuilder) -> (Vec<Arg>, HashMap<Value, Source>, Vec<BufferId>) {
        let region = self.region;
        let mut args = Vec::new();
        let mut sources = HashMap::new();
        for (&value, &arg) in &self.memory {
            let buffer = b.arg(arg_name(arg), region.dtype(value), region.n_elements(value), false);
            args.push(arg);
            sources.insert(value, Source::Memory(buffer));
        }
        let mut buffers = Vec::new();
        for out in outs {
            args.push(out.arg);
            let len = match &self.placement {
                Some(placement) => placement.extents.iter().product(),
                None => region.n_elements(out.value),
            };
            buffers.push(b.arg(arg_name(out.arg), region.dtype(out.value), len, true));
        }
        (args, sources, buffers)
    }

    /// Starts a kernel that stores `outs`.
    fn start(&self, kind: &str, outs: &[Out]) -> (Cx<'r>, Vec<BufferId>) {
        self.start_with(kind, outs, &[])
    }

    /// Starts a kernel that stores `outs` and uses scratch in memory, each of an element type and a length.
    fn start_with(&self, kind: &str, outs: &[Out], scratch: &[(Arg, DType, usize)]) -> (Cx<'r>, Vec<BufferId>) {
        let mut b = KernelBuilder::new(self.kernel_name(kind));
        let (mut args, sources, mut buffers) = self.arguments(outs, &mut b);
        for &(arg, dtype, len) in scratch {
            args.push(arg);
            buffers.push(b.arg(arg_name(arg), dtype, len, true));
        }
        let mut cx = Cx::new(self.region, b, args, sources);
        cx.placement = self.placement.clone();
        (cx, buffers)
    }

    fn kernel_name(&self, kind: &str) -> String {
        let prefix = if self.options.name.is_empty() { "nnc" } else { &self.options.name };
        format!("{prefix}_{}_{kind}", self.kernels.len())
    }

    /// A throw-away context in which every dimension is bound to a register of its own.
    fn probe(&self, ranges: &[(i64, i64)]) -> Cx<'r> {
        let (mut cx, _) = self.start("probe", &[]);
        self.bind_probe(&mut cx, ranges);
        cx
    }

    fn bind_probe(&self, cx: &mut Cx<'r>, ranges: &[(i64, i64)]) {
        cx.set_space(ranges.iter().copied());
        for dim in 0..ranges.len() {
            let stand_in = cx.b.const_i64(Ty::I64, 1, i64::MAX - dim as i64);
            cx.bind(dim, crate::kernel::Index::term(stand_in, 1), 0);
        }
    }

    /// The schedule given for the next kernel, if there is one.
    fn given_schedule(&self) -> Option<&'r KernelSchedule> {
        self.options.schedule.as_ref()?.kernels.get(self.kernels.len())
    }

    /// Adds a finished kernel that computes `done`.
    fn finish(&mut self, built: Built<'r>, done: &[Out]) {
        let roots: Vec<Value> = done.iter().map(|out| out.value).collect();
        let flops = self.flops(&roots);
        self.finish_with(built, flops);
    }

    fn finish_with(&mut self, built: Built<'r>, flops: u64) {
        let Built { cx, split, schedule } = built;
        let (trace, args) = (cx.trace, cx.args);
        let named = |(buffer, access): (BufferId, cx::Access)| (args[buffer.idx()], access);
        self.accesses.push(Accesses {
            loads: trace.loads.into_iter().map(named).collect(),
            stores: trace.stores.into_iter().map(named).collect(),
            scattered: trace.scattered.into_iter().map(|buffer| args[buffer.idx()]).collect(),
        });
        let mut kernel = cx.b.finish();
        let kept = prune::prune(&mut kernel);
        let args: Vec<Arg> = args.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(arg, _)| arg).collect();
        if cfg!(debug_assertions)
            && let Err(faults) = crate::kernel::verify(&kernel)
        {
            panic!("the lowering made a faulty kernel:\n{}\n{kernel}", faults.join("\n"));
        }
        debug_assert_eq!(kernel.parallel_extent(), split.extent, "the split describes the kernel");
        let bytes = kernel.args().map(|(_, buffer)| (buffer.len * buffer.dtype.size()) as u64).sum();
        self.kernels.push(LoweredKernel { kernel, args, chunk: split.chunk, flops, bytes, copies: None });
        self.schedules.push(schedule);
    }

    /// Arithmetic of the values that `roots` need and memory does not hold; contractions count their own.
    fn flops(&self, roots: &[Value]) -> u64 {
        let slice = self.region.slice(roots, &|value| self.memory.contains_key(&value));
        let pending = slice.into_iter().filter(|value| !self.memory.contains_key(value));
        pending
            .map(|value| match self.region.op(value) {
                Op::Reduce(_) => self.region.n_elements(self.region.operands(value)[0]) as u64,
                Op::ReduceWindow(attrs) => (self.region.n_elements(value) * attrs.n_taps()) as u64,
                op if elementwise::is_elementwise(op) => self.region.n_elements(value) as u64,
                _ => 0,
            })
            .sum()
    }
}

fn arg_name(arg: Arg) -> String {
    match arg {
        Arg::Operand(idx) => format!("x{idx}"),
        Arg::Result(idx) => format!("out{idx}"),
        Arg::Scratch(idx) => format!("tmp{idx}"),
    }
}
