//! Activations: each is the function of [`crate::functional`] of its name, with its arguments as settings.

use crate::functional;
use crate::init;
use crate::module::{Forward, Module, python_float};
use crate::parameter::{Parameter, Training};
use crate::tensor::{Tensor, fault, live};

/// Layers without arguments: name, function.
macro_rules! activations {
    ($($(#[doc = $doc:literal])* $name:ident => $function:ident;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Default, Module)]
            pub struct $name {
                /// Modules are told apart by address, which a type without size does not have.
                _sized: u8,
            }

            impl $name {
                /// The layer.
                pub fn new() -> Self {
                    Self::default()
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x)
                }
            }
        )*
    };
}

activations! {
    /// `max(x, 0)`.
    ReLU => relu;
    /// `min(max(x, 0), 6)`.
    ReLU6 => relu6;
    /// `scale * elu(x, alpha)` with the constants that keep activations standard normal.
    SELU => selu;
    /// `x * sigmoid(x)`.
    SiLU => silu;
    /// `x * tanh(ln(1 + e^x))`.
    Mish => mish;
    /// `1 / (1 + e^-x)`.
    Sigmoid => sigmoid;
    /// `ln sigmoid(x)`.
    LogSigmoid => logsigmoid;
    /// `min(max(x + 3, 0), 6) / 6`.
    Hardsigmoid => hardsigmoid;
    /// `x * hardsigmoid(x)`.
    Hardswish => hardswish;
    /// Hyperbolic tangent.
    Tanh => tanh;
    /// `x - tanh(x)`.
    Tanhshrink => tanhshrink;
    /// `x / (1 + |x|)`.
    Softsign => softsign;
}

/// Layers with numbers as settings: name, settings with their defaults, function, printed form.
macro_rules! shaped_activations {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $field_doc:literal])* $field:ident = $default:expr,)* } => $function:ident,
        $repr:literal;
    )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = $repr, $(python_float(self.$field)),*)]
            pub struct $name {
                $($(#[doc = $field_doc])* pub $field: f64,)*
            }

            impl $name {
                /// The layer with PyTorch's defaults.
                pub fn new() -> Self {
                    Self { $($field: $default,)* }
                }

                $(
                    $(#[doc = $field_doc])*
                    #[must_use]
                    pub fn $field(mut self, $field: f64) -> Self {
                        self.$field = $field;
                        self
                    }
                )*
            }

            impl Default for $name {
                fn default() -> Self {
                    Self::new()
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, $(self.$field),*)
                }
            }
        )*
    };
}

shaped_activations! {
    /// `x` if positive, else `negative_slope * x`.
    LeakyReLU {
        /// Slope below 0; 0.01 by default.
        negative_slope = 0.01,
    } => leaky_relu, "negative_slope={}";
    /// `x` if positive, else `alpha * (e^x - 1)`.
    ELU {
        /// What the function approaches at -∞, negated; 1 by default.
        alpha = 1.0,
    } => elu, "alpha={}";
    /// `x` if positive, else `alpha * (e^(x / alpha) - 1)`.
    CELU {
        /// What the function approaches at -∞, negated; 1 by default.
        alpha = 1.0,
    } => celu, "alpha={}";
    /// `min(max(x, min_val), max_val)`.
    Hardtanh {
        /// Lower limit; -1 by default.
        min_val = -1.0,
        /// Upper limit; 1 by default.
        max_val = 1.0,
    } => hardtanh, "min_val={}, max_val={}";
    /// `ln(1 + e^(beta * x)) / beta`.
    Softplus {
        /// Sharpness; 1 by default.
        beta = 1.0,
        /// Where `beta * x` is above this, the function is `x`; 20 by default.
        threshold = 20.0,
    } => softplus, "beta={}, threshold={}";
    /// `x` moved toward 0 by `lambd`, and 0 within `lambd` of it.
    Softshrink {
        /// How far; 0.5 by default, not negative.
        lambd = 0.5,
    } => softshrink, "{}";
    /// `x`, and 0 within `lambd` of 0.
    Hardshrink {
        /// How far; 0.5 by default.
        lambd = 0.5,
    } => hardshrink, "{}";
}

/// `x` if above `threshold`, else `value`.
#[derive(Clone, Debug, Module)]
#[module(repr = "threshold={}, value={}", python_float(self.threshold), python_float(self.value))]
pub struct Threshold {
    /// The threshold.
    pub threshold: f64,
    /// What elements up to the threshold become.
    pub value: f64,
}

impl Threshold {
    /// The layer.
    pub fn new(threshold: f64, value: f64) -> Self {
        Self { threshold, value }
    }
}

impl Forward for Threshold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::threshold(x, self.threshold, self.value)
    }
}

/// `x` if positive, else a learned slope times `x`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let layer = PReLU::new().num_parameters(3);
/// assert_eq!(layer.to_string(), "PReLU(num_parameters=3)");
/// assert_eq!(layer.forward(&Tensor::full([2, 3], -4.0)).sum(..).item()?, -6.0);
/// # Ok::<(), Diagnostic>(())
/// ```
#[derive(Clone, Debug, Module)]
#[module(repr = "num_parameters={}", self.weight.numel())]
pub struct PReLU {
    /// The slopes: one, or one for each channel (dimension 1 of the input).
    pub weight: Parameter,
    #[module(skip)]
    init: f64,
}

impl PReLU {
    /// The layer with one slope for all channels, 0.25.
    #[track_caller]
    pub fn new() -> Self {
        Self::with(1, 0.25)
    }

    #[track_caller]
    fn with(num_parameters: usize, init: f64) -> Self {
        Self { weight: Parameter::new(Tensor::full([num_parameters], init)), init }
    }

    /// Number of slopes: 1, or the number of channels.
    #[must_use]
    #[track_caller]
    pub fn num_parameters(self, num_parameters: usize) -> Self {
        Self::with(num_parameters, self.init)
    }

    /// What the slopes start as.
    #[must_use]
    pub fn init(mut self, init: f64) -> Self {
        init::constant_(&self.weight, init);
        self.init = init;
        self
    }
}

impl Default for PReLU {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl Forward for PReLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::prelu(x, &self.weight)
    }
}

/// `x` if positive, else `x` times a slope that is drawn for each element in training, and is the mean of its limits
/// otherwise.
#[derive(Clone, Debug, Module)]
#[module(repr = "lower={}, upper={}", python_float(self.lower), python_float(self.upper))]
pub struct RReLU {
    /// Least slope.
    pub lower: f64,
    /// Largest slope.
    pub upper: f64,
    training: Training,
}

impl RReLU {
    /// The layer with slopes from 1/8 to 1/3.
    pub fn new() -> Self {
        Self { lower: 1.0 / 8.0, upper: 1.0 / 3.0, training: Training::default() }
    }

    /// Least slope.
    #[must_use]
    pub fn lower(mut self, lower: f64) -> Self {
        self.lower = lower;
        self
    }

    /// Largest slope.
    #[must_use]
    pub fn upper(mut self, upper: f64) -> Self {
        self.upper = upper;
        self
    }
}

impl Default for RReLU {
    fn default() -> Self {
        Self::new()
    }
}

impl Forward for RReLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::rrelu(x, self.lower, self.upper, self.training.get())
    }
}

/// `x * Φ(x)`, with the exact distribution function or its approximation through `tanh`.
#[derive(Clone, Debug, Default, Module)]
#[module(repr = "approximate='{}'", if self.tanh { "tanh" } else { "none" })]
pub struct GELU {
    tanh: bool,
}

impl GELU {
    /// The exact form.
    pub fn new() -> Self {
        Self::default()
    }

    /// The approximation through `tanh`: `GELU(approximate='tanh')`.
    pub fn tanh() -> Self {
        Self { tanh: true }
    }
}

impl Forward for GELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        if self.tanh { x.gelu_tanh() } else { x.gelu() }
    }
}

/// The first half of a dimension times the sigmoid of the second.
#[derive(Clone, Debug, Module)]
#[module(repr = "dim={}", self.dim)]
pub struct GLU {
    /// The dimension halved; negative counts from the last.
    pub dim: i64,
}

impl GLU {
    /// The layer along the last dimension.
    pub fn new() -> Self {
        Self { dim: -1 }
    }

    /// The dimension halved.
    #[must_use]
    pub fn dim(mut self, dim: i64) -> Self {
        self.dim = dim;
        self
    }
}

impl Default for GLU {
    fn default() -> Self {
        Self::new()
    }
}

impl Forward for GLU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        functional::glu(x, self.dim)
    }
}

/// Layers along one dimension: name, function.
macro_rules! activations_along {
    ($($(#[doc = $doc:literal])* $name:ident => $function:ident;)*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Debug, Module)]
            #[module(repr = "dim={}", self.dim)]
            pub struct $name {
                /// The dimension; negative counts from the last.
                pub dim: i64,
            }

            impl $name {
                /// The layer along `dim`.
                pub fn new(dim: i64) -> Self {
                    Self { dim }
                }
            }

            impl Forward for $name {
                #[track_caller]
                fn forward(&self, x: &Tensor) -> Tensor {
                    functional::$function(x, self.dim)
                }
            }
        )*
    };
}

activations_along! {
    /// `e^x / Σ e^x` along a dimension.
    Softmax => softmax;
    /// `e^-x / Σ e^-x` along a dimension.
    Softmin => softmin;
    /// `ln(e^x / Σ e^x)` along a dimension.
    LogSoftmax => log_softmax;
}

/// [`Softmax`] over the channels of an image, `[N, C, H, W]` or `[C, H, W]`.
#[derive(Clone, Debug, Default, Module)]
pub struct Softmax2d {
    /// Modules are told apart by address, which a type without size does not have.
    _sized: u8,
}

impl Softmax2d {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Forward for Softmax2d {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let ty = live!(x);
        if !(3..=4).contains(&ty.rank()) {
            return fault(format!("softmax2d: the input is {ty}, expected 3 or 4 dimensions"));
        }
        x.softmax(-3)
    }
}
