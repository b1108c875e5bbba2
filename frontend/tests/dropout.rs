//! Dropout and random slopes where they are random: what is drawn, when, and from where.

use nnc_frontend::prelude::*;
use nnc_ir::Bindings;
use nnc_ir::interp::eval_func;

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_array().expect("eager tensors have data").iter().copied().collect()
}

fn share_of_zeros(values: &[f32]) -> f64 {
    values.iter().filter(|&&value| value == 0.0).count() as f64 / values.len() as f64
}

#[test]
fn survivors_are_scaled_and_their_share_is_right() {
    manual_seed(3);
    for p in [0.1, 0.5, 0.8] {
        let y = values(&Dropout::new().p(p).forward(&Tensor::ones([20_000])));
        assert!((share_of_zeros(&y) - p).abs() < 0.02, "p = {p}: {} are zeros", share_of_zeros(&y));
        let survivor = (1.0 / (1.0 - p)) as f32;
        assert!(y.iter().all(|&y| y == 0.0 || (y - survivor).abs() < 1e-6));
    }
}

#[test]
fn calls_differ_and_a_seed_repeats_them() {
    let layer = Dropout::new();
    let x = Tensor::ones([64]);
    let two_calls = || {
        manual_seed(11);
        (values(&layer.forward(&x)), values(&layer.forward(&x)))
    };
    let (first, second) = two_calls();
    assert_ne!(first, second);
    assert_eq!(two_calls(), (first, second));
}

#[test]
fn a_traced_call_differs_from_run_to_run_and_layer_to_layer() {
    manual_seed(5);
    let model = sequential![Dropout::new(), Dropout::new()];
    let module = trace("drop", |t| {
        t.bind(&model);
        let x = t.input("x", "f32[64]");
        let layers: Vec<Tensor> = (0..2).map(|idx| model.get(idx).expect("there are two").forward(&x)).collect();
        t.output("first", &layers[0]);
        t.output("second", &layers[1]);
    })
    .expect("the trace is sound");
    let func = &module.funcs[0];
    let mut inputs = indexmap::IndexMap::new();
    inputs.insert("x".to_string(), Tensor::ones([64]).data().expect("eager"));
    inputs.insert("rng".to_string(), module.weights["rng"].clone());
    let mut run = |rng: &TensorData| {
        inputs.insert("rng".to_string(), rng.clone());
        eval_func(func, &module.weights, &inputs, &Bindings::new()).expect("it runs")
    };
    let first = run(&module.weights["rng"]);
    assert_ne!(first["first"], first["second"]);
    let again = run(&module.weights["rng"]);
    assert_eq!(first["first"], again["first"]);
    let next = run(&first["rng"]);
    assert_ne!(first["first"], next["first"]);
}

#[test]
fn evaluation_draws_nothing() {
    let model = sequential![Dropout::new(), AlphaDropout::new(), RReLU::new()];
    model.eval();
    let module = trace("evaluate", |t| {
        t.bind(&model);
        t.output("y", model.forward(&t.input("x", "f32[4, 4]")));
    })
    .expect("the trace is sound");
    assert_eq!(module.funcs[0].params.len(), 1);
}

#[test]
fn channels_are_dropped_whole() {
    manual_seed(7);
    let check = |y: &Tensor, channel: usize| {
        let y = values(y);
        assert!(y.chunks(channel).all(|part| part.iter().all(|&value| value == part[0])));
        assert!(share_of_zeros(&y) > 0.2 && share_of_zeros(&y) < 0.8);
    };
    check(&Dropout1d::new().forward(&Tensor::ones([8, 16, 5])), 5);
    check(&Dropout1d::new().forward(&Tensor::ones([128, 5])), 5);
    check(&Dropout2d::new().forward(&Tensor::ones([8, 16, 3, 2])), 6);
    check(&Dropout3d::new().forward(&Tensor::ones([8, 16, 3, 2, 2])), 12);
    let y = values(&FeatureAlphaDropout::new().forward(&Tensor::ones([8, 16, 5])));
    assert!(y.chunks(5).all(|part| part.iter().all(|&value| value == part[0])));
}

#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    manual_seed(9);
    let y = values(&AlphaDropout::new().p(0.3).forward(&Tensor::randn([40_000])));
    let mean = y.iter().map(|&y| f64::from(y)).sum::<f64>() / y.len() as f64;
    let var = y.iter().map(|&y| (f64::from(y) - mean).powi(2)).sum::<f64>() / y.len() as f64;
    assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "mean {mean}, variance {var}");
}

#[test]
fn random_slopes_stay_between_their_limits() {
    manual_seed(13);
    let y = values(&RReLU::new().lower(0.2).upper(0.4).forward(&Tensor::full([1000], -1.0)));
    assert!(y.iter().all(|&y| (-0.4..=-0.2).contains(&y)));
    assert!(y.iter().any(|&y| y < -0.35) && y.iter().any(|&y| y > -0.25));
}

#[test]
fn faults_name_the_argument() {
    let message = |y: Tensor| y.data().expect_err("it is a fault").to_string();
    let x = Tensor::ones([2, 3]);
    assert!(message(Dropout::new().p(1.5).forward(&x)).contains("p is 1.5"));
    assert!(message(Dropout2d::new().forward(&x)).contains("expected 3 or 4 dimensions"));
    assert!(message(GLU::new().forward(&x)).contains("expected an even extent"));
    assert!(message(PReLU::new().num_parameters(2).forward(&x)).contains("expected one, or 3"));
    assert!(message(Softshrink::new().lambd(-1.0).forward(&x)).contains("lambd is -1"));
}
