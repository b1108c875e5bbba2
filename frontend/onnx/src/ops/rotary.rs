//! `RotaryEmbedding` and `SwiGLU`: the small parts of language models between attention and matrix products.

use nnc_frontend::Tensor;
use nnc_frontend::functional;
use nnc_ir::Dim;

use super::{Cx, Entry, Fault, Outcome, one, op};

pub(super) const OPS: &[Entry] = &[op("RotaryEmbedding", 23.., rotary_embedding), op("SwiGLU", 28.., swiglu)];

fn rotary_embedding(cx: &mut Cx<'_>) -> Outcome {
    let (x, angles) = (cx.input(0)?, (cx.input(1)?, cx.input(2)?));
    let positions = cx.optional(3)?;
    let settings = Settings {
        n_heads: cx.int_or("num_heads", 0)?,
        n_turned: cx.int_or("rotary_embedding_dim", 0)?,
        interleaved: cx.flag("interleaved", false)?,
    };
    one(rotate(cx, &x, angles, positions.as_ref(), &settings)?)
}

/// What a rotary embedding is told by attributes.
pub(super) struct Settings {
    /// Heads that lie side by side in inputs of three dimensions.
    pub(super) n_heads: i64,
    /// Features of a head that are turned, the first ones; 0 means all.
    pub(super) n_turned: i64,
    /// Whether pairs are neighbors, instead of features of the two halves.
    pub(super) interleaved: bool,
}

/// Turns pairs of features by the angle of their position, given by its cosine and sine: at `positions` of a table, or
/// `[N, T, pairs]`.
pub(super) fn rotate(
    cx: &Cx<'_>,
    x: &Tensor,
    (cos, sin): (Tensor, Tensor),
    positions: Option<&Tensor>,
    settings: &Settings,
) -> Result<Tensor, Fault> {
    // `[N, T, heads, features]`.
    let is_packed = x.rank() == 3;
    let by_head = match (x.rank(), settings.n_heads) {
        (4, _) => x.permute([0, 2, 1, 3]),
        (3, n_heads) if n_heads > 0 => x.unflatten(2, [n_heads, -1]),
        (3, _) => return Err(cx.invalid(format!("X is {}, which needs num_heads", x.ty()))),
        _ => return Err(cx.invalid(format!("X is {}, expected three or four dimensions", x.ty()))),
    };
    let Some(n_features) = by_head.size(3).as_const() else {
        return Err(cx.unsupported(format!("X is {}, of a symbolic number of features", x.ty())));
    };
    let n_turned = match settings.n_turned {
        0 => n_features,
        n if n > 0 && n as usize <= n_features => n as usize,
        n => return Err(cx.invalid(format!("rotary_embedding_dim is {n}, of {n_features} features"))),
    };
    let half = n_turned / 2;
    if n_turned % 2 != 0 {
        return Err(cx.invalid(format!("{n_turned} features to turn, expected an even number")));
    }
    // The angles of a position, `[N, T, 1, half]`.
    let mut angles = Vec::with_capacity(2);
    for (name, cache) in [("cos_cache", cos), ("sin_cache", sin)] {
        let cache = match positions {
            Some(positions) => functional::embedding(positions, cache, None),
            None => cache,
        };
        if cache.rank() != 3 || cache.size(2) != Dim::from(half) {
            return Err(cx.invalid(format!("{name} gives {}, expected [N, T, {half}]", cache.ty())));
        }
        angles.push(cache.unsqueeze(2));
    }
    let (cos, sin) = (&angles[0], &angles[1]);

    let turned = by_head.narrow(3, 0, n_turned);
    let (first, second) = if settings.interleaved {
        let pairs = turned.unflatten(3, [half, 2]);
        (pairs.select(4, 0), pairs.select(4, 1))
    } else {
        (turned.narrow(3, 0, half), turned.narrow(3, half, half))
    };
    let real = cos * &first - sin * &second;
    let imaginary = sin * first + cos * second;
    let turned = if settings.interleaved {
        Tensor::stack(&[real, imaginary], -1).flatten(3, 4)
    } else {
        Tensor::cat(&[real, imaginary], 3)
    };
    let result = if n_turned == n_features {
        turned
    } else {
        Tensor::cat(&[turned, by_head.narrow(3, n_turned, n_features - n_turned)], 3)
    };
    Ok(if is_packed { result.flatten(2, 3) } else { result.permute([0, 2, 1, 3]) })
}

/// `a · sigmoid(alpha · a) · b`.
fn swiglu(cx: &mut Cx<'_>) -> Outcome {
    let (gate, value) = (cx.input(0)?, cx.input(1)?);
    if gate.shape() != value.shape() {
        return Err(cx.invalid(format!("A is {} and B is {}, expected one shape", gate.ty(), value.ty())));
    }
    let alpha = cx.float_or("alpha", 1.0)?;
    let scaled = if alpha == 1.0 { gate.clone() } else { &gate * alpha };
    one(&gate * scaled.sigmoid() * value)
}
