//! Random graphs through the whole pipeline: every pass leaves a valid function of the same value, fusion changes no
//! bit, and running by the memory plan, in real buffers, gives the value that the graph has.

use std::collections::BTreeMap;

use nnc_ir::interp::{eval, eval_graph};
use nnc_ir::ops::{FusionKind, Trait};
use nnc_ir::{Builder, Constant, DType, Func, Graph, Location, Node, Op, Scalar, TensorData, TensorType, Value};
use nnc_passes::fuse::check_region;
use nnc_passes::pipeline::{OptLevel, PassManager, pipeline};
use nnc_passes::plan_memory::{Facts, LaunchFacts, MemoryPlan, Place, Step, plan_memory};

#[path = "random/control.rs"]
mod control;
#[path = "random/generator.rs"]
mod generator;
#[path = "random/loops.rs"]
mod loops;
#[path = "random/unroll.rs"]
mod unroll;

use generator::{Random, random_func, random_node};

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
fn facts(graph: &Graph, node: Node) -> LaunchFacts {
    let data = graph.node(node);
    let is_aligned = match &data.op {
        Op::Fusion(FusionKind::Pointwise) => {
            data.regions[0].nodes().all(|(_, data)| data.op.has(Trait::Elementwise) || data.op.has(Trait::Leaf))
        }
        op => op.has(Trait::Elementwise),
    };
    let mut in_place = Vec::new();
    for (operand_idx, &operand) in data.operands.iter().enumerate() {
        for (result_idx, result) in data.results().enumerate() {
            if is_aligned && graph.ty(operand).bytes() == graph.ty(result).bytes() {
                in_place.push((operand_idx, result_idx));
            }
        }
    }
    // Some scratch, to be kept apart.
    let scratch = if node.0.is_multiple_of(3) { vec![64, 200] } else { Vec::new() };
    LaunchFacts { in_place, scratch, ..LaunchFacts::default() }
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
        let plan = plan_memory(func, &Facts::of(&func.graph, &facts));
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
