//! From IR nodes to ONNX nodes: which family expresses which op.

use nnc_ir::{Graph, NodeData, Op, Shape, TensorType};

use super::emitter::{Emitter, Refusal, Val};
use super::{contract, control, elementwise, index, leaf, movement, order, reduce, window};

/// A node of the IR, with what its operands became.
pub(super) struct Site<'a> {
    graph: &'a Graph,
    pub(super) data: &'a NodeData,
    vals: &'a [Option<Val>],
}

impl Site<'_> {
    /// Operand `idx`, which may be smaller than its type says and broadcast to it.
    pub(super) fn val(&self, idx: usize) -> &Val {
        self.vals[self.data.operands[idx].idx()].as_ref().expect("nodes with poisoned operands are passed over")
    }

    /// Operand `idx` in the shape of its type.
    pub(super) fn full(&self, e: &mut Emitter, idx: usize) -> Result<Val, Refusal> {
        e.full(self.val(idx), &self.ty(idx).shape)
    }

    /// All operands from `first` on in the shapes of their types.
    pub(super) fn all_full(&self, e: &mut Emitter, first: usize) -> Result<Vec<Val>, Refusal> {
        (first..self.data.operands.len()).map(|idx| self.full(e, idx)).collect()
    }

    /// Type of operand `idx`.
    pub(super) fn ty(&self, idx: usize) -> &TensorType {
        self.graph.ty(self.data.operands[idx])
    }

    /// Type of the first result.
    pub(super) fn result(&self) -> &TensorType {
        self.graph.ty(self.data.first_result)
    }

    /// Types of all results.
    pub(super) fn results(&self) -> Vec<TensorType> {
        self.data.results().map(|value| self.graph.ty(value).clone()).collect()
    }
}

/// Writes the nodes of `graph`, whose parameters stand for `params`, and gives its results, `None` for those that
/// cannot be expressed. `finish` sees what each IR node became, and may call it otherwise.
pub(super) fn lower_graph(
    e: &mut Emitter,
    graph: &Graph,
    params: Vec<Option<Val>>,
    finish: &mut dyn FnMut(&mut Emitter, nnc_ir::Value, &mut Val, usize),
) -> Vec<Option<Val>> {
    let mut is_used = vec![false; graph.n_values()];
    graph.results().iter().for_each(|result| is_used[result.idx()] = true);
    for (_, data) in graph.nodes().rev() {
        if data.results().any(|result| is_used[result.idx()]) {
            data.operands.iter().for_each(|operand| is_used[operand.idx()] = true);
        }
    }
    let mut vals: Vec<Option<Val>> = vec![None; graph.n_values()];
    for (&value, val) in graph.params().iter().zip(params) {
        vals[value.idx()] = val;
    }
    for (_, data) in graph.nodes() {
        let is_poisoned = data.operands.iter().any(|operand| vals[operand.idx()].is_none());
        if matches!(data.op, Op::Param(_)) || is_poisoned || !data.results().any(|result| is_used[result.idx()]) {
            continue;
        }
        e.place(format!("{}_{}", data.op.mnemonic(), data.first_result.0), &data.location);
        let n_before = e.graph().node.len();
        match lower(e, &Site { graph, data, vals: &vals }) {
            Ok(results) => {
                for (value, mut val) in data.results().zip(results) {
                    debug_assert_eq!(val.dtype(), graph.ty(value).dtype, "{}", data.op.mnemonic());
                    finish(e, value, &mut val, n_before);
                    vals[value.idx()] = Some(val);
                }
            }
            Err(refusal) => {
                let message = format!("{} has no form in ONNX: {refusal}", data.op.mnemonic());
                e.faults.push(nnc_ir::Diagnostic::new(data.location.clone(), message));
            }
        }
    }
    graph.results().iter().map(|result| vals[result.idx()].clone()).collect()
}

/// [`lower_graph`] of a region, in the place of its node.
pub(super) fn lower_region(e: &mut Emitter, graph: &Graph, params: Vec<Val>) -> Vec<Option<Val>> {
    let placed = e.placed();
    let results = lower_graph(e, graph, params.into_iter().map(Some).collect(), &mut |_, _, _, _| {});
    e.restore(placed);
    results
}

fn lower(e: &mut Emitter, at: &Site<'_>) -> Result<Vec<Val>, Refusal> {
    let one = match &at.data.op {
        Op::Param(_) => unreachable!("parameters are bound before"),
        Op::Constant(constant) => leaf::constant(e, constant),
        Op::Iota(attrs) => leaf::iota(e, attrs)?,
        Op::RngBits(_) => {
            return Err("its random bits are nnc's own; export the model in evaluation mode".to_string());
        }
        Op::Negate
        | Op::Abs
        | Op::Sign
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
        | Op::Floor
        | Op::Ceil
        | Op::RoundNearestEven
        | Op::IsFinite
        | Op::Not
        | Op::Convert(_)
        | Op::BitcastConvert(_) => elementwise::unary(e, at)?,
        Op::Add
        | Op::Subtract
        | Op::Multiply
        | Op::Divide
        | Op::Remainder
        | Op::Maximum
        | Op::Minimum
        | Op::Power
        | Op::Atan2
        | Op::And
        | Op::Or
        | Op::Xor
        | Op::ShiftLeft
        | Op::ShiftRightLogical
        | Op::ShiftRightArithmetic
        | Op::Compare(_) => elementwise::binary(e, at)?,
        Op::Select => e.select(at.val(0), at.val(1), at.val(2)),
        Op::Clamp => {
            let above = elementwise::maximum(e, at.val(1), at.val(0));
            elementwise::minimum(e, &above, at.val(2))
        }
        Op::Reshape(shape) => {
            let operand = at.full(e, 0)?;
            e.reshape(&operand, shape)?
        }
        Op::Transpose(permutation) => {
            let operand = at.full(e, 0)?;
            e.transpose(&operand, permutation)
        }
        Op::BroadcastInDim(attrs) => movement::broadcast_in_dim(e, at, attrs)?,
        Op::Slice(attrs) => movement::slice(e, at, attrs)?,
        Op::Pad(attrs) => movement::pad(e, at, attrs)?,
        Op::Concatenate(dim) => {
            let operands = at.all_full(e, 0)?;
            e.concat(&operands, *dim)
        }
        Op::Reverse(dims) => movement::reverse(e, at, dims)?,
        Op::DynamicSlice(sizes) => movement::dynamic_slice(e, at, sizes)?,
        Op::DynamicUpdateSlice => movement::dynamic_update_slice(e, at)?,
        Op::Gather(attrs) => index::gather(e, at, attrs)?,
        Op::Scatter(attrs) => index::scatter(e, at, attrs)?,
        Op::Reduce(attrs) => reduce::reduce(e, at, attrs)?,
        Op::Cumulative(attrs) => order::cumulative(e, at, attrs)?,
        Op::Sort(attrs) => return order::sort(e, at, attrs),
        Op::ReduceWindow(attrs) => window::reduce_window(e, at, attrs)?,
        Op::SelectAndScatter(attrs) => window::select_and_scatter(e, at, attrs)?,
        Op::DotGeneral(attrs) => contract::dot_general(e, at, attrs)?,
        Op::Convolution(attrs) => contract::convolution(e, at, attrs)?,
        Op::Fusion(_) => {
            let inputs = at.all_full(e, 0)?;
            return whole(lower_region(e, &at.data.regions[0], inputs));
        }
        Op::Scan(attrs) => return control::scan(e, at, attrs),
        Op::Cond => return control::cond(e, at),
        Op::While => return control::while_loop(e, at),
        // Both are instructions to the compiler.
        Op::OptimizationBarrier | Op::StopGradient => at.val(0).clone(),
    };
    Ok(vec![one])
}

/// The results of a region, or the word that the faults in it were listed.
pub(super) fn whole(results: Vec<Option<Val>>) -> Result<Vec<Val>, Refusal> {
    results.into_iter().collect::<Option<_>>().ok_or_else(|| "parts of it have none".to_string())
}

/// The shape without dimension `dim`.
pub(super) fn without(shape: &Shape, dim: usize) -> Shape {
    let mut shape = shape.clone();
    shape.0.remove(dim);
    shape
}
