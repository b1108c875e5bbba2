//! Reverse-mode differentiation of graphs, giving graphs again.
//!
//! The reverse sweep appends the gradient computation to the forward graph: nodes are visited from the last to the
//! first, each turns the cotangent of its result into cotangents of its operands by its rule (`vjp`), and
//! cotangents of one value are summed in the order in which they arrive. The outcome is ordinary IR: it is optimized
//! together with the forward computation and can be differentiated again.
//!
//! ```text
//! func @f(param %w: f32[4], %x: f32[4]) -> (loss: f32[]) {
//!   %0 = multiply %w, %x : f32[4]
//!   %1 = reduce %0 {kind = sum, dims = [0]} : f32[]
//!   return %1
//! }
//! ```
//!
//! becomes, with respect to `%w`,
//!
//! ```text
//! func @f(param %w: f32[4], %x: f32[4]) -> (loss: f32[], w: f32[4]) {
//!   %0 = multiply %w, %x : f32[4]
//!   %1 = reduce %0 {kind = sum, dims = [0]} : f32[]
//!   %2 = constant 1.0 : f32[]
//!   %3 = broadcast_in_dim %2 : f32[4]
//!   %4 = multiply %3, %x : f32[4]
//!   return %1, %4
//! }
//! ```
//!
//! Only values that depend on what is differentiated get cotangents, and a cotangent of zero is never materialized on
//! the way. Nodes of the sweep carry the location of the forward node whose rule made them.
//!
//! What has no gradient is not silently zero: [`coverage`] refuses a parameter whose every path to the loss is cut.

use nnc_ir::{Builder, DType, Diagnostic, Func, FuncResult, Graph, Location, Node, ParamKind, Value};

use crate::control::merge;
use crate::inline::inline;

pub mod coverage;
mod flow;
mod reach;
mod vjp;

use flow::Flow;
use vjp::Site;

/// The function with the gradients of one of its results: `wrt` and `loss` are positions of parameters and of the
/// result. The results are those of `func`, followed by one gradient for each of `wrt` in order, of the parameter's
/// type and named after it (with `.grad` appended if a result has that name already).
///
/// A parameter that reaches the loss through `stop_gradient` alone has opted out: its gradient is zeros. Fusions are
/// dissolved first.
///
/// # Errors
/// All faults at once: a loss that is no floating-point scalar, a parameter of `wrt` that is not floating-point, and
/// every parameter without a differentiable path to the loss (see [`coverage::check`]).
pub fn value_and_grad(func: &Func, wrt: &[usize], loss: usize) -> Result<Func, Vec<Diagnostic>> {
    let mut graph = inline(&func.graph);
    let loss_value = check_request(func, &graph, wrt, loss)?;
    let params: Vec<Value> = wrt.iter().map(|&idx| graph.params()[idx]).collect();
    let gradients = gradients(&mut graph, loss_value, &params).map_err(|fault| vec![fault])?;

    let mut results = func.results.clone();
    let mut values = graph.results().to_vec();
    for ((&param_idx, &param), gradient) in wrt.iter().zip(&params).zip(gradients) {
        let location = graph.def(param).location.clone();
        let gradient = match gradient {
            Some(gradient) => gradient,
            None => Builder::new(&mut graph, location).zeros_like(param).map_err(|fault| vec![fault])?,
        };
        values.push(gradient);
        let name = unique_name(&func.params[param_idx].name, ".grad", |name| results.iter().any(|r| r.name == name));
        results.push(FuncResult { name, donates: None });
    }
    graph.set_results(values);
    // The forward scans that keep values for the backward pass take the place of those without.
    let graph = merge(&graph).map_err(|fault| vec![fault])?;
    Ok(Func { name: func.name.clone(), params: func.params.clone(), results, graph })
}

/// Positions of the trainable parameters of `func`: what gradients are usually taken with respect to.
pub fn trainable(func: &Func) -> Vec<usize> {
    (0..func.params.len()).filter(|&idx| func.params[idx].kind == ParamKind::Param).collect()
}

/// Appends to `graph` the cotangents of `wants`, given those of `outputs` as `(output, cotangent)`. `None` stands for
/// a cotangent of zero: no output depends on the value, or only in a way that has no derivative.
///
/// # Errors
/// A cotangent whose type is not its output's, or a node without a rule: a fusion, which has to be dissolved before.
pub fn vjp(graph: &mut Graph, outputs: &[(Value, Value)], wants: &[Value]) -> Result<Vec<Option<Value>>, Diagnostic> {
    for &(output, cotangent) in outputs {
        if graph.ty(output) != graph.ty(cotangent) {
            let message = format!("cotangent has type {}, expected {}", graph.ty(cotangent), graph.ty(output));
            return Err(Diagnostic::new(graph.def(output).location.clone(), message));
        }
    }
    let n_forward_nodes = graph.n_nodes();
    let active = reach::dependents(graph, wants, &|flow| flow == Flow::Passes);
    let mut sweep = Sweep { active, cotangents: vec![None; graph.n_values()], graph };
    for &(output, cotangent) in outputs {
        sweep.accumulate(output, cotangent)?;
    }
    for node_idx in (0..n_forward_nodes).rev() {
        sweep.visit(Node(node_idx as u32))?;
    }
    Ok(wants.iter().map(|want| sweep.cotangents[want.idx()]).collect())
}

/// Appends to `graph` the gradients of the scalar `loss` with respect to `wants`; `None` stands for zero.
pub(crate) fn gradients(graph: &mut Graph, loss: Value, wants: &[Value]) -> Result<Vec<Option<Value>>, Diagnostic> {
    let location = graph.def(loss).location.clone();
    let seed = Builder::new(graph, location).ones_like(loss)?;
    vjp(graph, &[(loss, seed)], wants)
}

/// Checks what [`value_and_grad`] was asked for against the function and its graph without fusions, and gives the
/// value of the loss.
pub(crate) fn check_request(func: &Func, graph: &Graph, wrt: &[usize], loss: usize) -> Result<Value, Vec<Diagnostic>> {
    let loss = loss_value(func, graph, loss).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    for &param_idx in wrt {
        match graph.params().get(param_idx) {
            None => faults.push(Diagnostic::new(
                Location::unknown(),
                format!("function `{}` has {} parameters, none at position {param_idx}", func.name, func.params.len()),
            )),
            Some(&param) if !graph.ty(param).dtype.is_float() => faults.push(Diagnostic::new(
                graph.def(param).location.clone(),
                format!(
                    "parameter `{}` has type {}, which has no gradient: expected a floating-point type",
                    func.params[param_idx].name,
                    graph.ty(param)
                ),
            )),
            Some(_) => {}
        }
    }
    if faults.is_empty() {
        faults = coverage::check(func, graph, wrt, loss);
    }
    if faults.is_empty() { Ok(loss) } else { Err(faults) }
}

/// The value in `graph` (the body of `func`, perhaps rewritten) of result `loss`, which has to be a floating-point
/// scalar.
pub(crate) fn loss_value(func: &Func, graph: &Graph, loss: usize) -> Result<Value, Diagnostic> {
    let Some(&value) = graph.results().get(loss) else {
        let message = format!("function `{}` has {} results, none at position {loss}", func.name, func.results.len());
        return Err(Diagnostic::new(Location::unknown(), message));
    };
    let ty = graph.ty(value);
    if !ty.dtype.is_float() || ty.rank() != 0 {
        let message = format!(
            "result `{}` has type {ty}, expected a floating-point scalar such as {}[] to differentiate",
            func.results[loss].name,
            DType::F32
        );
        return Err(Diagnostic::new(graph.def(value).location.clone(), message));
    }
    Ok(value)
}

/// `name`, followed by `suffix` as often as it takes until it is not `taken`.
fn unique_name(name: &str, suffix: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = name.to_string();
    while taken(&name) {
        name.push_str(suffix);
    }
    name
}

/// The state of one reverse sweep.
struct Sweep<'g> {
    graph: &'g mut Graph,
    /// By forward value: whether its cotangent matters.
    active: Vec<bool>,
    /// By forward value: the sum of the cotangents that arrived so far; `None` is zero.
    cotangents: Vec<Option<Value>>,
}

impl Sweep<'_> {
    /// Adds `cotangent` to that of `value`.
    fn accumulate(&mut self, value: Value, cotangent: Value) -> Result<(), Diagnostic> {
        if !self.active[value.idx()] {
            return Ok(());
        }
        self.cotangents[value.idx()] = Some(match self.cotangents[value.idx()] {
            None => cotangent,
            Some(sum) => {
                let location = self.graph.def(value).location.clone();
                Builder::new(self.graph, location).add(sum, cotangent)?
            }
        });
        Ok(())
    }

    /// Hands the cotangents of the node's results on to its operands.
    fn visit(&mut self, node: Node) -> Result<(), Diagnostic> {
        let data = self.graph.node(node);
        let cotangents: Vec<Option<Value>> = data.results().map(|result| self.cotangents[result.idx()]).collect();
        let Some(cotangent) = cotangents.iter().copied().find_map(|cotangent| cotangent) else {
            return Ok(());
        };
        let wanted: Vec<bool> = (0..data.operands.len())
            .map(|idx| self.active[data.operands[idx].idx()] && flow::flow(self.graph, data, idx) == Flow::Passes)
            .collect();
        if !wanted.contains(&true) {
            return Ok(());
        }
        let (op, operands, result) = (data.op.clone(), data.operands.clone(), data.first_result);
        let b = Builder::new(self.graph, data.location.clone());
        let site = Site { b, operands: &operands, result, cotangent, cotangents: &cotangents, wanted: &wanted };
        let given = vjp::vjp(&op, site)?;
        for ((operand, contribution), wanted) in operands.into_iter().zip(given).zip(wanted) {
            if let Some(contribution) = contribution.filter(|_| wanted) {
                debug_assert_eq!(self.graph.ty(contribution), self.graph.ty(operand), "rule of {}", op.mnemonic());
                self.accumulate(operand, contribution)?;
            }
        }
        Ok(())
    }
}
