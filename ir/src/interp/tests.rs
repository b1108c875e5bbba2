//! Hand-computed values of every op.

use super::*;
use crate::ops::*;
use crate::types::DType;

#[test]
fn dots_of_the_size_of_an_mlp_layer_are_usable_in_tests() {
    let lhs = TensorData::from_doubles(DType::F32, vec![64, 784], (0..64 * 784).map(|idx| f64::from(idx % 7) - 3.0));
    let rhs = TensorData::from_doubles(DType::F32, vec![784, 512], (0..784 * 512).map(|idx| f64::from(idx % 5)));
    let attrs = DotAttrs { lhs_contract: vec![1], rhs_contract: vec![0], ..DotAttrs::default() };
    let dot = &eval(&Op::DotGeneral(attrs), &[&lhs, &rhs], &[]).unwrap()[0];
    assert_eq!(dot.shape, [64, 512]);
    let expected: f64 = (0..784).map(|k| (f64::from(k % 7) - 3.0) * f64::from(k * 512 % 5)).sum();
    assert_eq!(dot.get(0).to_f64(), expected);
}
