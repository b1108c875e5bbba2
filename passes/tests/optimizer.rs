//! Training steps against PyTorch's algorithm and PyTorch's numbers.

use std::collections::BTreeMap;
use std::path::Path;

use nnc_ir::builder::Built;
use nnc_ir::interp::eval_graph;
use nnc_ir::ops::DotAttrs;
use nnc_ir::{Builder, DType, Func, FuncParam, FuncResult, Graph, Location, ParamKind, TensorData, TensorType, Value};
use nnc_optim::Sgd;
use nnc_passes::optimizer::{Clip, LossScaling, OptimizerSpec, ParamGroup, StepSpec, train_step};

/// A function of named parameters whose one result is the loss.
fn func(params: &[(&str, ParamKind, TensorType)], build: impl Fn(&mut Builder<'_>, &[Value]) -> Built) -> Func {
    let mut graph = Graph::new();
    let values: Vec<Value> = params.iter().map(|(_, _, ty)| graph.param(ty.clone(), Location::unknown())).collect();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let loss = build(&mut b, &values).expect("the test function is well typed");
    graph.set_results(vec![loss]);
    let param = |(name, kind, _): &(&str, ParamKind, TensorType)| FuncParam {
        name: name.to_string(),
        kind: *kind,
        weight: None,
    };
    Func {
        name: "train".to_string(),
        params: params.iter().map(param).collect(),
        results: vec![FuncResult { name: "loss".to_string(), donates: None }],
        graph,
    }
}

/// Takes steps as a runtime would: donated results are the next call's parameters; states start as zeros.
struct Training {
    step: Func,
    values: BTreeMap<String, TensorData>,
}

impl Training {
    fn new(step: Func, given: &[(&str, TensorData)]) -> Self {
        let mut values: BTreeMap<String, TensorData> =
            given.iter().map(|(name, data)| (name.to_string(), data.clone())).collect();
        for (param, &value) in step.params.iter().zip(step.graph.params()) {
            if param.kind == ParamKind::State {
                let ty = step.graph.ty(value);
                let shape = ty.shape.as_fixed().expect("fixed");
                let n_bytes = ty.bytes().expect("fixed");
                values.insert(param.name.clone(), TensorData::new(ty.dtype, shape, vec![0; n_bytes]));
            }
        }
        step.verify().expect("the step is valid");
        Self { step, values }
    }

    /// Takes a step and gives the loss before it.
    fn take(&mut self, lr: f32) -> f64 {
        self.values.insert("lr".to_string(), TensorData::from_f32(vec![], &[lr]));
        let arguments: Vec<TensorData> =
            self.step.params.iter().map(|param| self.values[&param.name].clone()).collect();
        let results = eval_graph(&self.step.graph, &arguments).expect("the step is valid");
        for (result, value) in self.step.results.iter().zip(&results) {
            if let Some(param) = result.donates {
                let param = &self.step.params[param as usize].name;
                assert_eq!(*param, result.name);
                self.values.insert(param.clone(), value.clone());
            }
        }
        results[0].to_f64()[0]
    }
}

/// One parameter's trajectory by the algorithm of `torch.optim.SGD`, transcribed from its documentation.
fn torch_sgd(sgd: &Sgd, mut param: f64, n_steps: usize, gradient: impl Fn(f64) -> f64) -> f64 {
    let mut buffer: Option<f64> = None;
    for _ in 0..n_steps {
        let mut g = if sgd.maximize { -gradient(param) } else { gradient(param) };
        g += sgd.weight_decay * param;
        if sgd.momentum != 0.0 {
            let next = match buffer {
                None => g,
                Some(buffer) => sgd.momentum * buffer + (1.0 - sgd.dampening) * g,
            };
            buffer = Some(next);
            g = if sgd.nesterov { g + sgd.momentum * next } else { next };
        }
        param -= sgd.lr * g;
    }
    param
}

#[test]
fn sgd_follows_the_algorithm_of_pytorch() {
    // loss = sum(x^4) / 4, so that the gradient x^3 depends on where the parameter is.
    let ty = TensorType::new(DType::F64, [3]);
    let func = func(&[("x", ParamKind::Param, ty)], |b, p| {
        let square = b.multiply(p[0], p[0])?;
        let fourth = b.multiply(square, square)?;
        let sum = b.reduce_sum(fourth, &[0])?;
        let quarter = b.splat_like(sum, 0.25)?;
        b.multiply(sum, quarter)
    });
    let start = [1.5, -0.5, 0.25];
    // The learning rate passes through f32, which holds this one exactly.
    let base = Sgd { lr: 0.125, ..Sgd::default() };
    let variants = [
        base,
        Sgd { weight_decay: 0.1, ..base },
        Sgd { momentum: 0.9, ..base },
        Sgd { momentum: 0.9, dampening: 0.5, ..base },
        Sgd { momentum: 0.9, dampening: 0.5, weight_decay: 0.1, ..base },
        Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.1, ..base },
        Sgd { momentum: 0.5, maximize: true, lr: 0.0625, ..base },
        Sgd { dampening: 0.5, ..base },
    ];
    for sgd in variants {
        let bytes: Vec<u8> = start.iter().flat_map(|value: &f64| value.to_le_bytes()).collect();
        let step = train_step(&func, 0, OptimizerSpec::Sgd(sgd)).expect("can be trained");
        let mut training = Training::new(step, &[("x", TensorData::new(DType::F64, vec![3], bytes))]);
        for _ in 0..4 {
            training.take(sgd.lr as f32);
        }
        for (found, start) in training.values["x"].to_f64().into_iter().zip(start) {
            let expected = torch_sgd(&sgd, start, 4, |x| x * x * x);
            assert!((found - expected).abs() < 1e-14, "{sgd:?}: found {found}, expected {expected}");
        }
    }
}

#[test]
fn a_linear_layer_trains_as_in_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/models/linear_layer.safetensors");
    let bytes = std::fs::read(path).expect("the golden file is in the repository");
    let golden = safetensors::SafeTensors::deserialize(&bytes).expect("the golden file is whole");
    let tensor = |name: &str| {
        let view = golden.tensor(name).expect("the golden file has the tensor");
        TensorData::new(DType::F32, view.shape().to_vec(), view.data().to_vec())
    };
    let weight = golden.names().into_iter().find(|name| name.starts_with("param.") && name.ends_with("weight"));
    let prefix = weight.and_then(|name| name.strip_prefix("param.")?.strip_suffix("weight")).expect("has a weight");
    let (weight, bias) = (format!("{prefix}weight"), format!("{prefix}bias"));

    let f32s = |extents: &[usize]| TensorType::new(DType::F32, nnc_ir::Shape::fixed(extents));
    let params = [
        ("x", ParamKind::Input, f32s(&[1, 3])),
        ("y", ParamKind::Input, f32s(&[1, 2])),
        (weight.as_str(), ParamKind::Param, f32s(&[2, 3])),
        (bias.as_str(), ParamKind::Param, f32s(&[2])),
    ];
    let func = func(&params, |b, p| {
        let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![1], ..DotAttrs::default() };
        let product = b.dot(p[0], p[2], attrs)?;
        let bias = b.broadcast_to(p[3], [1, 2])?;
        let out = b.add(product, bias)?;
        let error = b.subtract(out, p[1])?;
        let square = b.multiply(error, error)?;
        let sum = b.reduce_sum(square, &[0, 1])?;
        let half = b.splat_like(sum, 0.5)?;
        b.multiply(sum, half)
    });
    let close = |what: &str, found: &TensorData, expected: &TensorData| {
        for (found, expected) in found.to_f64().into_iter().zip(expected.to_f64()) {
            let error = (found - expected).abs();
            assert!(error <= 1e-5 * expected.abs().max(1e-2), "{what}: found {found}, expected {expected}");
        }
    };
    for (variant, spec) in [
        ("sgd", "sgd:lr=0.1"),
        ("momentum", "sgd:lr=0.1,momentum=0.9"),
        ("nesterov", "sgd:lr=0.1,momentum=0.9,nesterov=true"),
        ("weight_decay", "sgd:lr=0.1,momentum=0.9,weight_decay=0.01"),
    ] {
        let spec = OptimizerSpec::parse(spec).expect("a specification");
        let step = train_step(&func, 0, &spec).expect("can be trained");
        let given = [
            ("x", tensor("in.x")),
            ("y", tensor("in.y")),
            (weight.as_str(), tensor(&format!("param.{weight}"))),
            (bias.as_str(), tensor(&format!("param.{bias}"))),
        ];
        let mut training = Training::new(step, &given);
        let losses: Vec<f32> = (0..10).map(|_| training.take(spec.learning_rate() as f32) as f32).collect();
        close(variant, &TensorData::from_f32(vec![10], &losses), &tensor(&format!("losses.{variant}")));
        for name in [&weight, &bias] {
            close(variant, &training.values[name], &tensor(&format!("after10.{variant}.{name}")));
        }
    }
}

#[test]
fn a_step_names_its_states_and_donates_them() {
    let ty = TensorType::new(DType::F32, [2]);
    let func = func(&[("x", ParamKind::Input, ty.clone()), ("w", ParamKind::Param, ty)], |b, p| {
        let product = b.multiply(p[0], p[1])?;
        b.reduce_sum(product, &[0])
    });
    let spec = OptimizerSpec::parse("sgd:momentum=0.9,dampening=0.1").expect("a specification");
    let step = train_step(&func, 0, &spec).expect("can be trained");
    let params: Vec<(&str, ParamKind)> = step.params.iter().map(|param| (param.name.as_str(), param.kind)).collect();
    assert_eq!(
        params,
        [
            ("x", ParamKind::Input),
            ("w", ParamKind::Param),
            ("lr", ParamKind::Input),
            ("optimizer.step", ParamKind::State),
            ("w.momentum_buffer", ParamKind::State),
        ]
    );
    let results: Vec<(&str, Option<u32>)> =
        step.results.iter().map(|result| (result.name.as_str(), result.donates)).collect();
    assert_eq!(results, [("loss", None), ("w", Some(1)), ("w.momentum_buffer", Some(4)), ("optimizer.step", Some(3)),]);
}

/// The names of a step's parameters beyond the function's own.
fn added(func: &Func, step: &Func) -> Vec<String> {
    step.params[func.params.len()..].iter().map(|param| param.name.clone()).collect()
}

/// The sum of `x * w * v`.
fn product() -> Func {
    let ty = TensorType::new(DType::F32, [2]);
    let params =
        [("x", ParamKind::Input, ty.clone()), ("w", ParamKind::Param, ty.clone()), ("v", ParamKind::Param, ty)];
    func(&params, |b, p| {
        let first = b.multiply(p[0], p[1])?;
        let second = b.multiply(first, p[2])?;
        b.reduce_sum(second, &[0])
    })
}

fn group(optimizer: &str, params: &[&str], schedules_momentum: bool) -> ParamGroup {
    let optimizer = OptimizerSpec::parse(optimizer).expect("a specification");
    ParamGroup { optimizer, params: params.iter().map(ToString::to_string).collect(), schedules_momentum }
}

#[test]
fn every_group_has_a_learning_rate_and_states_of_its_own() {
    let func = product();
    let groups = vec![group("nadam", &[], true), group("nadam:lr=0.5", &["v"], false)];
    let spec = StepSpec { groups, clip: Some(Clip::norm(1.0)), loss_scaling: None };
    assert_eq!(spec.inputs(), [("lr".to_string(), 2e-3), ("lr.1".to_string(), 0.5), ("momentum".to_string(), 0.9)]);
    let step = train_step(&func, 0, spec).expect("can be trained");
    let states = ["optimizer.step", "optimizer.mu_product", "optimizer.1.mu_product"];
    let of_params = ["w.exp_avg", "w.exp_avg_sq", "v.exp_avg", "v.exp_avg_sq"];
    assert_eq!(added(&func, &step), [&["lr", "lr.1", "momentum"][..], &states, &of_params].concat());
    assert_eq!(step.results[1].name, "grad_norm");
}

#[test]
fn steps_that_are_not_possible_are_refused_with_all_reasons() {
    let groups = vec![group("adagrad", &[], true), group("sgd", &["v", "w"], false), group("sgd", &["w"], false)];
    let clip = Clip::Norm { max_norm: 1.0, norm_type: 0.0, error_if_nonfinite: false };
    let loss_scaling = Some(LossScaling { growth_interval: 0, ..LossScaling::default() });
    let spec = StepSpec { groups, clip: Some(clip), loss_scaling };
    let faults = train_step(&product(), 0, spec).expect_err("nothing fits");
    let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "adagrad: there is no momentum to schedule (group 0)",
            "parameter `w` is in the groups 1 and 2",
            "clip: `norm_type` is 0, expected a number above 0, or infinity",
            "loss scaling: `growth_interval` is 0, expected at least 1",
        ]
    );
    let groups = vec![group("sgd", &[], false), group("sgd", &["x"], false)];
    let spec = StepSpec { groups, clip: None, loss_scaling: None };
    let fault = train_step(&product(), 0, spec).expect_err("x is an input");
    assert_eq!(fault[0].to_string(), "group 1 names `x`, which is no parameter (`param`) of `train`");
}

#[test]
fn narrow_parameters_are_updated_in_f32() {
    // In f16 the denominator's eps would be 0, and 0 / 0 the update where the gradient is 0.
    let ty = TensorType::new(DType::F16, [2]);
    let func = func(&[("x", ParamKind::Input, ty.clone()), ("w", ParamKind::Param, ty)], |b, p| {
        let product = b.multiply(p[0], p[1])?;
        b.reduce_sum(product, &[0])
    });
    let step = train_step(&func, 0, OptimizerSpec::parse("adam").expect("a specification")).expect("can be trained");
    let halves = |values: [f64; 2]| TensorData::from_doubles(DType::F16, vec![2], values);
    let mut training = Training::new(step, &[("x", halves([1.0, 0.0])), ("w", halves([1.0, 1.0]))]);
    training.take(0.125);
    assert_eq!(training.values["w"].to_f64(), [0.875, 1.0]);
}

#[test]
fn a_frozen_parameter_is_left_alone() {
    let ty = TensorType::new(DType::F32, [2]);
    let func = func(&[("frozen", ParamKind::Param, ty.clone()), ("w", ParamKind::Param, ty)], |b, p| {
        let frozen = b.stop_gradient(p[0])?;
        let product = b.multiply(frozen, p[1])?;
        b.reduce_sum(product, &[0])
    });
    let spec = OptimizerSpec::parse("sgd:momentum=0.9,weight_decay=0.1").expect("a specification");
    let step = train_step(&func, 0, &spec).expect("can be trained");
    let results: Vec<&str> = step.results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(results, ["loss", "w", "w.momentum_buffer"]);
}

#[test]
fn functions_that_cannot_be_trained_are_refused() {
    let ty = TensorType::new(DType::F32, [2]);
    let sum = |b: &mut Builder<'_>, p: &[Value]| b.reduce_sum(p[0], &[0]);
    let message =
        |func: &Func| train_step(func, 0, OptimizerSpec::Sgd(Sgd::default())).expect_err("refused")[0].to_string();
    let without = func(&[("x", ParamKind::Input, ty.clone())], sum);
    assert_eq!(message(&without), "function `train` has no trainable parameter (`param`) to optimize");
    let clash = func(&[("lr", ParamKind::Param, ty.clone())], sum);
    assert_eq!(message(&clash), "the training step would have two parameters named `lr`; rename the first");
    let mut updated = func(&[("w", ParamKind::Param, ty)], sum);
    updated.results[0].donates = Some(0);
    assert_eq!(message(&updated), "result `loss` updates parameter `w` already");
}
