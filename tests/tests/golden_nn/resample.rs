//! Layers that move or resample positions: `golden/nn_resample.py`.

use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case, case_with};

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    macro_rules! unpools {
        ($($name:ident),*) => {
            [$(
                case_with(stringify!($name), "default", || $name::new(2), |layer, x| layer.forward(&x[0], &x[1])),
                case_with(stringify!($name), "single", || $name::new(2), |layer, x| layer.forward(&x[0], &x[1])),
                case_with(
                    stringify!($name),
                    "stride",
                    || $name::new(2).stride(3),
                    |layer, x| layer.forward(&x[0], &x[1]),
                ),
            )*]
        };
    }
    let mut cases = vec![
        case("PixelShuffle", "default", || PixelShuffle::new(2)),
        case("PixelShuffle", "three", || PixelShuffle::new(3)),
        case("PixelShuffle", "rank3", || PixelShuffle::new(2)),
        case("PixelShuffle", "rank5", || PixelShuffle::new(2)),
        case("PixelUnshuffle", "default", || PixelUnshuffle::new(2)),
        case("PixelUnshuffle", "three", || PixelUnshuffle::new(3)),
        case("PixelUnshuffle", "rank3", || PixelUnshuffle::new(2)),
        case("ChannelShuffle", "default", || ChannelShuffle::new(2)),
        case("ChannelShuffle", "three", || ChannelShuffle::new(3)),
        case("ChannelShuffle", "one", || ChannelShuffle::new(1)),
        case("Upsample", "nearest", || Upsample::new().scale_factor(2.0)),
        case("Upsample", "nearest_size", || Upsample::new().size(5)),
        case("Upsample", "nearest_fraction", || Upsample::new().scale_factor((1.5, 2.0))),
        case("Upsample", "nearest_down", || Upsample::new().size((2, 3, 1))),
        case("Upsample", "nearest_exact", || Upsample::new().size((5, 4)).mode("nearest-exact")),
        case("Upsample", "linear", || Upsample::new().scale_factor(2.0).mode("linear")),
        case("Upsample", "bilinear", || Upsample::new().scale_factor(2.0).mode("bilinear")),
        case("Upsample", "bilinear_size", || Upsample::new().size((7, 2)).mode("bilinear")),
        case("Upsample", "bilinear_corners", || Upsample::new().size((5, 1)).mode("bilinear").align_corners(true)),
        case("Upsample", "trilinear", || Upsample::new().scale_factor(1.5).mode("trilinear")),
        case("Upsample", "bicubic", || Upsample::new().scale_factor(2.5).mode("bicubic")),
        case("Upsample", "bicubic_corners", || Upsample::new().size((5, 3)).mode("bicubic").align_corners(true)),
        case("UpsamplingNearest2d", "factor", || UpsamplingNearest2d::new().scale_factor(3.0)),
        case("UpsamplingNearest2d", "size", || UpsamplingNearest2d::new().size((3, 5))),
        case("UpsamplingNearest2d", "same", || UpsamplingNearest2d::new().size(3)),
        case("UpsamplingBilinear2d", "factor", || UpsamplingBilinear2d::new().scale_factor(2.0)),
        case("UpsamplingBilinear2d", "size", || UpsamplingBilinear2d::new().size((3, 5))),
        case("UpsamplingBilinear2d", "one", || UpsamplingBilinear2d::new().size(4)),
        case("Unfold", "default", || Unfold::new(2)),
        case("Unfold", "options", || Unfold::new((2, 3)).dilation((1, 2)).padding(1).stride((2, 1))),
        case("Unfold", "single", || Unfold::new((3, 2))),
        case("Fold", "default", || Fold::new((4, 5), (2, 2))),
        case("Fold", "options", || Fold::new((5, 6), (2, 3)).dilation((1, 2)).padding(1).stride((2, 1))),
        case("Fold", "single", || Fold::new(4, 3)),
    ];
    cases.extend(unpools!(MaxUnpool1d, MaxUnpool2d, MaxUnpool3d));
    cases
}
