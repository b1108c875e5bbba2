//! `RNN`, `LSTM`, `GRU` and their cells.
//!
//! What all kinds share is here: the weights and their names, layers and directions, layouts, and the loop over the
//! steps. What distinguishes them, the step itself, is a [`Recurrence`] each (`recurrent/`).
//!
//! The loop is [`Scan`]; what depends on the inputs alone (their product with `weight_ih`, and every bias that is merely
//! added) is computed before it for all steps, as one matrix product. PyTorch's `PackedSequence` is not needed: give
//! [`Recurrent::forward_padded`] the lengths of the sequences.

use std::fmt;

use nnc_ir::{DType, Dim, Shape, TensorType};

use crate::functional::{Scan, dropout};
use crate::init;
use crate::module::{Member, Members, Module, python_bool, python_float, write_tree};
use crate::parameter::{Parameter, Training};
use crate::tensor::{Tensor, Tensors, ToTensor, fault, where_};
use crate::trace;

mod cell;
mod gru;
mod lstm;
mod rnn;

pub use cell::{GRUCell, LSTMCell, RNNCell, RecurrentCell};
pub use gru::{GRU, Gru};
pub use lstm::{LSTM, Lstm};
pub use rnn::{Nonlinearity, RNN, Rnn};

/// A kind of recurrent network: what it keeps from step to step, and how one step computes the next state.
pub trait Recurrence {
    /// What is carried from step to step, the hidden state first.
    type State: Tensors + Clone;

    /// Name of the layer.
    const NAME: &'static str;
    /// Number of vectors of `hidden_size` that a step computes from the input and the hidden state.
    const N_GATES: usize;
    /// Number of tensors in a state.
    const N_STATES: usize;

    /// The state of these tensors.
    fn state(tensors: Vec<Tensor>) -> Self::State;

    /// The hidden state, which is also a step's output.
    fn hidden(state: &Self::State) -> &Tensor;

    /// What of a step depends on the input alone, `[..., N_GATES * hidden_size]`, for any number of steps at once.
    #[track_caller]
    fn project(&self, weights: &Weights, input: &Tensor) -> Tensor {
        let bias = weights.bias.as_ref().map(|(bias_ih, bias_hh)| bias_ih + bias_hh);
        input.linear(&weights.weight_ih, bias.as_ref().map(|bias| bias as &dyn ToTensor))
    }

    /// What a cell prints behind its sizes.
    fn extra_repr(&self) -> &'static str {
        ""
    }

    /// The state after a step whose part of the input is `projected`.
    fn step(&self, weights: &Weights, projected: &Tensor, state: &Self::State) -> Self::State;
}

/// The weights of one direction of one layer, or of a cell.
#[derive(Debug)]
pub struct Weights {
    /// `[N_GATES * hidden_size, input_size]`.
    weight_ih: Parameter,
    /// `[N_GATES * hidden_size, features of the hidden state]`.
    weight_hh: Parameter,
    /// `bias_ih` and `bias_hh`, `[N_GATES * hidden_size]` each.
    bias: Option<(Parameter, Parameter)>,
    /// `[proj_size, hidden_size]`.
    weight_hr: Option<Parameter>,
}

/// A parameter that starts uniform in ±`bound`.
#[track_caller]
fn uniform(shape: &[usize], bound: f64) -> Parameter {
    let parameter = Parameter::new(Tensor::zeros(shape));
    init::uniform_(&parameter, -bound, bound);
    parameter
}

impl Weights {
    /// All uniform in ±1/√hidden_size.
    #[track_caller]
    fn new(n_gates: usize, input_size: usize, hidden_size: usize, proj_size: usize, bias: bool) -> Self {
        let bound = if hidden_size > 0 { 1.0 / (hidden_size as f64).sqrt() } else { 0.0 };
        let n_rows = n_gates * hidden_size;
        let features = if proj_size > 0 { proj_size } else { hidden_size };
        // No closures: a parameter is placed at the line of the user's that leads here.
        Self {
            weight_ih: uniform(&[n_rows, input_size], bound),
            weight_hh: uniform(&[n_rows, features], bound),
            bias: if bias { Some((uniform(&[n_rows], bound), uniform(&[n_rows], bound))) } else { None },
            weight_hr: if proj_size > 0 { Some(uniform(&[proj_size, hidden_size], bound)) } else { None },
        }
    }

    /// Adds the weights under PyTorch's names, which end in `suffix`.
    fn register<'a>(&'a self, suffix: &str, members: &mut Members<'a>) {
        let mut add = |name: &str, parameter| members.push((format!("{name}{suffix}"), Member::Parameter(parameter)));
        add("weight_ih", &self.weight_ih);
        add("weight_hh", &self.weight_hh);
        if let Some((bias_ih, bias_hh)) = &self.bias {
            add("bias_ih", bias_ih);
            add("bias_hh", bias_hh);
        }
        if let Some(weight_hr) = &self.weight_hr {
            add("weight_hr", weight_hr);
        }
    }
}

/// Layers of one kind of recurrent network: what [`RNN`], [`LSTM`] and [`GRU`] are.
///
/// The input is `[T, N, input_size]`; with `batch_first` `[N, T, input_size]`, without a batch `[T, input_size]`. The
/// output is the last layer's hidden state after each step, `[T, N, D * features]` in the input's layout, where `D` is 2
/// for a bidirectional network (both directions side by side) and else 1, and `features` is `proj_size` if set and else
/// `hidden_size`. A state is `[D * num_layers, N, features]`, whatever the layout.
pub struct Recurrent<K> {
    kind: K,
    input_size: usize,
    hidden_size: usize,
    proj_size: usize,
    num_layers: usize,
    bias: bool,
    batch_first: bool,
    dropout: f64,
    bidirectional: bool,
    /// By layer, then by direction.
    weights: Vec<Weights>,
    training: Training,
}

impl<K: Recurrence> Recurrent<K> {
    #[track_caller]
    fn of_kind(kind: K, input_size: usize, hidden_size: usize) -> Self {
        let layer = Self {
            kind,
            input_size,
            hidden_size,
            proj_size: 0,
            num_layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            bidirectional: false,
            weights: Vec::new(),
            training: Training::default(),
        };
        layer.rebuild()
    }

    /// Makes the weights anew.
    #[track_caller]
    fn rebuild(mut self) -> Self {
        let mut weights = Vec::with_capacity(self.num_layers * self.n_directions());
        for layer in 0..self.num_layers {
            let input_size = if layer == 0 { self.input_size } else { self.n_directions() * self.features() };
            for _ in 0..self.n_directions() {
                weights.push(Weights::new(K::N_GATES, input_size, self.hidden_size, self.proj_size, self.bias));
            }
        }
        self.weights = weights;
        self
    }

    /// Layers one above the other; 1 unless set.
    #[must_use]
    #[track_caller]
    pub fn num_layers(mut self, num_layers: usize) -> Self {
        self.num_layers = num_layers;
        self.rebuild()
    }

    /// Whether the gates have biases.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self.rebuild()
    }

    /// Whether the batch comes before the steps: `[N, T, input_size]`.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.batch_first = batch_first;
        self
    }

    /// Probability of the dropout, in training, of each layer's output but the last's.
    #[must_use]
    pub fn dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Whether each layer also runs from the last step to the first.
    #[must_use]
    #[track_caller]
    pub fn bidirectional(mut self, bidirectional: bool) -> Self {
        self.bidirectional = bidirectional;
        self.rebuild()
    }

    fn n_directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Features of the hidden state.
    fn features(&self) -> usize {
        if self.proj_size > 0 { self.proj_size } else { self.hidden_size }
    }

    /// Output and last state, from a state of zeros.
    #[track_caller]
    pub fn forward(&self, input: &Tensor) -> (Tensor, K::State) {
        self.run(input, None, None)
    }

    /// Output and last state, from `state`.
    #[track_caller]
    pub fn forward_from(&self, input: &Tensor, state: &K::State) -> (Tensor, K::State) {
        self.run(input, Some(state), None)
    }

    /// Output and last state of sequences of different lengths, padded to the longest: what PyTorch does with a
    /// `PackedSequence`. `lengths` are integers `[N]`. Steps beyond a sequence's end leave its state as it is and give
    /// zeros, so the last state is that after each sequence's own last step; the reverse direction starts there.
    ///
    /// ```
    /// use nnc_frontend::prelude::*;
    ///
    /// let gru = nn::GRU::new(4, 8).batch_first(true);
    /// let (x, lengths) = (Tensor::rand([2, 5, 4]), Tensor::from_slice(&[5i64, 3]));
    /// let (output, last) = gru.forward_padded(&x, &lengths, None);
    /// assert_eq!(output.select(0, 1).narrow(0, 3, 2).abs().sum(..).item()?, 0.0);
    /// assert_eq!(last.shape().to_string(), "[1, 2, 8]");
    /// # Ok::<(), nnc_ir::Diagnostic>(())
    /// ```
    #[track_caller]
    pub fn forward_padded(&self, input: &Tensor, lengths: &Tensor, state: Option<&K::State>) -> (Tensor, K::State) {
        self.run(input, state, Some(lengths))
    }

    #[track_caller]
    fn run(&self, input: &Tensor, state: Option<&K::State>, lengths: Option<&Tensor>) -> (Tensor, K::State) {
        let _scope = trace::enter(self.key());
        self.try_run(input, state, lengths).unwrap_or_else(|poisoned| {
            let states = vec![poisoned.clone(); K::N_STATES];
            (poisoned, K::state(states))
        })
    }

    #[track_caller]
    fn try_run(
        &self,
        input: &Tensor,
        state: Option<&K::State>,
        lengths: Option<&Tensor>,
    ) -> Result<(Tensor, K::State), Tensor> {
        let ty = self.check(input)?;
        let is_batched = ty.rank() == 3;
        let batch_first = is_batched && self.batch_first;
        // Steps first, then the batch; one sequence is a batch of one.
        let mut x = match (is_batched, batch_first) {
            (false, _) => input.unsqueeze(1),
            (true, true) => input.transpose(0, 1),
            (true, false) => input.clone(),
        };
        let (n_steps, n) = (x.size(0), x.size(1));
        let mask = lengths.map(|lengths| step_mask(K::NAME, lengths, &n_steps, &n)).transpose()?;
        let initial = self.initial_states(state, &ty, &n, is_batched)?;

        let mut last = Vec::with_capacity(initial.len());
        for (layer, directions) in initial.chunks(self.n_directions()).enumerate() {
            if layer > 0 && self.training.get() && self.dropout != 0.0 {
                x = dropout(&x, self.dropout, true);
            }
            let mut outputs = Vec::with_capacity(directions.len());
            for (direction, state) in directions.iter().enumerate() {
                let weights = &self.weights[layer * self.n_directions() + direction];
                let (output, state) = self.run_direction(weights, &x, direction == 1, state.clone(), mask.as_ref());
                outputs.push(output);
                last.push(state);
            }
            x = Tensor::cat(&outputs, -1);
        }

        let output = match (is_batched, batch_first) {
            (false, _) => x.squeeze(1),
            (true, true) => x.transpose(0, 1),
            (true, false) => x,
        };
        let leaves: Vec<Vec<Tensor>> = last.iter().map(Tensors::tensors).collect();
        let states = (0..K::N_STATES).map(|leaf| {
            let of_layers: Vec<&Tensor> = leaves.iter().map(|state| &state[leaf]).collect();
            let stacked = Tensor::stack(&of_layers, 0);
            if is_batched { stacked } else { stacked.squeeze(1) }
        });
        Ok((output, K::state(states.collect())))
    }

    /// One direction of one layer over `x` `[T, N, features]`.
    #[track_caller]
    fn run_direction(
        &self,
        weights: &Weights,
        x: &Tensor,
        reverse: bool,
        state: K::State,
        mask: Option<&Tensor>,
    ) -> (Tensor, K::State) {
        let projected = self.kind.project(weights, x);
        let steps = (projected, mask.cloned());
        let (last, output) = Scan::new().reverse(reverse).run(state, steps, |state, (projected, mask)| {
            let next = self.kind.step(weights, &projected, &state);
            let Some(mask) = mask else {
                let output = K::hidden(&next).clone();
                return (next, output);
            };
            let kept = state.tensors().into_iter().zip(next.tensors());
            let kept: Vec<Tensor> = kept.map(|(state, next)| where_(&mask, next, state)).collect();
            (K::state(kept), where_(&mask, K::hidden(&next), 0))
        });
        (output, last)
    }

    /// The type of the input, if it fits.
    #[track_caller]
    fn check(&self, input: &Tensor) -> Result<TensorType, Tensor> {
        let Some(ty) = input.checked_ty() else { return Err(input.clone()) };
        let (name, size) = (K::NAME, self.input_size);
        if self.num_layers == 0 || self.hidden_size == 0 {
            let (layers, hidden) = (self.num_layers, self.hidden_size);
            let message = format!("{name}: num_layers is {layers} and hidden_size is {hidden}, expected at least 1");
            return Err(fault(message));
        }
        if self.proj_size >= self.hidden_size {
            let message =
                format!("{name}: proj_size is {}, expected less than hidden_size {}", self.proj_size, self.hidden_size);
            return Err(fault(message));
        }
        let fits = matches!(ty.rank(), 2 | 3) && ty.shape.dims().last() == Some(&Dim::from(size));
        if !fits || !ty.dtype.is_float() {
            let layout = if self.batch_first { "[N, T, features]" } else { "[T, N, features]" };
            return Err(fault(format!(
                "{name}: the input is {ty}, expected floats {layout} or [T, features] with {size} features"
            )));
        }
        Ok(ty)
    }

    /// The state that each direction of each layer starts from.
    #[track_caller]
    fn initial_states(
        &self,
        state: Option<&K::State>,
        input: &TensorType,
        n: &Dim,
        is_batched: bool,
    ) -> Result<Vec<K::State>, Tensor> {
        let n_cells = self.weights.len();
        let widths = |leaf: usize| if leaf == 0 { self.features() } else { self.hidden_size };
        let Some(state) = state else {
            let zeros = |leaf| Tensor::zeros([n.clone(), widths(leaf).into()]).to_dtype(input.dtype);
            let zeros = K::state((0..K::N_STATES).map(zeros).collect());
            return Ok(vec![zeros; n_cells]);
        };
        let mut given = Vec::with_capacity(K::N_STATES);
        for (leaf, tensor) in state.tensors().into_iter().enumerate() {
            let Some(ty) = tensor.checked_ty() else { return Err(tensor) };
            let mut expected = TensorType::new(input.dtype, vec![n_cells.into(), n.clone(), widths(leaf).into()]);
            if !is_batched {
                expected.shape.0.remove(1);
            }
            if ty != expected {
                return Err(fault(format!("{}: tensor {leaf} of the state is {ty}, expected {expected}", K::NAME)));
            }
            given.push(if is_batched { tensor } else { tensor.unsqueeze(1) });
        }
        let cell = |idx| K::state(given.iter().map(|tensor| tensor.select(0, idx as i64)).collect());
        Ok((0..n_cells).map(cell).collect())
    }
}

/// `bool` `[T, N, 1]`: whether a step lies within its sequence.
#[track_caller]
fn step_mask(what: &str, lengths: &Tensor, n_steps: &Dim, n: &Dim) -> Result<Tensor, Tensor> {
    let Some(ty) = lengths.checked_ty() else { return Err(lengths.clone()) };
    if !ty.dtype.is_int() || ty.shape.0 != [n.clone()] {
        let expected = TensorType::new(DType::I64, vec![n.clone()]);
        return Err(fault(format!("{what}: lengths is {ty}, expected integers such as {expected}")));
    }
    let steps = Tensor::iota(ty.dtype, Shape(vec![n_steps.clone(), n.clone()]), 0);
    Ok(steps.lt(lengths).unsqueeze(-1))
}

impl<K: Recurrence> Module for Recurrent<K> {
    fn members(&self) -> Members<'_> {
        let mut members = Members::new();
        for (idx, weights) in self.weights.iter().enumerate() {
            let (layer, direction) = (idx / self.n_directions(), idx % self.n_directions());
            let suffix = format!("_l{layer}{}", if direction == 1 { "_reverse" } else { "" });
            weights.register(&suffix, &mut members);
        }
        members.push(("training".to_string(), Member::Training(&self.training)));
        members
    }

    fn type_name(&self) -> String {
        K::NAME.to_string()
    }

    fn extra_repr(&self) -> String {
        let mut text = format!("{}, {}", self.input_size, self.hidden_size);
        let mut add = |is_default: bool, name: &str, value: String| {
            if !is_default {
                text.push_str(&format!(", {name}={value}"));
            }
        };
        add(self.proj_size == 0, "proj_size", self.proj_size.to_string());
        add(self.num_layers == 1, "num_layers", self.num_layers.to_string());
        add(self.bias, "bias", python_bool(self.bias).to_string());
        add(!self.batch_first, "batch_first", python_bool(self.batch_first).to_string());
        add(self.dropout == 0.0, "dropout", python_float(self.dropout));
        add(!self.bidirectional, "bidirectional", python_bool(self.bidirectional).to_string());
        text
    }
}

impl<K: Recurrence> fmt::Display for Recurrent<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}

impl<K: Recurrence> fmt::Debug for Recurrent<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tree(self, f)
    }
}
