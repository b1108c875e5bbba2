//! `RNN`, `LSTM`, `GRU` and their cells: `golden/nn_recurrent.py`.

use nnc_frontend::nn::{
    GRU, GRUCell, LSTM, LSTMCell, Nonlinearity, RNN, RNNCell, Recurrence, Recurrent, RecurrentCell,
};
use nnc_frontend::tensor::Tensor;
use nnc_tests::layers::{Case, Outputs, case_with};

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(layers(RNN::new));
    cases.extend(layers(LSTM::new));
    cases.extend(layers(GRU::new));
    cases.extend([
        from_state("relu", || RNN::new(3, 4).nonlinearity(Nonlinearity::Relu)),
        from_state("projected", || LSTM::new(3, 4).proj_size(2)),
        from_state("projected_stack", || LSTM::new(3, 4).num_layers(2).bidirectional(true).bias(false).proj_size(3)),
    ]);
    cases.extend(cells("RNNCell", RNNCell::new, RNNCell::bias));
    cases.extend(cells("LSTMCell", LSTMCell::new, LSTMCell::bias));
    cases.extend(cells("GRUCell", GRUCell::new, GRUCell::bias));
    cases.push(case_with(
        "RNNCell",
        "relu",
        || RNNCell::new(3, 4).nonlinearity(Nonlinearity::Relu),
        |m, x| m.forward(&x[0]),
    ));
    // Errors in `bf16` add up from step to step.
    cases.into_iter().map(|case| case.within_in_bfloat16(3e-2)).collect()
}

/// A case that starts from zeros.
fn plain<K>(name: &'static str, build: impl Fn() -> Recurrent<K> + Send + Sync + 'static) -> Case
where
    K: Recurrence<State: Outputs> + 'static,
{
    case_with(K::NAME, name, build, |m, x| m.forward(&x[0]))
}

/// A case that starts from the further inputs.
fn from_state<K>(name: &'static str, build: impl Fn() -> Recurrent<K> + Send + Sync + 'static) -> Case
where
    K: Recurrence<State: Outputs> + 'static,
{
    case_with(K::NAME, name, build, |m, x| m.forward_from(&x[0], &K::state(x[1..].to_vec())))
}

/// A case of sequences of different lengths, from zeros or from the inputs after the lengths.
fn padded<K>(name: &'static str, build: impl Fn() -> Recurrent<K> + Send + Sync + 'static) -> Case
where
    K: Recurrence<State: Outputs> + 'static,
{
    case_with(K::NAME, name, build, |m, x| {
        let state = (x.len() > 2).then(|| K::state(x[2..].to_vec()));
        m.forward_padded(&x[0], &x[1], state.as_ref())
    })
}

/// What is stored of every kind.
fn layers<K>(new: fn(usize, usize) -> Recurrent<K>) -> Vec<Case>
where
    K: Recurrence<State: Outputs> + 'static,
{
    vec![
        plain("plain", move || new(3, 4)),
        plain("batch_of_one", move || new(7, 5).bias(false)),
        plain("one_step", move || new(2, 3)),
        plain("unbatched", move || new(3, 4).num_layers(2)),
        plain("two_layers_bidirectional", move || new(3, 4).num_layers(2).bidirectional(true)),
        from_state("state", move || new(3, 4).num_layers(2).bidirectional(true)),
        from_state("unbatched_state", move || new(3, 4).bidirectional(true)),
        from_state("batch_first", move || new(3, 5).num_layers(3).batch_first(true)),
        plain("dropout_in_evaluation", move || new(3, 4).num_layers(2).dropout(0.3)),
        padded("padded", move || new(3, 4).num_layers(2).bidirectional(true)),
        padded("padded_state", move || new(3, 4).batch_first(true)),
    ]
}

fn cells<K>(
    layer: &'static str,
    new: fn(usize, usize) -> RecurrentCell<K>,
    bias: fn(RecurrentCell<K>, bool) -> RecurrentCell<K>,
) -> Vec<Case>
where
    K: Recurrence<State: Outputs> + 'static,
{
    fn step<K: Recurrence>(cell: &RecurrentCell<K>, x: &[Tensor]) -> K::State {
        cell.forward_from(&x[0], &K::state(x[1..].to_vec()))
    }
    vec![
        case_with(layer, "plain", move || new(3, 4), |m, x| m.forward(&x[0])),
        case_with(layer, "state", move || bias(new(5, 3), false), step),
        case_with(layer, "unbatched", move || new(3, 4), step),
    ]
}
