//! Files that are wrong: each gives a diagnostic that says what is, without a panic and without more memory than the file is
//! worth. The files are made here, from the messages they consist of.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nnc_onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorProto, ValueInfoProto, attribute_type,
};
use nnc_onnx::{ImportError, Options, import, import_bytes};
use prost::Message;

use self::protos::{
    BOOL, FLOAT, INT64, graph, graph_attribute, info, ints, model, node, raw, scalar, some, tensor_attribute, with,
};

#[path = "build/protos.rs"]
mod protos;

/// Remembers the largest allocation.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// No file here has more than a few kilobytes.
const LARGEST_ALLOWED: usize = 16 << 20;

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn run(bytes: &[u8], base: Option<&Path>) -> Result<(), ImportError> {
    let result = import_bytes(bytes, base, "m.onnx", &Options::default());
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest <= LARGEST_ALLOWED, "{largest} bytes were allocated at once");
    result.map(|imported| imported.module.verify().expect("what is imported is sound"))
}

/// Checks that the bytes are refused, in words that contain `what`.
#[track_caller]
fn refused_bytes(bytes: &[u8], what: &str) {
    let error = run(bytes, None).expect_err("the file is wrong");
    assert!(!error.diagnostics.is_empty());
    assert!(error.to_string().contains(what), "{error}\nexpected `{what}`");
}

#[track_caller]
fn refused(model: &ModelProto, what: &str) {
    refused_bytes(&model.encode_to_vec(), what);
}

#[track_caller]
fn refused_graph(graph: GraphProto, what: &str) {
    refused(&model(graph), what);
}

/// A graph that holds the tensor and gives it back.
fn holding(tensor: TensorProto) -> GraphProto {
    let name = tensor.name().to_string();
    let mut graph = graph(vec![node("Identity", &[&name], &["y"])]);
    graph.initializer.push(tensor);
    graph
}

#[test]
fn a_sound_file_is_imported() {
    run(&model(graph(vec![node("Identity", &["x"], &["y"])])).encode_to_vec(), None).expect("sound");
    run(&model(holding(ints("w", &[1, 2, 3]))).encode_to_vec(), None).expect("sound");
}

#[test]
fn files_that_are_no_models() {
    refused_bytes(b"", "no graph");
    refused_bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "no ONNX model");
    refused_bytes(b"func @f(%x: f32[4]) -> f32[4] {}", "no ONNX model");
    refused(&ModelProto { ir_version: Some(10), ..ModelProto::default() }, "no graph");
    let missing = import("nowhere.onnx".as_ref(), &Options::default()).expect_err("no file");
    assert!(missing.to_string().contains("nowhere.onnx"), "{missing}");
    let folder = tempfile::tempdir().expect("a folder");
    import(folder.path(), &Options::default()).expect_err("a folder is no file");
}

#[test]
fn truncated_files() {
    let mut graph = holding(raw("w", FLOAT, &[4], &[0; 16]));
    graph.node.push(with(node("Constant", &[], &["c"]), tensor_attribute("value", ints("", &[1; 20]))));
    let bytes = model(graph).encode_to_vec();
    run(&bytes, None).expect("the whole file is sound");
    for len in 0..bytes.len() {
        // Some beginnings are files of their own.
        let _ = run(&bytes[..len], None);
    }
}

#[test]
fn random_bytes() {
    let mut state = 1u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for len in 0..600 {
        let noise: Vec<u8> = (0..len).map(|_| byte()).collect();
        let _ = run(&noise, None);
        // As the bytes of a graph, which are reached then.
        let mut inside = vec![0x08, 10, 0x3a, len as u8 & 0x7f];
        inside.extend(noise);
        let _ = run(&inside, None);
    }
}

#[test]
fn cycles_and_missing_names() {
    let cycle =
        vec![node("Identity", &["b"], &["a"]), node("Identity", &["a"], &["b"]), node("Identity", &["b"], &["y"])];
    refused_graph(graph(cycle), "cycle");
    refused_graph(graph(vec![node("Identity", &["y"], &["y"])]), "cycle");
    refused_graph(graph(vec![node("Identity", &["z"], &["y"])]), "`z`, which nothing gives");
    refused_graph(graph(vec![node("Identity", &["x"], &["z"])]), "output `y`, which nothing gives");
    refused_graph(graph(vec![node("Identity", &[], &["y"])]), "input 0");
    refused_graph(graph(vec![node("Identity", &[""], &["y"])]), "input 0");
    refused_graph(graph(vec![node("", &["x"], &["y"])]), "operator ``");
    refused_graph(graph(vec![NodeProto::default()]), "operator ``");
    refused_graph(graph(vec![node("Identity", &["x"], &["y", "z"])]), "output 1 `z`");
}

#[test]
fn names_that_are_there_twice() {
    let twice = vec![node("Identity", &["x"], &["y"]), node("Identity", &["x"], &["y"])];
    refused_graph(graph(twice), "`y`");
    refused_graph(graph(vec![node("Identity", &["x"], &["x"]), node("Identity", &["x"], &["y"])]), "`x`");
    let mut inputs = graph(vec![node("Identity", &["x"], &["y"])]);
    inputs.input.push(info("x", FLOAT, &[4]));
    refused_graph(inputs, "`x`");
    let mut outputs = graph(vec![node("Identity", &["x"], &["y"])]);
    outputs.output.push(info("y", FLOAT, &[4]));
    refused_graph(outputs, "`y`");
    let mut weights = holding(ints("w", &[1]));
    weights.initializer.push(ints("w", &[2]));
    refused_graph(weights, "`w`");
    let mut function = model(graph(vec![node("Identity", &["x"], &["y"])]));
    let own = FunctionProto { name: some("F"), domain: some("d"), ..FunctionProto::default() };
    function.functions = vec![own.clone(), own];
    refused(&function, "`F`");
}

#[test]
fn several_faults_are_all_reported() {
    let nodes =
        vec![node("Identity", &["p"], &["a"]), node("Identity", &["q"], &["b"]), node("Identity", &["a"], &["y"])];
    let error = run(&model(graph(nodes)).encode_to_vec(), None).expect_err("two names are missing");
    assert_eq!(error.diagnostics.len(), 2, "{error}");
    let nodes =
        vec![node("Frobnicate", &["x"], &["a"]), node("Gargle", &["a"], &["b"]), node("Gargle", &["b"], &["y"])];
    let error = run(&model(graph(nodes)).encode_to_vec(), None).expect_err("two operators are missing");
    let found: Vec<(&str, usize)> = error.unsupported.iter().map(|op| (op.op_type.as_str(), op.nodes.len())).collect();
    assert_eq!(found, [("Frobnicate", 1), ("Gargle", 2)]);
}

#[test]
fn lengths_that_do_not_fit() {
    refused_graph(holding(raw("w", FLOAT, &[4], &[0; 15])), "15 bytes, expected 16");
    refused_graph(holding(raw("w", FLOAT, &[4], &[])), "0 bytes");
    refused_graph(holding(raw("w", FLOAT, &[], &[0; 8])), "8 bytes, expected 4");
    refused_graph(holding(TensorProto { dims: vec![3], ..ints("w", &[1, 2]) }), "2 elements, expected 3");
    refused_graph(holding(TensorProto { data_type: Some(FLOAT), ..ints("w", &[1, 2]) }), "0 elements, expected 2");
    refused_graph(holding(TensorProto { dims: vec![-2], ..ints("w", &[1, 2]) }), "negative");
    refused_graph(holding(raw("w", 22, &[4], &[0; 3])), "3 bytes, expected 2");
    refused_graph(holding(raw("w", 8, &[1], &[0; 3])), "0 strings, expected 1");
    let sparse = |indices: TensorProto| {
        let mut graph = graph(vec![node("Identity", &["s"], &["y"])]);
        let values = raw("s", FLOAT, &[2], &[0; 8]);
        graph.sparse_initializer.push(SparseTensorProto {
            values: Some(values),
            indices: Some(indices),
            dims: vec![4],
        });
        graph
    };
    run(&model(sparse(ints("", &[0, 3]))).encode_to_vec(), None).expect("sound");
    refused_graph(sparse(ints("", &[0, 4])), "outside");
    refused_graph(sparse(ints("", &[-1, 3])), "outside");
    refused_graph(sparse(ints("", &[0])), "indices");
    let huge = |mut graph: GraphProto| {
        graph.sparse_initializer[0].dims = vec![1 << 40];
        graph
    };
    refused_graph(huge(sparse(ints("", &[0, 3]))), "elements");
    // As positions in a row these are sound: the last element of the second row.
    let mut matrix = sparse(TensorProto { dims: vec![2, 2], ..ints("", &[0, 0, 0, 3]) });
    matrix.sparse_initializer[0].dims = vec![2, 2];
    refused_graph(matrix, "outside the shape");
}

#[test]
fn huge_extents() {
    for dims in [&[i64::MAX][..], &[i64::MAX, i64::MAX], &[1 << 62, 4], &[1 << 31, 1 << 31, 0], &[1 << 50]] {
        let said = run(&model(holding(raw("w", FLOAT, dims, &[0; 16]))).encode_to_vec(), None);
        said.expect_err("the data are too short");
    }
    for extent in [i64::MAX, 1 << 62] {
        let mut graph = graph(vec![node("Identity", &["x"], &["y"])]);
        graph.input = vec![info("x", FLOAT, &[extent, extent])];
        refused_graph(graph, "x");
    }
    // Not too long by itself, but the tables of a prime length are.
    let mut transform = graph(vec![node("DFT", &["x"], &["y"])]);
    transform.input = vec![info("x", FLOAT, &[1, 5_165_431, 1])];
    refused_graph(transform, "the transform is a table of 41323448 elements");
    let huge = i64::MAX;
    for (op, inputs) in [
        ("ConstantOfShape", vec![ints("a", &[huge, huge])]),
        ("ConstantOfShape", vec![ints("a", &[-1])]),
        ("Range", vec![scalar("a", 0), scalar("b", huge), scalar("c", 1)]),
        ("Range", vec![scalar("a", i64::MIN), scalar("b", huge), scalar("c", 1)]),
        ("Range", vec![scalar("a", 0), scalar("b", 4), scalar("c", 0)]),
        ("Expand", vec![ints("a", &[1]), ints("b", &[huge, huge])]),
        ("Tile", vec![ints("a", &[1, 2]), ints("b", &[huge])]),
        ("Reshape", vec![ints("a", &[1, 2]), ints("b", &[huge, huge])]),
        ("EyeLike", vec![ints("a", &[1, 2])]),
        ("OneHot", vec![ints("a", &[1, 2]), scalar("b", huge), ints("c", &[0, 1])]),
        ("Pad", vec![ints("a", &[1, 2]), ints("b", &[huge, huge])]),
    ] {
        let names: Vec<&str> = inputs.iter().map(TensorProto::name).collect();
        let mut graph = graph(vec![node(op, &names, &["y"])]);
        graph.initializer = inputs.clone();
        run(&model(graph).encode_to_vec(), None).expect_err(op);
    }
}

/// Types that an operator does not take, unknown types, and graphs where tensors belong.
#[test]
fn wrong_types() {
    refused_graph(holding(raw("w", 99, &[1], &[0])), "element type 99");
    refused_graph(holding(raw("w", 0, &[1], &[0])), "element type 0");
    let mut untyped = graph(vec![node("Identity", &["x"], &["y"])]);
    untyped.input = vec![ValueInfoProto { name: some("x"), ..ValueInfoProto::default() }];
    refused_graph(untyped, "no tensor");
    let mut strange = graph(vec![node("Identity", &["x"], &["y"])]);
    strange.input = vec![info("x", -1, &[4])];
    refused_graph(strange, "element type -1");
    let mut mixed = graph(vec![node("Add", &["x", "i"], &["y"])]);
    mixed.initializer.push(ints("i", &[1, 2, 3, 4]));
    refused_graph(mixed, "Add");
    let mut shapes = graph(vec![node("MatMul", &["x", "w"], &["y"])]);
    shapes.initializer.push(raw("w", FLOAT, &[3, 2], &[0; 24]));
    refused_graph(shapes, "MatMul");
    let axis = AttributeProto {
        name: some("axis"),
        r#type: Some(attribute_type::FLOATS),
        floats: vec![1.0],
        ..AttributeProto::default()
    };
    refused_graph(graph(vec![with(node("Softmax", &["x"], &["y"]), axis)]), "axis");
    let branch = |name| graph_attribute(name, graph(vec![node("Identity", &["x"], &["y"])]));
    let unconditional = with(with(node("If", &[], &["y"]), branch("then_branch")), branch("else_branch"));
    refused_graph(graph(vec![unconditional]), "input 0");
    let if_tensor = with(node("If", &["x"], &["y"]), tensor_attribute("then_branch", ints("", &[1])));
    refused_graph(graph(vec![if_tensor]), "then_branch");
}

/// Graphs inside graphs inside graphs.
#[test]
fn deep_nesting() {
    for depth in [8usize, 60, 500] {
        let mut inner = GraphProto { output: vec![info("y", FLOAT, &[4])], ..GraphProto::default() };
        inner.node = vec![node("Identity", &["x"], &["y"])];
        for _ in 0..depth {
            let branches = [("then_branch", inner.clone()), ("else_branch", inner)];
            let [then_branch, else_branch] = branches.map(|(name, graph)| graph_attribute(name, graph));
            // One branch nests on, or the file would be as large as a power of two.
            let flat = GraphProto {
                node: vec![node("Identity", &["x"], &["y"])],
                output: vec![info("y", FLOAT, &[4])],
                ..GraphProto::default()
            };
            let choice = with(with(node("If", &["c"], &["y"]), then_branch), graph_attribute("else_branch", flat));
            drop(else_branch);
            inner = GraphProto { node: vec![choice], output: vec![info("y", FLOAT, &[4])], ..GraphProto::default() };
        }
        let mut outer = graph(inner.node);
        outer.input.push(info("c", BOOL, &[]));
        let _ = run(&model(outer).encode_to_vec(), None);
    }
}

/// Functions that call themselves, and small ones that make much of little.
#[test]
fn endless_functions() {
    let own = |name: &str, nodes: Vec<NodeProto>| FunctionProto {
        name: some(name),
        domain: some("own"),
        input: vec!["x".to_string()],
        output: vec!["y".to_string()],
        node: nodes,
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(21) }],
        ..FunctionProto::default()
    };
    let call =
        |name: &str, input: &str, output: &str| NodeProto { domain: some("own"), ..node(name, &[input], &[output]) };
    let mut itself = model(graph(vec![call("F", "x", "y")]));
    itself.functions = vec![own("F", vec![call("F", "x", "y")])];
    refused(&itself, "without end");
    // Each function calls the next twice: 2^60 nodes.
    let mut doubling = model(graph(vec![call("F0", "x", "y")]));
    for level in 0..60 {
        let next = format!("F{}", level + 1);
        doubling.functions.push(own(&format!("F{level}"), vec![call(&next, "x", "m"), call(&next, "m", "y")]));
    }
    doubling.functions.push(own("F60", vec![node("Identity", &["x"], &["y"])]));
    refused(&doubling, "nodes");
}

/// Loops whose number of trips is known and endless.
#[test]
fn endless_loops() {
    let body = GraphProto {
        name: some("body"),
        input: vec![info("i", INT64, &[]), info("c", BOOL, &[]), info("v", FLOAT, &[4])],
        output: vec![info("c2", BOOL, &[]), info("v2", FLOAT, &[4])],
        node: vec![node("Identity", &["c"], &["c2"]), node("Identity", &["v"], &["v2"])],
        ..GraphProto::default()
    };
    let mut graph = graph(vec![with(node("Loop", &["n", "go", "x"], &["y"]), graph_attribute("body", body))]);
    graph.initializer = vec![scalar("n", i64::MAX), raw("go", BOOL, &[], &[1])];
    // It may become a loop of the module; it may not be walked.
    let _ = run(&model(graph).encode_to_vec(), None);
}

/// Nodes by the thousand of which each makes more of what the one before made.
#[test]
fn chains_that_grow() {
    const N: usize = 20_000;
    let chain = |op: &str| {
        let mut nodes = vec![node(op, &["x"], &["v0"])];
        nodes.extend((1..N).map(|at| node(op, &[&format!("v{}", at - 1)], &[&format!("v{at}")])));
        nodes.push(node("Identity", &["x"], &["y"]));
        graph(nodes)
    };
    refused_graph(chain("Optional"), "input 0 is an optional");
    refused_graph(chain("SequenceConstruct"), "part 0 of the sequence is no tensor");
    // A name that nothing gives, in each of them.
    let missing = (0..N).map(|at| node("Neg", &[&format!("missing{at}")], &[&format!("v{at}")]));
    refused_graph(graph(missing.collect()), "input `missing7`, which nothing gives");
}

/// Attributes that ask for tables far larger than they are.
#[test]
fn tables_no_memory_holds() {
    let list = |name: &str, floats: Vec<f32>, ints: Vec<i64>| AttributeProto {
        name: some(name),
        r#type: Some(if ints.is_empty() { attribute_type::FLOATS } else { attribute_type::INTS }),
        floats,
        ints,
        ..AttributeProto::default()
    };
    let n = 330;
    let mut votes = node("SVMClassifier", &["x"], &["label", "y"]);
    votes.domain = some("ai.onnx.ml");
    votes.attribute = vec![
        list("classlabels_ints", Vec::new(), (0..n).collect()),
        list("vectors_per_class", Vec::new(), vec![1; n as usize]),
        list("rho", vec![0.0; (n * (n - 1) / 2) as usize], Vec::new()),
    ];
    refused_graph(graph(vec![votes]), "the list of votes is a table");

    let mut resize = with(
        node("Resize", &["x", "", "scales"], &["y"]),
        AttributeProto { i: Some(1), r#type: Some(attribute_type::INT), name: some("antialias"), ..Default::default() },
    );
    let s = Some(b"linear".to_vec());
    resize.attribute.push(AttributeProto {
        s,
        r#type: Some(attribute_type::STRING),
        name: some("mode"),
        ..Default::default()
    });
    let mut small = graph(vec![resize]);
    small.input = vec![info("x", FLOAT, &[1 << 40])];
    small.initializer = vec![raw("scales", FLOAT, &[1], &2e-6f32.to_le_bytes())];
    refused_graph(small, "the list of elements");

    let mut theta = graph(vec![node("AffineGrid", &["x", "size"], &["y"])]);
    theta.input = vec![info("x", FLOAT, &[1, 2, 3])];
    theta.initializer = vec![ints("size", &[1, 1, 1 << 20, 1 << 20])];
    refused_graph(theta, "the grid is a table");

    // Nothing is said against the product; the importer must not list what is multiplied.
    let mut product = graph(vec![node("MatMulInteger", &["a", "b"], &["y"])]);
    product.input = vec![info("a", 2, &[1, 1 << 38]), info("b", 2, &[1 << 38, 1])];
    let _ = run(&model(product).encode_to_vec(), None);
}

/// As many parts as there are elements, each found in no time.
#[test]
fn many_parts() {
    const N: usize = 20_000;
    let names: Vec<String> = (0..N).map(|at| format!("v{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut parts = graph(vec![node("Split", &["x", "lengths"], &names), node("Identity", &["v0"], &["y"])]);
    parts.input = vec![info("x", FLOAT, &[N as i64])];
    parts.initializer = vec![ints("lengths", &[1; N])];
    run(&model(parts).encode_to_vec(), None).expect("sound");
}

#[test]
fn external_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).expect("a folder");
    std::fs::write(inner.join("data.bin"), [0u8; 64]).expect("written");
    std::fs::write(folder.path().join("secret.bin"), [0u8; 64]).expect("written");
    let external = |entries: &[(&str, &str)]| {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto { key: some(key), value: some(value) };
        let tensor = TensorProto {
            name: some("w"),
            data_type: Some(FLOAT),
            dims: vec![4],
            data_location: Some(1),
            external_data: entries.iter().map(entry).collect(),
            ..TensorProto::default()
        };
        model(holding(tensor)).encode_to_vec()
    };
    let sound = external(&[("location", "data.bin"), ("offset", "16"), ("length", "16")]);
    run(&sound, Some(&inner)).expect("sound");
    let absolute = folder.path().join("secret.bin").display().to_string();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../secret.bin", inner.join("link.bin")).expect("a link");
    for (entries, what) in [
        (&[][..], "location"),
        (&[("location", "../secret.bin"), ("length", "16")], "inside the model's directory"),
        (&[("location", "./../secret.bin"), ("length", "16")], "inside the model's directory"),
        (&[("location", absolute.as_str()), ("length", "16")], "inside the model's directory"),
        #[cfg(unix)]
        (&[("location", "link.bin"), ("length", "16")], "inside the model's directory"),
        (&[("location", "nothing.bin"), ("length", "16")], "nothing.bin"),
        (&[("location", "."), ("length", "16")], "`"),
        (&[("location", ""), ("length", "16")], "`"),
        (&[("location", "data.bin"), ("length", "17")], "17 bytes, expected 16"),
        (&[("location", "data.bin"), ("offset", "60"), ("length", "16")], "16 bytes at 60"),
        (&[("location", "data.bin"), ("offset", "18446744073709551615"), ("length", "16")], "at 18446744073709551615"),
        (&[("location", "data.bin"), ("offset", "-4"), ("length", "16")], "expected a number"),
        (&[("location", "data.bin"), ("length", "much")], "expected a number"),
        (&[("location", "data.bin"), ("offset", "1000")], "bytes"),
    ] {
        let error = run(&external(entries), Some(&inner)).expect_err("it is wrong");
        assert!(error.to_string().contains(what), "{error}\nexpected `{what}`");
    }
    let error = run(&sound, None).expect_err("nobody said where the data lie");
    assert!(error.to_string().contains("directory"), "{error}");
}
