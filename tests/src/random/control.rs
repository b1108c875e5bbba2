//! Random loops and branches around random nodes.

use nnc_ir::ops::{CompareDir, ReduceAttrs, ReduceKind, ScanAttrs};
use nnc_ir::{Builder, DType, Graph, Location, Op, Shape, TensorType, Value};

use super::{Mix, Random, add_nodes};

/// Nodes of a region.
const N_NODES: usize = 4;

/// A loop or branch over some of the values, if the try fits; its results.
pub(super) fn random_control(
    random: &mut Random,
    b: &mut Builder<'_>,
    values: &[Value],
    mix: Mix,
) -> Option<Vec<Value>> {
    let mix = Mix { control: mix.control - 1, ..mix };
    match random.below(4) {
        0 => random_cond(random, b, values, mix),
        1 => random_while(random, b, values, mix),
        _ => random_scan(random, b, values, mix),
    }
}

/// Up to `most` of the values that are wanted, at least `least`; some twice.
fn some(random: &mut Random, values: &[Value], least: usize, most: usize) -> Vec<Value> {
    if values.is_empty() {
        return Vec::new();
    }
    (0..least + random.below(most - least + 1)).map(|_| random.pick(values)).collect()
}

fn random_scan(random: &mut Random, b: &mut Builder<'_>, values: &[Value], mix: Mix) -> Option<Vec<Value>> {
    let leading = |b: &Builder<'_>, value: Value| b.ty(value).shape.as_fixed()?.first().copied();
    let carried = some(random, values, 0, 3);
    let first = random.pick(values);
    let (length, scanned) = match leading(b, first) {
        Some(length) if random.below(4) > 0 => {
            let fits: Vec<Value> = values.iter().copied().filter(|&value| leading(b, value) == Some(length)).collect();
            (length, some(random, &fits, 1, 3))
        }
        _ => (random.below(5), Vec::new()),
    };
    let invariants = some(random, values, 0, 2);
    let slice = |b: &Builder<'_>, value: Value| {
        let ty = b.ty(value);
        TensorType { dtype: ty.dtype, shape: Shape(ty.shape.dims()[1..].to_vec()) }
    };
    let carry_types: Vec<TensorType> = carried.iter().map(|&value| b.ty(value).clone()).collect();
    let mut params = carry_types.clone();
    params.extend(scanned.iter().map(|&value| slice(b, value)));
    params.extend(invariants.iter().map(|&value| b.ty(value).clone()));
    let n_outputs = random.below(3) + usize::from(carried.is_empty());
    let body = region(random, &params, &carry_types, n_outputs, mix)?;
    let attrs = ScanAttrs {
        n_carried: carried.len(),
        n_scanned: scanned.len(),
        length: length.into(),
        reverse: random.below(2) == 0,
    };
    b.scan(&[carried, scanned, invariants].concat(), attrs, body).ok()
}

fn random_cond(random: &mut Random, b: &mut Builder<'_>, values: &[Value], mix: Mix) -> Option<Vec<Value>> {
    let pred = truth(random, b, values)?;
    let inputs = some(random, values, 1, 3);
    let params: Vec<TensorType> = inputs.iter().map(|&value| b.ty(value).clone()).collect();
    let results: Vec<TensorType> = params[..1 + random.below(params.len())].to_vec();
    let on_true = region(random, &params, &results, 0, mix)?;
    let on_false = region(random, &params, &results, 0, mix)?;
    b.cond(&[&[pred], inputs.as_slice()].concat(), on_true, on_false).ok()
}

/// A loop that counts to a small number.
fn random_while(random: &mut Random, b: &mut Builder<'_>, values: &[Value], mix: Mix) -> Option<Vec<Value>> {
    let inputs = some(random, values, 1, 3);
    let counter = TensorType::scalar(DType::I32);
    let mut params = vec![counter];
    params.extend(inputs.iter().map(|&value| b.ty(value).clone()));
    let limit = random.below(5);
    let number = |b: &mut Builder<'_>, number: usize| b.scalar(DType::I32, number as f64);
    let mut condition = Graph::new();
    let at = params.iter().map(|ty| condition.param(ty.clone(), Location::unknown())).collect::<Vec<_>>()[0];
    let mut inner = Builder::new(&mut condition, Location::unknown());
    let limit = number(&mut inner, limit).ok()?;
    let goes_on = inner.compare(CompareDir::Lt, at, limit).ok()?;
    condition.set_results(vec![goes_on]);
    let mut body = region(random, &params, &params[1..], 0, mix)?;
    let at = body.params()[0];
    let mut inner = Builder::new(&mut body, Location::unknown());
    let one = number(&mut inner, 1).ok()?;
    let next = inner.add(at, one).ok()?;
    let results = [&[next], body.results()].concat();
    body.set_results(results);
    let first = number(b, 0).ok()?;
    b.while_loop(&[&[first], inputs.as_slice()].concat(), condition, body).ok()
}

/// Some `bool[]`.
fn truth(random: &mut Random, b: &mut Builder<'_>, values: &[Value]) -> Option<Value> {
    let ready: Vec<Value> =
        values.iter().copied().filter(|&value| *b.ty(value) == TensorType::scalar(DType::Bool)).collect();
    if !ready.is_empty() && random.below(2) == 0 {
        return Some(random.pick(&ready));
    }
    let numbers: Vec<Value> = values.iter().copied().filter(|&value| b.dtype(value) != DType::Bool).collect();
    if numbers.is_empty() {
        return None;
    }
    let value = random.pick(&numbers);
    let dims = (0..b.ty(value).rank()).collect();
    let most = b.op(Op::Reduce(ReduceAttrs { kind: ReduceKind::Max, dims }), &[value]).ok()?;
    let bound = b.splat_like(most, 1.0).ok()?;
    b.compare(random.pick(&CompareDir::ALL), most, bound).ok()
}

/// A graph of random nodes with parameters of given types, which gives values of the given types and `n_others` more.
fn region(
    random: &mut Random,
    params: &[TensorType],
    results: &[TensorType],
    n_others: usize,
    mix: Mix,
) -> Option<Graph> {
    let mut graph = Graph::new();
    let mut values: Vec<Value> = params.iter().map(|ty| graph.param(ty.clone(), Location::unknown())).collect();
    if values.is_empty() {
        return None;
    }
    let n_nodes = 1 + random.below(N_NODES);
    add_nodes(random, &mut graph, &mut values, n_nodes, mix);
    let mut given = Vec::new();
    for ty in results {
        let fitting: Vec<Value> = values.iter().copied().filter(|&value| graph.ty(value) == ty).collect();
        // New values, and the same ones for carries and outputs, are what loops are made of.
        let last = *fitting.last()?;
        given.push(if random.below(3) == 0 { random.pick(&fitting) } else { last });
    }
    for _ in 0..n_others {
        given.push(if given.is_empty() || random.below(2) == 0 { random.pick(&values) } else { random.pick(&given) });
    }
    graph.set_results(given);
    Some(graph)
}
