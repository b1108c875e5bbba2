//! Training steps: forward, backward and parameter update as one function.
//!
//! A [`Rule`](nnc_optim::Rule) builds the update of one parameter from its gradient and its states, as graph nodes; this
//! module adds the states to the function, hands them over, and marks every new parameter and state as taking the
//! buffer of the old (*donation*), so a compiled step updates in place. Learning rates are inputs of the step, one a
//! parameter group, so changing them recompiles nothing.
//!
//! ```text
//! func @f(param %w: f32[4], %x: f32[4]) -> (loss: f32[])
//! ```
//!
//! becomes, with `sgd:momentum=0.9`,
//!
//! ```text
//! func @f(param %w: f32[4], %x: f32[4], %lr: f32[], state %w.momentum_buffer: f32[4])
//!     -> (loss: f32[], w: f32[4] into %w, w.momentum_buffer: f32[4] into %w.momentum_buffer)
//! ```

use nnc_ir::{DType, Diagnostic, Func, FuncParam, FuncResult, Graph, Location, Op, ParamKind, Rewriter, Value};
use nnc_optim::formula::{Formula, Term};
use nnc_optim::rule::{Group, Site};

use crate::autodiff;
use crate::autodiff::coverage::{self, Coverage};

mod clip;
mod scaling;
mod slots;
mod spec;

use slots::Slots;

pub use clip::Clip;
pub use nnc_optim::OptimizerSpec;
pub use scaling::LossScaling;
pub use spec::{ParamGroup, StepSpec};

/// Name of the input that carries the learning rate of the first group, an `f32[]`.
pub const LEARNING_RATE: &str = "lr";

/// Name of the state that counts finished steps, an `i64[]`, of optimizers that need it.
pub const STEP: &str = "optimizer.step";

/// Name of the result that is the norm of all gradients before clipping, where they are clipped by norm.
pub const GRAD_NORM: &str = "grad_norm";

/// Name of the state that is the scale of the loss, an `f32[]`, where it is scaled; 0 before the first step.
pub const LOSS_SCALE: &str = "scaler.scale";

/// Name of the state that counts the steps since the scale of the loss changed, an `i32[]`.
pub const GROWTH_TRACKER: &str = "scaler.growth_tracker";

/// The function that takes one training step: `loss` is the position of the result to minimize.
///
/// Parameters are those of `func`, then inputs, each an `f32[]`: `lr` (of further groups `lr.1`, ...) and, where it is
/// scheduled, `momentum`; then `state` parameters: `optimizer.step` if an optimizer counts, `scaler.scale` and
/// `scaler.growth_tracker` if the loss is scaled, states that the parameters of a group share, and for each trained parameter its states, named `PARAMETER.STATE`. States without a weight start
/// as zeros. Results are the loss, the other results of `func`, `grad_norm` if gradients are clipped by it, then every
/// trained parameter and every state, each taking its predecessor's buffer.
///
/// Trained are all parameters of kind `param`, except those whose every path to the loss is stopped by
/// `stop_gradient`: they stay as they are, untouched by weight decay, as in PyTorch. Parameters and states narrower than
/// `f32` are updated in `f32` and rounded once.
///
/// # Errors
/// All faults at once: a loss that is no floating-point scalar, no trainable parameter or one without a path to the
/// loss, hyper-parameters that are not allowed, groups that overlap or name what is no parameter, and names that are
/// taken.
pub fn train_step(func: &Func, loss: usize, spec: impl Into<StepSpec>) -> Result<Func, Vec<Diagnostic>> {
    let spec = spec.into();
    spec.check()?;
    let forward = crate::inline::inline(&func.graph);
    let trained = trained_params(func, &forward, loss)?;
    check_groups(func, &spec)?;

    // Parameters come first in a graph, so the forward computation is copied behind the new ones.
    let mut rewriter = Rewriter::new(&forward);
    let (params, slots) = slots::declare(func, &spec, &trained, &mut rewriter);
    for (node, _) in forward.nodes() {
        rewriter.copy(node);
    }
    let mut results = Results::of_forward(func, loss, &rewriter);
    let loss = rewriter.get(forward.results()[loss]);
    let mut graph = rewriter.finish();

    let values: Vec<Value> = trained.iter().map(|&idx| graph.params()[idx]).collect();
    let gradients = match (spec.loss_scaling, slots.scaler) {
        (Some(scaling), Some((scale, _))) => scaled_gradients(&mut graph, scaling, scale, loss, &values),
        _ => autodiff::gradients(&mut graph, loss, &values),
    };
    let gradients = gradients
        .map_err(|fault| vec![fault])?
        .into_iter()
        .map(|found| found.expect("coverage found a path for the gradient"));
    let gradients: Vec<Value> = gradients.collect();

    let formula = Formula::new(graph, Location::unknown());
    let updates = updates(&formula, &spec, &slots, &values, &gradients);
    let mut graph = formula.finish().map_err(|fault| vec![fault])?;
    if let Some(norm) = updates.grad_norm {
        results.push(GRAD_NORM.to_string(), norm);
    }
    for (param, next) in updates.donations {
        results.donating(&graph, &params, param, next);
    }
    check_names(&params, &results.results)?;
    graph.set_results(results.values);
    let graph = crate::control::merge(&graph).map_err(|fault| vec![fault])?;
    Ok(Func { name: func.name.clone(), params, results: results.results, graph })
}

/// The gradients of the loss times its scale.
fn scaled_gradients(
    graph: &mut Graph,
    scaling: LossScaling,
    scale: Value,
    loss: Value,
    params: &[Value],
) -> Result<Vec<Option<Value>>, Diagnostic> {
    let formula = Formula::new(std::mem::take(graph), Location::unknown());
    formula.place_at(loss);
    let seed = scaling.scale(formula.term(scale)).convert(formula.term(loss).dtype()).value();
    *graph = formula.finish()?;
    autodiff::vjp(graph, &[(loss, seed)], params)
}

/// What the updates of a step come to.
#[derive(Default)]
struct Updates {
    /// The norm of all gradients, if they are clipped by it.
    grad_norm: Option<Value>,
    /// Each parameter and state with its next value.
    donations: Vec<(Value, Value)>,
}

/// Appends the updates of all trained parameters, given their gradients, and of all states.
fn updates(formula: &Formula, spec: &StepSpec, slots: &Slots, params: &[Value], gradients: &[Value]) -> Updates {
    let mut gradients: Vec<Term<'_>> = gradients.iter().map(|&gradient| widened(formula.term(gradient))).collect();
    let mut donations = Vec::new();
    let mut is_taken = None;
    if let (Some(scaling), Some((scale, tracker))) = (spec.loss_scaling, slots.scaler) {
        let (scale_before, tracker) = (formula.term(scale), formula.term(tracker));
        let scale = scaling.scale(scale_before);
        let is_finite = scaling::all_finite(formula, &gradients);
        let inverse = 1.0 / scale;
        for gradient in &mut gradients {
            *gradient = *gradient * inverse;
        }
        let (next_scale, next_tracker) = scaling.next(scale, tracker, is_finite);
        donations.push((scale_before.value(), next_scale.value()));
        donations.push((tracker.value(), next_tracker.value()));
        is_taken = Some(is_finite);
    }
    let grad_norm = spec.clip.and_then(|clip| clip.apply(&mut gradients));
    if let Some(Clip::Norm { error_if_nonfinite: true, .. }) = spec.clip {
        let is_finite = grad_norm.map(Term::is_finite);
        is_taken = is_taken.map(|taken| is_finite.map_or(taken, |is_finite| taken.and(is_finite))).or(is_finite);
    }

    // A step that is not taken leaves everything as it was, bit for bit.
    let mut donate = |before: Term<'_>, next: Term<'_>| {
        let next = next.convert(before.dtype());
        let next = is_taken.map_or(next, |is_taken| is_taken.select(next, before));
        donations.push((before.value(), next.value()));
    };

    let step = slots.step.map(|step| (formula.term(step), formula.term(step) + 1.0));
    let number = step.map(|(_, next)| next.convert(DType::F64));
    let groups: Vec<Group<'_>> = slots.groups.iter().map(|slots| slots.terms(formula, number)).collect();
    let mut shared = Vec::with_capacity(groups.len());
    for ((spec, slots), group) in spec.groups.iter().zip(&slots.groups).zip(&groups) {
        let states: Vec<Term<'_>> = slots.shared.iter().map(|&state| formula.term(state)).collect();
        shared.push(if states.is_empty() { states } else { spec.optimizer.rule().update_shared(group, &states) });
    }
    for ((&param, gradient), (group, states)) in params.iter().zip(gradients).zip(&slots.params) {
        formula.place_at(param);
        let (param, states) = (formula.term(param), states.iter().map(|&state| formula.term(state)));
        let states: Vec<Term<'_>> = states.collect();
        let site = Site {
            group: groups[*group],
            shared: shared[*group].clone(),
            param: widened(param),
            gradient,
            states: states.iter().copied().map(widened).collect(),
        };
        let next = spec.groups[*group].optimizer.rule().update(&site);
        donate(param, next.param);
        for (state, next) in states.into_iter().zip(next.states) {
            donate(state, next);
        }
    }
    formula.set_location(Location::unknown());
    for (slots, next) in slots.groups.iter().zip(shared) {
        for (&state, next) in slots.shared.iter().zip(next) {
            donate(formula.term(state), next);
        }
    }
    if let Some((before, next)) = step {
        donate(before, next);
    }
    Updates { grad_norm: grad_norm.map(Term::value), donations }
}

/// The value in `f32`, if it is narrower.
fn widened(value: Term<'_>) -> Term<'_> {
    if value.dtype().size() < DType::F32.size() { value.convert(DType::F32) } else { value }
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

/// Checks that groups name parameters of the function.
fn check_groups(func: &Func, spec: &StepSpec) -> Result<(), Vec<Diagnostic>> {
    let mut faults = Vec::new();
    for (idx, group) in spec.groups.iter().enumerate().skip(1) {
        for name in &group.params {
            let is_param = |param: &FuncParam| param.kind == ParamKind::Param && param.name == *name;
            if !func.params.iter().any(is_param) {
                let message = format!("group {idx} names `{name}`, which is no parameter (`param`) of `{}`", func.name);
                faults.push(Diagnostic::new(Location::unknown(), message));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
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

    /// Adds a result of the step's own.
    fn push(&mut self, name: String, value: Value) {
        self.results.push(FuncResult { name, donates: None });
        self.values.push(value);
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
