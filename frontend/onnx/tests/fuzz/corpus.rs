//! Small models of every kind, to be changed.

use nnc_onnx::proto::{FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use prost::Message;

use crate::protos::{
    BOOL, FLOAT, INT64, floats, graph, graph_attribute, info, int_attribute, ints, ints_attribute, model, node, raw,
    scalar, some, tensor_attribute, with,
};

/// The models as files.
pub(crate) fn models() -> Vec<Vec<u8>> {
    let models =
        [perceptron(), image(), shapes(), branches(), repeats(), functions(), quantized(), recurrent(), positions()];
    models.iter().map(Message::encode_to_vec).collect()
}

/// A graph of one input and one output.
fn of(x: &[i64], y: &[i64], nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto { input: vec![info("x", FLOAT, x)], output: vec![info("y", FLOAT, y)], ..graph(nodes) }
}

fn perceptron() -> ModelProto {
    let nodes = vec![
        node("Gemm", &["x", "w", "b"], &["h"]),
        node("Relu", &["h"], &["r"]),
        node("MatMul", &["r", "v"], &["z"]),
        with(node("Softmax", &["z"], &["y"]), int_attribute("axis", 1)),
    ];
    let mut graph = of(&[2, 3], &[2, 5], nodes);
    graph.initializer = vec![
        floats("w", &[3, 4], |idx| idx as f32 * 0.1),
        floats("b", &[4], |_| 0.5),
        floats("v", &[4, 5], |idx| 1.0 - idx as f32 * 0.1),
    ];
    model(graph)
}

fn image() -> ModelProto {
    let conv = with(node("Conv", &["x", "k"], &["c"]), ints_attribute("pads", &[1, 1, 1, 1]));
    let conv = with(conv, ints_attribute("strides", &[2, 2]));
    let pool = with(node("MaxPool", &["n"], &["p"]), ints_attribute("kernel_shape", &[2, 2]));
    let nodes = vec![
        conv,
        node("BatchNormalization", &["c", "s", "t", "m", "v"], &["n"]),
        pool,
        node("GlobalAveragePool", &["p"], &["g"]),
        node("Resize", &["g", "", "scales"], &["y"]),
    ];
    let mut graph = of(&[1, 3, 8, 8], &[1, 2, 2, 2], nodes);
    let vector = |name| floats(name, &[2], |idx| idx as f32 + 1.0);
    graph.initializer =
        vec![floats("k", &[2, 3, 3, 3], |idx| idx as f32 * 0.01), vector("s"), vector("t"), vector("m"), vector("v")];
    graph.initializer.push(floats("scales", &[4], |idx| if idx < 2 { 1.0 } else { 2.0 }));
    model(graph)
}

/// Arithmetic on shapes, as exporters write it.
fn shapes() -> ModelProto {
    let nodes = vec![
        node("Shape", &["x"], &["shape"]),
        node("Gather", &["shape", "zero"], &["n"]),
        node("Unsqueeze", &["n", "first"], &["n1"]),
        with(node("Concat", &["n1", "minus"], &["target"]), int_attribute("axis", 0)),
        node("Reshape", &["x", "target"], &["r"]),
        with(node("Transpose", &["r"], &["t"]), ints_attribute("perm", &[1, 0])),
        node("Slice", &["t", "start", "end"], &["s"]),
        node("Range", &["zero", "n", "one"], &["range"]),
        with(node("Cast", &["range"], &["f"]), int_attribute("to", 1)),
        with(node("ConstantOfShape", &["n1"], &["c"]), tensor_attribute("value", ints("", &[3]))),
        with(node("Split", &["s"], &["p", "q"]), int_attribute("num_outputs", 2)),
        node("Add", &["p", "f"], &["y"]),
    ];
    let mut graph = of(&[2, 3, 4], &[4, 2], nodes);
    graph.initializer = vec![
        scalar("zero", 0),
        scalar("one", 1),
        ints("first", &[0]),
        ints("minus", &[-1]),
        ints("start", &[0]),
        ints("end", &[8]),
    ];
    model(graph)
}

fn branches() -> ModelProto {
    let branch = |op: &str| GraphProto {
        name: some(op),
        node: vec![node(op, &["x"], &["out"])],
        output: vec![info("out", FLOAT, &[4])],
        ..GraphProto::default()
    };
    let choice = with(node("If", &["go"], &["y"]), graph_attribute("then_branch", branch("Exp")));
    let mut graph = graph(vec![with(choice, graph_attribute("else_branch", branch("Neg")))]);
    graph.input.push(info("go", BOOL, &[]));
    model(graph)
}

fn repeats() -> ModelProto {
    let body = GraphProto {
        name: some("body"),
        input: vec![info("i", INT64, &[]), info("c", BOOL, &[]), info("v", FLOAT, &[4])],
        output: vec![info("c2", BOOL, &[]), info("v2", FLOAT, &[4]), info("s", FLOAT, &[4])],
        node: vec![node("Identity", &["c"], &["c2"]), node("Add", &["v", "x"], &["v2"]), node("Tanh", &["v2"], &["s"])],
        ..GraphProto::default()
    };
    let step = GraphProto {
        name: some("step"),
        input: vec![info("a", FLOAT, &[4]), info("e", FLOAT, &[4])],
        output: vec![info("a2", FLOAT, &[4]), info("e2", FLOAT, &[4])],
        node: vec![node("Mul", &["a", "e"], &["a2"]), node("Identity", &["a2"], &["e2"])],
        ..GraphProto::default()
    };
    let scan = with(node("Scan", &["last", "stack"], &["y", "all"]), graph_attribute("body", step));
    let nodes = vec![
        with(node("Loop", &["trips", "go", "x"], &["last", "stack"]), graph_attribute("body", body)),
        with(scan, int_attribute("num_scan_inputs", 1)),
    ];
    let mut graph = graph(nodes);
    graph.initializer = vec![scalar("trips", 5), raw("go", BOOL, &[], &[1])];
    model(graph)
}

fn functions() -> ModelProto {
    let own =
        |op: &str, inputs: &[&str], outputs: &[&str]| NodeProto { domain: some("own"), ..node(op, inputs, outputs) };
    let set = OperatorSetIdProto { domain: None, version: Some(21) };
    let twice = FunctionProto {
        name: some("Twice"),
        domain: some("own"),
        input: vec!["a".to_string()],
        output: vec!["b".to_string()],
        node: vec![node("Add", &["a", "a"], &["b"])],
        opset_import: vec![set.clone()],
        ..FunctionProto::default()
    };
    let four = FunctionProto {
        name: some("Four"),
        node: vec![own("Twice", &["a"], &["m"]), own("Twice", &["m"], &["b"])],
        ..twice.clone()
    };
    let mut model = model(graph(vec![own("Four", &["x"], &["m"]), own("Twice", &["m"], &["y"])]));
    model.opset_import.push(OperatorSetIdProto { domain: some("own"), version: Some(1) });
    model.functions = vec![twice, four];
    model
}

fn quantized() -> ModelProto {
    let nodes = vec![
        node("QuantizeLinear", &["x", "scale", "zero"], &["q"]),
        node("MatMulInteger", &["q", "w", "zero"], &["i"]),
        with(node("Cast", &["i"], &["f"]), int_attribute("to", 1)),
        node("DequantizeLinear", &["q", "scale", "zero"], &["d"]),
        node("DynamicQuantizeLinear", &["d"], &["dq", "ds", "dz"]),
        node("Sum", &["f", "ds"], &["y"]),
    ];
    let mut graph = of(&[2, 4], &[2, 3], nodes);
    graph.initializer = vec![floats("scale", &[], |_| 0.1), raw("zero", 2, &[], &[3]), raw("w", 2, &[4, 3], &[7; 12])];
    model(graph)
}

fn recurrent() -> ModelProto {
    let lstm = with(node("LSTM", &["x", "w", "r"], &["h", "last", ""]), int_attribute("hidden_size", 3));
    let nodes = vec![
        lstm,
        with(node("Squeeze", &["h", "axes"], &["s"]), int_attribute("unused", 0)),
        node("Erf", &["s"], &["y"]),
    ];
    let mut graph = of(&[4, 2, 5], &[4, 2, 3], nodes);
    graph.initializer = vec![
        floats("w", &[1, 12, 5], |idx| idx as f32 * 0.01),
        floats("r", &[1, 12, 3], |idx| idx as f32 * -0.01),
        ints("axes", &[1]),
    ];
    model(graph)
}

fn positions() -> ModelProto {
    let nodes = vec![
        node("TopK", &["x", "k"], &["best", "at"]),
        with(node("GatherElements", &["x", "at"], &["g"]), int_attribute("axis", 1)),
        with(node("ArgMax", &["g"], &["a"]), int_attribute("axis", 1)),
        node("OneHot", &["a", "depth", "values"], &["o"]),
        node("NonZero", &["o"], &["found"]),
        node("ScatterND", &["x", "place", "update"], &["s"]),
        node("Where", &["mask", "s", "x"], &["y"]),
    ];
    let mut graph = of(&[3, 4], &[3, 4], nodes);
    graph.output.push(info("found", INT64, &[3, 12]));
    graph.initializer = vec![
        ints("k", &[2]),
        scalar("depth", 4),
        floats("values", &[2], |idx| idx as f32),
        raw("place", INT64, &[1, 1], &[1, 0, 0, 0, 0, 0, 0, 0]),
        floats("update", &[1, 4], |_| 9.0),
        raw("mask", BOOL, &[4], &[1, 0, 1, 0]),
    ];
    model(graph)
}
