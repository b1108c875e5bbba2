//! What each operator makes of a bound.

use nnc_frontend::Tensor;
use nnc_frontend::tensor::apply;
use nnc_ir::{Dim, Op};

use super::{Bound, refusal};
use crate::cx::Cx;
use crate::elem::ElemType;
use crate::fault::Fault;
use crate::ops::{Import, Outcome};
use crate::shape_int::ShapeInt;
use crate::value::Value;

/// Imports a node whose inputs have `bounds`. The node's function does not see them.
type Rule = fn(&mut Cx<'_>, Import, &[Option<Bound>]) -> Outcome;

/// The rule of an operator, if it can take a bound.
pub(super) fn of(op_type: &str) -> Option<Rule> {
    Some(match op_type {
        "Abs" | "Acos" | "Acosh" | "Add" | "And" | "Asin" | "Asinh" | "Atan" | "Atanh" | "BitCast" | "BitShift"
        | "BitwiseAnd" | "BitwiseNot" | "BitwiseOr" | "BitwiseXor" | "Cast" | "CastLike" | "Ceil" | "Celu" | "Clip"
        | "Cos" | "Cosh" | "Div" | "Dropout" | "Elu" | "Equal" | "Erf" | "Exp" | "Floor" | "Gelu" | "Greater"
        | "GreaterOrEqual" | "HardSigmoid" | "HardSwish" | "Identity" | "IsInf" | "IsNaN" | "LeakyRelu" | "Less"
        | "LessOrEqual" | "Log" | "Max" | "Mean" | "Min" | "Mish" | "Mod" | "Mul" | "Neg" | "Not" | "Or" | "PRelu"
        | "Pow" | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shrink" | "Sigmoid" | "Sign" | "Sin" | "Sinh"
        | "Softplus" | "Softsign" | "Sqrt" | "Sub" | "Sum" | "Swish" | "Tan" | "Tanh" | "ThresholdedRelu" | "Where"
        | "Xor" => elementwise,
        "Transpose" => transpose,
        "Squeeze" => squeeze,
        "Unsqueeze" => unsqueeze,
        "Reshape" | "Flatten" => reshape,
        "Slice" => slice,
        "Split" => split,
        "Concat" => concat,
        "Gather" => gather,
        "GatherND" => gather_nd,
        "GatherElements" => elementwise,
        "ScatterND" | "ScatterElements" | "Scatter" => scatter,
        "Shape" => shape,
        "Size" => size,
        "ReduceSum" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" | "ReduceLogSum" => {
            |cx, import, bounds| reduce(cx, import, bounds, Some(0.0))
        }
        "ReduceProd" => |cx, import, bounds| reduce(cx, import, bounds, Some(1.0)),
        "ReduceMax" | "ReduceLogSumExp" => |cx, import, bounds| reduce(cx, import, bounds, Some(f64::NEG_INFINITY)),
        "ReduceMin" => |cx, import, bounds| reduce(cx, import, bounds, Some(f64::INFINITY)),
        "ReduceMean" => |cx, import, bounds| reduce(cx, import, bounds, None),
        "ArgMax" => |cx, import, bounds| extremum(cx, import, bounds, f64::NEG_INFINITY),
        "ArgMin" => |cx, import, bounds| extremum(cx, import, bounds, f64::INFINITY),
        "Softmax" | "LogSoftmax" | "Hardmax" | "LayerNormalization" => along_last,
        "TopK" => top_k,
        "NonZero" => non_zero,
        "MatMul" => matmul,
        "Gemm" => gemm,
        "Conv"
        | "MaxPool"
        | "AveragePool"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "BatchNormalization"
        | "RoiAlign"
        | "MaxRoiPool"
        | "GroupNormalization"
        | "InstanceNormalization" => batch,
        _ => return None,
    })
}

fn rank(cx: &Cx<'_>, input: usize) -> Result<usize, Fault> {
    Ok(cx.input(input)?.ty().rank())
}

/// Gives all outputs this bound.
fn bounded(outputs: Vec<Value>, bound: &Bound) -> Vec<Value> {
    outputs.into_iter().map(|value| value.with_bound(bound.clone())).collect()
}

/// The bound of input 0, if no other input has one.
fn only_first<'b>(cx: &Cx<'_>, bounds: &'b [Option<Bound>]) -> Result<&'b Bound, Fault> {
    match bounds {
        [Some(bound), others @ ..] if others.iter().all(Option::is_none) => Ok(bound),
        _ => Err(refusal(cx, bounds)),
    }
}

/// Inputs broadcast together: those with a bound have the same slices, the others one for all.
fn elementwise(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let mut ranks = Vec::with_capacity(bounds.len());
    for input in 0..bounds.len() {
        ranks.push(if cx.has(input) { rank(cx, input)? } else { 0 });
    }
    let most = ranks.iter().copied().max().unwrap_or_default();
    let mut common: Option<Bound> = None;
    for (bound, rank) in bounds.iter().zip(&ranks) {
        let Some(bound) = bound else { continue };
        let here = bound.along(bound.axis + most - rank);
        match &common {
            Some(common) if !common.same_count(&here) || common.axis != here.axis => return Err(refusal(cx, bounds)),
            _ => common = Some(here),
        }
    }
    let Some(common) = common else { return import(cx) };
    for (input, bound) in bounds.iter().enumerate() {
        if bound.is_none()
            && let Some(axis) = (common.axis + ranks[input]).checked_sub(most)
            && cx.has(input)
            && cx.input(input)?.shape()[axis] != Dim::from(1)
        {
            return Err(refusal(cx, bounds));
        }
    }
    Ok(bounded(import(cx)?, &common))
}

fn transpose(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let rank = rank(cx, 0)?;
    let permutation = cx.ints("perm")?.unwrap_or_else(|| (0..rank as i64).rev().collect());
    let outputs = import(cx)?;
    match permutation.iter().position(|&dim| dim == bound.axis as i64) {
        Some(axis) => Ok(bounded(outputs, &bound.along(axis))),
        None => Err(Fault::Reported),
    }
}

/// Axes of a node counted from the front, for a tensor of `rank` dimensions.
fn axes(cx: &Cx<'_>, rank: usize) -> Result<Option<Vec<usize>>, Fault> {
    let Some(axes) = cx.axes(1)? else { return Ok(None) };
    axes.into_iter().map(|axis| cx.axis(axis, rank)).collect::<Result<_, _>>().map(Some)
}

fn squeeze(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    // Without axes it would depend on data which dimensions vanish.
    match axes(cx, rank(cx, 0)?)? {
        Some(axes) if !axes.contains(&bound.axis) => {
            let before = axes.iter().filter(|&&axis| axis < bound.axis).count();
            Ok(bounded(import(cx)?, &bound.along(bound.axis - before)))
        }
        _ => Err(refusal(cx, bounds)),
    }
}

fn unsqueeze(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let added = cx.axes(1)?.map_or(0, |axes| axes.len());
    let rank = rank(cx, 0)? + added;
    let axes = axes(cx, rank)?.unwrap_or_default();
    let mut kept = (0..rank).filter(|axis| !axes.contains(axis));
    match kept.nth(bound.axis) {
        Some(axis) => Ok(bounded(import(cx)?, &bound.along(axis))),
        None => import(cx),
    }
}

/// The slices stay whole: as many elements before the axis as before, and their own extent may go into it.
fn reshape(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let before = cx.input(0)?.shape();
    // An extent that is written as a number would not follow the count.
    let written = if cx.op_type() == "Reshape" { Some(cx.known_ints(1)?) } else { None };
    let outputs = import(cx)?;
    let after = match outputs.first() {
        Some(Value::Tensor(value)) => cx.walker.tensor(value).shape(),
        _ => return Err(Fault::Reported),
    };
    let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::from(1), |product, dim| product * dim);
    let outer = product(&before.dims()[..bound.axis]);
    for axis in 0..after.rank() {
        let follows = written.as_ref().is_none_or(|written| written[axis] <= 0);
        if !follows || product(&after.dims()[..axis]) != outer {
            continue;
        }
        let Some(times) = after[axis].exact_div(&before[bound.axis]) else { continue };
        if times == Dim::from(1) {
            return Ok(bounded(outputs, &bound.along(axis)));
        }
        let count = &*bound.count * Tensor::extent(&times);
        return Ok(bounded(outputs, &Bound::new(axis, count)));
    }
    Err(refusal(cx, bounds))
}

fn slice(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let rank = rank(cx, 0)?;
    let given = |cx: &Cx<'_>, input: usize, name: &str| match cx.has(input) {
        true => cx.known_ints(input).map(Some),
        false => cx.ints(name),
    };
    let n_cut = given(cx, 1, "starts")?.map_or(0, |starts| starts.len());
    let axes = given(cx, 3, "axes")?.unwrap_or_else(|| (0..n_cut as i64).collect());
    let axes: Vec<usize> = axes.into_iter().map(|axis| cx.axis(axis, rank)).collect::<Result<_, _>>()?;
    let Some(at) = axes.iter().position(|&axis| axis == bound.axis) else {
        return Ok(bounded(import(cx)?, bound));
    };
    // From a position on, and up to one: both counted from the front.
    let start = given(cx, 1, "starts")?.and_then(|starts| starts.get(at).copied()).unwrap_or(0);
    let end = given(cx, 2, "ends")?.and_then(|ends| ends.get(at).copied()).unwrap_or(i64::MAX);
    let step = given(cx, 4, "steps")?.and_then(|steps| steps.get(at).copied()).unwrap_or(1);
    if start < 0 || end < 0 || step != 1 {
        return Err(refusal(cx, bounds));
    }
    let count = (bound.count.minimum(end) - Tensor::scalar(start)).maximum(0);
    Ok(bounded(import(cx)?, &Bound::new(bound.axis, count)))
}

/// Parts along another axis have the slices of the whole.
fn split(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    if cx.axis(cx.int_or("axis", 0)?, rank(cx, 0)?)? == bound.axis {
        return Err(refusal(cx, bounds));
    }
    Ok(bounded(import(cx)?, bound))
}

/// Along another axis all have the same slices; along this one what counts comes together.
fn concat(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let Some(first) = bounds.iter().flatten().next().cloned() else { return import(cx) };
    let Some(axis) = cx.int("axis")? else { return import(cx) };
    let axis = cx.axis(axis, rank(cx, 0)?)?;
    if axis != first.axis {
        let same = |bound: &Option<Bound>| {
            bound.as_ref().is_some_and(|bound| bound.axis == first.axis && bound.same_count(&first))
        };
        if !bounds.iter().all(same) {
            return Err(refusal(cx, bounds));
        }
        return Ok(bounded(import(cx)?, &first));
    }
    let parts = cx.inputs()?;
    let mut joined: Option<(Tensor, Tensor)> = None;
    for (part, bound) in parts.iter().zip(bounds) {
        if bound.as_ref().is_some_and(|bound| bound.axis != axis) {
            return Err(refusal(cx, bounds));
        }
        let count = match bound {
            Some(bound) => (*bound.count).clone(),
            None => Tensor::extent(&part.shape()[axis]),
        };
        joined = Some(match joined {
            None => (part.clone(), count),
            Some((before, n_before)) => {
                // Written where the fill begins, in a buffer that holds both at their greatest.
                let buffer = Tensor::cat(&[&before, part], axis as i64);
                let origin = Tensor::scalar(0i64);
                let starts = (0..part.ty().rank()).map(|dim| if dim == axis { &n_before } else { &origin });
                let operands: Vec<&Tensor> = [&buffer, part].into_iter().chain(starts).collect();
                (apply(Op::DynamicUpdateSlice, &operands), &n_before + count)
            }
        });
    }
    match joined {
        Some((tensor, count)) => Ok(vec![Value::with_elem(tensor, cx.elem(0)?).with_bound(Bound::new(axis, count))]),
        None => import(cx),
    }
}

/// By positions of which some are fill, or of slices that count inside.
fn gather(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let axis = cx.axis(cx.int_or("axis", 0)?, rank(cx, 0)?)?;
    let n_positions = rank(cx, 1)?;
    match bounds {
        [None, Some(positions)] => Ok(bounded(import(cx)?, &positions.along(axis + positions.axis))),
        [Some(data), None] | [Some(data)] if data.axis != axis => {
            let at = if data.axis > axis { data.axis + n_positions - 1 } else { data.axis };
            Ok(bounded(import(cx)?, &data.along(at)))
        }
        // Positions among those that count.
        [Some(data), Some(positions)] if data.axis == axis => {
            Ok(bounded(import(cx)?, &positions.along(axis + positions.axis)))
        }
        _ => Err(refusal(cx, bounds)),
    }
}

fn gather_nd(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    match bounds {
        [None, Some(positions)] if positions.axis + 1 < rank(cx, 1)? => Ok(bounded(import(cx)?, positions)),
        _ => Err(refusal(cx, bounds)),
    }
}

/// Positions that are fill are moved out of range, where updates are dropped.
fn scatter(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let [None, Some(positions), updates] = bounds else { return Err(refusal(cx, bounds)) };
    let same = updates.as_ref().is_some_and(|updates| updates.same_count(positions) && updates.axis == positions.axis);
    let of_vectors = cx.op_type() == "ScatterND" && positions.axis + 1 >= rank(cx, 1)?;
    if !same || of_vectors {
        return Err(refusal(cx, bounds));
    }
    let indices = cx.input(1)?.long();
    let nowhere = Tensor::scalar(i64::MAX);
    cx.set_input(1, positions.filled(&indices, &nowhere).into());
    import(cx)
}

/// The extents, with the count among them.
fn shape(cx: &mut Cx<'_>, _: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let extents = extents(cx, bound)?;
    let shape = Tensor::stack(&extents, 0);
    Ok(vec![shape.slice(0, cx.int_or("start", 0)?, cx.int("end")?, 1).into()])
}

fn size(cx: &mut Cx<'_>, _: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let extents = extents(cx, bound)?;
    let product = extents.iter().skip(1).fold(extents[0].clone(), |product, extent| product * extent);
    Ok(vec![product.into()])
}

fn extents(cx: &Cx<'_>, bound: &Bound) -> Result<Vec<Tensor>, Fault> {
    let shape = cx.input(0)?.shape();
    let extent = |dim: usize| if dim == bound.axis { (*bound.count).clone() } else { Tensor::extent(&shape[dim]) };
    Ok((0..shape.rank()).map(extent).collect())
}

/// A fold: over the axis, fill is replaced by what changes nothing (for a mean the sum is scaled). Otherwise the axis
/// stays.
fn reduce(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>], identity: Option<f64>) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let data = cx.input(0)?;
    let rank = data.ty().rank();
    let axes = match axes(cx, rank)? {
        Some(axes) if !axes.is_empty() => axes,
        _ if cx.flag("noop_with_empty_axes", false)? => return Ok(bounded(import(cx)?, bound)),
        _ => (0..rank).collect(),
    };
    if !axes.contains(&bound.axis) {
        let dropped =
            if cx.flag("keepdims", true)? { 0 } else { axes.iter().filter(|&&axis| axis < bound.axis).count() };
        return Ok(bounded(import(cx)?, &bound.along(bound.axis - dropped)));
    }
    let fill = Tensor::scalar(identity.unwrap_or(0.0)).to_dtype(data.dtype());
    let filled = bound.filled(&data, &fill);
    cx.set_input(0, Value::with_elem(filled, cx.elem(0)?));
    let outputs = import(cx)?;
    if identity.is_some() {
        return Ok(outputs);
    }
    let [Value::Tensor(mean)] = outputs.as_slice() else { return Err(Fault::Reported) };
    let mean = cx.walker.tensor(mean);
    if !mean.dtype().is_float() {
        return Err(refusal(cx, bounds));
    }
    let extent = Tensor::extent(&data.shape()[bound.axis]).to_dtype(mean.dtype());
    Ok(vec![(mean * extent / bound.count.to_dtype(data.dtype())).into()])
}

/// The position of the largest or smallest: fill comes last, so that it is never the first of equals.
fn extremum(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>], fill: f64) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let data = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", 0)?, data.ty().rank())?;
    if axis != bound.axis {
        let drops = axis < bound.axis && !cx.flag("keepdims", true)?;
        return Ok(bounded(import(cx)?, &bound.along(bound.axis - usize::from(drops))));
    }
    if cx.flag("select_last_index", false)? {
        return Err(refusal(cx, bounds));
    }
    let fill = Tensor::scalar(fill).to_dtype(data.dtype());
    let filled = bound.filled(&data, &fill);
    cx.set_input(0, Value::with_elem(filled, cx.elem(0)?));
    import(cx)
}

/// Fill is worse than everything, so what counts of the best comes first. How many are asked for may follow from the
/// count; then the result has room for all.
fn top_k(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let data = cx.input(0)?;
    let axis = cx.axis(cx.int_or("axis", -1)?, data.ty().rank())?;
    if axis != bound.axis {
        return Ok(bounded(import(cx)?, bound));
    }
    let worst = if cx.flag("largest", true)? { f64::NEG_INFINITY } else { f64::INFINITY };
    let fill = Tensor::scalar(worst).to_dtype(data.dtype());
    let filled = bound.filled(&data, &fill);
    cx.set_input(0, Value::with_elem(filled, cx.elem(0)?));
    if !cx.has(1) || cx.try_known(1).is_some() {
        // More than there are would be an error; it gives all there are.
        let asked = if cx.has(1) { cx.known_int(1)? } else { cx.int_or("k", 0)? };
        let count = bound.count.minimum(asked);
        return Ok(bounded(import(cx)?, &Bound::new(axis, count)));
    }
    let asked = cx.input(1)?.reshape(());
    cx.set_input(1, Value::ints(vec![ShapeInt::of(&data.shape()[axis])], vec![1], ElemType::Int64));
    Ok(bounded(import(cx)?, &Bound::new(axis, bound.count.minimum(asked))))
}

/// Fill is zero, so nothing is found there.
fn non_zero(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let data = cx.input(0)?;
    let filled = bound.filled(&data, &Tensor::scalar(0).to_dtype(data.dtype()));
    cx.set_input(0, Value::with_elem(filled, cx.elem(0)?));
    import(cx)
}

/// Works along dimensions behind the axis.
fn along_last(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    // Before operator set 13 a softmax ran over everything from its axis (1) on.
    let default = if cx.op_type().ends_with("max") && cx.opset() < 13 { 1 } else { -1 };
    let axis = cx.axis(cx.int_or("axis", default)?, rank(cx, 0)?)?;
    if axis <= bound.axis {
        return Err(refusal(cx, bounds));
    }
    Ok(bounded(import(cx)?, bound))
}

/// Rows, or matrices of a batch, of the left operand.
fn matmul(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let (left, right) = (rank(cx, 0)?, rank(cx, 1)?);
    let is_row = bound.axis + 2 == left;
    if left < 2 || right < 2 || bound.axis + 1 >= left || !(is_row || right == 2) {
        return Err(refusal(cx, bounds));
    }
    Ok(bounded(import(cx)?, &bound.along(bound.axis + left.max(right) - left)))
}

fn gemm(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let bound = only_first(cx, bounds)?;
    let transposed = cx.flag("transA", false)?;
    let addend = if cx.has(2) { cx.input(2)?.shape() } else { nnc_ir::Shape::scalar() };
    let one_row = addend.rank() < 2 || addend[0] == Dim::from(1);
    if bound.axis != usize::from(transposed) || !one_row {
        return Err(refusal(cx, bounds));
    }
    Ok(bounded(import(cx)?, &bound.along(0)))
}

/// Each element of the batch by itself: the leading dimension of everything that has the bound.
fn batch(cx: &mut Cx<'_>, import: Import, bounds: &[Option<Bound>]) -> Outcome {
    let mut given = bounds.iter().flatten();
    let Some(first) = given.next() else { return import(cx) };
    let training = cx.flag("training_mode", false)?;
    if training || first.axis != 0 || !given.all(|bound| bound.axis == 0 && bound.same_count(first)) {
        return Err(refusal(cx, bounds));
    }
    Ok(bounded(import(cx)?, first))
}
