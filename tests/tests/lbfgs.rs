//! L-BFGS over a compiled loss: the parameters of a linear model are found again.

use ndarray::{Array2, array};
use nnc::prelude::*;
use nnc_frontend::optim::LineSearch;

#[test]
fn a_linear_model_is_found_again() -> Result<(), nnc::Error> {
    let x = Array2::from_shape_fn((24, 3), |(row, col)| ((row * 5 + col * 7) % 13) as f32 / 6.5 - 1.0);
    let expected = array![[0.5f32], [-2.0], [1.25]];
    let y = x.dot(&expected) + 0.75;

    manual_seed(1);
    let layer = Linear::new(3, 1);
    let mut loss = nnc::grad_fn(layer.named_parameters(), |t| {
        let (x, y) = (t.input("x", "f32[N, 3]"), t.input("y", "f32[N, 1]"));
        (layer.forward(&x) - y).square().mean(..)
    })?;
    let mut optimizer = LBFGS::new(layer.parameters()).history_size(5).line_search_fn(LineSearch::StrongWolfe);
    let first = optimizer.step(|| loss.call(&[&x, &y]))?;
    let second = optimizer.step(|| loss.call(&[&x, &y]))?;
    assert!(second < 1e-6 * first, "from {first} to {second}");

    let found = layer.weight.to_array();
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-3, "found {found}, expected {expected}");
    }
    let bias = layer.bias.as_ref().expect("the layer has a bias").to_array();
    assert!((bias[[0]] - 0.75).abs() < 1e-3, "found {bias}");
    Ok(())
}
