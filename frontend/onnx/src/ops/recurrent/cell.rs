//! The steps of the three kinds of recurrent network, in ONNX's order of gates.

use nnc_frontend::Tensor;

use super::Weights;

/// A kind of recurrent network.
pub(super) trait Cell {
    /// Vectors of the hidden size that a step computes from the input and the hidden state.
    const N_GATES: usize;
    /// Tensors in a state, the hidden state first.
    const N_STATES: usize;
    /// The activation functions of one direction, unless others are given.
    const ACTIVATIONS: &'static [&'static str];
    /// The attribute that switches to the other form of the step; empty if there is one form.
    const VARIANT: &'static str = "";
    /// Whether gates may see the cell's state.
    const HAS_PEEPHOLES: bool = false;

    /// What of all steps depends on the inputs `[T, N, input]` alone.
    #[track_caller]
    fn project(weights: &Weights, x: &Tensor) -> Tensor {
        let bias = weights.bias.as_ref().map(|(of_w, of_r)| of_w + of_r);
        weights.w.times(x, bias.as_ref())
    }

    /// The state after a step whose part of the input is `projected`.
    fn step(weights: &Weights, projected: &Tensor, state: &[Tensor]) -> Vec<Tensor>;
}

/// `H' = f(W·x + R·H + b)`.
pub(super) struct Rnn;

impl Cell for Rnn {
    const N_GATES: usize = 1;
    const N_STATES: usize = 1;
    const ACTIVATIONS: &'static [&'static str] = &["Tanh"];

    #[track_caller]
    fn step(weights: &Weights, projected: &Tensor, state: &[Tensor]) -> Vec<Tensor> {
        vec![weights.activate(0, &(projected + weights.r.times_rows(&state[0])))]
    }
}

/// Gates z (update), r (reset), h (new):
///
/// ```text
/// z = f(W_z·x + R_z·H + b_z)
/// r = f(W_r·x + R_r·H + b_r)
/// h = g(W_h·x + R_h·(r·H) + b_h)              with linear_before_reset: g(W_h·x + r·(R_h·H + b_Rh) + b_Wh)
/// H' = (1 - z)·h + z·H
/// ```
pub(super) struct Gru;

impl Cell for Gru {
    const N_GATES: usize = 3;
    const N_STATES: usize = 1;
    const ACTIVATIONS: &'static [&'static str] = &["Sigmoid", "Tanh"];
    const VARIANT: &'static str = "linear_before_reset";

    /// With `linear_before_reset` the reset gate multiplies the part of `h` of the bias beside `R`, which so stays in
    /// the step.
    #[track_caller]
    fn project(weights: &Weights, x: &Tensor) -> Tensor {
        let bias = weights.bias.as_ref().map(|(of_w, of_r)| {
            let hidden = weights.hidden;
            let added = match weights.variant {
                true => of_r.narrow(0, 0, 2 * hidden).pad(&[(0, hidden as i64)], 0.0),
                false => of_r.clone(),
            };
            of_w + added
        });
        weights.w.times(x, bias.as_ref())
    }

    #[track_caller]
    fn step(weights: &Weights, projected: &Tensor, state: &[Tensor]) -> Vec<Tensor> {
        let (hidden, size) = (&state[0], weights.hidden);
        let gate = |x: &Tensor, index| weights.gate(x, index);
        let (update, new) = if weights.variant {
            let recurrent = weights.r.times_rows(hidden);
            let update = weights.activate(0, &(gate(projected, 0) + gate(&recurrent, 0)));
            let reset = weights.activate(0, &(gate(projected, 1) + gate(&recurrent, 1)));
            let kept = match &weights.bias {
                Some((_, of_r)) => gate(&recurrent, 2) + gate(of_r, 2),
                None => gate(&recurrent, 2),
            };
            (update, weights.activate(1, &(gate(projected, 2) + reset * kept)))
        } else {
            let gated = weights.r.rows(0, 2 * size).times_rows(hidden);
            let update = weights.activate(0, &(gate(projected, 0) + gate(&gated, 0)));
            let reset = weights.activate(0, &(gate(projected, 1) + gate(&gated, 1)));
            let kept = weights.r.rows(2 * size, size).times_rows(&(reset * hidden));
            (update, weights.activate(1, &(gate(projected, 2) + kept)))
        };
        vec![&new + update * (hidden - &new)]
    }
}

/// Gates i (input), o (output), f (forget), c (candidate):
///
/// ```text
/// i = f(W_i·x + R_i·H + P_i·C + b_i)
/// f = f(W_f·x + R_f·H + P_f·C + b_f)          with input_forget: 1 - i
/// C' = f·C + i·g(W_c·x + R_c·H + b_c)
/// o = f(W_o·x + R_o·H + P_o·C' + b_o)
/// H' = o·h(C')
/// ```
pub(super) struct Lstm;

impl Cell for Lstm {
    const N_GATES: usize = 4;
    const N_STATES: usize = 2;
    const ACTIVATIONS: &'static [&'static str] = &["Sigmoid", "Tanh", "Tanh"];
    const VARIANT: &'static str = "input_forget";
    const HAS_PEEPHOLES: bool = true;

    #[track_caller]
    fn step(weights: &Weights, projected: &Tensor, state: &[Tensor]) -> Vec<Tensor> {
        let (hidden, cell) = (&state[0], &state[1]);
        let gates = projected + weights.r.times_rows(hidden);
        // A gate, with what it sees of the cell's state.
        let gate = |index: usize, peephole: usize, cell: &Tensor| {
            let gate = weights.gate(&gates, index);
            match &weights.peepholes {
                Some(peepholes) => gate + &peepholes[peephole] * cell,
                None => gate,
            }
        };
        let input = weights.activate(0, &gate(0, 0, cell));
        let forget = match weights.variant {
            true => 1.0 - &input,
            false => weights.activate(0, &gate(2, 2, cell)),
        };
        let candidate = weights.activate(1, &weights.gate(&gates, 3));
        let cell = forget * cell + input * candidate;
        let output = weights.activate(0, &gate(1, 1, &cell));
        let hidden = output * weights.activate(2, &cell);
        vec![hidden, cell]
    }
}
