//! Loops and branches whose steps depend on tensors: [`scan`], [`cond`], [`while_loop`].
//!
//! While tracing, a body is run once, on tensors that stand for any step, and becomes part of one node. Tensors and
//! parameters of the surroundings can be used inside as they are, buffers and random functions too. Outside a trace
//! the body simply runs as often as it takes.

use std::panic::Location as Caller;
use std::rc::Rc;

use nnc_ir::{DType, Diagnostic, Dim, TensorData, TensorType};

use crate::tensor::{Tensor, Tensors};
use crate::trace::{self, Input, Region};

/// Runs `body` on each slice of `xs` along the leading dimension, from first to last, with a state that is carried
/// from step to step: `(carry, y) = body(carry, x)`. Gives the last carry, and the `y`s stacked along a new leading
/// dimension. [`Scan`] has options.
///
/// The next carry must have the types of the carry; all of `xs` have one leading extent, which may be symbolic.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::from_slice(&[1.0, 2.0, 3.0]);
/// let (total, sums) = functional::scan(Tensor::scalar(0.0), x, |sum, x| {
///     let sum = sum + x;
///     (sum.clone(), sum)
/// });
/// assert_eq!(total.item()?, 6.0);
/// assert_eq!(sums.to_array()?.into_raw_vec_and_offset().0, [1.0, 3.0, 6.0]);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[track_caller]
pub fn scan<C: Tensors, X: Tensors, Y: Tensors>(init: C, xs: X, body: impl FnMut(C, X) -> (C, Y)) -> (C, Y) {
    Scan::new().run(init, xs, body)
}

/// A [`scan`] with options.
///
/// ```
/// use nnc_frontend::prelude::*;
/// use nnc_frontend::functional::Scan;
///
/// // Powers of two, the largest first.
/// let (_, powers) = Scan::new().length(4).reverse(true).run(Tensor::scalar(1.0), (), |power, ()| {
///     (&power * 2.0, power)
/// });
/// assert_eq!(powers.to_array()?.into_raw_vec_and_offset().0, [8.0, 4.0, 2.0, 1.0]);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing happens before `run`"]
pub struct Scan {
    length: Option<Dim>,
    reverse: bool,
}

impl Scan {
    /// From first to last, as many steps as slices.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of steps, where nothing is scanned that gives it.
    pub fn length(mut self, length: impl Into<Dim>) -> Self {
        self.length = Some(length.into());
        self
    }

    /// Whether steps go from the last slice to the first. What a step gives stands where its slice stood.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// The last carry and the stacked outputs: see [`scan`].
    #[track_caller]
    pub fn run<C: Tensors, X: Tensors, Y: Tensors>(
        &self,
        init: C,
        xs: X,
        mut body: impl FnMut(C, X) -> (C, Y),
    ) -> (C, Y) {
        let caller = Caller::caller();
        let (carried, scanned) = (init.tensors(), xs.tensors());
        let length = self.check_length(caller, &scanned);
        // A body whose inputs are poisoned is run too, for the structure of what it gives and the faults of its own.
        let mut inputs: Vec<Input> = carried.iter().map(input).collect();
        inputs.extend(scanned.iter().map(|tensor| match (&length, tensor.checked_ty()) {
            (Err(poisoned), _) => Err(poisoned.clone()),
            (Ok(_), None) => Err(tensor.clone()),
            (Ok(_), Some(ty)) => Ok(TensorType::new(ty.dtype, ty.shape.0[1..].to_vec())),
        }));
        if !trace::is_active() {
            let steps = match &length {
                Ok(length) => eager_steps(caller, length),
                Err(poisoned) => Err(poisoned.clone()),
            };
            let types = inputs.into_iter().collect::<Result<Vec<TensorType>, Tensor>>();
            return match steps.and_then(|steps| Ok((steps, types?))) {
                Ok((0, types)) => {
                    let ys = trace::rehearse(types, |tensors| no_outputs(rebuild(&init, &xs, tensors), body));
                    (init, ys)
                }
                Ok((steps, _)) => self.run_eagerly(init, &xs, steps, body),
                Err(poisoned) => {
                    let (carry, xs) = (init.map(|_| poisoned.clone()), xs.map(|_| poisoned.clone()));
                    let (carry, ys) = body(carry, xs);
                    poison(&poisoned, &carry, ys)
                }
            };
        }

        let mut given: Option<(C, Y)> = None;
        let region = trace::region(&inputs, caller, |tensors| {
            let (carry, xs) = rebuild(&init, &xs, tensors);
            let (carry, ys) = given.insert(body(carry, xs));
            [carry.tensors(), ys.tensors()].concat()
        });
        let (carry, ys) = given.expect("the body was run");
        let n_given = carry.tensors().len();
        let result = region.and_then(|region| {
            check_types(caller, "scan", "carry", "the body gives", &region.types()[..n_given], &carried)?;
            let length = length?;
            recorded(trace::push_scan(&carried, &scanned, length, self.reverse, &region, caller))
        });
        match result {
            Ok(tensors) => {
                let mut tensors = tensors.into_iter();
                (carry.rebuild(&mut tensors), ys.rebuild(&mut tensors))
            }
            Err(poisoned) => poison(&poisoned, &carry, ys),
        }
    }

    /// The number of steps.
    fn check_length(&self, caller: Place, scanned: &[Tensor]) -> Result<Dim, Tensor> {
        let mut length = self.length.clone();
        for (idx, tensor) in scanned.iter().enumerate() {
            let Some(ty) = tensor.checked_ty() else { return Err(tensor.clone()) };
            let Some(extent) = ty.shape.dims().first() else {
                return Err(fault_at(
                    caller,
                    format!("scan: input {idx} has type {ty}, expected a leading dimension to scan"),
                ));
            };
            match &length {
                None => length = Some(extent.clone()),
                Some(length) if length != extent => {
                    let why = if self.length.is_some() { "as `length` says" } else { "as input 0 has" };
                    return Err(fault_at(
                        caller,
                        format!("scan: input {idx} has type {ty}, expected the leading extent {length} {why}"),
                    ));
                }
                Some(_) => {}
            }
        }
        let unknown = "scan: nothing is scanned, so the number of steps is unknown; set `Scan::length`";
        length.ok_or_else(|| fault_at(caller, unknown.to_string()))
    }

    #[track_caller]
    fn run_eagerly<C: Tensors, X: Tensors, Y: Tensors>(
        &self,
        init: C,
        xs: &X,
        steps: usize,
        mut body: impl FnMut(C, X) -> (C, Y),
    ) -> (C, Y) {
        let caller = Caller::caller();
        let types = init.tensors();
        let (mut carry, mut outputs) = (init, Vec::with_capacity(steps));
        for step in 0..steps {
            let at = if self.reverse { steps - 1 - step } else { step };
            let (next, ys) = body(carry, xs.map(|tensor| tensor.select(0, at as i64)));
            let found: Vec<Input> = next.tensors().iter().map(input).collect();
            let sound: Result<Vec<TensorType>, Tensor> = found.into_iter().collect();
            if let Err(poisoned) =
                sound.and_then(|found| check_types(caller, "scan", "carry", "the body gives", &found, &types))
            {
                return poison(&poisoned, &next, ys);
            }
            carry = next;
            outputs.push(ys);
        }
        if self.reverse {
            outputs.reverse();
        }
        let leaves: Vec<Vec<Tensor>> = outputs.iter().map(Tensors::tensors).collect();
        let mut stacks = (0..leaves[0].len()).map(|leaf| {
            let parts: Vec<Tensor> = leaves.iter().filter_map(|step| step.get(leaf).cloned()).collect();
            Tensor::stack(&parts, 0)
        });
        let ys = outputs[0].rebuild(&mut stacks);
        (carry, ys)
    }
}

/// Runs `on_true` on the operands if `pred`, a `bool` scalar, is true, else `on_false`; only one of them is computed.
/// Both give tensors of the same types.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::scalar(3.0);
/// let y = functional::cond(&x.gt(0.0), x, |x| x.sqrt(), |x| x.abs());
/// assert!((y.item()? - 3f64.sqrt()).abs() < 1e-6);
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[track_caller]
pub fn cond<O: Tensors, R: Tensors>(
    pred: &Tensor,
    operands: O,
    on_true: impl FnOnce(O) -> R,
    on_false: impl FnOnce(O) -> R,
) -> R {
    let caller = Caller::caller();
    let inputs = operands.tensors();
    let pred = check_predicate(caller, "cond", "the predicate", pred);
    if !trace::is_active() {
        return match pred.and_then(|pred| is_true(&pred)) {
            Ok(true) => on_true(operands),
            Ok(false) => on_false(operands),
            Err(poisoned) => on_true(operands).map(|_| poisoned.clone()),
        };
    }
    let kinds: Vec<Input> = inputs.iter().map(input).collect();
    let mut given: Option<R> = None;
    let true_region = trace::region(&kinds, caller, |tensors| {
        given.insert(on_true(operands.rebuild(&mut tensors.into_iter()))).tensors()
    });
    let false_region =
        trace::region(&kinds, caller, |tensors| on_false(operands.rebuild(&mut tensors.into_iter())).tensors());
    let given = given.expect("the first body was run");
    let result = pred.and_then(|pred| {
        let (on_true, on_false) = (true_region?, false_region?);
        check_found(
            caller,
            "cond",
            "result",
            "the second body gives",
            &on_false.types(),
            &on_true.types(),
            "as the first gives",
        )?;
        recorded(trace::push_cond(&pred, &inputs, &on_true, &on_false, caller))
    });
    match result {
        Ok(tensors) => given.rebuild(&mut tensors.into_iter()),
        Err(poisoned) => given.map(|_| poisoned.clone()),
    }
}

/// Replaces `init` by what `body` makes of it as long as `condition` gives true, a `bool` scalar. The number of steps
/// is not known beforehand, so there is no gradient: where one is needed, [`scan`] a fixed number of steps.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let (n, power) = functional::while_loop(
///     (Tensor::scalar(0i64), Tensor::scalar(1.0)),
///     |(_, power)| power.lt(100.0),
///     |(n, power)| (n + 1, power * 3.0),
/// );
/// assert_eq!((n.item()?, power.item()?), (5.0, 243.0));
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[track_caller]
pub fn while_loop<C: Tensors>(init: C, mut condition: impl FnMut(&C) -> Tensor, mut body: impl FnMut(C) -> C) -> C {
    let caller = Caller::caller();
    let carried = init.tensors();
    if !trace::is_active() {
        let mut carry = init;
        loop {
            let pred = check_predicate(caller, "while_loop", "the condition", &condition(&carry));
            match pred.and_then(|pred| is_true(&pred)) {
                Ok(true) => {}
                Ok(false) => return carry,
                Err(poisoned) => return carry.map(|_| poisoned.clone()),
            }
            let next = body(carry);
            let found: Result<Vec<TensorType>, Tensor> = next.tensors().iter().map(input).collect();
            let checked =
                found.and_then(|found| check_types(caller, "while_loop", "carry", "the body gives", &found, &carried));
            if let Err(poisoned) = checked {
                return next.map(|_| poisoned.clone());
            }
            carry = next;
        }
    }
    let kinds: Vec<Input> = carried.iter().map(input).collect();
    let mut pred = Ok(Tensor::scalar(true));
    let test = trace::region(&kinds, caller, |tensors| {
        let found = condition(&init.rebuild(&mut tensors.into_iter()));
        pred = check_predicate(caller, "while_loop", "the condition", &found);
        vec![found]
    });
    let step = trace::region(&kinds, caller, |tensors| body(init.rebuild(&mut tensors.into_iter())).tensors());
    let result = pred.and_then(|_| {
        let (test, step): (Region, Region) = (test?, step?);
        check_types(caller, "while_loop", "carry", "the body gives", &step.types(), &carried)?;
        recorded(trace::push_while(&carried, &test, &step, caller))
    });
    match result {
        Ok(tensors) => init.rebuild(&mut tensors.into_iter()),
        Err(poisoned) => init.map(|_| poisoned.clone()),
    }
}

/// The user's line.
type Place = &'static Caller<'static>;

/// Records a fault at the caller's line and gives a poisoned tensor.
fn fault_at(caller: Place, message: String) -> Tensor {
    let diagnostic = Diagnostic::new(trace::locate(caller), message);
    trace::record(&diagnostic);
    Tensor::poisoned(Rc::new(diagnostic))
}

/// The kind of a body's input that stands for `tensor`.
fn input(tensor: &Tensor) -> Input {
    tensor.checked_ty().ok_or_else(|| tensor.clone())
}

/// Both structures, of `tensors` one after the other.
fn rebuild<C: Tensors, X: Tensors>(carry: &C, xs: &X, tensors: Vec<Tensor>) -> (C, X) {
    let mut tensors = tensors.into_iter();
    (carry.rebuild(&mut tensors), xs.rebuild(&mut tensors))
}

/// `carry` and `ys` with nothing in them but the fault.
fn poison<C: Tensors, Y: Tensors>(poisoned: &Tensor, carry: &C, ys: Y) -> (C, Y) {
    (carry.map(|_| poisoned.clone()), ys.map(|_| poisoned.clone()))
}

/// Records what went wrong, giving a poisoned tensor.
fn recorded<T>(result: Result<T, Diagnostic>) -> Result<T, Tensor> {
    result.map_err(|diagnostic| {
        trace::record(&diagnostic);
        Tensor::poisoned(Rc::new(diagnostic))
    })
}

/// The stacked outputs of no steps, of the types that a body gives when it is traced.
fn no_outputs<C: Tensors, X, Y: Tensors>((carry, xs): (C, X), mut body: impl FnMut(C, X) -> (C, Y)) -> Y {
    body(carry, xs).1.map(|y| match y.checked_ty() {
        Some(TensorType { dtype, shape }) => {
            let shape = shape.as_fixed().expect("tensors outside a trace have fixed shapes");
            Tensor::from_data(TensorData::from_scalars(dtype, [&[0], shape.as_slice()].concat(), []))
        }
        None => y,
    })
}

fn eager_steps(caller: Place, length: &Dim) -> Result<usize, Tensor> {
    length
        .as_const()
        .ok_or_else(|| fault_at(caller, format!("scan: the length is {length}, expected a number outside a trace")))
}

fn is_true(pred: &Tensor) -> Result<bool, Tensor> {
    match pred.data() {
        Ok(data) => Ok(data.get(0).bits != 0),
        Err(_) => Err(pred.clone()),
    }
}

/// Checks that `pred` is a `bool` scalar.
fn check_predicate(caller: Place, function: &str, what: &str, pred: &Tensor) -> Result<Tensor, Tensor> {
    let Some(ty) = pred.checked_ty() else { return Err(pred.clone()) };
    if ty == TensorType::scalar(DType::Bool) {
        return Ok(pred.clone());
    }
    Err(fault_at(caller, format!("{function}: {what} has type {ty}, expected bool[]")))
}

/// Checks that `found` are the types that `init` has.
fn check_types(
    caller: Place,
    function: &str,
    what: &str,
    gives: &str,
    found: &[TensorType],
    init: &[Tensor],
) -> Result<(), Tensor> {
    let expected: Result<Vec<TensorType>, Tensor> = init.iter().map(input).collect();
    check_found(caller, function, what, gives, found, &expected?, "as it begins")
}

fn check_found(
    caller: Place,
    function: &str,
    what: &str,
    gives: &str,
    found: &[TensorType],
    expected: &[TensorType],
    why: &str,
) -> Result<(), Tensor> {
    if found.len() != expected.len() {
        let (found, expected) = (found.len(), expected.len());
        return Err(fault_at(
            caller,
            format!("{function}: {gives} {found} tensors as {what}, expected {expected} {why}"),
        ));
    }
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found != expected {
            return Err(fault_at(
                caller,
                format!("{function}: {gives} {what} {idx} of type {found}, expected {expected} {why}"),
            ));
        }
    }
    Ok(())
}
