//! Normalization: `golden/nn_norm.py`.

use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case};

macro_rules! batch_norms {
    ($($name:ident),*) => {
        vec![
            $(
                case(stringify!($name), "default", || $name::new(3)),
                case(stringify!($name), "second", || $name::new(3)),
                case(stringify!($name), "batch1", || $name::new(3)),
                case(stringify!($name), "initial", || $name::new(3)),
                case(stringify!($name), "options", || $name::new(3).eps(1e-3).momentum(0.3)),
                case(stringify!($name), "no_bias", || $name::new(3).bias(false)),
                case(stringify!($name), "cumulative", || $name::new(3).momentum(None)),
                case(stringify!($name), "plain", || $name::new(3).affine(false)),
                case(stringify!($name), "untracked", || $name::new(3).track_running_stats(false)),
                case(stringify!($name), "neither", || $name::new(3).affine(false).track_running_stats(false)),
                // The inputs themselves have only 13 bits after the point.
                case(stringify!($name), "shifted", || $name::new(3)).within(5e-4),
                case(stringify!($name), "eval", || $name::new(3)),
                case(stringify!($name), "eval_plain", || $name::new(3).affine(false)),
            )*
        ]
    };
}

macro_rules! instance_norms {
    ($($name:ident),*) => {
        vec![
            $(
                case(stringify!($name), "default", || $name::new(3)),
                case(stringify!($name), "single", || $name::new(3)),
                case(stringify!($name), "affine", || $name::new(3).eps(1e-3).affine(true)),
                case(stringify!($name), "no_bias", || $name::new(3).affine(true).bias(false)),
                case(stringify!($name), "tracked", || $name::new(3).momentum(0.3).affine(true).track_running_stats(true)),
                case(stringify!($name), "single_tracked", || $name::new(3).track_running_stats(true)),
                case(stringify!($name), "eval", || $name::new(3).affine(true).track_running_stats(true)),
                case(stringify!($name), "shifted", || $name::new(3)).within(5e-4),
            )*
        ]
    };
}

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = batch_norms!(BatchNorm1d, BatchNorm2d, BatchNorm3d);
    cases.extend(instance_norms!(InstanceNorm1d, InstanceNorm2d, InstanceNorm3d));
    cases.extend([
        case("LayerNorm", "default", || LayerNorm::new(7)),
        case("LayerNorm", "two", || LayerNorm::new([3, 5])),
        case("LayerNorm", "rank3", || LayerNorm::new(5)),
        case("LayerNorm", "initial", || LayerNorm::new(5)),
        case("LayerNorm", "eps", || LayerNorm::new(17).eps(1e-2)),
        case("LayerNorm", "plain", || LayerNorm::new(7).elementwise_affine(false)),
        case("LayerNorm", "no_bias", || LayerNorm::new(7).bias(false)),
        case("LayerNorm", "shifted", || LayerNorm::new(33)).within(5e-4),
        case("LayerNorm", "constant_row", || LayerNorm::new(4)),
        case("RMSNorm", "default", || RMSNorm::new(7)),
        case("RMSNorm", "two", || RMSNorm::new([3, 5])),
        case("RMSNorm", "eps", || RMSNorm::new(17).eps(1e-2)),
        case("RMSNorm", "plain", || RMSNorm::new(5).eps(1e-6).elementwise_affine(false)),
        case("GroupNorm", "default", || GroupNorm::new(2, 6)),
        case("GroupNorm", "one_group", || GroupNorm::new(1, 3)),
        case("GroupNorm", "each_channel", || GroupNorm::new(4, 4)),
        case("GroupNorm", "no_positions", || GroupNorm::new(3, 9)),
        case("GroupNorm", "no_bias", || GroupNorm::new(3, 6).bias(false)),
        case("GroupNorm", "plain", || GroupNorm::new(2, 4).eps(1e-3).affine(false)),
        case("GroupNorm", "shifted", || GroupNorm::new(2, 6)).within(5e-4),
        case("LocalResponseNorm", "default", || LocalResponseNorm::new(2)),
        case("LocalResponseNorm", "image", || LocalResponseNorm::new(5).alpha(0.5)),
        case("LocalResponseNorm", "options", || LocalResponseNorm::new(3).alpha(0.2).beta(0.5).k(2.0)),
        case("LocalResponseNorm", "wide", || LocalResponseNorm::new(9).alpha(0.1)),
    ]);
    cases
}
