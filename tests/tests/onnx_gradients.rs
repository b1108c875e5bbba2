//! Gradients of models from ONNX files by finite differences, and what of a model is trained.

use nnc::onnx::OnnxModule;
use nnc::onnx::proto::{AttributeProto, GraphProto, TensorProto, attribute_type};
use nnc::prelude::*;
use nnc_frontend::trace::trace;
use nnc_passes::autodiff::trainable;
use nnc_tests::execute::Tensors;
use nnc_tests::finite::{Along, check_func, convert};
use nnc_tests::golden::symmetric;
use prost::Message;

#[path = "../../frontend/onnx/tests/build/protos.rs"]
mod protos;

use protos::{BOOL, graph, info, int_attribute, ints, ints_attribute, model, node, scalar, some, with};

const DOUBLE: i32 = 11;

/// A weight in `f64`, in which finite differences are exact enough.
fn doubles(name: &str, dims: &[i64], value: impl Fn(usize) -> f64) -> TensorProto {
    let n = dims.iter().product::<i64>() as usize;
    let double_data = (0..n).map(value).collect();
    TensorProto {
        name: some(name),
        data_type: Some(DOUBLE),
        dims: dims.to_vec(),
        double_data,
        ..TensorProto::default()
    }
}

/// Numbers spread over `-bound..bound`, others for each salt.
fn weight(name: &str, dims: &[i64], salt: u32, bound: f64) -> TensorProto {
    let n = dims.iter().product::<i64>() as usize;
    let values = symmetric(&[n], salt, 1.0).to_f64();
    doubles(name, dims, move |idx| values[idx] * bound)
}

fn text_attribute(name: &str, text: &str) -> AttributeProto {
    let s = Some(text.as_bytes().to_vec());
    AttributeProto { name: some(name), r#type: Some(attribute_type::STRING), s, ..AttributeProto::default() }
}

/// Compares the gradients of the parameters `trained`, which are all that training changes, with finite differences; and
/// writes the model with other values, reads it, and compares its parameters.
fn check(graph: GraphProto, x: &[usize], trained: &[&str]) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.onnx");
    std::fs::write(&path, model(graph).encode_to_vec()).expect("written");
    let model = OnnxModule::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let x = convert(&symmetric(x, 1, 1.0), DType::F64);
    let module = trace("loss", |t| {
        t.bind(&model);
        let y = model.forward(&t.input("x", x.ty()));
        let Some(ty) = y.checked_ty() else { return };
        let weights = convert(&symmetric(&ty.shape.as_fixed().expect("known"), 900, 1.0), DType::F64);
        t.output("loss", (y * Tensor::from_data(weights)).sum(..));
    });
    let module = module.unwrap_or_else(|error| panic!("{error}"));
    let func = module.func("loss").expect("it was traced");
    let wrt = trainable(func);
    let mut names: Vec<&str> = wrt.iter().map(|&idx| func.params[idx].name.as_str()).collect();
    names.sort_unstable();
    let mut expected = trained.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected, "what is trained");
    let mut inputs: Tensors = module.weights.iter().map(|(name, data)| (name.to_string(), data.clone())).collect();
    inputs.insert("x".to_string(), x);
    check_func(func, &module.weights, &inputs, &wrt, Along::Elements).unwrap_or_else(|why| panic!("{why}"));

    let changed = model.state_dict();
    let mut doubled = StateDict::new();
    for (name, data) in changed.iter() {
        let twice = Tensor::from_data(data.clone()) * 2.0;
        doubled.insert(name, twice.data().expect("concrete"));
    }
    model.load_state_dict(&doubled).expect("the same names");
    let saved = dir.path().join("saved.onnx");
    model.save(&saved).expect("saved");
    let again = OnnxModule::load(&saved).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.state_dict(), doubled);
}

/// Batch normalization by the batch's own statistics, a dropout that is switched off, shapes that are computed.
#[test]
fn a_convolutional_network_in_training_mode() {
    let conv = with(node("Conv", &["x", "conv.weight", "conv.bias"], &["c"]), ints_attribute("pads", &[1, 1, 1, 1]));
    let norm = ["c", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"];
    let norm = with(node("BatchNormalization", &norm, &["n", "mean", "var"]), int_attribute("training_mode", 1));
    let pool = with(node("MaxPool", &["r"], &["p"]), ints_attribute("kernel_shape", &[2, 2]));
    let pool = with(pool, ints_attribute("strides", &[2, 2]));
    let head = with(node("Gemm", &["d", "head.weight", "head.bias"], &["y"]), int_attribute("transB", 1));
    let mut graph = graph(vec![
        conv,
        norm,
        node("Relu", &["n"], &["r"]),
        pool,
        node("Shape", &["p"], &["shape"]),
        node("Gather", &["shape", "zero"], &["batch"]),
        node("Unsqueeze", &["batch", "first"], &["rows"]),
        with(node("Concat", &["rows", "rest"], &["flat_shape"]), int_attribute("axis", 0)),
        node("Reshape", &["p", "flat_shape"], &["f"]),
        node("Dropout", &["f", "ratio", "training"], &["d"]),
        head,
    ]);
    graph.input = vec![info("x", DOUBLE, &[3, 1, 4, 4])];
    graph.output = vec![info("y", DOUBLE, &[3, 2])];
    let training = TensorProto { data_type: Some(BOOL), int32_data: vec![0], ..TensorProto::default() };
    graph.initializer = vec![
        weight("conv.weight", &[2, 1, 3, 3], 10, 0.6),
        weight("conv.bias", &[2], 11, 0.3),
        doubles("norm.weight", &[2], |idx| 0.75 + idx as f64),
        weight("norm.bias", &[2], 12, 0.3),
        weight("norm.running_mean", &[2], 13, 0.3),
        doubles("norm.running_var", &[2], |_| 1.5),
        weight("head.weight", &[2, 8], 14, 0.5),
        weight("head.bias", &[2], 15, 0.5),
        scalar("zero", 0),
        ints("first", &[0]),
        ints("rest", &[-1]),
        doubles("ratio", &[], |_| 0.5),
        TensorProto { name: some("training"), ..training },
    ];
    let trained = ["conv.weight", "conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"];
    check(graph, &[3, 1, 4, 4], &trained);
}

#[test]
fn a_recurrent_network() {
    let lstm = with(node("LSTM", &["x", "w", "r", "b"], &["states"]), int_attribute("hidden_size", 2));
    let mut graph = graph(vec![
        with(lstm, text_attribute("direction", "bidirectional")),
        with(node("Gather", &["states", "last"], &["s"]), int_attribute("axis", 0)),
        with(node("Transpose", &["s"], &["t"]), ints_attribute("perm", &[1, 0, 2])),
        node("Reshape", &["t", "rows"], &["f"]),
        node("MatMul", &["f", "head"], &["y"]),
    ]);
    graph.input = vec![info("x", DOUBLE, &[4, 2, 3])];
    graph.output = vec![info("y", DOUBLE, &[2, 2])];
    graph.initializer = vec![
        weight("w", &[2, 8, 3], 20, 0.7),
        weight("r", &[2, 8, 2], 21, 0.7),
        weight("b", &[2, 16], 22, 0.4),
        weight("head", &[4, 2], 23, 0.8),
        scalar("last", -1),
        ints("rows", &[0, -1]),
    ];
    check(graph, &[4, 2, 3], &["w", "r", "b", "head"]);
}

/// Attention with a mask of minus infinity in the file, which is no weight, whatever its type.
#[test]
fn a_block_of_a_transformer() {
    let mut graph = graph(vec![
        node("LayerNormalization", &["x", "norm.weight", "norm.bias"], &["n"]),
        node("MatMul", &["n", "q.weight"], &["q"]),
        node("MatMul", &["n", "k.weight"], &["k"]),
        node("MatMul", &["n", "v.weight"], &["v"]),
        with(node("Transpose", &["k"], &["kt"]), ints_attribute("perm", &[0, 2, 1])),
        node("MatMul", &["q", "kt"], &["scores"]),
        node("Mul", &["scores", "scale"], &["scaled"]),
        node("Add", &["scaled", "mask"], &["masked"]),
        node("Softmax", &["masked"], &["shares"]),
        node("MatMul", &["shares", "v"], &["mixed"]),
        node("Add", &["x", "mixed"], &["residual"]),
        node("MatMul", &["residual", "up.weight"], &["up"]),
        node("Gelu", &["up"], &["active"]),
        node("MatMul", &["active", "down.weight"], &["down"]),
        node("Add", &["residual", "down"], &["y"]),
    ]);
    graph.input = vec![info("x", DOUBLE, &[2, 3, 4])];
    graph.output = vec![info("y", DOUBLE, &[2, 3, 4])];
    graph.initializer = vec![
        doubles("norm.weight", &[4], |idx| 1.0 + idx as f64 / 4.0),
        weight("norm.bias", &[4], 30, 0.3),
        weight("q.weight", &[4, 4], 31, 0.8),
        weight("k.weight", &[4, 4], 32, 0.8),
        weight("v.weight", &[4, 4], 33, 0.8),
        weight("up.weight", &[4, 5], 34, 0.8),
        weight("down.weight", &[5, 4], 35, 0.8),
        doubles("scale", &[], |_| 0.5),
        doubles("mask", &[3, 3], |idx| if idx % 3 > idx / 3 { f64::NEG_INFINITY } else { 0.0 }),
    ];
    let trained = ["norm.weight", "norm.bias", "q.weight", "k.weight", "v.weight", "up.weight", "down.weight"];
    check(graph, &[2, 3, 4], &trained);
}
