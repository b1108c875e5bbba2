//! Random graphs through the whole pipeline: every pass leaves a valid function of the same value, fusion changes no
//! bit, and running by the memory plan, in real buffers, gives the value that the graph has.

use std::collections::BTreeMap;

use nnc_ir::interp::{eval, eval_graph};
use nnc_ir::ops::{CompareDir, DotAttrs, FusionKind, IotaAttrs, ReduceAttrs, ReduceKind, SliceAttrs, Trait};
use nnc_ir::{
    Builder, Constant, DType, Func, FuncParam, FuncResult, Graph, Location, Node, Op, ParamKind, Scalar, Shape,
    TensorData, TensorType, Value,
};
use nnc_passes::fuse::check_region;
use nnc_passes::pipeline::{OptLevel, PassManager, pipeline};
use nnc_passes::plan_memory::{LaunchFacts, MemoryPlan, Place, Step, plan_memory};

/// A linear congruential generator (Knuth's MMIX): the same graphs on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn tensor(&mut self, ty: &TensorType) -> TensorData {
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
fn random_func(seed: u64, n_nodes: usize) -> Func {
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
fn random_node(random: &mut Random, b: &mut Builder<'_>, values: &[Value]) -> Option<Value> {
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
    match random.below(18) {
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
        _ => None,
    }
}

/// The data with every NaN the same: which of two NaNs an op passes on is no part of its meaning.
fn normalized(data: &TensorData) -> TensorData {
    let scalars = data.scalars().map(|scalar| match scalar.to_f64().is_nan() {
        true => Scalar::from_f64(scalar.dtype, f64::NAN),
        false => scalar,
    });
    TensorData::from_scalars(data.dtype, data.shape.clone(), scalars.collect::<Vec<_>>())
}

fn value_of(func: &Func, inputs: &[TensorData]) -> Vec<TensorData> {
    eval_graph(&func.graph, inputs).expect("the function has a value").iter().map(normalized).collect()
}

/// An elementwise launch may work in place; so may a pointwise fusion without views.
fn facts(func: &Func, node: Node) -> LaunchFacts {
    let data = func.graph.node(node);
    let is_aligned = match &data.op {
        Op::Fusion(FusionKind::Pointwise) => {
            data.regions[0].nodes().all(|(_, data)| data.op.has(Trait::Elementwise) || data.op.has(Trait::Leaf))
        }
        op => op.has(Trait::Elementwise),
    };
    let mut in_place = Vec::new();
    for (operand_idx, &operand) in data.operands.iter().enumerate() {
        for (result_idx, result) in data.results().enumerate() {
            if is_aligned && func.graph.ty(operand).bytes() == func.graph.ty(result).bytes() {
                in_place.push((operand_idx, result_idx));
            }
        }
    }
    // Some scratch, to be kept apart.
    LaunchFacts { in_place, scratch: if node.0.is_multiple_of(3) { vec![64, 200] } else { Vec::new() } }
}

/// The memory of a run.
struct Memory {
    params: Vec<Vec<u8>>,
    results: Vec<Vec<u8>>,
    constants: BTreeMap<Node, Vec<u8>>,
    arena: Vec<u8>,
}

impl Memory {
    fn read(&self, place: Place, bytes: usize) -> Vec<u8> {
        match place {
            Place::Param(idx) => self.params[idx as usize][..bytes].to_vec(),
            Place::Result(idx) => self.results[idx as usize][..bytes].to_vec(),
            Place::Constant(node) => self.constants[&node][..bytes].to_vec(),
            Place::Arena(offset) => self.arena[offset as usize..offset as usize + bytes].to_vec(),
        }
    }

    fn write(&mut self, place: Place, data: &[u8]) {
        let target = match place {
            Place::Param(idx) => &mut self.params[idx as usize][..data.len()],
            Place::Result(idx) => &mut self.results[idx as usize][..data.len()],
            Place::Constant(_) => panic!("constants are not written"),
            Place::Arena(offset) => &mut self.arena[offset as usize..offset as usize + data.len()],
        };
        target.copy_from_slice(data);
    }
}

/// Runs the function step by step in the places of its plan.
fn run_by_plan(func: &Func, plan: &MemoryPlan, inputs: &[TensorData]) -> Vec<TensorData> {
    let graph = &func.graph;
    let bytes = |value: Value| graph.ty(value).bytes().expect("shapes are fixed");
    let mut memory = Memory {
        params: inputs.iter().map(|input| input.bytes.to_vec()).collect(),
        results: graph.results().iter().map(|&result| vec![0xab; bytes(result)]).collect(),
        constants: BTreeMap::new(),
        arena: vec![0xcd; plan.arena_bytes as usize],
    };
    for (node, data) in graph.nodes() {
        if let Op::Constant(_) = data.op {
            let value = eval(&data.op, &[], &[]).expect("constants have a value");
            memory.constants.insert(node, value[0].bytes.to_vec());
        }
    }
    let load = |memory: &Memory, value: Value| {
        let ty = graph.ty(value);
        let place = plan.places[value.idx()].expect("what is read has a place");
        TensorData::new(ty.dtype, ty.shape.as_fixed().expect("fixed"), memory.read(place, bytes(value)))
    };
    for step in &plan.steps {
        match *step {
            Step::Launch(node) => {
                let data = graph.node(node);
                let operands: Vec<TensorData> = data.operands.iter().map(|&operand| load(&memory, operand)).collect();
                for place in plan.scratch.get(&node).into_iter().flatten() {
                    memory.write(*place, &[0xee; 64]);
                }
                // Scratch that overlapped an operand would show here.
                let again: Vec<TensorData> = data.operands.iter().map(|&operand| load(&memory, operand)).collect();
                assert_eq!(operands, again, "scratch of {} overlaps an operand", data.op.mnemonic());
                let values =
                    eval(&data.op, &operands.iter().collect::<Vec<_>>(), &data.regions).expect("ops have a value");
                for (result, value) in data.results().zip(values) {
                    memory.write(plan.places[result.idx()].expect("results have a place"), &value.bytes);
                }
            }
            Step::Copy { value, from, to } => {
                let data = memory.read(from, bytes(value));
                memory.write(to, &data);
            }
        }
    }
    let results = graph.results().iter().zip(&plan.results).map(|(&result, &place)| {
        let ty = graph.ty(result);
        normalized(&TensorData::new(ty.dtype, ty.shape.as_fixed().expect("fixed"), memory.read(place, bytes(result))))
    });
    results.collect()
}

fn check(seed: u64, n_nodes: usize) {
    let func = random_func(seed, n_nodes);
    func.verify().expect("the random function is valid");
    let mut random = Random(seed);
    let inputs: Vec<TensorData> =
        func.graph.params().iter().map(|&param| random.tensor(func.graph.ty(param))).collect();
    let expected = value_of(&func, &inputs);

    let mut clean = None;
    let mut manager = PassManager::new();
    manager.verify_each = Some(Func::verify);
    manager.observer = Some(Box::new(|pass, func| {
        assert_eq!(value_of(func, &inputs), expected, "seed {seed}: {pass} changed the value");
        if pass != "fuse" {
            clean = Some(func.clone());
        }
    }));
    let fused = manager.run(&func, &pipeline(OptLevel::default())).expect("every pass succeeds");
    drop(manager);
    for (_, data) in fused.graph.nodes() {
        if let Op::Fusion(kind) = data.op {
            check_region(kind, &data.regions[0]).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        }
    }
    for func in [&clean.expect("passes ran"), &fused] {
        let plan = plan_memory(func, &|node| facts(func, node));
        assert!(plan.arena_bytes >= plan.lower_bound());
        assert_eq!(run_by_plan(func, &plan, &inputs), expected, "seed {seed}: by plan\n{}", plan.report(func));
    }
}

#[test]
fn small_graphs() {
    (0..400).for_each(|seed| check(seed, 8));
}

#[test]
fn larger_graphs() {
    (1000..1150).for_each(|seed| check(seed, 40));
}

#[test]
fn constants_alone_fold_away() {
    let mut graph = Graph::new();
    let x = graph.param(TensorType::new(DType::F32, [4]), Location::unknown());
    let mut b = Builder::new(&mut graph, Location::unknown());
    let two = b.splat_like(x, 2.0).expect("fits");
    let four = b.multiply(two, two).expect("fits");
    graph.set_results(vec![four]);
    let folded = nnc_passes::const_fold::const_fold(&graph).expect("folds");
    assert!(matches!(folded.def_op(folded.results()[0]), Op::Constant(Constant::Splat { .. })));
}
