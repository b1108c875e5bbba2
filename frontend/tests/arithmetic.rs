//! Quotients, remainders, bits and inverse functions against PyTorch 2.15, where element types and signs decide.

use nnc_frontend::prelude::*;

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_array().expect("the tensor has data").into_raw_vec_and_offset().0
}

fn integers(tensor: &Tensor) -> Vec<i64> {
    tensor.to_array_i64().expect("the tensor has data").into_raw_vec_and_offset().0
}

#[test]
fn remainders_have_the_sign_of_the_divisor() {
    let x = Tensor::from_slice(&[-7i32, 7, -7, 7, 6, -6]);
    let y = Tensor::from_slice(&[3i32, -3, -3, 3, 3, 3]);
    assert_eq!(integers(&x.remainder(&y)), [2, -2, -1, 1, 0, 0]);
    assert_eq!(integers(&x.fmod(&y)), [-1, 1, -1, 1, 0, 0]);
    assert_eq!(integers(&x.floor_divide(&y)), [-3, -3, 2, 2, 2, -2]);
    assert_eq!(integers(&x.div_trunc(&y)), [-2, -2, 2, 2, 2, -2]);
    assert_eq!(x.remainder(&y).dtype(), DType::I32);

    let inf = f32::INFINITY;
    let x = Tensor::from_slice(&[-7.5f32, 7.5, 6.0, -6.0, 1.0, -1.0, 0.0]);
    let y = Tensor::from_slice(&[2.0f32, -2.0, -3.0, 3.0, inf, inf, -1.0]);
    let rest = floats(&x.remainder(&y));
    assert_eq!(rest, [0.5, -0.5, -0.0, 0.0, 1.0, inf, -0.0]);
    let signs: Vec<bool> = rest.iter().map(|r| r.is_sign_negative()).collect();
    assert_eq!(signs, [false, true, true, false, false, false, true]);
    assert_eq!(floats(&x.index(0..4).floor_divide(y.index(0..4))), [-4.0, -4.0, -2.0, -2.0]);
    assert_eq!(floats(&x.index(0..4).div_trunc(y.index(0..4))), [-3.0, -3.0, -2.0, -2.0]);
    assert!(floats(&Tensor::from_slice(&[1f32]).remainder(0.0))[0].is_nan());
    // Unsigned integers have no sign to mend.
    assert_eq!(integers(&Tensor::from_slice(&[250u8, 7]).remainder(4)), [2, 3]);
}

#[test]
fn bits_move_within_the_element_type() {
    let x = Tensor::from_slice(&[-8i32, 7, 1]);
    assert_eq!(integers(&x.bitwise_right_shift(1)), [-4, 3, 0]);
    assert_eq!(integers(&x.bitwise_right_shift(40)), [-1, 0, 0]);
    assert_eq!(integers(&x.bitwise_left_shift(Tensor::from_slice(&[1i32, 2, 31]))), [-16, 28, i64::from(i32::MIN)]);
    assert_eq!(integers(&Tensor::from_slice(&[200u8]).bitwise_right_shift(3)), [25]);
    assert_eq!(integers(&x.bitwise_and(6)), [0, 6, 0]);
    assert_eq!(integers(&x.bitwise_or(8)), [-8, 15, 9]);
    assert_eq!(integers(&x.bitwise_xor(1)), [-7, 6, 0]);
    assert_eq!(integers(&x.bitwise_not()), [7, -8, -2]);
    assert!(Tensor::from_slice(&[1f32]).bitwise_not().is_poisoned());
    assert!(x.bitwise_and(1.5).is_poisoned() && x.float().bitwise_left_shift(1).is_poisoned());
}

#[test]
fn fractions_and_infinities() {
    let x = Tensor::from_slice(&[-1.5f32, 1.5, f32::NEG_INFINITY, f32::NAN]);
    assert_eq!(floats(&x.trunc())[..3], [-1.0, 1.0, f32::NEG_INFINITY]);
    assert_eq!(integers(&x.isinf().long()), [0, 0, 1, 0]);
}

#[test]
fn hyperbolic_functions_reach_as_far_as_their_results() {
    let x = Tensor::from_slice(&[89.0f32, -89.0, 1e-20]);
    let (sinh, cosh) = (floats(&x.sinh()), floats(&x.cosh()));
    assert!(sinh[0].is_finite() && sinh[0] == -sinh[1] && sinh[2] == 1e-20);
    assert!(cosh[0].is_finite() && cosh[0] == cosh[1] && cosh[2] == 1.0);
    let inverse = floats(&Tensor::from_slice(&[f32::MAX, -f32::MAX, f32::INFINITY]).asinh());
    assert!((inverse[0] - 89.415_98).abs() < 1e-4 && inverse[1] == -inverse[0] && inverse[2] == f32::INFINITY);
    assert!(floats(&Tensor::from_slice(&[0.5f32]).acosh())[0].is_nan());
    assert_eq!(floats(&Tensor::from_slice(&[1f32, -1.0]).atanh()), [f32::INFINITY, f32::NEG_INFINITY]);
    assert_eq!(Tensor::from_slice(&[1i64]).acos().dtype(), DType::F32);
    assert_eq!(Tensor::from_slice(&[1f32]).half().sinh().dtype(), DType::F16);
}

#[test]
fn determinants_of_singular_and_large_matrices() {
    let singular = Tensor::from_slice(&[1f32, 2.0, 3.0, 2.0, 4.0, 6.0, 1.0, 0.0, 1.0]).view([3, 3]);
    assert_eq!(floats(&singular.det()), [0.0]);
    assert_eq!(floats(&Tensor::zeros([2, 5, 5]).det()), [0.0, 0.0]);
    // A rotation of the rows by one: an even permutation of five, an odd one of six.
    for (n, sign) in [(5, 1.0), (6, -1.0)] {
        let eye = Tensor::eye(n);
        let rotated = Tensor::cat(&[eye.index(1..n), eye.index(0..1)], 0);
        assert_eq!(floats(&(rotated * 2.0).det()), [sign * (1 << n) as f32]);
    }
    assert_eq!(floats(&Tensor::zeros([3, 0, 0]).det()), [1.0; 3]);
    assert!(Tensor::zeros([2, 3]).det().is_poisoned());
}

#[test]
fn diagonals_of_any_offset() {
    let x = Tensor::arange(12).view([3, 4]);
    assert_eq!(integers(&x.diagonal(0, 0, 1)), [0, 5, 10]);
    assert_eq!(integers(&x.diagonal(-1, 0, 1)), [4, 9]);
    assert_eq!(integers(&x.diagonal(3, 0, 1)), [3]);
    assert_eq!(integers(&x.diagonal(1, 1, 0)), [4, 9]);
    assert_eq!(x.diagonal(4, 0, 1).shape().to_string(), "[0]");
    assert!(x.diagonal(0, 1, 1).is_poisoned());
}

#[test]
fn einstein_sums_stretch_and_repeat() {
    use nnc_frontend::tensor::einsum;

    let x = Tensor::arange(6).view([1, 6]);
    let y = Tensor::arange(4).view([4, 1]);
    assert_eq!(einsum("ij,ij", &[&x, &y]).item().ok(), Some(90.0));
    assert_eq!(einsum("i...->...", &[&y]).shape().to_string(), "[1]");
    assert_eq!(einsum("...,...", &[&x, &y]).shape().to_string(), "[4, 6]");
    assert_eq!(einsum("ii->i", &[Tensor::eye(3)]).sum(..).item().ok(), Some(3.0));
    assert_eq!(einsum("ij->j", &[Tensor::zeros([1, 1])]).shape().to_string(), "[1]");
    assert_eq!(einsum("bA", &[Tensor::zeros([2, 3])]).shape().to_string(), "[3, 2]");
    for faulty in ["ij", "i..j", "i...->j", "ij,k->ijk", "ij->ii"] {
        assert!(einsum(faulty, &[Tensor::zeros([2, 3, 4])]).is_poisoned(), "{faulty}");
    }
}
