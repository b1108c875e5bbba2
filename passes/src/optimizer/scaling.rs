//! Dynamic loss scaling: `torch.amp.GradScaler`, inside the step.
//!
//! Gradients of `f16` become zero where they are small. The loss is multiplied by a large factor before differentiation
//! and the gradients are divided by it after; where that makes one infinite, the step changes nothing and the next factor
//! is smaller. After enough steps without that it is larger.

use nnc_ir::ops::ReduceKind;
use nnc_optim::formula::{Formula, Term};

/// Loss scaling with PyTorch's names and defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaling {
    /// The first scale.
    pub init_scale: f64,
    /// Factor of the scale after `growth_interval` steps without an infinite or NaN gradient.
    pub growth_factor: f64,
    /// Factor of the scale after a step with one.
    pub backoff_factor: f64,
    /// The number of steps between growths.
    pub growth_interval: u32,
}

impl Default for LossScaling {
    /// From 65536: doubled every 2000 steps, halved when a gradient overflows.
    fn default() -> Self {
        Self { init_scale: 65536.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2000 }
    }
}

impl LossScaling {
    /// Whether the numbers are allowed.
    pub(super) fn check(&self) -> Result<(), String> {
        let check = |argument: &str, value: f64, fits: bool, expected: &str| {
            if fits { Ok(()) } else { Err(format!("loss scaling: `{argument}` is {value}, expected {expected}")) }
        };
        let (growth, backoff) = (self.growth_factor, self.backoff_factor);
        let init_fits = self.init_scale > 0.0 && self.init_scale.is_finite();
        check("init_scale", self.init_scale, init_fits, "a number above 0")?;
        check("growth_factor", growth, growth > 1.0 && growth.is_finite(), "a number above 1")?;
        check("backoff_factor", backoff, backoff > 0.0 && backoff < 1.0, "a number in (0, 1)")?;
        check("growth_interval", self.growth_interval.into(), self.growth_interval > 0, "at least 1")
    }

    /// The scale of this step, given its state, which is 0 before the first.
    pub(super) fn scale<'f>(&self, state: Term<'f>) -> Term<'f> {
        state.gt(0.0).select(state, self.init_scale)
    }

    /// The next scale, and the next number of steps since it changed.
    pub(super) fn next<'f>(&self, scale: Term<'f>, tracker: Term<'f>, is_finite: Term<'f>) -> (Term<'f>, Term<'f>) {
        let counted = tracker + 1.0;
        let is_due = counted.ge(f64::from(self.growth_interval));
        let grown = scale * self.growth_factor;
        let grown = is_due.and(grown.is_finite()).select(grown, scale);
        let next_scale = is_finite.select(grown, scale * self.backoff_factor);
        let next_tracker = is_finite.and(!is_due).select(counted, 0.0);
        (next_scale, next_tracker)
    }
}

/// Whether no element is infinite or NaN.
pub(super) fn all_finite<'f>(formula: &'f Formula, gradients: &[Term<'f>]) -> Term<'f> {
    let each = gradients.iter().map(|gradient| gradient.is_finite().reduce(ReduceKind::All));
    each.reduce(|lhs, rhs| lhs.and(rhs)).unwrap_or_else(|| formula.scalar(0.0).equals(0.0))
}
