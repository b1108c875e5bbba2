//! Constant folding: what depends on constants alone is computed now, by the reference interpreter.
//!
//! ```text
//! %0 = constant 2.0 : f32[4]
//! %1 = constant 3.0 : f32[4]                   %0 = constant 6.0 : f32[4]
//! %2 = multiply %0, %1 : f32[4]      ->        %1 = multiply %x, %0 : f32[4]
//! %3 = multiply %x, %2 : f32[4]
//! ```
//!
//! Splats fold to splats whatever their shape, which may be symbolic. Dense constants fold within a [`Budget`]; moving
//! the elements of a weight (`transpose`, `reshape`, `convert`) is always worth it, because it would otherwise happen
//! on every run, and is how [`layout`](mod@crate::layout) prepares weights. A moved weight is named after the weight
//! it came from. `iota` and repetitions (`broadcast_in_dim`) stay as they are: counting, and reading an element again,
//! is cheaper than loading.
//!
//! A folded transcendental or sum is the interpreter's, which is within the op's tolerance of what the machine would
//! have computed, but need not have the same bits.

use std::sync::Arc;

use nnc_ir::ops::{ReduceKind, Trait};
use nnc_ir::{Constant, Diagnostic, Graph, Op, Rewriter, TensorData, TensorType, Value, interp};

use crate::cost;

mod transpose;

/// How much may be computed, and stored, for one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of a result that is larger than all operands together.
    pub bytes: usize,
    /// Operations, as counted by [`cost::flops`].
    pub flops: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 64 << 10, flops: 1 << 20 }
    }
}

/// The graph with every constant computation within the default budget folded.
///
/// # Errors
/// None on a verified graph.
pub fn const_fold(graph: &Graph) -> Result<Graph, Diagnostic> {
    const_fold_within(graph, Budget::default())
}

/// [`const_fold`] within a budget of one's own.
///
/// # Errors
/// None on a verified graph.
pub fn const_fold_within(graph: &Graph, budget: Budget) -> Result<Graph, Diagnostic> {
    let mut rewriter = Rewriter::new(graph);
    for (node, data) in graph.nodes() {
        if matches!(data.op, Op::Param(_)) {
            continue;
        }
        let operands: Option<Vec<&Constant>> =
            data.operands.iter().map(|&operand| constant(rewriter.graph(), rewriter.get(operand))).collect();
        let folded = match operands {
            Some(operands) if data.n_results == 1 && data.regions.is_empty() => {
                fold(&data.op, &operands, graph.ty(data.result()), budget)
            }
            _ => None,
        };
        match folded {
            Some(folded) => {
                rewriter.replace(node, Op::Constant(folded), &[])?;
            }
            None => {
                rewriter.copy(node);
            }
        }
    }
    Ok(rewriter.finish())
}

fn constant(graph: &Graph, value: Value) -> Option<&Constant> {
    match graph.def_op(value) {
        Op::Constant(constant) => Some(constant),
        _ => None,
    }
}

/// The value of `op` on constants, if it is known cheaply enough.
fn fold(op: &Op, operands: &[&Constant], ty: &TensorType, budget: Budget) -> Option<Constant> {
    if operands.is_empty() || matches!(op, Op::OptimizationBarrier) {
        return None;
    }
    if let Some(folded) = fold_splat(op, operands, ty) {
        return Some(folded);
    }
    if let Op::BroadcastInDim(attrs) = op
        && attrs.shape != operands[0].ty().shape
    {
        return None;
    }
    if let (Op::Reshape(shape), [Constant::Dense { data, name }]) = (op, operands) {
        // The same bytes: shared, not copied.
        let data = TensorData { dtype: data.dtype, shape: shape.as_fixed()?, bytes: data.bytes.clone() };
        return Some(Constant::Dense { data, name: derived_name(op, name.as_ref()) });
    }
    if let (Op::Transpose(permutation), [Constant::Dense { data, name }]) = (op, operands)
        && let Some(data) = transpose::transpose(data, permutation)
    {
        return Some(Constant::Dense { data, name: derived_name(op, name.as_ref()) });
    }
    let operand_types: Vec<TensorType> = operands.iter().map(|operand| operand.ty()).collect();
    let operand_bytes: usize = operands
        .iter()
        .map(|operand| match operand {
            Constant::Splat { .. } => 0,
            Constant::Dense { data, .. } => data.bytes.len(),
        })
        .sum();
    let moves = op.has(Trait::Movement) || matches!(op, Op::Convert(_));
    let small = ty.bytes()? <= budget.bytes.max(operand_bytes);
    if !small || (!moves && cost::flops(op, &operand_types.iter().collect::<Vec<_>>(), &[ty], &[])? > budget.flops) {
        return None;
    }
    let operand_data: Vec<TensorData> = operands.iter().map(|operand| dense(operand)).collect::<Option<_>>()?;
    // What has no value (an integer overflow of a shape, say) is left for the run to report.
    let data = interp::eval(op, &operand_data.iter().collect::<Vec<_>>(), &[]).ok()?.pop()?;
    let name = match operands {
        [Constant::Dense { name, .. }] => derived_name(op, name.as_ref()),
        _ => None,
    };
    Some(Constant::Dense { data, name })
}

/// The splat that `op` makes of splats, if it makes one.
fn fold_splat(op: &Op, operands: &[&Constant], ty: &TensorType) -> Option<Constant> {
    let values: Vec<_> = operands.iter().map(|operand| operand.splat_value()).collect::<Option<_>>()?;
    let same = || values.iter().all(|value| *value == values[0]).then_some(values[0]);
    let value = match op {
        op if op.has(Trait::Elementwise) => {
            let scalars: Vec<_> =
                values.iter().map(|value| TensorData::from_scalars(value.dtype, Vec::new(), [*value])).collect();
            interp::eval(op, &scalars.iter().collect::<Vec<_>>(), &[]).ok()?.pop()?.get(0)
        }
        Op::Reshape(_) | Op::Transpose(_) | Op::BroadcastInDim(_) | Op::Slice(_) | Op::Reverse(_) => values[0],
        Op::Pad(_) | Op::Concatenate(_) => same()?,
        Op::Gather(_) => values[0],
        Op::Reduce(attrs) if operands[0].ty().n_elements()? > 0 => match attrs.kind {
            ReduceKind::Min | ReduceKind::Max | ReduceKind::Any | ReduceKind::All => values[0],
            ReduceKind::Sum | ReduceKind::Prod | ReduceKind::ArgMin | ReduceKind::ArgMax => return None,
        },
        _ => return None,
    };
    Some(Constant::Splat { ty: ty.clone(), value })
}

/// The constant's elements, written out.
fn dense(constant: &Constant) -> Option<TensorData> {
    match constant {
        Constant::Dense { data, .. } => Some(data.clone()),
        Constant::Splat { ty, value } => {
            let n_elements = ty.n_elements().filter(|&n_elements| n_elements <= interp::MAX_ELEMENTS)?;
            Some(TensorData::from_scalars(ty.dtype, ty.shape.as_fixed()?, std::iter::repeat_n(*value, n_elements)))
        }
    }
}

/// The name of a weight after `op`: one weight moved in one way has one name.
fn derived_name(op: &Op, name: Option<&Arc<str>>) -> Option<Arc<str>> {
    let name = name?;
    let join = |numbers: Vec<String>| numbers.join("x");
    let suffix = match op {
        Op::Transpose(permutation) => format!("t{}", join(permutation.iter().map(usize::to_string).collect())),
        Op::Reshape(shape) => format!("r{}", join(shape.dims().iter().map(|dim| dim.to_string()).collect())),
        Op::Convert(dtype) => dtype.name().to_string(),
        _ => return None,
    };
    Some(format!("{name}'{suffix}").into())
}

#[cfg(test)]
mod tests {
    use nnc_ir::{Builder, DType, Dim, Location, Shape};

    use super::*;

    /// The op that defines the result after folding.
    fn folded(ty: TensorType, build: impl FnOnce(&mut Builder, Value) -> Value) -> Op {
        let mut graph = Graph::new();
        let x = graph.param(ty, Location::unknown());
        let result = build(&mut Builder::new(&mut graph, Location::unknown()), x);
        graph.set_results(vec![result]);
        let graph = const_fold(&graph).unwrap();
        graph.def_op(graph.results()[0]).clone()
    }

    #[test]
    fn splats_fold_whatever_their_shape() {
        let symbolic = TensorType { dtype: DType::F32, shape: Shape(vec![Dim::symbol("N")]) };
        let op = folded(symbolic.clone(), |b, x| {
            let two = b.splat_like(x, 2.0).unwrap();
            let three = b.splat_like(x, 3.0).unwrap();
            b.multiply(two, three).unwrap()
        });
        let value = nnc_ir::Scalar::from_f64(DType::F32, 6.0);
        assert_eq!(op, Op::Constant(Constant::Splat { ty: symbolic, value }));
    }

    #[test]
    fn weights_are_moved_and_keep_a_name() {
        let op = folded(TensorType::scalar(DType::F32), |b, _| {
            let w = b.weight("w", TensorData::from_f32(vec![2, 3], &[1., 2., 3., 4., 5., 6.])).unwrap();
            b.transpose(w, &[1, 0]).unwrap()
        });
        let data = TensorData::from_f32(vec![3, 2], &[1., 4., 2., 5., 3., 6.]);
        assert_eq!(op, Op::Constant(Constant::Dense { data, name: Some("w't1x0".into()) }));
    }

    #[test]
    fn what_depends_on_a_parameter_stays() {
        let op = folded(TensorType::new(DType::F32, [4]), |b, x| {
            let two = b.splat_like(x, 2.0).unwrap();
            b.multiply(x, two).unwrap()
        });
        assert_eq!(op, Op::Multiply);
    }

    #[test]
    fn what_grows_stays() {
        let row = |b: &mut Builder| b.tensor(TensorData::from_f32(vec![2], &[1.0, 2.0])).unwrap();
        let op = folded(TensorType::scalar(DType::F32), |b, _| {
            let row = row(b);
            b.broadcast_in_dim(row, [3, 2], &[1]).unwrap()
        });
        assert!(matches!(op, Op::BroadcastInDim(_)));
        let op = folded(TensorType::scalar(DType::F32), |b, _| {
            let (row, zero) = (row(b), b.scalar(DType::F32, 0.0).unwrap());
            let attrs = nnc_ir::ops::PadAttrs { low: vec![0], high: vec![100_000], interior: vec![0] };
            b.pad(row, zero, attrs).unwrap()
        });
        assert!(matches!(op, Op::Pad(_)));
    }
}
