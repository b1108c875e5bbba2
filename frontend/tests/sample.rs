//! Sampling at positions, regions of interest, deformable convolutions and folds, against PyTorch's numbers and against
//! what they are in simple cases.

use nnc_frontend::functional::{
    BlockDim, Deformable, Regions, RoiMode, SampleMode, SamplePadding, Sampling, affine_grid, conv2d, deform_conv,
    fold_nd, grid_sample, roi_align, roi_pool,
};
use nnc_frontend::prelude::*;

fn close(found: &Tensor, expected: &[f32]) {
    let found = found.to_array().unwrap().into_raw_vec_and_offset().0;
    let fits = |(found, expected): (&f32, &f32)| (found - expected).abs() <= 2e-5 * expected.abs().max(1.0);
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(fits), "{found:?}, expected {expected:?}");
}

/// Two channels of two rows and three columns.
fn image() -> Tensor {
    ((Tensor::arange(12).float() * 1.5 - 4.0).square() / 10.0).view([1, 2, 2, 3])
}

#[test]
fn grids_are_sampled_as_by_pytorch() {
    let grid = Tensor::from_slice(&[-0.9f32, -0.4, 0.3, 0.7, 1.4, -1.2]).view([1, 1, 3, 2]);
    // torch.nn.functional.grid_sample of torch 2.15, corners aligned and not.
    let rows: [(SampleMode, SamplePadding, [[f32; 6]; 2]); 9] = [
        (
            SampleMode::Linear,
            SamplePadding::Zeros,
            [[1.0705, 0.6205, 0.054, 4.6705, 11.9155, 3.456], [0.93763, 0.617, 0.0, 2.04913, 10.949, 0.0]],
        ),
        (
            SampleMode::Linear,
            SamplePadding::Border,
            [[1.0705, 0.6205, 0.1, 4.6705, 11.9155, 6.4], [1.4425, 0.77125, 0.1, 3.1525, 13.68625, 6.4]],
        ),
        (
            SampleMode::Linear,
            SamplePadding::Reflection,
            [[1.0705, 0.6205, 0.3685, 4.6705, 11.9155, 6.3985], [1.4425, 0.77125, 0.1525, 3.1525, 13.68625, 6.1825]],
        ),
        (SampleMode::Nearest, SamplePadding::Zeros, [[1.6, 0.4, 0.1, 2.5, 12.1, 6.4], [1.6, 0.4, 0.0, 2.5, 12.1, 0.0]]),
        (
            SampleMode::Nearest,
            SamplePadding::Border,
            [[1.6, 0.4, 0.1, 2.5, 12.1, 6.4], [1.6, 0.4, 0.1, 2.5, 12.1, 6.4]],
        ),
        (
            SampleMode::Nearest,
            SamplePadding::Reflection,
            [[1.6, 0.4, 0.1, 2.5, 12.1, 6.4], [1.6, 0.4, 0.1, 2.5, 12.1, 6.4]],
        ),
        (
            SampleMode::Cubic,
            SamplePadding::Zeros,
            [
                [1.36415, 0.74892, -0.04655, 5.50753, 14.25986, 3.45943],
                [1.14824, 0.80534, 0.00153, 1.949, 13.49437, -0.082],
            ],
        ),
        (
            SampleMode::Cubic,
            SamplePadding::Border,
            [
                [1.11251, 0.63315, -0.0339, 4.47559, 12.34986, 6.06562],
                [1.56671, 0.85358, 0.04684, 2.83146, 14.80513, 5.96412],
            ],
        ),
        (
            SampleMode::Cubic,
            SamplePadding::Reflection,
            [
                [1.24685, 0.68837, 0.20044, 3.93561, 13.07485, 6.16564],
                [1.61832, 0.86587, -0.02472, 2.72184, 15.01182, 4.79636],
            ],
        ),
    ];
    for (mode, padding, expected) in rows {
        for (align_corners, expected) in [(true, expected[0]), (false, expected[1])] {
            let sampling = Sampling { mode, padding, align_corners };
            close(&grid_sample(&image(), &grid, sampling), &expected);
        }
    }
}

#[test]
fn affine_grids_are_pytorchs() {
    let theta = Tensor::from_slice(&[1.0f32, 0.5, 0.1, -0.2, 0.8, 0.3]).view([1, 2, 3]);
    let expected = [-1.4, -0.3, -0.4, -0.5, 0.6, -0.7, -0.4, 1.3, 0.6, 1.1, 1.6, 0.9];
    close(&affine_grid(&theta, &[1, 1, 2, 3], true), &expected);
    // The identity reads an image as it is.
    let identity = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 0.0, 1.0, 0.0]).view([1, 2, 3]);
    let grid = affine_grid(&identity, &[1, 2, 2, 3], false);
    close(&grid_sample(&image(), &grid, Sampling::default()), &image().to_array().unwrap().into_raw_vec_and_offset().0);
}

#[test]
fn a_region_of_a_plane_is_its_middles() {
    // The value is 10 a row and 1 a column, so the mean of a bin is the value in its middle.
    let rows = Tensor::arange(8).float().view([8, 1]) * 10.0;
    let x = (rows + Tensor::arange(9).float()).view([1, 1, 8, 9]);
    let boxes = Tensor::from_slice(&[1.0f32, 2.0, 5.0, 6.0]).view([1, 4]);
    let image = Tensor::from_slice(&[0i64]);
    let regions = Regions::new([2, 2]);
    let expected = [32.0, 34.0, 52.0, 54.0];
    for sampling_ratio in [None, Some(1), Some(3)] {
        close(&roi_align(&x, &boxes, &image, &Regions { sampling_ratio, ..regions }), &expected);
        let aligned = Regions { sampling_ratio, aligned: true, ..regions };
        close(&roi_align(&x, &boxes, &image, &aligned), &expected.map(|value| value - 5.5));
    }
    // Of points on elements the largest are the elements: those in the middles of bins of two.
    let largest = Regions { mode: RoiMode::Max, sampling_ratio: Some(1), ..regions };
    close(&roi_align(&x, &boxes, &image, &largest), &expected);
    close(&roi_pool(&x, &boxes, &image, [2, 2], 1.0), &[43.0, 45.0, 63.0, 65.0]);
}

#[test]
fn regions_outside_the_image_are_zeros() {
    let x = Tensor::ones([2, 1, 4, 4]);
    let boxes = Tensor::from_slice(&[20.0f32, 20.0, 30.0, 30.0, 0.0, 0.0, 4.0, 4.0]).view([2, 4]);
    let images = Tensor::from_slice(&[1i64, 0]);
    for sampling_ratio in [None, Some(2)] {
        let regions = Regions { sampling_ratio, ..Regions::new([1, 1]) };
        close(&roi_align(&x, &boxes, &images, &regions), &[0.0, 1.0]);
    }
}

#[test]
fn without_offsets_a_deformable_convolution_is_a_plain_one() {
    let x = (Tensor::arange(2 * 4 * 5 * 6).float() * 0.37).sin().view([2, 4, 5, 6]);
    let weight = (Tensor::arange(6 * 2 * 3 * 2).float() * 0.71).cos().view([6, 2, 3, 2]);
    let settings = Deformable {
        stride: vec![2, 1],
        padding: vec![(1, 1), (1, 1)],
        groups: 2,
        offset_groups: 2,
        ..Deformable::new(2)
    };
    let expected = conv2d(&x, &weight, None, (2, 1), 1, 1, 2);
    let offset = Tensor::zeros([2, 2 * 6 * 2, 3, 7]);
    let found = deform_conv(&x, &offset, &weight, None, None, &settings);
    assert_eq!(found.shape(), expected.shape());
    close(&found, &expected.to_array().unwrap().into_raw_vec_and_offset().0);
    // A mask of one half halves it.
    let mask = Tensor::full([2, 2 * 6, 3, 7], 0.5);
    let found = deform_conv(&x, &offset, &weight, None, Some(&mask), &settings);
    close(&found, &(expected * 0.5).to_array().unwrap().into_raw_vec_and_offset().0);
}

#[test]
fn columns_fold_in_any_number_of_dimensions() {
    let block = BlockDim { kernel_size: 2, dilation: 1, padding: (0, 0), stride: 1 };
    let columns = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 10.0, 20.0, 30.0]).view([1, 2, 3]);
    close(&fold_nd(&columns, &[4], &[block]), &[1.0, 12.0, 23.0, 30.0]);
    // Every element of a cube of 3 is in as many windows of 2 as it has neighbors on either side, in each dimension.
    let ones = Tensor::ones([1, 8, 8]);
    let counts = fold_nd(&ones, &[3, 3, 3], &[block; 3]);
    close(&counts.select(2, 1).select(2, 1), &[4.0, 8.0, 4.0]);
}
