//! Keys and positions while they are sorted: one 64-bit word if the key has 32 bits, else two arrays.

use nnc_ir::DType;
use nnc_ir::ops::CompareDir;

use crate::kernel::{BinOp, BufferId, Index, Reg, Space, Ty};
use crate::lower::cx::Cx;

/// Where the pairs are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pairs {
    /// Key in the upper half, position in the lower.
    Packed(BufferId),
    /// Keys and positions.
    Apart(BufferId, BufferId),
}

/// Element 0 of a vector, and the distance between lanes.
pub(super) type Place = (Index, i64);

impl Pairs {
    /// Element types of the arrays.
    pub(super) fn dtypes(is_packed: bool) -> Vec<DType> {
        if is_packed { vec![DType::I64] } else { vec![DType::I64, DType::I32] }
    }

    /// Pairs in scratch of `len` elements.
    pub(super) fn declare(cx: &mut Cx<'_>, is_packed: bool, len: usize, space: Space) -> Self {
        let keys = cx.scratch("keys", DType::I64, len, space);
        match is_packed {
            true => Self::Packed(keys),
            false => Self::Apart(keys, cx.scratch("places", DType::I32, len, space)),
        }
    }

    /// Pairs in the arrays of [`Pairs::dtypes`].
    pub(super) fn of(arrays: &[BufferId]) -> Self {
        match *arrays {
            [packed] => Self::Packed(packed),
            [keys, positions] => Self::Apart(keys, positions),
            _ => unreachable!("one array or two"),
        }
    }

    /// Stores the pairs of `key` and `position` (both `i64`) from element `at` on.
    pub(super) fn put(self, cx: &mut Cx<'_>, key: Reg, position: Reg, at: Index) {
        let (lanes, active) = (cx.lanes, cx.active);
        match self {
            Self::Packed(buffer) => {
                let half = cx.b.const_i64(Ty::I64, lanes, 32);
                let high = cx.b.binary(BinOp::Shl, key, half);
                let pair = cx.b.add(high, position);
                cx.b.store(buffer, at, 1, active, pair);
            }
            Self::Apart(keys, positions) => {
                let position = cx.b.cast(Ty::I32, position);
                cx.b.store(keys, at.clone(), 1, active, key);
                cx.b.store(positions, at, 1, active, position);
            }
        }
    }

    /// The position (`i64`) in the pair at element `at`.
    pub(super) fn position(self, cx: &mut Cx<'_>, at: Index) -> Reg {
        match self {
            Self::Packed(buffer) => {
                let pair = cx.b.load_scalar(buffer, at);
                let mask = cx.b.const_i64(Ty::I64, 1, 0xffff_ffff);
                cx.b.binary(BinOp::And, pair, mask)
            }
            Self::Apart(_, positions) => {
                let position = cx.b.load_scalar(positions, at);
                cx.b.cast(Ty::I64, position)
            }
        }
    }

    /// Puts the smaller of each two pairs at `low`, the larger at `high`.
    pub(super) fn exchange(self, cx: &mut Cx<'_>, low: Place, high: Place) {
        let (lanes, active) = (cx.lanes, cx.active);
        let load = |cx: &mut Cx<'_>, buffer: BufferId, at: &Place| {
            cx.b.load(buffer, at.0.clone(), if lanes == 1 { 1 } else { at.1 }, lanes, active)
        };
        let store = |cx: &mut Cx<'_>, buffer: BufferId, at: &Place, value: Reg| {
            cx.b.store(buffer, at.0.clone(), if lanes == 1 { 1 } else { at.1 }, active, value);
        };
        match self {
            Self::Packed(buffer) => {
                let (x, y) = (load(cx, buffer, &low), load(cx, buffer, &high));
                let (least, most) = (cx.b.binary(BinOp::Min, x, y), cx.b.binary(BinOp::Max, x, y));
                store(cx, buffer, &low, least);
                store(cx, buffer, &high, most);
            }
            Self::Apart(keys, positions) => {
                let (x, y) = (load(cx, keys, &low), load(cx, keys, &high));
                let (x_at, y_at) = (load(cx, positions, &low), load(cx, positions, &high));
                let above = cx.b.compare(CompareDir::Gt, x, y);
                let equal = cx.b.compare(CompareDir::Eq, x, y);
                let later = cx.b.compare(CompareDir::Gt, x_at, y_at);
                let tie = cx.b.binary(BinOp::And, equal, later);
                let swaps = cx.b.binary(BinOp::Or, above, tie);
                for (buffer, x, y) in [(keys, x, y), (positions, x_at, y_at)] {
                    let (least, most) = (cx.b.select(swaps, y, x), cx.b.select(swaps, x, y));
                    store(cx, buffer, &low, least);
                    store(cx, buffer, &high, most);
                }
            }
        }
    }
}
