//! Operators of images: at symbolic extents, in old and new operator sets, and what is said of what they do not take.

use std::collections::BTreeMap;

use nnc_ir::{Bindings, Dim, Shape, TensorData, interp};
use nnc_onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_type, tensor_shape_proto, type_proto,
};
use nnc_onnx::{Imported, Options, import_bytes};
use prost::Message;

/// A model of one node: its input `x` of type `f32`, with extents by number or by name, and constants.
struct Node {
    op: &'static str,
    opset: i64,
    dims: &'static str,
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
    /// Outputs behind `y`, which nobody reads.
    others: Vec<String>,
}

fn node(op: &'static str, opset: i64, dims: &'static str) -> Node {
    Node { op, opset, dims, constants: Vec::new(), attributes: Vec::new(), others: Vec::new() }
}

impl Node {
    /// A further constant input; one of no extents and no elements is left out.
    fn floats(mut self, dims: &[i64], elements: &[f32]) -> Self {
        let proto = TensorProto {
            dims: dims.to_vec(),
            data_type: Some(1),
            float_data: elements.to_vec(),
            ..TensorProto::default()
        };
        self.constants.push(proto);
        self
    }

    fn attribute(mut self, name: &str, attribute: AttributeProto) -> Self {
        self.attributes.push(AttributeProto { name: Some(name.to_string()), ..attribute });
        self
    }

    fn ints(self, name: &str, ints: &[i64]) -> Self {
        self.attribute(
            name,
            AttributeProto { ints: ints.to_vec(), r#type: Some(attribute_type::INTS), ..AttributeProto::default() },
        )
    }

    fn int(self, name: &str, i: i64) -> Self {
        self.attribute(
            name,
            AttributeProto { i: Some(i), r#type: Some(attribute_type::INT), ..AttributeProto::default() },
        )
    }

    fn text(self, name: &str, text: &str) -> Self {
        let s = Some(text.as_bytes().to_vec());
        self.attribute(name, AttributeProto { s, r#type: Some(attribute_type::STRING), ..AttributeProto::default() })
    }

    fn output(mut self, name: &str) -> Self {
        self.others.push(name.to_string());
        self
    }

    fn import(self, options: &Options) -> Result<Imported, String> {
        let dimension = |extent: &str| {
            let value = match extent.parse() {
                Ok(extent) => tensor_shape_proto::Value::DimValue(extent),
                Err(_) => tensor_shape_proto::Value::DimParam(extent.to_string()),
            };
            tensor_shape_proto::Dimension { value: Some(value) }
        };
        let shape = TensorShapeProto { dim: self.dims.split_whitespace().map(dimension).collect() };
        let tensor = |shape| TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape })),
            denotation: None,
        };
        let port = |name: &str, shape| ValueInfoProto {
            name: Some(name.to_string()),
            r#type: Some(tensor(shape)),
            doc_string: None,
        };
        let mut names = vec!["x".to_string()];
        let mut initializer = Vec::new();
        for (idx, constant) in self.constants.into_iter().enumerate() {
            let is_given = !(constant.dims.is_empty() && constant.float_data.is_empty());
            names.push(if is_given { format!("c{idx}") } else { String::new() });
            if is_given {
                initializer.push(TensorProto { name: Some(format!("c{idx}")), ..constant });
            }
        }
        let node = NodeProto {
            input: names,
            output: [vec!["y".to_string()], self.others].concat(),
            name: Some("it".to_string()),
            op_type: Some(self.op.to_string()),
            attribute: self.attributes,
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: vec![node],
            initializer,
            input: vec![port("x", Some(shape))],
            output: vec![port("y", None)],
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(graph),
            opset_import: vec![OperatorSetIdProto { domain: None, version: Some(self.opset) }],
            ..ModelProto::default()
        };
        import_bytes(&model.encode_to_vec(), None, "it.onnx", options).map_err(|error| error.to_string())
    }

    /// The type of the result.
    fn ty(self) -> String {
        let imported = self.import(&Options::default()).unwrap();
        let func = &imported.module.funcs[0];
        func.graph.ty(func.graph.results()[0]).to_string()
    }

    /// The result for `x`: imported with the extents of `x`, and with symbolic ones that are bound afterward.
    fn run(self, shape: &[usize], x: &[f32]) -> Vec<f32> {
        let dims: Vec<Dim> = self.dims.split_whitespace().map(symbol).collect();
        let imported = self.import(&Options::default()).unwrap();
        let mut bindings = Bindings::new();
        for (dim, extent) in dims.iter().zip(shape) {
            if let Some((name, 1, 0)) = dim.as_linear() {
                bindings.insert(name.to_string(), *extent);
            }
        }
        let func = &imported.module.funcs[0];
        let given = std::iter::once(("x".to_string(), TensorData::from_f32(shape.to_vec(), x))).collect();
        let results = interp::eval_func(func, &imported.module.weights, &given, &bindings).unwrap();
        results[0].to_f64().into_iter().map(|value| value as f32).collect()
    }
}

fn symbol(extent: &str) -> Dim {
    extent.parse::<usize>().map_or_else(|_| Dim::symbol(extent), Dim::from)
}

fn close(found: &[f32], expected: &[f32]) {
    let fits = |(found, expected): (&f32, &f32)| (found - expected).abs() <= 1e-4 * expected.abs().max(1.0);
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(fits), "{found:?}, expected {expected:?}");
}

#[test]
fn symbolic_extents_go_through() {
    let weight = [1.0f32; 2 * 3 * 3 * 3];
    let conv = |auto_pad| node("Conv", 11, "N 3 H W").floats(&[2, 3, 3, 3], &weight).text("auto_pad", auto_pad);
    assert_eq!(conv("SAME_UPPER").ty(), "f32[N, 2, H, W]");
    assert_eq!(conv("VALID").ty(), "f32[N, 2, H - 2, W - 2]");
    assert_eq!(
        conv("NOTSET").ints("strides", &[2, 2]).ints("pads", &[1; 4]).ty(),
        "f32[N, 2, ((H + 1) // 2), ((W + 1) // 2)]"
    );
    let transposed =
        || node("ConvTranspose", 11, "N 2 H W").floats(&[2, 3, 2, 2], &weight[..24]).ints("strides", &[2, 2]);
    assert_eq!(transposed().ty(), "f32[N, 3, 2*H, 2*W]");
    assert_eq!(transposed().text("auto_pad", "SAME_UPPER").ty(), "f32[N, 3, 2*H, 2*W]");
    assert_eq!(node("GlobalAveragePool", 7, "N C H W").ty(), "f32[N, C, 1, 1]");
    assert_eq!(
        node("MaxPool", 7, "N C H W").ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]).ty(),
        "f32[N, C, (H // 2), (W // 2)]"
    );
    let scaled = |scales: &[f32]| node("Upsample", 9, "N C H W").floats(&[4], scales);
    assert_eq!(scaled(&[1.0, 1.0, 2.0, 3.0]).ty(), "f32[N, C, 2*H, 3*W]");
    assert_eq!(node("Softmax", 11, "N C H W").ty(), "f32[N, C, H, W]");
}

#[test]
fn whole_factors_resize_symbolic_images() {
    let resize = |mode: &str| {
        node("Resize", 13, "1 1 H W").floats(&[], &[]).floats(&[4], &[1.0, 1.0, 1.0, 2.0]).text("mode", mode)
    };
    let x = [1.0, 5.0, 9.0];
    close(&resize("nearest").run(&[1, 1, 1, 3], &x), &[1.0, 1.0, 5.0, 5.0, 9.0, 9.0]);
    close(&resize("linear").run(&[1, 1, 1, 3], &x), &[1.0, 2.0, 4.0, 6.0, 8.0, 9.0]);
    let asymmetric = resize("linear").text("coordinate_transformation_mode", "asymmetric");
    close(&asymmetric.run(&[1, 1, 1, 3], &x), &[1.0, 3.0, 5.0, 7.0, 9.0, 9.0]);
}

#[test]
fn softmax_flattens_before_operator_set_13() {
    let x = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    close(&node("Softmax", 12, "2 2 2").int("axis", 1).run(&[2, 2, 2], &x), &[0.25; 8]);
    close(&node("Softmax", 13, "2 2 2").int("axis", 1).run(&[2, 2, 2], &x), &[0.5; 8]);
}

#[test]
fn group_norm_scales_groups_before_operator_set_21() {
    let x = [-1.0, 1.0, -1.0, 1.0, -2.0, 2.0, -2.0, 2.0];
    let normalized = |opset, scale: &[f32]| {
        let shift = vec![0.0; scale.len()];
        let extents = [scale.len() as i64];
        let node = node("GroupNormalization", opset, "1 4 2").int("num_groups", 2);
        node.floats(&extents, scale).floats(&extents, &shift).run(&[1, 4, 2], &x)
    };
    close(&normalized(18, &[1.0, 10.0]), &[-1.0, 1.0, -1.0, 1.0, -10.0, 10.0, -10.0, 10.0]);
    close(&normalized(21, &[1.0, 2.0, 3.0, 4.0]), &[-1.0, 1.0, -2.0, 2.0, -3.0, 3.0, -4.0, 4.0]);
}

#[test]
fn batch_norm_is_a_scale_and_a_shift() {
    let norm = |opset: i64, training: &str| {
        let mut norm = node("BatchNormalization", opset, "N 2 L");
        for vector in [[2.0, 1.0], [1.0, 0.0], [3.0, -1.0], [4.0, 0.25]] {
            norm = norm.floats(&[2], &vector);
        }
        if training.is_empty() { norm } else { norm.int(training, 1) }
    };
    let x = [3.0, 5.0, -1.0, 0.0];
    for (opset, attribute) in [(6, "is_test"), (7, ""), (9, ""), (15, "")] {
        close(&norm(opset, attribute).run(&[1, 2, 2], &x), &[1.0, 3.0, 0.0, 2.0]);
    }
    close(&norm(15, "training_mode").run(&[1, 2, 2], &x), &[-1.0, 3.0, -1.0, 1.0]);
}

#[test]
fn what_does_not_fit_is_said() {
    let fault = |node: Node| node.import(&Options::default()).unwrap_err();
    let pool = |op| node(op, 12, "1 1 H 8");
    let checks: [(Node, &str); 6] = [
        (pool("MaxPool"), "the attribute `kernel_shape` is missing"),
        (pool("MaxPool").ints("kernel_shape", &[2]), "`kernel_shape` is [2], expected 2 numbers from 1 to 1073741824"),
        (
            pool("AveragePool").ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]).int("ceil_mode", 1),
            "`ceil_mode` over H elements depends on their number: bind the dimension",
        ),
        (
            node("Conv", 11, "1 3 8 8").floats(&[2, 3, 3, 3], &[0.0; 54]).text("auto_pad", "SAME"),
            "`auto_pad` is `SAME`, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER",
        ),
        (node("Conv", 11, "1 3 8 8").floats(&[2, 2, 3, 3], &[0.0; 36]), "expected 1 groups of dimension 1"),
        (
            node("Resize", 13, "1 1 H 8").floats(&[], &[]).floats(&[4], &[1.0, 1.0, 1.5, 1.5]),
            "which is symbolic: bind the dimension",
        ),
    ];
    for (node, expected) in checks {
        let found = fault(node);
        assert!(found.contains(expected), "{found}\nexpected {expected}");
    }
}

#[test]
fn extents_bound_on_import_fit_what_needs_them() {
    let options = Options { shapes: BTreeMap::from([("x".to_string(), vec![1, 1, 5, 8])]), ..Options::default() };
    let pool = node("AveragePool", 12, "1 1 H 8").ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
    let imported = pool.int("ceil_mode", 1).import(&options).unwrap();
    let func = &imported.module.funcs[0];
    assert_eq!(func.graph.ty(func.graph.results()[0]).shape, Shape::fixed(&[1, 1, 3, 4]));
}

#[test]
fn positions_in_what_is_padding_alone() {
    let pool = node("MaxPool", 12, "1 1 0 3").ints("kernel_shape", &[2, 2]).ints("pads", &[1, 1, 1, 1]);
    // The indices are asked for by a second output, which has no elements to count.
    assert_eq!(pool.int("storage_order", 1).output("at").ty(), "f32[1, 1, 1, 4]");
}

#[test]
fn the_nearest_element_in_old_operator_sets() {
    let x: Vec<f32> = (0..5).map(|at| at as f32).collect();
    // As ONNX Runtime has it: the element behind where the result is smaller, else the one before.
    let scaled = |scale: f32| node("Resize", 10, "5").floats(&[1], &[scale]).run(&[5], &x);
    assert_eq!(scaled(0.6), [0.0, 2.0, 4.0]);
    assert_eq!(scaled(1.6), [0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
    // Coordinates that operator set 11 alone has.
    let coordinates = node("Resize", 11, "5").floats(&[0], &[]).floats(&[1], &[1.6]);
    let coordinates = coordinates.text("coordinate_transformation_mode", "tf_half_pixel_for_nn");
    assert_eq!(coordinates.text("nearest_mode", "floor").run(&[5], &x), [0.0, 0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0]);
}

#[test]
fn what_is_cut_off_is_not_wrapped_around() {
    let x: Vec<f32> = (0..5).map(|at| at as f32).collect();
    let wrapped = node("Pad", 10, "5").text("mode", "wrap").ints("pads", &[2, -1]);
    assert_eq!(wrapped.run(&[5], &x), [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
}
