//! `LinearAttention`: attention without a softmax, as a recurrence over the keys seen so far.
//!
//! The state of a head is a matrix `S` of keys by values. With decay `g` and rate `β`, of which the rule may lack
//! either, a step is
//!
//! ```text
//! S' = exp(g)·S
//! S  = S' + k ⊗ β·(v - S'ᵀ·k)                 without a rate: S' + k ⊗ v
//! o  = scale · Sᵀ·q
//! ```

use nnc_frontend::Tensor;
use nnc_frontend::functional::Scan;
use nnc_ir::{DType, Dim};

use super::{Cx, Entry, Fault, Outcome, many, op, zeros};

pub(super) const OPS: &[Entry] = &[op("LinearAttention", 27.., linear_attention)];

fn linear_attention(cx: &mut Cx<'_>) -> Outcome {
    let [query, key, value] = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let dtype = query.dtype();
    let rule = cx.string_or("update_rule", "gated_delta")?;
    let (is_gated, is_delta) = match rule.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => {
            let expected = "expected linear, gated, delta or gated_delta";
            return Err(cx.invalid(format!("update_rule is `{other}`, {expected}")));
        }
    };
    let (decay, rate) = (cx.optional(4)?, cx.optional(5)?);
    for (name, is_wanted, given) in [("decay", is_gated, &decay), ("beta", is_delta, &rate)] {
        if is_wanted != given.is_some() {
            let what = if is_wanted { "needs" } else { "takes no" };
            return Err(cx.invalid(format!("update_rule `{rule}` {what} {name}")));
        }
    }
    let heads = |cx: &Cx<'_>, name: &str| match cx.int(name)? {
        Some(n) if n > 0 => Ok(n as usize),
        _ => Err(cx.invalid(format!("{name} is missing, expected a number of heads"))),
    };
    let (n_query, n) = (heads(cx, "q_num_heads")?, heads(cx, "kv_num_heads")?);
    if n_query % n != 0 {
        return Err(cx.invalid(format!("{n_query} heads of queries for {n} of keys, expected a multiple")));
    }

    // Steps first, `[T, N, heads, features]`, computed in f32 whatever the inputs are.
    let query = steps(cx, "query", &query, n_query)?;
    let key = steps(cx, "key", &key, n)?;
    let value = steps(cx, "value", &value, n)?;
    let (batch, n_key, n_value) = (key.size(1), key.size(3), value.size(3));
    // Heads of queries that share a state, `[T, N, heads, shared, features]`.
    let query = query.unflatten(2, [n, n_query / n]);
    let scale = match (cx.float_or("scale", 0.0)?, n_key.as_const()) {
        (scale, _) if scale != 0.0 => scale,
        (_, Some(n_key)) => 1.0 / (n_key as f64).sqrt(),
        (_, None) => return Err(cx.unsupported("a symbolic number of features without `scale`")),
    };
    // One number a head, or one a feature of the key: both broadcast to `[T, N, heads, features, 1]`.
    let decay = match decay {
        Some(decay) if decay.rank() == 3 => Some(steps(cx, "decay", &decay, n)?.exp().unsqueeze(-1)),
        Some(decay) => return Err(cx.invalid(format!("decay is {}, expected three dimensions", decay.ty()))),
        None => None,
    };
    let rate = match rate {
        Some(rate) if rate.rank() == 3 => {
            let n_rates = if rate.size(2) == Dim::from(1) { 1 } else { n };
            Some(steps(cx, "beta", &rate, n_rates)?)
        }
        Some(rate) => return Err(cx.invalid(format!("beta is {}, expected three dimensions", rate.ty()))),
        None => None,
    };
    let (state_dtype, state) = match cx.optional(3)? {
        Some(state) => (state.dtype(), state.to_dtype(DType::F32)),
        None => (dtype, zeros(DType::F32, [batch, n.into(), n_key, n_value])),
    };

    let xs = (query * scale, key, value, decay, rate);
    let (state, output) = Scan::new().run(state, xs, |state, (query, key, value, decay, rate)| {
        let state = match decay {
            Some(decay) => state * decay,
            None => state,
        };
        let written = match rate {
            // What the state answers to the key so far is taken back.
            Some(rate) => rate * (value - key.unsqueeze(-2).matmul(&state).squeeze(-2)),
            None => value,
        };
        let state = state + key.unsqueeze(-1) * written.unsqueeze(-2);
        let output = query.matmul(&state);
        (state, output)
    });
    // `[T, N, heads, shared, values]` back to `[N, T, heads * values]`.
    let output = output.transpose(0, 1).flatten(2, 4).to_dtype(dtype);
    many([output, state.to_dtype(state_dtype)])
}

/// `[N, T, heads * features]` as `[T, N, heads, features]`, `f32`.
fn steps(cx: &Cx<'_>, name: &str, x: &Tensor, n_heads: usize) -> Result<Tensor, Fault> {
    if x.rank() != 3 {
        return Err(cx.invalid(format!("{name} is {}, expected [N, T, heads * features]", x.ty())));
    }
    match x.size(2).exact_div(&Dim::from(n_heads)) {
        Some(features) => Ok(x.to_dtype(DType::F32).transpose(0, 1).unflatten(2, [Dim::from(n_heads), features])),
        None => Err(cx.invalid(format!("{name} is {}, which does not divide into {n_heads} heads", x.ty()))),
    }
}
