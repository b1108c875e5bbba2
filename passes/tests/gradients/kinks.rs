//! Gradients where functions have kinks, ties, zeros and poles: the choices that the rules document. The expected
//! numbers are those of PyTorch 2 wherever the comment does not say otherwise.

use nnc_ir::builder::Built;
use nnc_ir::ops::{Combiner, ScatterAttrs};
use nnc_ir::{Builder, Graph, Location, TensorData, Value};

use crate::table::f64s;
use crate::{differentiate, eval};

/// The gradients of the sum of the result of `build` at one-dimensional inputs.
fn gradients(inputs: &[&[f64]], build: impl Fn(&mut Builder<'_>, &[Value]) -> Built) -> Vec<Vec<f64>> {
    let inputs: Vec<TensorData> = inputs.iter().map(|values| f64s(&[values.len()], values)).collect();
    let mut graph = Graph::new();
    let params: Vec<Value> = inputs.iter().map(|input| graph.param(input.ty(), Location::unknown())).collect();
    let mut b = Builder::new(&mut graph, Location::unknown());
    let result = build(&mut b, &params).expect("the test function is well typed");
    let dims: Vec<usize> = (0..b.shape(result).rank()).collect();
    let sum = b.reduce_sum(result, &dims).expect("a number");
    graph.set_results(vec![sum]);
    eval("kink", &differentiate("kink", &graph), &inputs).iter().map(TensorData::to_f64).collect()
}

/// Compares with NaN equal to NaN.
fn assert_same(found: &[f64], expected: &[f64]) {
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found == expected || found.is_nan() && expected.is_nan());
    assert!(same, "found {found:?}, expected {expected:?}");
}

#[test]
fn abs_has_gradient_zero_at_zero() {
    let found = gradients(&[&[-2.0, 0.0, 3.0]], |b, x| b.abs(x[0]));
    assert_same(&found[0], &[-1.0, 0.0, 1.0]);
}

#[test]
fn relu_has_gradient_zero_at_zero() {
    for literal_first in [false, true] {
        let found = gradients(&[&[-1.0, 0.0, 2.0, f64::NAN]], |b, x| {
            let zero = b.zeros_like(x[0])?;
            if literal_first { b.maximum(zero, x[0]) } else { b.maximum(x[0], zero) }
        });
        assert_same(&found[0], &[0.0, 0.0, 1.0, 1.0]);
    }
}

#[test]
fn a_tie_with_a_broadcast_literal_goes_to_the_literal() {
    let found = gradients(&[&[0.5, 6.0, 7.0]], |b, x| {
        let six = b.scalar(b.dtype(x[0]), 6.0)?;
        let six = b.broadcast_scalar(six, b.shape(x[0]).clone())?;
        b.minimum(x[0], six)
    });
    assert_same(&found[0], &[1.0, 0.0, 0.0]);
}

#[test]
fn ties_of_maximum_and_minimum_are_split() {
    let inputs: [&[f64]; 2] = [&[1.0, 2.0, 3.0, f64::NAN], &[2.0, 2.0, 2.0, 2.0]];
    let found = gradients(&inputs, |b, x| b.maximum(x[0], x[1]));
    assert_same(&found[0], &[0.0, 0.5, 1.0, 1.0]);
    assert_same(&found[1], &[1.0, 0.5, 0.0, 1.0]);
    let found = gradients(&inputs, |b, x| b.minimum(x[0], x[1]));
    assert_same(&found[0], &[1.0, 0.5, 0.0, 1.0]);
    assert_same(&found[1], &[0.0, 0.5, 1.0, 1.0]);
}

#[test]
fn clamp_passes_on_its_bounds() {
    let found = gradients(&[&[-2.0, -1.0, 0.0, 1.0, 2.0]], |b, x| {
        let (low, high) = (b.splat_like(x[0], -1.0)?, b.splat_like(x[0], 1.0)?);
        b.clamp(low, x[0], high)
    });
    assert_same(&found[0], &[0.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn every_clamped_element_has_one_origin() {
    // Below, inside, above, bounds crossed with the element below and above both, bounds equal.
    let low = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    let x = [-1.0, 0.5, 2.0, -1.0, 2.0, 0.0];
    let high = [1.0, 1.0, 1.0, 0.0, 0.0, 1.0];
    let found = gradients(&[&low, &x, &high], |b, x| b.clamp(x[0], x[1], x[2]));
    assert_same(&found[0], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_same(&found[1], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_same(&found[2], &[0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn ties_of_a_reduction_share_evenly() {
    let found = gradients(&[&[3.0, 1.0, 3.0, 2.0]], |b, x| b.reduce_max(x[0], &[0]));
    assert_same(&found[0], &[0.5, 0.0, 0.5, 0.0]);
    let found = gradients(&[&[1.0, 1.0, 1.0, 2.0]], |b, x| b.reduce_min(x[0], &[0]));
    assert_same(&found[0], &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]);
}

#[test]
fn products_with_zeros() {
    let product = |values: &[f64]| gradients(&[values], |b, x| b.reduce_prod(x[0], &[0])).remove(0);
    assert_same(&product(&[2.0, 0.0, 3.0]), &[0.0, 6.0, 0.0]);
    assert_same(&product(&[0.0, 2.0, 0.0]), &[0.0, 0.0, 0.0]);
    assert_same(&product(&[0.0]), &[1.0]);
    assert_same(&product(&[]), &[]);
    // The whole product underflows to zero; PyTorch, which divides it, gives zeros.
    assert_same(&product(&[1e-200, 1e-200, 2.0]), &[2e-200, 2e-200, 0.0]);
}

#[test]
fn powers_at_their_edges() {
    let bases = [0.0, 0.0, 0.0, 0.0, -2.0, 2.0, -2.0];
    let exponents = [0.0, 1.0, 2.0, 0.5, 3.0, 0.0, 0.0];
    let found = gradients(&[&bases, &exponents], |b, x| b.power(x[0], x[1]));
    assert_same(&found[0], &[0.0, 1.0, 0.0, f64::INFINITY, 12.0, 0.0, 0.0]);
    assert_same(&found[1], &[0.0, 0.0, 0.0, 0.0, f64::NAN, 2f64.ln(), f64::NAN]);
    for (exponent, expected) in [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 0.0)] {
        let found = gradients(&[&[0.0]], |b, x| {
            let exponent = b.splat_like(x[0], exponent)?;
            b.power(x[0], exponent)
        });
        assert_same(&found[0], &[expected]);
    }
}

#[test]
fn atan2_has_gradient_zero_at_the_origin() {
    // PyTorch divides by the zero norm there.
    let found = gradients(&[&[0.0, 1.0], &[0.0, 0.0]], |b, x| b.atan2(x[0], x[1]));
    assert_same(&found[0], &[0.0, 0.0]);
    assert_same(&found[1], &[0.0, -1.0]);
}

#[test]
fn remainder_counts_the_multiples() {
    let found = gradients(&[&[7.5, -7.5, 6.0, 1.0], &[2.0, 2.0, 3.0, f64::INFINITY]], |b, x| b.remainder(x[0], x[1]));
    assert_same(&found[0], &[1.0; 4]);
    assert_same(&found[1], &[-3.0, 3.0, -2.0, 0.0]);
}

#[test]
fn a_guarded_pole_leaves_no_trace() {
    // sqrt has an infinite derivative at 0: selecting around its operand, as one has to in any framework, works.
    let found = gradients(&[&[0.0, 4.0]], |b, x| {
        let (zero, one) = (b.zeros_like(x[0])?, b.ones_like(x[0])?);
        let positive = b.gt(x[0], zero)?;
        let safe = b.select(positive, x[0], one)?;
        let root = b.sqrt(safe)?;
        b.select(positive, root, zero)
    });
    assert_same(&found[0], &[0.0, 0.25]);
}

fn scatter(combiner: Combiner, indices: &'static [i64]) -> impl Fn(&mut Builder<'_>, &[Value]) -> Built {
    move |b, x| {
        let indices = b.tensor(TensorData::from_i64(vec![indices.len()], indices))?;
        b.scatter(
            x[0],
            indices,
            x[1],
            ScatterAttrs {
                update_window_dims: vec![],
                inserted_window_dims: vec![0],
                input_batching_dims: vec![],
                scatter_indices_batching_dims: vec![],
                scatter_dims_to_operand_dims: vec![0],
                index_vector_dim: 1,
                combiner,
            },
        )
    }
}

#[test]
fn the_last_of_colliding_assignments_wins() {
    let found = gradients(&[&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0, 7.0]], scatter(Combiner::Assign, &[1, 1, -1, 0]));
    assert_same(&found[0], &[0.0, 0.0, 1.0]);
    assert_same(&found[1], &[0.0, 1.0, 0.0, 1.0]);
}

#[test]
fn scattered_products_with_zeros() {
    let found =
        gradients(&[&[2.0, 0.0, 5.0], &[0.0, 3.0, 4.0, 0.0, 6.0]], scatter(Combiner::Multiply, &[0, 0, 1, 2, 9]));
    assert_same(&found[0], &[0.0, 4.0, 0.0]);
    assert_same(&found[1], &[6.0, 0.0, 0.0, 5.0, 0.0]);
}

#[test]
fn ties_of_scattered_extrema_share_evenly() {
    let found = gradients(&[&[1.0, 2.0, 5.0], &[3.0, 3.0, 2.0, 4.0]], scatter(Combiner::Maximum, &[0, 0, 1, 2]));
    assert_same(&found[0], &[0.0, 0.5, 1.0]);
    assert_same(&found[1], &[0.5, 0.5, 0.5, 0.0]);
}
