//! Support vector machines: `SVMClassifier` and `SVMRegressor`.

use nnc_frontend::Tensor;
use nnc_frontend::functional::while_loop;
use nnc_frontend::tensor::where_;

use super::super::positions::counting;
use super::super::{Domain, Entry, Outcome, one, op};
use super::classes::{Classes, two_columns};
use super::{PostTransform, constant, floats, required, rows};
use crate::cx::Cx;
use crate::fault::Fault;

pub(in crate::ops) const OPS: &[Entry] = &[
    op("SVMClassifier", 1.., svm_classifier).in_domain(Domain::Ml),
    op("SVMRegressor", 1.., svm_regressor).in_domain(Domain::Ml),
];

/// How alike two rows of features are.
enum Kernel {
    Linear,
    Poly { gamma: f64, offset: f64, degree: f64 },
    Rbf { gamma: f64 },
    Sigmoid { gamma: f64, offset: f64 },
}

impl Kernel {
    fn of(cx: &Cx<'_>) -> Result<Self, Fault> {
        let params = cx.floats("kernel_params")?.unwrap_or_default();
        let param = |at: usize| params.get(at).copied().unwrap_or(0.0);
        let (gamma, offset) = (param(0), param(1));
        let name = cx.string_or("kernel_type", "LINEAR")?;
        Ok(match name.as_str() {
            "LINEAR" => Self::Linear,
            "POLY" => Self::Poly { gamma, offset, degree: param(2) },
            "RBF" => Self::Rbf { gamma },
            "SIGMOID" => Self::Sigmoid { gamma, offset },
            _ => return Err(cx.invalid(format!("kernel_type is `{name}`, expected LINEAR, POLY, RBF or SIGMOID"))),
        })
    }

    /// Each row of `x` (`[N, F]`) with each vector (`[V, F]`): `[N, V]`.
    fn apply(&self, x: &Tensor, vectors: &Tensor) -> Tensor {
        match *self {
            Self::Linear => x.linear(vectors, None),
            Self::Poly { gamma, offset, degree } => (x.linear(vectors, None) * gamma + offset).pow(degree),
            Self::Rbf { gamma } => ((x.unsqueeze(1) - vectors).square().sum(-1) * -gamma).exp(),
            Self::Sigmoid { gamma, offset } => (x.linear(vectors, None) * gamma + offset).tanh(),
        }
    }
}

/// A list attribute as a matrix of `n_rows` rows.
fn matrix(cx: &Cx<'_>, x: &Tensor, name: &str, n_rows: usize) -> Result<Tensor, Fault> {
    let values = required(cx, name, cx.floats(name)?)?;
    if n_rows == 0 || !values.len().is_multiple_of(n_rows) {
        return Err(cx.invalid(format!("attribute `{name}` has {} elements, expected {n_rows} rows", values.len())));
    }
    Ok(constant(x.dtype(), &[n_rows, values.len() / n_rows], values))
}

fn svm_regressor(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let rho = required(cx, "rho", cx.floats("rho")?)?.first().copied().unwrap_or(0.0);
    let coefficients = matrix(cx, &x, "coefficients", 1)?;
    let n_supports = usize::try_from(cx.int_or("n_supports", 0)?).unwrap_or(0);
    let likeness = match n_supports {
        0 => x.clone(),
        _ => Kernel::of(cx)?.apply(&x, &matrix(cx, &x, "support_vectors", n_supports)?),
    };
    let score = likeness.linear(coefficients, None) + rho;
    if cx.flag("one_class", false)? {
        let ones = score.ones_like();
        return one(where_(&score.gt(0.0), &ones, -&ones).float());
    }
    one(PostTransform::of(cx)?.of_scores(&score).float())
}

/// Each pair of classes is decided by a score of its own; the class that wins most often is the label.
fn svm_classifier(cx: &mut Cx<'_>) -> Outcome {
    let x = floats(&rows(cx, cx.input(0)?)?);
    let classes = Classes::of(cx, "classlabels_ints", "classlabels_strings")?;
    let n_classes = classes.len();
    let rho = required(cx, "rho", cx.floats("rho")?)?;
    let per_class = cx.ints("vectors_per_class")?.unwrap_or_default();
    let total = per_class.iter().fold(0i64, |total, &n| total.saturating_add(n));
    let n_vectors = usize::try_from(total).unwrap_or(0);
    let transform = PostTransform::of(cx)?;
    if n_vectors == 0 {
        let scores = x.linear(matrix(cx, &x, "coefficients", n_classes)?, None) + rho.first().copied().unwrap_or(0.0);
        return Ok(vec![classes.label(&scores), transform.of_scores(&scores).float().into()]);
    }
    let n_pairs = n_classes * n_classes.saturating_sub(1) / 2;
    if n_classes < 2 || per_class.len() != n_classes || rho.len() != n_pairs || per_class.iter().any(|&n| n < 0) {
        return Err(cx.invalid(format!("vectors_per_class or rho do not fit {n_classes} classes")));
    }
    cx.table("the list of votes", n_pairs.saturating_mul(n_vectors.max(n_classes)))?;
    let likeness = Kernel::of(cx)?.apply(&x, &matrix(cx, &x, "support_vectors", n_vectors)?);
    let coefficients = required(cx, "coefficients", cx.floats("coefficients")?)?;
    if coefficients.len() != n_vectors.saturating_mul(n_classes - 1) {
        return Err(cx.invalid(format!("{} coefficients for {n_vectors} vectors", coefficients.len())));
    }
    let starts: Vec<usize> =
        per_class.iter().scan(0, |next, &n| Some(std::mem::replace(next, *next + n as usize))).collect();
    // The vectors of both classes of a pair count, each with its coefficient against the other.
    let pairs: Vec<(usize, usize)> =
        (0..n_classes).flat_map(|one| (one + 1..n_classes).map(move |other| (one, other))).collect();
    let mut weights = vec![0.0; n_pairs * n_vectors];
    let mut wins = [vec![0.0; n_pairs * n_classes], vec![0.0; n_pairs * n_classes]];
    for (pair, &(first, second)) in pairs.iter().enumerate() {
        for (class, row) in [(first, second - 1), (second, first)] {
            for vector in starts[class]..starts[class] + per_class[class] as usize {
                weights[pair * n_vectors + vector] = coefficients[row * n_vectors + vector];
            }
        }
        wins[0][pair * n_classes + first] = 1.0;
        wins[1][pair * n_classes + second] = 1.0;
    }
    let scores = likeness.linear(constant(x.dtype(), &[n_pairs, n_vectors], weights), None)
        + constant(x.dtype(), &[n_pairs], rho.iter().copied());
    let is_first = scores.gt(0.0).to_dtype(x.dtype());
    let [first, second] = wins.map(|table| constant(x.dtype(), &[n_pairs, n_classes], table));
    let votes = is_first.matmul(first) + (1.0 - &is_first).matmul(second);
    let probabilities = match (cx.floats("prob_a")?, cx.floats("prob_b")?) {
        (Some(slopes), Some(offsets)) if !slopes.is_empty() => {
            if slopes.len() != n_pairs || offsets.len() != n_pairs {
                return Err(cx.invalid(format!("prob_a or prob_b do not fit {n_pairs} pairs of classes")));
            }
            let slopes = constant(x.dtype(), &[n_pairs], slopes);
            let offsets = constant(x.dtype(), &[n_pairs], offsets);
            let decided = (-(&scores * slopes + offsets)).sigmoid().clamp(1e-7, 1.0 - 1e-7);
            Some(couple(cx, &decided, n_classes)?)
        }
        _ => None,
    };
    let all_positive = coefficients.iter().all(|&weight| weight >= 0.0);
    let number = match probabilities.is_none() && n_classes == 2 && all_positive {
        true => votes.argmax(1).ones_like(),
        false => votes.argmax(1),
    };
    let scores = match probabilities {
        Some(probabilities) => transform.of_scores(&probabilities),
        None if n_classes == 2 => two_columns(&scores.select(1, 0), false, transform),
        None => transform.of_scores(&scores),
    };
    Ok(vec![classes.label_at(&number), scores.float().into()])
}

/// Probabilities of classes from those of pairs: the second method of Wu, Lin and Weng (2004), as libsvm iterates it.
/// Pairs stand in the order (0, 1), (0, 2), ..., (1, 2), ....
fn couple(cx: &Cx<'_>, decided: &Tensor, n_classes: usize) -> Result<Tensor, Fault> {
    /// Each step is written out class by class, and what it starts from for each pair of classes.
    const MOST: usize = 64;
    if n_classes > MOST {
        return Err(cx.unsupported(format!("probabilities of {n_classes} classes, expected at most {MOST}")));
    }
    // The probability of the first class against the second.
    let against = |first: usize, second: usize| {
        let (low, high) = (first.min(second), first.max(second));
        let pair = low * (2 * n_classes - low - 1) / 2 + high - low - 1;
        let of_low = decided.select(1, pair as i64);
        if first < second { of_low } else { 1.0 - of_low }
    };
    let entry = |row: usize, other: usize| match row == other {
        true => {
            let squares = (0..n_classes).filter(|&class| class != row).map(|class| against(class, row).square());
            squares.reduce(|sum, square| sum + square).expect("there are at least two classes")
        }
        false => -(against(other, row) * against(row, other)),
    };
    let table: Vec<Tensor> = (0..n_classes)
        .map(|row| Tensor::stack(&(0..n_classes).map(|other| entry(row, other)).collect::<Vec<_>>(), 1))
        .collect();
    let whole = Tensor::stack(&table, 1);
    let start = table[0].full_like(1.0 / n_classes as f64);
    let limit = 0.005 / n_classes as f64;
    let steps = n_classes.max(100) as i64;
    let error = |p: &Tensor| {
        let products = (&whole * p.unsqueeze(1)).sum(-1);
        let total = (p * &products).sum_keepdim(-1);
        let error = (&products - &total).abs().max_keepdim(-1);
        (products, total, error)
    };
    let (_, p) = while_loop(
        (Tensor::scalar(0i64), start),
        |(step, p)| step.lt(steps).logical_and(error(p).2.ge(limit).any(..)),
        |(step, p)| {
            let (mut products, mut total, error) = error(&p);
            let mut next = p.clone();
            for (class, row) in table.iter().enumerate() {
                let (own, product) = (row.narrow(1, class, 1), products.narrow(1, class, 1));
                let change = (&total - &product) / &own;
                let is_class = counting(&[n_classes.into()], 0).eq(class as i64);
                let scale = 1.0 + &change;
                next = (where_(&is_class, &next + &change, &next)) / &scale;
                total = (&total + &change * (&change * &own + &product * 2.0)) / (&scale * &scale);
                products = (&products + &change * row) / &scale;
            }
            // Rows that are done stay as they are, whatever the others need.
            (step + 1, where_(&error.lt(limit), &p, next))
        },
    );
    Ok(p)
}
