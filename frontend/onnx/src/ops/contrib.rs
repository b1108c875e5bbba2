//! `com.microsoft`: what ONNX Runtime's optimizer makes of transformers, whose models are passed on in that form.
//!
//! Semantics are those of ONNX Runtime's contrib operators.

use nnc_frontend::Tensor;
use nnc_frontend::functional::embedding;
use nnc_frontend::tensor::{Reduced, where_};
use nnc_ir::{DType, Dim};

use super::attention::{Group, heads, positions, softmax};
use super::{Cx, Domain, Entry, Fault, Outcome, iota, many, one, op, rotary, wide, zeros};

pub(super) mod fused;
pub(super) mod grouped_query;

pub(super) const OPS: &[Entry] = &[
    op("Attention", 1.., attention).in_domain(Domain::Microsoft),
    op("BiasGelu", 1.., bias_gelu).in_domain(Domain::Microsoft),
    op("EmbedLayerNormalization", 1.., embed_layer_norm).in_domain(Domain::Microsoft),
    op("FastGelu", 1.., fast_gelu).in_domain(Domain::Microsoft),
    op("FusedMatMul", 1.., fused_matmul).in_domain(Domain::Microsoft),
    op("Gelu", 1.., gelu).in_domain(Domain::Microsoft),
    op("MultiHeadAttention", 1.., multi_head_attention).in_domain(Domain::Microsoft),
    op("QuickGelu", 1.., quick_gelu).in_domain(Domain::Microsoft),
    op("RotaryEmbedding", 1.., rotary_embedding).in_domain(Domain::Microsoft),
    op("SimplifiedLayerNormalization", 1.., simplified_layer_norm),
    op("SkipLayerNormalization", 1.., skip_layer_norm).in_domain(Domain::Microsoft),
    op("SkipSimplifiedLayerNormalization", 1.., skip_simplified_layer_norm).in_domain(Domain::Microsoft),
];

fn gelu(cx: &mut Cx<'_>) -> Outcome {
    one(cx.input(0)?.gelu())
}

fn bias_gelu(cx: &mut Cx<'_>) -> Outcome {
    one((cx.input(0)? + cx.input(1)?).gelu())
}

fn fast_gelu(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    one(match cx.optional(1)? {
        Some(bias) => (x + bias).gelu_tanh(),
        None => x.gelu_tanh(),
    })
}

fn quick_gelu(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let gate = (&x * cx.float_or("alpha", 1.702)?).sigmoid();
    one(x * gate)
}

/// A matrix product of operands that are transposed first, with a factor.
fn fused_matmul(cx: &mut Cx<'_>) -> Outcome {
    let mut operands = [cx.input(0)?, cx.input(1)?];
    for (operand, side) in operands.iter_mut().zip(["A", "B"]) {
        if cx.flag(&format!("transBatch{side}"), false)? {
            return Err(cx.unsupported(format!("transBatch{side}; transpose the operand before")));
        }
        if cx.flag(&format!("trans{side}"), false)? && operand.rank() >= 2 {
            *operand = operand.transpose(-2, -1);
        }
    }
    let alpha = cx.float_or("alpha", 1.0)?;
    let product = operands[0].matmul(&operands[1]);
    one(if alpha == 1.0 { product } else { product * alpha })
}

/// What a layer norm over the last dimension gives, the mean, and the inverse of the deviation; halves are normalized
/// in `f32`.
#[track_caller]
fn normalize(x: &Tensor, epsilon: f64) -> (Tensor, Tensor, Tensor) {
    let wide = wide(x);
    let mean = wide.mean(Reduced::keep(-1));
    let centered = &wide - &mean;
    let inverse = (centered.square().mean(Reduced::keep(-1)) + epsilon).rsqrt();
    ((centered * &inverse).to_dtype(x.dtype()), mean, inverse)
}

/// [`normalize`] without a mean.
#[track_caller]
fn normalize_simply(x: &Tensor, epsilon: f64) -> (Tensor, Tensor) {
    let wide = wide(x);
    let inverse = (wide.square().mean(Reduced::keep(-1)) + epsilon).rsqrt();
    ((wide * &inverse).to_dtype(x.dtype()), inverse)
}

fn simplified_layer_norm(cx: &mut Cx<'_>) -> Outcome {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    if cx.axis(cx.int_or("axis", -1)?, x.rank())? + 1 != x.rank() {
        return Err(cx.unsupported("an axis other than the last; use RMSNormalization"));
    }
    let (normalized, inverse) = normalize_simply(&x, cx.float_or("epsilon", 1e-5)?);
    many([normalized * scale, inverse])
}

fn skip_layer_norm(cx: &mut Cx<'_>) -> Outcome {
    let mut sum = cx.input(0)? + cx.input(1)?;
    if let Some(bias) = cx.optional(4)? {
        sum += bias;
    }
    let (normalized, mean, inverse) = normalize(&sum, cx.float_or("epsilon", 1e-12)?);
    let y = normalized * cx.input(2)?;
    let y = match cx.optional(3)? {
        Some(shift) => y + shift,
        None => y,
    };
    many([y, mean, inverse, sum])
}

fn skip_simplified_layer_norm(cx: &mut Cx<'_>) -> Outcome {
    let mut sum = cx.input(0)? + cx.input(1)?;
    if let Some(bias) = cx.optional(3)? {
        sum += bias;
    }
    let (normalized, inverse) = normalize_simply(&sum, cx.float_or("epsilon", 1e-12)?);
    // There is no mean, but its place.
    many([normalized * cx.input(2)?, inverse.clone(), inverse, sum])
}

/// The embeddings of words, positions and segments, added and normalized; and the number of words that the mask counts.
fn embed_layer_norm(cx: &mut Cx<'_>) -> Outcome {
    let words = cx.input(0)?;
    if words.rank() != 2 {
        return Err(cx.invalid(format!("input_ids is {}, expected [N, T]", words.ty())));
    }
    let (n, length) = (words.size(0), words.size(1));
    let table = cx.input(3)?;
    let placed = match cx.optional(8)? {
        Some(positions) => embedding(&positions, table, None),
        None => embedding(&positions(&Dim::from(0), &length), table, None),
    };
    let mut sum = embedding(&words, cx.input(2)?, None) + placed;
    if let (Some(segments), Some(table)) = (cx.optional(1)?, cx.optional(4)?) {
        sum += embedding(&segments, table, None);
    }
    let (normalized, ..) = normalize(&sum, cx.float_or("epsilon", 1e-12)?);
    let y = normalized * cx.input(5)? + cx.input(6)?;
    let counts = match cx.optional(7)? {
        Some(mask) => mask.sum(1).to_dtype(DType::I32),
        None => zeros(DType::I32, [n]),
    };
    many([y, counts, sum])
}

fn rotary_embedding(cx: &mut Cx<'_>) -> Outcome {
    let (x, mut places) = (cx.input(0)?, cx.input(1)?);
    let (cos, sin) = (cx.input(2)?, cx.input(3)?);
    let scale = cx.float_or("scale", 1.0)?;
    if scale != 1.0 || cx.flag("is_packed_batching", false)? {
        return Err(cx.unsupported("a scale or packed batches"));
    }
    let steps = x.size(if x.rank() == 4 { 2 } else { 1 });
    if places.rank() == 1 {
        // One number: where the steps begin.
        places = iota(places.dtype(), [steps.clone()], 0) + places;
    }
    let places = places.broadcast_to(vec![x.size(0), steps]);
    let half = cos.size(1).as_const().unwrap_or(0) as i64;
    let n_heads = match cx.int_or("num_heads", 0)? {
        0 if x.rank() == 3 => match x.size(2).as_const() {
            Some(features) if half > 0 => features as i64 / (2 * half),
            _ => return Err(cx.unsupported("a symbolic number of features without `num_heads`")),
        },
        n_heads => n_heads,
    };
    let settings = rotary::Settings {
        n_heads,
        n_turned: cx.int_or("rotary_embedding_dim", 0)?,
        interleaved: cx.flag("interleaved", false)?,
    };
    one(rotary::rotate(cx, &x, (cos, sin), Some(&places), &settings)?)
}

/// Which keys count, as what is added to the scores `[N, heads, L, S]`: `filter` where one does not.
fn padding(cx: &Cx<'_>, mask: &Tensor, n_keys: &Dim, like: &Tensor) -> Result<Tensor, Fault> {
    let filter = cx.float_or("mask_filter_value", -10000.0)?;
    let counts = match mask.rank() {
        // Lengths of sequences that are filled up at the end.
        1 => {
            iota(DType::I32, [n_keys.clone()], 0).lt(mask.to_dtype(DType::I32).unsqueeze(-1)).unsqueeze(1).unsqueeze(1)
        }
        2 => mask.ne(0).unsqueeze(1).unsqueeze(1),
        3 => mask.ne(0).unsqueeze(1),
        _ => return Err(cx.unsupported(format!("a mask {}, expected one to three dimensions", mask.ty()))),
    };
    if mask.rank() == 1 && mask.size(0) != like.size(0) {
        return Err(cx.unsupported(format!("a mask {} that gives starts beside lengths", mask.ty())));
    }
    Ok(where_(&counts, 0.0, filter).to_dtype(like.dtype()))
}

/// What is added to the scores: for what input `mask` leaves out, and input 5.
fn scores_bias(cx: &Cx<'_>, mask: usize, n_keys: &Dim, q: &Tensor) -> Result<Option<Tensor>, Fault> {
    let mask = cx.optional(mask)?.map(|mask| padding(cx, &mask, n_keys, q)).transpose()?;
    Ok(match (mask, cx.optional(5)?) {
        (Some(mask), Some(given)) => Some(mask + given),
        (mask, given) => mask.or(given),
    })
}

/// What attention over `[N, heads, length, features]` is asked for beyond its operands.
struct Request {
    bias: Option<Tensor>,
    unidirectional: bool,
    n_past: Dim,
}

/// The scores `[N, heads, L, S]` of queries and keys, scaled by attribute `scale`, and which heads share keys.
fn scaled_scores(cx: &Cx<'_>, q: &Tensor, k: &Tensor) -> Result<(Tensor, Group), Fault> {
    let features = q.size(3).as_const().ok_or_else(|| cx.unsupported("a symbolic number of features"))?;
    let scale = match cx.float_or("scale", 0.0)? {
        0.0 => 1.0 / (features as f64).sqrt(),
        scale => scale,
    };
    let group = Group::of(cx, q, k)?;
    Ok((group.unfold(&group.fold(q).matmul(k.transpose(-2, -1))) * scale, group))
}

fn attend(cx: &Cx<'_>, q: &Tensor, k: &Tensor, v: &Tensor, request: Request) -> Result<Tensor, Fault> {
    let (mut scores, group) = scaled_scores(cx, q, k)?;
    if let Some(bias) = request.bias {
        scores += bias;
    }
    if request.unidirectional {
        let queries = positions(&request.n_past, &q.size(2)).unsqueeze(-1);
        let allowed = iota(DType::I32, [k.size(2)], 0).le(queries);
        scores = where_(&allowed, scores, f64::from(f32::MIN));
    }
    let output = group.unfold(&group.fold(&softmax(&scores, false)).matmul(v));
    Ok(output.permute([0, 2, 1, 3]).flatten(2, 3))
}

/// Self-attention with its projections: one product makes queries, keys and values of the input.
fn attention(cx: &mut Cx<'_>) -> Outcome {
    let (x, weight) = (cx.input(0)?, cx.input(1)?);
    if cx.flag("do_rotary", false)? || cx.flag("past_present_share_buffer", false)? {
        return Err(cx.unsupported("do_rotary or past_present_share_buffer"));
    }
    let n_heads = cx.int_or("num_heads", 0)?;
    let total = weight.size(1).as_const().unwrap_or(0) as i64;
    let sizes = cx.ints("qkv_hidden_sizes")?.unwrap_or_else(|| vec![total / 3; 3]);
    let [n_query, n_key, n_value] = sizes.as_slice() else {
        return Err(cx.invalid(format!("qkv_hidden_sizes has {} numbers, expected 3", sizes.len())));
    };
    if n_query + n_key + n_value != total || n_query != n_key || sizes.iter().any(|&size| size <= 0) {
        return Err(cx.invalid(format!("the weight is {}, expected columns for {sizes:?}", weight.ty())));
    }
    let mut projected = x.matmul(weight);
    if let Some(bias) = cx.optional(2)? {
        projected += bias;
    }
    let part = |name: &str, start: i64, size: i64| {
        heads(cx, name, projected.narrow(-1, start as usize, size as usize), Some(n_heads))
    };
    let q = part("query", 0, *n_query)?;
    let (mut k, mut v) = (part("key", *n_query, *n_key)?, part("value", n_query + n_key, *n_value)?);
    let mut n_past = Dim::from(0);
    if let Some(past) = cx.optional(4)? {
        n_past = past.size(3);
        k = Tensor::cat(&[past.select(0, 0), k], 2);
        v = Tensor::cat(&[past.select(0, 1), v], 2);
    }
    let bias = scores_bias(cx, 3, &k.size(2), &q)?;
    let unidirectional = cx.flag("unidirectional", false)?;
    let output = attend(cx, &q, &k, &v, Request { bias, unidirectional, n_past })?;
    // Keys and values of different sizes have no present in common.
    let present = if k.shape() == v.shape() { Some(Tensor::stack(&[k, v], 0)) } else { None };
    many([output].into_iter().chain(present))
}

fn multi_head_attention(cx: &mut Cx<'_>) -> Outcome {
    if !cx.has(1) || !cx.has(2) {
        return Err(cx.unsupported("queries, keys and values packed into one tensor"));
    }
    let n_heads = cx.int("num_heads")?;
    let mut parts = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    if let Some(bias) = cx.optional(3)? {
        let mut start = 0;
        for part in &mut parts {
            let width = if part.rank() == 3 { part.size(2).as_const() } else { None };
            let Some(width) = width else { return Err(cx.unsupported("a bias for keys that are split already")) };
            *part += bias.narrow(0, start, width);
            start += width;
        }
    }
    let [q, k, v] = parts;
    let (q, mut k, mut v) =
        (heads(cx, "query", q, n_heads)?, heads(cx, "key", k, n_heads)?, heads(cx, "value", v, n_heads)?);
    let mut n_past = Dim::from(0);
    if let (Some(past_key), Some(past_value)) = (cx.optional(6)?, cx.optional(7)?) {
        n_past = past_key.size(2);
        k = Tensor::cat(&[past_key, k], 2);
        v = Tensor::cat(&[past_value, v], 2);
    }
    let bias = scores_bias(cx, 4, &k.size(2), &q)?;
    let unidirectional = cx.flag("unidirectional", false)?;
    let output = attend(cx, &q, &k, &v, Request { bias, unidirectional, n_past })?;
    many([output, k, v])
}
