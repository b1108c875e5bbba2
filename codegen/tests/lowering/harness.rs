//! Runs functions node by node, lowered and interpreted.

use std::sync::Arc;

use crate::support;
use nnc_codegen::kernel::{Kernel, interp};

use nnc_codegen::lower::{Arg, Lowered, Options, lower};
use nnc_codegen::target::Target;
use nnc_ir::compare::{Allowance, assert_close, check_result};
use nnc_ir::{DType, Graph, Node, Op, Scalar, TensorData, TensorType, Value, interp as ir_interp, parse_func};

/// A small generator of repeatable numbers.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mixed = self.0 ^ (self.0 >> 33);
        mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 11
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A tensor of moderate numbers, some of them equal, with a few signs and zeros.
    pub(crate) fn tensor(&mut self, ty: &TensorType) -> TensorData {
        let shape = ty.shape.as_fixed().expect("static shapes");
        let n_elements = shape.iter().product::<usize>();
        let dtype = ty.dtype;
        let scalars: Vec<Scalar> = (0..n_elements)
            .map(|_| match dtype {
                DType::Bool => Scalar::from_i64(dtype, self.below(2) as i64),
                _ if dtype.is_float() => Scalar::from_f64(dtype, (self.below(4001) as f64 - 2000.0) / 1000.0),
                _ => Scalar::from_i64(dtype, self.below(19) as i64 - if dtype == DType::I64 { 3 } else { 0 }),
            })
            .collect();
        TensorData::from_scalars(dtype, shape, scalars)
    }
}

/// Lowers every node of the function that computes something.
pub(crate) fn lowered(text: &str) -> Vec<Lowered> {
    let func = parse_func(text).unwrap_or_else(|faults| panic!("{faults:?}"));
    let graph = &func.graph;
    let nodes = graph.nodes().filter(|(_, data)| !matches!(data.op, Op::Param(_) | Op::Constant(_)));
    nodes.map(|(node, _)| lower(graph, node, &Target::Cpu, &Options::default()).expect("lowers")).collect()
}

/// Every node against the op's own tolerance (fusions exactly).
pub(crate) fn check(text: &str) {
    check_func(text, None);
}

/// Every node against a relative tolerance.
pub(crate) fn check_close(text: &str, relative: f64) {
    check_func(text, Some(relative));
}

fn gpu() -> Target {
    Target::parse("cuda").expect("a target")
}

fn check_func(text: &str, relative: Option<f64>) {
    let func = parse_func(text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
    let mut numbers = Numbers(text.len() as u64);
    let inputs: Vec<TensorData> =
        func.graph.params().iter().map(|&param| numbers.tensor(func.graph.ty(param))).collect();
    check_graph(&func.graph, &inputs, relative);
}

/// Every node of `graph`, on operands that the reference interpreter computed.
pub(crate) fn check_graph(graph: &Graph, inputs: &[TensorData], relative: Option<f64>) {
    let mut values: Vec<Option<TensorData>> = vec![None; graph.n_values()];
    for (&param, input) in graph.params().iter().zip(inputs) {
        values[param.idx()] = Some(input.clone());
    }
    for (node, data) in graph.nodes() {
        if matches!(data.op, Op::Param(_)) {
            continue;
        }
        let operands: Vec<&TensorData> =
            data.operands.iter().map(|operand| values[operand.idx()].as_ref().expect("computed")).collect();
        let expected = ir_interp::eval(&data.op, &operands, &data.regions).expect("the interpreter evaluates it");
        if !matches!(data.op, Op::Constant(_)) {
            let lowered =
                lower(graph, node, &Target::Cpu, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
            let found = run(graph, node, &lowered, &operands, true);
            // Every target gives the same bits.
            let other = lower(graph, node, &gpu(), &Options::default()).unwrap_or_else(|error| panic!("{error}"));
            for (found, other) in found.iter().zip(run(graph, node, &other, &operands, false)) {
                assert_close(found, &other, Allowance::EXACT);
            }
            for (found, expected) in found.iter().zip(&expected) {
                let fail = |message: String| {
                    let kernels: Vec<String> = lowered.kernels.iter().map(|kernel| kernel.kernel.to_string()).collect();
                    panic!("{} of node {node:?}: {message}\n{}", data.op.mnemonic(), kernels.join("\n"))
                };
                match (relative, &data.op) {
                    (Some(relative), _) => {
                        let outcome = nnc_ir::compare::compare(expected, found, Allowance::within(relative, relative));
                        outcome.unwrap_or_else(|mismatch| fail(mismatch.to_string()));
                    }
                    (None, Op::Fusion(_) | Op::Sort(_)) => assert_close(expected, found, Allowance::EXACT),
                    (None, op) => {
                        let outcome = check_result(op, &operands, found).expect("evaluates");
                        outcome.unwrap_or_else(|mismatch| fail(mismatch.to_string()));
                    }
                }
            }
        }
        for (result, tensor) in data.results().zip(expected) {
            values[result.idx()] = Some(tensor);
        }
    }
}

/// Runs the kernels of a node in the kernel interpreter; with `emit` also as machine code, else on the emulated GPU,
/// which must agree.
pub(crate) fn run(
    graph: &Graph,
    node: Node,
    lowered: &Lowered,
    operands: &[&TensorData],
    emit: bool,
) -> Vec<TensorData> {
    let data = graph.node(node);
    let results: Vec<Value> = data.results().collect();
    let ty = |value: Value| graph.ty(value);
    let mut tensors: Vec<Vec<u8>> = operands.iter().map(|operand| operand.bytes.to_vec()).collect();
    tensors.extend(results.iter().map(|&result| vec![0xa5u8; ty(result).bytes().expect("static")]));
    tensors.extend(lowered.scratch.iter().map(|&bytes| vec![0xa5u8; bytes as usize]));
    for launch in &lowered.kernels {
        let bindings: Vec<usize> = launch
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Operand(idx) => *idx,
                Arg::Result(idx) => operands.len() + idx,
                Arg::Scratch(idx) => operands.len() + results.len() + idx,
            })
            .collect();
        let before = tensors.clone();
        if let Err(fault) = interp::run(&launch.kernel, &mut tensors, &bindings) {
            panic!("{fault}\n{}", launch.kernel);
        }
        if emit {
            machine_code_agrees(&launch.kernel, &before, &tensors, &bindings);
        } else {
            #[cfg(feature = "emulate")]
            support::gpu::emulator_agrees(&launch.kernel, &before, &tensors, &bindings);
        }
    }
    let outputs = results.iter().enumerate().map(|(idx, &result)| {
        let bytes: Arc<[u8]> = tensors[operands.len() + idx].clone().into();
        TensorData::new(ty(result).dtype, ty(result).shape.as_fixed().expect("static"), bytes)
    });
    outputs.collect()
}

/// Runs a CPU kernel as machine code and requires the interpreter's bits.
fn machine_code_agrees(kernel: &Kernel, before: &[Vec<u8>], expected: &[Vec<u8>], bindings: &[usize]) {
    for (name, emit) in support::emitters() {
        let mut tensors = before.to_vec();
        support::run_objects(&emit(std::slice::from_ref(kernel)), kernel, &mut tensors, bindings);
        for ((_, buffer), &tensor) in kernel.args().zip(bindings) {
            if let Some(difference) = support::first_difference(buffer.dtype, &expected[tensor], &tensors[tensor]) {
                panic!("{name}: {} {difference}\n{kernel}", buffer.name);
            }
        }
    }
}
