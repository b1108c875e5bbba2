//! Training steps of the golden models, optimized and fused: every node lowered, run, and held against the reference
//! interpreter; and how many kernels there are.

// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "lowering/harness.rs"]
mod harness;
mod support;

use harness::{Numbers, check_graph};
use nnc_codegen::lower::{Options, lower};
use nnc_codegen::target::Target;
use nnc_ir::{DType, Func, Op, TensorData, WeightSource, parse_module};
use nnc_passes::optimizer::{OptimizerSpec, train_step};
use nnc_passes::pipeline::{OptLevel, optimize};

/// The fused training step of a golden model.
fn step(model: &str, optimizer: &str) -> Func {
    let path = format!("{}/../tests/golden/models/{model}.ir", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the model is there");
    let module = parse_module(&text, model, WeightSource::none()).expect("the model parses");
    let spec = OptimizerSpec::parse(optimizer).expect("an optimizer");
    let step = train_step(&module.funcs[0], 0, &spec).expect("the model has gradients");
    optimize(&step, OptLevel::default()).expect("the step is sound").0
}

/// Lowers and runs every node; gives the number of kernels.
fn check_step(model: &str, optimizer: &str) -> usize {
    let func = step(model, optimizer);
    let mut numbers = Numbers(7);
    let inputs: Vec<TensorData> = func
        .graph
        .params()
        .iter()
        .map(|&param| {
            let ty = func.graph.ty(param);
            let tensor = numbers.tensor(ty);
            if ty.dtype != DType::I64 {
                return tensor;
            }
            // Labels of ten classes.
            let labels =
                tensor.scalars().map(|label| nnc_ir::Scalar::from_i64(DType::I64, label.to_i64().rem_euclid(10)));
            TensorData::from_scalars(DType::I64, tensor.shape.clone(), labels.collect::<Vec<_>>())
        })
        .collect();
    check_graph(&func.graph, &inputs, Some(1e-4));
    let nodes = func.graph.nodes().filter(|(_, data)| !matches!(data.op, Op::Param(_) | Op::Constant(_)));
    let mut n_kernels = 0;
    for (node, data) in nodes {
        let lowered = lower(&func.graph, node, &Target::Cpu, &Options::default()).expect("lowers");
        if std::env::var("NNC_SHOW").is_ok() {
            println!("{model} {:?}: {} {:?}", data.op.mnemonic(), lowered.schedule, lowered.inplace);
        }
        n_kernels += lowered.kernels.len();
    }
    n_kernels
}

#[test]
fn small_models_train() {
    for (model, most) in [
        ("linear_layer", 8),
        ("tiny_model_cross_entropy", 10),
        ("tiny_model_mse", 10),
        ("logistic", 8),
        ("mlp_small", 16),
    ] {
        let n_kernels = check_step(model, "sgd:lr=0.1,momentum=0.9");
        assert!(n_kernels <= most, "{model} takes {n_kernels} kernels, expected at most {most}");
    }
}
