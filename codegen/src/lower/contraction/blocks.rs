//! Blocks of an iteration space: several dimensions, row-major, cut into runs of one size.

use super::super::cx::{Cx, Eval};
use super::super::nest::Axis;
use super::super::pointwise::split_last_digit;
use crate::kernel::{Index, LoopKind};

/// How a list of dimensions (outermost first) is cut: those after `cut` stay whole, the one at `cut` is walked in
/// blocks of `size`, those before it one index at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    pub(super) dims: Vec<usize>,
    pub(super) extents: Vec<u64>,
    pub(super) cut: usize,
    pub(super) size: u64,
}

/// Blocks of one size along the cut dimension: `count` of them from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) size: u64,
    pub(super) count: u64,
}

/// One block: along each dimension where it starts, between which values that is, and its extent.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) dims: Vec<usize>,
    pub(super) starts: Vec<Index>,
    pub(super) start_ranges: Vec<(i64, i64)>,
    pub(super) extents: Vec<u64>,
    /// Extents of the dimensions themselves.
    whole: Vec<u64>,
}

impl Blocking {
    /// Blocks of at most `most` elements. Of the sizes that fit, the one of least `cost` an element is taken; `cost` gets the elements of a block.
    pub(super) fn new(dims: &[usize], space: &[usize], most: u64, cost: impl Fn(u64) -> f64) -> Self {
        let extents: Vec<u64> = dims.iter().map(|&dim| space[dim] as u64).collect();
        let mut cut = dims.len().saturating_sub(1);
        let mut inner = 1;
        while cut > 0 && inner * extents[cut] * 2 <= most {
            inner *= extents[cut];
            cut -= 1;
        }
        let extent = extents.get(cut).copied().unwrap_or(1);
        let waste = |size: u64| (extent.div_ceil(size) * size) as f64 / extent as f64;
        let each = |size: u64| cost(size * inner) / (size * inner) as f64 * (0.5 + 0.5 * waste(size));
        let sizes = 1..=(most / inner).clamp(1, extent.max(1));
        let size =
            sizes.fold((f64::INFINITY, 1), |best, size| if each(size) <= best.0 { (each(size), size) } else { best });
        Self { dims: dims.to_vec(), extents, cut, size: size.1 }
    }

    /// Blocks of equal share, as large as `most` allows.
    pub(super) fn even(dims: &[usize], space: &[usize], most: u64) -> Self {
        let mut blocking = Self::new(dims, space, most, |_| 1.0);
        if let Some(&extent) = blocking.extents.get(blocking.cut) {
            let most = (most / blocking.inner()).clamp(1, extent.max(1));
            blocking.size = extent.div_ceil(extent.div_ceil(most).max(1)).max(1);
        }
        blocking
    }

    /// Elements behind one index of the cut dimension.
    fn inner(&self) -> u64 {
        self.extents.iter().skip(self.cut + 1).product()
    }

    /// Indices of the dimensions before the cut one.
    pub(super) fn n_outer(&self) -> u64 {
        self.extents.iter().take(self.cut).product()
    }

    /// Elements of a whole block.
    pub(super) fn len(&self) -> u64 {
        self.size * self.inner()
    }

    /// Number of blocks.
    pub(super) fn n_blocks(&self) -> u64 {
        self.n_outer() * self.extents.get(self.cut).map_or(1, |extent| extent.div_ceil(self.size))
    }

    /// Extents of a whole block.
    pub(super) fn block_extents(&self) -> Vec<u64> {
        let extent = |at: usize| match at.cmp(&self.cut) {
            std::cmp::Ordering::Less => 1,
            std::cmp::Ordering::Equal => self.size,
            std::cmp::Ordering::Greater => self.extents[at],
        };
        (0..self.dims.len()).map(extent).collect()
    }

    /// The blocks along the cut dimension by size, in order; those `is_special` holds for (given first and size) stand
    /// by themselves.
    pub(super) fn parts(&self, is_special: &dyn Fn(u64, u64) -> bool) -> Vec<Part> {
        let extent = self.extents.get(self.cut).copied().unwrap_or(1);
        let mut parts: Vec<Part> = Vec::new();
        let mut last_is_special = false;
        for at in 0..extent.div_ceil(self.size) {
            let first = at * self.size;
            let size = self.size.min(extent - first);
            let special = is_special(first, size);
            match parts.last_mut() {
                Some(last) if last.size == size && !special && !last_is_special => last.count += 1,
                _ => parts.push(Part { first, size, count: 1 }),
            }
            last_is_special = special;
        }
        parts
    }

    /// Block number `at` of a part, counting the outer dimensions' indices too.
    pub(super) fn block(&self, cx: &mut Cx<'_>, part: &Part, at: &Index) -> Block {
        let (mut rest, number) = split_last_digit(cx, at, self.n_outer(), part.count);
        let mut block = Block {
            dims: self.dims.clone(),
            starts: vec![Index::constant(0); self.dims.len()],
            start_ranges: vec![(0, 0); self.dims.len()],
            extents: self.block_extents(),
            whole: self.extents.clone(),
        };
        if self.dims.is_empty() {
            return block;
        }
        let last = part.first + (part.count - 1) * part.size;
        block.starts[self.cut] = Index::constant(part.first as i64).plus_scaled(&number, part.size as i64);
        block.start_ranges[self.cut] = (part.first as i64, last as i64);
        block.extents[self.cut] = part.size;
        for dim in (0..self.cut).rev() {
            let n_outer = self.extents[..dim].iter().product();
            let (outer, index) = split_last_digit(cx, &rest, n_outer, self.extents[dim]);
            block.start_ranges[dim] = (0, self.extents[dim] as i64 - 1);
            (block.starts[dim], rest) = (index, outer);
        }
        block
    }
}

impl Block {
    /// Number of elements.
    pub(super) fn len(&self) -> u64 {
        self.extents.iter().product()
    }

    /// Binds every dimension to where the block starts.
    pub(super) fn bind_start(&self, cx: &mut Cx<'_>) {
        for (&dim, start) in self.dims.iter().zip(&self.starts) {
            cx.bind(dim, start.clone(), 0);
        }
    }

    /// The block as runs along `axes`, which merge its dimensions: each with its axis, start and extent.
    pub(super) fn runs(&self, axes: &[Axis]) -> Vec<Run> {
        let run = |axis: &Axis| {
            let (mut start, mut extent) = (Index::default(), 1);
            let mut stride = 1;
            for dim in axis.dims.iter().rev() {
                let at = self.dims.iter().position(|known| known == dim).expect("an axis of the block");
                start = start.plus_scaled(&self.starts[at], stride);
                stride *= self.whole[at] as i64;
                extent *= self.extents[at];
            }
            Run { axis: axis.clone(), start, extent, stride: 1 }
        };
        let mut runs: Vec<Run> = axes.iter().map(run).collect();
        for at in (1..runs.len()).rev() {
            runs[at - 1].stride = runs[at].stride * runs[at].extent as i64;
        }
        runs
    }
}

/// A run of indices along an axis; `stride` is how far a step along it moves the flat position.
pub(super) struct Run {
    pub(super) axis: Axis,
    pub(super) start: Index,
    pub(super) extent: u64,
    pub(super) stride: i64,
}

/// Loops over `runs`, bound as scalars; `body` gets the flat position.
pub(super) fn walk(
    cx: &mut Cx<'_>,
    runs: &[Run],
    flat: &Index,
    body: &mut dyn FnMut(&mut Cx<'_>, &Index) -> Eval,
) -> Eval {
    let Some((run, rest)) = runs.split_first() else { return body(cx, flat) };
    cx.for_loop(run.extent, LoopKind::Serial, |cx, at| {
        run.axis.bind(cx, &run.start.clone().plus_scaled(&at, 1), 0);
        let flat = flat.clone().plus_scaled(&at, run.stride);
        walk(cx, rest, &flat, body)
    })
}
