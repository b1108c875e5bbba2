//! `Adagrad`, `Adam` and `Momentum`: steps of optimizers as operators, on any number of tensors at once.
//!
//! A learning rate, the number of steps made so far, then for each tensor its value, gradient and states, kind by kind.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::DType;

use super::{Cx, Domain, Entry, Fault, Outcome, many, op};

pub(super) const OPS: &[Entry] = &[
    op("Adagrad", 1.., adagrad).in_domain(Domain::Training),
    op("Adam", 1.., adam).in_domain(Domain::Training),
    op("Momentum", 1.., momentum).in_domain(Domain::Training),
];

/// What a step reads: the learning rate, the number of the step, and each tensor with its gradient and states.
struct Step<const N: usize> {
    rate: Tensor,
    count: Tensor,
    tensors: Vec<[Tensor; N]>,
}

impl<const N: usize> Step<N> {
    fn of(cx: &Cx<'_>) -> Result<Self, Fault> {
        let mut inputs = cx.inputs()?;
        if inputs.len() < 2 + N || !(inputs.len() - 2).is_multiple_of(N) {
            let message = format!("{} inputs, expected 2 and {N} for each tensor", inputs.len());
            return Err(cx.invalid(message));
        }
        let lists = inputs.split_off(2);
        let n = lists.len() / N;
        for (idx, tensor) in lists.iter().enumerate() {
            let expected = lists[idx % n].ty();
            if tensor.ty() != expected {
                return Err(cx.invalid(format!("input {} is {}, expected {expected}", idx + 2, tensor.ty())));
            }
        }
        let [rate, count] = [0, 1].map(|idx| inputs[idx].reshape(()));
        let tensors = (0..n).map(|idx| std::array::from_fn(|kind| lists[kind * n + idx].clone())).collect();
        Ok(Self { rate, count, tensors })
    }

    /// The results of `update`, kind by kind.
    fn map<const M: usize>(&self, update: impl Fn(&[Tensor; N]) -> [Tensor; M]) -> Outcome {
        let updated: Vec<[Tensor; M]> = self.tensors.iter().map(update).collect();
        many((0..M).flat_map(|kind| updated.iter().map(move |tensors| tensors[kind].clone())))
    }

    /// The number of the step in the type of the learning rate, in which what depends on it alone is computed.
    fn count(&self) -> Tensor {
        self.count.to_dtype(self.rate.dtype())
    }
}

/// A scalar of the tensor's own element type.
#[track_caller]
fn scalar_for(scalar: &Tensor, x: &Tensor) -> Tensor {
    scalar.to_dtype(x.dtype())
}

/// The gradient with that of the penalty `decay / 2 · x²`.
#[track_caller]
fn regularized(x: &Tensor, gradient: &Tensor, decay: f64) -> Tensor {
    if decay == 0.0 { gradient.clone() } else { x * decay + gradient }
}

fn adagrad(cx: &mut Cx<'_>) -> Outcome {
    let decay = cx.float_or("norm_coefficient", 0.0)?;
    let rate_decay = cx.float_or("decay_factor", 0.0)?;
    let epsilon = cx.float_or("epsilon", 1e-6)?;
    let step = Step::<3>::of(cx)?;
    let rate = &step.rate / (step.count() * rate_decay + 1.0);
    step.map(|[x, gradient, squares]| {
        let gradient = regularized(x, gradient, decay);
        let squares = squares + &gradient * &gradient;
        let x = x - scalar_for(&rate, x) * gradient / (squares.sqrt() + epsilon);
        [x, squares]
    })
}

fn adam(cx: &mut Cx<'_>) -> Outcome {
    let (alpha, beta) = (cx.float_or("alpha", f64::from(0.9f32))?, cx.float_or("beta", f64::from(0.999f32))?);
    let epsilon = cx.float_or("epsilon", 1e-6)?;
    let decay = cx.float_or("norm_coefficient", 0.0)?;
    let decay_after = cx.float_or("norm_coefficient_post", 0.0)?;
    let step = Step::<4>::of(cx)?;
    // Powers near 1 are subtracted from 1: in f64, whatever the rate's type is.
    let count = step.count.to_dtype(DType::F64);
    let remaining = |base: f64| 1.0 - (&count * base.ln()).exp();
    let corrected = step.rate.to_dtype(DType::F64) * remaining(beta).sqrt() / remaining(alpha);
    let rate = where_(&count.gt(0), corrected, step.rate.to_dtype(DType::F64));
    step.map(|[x, gradient, mean, squares]| {
        let gradient = regularized(x, gradient, decay);
        let mean = mean * alpha + &gradient * (1.0 - alpha);
        let squares = squares * beta + &gradient * &gradient * (1.0 - beta);
        let x = x - scalar_for(&rate, x) * &mean / (squares.sqrt() + epsilon);
        let x = if decay_after == 0.0 { x } else { x * (1.0 - decay_after) };
        [x, mean, squares]
    })
}

fn momentum(cx: &mut Cx<'_>) -> Outcome {
    let required = |cx: &Cx<'_>, name: &str| {
        cx.float(name)?.ok_or_else(|| cx.invalid(format!("attribute `{name}` is left out, expected a float")))
    };
    let (alpha, beta) = (required(cx, "alpha")?, required(cx, "beta")?);
    let decay = required(cx, "norm_coefficient")?;
    let nesterov = match cx.string_or("mode", "standard")?.as_str() {
        "standard" => false,
        "nesterov" => true,
        other => return Err(cx.invalid(format!("mode is `{other}`, expected standard or nesterov"))),
    };
    let step = Step::<3>::of(cx)?;
    // The first gradient counts in full.
    let beta = where_(&step.count.gt(0), step.rate.full_like(beta), step.rate.full_like(1.0));
    step.map(|[x, gradient, velocity]| {
        let gradient = regularized(x, gradient, decay);
        let velocity = velocity * alpha + scalar_for(&beta, x) * &gradient;
        let direction = if nesterov { gradient + &velocity * alpha } else { velocity.clone() };
        [x - scalar_for(&step.rate, x) * direction, velocity]
    })
}
