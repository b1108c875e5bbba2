//! The simple recurrent network of Elman.

use super::{Recurrence, Recurrent, Weights};
use crate::tensor::Tensor;

/// Recurrent layers of one nonlinearity: `torch.nn.RNN`. A step is `h' = tanh(W_ih·x + b_ih + W_hh·h + b_hh)`.
///
/// See [`Recurrent`] for shapes and options; the state is `h`. All weights start uniform in ±1/√hidden_size.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let rnn = nn::RNN::new(10, 20).num_layers(2).nonlinearity(nn::Nonlinearity::Relu);
/// let (output, last) = rnn.forward(&Tensor::rand([5, 3, 10]));
/// assert_eq!(output.shape().to_string(), "[5, 3, 20]");
/// assert_eq!(last.shape().to_string(), "[2, 3, 20]");
/// ```
pub type RNN = Recurrent<Rnn>;

/// The step of [`RNN`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Rnn {
    pub(super) nonlinearity: Nonlinearity,
}

/// The nonlinearity of an [`RNN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonlinearity {
    /// Hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(x, 0)`.
    Relu,
}

impl RNN {
    /// One layer of `hidden_size` features over inputs of `input_size` features, with `tanh`.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self::of_kind(Rnn::default(), input_size, hidden_size)
    }

    /// `tanh` or `relu`.
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.kind.nonlinearity = nonlinearity;
        self
    }
}

impl Recurrence for Rnn {
    type State = Tensor;

    const NAME: &'static str = "RNN";
    const N_GATES: usize = 1;
    const N_STATES: usize = 1;

    fn state(mut tensors: Vec<Tensor>) -> Tensor {
        tensors.swap_remove(0)
    }

    fn hidden(state: &Tensor) -> &Tensor {
        state
    }

    fn extra_repr(&self) -> &'static str {
        match self.nonlinearity {
            Nonlinearity::Tanh => "",
            Nonlinearity::Relu => ", nonlinearity=relu",
        }
    }

    #[track_caller]
    fn step(&self, weights: &Weights, projected: &Tensor, hidden: &Tensor) -> Tensor {
        let sum = projected + hidden.linear(&weights.weight_hh, None);
        match self.nonlinearity {
            Nonlinearity::Tanh => sum.tanh(),
            Nonlinearity::Relu => sum.relu(),
        }
    }
}
