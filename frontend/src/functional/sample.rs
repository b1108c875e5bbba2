//! Images at positions that are data: `grid_sample`, `affine_grid`, and what deformable convolutions and regions of
//! interest read ([`sample`]).
//!
//! A position between elements is a weighted sum of those around it. Elements are gathered by their index in the plane,
//! all channels alike; weights are arithmetic, so gradients flow to the image (a scatter) and to the positions.

use nnc_ir::ops::GatherAttrs;
use nnc_ir::{DType, Dim, Op};

use crate::tensor::{Tensor, apply, fault, live, where_};

use super::interpolate::cubic_taps;

/// How [`grid_sample`] fills positions between elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleMode {
    /// Lines along every dimension: PyTorch's `bilinear`.
    #[default]
    Linear,
    /// The nearest element, ties to the even position.
    Nearest,
    /// Cubic curves along every dimension: PyTorch's `bicubic`.
    Cubic,
}

/// What [`grid_sample`] finds around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SamplePadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The nearest element.
    Border,
    /// The image mirrored at its border.
    Reflection,
}

/// How images are read at positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// How positions between elements are filled.
    pub mode: SampleMode,
    /// What stands around the image.
    pub padding: SamplePadding,
    /// Whether -1 and 1 are the centers of the outermost elements, instead of their outer edges.
    pub align_corners: bool,
}

/// Reads the image `x`, `[N, C, space...]`, at the points of `grid`, `[N, points..., r]`: `[N, C, points...]`, as
/// `torch.nn.functional.grid_sample`. A point has one coordinate for each of the `r` spatial dimensions, the last
/// dimension's first, from -1 to 1 across the image.
///
/// ```
/// use nnc_frontend::functional::Sampling;
/// use nnc_frontend::prelude::*;
///
/// let x = Tensor::from_slice(&[0.0f32, 4.0, 8.0]).view([1, 1, 3]);
/// let grid = Tensor::from_slice(&[-1.0f32, 0.25, 1.5]).view([1, 3, 1]);
/// let y = functional::grid_sample(&x, &grid, Sampling { align_corners: true, ..Sampling::default() });
/// assert_eq!(y.to_array()?.into_raw_vec_and_offset().0, [0.0, 5.0, 4.0]);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn grid_sample(x: &Tensor, grid: &Tensor, sampling: Sampling) -> Tensor {
    let (ty, grid_ty) = (live!(x), live!(grid));
    let n_spatial = ty.rank().saturating_sub(2);
    let coordinates = grid_ty.shape.dims().last().and_then(Dim::as_const);
    if n_spatial == 0 || grid_ty.rank() < 2 || coordinates != Some(n_spatial) || !grid_ty.dtype.is_float() {
        return fault(format!(
            "grid_sample: the input is {ty} and the grid {grid_ty}, expected [N, C, space...] and [N, points..., r] with \
             as many coordinates as spatial dimensions"
        ));
    }
    let mut positions = Vec::with_capacity(n_spatial);
    for dim in 0..n_spatial {
        let Some(extent) = ty.shape[dim + 2].as_const() else {
            return fault(format!("grid_sample: the input is {ty}, expected spatial extents that are known"));
        };
        let coordinate = grid.select(-1, (n_spatial - 1 - dim) as i64);
        positions.push(match sampling.align_corners {
            true => (coordinate + 1.0) * ((extent as f64 - 1.0) / 2.0),
            false => ((coordinate + 1.0) * extent as f64 - 1.0) * 0.5,
        });
    }
    sample(x, &positions, sampling)
}

/// The points that the affine maps `theta`, `[N, r, r + 1]`, make of the elements of images of `size`, `[N, C,
/// space...]`: a grid `[N, space..., r]` for [`grid_sample`], as `torch.nn.functional.affine_grid`.
///
/// ```
/// use nnc_frontend::prelude::*;
///
/// let identity = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0]).view([1, 2, 3]);
/// let grid = functional::affine_grid(&identity, &[1, 3, 1, 2], false);
/// assert_eq!(grid.to_array()?.into_raw_vec_and_offset().0, [-0.5, 0.0, 0.5, 0.0]);
/// # Ok::<(), Diagnostic>(())
/// ```
#[track_caller]
pub fn affine_grid(theta: &Tensor, size: &[usize], align_corners: bool) -> Tensor {
    let ty = live!(theta);
    let n_spatial = size.len().saturating_sub(2);
    let fits = n_spatial > 0
        && ty.rank() == 3
        && ty.dtype.is_float()
        && ty.shape[1] == Dim::from(n_spatial)
        && ty.shape[2] == Dim::from(n_spatial + 1);
    if !fits {
        return fault(format!(
            "affine_grid: theta is {ty} for images of {size:?}, expected floats [N, r, r + 1] for r spatial dimensions"
        ));
    }
    let space = &size[2..];
    let coordinate = |at: usize, extent: usize| match (align_corners, extent) {
        (true, 1) => 0.0,
        (true, _) => 2.0 * at as f64 / (extent as f64 - 1.0) - 1.0,
        (false, _) => (2.0 * at as f64 + 1.0) / extent as f64 - 1.0,
    };
    // One row a point: its coordinates, the last dimension's first, and a 1 for the shift.
    let n_points: usize = space.iter().product();
    let mut rows = Vec::with_capacity(n_points * (n_spatial + 1));
    for point in 0..n_points {
        let mut rest = point;
        for &extent in space.iter().rev() {
            rows.push(coordinate(rest % extent, extent));
            rest /= extent;
        }
        rows.push(1.0);
    }
    let points = Tensor::from_slice(&rows).to_dtype(ty.dtype).reshape([n_points, n_spatial + 1]);
    let grid = points.matmul(theta.transpose(1, 2));
    grid.unflatten(1, space)
}

/// Reads the image `x`, `[N, C, space...]`, at `positions`: one tensor `[N, points...]` for each spatial dimension, in
/// elements from the first. Positions behind a border are moved as the padding says, but in cubic sums, where the
/// elements are.
#[track_caller]
pub fn sample(x: &Tensor, positions: &[Tensor], sampling: Sampling) -> Tensor {
    let ty = live!(x);
    let n_spatial = positions.len();
    if n_spatial == 0 || ty.rank() != n_spatial + 2 {
        return fault(format!("sample: the image is {ty} for positions in {n_spatial} dimensions"));
    }
    let Some(extents) = ty.shape.0[2..].iter().map(Dim::as_const).collect::<Option<Vec<usize>>>() else {
        return fault(format!("sample: the image is {ty}, expected spatial extents that are known"));
    };
    if extents.contains(&0) {
        return fault(format!("sample: the image {ty} is empty"));
    }
    let wide = match ty.dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let plane = x.to_dtype(wide).flatten(2, -1);
    let mut axes = Vec::with_capacity(n_spatial);
    for (position, &extent) in positions.iter().zip(&extents) {
        live!(position);
        axes.push(axis_taps(&position.to_dtype(wide), extent, sampling));
    }
    // Every combination of a tap in each dimension.
    let mut combinations: Vec<(Option<Tensor>, Option<Tensor>)> = vec![(None, None)];
    for (taps, &extent) in axes.iter().zip(&extents) {
        let mut next = Vec::with_capacity(combinations.len() * taps.len());
        for (index, weight) in &combinations {
            for tap in taps {
                let index = match index {
                    Some(index) => index * extent as i64 + &tap.index,
                    None => tap.index.clone(),
                };
                let weight = match (weight, &tap.weight) {
                    (Some(weight), Some(tap)) => Some(weight * tap),
                    (weight, tap) => weight.clone().or_else(|| tap.clone()),
                };
                next.push((Some(index), weight));
            }
        }
        combinations = next;
    }
    let mut sum: Option<Tensor> = None;
    for (index, weight) in combinations {
        let element = elements(&plane, &index.expect("every dimension has a tap"));
        let term = match weight {
            Some(weight) => element * weight.unsqueeze(1),
            None => element,
        };
        sum = Some(match sum {
            Some(sum) => sum + term,
            None => term,
        });
    }
    sum.expect("every dimension has a tap").to_dtype(ty.dtype)
}

/// The elements of planes `[N, C, S]` at `index`, `[N, points...]`: `[N, C, points...]`.
#[track_caller]
fn elements(plane: &Tensor, index: &Tensor) -> Tensor {
    let (ty, index_ty) = (live!(plane), live!(index));
    let Some(n_channels) = ty.shape[1].as_const() else {
        return fault(format!("sample: the image has planes {ty}, expected a number of channels that is known"));
    };
    let attrs = GatherAttrs {
        offset_dims: vec![1],
        collapsed_slice_dims: vec![2],
        operand_batching_dims: vec![0],
        start_indices_batching_dims: vec![0],
        start_index_map: vec![2],
        index_vector_dim: index_ty.rank(),
        slice_sizes: vec![1, n_channels, 1],
    };
    apply(Op::Gather(attrs), &[plane, index])
}

/// An element along one dimension, for each point, and its weight (`None`: 1).
struct AxisTap {
    index: Tensor,
    weight: Option<Tensor>,
}

/// The elements that positions along a dimension of `extent` are made of.
#[track_caller]
fn axis_taps(position: &Tensor, extent: usize, sampling: Sampling) -> Vec<AxisTap> {
    let Sampling { mode, padding, align_corners } = sampling;
    let last = extent as f64 - 1.0;
    // The element at whole positions, and its weight where there may be none.
    let tap = |at: Tensor, weight: Option<Tensor>| {
        let weight = match padding {
            SamplePadding::Zeros => {
                let inside = at.ge(0.0).logical_and(at.le(last)).to_dtype(at.dtype());
                Some(match weight {
                    Some(weight) => weight * inside,
                    None => inside,
                })
            }
            _ => weight,
        };
        AxisTap { index: at.detach().clamp(0.0, last).int(), weight }
    };
    match mode {
        SampleMode::Nearest => vec![tap(moved(&position.round(), extent, padding, align_corners), None)],
        SampleMode::Linear => {
            let position = moved(position, extent, padding, align_corners);
            let low = position.floor().detach();
            let share = position - &low;
            let high = &low + 1.0;
            vec![tap(low, Some(1.0 - &share)), tap(high, Some(share))]
        }
        SampleMode::Cubic => {
            let low = position.floor().detach();
            let taps = cubic_taps(&(position - &low)).into_iter().enumerate();
            taps.map(|(idx, weight)| {
                tap(moved(&(&low + (idx as f64 - 1.0)), extent, padding, align_corners), Some(weight))
            })
            .collect()
        }
    }
}

/// Positions behind a border moved into the image, unless zeros stand there.
#[track_caller]
fn moved(position: &Tensor, extent: usize, padding: SamplePadding, align_corners: bool) -> Tensor {
    let last = extent as f64 - 1.0;
    match padding {
        SamplePadding::Zeros => position.clone(),
        SamplePadding::Border => position.clamp(0.0, last),
        SamplePadding::Reflection => reflected(position, extent, align_corners).clamp(0.0, last),
    }
}

/// Positions mirrored into the image as often as it takes: at the centers of the outermost elements if those are the
/// corners, else at their outer edges, half an element further out.
#[track_caller]
fn reflected(position: &Tensor, extent: usize, align_corners: bool) -> Tensor {
    let (low, span) = match align_corners {
        true => (0.0, extent as f64 - 1.0),
        false => (-0.5, extent as f64),
    };
    if span == 0.0 {
        return position.zeros_like();
    }
    let distance = (position - low).abs();
    let turns = (&distance * (1.0 / span)).floor().detach();
    let rest = &distance - &turns * span;
    let is_even = turns.fmod(2.0).eq(0.0);
    where_(&is_even, &rest + low, span + low - &rest)
}
