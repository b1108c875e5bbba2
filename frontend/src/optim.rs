//! Optimizers as plain descriptions.
//!
//! A description says which rule and which hyper-parameters; the driver builds the update into the compiled training
//! step. Names and defaults are PyTorch's.

/// An optimizer: the rule and its hyper-parameters.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd(Sgd),
}

impl Optimizer {
    /// The learning rate, a run-time scalar of the compiled step.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.lr,
        }
    }
}

/// Stochastic gradient descent: `torch.optim.SGD`.
///
/// With gradient `g` of parameter `w`: `g += weight_decay · w`; with momentum `v = momentum · v + (1 - dampening) · g`
/// (`v = g` on the first step) and `g = g + momentum · v` (Nesterov) or `g = v`; then `w -= lr · g`.
///
/// ```
/// use nnc_frontend::optim::Sgd;
///
/// let sgd = Sgd::new(0.1).momentum(0.9).nesterov(true);
/// assert_eq!((sgd.lr, sgd.momentum, sgd.weight_decay), (0.1, 0.9, 0.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the previous step that is kept; 0 is none.
    pub momentum: f64,
    /// Share of the gradient that does not enter the momentum.
    pub dampening: f64,
    /// Factor of the parameter that is added to its gradient.
    pub weight_decay: f64,
    /// Whether the step looks ahead along the momentum. Needs momentum and no dampening.
    pub nesterov: bool,
    /// Whether the gradient is followed up instead of down.
    pub maximize: bool,
}

impl Sgd {
    /// Plain descent at learning rate `lr`.
    pub fn new(lr: f64) -> Self {
        Self { lr, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, maximize: false }
    }

    /// With momentum.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// With dampening of the momentum.
    #[must_use]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self
    }

    /// With weight decay.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// With Nesterov's look-ahead.
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// Ascent instead of descent.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.maximize = maximize;
        self
    }

    /// Whether the hyper-parameters make sense together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), String> {
        for (what, value) in [("lr", self.lr), ("momentum", self.momentum), ("weight_decay", self.weight_decay)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("sgd: {what} is {value}, expected a finite number of at least 0"));
            }
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err("sgd: Nesterov's look-ahead needs momentum and no dampening".to_string());
        }
        Ok(())
    }
}

impl From<Sgd> for Optimizer {
    fn from(sgd: Sgd) -> Self {
        Self::Sgd(sgd)
    }
}
