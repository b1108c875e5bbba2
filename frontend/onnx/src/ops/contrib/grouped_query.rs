//! `GroupQueryAttention`: attention of a language model that keeps the keys and values of what came before.
//!
//! Sequences of a batch may differ in length: `seqlens_k` says of each where its last key lies. New keys are put behind
//! the past ones of their own sequence, and a query sees what lies up to its own place.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::super::attention::heads;
use super::super::positions::counting;
use super::super::{Domain, Entry, Outcome, many, op, rotary};
use super::scaled_scores;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::shape_int::ShapeInt;

pub(in crate::ops) const OPS: &[Entry] =
    &[op("GroupQueryAttention", 1.., group_query_attention).in_domain(Domain::Microsoft)];

fn group_query_attention(cx: &mut Cx<'_>) -> Outcome {
    let (q, k, v) = operands(cx)?;
    let length = q.size(2);
    // Keys of each sequence that were there before: `[N, 1]`.
    let n_keys = cx.input(5)?.reshape([q.size(0), Dim::from(1)]).long() + 1;
    let n_past = (n_keys - Tensor::extent(&length)).maximum(0);
    let places = &n_past + counting(&[Dim::from(1), length.clone()], 1);
    let (q, k) = turned(cx, q, k, &places)?;
    let (k, v) = match (cx.optional(3)?, cx.optional(4)?) {
        (Some(past_key), Some(past_value)) if past_key.size(2) != Dim::from(0) => {
            let total = total(cx, &past_key.size(2), &length)?;
            (joined(&past_key, &k, &n_past, &total), joined(&past_value, &v, &n_past, &total))
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err(cx.invalid("past_key and past_value are not given together"));
        }
        _ => (k, v),
    };
    let output = attend(cx, &q, &k, &v, &places)?;
    many([output.permute([0, 2, 1, 3]).flatten(2, 3), k, v])
}

/// Queries, keys and values `[N, heads, L, features]`, which may come side by side in one tensor.
fn operands(cx: &Cx<'_>) -> Result<(Tensor, Tensor, Tensor), Fault> {
    let (n_heads, n_key_heads) = (cx.int_or("num_heads", 0)?, cx.int_or("kv_num_heads", 0)?);
    let q = cx.input(0)?;
    let (q, k, v) = match (cx.optional(1)?, cx.optional(2)?) {
        (Some(k), Some(v)) => (q, k, v),
        _ => {
            let n_parts = n_heads + 2 * n_key_heads;
            let width = q.size(-1).as_const().filter(|&width| n_parts > 0 && width as i64 % n_parts == 0);
            let Some(width) = width else {
                return Err(cx.invalid(format!("query is {}, expected features of {n_parts} heads", q.ty())));
            };
            let (of_q, of_k) =
                (width / n_parts as usize * n_heads as usize, width / n_parts as usize * n_key_heads as usize);
            (q.narrow(-1, 0, of_q), q.narrow(-1, of_q, of_k), q.narrow(-1, of_q + of_k, of_k))
        }
    };
    Ok((
        heads(cx, "query", q, Some(n_heads))?,
        heads(cx, "key", k, Some(n_key_heads))?,
        heads(cx, "value", v, Some(n_key_heads))?,
    ))
}

/// Queries and new keys turned by their places, if the operator is asked to.
fn turned(cx: &Cx<'_>, q: Tensor, k: Tensor, places: &Tensor) -> Result<(Tensor, Tensor), Fault> {
    if !cx.flag("do_rotary", false)? {
        return Ok((q, k));
    }
    let angles = (cx.input(7)?, cx.input(8)?);
    let places = match cx.optional(9)? {
        Some(given) => given,
        None => places.clone(),
    };
    let half = angles.0.size(1).as_const().ok_or_else(|| cx.unsupported("a cos_cache of a symbolic width"))?;
    let settings =
        rotary::Settings { n_heads: 0, n_turned: 2 * half as i64, interleaved: cx.flag("rotary_interleaved", false)? };
    let turn = |x: &Tensor| rotary::rotate(cx, x, angles.clone(), Some(&places), &settings);
    Ok((turn(&q)?, turn(&k)?))
}

/// How many places the present keys have: room for `total_sequence_length`, and for all of the past's buffer.
fn total(cx: &Cx<'_>, n_past: &Dim, length: &Dim) -> Result<Dim, Fault> {
    let behind = n_past.clone() + length.clone();
    match cx.shape_ints(6) {
        Ok(ints) => match (ints.as_slice(), n_past.as_const()) {
            ([ShapeInt::Known(total)], Some(n_past)) => Ok(Dim::from(n_past.max((*total).max(0) as usize))),
            _ => Ok(behind),
        },
        // A model that is read with its extents symbolic counts on what is longest.
        Err(_) if behind.as_const().is_none() => Ok(behind),
        Err(_) => Err(cx.needs_value(6)),
    }
}

/// `[N, heads, total, features]`: of each sequence its past, as long as it is, and then what is new.
fn joined(past: &Tensor, new: &Tensor, n_past: &Tensor, total: &Dim) -> Tensor {
    let (capacity, length) = (past.size(2), new.size(2));
    let both = Tensor::cat(&[past, new], 2);
    // Where each place of the present lies in `both`: `[N, 1, total, 1]`.
    let here = counting(&[Dim::from(1), Dim::from(1), total.clone(), Dim::from(1)], 2);
    let behind = &here - n_past.unsqueeze(-1).unsqueeze(-1);
    let is_new = behind.ge(0);
    let last = Tensor::extent(&length) - 1;
    let source = where_(&is_new, behind.maximum(0).minimum(&last) + Tensor::extent(&capacity), here);
    let dims = [new.size(0), new.size(1), total.clone(), new.size(3)];
    let present = both.gather(2, &source.broadcast_to(dims.to_vec()));
    where_(&behind.le(&last), present, 0)
}

fn attend(cx: &Cx<'_>, q: &Tensor, k: &Tensor, v: &Tensor, places: &Tensor) -> Result<Tensor, Fault> {
    let (mut scores, group) = scaled_scores(cx, q, k)?;
    let cap = cx.float_or("softcap", 0.0)?;
    if cap > 0.0 {
        scores = (scores / cap).tanh() * cap;
    }
    if let Some(bias) = cx.optional(10)? {
        scores += bias;
    }
    // `[N, 1, L, 1]` beside `[S]`.
    let queries = places.unsqueeze(1).unsqueeze(-1);
    let keys = counting(&[k.size(2)], 0);
    let mut allowed = keys.le(&queries);
    let window = cx.int_or("local_window_size", -1)?;
    if window >= 0 {
        allowed = allowed.logical_and(keys.gt(&queries - window));
    }
    let scores = where_(&allowed, scores, f64::from(f32::MIN));
    let weights = weights(cx, &scores)?;
    Ok(group.unfold(&group.fold(&weights).matmul(v)))
}

/// Softmax over the keys; beside them there may be a key that has a score but no value.
fn weights(cx: &Cx<'_>, scores: &Tensor) -> Result<Tensor, Fault> {
    let sink = match cx.optional(11)? {
        Some(sink) => Some(sink.reshape([1, -1, 1, 1])),
        None if cx.flag("smooth_softmax", false)? => Some(Tensor::zeros([1, 1, 1, 1])),
        None => None,
    };
    let Some(sink) = sink else { return Ok(scores.softmax(-1)) };
    let dims = [scores.size(0), scores.size(1), scores.size(2), Dim::from(1)];
    let column = sink.to_dtype(scores.dtype()).broadcast_to(dims.to_vec());
    let wide = Tensor::cat(&[scores, &column], 3).to_dtype(DType::F32).softmax(-1);
    Ok(wide.slice(3, 0, Some(-1), 1).to_dtype(scores.dtype()))
}
