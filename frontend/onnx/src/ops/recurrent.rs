//! `RNN`, `GRU` and `LSTM`, and `DynamicQuantizeLSTM` of `com.microsoft`.
//!
//! What they share is here: operands and layouts, directions, lengths of sequences, and the loop over the steps. What
//! distinguishes them is a [`Cell`] each: how one step makes the next state. As in the front end's own layers, what
//! depends on the inputs alone (their product with `W`, and each bias that is merely added) is computed before the
//! loop, as one matrix product for all steps.

use nnc_frontend::Tensor;
use nnc_frontend::functional::Scan;
use nnc_frontend::tensor::where_;
use nnc_ir::Dim;

use super::{Cx, Domain, Entry, Fault, Outcome, iota, many, op, zeros};

mod activation;
mod cell;
mod factor;

use activation::Activation;
use cell::{Cell, Gru, Lstm, Rnn};
use factor::Factor;

pub(super) const OPS: &[Entry] = &[
    op("RNN", 7.., rnn),
    op("GRU", 7.., gru),
    op("LSTM", 7.., lstm),
    op("DynamicQuantizeLSTM", 1.., dynamic_quantize_lstm).in_domain(Domain::Microsoft),
];

fn rnn(cx: &mut Cx<'_>) -> Outcome {
    recurrent::<Rnn>(cx, Form::Plain)
}

fn gru(cx: &mut Cx<'_>) -> Outcome {
    recurrent::<Gru>(cx, Form::Plain)
}

fn lstm(cx: &mut Cx<'_>) -> Outcome {
    recurrent::<Lstm>(cx, Form::Plain)
}

fn dynamic_quantize_lstm(cx: &mut Cx<'_>) -> Outcome {
    recurrent::<Lstm>(cx, Form::Quantized)
}

/// How `W` and `R` are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As floats, a row for each gate.
    Plain,
    /// As integers of 8 bits, a column for each gate; scales and zero points are inputs 8 to 11.
    Quantized,
}

/// The operands of one direction.
struct Weights {
    /// `[gates * hidden, input]`.
    w: Factor,
    /// `[gates * hidden, hidden]`.
    r: Factor,
    /// The biases beside `W` and beside `R`, `[gates * hidden]` each.
    bias: Option<(Tensor, Tensor)>,
    /// `[hidden]` each, of the input, output and forget gates.
    peepholes: Option<[Tensor; 3]>,
    hidden: usize,
    activations: Vec<Activation>,
    clip: Option<f64>,
    /// The operator's own switch: `linear_before_reset`, `input_forget`.
    variant: bool,
}

impl Weights {
    /// Function `index` of the operator's list, on a clipped argument.
    #[track_caller]
    fn activate(&self, index: usize, x: &Tensor) -> Tensor {
        let x = match self.clip {
            Some(clip) => x.maximum(-clip).minimum(clip),
            None => x.clone(),
        };
        self.activations[index].apply(&x)
    }

    /// Gate `index` of what holds the gates side by side.
    #[track_caller]
    fn gate(&self, gates: &Tensor, index: usize) -> Tensor {
        gates.narrow(-1, index * self.hidden, self.hidden)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

fn recurrent<C: Cell>(cx: &mut Cx<'_>, form: Form) -> Outcome {
    let directions: &[Direction] = match cx.string_or("direction", "forward")?.as_str() {
        "forward" => &[Direction::Forward],
        "reverse" => &[Direction::Reverse],
        "bidirectional" => &[Direction::Forward, Direction::Reverse],
        other => return Err(cx.invalid(format!("direction is `{other}`, expected forward, reverse or bidirectional"))),
    };
    let batch_first = cx.flag("layout", false)?;
    let x = cx.input(0)?;
    if x.rank() != 3 {
        return Err(cx.invalid(format!("X is {}, expected three dimensions", x.ty())));
    }
    let x = if batch_first { x.transpose(0, 1) } else { x };
    let (n_steps, n) = (x.size(0), x.size(1));
    let weights = directions_of::<C>(cx, form, directions.len())?;
    let inside = cx.optional(4)?.map(|lengths| step_mask(&lengths, &n_steps, &n));

    let mut states = Vec::with_capacity(C::N_STATES);
    for leaf in 0..C::N_STATES {
        let hidden = Dim::from(weights[0].hidden);
        states.push(match cx.optional(5 + leaf)? {
            Some(given) if batch_first => given.transpose(0, 1),
            Some(given) => given,
            None => zeros(x.dtype(), [Dim::from(directions.len()), n.clone(), hidden]),
        });
    }

    let (mut outputs, mut last) = (Vec::new(), vec![Vec::new(); C::N_STATES]);
    for (idx, (direction, weights)) in directions.iter().zip(&weights).enumerate() {
        let initial: Vec<Tensor> = states.iter().map(|state| state.select(0, idx as i64)).collect();
        let steps = (C::project(weights, &x), inside.clone());
        let scan = Scan::new().reverse(*direction == Direction::Reverse);
        let (final_states, output) = scan.run(initial, steps, |state, (projected, inside)| {
            let next = C::step(weights, &projected, &state);
            let Some(inside) = inside else {
                let output = next[0].clone();
                return (next, output);
            };
            // Beyond its end a sequence keeps its state, so the reverse direction begins at the last step that counts.
            let kept = state.iter().zip(&next).map(|(state, next)| where_(&inside, next, state)).collect();
            (kept, where_(&inside, &next[0], 0))
        });
        outputs.push(output);
        for (of_all, state) in last.iter_mut().zip(final_states) {
            of_all.push(state);
        }
    }

    // `[T, D, N, H]`, or `[N, T, D, H]` with the batch first; states `[D, N, H]` or `[N, D, H]`.
    let output = Tensor::stack(&outputs, 1);
    let mut results = vec![if batch_first { output.permute([2, 0, 1, 3]) } else { output }];
    results.extend(last.iter().map(|states| Tensor::stack(states, if batch_first { 1 } else { 0 })));
    many(results)
}

/// The operands of each direction, checked against each other.
fn directions_of<C: Cell>(cx: &mut Cx<'_>, form: Form, n_directions: usize) -> Result<Vec<Weights>, Fault> {
    let matrices = |index: usize| -> Result<Tensor, Fault> {
        let given = cx.input(index)?;
        // Rows are gates from here on.
        Ok(if form == Form::Quantized && given.rank() == 3 { given.transpose(1, 2) } else { given })
    };
    let (w, r, b) = (matrices(1)?, matrices(2)?, cx.optional(3)?);
    let quantization = match form {
        Form::Plain => None,
        Form::Quantized => Some([[cx.input(8)?, cx.input(9)?], [cx.input(10)?, cx.input(11)?]]),
    };
    let hidden = r.ty().shape.dims().last().and_then(Dim::as_const).unwrap_or(0);
    let n_rows = C::N_GATES * hidden;
    let is = |tensor: &Tensor, dims: &[usize]| {
        let shape = tensor.shape();
        shape.rank() == dims.len() && shape.dims().iter().zip(dims).all(|(dim, &want)| *dim == Dim::from(want))
    };
    if hidden == 0 || !is(&r, &[n_directions, n_rows, hidden]) {
        return Err(cx.invalid(format!("R is {}, expected [{n_directions}, {} * hidden, hidden]", r.ty(), C::N_GATES)));
    }
    if let Some(given) = cx.int("hidden_size")?
        && given != hidden as i64
    {
        return Err(cx.invalid(format!("hidden_size is {given}, expected {hidden} as in R, {}", r.ty())));
    }
    if w.rank() != 3 || w.size(0) != Dim::from(n_directions) || w.size(1) != Dim::from(n_rows) {
        return Err(cx.invalid(format!("W is {}, expected [{n_directions}, {n_rows}, input size]", w.ty())));
    }
    if let Some(b) = &b
        && !is(b, &[n_directions, 2 * n_rows])
    {
        return Err(cx.invalid(format!("B is {}, expected [{n_directions}, {}]", b.ty(), 2 * n_rows)));
    }
    let peepholes = if C::HAS_PEEPHOLES { cx.optional(7)? } else { None };
    if let Some(p) = &peepholes
        && !is(p, &[n_directions, 3 * hidden])
    {
        return Err(cx.invalid(format!("P is {}, expected [{n_directions}, {}]", p.ty(), 3 * hidden)));
    }
    let activations = activation::list(cx, C::ACTIVATIONS, n_directions)?;
    let clip = cx.float("clip")?;
    let variant = if C::VARIANT.is_empty() { false } else { cx.flag(C::VARIANT, false)? };

    let direction = |(idx, activations): (usize, &[Activation])| {
        let of = |tensor: &Tensor| tensor.select(0, idx as i64);
        let factor = |tensor: &Tensor, which: usize| match &quantization {
            None => Factor::Plain(of(tensor)),
            Some(given) => {
                // One scale a direction, or one for each of its gates.
                let [scale, zero_point] = [&given[which][0], &given[which][1]].map(&of);
                Factor::Quantized { elements: of(tensor), scale, zero_point }
            }
        };
        Weights {
            w: factor(&w, 0),
            r: factor(&r, 1),
            bias: b.as_ref().map(of).map(|b| (b.narrow(0, 0, n_rows), b.narrow(0, n_rows, n_rows))),
            peepholes: peepholes.as_ref().map(of).map(|p| [0, 1, 2].map(|gate| p.narrow(0, gate * hidden, hidden))),
            hidden,
            activations: activations.to_vec(),
            clip,
            variant,
        }
    };
    Ok(activations.chunks(C::ACTIVATIONS.len()).enumerate().map(direction).collect())
}

/// `bool` `[T, N, 1]`: whether a step lies within its sequence.
#[track_caller]
fn step_mask(lengths: &Tensor, n_steps: &Dim, n: &Dim) -> Tensor {
    let steps = iota(lengths.dtype(), [n_steps.clone(), n.clone()], 0);
    steps.lt(lengths).unsqueeze(-1)
}
