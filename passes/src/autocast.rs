//! Mixed precision: contractions in `bf16` or `f16`, as `torch.autocast`.
//!
//! A function of `f32` becomes one of the same signature that computes contractions and convolutions on operands rounded
//! to half precision (they accumulate in `f32`), and what half precision serves badly (exponentials, logarithms, powers,
//! sums) in `f32`. Everything else follows its operands: it stays in half precision where all of them are, and goes to
//! `f32` where they meet.
//!
//! ```text
//! %0 = dot_general %x, %w : f32[8, 4]                 %0 = convert %x : bf16[8, 16]
//! %1 = tanh %0 : f32[8, 4]                            %1 = convert %w : bf16[16, 4]
//! %2 = reduce %1 {kind = sum} : f32[]                 %2 = dot_general %0, %1 : bf16[8, 4]
//!                                              ->     %3 = tanh %2 : bf16[8, 4]
//!                                                     %4 = convert %3 : f32[8, 4]
//!                                                     %5 = reduce %4 {kind = sum} : f32[]
//! ```
//!
//! It runs before differentiation: gradients flow back through the conversions, so that the gradient of a contraction is
//! one of half precision and that of a parameter is `f32`. Values that are not `f32` to begin with are left as they are.

use nnc_ir::ops::ReduceKind;
use nnc_ir::{Constant, DType, Diagnostic, Func, Graph, Location, Node, Op, Rewriter, Scalar, Value};

use crate::inline::inline;
use crate::regions::with_regions;

/// Whether contractions can be cast to `dtype`.
///
/// # Errors
/// If it is not `bf16` or `f16`.
pub fn check(dtype: DType) -> Result<(), Diagnostic> {
    if matches!(dtype, DType::BF16 | DType::F16) {
        return Ok(());
    }
    let message = format!("autocast: `dtype` is {dtype}, expected {} or {}", DType::BF16, DType::F16);
    Err(Diagnostic::new(Location::unknown(), message))
}

/// The function with its contractions in `dtype`, `bf16` or `f16`. Parameters and results keep their types.
///
/// # Errors
/// Another element type.
pub fn autocast(func: &Func, dtype: DType) -> Result<Func, Diagnostic> {
    check(dtype)?;
    let graph = cast_graph(&inline(&func.graph), dtype)?;
    Ok(Func { graph, ..func.clone() })
}

/// What an op is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// Half precision.
    Narrow,
    /// `f32`.
    Wide,
    /// Half precision if all its operands are.
    Follow,
    /// What it is in now.
    Keep,
}

/// PyTorch's lists, by op. Layers are compositions here, so that what PyTorch says of `softmax` or `layer_norm` follows
/// from what it says of their exponentials and sums. Folds that only pick an element could as well follow, but what is
/// subtracted from the largest logit must not be rounded first.
fn policy(op: &Op) -> Policy {
    match op {
        Op::DotGeneral(_) | Op::Convolution(_) => Policy::Narrow,
        Op::Exponential
        | Op::ExponentialMinusOne
        | Op::Log
        | Op::LogPlusOne
        | Op::Rsqrt
        | Op::Erf
        | Op::Sine
        | Op::Cosine
        | Op::Tan
        | Op::Power
        | Op::Atan2
        | Op::Remainder
        | Op::BitcastConvert(_)
        | Op::Reduce(_)
        | Op::Cumulative(_)
        | Op::Scatter(_) => Policy::Wide,
        Op::ReduceWindow(attrs) => match attrs.kind {
            ReduceKind::Min | ReduceKind::Max => Policy::Follow,
            _ => Policy::Wide,
        },
        Op::Negate
        | Op::Abs
        | Op::Sign
        | Op::Sqrt
        | Op::Tanh
        | Op::Logistic
        | Op::Floor
        | Op::Ceil
        | Op::RoundNearestEven
        | Op::IsFinite
        | Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Divide
        | Op::Maximum
        | Op::Minimum
        | Op::Compare(_)
        | Op::Select
        | Op::Clamp
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::BroadcastInDim(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concatenate(_)
        | Op::Reverse(_)
        | Op::DynamicSlice(_)
        | Op::DynamicUpdateSlice
        | Op::Gather(_)
        | Op::Sort(_)
        | Op::SelectAndScatter(_)
        | Op::OptimizationBarrier
        | Op::StopGradient => Policy::Follow,
        // The conversion is made from whatever precision the operand has.
        Op::Convert(_) => Policy::Keep,
        // Regions are cast by themselves, and keep their signatures.
        Op::Fusion(_) | Op::Scan(_) | Op::Cond | Op::While => Policy::Wide,
        Op::Param(_) | Op::Constant(_) | Op::Iota(_) | Op::RngBits(_) => Policy::Keep,
        Op::Not | Op::And | Op::Or | Op::Xor | Op::ShiftLeft | Op::ShiftRightLogical | Op::ShiftRightArithmetic => {
            Policy::Keep
        }
    }
}

/// The graph with contractions in `half`; parameters and results keep their types.
fn cast_graph(graph: &Graph, half: DType) -> Result<Graph, Diagnostic> {
    let inner = with_regions(graph, &mut |_, _, region| cast_graph(region, half))?;
    let graph = inner.as_ref().unwrap_or(graph);
    let mut cast = Cast { rewriter: Rewriter::new(graph), half, other: vec![None; graph.n_values()] };
    for (node, _) in graph.nodes() {
        cast.visit(node)?;
    }
    for &result in graph.results() {
        let wide = cast.wide(result)?;
        cast.rewriter.map(result, wide);
    }
    Ok(cast.rewriter.finish())
}

/// A graph while it is cast.
struct Cast<'a> {
    rewriter: Rewriter<'a>,
    half: DType,
    /// By old value of type `f32`, the value that stands for it in the precision that it was not computed in.
    other: Vec<Option<Value>>,
}

impl Cast<'_> {
    fn visit(&mut self, node: Node) -> Result<(), Diagnostic> {
        let old = self.rewriter.old();
        let data = old.node(node);
        if data.op.has(nnc_ir::ops::Trait::Leaf) {
            self.rewriter.copy(node);
            return Ok(());
        }
        let is_narrow = match policy(&data.op) {
            Policy::Narrow => Some(data.operands.iter().all(|&operand| self.is_cast(operand))),
            Policy::Wide => Some(false),
            Policy::Follow => Some(self.follows(node)),
            Policy::Keep => None,
        };
        let mut operands = Vec::with_capacity(data.operands.len());
        for &operand in &data.operands {
            operands.push(match is_narrow {
                Some(true) => self.narrow(operand)?,
                Some(false) => self.wide(operand)?,
                None => self.rewriter.get(operand),
            });
        }
        if let Op::Convert(dtype) = data.op {
            let converted = self.rewriter.build_at(node).convert(operands[0], dtype)?;
            self.rewriter.map(data.result(), converted);
            return Ok(());
        }
        self.rewriter.replace(node, data.op.clone(), &operands)?;
        Ok(())
    }

    /// Whether the old value is one that is cast at all.
    fn is_cast(&self, value: Value) -> bool {
        self.rewriter.old().ty(value).dtype == DType::F32
    }

    fn is_half(&self, value: Value) -> bool {
        self.is_cast(value) && self.rewriter.graph().ty(self.rewriter.get(value)).dtype == self.half
    }

    /// Whether an op that follows its operands does so to half precision.
    fn follows(&self, node: Node) -> bool {
        let data = self.rewriter.old().node(node);
        let is_bias = |value: Value| matches!(data.op, Op::Add) && is_bias(self.rewriter.old(), value);
        let mut deciding = data.operands.iter().filter(|&&operand| {
            self.is_cast(operand) && (self.is_half(operand) || !(self.is_adaptable(operand) || is_bias(operand)))
        });
        deciding.clone().next().is_some() && deciding.all(|&operand| self.is_half(operand))
    }

    /// Whether the value is a number that takes on the precision of what it meets, as a Python number does in PyTorch:
    /// not one that would become infinite.
    fn is_adaptable(&self, value: Value) -> bool {
        match self.rewriter.old().def(value) {
            data if matches!(data.op, Op::BroadcastInDim(_) | Op::Reshape(_)) => self.is_adaptable(data.operands[0]),
            data => match &data.op {
                Op::Constant(Constant::Splat { value, .. }) => {
                    let value = value.to_f64();
                    !value.is_finite() || Scalar::from_f64(self.half, value).to_f64().is_finite()
                }
                _ => false,
            },
        }
    }

    /// What stands for `value`, rounded to half precision if it is `f32`.
    fn narrow(&mut self, value: Value) -> Result<Value, Diagnostic> {
        self.in_precision(value, self.half)
    }

    /// What stands for `value`, in `f32` if it was.
    fn wide(&mut self, value: Value) -> Result<Value, Diagnostic> {
        self.in_precision(value, DType::F32)
    }

    fn in_precision(&mut self, value: Value, dtype: DType) -> Result<Value, Diagnostic> {
        let present = self.rewriter.get(value);
        if !self.is_cast(value) || self.rewriter.graph().ty(present).dtype == dtype {
            return Ok(present);
        }
        if let Some(other) = self.other[value.idx()] {
            return Ok(other);
        }
        let data = self.rewriter.old().def(value);
        let mut b = self.rewriter.build(data.location.clone());
        let other = match &data.op {
            Op::Constant(Constant::Splat { ty, value }) => b.splat(ty.with_dtype(dtype), value.to_f64())?,
            _ => b.convert(present, dtype)?,
        };
        self.other[value.idx()] = Some(other);
        Ok(other)
    }
}

/// Whether the value repeats a parameter: added to a contraction it is the layer's bias, which PyTorch counts as part of
/// the contraction.
fn is_bias(graph: &Graph, value: Value) -> bool {
    let mut data = graph.def(value);
    let mut is_repeated = false;
    while let Op::BroadcastInDim(_) | Op::Reshape(_) | Op::Transpose(_) = data.op {
        is_repeated |= matches!(data.op, Op::BroadcastInDim(_));
        data = graph.def(data.operands[0]);
    }
    is_repeated && matches!(data.op, Op::Param(_))
}
