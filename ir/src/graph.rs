//! The graph: dense tables of nodes and values.
//!
//! Invariants, checked by the verifier:
//! - (g1) node ids are a topological order: a node's operands are defined by nodes with smaller ids.
//! - (g2) value types are what `infer` gives for the defining node.
//! - (g3) regions are isolated: a region's nodes use only values of the region; the owning node's operands enter as
//!   the region's parameters, in order.
//!
//! Nothing is edited in place. A pass reads one graph and builds the next, so ids stay dense and ordered.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Location};
use crate::ops::{self, Op};
use crate::types::TensorType;

/// A node of a graph, printed as the number of its first result where it has one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node(pub u32);

/// A value of a graph: one result of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Value(pub u32);

impl Node {
    /// Position in tables keyed by node.
    pub const fn idx(self) -> usize {
        self.0 as usize
    }
}

impl Value {
    /// Position in tables keyed by value.
    pub const fn idx(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeData {
    /// The operation, with its attributes.
    pub op: Op,
    /// Operands in order.
    pub operands: Vec<Value>,
    /// First result; the others follow it directly.
    pub first_result: Value,
    /// Number of results.
    pub n_results: u32,
    /// Nested graphs of `fusion`, `scan`, `cond` and `while`.
    pub regions: Vec<Graph>,
    /// Where the node came from.
    pub location: Location,
}

impl NodeData {
    /// Results in order.
    pub fn results(&self) -> impl ExactSizeIterator<Item = Value> + Clone + use<> {
        let first = self.first_result.0;
        (first..first + self.n_results).map(Value)
    }

    /// The only result.
    ///
    /// # Panics
    /// If the node has not exactly one.
    pub fn result(&self) -> Value {
        assert_eq!(self.n_results, 1, "{} has one result", self.op.mnemonic());
        self.first_result
    }
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueData {
    /// Type.
    pub ty: TensorType,
    /// The node that defines it.
    pub node: Node,
    /// Which of that node's results it is.
    pub result_idx: u32,
}

/// A directed acyclic graph of ops over tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    nodes: Vec<NodeData>,
    values: Vec<ValueData>,
    params: Vec<Value>,
    results: Vec<Value>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a parameter of type `ty`.
    pub fn param(&mut self, ty: TensorType, location: Location) -> Value {
        let node = Node(self.nodes.len() as u32);
        let value = Value(self.values.len() as u32);
        let op = Op::Param(self.params.len() as u32);
        self.values.push(ValueData { ty, node, result_idx: 0 });
        self.nodes.push(NodeData {
            op,
            operands: Vec::new(),
            first_result: value,
            n_results: 1,
            regions: Vec::new(),
            location,
        });
        self.params.push(value);
        value
    }

    /// Appends a node, inferring its result types.
    ///
    /// # Errors
    /// The op's rule that the operands break, at `location`.
    pub fn push(&mut self, op: Op, operands: &[Value], location: Location) -> Result<Node, Diagnostic> {
        self.push_with_regions(op, operands, Vec::new(), location)
    }

    /// Appends a node with nested graphs, inferring its result types.
    ///
    /// # Errors
    /// As for [`Graph::push`].
    pub fn push_with_regions(
        &mut self,
        op: Op,
        operands: &[Value],
        regions: Vec<Graph>,
        location: Location,
    ) -> Result<Node, Diagnostic> {
        let types: Vec<&TensorType> = operands.iter().map(|&operand| self.ty(operand)).collect();
        let result_types = ops::infer(&op, &types, &regions)
            .map_err(|message| Diagnostic::new(location.clone(), format!("{}: {message}", op.mnemonic())))?;
        Ok(self.push_typed(op, operands, regions, result_types, location))
    }

    /// Appends a node whose result types are known. The parser uses this to keep what was written for the verifier
    /// to judge; everything else goes through [`Graph::push`].
    pub fn push_typed(
        &mut self,
        op: Op,
        operands: &[Value],
        regions: Vec<Graph>,
        result_types: Vec<TensorType>,
        location: Location,
    ) -> Node {
        let node = Node(self.nodes.len() as u32);
        let first_result = Value(self.values.len() as u32);
        let n_results = result_types.len() as u32;
        for (result_idx, ty) in result_types.into_iter().enumerate() {
            self.values.push(ValueData { ty, node, result_idx: result_idx as u32 });
        }
        self.nodes.push(NodeData { op, operands: operands.to_vec(), first_result, n_results, regions, location });
        node
    }

    /// Appends a node with one result and gives that result.
    ///
    /// # Errors
    /// As for [`Graph::push`].
    pub fn op(&mut self, op: Op, operands: &[Value], location: Location) -> Result<Value, Diagnostic> {
        let node = self.push(op, operands, location)?;
        Ok(self.node(node).result())
    }

    /// Sets the results.
    pub fn set_results(&mut self, results: Vec<Value>) {
        self.results = results;
    }

    /// Parameters in order.
    pub fn params(&self) -> &[Value] {
        &self.params
    }

    /// Results in order.
    pub fn results(&self) -> &[Value] {
        &self.results
    }

    /// All nodes in id order, which is a topological order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (Node, &NodeData)> + DoubleEndedIterator + Clone {
        self.nodes.iter().enumerate().map(|(idx, data)| (Node(idx as u32), data))
    }

    /// Number of nodes.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Number of values.
    pub fn n_values(&self) -> usize {
        self.values.len()
    }

    /// The node's data.
    pub fn node(&self, node: Node) -> &NodeData {
        &self.nodes[node.idx()]
    }

    /// The value's data.
    pub fn value(&self, value: Value) -> &ValueData {
        &self.values[value.idx()]
    }

    /// The value's type.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.idx()].ty
    }

    /// The node that defines `value`.
    pub fn def(&self, value: Value) -> &NodeData {
        self.node(self.value(value).node)
    }

    /// The op that defines `value`.
    pub fn def_op(&self, value: Value) -> &Op {
        &self.def(value).op
    }

    /// Calls `visit` on every op, also inside regions. The visitor may change what a constant is called, nothing else.
    pub(crate) fn for_each_op_mut(&mut self, visit: &mut dyn FnMut(&mut Op)) {
        for node in &mut self.nodes {
            visit(&mut node.op);
            for region in &mut node.regions {
                region.for_each_op_mut(visit);
            }
        }
    }

    /// For each value, the nodes that use it, in id order (a node that uses it twice stands twice).
    pub fn uses(&self) -> Vec<Vec<Node>> {
        let mut uses = vec![Vec::new(); self.values.len()];
        for (node, data) in self.nodes() {
            for operand in &data.operands {
                uses[operand.idx()].push(node);
            }
        }
        uses
    }
}
