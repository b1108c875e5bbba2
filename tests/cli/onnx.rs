//! ONNX models on the command line: what they are turned into, where dimensions and values come from, and what is said about
//! those that cannot be used.

use nnc::ir::TensorData;
use nnc::onnx::proto::{
    ModelProto, TensorProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension, tensor_shape_proto::Value,
    type_proto,
};
use prost::Message;

use crate::artifacts::tensor;
use crate::protos::{FLOAT, INT64, floats, graph, info, ints, model, node, some};
use crate::sandbox::Sandbox;

/// The element type `float8e4m3fn` in files.
const FLOAT8E4M3FN: i32 = 17;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("onnx::every_command", every_command),
    ("onnx::compiled_and_converted", compiled_and_converted),
    ("onnx::tensor_files", tensor_files),
    ("onnx::values_that_decide_shapes", values_that_decide_shapes),
    ("onnx::extents_that_depend_on_data", extents_that_depend_on_data),
    ("onnx::inputs_and_extents", inputs_and_extents),
    ("onnx::types_that_the_ir_lacks", types_that_the_ir_lacks),
    ("onnx::artifacts_of_another_version", artifacts_of_another_version),
    ("onnx::unsupported_operators", unsupported_operators),
    ("onnx::damaged_files", damaged_files),
];

/// `x: float[batch, 3]`.
fn symbolic(name: &str) -> ValueInfoProto {
    let mut info = info(name, FLOAT, &[0, 3]);
    if let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut info.r#type
        && let Some(shape) = &mut tensor.shape
    {
        shape.dim[0] = Dimension { value: Some(Value::DimParam("batch".to_string())) };
    }
    info
}

fn perceptron() -> ModelProto {
    let mut graph = graph(vec![node("Gemm", &["x", "weight", "bias"], &["h"]), node("Relu", &["h"], &["y"])]);
    graph.input = vec![symbolic("x")];
    graph.output = vec![info("y", FLOAT, &[0, 4])];
    graph.initializer = vec![
        floats("weight", &[3, 4], |idx| idx as f32 * 0.25 - 1.0),
        floats("bias", &[4], |idx| 0.5 - idx as f32 * 0.25),
    ];
    model(graph)
}

/// A shape that is an input.
fn reshaped() -> ModelProto {
    let mut graph = graph(vec![node("Reshape", &["x", "shape"], &["r"]), node("Neg", &["r"], &["y"])]);
    graph.input.push(info("shape", INT64, &[2]));
    model(graph)
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("model.onnx", &perceptron().encode_to_vec());
    sandbox.write("reshaped.onnx", &reshaped().encode_to_vec());
    sandbox.write_npy("x.npy", &tensor(&[2, 3], 0));
    sandbox.write_npy("flat.npy", &TensorData::from_f32(vec![4], &[1.0, 2.0, 3.0, 4.0]));
    sandbox.write_npy("shape.npy", &TensorData::from_i64(vec![2], &[2, 2]));
    sandbox
}

fn every_command() {
    let sandbox = sandbox();
    let shown = sandbox.succeed(&["inspect", "model.onnx"]);
    for line in [
        "opset  21 of ai.onnx",
        "input  x: float[batch, 3]",
        "output y: float[0, 4]",
        "1 Gemm",
        "weights: 2, 64 bytes",
        "every operator is supported",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    assert!(sandbox.succeed(&["inspect", "model.onnx", "--graph", "dot"]).contains("digraph"));
    assert!(sandbox.succeed(&["explain", "model.onnx", "--dim", "batch=8"]).contains("kernels, in order"));
    assert!(sandbox.succeed(&["opt", "model.onnx", "--dim", "batch=8"]).contains("f32[8, 4]"));
    // A model by content, whatever it is called.
    sandbox.write("model.bin", &perceptron().encode_to_vec());
    assert_eq!(sandbox.succeed(&["inspect", "model.bin"]), shown);
    assert!(sandbox.succeed(&["run", "model.onnx", "--dim", "batch=2", "--seed", "1"]).starts_with("y: f32[2, 4]"));
}

fn compiled_and_converted() {
    let sandbox = sandbox();
    let input = ["--input", "x=x.npy"];
    let run = |words: &[&str]| sandbox.succeed(&[&["run"], words, &input].concat());
    let expected = run(&["model.onnx"]);
    assert!(expected.starts_with("y: f32[2, 4]"), "{expected}");
    sandbox.succeed(&["compile", "model.onnx", "--dim", "batch=2"]);
    assert_eq!(run(&["model.nnc"]), expected);
    sandbox.succeed(&["compile", "model.onnx", "-o", "model.ir"]);
    assert_eq!(run(&["model.ir"]), expected);
    let text = String::from_utf8(sandbox.read("model.ir")).expect("text");
    assert!(text.contains("%x: f32[batch, 3]") && text.contains("param %weight: f32[3, 4] = @weight"), "{text}");
    sandbox.succeed(&["compile", "model.onnx", "-o", "model.irb"]);
    assert_eq!(run(&["model.irb"]), expected);
    assert!(sandbox.refuse(&["compile", "model.onnx"]).contains("batch"));
}

fn inputs_and_extents() {
    let sandbox = sandbox();
    let said = sandbox.refuse(&["run", "model.onnx", "--seed", "1", "--dim", "N=2"]);
    assert!(said.contains("an extent is given for `N`; symbolic dimensions of the inputs are `batch`"), "{said}");
    let said = sandbox.refuse(&["run", "model.onnx", "--input", "X=x.npy"]);
    assert!(said.contains("input `X` is given, the model has `x`"), "{said}");
    // Two rows, whatever `batch` is: only an extent can help.
    let mut graph = graph(vec![node("Reshape", &["x", "shape"], &["y"])]);
    graph.input = vec![symbolic("x")];
    graph.initializer = vec![ints("shape", &[2, 3])];
    sandbox.write("two.onnx", &model(graph).encode_to_vec());
    let said = sandbox.refuse(&["run", "two.onnx", "--seed", "1"]);
    assert!(said.contains("extents may help, given with --dim NAME=EXTENT or --inputs FILE: batch"), "{said}");
    assert!(sandbox.succeed(&["run", "two.onnx", "--seed", "1", "--dim", "batch=2"]).starts_with("y: f32[2, 3]"));
}

fn tensor_files() {
    let sandbox = sandbox();
    let expected = sandbox.succeed(&["run", "model.onnx", "--input", "x=x.npy"]);
    let data = tensor(&[2, 3], 0);
    let file = |name: Option<String>| {
        let (dims, raw_data) = (vec![2, 3], Some(data.bytes.to_vec().into()));
        TensorProto { name, data_type: Some(FLOAT), dims, raw_data, ..TensorProto::default() }.encode_to_vec()
    };
    sandbox.write("input_0.pb", &file(some("x")));
    assert_eq!(sandbox.succeed(&["run", "model.onnx", "--inputs", "input_0.pb"]), expected);
    sandbox.write("input_0.pb", &file(None));
    assert!(sandbox.refuse(&["run", "model.onnx", "--inputs", "input_0.pb"]).contains("the tensor has no name"));
    assert_eq!(sandbox.succeed(&["run", "model.onnx", "--input", "x=input_0.pb"]), expected);
    sandbox.write("input_0.pb", b"\xff\xff");
    assert!(sandbox.refuse(&["run", "model.onnx", "--inputs", "input_0.pb"]).contains("no ONNX tensor"));
}

fn values_that_decide_shapes() {
    let sandbox = sandbox();
    let given = ["--input", "x=flat.npy", "--input", "shape=shape.npy"];
    let output = sandbox.run(&[&["run", "reshaped.onnx"], &given[..]].concat());
    assert_eq!(output.stdout, "y: f32[2, 2]\n  -1.0 -2.0\n  -3.0 -4.0\n", "{}", output.stderr);
    assert!(output.stderr.contains("input shape is fixed to the value given"), "{}", output.stderr);
    let said = sandbox.refuse(&["compile", "reshaped.onnx"]);
    assert!(said.contains("inputs whose values would help, given with --input NAME=FILE: shape"), "{said}");
    sandbox.succeed(&["compile", "reshaped.onnx", "--input", "shape=shape.npy"]);
    assert_eq!(sandbox.succeed(&["run", "reshaped.nnc", "--input", "x=flat.npy"]), output.stdout);
    // The artifact takes what the model takes, as long as it is what it was compiled for.
    assert_eq!(sandbox.succeed(&[&["run", "reshaped.nnc"], &given[..]].concat()), output.stdout);
    sandbox.write_npy("other.npy", &TensorData::from_i64(vec![2], &[4, 1]));
    let said = sandbox.refuse(&["run", "reshaped.nnc", "--input", "x=flat.npy", "--input", "shape=other.npy"]);
    let expected = "found i64[2] (4 1), expected i64[2] (2 2): the program was compiled for it";
    assert!(said.contains(expected) && said.contains("input shape"), "{said}");
    let shown = sandbox.succeed(&["inspect", "reshaped.nnc"]);
    assert!(shown.contains("fixed  shape: i64[2]"), "{shown}");
}

fn extents_that_depend_on_data() {
    let sandbox = sandbox();
    let mut graph = graph(vec![node("NonZero", &["x"], &["y"])]);
    graph.output = vec![info("y", INT64, &[1, 4])];
    sandbox.write("found.onnx", &model(graph).encode_to_vec());
    sandbox.write_npy("x.npy", &TensorData::from_f32(vec![4], &[0.0, 5.0, 0.0, 7.0]));
    for device in ["interp", "cpu"] {
        let said = sandbox.succeed(&["run", "found.onnx", "--device", device, "--input", "x=x.npy"]);
        assert_eq!(said, "y: i64[1, 2]\n  1 3\n", "{device}");
    }
    // So they are in the artifact, whose own outputs are the greatest extent and the count beside it.
    sandbox.succeed(&["compile", "found.onnx"]);
    assert_eq!(sandbox.succeed(&["run", "found.nnc", "--input", "x=x.npy"]), "y: i64[1, 2]\n  1 3\n");
    let shown = sandbox.succeed(&["inspect", "found.nnc"]);
    assert!(shown.contains("output y: i64[1, 4], as many along dimension 1 as "), "{shown}");
    // And in the model that is written again.
    sandbox.succeed(&["export", "found.onnx", "-o", "again.onnx"]);
    assert_eq!(sandbox.succeed(&["run", "again.onnx", "--input", "x=x.npy"]), "y: i64[1, 2]\n  1 3\n");
    assert!(sandbox.succeed(&["inspect", "again.onnx"]).contains("output y: int64[1, y.1]"));
}

fn types_that_the_ir_lacks() {
    let sandbox = sandbox();
    let mut graph = graph(vec![node("DequantizeLinear", &["x", "scale"], &["y"])]);
    graph.input = vec![info("x", FLOAT8E4M3FN, &[4])];
    graph.initializer = vec![floats("scale", &[], |_| 0.5)];
    sandbox.write("narrow.onnx", &model(graph).encode_to_vec());
    sandbox.succeed(&["compile", "narrow.onnx"]);
    let shown = sandbox.succeed(&["inspect", "narrow.nnc"]);
    assert!(shown.contains("input  x: f32[4] of float8e4m3fn\noutput y: f32[4]\n"), "{shown}");
    let run = |file: &str| sandbox.succeed(&["run", file, "--input", "x=flat.npy"]);
    assert_eq!(run("narrow.onnx"), "y: f32[4]\n  0.5 1.0 1.5 2.0\n");
    assert_eq!(run("narrow.nnc"), run("narrow.onnx"));
}

fn artifacts_of_another_version() {
    let sandbox = sandbox();
    sandbox.succeed(&["compile", "model.onnx", "--dim", "batch=2"]);
    let mut bytes = sandbox.read("model.nnc");
    // What knew no inputs and outputs of the model.
    bytes[8..12].copy_from_slice(&4_u32.to_le_bytes());
    sandbox.write("old.nnc", &bytes);
    for command in ["run", "inspect"] {
        let said = sandbox.refuse(&[command, "old.nnc"]);
        assert!(said.contains("format version 4, this build reads version 5; compile it again"), "{said}");
    }
}

fn unsupported_operators() {
    let sandbox = sandbox();
    let nodes =
        vec![node("Frobnicate", &["x"], &["a"]), node("Gargle", &["a"], &["b"]), node("Gargle", &["b"], &["y"])];
    sandbox.write("odd.onnx", &model(graph(nodes)).encode_to_vec());
    for command in ["run", "compile", "explain", "opt"] {
        let said = sandbox.refuse(&[command, "odd.onnx"]);
        assert!(said.contains("`Frobnicate`") && said.contains("`Gargle`") && said.contains("#1, #2"), "{said}");
    }
    let shown = sandbox.succeed(&["inspect", "odd.onnx"]);
    assert!(shown.contains("Gargle of opset 21, in 2 nodes: #1, #2"), "{shown}");
}

fn damaged_files() {
    let sandbox = sandbox();
    let whole = sandbox.read("model.onnx");
    for part in [0, 1, 7, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        sandbox.write("model.onnx", &whole[..part]);
        sandbox.refuse(&["compile", "model.onnx", "--dim", "batch=1"]);
    }
    let mut short = perceptron();
    let graph = short.graph.as_mut().expect("it has one");
    graph.initializer.push(TensorProto { dims: vec![3], ..ints("extra", &[1, 2]) });
    sandbox.write("model.onnx", &short.encode_to_vec());
    for command in ["run", "compile", "opt", "explain"] {
        let said = sandbox.refuse(&[command, "model.onnx", "--dim", "batch=1"]);
        assert!(said.contains("2 elements, expected 3"), "{said}");
    }
    assert!(sandbox.refuse(&["run", "nowhere.onnx"]).contains("nowhere.onnx"));
}
