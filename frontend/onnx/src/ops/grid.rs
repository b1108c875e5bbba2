//! Images at positions that are data: `GridSample` and `AffineGrid`.

use nnc_frontend::functional::{self, SampleMode, SamplePadding, Sampling};
use nnc_ir::DType;

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
    let grid = if grid.dtype() == DType::F64 { grid } else { grid.float() };
    let x_float = if x.dtype().is_float() { x.clone() } else { x.float() };
    one(functional::grid_sample(&x_float, &grid, sampling).to_dtype(x.dtype()))
}

fn grid(cx: &mut Cx<'_>) -> Outcome {
    let theta = cx.input(0)?;
    let size = cx.known_ints(1)?;
    let extents: Result<Vec<usize>, _> = size.iter().map(|&extent| usize::try_from(extent)).collect();
    let Ok(extents) = extents else {
        return Err(cx.invalid(format!("the size is {size:?}, expected extents")));
    };
    let n_points = extents.iter().skip(2).fold(1usize, |product, &extent| product.saturating_mul(extent));
    cx.table("the grid", n_points.saturating_mul(extents.len()))?;
    one(functional::affine_grid(&theta, &extents, cx.flag("align_corners", false)?))
}
