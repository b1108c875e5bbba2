//! `LinearClassifier` and `LinearRegressor`.

use nnc_frontend::Tensor;

use super::super::{Domain, Entry, Outcome, one, op};
use super::classes::{Classes, two_columns};
use super::{PostTransform, constant, floats, required, rows};
use crate::cx::Cx;
use crate::fault::Fault;

pub(in crate::ops) const OPS: &[Entry] = &[
    op("LinearClassifier", 1.., linear_classifier).in_domain(Domain::Ml),
    op("LinearRegressor", 1.., linear_regressor).in_domain(Domain::Ml),
];

/// `x · coefficientsᵀ + intercepts`, with one row of coefficients a target.
fn linear(cx: &Cx<'_>, x: &Tensor, n_targets: Option<usize>) -> Result<Tensor, Fault> {
    let coefficients = required(cx, "coefficients", cx.floats("coefficients")?)?;
    let n_features = match n_targets {
        Some(n_targets) => coefficients.len() / n_targets.max(1),
        None => x.shape()[1].as_const().ok_or_else(|| cx.unsupported("a symbolic number of features"))?,
    };
    let n_targets = coefficients.len() / n_features.max(1);
    if n_targets * n_features != coefficients.len() || n_targets == 0 {
        return Err(cx.invalid(format!("{} coefficients for {n_features} features", coefficients.len())));
    }
    let products = x.linear(constant(x.dtype(), &[n_targets, n_features], coefficients), None);
    match cx.floats("intercepts")?.filter(|intercepts| !intercepts.is_empty()) {
        Some(intercepts) if intercepts.len() == n_targets => {
            Ok(products + constant(x.dtype(), &[n_targets], intercepts))
        }
        Some(intercepts) => Err(cx.invalid(format!("{} intercepts for {n_targets} targets", intercepts.len()))),
        None => Ok(products),
    }
}

fn linear_regressor(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let n_targets = usize::try_from(cx.int_or("targets", 1)?).unwrap_or(0);
    let scores = linear(cx, &x, Some(n_targets))?;
    one(PostTransform::of(cx)?.of_scores(&scores).float())
}

fn linear_classifier(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let classes = Classes::of(cx, "classlabels_ints", "classlabels_strings")?;
    let transform = PostTransform::of(cx)?;
    let scores = linear(cx, &x, None)?;
    if scores.shape()[1].as_const() == Some(1) && classes.len() == 2 {
        let score = scores.select(1, 0);
        let label = classes.second_where(&score.gt(0.0));
        return Ok(vec![label, two_columns(&score, true, transform).float().into()]);
    }
    Ok(vec![classes.label(&scores), transform.of_scores(&scores).float().into()])
}
