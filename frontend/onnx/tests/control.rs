//! Loops, branches, functions and derivatives: which form of the IR they become, and what they compute.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use nnc_ir::{Bindings, Graph, Op, TensorData, interp};
use nnc_onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_type, tensor_shape_proto, type_proto,
};
use nnc_onnx::{ImportError, Imported, Options, import_bytes};
use prost::Message;

/// A graph under construction.
#[derive(Clone, Default)]
struct Build(GraphProto);

/// A graph of these inputs: `x:float[2,3] i:int64[] c:bool[]`, or names alone in nested graphs.
fn graph(inputs: &str) -> Build {
    let info = |text: &str| {
        let (name, ty) = text.split_once(':').unwrap_or((text, "float[]"));
        let (elem, dims) = ty.trim_end_matches(']').split_once('[').expect("a type has a shape");
        let elem_type = Some(match elem {
            "float" => 1,
            "int64" => 7,
            _ => 9,
        });
        let dim = |text: &str| tensor_shape_proto::Dimension {
            value: text.parse().ok().map(tensor_shape_proto::Value::DimValue),
        };
        let shape = TensorShapeProto { dim: dims.split(',').filter(|dim| !dim.is_empty()).map(dim).collect() };
        let tensor = type_proto::Tensor { elem_type, shape: Some(shape) };
        ValueInfoProto {
            name: Some(name.to_string()),
            r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
            ..Default::default()
        }
    };
    Build(GraphProto { input: inputs.split_whitespace().map(info).collect(), ..Default::default() })
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.to_string()), r#type: Some(kind), ..Default::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, attribute_type::INTS) }
}

fn int(name: &str, int: i64) -> AttributeProto {
    AttributeProto { i: Some(int), ..attribute(name, attribute_type::INT) }
}

fn body(name: &str, graph: Build) -> AttributeProto {
    AttributeProto { g: Some(Box::new(graph.0)), ..attribute(name, attribute_type::GRAPH) }
}

/// `domain.Op input input -> output`, where `_` is nothing.
fn node(text: &str, attributes: impl Into<Vec<AttributeProto>>) -> NodeProto {
    let (left, right) = text.split_once("->").expect("a node gives something");
    let names = |text: &str| text.split_whitespace().map(|name| name.replace('_', "")).collect::<Vec<_>>();
    let mut input = names(left);
    let op = input.remove(0);
    let (domain, op_type) = op.rsplit_once('.').unwrap_or(("", &op));
    NodeProto {
        input,
        output: names(right),
        op_type: Some(op_type.to_string()),
        domain: Some(domain.to_string()),
        attribute: attributes.into(),
        ..Default::default()
    }
}

impl Build {
    fn node(self, text: &str) -> Self {
        self.with(text, Vec::new())
    }

    fn with(mut self, text: &str, attributes: impl Into<Vec<AttributeProto>>) -> Self {
        self.0.node.push(node(text, attributes));
        self
    }

    fn floats(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let tensor = TensorProto { data_type: Some(1), float_data: values.to_vec(), ..Default::default() };
        self.tensor(name, dims, tensor)
    }

    fn ints(self, name: &str, dims: &[i64], values: &[i64]) -> Self {
        let tensor = TensorProto { data_type: Some(7), int64_data: values.to_vec(), ..Default::default() };
        self.tensor(name, dims, tensor)
    }

    fn truth(self, name: &str) -> Self {
        self.tensor(name, &[], TensorProto { data_type: Some(9), int32_data: vec![1], ..Default::default() })
    }

    fn tensor(mut self, name: &str, dims: &[i64], tensor: TensorProto) -> Self {
        self.0.initializer.push(TensorProto { name: Some(name.to_string()), dims: dims.to_vec(), ..tensor });
        self
    }

    fn gives(mut self, outputs: &str) -> Self {
        let info = |name: &str| ValueInfoProto { name: Some(name.to_string()), ..Default::default() };
        self.0.output = outputs.split_whitespace().map(info).collect();
        self
    }

    fn model(self, functions: Vec<FunctionProto>) -> Vec<u8> {
        let domain = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
        let opset_import = ["ai.onnx.preview.training", "com.microsoft", "local"].map(|name| domain(name, 1));
        let opset_import = [vec![domain("", 24)], opset_import.to_vec()].concat();
        ModelProto { ir_version: Some(10), graph: Some(self.0), opset_import, functions, ..Default::default() }
            .encode_to_vec()
    }

    fn import(self) -> Imported {
        import(&self.model(Vec::new()), &Options::default()).expect("the model is sound")
    }
}

fn import(bytes: &[u8], options: &Options) -> Result<Imported, ImportError> {
    import_bytes(bytes, None, "test.onnx", options)
}

fn floats(dims: &[usize], values: &[f32]) -> TensorData {
    TensorData::from_f32(dims.to_vec(), values)
}

fn run(imported: &Imported, inputs: &[(&str, TensorData)]) -> IndexMap<String, TensorData> {
    let inputs: IndexMap<String, TensorData> =
        inputs.iter().map(|(name, data)| (name.to_string(), data.clone())).collect();
    let module = &imported.module;
    interp::eval_func(&module.funcs[0], &module.weights, &inputs, &Bindings::new()).expect("the function runs")
}

/// Mnemonics of what the function holds, regions included.
fn ops(imported: &Imported) -> Vec<&'static str> {
    fn collect(graph: &Graph, ops: &mut Vec<&'static str>) {
        for (_, data) in graph.nodes().filter(|(_, data)| !matches!(data.op, Op::Param(_))) {
            ops.push(data.op.mnemonic());
            data.regions.iter().for_each(|region| collect(region, ops));
        }
    }
    let mut found = Vec::new();
    collect(&imported.module.funcs[0].graph, &mut found);
    found
}

fn close(found: &TensorData, expected: &[f32]) {
    let found = found.to_f32();
    assert_eq!(found.len(), expected.len(), "{found:?}, expected {expected:?}");
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-5, "element {idx} is {found}, expected {expected}");
    }
}

/// A body that doubles what it carries and gives it too.
fn doubling() -> Build {
    graph("i going v").node("Identity going -> on").node("Add v v -> w").node("Identity w -> y").gives("on w y")
}

#[test]
fn a_loop_of_known_length_is_a_scan() {
    let outer = graph("x:float[2]").ints("n", &[], &[3]);
    let imported = outer.with("Loop n _ x -> last all", [body("body", doubling())]).gives("last all").import();
    assert!(ops(&imported).contains(&"scan"));
    let results = run(&imported, &[("x", floats(&[2], &[1.0, 3.0]))]);
    close(&results["last"], &[8.0, 24.0]);
    close(&results["all"], &[2.0, 6.0, 4.0, 12.0, 8.0, 24.0]);
}

#[test]
fn a_loop_of_no_steps_gives_what_it_began_with_and_nothing() {
    let outer = graph("x:float[2]").ints("n", &[], &[0]);
    let imported = outer.with("Loop n _ x -> last all", [body("body", doubling())]).gives("last all").import();
    let results = run(&imported, &[("x", floats(&[2], &[1.0, 3.0]))]);
    close(&results["last"], &[1.0, 3.0]);
    assert_eq!(results["all"].shape, [0, 2]);
}

/// Doubles as long as the sum is below 100.
fn doubling_below() -> Build {
    let body = graph("i going v").floats("limit", &[], &[100.0]).node("Add v v -> w").node("Add w offset -> y");
    body.with("ReduceSum w -> sum", [int("keepdims", 0)]).node("Less sum limit -> on").gives("on w y")
}

#[test]
fn a_loop_whose_condition_depends_on_data_is_a_while_and_counts_what_it_stacks() {
    let outer = graph("x:float[2] offset:float[2]").ints("n", &[], &[20]).truth("go");
    let imported = outer.with("Loop n go x -> last all", [body("body", doubling_below())]).gives("last all").import();
    assert!(ops(&imported).contains(&"while"));
    let bound = imported.outputs[1].bound.expect("the number of steps is counted");
    let inputs = [("x", floats(&[2], &[1.0, 3.0])), ("offset", floats(&[2], &[0.5, 0.0]))];
    let results = run(&imported, &inputs);
    close(&results["last"], &[32.0, 96.0]);
    assert_eq!((bound.axis, results[bound.count].to_i64()), (0, vec![5]));
    assert_eq!(results["all"].shape, [20, 2]);
    close(&floats(&[2], &results["all"].to_f32()[8..10]), &[32.5, 96.0]);
}

#[test]
fn what_grows_from_step_to_step_is_unrolled() {
    let grow = graph("i going v").node("Identity going -> on");
    let grow = grow.with("Concat v x -> w", [int("axis", 0)]).gives("on w");
    let outer = graph("x:float[2]").ints("n", &[], &[2]);
    let imported = outer.with("Loop n _ x -> last", [body("body", grow)]).gives("last").import();
    assert!(!ops(&imported).contains(&"scan"));
    close(&run(&imported, &[("x", floats(&[2], &[1.0, 3.0]))])["last"], &[1.0, 3.0, 1.0, 3.0, 1.0, 3.0]);
}

#[test]
fn what_a_loop_computes_of_known_numbers_is_known() {
    // 1 * 2 * 3, in steps, is an extent.
    let times = graph("i going v").node("Identity going -> on").ints("one", &[], &[1]);
    let times = times.node("Add i one -> k").node("Mul v k -> w").gives("on w");
    let outer = graph("x:float[2,3]").ints("n", &[], &[3]).ints("start", &[1], &[1]);
    let outer = outer.with("Loop n _ start -> extent", [body("body", times)]);
    let imported = outer.node("Reshape x extent -> y").gives("y").import();
    assert_eq!(ops(&imported), ["reshape"]);
}

#[test]
fn branches_of_one_type_are_a_cond_whose_weights_have_names_of_their_own() {
    let branch =
        |op: &str, weight: &[f32]| graph("").floats("w", &[2], weight).node(&format!("{op} x w -> r")).gives("r");
    let branches = [body("then_branch", branch("Add", &[1.0, 2.0])), body("else_branch", branch("Mul", &[3.0, 4.0]))];
    let outer = graph("x:float[2]").floats("zero", &[], &[0.0]).with("ReduceSum x -> sum", [int("keepdims", 0)]);
    let imported = outer.node("Greater sum zero -> c").with("If c -> y", branches).gives("y").import();
    assert!(ops(&imported).contains(&"cond"));
    let names: Vec<&str> = imported.module.funcs[0].params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!(names, ["x", "w", "w.1"]);
    close(&run(&imported, &[("x", floats(&[2], &[1.0, 1.0]))])["y"], &[2.0, 3.0]);
    close(&run(&imported, &[("x", floats(&[2], &[-1.0, -1.0]))])["y"], &[-3.0, -4.0]);
}

#[test]
fn branches_of_different_types_need_the_condition() {
    let first = graph("").node("Identity x -> r").gives("r");
    let second = graph("").with("Concat x x -> r", [int("axis", 0)]).gives("r");
    let branches = [body("then_branch", first), body("else_branch", second)];
    let bytes = graph("x:float[2] c:bool[]").with("If c -> y", branches).gives("y").model(Vec::new());
    let error = import(&bytes, &Options::default()).expect_err("the type of `y` depends on `c`");
    assert_eq!(error.needs.iter().collect::<Vec<_>>(), ["c"]);
    let truth = TensorData::from_integers(nnc_ir::DType::Bool, vec![], [0]);
    let options = Options { values: BTreeMap::from([("c".to_string(), truth)]), ..Options::default() };
    let imported = import(&bytes, &options).expect("the condition is known");
    close(&run(&imported, &[("x", floats(&[2], &[1.0, 2.0]))])["y"], &[1.0, 2.0, 1.0, 2.0]);
}

#[test]
fn what_is_at_fault_in_a_body_is_reported_once_and_in_its_place() {
    let broken = graph("i going v").node("Identity going -> on").node("MatMul v v -> w").gives("on w");
    let outer = graph("x:float[2,3]").ints("n", &[], &[2]).with("Loop n _ x -> y", [body("body", broken)]);
    let error = import(&outer.gives("y").model(Vec::new()), &Options::default()).expect_err("the shapes do not fit");
    let text = error.to_string();
    assert!(text.contains("node #1 (MatMul)"), "{text}");
    assert_eq!(error.diagnostics.len(), 1, "{text}");
}

#[test]
fn scans_along_any_axis_in_any_direction() {
    let step = graph("s a b").node("Add s a -> t").node("Mul t b -> next").node("Identity next -> y");
    let step = step.node("Neg t -> z").gives("next y z");
    let attributes = [
        body("body", step),
        int("num_scan_inputs", 2),
        ints("scan_input_axes", &[1, -2]),
        ints("scan_input_directions", &[0, 1]),
        ints("scan_output_axes", &[-1, 0]),
        ints("scan_output_directions", &[1, 0]),
    ];
    let outer = graph("s:float[1] a:float[1,3] b:float[3,1]").with("Scan s a b -> last ys zs", attributes);
    let imported = outer.gives("last ys zs").import();
    assert!(ops(&imported).contains(&"scan"));
    let inputs = [
        ("s", floats(&[1], &[1.0])),
        ("a", floats(&[1, 3], &[1.0, 2.0, 3.0])),
        ("b", floats(&[3, 1], &[2.0, 3.0, 5.0])),
    ];
    // t: 2, 12, 39; next: 2·5, 12·3, 39·2, with b from its end.
    let results = run(&imported, &inputs);
    close(&results["last"], &[78.0]);
    assert_eq!((&results["ys"].shape[..], &results["zs"].shape[..]), (&[1, 3][..], &[3, 1][..]));
    close(&results["ys"], &[78.0, 36.0, 10.0]);
    close(&results["zs"], &[-2.0, -12.0, -39.0]);
}

#[test]
fn functions_take_attributes_and_share_their_weights_between_calls() {
    let reference =
        AttributeProto { ref_attr_name: Some("slope".to_string()), ..attribute("alpha", attribute_type::FLOAT) };
    let weight = TensorProto { data_type: Some(1), dims: vec![2], float_data: vec![1.0, -1.0], ..Default::default() };
    let value = AttributeProto { t: Some(weight), ..attribute("value", attribute_type::TENSOR) };
    let function = FunctionProto {
        name: Some("Bent".to_string()),
        domain: Some("local".to_string()),
        input: vec!["a".to_string()],
        output: vec!["b".to_string()],
        attribute: vec!["slope".to_string()],
        node: vec![
            node("Constant -> w", [value]),
            node("Add a w -> c", Vec::new()),
            node("LeakyRelu c -> b", [reference]),
        ],
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(24) }],
        ..Default::default()
    };
    let slope = |slope: f32| AttributeProto { f: Some(slope), ..attribute("slope", attribute_type::FLOAT) };
    let outer = graph("x:float[2]").with("local.Bent x -> t", [slope(0.5)]).with("local.Bent t -> y", [slope(0.25)]);
    let imported = import(&outer.gives("y").model(vec![function]), &Options::default()).expect("the model is sound");
    assert_eq!(imported.module.funcs[0].params.len(), 2);
    close(&run(&imported, &[("x", floats(&[2], &[1.0, -3.0]))])["y"], &[3.0, -0.75]);
}

#[test]
fn derivatives_of_derivatives() {
    let names = |name: &str, names: &[&str]| AttributeProto {
        strings: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
        ..attribute(name, attribute_type::STRINGS)
    };
    let of = |y: &str| AttributeProto { s: Some(y.as_bytes().to_vec()), ..attribute("y", attribute_type::STRING) };
    // y = x³·w
    let outer = graph("x:float[2] w:float[2]").node("Mul x x -> square").node("Mul square x -> cube");
    let outer = outer
        .node("Mul cube w -> y")
        .with("ai.onnx.preview.training.Gradient x w -> dx dw", [names("xs", &["x", "w"]), of("y")]);
    let outer = outer
        .with("ai.onnx.preview.training.Gradient x w -> dxx", [names("xs", &["x"]), names("zs", &["w"]), of("dx")]);
    let imported = outer.gives("y dx dw dxx").import();
    let results = run(&imported, &[("x", floats(&[2], &[2.0, -1.0])), ("w", floats(&[2], &[1.0, 3.0]))]);
    close(&results["y"], &[8.0, -3.0]);
    close(&results["dx"], &[12.0, 9.0]);
    close(&results["dw"], &[8.0, -1.0]);
    close(&results["dxx"], &[12.0, -18.0]);
}

#[test]
fn sequences_among_inputs_are_inputs_of_their_elements() {
    let element = TypeProto {
        value: Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape: None })),
        ..Default::default()
    };
    let list = type_proto::Element { elem_type: Some(Box::new(element)) };
    let mut outer = graph("s").with("ConcatFromSequence s -> y", [int("axis", 0)]).gives("y");
    outer.0.input[0].r#type =
        Some(TypeProto { value: Some(type_proto::Value::SequenceType(Box::new(list))), ..Default::default() });
    let shapes = BTreeMap::from([("s.0".to_string(), vec![1]), ("s.1".to_string(), vec![2])]);
    let options = Options { shapes, ..Options::default() };
    let imported = import(&outer.model(Vec::new()), &options).expect("the elements are known");
    assert_eq!((imported.inputs[0].positions.clone(), imported.inputs[0].is_sequence), (0..2, true));
    let results = run(&imported, &[("s.0", floats(&[1], &[1.0])), ("s.1", floats(&[2], &[2.0, 3.0]))]);
    close(&results["y"], &[1.0, 2.0, 3.0]);
}

#[test]
fn a_padded_sequence_is_as_if_it_were_alone() {
    let weights = |n: usize, seed: usize| (0..n).map(|k| ((k * 7 + seed) % 11) as f32 / 11.0 - 0.5).collect::<Vec<_>>();
    let direction =
        AttributeProto { s: Some(b"bidirectional".to_vec()), ..attribute("direction", attribute_type::STRING) };
    let model = |inputs: &str, lengths: &str| {
        let outer = graph(inputs).floats("w", &[2, 16, 3], &weights(96, 1)).floats("r", &[2, 16, 4], &weights(128, 2));
        let outer = outer.floats("b", &[2, 32], &weights(64, 3)).ints("long", &[2], &[4, 2]);
        let outer = outer.with("Cast long -> l", [int("to", 6)]);
        outer.with(&format!("LSTM x w r b {lengths} -> y h c"), [direction.clone()]).gives("y h c").import()
    };
    let x = weights(4 * 2 * 3, 5);
    let padded = run(&model("x:float[4,2,3]", "l"), &[("x", floats(&[4, 2, 3], &x))]);
    // The second sequence ends after two steps.
    let second: Vec<f32> = [&x[3..6], &x[9..12]].concat();
    let alone = run(&model("x:float[2,1,3]", "_"), &[("x", floats(&[2, 1, 3], &second))]);
    let (padded_y, alone_y) = (padded["y"].to_f32(), alone["y"].to_f32());
    for step in 0..4 {
        for direction in 0..2 {
            let found = &padded_y[((step * 2 + direction) * 2 + 1) * 4..][..4];
            let expected = if step < 2 { alone_y[(step * 2 + direction) * 4..][..4].to_vec() } else { vec![0.0; 4] };
            close(&floats(&[4], found), &expected);
        }
    }
    for state in ["h", "c"] {
        let (padded, alone) = (padded[state].to_f32(), alone[state].to_f32());
        for direction in 0..2 {
            close(&floats(&[4], &padded[(direction * 2 + 1) * 4..][..4]), &alone[direction * 4..][..4]);
        }
    }
}

#[test]
fn fused_attention_is_what_it_was_fused_from() {
    let weights = |n: usize, seed: usize| (0..n).map(|k| ((k * 5 + seed) % 13) as f32 / 13.0 - 0.5).collect::<Vec<_>>();
    let outer = graph("x:float[2,3,4]").floats("w", &[4, 12], &weights(48, 1)).floats("b", &[12], &weights(12, 2));
    let outer = outer.with("com.microsoft.Attention x w b -> fused", [int("num_heads", 2), int("unidirectional", 1)]);
    let outer = outer.node("MatMul x w -> xw").node("Add xw b -> qkv");
    let outer = outer.with("Split qkv -> q k v", [int("axis", -1), int("num_outputs", 3)]);
    let heads = [int("q_num_heads", 2), int("kv_num_heads", 2), int("is_causal", 1)];
    let imported = outer.with("Attention q k v -> plain", heads).gives("fused plain").import();
    let results = run(&imported, &[("x", floats(&[2, 3, 4], &weights(24, 3)))]);
    close(&results["fused"], &results["plain"].to_f32());
}

#[test]
fn a_branch_that_does_not_fit_asks_for_the_condition() {
    // Only one branch is right for inputs of this shape, as in models of two rates of sound.
    let fits = graph("").node("Neg x -> y").gives("y");
    let misfit = graph("").ints("shape", &[1], &[3]).node("Reshape x shape -> y").gives("y");
    let branches = [body("then_branch", fits), body("else_branch", misfit)];
    let bytes = graph("x:float[2] c:bool[]").with("If c -> y", branches).gives("y").model(Vec::new());
    let error = import(&bytes, &Options::default()).unwrap_err();
    assert_eq!(error.needs.iter().collect::<Vec<_>>(), ["c"]);
    assert!(error.to_string().contains("Reshape"), "{error}");

    let holds = |value: i64| {
        let condition = TensorData::from_integers(nnc_ir::DType::Bool, vec![], [value]);
        Options { values: BTreeMap::from([("c".to_string(), condition)]), ..Options::default() }
    };
    let imported = import(&bytes, &holds(1)).expect("the branch that is left fits");
    close(&run(&imported, &[("x", floats(&[2], &[1.0, -2.0]))])["y"], &[-1.0, 2.0]);
    assert!(import(&bytes, &holds(0)).unwrap_err().needs.is_empty());
}

#[test]
fn floats_that_decide_shapes_are_no_weights() {
    let outer = graph("x:float[1]").floats("sizes", &[2], &[2.0, 3.0]).floats("scale", &[1], &[2.0]);
    let imported = outer
        .ints("zero", &[], &[0])
        .ints("one", &[], &[1])
        .with("ReduceMax sizes -> most", [int("keepdims", 0)])
        .with("Cast most -> n", [int("to", 7)])
        .node("Range zero n one -> numbers")
        .with("Cast numbers -> floats", [int("to", 1)])
        .node("Mul floats scale -> scaled")
        .node("Add scaled x -> y")
        .gives("y")
        .import();
    close(&run(&imported, &[("x", floats(&[1], &[0.5])), ("scale", floats(&[1], &[2.0]))])["y"], &[0.5, 2.5, 4.5]);
    let weights: Vec<String> = imported.module.weights.keys().map(ToString::to_string).collect();
    assert_eq!(weights, ["scale"]);
}
