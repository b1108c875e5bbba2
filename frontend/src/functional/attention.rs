//! Scaled dot-product attention, written as what it is: dot, scale, mask, softmax, dot.
//!
//! The compiler sees these ops and nothing else; which of them share a kernel is fusion's business.

use nnc_ir::{DType, Dim, Shape, TensorType};

use super::dropout;
use crate::tensor::{Tensor, fault, sound, where_};

/// Attention of `query` `[..., L, E]` over `key` `[..., S, E]` and `value` `[..., S, Ev]`:
/// `softmax(query · keyᵀ · scale + mask) · value`, `[..., L, Ev]`. Leading dimensions are batches and broadcast.
///
/// - `attn_mask` broadcasts to `[..., L, S]`: `bool`, true where a query may look at a key; or floats, added to the
///   scores. A query that may look at nothing gets zeros, and no gradient of it is NaN.
/// - `dropout_p`: the probability with which a weight is dropped. As in PyTorch there is no training mode here: give 0
///   in evaluation.
/// - `is_causal`: query `i` sees the keys `0..=i`. Excludes `attn_mask`.
/// - `scale`: the factor of the scores; `1/√E` if `None`.
/// - `enable_gqa`: `query` may have more heads (third dimension from the end) than `key` and `value`: equal numbers of
///   neighboring query heads share one key and value head.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let (q, k, v) = (Tensor::rand([2, 8, 5, 16]), Tensor::rand([2, 8, 7, 16]), Tensor::rand([2, 8, 7, 4]));
/// let out = functional::scaled_dot_product_attention(&q, &k, &v, None, 0.0, false, None, false);
/// assert_eq!(out.shape().to_string(), "[2, 8, 5, 4]");
/// ```
// The arguments are PyTorch's, in its order: it allows them all by position.
#[allow(clippy::too_many_arguments)]
#[track_caller]
pub fn scaled_dot_product_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    attn_mask: Option<&Tensor>,
    dropout_p: f64,
    is_causal: bool,
    scale: Option<f64>,
    enable_gqa: bool,
) -> Tensor {
    const NAME: &str = "scaled_dot_product_attention";
    let (query_ty, key_ty, _) = sound!(check_operands(NAME, query, key, value));
    let mut mask = Mask::default();
    match attn_mask {
        Some(_) if is_causal => {
            return fault(format!("{NAME}: attn_mask is given together with is_causal; combine them in attn_mask"));
        }
        Some(attn_mask) => sound!(mask.restrict(NAME, "attn_mask", attn_mask, false)),
        None if is_causal => {
            let [n_queries, n_keys] = [&query_ty, &key_ty].map(|ty| ty.shape[ty.rank() - 2].clone());
            mask.allowed = Some(causal(n_queries, n_keys));
        }
        None => {}
    }
    let heads = if enable_gqa { sound!(Heads::grouped(NAME, query, key, value)) } else { Heads::Paired };
    let scale = match (scale, query_ty.shape[query_ty.rank() - 1].as_const()) {
        (Some(scale), _) => scale,
        (None, Some(features)) => 1.0 / (features as f64).sqrt(),
        (None, None) => {
            return fault(format!("{NAME}: the number of features of {query_ty} is symbolic; give `scale`"));
        }
    };
    let scores = heads.unfold(&heads.fold(query).matmul(key.transpose(-2, -1)));
    let weights = sound!(weigh(NAME, &scores, scale, &mask));
    let weights = if dropout_p == 0.0 { weights } else { dropout(&weights, dropout_p, true) };
    heads.unfold(&heads.fold(&weights).matmul(value))
}

/// The types of the three operands, if they fit together but for their leading dimensions.
#[track_caller]
fn check_operands(
    what: &str,
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
) -> Result<(TensorType, TensorType, TensorType), Tensor> {
    let [query, key, value] = [query, key, value].map(|tensor| tensor.checked_ty().ok_or_else(|| tensor.clone()));
    let (query, key, value) = (query?, key?, value?);
    for (name, ty) in [("query", &query), ("key", &key), ("value", &value)] {
        if ty.rank() < 2 || !ty.dtype.is_float() {
            return Err(fault(format!("{what}: {name} is {ty}, expected floats of at least two dimensions")));
        }
        if ty.dtype != query.dtype {
            return Err(fault(format!("{what}: {name} is {ty}, expected element type {} as the query's", query.dtype)));
        }
    }
    let [query_dims, key_dims, value_dims] = [&query, &key, &value].map(|ty| &ty.shape.0[ty.rank() - 2..]);
    if query_dims[1] != key_dims[1] {
        return Err(fault(format!("{what}: query {query} and key {key} differ in features, the last dimension")));
    }
    if key_dims[0] != value_dims[0] {
        return Err(fault(format!(
            "{what}: key {key} and value {value} differ in length, the dimension before the last"
        )));
    }
    Ok((query, key, value))
}

/// How query heads and key heads meet.
enum Heads {
    /// One to one.
    Paired,
    /// `per_key` neighboring query heads meet one key head: their rows are rows of one product, so that nothing is
    /// repeated.
    Grouped { per_key: usize },
}

impl Heads {
    #[track_caller]
    fn grouped(what: &str, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Self, Tensor> {
        let heads = |tensor: &Tensor| {
            let shape = tensor.shape();
            shape.rank().checked_sub(3).and_then(|dim| shape[dim].as_const())
        };
        match (heads(query), heads(key), heads(value)) {
            (Some(n), Some(n_key), Some(n_value)) if n_key == n_value && n_key > 0 && n % n_key == 0 => {
                Ok(Self::Grouped { per_key: n / n_key })
            }
            _ => Err(fault(format!(
                "{what}: enable_gqa with query {}, key {} and value {}, expected key and value of equal numbers of heads \
                 (third dimension from the end) that divide the query's",
                query.ty(),
                key.ty(),
                value.ty()
            ))),
        }
    }

    /// `[..., H, L, F]` as `[..., H / per_key, per_key * L, F]`.
    #[track_caller]
    fn fold(&self, x: &Tensor) -> Tensor {
        self.regroup(x, |heads, rows, per_key| {
            let n_heads = heads.as_const().expect("grouped heads are counted");
            (Dim::from(n_heads / per_key), Dim::from(per_key) * rows)
        })
    }

    /// The inverse of [`Heads::fold`].
    #[track_caller]
    fn unfold(&self, x: &Tensor) -> Tensor {
        self.regroup(x, |heads, rows, per_key| {
            let rows = rows.exact_div(&Dim::from(per_key)).expect("`fold` multiplied the rows");
            (Dim::from(per_key) * heads, rows)
        })
    }

    #[track_caller]
    fn regroup(&self, x: &Tensor, extents: impl FnOnce(Dim, Dim, usize) -> (Dim, Dim)) -> Tensor {
        let Self::Grouped { per_key } = self else { return x.clone() };
        let mut dims = match x.checked_ty() {
            Some(ty) => ty.shape.0,
            None => return x.clone(),
        };
        let at = dims.len() - 3;
        (dims[at], dims[at + 1]) = extents(dims[at].clone(), dims[at + 1].clone(), *per_key);
        x.reshape(dims)
    }
}

/// What limits which query looks at which key; both parts broadcast to the scores.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask {
    /// `bool`, true where looking is allowed.
    pub(crate) allowed: Option<Tensor>,
    /// Floats added to the scaled scores.
    pub(crate) bias: Option<Tensor>,
}

impl Mask {
    /// Adds the mask that argument `name` gives; `blocks` says that true forbids instead of allowing.
    ///
    /// # Errors
    /// The poisoned tensor, if the mask is neither `bool` nor floating-point.
    #[track_caller]
    pub(crate) fn restrict(&mut self, what: &str, name: &str, mask: &Tensor, blocks: bool) -> Result<(), Tensor> {
        let Some(ty) = mask.checked_ty() else { return Err(mask.clone()) };
        if ty.dtype == DType::Bool {
            let allowed = if blocks { !mask } else { mask.clone() };
            self.allow(allowed);
        } else if ty.dtype.is_float() {
            self.bias = Some(match self.bias.take() {
                Some(bias) => bias + mask,
                None => mask.clone(),
            });
        } else {
            return Err(fault(format!("{what}: {name} is {ty}, expected bool or a floating-point type")));
        }
        Ok(())
    }

    /// Forbids what `allowed` does not allow.
    #[track_caller]
    pub(crate) fn allow(&mut self, allowed: Tensor) {
        self.allowed = Some(match self.allowed.take() {
            Some(already) => already.logical_and(&allowed),
            None => allowed,
        });
    }
}

/// `bool` `[n_queries, n_keys]`: query `i` may look at the keys `0..=i`.
#[track_caller]
pub(crate) fn causal(n_queries: Dim, n_keys: Dim) -> Tensor {
    let shape = Shape(vec![n_queries, n_keys]);
    Tensor::iota(DType::I32, shape.clone(), 0).ge(Tensor::iota(DType::I32, shape, 1))
}

/// The weights of masked and scaled `scores` `[..., L, S]`: each row sums to 1, or is zero where all is forbidden.
///
/// # Errors
/// The poisoned tensor, if a mask does not broadcast to the scores.
#[track_caller]
pub(crate) fn weigh(what: &str, scores: &Tensor, scale: f64, mask: &Mask) -> Result<Tensor, Tensor> {
    let Some(ty) = scores.checked_ty() else { return Err(scores.clone()) };
    for part in mask.allowed.iter().chain(&mask.bias) {
        let Some(part_ty) = part.checked_ty() else { return Err(part.clone()) };
        let fits = part_ty.shape.0.iter().rev().zip(ty.shape.0.iter().rev());
        if part_ty.rank() > ty.rank() || !fits.into_iter().all(|(dim, of)| dim == of || *dim == Dim::from(1)) {
            return Err(fault(format!("{what}: the mask is {part_ty}, which does not broadcast to scores of {ty}")));
        }
    }
    let mut scores = scores * scale;
    if let Some(bias) = &mask.bias {
        scores += bias.to_dtype(ty.dtype);
    }
    if let Some(allowed) = &mask.allowed {
        scores = where_(allowed, scores, f64::NEG_INFINITY);
    }
    if mask.allowed.is_none() && mask.bias.is_none() {
        return Ok(scores.softmax(-1));
    }
    // A row of nothing but -inf has no largest element to take away and no sum to divide by. With 0 instead of the
    // former and 1 instead of the latter its weights are 0, and so are its gradients.
    let largest = scores.max_keepdim(-1).detach();
    let largest = where_(&largest.isfinite(), &largest, 0);
    let exp = (scores - largest).exp();
    let sum = exp.sum_keepdim(-1);
    let sum = where_(&sum.eq(0), 1, sum);
    Ok(exp / sum)
}
