//! `Attention` and `FlexAttention`: dot, scale, cap, mask, softmax, dot.
//!
//! Both are written as what they are, like the front end's own attention: which ops share a kernel, and whether scores
//! are ever whole in memory, is decided later. Heads of keys that several heads of queries share are never repeated;
//! the queries' heads become rows of one product instead.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{apply, where_};
use nnc_ir::ops::SliceAttrs;
use nnc_ir::{DType, Dim, Op};

use super::{Cx, Domain, Entry, Fault, Outcome, iota, many, one, op};

pub(super) const OPS: &[Entry] =
    &[op("Attention", 23.., attention), op("FlexAttention", 1.., flex_attention).in_domain(Domain::Preview)];

fn attention(cx: &mut Cx<'_>) -> Outcome {
    let [q, k, v] = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let is_packed = q.rank() == 3;
    let (q_heads, kv_heads) = (cx.int("q_num_heads")?, cx.int("kv_num_heads")?);
    let q = heads(cx, "Q", q, q_heads)?;
    let k = heads(cx, "K", k, kv_heads)?;
    let v = heads(cx, "V", v, kv_heads)?;
    let dtype = q.dtype();

    let (past_key, past_value) = (cx.optional(4)?, cx.optional(5)?);
    let n_valid = cx.optional(6)?;
    let (n_past, k, v) = match (past_key, past_value) {
        (Some(past_key), Some(past_value)) if n_valid.is_none() => {
            (past_key.size(2), Tensor::cat(&[past_key, k], 2), Tensor::cat(&[past_value, v], 2))
        }
        (None, None) => (Dim::from(0), k, v),
        (Some(_), Some(_)) => return Err(cx.invalid("nonpad_kv_seqlen is given beside past_key and past_value")),
        _ => return Err(cx.invalid("past_key and past_value are not given together")),
    };

    let group = Group::of(cx, &q, &k)?;
    let raw = scores(cx, &group, &q, &k)?;
    let cap = cx.float_or("softcap", 0.0)?;
    let capped = if cap > 0.0 { (&raw / cap).tanh() * cap } else { raw.clone() };
    let mask = Mask::of(cx, &q, &k, n_past, n_valid.as_ref())?;
    let masked = mask.apply(&capped);
    let precision = cx.dtype_or("softmax_precision", dtype)?;
    let weights = softmax(&masked.to_dtype(precision), mask.may_forbid_all()).to_dtype(dtype);
    let output = group.unfold(&group.fold(&weights).matmul(v.to_dtype(dtype)));
    let output = if is_packed { output.permute([0, 2, 1, 3]).flatten(2, 3) } else { output };
    let inspected = match cx.int_or("qk_matmul_output_mode", 0)? {
        0 => raw,
        1 => capped,
        2 => masked,
        3 => weights,
        other => return Err(cx.invalid(format!("qk_matmul_output_mode is {other}, expected 0 to 3"))),
    };
    many([output, k, v, inspected])
}

/// Attention with graphs of the model's own on the scores and on the weights.
fn flex_attention(cx: &mut Cx<'_>) -> Outcome {
    let [q, k, v] = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    for (name, tensor) in [("Q", &q), ("K", &k), ("V", &v)] {
        if tensor.rank() != 4 {
            return Err(cx.invalid(format!("{name} is {}, expected four dimensions", tensor.ty())));
        }
    }
    let dtype = v.dtype();
    let precision = cx.dtype_or("softmax_precision", if q.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
    let group = Group::of(cx, &q, &k)?;
    let scores = scores(cx, &group, &q, &k)?.to_dtype(precision);
    let scores = modified(cx, "score_mod", scores)?;
    let weights = modified(cx, "prob_mod", softmax(&scores, false))?;
    let output = group.unfold(&group.fold(&weights).matmul(v.to_dtype(precision)));
    one(output.to_dtype(dtype))
}

/// What the graph of an attribute makes of `tensor`, or `tensor` if there is none.
fn modified(cx: &mut Cx<'_>, name: &str, tensor: Tensor) -> Result<Tensor, Fault> {
    if cx.attribute(name).is_none() {
        return Ok(tensor);
    }
    let ty = tensor.ty();
    let results = cx.subgraph(cx.graph(name)?, vec![tensor.into()])?;
    let result = match results.as_slice() {
        [result] => cx.tensor_of(result),
        _ => None,
    };
    let Some(result) = result else {
        return Err(cx.invalid(format!("{name} gives {} results, expected one tensor", results.len())));
    };
    if result.checked_ty().is_some_and(|found| found != ty) {
        return Err(cx.invalid(format!("{name} gives {}, expected {ty} as it takes", result.ty())));
    }
    Ok(result)
}

/// `[N, heads, length, features]` of what may be packed, `[N, length, heads * features]`.
pub(super) fn heads(cx: &Cx<'_>, name: &str, x: Tensor, n_heads: Option<i64>) -> Result<Tensor, Fault> {
    match (x.rank(), n_heads) {
        (4, _) => Ok(x),
        (3, Some(n_heads)) if n_heads > 0 => {
            let n_heads = n_heads as usize;
            match x.size(2).exact_div(&Dim::from(n_heads)) {
                Some(features) => Ok(x.reshape([x.size(0), x.size(1), n_heads.into(), features]).permute([0, 2, 1, 3])),
                None => Err(cx.invalid(format!("{name} is {}, which does not divide into {n_heads} heads", x.ty()))),
            }
        }
        (3, _) => Err(cx.invalid(format!("{name} is {}, without a number of heads", x.ty()))),
        _ => Err(cx.invalid(format!("{name} is {}, expected three or four dimensions", x.ty()))),
    }
}

/// The scaled products of queries and keys, `[N, query heads, L, S]`.
fn scores(cx: &Cx<'_>, group: &Group, q: &Tensor, k: &Tensor) -> Result<Tensor, Fault> {
    let scale = match (cx.float("scale")?, q.size(3).as_const()) {
        (Some(scale), _) => scale,
        (None, Some(features)) => 1.0 / (features as f64).sqrt(),
        (None, None) => return Err(cx.unsupported(format!("Q is {}, of a symbolic number of features", q.ty()))),
    };
    // Half of the scale on each side keeps products in the range of narrow types; wide ones take it afterwards, which
    // is one pass over the scores that fuses with the next.
    if q.dtype().size() < 4 {
        let root = scale.sqrt();
        return Ok(group.unfold(&group.fold(&(q * root)).matmul((k * root).transpose(-2, -1))));
    }
    Ok(group.unfold(&group.fold(q).matmul(k.transpose(-2, -1))) * scale)
}

/// How heads of queries and heads of keys meet: `per_key` neighboring heads of queries share one of keys.
pub(super) struct Group {
    per_key: usize,
}

impl Group {
    pub(super) fn of(cx: &Cx<'_>, q: &Tensor, k: &Tensor) -> Result<Self, Fault> {
        match (q.size(1).as_const(), k.size(1).as_const()) {
            (Some(n), Some(n_key)) if n_key > 0 && n.is_multiple_of(n_key) => Ok(Self { per_key: n / n_key }),
            (None, None) if q.size(1) == k.size(1) => Ok(Self { per_key: 1 }),
            _ => Err(cx.invalid(format!("{} heads of Q for {} of K, expected a multiple", q.size(1), k.size(1)))),
        }
    }

    /// `[N, H, L, F]` as `[N, H / per_key, per_key * L, F]`.
    #[track_caller]
    pub(super) fn fold(&self, x: &Tensor) -> Tensor {
        match x.dims().as_slice() {
            [n, heads, length, features] if self.per_key > 1 => {
                let heads = heads.floor_div(&Dim::from(self.per_key));
                x.reshape([n.clone(), heads, Dim::from(self.per_key) * length.clone(), features.clone()])
            }
            _ => x.clone(),
        }
    }

    /// The inverse of [`Group::fold`].
    #[track_caller]
    pub(super) fn unfold(&self, x: &Tensor) -> Tensor {
        match x.dims().as_slice() {
            [n, heads, rows, features] if self.per_key > 1 => {
                let length = rows.floor_div(&Dim::from(self.per_key));
                x.reshape([n.clone(), Dim::from(self.per_key) * heads.clone(), length, features.clone()])
            }
            _ => x.clone(),
        }
    }
}

/// Which query looks at which key; both parts broadcast to the scores.
#[derive(Default)]
struct Mask {
    /// `bool`, true where looking is allowed.
    allowed: Option<Tensor>,
    /// Added to the scores.
    bias: Option<Tensor>,
}

impl Mask {
    fn of(cx: &Cx<'_>, q: &Tensor, k: &Tensor, n_past: Dim, n_valid: Option<&Tensor>) -> Result<Self, Fault> {
        let (n_queries, n_keys) = (q.size(2), k.size(2));
        let mut mask = Self::default();
        if let Some(given) = cx.optional(3)? {
            mask.restrict(cx, &given, q, &n_keys)?;
        }
        let window = |cx: &Cx<'_>, name: &str| match cx.int_or(name, -1)? {
            ..-1 => Err(cx.invalid(format!("{name} is negative, expected -1 (no limit) or a number of positions"))),
            -1 => Ok(None),
            n => Ok(Some(n)),
        };
        let (left, mut right) = (window(cx, "left_window_size")?, window(cx, "right_window_size")?);
        if cx.flag("is_causal", false)? {
            right = Some(0);
        }
        let keys = iota(DType::I32, [n_keys.clone()], 0);
        if left.is_some() || right.is_some() {
            // The position of a query among the keys: behind those of the past, or the last of the valid ones.
            let queries = match n_valid {
                None => positions(&n_past, &n_queries).unsqueeze(-1),
                Some(n_valid) => {
                    let queries = iota(DType::I32, [n_queries.clone()], 0).unsqueeze(-1);
                    let offset = n_valid.to_dtype(DType::I32) - Tensor::extent(&n_queries).to_dtype(DType::I32);
                    queries + offset.unsqueeze(-1).unsqueeze(-1).unsqueeze(-1)
                }
            };
            if let Some(right) = right {
                mask.allow(keys.le(if right == 0 { queries.clone() } else { &queries + right }));
            }
            if let Some(left) = left {
                mask.allow(keys.ge(if left == 0 { queries } else { queries - left }));
            }
        }
        if let Some(n_valid) = n_valid {
            let n_valid = n_valid.to_dtype(DType::I32).unsqueeze(-1).unsqueeze(-1).unsqueeze(-1);
            mask.allow(keys.lt(n_valid));
        }
        Ok(mask)
    }

    /// Takes in `attn_mask`: truth values allow, numbers are added. Keys beyond its end are forbidden.
    fn restrict(&mut self, cx: &Cx<'_>, given: &Tensor, q: &Tensor, n_keys: &Dim) -> Result<(), Fault> {
        if given.rank() == 0 || given.rank() > 4 {
            return Err(cx.invalid(format!("attn_mask is {}, expected one to four dimensions", given.ty())));
        }
        let n_given = given.size(-1);
        let n_missing = match (n_keys.as_const(), n_given.as_const()) {
            (Some(n_keys), Some(n_given)) if n_given > 1 || n_keys <= 1 => n_keys as i64 - n_given as i64,
            _ => 0,
        };
        if n_missing < 0 {
            return Err(cx.invalid(format!("attn_mask is {}, expected at most {n_keys} keys", given.ty())));
        }
        if given.dtype() == DType::Bool {
            let given = match n_missing {
                0 => given.clone(),
                n => given.to_dtype(DType::U8).pad(&[(0, n)], 0.0).to_dtype(DType::Bool),
            };
            self.allow(given);
        } else {
            let bias = given.to_dtype(q.dtype());
            let bias = if n_missing == 0 { bias } else { bias.pad(&[(0, n_missing)], f64::NEG_INFINITY) };
            self.allow(bias.ne(f64::NEG_INFINITY));
            self.bias = Some(bias);
        }
        Ok(())
    }

    /// Forbids what `allowed` does not allow.
    #[track_caller]
    fn allow(&mut self, allowed: Tensor) {
        self.allowed = Some(match self.allowed.take() {
            Some(already) => already.logical_and(&allowed),
            None => allowed,
        });
    }

    /// Scores with the bias added, -inf where looking is forbidden, whatever the score there.
    #[track_caller]
    fn apply(&self, scores: &Tensor) -> Tensor {
        let biased = match &self.bias {
            Some(bias) => scores + bias,
            None => scores.clone(),
        };
        match &self.allowed {
            Some(allowed) => where_(allowed, biased, f64::NEG_INFINITY),
            None => biased,
        }
    }

    /// Whether a query may find that all keys are forbidden.
    fn may_forbid_all(&self) -> bool {
        self.allowed.is_some()
    }
}

/// Softmax over the last dimension. With `guarded` a row of nothing but -inf, which has no largest element to take away
/// and no sum to divide by, becomes zeros, and its gradients are zeros too.
#[track_caller]
pub(super) fn softmax(scores: &Tensor, guarded: bool) -> Tensor {
    if !guarded {
        return scores.softmax(-1);
    }
    let largest = scores.max_keepdim(-1).detach();
    let largest = where_(&largest.ne(f64::NEG_INFINITY), &largest, 0);
    let exp = (scores - largest).exp();
    let sum = exp.sum_keepdim(-1);
    let sum = where_(&sum.eq(0), 1, sum);
    exp / sum
}

/// The numbers `start` to `start + length` (exclusive), `i32`; both may be symbolic.
#[track_caller]
pub(super) fn positions(start: &Dim, length: &Dim) -> Tensor {
    let end = start.clone() + length.clone();
    let all = iota(DType::I32, [end.clone()], 0);
    match start.as_const() {
        Some(0) => all,
        _ => apply(Op::Slice(SliceAttrs { start: vec![start.clone()], limit: vec![end], stride: vec![1] }), &[&all]),
    }
}
