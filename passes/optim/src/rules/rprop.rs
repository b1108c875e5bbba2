//! `torch.optim.Rprop`: steps by the signs of gradients.

use super::direction;
use crate::rule::{Checks, Fault, Next, Rule, Site};
use crate::settings::settings;

settings! {
    /// Resilient backpropagation: `torch.optim.Rprop` (Riedmiller and Braun, 1993).
    ///
    /// Each element has a step size of its own, which grows by `etas.1` while its gradient keeps its sign and shrinks by
    /// `etas.0` where it changes, when the element stays. The learning rate is the first step size; later ones are not
    /// used.
    pub struct Rprop = "rprop" {
        /// The first step size.
        lr: f64 = 1e-2,
        /// Factors of the step size where the gradient changed its sign, and where it kept it.
        etas: (f64, f64) = (0.5, 1.2),
        /// Smallest and largest step size.
        step_sizes: (f64, f64) = (1e-6, 50.0),
        /// Ascends instead of descending.
        maximize: bool = false,
    }
}

impl Rule for Rprop {
    fn check(&self) -> Vec<Fault> {
        let (etas, sizes) = (self.etas, self.step_sizes);
        let shrinks_and_grows = 0.0 < etas.0 && etas.0 < 1.0 && 1.0 < etas.1 && etas.1.is_finite();
        Checks::default()
            .at_least_0("lr", self.lr)
            .fits("etas", shrinks_and_grows, || {
                format!("`etas` are {}/{}, expected a number in (0, 1) and one above 1", etas.0, etas.1)
            })
            .fits("step_sizes", sizes.0 <= sizes.1, || {
                format!("`step_sizes` are {}/{}, expected the smaller first", sizes.0, sizes.1)
            })
            .faults()
    }

    fn states(&self) -> Vec<&'static str> {
        vec!["prev", "step_size"]
    }

    fn counts_steps(&self) -> bool {
        true
    }

    fn update<'f>(&self, at: &Site<'f>) -> Next<'f> {
        let gradient = direction(at, self.maximize, 0.0);
        let (prev, step_size) = (at.states[0], at.states[1]);
        let agreement = (gradient * prev).sign();
        let has_turned = agreement.lt(0.0);
        let factor = agreement.gt(0.0).select(agreement.splat(self.etas.1), 1.0);
        let factor = has_turned.select(agreement.splat(self.etas.0), factor);
        // Sizes start from the learning rate, repeated over the parameter's shape.
        let step_size = at.group.is_first_step().select(step_size.splat(1.0) * at.group.lr, step_size);
        let step_size = (step_size * factor).maximum(self.step_sizes.0).minimum(self.step_sizes.1);
        let gradient = has_turned.select(gradient.splat(0.0), gradient);
        Next { param: at.param - gradient.sign() * step_size, states: vec![gradient, step_size] }
    }
}
