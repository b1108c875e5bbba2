//! One graph under construction: the function's own, or that of a region (the body of a loop, a branch).
//!
//! Regions see nothing of the graphs around them but through their parameters. So a value of an outer graph that a body
//! uses is *captured*: it becomes a parameter of the region, and of every region between. A buffer gets a parameter of
//! its own instead, since the body may set it, and then reads what the previous step left.

use std::collections::HashMap;
use std::sync::Arc;

use nnc_ir::{Constant, Diagnostic, Graph, Location, Op, TensorData, Value};

use super::State;
use crate::parameter::StorageId;
use crate::tensor::{Repr, Tensor};

/// A graph under construction.
pub(super) struct Frame {
    /// Which tensors are values of this graph.
    pub(super) id: u64,
    /// 0 for the function, then by the order in which regions were begun.
    number: usize,
    pub(super) graph: Graph,
    /// The present value of each parameter or buffer met; a buffer's changes when it is set. A region has the buffers
    /// it met alone.
    pub(super) current: HashMap<StorageId, Tensor>,
    /// Buffers that were set, in order of first setting.
    pub(super) updated: Vec<StorageId>,
    /// Values of the enclosing graph with the parameters that stand for them, in order of capture.
    pub(super) captures: Vec<(Value, Value)>,
    /// Buffers with the parameters that hold their value at the beginning.
    pub(super) states: Vec<(StorageId, Value)>,
}

impl Frame {
    pub(super) fn new(id: u64, number: usize) -> Self {
        Self {
            id,
            number,
            graph: Graph::new(),
            current: HashMap::new(),
            updated: Vec::new(),
            captures: Vec::new(),
            states: Vec::new(),
        }
    }

    /// A value of the graph as a tensor.
    pub(super) fn tensor(&self, value: Value) -> Tensor {
        Tensor::traced(self.id, value, self.graph.ty(value).clone())
    }

    /// Makes `tensor` the present value of a buffer.
    pub(super) fn set(&mut self, id: StorageId, tensor: Tensor) {
        if !self.updated.contains(&id) {
            self.updated.push(id);
        }
        self.current.insert(id, tensor);
    }

    /// Small data stand inline in the text format; larger ones get a name and live beside it.
    fn constant(&self, data: &TensorData) -> Constant {
        const INLINE: usize = 64;
        let first = (!data.is_empty()).then(|| data.get(0));
        if let Some(value) = first
            && data.scalars().all(|scalar| scalar == value)
        {
            return Constant::Splat { ty: data.ty(), value };
        }
        let name = || match self.number {
            0 => format!("constant.{}", self.graph.n_values()),
            region => format!("constant.{region}.{}", self.graph.n_values()),
        };
        Constant::Dense { data: data.clone(), name: (data.len() > INLINE).then(|| Arc::from(name())) }
    }
}

impl State {
    /// The function's own graph.
    pub(super) fn root(&mut self) -> &mut Frame {
        self.frames.first_mut().expect("a trace has a graph")
    }

    /// The graph that nodes are appended to.
    pub(super) fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a trace has a graph")
    }

    /// The value of `tensor` in the graph at the top; data become constants.
    pub(super) fn value(&mut self, tensor: &Tensor, location: &Location) -> Result<Value, Diagnostic> {
        match tensor.repr() {
            Repr::Traced { trace, value, ty } => {
                if let Some(owner) = self.frames.iter().position(|frame| frame.id == *trace) {
                    return Ok(self.capture(owner, *value, location));
                }
                let message = if self.ended.contains(trace) {
                    format!(
                        "a tensor of type {ty} from the body of a loop or branch is used outside; give it back from the body"
                    )
                } else {
                    format!("a tensor of type {ty} belongs to another trace; give it to this one as an input")
                };
                Err(Diagnostic::new(location.clone(), message))
            }
            Repr::Data(data) => {
                let frame = self.top();
                let op = Op::Constant(frame.constant(data));
                frame.graph.op(op, &[], location.clone())
            }
            Repr::Poisoned(fault) => Err((**fault).clone()),
        }
    }

    /// What stands at the top for `value` of frame `owner`. Splats and counters are made anew instead, as it costs
    /// nothing and says more.
    fn capture(&mut self, owner: usize, value: Value, location: &Location) -> Value {
        let mut value = value;
        for depth in owner + 1..self.frames.len() {
            let outer = &self.frames[depth - 1].graph;
            let (ty, op) = (outer.ty(value).clone(), outer.def_op(value).clone());
            let frame = &mut self.frames[depth];
            let known = frame.captures.iter().find(|(outer, _)| *outer == value).map(|&(_, inner)| inner);
            value = match (known, op) {
                (Some(inner), _) => inner,
                (None, op @ (Op::Constant(Constant::Splat { .. }) | Op::Iota(_))) => {
                    let node = frame.graph.push_typed(op, &[], Vec::new(), vec![ty], location.clone());
                    frame.graph.node(node).result()
                }
                (None, _) => {
                    let inner = frame.graph.param(ty, location.clone());
                    frame.captures.push((value, inner));
                    inner
                }
            };
        }
        value
    }

    /// The present value, at the top, of a buffer that the function knows.
    pub(super) fn present(&mut self, id: StorageId, location: &Location) -> Tensor {
        let met = self.frames.iter().rposition(|frame| frame.current.contains_key(&id));
        let met = met.expect("the function knows the buffer");
        let mut tensor = self.frames[met].current[&id].clone();
        for frame in &mut self.frames[met + 1..] {
            if let Some(ty) = tensor.checked_ty() {
                let param = frame.graph.param(ty, location.clone());
                frame.states.push((id, param));
                tensor = frame.tensor(param);
            }
            frame.current.insert(id, tensor.clone());
        }
        tensor
    }
}
