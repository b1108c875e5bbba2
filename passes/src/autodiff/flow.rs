//! Which operands of an op gradients flow to: the facts that the reverse sweep and gradient coverage share.

use nnc_ir::ops::{ReduceKind, ReduceWindowAttrs};
use nnc_ir::{Graph, NodeData, Op};

/// What happens to the gradient of a node's result on its way to one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The op has a derivative there.
    Passes,
    /// The op has none, or one that is zero everywhere, for the given reason.
    Blocks(&'static str),
    /// The user asked for no gradient.
    Stops,
}

const STEP: Flow = Flow::Blocks("its derivative is zero everywhere");
const LOGIC: Flow = Flow::Blocks("its result is a truth value");
const BITS: Flow = Flow::Blocks("it works on bits, not on real numbers");
const INDEX: Flow = Flow::Blocks("an index has no derivative");
const INTEGER: Flow = Flow::Blocks("only floating-point values have derivatives");

/// How the gradient flows from the result of `data` to its operand number `operand_idx`.
pub(super) fn flow(graph: &Graph, data: &NodeData, operand_idx: usize) -> Flow {
    let of_float = if graph.ty(data.operands[operand_idx]).dtype.is_float() { Flow::Passes } else { INTEGER };
    match &data.op {
        Op::Param(_) | Op::Constant(_) | Op::Iota(_) | Op::RngBits(_) => INTEGER,
        Op::Sign | Op::Floor | Op::Ceil | Op::RoundNearestEven => STEP,
        Op::IsFinite | Op::Compare(_) => LOGIC,
        Op::Not
        | Op::BitcastConvert(_)
        | Op::And
        | Op::Or
        | Op::Xor
        | Op::ShiftLeft
        | Op::ShiftRightLogical
        | Op::ShiftRightArithmetic => BITS,
        Op::Convert(dtype) if !dtype.is_float() => INTEGER,
        Op::Select | Op::Cond if operand_idx == 0 => Flow::Blocks("a predicate has no derivative"),
        Op::Gather(_) | Op::Scatter(_) if operand_idx == 1 => INDEX,
        Op::DynamicSlice(_) if operand_idx > 0 => INDEX,
        Op::DynamicUpdateSlice if operand_idx > 1 => INDEX,
        Op::ReduceWindow(ReduceWindowAttrs { kind: ReduceKind::ArgMin | ReduceKind::ArgMax, .. }) => INDEX,
        Op::SelectAndScatter(_) if operand_idx == 0 => STEP,
        Op::Reduce(attrs) => match attrs.kind {
            ReduceKind::Sum | ReduceKind::Prod | ReduceKind::Min | ReduceKind::Max => of_float,
            ReduceKind::Any | ReduceKind::All => LOGIC,
            ReduceKind::ArgMin | ReduceKind::ArgMax => INDEX,
        },
        Op::StopGradient => Flow::Stops,
        Op::Negate
        | Op::Abs
        | Op::Exponential
        | Op::ExponentialMinusOne
        | Op::Log
        | Op::LogPlusOne
        | Op::Sqrt
        | Op::Rsqrt
        | Op::Tanh
        | Op::Logistic
        | Op::Erf
        | Op::Sine
        | Op::Cosine
        | Op::Tan
        | Op::Convert(_)
        | Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Divide
        | Op::Remainder
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::Atan2
        | Op::Select
        | Op::Clamp
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::BroadcastInDim(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concatenate(_)
        | Op::Reverse(_)
        | Op::Gather(_)
        | Op::Scatter(_)
        | Op::DynamicSlice(_)
        | Op::DynamicUpdateSlice
        | Op::Cumulative(_)
        | Op::Sort(_)
        | Op::ReduceWindow(_)
        | Op::SelectAndScatter(_)
        | Op::DotGeneral(_)
        | Op::Convolution(_)
        | Op::OptimizationBarrier
        // How the gradient flows on inside is for `reach` to say.
        | Op::Scan(_)
        | Op::Cond
        // What has no rule is refused rather than dropped: fusions, which are dissolved before differentiation, by the
        // sweep, and loops of unknown length by gradient coverage.
        | Op::While
        | Op::Fusion(_) => of_float,
    }
}
