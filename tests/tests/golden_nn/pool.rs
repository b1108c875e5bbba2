//! Pooling: `golden/nn_pool.py`.

use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case, case_with};

macro_rules! windows {
    ($($max:ident, $avg:ident, $lp:ident: $kernel:expr, $stride:expr, $pads:expr;)*) => {
        vec![
            $(
                case(stringify!($max), "default", || $max::new(2)),
                case(stringify!($max), "three", || $max::new(3)),
                case(stringify!($max), "overlapping", || $max::new(3).stride(1).padding(1)),
                case(stringify!($max), "mixed", || $max::new($kernel).stride($stride).padding($pads)),
                case(stringify!($max), "dilated", || $max::new(2).stride(1).dilation(2)),
                case(stringify!($max), "ceil", || $max::new(2).ceil_mode(true)),
                case(stringify!($max), "ceil_padded", || $max::new(3).stride(2).padding(1).ceil_mode(true)),
                case(stringify!($max), "unbatched", || $max::new(2).stride(1)),
                case_with(stringify!($max), "indices", || $max::new(2).stride(1), |layer: &$max, inputs| {
                    layer.forward_with_indices(&inputs[0])
                }),
                case_with(
                    stringify!($max),
                    "indices_mixed",
                    || $max::new($kernel).stride($stride).padding($pads),
                    |layer: &$max, inputs| layer.forward_with_indices(&inputs[0]),
                ),
                case(stringify!($max), "ties", || $max::new(2).stride(1)),
                case(stringify!($avg), "default", || $avg::new(2)),
                case(stringify!($avg), "overlapping", || $avg::new(3).stride(1).padding(1)),
                case(stringify!($avg), "mixed", || $avg::new($kernel).stride($stride).padding($pads)),
                case(stringify!($avg), "exclude_pad", || $avg::new(3).stride(2).padding(1).count_include_pad(false)),
                case(stringify!($avg), "ceil", || $avg::new(2).ceil_mode(true)),
                case(stringify!($avg), "ceil_padded", || $avg::new(3).stride(2).padding(1).ceil_mode(true)),
                case(stringify!($avg), "ceil_exclude", || {
                    $avg::new(3).stride(2).padding(1).ceil_mode(true).count_include_pad(false)
                }),
                case(stringify!($avg), "unbatched", || $avg::new(2).stride(1)),
                case(stringify!($lp), "default", || $lp::new(2.0, 2)),
                case(stringify!($lp), "fraction", || $lp::new(1.5, 3).stride(2)),
                case(stringify!($lp), "ceil", || $lp::new(3.0, 2).ceil_mode(true)),
            )*
        ]
    };
}

macro_rules! adaptive {
    ($($avg:ident, $max:ident: $sizes:expr;)*) => {
        vec![
            $(
                case(stringify!($avg), "one", || $avg::new(1)),
                case(stringify!($avg), "divides", || $avg::new(2)),
                case(stringify!($avg), "uneven", || $avg::new($sizes)),
                case(stringify!($avg), "unbatched", || $avg::new(3)),
                case(stringify!($max), "one", || $max::new(1)),
                case(stringify!($max), "divides", || $max::new(2)),
                case(stringify!($max), "uneven", || $max::new($sizes)),
                case(stringify!($max), "unbatched", || $max::new(3)),
                case_with(stringify!($max), "indices", || $max::new($sizes), |layer: &$max, inputs| {
                    layer.forward_with_indices(&inputs[0])
                }),
            )*
        ]
    };
}

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = windows! {
        MaxPool1d, AvgPool1d, LPPool1d: (3,), (2,), (1,);
        MaxPool2d, AvgPool2d, LPPool2d: (3, 2), (2, 3), (1, 0);
        MaxPool3d, AvgPool3d, LPPool3d: (2, 3, 2), (1, 2, 2), (0, 1, 1);
    };
    cases.extend([
        case("AvgPool2d", "divisor", || AvgPool2d::new(2).divisor_override(3)),
        case("AvgPool3d", "divisor", || AvgPool3d::new(2).divisor_override(3)),
    ]);
    cases.extend(adaptive! {
        AdaptiveAvgPool1d, AdaptiveMaxPool1d: 4;
        AdaptiveAvgPool2d, AdaptiveMaxPool2d: (4, 3);
        AdaptiveAvgPool3d, AdaptiveMaxPool3d: (3, 2, 3);
    });
    cases.extend([
        case("AdaptiveAvgPool2d", "none", || AdaptiveAvgPool2d::new([None, Some(3)])),
        case("AdaptiveMaxPool2d", "none", || AdaptiveMaxPool2d::new([None, Some(3)])),
        case("AdaptiveAvgPool3d", "none", || AdaptiveAvgPool3d::new([None, Some(2), Some(3)])),
        case("AdaptiveMaxPool3d", "none", || AdaptiveMaxPool3d::new([None, Some(2), Some(3)])),
    ]);
    cases
}
