//! ONNX models whose outputs have as many elements as the data say: imported once, run with several inputs, and compared
//! with the same computed by hand.

use indexmap::IndexMap;
use nnc_ir::{Bindings, DType, TensorData, interp};
use nnc_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_type, tensor_shape_proto, type_proto,
};
use nnc_onnx::{ElemType, Imported, Options, Port, crop, import_bytes};
use prost::Message;

/// An ONNX model under construction.
#[derive(Default)]
struct Model {
    graph: GraphProto,
}

impl Model {
    fn input(mut self, name: &str, elem: ElemType, shape: &[i64]) -> Self {
        let dim =
            |&extent: &i64| tensor_shape_proto::Dimension { value: Some(tensor_shape_proto::Value::DimValue(extent)) };
        let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
        let tensor = type_proto::Tensor { elem_type: Some(elem.number()), shape: Some(shape) };
        let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        self.graph.input.push(ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() });
        self
    }

    fn ints(mut self, name: &str, shape: &[i64], values: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            data_type: Some(ElemType::Int64.number()),
            dims: shape.to_vec(),
            int64_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    fn float(mut self, name: &str, value: f32) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.into()),
            data_type: Some(ElemType::Float.number()),
            float_data: vec![value],
            ..Default::default()
        });
        self
    }

    /// `"a, b = Op(x, y)"` with integer attributes.
    fn node(mut self, text: &str, attributes: &[(&str, i64)]) -> Self {
        let names = |text: &str| text.split(',').map(|name| name.trim().to_string()).collect();
        let (outputs, call) = text.split_once('=').expect("an equals sign");
        let (op_type, inputs) = call.trim().trim_end_matches(')').split_once('(').expect("a call");
        let attribute = attributes.iter().map(|&(name, value)| AttributeProto {
            name: Some(name.into()),
            r#type: Some(attribute_type::INT),
            i: Some(value),
            ..Default::default()
        });
        self.graph.node.push(NodeProto {
            op_type: Some(op_type.into()),
            input: names(inputs),
            output: names(outputs),
            attribute: attribute.collect(),
            ..Default::default()
        });
        self
    }

    fn imported(mut self, outputs: &[&str]) -> Result<Imported, String> {
        self.graph.output =
            outputs.iter().map(|&name| ValueInfoProto { name: Some(name.into()), ..Default::default() }).collect();
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
            graph: Some(self.graph),
            ..Default::default()
        };
        let bytes = model.encode_to_vec();
        import_bytes(&bytes, None, "model.onnx", &Options::default()).map_err(|error| error.to_string())
    }
}

/// An imported model.
struct Runner {
    imported: Imported,
}

impl Runner {
    fn new(model: Model, outputs: &[&str]) -> Self {
        let imported = model.imported(outputs).unwrap();
        imported.module.verify().unwrap();
        Self { imported }
    }

    /// What counts of the outputs.
    fn run(&self, inputs: &[TensorData]) -> Vec<TensorData> {
        let module = &self.imported.module;
        let names = self.imported.inputs.iter().map(|port: &Port| port.name.clone());
        let named = names.zip(inputs.iter().cloned()).collect();
        self.counted(&interp::eval_func(&module.funcs[0], &module.weights, &named, &Bindings::new()).unwrap())
    }

    /// What counts of each output.
    fn counted(&self, results: &IndexMap<String, TensorData>) -> Vec<TensorData> {
        let part = |port: &Port| {
            let data = &results[port.positions.start];
            match &port.bound {
                Some(bound) => crop(data, bound.axis, results[bound.count].to_i64()[0] as usize),
                None => data.clone(),
            }
        };
        self.imported.outputs.iter().map(part).collect()
    }
}

/// Uniform numbers in [0, 1).
fn uniform(seed: u32, shape: &[usize]) -> TensorData {
    let n: usize = shape.iter().product();
    let mut state = u64::from(seed) + 1;
    let mut value = |_| {
        // Knuth's linear congruential generator; its upper bits are the good ones.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    TensorData::from_f32(shape.to_vec(), &(0..n).map(&mut value).collect::<Vec<_>>())
}

/// A box as two corners.
fn overlap(a: &[f32], b: &[f32]) -> f32 {
    let side = |at: usize| (a[at + 2].min(b[at + 2]) - a[at].max(b[at])).max(0.0);
    let area = |c: &[f32]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

/// `NonMaxSuppression` as its specification words it: candidates from the best on, kept if no kept one overlaps.
fn suppressed(boxes: &[f32], scores: &[f32], n: usize, most: usize, iou: f32, least: f32) -> Vec<[i64; 3]> {
    let mut rows = Vec::new();
    for (class, scores) in scores.chunks(n).enumerate() {
        let mut order: Vec<usize> = (0..n).filter(|&at| scores[at] > least).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut kept: Vec<usize> = Vec::new();
        for at in order {
            let corners = |at: usize| &boxes[at * 4..at * 4 + 4];
            if kept.len() < most && kept.iter().all(|&other| overlap(corners(at), corners(other)) <= iou) {
                kept.push(at);
            }
        }
        rows.extend(kept.into_iter().map(|at| [0, class as i64, at as i64]));
    }
    rows
}

#[test]
fn a_detector_runs_with_varying_inputs() {
    const N: usize = 40;
    const CLASSES: usize = 3;
    // Centers and extents to corners, scores, the best boxes of each class, and their coordinates and classes.
    let model = Model::default()
        .input("raw", ElemType::Float, &[1, N as i64, 4])
        .input("scores", ElemType::Float, &[1, CLASSES as i64, N as i64])
        .ints("most", &[1], &[20])
        .float("iou", 0.2)
        .float("least", 0.4)
        .float("half", 0.5)
        .ints("halves", &[2], &[2, 2])
        .ints("two", &[1], &[2])
        .ints("axis", &[1], &[1])
        .node("center, extent = Split(raw, halves)", &[("axis", 2)])
        .node("radius = Mul(extent, half)", &[])
        .node("low = Sub(center, radius)", &[])
        .node("high = Add(center, radius)", &[])
        .node("boxes = Concat(low, high)", &[("axis", 2)])
        .node("selected = NonMaxSuppression(boxes, scores, most, iou, least)", &[])
        .node("column = Gather(selected, two)", &[("axis", 1)])
        .node("rows = Squeeze(column, axis)", &[])
        .node("flat = Squeeze(boxes, zero)", &[])
        .node("picked = Gather(flat, rows)", &[("axis", 0)])
        .node("double = Add(picked, picked)", &[])
        .ints("zero", &[1], &[0]);
    let model = Runner::new(model, &["selected", "double", "rows"]);
    let bound = model.imported.outputs[1].bound.unwrap();
    assert_eq!((bound.axis, model.imported.module.funcs[0].results[bound.count].name.as_str()), (0, "double.count"));
    let mut counts = Vec::new();
    for seed in 0..4 {
        let (raw, scores) = (uniform(seed, &[1, N, 4]), uniform(seed + 100, &[1, CLASSES, N]));
        let numbers = raw.to_f32();
        let boxes: Vec<f32> = numbers
            .chunks(4)
            .flat_map(|b| {
                let radius = [b[2] * 0.5, b[3] * 0.5];
                [b[0] - radius[0], b[1] - radius[1], b[0] + radius[0], b[1] + radius[1]]
            })
            .collect();
        let expected = suppressed(&boxes, &scores.to_f32(), N, 20, 0.2, 0.4);
        let outputs = model.run(&[raw, scores]);
        assert_eq!(outputs[0].shape, [expected.len(), 3]);
        assert_eq!(outputs[0].to_i64(), expected.concat());
        let coordinates = expected.iter().flat_map(|row| &boxes[row[2] as usize * 4..][..4]).map(|&c| c + c);
        assert_eq!(outputs[1].to_f32(), coordinates.collect::<Vec<_>>());
        assert_eq!(outputs[2].to_i64(), expected.iter().map(|row| row[2]).collect::<Vec<_>>());
        counts.push(expected.len());
    }
    assert!(counts.iter().any(|&count| count != counts[0]), "{counts:?}");

    // Nothing is good enough.
    let nothing = TensorData::from_f32(vec![1, CLASSES, N], &[0.1; CLASSES * N]);
    let outputs = model.run(&[uniform(9, &[1, N, 4]), nothing]);
    assert_eq!(outputs[1].shape, [0, 4]);
}

#[test]
fn lists_of_what_is_found() {
    let model = Model::default()
        .input("x", ElemType::Int64, &[4, 6])
        .input("mask", ElemType::Bool, &[6])
        .ints("three", &[], &[3])
        .ints("flat", &[1], &[-1])
        .node("large = Less(three, x)", &[])
        .node("where = NonZero(large)", &[])
        .node("positions = Transpose(where)", &[])
        .node("values = GatherND(x, positions)", &[])
        .node("largest = ReduceMax(values)", &[("keepdims", 0)])
        .node("negative = Neg(values)", &[])
        .node("both = Concat(values, negative)", &[("axis", 0)])
        .node("written = ScatterND(x, positions, negative)", &[])
        .node("columns = Compress(x, mask)", &[("axis", 1)])
        .node("distinct, firsts, inverse, counts = Unique(x)", &[("sorted", 0)])
        .node("line = Reshape(positions, flat)", &[])
        .node("shape = Shape(positions)", &[]);
    let names = [
        "where", "values", "largest", "both", "written", "columns", "distinct", "firsts", "inverse", "counts", "line",
        "shape",
    ];
    let model = Runner::new(model, &names);
    for seed in 0..3 {
        let x: Vec<i64> = uniform(seed, &[24]).to_f32().iter().map(|value| (value * 6.0) as i64).collect();
        let mask: Vec<bool> = uniform(seed + 50, &[6]).to_f32().iter().map(|&value| value < 0.5).collect();
        let mask_data = TensorData::from_integers(DType::Bool, vec![6], mask.iter().map(|&kept| i64::from(kept)));
        let outputs = model.run(&[TensorData::from_i64(vec![4, 6], &x), mask_data]);
        let output = |name: &str| &outputs[names.iter().position(|&other| other == name).unwrap()];

        let places: Vec<usize> = (0..24).filter(|&at| x[at] > 3).collect();
        let values: Vec<i64> = places.iter().map(|&at| x[at]).collect();
        let rows = places.iter().map(|&at| at as i64 / 6);
        assert_eq!(output("where").shape, [2, places.len()]);
        assert_eq!(output("where").to_i64(), rows.chain(places.iter().map(|&at| at as i64 % 6)).collect::<Vec<_>>());
        assert_eq!(output("values").to_i64(), values);
        assert_eq!(output("largest").to_i64(), [*values.iter().max().unwrap()]);
        let both: Vec<i64> = values.iter().copied().chain(values.iter().map(|value| -value)).collect();
        assert_eq!(output("both").to_i64(), both);
        let written: Vec<i64> = x.iter().map(|&value| if value > 3 { -value } else { value }).collect();
        assert_eq!(output("written").to_i64(), written);
        let columns: Vec<i64> = (0..24).filter(|at| mask[at % 6]).map(|at| x[at]).collect();
        assert_eq!(output("columns").to_i64(), columns);
        let line: Vec<i64> = places.iter().flat_map(|&at| [at as i64 / 6, at as i64 % 6]).collect();
        assert_eq!(output("line").to_i64(), line);
        assert_eq!(output("shape").to_i64(), [places.len() as i64, 2]);

        let mut distinct: Vec<i64> = Vec::new();
        x.iter().for_each(|value| {
            if !distinct.contains(value) {
                distinct.push(*value)
            }
        });
        let place = |value: &i64| distinct.iter().position(|other| other == value).unwrap() as i64;
        assert_eq!(output("distinct").to_i64(), distinct);
        let first = |value: &i64| x.iter().position(|other| other == value).unwrap() as i64;
        assert_eq!(output("firsts").to_i64(), distinct.iter().map(first).collect::<Vec<_>>());
        assert_eq!(output("inverse").to_i64(), x.iter().map(place).collect::<Vec<_>>());
        let count = |value: &i64| x.iter().filter(|&other| other == value).count() as i64;
        assert_eq!(output("counts").to_i64(), distinct.iter().map(count).collect::<Vec<_>>());
    }
}

#[test]
fn contents_that_are_known_give_exact_extents() {
    let model = Model::default()
        .input("x", ElemType::Float, &[5])
        .ints("kept", &[5], &[0, 3, 0, 0, 8])
        .node("where = NonZero(kept)", &[])
        .node("picked = Gather(x, where)", &[("axis", 0)]);
    let model = Runner::new(model, &["picked"]);
    assert_eq!(model.imported.outputs[0].bound, None);
    let outputs = model.run(&[TensorData::from_f32(vec![5], &[1.0, 2.0, 3.0, 4.0, 5.0])]);
    assert_eq!((outputs[0].shape.as_slice(), outputs[0].to_f32()), (&[1, 2][..], vec![2.0, 5.0]));
}

#[test]
fn operators_that_would_take_fill_for_data_refuse() {
    let refused = |node: &str, attributes: &[(&str, i64)]| {
        let model = Model::default()
            .input("x", ElemType::Float, &[2, 6])
            .input("mask", ElemType::Bool, &[6])
            .node("part = Compress(x, mask)", &[("axis", 1)])
            .node(node, attributes);
        model.imported(&["y"]).unwrap_err()
    };
    let expected = "whose extent is known only when the program runs";
    for (node, attributes) in [
        ("y = Softmax(part)", &[("axis", 1)][..]),
        ("y = Add(part, x)", &[][..]),
        ("y = CumSum(part, mask)", &[][..]),
        ("y = Flatten(part)", &[("axis", 2)][..]),
        ("y = Concat(part, x)", &[("axis", 0)][..]),
        ("y = MatMul(x, part)", &[][..]),
    ] {
        let message = refused(node, attributes);
        assert!(message.contains(expected), "{node}: {message}");
    }
}

#[test]
fn parts_along_another_axis_have_as_many_slices() {
    let model = Model::default()
        .input("x", ElemType::Float, &[2, 3])
        .node("where = NonZero(x)", &[])
        .node("rows, columns = Split(where)", &[("axis", 0)])
        .node("both = Add(rows, columns)", &[]);
    let runner = Runner::new(model, &["both"]);
    let found = runner.run(&[TensorData::from_f32(vec![2, 3], &[0.0, 1.0, 0.0, 2.0, 0.0, 3.0])]);
    assert_eq!((found[0].shape.as_slice(), found[0].to_i64()), (&[1, 3][..], vec![1, 1, 3]));
}

#[test]
fn the_best_of_what_was_found_are_taken_and_filtered_again() {
    // Scores above a threshold, at most three of them, best first; and those of them below another.
    let model = Model::default()
        .input("x", ElemType::Float, &[6])
        .ints("three", &[1], &[3])
        .ints("flat", &[1], &[-1])
        .float("least", 0.0)
        .float("most", 4.5)
        .node("above = Greater(x, least)", &[])
        .node("where = NonZero(above)", &[])
        .node("at = Reshape(where, flat)", &[])
        .node("scores = Gather(x, at)", &[])
        .node("n = Shape(scores)", &[])
        .node("k = Min(n, three)", &[])
        .node("best, order = TopK(scores, k)", &[])
        .node("below = Less(best, most)", &[])
        .node("again = NonZero(below)", &[])
        .node("last = Reshape(again, flat)", &[])
        .node("kept = Gather(best, last)", &[]);
    let runner = Runner::new(model, &["best", "order", "kept"]);
    let run = |x: [f32; 6]| {
        let found = runner.run(&[TensorData::from_f32(vec![6], &x)]);
        (found[0].to_f32(), found[1].to_i64(), found[2].to_f32())
    };
    assert_eq!(run([1.0, -1.0, 5.0, 2.0, 4.0, -3.0]), (vec![5.0, 4.0, 2.0], vec![1, 3, 2], vec![4.0, 2.0]));
    assert_eq!(run([-1.0, -1.0, 3.0, -2.0, -4.0, -3.0]), (vec![3.0], vec![0], vec![3.0]));
}
