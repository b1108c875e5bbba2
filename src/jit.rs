//! Compiling on first call.
//!
//! A [`Jit`] is a function that is specialized and compiled when it meets new input shapes, and called at once when it
//! has met them before. Each compilation is recorded, so that recompiles can be seen ([`Jit::compilations`]). Machine
//! code is shared by everything in the process that compiles the same function for the same shapes.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use indexmap::IndexMap;
use nnc_frontend::array::ToData;
use nnc_ir::bind::{Argument, bind_dims};
use nnc_ir::{Bindings, Constant, DType, Func, Graph, Module, Op, ParamKind, TensorData};
use nnc_runtime::device::{Device, for_target};
use nnc_runtime::program::{ElemType, Program};
use nnc_runtime::{Executable, Instance};

use crate::background::Plan;
use crate::compile::{Options, lower};
use crate::error::Error;

/// One compilation of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Compilation {
    /// The function.
    pub func: String,
    /// Extents it was specialized for.
    pub dims: Bindings,
    /// Whether the process had compiled it before.
    pub cached: bool,
    /// How long it took.
    pub duration: Duration,
    /// Bytes of tensor memory one run takes.
    pub peak_bytes: u64,
}

/// Element types and shapes of the inputs of one call.
type Signature = Vec<(DType, Vec<usize>)>;

/// A function that compiles itself on first call with new shapes.
pub struct Jit {
    func: Func,
    weights: IndexMap<Arc<str>, TensorData>,
    options: Options,
    threads: usize,
    /// By element types and shapes of the inputs; few, so they are searched in order.
    instances: Vec<(Signature, Instance)>,
    compilations: Vec<Compilation>,
}

/// Wraps the function of a module that has one.
///
/// ```
/// use nnc::prelude::*;
///
/// let mut double = nnc::jit(trace("double", |t| t.input("x", "f32[N]") * 2.0)?)?;
/// let y = double.call(&[&ndarray::array![1.0f32, 2.0]])?;
/// assert_eq!(y[0].to_f32(), [2.0, 4.0]);
/// assert_eq!(double.compilations().len(), 1);
/// # Ok::<(), nnc::Error>(())
/// ```
///
/// # Errors
/// If the module has no function or several.
pub fn jit(module: Module) -> Result<Jit, Error> {
    let names: Vec<&str> = module.funcs.iter().map(|func| func.name.as_str()).collect();
    if names.len() != 1 {
        return Err(Error::message(format!("the module has functions {names:?}, expected one")));
    }
    let Module { mut funcs, weights } = module;
    Ok(Jit::new(funcs.remove(0), weights))
}

impl Jit {
    /// A function and the weights it names. Parameters are frozen into the code; see [`Jit::options`].
    pub fn new(func: Func, weights: IndexMap<Arc<str>, TensorData>) -> Self {
        let options = Options { freeze: true, ..Options::default() };
        Self { func, weights, options, threads: 0, instances: Vec::new(), compilations: Vec::new() }
    }

    /// Compiles with other options from here on; their `dims` are bound beside those the inputs give.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self.instances.clear();
        self
    }

    /// Runs on at most this many threads; 0 is one a core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self.instances.clear();
        self
    }

    /// The function.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Every compilation so far, in order: more than a few mean that shapes keep changing.
    pub fn compilations(&self) -> &[Compilation] {
        &self.compilations
    }

    /// Runs the function on its inputs in order and gives its results in order.
    ///
    /// # Errors
    /// Wrong number, types or shapes of inputs, and whatever compiling or running reports.
    pub fn call(&mut self, inputs: &[&dyn ToData]) -> Result<Vec<TensorData>, Error> {
        let data: Vec<TensorData> = inputs.iter().map(|input| input.to_data()).collect();
        let instance = self.prepare(&data)?;
        let names: Vec<String> = input_names(instance.program());
        for (name, data) in names.iter().zip(&data) {
            instance.write(name.as_str(), &data.bytes)?;
        }
        instance.run()?;
        (0..instance.program().outputs.len()).map(|idx| read_output(instance, idx)).collect()
    }

    /// The compiled instance for inputs like these; compiled now if they are new.
    ///
    /// # Errors
    /// As for [`Jit::call`].
    pub fn prepare(&mut self, inputs: &[TensorData]) -> Result<&mut Instance, Error> {
        let same = |known: &[(DType, Vec<usize>)]| {
            let pairs = known.iter().zip(inputs);
            known.len() == inputs.len()
                && pairs.into_iter().all(|(key, data)| key.0 == data.dtype && key.1 == data.shape)
        };
        let idx = match self.instances.iter().position(|(known, _)| same(known)) {
            Some(idx) => idx,
            None => {
                let dims = bind_inputs(&self.func, inputs, &self.options.dims)?;
                let options = Options { dims, ..self.options.clone() };
                let (executable, compilation) = compile_cached(&self.func, &self.weights, &options)?;
                self.compilations.push(compilation);
                let key = inputs.iter().map(|data| (data.dtype, data.shape.clone())).collect();
                self.instances.push((key, executable.instance(self.threads)?));
                self.instances.len() - 1
            }
        };
        Ok(&mut self.instances[idx].1)
    }
}

/// Names of the inputs a caller writes before each run.
fn input_names(program: &Program) -> Vec<String> {
    let data = program.inputs.iter().filter(|input| input.role == nnc_runtime::program::InputRole::Data);
    data.map(|input| input.name.clone()).collect()
}

/// An output as data.
///
/// # Errors
/// The device's own.
pub fn read_output(instance: &Instance, idx: usize) -> Result<TensorData, Error> {
    let spec = instance.program().outputs[idx].spec.clone();
    Ok(TensorData::new(dtype_of(spec.elem), spec.shape, instance.output(idx)?.to_vec()))
}

/// The IR's name of a runtime element type.
pub fn dtype_of(elem: ElemType) -> DType {
    match elem {
        ElemType::Bool => DType::Bool,
        ElemType::U8 => DType::U8,
        ElemType::I8 => DType::I8,
        ElemType::I16 => DType::I16,
        ElemType::U16 => DType::U16,
        ElemType::I32 => DType::I32,
        ElemType::U32 => DType::U32,
        ElemType::I64 => DType::I64,
        ElemType::U64 => DType::U64,
        ElemType::F16 => DType::F16,
        ElemType::BF16 => DType::BF16,
        ElemType::F32 => DType::F32,
        ElemType::F64 => DType::F64,
    }
}

/// The extents that inputs give to the symbols of a function.
///
/// # Errors
/// Wrong number, types or shapes of inputs, all at once.
pub fn bind_inputs(func: &Func, inputs: &[TensorData], given: &Bindings) -> Result<Bindings, Error> {
    let params = func.params.iter().zip(func.graph.params());
    let expected: Vec<_> = params.filter(|(param, _)| param.kind == ParamKind::Input).collect();
    if expected.len() != inputs.len() {
        let names: Vec<String> =
            expected.iter().map(|(param, value)| format!("{}: {}", param.name, func.graph.ty(**value))).collect();
        let (found, list) = (inputs.len(), names.join(", "));
        return Err(Error::message(format!("@{} got {found} inputs, expected ({list})", func.name)));
    }
    let arguments: Vec<Argument> = expected
        .into_iter()
        .zip(inputs)
        .map(|((param, &value), data)| Argument {
            name: &param.name,
            expected: func.graph.ty(value),
            dtype: data.dtype,
            shape: &data.shape,
        })
        .collect();
    Ok(bind_dims(&arguments, given)?)
}

/// Compiles a function, or finds it compiled before by this process for the same extents and options.
///
/// # Errors
/// As for [`crate::compile()`], and loading the program on its device.
pub fn compile_cached(
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    options: &Options,
) -> Result<(Executable, Compilation), Error> {
    /// Distinct functions kept; the oldest goes first. A process that meets more keeps its own [`Jit`]s anyway.
    const CAPACITY: usize = 64;
    type Cache = Mutex<Vec<(CacheKey, Executable)>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();

    let start = std::time::Instant::now();
    let cache = CACHE.get_or_init(Cache::default);
    let key = CacheKey::of(func, weights, options);
    let found = {
        let entries = cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        entries.iter().find(|(known, _)| *known == key).map(|(_, executable)| executable.clone())
    };
    let cached = found.is_some();
    let executable = match found {
        Some(executable) => executable,
        None => {
            let assembly = lower(func, weights, options)?.assembly;
            let background = Plan::of(&assembly, options)?;
            let (program, _) = assembly.emit(options.tier)?;
            let device: Arc<dyn Device> = for_target(&options.target.to_string())?;
            let executable = Executable::load(program, &*device)?;
            if let Some(plan) = background {
                plan.start(&executable);
            }
            let mut entries = cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if entries.len() == CAPACITY {
                entries.remove(0);
            }
            entries.push((key, executable.clone()));
            executable
        }
    };
    let compilation = Compilation {
        func: func.name.clone(),
        dims: options.dims.clone(),
        cached,
        duration: start.elapsed(),
        peak_bytes: executable.program().peak_bytes(),
    };
    Ok((executable, compilation))
}

/// The dense constants of a graph and of its regions.
fn collect_constants(graph: &Graph, constants: &mut Vec<TensorData>) {
    for (_, node) in graph.nodes() {
        if let Op::Constant(Constant::Dense { data, .. }) = &node.op {
            constants.push(data.clone());
        }
        node.regions.iter().for_each(|region| collect_constants(region, constants));
    }
}

/// What makes two compilations the same: the function's structure, the values compiled into it, and the options.
#[derive(Clone, PartialEq)]
struct CacheKey {
    text: String,
    /// Weights in order of the parameters that name them. Equal data is found by address first.
    weights: Vec<Option<TensorData>>,
    /// The constants in order: of large ones the text has the name alone.
    constants: Vec<TensorData>,
    options: Options,
}

impl CacheKey {
    fn of(func: &Func, weights: &IndexMap<Arc<str>, TensorData>, options: &Options) -> Self {
        let named = func.params.iter().map(|param| weights.get(param.weight.as_ref()?).cloned());
        let mut constants = Vec::new();
        collect_constants(&func.graph, &mut constants);
        Self { text: func.to_string(), weights: named.collect(), constants, options: options.clone() }
    }
}
