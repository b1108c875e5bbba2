//! The rules: how each op turns the cotangent of its result into cotangents of its operands.
//!
//! A rule is a few lines that build IR, so a gradient is differentiable again and prints like any graph. Rules use
//! the forward result as residual where that is numerically right, make nodes only for operands that need them, and
//! guard divisions that the forward computation did not have, so that no `0 * inf` appears where the gradient exists.
//! At kinks they follow PyTorch; each such choice is written at its rule.

use nnc_ir::builder::Built;
use nnc_ir::{Builder, Op, Scalar, Value};

mod cond;
mod contract;
mod convolution;
mod dynamic;
mod elementwise;
mod index;
mod movement;
mod order;
mod reduce;
mod scan;
mod window;

/// One application of a rule.
pub(super) struct Site<'a> {
    /// Adds nodes at the location of the forward node.
    pub(super) b: Builder<'a>,
    /// Operands of the forward node.
    pub(super) operands: &'a [Value],
    /// Its result, or the first of several, which are numbered from there.
    pub(super) result: Value,
    /// Cotangent of the result; of several, the first that has one.
    pub(super) cotangent: Value,
    /// Cotangent of each result; `None` is zero.
    pub(super) cotangents: &'a [Option<Value>],
    /// For each operand, whether its cotangent is needed.
    pub(super) wanted: &'a [bool],
}

/// Cotangents of the operands in order; `None` is zero, or not needed.
pub(super) type Cotangents = Vec<Option<Value>>;

impl<'a> Site<'a> {
    /// Applies `rule` if the cotangent of operand `idx` is needed.
    fn give(&mut self, idx: usize, rule: impl FnOnce(&mut Builder<'a>) -> Built) -> Built<Option<Value>> {
        if self.wanted[idx] { rule(&mut self.b).map(Some) } else { Ok(None) }
    }

    /// Cotangent zero of the type of the result.
    fn zeros(&mut self) -> Built {
        self.b.zeros_like(self.cotangent)
    }

    /// Whether `value` is made of literals alone: a constant, perhaps converted or moved.
    fn is_literal(&self, value: Value) -> bool {
        let mut data = self.b.graph().def(value);
        while let Op::Convert(_) | Op::BroadcastInDim(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) = data.op {
            data = self.b.graph().def(data.operands[0]);
        }
        matches!(data.op, Op::Constant(_))
    }

    /// The literal that every element of `value` is, if that can be seen.
    fn splat_value(&self, value: Value) -> Option<Scalar> {
        let mut data = self.b.graph().def(value);
        while let Op::BroadcastInDim(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) = data.op {
            data = self.b.graph().def(data.operands[0]);
        }
        match &data.op {
            Op::Constant(constant) => constant.splat_value(),
            _ => None,
        }
    }
}

/// `value * factor`.
fn scale(b: &mut Builder<'_>, value: Value, factor: f64) -> Built {
    let factor = b.splat_like(value, factor)?;
    b.multiply(value, factor)
}

/// Applies the rule of `op`. Called only if an operand is wanted to which gradient flows.
///
/// # Errors
/// An op without a rule.
pub(super) fn vjp(op: &Op, site: Site<'_>) -> Built<Cotangents> {
    match op {
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
        | Op::Convert(_) => elementwise::unary(op, site),
        Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Divide
        | Op::Remainder
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::Atan2 => elementwise::binary(op, site),
        Op::Select => elementwise::select(site),
        Op::Clamp => elementwise::clamp(site),
        Op::Reshape(_) => movement::reshape(site),
        Op::Transpose(permutation) => movement::transpose(permutation, site),
        Op::BroadcastInDim(attrs) => movement::broadcast_in_dim(attrs, site),
        Op::Slice(attrs) => movement::slice(attrs, site),
        Op::Pad(attrs) => movement::pad(attrs, site),
        Op::Concatenate(dim) => movement::concatenate(*dim, site),
        Op::Reverse(dims) => movement::reverse(dims, site),
        Op::Gather(attrs) => index::gather(attrs, site),
        Op::Scatter(attrs) => index::scatter(attrs, site),
        Op::Reduce(attrs) => reduce::reduce(attrs, site),
        Op::DynamicSlice(_) => dynamic::slice(site),
        Op::DynamicUpdateSlice => dynamic::update_slice(site),
        Op::Cumulative(attrs) => order::cumulative(attrs, site),
        Op::Sort(attrs) => order::sort(attrs, site),
        Op::ReduceWindow(attrs) => window::reduce_window(attrs, site),
        Op::SelectAndScatter(attrs) => window::select_and_scatter(attrs, site),
        Op::DotGeneral(attrs) => contract::dot_general(attrs, site),
        Op::Convolution(attrs) => convolution::convolution(attrs, site),
        Op::Scan(attrs) => scan::scan(attrs, site),
        Op::Cond => cond::cond(site),
        Op::OptimizationBarrier => Ok(vec![Some(site.cotangent)]),
        Op::Param(_)
        | Op::Constant(_)
        | Op::Iota(_)
        | Op::RngBits(_)
        | Op::Sign
        | Op::Floor
        | Op::Ceil
        | Op::RoundNearestEven
        | Op::IsFinite
        | Op::Not
        | Op::BitcastConvert(_)
        | Op::And
        | Op::Or
        | Op::Xor
        | Op::ShiftLeft
        | Op::ShiftRightLogical
        | Op::ShiftRightArithmetic
        | Op::Compare(_)
        | Op::StopGradient => unreachable!("no gradient flows through {}", op.mnemonic()),
        Op::Fusion(_) | Op::While => Err(site.b.fault(format!("{}: the op has no gradient rule", op.mnemonic()))),
    }
}
