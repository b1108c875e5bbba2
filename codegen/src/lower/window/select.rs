//! `select_and_scatter` without scattering: each element looks at the windows that hold it, and adds what those give
//! that picked it. So no two elements meet, and the order is fixed.
//!
//! Which element a window picked is itself a value, `reduce_window` of kind `argmax`, that a region which needs it
//! holds out of sight ([`hidden_picks`]). Small windows that overlap little pick again for each element; else the picks
//! are put into memory first.

use nnc_ir::ops::{CompareDir, Op, ReduceKind, ReduceWindowAttrs};
use nnc_ir::{Graph, Value};

use super::{Slot, both, compare, loop_affine, position_dtype, position_type, select, within};
use crate::kernel::{BinOp, Reg};
use crate::lower::affine::{Affine, dense_strides, dot};
use crate::lower::cx::{Cx, Eval, Stop};
use crate::lower::view::condition;

/// Most comparisons an element makes to find out which windows picked it, rather than reading it from memory.
const MAX_REPICKED: usize = 16;

/// Most windows over one element that are unrolled.
const MAX_UNROLLED: usize = 32;

/// The region with the picks of each of its `select_and_scatter`s, and the pairs (op, picks); `None` if it has none.
pub(in crate::lower) fn hidden_picks(region: &Graph) -> Option<(Graph, Vec<(Value, Value)>)> {
    let selects = |op: &Op| matches!(op, Op::SelectAndScatter(_));
    if !region.nodes().any(|(_, data)| selects(&data.op)) {
        return None;
    }
    let mut region = region.clone();
    let mut pairs = Vec::new();
    let found: Vec<_> = region.nodes().filter(|(_, data)| selects(&data.op)).map(|(_, data)| data.clone()).collect();
    for data in found {
        let Op::SelectAndScatter(attrs) = &data.op else { unreachable!("the nodes were filtered") };
        let kind = if attrs.kind == ReduceKind::Min { ReduceKind::ArgMin } else { ReduceKind::ArgMax };
        let operand = data.operands[0];
        let n_elements = region.ty(operand).n_elements().unwrap_or(usize::MAX);
        let mut push = |op: Op, operand: Value| region.op(op, &[operand], data.location.clone());
        let picks = push(Op::ReduceWindow(attrs.with_kind(kind)), operand);
        let picks = picks.and_then(|picks| push(Op::Convert(position_dtype(n_elements)), picks));
        pairs.push((data.first_result, picks.expect("the op accepted these windows")));
    }
    Some((region, pairs))
}

/// The value of a `select_and_scatter` at `coords`.
pub(in crate::lower) fn select_and_scatter(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Reg> {
    let region = cx.region;
    let Op::SelectAndScatter(attrs) = region.op(value) else { unreachable!("{value} is a select_and_scatter") };
    let &[operand, source] = region.operands(value) else { unreachable!("two operands") };
    let picks = region.picks(value);
    let counts: Vec<usize> = (0..coords.len()).map(|dim| n_holders(attrs, dim)).collect();
    let n_holders = counts.iter().fold(1usize, |product, &count| product.saturating_mul(count));
    if n_holders.saturating_mul(attrs.n_taps()) > MAX_REPICKED && cx.source(picks).is_none() {
        return Err(Stop::Materialize(picks));
    }
    let extents = region.shape(operand);
    let position = cx.coord_reg(&dot(coords, &dense_strides(extents)), position_type(region.n_elements(operand)));
    let lanes = if coords.iter().any(|coord| cx.varies(coord)) { cx.lanes } else { 1 };
    let dtype = region.dtype(value);
    let zero = cx.b.const_i64(crate::kernel::Ty::of(dtype), 1, 0);
    let first = cx.promote(zero, lanes);
    let holders = Holders { attrs, counts: region.shape(source), coords, is_unrolled: n_holders <= MAX_UNROLLED };
    let mut sum = Slot::new(cx, holders.is_unrolled, "sum", value, first, lanes);
    holders.along(cx, 0, &mut Vec::new(), None, &mut |cx, window, inside| {
        let pick = cx.eval(picks, window)?;
        let mut is_picked = compare(cx, CompareDir::Eq, pick, position);
        if let Some(inside) = inside {
            is_picked = super::binary(cx, BinOp::And, is_picked, inside);
        }
        let given = cx.eval(source, window)?;
        let given = select(cx, is_picked, given, zero);
        let before = sum.get(cx).unwrap_or(zero);
        let next = super::binary(cx, BinOp::Add, before, given);
        sum.set(cx, next);
        Ok(())
    })?;
    let sum = sum.get(cx).unwrap_or(zero);
    Ok(cx.b.narrow(dtype, sum))
}

/// Most windows along `dim` that hold one element; of dilated ones, all that may.
fn n_holders(attrs: &ReduceWindowAttrs, dim: usize) -> usize {
    match attrs.dilation[dim] {
        1 => attrs.window[dim].div_ceil(attrs.stride[dim]),
        _ => attrs.window[dim],
    }
}

/// The windows that hold one element.
struct Holders<'a> {
    attrs: &'a ReduceWindowAttrs,
    /// Number of windows along each dimension.
    counts: &'a [usize],
    coords: &'a [Affine],
    is_unrolled: bool,
}

impl Holders<'_> {
    /// Visits the windows in row-major order, each with the condition under which it holds the element.
    fn along<'r>(
        &self,
        cx: &mut Cx<'r>,
        dim: usize,
        window: &mut Vec<Affine>,
        inside: Option<Reg>,
        on_window: &mut super::OnTap<'_, 'r>,
    ) -> Eval {
        if dim == self.coords.len() {
            return on_window(cx, window, inside);
        }
        let n_holders = n_holders(self.attrs, dim) as i64;
        let mut one = |cx: &mut Cx<'r>, number: Affine| {
            let Some((at, condition)) = self.holder(cx, dim, &number)? else { return Ok(()) };
            let inside = both(cx, inside, condition);
            window.push(at);
            let outcome = self.along(cx, dim + 1, window, inside, on_window);
            window.pop();
            outcome
        };
        if self.is_unrolled || n_holders == 1 {
            return (0..n_holders).try_for_each(|number| one(cx, Affine::constant(number)));
        }
        cx.inner_loop(n_holders as u64, |cx, number| one(cx, loop_affine(&number)))
    }

    /// The window that is number `number` of those that may hold the element, and when it does.
    fn holder(&self, cx: &mut Cx<'_>, dim: usize, number: &Affine) -> Eval<Option<(Affine, Option<Reg>)>> {
        let (stride, dilation) = (self.attrs.stride[dim] as i64, self.attrs.dilation[dim] as i64);
        let last = self.attrs.window[dim] as i64 - 1;
        let from_end = number.scaled(-1).plus_const(n_holders(self.attrs, dim) as i64 - 1);
        let padded = self.coords[dim].clone().plus_const(self.attrs.padding[dim].0);
        // Windows start at multiples of the stride. With `q = quotient * stride + rest`, the window at `quotient` has
        // the element `q` as its tap number `rest`; of dilated windows the element must be tap `from_end` itself.
        let target = if dilation == 1 { padded } else { padded.plus_scaled(&from_end, -dilation) };
        let (low, _) = cx.range(&target);
        let lift = (-low).max(0).div_euclid(stride) + i64::from(low < 0);
        let (quotient, rest) = cx.split(&target.plus_const(lift * stride), stride)?;
        let quotient = quotient.plus_const(-lift);
        let (at, tap, largest) = match dilation {
            1 => (quotient.plus_scaled(&from_end, -1), rest.plus_scaled(&from_end, stride), last),
            _ => (quotient, rest, 0),
        };
        let (least_tap, most_tap) = cx.range(&tap);
        if least_tap > largest {
            return Ok(None);
        }
        let mut fits = None;
        if most_tap > largest {
            fits = Some(condition(cx, CompareDir::Le, &tap, largest)?);
        }
        let Some((at, exists)) = within(cx, &at, self.counts[dim] as i64)? else { return Ok(None) };
        Ok(Some((at, both(cx, fits, exists))))
    }
}
