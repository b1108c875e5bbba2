//! Random functions with loops and branches, nested.

use nnc_ir::ops::{CompareDir, ScanAttrs};
use nnc_ir::{Builder, DType, Func, FuncParam, FuncResult, Graph, Location, ParamKind, Shape, TensorType, Value};

use super::{Random, random_node};

/// Regions nest this deep.
const MAX_DEPTH: usize = 2;

/// A function of `f32` parameters and random nodes, loops and branches among them.
pub(crate) fn random_func(seed: u64, n_nodes: usize) -> Func {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1405_7b7e_f767_814f);
    let shapes: [&[usize]; 5] = [&[], &[4], &[4, 6], &[4, 4], &[2, 4, 6]];
    let types: Vec<TensorType> = (0..3 + random.below(3)).map(|_| f32s(random.pick(&shapes))).collect();
    let (mut graph, values) = random_graph(random, &types, n_nodes, 0);
    let results: Vec<Value> =
        (0..1 + random.below(4)).map(|_| values[values.len() - 1 - random.below(values.len().min(8))]).collect();
    graph.set_results(results);
    let param = |idx| FuncParam { name: format!("p{idx}"), kind: ParamKind::Input, weight: None };
    let result = |idx| FuncResult { name: format!("r{idx}"), donates: None };
    Func {
        name: "random".to_string(),
        params: (0..types.len()).map(param).collect(),
        results: (0..graph.results().len()).map(result).collect(),
        graph,
    }
}

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::fixed(shape))
}

/// A graph of these parameters, with its values, the parameters first.
fn random_graph(random: &mut Random, types: &[TensorType], n_nodes: usize, depth: usize) -> (Graph, Vec<Value>) {
    let mut graph = Graph::new();
    let mut values: Vec<Value> = types.iter().map(|ty| graph.param(ty.clone(), Location::unknown())).collect();
    for _ in 0..n_nodes {
        let mut b = Builder::new(&mut graph, Location::unknown());
        if values.is_empty() {
            values.push(b.splat(f32s(&[4]), 1.5).expect("a constant"));
        } else if depth < MAX_DEPTH && random.below(5) == 0 {
            values.extend(random_control(random, &mut b, &values, depth));
        } else {
            values.extend(random_node(random, &mut b, &values));
        }
    }
    (graph, values)
}

/// One of `values` of type `ty`; the last ones are picked more often.
fn of_type(random: &mut Random, graph: &Graph, values: &[Value], ty: &TensorType) -> Option<Value> {
    let fitting: Vec<Value> = values.iter().copied().filter(|&value| graph.ty(value) == ty).collect();
    let recent = &fitting[fitting.len().saturating_sub(3)..];
    (!fitting.is_empty()).then(|| if random.below(3) > 0 { random.pick(recent) } else { random.pick(&fitting) })
}

/// A loop or branch on some of `values`.
fn random_control(random: &mut Random, b: &mut Builder<'_>, values: &[Value], depth: usize) -> Vec<Value> {
    let some = |random: &mut Random, n: usize| -> Vec<Value> { (0..n).map(|_| random.pick(values)).collect() };
    let types = |b: &Builder<'_>, values: &[Value]| -> Vec<TensorType> {
        values.iter().map(|&value| b.ty(value).clone()).collect()
    };
    match random.below(5) {
        0 => {
            let n_inputs = 1 + random.below(3);
            let inputs = some(random, n_inputs);
            let types = types(b, &inputs);
            let (mut on_true, true_values) = random_graph(random, &types, 4, depth + 1);
            let (mut on_false, false_values) = random_graph(random, &types, 4, depth + 1);
            let mut results = (Vec::new(), Vec::new());
            for _ in 0..1 + random.below(3) {
                let value = random.pick(&true_values);
                if let Some(other) = of_type(random, &on_false, &false_values, on_true.ty(value)) {
                    results.0.push(value);
                    results.1.push(other);
                }
            }
            if results.0.is_empty() {
                return Vec::new();
            }
            on_true.set_results(results.0);
            on_false.set_results(results.1);
            let pred = random_pred(random, b, values);
            b.cond(&[&[pred], inputs.as_slice()].concat(), on_true, on_false).expect("fits")
        }
        1 => {
            // Counts to a number of steps.
            let n_inputs = random.below(3);
            let inputs = some(random, n_inputs);
            let zero = b.scalar(DType::I32, 0.0).expect("a constant");
            let inputs = [&[zero], inputs.as_slice()].concat();
            let types = types(b, &inputs);
            let (mut condition, _) = random_graph(random, &types, 0, depth + 1);
            let mut test = Builder::new(&mut condition, Location::unknown());
            let limit = test.scalar(DType::I32, random.below(4) as f64).expect("a constant");
            let count = test.graph().params()[0];
            let holds = test.compare(CompareDir::Lt, count, limit).expect("fits");
            condition.set_results(vec![holds]);
            let (mut body, inner) = random_graph(random, &types[1..], 4, depth + 1);
            body = with_counter(&body);
            // The counter's parameter is the first now, and every other value stands one further on.
            let inner: Vec<Value> = inner.into_iter().map(|value| Value(value.0 + 1)).collect();
            let mut step = Builder::new(&mut body, Location::unknown());
            let one = step.scalar(DType::I32, 1.0).expect("a constant");
            let next = step.add(Value(0), one).expect("fits");
            let carries = types[1..].iter().map(|ty| of_type(random, &body, &inner, ty).expect("a parameter fits"));
            let carries: Vec<Value> = carries.collect();
            body.set_results([&[next], carries.as_slice()].concat());
            b.while_loop(&inputs, condition, body).expect("fits")[1..].to_vec()
        }
        _ => {
            let length = random.pick(&[4usize, 4, 2, 6, 1, 0]);
            let n_carried = random.below(3);
            let carried = some(random, n_carried);
            let stacks: Vec<Value> =
                values.iter().copied().filter(|&value| b.shape(value).dims().first() == Some(&length.into())).collect();
            let n_scanned = if stacks.is_empty() { 0 } else { random.below(3) };
            let scanned: Vec<Value> = (0..n_scanned).map(|_| random.pick(&stacks)).collect();
            let n_invariant = random.below(3);
            let invariant = some(random, n_invariant);
            let slice = |ty: &TensorType| TensorType::new(ty.dtype, ty.shape.0[1..].to_vec());
            let mut inner_types = types(b, &carried);
            inner_types.extend(types(b, &scanned).iter().map(slice));
            inner_types.extend(types(b, &invariant));
            let (mut body, inner) = random_graph(random, &inner_types, 5, depth + 1);
            let mut results: Vec<Value> = inner_types[..n_carried]
                .iter()
                .map(|ty| of_type(random, &body, &inner, ty).expect("a parameter fits"))
                .collect();
            for _ in 0..random.below(3) {
                results.extend(inner.last().map(|_| random.pick(&inner)));
            }
            if results.is_empty() {
                return Vec::new();
            }
            body.set_results(results);
            let attrs = ScanAttrs { n_carried, n_scanned, length: length.into(), reverse: random.below(2) == 0 };
            let found = b.scan(&[carried, scanned, invariant].concat(), attrs, body).expect("fits");
            found.into_iter().filter(|&value| b.shape(value).rank() <= 3).collect()
        }
    }
}

/// The graph with an `i32[]` parameter in front.
fn with_counter(graph: &Graph) -> Graph {
    let mut counted = Graph::new();
    counted.param(TensorType::scalar(DType::I32), Location::unknown());
    for &param in graph.params() {
        counted.param(graph.ty(param).clone(), Location::unknown());
    }
    let params = counted.params()[1..].to_vec();
    let results = nnc_passes::inline::splice(graph, &params, &mut counted);
    counted.set_results(results);
    counted
}

/// Some truth value, sometimes a known one.
fn random_pred(random: &mut Random, b: &mut Builder<'_>, values: &[Value]) -> Value {
    let scalars: Vec<Value> = values.iter().copied().filter(|&value| *b.ty(value) == f32s(&[])).collect();
    if scalars.is_empty() || random.below(6) == 0 {
        return b.scalar(DType::Bool, random.below(2) as f64).expect("a constant");
    }
    let x = random.pick(&scalars);
    let zero = b.scalar(DType::F32, 0.0).expect("a constant");
    b.compare(CompareDir::Gt, x, zero).expect("fits")
}
