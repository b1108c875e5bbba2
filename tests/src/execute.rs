//! Running a function in every way there is, and comparing what comes out.
//!
//! Compiled results must have the same bits in every way of running (ARCHITECTURE.md, Numerics), and be close to the
//! interpreter's, which accumulates in `f64`.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use nnc::{Error, Options, Target, Tier};
use nnc_ir::{Bindings, DType, Func, Scalar, TensorData};
use nnc_passes::pipeline::OptLevel;
use nnc_runtime::program::InputRole;
use nnc_runtime::{Device, Executable, device};

use crate::golden::{Scale, close};

/// Tensors by name.
pub type Tensors = IndexMap<String, TensorData>;

/// Weights by name.
pub type Weights = IndexMap<Arc<str>, TensorData>;

/// The CPU tiers of this build.
pub fn tiers() -> &'static [Tier] {
    if cfg!(feature = "llvm") { &[Tier::Cranelift, Tier::Llvm] } else { &[Tier::Cranelift] }
}

/// One way of running a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What the code is for. GPU code runs on the emulator.
    pub target: Target,
    /// Emitter of CPU code.
    pub tier: Tier,
    /// Whether to fuse.
    pub fuse: bool,
    /// Threads of CPU code.
    pub threads: usize,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fused = if self.fuse { "fused" } else { "unfused" };
        match self.target {
            Target::Cpu => write!(f, "{}, {fused}, {} threads", self.tier.name(), self.threads),
            Target::Cuda { .. } => write!(f, "emulated GPU, {fused}"),
        }
    }
}

/// Every way of running on the CPU in this build.
pub fn cpu_ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for &tier in tiers() {
        for fuse in [true, false] {
            ways.extend([1, 2].map(|threads| Way { target: Target::Cpu, tier, fuse, threads }));
        }
    }
    ways
}

/// Every way of running on the emulated GPU in this build.
pub fn gpu_ways() -> Vec<Way> {
    let target = Target::Cuda { arch: nnc::codegen::target::DEFAULT_ARCH.to_string() };
    let way = |fuse| Way { target: target.clone(), tier: Tier::Cranelift, fuse, threads: 1 };
    if cfg!(feature = "llvm") { vec![way(true), way(false)] } else { Vec::new() }
}

/// The options of a way.
pub fn options(way: &Way, dims: &Bindings) -> Options {
    Options {
        target: way.target.clone(),
        tier: way.tier,
        opt: OptLevel { fuse: way.fuse, ..OptLevel::default() },
        dims: dims.clone(),
        verify_each: true,
        ..Options::default()
    }
}

/// The results of `func` when run that way.
///
/// # Errors
/// Whatever compiling, loading or running reports.
pub fn run(func: &Func, weights: &Weights, inputs: &Tensors, dims: &Bindings, way: &Way) -> Result<Tensors, Error> {
    let options = options(way, dims);
    let lowered = nnc::compile::lower(func, weights, &options)?;
    let device = device_for(way, &lowered.assembly.kernels)?;
    let (program, _) = lowered.assembly.emit(options.tier)?;
    let executable = Executable::load(program, &*device)?;
    let mut instance = executable.instance(way.threads)?;
    for input in &executable.program().inputs {
        match inputs.get(&input.name) {
            Some(data) => instance.write(input.name.as_str(), &data.bytes)?,
            None if input.role == InputRole::State => {}
            None => return Err(Error::message(format!("there is no input {}", input.name))),
        }
    }
    instance.run()?;
    let outputs = executable.program().outputs.iter().enumerate();
    outputs.map(|(idx, output)| Ok((output.name.clone(), nnc::jit::read_output(&instance, idx)?))).collect()
}

#[cfg(feature = "llvm")]
fn device_for(way: &Way, kernels: &[nnc::codegen::kernel::Kernel]) -> Result<Arc<dyn Device>, Error> {
    if let Target::Cuda { .. } = way.target {
        let gpu = nnc::codegen::llvm::emulate::EmulatedGpu::new(kernels, 7);
        return Ok(Arc::new(gpu.map_err(|error| Error::message(error.to_string()))?));
    }
    Ok(device::for_target("cpu")?)
}

#[cfg(not(feature = "llvm"))]
fn device_for(_: &Way, _: &[nnc::codegen::kernel::Kernel]) -> Result<Arc<dyn Device>, Error> {
    Ok(device::for_target("cpu")?)
}

/// Whether two tensors have the same bits; which of its bits a NaN has is nobody's promise.
///
/// # Errors
/// The types, or the first element that differs and how many do.
pub fn same_bits(expected: &TensorData, found: &TensorData) -> Result<(), String> {
    if expected.ty() != found.ty() {
        return Err(format!("found {}, expected {}", found.ty(), expected.ty()));
    }
    let same = |lhs: Scalar, rhs: Scalar| lhs.bits == rhs.bits || (lhs.to_f64().is_nan() && rhs.to_f64().is_nan());
    let unequal: Vec<usize> = (0..expected.len()).filter(|&idx| !same(expected.get(idx), found.get(idx))).collect();
    let Some(&idx) = unequal.first() else { return Ok(()) };
    let (lhs, rhs) = (expected.get(idx), found.get(idx));
    let (n, of) = (unequal.len(), expected.len());
    Err(format!(
        "{n} of {of} elements differ; element {idx} is {rhs} ({:#x}), expected {lhs} ({:#x})",
        rhs.bits, lhs.bits
    ))
}

/// How far a compiled tensor may be from the interpreter's, as a share of its largest element.
pub fn allowed(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        DType::F32 => 1e-5,
        DType::F64 => 1e-12,
        _ => 0.0,
    }
}

/// Runs a function on the CPU in every way and holds the results against the interpreter's and against each other;
/// gives the compiled ones. `relative` replaces [`allowed`]; `None` of `close_to` leaves the interpreter out.
///
/// # Errors
/// A way that fails or differs, with its name.
pub fn check_ways(
    func: &Func,
    weights: &Weights,
    inputs: &Tensors,
    dims: &Bindings,
    ways: &[Way],
    expected: Option<&Tensors>,
    relative: Option<f64>,
) -> Result<Tensors, String> {
    let mut first: Option<(String, Tensors)> = None;
    for way in ways {
        let found = run(func, weights, inputs, dims, way).map_err(|error| format!("{way}: {error}"))?;
        if let Some((name, first)) = &first {
            for (result, data) in first {
                same_bits(data, &found[result]).map_err(|why| format!("{way}, against {name}: {result}: {why}"))?;
            }
        }
        for (result, data) in expected.into_iter().flatten() {
            let relative = relative.unwrap_or_else(|| allowed(data.dtype));
            close(data, &found[result], relative, Scale::Tensor)
                .map_err(|why| format!("{way}, against the interpreter: {result}: {why}"))?;
        }
        first.get_or_insert((way.to_string(), found));
    }
    first.map(|(_, tensors)| tensors).ok_or_else(|| "there is no way to run".to_string())
}
