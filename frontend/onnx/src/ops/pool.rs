//! Pools: folds of windows (`AveragePool`, `MaxPool`, `LpPool`), of whole planes (`GlobalAveragePool` and its kin), and
//! `MaxUnpool`.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::{Reduced, apply, where_};
use nnc_ir::ops::{ReduceKind, ReduceWindowAttrs};
use nnc_ir::{Dim, Op, Shape};

use super::window::{AutoPad, Window, known_space, space};
use super::{Entry, Outcome, many, one, op, wide};
use crate::cx::Cx;
use crate::fault::Fault;

pub(super) const OPS: &[Entry] = &[
    op("AveragePool", 1.., average_pool),
    op("MaxPool", 1.., max_pool),
    op("LpPool", 1.., lp_pool),
    op("GlobalAveragePool", 1.., global_average_pool),
    op("GlobalMaxPool", 1.., global_max_pool),
    op("GlobalLpPool", 2.., global_lp_pool),
    op("MaxUnpool", 9.., max_unpool),
];

/// Windows over `x`, and the padding that was asked for: windows of `ceil_mode` may reach beyond it.
struct Pool {
    attrs: ReduceWindowAttrs,
    padding: Vec<(i64, i64)>,
}

impl Pool {
    fn read(cx: &Cx<'_>, x: &Tensor, kind: ReduceKind) -> Result<Self, Fault> {
        let space = space(cx, x)?;
        let window = Window::of_pool(cx, space.len())?;
        let padding = window.padding(cx, &space)?;
        let ceil = cx.flag("ceil_mode", false)? && window.auto_pad == AutoPad::Explicit;
        let mut attrs = ReduceWindowAttrs::plain(kind, space.len() + 2);
        for (dim, &(low, high)) in padding.iter().enumerate() {
            let beyond = if ceil { beyond(cx, &window, dim, &space[dim], (low, high))? } else { 0 };
            attrs.window[dim + 2] = window.kernel[dim];
            attrs.stride[dim + 2] = window.stride[dim];
            attrs.dilation[dim + 2] = window.dilation[dim];
            attrs.padding[dim + 2] = (low, high + beyond);
        }
        Ok(Self { attrs, padding })
    }

    fn fold(&self, x: &Tensor) -> Tensor {
        apply(Op::ReduceWindow(self.attrs.clone()), &[x])
    }

    /// How many positions of each window count, of one plane: those of the image, and of its padding if `padded`.
    /// Nothing beyond does. `None` if it is every position of every window.
    fn counts(&self, x: &Tensor, padded: bool) -> Option<Tensor> {
        let reaches = |(dim, &(low, high)): (usize, &(i64, i64))| {
            let beyond = self.attrs.padding[dim + 2].1 - high;
            beyond > 0 || !padded && (low > 0 || high > 0)
        };
        if !self.padding.iter().enumerate().any(reaches) {
            return None;
        }
        let mut extents = x.dims();
        extents[..2].fill(Dim::from(1));
        let around: Vec<(i64, i64)> = self.padding.iter().rev().copied().collect();
        let ones = Tensor::ones(Shape(extents)).to_dtype(x.dtype()).pad(&around, f64::from(u8::from(padded)));
        let mut attrs = self.attrs.with_kind(ReduceKind::Sum);
        for (dim, &(_, high)) in self.padding.iter().enumerate() {
            attrs.padding[dim + 2] = (0, attrs.padding[dim + 2].1 - high);
        }
        Some(apply(Op::ReduceWindow(attrs), &[&ones]))
    }
}

/// How far the last window of `ceil_mode` reaches beyond the padded image. It must start in the image or the padding
/// before it.
fn beyond(cx: &Cx<'_>, window: &Window, dim: usize, extent: &Dim, (low, high): (i64, i64)) -> Result<i64, Fault> {
    let (stride, spread) = (window.stride[dim] as i64, window.spread(dim));
    let Some(extent) = extent.as_const() else {
        if stride == 1 {
            return Ok(0);
        }
        return Err(
            cx.unsupported(format!("`ceil_mode` over {extent} elements depends on their number: bind the dimension"))
        );
    };
    let (extent, padded) = (extent as i64, extent as i64 + low + high);
    let room = (padded - spread).max(0);
    let mut last = (room + stride - 1) / stride * stride;
    if last >= extent + low {
        last -= stride;
    }
    Ok((last + spread - padded).max(0))
}

fn average_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let pool = Pool::read(cx, &x, ReduceKind::Sum)?;
    let x_wide = wide(&x);
    let sums = pool.fold(&x_wide);
    let means = match pool.counts(&x_wide, cx.flag("count_include_pad", false)?) {
        Some(counts) => sums / counts,
        None => sums / pool.attrs.n_taps() as f64,
    };
    one(means.to_dtype(x.dtype()))
}

fn max_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let pool = Pool::read(cx, &x, ReduceKind::Max)?;
    let largest = pool.fold(&x);
    if !cx.wants_output(1) {
        return one(largest);
    }
    // Positions in the whole tensor, as the IR gives them.
    let attrs = pool.attrs.with_kind(ReduceKind::ArgMax);
    let mut at = apply(Op::ReduceWindow(attrs), &[&x.detach()]);
    if cx.flag("storage_order", false)? {
        at = column_major(&at, &known_space(cx, &x, "`storage_order`")?);
    }
    many([largest, at])
}

/// Row-major positions in planes of extents `space` as column-major ones: the first dimension moves fastest.
fn column_major(at: &Tensor, space: &[usize]) -> Tensor {
    let plane: usize = space.iter().product();
    if plane == 0 {
        // There is padding alone, of which no position is one.
        return at.clone();
    }
    // Integer quotients: positions are not negative.
    let quotient = |at: &Tensor, by: usize| apply(Op::Divide, &[at, &at.full_like(by as f64)]);
    let within = at.fmod(plane as i64);
    let mut result = at - &within;
    let mut inner = plane;
    let mut outer = 1;
    for &extent in space {
        inner /= extent;
        result += quotient(&within, inner).fmod(extent as i64) * outer as i64;
        outer *= extent;
    }
    result
}

/// `|x|^p`.
fn power(x: &Tensor, p: i64) -> Tensor {
    match p {
        1 => x.abs(),
        2 => x.square(),
        p => x.abs().pow(p),
    }
}

/// `x^(1/p)`, of what is not negative.
fn root(x: &Tensor, p: i64) -> Tensor {
    match p {
        1 => x.clone(),
        p => {
            // The slope at 0 is infinite; the gradient there is to be 0, not infinity times that.
            let zero = x.eq(0.0);
            where_(&zero, 0.0, where_(&zero, 1.0, x).pow(1.0 / p as f64))
        }
    }
}

/// The attribute `p`.
fn order(cx: &Cx<'_>) -> Result<i64, Fault> {
    match cx.int_or("p", 2)? {
        p @ 1.. => Ok(p),
        p => Err(cx.invalid(format!("`p` is {p}, expected at least 1"))),
    }
}

fn lp_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let p = order(cx)?;
    let pool = Pool::read(cx, &x, ReduceKind::Sum)?;
    one(root(&pool.fold(&power(&wide(&x), p)), p).to_dtype(x.dtype()))
}

/// All spatial dimensions, which stay with extent 1.
fn planes(cx: &Cx<'_>, x: &Tensor) -> Result<Reduced, Fault> {
    let n_spatial = space(cx, x)?.len();
    Ok(Reduced::keep((2..n_spatial + 2).collect::<Vec<usize>>().as_slice()))
}

fn global_average_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    one(wide(&x).mean(planes(cx, &x)?).to_dtype(x.dtype()))
}

fn global_max_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    one(x.max(planes(cx, &x)?))
}

fn global_lp_pool(cx: &mut Cx<'_>) -> Outcome {
    let x = cx.input(0)?;
    let p = order(cx)?;
    one(root(&power(&wide(&x), p).sum(planes(cx, &x)?), p).to_dtype(x.dtype()))
}

/// Elements at positions in the whole result; zeros elsewhere.
fn max_unpool(cx: &mut Cx<'_>) -> Outcome {
    let (x, at) = (cx.input(0)?, cx.input(1)?);
    let extents = known_space(cx, &x, "MaxUnpool")?;
    let window = Window::of_pool(cx, extents.len())?;
    let outer: Option<Vec<usize>> = x.dims()[..2].iter().map(Dim::as_const).collect();
    let Some(mut shape) = outer else {
        return Err(cx.unsupported(format!("MaxUnpool of {}, whose batch or channels are symbolic: bind them", x.ty())));
    };
    for (dim, &extent) in extents.iter().enumerate() {
        let (low, high) = window.pads[dim];
        let reach = (extent as i64 - 1).saturating_mul(window.stride[dim] as i64);
        let unpooled = reach.saturating_add(window.kernel[dim] as i64 - low - high);
        shape.push(unpooled.max(0) as usize);
    }
    let n_elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let Some(n_elements) = n_elements else {
        return Err(cx.invalid(format!("the result has extents {shape:?}, which no memory holds")));
    };
    let zeros = Tensor::zeros([n_elements]).to_dtype(x.dtype());
    let y = zeros.scatter(0, &at.flatten(0, -1), &x.flatten(0, -1)).reshape(shape.as_slice());
    if !cx.has(2) {
        return one(y);
    }
    // Positions are those of the inferred shape; the result may be larger.
    let wanted = cx.known_ints(2)?;
    if wanted.len() != shape.len() {
        return Err(cx.invalid(format!("the output shape is {wanted:?}, expected {} extents", shape.len())));
    }
    let missing: Vec<(i64, i64)> =
        shape.iter().zip(&wanted).rev().map(|(&extent, &wanted)| (0, wanted.saturating_sub(extent as i64))).collect();
    one(y.pad(&missing, 0.0))
}
