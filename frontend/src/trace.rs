//! Tracing: running a model's `forward` on tensors that stand for graph values.
//!
//! A trace is a state of the thread: the graph under construction, the parameters met so far, the module path that is
//! being run, and the faults found. [`trace()`] installs it, runs a closure, and turns the outcome into an
//! [`nnc_ir::Module`] with one function. The bodies of loops and branches are traced into graphs of their own, on a
//! stack above the function's (`trace/frame.rs`, `trace/control.rs`).
//!
//! Two things are found without the user's help. *Names*: [`Trace::bind`] walks a model and keeps the dotted path of
//! every parameter (by identity of its storage) and of every module (by address and type). *Places*: everything
//! public on a tensor is `#[track_caller]`, so a node knows the user's line, and a module that runs pushes its path
//! (see [`enter`]), so a node knows its module.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location as Caller;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use nnc_ir::{
    Constant, DType, Diagnostic, Func, FuncParam, FuncResult, Location, Module as IrModule, Op, ParamKind, Rewriter,
    Scalar, TensorData, TensorType, Value,
};

use crate::module::{Module, ModuleKey, named_modules};
use crate::parameter::{Buffer, Parameter, StorageId};
use crate::tensor::{Repr, Tensor, ToTensor, fault};

mod control;
mod frame;
mod signature;

pub(crate) use control::{Input, Region, push_cond, push_scan, push_while, region, rehearse, splice};
use frame::Frame;
pub use signature::{ToTensorType, TraceOutput};

thread_local! {
    static ACTIVE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Directory of this crate's sources, as `#[track_caller]` reports it.
const OWN_SOURCES: &str = {
    let (dir, _) = file!().split_at(file!().len() - "trace.rs".len());
    dir
};

/// Whether something was done by this crate's own sources.
fn is_own(caller: &Caller<'_>) -> bool {
    caller.file().starts_with(OWN_SOURCES)
}

/// Every fault that a trace found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    /// The faults in order of appearance; at least one.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, diagnostic) in self.diagnostics.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TraceError {}

/// What is being traced.
struct State {
    /// The function's graph, and on top of it those of the regions being traced, outermost first.
    frames: Vec<Frame>,
    /// Regions begun so far, and the trace numbers of those that have ended.
    n_regions: usize,
    ended: Vec<u64>,
    /// Described in the order of the function's parameters.
    params: Vec<TracedParam>,
    /// Position in `params` of each parameter or buffer met.
    positions: HashMap<StorageId, usize>,
    /// Path of each module bound, by address and type.
    paths: HashMap<ModuleKey, Arc<str>>,
    scopes: Vec<Scope>,
    results: Vec<(String, Tensor)>,
    faults: Vec<Diagnostic>,
    /// Source file names, shared by the nodes.
    files: HashMap<&'static str, Arc<str>>,
    n_models: usize,
    /// The random state, once something was drawn.
    rng: Option<Buffer>,
    /// Whether ops on concrete tensors are computed at once (see [`Trace::fold_constants`]).
    folds: bool,
    /// Where everything comes from at the moment, if not from the caller (see [`place`]).
    place: Option<Location>,
}

struct TracedParam {
    name: String,
    kind: ParamKind,
    value: Value,
    data: Option<TensorData>,
    /// Keeps the storage alive, so that its identity stays unique for the length of the trace.
    _storage: Option<Rc<dyn std::any::Any>>,
}

/// A module that is running.
struct Scope {
    path: Option<Arc<str>>,
    caller: &'static Caller<'static>,
}

impl State {
    fn new(id: u64) -> Self {
        Self {
            frames: vec![Frame::new(id, 0)],
            n_regions: 0,
            ended: Vec::new(),
            params: Vec::new(),
            positions: HashMap::new(),
            paths: HashMap::new(),
            scopes: Vec::new(),
            results: Vec::new(),
            faults: Vec::new(),
            files: HashMap::new(),
            n_models: 0,
            rng: None,
            folds: false,
            place: None,
        }
    }

    /// The place of something done at `caller`. What this crate does itself (the body of a layer reached through a
    /// trait object, say) is placed where the user called the layer.
    fn locate(&mut self, caller: &'static Caller<'static>) -> Location {
        if let Some(place) = &self.place {
            return place.clone();
        }
        let caller = if is_own(caller) {
            let outside = self.scopes.iter().rev().map(|scope| scope.caller);
            outside.into_iter().find(|scope| !is_own(scope)).unwrap_or(caller)
        } else {
            caller
        };
        let path = self.scopes.last().and_then(|scope| scope.path.clone());
        self.place(caller).in_scope(path)
    }

    fn place(&mut self, caller: &'static Caller<'static>) -> Location {
        let file = self.files.entry(caller.file()).or_insert_with(|| Arc::from(caller.file())).clone();
        Location::at(file, caller.line(), caller.column())
    }

    /// The place of a parameter or buffer: where the user's program made it (`Linear::new(...)`), which is what a report
    /// about it should show; else where it was met. Its module is the one that owns it.
    fn locate_storage(&mut self, name: &str, origin: &'static Caller<'static>, met: &Location) -> Location {
        let owner = name.rsplit_once('.').map(|(owner, _)| Arc::from(owner));
        let place = if is_own(origin) { met.clone() } else { self.place(origin) };
        place.in_scope(owner)
    }

    fn add_param(
        &mut self,
        name: &str,
        kind: ParamKind,
        ty: TensorType,
        data: Option<TensorData>,
        storage: Option<Rc<dyn std::any::Any>>,
        location: Location,
    ) -> Tensor {
        if self.params.iter().any(|param| param.name == name) {
            self.faults.push(Diagnostic::new(location.clone(), format!("the name `{name}` is declared twice")));
        }
        let root = self.root();
        let value = root.graph.param(ty.clone(), location);
        let tensor = Tensor::traced(root.id, value, ty);
        self.params.push(TracedParam { name: name.to_string(), kind, value, data, _storage: storage });
        tensor
    }

    fn add_storage(
        &mut self,
        id: StorageId,
        name: &str,
        kind: ParamKind,
        data: TensorData,
        storage: Rc<dyn std::any::Any>,
        location: Location,
    ) -> Tensor {
        if let Some(tensor) = self.root().current.get(&id) {
            return tensor.clone();
        }
        self.positions.insert(id, self.params.len());
        let tensor = self.add_param(name, kind, data.ty(), Some(data), Some(storage), location);
        self.root().current.insert(id, tensor.clone());
        tensor
    }

    fn add_parameter(&mut self, name: &str, parameter: &Parameter, met: &Location) -> Tensor {
        let location = self.locate_storage(name, parameter.origin(), met);
        // A frozen parameter is read like one and never written, and no gradient is taken with respect to it.
        let kind = if parameter.requires_grad() { ParamKind::Param } else { ParamKind::State };
        self.add_storage(parameter.id(), name, kind, parameter.data(), parameter.storage(), location)
    }

    fn add_buffer(&mut self, name: &str, buffer: &Buffer, met: &Location) -> Tensor {
        let location = self.locate_storage(name, buffer.origin(), met);
        self.add_storage(buffer.id(), name, ParamKind::State, buffer.data(), buffer.storage(), location)
    }

    /// Reorders the parameters (inputs, then trainable ones, then other state), puts them first, and closes the
    /// function.
    fn finish(mut self, name: &str) -> Result<IrModule, TraceError> {
        let location = Location::unknown();
        let mut results: Vec<(FuncResult, Value)> = Vec::new();
        let mut order: Vec<usize> = (0..self.params.len()).collect();
        order.sort_by_key(|&idx| self.params[idx].kind as u8);

        for (result_name, tensor) in std::mem::take(&mut self.results) {
            if results.iter().any(|(result, _)| result.name == result_name) {
                let message = format!("the result `{result_name}` is given twice");
                self.faults.push(Diagnostic::new(location.clone(), message));
            }
            match self.value(&tensor, &location) {
                Ok(value) => results.push((FuncResult { name: result_name, donates: None }, value)),
                Err(_) if tensor.is_poisoned() => {}
                Err(diagnostic) => self.faults.push(diagnostic),
            }
        }
        for id in std::mem::take(&mut self.root().updated) {
            let tensor = self.root().current[&id].clone();
            if tensor.is_poisoned() {
                continue;
            }
            let position = self.positions[&id];
            let donates = order.iter().position(|&idx| idx == position).map(|idx| idx as u32);
            let result = FuncResult { name: self.params[position].name.clone(), donates };
            match self.value(&tensor, &location) {
                Ok(value) => results.push((result, value)),
                Err(diagnostic) => self.faults.push(diagnostic),
            }
        }
        if results.is_empty() && self.faults.is_empty() {
            self.faults.push(Diagnostic::new(location, format!("function `{name}` gives no result")));
        }
        if !self.faults.is_empty() {
            return Err(TraceError { diagnostics: self.faults });
        }

        let graph = std::mem::take(&mut self.root().graph);
        let mut rewriter = Rewriter::without_params(&graph);
        for &idx in &order {
            rewriter.param(self.params[idx].value);
        }
        for (node, data) in graph.nodes() {
            if !matches!(data.op, Op::Param(_)) {
                rewriter.copy(node);
            }
        }
        let values = results.iter().map(|&(_, value)| rewriter.get(value)).collect();
        let graph = rewriter.finish_with(values);

        let mut weights = IndexMap::new();
        let mut params = Vec::with_capacity(order.len());
        for idx in order {
            let param = &mut self.params[idx];
            let weight = param.data.take().map(|data| {
                let weight: Arc<str> = Arc::from(param.name.as_str());
                weights.insert(weight.clone(), data);
                weight
            });
            params.push(FuncParam { name: std::mem::take(&mut param.name), kind: param.kind, weight });
        }
        let results = results.into_iter().map(|(result, _)| result).collect();
        let func = Func { name: name.to_string(), params, results, graph };
        Ok(IrModule { funcs: vec![func], weights })
    }
}

/// The trace that a closure given to [`trace()`] runs in.
#[derive(Debug)]
pub struct Trace {
    _private: (),
}

impl Trace {
    /// The trace that this thread is in, for functions that are called by what is traced.
    pub fn active() -> Option<Self> {
        is_active().then_some(Self { _private: () })
    }

    /// Declares an input: fresh data on every call. The type is a [`TensorType`] or its text, where a name is a
    /// symbolic extent.
    ///
    /// ```
    /// # use nnc_frontend::prelude::*;
    /// let module = trace("double", |t| {
    ///     let x = t.input("x", "f32[N, 784]");
    ///     t.output("y", &x * 2.0);
    /// })?;
    /// assert_eq!(module.funcs[0].params[0].name, "x");
    /// # Ok::<(), TraceError>(())
    /// ```
    #[track_caller]
    pub fn input(&self, name: &str, ty: impl ToTensorType) -> Tensor {
        let caller = Caller::caller();
        match ty.to_tensor_type() {
            Ok(ty) => with(|state| {
                let location = state.locate(caller);
                state.add_param(name, ParamKind::Input, ty, None, None, location)
            }),
            Err(message) => fault(format!("the type of input `{name}`: {message}")),
        }
    }

    /// Makes the names and parameters of `model` known. Every parameter becomes a parameter of the function under its
    /// dotted path, used or not; every module's nodes get its path. A parameter used that belongs to no bound model
    /// is a fault from here on.
    #[track_caller]
    pub fn bind(&self, model: &dyn Module) {
        self.bind_as("", model);
    }

    /// [`Trace::bind`] with `prefix` before every path: `encoder.0.weight`.
    #[track_caller]
    pub fn bind_as(&self, prefix: &str, model: &dyn Module) {
        let caller = Caller::caller();
        let join = |path: &str| match (prefix, path) {
            ("", path) => path.to_string(),
            (prefix, "") => prefix.to_string(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        // The model is walked before the state is borrowed: what a user's `members` does is not known.
        let modules: Vec<_> = named_modules(model).iter().map(|(path, module)| (join(path), module.key())).collect();
        let parameters = model.named_parameters();
        let buffers = model.named_buffers();
        with(|state| {
            let location = state.locate(caller);
            state.n_models += 1;
            for (path, key) in modules {
                state.paths.insert(key, Arc::from(path));
            }
            for (path, parameter) in parameters {
                state.add_parameter(&join(&path), &parameter, &location);
            }
            for (path, buffer) in buffers {
                state.add_buffer(&join(&path), &buffer, &location);
            }
        });
    }

    /// Declares one parameter under a name and gives its value, for programs without a [`Module`].
    #[track_caller]
    pub fn parameter(&self, name: &str, parameter: &Parameter) -> Tensor {
        let caller = Caller::caller();
        with(|state| {
            let location = state.locate(caller);
            state.add_parameter(name, parameter, &location)
        })
    }

    /// From here on, ops whose operands are all concrete are computed at once instead of becoming nodes, unless that
    /// would make much data of little. So what a program computes about shapes is known while it is traced.
    pub fn fold_constants(&self) {
        with(|state| state.folds = true);
    }

    /// Number of faults found so far.
    pub fn n_faults(&self) -> usize {
        with(|state| state.faults.len())
    }

    /// Takes back the faults found since there were `n_faults`: those of a trial, after which something else is tried.
    pub fn take_faults(&self, n_faults: usize) -> Vec<Diagnostic> {
        with(|state| state.faults.split_off(n_faults.min(state.faults.len())))
    }

    /// Declares a result of the function.
    #[track_caller]
    pub fn output(&self, name: &str, tensor: impl ToTensor) {
        let tensor = tensor.to_tensor();
        with(|state| state.results.push((name.to_string(), tensor)));
    }
}

/// Traces a function: runs `build` on symbolic tensors and gives the module that holds the function and the weights
/// it names.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let model = Linear::new(3, 2);
/// let module = trace("forward", |t| {
///     t.bind(&model);
///     let x = t.input("x", "f32[N, 3]");
///     model.forward(&x)
/// })?;
/// let func = &module.funcs[0];
/// assert_eq!(func.params.iter().map(|param| param.name.as_str()).collect::<Vec<_>>(), ["x", "weight", "bias"]);
/// # Ok::<(), TraceError>(())
/// ```
///
/// # Errors
/// Every fault found, each with the line of the user's program.
pub fn trace<R: TraceOutput>(name: &str, build: impl FnOnce(&Trace) -> R) -> Result<IrModule, TraceError> {
    /// Ends the trace even if `build` unwinds.
    struct Installed;

    impl Drop for Installed {
        fn drop(&mut self) {
            ACTIVE.with_borrow_mut(|active| *active = None);
        }
    }

    if is_active() {
        let message = format!("function `{name}` is traced while another trace is active");
        return Err(TraceError { diagnostics: vec![Diagnostic::new(Location::unknown(), message)] });
    }
    ACTIVE.with_borrow_mut(|active| *active = Some(State::new(next_id())));
    let installed = Installed;
    let trace = Trace { _private: () };
    build(&trace).declare(&trace);
    let state = ACTIVE.with_borrow_mut(Option::take).expect("the trace is active until here");
    drop(installed);
    state.finish(name)
}

fn next_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    ACTIVE.with_borrow_mut(|active| f(active.as_mut().expect("a `Trace` exists only while its trace is active")))
}

/// Whether this thread is tracing.
pub(crate) fn is_active() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// Whether an op with operands like these becomes a node: always while tracing, but for what the trace folds.
pub(crate) fn is_node(op: &Op, operands: &[&Tensor]) -> bool {
    /// Results up to this many elements are computed whatever they are made of.
    const SMALL: usize = 1 << 14;

    if !is_active() {
        return false;
    }
    if !with(|state| state.folds) || matches!(op, Op::RngBits(_)) {
        return true;
    }
    let mut types = Vec::with_capacity(operands.len());
    for operand in operands {
        match operand.repr() {
            Repr::Data(data) => types.push(data.ty()),
            Repr::Traced { .. } | Repr::Poisoned(_) => return true,
        }
    }
    let read: usize = types.iter().filter_map(TensorType::n_elements).sum();
    match nnc_ir::ops::infer(op, &types.iter().collect::<Vec<_>>(), &[]) {
        Ok(results) => !results.iter().all(|ty| ty.n_elements().is_some_and(|made| made <= read.max(SMALL))),
        Err(_) => true,
    }
}

/// Appends a node for something done at `caller`.
pub(crate) fn push(op: Op, operands: &[&Tensor], caller: &'static Caller<'static>) -> Result<Vec<Tensor>, Diagnostic> {
    with(|state| {
        let location = state.locate(caller);
        let values: Vec<Value> =
            operands.iter().map(|operand| state.value(operand, &location)).collect::<Result<_, _>>()?;
        let frame = state.top();
        let mnemonic = op.mnemonic();
        let node = frame.graph.push(op, &values, location.clone())?;
        let results = frame.graph.node(node).results();
        // The verifier's g6, before anything is made of the result: extents of what follows would only grow.
        for result in results.clone() {
            let checked = frame.graph.ty(result).check_size();
            checked.map_err(|message| Diagnostic::new(location.clone(), format!("{mnemonic}: {message}")))?;
        }
        Ok(results.map(|result| frame.tensor(result)).collect())
    })
}

/// The op that defines `tensor` in the active trace.
pub(crate) fn defining_op(tensor: &Tensor) -> Option<Op> {
    ACTIVE.with_borrow(|active| match (active, tensor.repr()) {
        (Some(state), Repr::Traced { trace, value, .. }) => {
            let frame = state.frames.iter().find(|frame| frame.id == *trace)?;
            Some(frame.graph.def_op(*value).clone())
        }
        _ => None,
    })
}

/// The place of something done at `caller`, in the active trace or outside one.
pub(crate) fn locate(caller: &'static Caller<'static>) -> Location {
    ACTIVE.with_borrow_mut(|active| match active {
        Some(state) => state.locate(caller),
        None => Location::at(caller.file(), caller.line(), caller.column()),
    })
}

/// Adds a fault to the active trace, if there is one.
pub(crate) fn record(diagnostic: &Diagnostic) {
    ACTIVE.with_borrow_mut(|active| {
        if let Some(state) = active {
            state.faults.push(diagnostic.clone());
        }
    });
}

/// The present value of a parameter.
pub(crate) fn parameter(parameter: &Parameter, caller: &'static Caller<'static>) -> Tensor {
    if !is_active() {
        return Tensor::from_data(parameter.data());
    }
    with(|state| {
        if let Some(tensor) = state.root().current.get(&parameter.id()) {
            return tensor.clone();
        }
        let location = state.locate(caller);
        if state.n_models > 0 {
            let message = format!("a parameter of type {} is used here but is in no bound model", parameter.ty());
            let note = "register it: keep it (or the layer that owns it) in a field of a type that derives `Module`, \
                        or declare it with `Trace::parameter`";
            state.faults.push(Diagnostic::new(location.clone(), message).note(note));
        }
        let name = format!("parameter.{}", state.params.len());
        state.add_parameter(&name, parameter, &location)
    })
}

/// The present value of a buffer.
pub(crate) fn buffer(buffer: &Buffer, caller: &'static Caller<'static>) -> Tensor {
    if !is_active() {
        return Tensor::from_data(buffer.data());
    }
    with(|state| {
        let location = state.locate(caller);
        let name = format!("buffer.{}", state.params.len());
        state.add_buffer(&name, buffer, &location);
        state.present(buffer.id(), &location)
    })
}

/// Makes `tensor` the next value of `buffer` in the active trace.
pub(crate) fn set_buffer(buffer: &Buffer, tensor: Tensor) {
    with(|state| state.top().set(buffer.id(), tensor));
}

/// The random state of the active trace: the state parameter `rng` (`u32[4]`: key, high counter), which starts from
/// the thread's generator. Gives the present state and leaves the next one behind, so that two draws differ and a run
/// is repeatable.
pub(crate) fn draw_rng_state(caller: &'static Caller<'static>) -> Tensor {
    let storage = with(|state| {
        let start = || {
            let words = crate::random::next_program_state();
            let words = words.map(|word| Scalar::from_i64(DType::U32, i64::from(word)));
            Buffer::from_data(TensorData::from_scalars(DType::U32, vec![4], words))
        };
        let storage = state.rng.get_or_insert_with(start).clone();
        let location = state.locate(caller);
        state.add_buffer("rng", &storage, &location);
        storage
    });
    let present = storage.tensor();
    let step = Tensor::from_slice(&[0u32, 0, 1, 0]);
    storage.update(&(&present + step));
    present
}

/// Ends a [`place`] when dropped.
#[derive(Debug)]
#[must_use = "the place is left when this is dropped"]
pub struct PlaceGuard {
    outer: Option<Location>,
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        ACTIVE.with_borrow_mut(|active| {
            if let Some(state) = active {
                state.place = self.outer.take();
            }
        });
    }
}

/// Makes `location` the place of everything traced until the guard is dropped, instead of the callers' lines: for
/// importers, whose nodes and faults come from a file.
pub fn place(location: Location) -> PlaceGuard {
    ACTIVE.with_borrow_mut(|active| match active {
        Some(state) => PlaceGuard { outer: state.place.replace(location) },
        None => PlaceGuard { outer: None },
    })
}

/// Leaves the module that was [entered](enter) when dropped.
#[derive(Debug)]
#[must_use = "the module is left when this is dropped"]
pub struct ScopeGuard {
    trace: Option<u64>,
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        ACTIVE.with_borrow_mut(|active| {
            if let Some(state) = active
                && self.trace == Some(state.root().id)
            {
                state.scopes.pop();
            }
        });
    }
}

/// Marks what follows, until the guard is dropped, as done by the module with this key. Every layer's `forward`
/// begins with this, and so does the `forward` that `#[derive(Module)]` writes.
#[track_caller]
pub fn enter(key: ModuleKey) -> ScopeGuard {
    let caller = Caller::caller();
    ACTIVE.with_borrow_mut(|active| {
        let Some(state) = active else { return ScopeGuard { trace: None } };
        let outer = state.scopes.last().and_then(|scope| scope.path.clone());
        let path = state.paths.get(&key).filter(|path| !path.is_empty()).cloned().or(outer);
        state.scopes.push(Scope { path, caller });
        ScopeGuard { trace: Some(state.root().id) }
    })
}

/// A constant every element of which is `value`.
pub(crate) fn splat(ty: TensorType, value: Scalar) -> Op {
    Op::Constant(Constant::Splat { ty, value })
}
