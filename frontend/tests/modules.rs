//! Registration, names, printing, places and state dicts, on modules as users write them.

use nnc_frontend::module::Member;
use nnc_frontend::prelude::*;

#[derive(Module)]
struct TinyModel {
    linear1: Linear,
    activation: ReLU,
    linear2: Linear,
    softmax: Softmax,
}

impl TinyModel {
    fn new() -> Self {
        Self {
            linear1: Linear::new(100, 200),
            activation: ReLU::new(),
            linear2: Linear::new(200, 10),
            softmax: Softmax::new(1),
        }
    }
}

impl Forward for TinyModel {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.linear1.forward(x);
        let x = self.activation.forward(&x);
        let x = self.linear2.forward(&x);
        self.softmax.forward(&x)
    }
}

#[derive(Module)]
struct NeuralNetwork {
    flatten: Flatten,
    linear_relu_stack: Sequential,
}

impl NeuralNetwork {
    fn new() -> Self {
        Self {
            flatten: Flatten::new(),
            linear_relu_stack: sequential![
                Linear::new(784, 512),
                ReLU::new(),
                Linear::new(512, 512),
                ReLU::new(),
                Linear::new(512, 10),
            ],
        }
    }
}

impl Forward for NeuralNetwork {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.flatten.forward(x);
        self.linear_relu_stack.forward(&x)
    }
}

/// Every kind of field, with plain ones between.
#[derive(Module)]
struct Everything {
    width: usize,
    name: String,
    scale: Parameter,
    no_bias: Option<Parameter>,
    some: Option<Linear>,
    blocks: Vec<Block>,
    pair: [Linear; 2],
    boxed: Box<dyn Layer2>,
    mean: Buffer,
    training: Training,
    #[module(skip)]
    hidden: Linear,
    #[module(name = "out")]
    last: Linear,
    callback: fn(f32) -> f32,
}

trait Layer2: Module {}
impl<T: Module> Layer2 for T {}

#[derive(Module)]
struct Block {
    inner: Linear,
}

impl Forward for Block {
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.inner.forward(x);
        x + y.tanh()
    }
}

fn names(model: &dyn Module) -> Vec<String> {
    model.named_parameters().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn trees_print_as_pytorch_prints_them() {
    assert_eq!(
        TinyModel::new().to_string(),
        "TinyModel(\n  (linear1): Linear(in_features=100, out_features=200, bias=True)\n  (activation): ReLU()\n  \
         (linear2): Linear(in_features=200, out_features=10, bias=True)\n  (softmax): Softmax(dim=1)\n)"
    );
    assert_eq!(
        NeuralNetwork::new().to_string(),
        "NeuralNetwork(
  (flatten): Flatten(start_dim=1, end_dim=-1)
  (linear_relu_stack): Sequential(
    (0): Linear(in_features=784, out_features=512, bias=True)
    (1): ReLU()
    (2): Linear(in_features=512, out_features=512, bias=True)
    (3): ReLU()
    (4): Linear(in_features=512, out_features=10, bias=True)
  )
)"
    );
    assert_eq!(Linear::no_bias(3, 2).to_string(), "Linear(in_features=3, out_features=2, bias=False)");
    assert_eq!(Unflatten::new(1, [2, 3]).to_string(), "Unflatten(dim=1, unflattened_size=(2, 3))");
    assert_eq!(GELU::new().to_string(), "GELU(approximate='none')");
    assert_eq!(Sequential::new().to_string(), "Sequential()");
    let list = nnc_frontend::module::named_modules(&vec![Linear::new(2, 2), Linear::new(2, 2)]).len();
    assert_eq!(list, 3);
}

#[derive(Module)]
struct Listed {
    layers: ModuleList<Linear>,
}

#[test]
fn equal_neighbors_in_a_list_print_once() {
    let layers = vec![Linear::new(2, 2), Linear::new(2, 2), Linear::new(2, 3)];
    assert_eq!(
        Listed { layers }.to_string(),
        "Listed(
  (layers): ModuleList(
    (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)
    (2): Linear(in_features=2, out_features=3, bias=True)
  )
)"
    );
}

#[test]
fn parameters_are_named_in_declaration_order() {
    assert_eq!(
        names(&NeuralNetwork::new()),
        [0, 2, 4]
            .map(|idx| [format!("linear_relu_stack.{idx}.weight"), format!("linear_relu_stack.{idx}.bias")])
            .concat()
    );
    let model = TinyModel::new();
    assert_eq!(model.parameters().len(), 4);
    let modules: Vec<String> = model.named_modules().into_iter().map(|(name, _)| name).collect();
    assert_eq!(modules, ["", "linear1", "activation", "linear2", "softmax"]);
    assert_eq!(model.children().len(), 4);
}

#[test]
fn fields_register_by_type() {
    let tied = Parameter::new(Tensor::ones([2]));
    let everything = Everything {
        width: 3,
        name: "n".into(),
        scale: tied.clone(),
        no_bias: None,
        some: Some(Linear::no_bias(2, 2)),
        blocks: vec![Block { inner: Linear::no_bias(2, 2) }, Block { inner: Linear::no_bias(2, 2) }],
        pair: [Linear::no_bias(1, 1), Linear::no_bias(1, 1)],
        boxed: Box::new(Linear::no_bias(1, 1)),
        mean: Buffer::new(ndarray::arr1(&[0f32])),
        training: Training::default(),
        hidden: Linear::new(9, 9),
        last: Linear::no_bias(2, 2),
        callback: |x| x,
    };
    assert_eq!((everything.width, everything.name.as_str(), (everything.callback)(1.0)), (3, "n", 1.0));
    assert_eq!(everything.hidden.in_features, 9);
    assert_eq!(everything.boxed.type_name(), "Linear");
    let expected = [
        "scale",
        "some.weight",
        "blocks.0.inner.weight",
        "blocks.1.inner.weight",
        "pair.0.weight",
        "pair.1.weight",
        "boxed.weight",
        "out.weight",
    ];
    let found = names(&everything);
    assert_eq!(found, expected);
    assert_eq!(everything.named_buffers()[0].0, "mean");
    assert!(everything.members().iter().any(|(_, member)| matches!(member, Member::Training(_))));
    everything.eval();
    assert!(!everything.training.get());
    everything.train();
    assert!(everything.training.get());
}

#[test]
fn a_trace_knows_names_and_places() {
    let model = sequential![Block { inner: Linear::new(4, 4) }, Linear::new(4, 2)];
    let module = trace("forward", |t| {
        t.bind(&model);
        let x = t.input("x", "f32[N, 4]");
        model.forward(&x)
    })
    .unwrap();
    let func = &module.funcs[0];
    let params: Vec<&str> = func.params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!(params, ["x", "0.inner.weight", "0.inner.bias", "1.weight", "1.bias"]);
    assert_eq!(func.graph.ty(func.graph.results()[0]).to_string(), "f32[N, 2]");
    assert_eq!(module.weights.len(), 4);

    let scopes: Vec<(&str, String)> = func
        .graph
        .nodes()
        .filter(|(_, node)| !matches!(node.op, nnc_ir::Op::Param(_)))
        .map(|(_, node)| (node.op.mnemonic(), node.location.scope.as_deref().unwrap_or("").to_string()))
        .collect();
    let expected = [
        ("dot_general", "0.inner"),
        ("broadcast_in_dim", "0.inner"),
        ("add", "0.inner"),
        ("tanh", "0"),
        ("add", "0"),
        ("dot_general", "1"),
        ("broadcast_in_dim", "1"),
        ("add", "1"),
    ];
    assert_eq!(scopes, expected.map(|(op, scope)| (op, scope.to_string())));
    // A parameter's place is where its layer was made, its module the one that owns it.
    let weight = &func.graph.def(func.graph.params()[1]).location;
    let made = line_of("let model = sequential![Block { inner: Linear::new(4, 4) }, Linear::new(4, 2)];");
    assert_eq!((weight.line, weight.scope.as_deref()), (made, Some("0.inner")));
    // Every place is in this file, and the body of a library layer is placed where the user called it.
    let inner_line = line_of("let y = self.inner.forward(x);");
    for (_, node) in func.graph.nodes() {
        assert_eq!(node.location.file.as_deref(), Some(file!()));
        if node.location.scope.as_deref() == Some("0.inner") && !matches!(node.op, nnc_ir::Op::Param(_)) {
            assert_eq!(node.location.line, inner_line);
        }
    }
}

/// The line of this file that reads `text`.
fn line_of(text: &str) -> u32 {
    let line = include_str!("modules.rs").lines().position(|line| line.trim() == text);
    line.expect("the line is in this file") as u32 + 1
}

#[test]
fn all_shape_errors_are_reported_with_their_lines() {
    let model = Linear::new(3, 2);
    let error = trace("wrong", |t| {
        t.bind(&model);
        let x = t.input("x", "f32[N, 4]");
        let y = model.forward(&x); // first fault
        let z = y.relu().sum(7) + 1.0; // poisoned: no second report
        let _ = x.view([-1, 3]); // second fault
        let _ = &x + t.input("b", "f32[5]"); // third fault
        z
    })
    .unwrap_err();
    let found: Vec<(u32, String)> =
        error.diagnostics.iter().map(|diagnostic| (diagnostic.location.line, diagnostic.message.clone())).collect();
    let line = |marker: &str| {
        let line = include_str!("modules.rs").lines().position(|line| line.contains(marker) && line.contains(';'));
        line.unwrap() as u32 + 1
    };
    assert_eq!(
        found,
        [
            (
                line("// first fault"),
                "linear: the input is f32[N, 4], expected 3 features in the last dimension for a weight of f32[2, 3]"
                    .to_string()
            ),
            (line("// second fault"), "reshape: the elements of f32[N, 4] do not divide into [-1, 3]".to_string()),
            (line("// third fault"), "add: the shapes of f32[N, 4] and f32[5] do not broadcast".to_string()),
        ]
    );
    assert_eq!(error.diagnostics[0].location.file.as_deref(), Some(file!()));
}

#[test]
fn a_parameter_outside_the_model_is_refused() {
    let model = Linear::new(3, 2);
    let stray = Linear::new(2, 2);
    let error = trace("forward", |t| {
        t.bind(&model);
        stray.forward(&model.forward(&t.input("x", "f32[1, 3]")))
    })
    .unwrap_err();
    assert_eq!(error.diagnostics.len(), 2, "{error}");
    assert!(error.diagnostics[0].message.contains("f32[2, 2] is used here but is in no bound model"), "{error}");
}

#[test]
fn traced_and_eager_results_agree() {
    manual_seed(5);
    let model = TinyModel::new();
    let x = Tensor::randn([3, 100]);
    let eager = model.forward(&x);
    let module = trace("forward", |t| {
        t.bind(&model);
        model.forward(&t.input("x", "f32[N, 100]"))
    })
    .unwrap();
    let func = &module.funcs[0];
    let inputs = [("x".to_string(), x.data().unwrap())].into_iter().collect();
    let results = nnc_ir::interp::eval_func(func, &module.weights, &inputs, &Default::default()).unwrap();
    assert_eq!(results["output"], eager.data().unwrap());
    let rows = eager.sum(1).to_array().unwrap();
    assert!(rows.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
}

#[test]
fn buffers_become_state_that_is_donated() {
    #[derive(Module)]
    struct Counter {
        count: Buffer,
        #[allow(dead_code)]
        frozen: Parameter,
    }
    impl Forward for Counter {
        fn forward(&self, x: &Tensor) -> Tensor {
            self.count.update(&(&self.count + 1.0));
            x * &self.count
        }
    }
    let model = Counter { count: Buffer::new(ndarray::arr0(0f32)), frozen: Parameter::new(Tensor::ones([1])) };
    model.frozen.freeze();
    let module = trace("step", |t| {
        t.bind(&model);
        model.forward(&t.input("x", "f32[2]"))
    })
    .unwrap();
    let func = &module.funcs[0];
    let params: Vec<(&str, nnc_ir::ParamKind)> = func.params.iter().map(|p| (p.name.as_str(), p.kind)).collect();
    use nnc_ir::ParamKind::{Input, State};
    assert_eq!(params, [("x", Input), ("frozen", State), ("count", State)]);
    assert_eq!((func.results[1].name.as_str(), func.results[1].donates), ("count", Some(2)));
    // Outside a trace the update takes place at once.
    assert_eq!(model.forward(&Tensor::ones([2])).to_array().unwrap().sum(), 2.0);
    assert_eq!(model.count.to_array().sum(), 1.0);
}

#[test]
fn state_dicts_round_trip_and_name_every_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    manual_seed(1);
    let (saved, loaded) = (NeuralNetwork::new(), NeuralNetwork::new());
    saved.state_dict().save(&path).unwrap();
    loaded.load_state_dict(&StateDict::load(&path).unwrap()).unwrap();
    assert_eq!(saved.state_dict(), loaded.state_dict());
    assert_eq!(saved.state_dict().keys().next(), Some("linear_relu_stack.0.weight"));

    let mut wrong = saved.state_dict();
    wrong.remove("linear_relu_stack.0.bias");
    wrong.insert("extra", TensorData::from_f32(vec![1], &[0.0]));
    wrong.insert("linear_relu_stack.4.bias", TensorData::from_f32(vec![2], &[0.0, 0.0]));
    let error = loaded.load_state_dict(&wrong).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the state dict does not fit the module
  missing: linear_relu_stack.0.bias
  unexpected: extra
  mismatched: linear_relu_stack.4.bias is f32[2], expected f32[10]"
    );
    assert_eq!(saved.state_dict(), loaded.state_dict(), "a refused load changes nothing");
    wrong.remove("linear_relu_stack.4.bias");
    let report = loaded.load_state_dict_lenient(&wrong).unwrap();
    assert_eq!((report.missing.len(), report.unexpected.len()), (2, 1));

    std::fs::write(&path, b"\xff\xff\xff\xff\xff\xff\xff\x7f{}").unwrap();
    let error = StateDict::load(&path).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn shared_parameters_appear_once_but_save_twice() {
    let first = Linear::no_bias(2, 2);
    let tied = Linear { weight: first.weight.clone(), ..Linear::no_bias(2, 2) };
    let model = sequential![first, tied];
    assert_eq!(names(&model), ["0.weight"]);
    assert_eq!(model.state_dict().keys().collect::<Vec<_>>(), ["0.weight", "1.weight"]);
    let module = trace("forward", |t| {
        t.bind(&model);
        model.forward(&t.input("x", "f32[1, 2]"))
    })
    .unwrap();
    assert_eq!(module.funcs[0].params.len(), 2);
}

/// A forward of its own signature, generic over the parts.
#[derive(Module)]
#[module(custom_forward, name = "TwoTower")]
struct Towers<A, B: Module, F> {
    left: A,
    right: B,
    #[module(skip)]
    scale: F,
}

impl<A: Module + Forward, B: Module + Forward, F: Fn() -> f64> Towers<A, B, F> {
    fn forward(&self, x: &Tensor, y: &Tensor) -> Tensor {
        self.left.forward(x).matmul(self.right.forward(y).t()) * (self.scale)()
    }
}

#[derive(Module)]
struct Pair(Linear, ReLU);

impl Forward for Pair {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.1.forward(&self.0.forward(x))
    }
}

#[derive(Module)]
struct Nothing;

#[test]
fn the_derive_takes_any_struct() {
    let towers = Towers { left: Pair(Linear::new(2, 3), ReLU::new()), right: Linear::no_bias(2, 3), scale: || 2.0 };
    assert_eq!(names(&towers), ["left.0.weight", "left.0.bias", "right.weight"]);
    assert_eq!(
        towers.to_string(),
        "TwoTower(
  (left): Pair(
    (0): Linear(in_features=2, out_features=3, bias=True)
    (1): ReLU()
  )
  (right): Linear(in_features=2, out_features=3, bias=False)
)"
    );
    assert_eq!(towers.forward(&Tensor::ones([4, 2]), &Tensor::ones([5, 2])).shape().to_string(), "[4, 5]");
    assert_eq!(names(&towers.left), ["0.weight", "0.bias"]);
    assert_eq!(Nothing.to_string(), "Nothing()");
    assert_eq!(CrossEntropyLoss::new().to_string(), "CrossEntropyLoss()");
}

#[test]
fn a_trace_that_unwinds_is_over() {
    let unwound = std::panic::catch_unwind(|| trace("f", |_| -> Tensor { panic!("the model's own fault") }));
    assert!(unwound.is_err());
    let mut stray = None;
    let module = trace("f", |t| {
        let x = t.input("x", "f32[2]");
        stray = Some(x.clone());
        assert!(trace("inner", |_| ()).is_err(), "traces do not nest");
        x
    });
    assert!(module.is_ok());
    let stray = stray.unwrap();
    let error = (&stray + 1.0).data().unwrap_err();
    assert!(error.message.contains("after its trace has ended"), "{error}");
    let error = trace("g", |_| stray.exp()).unwrap_err();
    assert!(error.diagnostics[0].message.contains("belongs to another trace"), "{error}");
    let error = trace("h", |t| [t.input("x", "f32[2, "), t.input("x", "f31[2]")].map(|x| ("y", x))).unwrap_err();
    assert_eq!(error.diagnostics.len(), 2, "{error}");
    assert!(trace("nothing", |_| ()).unwrap_err().to_string().contains("function `nothing` gives no result"));
}
