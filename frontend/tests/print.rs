//! Tensors and parameters print as PyTorch 2.15 prints them.

use nnc_frontend::prelude::*;

/// `start, start + 1, ...`, each divided by `divisor`.
fn f32s(n: usize, start: f32, divisor: f32) -> Tensor {
    Tensor::from_slice(&(0..n).map(|idx| (start + idx as f32) / divisor).collect::<Vec<_>>())
}

#[test]
fn numbers_choose_their_notation() {
    assert_eq!(
        f32s(12, 1.0, 7.0).reshape([3, 4]).to_string(),
        "\
tensor([[0.1429, 0.2857, 0.4286, 0.5714],
        [0.7143, 0.8571, 1.0000, 1.1429],
        [1.2857, 1.4286, 1.5714, 1.7143]])"
    );
    assert_eq!(Tensor::from_slice(&[1f32, 2.0, 3.5]).to_string(), "tensor([1.0000, 2.0000, 3.5000])");
    assert_eq!(Tensor::from_slice(&[1f32, 2.0, -3.0]).to_string(), "tensor([ 1.,  2., -3.])");
    assert_eq!(Tensor::scalar(2.71819f32).to_string(), "tensor(2.7182)");
    assert_eq!(
        Tensor::from_slice(&[1i64, -20, 300, 4]).reshape([2, 2]).to_string(),
        "\
tensor([[  1, -20],
        [300,   4]])"
    );
    assert_eq!(Tensor::from_slice(&[true, false]).to_string(), "tensor([ True, False])");
    assert_eq!(
        Tensor::from_slice(&[1e-5f32, 1.0, 123456.0]).to_string(),
        "tensor([1.0000e-05, 1.0000e+00, 1.2346e+05])"
    );
    assert_eq!(Tensor::from_slice(&[1e-5f32, 2e-5]).to_string(), "tensor([1.0000e-05, 2.0000e-05])");
    assert_eq!(Tensor::from_slice(&[1f32, 2_000_000.0]).to_string(), "tensor([1.0000e+00, 2.0000e+06])");
    assert_eq!(Tensor::from_slice(&[1e9f32, 1.0]).to_string(), "tensor([1.0000e+09, 1.0000e+00])");
    assert_eq!(
        Tensor::from_slice(&[f32::NAN, 1.5, f32::INFINITY, f32::NEG_INFINITY]).to_string(),
        "tensor([   nan, 1.5000,    inf,   -inf])"
    );
    assert_eq!(Tensor::from_slice(&[f32::NAN, 1.0, f32::INFINITY]).to_string(), "tensor([nan, 1., inf])");
    assert_eq!(Tensor::from_slice(&[-1.5f32, 2.25]).to_string(), "tensor([-1.5000,  2.2500])");
    assert_eq!(Tensor::from_slice(&[1000.5f32, 1.5]).to_string(), "tensor([1000.5000,    1.5000])");
    assert_eq!(Tensor::from_slice(&[1500.5f32, 1.0]).to_string(), "tensor([1.5005e+03, 1.0000e+00])");
    assert_eq!(Tensor::from_slice(&[0f32, 0.5]).to_string(), "tensor([0.0000, 0.5000])");
    assert_eq!(
        Tensor::zeros([2, 2]).to_string(),
        "\
tensor([[0., 0.],
        [0., 0.]])"
    );
}

#[test]
fn long_tensors_are_wrapped_and_summarized() {
    assert_eq!(
        f32s(2000, 0.0, 1.0).to_string(),
        "\
tensor([0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,
        1.9990e+03])"
    );
    assert_eq!(
        f32s(2000, 0.0, 3.0).reshape([40, 50]).to_string(),
        "\
tensor([[0.0000e+00, 3.3333e-01, 6.6667e-01,  ..., 1.5667e+01, 1.6000e+01,
         1.6333e+01],
        [1.6667e+01, 1.7000e+01, 1.7333e+01,  ..., 3.2333e+01, 3.2667e+01,
         3.3000e+01],
        [3.3333e+01, 3.3667e+01, 3.4000e+01,  ..., 4.9000e+01, 4.9333e+01,
         4.9667e+01],
        ...,
        [6.1667e+02, 6.1700e+02, 6.1733e+02,  ..., 6.3233e+02, 6.3267e+02,
         6.3300e+02],
        [6.3333e+02, 6.3367e+02, 6.3400e+02,  ..., 6.4900e+02, 6.4933e+02,
         6.4967e+02],
        [6.5000e+02, 6.5033e+02, 6.5067e+02,  ..., 6.6567e+02, 6.6600e+02,
         6.6633e+02]])"
    );
    assert_eq!(
        f32s(40, 0.0, 3.0).to_string(),
        "\
tensor([ 0.0000,  0.3333,  0.6667,  1.0000,  1.3333,  1.6667,  2.0000,  2.3333,
         2.6667,  3.0000,  3.3333,  3.6667,  4.0000,  4.3333,  4.6667,  5.0000,
         5.3333,  5.6667,  6.0000,  6.3333,  6.6667,  7.0000,  7.3333,  7.6667,
         8.0000,  8.3333,  8.6667,  9.0000,  9.3333,  9.6667, 10.0000, 10.3333,
        10.6667, 11.0000, 11.3333, 11.6667, 12.0000, 12.3333, 12.6667, 13.0000])"
    );
    assert_eq!(
        Tensor::arange(12).reshape([2, 3, 2]).to_string(),
        "\
tensor([[[ 0,  1],
         [ 2,  3],
         [ 4,  5]],

        [[ 6,  7],
         [ 8,  9],
         [10, 11]]])"
    );
}

#[test]
fn types_and_extents_that_the_elements_do_not_show_are_named() {
    assert_eq!(Tensor::from_slice(&[1.5f64]).to_string(), "tensor([1.5000], dtype=torch.float64)");
    assert_eq!(Tensor::from_slice(&[1i32]).to_string(), "tensor([1], dtype=torch.int32)");
    assert_eq!(Tensor::zeros([0]).to_string(), "tensor([])");
    assert_eq!(Tensor::zeros([0, 3]).to_string(), "tensor([], size=(0, 3))");
    assert_eq!(Tensor::from_slice::<i64>(&[]).to_string(), "tensor([], dtype=torch.int64)");
}

#[test]
fn parameters_say_so() {
    assert_eq!(
        Parameter::new(f32s(12, 1.0, 7.0).reshape([3, 4]).index((0..2, 0..2))).to_string(),
        "\
Parameter containing:
tensor([[0.1429, 0.2857],
        [0.7143, 0.8571]], requires_grad=True)"
    );
    assert_eq!(
        Parameter::new(f32s(2000, 0.0, 3.0).reshape([200, 10])).to_string(),
        "\
Parameter containing:
tensor([[0.0000e+00, 3.3333e-01, 6.6667e-01,  ..., 2.3333e+00, 2.6667e+00,
         3.0000e+00],
        [3.3333e+00, 3.6667e+00, 4.0000e+00,  ..., 5.6667e+00, 6.0000e+00,
         6.3333e+00],
        [6.6667e+00, 7.0000e+00, 7.3333e+00,  ..., 9.0000e+00, 9.3333e+00,
         9.6667e+00],
        ...,
        [6.5667e+02, 6.5700e+02, 6.5733e+02,  ..., 6.5900e+02, 6.5933e+02,
         6.5967e+02],
        [6.6000e+02, 6.6033e+02, 6.6067e+02,  ..., 6.6233e+02, 6.6267e+02,
         6.6300e+02],
        [6.6333e+02, 6.6367e+02, 6.6400e+02,  ..., 6.6567e+02, 6.6600e+02,
         6.6633e+02]], requires_grad=True)"
    );
    assert_eq!(
        Parameter::new(f32s(10, 0.0, 7.0)).to_string(),
        "\
Parameter containing:
tensor([0.0000, 0.1429, 0.2857, 0.4286, 0.5714, 0.7143, 0.8571, 1.0000, 1.1429,
        1.2857], requires_grad=True)"
    );
}
