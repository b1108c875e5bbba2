//! The walk over a graph: names, scopes, nested graphs, calls of functions, and the faults met on the way.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use nnc_frontend::trace::{Trace, place};
use nnc_frontend::{Parameter, Tensor, tensor};
use nnc_ir::{DType, Diagnostic, Location, TensorData};

use crate::bound;
use crate::cx::Cx;
use crate::data::{Stored, TensorReader};
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::functions::{Functions, Opsets};
use crate::ops::{self, Domain};
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use crate::shape_int::ShapeInt;
use crate::value::{Source, StringTensor, TensorValue, Value, Weight};

/// How deep calls of functions and nested graphs may go.
const MAX_DEPTH: usize = 64;

/// How many nodes an import may come to, with loops and functions written out as often as they are run: a small file can
/// describe more than any machine holds.
const MAX_NODES: usize = 1 << 18;

/// Attributes that a function was called with, by name.
pub(crate) type Attributes = HashMap<String, AttributeProto>;

/// Names of model inputs.
type Inputs = BTreeSet<Rc<str>>;

/// A name with what it stands for and the model inputs it was computed from.
#[derive(Clone)]
struct Named {
    value: Value,
    from: Rc<Inputs>,
}

/// The names of one graph.
#[derive(Default)]
struct Scope {
    names: HashMap<String, Named>,
    /// Whether names that are not here are looked up in the scope below: not in a function's body.
    sees_outer: bool,
}

/// What the nodes of a graph or function share.
struct Frame {
    opsets: Rc<Opsets>,
    attributes: Rc<Attributes>,
    /// What comes before node names in messages: the function's name.
    path: Rc<str>,
}

/// The state of an import.
pub(crate) struct Walker<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) reader: &'a TensorReader,
    file: Arc<str>,
    functions: &'a Functions<'a>,
    scopes: RefCell<Vec<Scope>>,
    frames: RefCell<Vec<Frame>>,
    /// For each node under way, the model inputs read so far.
    touched: RefCell<Vec<Inputs>>,
    needs: RefCell<BTreeSet<String>>,
    /// Floating-point tensors of the model that are data and no weights.
    settings: BTreeSet<String>,
    /// Those that should have been: see [`Walker::settings_needed`].
    settings_needed: RefCell<BTreeSet<String>>,
    /// Names that were followed in search of those.
    searched: RefCell<HashSet<String>>,
    depth: Cell<usize>,
    n_nodes: Cell<usize>,
    weights: Weights,
}

/// Whether some element is infinite, or the largest number of its type, which exporters write for that.
fn rules_out(data: &TensorData) -> bool {
    let bytes = &data.bytes;
    match data.dtype {
        DType::F32 => bytes.as_chunks().0.iter().any(|&bytes| f32::from_le_bytes(bytes).abs() >= f32::MAX),
        // What a mask of `f32` becomes when a model is widened.
        DType::F64 => bytes.as_chunks().0.iter().any(|&bytes| f64::from_le_bytes(bytes).abs() >= f64::from(f32::MAX)),
        DType::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .any(|&bytes| half::f16::from_le_bytes(bytes).to_f32().abs() >= half::f16::MAX.to_f32()),
        DType::BF16 => bytes
            .as_chunks()
            .0
            .iter()
            .any(|&bytes| half::bf16::from_le_bytes(bytes).to_f32().abs() >= half::bf16::MAX.to_f32()),
        _ => false,
    }
}

/// Weights by name: shared by all walks over one model.
pub(crate) type Weights = Rc<RefCell<HashMap<String, Rc<Weight>>>>;
/// The nodes of a graph or function.
struct Nodes<'n> {
    all: &'n [NodeProto],
    /// Which of them gives a name; made when a fault asks.
    givers: OnceCell<HashMap<&'n str, usize>>,
}

impl<'n> Nodes<'n> {
    fn giver(&self, name: &str) -> Option<usize> {
        let outputs = |(at, node): (usize, &'n NodeProto)| node.output.iter().map(move |name| (name.as_str(), at));
        let givers = self.givers.get_or_init(|| self.all.iter().enumerate().rev().flat_map(outputs).collect());
        givers.get(name).copied()
    }
}

/// What was found when something was tried in vain.
pub(crate) struct Failure {
    fault: Fault,
    faults: Vec<Diagnostic>,
    needs: BTreeSet<String>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(
        trace: &'a Trace,
        reader: &'a TensorReader,
        file: Arc<str>,
        functions: &'a Functions<'a>,
        opsets: Opsets,
        weights: Weights,
    ) -> Self {
        let frame = Frame { opsets: Rc::new(opsets), attributes: Rc::default(), path: Rc::from("") };
        Self {
            trace,
            reader,
            file,
            functions,
            scopes: RefCell::new(vec![Scope::default()]),
            frames: RefCell::new(vec![frame]),
            touched: RefCell::default(),
            needs: RefCell::default(),
            settings: BTreeSet::new(),
            settings_needed: RefCell::default(),
            searched: RefCell::default(),
            depth: Cell::new(0),
            n_nodes: Cell::new(0),
            weights,
        }
    }

    /// Takes these floating-point tensors of the model as data.
    pub(crate) fn with_settings(mut self, settings: &BTreeSet<String>) -> Self {
        self.settings.clone_from(settings);
        self
    }

    /// Floating-point tensors that look like weights, but of which something is computed that the import must know: the
    /// extents of an image, say.
    pub(crate) fn settings_needed(&self) -> BTreeSet<String> {
        self.settings_needed.borrow().clone()
    }

    /// Model inputs whose values were asked for.
    pub(crate) fn needs(&self) -> BTreeSet<String> {
        self.needs.borrow().clone()
    }

    /// Asks for the values of the model inputs that `name` is computed from.
    pub(crate) fn would_help(&self, name: &str) {
        if let Some(named) = self.find(name) {
            self.needs.borrow_mut().extend(named.from.iter().map(|input| input.to_string()));
        }
    }

    /// A place in the model.
    pub(crate) fn location(&self, what: &str) -> Location {
        Location::at(self.file.clone(), 0, 0).in_scope(Some(Arc::from(what)))
    }

    /// Makes `name` stand for a value that is computed from `inputs` of the model.
    pub(crate) fn bind(&self, name: &str, value: Value, inputs: &[&str]) {
        let from = Rc::new(inputs.iter().map(|&input| Rc::from(input)).collect());
        self.bind_named(name, Named { value, from });
    }

    fn bind_named(&self, name: &str, named: Named) {
        let mut scopes = self.scopes.borrow_mut();
        let scope = scopes.last_mut().expect("a walk has a scope");
        scope.names.insert(name.to_string(), named);
    }

    fn find(&self, name: &str) -> Option<Named> {
        let scopes = self.scopes.borrow();
        for scope in scopes.iter().rev() {
            if let Some(named) = scope.names.get(name) {
                return Some(named.clone());
            }
            if !scope.sees_outer {
                return None;
            }
        }
        None
    }

    /// What a name stands for; remembered as read by the node under way.
    pub(crate) fn lookup(&self, name: &str) -> Option<Value> {
        let named = self.find(name)?;
        if let Some(touched) = self.touched.borrow_mut().last_mut() {
            touched.extend(named.from.iter().cloned());
        }
        Some(named.value)
    }

    /// A tensor of the model: floating-point ones are weights, all others are known data.
    ///
    /// Scalars are no weights: they are settings (an epsilon, a scale) that nobody trains, and so is what turns out to
    /// decide shapes. Nor are masks, whose elements are added to scores to rule them out.
    pub(crate) fn weight_or_data(&self, name: &str, elem: ElemType, data: TensorData) -> Value {
        let is_weight = elem.is_exact()
            && data.dtype.is_float()
            && !data.shape.is_empty()
            && !name.is_empty()
            && !self.settings.contains(name);
        if !is_weight || rules_out(&data) {
            return Value::with_elem(Tensor::from_data(data), elem);
        }
        Value::Tensor(TensorValue { source: Source::Weight(self.weight(name, data)), elem, ints: None, bound: None })
    }

    /// The weight of this name and contents. Nested graphs and functions have names of their own, so another weight may
    /// have the name already; and they are walked more than once, so it may also be this one.
    fn weight(&self, name: &str, data: TensorData) -> Rc<Weight> {
        let mut weights = self.weights.borrow_mut();
        let mut unique = name.to_string();
        for number in 1.. {
            match weights.get(&unique) {
                None => break,
                Some(weight) if weight.stored == data => return weight.clone(),
                Some(_) => unique = format!("{name}.{number}"),
            }
        }
        let parameter = Parameter::from_data(data.clone());
        let weight = Rc::new(Weight { name: unique.clone(), stored: data, parameter });
        weights.insert(unique, weight.clone());
        weight
    }

    /// The tensor of a value; a weight becomes a parameter.
    pub(crate) fn tensor(&self, value: &TensorValue) -> Tensor {
        match &value.source {
            Source::Tensor(tensor) => tensor.clone(),
            Source::Weight(weight) => self.trace.parameter(&weight.name, &weight.parameter),
            Source::Ints { shape } => {
                let ints = value.ints.as_deref().unwrap_or_default();
                let dtype = value.elem.carrier().unwrap_or(DType::I64);
                let parts: Vec<Tensor> = ints.iter().map(|int| extent_tensor(int, dtype)).collect();
                let vector = Tensor::stack(&parts, 0);
                vector.reshape(shape.as_slice())
            }
        }
    }

    /// Binds the constants of a graph. `skip` are names that something else gives.
    pub(crate) fn bind_initializers(&self, graph: &GraphProto, skip: &dyn Fn(&str) -> bool) {
        let mut seen = HashSet::new();
        let mut is_new = |name: &str| {
            let is_new = seen.insert(name.to_string());
            if !is_new {
                let location = self.location(&format!("initializer `{name}`"));
                tensor::record(Diagnostic::new(location, "the name is defined twice"));
            }
            is_new
        };
        for proto in &graph.initializer {
            let name = proto.name();
            if is_new(name) && !skip(name) {
                self.bind_stored(name, self.reader.read(proto));
            }
        }
        for proto in &graph.sparse_initializer {
            let name = proto.values.as_ref().map_or("", |values| values.name());
            if is_new(name) && !skip(name) {
                self.bind_stored(name, self.reader.read_sparse(proto));
            }
        }
    }

    fn bind_stored(&self, name: &str, stored: Result<Stored, String>) {
        let value = match stored {
            Ok(Stored::Numbers { elem, data }) => self.weight_or_data(name, elem, data),
            Ok(Stored::Strings { shape, elements }) => Value::Strings(Rc::new(StringTensor { shape, elements })),
            Err(message) => {
                let location = self.location(&format!("initializer `{name}`"));
                Value::from(tensor::record(Diagnostic::new(location, message)))
            }
        };
        self.bind(name, value, &[]);
    }

    /// Imports nodes in order.
    pub(crate) fn nodes(&self, nodes: &[NodeProto]) {
        let nodes = Nodes { all: nodes, givers: OnceCell::new() };
        for (idx, node) in nodes.all.iter().enumerate() {
            match self.n_nodes.replace(self.n_nodes.get() + 1) {
                n if n < MAX_NODES => self.node(node, idx, &nodes),
                MAX_NODES => {
                    let message =
                        format!("more than {MAX_NODES} nodes, counted as often as loops and functions run them");
                    tensor::record(Diagnostic::new(self.location(&describe(node, idx)), message));
                }
                // It is on record.
                _ => return,
            }
        }
    }

    fn node(&self, node: &NodeProto, idx: usize, nodes: &Nodes<'_>) {
        let path = self.frames.borrow().last().expect("a walk has a frame").path.clone();
        let what = format!("{path}{}", describe(node, idx));
        let location = self.location(&what);
        self.touched.borrow_mut().push(Inputs::new());
        let guard = place(location.clone());
        let before = self.trace.n_faults();
        let outcome = self.outcome(node, nodes);
        let outputs = match outcome {
            Ok(outputs) => outputs,
            Err(fault) => {
                let poisoned = match self.diagnose(fault, &location, nodes) {
                    Some(diagnostic) => tensor::record(diagnostic),
                    // The fault that caused this one is on record; anything poisoned stands for it.
                    None => poisoned_by_earlier(),
                };
                vec![Value::from(poisoned); node.output.len()]
            }
        };
        drop(guard);
        let touched = self.touched.borrow_mut().pop().expect("pushed above");
        if let Some(outer) = self.touched.borrow_mut().last_mut() {
            outer.extend(touched.iter().cloned());
        }
        let from = Rc::new(touched);
        let n_given = outputs.len();
        for (name, value) in node.output.iter().zip(outputs) {
            if name.is_empty() {
                continue;
            }
            if self.scopes.borrow().last().is_some_and(|scope| scope.names.contains_key(name)) {
                let message = format!("output `{name}` is defined twice");
                tensor::record(Diagnostic::new(location.clone(), message));
                continue;
            }
            self.bind_named(name, Named { value, from: from.clone() });
        }
        for (position, name) in node.output.iter().enumerate().skip(n_given).filter(|(_, name)| !name.is_empty()) {
            let poisoned = if self.trace.n_faults() == before {
                let message =
                    format!("output {position} `{name}` of operator {}, which gives {n_given}", node.op_type());
                tensor::record(Diagnostic::new(location.clone(), message))
            } else {
                poisoned_by_earlier()
            };
            self.bind_named(name, Named { value: poisoned.into(), from: from.clone() });
        }
    }

    fn outcome(&self, node: &NodeProto, nodes: &Nodes<'_>) -> Result<Vec<Value>, Fault> {
        let mut inputs = Vec::with_capacity(node.input.len());
        let mut missing = Vec::new();
        for name in &node.input {
            if name.is_empty() {
                inputs.push(None);
                continue;
            }
            match self.lookup(name) {
                Some(value) => inputs.push(Some(value)),
                None => missing.push(name),
            }
        }
        if let Some(name) = missing.first() {
            return Err(Fault::Invalid(match nodes.giver(name) {
                Some(other) => format!(
                    "input `{name}` is an output of {}, which does not come before this node: the nodes are in a cycle or not in topological order",
                    describe(&nodes.all[other], other)
                ),
                None => format!("input `{name}`, which nothing gives"),
            }));
        }
        let poisoned = |value: &Option<Value>| matches!(value, Some(Value::Tensor(value)) if value.is_poisoned());
        if inputs.iter().any(poisoned) {
            return Err(Fault::Reported);
        }
        let (opsets, attributes) = {
            let frames = self.frames.borrow();
            let frame = frames.last().expect("a walk has a frame");
            (frame.opsets.clone(), frame.attributes.clone())
        };
        let domain = Domain::from_name(node.domain());
        let opset = domain.map_or(0, |domain| opsets.version(domain));
        let mut cx = Cx::new(self, node, nodes.all, inputs, opset, attributes);
        // A model's own function stands before the operator of its name.
        if let Some(function) = self.functions.called_by(node) {
            return self.call(function, &cx);
        }
        match domain.and_then(|domain| ops::find(domain, node.op_type(), opset)) {
            Some(entry) if cx.is_bounded() => bound::import(&mut cx, entry.import),
            Some(entry) => (entry.import)(&mut cx),
            None => Err(Fault::Unsupported(format!("operator `{}` of `{}` {opset}", node.op_type(), node.domain()))),
        }
    }

    /// The weights that `name` is computed from by `nodes`, as far as they are small enough to be settings.
    fn small_weights_behind(&self, name: &str, nodes: &Nodes<'_>) -> Vec<String> {
        const MOST_ELEMENTS: usize = 64;
        let weights = self.weights.borrow();
        // Each name is looked at once, however many faults lead to it.
        let mut seen = self.searched.borrow_mut();
        let (mut pending, mut found) = (vec![name], Vec::new());
        while let Some(name) = pending.pop() {
            if !seen.insert(name.to_string()) {
                continue;
            }
            match weights.get(name) {
                Some(weight) if weight.stored.len() <= MOST_ELEMENTS => found.push(name.to_string()),
                _ => pending.extend(nodes.giver(name).iter().flat_map(|&at| &nodes.all[at].input).map(String::as_str)),
            }
        }
        found
    }

    /// The diagnostic of a fault, or `None` if it is reported already.
    fn diagnose(&self, fault: Fault, location: &Location, nodes: &Nodes<'_>) -> Option<Diagnostic> {
        let diagnostic = match fault {
            Fault::Invalid(message) => Diagnostic::new(location.clone(), message),
            Fault::Unsupported(message) => Diagnostic::new(location.clone(), format!("not supported: {message}")),
            Fault::Reported => return None,
            Fault::NeedsValue { input, name } => {
                let from: Vec<Rc<str>> =
                    self.find(&name).map(|named| named.from.iter().cloned().collect()).unwrap_or_default();
                let mut needs = self.needs.borrow_mut();
                needs.extend(from.iter().map(|input| input.to_string()));
                self.settings_needed.borrow_mut().extend(self.small_weights_behind(&name, nodes));
                let inputs: Vec<String> = from.iter().map(|input| format!("`{input}`")).collect();
                let message = format!("the value of input {input} `{name}` must be known when the model is imported");
                let hint = match inputs.as_slice() {
                    [] => "bind the symbolic dimensions it follows from".to_string(),
                    inputs => format!(
                        "it is computed from {}: give the value, or bind the symbolic dimensions it follows from",
                        inputs.join(", ")
                    ),
                };
                Diagnostic::new(location.clone(), message).note(hint)
            }
        };
        Some(diagnostic)
    }

    fn enter(&self) -> Result<Depth<'_>, Fault> {
        if self.depth.get() >= MAX_DEPTH {
            return Err(Fault::Invalid(format!(
                "graphs and functions are nested more than {MAX_DEPTH} deep, or without end"
            )));
        }
        self.depth.set(self.depth.get() + 1);
        Ok(Depth(&self.depth))
    }

    /// Does something that may fail, after which something else is tried: faults on the way are taken back.
    pub(crate) fn attempt<T>(&self, trial: impl FnOnce() -> Result<T, Fault>) -> Result<T, Failure> {
        let before = self.trace.n_faults();
        let needs = self.needs.borrow().clone();
        let result = trial();
        let faults = self.trace.take_faults(before);
        let fault = match result {
            Ok(value) if faults.is_empty() => return Ok(value),
            Ok(_) => Fault::Reported,
            Err(fault) => fault,
        };
        Err(Failure { fault, faults, needs: self.needs.replace(needs) })
    }

    /// The fault of a trial after which nothing else is tried; what was found on the way is on record again.
    pub(crate) fn give_up(&self, failure: Failure) -> Fault {
        for fault in failure.faults {
            tensor::record(fault);
        }
        self.needs.borrow_mut().extend(failure.needs);
        failure.fault
    }

    /// Imports a nested graph: `inputs` are its inputs, outer names are visible.
    pub(crate) fn subgraph(&self, graph: &GraphProto, inputs: Vec<Value>) -> Result<Vec<Value>, Fault> {
        let _depth = self.enter()?;
        if graph.input.len() != inputs.len() {
            return Err(Fault::Invalid(format!(
                "graph `{}` takes {} inputs, expected {}",
                graph.name(),
                graph.input.len(),
                inputs.len()
            )));
        }
        self.scopes.borrow_mut().push(Scope { names: HashMap::new(), sees_outer: true });
        // What the node read so far is what it gives to the graph.
        let from = Rc::new(self.touched.borrow().last().cloned().unwrap_or_default());
        for (info, value) in graph.input.iter().zip(inputs) {
            self.bind_named(info.name(), Named { value, from: from.clone() });
        }
        self.bind_initializers(graph, &|name| graph.input.iter().any(|info| info.name() == name));
        self.nodes(&graph.node);
        let outputs = graph.output.iter().map(|info| self.result(info.name())).collect();
        self.scopes.borrow_mut().pop();
        outputs
    }

    /// What a graph gives under `name`.
    pub(crate) fn result(&self, name: &str) -> Result<Value, Fault> {
        self.lookup(name).ok_or_else(|| Fault::Invalid(format!("output `{name}`, which nothing gives")))
    }

    fn call(&self, function: &FunctionProto, cx: &Cx<'_>) -> Result<Vec<Value>, Fault> {
        let _depth = self.enter()?;
        let mut attributes: Attributes = HashMap::new();
        for attribute in &function.attribute_proto {
            attributes.insert(attribute.name().to_string(), attribute.clone());
        }
        for (name, attribute) in cx.attributes() {
            attributes.insert(name.to_string(), attribute.clone());
        }
        let from = Rc::new(self.touched.borrow().last().cloned().unwrap_or_default());
        let mut scope = Scope::default();
        for (position, name) in function.input.iter().enumerate() {
            if cx.has(position) {
                let named = Named { value: cx.value(position)?, from: from.clone() };
                scope.names.insert(name.clone(), named);
            }
        }
        let path = Rc::from(format!("function `{}`: ", function.name()));
        let frame =
            Frame { opsets: Rc::new(Opsets::new(&function.opset_import)), attributes: Rc::new(attributes), path };
        self.scopes.borrow_mut().push(scope);
        self.frames.borrow_mut().push(frame);
        self.nodes(&function.node);
        let outputs = function.output.iter().take(cx.n_outputs()).map(|name| self.result(name)).collect();
        self.frames.borrow_mut().pop();
        self.scopes.borrow_mut().pop();
        outputs
    }
}

/// Leaves a nested graph or function when dropped.
struct Depth<'a>(&'a Cell<usize>);

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What a node is called in messages.
pub(crate) fn describe(node: &NodeProto, idx: usize) -> String {
    match node.name() {
        "" => format!("node #{idx} ({})", node.op_type()),
        name => format!("node `{name}` ({})", node.op_type()),
    }
}

/// A tensor that stands for a fault which is on record.
pub(crate) fn poisoned_by_earlier() -> Tensor {
    Tensor::poisoned(Rc::new(Diagnostic::new(Location::unknown(), "an earlier fault")))
}

/// An integer as a scalar tensor. A symbolic extent is counted: the sum of as many ones.
fn extent_tensor(int: &ShapeInt, dtype: DType) -> Tensor {
    match int {
        ShapeInt::Known(value) => Tensor::from_data(TensorData::from_integers(dtype, vec![], [*value])),
        ShapeInt::Symbolic(dim) => Tensor::ones([dim.clone()]).to_dtype(dtype).sum(..),
    }
}
