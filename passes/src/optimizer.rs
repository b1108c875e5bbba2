//! Training steps: forward, backward and parameter update as one function.
//!
//! An [`Optimizer`] builds the update of one parameter from its gradient and its states, as graph nodes; this module
//! adds the states to the function, hands them over, and marks every new parameter and state as taking the buffer of
//! the old (*donation*), so a compiled step updates in place. The learning rate is an input of the step, so changing
//! it recompiles nothing.

use nnc_ir::{Builder, DType, Diagnostic, Func, FuncParam, FuncResult, Graph, Location, Op, ParamKind, Rewriter};
use nnc_ir::{TensorType, Value};

use crate::autodiff;
use crate::autodiff::coverage::{self, Coverage};

mod sgd;
mod spec;

pub use sgd::Sgd;
pub use spec::OptimizerSpec;

/// Name of the input that carries the learning rate, an `f32[]`.
pub const LEARNING_RATE: &str = "lr";

/// Name of the state that counts finished steps, an `i64[]`, of optimizers that need it.
pub const STEP: &str = "optimizer.step";

/// An optimization algorithm as a builder of graphs.
pub trait Optimizer {
    /// States kept for each parameter, of the parameter's type, by the names PyTorch gives them
    /// (`momentum_buffer`). They start as zeros.
    fn states(&self) -> Vec<&'static str>;

    /// Whether the update depends on the number of steps done before.
    fn counts_steps(&self) -> bool;

    /// Builds the update of one parameter and gives the new parameter and the new states, in the order of
    /// [`Optimizer::states`].
    ///
    /// # Errors
    /// An operand that does not fit: a fault of the implementation.
    fn update(&self, b: &mut Builder<'_>, site: &Update<'_>) -> Result<(Value, Vec<Value>), Diagnostic>;
}

/// What the update of one parameter is built from.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The parameter.
    pub param: Value,
    /// Its gradient, of the same type.
    pub gradient: Value,
    /// The learning rate, a scalar of the parameter's element type.
    pub learning_rate: Value,
    /// The states, of the parameter's type.
    pub states: &'a [Value],
    /// The number of steps done before, an `i64[]`, if [`Optimizer::counts_steps`].
    pub step: Option<Value>,
}

/// The function that takes one training step: `loss` is the position of the result to minimize.
///
/// Parameters are those of `func`, then the input `lr: f32[]`, then `state` parameters: `optimizer.step` if the
/// optimizer counts, and for each trained parameter its states, named `PARAMETER.STATE`. States without a weight
/// start as zeros. Results are the loss, the other results of `func`, then every trained parameter and every state,
/// each taking its predecessor's buffer.
///
/// Trained are all parameters of kind `param`, except those whose every path to the loss is stopped by
/// `stop_gradient`: they stay as they are, untouched by weight decay, as in PyTorch.
///
/// # Errors
/// All faults at once: a loss that is no floating-point scalar, no trainable parameter or one without a path to the
/// loss, and names that are taken.
pub fn train_step(func: &Func, loss: usize, spec: &OptimizerSpec) -> Result<Func, Vec<Diagnostic>> {
    let forward = crate::inline::inline(&func.graph);
    let trained = trained_params(func, &forward, loss)?;
    let optimizer = spec.optimizer();

    // Parameters come first in a graph, so the forward computation is copied behind the new ones.
    let mut rewriter = Rewriter::new(&forward);
    let mut params = func.params.clone();
    let mut declare = |name: String, kind: ParamKind, ty: TensorType, location: Location| {
        params.push(FuncParam { name, kind, weight: None });
        rewriter.graph_mut().param(ty, location)
    };
    let scalar = |dtype| TensorType::scalar(dtype);
    let learning_rate = declare(LEARNING_RATE.to_string(), ParamKind::Input, scalar(DType::F32), Location::unknown());
    let step = optimizer
        .counts_steps()
        .then(|| declare(STEP.to_string(), ParamKind::State, scalar(DType::I64), Location::unknown()));
    let mut states = Vec::with_capacity(trained.len());
    for &param_idx in &trained {
        let param = forward.params()[param_idx];
        let of_param = optimizer.states().into_iter().map(|state| {
            let name = format!("{}.{state}", func.params[param_idx].name);
            declare(name, ParamKind::State, forward.ty(param).clone(), forward.def(param).location.clone())
        });
        states.push(of_param.collect::<Vec<Value>>());
    }
    for (node, _) in forward.nodes() {
        rewriter.copy(node);
    }
    let mut results = Results::of_forward(func, loss, &rewriter);
    let loss = rewriter.get(forward.results()[loss]);
    let mut graph = rewriter.finish();

    let values: Vec<Value> = trained.iter().map(|&idx| graph.params()[idx]).collect();
    let gradients = autodiff::gradients(&mut graph, loss, &values).map_err(|fault| vec![fault])?;
    for ((&param, gradient), states) in values.iter().zip(gradients).zip(&states) {
        let gradient = gradient.expect("coverage found a path for the gradient");
        let location = graph.def(param).location.clone();
        let mut b = Builder::new(&mut graph, location);
        let mut build = || {
            let learning_rate = b.convert(learning_rate, b.dtype(param))?;
            optimizer.update(&mut b, &Update { param, gradient, learning_rate, states, step })
        };
        let (next_param, next_states) = build().map_err(|fault| vec![fault])?;
        results.donating(&graph, &params, param, next_param);
        for (&state, next) in states.iter().zip(next_states) {
            results.donating(&graph, &params, state, next);
        }
    }
    if let Some(step) = step {
        let mut b = Builder::new(&mut graph, Location::unknown());
        let next = b.ones_like(step).and_then(|one| b.add(step, one)).map_err(|fault| vec![fault])?;
        results.donating(&graph, &params, step, next);
    }
    check_names(&params, &results.results)?;
    graph.set_results(results.values);
    Ok(Func { name: func.name.clone(), params, results: results.results, graph })
}

/// Positions of the parameters to train: those that reach the loss, once all faults are excluded.
fn trained_params(func: &Func, forward: &Graph, loss: usize) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let wrt = autodiff::trainable(func);
    if wrt.is_empty() {
        let message = format!("function `{}` has no trainable parameter (`param`) to optimize", func.name);
        return Err(vec![Diagnostic::new(Location::unknown(), message)]);
    }
    let loss = autodiff::check_request(func, forward, &wrt, loss)?;
    let mut faults = Vec::new();
    for result in &func.results {
        let donor = result.donates.and_then(|idx| func.params.get(idx as usize));
        if let Some(param) = donor.filter(|param| param.kind == ParamKind::Param) {
            let message = format!("result `{}` updates parameter `{}` already", result.name, param.name);
            faults.push(Diagnostic::new(Location::unknown(), message));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let params: Vec<Value> = wrt.iter().map(|&idx| forward.params()[idx]).collect();
    let covered = coverage::coverage(forward, &params, loss);
    Ok(wrt.into_iter().zip(covered).filter(|(_, found)| *found == Coverage::Reached).map(|(idx, _)| idx).collect())
}

/// Checks that all names are unique: an optimizer's names may meet the user's.
fn check_names(params: &[FuncParam], results: &[FuncResult]) -> Result<(), Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut check = |what: &str, names: Vec<&str>| {
        for (idx, name) in names.iter().enumerate() {
            if names[..idx].contains(name) {
                let message = format!("the training step would have two {what} named `{name}`; rename the first");
                faults.push(Diagnostic::new(Location::unknown(), message));
            }
        }
    };
    check("parameters", params.iter().map(|param| param.name.as_str()).collect());
    check("results", results.iter().map(|result| result.name.as_str()).collect());
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The results of a training step as they come together.
struct Results {
    results: Vec<FuncResult>,
    values: Vec<Value>,
}

impl Results {
    /// The loss, then the other results of the forward function.
    fn of_forward(func: &Func, loss: usize, rewriter: &Rewriter<'_>) -> Self {
        let others = (0..func.results.len()).filter(|&idx| idx != loss);
        let order: Vec<usize> = std::iter::once(loss).chain(others).collect();
        Self {
            results: order.iter().map(|&idx| func.results[idx].clone()).collect(),
            values: order.iter().map(|&idx| rewriter.get(rewriter.old().results()[idx])).collect(),
        }
    }

    /// Adds `next`, named as the parameter `param`, whose buffer it takes.
    fn donating(&mut self, graph: &Graph, params: &[FuncParam], param: Value, next: Value) {
        let Op::Param(idx) = *graph.def_op(param) else {
            unreachable!("only parameters can be donated");
        };
        self.results.push(FuncResult { name: params[idx as usize].name.clone(), donates: Some(idx) });
        self.values.push(next);
    }
}
