//! Initial values: the distributions of PyTorch, and repeatable ones.

use nnc_frontend::init::{self, FanMode, Nonlinearity};
use nnc_frontend::prelude::*;

fn parameter<const N: usize>(shape: [usize; N]) -> Parameter {
    Parameter::new(Tensor::zeros(shape))
}

/// Mean, standard deviation, smallest and largest element.
fn moments(parameter: &Parameter) -> (f64, f64, f64, f64) {
    let values: Vec<f64> = parameter.to_array().iter().map(|&value| f64::from(value)).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let var = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    let (min, max) = values.iter().fold((f64::MAX, f64::MIN), |(min, max), &v| (min.min(v), max.max(v)));
    (mean, var.sqrt(), min, max)
}

/// The values are uniform in ±`bound`.
fn assert_uniform(parameter: &Parameter, bound: f64) {
    let (mean, std, min, max) = moments(parameter);
    let expected = bound / 3f64.sqrt();
    assert!(mean.abs() < 0.05 * bound && (std / expected - 1.0).abs() < 0.05, "mean {mean}, std {std}, bound {bound}");
    assert!(min >= -bound - 1e-6 && min < -0.98 * bound && max <= bound + 1e-6 && max > 0.98 * bound);
}

fn assert_normal(parameter: &Parameter, std: f64) {
    let (mean, found, min, max) = moments(parameter);
    assert!(mean.abs() < 0.06 * std && (found / std - 1.0).abs() < 0.05, "mean {mean}, std {found}, expected {std}");
    assert!(min < -2.5 * std && max > 2.5 * std);
}

#[test]
fn a_linear_layer_starts_as_in_pytorch() {
    manual_seed(11);
    let layer = Linear::new(784, 64);
    assert_uniform(&layer.weight, 1.0 / 784f64.sqrt());
    let wide = Linear::new(16, 4000);
    assert_uniform(wide.bias.as_ref().unwrap(), 0.25);
}

#[test]
fn fans_decide_the_variance() {
    manual_seed(12);
    let (fan_in, fan_out) = (40.0, 100.0);
    let p = parameter([100, 40]);
    init::xavier_uniform_(&p, 2.0);
    assert_uniform(&p, 2.0 * (6.0f64 / (fan_in + fan_out)).sqrt());
    init::xavier_normal_(&p, 1.0);
    assert_normal(&p, (2.0f64 / (fan_in + fan_out)).sqrt());
    init::kaiming_uniform_(&p, 0.0);
    assert_uniform(&p, (6.0f64 / fan_in).sqrt());
    init::kaiming_normal_with(&p, FanMode::FanOut, Nonlinearity::Relu);
    assert_normal(&p, (2.0f64 / fan_out).sqrt());
    // A kernel multiplies both fans.
    let kernel = parameter([20, 10, 5, 5]);
    init::kaiming_normal_(&kernel, 0.0);
    assert_normal(&kernel, (2.0f64 / 250.0).sqrt());
}

#[test]
fn plain_distributions() {
    manual_seed(13);
    let p = parameter([50, 100]);
    init::uniform_(&p, 2.0, 3.0);
    let (mean, _, min, max) = moments(&p);
    assert!((mean - 2.5).abs() < 0.02 && min >= 2.0 && max <= 3.0);
    init::normal_(&p, 0.0, 0.02);
    assert_normal(&p, 0.02);
    init::trunc_normal_(&p, 0.0, 1.0, -1.0, 2.0);
    let (mean, _, min, max) = moments(&p);
    // The mean of a standard normal cut to [-1, 2].
    assert!((mean - 0.2296).abs() < 0.05 && min >= -1.0 && max <= 2.0 && max > 1.9, "{mean} {min} {max}");
    init::constant_(&p, 3.0);
    assert_eq!(moments(&p), (3.0, 0.0, 3.0, 3.0));
    let eye = parameter([2, 3]);
    init::eye_(&eye);
    assert_eq!(eye.to_array().as_slice().unwrap(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn orthogonal_rows_or_columns() {
    manual_seed(14);
    for shape in [[8, 20], [20, 8]] {
        let p = parameter(shape);
        init::orthogonal_(&p, 2.0);
        let m = p.to_array().into_dimensionality::<ndarray::Ix2>().unwrap();
        let gram = if shape[0] < shape[1] { m.dot(&m.t()) } else { m.t().dot(&m) };
        for ((row, column), value) in gram.indexed_iter() {
            let expected = if row == column { 4.0 } else { 0.0 };
            assert!((value - expected).abs() < 1e-5, "{row} {column} {value}");
        }
    }
}

#[test]
fn a_seed_repeats_everything_drawn_after_it() {
    let draw = |seed| {
        manual_seed(seed);
        let layer = Linear::new(5, 3);
        (layer.weight.data(), layer.bias.unwrap().data(), Tensor::randn([4]).data().unwrap())
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    manual_seed(1);
    assert_ne!(Linear::new(5, 3).weight.data(), Linear::new(5, 3).weight.data());
}

#[test]
fn tensors_are_drawn_from_the_distributions_they_say() {
    manual_seed(15);
    let uniform = Parameter::new(Tensor::rand([5000]) * 2.0 - 1.0);
    assert_uniform(&uniform, 1.0);
    assert_normal(&Parameter::new(Tensor::randn([5000])), 1.0);
}

#[test]
fn dirac_passes_channels_on() {
    let kernel = Parameter::new(Tensor::ones([4, 2, 3, 2]));
    init::dirac_(&kernel, 2).expect("two groups divide four channels");
    let ones: Vec<Vec<usize>> = kernel
        .to_array()
        .indexed_iter()
        .filter(|(_, value)| **value == 1.0)
        .map(|(index, _)| (0..4).map(|dim| index[dim]).collect())
        .collect();
    // In each group of two, output channel `i` takes input channel `i` at the center.
    assert_eq!(ones, [[0, 0, 1, 1], [1, 1, 1, 1], [2, 0, 1, 1], [3, 1, 1, 1]]);
    assert_eq!(kernel.to_array().sum(), 4.0);
    assert!(init::dirac_(&kernel, 3).expect_err("three do not").to_string().contains("3 groups"));
    assert!(init::dirac_(&Parameter::new(Tensor::ones([2, 2])), 1).is_err());
}

#[test]
fn sparse_has_zeros_in_every_column() {
    let matrix = Parameter::new(Tensor::zeros([10, 7]));
    init::sparse_(&matrix, 0.25, 0.01).expect("a matrix");
    for column in matrix.to_array().into_dimensionality::<ndarray::Ix2>().expect("a matrix").columns() {
        assert_eq!(column.iter().filter(|&&value| value == 0.0).count(), 3);
    }
    assert!(init::sparse_(&matrix, 1.5, 0.01).is_err());
    assert!(init::sparse_(&Parameter::new(Tensor::zeros([3])), 0.1, 0.01).is_err());
}
