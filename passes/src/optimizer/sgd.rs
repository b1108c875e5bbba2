//! Stochastic gradient descent, step by step as `torch.optim.SGD`.

use nnc_ir::builder::Built;
use nnc_ir::{Builder, Diagnostic, Value};

use super::spec::Settings;
use super::{Optimizer, Update};

/// Settings of stochastic gradient descent, with PyTorch's names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// First learning rate; the step takes the current one as its input.
    pub lr: f64,
    /// Decay of the running sum of gradients; 0 keeps none.
    pub momentum: f64,
    /// Part of each gradient, but for the first, that does not enter the running sum.
    pub dampening: f64,
    /// Multiple of the parameter added to its gradient.
    pub weight_decay: f64,
    /// Looks one step of momentum ahead.
    pub nesterov: bool,
    /// Ascends instead of descending.
    pub maximize: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false }
    }
}

impl Sgd {
    /// Takes the settings of `sgd:lr=0.1,momentum=0.9`; those not given keep their defaults.
    pub(super) fn from_settings(settings: &mut Settings<'_>) -> Self {
        let default = Self::default();
        let sgd = Self {
            lr: settings.amount("lr", default.lr),
            momentum: settings.amount("momentum", default.momentum),
            dampening: settings.number("dampening", default.dampening),
            weight_decay: settings.amount("weight_decay", default.weight_decay),
            nesterov: settings.flag("nesterov", default.nesterov),
            maximize: settings.flag("maximize", default.maximize),
        };
        if sgd.nesterov && (sgd.momentum == 0.0 || sgd.dampening != 0.0) {
            settings.fault("nesterov", "nesterov needs a momentum and no dampening");
        }
        sgd
    }

    /// Every setting, as text that reads back the same.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("lr", self.lr.to_string()),
            ("momentum", self.momentum.to_string()),
            ("dampening", self.dampening.to_string()),
            ("weight_decay", self.weight_decay.to_string()),
            ("nesterov", self.nesterov.to_string()),
            ("maximize", self.maximize.to_string()),
        ]
    }

    /// The next running sum of gradients. The first one is the gradient itself, undamped. A buffer of zeros gives
    /// that by itself unless there is dampening, for which the steps are counted.
    fn next_buffer(&self, b: &mut Builder<'_>, buffer: Value, gradient: Value, step: Option<Value>) -> Built {
        let decayed = scaled(b, buffer, self.momentum)?;
        let Some(step) = step else {
            return b.add(decayed, gradient);
        };
        let damped = scaled(b, gradient, 1.0 - self.dampening)?;
        let later = b.add(decayed, damped)?;
        let zero = b.zeros_like(step)?;
        let is_first = b.eq(step, zero)?;
        let is_first = b.broadcast_scalar(is_first, b.shape(gradient).clone())?;
        b.select(is_first, gradient, later)
    }
}

impl Optimizer for Sgd {
    fn states(&self) -> Vec<&'static str> {
        if self.momentum != 0.0 { vec!["momentum_buffer"] } else { Vec::new() }
    }

    fn counts_steps(&self) -> bool {
        self.momentum != 0.0 && self.dampening != 0.0
    }

    fn update(&self, b: &mut Builder<'_>, site: &Update<'_>) -> Result<(Value, Vec<Value>), Diagnostic> {
        let mut direction = site.gradient;
        if self.maximize {
            direction = b.negate(direction)?;
        }
        if self.weight_decay != 0.0 {
            let decay = scaled(b, site.param, self.weight_decay)?;
            direction = b.add(direction, decay)?;
        }
        let mut states = Vec::new();
        if let &[buffer] = site.states {
            let buffer = self.next_buffer(b, buffer, direction, site.step)?;
            direction = if self.nesterov {
                let ahead = scaled(b, buffer, self.momentum)?;
                b.add(direction, ahead)?
            } else {
                buffer
            };
            states.push(buffer);
        }
        let rate = b.broadcast_scalar(site.learning_rate, b.shape(site.param).clone())?;
        let change = b.multiply(rate, direction)?;
        Ok((b.subtract(site.param, change)?, states))
    }
}

/// `value * factor`.
fn scaled(b: &mut Builder<'_>, value: Value, factor: f64) -> Built {
    let factor = b.splat_like(value, factor)?;
    b.multiply(value, factor)
}
