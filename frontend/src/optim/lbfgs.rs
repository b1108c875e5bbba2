//! `torch.optim.LBFGS`: parameters, and a closure that evaluates the loss.

use nnc_ir::{Diagnostic, Location, TensorData};
use nnc_optim::lbfgs::{Lbfgs, LineSearch};

use crate::parameter::Parameter;

/// L-BFGS: `torch.optim.LBFGS`.
///
/// It evaluates the loss several times a step, so it is no part of a compiled step but asks a closure for loss and
/// gradients at the parameters' present data; what `nnc::grad_fn` compiles is such a closure. Parameter groups are not
/// supported, as in PyTorch.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// // Minimizes (x - 3)^2.
/// let x = Parameter::new(Tensor::zeros([1]));
/// let mut optimizer = LBFGS::new(vec![x.clone()]).line_search_fn(optim::LineSearch::StrongWolfe);
/// optimizer.step(|| {
///     let rest = x.to_array()[[0]] - 3.0;
///     let gradient = TensorData::from_f32(vec![1], &[2.0 * rest]);
///     Ok::<_, Diagnostic>((f64::from(rest * rest), vec![gradient]))
/// })?;
/// assert!((x.to_array()[[0]] - 3.0).abs() < 1e-5);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Clone, Debug)]
pub struct LBFGS {
    parameters: Vec<Parameter>,
    method: Lbfgs,
    maximize: bool,
}

/// Setters that the method has.
macro_rules! delegate {
    ($( $(#[$doc:meta])* $name:ident: $ty:ty; )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: $ty) -> Self {
                self.method = self.method.$name($name);
                self
            }
        )*
    };
}

impl LBFGS {
    /// Changes these parameters, with PyTorch's defaults.
    pub fn new(parameters: Vec<Parameter>) -> Self {
        Self { parameters, method: Lbfgs::default(), maximize: false }
    }

    delegate! {
        /// Learning rate; 1 by default.
        lr: f64;
        /// Iterations a step at most; 20 by default.
        max_iter: usize;
        /// Evaluations a step at most; by default a quarter more than iterations.
        max_eval: usize;
        /// Gradients whose largest element is at most this are zero; 1e-7 by default.
        tolerance_grad: f64;
        /// Changes of loss and parameters below this are none; 1e-9 by default.
        tolerance_change: f64;
        /// Number of steps that are remembered; 100 by default.
        history_size: usize;
        /// How far to go along a direction; by default `lr` times its length.
        line_search_fn: LineSearch;
    }

    /// Ascends instead of descending.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.maximize = maximize;
        self
    }

    /// One step. `closure` gives the loss and the gradient of each parameter, in order, at the parameters' present data;
    /// the result is the loss before the step.
    ///
    /// # Errors
    /// Those of `closure`, arguments that are not allowed, and gradients that are not of the parameters' shapes.
    pub fn step<E: From<Diagnostic>>(
        &mut self,
        mut closure: impl FnMut() -> Result<(f64, Vec<TensorData>), E>,
    ) -> Result<f64, E> {
        let fault = |message: String| Diagnostic::new(Location::unknown(), format!("lbfgs: {message}"));
        if let Some(found) = self.method.check().into_iter().next() {
            return Err(fault(found.message).into());
        }
        let (parameters, sign) = (&self.parameters, if self.maximize { -1.0 } else { 1.0 });
        let mut flat: Vec<f64> = parameters.iter().flat_map(|parameter| parameter.data().to_f64()).collect();
        let first = self.method.step(&mut flat, |point| {
            write(parameters, point)?;
            let (loss, gradients) = closure()?;
            let fits = gradients.len() == parameters.len()
                && gradients.iter().zip(parameters).all(|(gradient, parameter)| gradient.shape == parameter.shape());
            if !fits {
                return Err(fault("the closure gave gradients that are not those of the parameters".to_string()).into());
            }
            let gradient = gradients.iter().flat_map(TensorData::to_f64).map(|element| sign * element).collect();
            Ok::<_, E>((sign * loss, gradient))
        })?;
        write(parameters, &flat)?;
        Ok(sign * first)
    }
}

/// Sets the parameters to the elements of `flat`, rounded to their element types.
fn write(parameters: &[Parameter], flat: &[f64]) -> Result<(), Diagnostic> {
    let mut rest = flat;
    for parameter in parameters {
        let (own, others) = rest.split_at(parameter.numel());
        parameter.set(TensorData::from_doubles(parameter.dtype(), parameter.shape(), own.iter().copied()))?;
        rest = others;
    }
    Ok(())
}
