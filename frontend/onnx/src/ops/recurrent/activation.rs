//! The activation functions that recurrent operators choose by name.

use nnc_frontend::Tensor;
use nnc_frontend::functional;
use nnc_frontend::tensor::where_;

use super::super::{Cx, Fault};

/// A function by ONNX's name, with its two numbers; those that it does not take are unused.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    kind: Kind,
    alpha: f64,
    beta: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Relu,
    Tanh,
    Sigmoid,
    Affine,
    LeakyRelu,
    ThresholdedRelu,
    ScaledTanh,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

/// Names (without regard to case, as exporters write them), and the default of each number that a function takes.
const KINDS: &[(&str, Kind, Option<f64>, Option<f64>)] = &[
    ("relu", Kind::Relu, None, None),
    ("tanh", Kind::Tanh, None, None),
    ("sigmoid", Kind::Sigmoid, None, None),
    ("affine", Kind::Affine, Some(1.0), Some(0.0)),
    ("leakyrelu", Kind::LeakyRelu, Some(0.01), None),
    ("thresholdedrelu", Kind::ThresholdedRelu, Some(1.0), None),
    ("scaledtanh", Kind::ScaledTanh, Some(1.0), Some(1.0)),
    ("hardsigmoid", Kind::HardSigmoid, Some(0.2), Some(0.5)),
    ("elu", Kind::Elu, Some(1.0), None),
    ("softsign", Kind::Softsign, None, None),
    ("softplus", Kind::Softplus, None, None),
];

impl Activation {
    #[track_caller]
    pub(super) fn apply(&self, x: &Tensor) -> Tensor {
        let (alpha, beta) = (self.alpha, self.beta);
        match self.kind {
            Kind::Relu => x.relu(),
            Kind::Tanh => x.tanh(),
            Kind::Sigmoid => x.sigmoid(),
            Kind::Affine => x * alpha + beta,
            Kind::LeakyRelu => x.leaky_relu(alpha),
            Kind::ThresholdedRelu => where_(&x.ge(alpha), x, 0),
            Kind::ScaledTanh => (x * beta).tanh() * alpha,
            Kind::HardSigmoid => (x * alpha + beta).maximum(0).minimum(1),
            Kind::Elu => functional::elu(x, alpha),
            Kind::Softsign => functional::softsign(x),
            Kind::Softplus => x.softplus(),
        }
    }
}

/// The functions of all directions, one direction after the other: those that `activations` names, else `defaults`.
///
/// `activation_alpha` and `activation_beta` give a number to each function that takes one, in order; a list as long as
/// that of the functions gives one to each.
pub(super) fn list(cx: &mut Cx<'_>, defaults: &[&str], n_directions: usize) -> Result<Vec<Activation>, Fault> {
    let names = match cx.strings("activations")? {
        Some(names) if !names.is_empty() => names,
        _ => defaults.iter().map(|name| name.to_string()).cycle().take(defaults.len() * n_directions).collect(),
    };
    if names.len() != defaults.len() * n_directions {
        let expected = defaults.len() * n_directions;
        return Err(cx.invalid(format!("{} activations, expected {expected}", names.len())));
    }
    let mut found = Vec::with_capacity(names.len());
    for name in &names {
        let lower = name.to_ascii_lowercase();
        let Some(entry) = KINDS.iter().find(|(known, ..)| *known == lower) else {
            return Err(cx.invalid(format!("`{name}` is no activation function of recurrent operators")));
        };
        found.push(entry);
    }
    let alphas = cx.floats("activation_alpha")?.unwrap_or_default();
    let betas = cx.floats("activation_beta")?.unwrap_or_default();
    let alphas = spread(&alphas, &found.iter().map(|entry| entry.2).collect::<Vec<_>>());
    let betas = spread(&betas, &found.iter().map(|entry| entry.3).collect::<Vec<_>>());
    let activations = found.iter().zip(alphas.into_iter().zip(betas));
    Ok(activations.map(|(entry, (alpha, beta))| Activation { kind: entry.1, alpha, beta }).collect())
}

/// One number a function, from those `given` and the `defaults` of the functions that take one.
fn spread(given: &[f64], defaults: &[Option<f64>]) -> Vec<f64> {
    if given.len() == defaults.len() {
        return given.to_vec();
    }
    let mut given = given.iter().copied();
    let number = |default: &Option<f64>| default.map_or(0.0, |default| given.next().unwrap_or(default));
    defaults.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn numbers_go_to_the_functions_that_take_them() {
        let defaults = [None, Some(0.01), Some(1.0)];
        assert_eq!(spread(&[0.5], &defaults), [0.0, 0.5, 1.0]);
        assert_eq!(spread(&[0.5, 2.0], &defaults), [0.0, 0.5, 2.0]);
        assert_eq!(spread(&[7.0, 0.5, 2.0], &defaults), [7.0, 0.5, 2.0]);
    }
}
