//! What is lowered at once: the region of a fusion node, or one op wrapped as a region of its own.

use std::borrow::Cow;

use nnc_ir::ops::Op;
use nnc_ir::{DType, Graph, Location, Node, TensorType, Value};

use super::{Error, window};

/// A graph of static shapes whose parameters are the node's operands and whose results are the node's results.
pub(super) struct Region<'g> {
    pub(super) graph: Cow<'g, Graph>,
    pub(super) location: Location,
    /// Extents of every value.
    shapes: Vec<Vec<usize>>,
    /// For each `select_and_scatter`, the value that says which elements its windows picked.
    picks: Vec<(Value, Value)>,
}

impl<'g> Region<'g> {
    pub(super) fn of_node(graph: &'g Graph, node: Node) -> Result<Self, Error> {
        let data = graph.node(node);
        let location = data.location.clone();
        let region = match &data.op {
            Op::Fusion(_) => Cow::Borrowed(&data.regions[0]),
            _ => Cow::Owned(wrap(graph, node)),
        };
        let (region, picks) = match window::hidden_picks(&region) {
            Some((extended, picks)) => (Cow::Owned(extended), picks),
            None => (region, Vec::new()),
        };
        let mut shapes = Vec::with_capacity(region.n_values());
        for idx in 0..region.n_values() {
            let ty = region.ty(Value(idx as u32));
            let fixed = ty.shape.as_fixed().filter(|_| ty.bytes().is_some_and(|bytes| bytes < 1 << 62));
            shapes.push(fixed.ok_or_else(|| {
                Error::new(&location, format!("{}: type {ty}, expected static extents", data.op.mnemonic()))
            })?);
        }
        Ok(Self { graph: region, location, shapes, picks })
    }

    pub(super) fn shape(&self, value: Value) -> &[usize] {
        &self.shapes[value.idx()]
    }

    pub(super) fn n_elements(&self, value: Value) -> usize {
        self.shape(value).iter().product()
    }

    pub(super) fn dtype(&self, value: Value) -> DType {
        self.graph.ty(value).dtype
    }

    pub(super) fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    /// What the windows of a `select_and_scatter` picked.
    pub(super) fn picks(&self, select: Value) -> Value {
        let found = self.picks.iter().find(|(value, _)| *value == select);
        found.expect("every select_and_scatter of the region has picks").1
    }

    pub(super) fn op(&self, value: Value) -> &Op {
        self.graph.def_op(value)
    }

    pub(super) fn operands(&self, value: Value) -> &[Value] {
        &self.graph.def(value).operands
    }

    /// The values that `roots` need, in order of their ids; the search stops at values `is_leaf` holds for.
    pub(super) fn slice(&self, roots: &[Value], is_leaf: &dyn Fn(Value) -> bool) -> Vec<Value> {
        let mut needed = vec![false; self.graph.n_values()];
        for root in roots {
            needed[root.idx()] = true;
        }
        for idx in (0..needed.len()).rev() {
            let value = Value(idx as u32);
            if needed[idx] && !is_leaf(value) {
                for operand in self.operands(value) {
                    needed[operand.idx()] = true;
                }
            }
        }
        (0..needed.len()).filter(|&idx| needed[idx]).map(|idx| Value(idx as u32)).collect()
    }
}

/// One node as a graph: parameters for the operands, the op, its results.
fn wrap(graph: &Graph, node: Node) -> Graph {
    let data = graph.node(node);
    let mut region = Graph::new();
    let params: Vec<Value> =
        data.operands.iter().map(|&operand| region.param(graph.ty(operand).clone(), data.location.clone())).collect();
    let types = data.results().map(|result| graph.ty(result).clone()).collect();
    let wrapped = region.push_typed(data.op.clone(), &params, data.regions.clone(), types, data.location.clone());
    region.set_results(region.node(wrapped).results().collect());
    region
}
