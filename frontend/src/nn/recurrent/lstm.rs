//! Long short-term memory.

use super::{Recurrence, Recurrent, Weights};
use crate::tensor::Tensor;

/// Layers of long short-term memory: `torch.nn.LSTM` (Hochreiter and Schmidhuber, 1997). A step computes
///
/// ```text
/// i, f, g, o = W_ih·x + b_ih + W_hh·h + b_hh      four gates of hidden_size features
/// c' = σ(f)·c + σ(i)·tanh(g)
/// h' = σ(o)·tanh(c')                              with proj_size: W_hr times that
/// ```
///
/// See [`Recurrent`] for shapes and options; the state is the pair `(h, c)`. All weights start uniform in
/// ±1/√hidden_size.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let lstm = nn::LSTM::new(10, 20).num_layers(2).bidirectional(true);
/// let (output, (h, c)) = lstm.forward(&Tensor::rand([5, 3, 10]));
/// assert_eq!(output.shape().to_string(), "[5, 3, 40]");
/// assert_eq!((h.shape().to_string(), c.shape().to_string()), ("[4, 3, 20]".into(), "[4, 3, 20]".into()));
/// // Go on from there.
/// let (_output, _state) = lstm.forward_from(&Tensor::rand([1, 3, 10]), &(h, c));
/// assert_eq!(lstm.named_parameters()[4].0, "weight_ih_l0_reverse");
/// ```
pub type LSTM = Recurrent<Lstm>;

/// The step of [`LSTM`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Lstm {
    _private: (),
}

impl LSTM {
    /// One layer of `hidden_size` features over inputs of `input_size` features.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self::of_kind(Lstm::default(), input_size, hidden_size)
    }

    /// Features that the hidden state is projected to, fewer than `hidden_size`; 0, the default, projects nothing.
    #[must_use]
    #[track_caller]
    pub fn proj_size(mut self, proj_size: usize) -> Self {
        self.proj_size = proj_size;
        self.rebuild()
    }
}

impl Recurrence for Lstm {
    type State = (Tensor, Tensor);

    const NAME: &'static str = "LSTM";
    const N_GATES: usize = 4;
    const N_STATES: usize = 2;

    fn state(mut tensors: Vec<Tensor>) -> (Tensor, Tensor) {
        let cell = tensors.swap_remove(1);
        (tensors.swap_remove(0), cell)
    }

    fn hidden((hidden, _): &(Tensor, Tensor)) -> &Tensor {
        hidden
    }

    #[track_caller]
    fn step(&self, weights: &Weights, projected: &Tensor, (hidden, cell): &(Tensor, Tensor)) -> (Tensor, Tensor) {
        let gates = projected + hidden.linear(&weights.weight_hh, None);
        let gates = gates.chunk(4, -1);
        // A poisoned tensor has no parts.
        let [input, forget, candidate, output] = gates.as_slice() else {
            return (gates[0].clone(), gates[0].clone());
        };
        let cell = forget.sigmoid() * cell + input.sigmoid() * candidate.tanh();
        let hidden = output.sigmoid() * cell.tanh();
        match &weights.weight_hr {
            Some(weight_hr) => (hidden.linear(weight_hr, None), cell),
            None => (hidden, cell),
        }
    }
}
