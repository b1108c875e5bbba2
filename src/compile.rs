//! Compiling one function: specialization, passes, lowering, code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use nnc_codegen::assemble::{Assembly, Tier, lower_func};
use nnc_codegen::target::Target;
use nnc_ir::{Bindings, Func, TensorData};
use nnc_passes::pipeline::{OptLevel, PassManager, Step, Timing, pipeline};
use nnc_passes::remark::Remarks;
use nnc_passes::specialize::{freeze, specialize};
use nnc_runtime::program::Program;

use crate::error::Error;

/// How to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// For what machine.
    pub target: Target,
    /// Which emitter makes CPU code.
    pub tier: Tier,
    /// Which emitter makes better CPU code while that of `tier` already runs: kernels are replaced between two runs as
    /// they become ready, and no result bit changes. For what runs in this process ([`crate::Jit`],
    /// [`crate::Session`], [`crate::Trainer`]); see [`crate::background`].
    pub background: Option<Tier>,
    /// How much to optimize.
    pub opt: OptLevel,
    /// Extents of symbolic dimensions.
    pub dims: Bindings,
    /// Whether trainable parameters become constants, laid out and folded at compile time: inference.
    pub freeze: bool,
    /// Whether the function is checked after every pass.
    pub verify_each: bool,
}

impl Default for Options {
    /// CPU code from the tier that compiles fastest, fully optimized, with parameters as inputs.
    fn default() -> Self {
        Self {
            target: Target::Cpu,
            tier: Tier::default(),
            background: None,
            opt: OptLevel::default(),
            dims: Bindings::new(),
            freeze: false,
            verify_each: cfg!(debug_assertions),
        }
    }
}

/// A function after all passes and lowering, before code is emitted.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The optimized function.
    pub func: Func,
    /// Its kernels, memory plan and launches.
    pub assembly: Assembly,
    /// What the passes decided.
    pub remarks: Remarks,
    /// Time of each pass.
    pub passes: Vec<Timing>,
    /// Time of lowering and memory planning.
    pub lowering: Duration,
}

/// A compiled function and how it came about.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The program.
    pub program: Arc<Program>,
    /// What the passes decided.
    pub remarks: Remarks,
    /// Time of each pass.
    pub passes: Vec<Timing>,
    /// Time of lowering and memory planning.
    pub lowering: Duration,
    /// Time of the emitter.
    pub emission: Duration,
    /// Time of everything.
    pub total: Duration,
}

/// Optimizes a function for given extents; `weights` holds the values its parameters name.
///
/// # Errors
/// Symbols without a value, missing weights, and rules of the IR that the function breaks.
pub fn optimize(
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    options: &Options,
) -> Result<(Func, Remarks, Vec<Timing>), Error> {
    let mut func = specialize(func, &options.dims)?;
    if options.freeze {
        func = freeze(&func, weights)?;
    }
    let mut manager = PassManager::new();
    if options.verify_each {
        manager.verify_each = Some(Func::verify);
    }
    let mut steps = pipeline(options.opt);
    if options.target != Target::Cpu {
        steps.retain(|step| !matches!(step, Step::Once(pass) if pass.name == "panels"));
    }
    let func = manager.run(&func, &steps)?;
    let timings = manager.timings().to_vec();
    Ok((func, manager.remarks, timings))
}

/// Optimizes and lowers a function.
///
/// # Errors
/// As for [`optimize`], and nodes there is no code for.
pub fn lower(func: &Func, weights: &IndexMap<Arc<str>, TensorData>, options: &Options) -> Result<Lowered, Error> {
    let (func, remarks, passes) = optimize(func, weights, options)?;
    let start = Instant::now();
    let initial = |idx: usize| {
        let name = func.params[idx].weight.as_ref()?;
        weights.get(name).cloned()
    };
    let assembly = lower_func(&func, &initial, &options.target)?;
    Ok(Lowered { func, assembly, remarks, passes, lowering: start.elapsed() })
}

/// Compiles a function; `weights` holds the values its parameters name.
///
/// ```
/// use nnc::ir::parse::parse_func;
///
/// let func = parse_func(
///     "func @double(%x: f32[N]) -> (y: f32[N]) {
///        %0 = add %x, %x : f32[N]
///        return %0
///      }",
/// )?;
/// let options = nnc::Options { dims: [("N".to_string(), 8)].into(), ..Default::default() };
/// let compiled = nnc::compile(&func, &Default::default(), &options)?;
/// assert_eq!(compiled.program.peak_bytes(), 128);
/// # Ok::<(), nnc::Error>(())
/// ```
///
/// # Errors
/// As for [`lower`], and targets this build cannot emit code for.
pub fn compile(func: &Func, weights: &IndexMap<Arc<str>, TensorData>, options: &Options) -> Result<Compiled, Error> {
    let start = Instant::now();
    let Lowered { assembly, remarks, passes, lowering, .. } = lower(func, weights, options)?;
    let (program, emission) = assembly.emit(options.tier)?;
    Ok(Compiled { program: Arc::new(program), remarks, passes, lowering, emission, total: start.elapsed() })
}
