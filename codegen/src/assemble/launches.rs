//! The steps of a program: launches and copies in the order of the memory plan, over addresses in the program.
//!
//! Every region is assembled in a [`Scope`], which knows where the region's parameters, results and arena lie in the
//! program. Inside of a loop these are addresses that move with its iterations.

use std::collections::HashMap;

use nnc_ir::{Constant as IrConstant, Graph, Location, Node, Op, Value};
use nnc_passes::plan_memory::{MemoryPlan, Place as PlannedPlace, Step as PlannedStep};
use nnc_runtime::program::{ALIGN, Address, Constant, KernelInfo, Launch, Place, Step};

use super::copy::copy_kernel;
use super::nodes::{LoweredGraph, LoweredLaunch, LoweredNode};
use super::{Error, kernel_args, spec_of};
use crate::kernel::{Kernel, Space};
use crate::lower::{Arg, LoweredKernel};
use crate::target::Target;

/// A graph that is being assembled: the function's or a region's.
pub(super) struct Scope<'a> {
    pub(super) graph: &'a Graph,
    pub(super) plan: &'a MemoryPlan,
    pub(super) lowered: &'a LoweredGraph,
    /// Where the parameters lie.
    pub(super) params: Vec<Address>,
    /// Where the results go.
    pub(super) results: Vec<Address>,
    /// Offset of the graph's arena in the program's.
    pub(super) arena: u64,
    /// Loops around it.
    pub(super) loops: usize,
    /// Loops and branches around it.
    pub(super) nesting: usize,
}

impl<'a> Scope<'a> {
    /// The function itself.
    pub(super) fn of_func(graph: &'a Graph, plan: &'a MemoryPlan, lowered: &'a LoweredGraph) -> Self {
        let params = (0..graph.params().len() as u32).map(|idx| Place::Input(idx).into()).collect();
        let results = (0..graph.results().len() as u32).map(|idx| Place::Output(idx).into()).collect();
        Self { graph, plan, lowered, params, results, arena: 0, loops: 0, nesting: 0 }
    }

    /// Offset in the program's arena of a place in this graph's.
    pub(super) fn arena_offset(&self, place: PlannedPlace) -> u64 {
        let PlannedPlace::Arena(offset) = place else { unreachable!("scratch lies in the arena") };
        self.arena + offset
    }

    /// Bytes of a value.
    pub(super) fn bytes(&self, value: Value) -> usize {
        self.graph.ty(value).bytes().expect("shapes are fixed before code is generated")
    }
}

/// Collects the parts of a program.
pub(super) struct Assembler<'t> {
    target: &'t Target,
    pub(super) constants: Vec<Constant>,
    /// Constants by where they are defined, for lookup only.
    constant_idx: HashMap<(*const Graph, Node), u32>,
    pub(super) kernels: Vec<Kernel>,
    pub(super) kernel_infos: Vec<KernelInfo>,
    /// Kernels by everything but their name, for lookup only.
    kernel_idx: HashMap<Kernel, u32>,
    pub(super) launches: Vec<Launch>,
    pub(super) steps: Vec<Step>,
}

impl<'t> Assembler<'t> {
    pub(super) fn new(target: &'t Target) -> Self {
        Self {
            target,
            constants: Vec::new(),
            constant_idx: HashMap::new(),
            kernels: Vec::new(),
            kernel_infos: Vec::new(),
            kernel_idx: HashMap::new(),
            launches: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// All steps of a graph.
    pub(super) fn block(&mut self, scope: &Scope<'_>) -> Result<(), Error> {
        for step in &scope.plan.steps {
            match *step {
                PlannedStep::Launch(node) => match &scope.lowered.0[&node] {
                    LoweredNode::Launch(launch) => self.launch(scope, node, launch, false),
                    LoweredNode::Regions(regions) => self.control(scope, node, regions)?,
                },
                PlannedStep::Copy { value, from, to } => {
                    let (from, to) = (self.address(scope, from), self.address(scope, to));
                    self.copy(scope.bytes(value), from, to);
                }
            }
        }
        Ok(())
    }

    /// The kernels of a graph's nodes that run before the loop whose body it is.
    pub(super) fn hoisted(&mut self, scope: &Scope<'_>) {
        for (&node, lowered) in &scope.lowered.0 {
            if let LoweredNode::Launch(launch) = lowered {
                self.launch(scope, node, launch, true);
            }
        }
    }

    /// Place of a result of the function.
    pub(super) fn place(&mut self, scope: &Scope<'_>, planned: PlannedPlace) -> Place {
        match self.address(scope, planned) {
            Address::Fixed(place) => place,
            Address::Moving(_) => unreachable!("nothing moves outside of loops"),
        }
    }

    pub(super) fn address(&mut self, scope: &Scope<'_>, planned: PlannedPlace) -> Address {
        match planned {
            PlannedPlace::Param(idx) => scope.params[idx as usize].clone(),
            PlannedPlace::Result(idx) => scope.results[idx as usize].clone(),
            PlannedPlace::Arena(offset) => Place::Arena(scope.arena + offset).into(),
            PlannedPlace::Constant(node) => Place::Constant(self.constant(scope.graph, node)).into(),
        }
    }

    /// Address of a value that a launch touches.
    pub(super) fn address_of(&mut self, scope: &Scope<'_>, value: Value) -> Address {
        let planned = scope.plan.places[value.idx()].expect("every value that a launch touches has a place");
        self.address(scope, planned)
    }

    fn constant(&mut self, graph: &Graph, node: Node) -> u32 {
        let key = (std::ptr::from_ref(graph), node);
        if let Some(&idx) = self.constant_idx.get(&key) {
            return idx;
        }
        let data = graph.node(node);
        let Op::Constant(constant) = &data.op else {
            unreachable!("the plan places constants only at constant nodes");
        };
        let spec = spec_of(graph, data.first_result);
        let bytes = match constant {
            IrConstant::Dense { data, .. } => data.bytes.clone(),
            IrConstant::Splat { value, .. } => {
                let mut element = Vec::new();
                value.write(&mut element);
                element.repeat(spec.len()).into()
            }
        };
        self.constants.push(Constant { spec, data: bytes });
        let idx = self.constants.len() as u32 - 1;
        self.constant_idx.insert(key, idx);
        idx
    }

    /// The kernels of a node: those that are hoisted, or the others.
    fn launch(&mut self, scope: &Scope<'_>, node: Node, launch: &LoweredLaunch, hoisted: bool) {
        for (part, &is_hoisted) in launch.lowered.kernels.iter().zip(&launch.hoisted) {
            if is_hoisted == hoisted {
                self.kernel(scope, node, part);
            }
        }
    }

    fn kernel(&mut self, scope: &Scope<'_>, node: Node, part: &LoweredKernel) {
        let data = scope.graph.node(node);
        let result = |idx: usize| Value(data.first_result.0 + idx as u32);
        let args = part.args.iter().map(|arg| match *arg {
            Arg::Operand(idx) => self.address_of(scope, data.operands[idx]),
            Arg::Result(idx) => self.address_of(scope, result(idx)),
            Arg::Scratch(idx) => self.address(scope, scope.plan.scratch[&node][idx]),
        });
        let args: Vec<Address> = args.collect();
        if let Some((operand, result_idx)) = part.copies
            && self.address_of(scope, data.operands[operand]) == self.address_of(scope, result(result_idx))
        {
            return;
        }
        let label = label(scope.graph, node, &part.kernel.name);
        self.push(part.kernel.clone(), args, part.chunk, part.flops, part.bytes, label);
    }

    /// Copies a value, unless it is there already.
    pub(super) fn copy(&mut self, bytes: usize, from: Address, to: Address) {
        if bytes == 0 || from == to {
            return;
        }
        let kernel = copy_kernel(bytes, self.target);
        let label = kernel.name.clone();
        self.push(kernel, vec![from, to], 1, 0, 2 * bytes as u64, label);
    }

    fn push(&mut self, mut kernel: Kernel, args: Vec<Address>, chunk: u64, flops: u64, bytes: u64, label: String) {
        let (block, grid) = (kernel.gpu_extents(false), kernel.gpu_extents(true));
        if grid.contains(&0) {
            // An empty tensor has nothing to compute, and a GPU refuses an empty grid.
            return;
        }
        if matches!(self.target, Target::Cuda { .. }) {
            for (buffer, address) in kernel.buffers.iter_mut().zip(&args) {
                buffer.align = buffer.align.min(alignment(address));
            }
        }
        let extent = kernel.parallel_extent();
        let key = Kernel { name: String::new(), ..kernel.clone() };
        let idx = *self.kernel_idx.entry(key).or_insert_with(|| {
            let shared = kernel.buffers.iter().filter(|buffer| buffer.space == Space::Shared);
            self.kernel_infos.push(KernelInfo {
                symbol: kernel.name.clone(),
                bytes,
                flops,
                block,
                shared_bytes: shared.map(|buffer| (buffer.len * buffer.dtype.size()) as u32).sum(),
                args: kernel_args(&kernel),
            });
            self.kernels.push(kernel);
            self.kernels.len() as u32 - 1
        });
        self.steps.push(Step::Launch(self.launches.len() as u32));
        self.launches.push(Launch { kernel: idx, args, extent, chunk, grid, label });
    }
}

/// What an address is a multiple of in every iteration.
fn alignment(address: &Address) -> usize {
    let Address::Moving(cases) = address else { return ALIGN };
    let bits = cases.iter().fold(ALIGN as i64, |bits, case| {
        case.strides.iter().fold(bits | case.offset, |bits, (_, stride)| bits | stride)
    });
    1 << bits.trailing_zeros()
}

/// What a launch is called in profiles: the module it came from and the node's first op.
fn label(graph: &Graph, node: Node, kernel: &str) -> String {
    let Location { scope, .. } = &graph.node(node).location;
    match scope.as_deref().filter(|scope| !scope.is_empty()) {
        Some(scope) => format!("{scope}: {kernel}"),
        None => kernel.to_string(),
    }
}
