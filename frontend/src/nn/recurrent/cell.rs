//! `RNNCell`, `LSTMCell`, `GRUCell`: one step of a layer, for loops of one's own.

use std::fmt;

use nnc_ir::{Dim, TensorType};

use super::{Gru, Lstm, Nonlinearity, Recurrence, Rnn, Weights};
use crate::module::{Member, Members, Module, python_bool, write_tree};
use crate::tensor::{Tensor, Tensors, fault};
use crate::trace;

/// One step of a recurrent network: what [`RNNCell`], [`LSTMCell`] and [`GRUCell`] are.
///
/// Input `[N, input_size]` (without a batch `[input_size]`), states `[N, hidden_size]`. For a whole sequence a layer is
/// faster, since it multiplies all inputs by `weight_ih` at once; where the next input depends on the last output, use
/// the cell in a [`scan`](crate::functional::scan).
pub struct RecurrentCell<K> {
    kind: K,
    input_size: usize,
    hidden_size: usize,
    weights: Weights,
}

/// One step of an [`RNN`](super::RNN): `torch.nn.RNNCell`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let cell = nn::RNNCell::new(10, 20);
/// let mut h = Tensor::zeros([3, 20]);
/// for _ in 0..6 {
///     h = cell.forward_from(&Tensor::rand([3, 10]), &h);
/// }
/// assert_eq!(h.shape().to_string(), "[3, 20]");
/// ```
pub type RNNCell = RecurrentCell<Rnn>;

/// One step of an [`LSTM`](super::LSTM), which gives `(h, c)`: `torch.nn.LSTMCell`.
pub type LSTMCell = RecurrentCell<Lstm>;

/// One step of a [`GRU`](super::GRU): `torch.nn.GRUCell`.
pub type GRUCell = RecurrentCell<Gru>;

impl<K: Recurrence + Default> RecurrentCell<K> {
    /// A cell of `hidden_size` features for inputs of `input_size` features.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let weights = Weights::new(K::N_GATES, input_size, hidden_size, 0, true);
        Self { kind: K::default(), input_size, hidden_size, weights }
    }
}

impl<K: Recurrence> RecurrentCell<K> {
    /// Whether the gates have biases.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        self.weights = Weights::new(K::N_GATES, self.input_size, self.hidden_size, 0, bias);
        self
    }

    /// The state after a step from a state of zeros.
    #[track_caller]
    pub fn forward(&self, input: &Tensor) -> K::State {
        self.run(input, None)
    }

    /// The state after a step from `state`.
    #[track_caller]
    pub fn forward_from(&self, input: &Tensor, state: &K::State) -> K::State {
        self.run(input, Some(state))
    }

    #[track_caller]
    fn run(&self, input: &Tensor, state: Option<&K::State>) -> K::State {
        let _scope = trace::enter(self.key());
        self.try_run(input, state).unwrap_or_else(|poisoned| K::state(vec![poisoned; K::N_STATES]))
    }

    #[track_caller]
    fn try_run(&self, input: &Tensor, state: Option<&K::State>) -> Result<K::State, Tensor> {
        let Some(ty) = input.checked_ty() else { return Err(input.clone()) };
        let (name, size) = (self.type_name(), self.input_size);
        let fits = matches!(ty.rank(), 1 | 2) && ty.shape.dims().last() == Some(&Dim::from(size));
        if !fits || !ty.dtype.is_float() {
            let message = format!("{name}: the input is {ty}, expected floats [N, {size}] or [{size}]");
            return Err(fault(message));
        }
        let mut expected = TensorType::new(ty.dtype, ty.shape.clone());
        expected.shape.0[ty.rank() - 1] = self.hidden_size.into();
        let state = match state {
            Some(state) => state.clone(),
            None => {
                let zeros = Tensor::zeros(&expected.shape).to_dtype(ty.dtype);
                K::state(vec![zeros; K::N_STATES])
            }
        };
        for (idx, tensor) in state.tensors().into_iter().enumerate() {
            let Some(found) = tensor.checked_ty() else { return Err(tensor) };
            if found != expected {
                return Err(fault(format!("{name}: tensor {idx} of the state is {found}, expected {expected}")));
            }
        }
        Ok(self.kind.step(&self.weights, &self.kind.project(&self.weights, input), &state))
    }
}

impl RNNCell {
    /// `tanh` or `relu`.
    #[must_use]
    pub fn nonlinearity(mut self, nonlinearity: Nonlinearity) -> Self {
        self.kind.nonlinearity = nonlinearity;
        self
    }
}

impl<K: Recurrence> Module for RecurrentCell<K> {
    fn members(&self) -> Members<'_> {
        let mut members: Members<'_> = Vec::<(String, Member<'_>)>::new();
        self.weights.register("", &mut members);
        members
    }

    fn type_name(&self) -> String {
        format!("{}Cell", K::NAME)
    }

    fn extra_repr(&self) -> String {
        let mut text = format!("{}, {}", self.input_size, self.hidden_size);
        if self.weights.bias.is_none() {
            text.push_str(&format!(", bias={}", python_bool(false)));
        }
        text.push_str(self.kind.extra_repr());
        text
    }
}

impl<K: Recurrence> fmt::Display for RecurrentCell<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}

impl<K: Recurrence> fmt::Debug for RecurrentCell<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}
