//! L-BFGS, a method of its own: it evaluates loss and gradient several times a step.
//!
//! Unlike a [`Rule`](crate::Rule) it cannot be part of a compiled step, because its line search decides from values what to
//! evaluate next. It works on all parameters as one vector, in `f64`, and asks a function for loss and gradient, which
//! may be compiled. The directions come from the two-loop recursion over the last steps (Nocedal, 1980); steps and their
//! ends are decided as in PyTorch.

use crate::rule::{Checks, Fault};

mod line_search;

use line_search::{Evaluation, dot, largest, strong_wolfe};

/// How far to go along a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSearch {
    /// To a point that satisfies the strong Wolfe conditions: PyTorch's `"strong_wolfe"`.
    StrongWolfe,
}

/// L-BFGS: `torch.optim.LBFGS`, without parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Lbfgs {
    lr: f64,
    max_iter: usize,
    max_eval: Option<usize>,
    tolerance_grad: f64,
    tolerance_change: f64,
    history_size: usize,
    line_search_fn: Option<LineSearch>,
    state: State,
}

/// What is kept from step to step.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    n_iter: usize,
    /// The last direction and how far it was followed.
    direction: Vec<f64>,
    length: f64,
    /// The last steps, oldest first.
    history: Vec<Step>,
    /// Scale of the first approximation of the inverse Hessian.
    scale: f64,
    gradient: Vec<f64>,
}

/// One remembered step.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    /// The change of the gradient.
    gradient: Vec<f64>,
    /// The change of the parameters.
    params: Vec<f64>,
    /// 1 over the product of both.
    ro: f64,
}

impl Default for Lbfgs {
    /// PyTorch's defaults: twenty iterations a step, a history of a hundred, no line search.
    fn default() -> Self {
        Self {
            lr: 1.0,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search_fn: None,
            state: State::default(),
        }
    }
}

/// Setters named as PyTorch's arguments.
macro_rules! setters {
    ($( $(#[$doc:meta])* $name:ident: $ty:ty; )*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: impl Into<$ty>) -> Self {
                self.$name = $name.into();
                self
            }
        )*
    };
}

impl Lbfgs {
    setters! {
        /// Learning rate: how far along a direction the search begins, or the step goes without one.
        lr: f64;
        /// Iterations a step at most.
        max_iter: usize;
        /// Evaluations a step at most; by default a quarter more than iterations.
        max_eval: Option<usize>;
        /// Gradients whose largest element is at most this are zero.
        tolerance_grad: f64;
        /// Changes of loss and parameters below this are none.
        tolerance_change: f64;
        /// Number of steps that are remembered.
        history_size: usize;
        /// How far to go along a direction.
        line_search_fn: Option<LineSearch>;
    }

    /// The arguments that are not allowed.
    pub fn check(&self) -> Vec<Fault> {
        let at_least_1 = |value: usize| value > 0;
        Checks::default()
            .at_least_0("lr", self.lr)
            .at_least_0("tolerance_grad", self.tolerance_grad)
            .at_least_0("tolerance_change", self.tolerance_change)
            .fits("max_iter", at_least_1(self.max_iter), || "`max_iter` is 0, expected at least 1".to_string())
            .fits("history_size", at_least_1(self.history_size), || {
                "`history_size` is 0, expected at least 1".to_string()
            })
            .faults()
    }

    /// One step from `params`, which it changes. `evaluate` gives loss and gradient anywhere; the result is the loss
    /// before the step.
    ///
    /// # Errors
    /// Those of `evaluate`.
    pub fn step<E>(
        &mut self,
        params: &mut [f64],
        mut evaluate: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
    ) -> Result<f64, E> {
        let max_eval = self.max_eval.unwrap_or(self.max_iter * 5 / 4);
        let (first_loss, mut gradient) = evaluate(params)?;
        let (mut loss, mut n_evaluations) = (first_loss, 1);
        if largest(&gradient) <= self.tolerance_grad {
            return Ok(first_loss);
        }
        for n_iter in 1..=self.max_iter {
            let state = &mut self.state;
            state.n_iter += 1;
            if state.n_iter == 1 {
                state.direction = gradient.iter().map(|element| -element).collect();
                state.scale = 1.0;
            } else {
                state.remember(&gradient, self.history_size);
                state.direction = state.quasi_newton(&gradient);
            }
            state.gradient.clone_from(&gradient);
            let loss_before = loss;

            state.length = self.lr;
            if state.n_iter == 1 {
                let norm: f64 = gradient.iter().map(|element| element.abs()).sum();
                state.length *= (1.0 / norm).min(1.0);
            }
            let slope = dot(&gradient, &state.direction);
            if slope > -self.tolerance_change {
                break;
            }
            if let Some(LineSearch::StrongWolfe) = self.line_search_fn {
                let start = Evaluation { at: 0.0, loss, gradient, slope };
                let (direction, from) = (&state.direction, &*params);
                let mut along = |length: f64| {
                    let (loss, gradient) = evaluate(&moved(from, direction, length))?;
                    let slope = dot(&gradient, direction);
                    Ok(Evaluation { at: length, loss, gradient, slope })
                };
                let max_search = max_eval.saturating_sub(n_evaluations);
                let (found, n_searched) = strong_wolfe(
                    &mut along,
                    state.length,
                    &start,
                    largest(direction),
                    self.tolerance_change,
                    max_search,
                )?;
                n_evaluations += n_searched;
                (loss, gradient, state.length) = (found.loss, found.gradient, found.at);
                let next = moved(params, &state.direction, state.length);
                params.copy_from_slice(&next);
            } else {
                let next = moved(params, &state.direction, state.length);
                params.copy_from_slice(&next);
                // After the last iteration nobody would look at the loss.
                if n_iter != self.max_iter {
                    (loss, gradient) = evaluate(params)?;
                    n_evaluations += 1;
                }
            }

            let is_over = n_evaluations >= max_eval
                || largest(&gradient) <= self.tolerance_grad
                || largest(&state.direction) * state.length.abs() <= self.tolerance_change
                || (loss - loss_before).abs() < self.tolerance_change;
            if is_over {
                break;
            }
        }
        Ok(first_loss)
    }
}

impl State {
    /// Remembers the last step, if the curvature along it says something.
    fn remember(&mut self, gradient: &[f64], history_size: usize) {
        let change: Vec<f64> = gradient.iter().zip(&self.gradient).map(|(now, before)| now - before).collect();
        let params: Vec<f64> = self.direction.iter().map(|element| element * self.length).collect();
        let curvature = dot(&change, &params);
        if curvature > 1e-10 {
            if self.history.len() == history_size {
                self.history.remove(0);
            }
            self.scale = curvature / dot(&change, &change);
            self.history.push(Step { gradient: change, params, ro: 1.0 / curvature });
        }
    }

    /// The negative gradient, multiplied by the approximation of the inverse Hessian.
    fn quasi_newton(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|element| -element).collect();
        let mut shares = Vec::with_capacity(self.history.len());
        for step in self.history.iter().rev() {
            let share = dot(&step.params, &direction) * step.ro;
            add(&mut direction, &step.gradient, -share);
            shares.push(share);
        }
        direction.iter_mut().for_each(|element| *element *= self.scale);
        for (step, share) in self.history.iter().zip(shares.into_iter().rev()) {
            let other = dot(&step.gradient, &direction) * step.ro;
            add(&mut direction, &step.params, share - other);
        }
        direction
    }
}

/// `to += factor * what`.
fn add(to: &mut [f64], what: &[f64], factor: f64) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += factor * what;
    }
}

/// The point `length` along `direction`.
fn moved(from: &[f64], direction: &[f64], length: f64) -> Vec<f64> {
    from.iter().zip(direction).map(|(from, direction)| from + length * direction).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const START: [f64; 4] = [-1.2, 1.0, 0.5, -0.3];

    /// The banana-shaped valley of Rosenbrock (1960), in any number of dimensions.
    fn valley(x: &[f64]) -> Result<(f64, Vec<f64>), Infallible> {
        let (mut loss, mut gradient) = (0.0, vec![0.0; x.len()]);
        for idx in 0..x.len() - 1 {
            let (rise, way) = (x[idx + 1] - x[idx] * x[idx], 1.0 - x[idx]);
            loss += 100.0 * rise * rise + way * way;
            gradient[idx] += -400.0 * x[idx] * rise - 2.0 * way;
            gradient[idx + 1] += 200.0 * rise;
        }
        Ok((loss, gradient))
    }

    /// Losses before each of some steps.
    fn losses(mut lbfgs: Lbfgs, start: &[f64], n_steps: usize) -> Vec<f64> {
        assert_eq!(lbfgs.check(), []);
        let mut x = start.to_vec();
        let mut step = || {
            let Ok(loss) = lbfgs.step(&mut x, valley);
            loss
        };
        (0..n_steps).map(|_| step()).collect()
    }

    fn check(found: &[f64], expected: &[f64]) {
        for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "step {idx}: {found}, expected {expected}");
        }
    }

    #[test]
    fn losses_follow_pytorch() {
        // `torch.optim.LBFGS` in f64, of the same function.
        let search = Lbfgs::default().line_search_fn(LineSearch::StrongWolfe).max_iter(4usize);
        check(&losses(search.clone(), &START, 6), &SEARCHED);
        check(&losses(search.history_size(2usize), &START, 6), &SHORT_HISTORY);
        check(&losses(Lbfgs::default().lr(0.05).max_iter(3usize), &START, 6), &FIXED);
    }

    #[test]
    fn a_minimum_is_found() {
        let found = losses(Lbfgs::default().line_search_fn(LineSearch::StrongWolfe), &START[..2], 5);
        assert!(found[4] < 1e-8, "{found:?}");
    }

    #[test]
    fn arguments_that_are_not_allowed_are_named() {
        let faults = Lbfgs::default().lr(-1.0).history_size(0usize).check();
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["`lr` is -1, expected a number of at least 0", "`history_size` is 0, expected at least 1"]);
    }

    const SEARCHED: [f64; 6] =
        [79.7, 3.7047546888839946, 3.7017442045901285, 3.701713947768421, 3.7014383864126867, 3.7014286104678615];

    const SHORT_HISTORY: [f64; 6] =
        [79.7, 3.705448836146028, 3.701754771773612, 3.701739745873654, 3.701551779965711, 3.701432974596487];

    const FIXED: [f64; 6] =
        [79.7, 67.27650813849166, 57.45233123778834, 48.60092777043953, 41.16359651191002, 34.93813773573977];
}
