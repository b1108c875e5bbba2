//! Functions as graphs: a computation traced apart from its surroundings, to be rewritten and then put in place.

use std::panic::Location as Caller;

use nnc_ir::{Diagnostic, Graph, TensorType};

use crate::tensor::Tensor;
use crate::trace::{self, Input};

/// A computation that was traced into a graph of its own. Its parameters are the inputs in order, and behind them what
/// the computation uses of the surroundings.
///
/// What a pass makes of the graph, one that appends derivatives say, becomes part of the trace by [`Outline::call`].
#[derive(Clone, Debug)]
pub struct Outline {
    graph: Graph,
    captures: Vec<Tensor>,
}

/// Traces `body` on tensors of these types into a graph of its own.
///
/// # Errors
/// The poisoned tensor, if the body gives one; outside a trace too, and if the body sets buffers or draws random
/// numbers, which only a loop or branch of the trace itself may.
#[track_caller]
pub fn outline(inputs: &[TensorType], body: impl FnOnce(Vec<Tensor>) -> Vec<Tensor>) -> Result<Outline, Tensor> {
    let caller = Caller::caller();
    if !trace::is_active() {
        return Err(crate::tensor::fault("outline: there is no trace to take the computation from"));
    }
    let inputs: Vec<Input> = inputs.iter().cloned().map(Ok).collect();
    let (graph, captures) = trace::region(&inputs, caller, body)?.into_graph(caller)?;
    Ok(Outline { graph, captures })
}

impl Outline {
    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The same surroundings with another graph, which has parameters of the same types and any results.
    ///
    /// # Errors
    /// What `rewrite` gives as error.
    pub fn rewritten(mut self, rewrite: impl FnOnce(Graph) -> Result<Graph, Diagnostic>) -> Result<Self, Diagnostic> {
        self.graph = rewrite(self.graph)?;
        Ok(self)
    }

    /// The results for these inputs: appends the nodes of the graph to the trace.
    #[track_caller]
    pub fn call(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let operands: Vec<Tensor> = inputs.iter().chain(&self.captures).cloned().collect();
        trace::splice(&self.graph, &operands, Caller::caller())
    }
}

#[cfg(test)]
mod tests {
    use super::outline;
    use crate::prelude::*;

    #[test]
    fn a_graph_takes_what_it_captured_along() {
        let module = trace("f", |t| {
            let (x, y) = (t.input("x", "f32[3]"), t.input("y", "f32[3]"));
            let outer = &y * 2.0;
            let body = outline(&[x.ty()], |inputs| vec![&inputs[0] * &outer]).expect("nothing is poisoned");
            assert_eq!(body.graph().params().len(), 2);
            let negated = body
                .rewritten(|mut graph| {
                    let result = graph.results()[0];
                    let negated = graph.op(nnc_ir::Op::Negate, &[result], nnc_ir::Location::unknown())?;
                    graph.set_results(vec![negated]);
                    Ok(graph)
                })
                .expect("negation has no faults");
            negated.call(&[x]).swap_remove(0)
        });
        let module = module.expect("the trace has no faults");
        let data = |values: &[f32]| nnc_ir::TensorData::from_f32(vec![3], values);
        let inputs = [data(&[1.0, 2.0, 3.0]), data(&[1.0, 1.0, 2.0])];
        let result = nnc_ir::interp::eval_graph(&module.funcs[0].graph, &inputs);
        assert_eq!(result.expect("it runs")[0].to_f32(), [-2.0, -4.0, -12.0]);
    }
}
