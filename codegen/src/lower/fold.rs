//! Accumulators of one reduction, in the canonical order of 16 lanes.
//!
//! Lane `l` folds the elements `l, l + 16, ...` in order, and the lanes are combined as a tree. Where the elements of
//! one row lie along a vector, its 16 lanes are those lanes. Where a vector runs across rows (or is one element), there
//! are 16 accumulators, and element `r` goes to number `r % 16`. Both give the same bits.
//!
//! Arg-min and arg-max depend on no order: they keep the best element and its position.

use nnc_ir::ops::{CompareDir, ReduceKind};
use nnc_ir::{DType, Value};

use super::affine::Affine;
use super::cx::Cx;
use super::elementwise::{identity, lane_mask};
use crate::kernel::{BinOp, BufferId, Index, Inst, KernelBuilder, Reg, Space, Ty};

/// Lanes of the canonical order.
pub(super) const FOLD_LANES: u64 = 16;

/// How elements are laid over accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One vector of 16 lanes.
    Lanes,
    /// `count` accumulators of `lanes` rows each.
    Slots { count: u64, lanes: u16 },
}

/// One reduction underway.
pub(super) struct Fold {
    /// The reduction's result.
    pub(super) value: Value,
    kind: ReduceKind,
    /// Element type of the operand.
    dtype: DType,
    ty: Ty,
    layout: Layout,
    buffer: BufferId,
    /// Positions of the best elements, and their type.
    positions: Option<(BufferId, Ty)>,
}

/// Element type that accumulators of register type `ty` have in memory.
pub(super) fn memory_type(ty: Ty) -> DType {
    match ty {
        Ty::Bool => DType::Bool,
        Ty::I32 => DType::I32,
        Ty::U32 => DType::U32,
        Ty::I64 => DType::I64,
        Ty::U64 => DType::U64,
        Ty::F32 => DType::F32,
        Ty::F64 => DType::F64,
    }
}

/// The instruction that folds, or `None` for arg-min and arg-max.
pub(super) fn fold_op(kind: ReduceKind) -> Option<BinOp> {
    match kind {
        ReduceKind::Sum => Some(BinOp::Add),
        ReduceKind::Prod => Some(BinOp::Mul),
        ReduceKind::Min => Some(BinOp::Min),
        ReduceKind::Max => Some(BinOp::Max),
        ReduceKind::Any => Some(BinOp::Or),
        ReduceKind::All => Some(BinOp::And),
        ReduceKind::ArgMin | ReduceKind::ArgMax => None,
    }
}

/// Register type of accumulators: truth values are words, so that vectors of them are ordinary.
fn accumulator_type(dtype: DType) -> Ty {
    if dtype == DType::Bool { Ty::U32 } else { Ty::of(dtype) }
}

/// Whether `x` beats `best`: NaN beats everything but NaN.
fn beats(b: &mut KernelBuilder, kind: ReduceKind, x: Reg, best: Reg) -> Reg {
    let dir = if kind == ReduceKind::ArgMin { CompareDir::Lt } else { CompareDir::Gt };
    let better = b.compare(dir, x, best);
    if !b.reg_type(x).ty.is_float() {
        return better;
    }
    let is_nan = b.compare(CompareDir::Ne, x, x);
    let has_number = b.compare(CompareDir::Eq, best, best);
    let first_nan = b.binary(BinOp::And, is_nan, has_number);
    b.binary(BinOp::Or, better, first_nan)
}

impl Fold {
    /// Declares the accumulators. `len` is the number of elements of a row.
    pub(super) fn declare(cx: &mut Cx<'_>, value: Value, kind: ReduceKind, len: u64, layout: Layout) -> Self {
        let dtype = cx.region.dtype(cx.region.operands(value)[0]);
        let ty = accumulator_type(dtype);
        let is_arg = fold_op(kind).is_none();
        // Positions are found in order, so one accumulator is enough for them.
        let layout = match layout {
            Layout::Slots { lanes, .. } if is_arg => Layout::Slots { count: 1, lanes },
            layout => layout,
        };
        let elements = match layout {
            Layout::Lanes => FOLD_LANES as usize,
            Layout::Slots { count, lanes } => count as usize * usize::from(lanes),
        };
        let name = format!("acc{}", value.0);
        let buffer = cx.scratch(&name, memory_type(ty), elements, Space::Local);
        let positions = is_arg.then(|| {
            let ty = if len < 1 << 31 { Ty::I32 } else { Ty::I64 };
            (cx.scratch(&format!("at{}", value.0), memory_type(ty), elements, Space::Local), ty)
        });
        Self { value, kind, dtype, ty, layout, buffer, positions }
    }

    fn lanes(&self) -> u16 {
        match self.layout {
            Layout::Lanes => FOLD_LANES as u16,
            Layout::Slots { lanes, .. } => lanes,
        }
    }

    /// Sets all accumulators to the identity.
    pub(super) fn init(&self, cx: &mut Cx<'_>) {
        let lanes = self.lanes();
        let count = match self.layout {
            Layout::Lanes => 1,
            Layout::Slots { count, .. } => count,
        };
        let first = match fold_op(self.kind) {
            Some(op) => identity(&mut cx.b, op, self.dtype, self.ty, lanes),
            None => cx.b.const_i64(self.ty, lanes, 0),
        };
        for slot in 0..count {
            let index = Index::constant(slot as i64 * i64::from(lanes));
            cx.b.store(self.buffer, index.clone(), 1, lanes, first);
            if let Some((positions, ty)) = self.positions {
                let none = nowhere(&mut cx.b, ty, lanes);
                cx.b.store(positions, index, 1, lanes, none);
            }
        }
    }

    /// Folds in `x`, the element at row position `position`, of which `active` lanes exist; `slot` is the accumulator.
    pub(super) fn step(&self, cx: &mut Cx<'_>, x: Reg, position: &Affine, slot: &Index, active: u16) {
        let lanes = self.lanes();
        let x = cx.promote(x, lanes);
        let x = if self.dtype == DType::Bool { cx.b.cast(Ty::U32, x) } else { x };
        let index = match self.positions {
            Some(_) => Index::constant(0),
            None => Index::default().plus_scaled(slot, i64::from(lanes)),
        };
        let acc = cx.b.load(self.buffer, index.clone(), 1, lanes, lanes);
        let partial = self.layout == Layout::Lanes && active < lanes;
        let mask = partial.then(|| lane_mask(&mut cx.b, lanes, active));
        let Some((positions, ty)) = self.positions else {
            let op = fold_op(self.kind).expect("positions are kept for the others");
            let mut next = cx.b.binary(op, acc, x);
            if let Some(mask) = mask {
                next = cx.b.select(mask, next, acc);
            }
            cx.b.store(self.buffer, index, 1, lanes, next);
            return;
        };
        let best_at = cx.b.load(positions, index.clone(), 1, lanes, lanes);
        let at = cx.coord_reg(position, ty);
        let at = cx.promote(at, lanes);
        let better = beats(&mut cx.b, self.kind, x, acc);
        let none = nowhere(&mut cx.b, ty, lanes);
        let first = cx.b.compare(CompareDir::Eq, best_at, none);
        let mut take = cx.b.binary(BinOp::Or, better, first);
        if let Some(mask) = mask {
            take = cx.b.binary(BinOp::And, take, mask);
        }
        let next = cx.b.select(take, x, acc);
        let next_at = cx.b.select(take, at, best_at);
        cx.b.store(self.buffer, index.clone(), 1, lanes, next);
        cx.b.store(positions, index, 1, lanes, next_at);
    }

    /// Combines the accumulators; `len` is the number of elements folded.
    pub(super) fn finish(&self, cx: &mut Cx<'_>, len: u64) -> Reg {
        let lanes = self.lanes();
        let load = |cx: &mut Cx<'_>, buffer: BufferId, slot: u64| {
            cx.b.load(buffer, Index::constant(slot as i64 * i64::from(lanes)), 1, lanes, lanes)
        };
        let Some(op) = fold_op(self.kind) else {
            let (positions, _) = self.positions.expect("arg-min and arg-max keep positions");
            let best = load(cx, self.buffer, 0);
            let at = load(cx, positions, 0);
            let at = match self.layout {
                Layout::Slots { .. } => at,
                Layout::Lanes => self.best_lane(cx, best, at, len),
            };
            return cx.b.cast(Ty::I64, at);
        };
        let folded = match self.layout {
            Layout::Lanes => {
                let acc = load(cx, self.buffer, 0);
                cx.b.inst(self.ty, 1, Inst::FoldLanes(op, acc))
            }
            Layout::Slots { count, .. } => {
                // Lanes that no element reached hold the identity and change nothing.
                let mut slots: Vec<Reg> = (0..count.min(len.max(1))).map(|slot| load(cx, self.buffer, slot)).collect();
                tree(&mut cx.b, op, &mut slots)
            }
        };
        self.result(&mut cx.b, folded)
    }

    /// The first accumulator, and the position it keeps.
    pub(super) fn accumulators(&self, cx: &mut Cx<'_>) -> (Reg, Option<Reg>) {
        let value = cx.b.load_scalar(self.buffer, Index::constant(0));
        let position = self.positions.map(|(positions, _)| cx.b.load_scalar(positions, Index::constant(0)));
        (value, position)
    }

    /// The folding instruction of a reduction that keeps no positions.
    pub(super) fn op(&self) -> BinOp {
        fold_op(self.kind).expect("positions are kept for the others")
    }

    /// The better of two candidates (value, position).
    pub(super) fn better(&self, b: &mut KernelBuilder, y: (Reg, Reg), x: (Reg, Reg)) -> (Reg, Reg) {
        better_of(b, self.kind, y, x)
    }

    /// An accumulator's value as the reduction's element.
    pub(super) fn result(&self, b: &mut KernelBuilder, folded: Reg) -> Reg {
        result(b, self.dtype, folded)
    }

    /// Position of the best lane, the first position among equals.
    fn best_lane(&self, cx: &mut Cx<'_>, best: Reg, at: Reg, len: u64) -> Reg {
        let at_ty = cx.b.reg_type(at).ty;
        let mut winner: Option<(Reg, Reg)> = None;
        for lane in 0..FOLD_LANES.min(len) as u16 {
            let x = cx.b.inst(self.ty, 1, Inst::Extract { vector: best, lane });
            let x_at = cx.b.inst(at_ty, 1, Inst::Extract { vector: at, lane });
            winner = Some(match winner {
                None => (x, x_at),
                Some((y, y_at)) => better_of(&mut cx.b, self.kind, (y, y_at), (x, x_at)),
            });
        }
        winner.expect("rows of arg-min and arg-max have elements").1
    }
}

/// The better of two candidates (value, position); the first position among equals.
fn better_of(b: &mut KernelBuilder, kind: ReduceKind, (y, y_at): (Reg, Reg), (x, x_at): (Reg, Reg)) -> (Reg, Reg) {
    let better = beats(b, kind, x, y);
    let worse = beats(b, kind, y, x);
    let not_worse = b.unary(crate::kernel::UnOp::Not, worse);
    let earlier = b.compare(CompareDir::Lt, x_at, y_at);
    let tie = b.binary(BinOp::And, not_worse, earlier);
    let take = b.binary(BinOp::Or, better, tie);
    (b.select(take, x, y), b.select(take, x_at, y_at))
}

/// The position of no element.
fn nowhere(b: &mut KernelBuilder, ty: Ty, lanes: u16) -> Reg {
    b.const_i64(ty, lanes, if ty == Ty::I32 { i64::from(i32::MAX) } else { i64::MAX })
}

/// A folded register as an element of `dtype`.
fn result(b: &mut KernelBuilder, dtype: DType, folded: Reg) -> Reg {
    if dtype == DType::Bool { b.cast(Ty::Bool, folded) } else { b.narrow(dtype, folded) }
}

/// Combines accumulators in the canonical tree, `l` with `l + 8`, then `+ 4`, `+ 2`, `+ 1`; missing ones are skipped.
fn tree(b: &mut KernelBuilder, op: BinOp, slots: &mut Vec<Reg>) -> Reg {
    let mut half = FOLD_LANES as usize / 2;
    while half > 0 {
        for slot in half..slots.len() {
            slots[slot - half] = b.binary(op, slots[slot - half], slots[slot]);
        }
        slots.truncate(half);
        half /= 2;
    }
    slots[0]
}
