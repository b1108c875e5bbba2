//! Specialization: a function with symbolic dimensions becomes one of fixed shapes, and weights become constants.
//!
//! ```text
//! func @f(%x: f32[N, 4], param %w: f32[2, 4] = @w) -> (y: f32[N, 2])
//!
//! func @f(%x: f32[64, 4]) -> (y: f32[64, 2])       after specialize with N = 64 and freeze
//! ```
//!
//! Both come before the pipeline: [`specialize`] once for every set of extents, because code generation sees numbers
//! only, and [`freeze`] for inference, because what is constant can be laid out and folded at compile time.

use std::sync::Arc;

use indexmap::IndexMap;
use nnc_ir::{Bindings, Constant, Diagnostic, Func, FuncParam, FuncResult, Graph, Op, ParamKind, Rewriter, TensorData};

/// The function with every symbol of its parameters bound.
///
/// # Errors
/// A symbol without a value, a value for a symbol the function does not have, or an op whose rule the bound shapes
/// break.
pub fn specialize(func: &Func, bindings: &Bindings) -> Result<Func, Diagnostic> {
    let location = |idx: usize| func.graph.def(func.graph.params()[idx]).location.clone();
    let mut symbols = Vec::new();
    for (idx, &param) in func.graph.params().iter().enumerate() {
        let ty = func.graph.ty(param);
        for symbol in ty.shape.dims().iter().flat_map(|dim| dim.symbols()) {
            if !bindings.contains_key(&symbol) {
                let message = format!("parameter `{}` has type {ty}, but {symbol} has no value", func.params[idx].name);
                return Err(Diagnostic::new(location(idx), message).note(format!("give one: --dim {symbol}=64")));
            }
            symbols.push(symbol);
        }
    }
    if let Some(unknown) = bindings.keys().find(|symbol| !symbols.contains(symbol)) {
        symbols.sort();
        symbols.dedup();
        let known = if symbols.is_empty() { "none".to_string() } else { symbols.join(", ") };
        let message = format!("@{} has no dimension {unknown}; its dimensions are: {known}", func.name);
        return Err(Diagnostic::new(func_location(func), message));
    }
    let graph = func.graph.substitute(bindings)?;
    check_sizes(&graph)?;
    Ok(Func { graph, ..func.clone() })
}

/// Checks that nothing in the graph or its regions has a symbol that stands in no parameter, or more elements than fit
/// a machine word.
fn check_sizes(graph: &Graph) -> Result<(), Diagnostic> {
    for (_, data) in graph.nodes() {
        let fault = |what: String| {
            let message = format!("{}: {what}, expected a fixed size", data.op.mnemonic());
            Err(Diagnostic::new(data.location.clone(), message))
        };
        if let Some(result) = data.results().find(|&result| graph.ty(result).n_elements().is_none()) {
            return fault(format!("the result has type {}", graph.ty(result)));
        }
        if let Op::Scan(attrs) = &data.op
            && attrs.length.as_const().is_none()
        {
            return fault(format!("the length is {}", attrs.length));
        }
        data.regions.iter().try_for_each(check_sizes)?;
    }
    Ok(())
}

/// The function with its weights as constants: trainable parameters, and state that nothing updates, take the value
/// of the weight they name, and leave the parameter list. A parameter that a result donates into stays.
///
/// # Errors
/// A trainable parameter that names no weight, a weight that is missing, or one of another type.
pub fn freeze(func: &Func, weights: &IndexMap<Arc<str>, TensorData>) -> Result<Func, Diagnostic> {
    let updated = |idx: usize| func.results.iter().any(|result| result.donates == Some(idx as u32));
    let mut rewriter = Rewriter::without_params(&func.graph);
    let mut params: Vec<FuncParam> = Vec::new();
    // New position of each parameter that stays.
    let mut positions: Vec<Option<u32>> = Vec::new();
    let mut frozen: Vec<(usize, Arc<str>, TensorData)> = Vec::new();
    for (idx, param) in func.params.iter().enumerate() {
        let value = func.graph.params()[idx];
        let weight = match param.kind {
            ParamKind::Param | ParamKind::State if !updated(idx) => weight_of(func, idx, weights)?,
            _ => None,
        };
        match weight {
            Some((name, data)) => {
                frozen.push((idx, name, data));
                positions.push(None);
            }
            None => {
                rewriter.param(value);
                positions.push(Some(params.len() as u32));
                params.push(param.clone());
            }
        }
    }
    for (idx, name, data) in frozen {
        let param = func.graph.params()[idx];
        let location = func.graph.def(param).location.clone();
        let op = Op::Constant(Constant::Dense { data, name: Some(name) });
        let constant = rewriter.graph_mut().op(op, &[], location)?;
        rewriter.map(param, constant);
    }
    for (node, data) in func.graph.nodes() {
        if !matches!(data.op, Op::Param(_)) {
            rewriter.copy(node);
        }
    }
    let results = func.results.iter().map(|result| FuncResult {
        name: result.name.clone(),
        donates: result.donates.and_then(|idx| positions.get(idx as usize).copied().flatten()),
    });
    Ok(Func { name: func.name.clone(), params, results: results.collect(), graph: rewriter.finish() })
}

/// Name and data of the weight that parameter `idx` takes, or `None` for state that has none.
fn weight_of(
    func: &Func,
    idx: usize,
    weights: &IndexMap<Arc<str>, TensorData>,
) -> Result<Option<(Arc<str>, TensorData)>, Diagnostic> {
    let param = &func.params[idx];
    let value = func.graph.params()[idx];
    let fault = |message: String| Diagnostic::new(func.graph.def(value).location.clone(), message);
    let Some(name) = &param.weight else {
        return match param.kind {
            ParamKind::Param => Err(fault(format!(
                "parameter `{}` names no weight, so it cannot be frozen",
                param.name
            ))
            .note(format!("write `param %{}: {} = @{}`", param.name, func.graph.ty(value), param.name))),
            ParamKind::Input | ParamKind::State => Ok(None),
        };
    };
    let Some(data) = weights.get(name) else {
        return Err(fault(format!("parameter `{}` needs weight @{name}, which is missing", param.name)));
    };
    if data.ty() != *func.graph.ty(value) {
        let message = format!(
            "weight @{name} has type {}, parameter `{}` has type {}",
            data.ty(),
            param.name,
            func.graph.ty(value)
        );
        return Err(fault(message));
    }
    Ok(Some((name.clone(), data.clone())))
}

/// Where the function begins, as far as that is known.
fn func_location(func: &Func) -> nnc_ir::Location {
    func.graph.nodes().next().map(|(_, data)| data.location.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use nnc_ir::ops::DotAttrs;
    use nnc_ir::{Builder, DType, Dim, Location, Shape, TensorType};

    use super::*;

    fn linear() -> Func {
        let mut graph = Graph::new();
        let shape = Shape(vec![Dim::symbol("N"), Dim::from(3)]);
        let x = graph.param(TensorType { dtype: DType::F32, shape }, Location::unknown());
        let w = graph.param(TensorType::new(DType::F32, [2, 3]), Location::unknown());
        let mut b = Builder::new(&mut graph, Location::unknown());
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() };
        let y = b.dot(x, w, attrs).unwrap();
        graph.set_results(vec![y]);
        let param = |name: &str, kind, weight: Option<&str>| FuncParam {
            name: name.to_string(),
            kind,
            weight: weight.map(Into::into),
        };
        Func {
            name: "linear".to_string(),
            params: vec![param("x", ParamKind::Input, None), param("w", ParamKind::Param, Some("w"))],
            results: vec![FuncResult { name: "y".to_string(), donates: None }],
            graph,
        }
    }

    fn bindings(pairs: &[(&str, usize)]) -> Bindings {
        pairs.iter().map(|&(name, value)| (name.to_string(), value)).collect()
    }

    #[test]
    fn symbols_become_numbers() {
        let func = specialize(&linear(), &bindings(&[("N", 64)])).unwrap();
        assert_eq!(func.graph.ty(func.graph.results()[0]).to_string(), "f32[64, 2]");
    }

    #[test]
    fn missing_and_unknown_symbols_are_named() {
        let fault = specialize(&linear(), &bindings(&[])).unwrap_err();
        assert_eq!(fault.message, "parameter `x` has type f32[N, 3], but N has no value");
        let fault = specialize(&linear(), &bindings(&[("N", 1), ("M", 2)])).unwrap_err();
        assert_eq!(fault.message, "@linear has no dimension M; its dimensions are: N");
    }

    #[test]
    fn freezing_turns_parameters_into_constants() {
        let weights = IndexMap::from([("w".into(), TensorData::from_f32(vec![2, 3], &[0.; 6]))]);
        let func = freeze(&linear(), &weights).unwrap();
        assert_eq!(func.params.len(), 1);
        let rhs = func.graph.def(func.graph.results()[0]).operands[1];
        assert!(matches!(func.graph.def_op(rhs), Op::Constant(Constant::Dense { name: Some(_), .. })));
    }

    #[test]
    fn a_donated_parameter_is_not_frozen() {
        let mut func = linear();
        func.graph.set_results(vec![func.graph.params()[1]]);
        func.results = vec![FuncResult { name: "w".to_string(), donates: Some(1) }];
        let frozen = freeze(&func, &IndexMap::new()).unwrap();
        assert_eq!(frozen.params.len(), 2);
    }

    #[test]
    fn weights_that_do_not_fit_are_named() {
        let fault = freeze(&linear(), &IndexMap::new()).unwrap_err();
        assert_eq!(fault.message, "parameter `w` needs weight @w, which is missing");
        let weights = IndexMap::from([("w".into(), TensorData::from_f32(vec![3, 2], &[0.; 6]))]);
        let fault = freeze(&linear(), &weights).unwrap_err();
        assert_eq!(fault.message, "weight @w has type f32[3, 2], parameter `w` has type f32[2, 3]");
    }
}
