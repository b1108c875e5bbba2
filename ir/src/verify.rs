//! The verifier: all invariants of modules, functions and graphs, checked, every fault reported.
//!
//! Module:
//! - (m1) functions have distinct names.
//! - (m2) the weight of a parameter exists and has the parameter's type.
//! - (m3) a constant that is named like a weight equals it.
//! - (m4) a weight has as many bytes as its type needs, and its `bool`s are 0 or 1.
//!
//! Function:
//! - (f1) the graph's parameters and results are described, one by one.
//! - (f2) parameters have distinct names, and so have results.
//! - (f3) a result donates into a parameter of its own type, and a parameter is donated into at most once.
//!
//! Graph:
//! - (g1) node ids are a topological order: operands and results of the graph are defined, and before their use.
//! - (g2) value types are what [`infer`] gives for the defining node; this is also the check of the op's own rules,
//!   which stand with the ops as (c1), (c2) and so on.
//! - (g3) regions are valid graphs of their own, at most [`MAX_REGION_DEPTH`] deep; that the owner's operands fit
//!   their parameters is the owner's rule.
//! - (g4) parameters come first, in order.
//! - (g5) the tables agree: a node's results follow those of the node before, and point back at it.
//! - (g6) types are of a size that can be reasoned about: see [`TensorType::check_size`].
//! - (g7) constants hold bits of their element type, as many as their shape needs.
//!
//! A graph whose tables are broken (g1, g4, g5) is not looked at any further.

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, Location};
use crate::graph::{Graph, Node, NodeData};
use crate::literal::{Constant, TensorData};
use crate::module::{Func, Module};
use crate::ops::{Op, infer};
use crate::print::Printer;
use crate::types::{DType, TensorType};

/// How deep regions may nest.
pub const MAX_REGION_DEPTH: usize = 32;

impl Module {
    /// Checks every invariant of the module, its functions and its weights.
    ///
    /// # Errors
    /// Every fault, function by function.
    pub fn verify(&self) -> Result<(), Vec<Diagnostic>> {
        let mut verifier = Verifier::default();
        // m4
        for (name, data) in &self.weights {
            if let Err(message) = check_data(data) {
                verifier.fault(Diagnostic::new(Location::unknown(), format!("weight @{name}: {message}")));
            }
        }
        // m1
        let mut seen = HashSet::new();
        for func in &self.funcs {
            if !seen.insert(func.name.as_str()) {
                verifier.func_fault(func, format!("there are two functions called @{}", func.name));
            }
            verifier.func(func, Some(self));
        }
        verifier.finish()
    }
}

impl Func {
    /// Checks every invariant of the function but for what concerns weights.
    ///
    /// # Errors
    /// Every fault.
    pub fn verify(&self) -> Result<(), Vec<Diagnostic>> {
        let mut verifier = Verifier::default();
        verifier.func(self, None);
        verifier.finish()
    }
}

impl Graph {
    /// Checks every invariant of the graph.
    ///
    /// # Errors
    /// Every fault.
    pub fn verify(&self) -> Result<(), Vec<Diagnostic>> {
        let mut verifier = Verifier::default();
        verifier.graph(&Scope { func: None, module: None, graph: self, depth: 0 });
        verifier.finish()
    }
}

/// A graph and what it stands in.
struct Scope<'a> {
    /// The function whose own graph this is.
    func: Option<&'a Func>,
    module: Option<&'a Module>,
    graph: &'a Graph,
    depth: usize,
}

/// Faults beyond this many are only counted: nobody reads them.
const MAX_FAULTS: usize = 100;

#[derive(Default)]
struct Verifier {
    faults: Vec<Diagnostic>,
    n_unreported: usize,
}

impl Verifier {
    fn finish(mut self) -> Result<(), Vec<Diagnostic>> {
        if self.n_unreported > 0 {
            let message = format!("{} more faults", self.n_unreported);
            self.faults.push(Diagnostic::new(Location::unknown(), message));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }

    fn n_faults(&self) -> usize {
        self.faults.len() + self.n_unreported
    }

    fn fault(&mut self, fault: Diagnostic) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        } else {
            self.n_unreported += 1;
        }
    }

    /// A fault of a function as a whole, placed at its first node's file.
    fn func_fault(&mut self, func: &Func, message: String) {
        let location = func.graph.nodes().next().map(|(_, data)| data.location.clone()).unwrap_or_default();
        self.fault(Diagnostic::new(location, message).note(format!("in @{}", func.name)));
    }

    fn func(&mut self, func: &Func, module: Option<&Module>) {
        let graph = &func.graph;
        let n_faults = self.n_faults();
        // f1
        for (what, n_described, n_found) in [
            ("parameters", func.params.len(), graph.params().len()),
            ("results", func.results.len(), graph.results().len()),
        ] {
            if n_described != n_found {
                self.func_fault(func, format!("{n_described} {what} are described, but the graph has {n_found}"));
            }
        }
        // f2
        for (what, names) in [
            ("parameters", func.params.iter().map(|param| &param.name).collect::<Vec<_>>()),
            ("results", func.results.iter().map(|result| &result.name).collect()),
        ] {
            let mut seen = HashSet::new();
            for name in names {
                if !seen.insert(name) {
                    self.func_fault(func, format!("there are two {what} called `{name}`"));
                }
            }
        }
        self.graph(&Scope { func: Some(func), module, graph, depth: 0 });
        // The rest relates parameters to results by position.
        if self.n_faults() == n_faults {
            self.donations(func);
            if let Some(module) = module {
                self.param_weights(func, module);
            }
        }
    }

    /// f3
    fn donations(&mut self, func: &Func) {
        let graph = &func.graph;
        let mut donors: Vec<Option<&str>> = vec![None; func.params.len()];
        for (result, &value) in func.results.iter().zip(graph.results()) {
            let Some(target) = result.donates else { continue };
            let target = target as usize;
            let Some((param, &param_value)) = func.params.get(target).zip(graph.params().get(target)) else {
                let n_params = func.params.len();
                self.func_fault(
                    func,
                    format!("result `{}` donates into parameter {target}, but there are {n_params}", result.name),
                );
                continue;
            };
            let (found, expected) = (graph.ty(value), graph.ty(param_value));
            if found != expected {
                let message = format!(
                    "result `{}` has type {found}, but donates into parameter `{}` of type {expected}",
                    result.name, param.name
                );
                let location = graph.def(value).location.clone();
                self.fault(
                    Diagnostic::new(location, message)
                        .note_at(graph.def(param_value).location.clone(), "the parameter"),
                );
            }
            if let Some(other) = donors[target].replace(&result.name) {
                let message =
                    format!("results `{other}` and `{}` both donate into parameter `{}`", result.name, param.name);
                self.fault(Diagnostic::new(graph.def(param_value).location.clone(), message));
            }
        }
    }

    /// m2
    fn param_weights(&mut self, func: &Func, module: &Module) {
        for (param, &value) in func.params.iter().zip(func.graph.params()) {
            let Some(name) = &param.weight else { continue };
            let expected = func.graph.ty(value);
            let location = func.graph.def(value).location.clone();
            match module.weights.get(name) {
                None => self.fault(Diagnostic::new(
                    location,
                    format!("parameter `{}` starts from weight @{name}, which the module does not have", param.name),
                )),
                Some(weight) if weight.ty() != *expected => self.fault(Diagnostic::new(
                    location,
                    format!(
                        "parameter `{}` has type {expected}, but its weight @{name} has type {}",
                        param.name,
                        weight.ty()
                    ),
                )),
                Some(_) => {}
            }
        }
    }

    fn graph(&mut self, scope: &Scope) {
        let n_faults = self.n_faults();
        self.tables(scope.graph);
        if self.n_faults() > n_faults {
            return;
        }
        for (node, data) in scope.graph.nodes() {
            self.node(scope, node, data);
        }
    }

    /// g1, g4, g5
    fn tables(&mut self, graph: &Graph) {
        let n_values = graph.n_values();
        let n_params = graph.params().len();
        let mut n_defined = 0usize;
        for (node, data) in graph.nodes() {
            let mut fault = |message: String| {
                self.fault(Diagnostic::new(data.location.clone(), format!("{}: {message}", data.op.mnemonic())));
            };
            for (idx, operand) in data.operands.iter().enumerate() {
                if operand.idx() >= n_defined {
                    fault(format!("operand {idx} is value {}, which is not defined before {node:?}", operand.0));
                }
            }
            let expected_param = node.idx() < n_params;
            match data.op {
                Op::Param(position) if !expected_param || position as usize != node.idx() => {
                    fault(format!("parameter {position} is {node:?}, expected parameters first and in order"));
                }
                Op::Param(_) if graph.params()[node.idx()].idx() != n_defined => {
                    fault(format!("{node:?} is not in the list of parameters"));
                }
                Op::Param(_) => {}
                _ if expected_param => fault(format!("{node:?} stands before a parameter")),
                _ => {}
            }
            let end = n_defined.saturating_add(data.n_results as usize);
            if data.first_result.idx() != n_defined || end > n_values {
                fault(format!("{node:?} has results {}.. of {n_values}", data.first_result.0));
                return;
            }
            for (result_idx, result) in data.results().enumerate() {
                let value = graph.value(result);
                if value.node != node || value.result_idx as usize != result_idx {
                    fault(format!("value {} does not point back at {node:?}", result.0));
                }
            }
            n_defined = end;
        }
        let unknown = Location::unknown();
        if n_defined != n_values || n_params > graph.n_nodes() {
            self.fault(Diagnostic::new(unknown.clone(), "the tables of nodes and values disagree"));
        }
        for result in graph.results() {
            if result.idx() >= n_values {
                self.fault(Diagnostic::new(unknown.clone(), format!("result {} is not defined", result.0)));
            }
        }
    }

    fn node(&mut self, scope: &Scope, node: Node, data: &NodeData) {
        let graph = scope.graph;
        // g6
        for result in data.results() {
            if let Err(message) = graph.ty(result).check_size() {
                self.node_fault(scope, node, message);
                return;
            }
        }
        match &data.op {
            // Parameters are typed where they are declared.
            Op::Param(_) => return,
            Op::Constant(constant) => {
                if let Err(message) = check_constant(constant, scope.module) {
                    self.node_fault(scope, node, message);
                    return;
                }
            }
            _ => {}
        }
        // g3
        let n_faults = self.n_faults();
        if scope.depth >= MAX_REGION_DEPTH && !data.regions.is_empty() {
            self.node_fault(scope, node, format!("regions nest deeper than {MAX_REGION_DEPTH}"));
            return;
        }
        for region in &data.regions {
            self.graph(&Scope { func: None, module: scope.module, graph: region, depth: scope.depth + 1 });
        }
        if self.n_faults() > n_faults {
            return;
        }
        // g2
        let operands: Vec<&TensorType> = data.operands.iter().map(|&operand| graph.ty(operand)).collect();
        match infer(&data.op, &operands, &data.regions) {
            Err(message) => self.node_fault(scope, node, message),
            Ok(expected) => {
                let found: Vec<&TensorType> = data.results().map(|result| graph.ty(result)).collect();
                if found.len() != expected.len() {
                    self.node_fault(scope, node, format!("{} results, expected {}", found.len(), expected.len()));
                    return;
                }
                for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    if *found != expected {
                        let which = if data.n_results == 1 { String::new() } else { format!(" {idx}") };
                        self.node_fault(scope, node, format!("result{which} has type {found}, expected {expected}"));
                    }
                }
            }
        }
    }

    /// A fault of a node. The statement is shown unless the place is a line of text that shows it.
    fn node_fault(&mut self, scope: &Scope, node: Node, message: String) {
        let data = scope.graph.node(node);
        let mut fault = Diagnostic::new(data.location.clone(), format!("{}: {message}", data.op.mnemonic()));
        let is_text = data.location.file.as_deref().is_some_and(|file| file.ends_with(".ir"));
        // Naming values takes a walk through the graph.
        if !is_text && self.faults.len() < MAX_FAULTS {
            let statement = Printer::readable().statement_of(scope.graph, scope.func, node).to_string();
            let first_line = statement.lines().next().unwrap_or_default();
            let place = scope.func.map(|func| format!(" of @{}", func.name)).unwrap_or_default();
            fault = fault.note(format!("in `{first_line}`{place}"));
        }
        self.fault(fault);
    }
}

/// m3, g7
fn check_constant(constant: &Constant, module: Option<&Module>) -> Result<(), String> {
    match constant {
        Constant::Splat { ty, value } => {
            if value.dtype != ty.dtype {
                return Err(format!("the element has type {}, expected that of {ty}", value.dtype));
            }
            let fits = match ty.dtype {
                DType::Bool => value.bits <= 1,
                dtype => dtype.size() == 8 || value.bits >> (8 * dtype.size()) == 0,
            };
            if fits { Ok(()) } else { Err(format!("{:#x} are not the bits of a {}", value.bits, ty.dtype)) }
        }
        Constant::Dense { data, name } => {
            check_data(data)?;
            let weight = name.as_ref().and_then(|name| module?.weights.get(name));
            match (name, weight) {
                (Some(name), Some(weight)) if !is_same(weight, data) => {
                    Err(format!("the elements differ from those of weight @{name}"))
                }
                _ => Ok(()),
            }
        }
    }
}

fn is_same(lhs: &TensorData, rhs: &TensorData) -> bool {
    // Weights are shared: most comparisons end at the address.
    lhs.dtype == rhs.dtype && lhs.shape == rhs.shape && (lhs.bytes.as_ptr() == rhs.bytes.as_ptr() || lhs == rhs)
}

fn check_data(data: &TensorData) -> Result<(), String> {
    let ty = data.ty();
    let expected = ty.bytes().ok_or_else(|| format!("a tensor of type {ty} does not fit into memory"))?;
    if data.bytes.len() != expected {
        return Err(format!("{} bytes of elements, expected {expected} for {ty}", data.bytes.len()));
    }
    if data.dtype == DType::Bool && data.bytes.iter().any(|&byte| byte > 1) {
        return Err("a bool is neither 0 nor 1".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::graph::Value;
    use crate::literal::Scalar;
    use crate::module::{FuncParam, ParamKind};
    use crate::parse::{WeightSource, parse_module};

    /// The faults of `text`, which parses.
    fn faults_of(text: &str) -> Vec<String> {
        let module = parse_module(text, "t.ir", WeightSource::none()).expect("the text parses");
        module.verify().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    fn check(statements: &str, expected: &[&str]) {
        let text = format!("func @f(%x: f32[N, 4], %y: f32[4]) {{\n{statements}\n  return %x\n}}\n");
        assert_eq!(faults_of(&text), expected);
    }

    fn f32s(extents: &[usize]) -> TensorType {
        TensorType::new(DType::F32, crate::types::Shape::fixed(extents))
    }

    #[test]
    fn types_that_were_written_are_checked() {
        check(
            "  %0 = add %x, %y : f32[N, 4]\n  %1 = negate %x : f32[N, 5]\n  %2 = negate %1 : f32[N, 5]",
            &[
                "t.ir:2:3: add: operand `rhs` has type f32[4], expected f32[N, 4] as `lhs`",
                "t.ir:3:3: negate: result has type f32[N, 5], expected f32[N, 4]",
            ],
        );
        check(
            "  %0 = reshape %y : f64[4]\n  %1 = reshape %y : f32[5]\n  %2 = add %y : f32[4]",
            &[
                "t.ir:2:3: reshape: result has type f64[4], expected f32[4]",
                "t.ir:3:3: reshape: operand has type f32[4], which cannot be reshaped to [5]",
                "t.ir:4:3: add: 1 operands, expected 2",
            ],
        );
    }

    #[test]
    fn regions_are_checked() {
        check(
            "  %0 = fusion %y {kind = pointwise} (%p0: f32[4]) {\n    %0 = negate %p0 : f32[5]\n    return %0\n  } : f32[5]
  %1, %2 = fusion %x, %y {kind = row} (%p0: f32[N, 4], %p1: f32[5]) {\n    return %p0, %p1\n  } : f32[N, 4], f32[5]
  %3, %4 = fusion %y {kind = row} (%p0: f32[4]) {\n    return %p0\n  } : f32[4], f32[4]",
            &[
                "t.ir:3:5: negate: result has type f32[5], expected f32[4]",
                "t.ir:6:3: fusion: operand 1 has type f32[4], expected f32[5]",
                "t.ir:9:3: fusion: 2 results, expected 1",
            ],
        );
    }

    #[test]
    fn huge_tensors_are_refused() {
        let mut graph = Graph::new();
        let mut b = Builder::new(&mut graph, Location::unknown());
        let x = b.param(f32s(&[1 << 40]));
        b.param(f32s(&[1; 33]));
        b.dot(x, x, crate::ops::DotAttrs::default()).expect("no rule is broken");
        let messages: Vec<String> =
            graph.verify().expect_err("too large").into_iter().map(|fault| fault.message).collect();
        assert_eq!(
            messages,
            [
                "param: a type has 33 dimensions, expected at most 32",
                "dot_general: a tensor of type f32[1099511627776, 1099511627776] does not fit into memory",
            ]
        );
    }

    #[test]
    fn names_donations_and_weights() {
        let text = "func @f(state %a: f32[4] = @a, state %b: f32[2]) -> (r: f32[4] into %b, r: f32[4] into %a) {
  return %a, %a
}
func @f(%x: f32[4]) -> (p: f32[4] into %x, q: f32[4] into %x) {
  return %x, %x
}
func @g(param %w: f32[4] = @w) {
  return
}
";
        let n_faults = faults_of(text);
        assert_eq!(
            n_faults,
            [
                "t.ir:1:15: there are two results called `r`\n  note: in @f",
                "t.ir:4:9: there are two functions called @f\n  note: in @f",
                "t.ir:4:9: results `p` and `q` both donate into parameter `x`",
                "t.ir:7:15: parameter `w` starts from weight @w, which the module does not have",
            ]
        );
        let text = "func @f(state %a: f32[4], state %b: f32[2]) -> (r: f32[4] into %b) {\n  return %a\n}";
        assert_eq!(
            faults_of(text),
            [
                "t.ir:1:15: result `r` has type f32[4], but donates into parameter `b` of type f32[2]\n  note: t.ir:1:33: the parameter"
            ]
        );
    }

    #[test]
    fn weights_have_the_types_of_what_they_fill() {
        let text =
            "func @f(param %a: f32[4] = @a, param %b: f32[2] = @b) {\n  %0 = constant @b : f32[2]\n  return %0\n}";
        let weights = [("a", vec![2]), ("b", vec![2])]
            .map(|(name, shape)| (name.into(), TensorData::from_f32(shape, &[1.0, 2.0])));
        let mut module = parse_module(text, "t.ir", WeightSource::given(weights.into())).expect("the text parses");
        let faults = module.verify().expect_err("a differs");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].message, "parameter `a` has type f32[4], but its weight @a has type f32[2]");

        module.weights.insert("a".into(), TensorData::from_f32(vec![4], &[0.0; 4]));
        module.weights.insert("b".into(), TensorData::from_f32(vec![2], &[1.0, 3.0]));
        let faults = module.verify().expect_err("b differs");
        assert_eq!(faults[0].message, "constant: the elements differ from those of weight @b");
    }

    #[test]
    fn statements_of_built_graphs_are_shown() {
        let mut graph = Graph::new();
        let x = graph.param(f32s(&[4]), Location::at("model.rs", 1, 1));
        let types = vec![f32s(&[3])];
        graph.push_typed(Op::Negate, &[x], Vec::new(), types, Location::at("model.rs", 2, 5));
        let func = Func {
            name: "f".to_string(),
            params: vec![FuncParam { name: "x".to_string(), kind: ParamKind::Input, weight: None }],
            results: Vec::new(),
            graph,
        };
        let faults = func.verify().expect_err("the type is wrong");
        assert_eq!(
            faults[0].to_string(),
            "model.rs:2:5: negate: result has type f32[3], expected f32[4]\n  note: in `%0 = negate %x : f32[3]` of @f"
        );
    }

    #[test]
    fn broken_tables_are_faults() {
        let ty = f32s(&[4]);
        let mut graph = Graph::new();
        graph.push_typed(Op::Negate, &[Value(7)], Vec::new(), vec![ty.clone()], Location::unknown());
        graph.param(ty.clone(), Location::unknown());
        graph.set_results(vec![Value(9)]);
        let messages: Vec<String> =
            graph.verify().expect_err("everything is wrong").into_iter().map(|fault| fault.message).collect();
        assert_eq!(
            messages,
            [
                "negate: operand 0 is value 7, which is not defined before node0",
                "negate: node0 stands before a parameter",
                "param: parameter 0 is node1, expected parameters first and in order",
                "result 9 is not defined",
            ]
        );
        let mut graph = Graph::new();
        graph.push_typed(Op::Param(0), &[], Vec::new(), vec![ty], Location::unknown());
        assert!(graph.verify().is_err(), "a parameter that is not in the list");
    }

    #[test]
    fn constants_hold_bits_of_their_type() {
        let mut graph = Graph::new();
        let mut b = Builder::new(&mut graph, Location::unknown());
        let bits = |dtype, bits| Constant::Splat { ty: TensorType::scalar(DType::Bool), value: Scalar { dtype, bits } };
        b.constant(bits(DType::Bool, 2));
        b.constant(bits(DType::U8, 1));
        let mut data = TensorData::from_f32(vec![2], &[1.0, 2.0]);
        data.shape = vec![3];
        b.constant(Constant::Dense { data, name: None });
        let messages: Vec<String> =
            graph.verify().expect_err("all are wrong").into_iter().map(|fault| fault.message).collect();
        assert_eq!(
            messages,
            [
                "constant: 0x2 are not the bits of a bool",
                "constant: the element has type u8, expected that of bool[]",
                "constant: 8 bytes of elements, expected 12 for f32[3]",
            ]
        );
    }
}
