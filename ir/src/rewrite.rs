//! Read one graph, build the next: what every pass is made of.
//!
//! A [`Rewriter`] walks an old graph in id order and keeps, for each old value, the new value that stands for it.
//! A pass looks at each node and either [copies](Rewriter::copy) it, [maps](Rewriter::map) its results to values it
//! built instead, or leaves it out; results that nothing maps and nothing uses are simply gone.
//!
//! ```
//! use nnc_ir::{Graph, Op, Rewriter};
//!
//! /// Removes `negate(negate(x))`.
//! fn double_negation(graph: &Graph) -> Graph {
//!     let mut rewriter = Rewriter::new(graph);
//!     for (node, data) in graph.nodes() {
//!         if let (Op::Negate, [operand]) = (&data.op, data.operands.as_slice())
//!             && let Op::Negate = graph.def_op(*operand)
//!         {
//!             let inner = rewriter.get(graph.def(*operand).operands[0]);
//!             rewriter.map(data.result(), inner);
//!         } else {
//!             rewriter.copy(node);
//!         }
//!     }
//!     rewriter.finish()
//! }
//! # double_negation(&Graph::new());
//! ```

use crate::builder::Builder;
use crate::diagnostic::{Diagnostic, Location};
use crate::graph::{Graph, Node, Value};
use crate::ops::Op;
use crate::types::TensorType;

/// A graph being rewritten: the old one, the new one, and which new value stands for each old value.
#[derive(Debug)]
pub struct Rewriter<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<Value>>,
}

impl<'a> Rewriter<'a> {
    /// Starts a new graph with the parameters of `old`.
    pub fn new(old: &'a Graph) -> Self {
        let mut rewriter = Self::without_params(old);
        for &param in old.params() {
            rewriter.param(param);
        }
        rewriter
    }

    /// Starts a new graph without parameters; see [`Rewriter::param`].
    pub fn without_params(old: &'a Graph) -> Self {
        Self { old, new: Graph::new(), map: vec![None; old.n_values()] }
    }

    /// Copies one parameter. Parameters come before all other nodes.
    pub fn param(&mut self, old_param: Value) -> Value {
        self.param_as(old_param, self.old.ty(old_param).clone())
    }

    /// Copies one parameter with another type.
    pub fn param_as(&mut self, old_param: Value, ty: TensorType) -> Value {
        let param = self.new.param(ty, self.old.def(old_param).location.clone());
        self.map[old_param.idx()] = Some(param);
        param
    }

    /// The graph that is read.
    pub fn old(&self) -> &'a Graph {
        self.old
    }

    /// The graph under construction.
    pub fn graph(&self) -> &Graph {
        &self.new
    }

    /// The graph under construction, to add nodes of one's own.
    pub fn graph_mut(&mut self) -> &mut Graph {
        &mut self.new
    }

    /// A builder that adds nodes at the location of the old node `node`.
    pub fn build_at(&mut self, node: Node) -> Builder<'_> {
        self.build(self.old.node(node).location.clone())
    }

    /// A builder that adds nodes at `location`.
    pub fn build(&mut self, location: Location) -> Builder<'_> {
        Builder::new(&mut self.new, location)
    }

    /// The new value that stands for `old_value`.
    ///
    /// # Panics
    /// If there is none yet: a pass handles nodes in id order.
    pub fn get(&self, old_value: Value) -> Value {
        self.map[old_value.idx()].unwrap_or_else(|| panic!("{old_value} has been rewritten before its uses"))
    }

    /// The new value that stands for `old_value`, if there is one yet.
    pub fn try_get(&self, old_value: Value) -> Option<Value> {
        self.map[old_value.idx()]
    }

    /// The new values that stand for the operands of the old node `node`.
    ///
    /// # Panics
    /// As for [`Rewriter::get`].
    pub fn operands(&self, node: Node) -> Vec<Value> {
        self.old.node(node).operands.iter().map(|&operand| self.get(operand)).collect()
    }

    /// Lets `new_value` stand for `old_value` from here on.
    pub fn map(&mut self, old_value: Value, new_value: Value) {
        debug_assert!(new_value.idx() < self.new.n_values(), "{new_value} is not a value of the new graph");
        self.map[old_value.idx()] = Some(new_value);
    }

    /// Lets the results of a new node stand for those of the old one, in order.
    pub fn map_results(&mut self, node: Node, new_node: Node) {
        let new_results = self.new.node(new_node).results();
        for (old_result, new_result) in self.old.node(node).results().zip(new_results) {
            self.map(old_result, new_result);
        }
    }

    /// Copies an old node as it is, onto the values that stand for its operands, and gives the new node. The types
    /// of the results are kept: for a node whose operands got other types see [`Rewriter::copy_inferred`].
    /// A parameter that was copied already is left alone.
    ///
    /// # Panics
    /// As for [`Rewriter::get`].
    pub fn copy(&mut self, node: Node) -> Node {
        let data = self.old.node(node);
        if let Op::Param(_) = data.op {
            let param = data.result();
            let copied = self.try_get(param).unwrap_or_else(|| self.param(param));
            return self.new.value(copied).node;
        }
        let operands = self.operands(node);
        let types = data.results().map(|result| self.old.ty(result).clone()).collect();
        let new_node =
            self.new.push_typed(data.op.clone(), &operands, data.regions.clone(), types, data.location.clone());
        self.map_results(node, new_node);
        new_node
    }

    /// Replaces an old node by `op` on new operands, inferring types, keeping its regions and location.
    ///
    /// # Errors
    /// The rule of the op that the operands break.
    pub fn replace(&mut self, node: Node, op: Op, operands: &[Value]) -> Result<Node, Diagnostic> {
        let data = self.old.node(node);
        self.replace_with_regions(node, op, operands, data.regions.clone())
    }

    /// [`Rewriter::replace`] with regions of one's own.
    ///
    /// # Errors
    /// The rule of the op that the operands or regions break.
    pub fn replace_with_regions(
        &mut self,
        node: Node,
        op: Op,
        operands: &[Value],
        regions: Vec<Graph>,
    ) -> Result<Node, Diagnostic> {
        let location = self.old.node(node).location.clone();
        let new_node = self.new.push_with_regions(op, operands, regions, location)?;
        self.map_results(node, new_node);
        Ok(new_node)
    }

    /// Copies an old node onto operands whose types may have changed.
    ///
    /// # Errors
    /// The rule of the op that the new operands break.
    pub fn copy_inferred(&mut self, node: Node) -> Result<Node, Diagnostic> {
        let data = self.old.node(node);
        if let Op::Param(_) = data.op {
            return Ok(self.copy(node));
        }
        let operands = self.operands(node);
        self.replace(node, data.op.clone(), &operands)
    }

    /// Ends with the values that stand for the old results.
    ///
    /// # Panics
    /// As for [`Rewriter::get`].
    pub fn finish(self) -> Graph {
        let results = self.old.results().iter().map(|&result| self.get(result)).collect();
        self.finish_with(results)
    }

    /// Ends with results of one's own, values of the new graph.
    pub fn finish_with(mut self, results: Vec<Value>) -> Graph {
        self.new.set_results(results);
        self.new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DType;

    #[test]
    fn copying_everything_is_the_identity() {
        let mut graph = Graph::new();
        let ty = TensorType::new(DType::F32, [4]);
        let x = graph.param(ty.clone(), Location::at("a.rs", 1, 1));
        let y = graph.param(ty, Location::at("a.rs", 2, 1));
        let mut b = Builder::new(&mut graph, Location::at("a.rs", 3, 1));
        let sum = b.add(x, y).expect("fits");
        let root = b.sqrt(sum).expect("fits");
        graph.set_results(vec![root, sum]);

        let mut rewriter = Rewriter::new(&graph);
        for (node, _) in graph.nodes() {
            rewriter.copy(node);
        }
        assert_eq!(rewriter.finish(), graph);
    }

    #[test]
    fn a_mapped_value_takes_the_place_of_the_old_one() {
        let mut graph = Graph::new();
        let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let zero = b.zeros_like(x).expect("fits");
        let sum = b.add(x, zero).expect("fits");
        let root = b.sqrt(sum).expect("fits");
        graph.set_results(vec![root]);

        let mut rewriter = Rewriter::new(&graph);
        for (node, data) in graph.nodes() {
            match data.op {
                Op::Constant(_) => {}
                Op::Add => rewriter.map(data.result(), rewriter.get(data.operands[0])),
                _ => {
                    rewriter.copy(node);
                }
            }
        }
        let rewritten = rewriter.finish();
        assert_eq!(rewritten.n_nodes(), 2);
        assert_eq!(rewritten.def(rewritten.results()[0]).operands, rewritten.params());
    }
}
