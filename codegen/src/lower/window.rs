//! Windows: the value of a `reduce_window` at an index is a chain over the elements of one window.
//!
//! Small windows are unrolled, so that the chain stays in registers and neighboring windows share loads; of large ones
//! the outer dimensions become loops. An element that may lie in the padding is loaded from the nearest place inside
//! and masked; the pointwise template cuts the iteration space where that begins, so most windows need no mask.

use nnc_ir::ops::{CompareDir, Op, ReduceKind, ReduceWindowAttrs};
use nnc_ir::{DType, Value};

use super::affine::{Affine, Var, dense_strides, dot};
use super::cx::{Cx, Eval};
use super::elementwise::identity;
use super::fold::{fold_op, memory_type};
use super::view::{condition, into_range};
use crate::kernel::{BinOp, BufferId, Index, Reg, Space, Ty};

mod select;

pub(super) use select::{hidden_picks, select_and_scatter};

/// Most elements of a window that are unrolled.
const MAX_UNROLLED: usize = 32;

/// Elements of a large window whose inner dimensions are unrolled.
const INNER_UNROLLED: usize = 16;

/// The value of a `reduce_window` at `coords`.
pub(super) fn reduce(cx: &mut Cx<'_>, value: Value, coords: &[Affine]) -> Eval<Reg> {
    let region = cx.region;
    let Op::ReduceWindow(attrs) = region.op(value) else { unreachable!("{value} is a reduce_window") };
    let lanes = if coords.iter().any(|coord| cx.varies(coord)) { cx.lanes } else { 1 };
    let walk = Taps::new(attrs, region.shape(region.operands(value)[0]), coords);
    match fold_op(attrs.kind) {
        Some(op) => fold(cx, value, op, &walk, lanes),
        None => pick(cx, value, &walk, lanes),
    }
}

/// The elements of one window.
struct Taps<'a> {
    attrs: &'a ReduceWindowAttrs,
    extents: &'a [usize],
    coords: &'a [Affine],
    /// The first dimension that is unrolled; those before it are loops.
    first_unrolled: usize,
}

/// What is done with one element: its index, and a condition under which it exists.
type OnTap<'t, 'r> = dyn FnMut(&mut Cx<'r>, &[Affine], Option<Reg>) -> Eval + 't;

impl<'a> Taps<'a> {
    fn new(attrs: &'a ReduceWindowAttrs, extents: &'a [usize], coords: &'a [Affine]) -> Self {
        let mut first_unrolled = 0;
        if attrs.n_taps() > MAX_UNROLLED {
            first_unrolled = attrs.window.len();
            let mut unrolled = 1;
            while first_unrolled > 0 && unrolled * attrs.window[first_unrolled - 1] <= INNER_UNROLLED {
                first_unrolled -= 1;
                unrolled *= attrs.window[first_unrolled];
            }
        }
        Self { attrs, extents, coords, first_unrolled }
    }

    fn is_unrolled(&self) -> bool {
        self.first_unrolled == 0
    }

    /// Visits the elements in row-major order.
    fn visit<'r>(&self, cx: &mut Cx<'r>, on_tap: &mut OnTap<'_, 'r>) -> Eval {
        self.along(cx, 0, &mut Vec::new(), None, on_tap)
    }

    fn along<'r>(
        &self,
        cx: &mut Cx<'r>,
        dim: usize,
        at: &mut Vec<Affine>,
        inside: Option<Reg>,
        on_tap: &mut OnTap<'_, 'r>,
    ) -> Eval {
        let Some(coord) = self.coords.get(dim) else { return on_tap(cx, at, inside) };
        let (stride, dilation) = (self.attrs.stride[dim] as i64, self.attrs.dilation[dim] as i64);
        let first = coord.scaled(stride).plus_const(-self.attrs.padding[dim].0);
        let mut one = |cx: &mut Cx<'r>, position: Affine| {
            let Some((position, condition)) = within(cx, &position, self.extents[dim] as i64)? else { return Ok(()) };
            let inside = both(cx, inside, condition);
            at.push(position);
            let outcome = self.along(cx, dim + 1, at, inside, on_tap);
            at.pop();
            outcome
        };
        if dim >= self.first_unrolled {
            return (0..self.attrs.window[dim] as i64)
                .try_for_each(|tap| one(cx, first.clone().plus_const(tap * dilation)));
        }
        let window = self.attrs.window[dim] as u64;
        cx.inner_loop(window, |cx, tap| one(cx, first.plus_scaled(&loop_affine(&tap), dilation)))
    }
}

/// A loop variable as an index expression.
fn loop_affine(index: &Index) -> Affine {
    let terms = index.terms.iter().map(|&(reg, stride)| (Var::Reg(reg), stride)).collect();
    Affine { offset: index.offset, terms }
}

/// The index forced into `0..extent`, and the condition under which it was there; `None` if it never is.
fn within(cx: &mut Cx<'_>, coord: &Affine, extent: i64) -> Eval<Option<(Affine, Option<Reg>)>> {
    let (low, high) = cx.range(coord);
    if high < 0 || low >= extent {
        return Ok(None);
    }
    let mut inside = None;
    if low < 0 {
        let above = condition(cx, CompareDir::Ge, coord, 0)?;
        inside = both(cx, inside, Some(above));
    }
    if high >= extent {
        let below = condition(cx, CompareDir::Lt, coord, extent)?;
        inside = both(cx, inside, Some(below));
    }
    Ok(Some((into_range(cx, coord, extent), inside)))
}

/// Both conditions, where there are any.
fn both(cx: &mut Cx<'_>, lhs: Option<Reg>, rhs: Option<Reg>) -> Option<Reg> {
    match (lhs, rhs) {
        (Some(lhs), Some(rhs)) => Some(cx.b.binary(BinOp::And, lhs, rhs)),
        (one, other) => one.or(other),
    }
}

/// The value of a chain underway: a register, or scratch where loops lie between its steps.
enum Slot {
    Register(Option<Reg>),
    Scratch { buffer: BufferId, lanes: u16 },
}

impl Slot {
    /// Starts a chain. One that loops starts from `first`.
    fn new(cx: &mut Cx<'_>, in_register: bool, name: &str, value: Value, first: Reg, lanes: u16) -> Self {
        if in_register {
            return Self::Register(None);
        }
        let dtype = memory_type(cx.b.reg_type(first).ty);
        let buffer = cx.scratch(&format!("{name}{}x{lanes}", value.0), dtype, usize::from(lanes), Space::Local);
        let mut slot = Self::Scratch { buffer, lanes };
        slot.set(cx, first);
        slot
    }

    /// What the chain has come to, if it has begun.
    fn get(&self, cx: &mut Cx<'_>) -> Option<Reg> {
        match *self {
            Self::Register(reg) => reg,
            Self::Scratch { buffer, lanes } => Some(cx.b.load(buffer, Index::constant(0), 1, lanes, lanes)),
        }
    }

    fn set(&mut self, cx: &mut Cx<'_>, next: Reg) {
        match self {
            Self::Register(reg) => *reg = Some(next),
            &mut Self::Scratch { buffer, lanes } => {
                let next = cx.promote(next, lanes);
                cx.b.store(buffer, Index::constant(0), 1, lanes, next);
            }
        }
    }
}

/// `pred ? on_true : on_false`, each a scalar or a vector.
fn select(cx: &mut Cx<'_>, pred: Reg, on_true: Reg, on_false: Reg) -> Reg {
    let mut sides = [on_true, on_false];
    cx.promote_all(&mut sides);
    let lanes = cx.b.reg_type(sides[0]).lanes.max(cx.b.reg_type(pred).lanes);
    let [on_true, on_false] = sides.map(|side| cx.promote(side, lanes));
    let pred = cx.promote(pred, lanes);
    cx.b.select(pred, on_true, on_false)
}

/// One operation on registers that may be scalars or vectors.
fn binary(cx: &mut Cx<'_>, op: BinOp, lhs: Reg, rhs: Reg) -> Reg {
    let mut sides = [lhs, rhs];
    cx.promote_all(&mut sides);
    cx.b.binary(op, sides[0], sides[1])
}

fn compare(cx: &mut Cx<'_>, dir: CompareDir, lhs: Reg, rhs: Reg) -> Reg {
    let mut sides = [lhs, rhs];
    cx.promote_all(&mut sides);
    cx.b.compare(dir, sides[0], sides[1])
}

/// A sum, product, minimum or maximum.
fn fold(cx: &mut Cx<'_>, value: Value, op: BinOp, taps: &Taps<'_>, lanes: u16) -> Eval<Reg> {
    let dtype = cx.region.dtype(value);
    let operand = cx.region.operands(value)[0];
    let start = identity(&mut cx.b, op, dtype, Ty::of(dtype), 1);
    let first = cx.promote(start, lanes);
    let mut chain = Slot::new(cx, taps.is_unrolled(), "window", value, first, lanes);
    taps.visit(cx, &mut |cx, at, inside| {
        let x = cx.eval(operand, at)?;
        let before = chain.get(cx).unwrap_or(start);
        let folded = binary(cx, op, before, x);
        let next = match inside {
            Some(inside) => select(cx, inside, folded, before),
            None => folded,
        };
        chain.set(cx, next);
        Ok(())
    })?;
    let folded = chain.get(cx).unwrap_or(start);
    Ok(cx.b.narrow(dtype, folded))
}

/// The position of the smallest or largest element in the whole operand, -1 for a window without elements.
fn pick(cx: &mut Cx<'_>, value: Value, taps: &Taps<'_>, lanes: u16) -> Eval<Reg> {
    let Op::ReduceWindow(attrs) = cx.region.op(value) else { unreachable!("{value} is a reduce_window") };
    let operand = cx.region.operands(value)[0];
    let ty = Ty::of(cx.region.dtype(operand));
    let at_ty = position_type(cx.region.n_elements(operand));
    let none = cx.b.const_i64(at_ty, 1, -1);
    let (zeros, nones) = (cx.b.const_i64(ty, lanes, 0), cx.b.const_i64(at_ty, lanes, -1));
    let mut best = Slot::new(cx, taps.is_unrolled(), "best", value, zeros, lanes);
    let mut best_at = Slot::new(cx, taps.is_unrolled(), "place", value, nones, lanes);
    // Whether some element so far is sure to exist, so that there is a best one.
    let mut has_first = false;
    let strides = dense_strides(taps.extents);
    taps.visit(cx, &mut |cx, at, inside| {
        let x = cx.eval(operand, at)?;
        let position = cx.coord_reg(&dot(at, &strides), at_ty);
        let (before, before_at) = match (best.get(cx), best_at.get(cx)) {
            (Some(best), Some(at)) => (best, at),
            _ => {
                let at = match inside {
                    Some(inside) => select(cx, inside, position, none),
                    None => position,
                };
                has_first = inside.is_none();
                best.set(cx, x);
                best_at.set(cx, at);
                return Ok(());
            }
        };
        let mut takes = beyond(cx, attrs.kind, x, before);
        if !has_first {
            let is_first = compare(cx, CompareDir::Eq, before_at, none);
            takes = binary(cx, BinOp::Or, takes, is_first);
        }
        if let Some(inside) = inside {
            takes = binary(cx, BinOp::And, takes, inside);
        }
        let (next, next_at) = (select(cx, takes, x, before), select(cx, takes, position, before_at));
        best.set(cx, next);
        best_at.set(cx, next_at);
        Ok(())
    })?;
    let at = best_at.get(cx).unwrap_or(none);
    Ok(cx.b.cast(Ty::I64, at))
}

/// The register type that counts the elements of a tensor.
fn position_type(n_elements: usize) -> Ty {
    if n_elements < 1 << 31 { Ty::I32 } else { Ty::I64 }
}

/// Whether `x` takes the place of the best element so far, as it would in `minimum` or `maximum`: a NaN always does.
fn beyond(cx: &mut Cx<'_>, kind: ReduceKind, x: Reg, best: Reg) -> Reg {
    let dir = if kind == ReduceKind::ArgMin { CompareDir::Lt } else { CompareDir::Gt };
    let better = compare(cx, dir, x, best);
    if !cx.b.reg_type(x).ty.is_float() {
        return better;
    }
    let is_nan = cx.b.compare(CompareDir::Ne, x, x);
    binary(cx, BinOp::Or, better, is_nan)
}

/// Element type of positions in a tensor of so many elements.
fn position_dtype(n_elements: usize) -> DType {
    if position_type(n_elements) == Ty::I32 { DType::I32 } else { DType::I64 }
}
