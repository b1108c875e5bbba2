//! Random functions: small shapes, long chains, results that donate.

use nnc_ir::ops::{
    CompareDir, CumulativeAttrs, DotAttrs, IotaAttrs, ReduceAttrs, ReduceKind, ReduceWindowAttrs, SliceAttrs, SortAttrs,
};
use nnc_ir::{
    Builder, DType, Func, FuncParam, FuncResult, Graph, Location, Op, ParamKind, Scalar, Shape, TensorData, TensorType,
    Value,
};

/// A linear congruential generator (Knuth's MMIX): the same graphs on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    pub(crate) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    pub(crate) fn tensor(&mut self, ty: &TensorType) -> TensorData {
        let shape = ty.shape.as_fixed().expect("shapes are fixed");
        let n_elements = shape.iter().product();
        // Eighths: sums and products of a few stay exact, zeros and ties are frequent.
        let scalars: Vec<Scalar> = (0..n_elements)
            .map(|_| match ty.dtype {
                DType::F32 => Scalar::from_f64(DType::F32, (self.below(33) as f64 - 16.0) / 8.0),
                DType::Bool => Scalar::from_f64(DType::Bool, self.below(2) as f64),
                dtype => Scalar::from_f64(dtype, self.below(5) as f64),
            })
            .collect();
        TensorData::from_scalars(ty.dtype, shape, scalars)
    }
}

const SHAPES: [&[usize]; 7] = [&[], &[4], &[6], &[4, 6], &[6, 4], &[4, 4], &[2, 4, 6]];

/// A function of `n_nodes` random nodes, some results of which donate into parameters.
pub(crate) fn random_func(seed: u64, n_nodes: usize) -> Func {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let mut graph = Graph::new();
    let n_params = 2 + random.below(4);
    for _ in 0..n_params {
        let shape = random.pick(&SHAPES);
        graph.param(TensorType::new(DType::F32, Shape::fixed(shape)), Location::unknown());
    }
    let mut values: Vec<Value> = graph.params().to_vec();
    while graph.n_nodes() < n_params + n_nodes {
        let mut b = Builder::new(&mut graph, Location::unknown());
        if let Some(value) = random_node(random, &mut b, &values) {
            values.push(value);
        }
    }
    let n_results = 1 + random.below(4);
    let mut results: Vec<Value> =
        (0..n_results).map(|_| values[values.len() - 1 - random.below(values.len().min(8))]).collect();
    let mut donated = Vec::new();
    let mut described = Vec::new();
    for (idx, result) in results.iter_mut().enumerate() {
        if random.below(12) == 0 {
            *result = random.pick(graph.params());
        }
        let fits = |param: &usize| graph.ty(graph.params()[*param]) == graph.ty(*result) && !donated.contains(param);
        let donates = (0..n_params).find(fits).filter(|_| random.below(3) > 0);
        donated.extend(donates);
        described.push(FuncResult { name: format!("r{idx}"), donates: donates.map(|param| param as u32) });
    }
    graph.set_results(results);
    let params = (0..n_params).map(|idx| FuncParam { name: format!("p{idx}"), kind: ParamKind::State, weight: None });
    Func { name: "random".to_string(), params: params.collect(), results: described, graph }
}

/// One more node on values of the graph, if the first try fits.
pub(crate) fn random_node(random: &mut Random, b: &mut Builder<'_>, values: &[Value]) -> Option<Value> {
    // Recent values are picked more often, so that chains grow long.
    let pick = |random: &mut Random| match random.below(2) {
        0 => values[values.len() - 1 - random.below(values.len().min(4))],
        _ => random.pick(values),
    };
    let x = pick(random);
    let ty = b.ty(x).clone();
    let rank = ty.rank();
    let same = |random: &mut Random, b: &Builder<'_>, ty: &TensorType| {
        let fitting: Vec<Value> = values.iter().copied().filter(|&value| b.ty(value) == ty).collect();
        (!fitting.is_empty()).then(|| random.pick(&fitting))
    };
    if ty.dtype == DType::Bool {
        let of = TensorType { dtype: DType::F32, shape: ty.shape.clone() };
        return match random.below(3) {
            0 => b.not(x).ok(),
            1 => b.convert(x, DType::F32).ok(),
            _ => {
                let on_true = same(random, b, &of)?;
                let on_false = same(random, b, &of)?;
                b.select(x, on_true, on_false).ok()
            }
        };
    }
    match random.below(22) {
        0 => b.negate(x).ok(),
        1 => b.abs(x).ok(),
        2 => b.tanh(x).ok(),
        3..=6 => {
            let y = same(random, b, &ty)?;
            let op = random.pick(&[Op::Add, Op::Subtract, Op::Multiply, Op::Maximum, Op::Minimum]);
            b.op(op, &[x, y]).ok()
        }
        7 | 8 => {
            let number = random.pick(&[0.0, -0.0, 1.0, 2.0, 0.5]);
            let constant = b.splat_like(x, number).ok()?;
            let op = random.pick(&[Op::Add, Op::Subtract, Op::Multiply, Op::Maximum, Op::Divide]);
            b.op(op, &[x, constant]).ok()
        }
        9 => {
            let y = same(random, b, &ty)?;
            b.compare(random.pick(&CompareDir::ALL), x, y).ok()
        }
        10 | 11 if rank > 0 => {
            let dims = match random.below(3) {
                0 if rank > 1 => vec![rank - 2, rank - 1],
                1 => vec![0],
                _ => vec![rank - 1],
            };
            let kind = random.pick(&[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min]);
            b.op(Op::Reduce(ReduceAttrs { kind, dims }), &[x]).ok()
        }
        12 | 13 => {
            let shape = random.pick(&SHAPES);
            let dims: Vec<usize> = match shape.len().checked_sub(rank)? {
                0 => return None,
                offset => match random.below(2) {
                    0 => (0..rank).collect(),
                    _ => (offset..shape.len()).collect(),
                },
            };
            b.broadcast_in_dim(x, Shape::fixed(shape), &dims).ok()
        }
        14 if rank > 1 => {
            let permutation: Vec<usize> = (0..rank).rev().collect();
            b.transpose(x, &permutation).ok()
        }
        15 => {
            let n_elements = ty.n_elements()?;
            let fitting: Vec<&[usize]> =
                SHAPES.iter().copied().filter(|shape| shape.iter().product::<usize>() == n_elements).collect();
            let shape = (!fitting.is_empty()).then(|| random.pick(&fitting))?;
            b.reshape(x, Shape::fixed(shape)).ok()
        }
        16 if rank == 2 => {
            let y = random.pick(values);
            let attrs = DotAttrs {
                lhs_contract: vec![random.below(2)],
                rhs_contract: vec![random.below(2)],
                ..DotAttrs::default()
            };
            let product = b.dot(x, y, attrs).ok()?;
            // Only shapes that other values have.
            let shape = b.shape(product).as_fixed()?;
            SHAPES.contains(&shape.as_slice()).then_some(product)
        }
        17 if rank > 0 => match random.below(3) {
            0 => b.reverse(x, &[rank - 1]).ok(),
            1 if *b.shape(x) == Shape::fixed(&[6]) => {
                let attrs = SliceAttrs { start: vec![1.into()], limit: vec![5.into()], stride: vec![1] };
                b.slice(x, attrs).ok()
            }
            _ => {
                let ty = TensorType { dtype: DType::F32, shape: ty.shape.clone() };
                let iota = b.op(Op::Iota(IotaAttrs { ty, dim: 0 }), &[]).ok()?;
                b.add(x, iota).ok()
            }
        },
        18 if rank > 0 => {
            let attrs = windows(random, &ty.shape);
            b.reduce_window(x, attrs).ok()
        }
        19 if rank > 0 => {
            let attrs = windows(random, &ty.shape).with_kind(random.pick(&[ReduceKind::Max, ReduceKind::Min]));
            let source = same(random, b, &ty)?;
            b.select_and_scatter(x, source, attrs).ok()
        }
        20 if rank > 0 => {
            let kind = random.pick(&[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min]);
            b.cumulative(x, CumulativeAttrs { kind, dim: random.below(rank), reverse: random.below(2) == 0 }).ok()
        }
        21 if rank > 0 => {
            let y = same(random, b, &ty)?;
            let attrs = SortAttrs { dim: random.below(rank), descending: random.below(2) == 0 };
            let sorted = b.sort(&[x, y], attrs).ok()?;
            Some(random.pick(&sorted))
        }
        _ => None,
    }
}

/// Windows of three along some dimensions of an operand, as many as it has elements.
fn windows(random: &mut Random, shape: &Shape) -> ReduceWindowAttrs {
    let kind = random.pick(&[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min]);
    let mut attrs = ReduceWindowAttrs::plain(kind, shape.rank());
    for dim in 0..shape.rank() {
        if random.below(2) == 0 {
            (attrs.window[dim], attrs.padding[dim]) = (3, random.pick(&[(1, 1), (2, 0), (0, 2)]));
        }
    }
    attrs
}
