//! Windows of images as columns, and back: `unfold` and `fold`; maxima back in their places: `max_unpool`.

use nnc_ir::ops::PadAttrs;
use nnc_ir::{Dim, Op};

use crate::tensor::{Tensor, apply, fault, live};

/// How the windows of [`unfold`] and [`fold`] lie on an image: height, then width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Extents of a window.
    pub kernel_size: [usize; 2],
    /// Distance between elements of a window.
    pub dilation: [usize; 2],
    /// Zeros before and after the image.
    pub padding: [usize; 2],
    /// Distance between windows.
    pub stride: [usize; 2],
}

impl Blocks {
    /// Windows of these extents, at every position.
    pub fn new(kernel_size: [usize; 2]) -> Self {
        Self { kernel_size, dilation: [1; 2], padding: [0; 2], stride: [1; 2] }
    }

    /// How many windows lie on an image, or `None` if there is no room for one.
    fn count(&self, extents: [usize; 2]) -> Option<[usize; 2]> {
        let mut counts = [0; 2];
        for dim in 0..2 {
            if self.kernel_size[dim] == 0 || self.stride[dim] == 0 || self.dilation[dim] == 0 {
                return None;
            }
            let span = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1;
            counts[dim] = (extents[dim] + 2 * self.padding[dim]).checked_sub(span)? / self.stride[dim] + 1;
        }
        Some(counts)
    }

    /// The place of each element in its window, row-major.
    fn offsets(&self) -> impl Iterator<Item = [usize; 2]> {
        let ([height, width], dilation) = (self.kernel_size, self.dilation);
        (0..height).flat_map(move |row| (0..width).map(move |column| [row * dilation[0], column * dilation[1]]))
    }
}

/// The windows of `[N, C, H, W]` (or `[C, H, W]`) as columns: `[N, C * window, number of windows]`.
#[track_caller]
pub fn unfold(x: &Tensor, blocks: Blocks) -> Tensor {
    let ty = live!(x);
    if ty.rank() == 3 {
        return unfold(&x.unsqueeze(0), blocks).squeeze(0);
    }
    let extents = (ty.rank() == 4).then(|| [2, 3].map(|dim| ty.shape[dim].as_const()));
    let Some([Some(height), Some(width)]) = extents else {
        return fault(format!("unfold: the input is {ty}, expected [N, C, H, W] or [C, H, W] of known extents"));
    };
    let Some(counts) = blocks.count([height, width]) else {
        return fault(format!("unfold: {blocks:?} has no window on {ty}"));
    };
    let [vertical, horizontal] = blocks.padding.map(|amount| (amount as i64, amount as i64));
    let padded = x.pad(&[horizontal, vertical], 0.0);
    let every = |x: &Tensor, dim: usize, start: usize| {
        let end = start + blocks.stride[dim] * (counts[dim] - 1) + 1;
        x.slice(dim as i64 + 2, start as i64, Some(end as i64), blocks.stride[dim])
    };
    let elements: Vec<Tensor> =
        blocks.offsets().map(|[row, column]| every(&every(&padded, 0, row), 1, column)).collect();
    Tensor::stack(&elements, 2).flatten(1, 2).flatten(2, 3)
}

/// Columns `[N, C * window, number of windows]` (or without `N`) as windows of images `[N, C, H, W]` of `output_size`,
/// summed where they overlap: the transpose of [`unfold`].
#[track_caller]
pub fn fold(x: &Tensor, output_size: [usize; 2], blocks: Blocks) -> Tensor {
    let ty = live!(x);
    if ty.rank() == 2 {
        return fold(&x.unsqueeze(0), output_size, blocks).squeeze(0);
    }
    let dims = [0, 1].map(|dim| BlockDim {
        kernel_size: blocks.kernel_size[dim],
        dilation: blocks.dilation[dim],
        padding: (blocks.padding[dim] as i64, blocks.padding[dim] as i64),
        stride: blocks.stride[dim],
    });
    fold_nd(x, &output_size, &dims)
}

/// How the windows of [`fold_nd`] lie along one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDim {
    /// Extent of a window.
    pub kernel_size: usize,
    /// Distance between elements of a window.
    pub dilation: usize,
    /// Zeros before and after the image.
    pub padding: (i64, i64),
    /// Distance between windows.
    pub stride: usize,
}

impl BlockDim {
    /// How many windows lie along `extent` elements, or `None` if there is no room for one.
    fn count(&self, extent: usize) -> Option<usize> {
        if self.kernel_size == 0 || self.stride == 0 || self.dilation == 0 {
            return None;
        }
        let span = (self.dilation * (self.kernel_size - 1) + 1) as i64;
        let room = extent as i64 + self.padding.0 + self.padding.1 - span;
        (room >= 0).then(|| room as usize / self.stride + 1)
    }
}

/// [`fold`] in any number of dimensions: columns `[N, C * window, number of windows]` as windows of images `[N, C,
/// space...]` of extents `output_size`.
#[track_caller]
pub fn fold_nd(x: &Tensor, output_size: &[usize], blocks: &[BlockDim]) -> Tensor {
    let ty = live!(x);
    let window: usize = blocks.iter().map(|block| block.kernel_size).product();
    let counts: Option<Vec<usize>> =
        blocks.iter().zip(output_size).map(|(block, &extent)| block.count(extent)).collect();
    let fits = |counts: &Vec<usize>| {
        ty.rank() == 3
            && blocks.len() == output_size.len()
            && ty.shape[1].as_const().is_some_and(|rows| rows % window == 0)
            && ty.shape[2] == Dim::from(counts.iter().product::<usize>())
    };
    let Some(counts) = counts.filter(fits) else {
        return fault(format!(
            "fold: the input is {ty}, expected [N, C * {window}, L] with as many columns as {blocks:?} has on \
             {output_size:?}"
        ));
    };
    let split = x.unflatten(1, [-1, window as i64]).unflatten(3, counts.as_slice());
    let zero = Tensor::full((), 0.0).to_dtype(ty.dtype);
    let rank = blocks.len() + 2;
    let mut sum: Option<Tensor> = None;
    for idx in 0..window {
        let mut attrs = PadAttrs { low: vec![0; rank], high: vec![0; rank], interior: vec![0; rank] };
        let mut rest = idx;
        for dim in (0..blocks.len()).rev() {
            let block = &blocks[dim];
            let low = (rest % block.kernel_size * block.dilation) as i64 - block.padding.0;
            rest /= block.kernel_size;
            let spread = (block.stride * (counts[dim] - 1) + 1) as i64;
            attrs.low[dim + 2] = low;
            attrs.high[dim + 2] = output_size[dim] as i64 - spread - low;
            attrs.interior[dim + 2] = block.stride - 1;
        }
        let element = apply(Op::Pad(attrs), &[&split.select(2, idx as i64), &zero]);
        sum = Some(match sum {
            Some(sum) => sum + element,
            None => element,
        });
    }
    sum.expect("a window has an element")
}

/// Puts elements back where a max pooling with indices found them, in planes of `output_size`; zeros elsewhere. Of
/// several for one place the last stays. `x` and `indices` are `[N, C, ...]` or `[C, ...]` with one spatial dimension for
/// each of `output_size`.
#[track_caller]
pub fn max_unpool(x: &Tensor, indices: &Tensor, output_size: &[usize]) -> Tensor {
    let (ty, indices_ty) = (live!(x), live!(indices));
    let n_spatial = output_size.len();
    let outer = ty.rank().saturating_sub(n_spatial);
    if !(1..=2).contains(&outer) || indices_ty.shape != ty.shape || !indices_ty.dtype.is_int() {
        return fault(format!(
            "max_unpool: the input is {ty} and the indices {indices_ty}, expected integers of the input's shape, and \
             {n_spatial} spatial dimensions behind [N, C] or [C]"
        ));
    }
    let dim = outer as i64;
    let plane: usize = output_size.iter().product();
    let mut shape: Vec<Dim> = ty.shape.0[..outer].to_vec();
    shape.push(Dim::from(plane));
    let zeros = Tensor::zeros(shape).to_dtype(ty.dtype);
    let extents: Vec<i64> = output_size.iter().map(|&extent| extent as i64).collect();
    zeros.scatter(dim, &indices.flatten(dim, -1), &x.flatten(dim, -1)).unflatten(dim, extents)
}
