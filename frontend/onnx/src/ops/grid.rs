//! Images at positions that are data: `GridSample` and `AffineGrid`.

use nnc_frontend::Tensor;
use nnc_frontend::functional::{SampleMode, SamplePadding, Sampling, affine_grid, reflected, sample};
use nnc_frontend::tensor::where_;
use nnc_ir::{DType, Dim};

use super::window::known_space;
use super::{Entry, Outcome, one, op};
use crate::cx::Cx;

pub(super) const OPS: &[Entry] = &[op("GridSample", 16.., grid_sample), op("AffineGrid", 20.., grid)];

fn grid_sample(cx: &mut Cx<'_>) -> Outcome {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    let mode = match cx.string_or("mode", "linear")?.as_str() {
        // The names of operator set 16, and those of later ones.
        "bilinear" | "linear" => SampleMode::Linear,
        "bicubic" | "cubic" => SampleMode::Cubic,
        "nearest" => SampleMode::Nearest,
        other => return Err(cx.invalid(format!("`mode` is `{other}`, expected linear, nearest or cubic"))),
    };
    let padding = match cx.string_or("padding_mode", "zeros")?.as_str() {
        "zeros" => SamplePadding::Zeros,
        "border" => SamplePadding::Border,
        "reflection" => SamplePadding::Reflection,
        other => {
            return Err(cx.invalid(format!("`padding_mode` is `{other}`, expected zeros, border or reflection")));
        }
    };
    let sampling = Sampling { mode, padding, align_corners: cx.flag("align_corners", false)? };
    let extents = known_space(cx, &x, "GridSample")?;
    let n_spatial = extents.len();
    if grid.rank() != x.rank() || grid.dims().last() != Some(&Dim::from(n_spatial)) {
        return Err(cx.invalid(format!("the grid is {} for an input of {}", grid.ty(), x.ty())));
    }
    let grid = if grid.dtype() == DType::F64 { grid } else { grid.float() };
    let positions: Vec<Tensor> = (0..n_spatial)
        .map(|dim| {
            let coordinate = grid.select(-1, (n_spatial - 1 - dim) as i64);
            let extent = extents[dim] as f64;
            let position = match sampling.align_corners {
                true => (coordinate + 1.0) * ((extent - 1.0) / 2.0),
                false => ((coordinate + 1.0) * extent - 1.0) * 0.5,
            };
            if mode == SampleMode::Cubic { inward(&position, extents[dim], sampling) } else { position }
        })
        .collect();
    let x_float = if x.dtype().is_float() { x.clone() } else { x.float() };
    one(sample(&x_float, &positions, sampling).to_dtype(x.dtype()))
}

/// ONNX moves the points of cubic sums into the image too, before their elements: PyTorch moves the elements only.
fn inward(position: &Tensor, extent: usize, sampling: Sampling) -> Tensor {
    let last = extent as f64 - 1.0;
    let (low, high) = if sampling.align_corners { (0.0, last) } else { (-0.5, last + 0.5) };
    let outside = position.lt(low).logical_or(position.gt(high));
    match sampling.padding {
        SamplePadding::Zeros => position.clone(),
        SamplePadding::Border => where_(&outside, position.clamp(0.0, last), position),
        SamplePadding::Reflection => where_(&outside, reflected(position, extent, sampling.align_corners), position),
    }
}

fn grid(cx: &mut Cx<'_>) -> Outcome {
    let theta = cx.input(0)?;
    let size = cx.known_ints(1)?;
    let extents: Result<Vec<usize>, _> = size.iter().map(|&extent| usize::try_from(extent)).collect();
    let Ok(extents) = extents else {
        return Err(cx.invalid(format!("the size is {size:?}, expected extents")));
    };
    one(affine_grid(&theta, &extents, cx.flag("align_corners", false)?))
}
