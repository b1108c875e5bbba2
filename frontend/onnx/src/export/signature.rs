//! Inputs, outputs and weights of an exported function.

use std::sync::Arc;

use indexmap::IndexMap;
use nnc_ir::{DType, Diagnostic, Dim, Func, Location, ParamKind, Scalar, Shape, TensorData, TensorType, Value};

use super::BoundedResult;
use super::emitter::{Emitter, Refusal, Val, int};
use super::lower::lower_graph;
use crate::elem::ElemType;
use crate::proto::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};

/// A name with its type. Extents that are no numbers are given as text, so that equal ones have equal names.
pub(super) fn value_info(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |dim: &Dim| tensor_shape_proto::Dimension {
        value: Some(match dim.as_const() {
            Some(extent) => tensor_shape_proto::Value::DimValue(extent as i64),
            None => tensor_shape_proto::Value::DimParam(match dim.as_linear() {
                // A symbol's own name, without the quotes it may need in the IR's text.
                Some((symbol, 1, 0)) => symbol.to_string(),
                _ => dim.to_string(),
            }),
        }),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(ElemType::of(ty.dtype).number()),
        shape: Some(TensorShapeProto { dim: ty.shape.dims().iter().map(dim).collect() }),
    };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.to_string()), r#type: Some(ty), ..ValueInfoProto::default() }
}

/// Writes the function into the outermost graph. Results with a bound are cut to what counts; the numbers that say how
/// much that is are no outputs.
pub(super) fn write_func(
    e: &mut Emitter,
    func: &Func,
    weights: &IndexMap<Arc<str>, TensorData>,
    bounds: &[BoundedResult],
) {
    let graph = &func.graph;
    let mut is_used = vec![false; graph.n_values()];
    let operands = graph.nodes().flat_map(|(_, data)| &data.operands);
    operands.chain(graph.results()).for_each(|value| is_used[value.idx()] = true);

    // Names are given in this order, so that those of inputs and weights stay as they are.
    let mut params = Vec::new();
    for (param, &value) in func.params.iter().zip(graph.params()) {
        let ty = graph.ty(value);
        params.push(if param.kind == ParamKind::Input {
            Some(write_input(e, &param.name, ty))
        } else if is_used[value.idx()] {
            let name = param.weight.as_deref().unwrap_or(&param.name);
            let starts_as_zeros = param.kind == ParamKind::State && param.weight.is_none();
            match initial(name, starts_as_zeros, ty, weights) {
                Ok(data) => {
                    let name = e.claim(name);
                    Some(e.initializer(name, &data))
                }
                Err(message) => {
                    e.faults.push(Diagnostic::new(Location::unknown(), format!("%{}: {message}", param.name)));
                    None
                }
            }
        } else {
            None
        });
    }
    let names: Vec<String> = func.results.iter().map(|result| e.claim(&result.name)).collect();
    let is_cut = |at: usize| bounds.iter().any(|bound| bound.result == at || bound.count == at);
    let wanted = |value: Value| {
        let at = graph.results().iter().position(|&result| result == value)?;
        (!is_cut(at)).then(|| &names[at])
    };
    let results = lower_graph(e, graph, params, &mut |e, value, val, n_before| {
        if let Some(name) = wanted(value)
            && val.ty == *graph.ty(value)
            && call(e, &val.name, name, n_before)
        {
            val.name.clone_from(name);
        }
    });
    for (at, (name, &value)) in names.into_iter().zip(graph.results()).enumerate() {
        let Some(val) = results[at].clone() else { continue };
        let ty = graph.ty(value);
        if let Some(bound) = bounds.iter().find(|bound| bound.result == at) {
            let Some(count) = &results[bound.count] else { continue };
            match cut(e, &val, ty, bound.axis, count, &name) {
                Ok(ty) => e.outermost().output.push(value_info(&name, &ty)),
                Err(refusal) => {
                    e.faults.push(Diagnostic::new(Location::unknown(), format!("result {name}: {refusal}")));
                }
            }
            continue;
        }
        if bounds.iter().any(|bound| bound.count == at) {
            continue;
        }
        match e.full(&val, &ty.shape) {
            Ok(val) if val.name == name => {}
            Ok(val) => e.copy(&val, &name),
            Err(refusal) => e.faults.push(Diagnostic::new(Location::unknown(), format!("result {name}: {refusal}"))),
        }
        e.outermost().output.push(value_info(&name, ty));
    }
}

/// Gives the first `count` slices of a result of type `ty` along `axis` under the name `name`, which was claimed; and
/// their type. They are picked one by one, which is a form that imports again.
fn cut(
    e: &mut Emitter,
    val: &Val,
    ty: &TensorType,
    axis: usize,
    count: &Val,
    name: &str,
) -> Result<TensorType, Refusal> {
    e.place(format!("{name}.cut"), &Location::unknown());
    let val = e.full(val, &ty.shape)?;
    let extent = &ty.shape[axis];
    let at = match extent.as_const() {
        Some(extent) => e.ints(&(0..extent as i64).collect::<Vec<i64>>()),
        None => {
            let (zero, one, limit) = (e.int(0), e.int(1), e.extent_scalar(extent)?);
            let ty = TensorType { dtype: DType::I64, shape: Shape(vec![extent.clone()]) };
            e.op("Range", &[&zero, &limit, &one], ty)
        }
    };
    let count = e.cast(count, DType::I64);
    let counts = e.test("Less", &[&at, &count]);
    let mut ty = ty.clone();
    ty.shape.0[axis] = Dim::symbol(format!("{name}.{axis}"));
    let first = e.outermost().node.len();
    let picked = e.op_with("Compress", &[&val, &counts], vec![int("axis", axis as i64)], ty.clone());
    call(e, &picked.name, name, first);
    Ok(ty)
}

fn write_input(e: &mut Emitter, name: &str, ty: &TensorType) -> Val {
    let name = e.claim(name);
    for (dim, extent) in ty.shape.dims().iter().enumerate() {
        if let Some((symbol, 1, 0)) = extent.as_linear() {
            e.symbol(symbol, &name, dim);
        }
    }
    e.outermost().input.push(value_info(&name, ty));
    Val { name, ty: ty.clone() }
}

/// What a parameter starts with: the weight called `name`; a state that names none may start as zeros.
fn initial(
    name: &str,
    starts_as_zeros: bool,
    ty: &TensorType,
    weights: &IndexMap<Arc<str>, TensorData>,
) -> Result<TensorData, String> {
    match weights.get(name) {
        Some(data) if data.ty() == *ty => Ok(data.clone()),
        Some(data) => Err(format!("its weight @{name} is {}, expected {ty}", data.ty())),
        None if !starts_as_zeros => Err(format!("there is no weight @{name}")),
        None => {
            let shape = ty.shape.as_fixed().ok_or_else(|| format!("it has no weight, and {ty} is no fixed type"))?;
            let n_elements = shape.iter().product();
            Ok(TensorData::from_scalars(ty.dtype, shape, vec![Scalar::zero(ty.dtype); n_elements]))
        }
    }
}

/// Gives a value another name in the nodes from `first` on, if one of them makes it.
fn call(e: &mut Emitter, old: &str, new: &str, first: usize) -> bool {
    let nodes = &mut e.outermost().node[first..];
    let is_made = nodes.iter().any(|node| node.output.iter().any(|output| output == old));
    if is_made {
        let names = nodes.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
        names.filter(|name| *name == old).for_each(|name| *name = new.to_string());
    }
    is_made
}
