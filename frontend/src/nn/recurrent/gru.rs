//! Gated recurrent units.

use super::{Recurrence, Recurrent, Weights};
use crate::tensor::{Tensor, ToTensor};

/// Layers of gated recurrent units: `torch.nn.GRU` (Cho et al., 2014). A step computes
///
/// ```text
/// r = σ(W_ir·x + b_ir + W_hr·h + b_hr)
/// z = σ(W_iz·x + b_iz + W_hz·h + b_hz)
/// n = tanh(W_in·x + b_in + r·(W_hn·h + b_hn))
/// h' = (1 - z)·n + z·h
/// ```
///
/// with the matrices of r, z and n one below the other in `weight_ih` and `weight_hh`. See [`Recurrent`] for shapes and
/// options; the state is `h`. All weights start uniform in ±1/√hidden_size.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let gru = nn::GRU::new(10, 20).batch_first(true);
/// let (output, last) = gru.forward(&Tensor::rand([3, 5, 10]));
/// assert_eq!(output.shape().to_string(), "[3, 5, 20]");
/// assert_eq!(last.shape().to_string(), "[1, 3, 20]");
/// ```
pub type GRU = Recurrent<Gru>;

/// The step of [`GRU`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Gru {
    _private: (),
}

impl GRU {
    /// One layer of `hidden_size` features over inputs of `input_size` features.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self::of_kind(Gru::default(), input_size, hidden_size)
    }
}

impl Recurrence for Gru {
    type State = Tensor;

    const NAME: &'static str = "GRU";
    const N_GATES: usize = 3;
    const N_STATES: usize = 1;

    fn state(mut tensors: Vec<Tensor>) -> Tensor {
        tensors.swap_remove(0)
    }

    fn hidden(state: &Tensor) -> &Tensor {
        state
    }

    /// Of `bias_hh`, the part of `n` stays in the step: the reset gate multiplies it.
    #[track_caller]
    fn project(&self, weights: &Weights, input: &Tensor) -> Tensor {
        let bias = weights.bias.as_ref().map(|(bias_ih, bias_hh)| {
            let n_gated = 2 * gate_size(weights);
            bias_ih + bias_hh.tensor().narrow(0, 0, n_gated).pad(&[(0, gate_size(weights) as i64)], 0.0)
        });
        input.linear(&weights.weight_ih, bias.as_ref().map(|bias| bias as &dyn ToTensor))
    }

    #[track_caller]
    fn step(&self, weights: &Weights, projected: &Tensor, hidden: &Tensor) -> Tensor {
        let size = gate_size(weights);
        let gate = |x: &Tensor, idx: usize| x.narrow(-1, idx * size, size);
        let recurrent = hidden.linear(&weights.weight_hh, None);
        let reset = (gate(projected, 0) + gate(&recurrent, 0)).sigmoid();
        let update = (gate(projected, 1) + gate(&recurrent, 1)).sigmoid();
        let kept = match &weights.bias {
            Some((_, bias_hh)) => gate(&recurrent, 2) + gate(&bias_hh.tensor(), 2),
            None => gate(&recurrent, 2),
        };
        let new = (gate(projected, 2) + reset * kept).tanh();
        &new + update * (hidden - &new)
    }
}

/// Features of the hidden state.
fn gate_size(weights: &Weights) -> usize {
    weights.weight_hh.shape()[1]
}
