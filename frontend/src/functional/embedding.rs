//! Embeddings and distances as functions.

use crate::nn::{EmbeddingBag, EmbeddingBagMode};
use crate::tensor::{Tensor, ToTensor, fault, live, sound, where_};

/// The rows of `weight`, `[V, D]`, that the integers `indices` name: `[..., D]`. No gradient flows to the row
/// `padding_idx`. An index out of range takes the nearest row.
#[track_caller]
pub fn embedding(indices: &Tensor, weight: impl ToTensor, padding_idx: Option<usize>) -> Tensor {
    let rows = weight.to_tensor().rows("embedding", indices);
    match padding_idx {
        Some(padding_idx) => where_(&indices.eq(padding_idx).unsqueeze(-1), rows.detach(), &rows),
        None => rows,
    }
}

/// Sums, means or maxima of bags of rows of `weight`, with PyTorch's defaults but for `mode`; see [`EmbeddingBag`].
#[track_caller]
pub fn embedding_bag(
    indices: &Tensor,
    weight: impl ToTensor,
    offsets: Option<&Tensor>,
    mode: EmbeddingBagMode,
) -> Tensor {
    EmbeddingBag::reduce(indices, &weight.to_tensor(), offsets, None, mode, None)
}

/// `x1ᵀ · weight[k] · x2 + bias[k]` for each `k`, over the last dimensions: `x1` is `[..., in1]`, `x2` is `[..., in2]`,
/// `weight` is `[out, in1, in2]`.
#[track_caller]
pub fn bilinear(x1: &Tensor, x2: &Tensor, weight: impl ToTensor, bias: Option<&dyn ToTensor>) -> Tensor {
    let weight = weight.to_tensor();
    let (ty1, ty2, weight_ty) = (live!(x1), live!(x2), live!(weight));
    let fits = weight_ty.rank() == 3
        && ty1.rank() == ty2.rank()
        && ty1.shape.dims().last() == Some(&weight_ty.shape[1])
        && ty2.shape.dims().last() == Some(&weight_ty.shape[2]);
    if !fits {
        return fault(format!(
            "bilinear: the inputs are {ty1} and {ty2} for a weight of type {weight_ty}, expected [..., in1] and \
             [..., in2] for [out, in1, in2]"
        ));
    }
    // One contraction with `x1`, then a sum of products with `x2`: the first makes [..., out, in2].
    let by_first = weight.permute([1, 0, 2]).flatten(1, 2);
    let out = weight_ty.shape[0].clone();
    let mut shape = ty1.shape.clone();
    shape.0.pop();
    shape.0.extend([out, weight_ty.shape[2].clone()]);
    let y = (x1.matmul(by_first).reshape(&shape) * x2.unsqueeze(-2)).sum(-1);
    match bias {
        Some(bias) => y + bias.to_tensor(),
        None => y,
    }
}

/// The cosine of the angle between vectors along `dim`: `x1 · x2 / (max(‖x1‖, eps) * max(‖x2‖, eps))`.
#[track_caller]
pub fn cosine_similarity(x1: &Tensor, x2: &Tensor, dim: i64, eps: f64) -> Tensor {
    // Each is made a unit vector first: the product of two squared norms would overflow long before the result.
    (normalize(x1, 2.0, dim, eps) * normalize(x2, 2.0, dim, eps)).sum(dim)
}

/// Vectors along `dim` divided by their `p`-norms, or by `eps` if that is more: `x / max(‖x‖ₚ, eps)`. PyTorch's defaults
/// are `p` 2, `dim` 1 and `eps` 1e-12.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let x = functional::normalize(&Tensor::from_array(ndarray::array![[3.0f32, 4.0], [0.0, 0.0]]), 2.0, 1, 1e-12);
/// assert_eq!(x.to_array()?, ndarray::array![[0.6f32, 0.8], [0.0, 0.0]].into_dyn());
/// # Ok::<(), nnc_ir::Diagnostic>(())
/// ```
#[track_caller]
pub fn normalize(x: &Tensor, p: f64, dim: i64, eps: f64) -> Tensor {
    x / x.norm(p, crate::tensor::Reduced::keep(dim)).maximum(eps)
}

/// The `p`-norm of `x1 - x2 + eps` along the last dimension, which stays with extent 1 if `keepdim`.
#[track_caller]
pub fn pairwise_distance(x1: &Tensor, x2: &Tensor, p: f64, eps: f64, keepdim: bool) -> Tensor {
    let difference = sound!(differ(x1, x2)) + eps;
    let distance = difference.norm(p, -1);
    if keepdim { distance.unsqueeze(-1) } else { distance }
}

#[track_caller]
fn differ(x1: &Tensor, x2: &Tensor) -> Result<Tensor, Tensor> {
    let difference = x1 - x2;
    match difference.checked_ty() {
        Some(ty) if ty.rank() == 0 => {
            Err(fault(format!("pairwise_distance: the inputs are {ty}, expected vectors in the last dimension")))
        }
        Some(_) => Ok(difference),
        None => Err(difference),
    }
}
