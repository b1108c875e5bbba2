//! Nested tracing: the bodies of `scan`, `cond` and `while`, and the nodes that own them.
//!
//! [`region`] traces one body into a [`Region`]; [`push_scan`], [`push_cond`] and [`push_while`] append the node. What
//! bodies captured becomes operands: invariants of a `scan`, further operands of a `cond`, and carries that stay as
//! they are of a `while`. Buffers that a body sets, the random state among them, are carried from step to step and
//! have their last value behind the node.

use std::panic::Location as Caller;
use std::rc::Rc;

use nnc_ir::ops::ScanAttrs;
use nnc_ir::{Diagnostic, Dim, Graph, Location, Op, Rewriter, TensorType, Value};

use super::{ACTIVE, Frame, State, next_id, with};
use crate::parameter::StorageId;
use crate::tensor::Tensor;

/// What a body takes: a tensor of a type, or one that is poisoned, which then stands for itself.
pub(crate) type Input = Result<TensorType, Tensor>;

/// A body that was traced. Its parameters are not in order yet: they stand where they were met.
pub(crate) struct Region {
    graph: Graph,
    /// The parameters that stand for the body's own inputs.
    inputs: Vec<Value>,
    results: Vec<Value>,
    /// Values of the enclosing graph with the parameters that stand for them.
    captures: Vec<(Value, Value)>,
    states: Vec<Carried>,
}

/// A buffer that a body reads or sets.
#[derive(Clone, Copy)]
struct Carried {
    id: StorageId,
    /// Its value when the body begins.
    param: Value,
    /// Its value when the body ends, if the body sets it.
    next: Option<Value>,
}

/// Traces `body` on inputs of these kinds into a graph of its own.
///
/// # Errors
/// A poisoned tensor, if the body gives one or gives what it cannot; the fault is recorded.
pub(crate) fn region(
    inputs: &[Input],
    caller: &'static Caller<'static>,
    body: impl FnOnce(Vec<Tensor>) -> Vec<Tensor>,
) -> Result<Region, Tensor> {
    /// Leaves the region even if the body unwinds.
    struct Open {
        depth: usize,
    }

    impl Drop for Open {
        fn drop(&mut self) {
            ACTIVE.with_borrow_mut(|active| {
                if let Some(state) = active {
                    state.ended.extend(state.frames.drain(self.depth..).map(|frame| frame.id));
                }
            });
        }
    }

    let (open, tensors, location) = with(|state| {
        let location = state.locate(caller);
        state.n_regions += 1;
        let mut frame = Frame::new(next_id(), state.n_regions);
        let mut input = |input: &Input| match input {
            Ok(ty) => {
                let param = frame.graph.param(ty.clone(), location.clone());
                frame.tensor(param)
            }
            Err(poisoned) => poisoned.clone(),
        };
        let tensors: Vec<Tensor> = inputs.iter().map(&mut input).collect();
        let depth = state.frames.len();
        state.frames.push(frame);
        (Open { depth }, tensors, location)
    });
    let results = body(tensors);
    let region = with(|state| state.close(inputs, &results, &location));
    drop(open);
    region
}

impl State {
    /// What was traced at the top, with these results.
    fn close(&mut self, inputs: &[Input], results: &[Tensor], location: &Location) -> Result<Region, Tensor> {
        if let Some(poisoned) = results.iter().find(|result| result.is_poisoned()) {
            return Err(poisoned.clone());
        }
        if let Some(Err(poisoned)) = inputs.iter().find(|input| input.is_err()) {
            return Err(poisoned.clone());
        }
        let value = |state: &mut Self, tensor: &Tensor| {
            state.value(tensor, location).map_err(|fault| {
                state.faults.push(fault.clone());
                Tensor::poisoned(Rc::new(fault))
            })
        };
        let results = results.iter().map(|result| value(self, result)).collect::<Result<Vec<_>, _>>()?;
        let (states, updated) = (self.top().states.clone(), self.top().updated.clone());
        let mut carried = Vec::with_capacity(states.len());
        for (id, param) in states {
            let tensor = self.top().current[&id].clone();
            let next = if updated.contains(&id) { Some(value(self, &tensor)?) } else { None };
            carried.push(Carried { id, param, next });
        }
        let frame = self.top();
        Ok(Region {
            inputs: frame.graph.params()[..inputs.len()].to_vec(),
            graph: std::mem::take(&mut frame.graph),
            results,
            captures: std::mem::take(&mut frame.captures),
            states: carried,
        })
    }
}

impl Region {
    /// Types of the body's results.
    pub(crate) fn types(&self) -> Vec<TensorType> {
        self.results.iter().map(|&result| self.graph.ty(result).clone()).collect()
    }

    /// What the body has for value `outer` of the enclosing graph.
    fn captured(&self, outer: Value) -> Option<Value> {
        self.captures.iter().find(|(captured, _)| *captured == outer).map(|&(_, inner)| inner)
    }

    /// The graph by itself, its parameters the body's own inputs and then what was captured, with the captured tensors.
    ///
    /// # Errors
    /// A poisoned tensor, if the body touches buffers: a graph by itself has none.
    pub(crate) fn into_graph(self, caller: &'static Caller<'static>) -> Result<(Graph, Vec<Tensor>), Tensor> {
        let location = super::locate(caller);
        if !self.states.is_empty() {
            let message = "a computation that is traced by itself uses buffers or random numbers; give them as inputs";
            let fault = Diagnostic::new(location, message);
            super::record(&fault);
            return Err(Tensor::poisoned(Rc::new(fault)));
        }
        let own = self.inputs.iter().copied().chain(self.captures.iter().map(|&(_, inner)| inner));
        let params: Vec<_> = own.map(|param| (Some(param), self.graph.ty(param).clone())).collect();
        let results: Vec<Source> = self.results.iter().map(|&result| Source::Own(result)).collect();
        let captures = with(|state| {
            let frame = state.top();
            self.captures.iter().map(|&(outer, _)| frame.tensor(outer)).collect()
        });
        Ok((self.build(&params, &results, &location), captures))
    }

    fn state(&self, id: StorageId) -> Option<Carried> {
        self.states.iter().find(|state| state.id == id).copied()
    }

    /// The graph with these parameters, in order: ones of its own, or new ones of the given type. `results` gives the
    /// results from the graph's own values, by the new parameters where it has none.
    fn build(&self, params: &[(Option<Value>, TensorType)], results: &[Source], location: &Location) -> Graph {
        let mut rewriter = Rewriter::without_params(&self.graph);
        let params: Vec<Value> = params
            .iter()
            .map(|(own, ty)| match own {
                Some(own) => rewriter.param(*own),
                None => rewriter.graph_mut().param(ty.clone(), location.clone()),
            })
            .collect();
        for (node, data) in self.graph.nodes() {
            if !matches!(data.op, Op::Param(_)) {
                rewriter.copy(node);
            }
        }
        let results = results.iter().map(|result| match result {
            Source::Own(value) => rewriter.get(*value),
            Source::Param(position) => params[*position],
        });
        let results = results.collect();
        rewriter.finish_with(results)
    }
}

/// Where a region's result comes from.
enum Source {
    Own(Value),
    /// The parameter at a position.
    Param(usize),
}

impl State {
    /// The operand for a buffer: its present value in the enclosing graph, which then is at the top.
    fn state_operand(&mut self, id: StorageId, location: &Location) -> Result<Value, Diagnostic> {
        let present = self.present(id, location);
        self.value(&present, location)
    }

    /// The results of a node that was appended at the top; buffers take theirs from behind those of the body.
    fn results(&mut self, node: nnc_ir::Node, n_results: usize, set: &[StorageId], before: usize) -> Vec<Tensor> {
        let frame = self.top();
        let tensors: Vec<Tensor> = frame.graph.node(node).results().map(|value| frame.tensor(value)).collect();
        let (head, rest) = tensors.split_at(before);
        let (states, tail) = rest.split_at(set.len());
        for (&id, state) in set.iter().zip(states) {
            frame.set(id, state.clone());
        }
        head.iter().chain(tail).take(n_results).cloned().collect()
    }
}

/// Appends a `scan`: the first results of `body` are the next of `carried`, the others are stacked.
///
/// # Errors
/// The rule of the op that is broken.
pub(crate) fn push_scan(
    carried: &[Tensor],
    scanned: &[Tensor],
    length: Dim,
    reverse: bool,
    body: &Region,
    caller: &'static Caller<'static>,
) -> Result<Vec<Tensor>, Diagnostic> {
    with(|state| {
        let location = state.locate(caller);
        let (set, read): (Vec<Carried>, Vec<Carried>) = body.states.iter().partition(|state| state.next.is_some());
        let own = |position: usize| body.inputs[position];
        // Operands and, in the same order, parameters: carries, buffers, slices, invariants.
        let mut operands = Vec::new();
        let mut params: Vec<Value> = (0..carried.len()).map(own).collect();
        for tensor in carried {
            operands.push(state.value(tensor, &location)?);
        }
        for buffer in &set {
            operands.push(state.state_operand(buffer.id, &location)?);
            params.push(buffer.param);
        }
        for (position, tensor) in scanned.iter().enumerate() {
            operands.push(state.value(tensor, &location)?);
            params.push(own(carried.len() + position));
        }
        for &(outer, inner) in &body.captures {
            operands.push(outer);
            params.push(inner);
        }
        for buffer in &read {
            operands.push(state.state_operand(buffer.id, &location)?);
            params.push(buffer.param);
        }
        if body.results.is_empty() && set.is_empty() {
            return Ok(Vec::new());
        }
        let (carries, outputs) = body.results.split_at(carried.len());
        let next = set.iter().filter_map(|state| state.next);
        let results: Vec<Source> =
            carries.iter().copied().chain(next).chain(outputs.iter().copied()).map(Source::Own).collect();
        let params: Vec<_> = params.into_iter().map(|param| (Some(param), body.graph.ty(param).clone())).collect();
        let graph = body.build(&params, &results, &location);
        let attrs = ScanAttrs { n_carried: carried.len() + set.len(), n_scanned: scanned.len(), length, reverse };
        let node = state.top().graph.push_with_regions(Op::Scan(attrs), &operands, vec![graph], location)?;
        let set: Vec<StorageId> = set.iter().map(|state| state.id).collect();
        Ok(state.results(node, body.results.len(), &set, carried.len()))
    })
}

/// The operands of several regions that share them, behind their common inputs: captures and buffers of either.
struct Shared {
    operands: Vec<Value>,
    /// For each operand what each region has for it.
    inner: Vec<Vec<Option<Value>>>,
    /// Position of each buffer among the operands.
    buffers: Vec<(StorageId, usize)>,
}

impl Shared {
    fn of(regions: &[&Region], state: &mut State, location: &Location) -> Result<Self, Diagnostic> {
        let mut shared = Self { operands: Vec::new(), inner: Vec::new(), buffers: Vec::new() };
        for &(outer, _) in regions.iter().flat_map(|region| &region.captures) {
            if !shared.operands.contains(&outer) {
                shared.operands.push(outer);
                shared.inner.push(regions.iter().map(|region| region.captured(outer)).collect());
            }
        }
        for buffer in regions.iter().flat_map(|region| &region.states) {
            if shared.buffers.iter().any(|(id, _)| *id == buffer.id) {
                continue;
            }
            shared.buffers.push((buffer.id, shared.operands.len()));
            shared.operands.push(state.state_operand(buffer.id, location)?);
            let param = |region: &&Region| region.state(buffer.id).map(|state| state.param);
            shared.inner.push(regions.iter().map(param).collect());
        }
        Ok(shared)
    }

    /// The parameters of region number `idx`: its own inputs, then the shared ones.
    fn params(&self, idx: usize, region: &Region, outer: &Graph) -> Vec<(Option<Value>, TensorType)> {
        let inputs = region.inputs.iter().map(|&input| (Some(input), region.graph.ty(input).clone()));
        let shared =
            self.operands.iter().zip(&self.inner).map(|(&operand, inner)| (inner[idx], outer.ty(operand).clone()));
        inputs.chain(shared).collect()
    }

    /// What `region`, with `n_inputs` inputs of its own, has for a buffer when it ends.
    fn next(&self, region: &Region, n_inputs: usize, (id, position): (StorageId, usize)) -> Source {
        match region.state(id).and_then(|state| state.next) {
            Some(next) => Source::Own(next),
            None => Source::Param(n_inputs + position),
        }
    }
}

/// Appends a `cond` between two bodies of the same inputs, whose results have the same types.
///
/// # Errors
/// The rule of the op that is broken.
pub(crate) fn push_cond(
    pred: &Tensor,
    inputs: &[Tensor],
    on_true: &Region,
    on_false: &Region,
    caller: &'static Caller<'static>,
) -> Result<Vec<Tensor>, Diagnostic> {
    with(|state| {
        let location = state.locate(caller);
        let mut operands = vec![state.value(pred, &location)?];
        for input in inputs {
            operands.push(state.value(input, &location)?);
        }
        let regions = [on_true, on_false];
        let shared = Shared::of(&regions, state, &location)?;
        operands.extend(&shared.operands);
        let is_set = |id: StorageId| regions.iter().any(|region| region.state(id).is_some_and(|s| s.next.is_some()));
        let set: Vec<(StorageId, usize)> = shared.buffers.iter().copied().filter(|&(id, _)| is_set(id)).collect();
        let outer = &state.top().graph;
        let build = |(idx, region): (usize, &&Region)| {
            let own = region.results.iter().map(|&result| Source::Own(result));
            let results: Vec<Source> =
                own.chain(set.iter().map(|&buffer| shared.next(region, inputs.len(), buffer))).collect();
            region.build(&shared.params(idx, region, outer), &results, &location)
        };
        let graphs = regions.iter().enumerate().map(build).collect();
        let node = state.top().graph.push_with_regions(Op::Cond, &operands, graphs, location)?;
        let set: Vec<StorageId> = set.into_iter().map(|(id, _)| id).collect();
        let n_results = on_true.results.len();
        Ok(state.results(node, n_results, &set, n_results))
    })
}

/// Appends a `while`: `body` makes the next of `carried` as long as `condition` gives true of them.
///
/// # Errors
/// The rule of the op that is broken, or a buffer that the condition sets.
pub(crate) fn push_while(
    carried: &[Tensor],
    condition: &Region,
    body: &Region,
    caller: &'static Caller<'static>,
) -> Result<Vec<Tensor>, Diagnostic> {
    with(|state| {
        let location = state.locate(caller);
        if let Some(buffer) = condition.states.iter().find(|state| state.next.is_some()) {
            let name = &state.params[state.positions[&buffer.id]].name;
            let message = format!("while_loop: the condition changes `{name}`, which only the body may");
            return Err(Diagnostic::new(location, message));
        }
        let mut operands = Vec::new();
        for tensor in carried {
            operands.push(state.value(tensor, &location)?);
        }
        let shared = Shared::of(&[condition, body], state, &location)?;
        operands.extend(&shared.operands);
        let outer = &state.top().graph;
        let test: Vec<Source> = condition.results.iter().map(|&result| Source::Own(result)).collect();
        let test = condition.build(&shared.params(0, condition, outer), &test, &location);
        // Everything is carried; what the body does not change it hands on.
        let shared_next =
            (0..shared.operands.len()).map(|position| match shared.buffers.iter().find(|(_, at)| *at == position) {
                Some(&buffer) => shared.next(body, carried.len(), buffer),
                None => Source::Param(carried.len() + position),
            });
        let next: Vec<Source> = body.results.iter().map(|&result| Source::Own(result)).chain(shared_next).collect();
        let next = body.build(&shared.params(1, body, outer), &next, &location);
        let node = state.top().graph.push_with_regions(Op::While, &operands, vec![test, next], location)?;
        let frame = state.top();
        let results: Vec<Tensor> = frame.graph.node(node).results().map(|value| frame.tensor(value)).collect();
        for &(id, position) in &shared.buffers {
            if body.state(id).is_some_and(|state| state.next.is_some()) {
                frame.set(id, results[carried.len() + position].clone());
            }
        }
        Ok(results[..carried.len()].to_vec())
    })
}

/// Appends the nodes of `graph`, with `operands` for its parameters, and gives its results. Faults are recorded.
pub(crate) fn splice(graph: &Graph, operands: &[Tensor], caller: &'static Caller<'static>) -> Vec<Tensor> {
    let n_params = graph.params().len();
    let result = with(|state| {
        let location = state.locate(caller);
        if operands.len() != n_params {
            let message = format!("{} tensors for a graph of {n_params} parameters", operands.len());
            return Err(Diagnostic::new(location, message));
        }
        let mut values: Vec<Option<Value>> = vec![None; graph.n_values()];
        for (&param, operand) in graph.params().iter().zip(operands) {
            let value = state.value(operand, &location)?;
            let (found, expected) = (state.top().graph.ty(value), graph.ty(param));
            if found != expected {
                let message = format!("a tensor of type {found} for a parameter of type {expected}");
                return Err(Diagnostic::new(location, message));
            }
            values[param.idx()] = Some(value);
        }
        let get = |values: &[Option<Value>], value: Value| values[value.idx()].expect("nodes are in topological order");
        let into = &mut state.top().graph;
        for (_, data) in graph.nodes().filter(|(_, data)| !matches!(data.op, Op::Param(_))) {
            let operands: Vec<Value> = data.operands.iter().map(|&operand| get(&values, operand)).collect();
            let types = data.results().map(|result| graph.ty(result).clone()).collect();
            let node = into.push_typed(data.op.clone(), &operands, data.regions.clone(), types, location.clone());
            for (old, new) in data.results().zip(into.node(node).results()) {
                values[old.idx()] = Some(new);
            }
        }
        let frame = state.top();
        Ok(graph.results().iter().map(|&result| frame.tensor(get(&values, result))).collect())
    });
    result.unwrap_or_else(|fault| {
        super::record(&fault);
        vec![Tensor::poisoned(Rc::new(fault)); graph.results().len()]
    })
}

/// Runs `body` on tensors of these types in a trace that is thrown away, for what it gives.
pub(crate) fn rehearse<R>(types: Vec<TensorType>, body: impl FnOnce(Vec<Tensor>) -> R) -> R {
    /// Ends the trace even if `body` unwinds.
    struct Installed;

    impl Drop for Installed {
        fn drop(&mut self) {
            ACTIVE.with_borrow_mut(|active| *active = None);
        }
    }

    let mut state = State::new(next_id());
    let inputs = types.into_iter().map(|ty| {
        let frame = state.root();
        let param = frame.graph.param(ty, Location::unknown());
        frame.tensor(param)
    });
    let inputs = inputs.collect();
    ACTIVE.with_borrow_mut(|active| *active = Some(state));
    let _installed = Installed;
    body(inputs)
}
