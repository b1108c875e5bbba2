//! `MultiheadAttention`.

use nnc_ir::Dim;

use crate::functional::attention::{Mask, causal, weigh};
use crate::functional::dropout;
use crate::init;
use crate::module::{Module, python_bool};
use crate::parameter::{Parameter, Training};
use crate::tensor::{Tensor, ToTensor, fault};
use crate::trace;

/// The output projection of a [`MultiheadAttention`]: a [`Linear`](super::Linear) that PyTorch prints under this name.
#[derive(Debug, Module)]
#[module(custom_forward, repr = "in_features={n}, out_features={n}, bias={}", python_bool(self.bias.is_some()), n = self.features)]
pub struct NonDynamicallyQuantizableLinear {
    features: usize,
    /// `[features, features]`.
    pub weight: Parameter,
    /// `[features]`.
    pub bias: Option<Parameter>,
}

impl NonDynamicallyQuantizableLinear {
    #[track_caller]
    fn new(features: usize, bias: bool) -> Self {
        let weight = Parameter::new(Tensor::zeros([features, features]));
        init::kaiming_uniform_(&weight, 5f64.sqrt());
        let bias = if bias { Some(Parameter::new(Tensor::zeros([features]))) } else { None };
        Self { features, weight, bias }
    }

    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let _scope = trace::enter(self.key());
        x.linear(&self.weight, self.bias.as_ref().map(|bias| bias as &dyn ToTensor))
    }
}

/// The weight of a projection, Xavier-uniform.
#[track_caller]
fn projection(rows: usize, columns: usize) -> Parameter {
    let weight = Parameter::new(Tensor::zeros([rows, columns]));
    init::xavier_uniform_(&weight, 1.0);
    weight
}

/// A key or value that is added to every sequence.
#[track_caller]
fn bias_row(features: usize) -> Parameter {
    let row = Parameter::new(Tensor::zeros([1, 1, features]));
    init::xavier_normal_(&row, 1.0);
    row
}

/// Attention in several heads, each over a projection of query, key and value: `torch.nn.MultiheadAttention`.
///
/// Projections start Xavier-uniform, their biases at 0. `query` is `[L, N, embed_dim]`, `key` `[S, N, kdim]` and
/// `value` `[S, N, vdim]`; with `batch_first` the batch `N` comes first; without a batch there is no `N`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let attention = nn::MultiheadAttention::new(16, 4).batch_first(true);
/// let x = Tensor::rand([2, 5, 16]);
/// let (output, weights) = attention.forward(&x, &x, &x);
/// assert_eq!(output.shape().to_string(), "[2, 5, 16]");
/// assert_eq!(weights.shape().to_string(), "[2, 5, 5]");
/// ```
#[derive(Debug, Module)]
#[module(custom_forward)]
pub struct MultiheadAttention {
    embed_dim: usize,
    num_heads: usize,
    kdim: usize,
    vdim: usize,
    dropout: f64,
    add_zero_attn: bool,
    batch_first: bool,
    /// `[embed_dim, embed_dim]`, where `kdim` or `vdim` differ from `embed_dim`.
    pub q_proj_weight: Option<Parameter>,
    /// `[embed_dim, kdim]`, where `kdim` or `vdim` differ from `embed_dim`.
    pub k_proj_weight: Option<Parameter>,
    /// `[embed_dim, vdim]`, where `kdim` or `vdim` differ from `embed_dim`.
    pub v_proj_weight: Option<Parameter>,
    /// `[3 * embed_dim, embed_dim]`: the projections of query, key and value, one below the other.
    pub in_proj_weight: Option<Parameter>,
    /// `[3 * embed_dim]`.
    pub in_proj_bias: Option<Parameter>,
    /// `[1, 1, embed_dim]`: a key that every query may look at.
    pub bias_k: Option<Parameter>,
    /// `[1, 1, embed_dim]`: the value of `bias_k`.
    pub bias_v: Option<Parameter>,
    /// The projection of the heads' outputs.
    pub out_proj: NonDynamicallyQuantizableLinear,
    training: Training,
}

impl MultiheadAttention {
    /// `num_heads` heads of `embed_dim / num_heads` features each; with bias, without dropout, sequence before batch.
    #[track_caller]
    pub fn new(embed_dim: usize, num_heads: usize) -> Self {
        let mut layer = Self {
            embed_dim,
            num_heads,
            kdim: embed_dim,
            vdim: embed_dim,
            dropout: 0.0,
            add_zero_attn: false,
            batch_first: false,
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_weight: None,
            in_proj_bias: Some(Parameter::new(Tensor::zeros([3 * embed_dim]))),
            bias_k: None,
            bias_v: None,
            out_proj: NonDynamicallyQuantizableLinear::new(embed_dim, true),
            training: Training::default(),
        };
        layer.make_projections();
        layer
    }

    /// Probability with which an attention weight is dropped in training.
    #[must_use]
    pub fn dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Whether the projections have a bias.
    #[must_use]
    #[track_caller]
    pub fn bias(mut self, bias: bool) -> Self {
        self.in_proj_bias = if bias { Some(Parameter::new(Tensor::zeros([3 * self.embed_dim]))) } else { None };
        self.out_proj.bias = if bias { Some(Parameter::new(Tensor::zeros([self.embed_dim]))) } else { None };
        self
    }

    /// Whether a learned key and value is added to the sequence.
    #[must_use]
    #[track_caller]
    pub fn add_bias_kv(mut self, add_bias_kv: bool) -> Self {
        self.bias_k = if add_bias_kv { Some(bias_row(self.embed_dim)) } else { None };
        self.bias_v = if add_bias_kv { Some(bias_row(self.embed_dim)) } else { None };
        self
    }

    /// Whether a key and value of zeros is added to the sequence.
    #[must_use]
    pub fn add_zero_attn(mut self, add_zero_attn: bool) -> Self {
        self.add_zero_attn = add_zero_attn;
        self
    }

    /// Features of the keys, if other than `embed_dim`.
    #[must_use]
    #[track_caller]
    pub fn kdim(mut self, kdim: usize) -> Self {
        self.kdim = kdim;
        self.make_projections();
        self
    }

    /// Features of the values, if other than `embed_dim`.
    #[must_use]
    #[track_caller]
    pub fn vdim(mut self, vdim: usize) -> Self {
        self.vdim = vdim;
        self.make_projections();
        self
    }

    /// Whether the batch comes before the sequence: `[N, L, features]`.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.batch_first = batch_first;
        self
    }

    #[track_caller]
    fn make_projections(&mut self) {
        let (dim, kdim, vdim) = (self.embed_dim, self.kdim, self.vdim);
        let packed = kdim == dim && vdim == dim;
        self.in_proj_weight = if packed { Some(projection(3 * dim, dim)) } else { None };
        self.q_proj_weight = if packed { None } else { Some(projection(dim, dim)) };
        self.k_proj_weight = if packed { None } else { Some(projection(dim, kdim)) };
        self.v_proj_weight = if packed { None } else { Some(projection(dim, vdim)) };
    }

    /// Output `[L, N, embed_dim]` and attention weights `[N, L, S]`, the mean over heads.
    #[track_caller]
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> (Tensor, Tensor) {
        let (output, weights) = self.forward_with(query, key, value, &AttentionOptions::new());
        let weights = weights.unwrap_or_else(|| output.clone());
        (output, weights)
    }

    /// [`MultiheadAttention::forward`] with masks and choices. The weights are missing if they are not asked for.
    #[track_caller]
    pub fn forward_with(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: &AttentionOptions,
    ) -> (Tensor, Option<Tensor>) {
        let _scope = trace::enter(self.key());
        match self.attend(query, key, value, options) {
            Ok((output, weights)) => (output, options.need_weights.then_some(weights)),
            Err(poisoned) => (poisoned.clone(), options.need_weights.then_some(poisoned)),
        }
    }

    #[track_caller]
    fn attend(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        options: &AttentionOptions,
    ) -> Result<(Tensor, Tensor), Tensor> {
        let is_batched = self.check(query, key, value)?;
        // The layout of what has a batch; one sequence becomes a batch of one, second.
        let layout = if is_batched && self.batch_first { Layout::BatchFirst } else { Layout::SequenceFirst };
        let [mut q, mut k, mut v] = self.project(query, key, value);
        if !is_batched {
            [q, k, v] = [q, k, v].map(|x| x.unsqueeze(1));
        }
        let mask = self.mask(layout, &q, &k, options)?;
        if let (Some(bias_k), Some(bias_v)) = (&self.bias_k, &self.bias_v) {
            (k, v) = (layout.append(&k, bias_k), layout.append(&v, bias_v));
        }
        let head_dim = self.embed_dim / self.num_heads;
        let [q, mut k, mut v] = [q, k, v].map(|x| layout.split_heads(&x, self.num_heads, head_dim));
        if self.add_zero_attn {
            [k, v] = [k, v].map(|x| x.pad(&[(0, 0), (0, 1)], 0.0));
        }
        let scores = q.matmul(k.transpose(-2, -1));
        let mut weights = weigh("MultiheadAttention", &scores, 1.0 / (head_dim as f64).sqrt(), &mask)?;
        if self.training.get() && self.dropout != 0.0 {
            weights = dropout(&weights, self.dropout, true);
        }
        let mut output = self.out_proj.forward(&layout.join_heads(&weights.matmul(&v)));
        let mut weights = if options.average_attn_weights { weights.mean(1) } else { weights };
        if !is_batched {
            (output, weights) = (output.squeeze(1), weights.squeeze(0));
        }
        Ok((output, weights))
    }

    /// Whether the operands, which must fit together, have a batch.
    #[track_caller]
    fn check(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<bool, Tensor> {
        let dim = self.embed_dim;
        if self.num_heads == 0 || !dim.is_multiple_of(self.num_heads) {
            let message =
                format!("MultiheadAttention: num_heads is {}, expected a divisor of embed_dim {dim}", self.num_heads);
            return Err(fault(message));
        }
        let [query, key, value] = [query, key, value].map(|tensor| tensor.checked_ty().ok_or_else(|| tensor.clone()));
        let (query, key, value) = (query?, key?, value?);
        let operands = [("query", &query, dim), ("key", &key, self.kdim), ("value", &value, self.vdim)];
        for (name, ty, features) in operands {
            let fits = ty.dtype.is_float() && ty.shape.dims().last() == Some(&Dim::from(features));
            if !fits || !matches!(ty.rank(), 2 | 3) || ty.rank() != query.rank() {
                let expected = if self.batch_first { "[N, length, features]" } else { "[length, N, features]" };
                return Err(fault(format!(
                    "MultiheadAttention: {name} is {ty}, expected floats {expected} or [length, features] with \
                     {features} features"
                )));
            }
        }
        // A batch, if there is one, is common to all; the length to key and value.
        let is_batched = query.rank() == 3;
        let batch_dim = usize::from(!self.batch_first);
        let same = |dim: usize| key.shape[dim] == value.shape[dim];
        if !same(0) || !same(1) && is_batched || is_batched && query.shape[batch_dim] != key.shape[batch_dim] {
            return Err(fault(format!(
                "MultiheadAttention: query {query}, key {key} and value {value} differ in batch, or key and value in length"
            )));
        }
        Ok(is_batched)
    }

    /// Query, key and value in `embed_dim` features each. Equal inputs share one product.
    #[track_caller]
    fn project(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> [Tensor; 3] {
        let dim = self.embed_dim;
        let bias = self.in_proj_bias.as_ref().map(ToTensor::to_tensor);
        // Projections number `first` to `last` of `x`, side by side.
        let packed = |x: &Tensor, weight: &Parameter, first: usize, last: usize| {
            let (start, len) = (first * dim, (last - first) * dim);
            let bias = bias.as_ref().map(|bias| bias.narrow(0, start, len));
            x.linear(weight.tensor().narrow(0, start, len), bias.as_ref().map(|bias| bias as &dyn ToTensor))
        };
        let separate = |x: &Tensor, weight: &Option<Parameter>, number: usize| {
            let weight = weight.as_ref().expect("there is either a packed weight or three others");
            let bias = bias.as_ref().map(|bias| bias.narrow(0, number * dim, dim));
            x.linear(weight, bias.as_ref().map(|bias| bias as &dyn ToTensor))
        };
        let part = |x: &Tensor, number: usize| x.narrow(-1, number * dim, dim);
        match &self.in_proj_weight {
            Some(weight) if query.is_same_value(key) && key.is_same_value(value) => {
                let all = packed(query, weight, 0, 3);
                [part(&all, 0), part(&all, 1), part(&all, 2)]
            }
            Some(weight) if key.is_same_value(value) => {
                let pair = packed(key, weight, 1, 3);
                [packed(query, weight, 0, 1), part(&pair, 0), part(&pair, 1)]
            }
            Some(weight) => [packed(query, weight, 0, 1), packed(key, weight, 1, 2), packed(value, weight, 2, 3)],
            None => [
                separate(query, &self.q_proj_weight, 0),
                separate(key, &self.k_proj_weight, 1),
                separate(value, &self.v_proj_weight, 2),
            ],
        }
    }

    /// The masks of `options`, broadcast to scores `[N, num_heads, L, S]`; what is appended to the keys is open to all.
    #[track_caller]
    fn mask(&self, layout: Layout, q: &Tensor, k: &Tensor, options: &AttentionOptions) -> Result<Mask, Tensor> {
        const NAME: &str = "MultiheadAttention";
        let (n, n_queries, n_keys) = (q.size(layout.batch()), q.size(layout.sequence()), k.size(layout.sequence()));
        let n_added = i64::from(self.bias_k.is_some()) + i64::from(self.add_zero_attn);
        let extend = |mask: &Tensor| if n_added == 0 { mask.clone() } else { mask.pad(&[(0, n_added)], 0.0) };
        let mut mask = Mask::default();
        match &options.attn_mask {
            Some(attn_mask) => {
                let Some(ty) = attn_mask.checked_ty() else { return Err(attn_mask.clone()) };
                let heads = Dim::from(self.num_heads);
                let one = vec![n_queries.clone(), n_keys.clone()];
                let each = vec![n.clone() * heads.clone(), n_queries.clone(), n_keys.clone()];
                let attn_mask = match ty.shape.0 {
                    shape if shape == one => attn_mask.clone(),
                    shape if shape == each => {
                        attn_mask.reshape(vec![n.clone(), heads, n_queries.clone(), n_keys.clone()])
                    }
                    _ => {
                        let [one, each] = [one, each].map(nnc_ir::Shape);
                        return Err(fault(format!("{NAME}: attn_mask is {ty}, expected shape {one} or {each}")));
                    }
                };
                mask.restrict(NAME, "attn_mask", &extend(&attn_mask), true)?;
            }
            None if options.is_causal => {
                let blocked = !causal(n_queries, n_keys.clone());
                mask.restrict(NAME, "is_causal", &extend(&blocked), true)?;
            }
            None => {}
        }
        if let Some(padding) = &options.key_padding_mask {
            let Some(ty) = padding.checked_ty() else { return Err(padding.clone()) };
            // Of one sequence without a batch it is a vector.
            let rows = if ty.rank() == 1 { padding.unsqueeze(0) } else { padding.clone() };
            if rows.shape().0 != [n.clone(), n_keys.clone()] {
                let expected = nnc_ir::Shape(vec![n, n_keys]);
                return Err(fault(format!("{NAME}: key_padding_mask is {ty}, expected shape {expected}")));
            }
            let rows = rows.unsqueeze(1).unsqueeze(1);
            mask.restrict(NAME, "key_padding_mask", &extend(&rows), true)?;
        }
        Ok(mask)
    }
}

/// Where batch and sequence stand in `[_, _, features]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    BatchFirst,
    SequenceFirst,
}

impl Layout {
    fn batch(self) -> i64 {
        match self {
            Self::BatchFirst => 0,
            Self::SequenceFirst => 1,
        }
    }

    fn sequence(self) -> i64 {
        1 - self.batch()
    }

    /// `x` with `row` `[1, 1, features]` at the end of each sequence.
    #[track_caller]
    fn append(self, x: &Tensor, row: &Parameter) -> Tensor {
        let mut dims = x.dims();
        if x.is_poisoned() {
            return x.clone();
        }
        dims[self.sequence() as usize] = Dim::from(1);
        Tensor::cat(&[x.clone(), row.tensor().broadcast_to(nnc_ir::Shape(dims))], self.sequence())
    }

    /// `[_, _, heads * head_dim]` as `[N, heads, length, head_dim]`.
    #[track_caller]
    fn split_heads(self, x: &Tensor, heads: usize, head_dim: usize) -> Tensor {
        let split = x.unflatten(-1, [heads, head_dim]);
        match self {
            Self::BatchFirst => split.permute([0, 2, 1, 3]),
            Self::SequenceFirst => split.permute([1, 2, 0, 3]),
        }
    }

    /// The inverse of [`Layout::split_heads`].
    #[track_caller]
    fn join_heads(self, x: &Tensor) -> Tensor {
        let x = match self {
            Self::BatchFirst => x.permute([0, 2, 1, 3]),
            Self::SequenceFirst => x.permute([2, 0, 1, 3]),
        };
        x.flatten(-2, -1)
    }
}

/// The optional arguments of [`MultiheadAttention::forward_with`], by PyTorch's names. A `bool` mask is true where a
/// query may *not* look (the opposite of
/// [`scaled_dot_product_attention`](crate::functional::scaled_dot_product_attention)); a mask of floats is added to the
/// scores.
#[derive(Clone, Debug)]
pub struct AttentionOptions {
    key_padding_mask: Option<Tensor>,
    need_weights: bool,
    attn_mask: Option<Tensor>,
    average_attn_weights: bool,
    is_causal: bool,
}

impl Default for AttentionOptions {
    fn default() -> Self {
        Self {
            key_padding_mask: None,
            need_weights: true,
            attn_mask: None,
            average_attn_weights: true,
            is_causal: false,
        }
    }
}

impl AttentionOptions {
    /// No masks; weights are wanted, as their mean over heads.
    pub fn new() -> Self {
        Self::default()
    }

    /// `[N, S]` (`[S]` without a batch): which keys are padding.
    #[must_use]
    pub fn key_padding_mask(mut self, key_padding_mask: &Tensor) -> Self {
        self.key_padding_mask = Some(key_padding_mask.clone());
        self
    }

    /// Whether the attention weights are wanted.
    #[must_use]
    pub fn need_weights(mut self, need_weights: bool) -> Self {
        self.need_weights = need_weights;
        self
    }

    /// `[L, S]`, or `[N * num_heads, L, S]`: which keys each query may not look at.
    #[must_use]
    pub fn attn_mask(mut self, attn_mask: &Tensor) -> Self {
        self.attn_mask = Some(attn_mask.clone());
        self
    }

    /// Whether the weights are averaged over heads (`[N, L, S]`), or given for each (`[N, num_heads, L, S]`).
    #[must_use]
    pub fn average_attn_weights(mut self, average_attn_weights: bool) -> Self {
        self.average_attn_weights = average_attn_weights;
        self
    }

    /// Query `i` sees the keys `0..=i`. Beside an `attn_mask` this says only that it is that mask, as in PyTorch.
    #[must_use]
    pub fn is_causal(mut self, is_causal: bool) -> Self {
        self.is_causal = is_causal;
        self
    }
}
