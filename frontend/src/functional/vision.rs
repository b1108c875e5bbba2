//! Functions of `torchvision.ops`: deformable convolutions, and pooling over regions of interest.

use nnc_ir::ops::ConvolutionAttrs;
use nnc_ir::{DType, Dim, Op, Shape};

use super::sample::{Sampling, sample};
use crate::tensor::{Tensor, ToTensor, apply, fault, live, where_};

/// How the window of a deformable convolution moves: one entry a spatial dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deformable {
    /// Step of the window.
    pub stride: Vec<usize>,
    /// Zeros before and after the image.
    pub padding: Vec<(i64, i64)>,
    /// Distance between taps.
    pub dilation: Vec<usize>,
    /// Groups of channels: input channels of a group make the output channels of that group.
    pub groups: usize,
    /// Groups of input channels that share offsets.
    pub offset_groups: usize,
}

impl Deformable {
    /// Steps of 1 without padding in `n_spatial` dimensions, one group.
    pub fn new(n_spatial: usize) -> Self {
        Self {
            stride: vec![1; n_spatial],
            padding: vec![(0, 0); n_spatial],
            dilation: vec![1; n_spatial],
            groups: 1,
            offset_groups: 1,
        }
    }
}

/// Correlates `x`, `[N, in, space...]`, with `weight`, `[out, in / groups, kernel...]`, whose taps are moved by `offset`,
/// `[N, offset_groups * taps * r, out space...]`: a tap has one number a spatial dimension, outermost first. Elements are
/// multiplied by `mask`, `[N, offset_groups * taps, out space...]`. `torchvision.ops.deform_conv2d`, in any number of
/// dimensions.
#[track_caller]
pub fn deform_conv(
    x: &Tensor,
    offset: &Tensor,
    weight: impl ToTensor,
    bias: Option<&dyn ToTensor>,
    mask: Option<&Tensor>,
    settings: &Deformable,
) -> Tensor {
    let weight = weight.to_tensor();
    let (ty, offset_ty, weight_ty) = (live!(x), live!(offset), live!(weight));
    let n_spatial = ty.rank().saturating_sub(2);
    let kernel: Option<Vec<usize>> = weight_ty.shape.0.iter().skip(2).map(Dim::as_const).collect();
    let entries = [settings.stride.len(), settings.padding.len(), settings.dilation.len()];
    let Some(kernel) = kernel.filter(|kernel| {
        n_spatial > 0 && kernel.len() == n_spatial && offset_ty.rank() == ty.rank() && entries == [n_spatial; 3]
    }) else {
        return fault(format!(
            "deform_conv: the input is {ty}, the weight {weight_ty} and the offset {offset_ty}, expected one rank, known \
             kernel extents, and one entry a spatial dimension of stride, padding and dilation"
        ));
    };
    let (groups, offset_groups) = (settings.groups, settings.offset_groups);
    let n_taps: usize = kernel.iter().product();
    let (Some(n_in), Some(n_out)) = (ty.shape[1].as_const(), weight_ty.shape[0].as_const()) else {
        return fault(format!("deform_conv: the input is {ty} and the weight {weight_ty}, expected known channels"));
    };
    let divides = |groups: usize, channels: usize| groups > 0 && channels.is_multiple_of(groups);
    let fits = divides(groups, n_in)
        && divides(groups, n_out)
        && divides(offset_groups, n_in)
        && weight_ty.shape[1] == Dim::from(n_in / groups.max(1))
        && offset_ty.shape[1] == Dim::from(offset_groups * n_taps * n_spatial);
    if !fits {
        return fault(format!(
            "deform_conv: {groups} groups and {offset_groups} of offsets do not fit an input {ty}, a weight {weight_ty} \
             and an offset {offset_ty}"
        ));
    }
    let batch = ty.shape[0].clone();
    let out_space: Vec<Dim> = offset_ty.shape.0[2..].to_vec();
    let Some(n_points) = Shape(out_space.clone()).n_elements().as_const() else {
        return fault(format!("deform_conv: the offset is {offset_ty}, expected spatial extents that are known"));
    };
    // Groups of offsets join the batch; taps come before positions.
    let grouped = |channels: &[usize]| {
        let mut shape = vec![batch.clone() * Dim::from(offset_groups)];
        shape.extend(channels.iter().map(|&extent| Dim::from(extent)));
        shape.extend(out_space.iter().cloned());
        Shape(shape)
    };
    let offset = offset.reshape(grouped(&[n_taps, n_spatial]));
    let positions: Vec<Tensor> = (0..n_spatial)
        .map(|dim| {
            let inner: usize = kernel[dim + 1..].iter().product();
            let tap = |tap: usize| ((tap / inner) % kernel[dim] * settings.dilation[dim]) as f64;
            let taps: Vec<f64> = (0..n_taps).map(|idx| tap(idx) - settings.padding[dim].0 as f64).collect();
            let mut taps_shape = vec![1i64; n_spatial + 1];
            taps_shape[0] = -1;
            let mut counts_shape = vec![Dim::from(1); n_spatial];
            counts_shape[dim] = out_space[dim].clone();
            let counts = Tensor::arange(out_space[dim].clone()).to_dtype(ty.dtype) * settings.stride[dim] as f64;
            let base = Tensor::from_slice(&taps).to_dtype(ty.dtype).reshape(taps_shape) + counts.reshape(counts_shape);
            offset.select(2, dim as i64) + base
        })
        .collect();
    let mut image = vec![batch.clone() * Dim::from(offset_groups), Dim::from(n_in / offset_groups)];
    image.extend(ty.shape.0[2..].iter().cloned());
    let mut columns = sample(&x.reshape(image), &positions, Sampling::default());
    if let Some(mask) = mask {
        columns *= mask.reshape(grouped(&[n_taps])).unsqueeze(1);
    }
    // What is left is a product for each group: a convolution of one tap.
    let columns = columns.reshape(vec![batch.clone(), Dim::from(n_in * n_taps), Dim::from(n_points)]);
    let weight = weight.reshape([n_out, n_in / groups * n_taps, 1]);
    let attrs = ConvolutionAttrs { groups, ..ConvolutionAttrs::plain(1) };
    let mut y = apply(Op::Convolution(attrs), &[&columns, &weight]);
    if let Some(bias) = bias {
        y += bias.to_tensor().unsqueeze(-1);
    }
    let mut shape = vec![batch, Dim::from(n_out)];
    shape.extend(out_space);
    y.reshape(shape)
}

/// What [`roi_align`] makes of the points of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoiMode {
    /// Their mean, each the linear interpolation of the four elements around it.
    #[default]
    Mean,
    /// The largest of the four elements around any of them, each times its weight.
    Max,
}

/// How regions are cut up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regions {
    /// Rows and columns of a region.
    pub output_size: [usize; 2],
    /// What a coordinate is multiplied by, to be one of the image.
    pub spatial_scale: f64,
    /// Points along each side of a bin; `None` for one an element, a number that depends on the region.
    pub sampling_ratio: Option<usize>,
    /// Whether coordinates are of areas, so that the center of the first element is one half.
    pub aligned: bool,
    /// What becomes of the points.
    pub mode: RoiMode,
}

impl Regions {
    /// Means over bins of unscaled boxes, as many points as elements, not aligned.
    pub fn new(output_size: [usize; 2]) -> Self {
        Self { output_size, spatial_scale: 1.0, sampling_ratio: None, aligned: false, mode: RoiMode::Mean }
    }
}

/// Cuts each box of `boxes`, `[K, 4]` (left, top, right, bottom), out of the image of `x`, `[N, C, H, W]`, that
/// `images`, `[K]`, names, and pools it to `output_size`: `[K, C, rows, columns]`. `torchvision.ops.roi_align`.
///
/// Without a `sampling_ratio` the largest of points needs boxes that are known while tracing.
#[track_caller]
pub fn roi_align(x: &Tensor, boxes: &Tensor, images: &Tensor, regions: &Regions) -> Tensor {
    let (ty, boxes_ty, images_ty) = (live!(x), live!(boxes), live!(images));
    let fits = ty.rank() == 4
        && ty.dtype.is_float()
        && boxes_ty.rank() == 2
        && boxes_ty.shape[1] == Dim::from(4)
        && images_ty.dtype.is_int()
        && images_ty.rank() == 1
        && images_ty.shape[0] == boxes_ty.shape[0];
    let extents: Option<Vec<usize>> = ty.shape.0.iter().skip(1).map(Dim::as_const).collect();
    let Some(extents) = extents.filter(|_| fits) else {
        return fault(format!(
            "roi_align: the input is {ty}, the boxes {boxes_ty} and the images {images_ty}, expected [N, C, H, W] of known \
             extents, [K, 4] and integers [K]"
        ));
    };
    if regions.output_size.contains(&0) || regions.sampling_ratio == Some(0) || extents.contains(&0) {
        return fault(format!("roi_align: no region of {ty} has the settings {regions:?}"));
    }
    let wide = if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let corner = |idx: i64| {
        let scaled = boxes.select(1, idx).to_dtype(wide) * regions.spatial_scale;
        if regions.aligned { scaled - 0.5 } else { scaled }
    };
    let side = |dim: usize| {
        let low = corner(1 - dim as i64);
        let length = corner(3 - dim as i64) - &low;
        let length = if regions.aligned { length } else { length.maximum(1.0) };
        Side {
            low,
            bin: length / regions.output_size[dim] as f64,
            n_bins: regions.output_size[dim],
            extent: extents[dim + 1],
        }
    };
    let (rows, columns) = (side(0), side(1));
    let image = x.to_dtype(wide);
    let y = match (regions.sampling_ratio, regions.mode) {
        (None, RoiMode::Mean) => {
            let (rows, n_rows) = rows.weights();
            let (columns, n_columns) = columns.weights();
            let picked = match ty.shape[0].as_const() {
                Some(1) => image,
                _ => image.index_select(0, images),
            };
            let narrow = picked.matmul(columns.transpose(1, 2).unsqueeze(1));
            let pooled = rows.unsqueeze(1).matmul(narrow);
            pooled / (n_rows * n_columns).maximum(1.0).reshape([-1, 1, 1, 1])
        }
        (None, RoiMode::Max) => {
            let (Some(n_rows), Some(n_columns)) = (rows.most_points(), columns.most_points()) else {
                return fault(
                    "roi_align: the largest of a number of points that depends on the boxes needs boxes that are known; \
                     give a sampling_ratio",
                );
            };
            points(&image, images, &rows.points(n_rows, None), &columns.points(n_columns, None), RoiMode::Max)
        }
        (Some(n_points), mode) => {
            let share = Some(n_points);
            points(&image, images, &rows.points(n_points, share), &columns.points(n_points, share), mode)
        }
    };
    y.to_dtype(ty.dtype)
}

/// Boxes along one dimension: one number a box.
struct Side {
    /// Where a box begins.
    low: Tensor,
    /// Extent of one of its bins.
    bin: Tensor,
    n_bins: usize,
    /// Extent of the image.
    extent: usize,
}

/// Points along one dimension, `[K, bins, points a bin]`.
struct Points {
    /// The element before, limited to the image.
    low: Tensor,
    /// The share of the way from there to the next.
    share: Tensor,
    /// Whether the point is in the image and among those of its bin.
    counts: Tensor,
    /// Whether it is among those of its bin; `None` if all are.
    present: Option<Tensor>,
    extent: usize,
}

impl Side {
    /// How many points each bin has, one an element.
    #[track_caller]
    fn n_points(&self) -> Tensor {
        self.bin.ceil().detach().maximum(0.0)
    }

    /// The largest number of points of a bin, if boxes are known.
    fn most_points(&self) -> Option<usize> {
        let counts = self.n_points().to_array().ok()?;
        Some(counts.iter().fold(1.0f32, |most, &count| most.max(count)) as usize)
    }

    /// `most` points a bin, of which the first `share` (or [`Side::n_points`]) count, spread evenly over the bin.
    #[track_caller]
    fn points(&self, most: usize, share: Option<usize>) -> Points {
        let first = Tensor::zeros([1, 1, 1]).to_dtype(self.low.dtype());
        self.points_from(&first, most, share)
    }

    /// [`Side::points`] from point `first` (`[K, bins, 1]` or one number) of each bin on.
    #[track_caller]
    fn points_from(&self, first: &Tensor, most: usize, share: Option<usize>) -> Points {
        let dtype = self.low.dtype();
        let along = |n: usize, shape: [i64; 3]| Tensor::arange(n).to_dtype(dtype).reshape(shape);
        let n_points = match share {
            Some(n_points) => Tensor::full([1, 1, 1], n_points as f64).to_dtype(dtype),
            None => self.n_points().reshape([-1, 1, 1]),
        };
        let bin = self.bin.reshape([-1, 1, 1]);
        let at = along(most, [1, 1, -1]) + first;
        let start = self.low.reshape([-1, 1, 1]) + along(self.n_bins, [1, -1, 1]) * &bin;
        let position = start + (&at + 0.5) * &bin / n_points.maximum(1.0);
        let inside = position.ge(-1.0).logical_and(position.le(self.extent as f64));
        let present = share.is_none().then(|| at.lt(&n_points).expand_as(&inside));
        let counts = match &present {
            Some(present) => inside.logical_and(present),
            None => inside,
        };
        let limited = position.clamp(0.0, self.extent as f64 - 1.0);
        let low = limited.floor().detach();
        Points { share: limited - &low, low, counts, present, extent: self.extent }
    }

    /// For each bin the sum of its points' weights on every element, `[K, bins, extent]`, and the number of its points,
    /// `[K]`. Points lie at least half an element apart, unless a bin has but one, so no more than these are in the image.
    #[track_caller]
    fn weights(&self) -> (Tensor, Tensor) {
        let most = 2 * self.extent + 4;
        let n_points = self.n_points();
        let dtype = self.low.dtype();
        let bins = Tensor::arange(self.n_bins).to_dtype(dtype).reshape([1, -1]);
        let bin = self.bin.unsqueeze(1);
        let start = self.low.unsqueeze(1) + bins * &bin;
        // The first point that may be in the image; far boxes begin with many that are not.
        let distance = &bin / n_points.maximum(1.0).unsqueeze(1);
        let skipped = ((-1.0 - start) / where_(&distance.gt(0.0), &distance, 1.0) - 0.5).floor().maximum(0.0).detach();
        let points = self.points_from(&skipped.unsqueeze(2), most, None);
        let position = (&points.low + &points.share).unsqueeze(3);
        let elements = Tensor::arange(self.extent).to_dtype(dtype);
        let weight = (1.0 - (position - elements).abs()).relu();
        let weight = where_(&points.counts.unsqueeze(3), weight, 0.0);
        (weight.sum(2), n_points)
    }
}

/// Pools the points of every bin of boxes in `image`, `[N, C, H, W]`.
#[track_caller]
fn points(image: &Tensor, images: &Tensor, rows: &Points, columns: &Points, mode: RoiMode) -> Tensor {
    let ty = live!(image);
    let merged = |of: &Tensor| of.flatten(1, 2);
    let next = |points: &Points| (merged(&points.low) + 1.0).minimum(points.extent as f64 - 1.0).int();
    let before = |points: &Points| merged(&points.low).int();
    let (shares, counts) =
        ([merged(&rows.share), merged(&columns.share)], [merged(&rows.counts), merged(&columns.counts)]);
    let counts = counts[0].unsqueeze(2).logical_and(counts[1].unsqueeze(1));
    // Planes of one channel side by side, so that one number names an element of every channel.
    let planes = image.transpose(0, 1).flatten(1, -1);
    let plane_of = images.int().reshape([-1, 1]) * (rows.extent as i64);
    let mut terms = Vec::with_capacity(4);
    for row_tap in 0..2 {
        for column_tap in 0..2 {
            let tap = |points: &Points, tap: usize| if tap == 0 { before(points) } else { next(points) };
            let row = (&plane_of + tap(rows, row_tap)).unsqueeze(2);
            let index = row * columns.extent as i64 + tap(columns, column_tap).unsqueeze(1);
            let share = |share: &Tensor, tap: usize| if tap == 0 { 1.0 - share } else { share.clone() };
            let weight = share(&shares[0], row_tap).unsqueeze(2) * share(&shares[1], column_tap).unsqueeze(1);
            let weight = where_(&counts, weight, 0.0);
            terms.push(channels_at(&planes, &index) * weight.unsqueeze(1));
        }
    }
    let mut shape = vec![live!(images).shape[0].clone(), ty.shape[1].clone()];
    for points in [rows, columns] {
        shape.extend(live!(points.low).shape.0[1..].iter().cloned());
    }
    match mode {
        RoiMode::Mean => {
            let sum = terms[1..].iter().fold(terms[0].clone(), |sum, term| sum + term);
            sum.reshape(shape).mean([3, 5])
        }
        RoiMode::Max => {
            let largest = terms[1..].iter().fold(terms[0].clone(), |largest, term| largest.maximum(term));
            // Points outside the image are candidates, as zeros; those that a smaller bin lacks are none.
            let Some(present) = both(&rows.present, &columns.present) else {
                return largest.reshape(shape).max([3, 5]);
            };
            let largest = where_(&present.unsqueeze(1), largest, f64::NEG_INFINITY).reshape(shape).max([3, 5]);
            where_(&largest.gt(f64::NEG_INFINITY), &largest, 0.0)
        }
    }
}

/// Rows and columns that are both true, for each of their pairs.
#[track_caller]
fn both(rows: &Option<Tensor>, columns: &Option<Tensor>) -> Option<Tensor> {
    let (rows, columns) = (rows.as_ref()?.flatten(1, 2), columns.as_ref()?.flatten(1, 2));
    Some(rows.unsqueeze(2).logical_and(columns.unsqueeze(1)))
}

/// Every row of `planes`, `[C, S]`, at the positions `index`, `[K, P, Q]`: `[K, C, P, Q]`.
#[track_caller]
fn channels_at(planes: &Tensor, index: &Tensor) -> Tensor {
    let (ty, index_ty) = (live!(planes), live!(index));
    let attrs = nnc_ir::ops::GatherAttrs {
        offset_dims: vec![1],
        collapsed_slice_dims: vec![1],
        start_index_map: vec![1],
        index_vector_dim: index_ty.rank(),
        slice_sizes: vec![ty.shape[0].as_const().unwrap_or(1), 1],
        ..Default::default()
    };
    apply(Op::Gather(attrs), &[planes, index])
}

/// The largest element of each of `output_size` bins of whole elements that cover a box, `torchvision.ops.roi_pool`:
/// `[K, C, rows, columns]`, zeros where a bin is empty. Boxes are as in [`roi_align`]; their corners are rounded to
/// elements, and both belong to the box.
#[track_caller]
pub fn roi_pool(x: &Tensor, boxes: &Tensor, images: &Tensor, output_size: [usize; 2], spatial_scale: f64) -> Tensor {
    let (ty, boxes_ty) = (live!(x), live!(boxes));
    let extents: Option<Vec<usize>> = ty.shape.0.iter().skip(1).map(Dim::as_const).collect();
    let Some(extents) = extents.filter(|_| ty.rank() == 4 && boxes_ty.rank() == 2 && boxes_ty.shape[1] == Dim::from(4))
    else {
        return fault(format!(
            "roi_pool: the input is {ty} and the boxes {boxes_ty}, expected [N, C, H, W] and [K, 4]"
        ));
    };
    let picked = match ty.shape[0].as_const() {
        Some(1) => x.clone(),
        _ => x.index_select(0, images),
    };
    // A maximum over columns, then over rows: each over all elements, those outside the bin as the least number.
    let mask = |dim: usize| {
        // Halves are rounded away from zero, as C's `round` does.
        let corner = |idx: i64| {
            let scaled = boxes.select(1, idx).float() * spatial_scale;
            (scaled.abs() + 0.5).floor() * scaled.sign()
        };
        let (low, high) = (corner(1 - dim as i64), corner(3 - dim as i64));
        let length = (high - &low + 1.0).maximum(1.0);
        let bin = (length / output_size[dim] as f64).unsqueeze(1);
        let bins = Tensor::arange(output_size[dim]).float();
        let limit = |edge: Tensor| (edge + low.unsqueeze(1)).clamp(0.0, extents[dim + 1] as f64).unsqueeze(2);
        let (first, end) = (limit((&bin * &bins).floor()), limit((&bin * (&bins + 1.0)).ceil()));
        let elements = Tensor::arange(extents[dim + 1]).float();
        elements.ge(first).logical_and(elements.lt(end))
    };
    let (rows, columns) = (mask(0), mask(1));
    let narrow = where_(&columns.unsqueeze(1).unsqueeze(1), picked.unsqueeze(3), f64::NEG_INFINITY).max(4);
    let pooled = where_(&rows.unsqueeze(1).unsqueeze(4), narrow.unsqueeze(2), f64::NEG_INFINITY).max(3);
    where_(&pooled.gt(f64::NEG_INFINITY), &pooled, 0.0)
}
