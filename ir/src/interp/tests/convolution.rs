//! `convolution`: small cases by hand, and random ones against the definition.

use super::*;
use crate::interp::philox4x32;
use crate::ops::ConvolutionAttrs;

#[test]
fn a_kernel_slides_over_padding() {
    // The row [0, 1, 2, 3] under [1, 10, 100] with one element of padding on both sides.
    let image = floats(DType::F32, &[1, 1, 4], &[0.0, 1.0, 2.0, 3.0]);
    let kernel = floats(DType::F32, &[1, 1, 3], &[1.0, 10.0, 100.0]);
    let padded = ConvolutionAttrs { padding: vec![(1, 1)], ..ConvolutionAttrs::plain(1) };
    check(
        &Op::Convolution(padded.clone()),
        &[&image, &kernel],
        &floats(DType::F32, &[1, 1, 4], &[100.0, 210.0, 321.0, 32.0]),
    );
    let strided = ConvolutionAttrs { stride: vec![2], ..padded.clone() };
    check(&Op::Convolution(strided), &[&image, &kernel], &floats(DType::F32, &[1, 1, 2], &[100.0, 321.0]));
    let cropped = ConvolutionAttrs { padding: vec![(-1, 0)], ..padded.clone() };
    check(&Op::Convolution(cropped), &[&image, &kernel], &floats(DType::F32, &[1, 1, 1], &[321.0]));
    let spread = ConvolutionAttrs { rhs_dilation: vec![2], ..padded };
    check(&Op::Convolution(spread), &[&image, &kernel], &floats(DType::F32, &[1, 1, 2], &[310.0, 20.0]));
}

#[test]
fn a_dilated_image_has_holes() {
    // [1, 0, 2, 0, 3] under [1, 10]: the transpose of a convolution with stride 2.
    let image = floats(DType::F32, &[1, 1, 3], &[1.0, 2.0, 3.0]);
    let kernel = floats(DType::F32, &[1, 1, 2], &[1.0, 10.0]);
    let attrs = ConvolutionAttrs { lhs_dilation: vec![2], ..ConvolutionAttrs::plain(1) };
    check(&Op::Convolution(attrs), &[&image, &kernel], &floats(DType::F32, &[1, 1, 4], &[1.0, 20.0, 2.0, 30.0]));
}

#[test]
fn groups_see_their_own_channels() {
    let image = floats(DType::F32, &[1, 2, 1], &[2.0, 3.0]);
    let kernel = floats(DType::F32, &[4, 1, 1], &[1.0, 10.0, 100.0, 1000.0]);
    let attrs = ConvolutionAttrs { groups: 2, ..ConvolutionAttrs::plain(1) };
    check(&Op::Convolution(attrs), &[&image, &kernel], &floats(DType::F32, &[1, 4, 1], &[2.0, 20.0, 300.0, 3000.0]));
}

#[test]
fn padding_multiplies_zero_and_holes_do_not() {
    let image = floats(DType::F32, &[1, 1, 2], &[1.0, 2.0]);
    let kernel = floats(DType::F32, &[1, 1, 2], &[f64::INFINITY, 1.0]);
    let attrs = ConvolutionAttrs { padding: vec![(1, 0)], ..ConvolutionAttrs::plain(1) };
    let expected = floats(DType::F32, &[1, 1, 2], &[f64::NAN, f64::INFINITY]);
    check(&Op::Convolution(attrs), &[&image, &kernel], &expected);
    let attrs = ConvolutionAttrs { lhs_dilation: vec![2], ..ConvolutionAttrs::plain(1) };
    let expected = floats(DType::F32, &[1, 1, 2], &[f64::INFINITY, 2.0]);
    check(&Op::Convolution(attrs), &[&image, &kernel], &expected);
}

#[test]
fn sums_are_rounded_once_and_integers_wrap() {
    let image = floats(DType::F16, &[1, 3, 1], &[300.0, 300.0, 1.0]);
    let kernel = floats(DType::F16, &[1, 3, 1], &[300.0, -300.0, 1.0]);
    let op = Op::Convolution(ConvolutionAttrs::plain(1));
    check(&op, &[&image, &kernel], &floats(DType::F16, &[1, 1, 1], &[1.0]));
    let image = ints(DType::I8, &[1, 2, 1], &[100, 100]);
    check(&op, &[&image, &ints(DType::I8, &[1, 2, 1], &[100, 100])], &ints(DType::I8, &[1, 1, 1], &[32]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let (image, kernel) = (counting(&[1, 2, 4]), counting(&[2, 2, 3]));
    let plain = ConvolutionAttrs::plain(1);
    let error = |attrs: ConvolutionAttrs, kernel: &TensorData, expected: &str| {
        check_error(&Op::Convolution(attrs), &[&image, kernel], expected);
    };
    error(
        plain.clone(),
        &counting(&[2, 3]),
        "operands have types f32[1, 2, 4] and f32[2, 3], expected one rank of 3 to 5",
    );
    error(ConvolutionAttrs::plain(2), &kernel, "stride has 2 entries, expected 1, one a spatial dimension");
    error(ConvolutionAttrs { stride: vec![0], ..plain.clone() }, &kernel, "stride is 0, expected 1 to 2147483648");
    error(
        ConvolutionAttrs { groups: 2, ..plain.clone() },
        &kernel,
        "dimension 1 of f32[1, 2, 4] is 2, expected 2 groups of dimension 1 of f32[2, 2, 3]",
    );
    error(
        ConvolutionAttrs { groups: 2, ..plain.clone() },
        &counting(&[3, 1, 3]),
        "dimension 0 of f32[3, 1, 3] is 3, expected a multiple of 2 groups",
    );
    error(
        ConvolutionAttrs { rhs_dilation: vec![2], ..plain },
        &kernel,
        "the kernel f32[2, 2, 3] covers 5 positions along dimension 2, but f32[1, 2, 4] has 4",
    );
}

/// The definition, element by element.
fn by_definition(attrs: &ConvolutionAttrs, lhs: &TensorData, rhs: &TensorData, shape: &[usize]) -> Vec<f64> {
    let (image, kernel) = (lhs.to_f64(), rhs.to_f64());
    let unflatten = |mut flat: usize, shape: &[usize]| {
        let mut index = vec![0; shape.len()];
        for dim in (0..shape.len()).rev() {
            (flat, index[dim]) = (flat / shape[dim], flat % shape[dim]);
        }
        index
    };
    let outputs = shape[1] / attrs.groups;
    let element = |flat: usize| {
        let at = unflatten(flat, shape);
        let taps = &rhs.shape[1..];
        let links = (0..taps.iter().product()).map(|tap| {
            let tap_at = unflatten(tap, taps);
            let channel = at[1] / outputs * rhs.shape[1] + tap_at[0];
            let mut linear = at[0] * lhs.shape[1] + channel;
            for dim in 0..attrs.n_spatial() {
                let window = attrs.window(dim);
                let position = window.position(at[2 + dim] as i64, tap_at[1 + dim] as i64);
                let element = position.div_euclid(window.lhs_dilation);
                let is_hole = position.rem_euclid(window.lhs_dilation) != 0;
                if is_hole || element < 0 || element >= lhs.shape[2 + dim] as i64 {
                    return 0.0;
                }
                linear = linear * lhs.shape[2 + dim] + element as usize;
            }
            image[linear] * kernel[at[1] * taps.iter().product::<usize>() + tap]
        });
        links.sum()
    };
    (0..shape.iter().product()).map(element).collect()
}

#[test]
fn random_convolutions_are_as_defined() {
    let mut counter = 0;
    let mut below = |bound: usize| {
        counter += 1;
        philox4x32([counter, 0, 0, 0], [3, 3])[0] as usize % bound
    };
    let mut n_checked = 0;
    for _ in 0..600 {
        let (n_spatial, groups) = (1 + below(3), 1 + below(3));
        let mut list = |least: usize, bound: usize| (0..n_spatial).map(|_| least + below(bound)).collect::<Vec<_>>();
        let attrs = ConvolutionAttrs {
            stride: list(1, 3),
            padding: list(0, 5).into_iter().zip(list(0, 5)).map(|(l, h)| (l as i64 - 2, h as i64 - 2)).collect(),
            lhs_dilation: list(1, 3),
            rhs_dilation: list(1, 3),
            groups,
        };
        let (image, kernel) = (list(1, 5), list(1, 3));
        let (inputs, outputs) = (1 + below(2), groups * (1 + below(2)));
        let lhs = counting(&[vec![2, groups * inputs], image].concat());
        let rhs = counting(&[vec![outputs, inputs], kernel].concat());
        if let Ok(found) = eval(&Op::Convolution(attrs.clone()), &[&lhs, &rhs], &[]) {
            n_checked += 1;
            assert_eq!(found[0].to_f64(), by_definition(&attrs, &lhs, &rhs, &found[0].shape), "{attrs:?}");
        }
    }
    assert!(n_checked > 200, "only {n_checked} kernels fit");
}
