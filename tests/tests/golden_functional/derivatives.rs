//! Gradients of functions that PyTorch lacks, or lacks in this form, by finite differences at every element of every input.

use libtest_mimic::Trial;
use nnc_frontend::functional::{
    BlockDim, Deformable, Regions, RoiMode, SampleMode, SamplePadding, Sampling, Tap, Windows, deform_conv, fold_nd,
    grid_sample, min_pool2d, resample, resample_by, roi_align,
};
use nnc_frontend::prelude::*;
use nnc_frontend::tensor::einsum;
use nnc_ir::ops::Combiner;
use nnc_tests::finite::{self, Along};
use nnc_tests::golden::symmetric;

/// A function, and where it is differentiated: for each input its shape and the bound of its elements.
struct Case {
    name: &'static str,
    inputs: Vec<TensorData>,
    call: fn(&[Tensor]) -> Tensor,
}

fn case(name: &'static str, inputs: &[(&[usize], f32)], call: fn(&[Tensor]) -> Tensor) -> Case {
    let inputs = inputs.iter().enumerate().map(|(idx, (shape, bound))| symmetric(shape, 300 + idx as u32, *bound));
    Case { name, inputs: inputs.collect(), call }
}

fn at(name: &'static str, shape: &[usize], values: &[f32], call: fn(&[Tensor]) -> Tensor) -> Case {
    Case { name, inputs: vec![TensorData::from_f32(shape.to_vec(), values)], call }
}

/// One trial a function.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |case: Case| {
        Trial::test(format!("derivatives::{}", case.name), move || {
            let wrt: Vec<usize> = (0..case.inputs.len()).collect();
            Ok(finite::check(&case.inputs, &wrt, Along::Elements, case.call)?)
        })
    };
    [positions(), images(), windows(), regions(), matrices(), pointwise()].into_iter().flatten().map(trial).collect()
}

fn ints(shape: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_slice(values).reshape(shape)
}

fn positions() -> Vec<Case> {
    vec![
        case("gather_nd_in_batches", &[(&[2, 3, 4], 2.0)], |x| {
            x[0].gather_nd(1, &ints(&[2, 3, 1], &[2, 0, 2, 1, -1, 1]))
        }),
        case("scatter_nd_multiply", &[(&[4, 3], 2.0), (&[5, 3], 2.0)], |x| {
            x[0].scatter_nd(&ints(&[5, 1], &[2, 0, 2, -2, 0]), &x[1], Combiner::Multiply)
        }),
        case("scatter_nd_maximum", &[(&[4, 3], 2.0), (&[5, 3], 2.0)], |x| {
            x[0].scatter_nd(&ints(&[5, 1], &[2, 0, 2, -2, 0]), &x[1], Combiner::Maximum)
        }),
        case("scatter_nd_minimum", &[(&[2, 3], 2.0), (&[4], 2.0)], |x| {
            x[0].scatter_nd(&ints(&[4, 2], &[1, 2, 0, 0, 1, 2, 1, 1]), &x[1], Combiner::Minimum)
        }),
        // Of several for one place the last stays, and what lies outside is dropped.
        case("scatter_nd_often_and_outside", &[(&[4], 2.0), (&[5], 2.0)], |x| {
            x[0].scatter_nd(&ints(&[5, 1], &[2, 7, 2, -9, 0]), &x[1], Combiner::Assign)
        }),
        case("scatter_in_part", &[(&[4, 5], 2.0), (&[2, 3], 2.0)], |x| {
            x[0].scatter(0, &ints(&[2, 3], &[3, 0, 1, 3, 2, 1]), &x[1])
        }),
    ]
}

fn images() -> Vec<Case> {
    vec![
        case("grid_sample_line", &[(&[2, 2, 4], 2.0), (&[2, 3, 1], 1.4)], |x| {
            grid_sample(&x[0], &x[1], Sampling::default())
        }),
        case("grid_sample_cubic_volume", &[(&[1, 1, 3, 2, 4], 2.0), (&[1, 2, 1, 1, 3], 1.4)], |x| {
            let sampling =
                Sampling { mode: SampleMode::Cubic, padding: SamplePadding::Reflection, align_corners: true };
            grid_sample(&x[0], &x[1], sampling)
        }),
        case("resample_without_period", &[(&[2, 5, 2], 2.0)], |x| {
            let taps: Vec<Vec<Tap>> =
                vec![vec![(-2, 0.5), (1, 0.25)], vec![(4, 1.0)], vec![(0, -1.0), (3, 2.0), (9, 0.125)], vec![(2, 0.0)]];
            resample(&x[0], 1, &taps)
        }),
        case("resample_by_phases", &[(&[2, 5], 2.0)], |x| {
            resample_by(&x[0], 1, &[vec![(-1, 0.25), (0, 0.75)], vec![(0, 0.5), (2, 0.5)], vec![(1, 1.0)]])
        }),
        case("deform_conv_line", &[(&[2, 4, 5], 2.0), (&[2, 3, 3], 1.3), (&[2, 4, 3], 1.0), (&[2, 3, 3], 1.0)], |x| {
            deform_conv(&x[0], &x[1], &x[2], None, Some(&x[3]), &Deformable::new(1))
        }),
        case(
            "deform_conv_volume",
            &[(&[1, 2, 2, 3, 3], 2.0), (&[1, 24, 1, 2, 2], 1.1), (&[2, 1, 2, 1, 2], 1.0), (&[2], 1.0)],
            |x| {
                let settings = Deformable {
                    stride: vec![1, 1, 2],
                    padding: vec![(0, 0), (0, -1), (1, 0)],
                    groups: 2,
                    offset_groups: 2,
                    ..Deformable::new(3)
                };
                deform_conv(&x[0], &x[1], &x[2], Some(&x[3]), None, &settings)
            },
        ),
    ]
}

fn windows() -> Vec<Case> {
    vec![
        case("fold_nd_line", &[(&[2, 6, 3], 2.0)], |x| {
            fold_nd(&x[0], &[6], &[BlockDim { kernel_size: 3, dilation: 2, padding: (3, 1), stride: 2 }])
        }),
        case("fold_nd_volume", &[(&[1, 4, 8], 2.0)], |x| {
            let dim = |kernel_size, padding, stride| BlockDim { kernel_size, dilation: 1, padding, stride };
            fold_nd(&x[0], &[3, 4, 2], &[dim(2, (0, 0), 1), dim(2, (1, -1), 2), dim(1, (0, 0), 1)])
        }),
        case("min_pool", &[(&[1, 2, 5, 4], 2.0)], |x| {
            min_pool2d(&x[0], Windows::new([3, 2]).padding([1, 0]).stride([2, 1]))
        }),
    ]
}

fn boxes() -> Tensor {
    Tensor::from_slice(&[1.1f32, 0.7, 4.3, 3.9, -2.3, 2.2, 3.1, 7.7, 2.2, 2.3, 2.5, 2.6]).view([3, 4])
}

fn regions() -> Vec<Case> {
    vec![
        case("roi_align_max", &[(&[2, 1, 4, 5], 2.0)], |x| {
            let regions =
                Regions { mode: RoiMode::Max, sampling_ratio: Some(2), aligned: true, ..Regions::new([2, 2]) };
            roi_align(&x[0], &boxes(), &ints(&[3], &[1, 0, 1]), &regions)
        }),
        case("roi_align_max_adaptive", &[(&[2, 1, 4, 5], 2.0)], |x| {
            // Constants are computed with while tracing, as during an import: so the boxes are known.
            Trace::active().expect("functions are traced").fold_constants();
            roi_align(&x[0], &boxes(), &ints(&[3], &[1, 0, 1]), &Regions { mode: RoiMode::Max, ..Regions::new([1, 2]) })
        }),
    ]
}

fn matrices() -> Vec<Case> {
    vec![
        // The gradient is the matrix of cofactors, also where there is no inverse.
        at("det_of_a_matrix_of_rank_2", &[3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 5.0, 7.0, 9.0], |x| x[0].det()),
        at("det_of_leading_zeros", &[2, 2], &[0.0, 1.0, 0.0, 2.0], |x| x[0].det()),
        at("det_of_zero_rows", &[3, 3], &[0.0, 0.0, 0.0, 4.0, 5.0, 0.5, 0.25, -3.0, 2.0], |x| x[0].det()),
        at("det_of_two_zero_columns", &[3, 3], &[0.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0], |x| x[0].det()),
        case("det_of_6_without_a_column", &[(&[6, 6], 1.0)], |x| (&x[0] * Tensor::arange(6).gt(0).double()).det()),
        case("einsum_of_four", &[(&[2, 3], 1.0), (&[3, 2], 1.0), (&[2, 2], 1.0), (&[3], 1.0)], |x| {
            einsum("ab,bc,ca,b->a", x)
        }),
    ]
}

fn pointwise() -> Vec<Case> {
    vec![
        case("atan", &[(&[7], 3.0)], |x| x[0].atan()),
        case("asin", &[(&[7], 0.9)], |x| x[0].asin()),
        case("acos", &[(&[7], 0.9)], |x| x[0].acos()),
        case("sinh", &[(&[7], 3.0)], |x| x[0].sinh()),
        case("cosh", &[(&[7], 3.0)], |x| x[0].cosh()),
        case("asinh", &[(&[7], 3.0)], |x| (&x[0] * &x[0] * &x[0] * 10.0).asinh()),
        case("acosh", &[(&[7], 0.9)], |x| (&x[0] + 2.0).acosh()),
        case("atanh", &[(&[7], 0.9)], |x| x[0].atanh()),
        case("atan2", &[(&[7], 3.0), (&[7], 3.0)], |x| x[0].atan2(&x[1])),
        case("fmod", &[(&[7], 9.0), (&[7], 2.0)], |x| x[0].fmod(&x[1] + 3.0)),
        case("remainder", &[(&[7], 9.0), (&[7], 2.0)], |x| x[0].remainder(&x[1] + 3.0)),
        case("logcumsumexp", &[(&[3, 6], 3.0)], |x| x[0].logcumsumexp(1)),
    ]
}
