//! Shape arithmetic at symbolic extents: what exporters write around `Reshape`, `Expand`, `Slice` and the like leaves
//! types with expressions in the symbols, and no nodes.

use std::collections::BTreeMap;

use nnc_ir::{Bindings, DType, Op, TensorData, interp};
use nnc_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_type, tensor_shape_proto, type_proto,
};
use nnc_onnx::{Imported, Options, import_bytes};
use prost::Message;

/// A model of input `x: float[...]` and output `y`, in the newest operator set.
#[derive(Default)]
struct Model {
    dims: Vec<String>,
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

/// The model whose input has these extents, numbers or names.
fn model(dims: &str) -> Model {
    Model { dims: dims.split_whitespace().map(str::to_string).collect(), ..Model::default() }
}

impl Model {
    fn constant(mut self, name: &str, ints: &[i64]) -> Self {
        self.constants.push(TensorProto {
            name: Some(name.to_string()),
            data_type: Some(7),
            dims: vec![ints.len() as i64],
            int64_data: ints.to_vec(),
            ..TensorProto::default()
        });
        self
    }

    fn scalar(mut self, name: &str, int: i64) -> Self {
        self = self.constant(name, &[int]);
        self.constants.last_mut().expect("just added").dims.clear();
        self
    }

    fn float(mut self, name: &str, value: f32) -> Self {
        self.constants.push(TensorProto {
            name: Some(name.to_string()),
            data_type: Some(1),
            float_data: vec![value],
            ..TensorProto::default()
        });
        self
    }

    /// `op inputs... -> outputs...`
    fn node(self, text: &str) -> Self {
        self.node_with(text, &[])
    }

    /// A node with integer attributes; more than one number, or none, is a list.
    fn node_with(mut self, text: &str, attributes: &[(&str, &[i64])]) -> Self {
        let (left, right) = text.split_once("->").expect("a node gives something");
        let names = |text: &str| -> Vec<String> {
            text.split_whitespace().map(|name| if name == "_" { String::new() } else { name.to_string() }).collect()
        };
        let mut input = names(left);
        let op_type = Some(input.remove(0));
        let attribute = attributes
            .iter()
            .map(|&(name, ints)| match ints {
                [int] => AttributeProto {
                    name: Some(name.to_string()),
                    r#type: Some(attribute_type::INT),
                    i: Some(*int),
                    ..AttributeProto::default()
                },
                ints => AttributeProto {
                    name: Some(name.to_string()),
                    r#type: Some(attribute_type::INTS),
                    ints: ints.to_vec(),
                    ..AttributeProto::default()
                },
            })
            .collect();
        self.nodes.push(NodeProto { input, output: names(right), op_type, attribute, ..NodeProto::default() });
        self
    }

    fn import(self) -> Result<Imported, String> {
        let dimension = |extent: &String| {
            let value = match extent.parse() {
                Ok(extent) => tensor_shape_proto::Value::DimValue(extent),
                Err(_) => tensor_shape_proto::Value::DimParam(extent.clone()),
            };
            tensor_shape_proto::Dimension { value: Some(value) }
        };
        let port = |name: &str, shape| {
            let tensor = type_proto::Tensor { elem_type: Some(1), shape };
            let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None };
            ValueInfoProto { name: Some(name.to_string()), r#type: Some(ty), doc_string: None }
        };
        let shape = TensorShapeProto { dim: self.dims.iter().map(dimension).collect() };
        let graph = GraphProto {
            node: self.nodes,
            initializer: self.constants,
            input: vec![port("x", Some(shape))],
            output: vec![port("y", None)],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: Some(10),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(21) }],
            ..ModelProto::default()
        };
        import_bytes(&model.encode_to_vec(), None, "test.onnx", &Options::default()).map_err(|error| error.to_string())
    }

    /// Imports, and gives the type of the result and the mnemonics of the nodes.
    #[track_caller]
    fn shows(self, expected: &str) -> Imported {
        let imported = self.import().unwrap_or_else(|error| panic!("{error}"));
        let graph = &imported.module.funcs[0].graph;
        let ops: Vec<&str> = graph
            .nodes()
            .filter(|(_, node)| !matches!(node.op, Op::Param(_)))
            .map(|(_, node)| node.op.mnemonic())
            .collect();
        let found = format!("{} = {}", graph.ty(graph.results()[0]), ops.join(" "));
        assert_eq!(found, expected);
        imported
    }
}

/// What the model makes of the numbers 0, 1, 2, ... in an input of this shape.
#[track_caller]
fn run(imported: &Imported, shape: &[usize]) -> TensorData {
    let n: usize = shape.iter().product();
    let x = TensorData::from_doubles(DType::F32, shape.to_vec(), (0..n).map(|at| at as f64));
    let inputs: BTreeMap<_, _> = [("x".to_string(), x)].into();
    let func = &imported.module.funcs[0];
    let inputs = inputs.into_iter().collect();
    let results = interp::eval_func(func, &imported.module.weights, &inputs, &Bindings::new());
    results.unwrap_or_else(|faults| panic!("{faults:?}"))[0].clone()
}

/// Where shape arithmetic would make an extent that nobody can write down, it becomes a computation.
#[test]
fn extents_do_not_grow_without_end() {
    let mut squares = model("N").node("Shape x -> v0");
    for at in 0..40 {
        squares = squares.node(&format!("Mul v{at} v{at} -> v{}", at + 1));
    }
    let imported = squares.node("Identity v40 -> y").import().expect("the last products are nodes");
    assert_eq!(run(&imported, &[1]).to_i64(), [1]);

    let mut quotients = model("N").constant("one", &[1]).constant("three", &[3]).node("Shape x -> v0");
    for at in 0..2000 {
        quotients = quotients.node(&format!("Add v{at} one -> s{at}")).node(&format!("Div s{at} three -> v{}", at + 1));
    }
    let imported = quotients.node("Identity v2000 -> y").import().expect("the last quotients are nodes");
    assert_eq!(run(&imported, &[100]).to_i64(), [0]);

    // The extents of a tensor itself are refused: `[N]` to `[N, N]` to `[N²]`, again and again.
    let mut spread = model("N").constant("first", &[0]).constant("second", &[1]).constant("rest", &[-1]);
    spread = spread.node("Identity x -> v0");
    for at in 0..20 {
        spread = spread
            .node(&format!("Unsqueeze v{at} first -> row{at}"))
            .node(&format!("Unsqueeze v{at} second -> column{at}"))
            .node(&format!("Mul row{at} column{at} -> square{at}"))
            .node(&format!("Reshape square{at} rest -> v{}", at + 1));
    }
    let error = spread.node("Identity v20 -> y").import().expect_err("an extent of N to the power of a million");
    assert!(error.contains("too long an expression") || error.contains("symbols and numbers"), "{error}");
}

#[test]
fn slices_go_backward_from_any_start() {
    let slice = |start: i64, end: i64, step: i64| {
        let backward = model("5").constant("start", &[start]).constant("end", &[end]);
        let backward = backward.constant("axis", &[0]).constant("step", &[step]);
        run(&backward.node("Slice x start end axis step -> y").import().expect("a slice"), &[5]).to_f64()
    };
    assert_eq!(slice(3, 0, -2), [3.0, 1.0]);
    assert_eq!(slice(9, i64::MIN, -2), [4.0, 2.0, 0.0]);
    // A start before the first element is the first.
    assert_eq!(slice(-8, i64::MIN, -1), [0.0]);
    assert_eq!(slice(-8, -9, -1), [0.0]);
    // Exporters write the largest number for the end in either direction.
    assert_eq!(slice(2, i64::MAX, -1), [2.0, 1.0, 0.0]);
    assert_eq!(slice(2, i64::MAX, 1), [2.0, 3.0, 4.0]);
}

#[test]
fn heads_are_split_by_extents_that_stay_symbols() {
    let split = model("N S 12")
        .scalar("zero", 0)
        .scalar("one", 1)
        .constant("axis", &[0])
        .constant("rest", &[3, 4])
        .node("Shape x -> shape")
        .node_with("Gather shape zero -> n", &[("axis", &[0])])
        .node_with("Gather shape one -> s", &[("axis", &[0])])
        .node("Unsqueeze n axis -> n1")
        .node("Unsqueeze s axis -> s1")
        .node_with("Concat n1 s1 rest -> heads", &[("axis", &[0])])
        .node("Reshape x heads -> split")
        .node_with("Transpose split -> y", &[("perm", &[0, 2, 1, 3])]);
    let imported = split.shows("f32[N, 3, S, 4] = reshape transpose");
    assert_eq!(run(&imported, &[1, 2, 12]).shape, [1, 3, 2, 4]);
}

#[test]
fn expand_takes_minus_one_for_what_is_there() {
    // What PyTorch exports for `x.expand(-1, 4, -1)`.
    model("N 1 S")
        .constant("wanted", &[-1, 4, -1])
        .constant("minus", &[-1])
        .node("Shape x -> own")
        .node("Equal wanted minus -> open")
        .node("Where open own wanted -> target")
        .node("Expand x target -> y")
        .shows("f32[N, 4, S] = broadcast_in_dim");
    // The same with a symbolic extent in the wish.
    model("N 1 S")
        .constant("minus", &[-1])
        .constant("four", &[4])
        .constant("last", &[2])
        .constant("end", &[3])
        .node("Shape x -> own")
        .node("Slice own last end -> s")
        .node_with("Concat minus four s -> wanted", &[("axis", &[0])])
        .node("Equal wanted minus -> open")
        .node("Where open own wanted -> target")
        .node("Expand x target -> y")
        .shows("f32[N, 4, S] = broadcast_in_dim");
}

#[test]
fn arithmetic_goes_through_floats_and_back() {
    // Twice the extent, computed as exporters of `interpolate` do.
    let doubled = model("N S")
        .float("two", 2.0)
        .constant("minus", &[-1])
        .scalar("one", 1)
        .constant("axis", &[0])
        .node("Shape x -> shape")
        .node_with("Gather shape one -> s", &[("axis", &[0])])
        .node_with("Cast s -> sf", &[("to", &[1])])
        .node("Mul sf two -> double")
        .node("Floor double -> whole")
        .node_with("Cast whole -> back", &[("to", &[7])])
        .node("Unsqueeze back axis -> back1")
        .node_with("Concat x x -> xx", &[("axis", &[1])])
        .node_with("Concat minus back1 -> target", &[("axis", &[0])])
        .node("Reshape xx target -> y");
    doubled.shows("f32[N, 2*S] = concatenate");
}

#[test]
fn slices_end_at_symbols_and_run_backward() {
    model("N S")
        .constant("table", &[5, 6, 7, 8, 9, 10, 11, 12])
        .constant("first", &[0])
        .constant("one", &[1])
        .constant("two", &[2])
        .node("Shape x -> shape")
        .node("Slice shape one two -> s")
        .node("Slice table first s -> positions")
        .node_with("Cast positions -> floats", &[("to", &[1])])
        .node("Add x floats -> y")
        .shows("f32[N, S] = constant slice convert broadcast_in_dim add");
    let reversed = model("N S")
        .constant("from", &[-1])
        .constant("to", &[i64::MIN])
        .constant("axis", &[1])
        .constant("step", &[-2])
        .node("Slice x from to axis step -> y");
    let imported = reversed.shows("f32[N, ((S + 1) // 2)] = reverse slice");
    assert_eq!(run(&imported, &[1, 4]).to_f64(), [3.0, 1.0]);
    let middle = model("2 8")
        .constant("from", &[6])
        .constant("to", &[1])
        .constant("axis", &[-1])
        .constant("step", &[-2])
        .node("Slice x from to axis step -> y");
    let imported = middle.shows("f32[2, 3] = reverse slice");
    assert_eq!(run(&imported, &[2, 8]).to_f64(), [6.0, 4.0, 2.0, 14.0, 12.0, 10.0]);
}

#[test]
fn counts_fills_and_parts_follow_symbols() {
    let counted = model("N S")
        .scalar("zero", 0)
        .scalar("one", 1)
        .node("Shape x -> shape")
        .node_with("Gather shape one -> s", &[("axis", &[0])])
        .node("Range zero s one -> count")
        .node("ConstantOfShape shape -> zeros")
        .node_with("Cast count -> floats", &[("to", &[1])])
        .node("Add zeros floats -> y");
    let imported = counted.shows("f32[N, S] = iota constant broadcast_in_dim convert broadcast_in_dim add");
    assert_eq!(run(&imported, &[2, 3]).to_f64(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);

    model("N 6")
        .node_with("Split x -> a b", &[("axis", &[1]), ("num_outputs", &[2])])
        .node("Size a -> n")
        .constant("minus", &[-1])
        .node("Reshape n minus -> n1")
        .node("Reshape a n1 -> y")
        .shows("f32[3*N] = slice slice reshape");
    model("N S")
        .constant("axes", &[0])
        .node("Shape x -> shape")
        .node_with("ReduceProd shape -> n", &[("keepdims", &[1])])
        .node("Reshape x n -> y")
        .shows("f32[N*S] = reshape");
}

#[test]
fn paddings_are_turned_as_exporters_turn_them() {
    // PyTorch's order is from the last dimension on, in pairs; ONNX's is all beginnings, then all ends.
    let padded = model("N 2 3")
        .constant("pairs", &[1, 2])
        .scalar("rank", 3)
        .scalar("two", 2)
        .constant("minus", &[-1])
        .constant("matrix", &[-1, 2])
        .constant("first", &[0])
        .constant("last", &[-1])
        .constant("before", &[i64::MIN + 1])
        .node("Mul rank two -> all")
        .node("Size pairs -> given")
        .node("Sub all given -> n")
        .node("Reshape n minus -> n1")
        .node("ConstantOfShape n1 -> floats")
        .node_with("Cast floats -> zeros", &[("to", &[7])])
        .node_with("Concat pairs zeros -> amounts", &[("axis", &[0])])
        .node("Reshape amounts matrix -> table")
        .node("Slice table last before first last -> turned")
        .node_with("Transpose turned -> columns", &[("perm", &[1, 0])])
        .node("Reshape columns minus -> pads")
        .node("Pad x pads -> y");
    let imported = padded.shows("f32[N, 2, 6] = constant pad");
    assert_eq!(run(&imported, &[1, 2, 3]).to_f64()[..6], [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
}

#[test]
fn what_nobody_can_decide_is_computed_when_the_program_runs() {
    let compared = model("N S")
        .scalar("four", 4)
        .scalar("one", 1)
        .node("Shape x -> shape")
        .node_with("Gather shape one -> s", &[("axis", &[0])])
        .node("Less s four -> short")
        .node("Neg x -> negative")
        .node("Where short x negative -> y");
    let imported = compared.import().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run(&imported, &[1, 2]).to_f64(), [0.0, 1.0]);
    assert_eq!(run(&imported, &[1, 4]).to_f64(), [0.0, -1.0, -2.0, -3.0]);
}

#[test]
fn faults_name_what_was_found() {
    let fault = |model: Model| model.import().err().unwrap_or_default();
    let odd = fault(model("2 3").constant("axis", &[0]).node("Squeeze x axis -> y"));
    assert!(odd.contains("axis 0 of f32[2, 3] is 2, expected 1"), "{odd}");
    let uneven = fault(model("2 N").node_with("Split x -> y b", &[("axis", &[1])]));
    assert!(uneven.contains("does not divide into 2 parts"), "{uneven}");
    let mixed = fault(model("2 3").constant("one", &[1]).node("Add x one -> y"));
    assert!(mixed.contains("float and int64"), "{mixed}");
    let axis = fault(model("2 3").node_with("ReduceSum x -> s", &[]).node_with("Concat x x -> y", &[("axis", &[5])]));
    assert!(axis.contains("dimension 5 is out of range"), "{axis}");
}
