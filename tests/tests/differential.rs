//! Random graphs on every device: each compiled op against the interpreter, on the compiled operands; and all ways of
//! compiling and running the whole graph (tiers, fusion, threads, the emulated GPU) against each other, bit by bit.
//!
//! `NNC_CASES=10000` runs longer, on other graphs each time than the few of an ordinary run.

use nnc_ir::compare::check_result;
use nnc_ir::interp::eval_func;
use nnc_ir::{Bindings, Func, Op};
use nnc_tests::execute::{Tensors, Way, Weights, check_ways, cpu_ways, gpu_ways, run};
use nnc_tests::random::{Mix, expose_all, random_func, random_func_of, random_inputs};
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestCaseError, TestRunner};

/// Cases of an ordinary run.
const CASES: u32 = 60;

#[test]
fn small_graphs() {
    check_many(1..=8, &check);
}

#[test]
fn larger_graphs() {
    check_many(20..=30, &check);
}

#[test]
fn loops_and_branches() {
    check_many(5..=9, &|seed, n_nodes| {
        check_control(seed, n_nodes, Mix::CONTROL)?;
        check_control(seed, n_nodes, Mix::EXACT_CONTROL)
    });
}

fn check_many(n_nodes: std::ops::RangeInclusive<usize>, check: &dyn Fn(u64, usize) -> Result<(), String>) {
    let cases = std::env::var("NNC_CASES").ok().map(|text| text.parse().expect("NNC_CASES is a number"));
    let rng_seed = if cases.is_some() { RngSeed::Random } else { RngSeed::Fixed(*n_nodes.end() as u64) };
    let cases = cases.unwrap_or(CASES / (1 + *n_nodes.start() as u32 / 5));
    let config = Config {
        cases,
        rng_seed,
        rng_algorithm: RngAlgorithm::ChaCha,
        failure_persistence: None,
        // Seeds do not shrink, sizes do, in a few halvings.
        max_shrink_iters: 60,
        ..Config::default()
    };
    let strategy = (proptest::num::u64::ANY, n_nodes);
    let outcome = TestRunner::new(config).run(&strategy, |(seed, n_nodes)| {
        check(seed, n_nodes).map_err(|why| TestCaseError::fail(format!("seed {seed}, {n_nodes} nodes: {why}")))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn check(seed: u64, n_nodes: usize) -> Result<(), String> {
    let func = random_func(seed, n_nodes);
    let fail = |why: String| format!("{why}\n{func}");
    func.verify().map_err(|faults| fail(format!("{faults:?}")))?;
    let inputs = random_inputs(&func, seed);
    check_ops(&func, &inputs).map_err(fail)?;
    let ways: Vec<Way> = cpu_ways().into_iter().chain(gpu_ways()).collect();
    check_ways(&func, &Weights::new(), &inputs, &Bindings::new(), &ways, None, None).map_err(fail)?;
    Ok(())
}

/// A function with loops and branches in all ways; against the interpreter where no result is rounded.
fn check_control(seed: u64, n_nodes: usize, mix: Mix) -> Result<(), String> {
    let func = random_func_of(seed, n_nodes, mix);
    let fail = |why: String| format!("{why}\n{func}");
    func.verify().map_err(|faults| fail(format!("{faults:?}")))?;
    let inputs = random_inputs(&func, seed);
    let ways: Vec<Way> = cpu_ways().into_iter().chain(gpu_ways()).collect();
    let expected = match mix.is_exact() {
        true => {
            let values = eval_func(&func, &Weights::new(), &inputs, &Bindings::new());
            let values = values.map_err(|faults| fail(format!("{faults:?}")))?;
            Some(values.into_iter().map(|(name, value)| (name.to_string(), value)).collect::<Tensors>())
        }
        false => None,
    };
    check_ways(&func, &Weights::new(), &inputs, &Bindings::new(), &ways, expected.as_ref(), Some(0.0)).map_err(fail)?;
    Ok(())
}

/// Compiles every node alone and holds its value against the interpreter's on the same operands.
fn check_ops(func: &Func, inputs: &Tensors) -> Result<(), String> {
    let all = expose_all(func);
    let way = &cpu_ways()[2];
    assert!(!way.fuse, "every node is compiled");
    let values =
        run(&all, &Weights::new(), inputs, &Bindings::new(), way).map_err(|error| format!("{way}: {error}"))?;
    let exposed: std::collections::HashMap<_, _> = all.graph.results().iter().copied().zip(values.values()).collect();
    for (_, data) in func.graph.nodes() {
        if matches!(data.op, Op::Param(_)) {
            continue;
        }
        let operands: Vec<_> = data.operands.iter().map(|operand| exposed[operand]).collect();
        let Some(found) = data.results().next().map(|result| exposed[&result]) else { continue };
        let checked = check_result(&data.op, &operands, found).map_err(|error| format!("{error:?}"))?;
        checked.map_err(|mismatch| format!("{}: {mismatch}", data.op.mnemonic()))?;
    }
    Ok(())
}
