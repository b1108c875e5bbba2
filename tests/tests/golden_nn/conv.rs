//! Convolutions, their transposes, and padding: `golden/nn_conv.py`.

use nnc_frontend::functional::PaddingMode;
use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case};

macro_rules! convolutions {
    ($($name:ident: $kernel:expr, $mixed:expr, $pads:expr;)*) => {
        vec![
            $(
                case(stringify!($name), "default", || $name::new(3, 4, 3)),
                case(stringify!($name), "batch1", || $name::new(1, 2, $kernel)),
                case(stringify!($name), "unbatched", || $name::new(2, 3, 2).padding(1)),
                case(stringify!($name), "strided", || $name::new(3, 2, 3).stride(2).padding(1)),
                case(stringify!($name), "mixed", || $name::new(2, 2, $kernel).stride($mixed).padding($pads)),
                case(stringify!($name), "dilated", || $name::new(2, 3, 2).dilation(2)),
                case(stringify!($name), "grouped", || $name::new(4, 6, 3).padding(1).groups(2).bias(false)),
                case(stringify!($name), "depthwise", || $name::new(3, 3, 2).groups(3)),
                case(stringify!($name), "no_bias", || $name::new(3, 4, 1).bias(false)),
                case(stringify!($name), "same", || $name::new(2, 3, $kernel).padding("same")),
                case(stringify!($name), "same_dilated", || $name::new(2, 1, 2).padding("same").dilation(3)),
                case(stringify!($name), "valid", || $name::new(2, 3, 2).padding("valid")),
                case(stringify!($name), "reflect", || $name::new(2, 2, 3).padding(1).padding_mode(PaddingMode::Reflect)),
                case(stringify!($name), "replicate", || {
                    $name::new(2, 2, 3).padding(1).padding_mode(PaddingMode::Replicate)
                }),
                case(stringify!($name), "circular", || {
                    $name::new(2, 2, 3).padding(1).padding_mode(PaddingMode::Circular)
                }),
                case(stringify!($name), "reflect_same", || {
                    $name::new(1, 2, $kernel).padding("same").padding_mode(PaddingMode::Reflect)
                }),
            )*
        ]
    };
}

macro_rules! transposes {
    ($($name:ident: $mixed:expr, $extra:expr;)*) => {
        vec![
            $(
                case(stringify!($name), "default", || $name::new(3, 2, 3)),
                case(stringify!($name), "batch1", || $name::new(1, 2, 2)),
                case(stringify!($name), "unbatched", || $name::new(2, 3, 2).stride(2)),
                case(stringify!($name), "strided", || $name::new(3, 2, 3).stride(2).padding(1).output_padding(1)),
                case(stringify!($name), "mixed", || {
                    $name::new(2, 2, 3).stride($mixed).padding(1).output_padding($extra)
                }),
                case(stringify!($name), "dilated", || $name::new(2, 3, 2).dilation(2).padding(1)),
                case(stringify!($name), "grouped", || $name::new(4, 6, 2).stride(2).groups(2).bias(false)),
            )*
        ]
    };
}

macro_rules! paddings {
    ($($name:ident: $sides:expr, $unbatched:expr;)*) => {
        vec![
            $(
                case(stringify!($name), "one", || $name::new(1)),
                case(stringify!($name), "sides", || $name::new($sides)),
                case(stringify!($name), "unbatched", || $name::new($unbatched)),
            )*
        ]
    };
}

macro_rules! constant_paddings {
    ($($name:ident: $sides:expr, $cropped:expr;)*) => {
        vec![
            $(
                case(stringify!($name), "one", || $name::new(1, 3.5)),
                case(stringify!($name), "sides", || $name::new($sides, -2.0)),
                case(stringify!($name), "cropped", || $name::new($cropped, 0.25)),
            )*
        ]
    };
}

const SIDES2: (i64, i64, i64, i64) = (1, 2, 0, 3);
const SIDES3: (i64, i64, i64, i64, i64, i64) = (2, 0, 1, 1, 2, 1);

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = convolutions! {
        Conv1d: 2, 2, 1;
        Conv2d: (3, 2), (2, 1), (0, 1);
        Conv3d: (2, 3, 1), (1, 2, 1), (1, 0, 1);
    };
    cases.extend(transposes! {
        ConvTranspose1d: 3, 2;
        ConvTranspose2d: (2, 3), (1, 0);
        ConvTranspose3d: (2, 1, 3), (1, 0, 2);
    });
    cases.extend(paddings! {
        ZeroPad1d: (2, 1), 2;
        ZeroPad2d: SIDES2, 2;
        ZeroPad3d: SIDES3, 2;
        ReflectionPad1d: (2, 1), 1;
        ReflectionPad2d: SIDES2, 1;
        ReflectionPad3d: SIDES3, 1;
        ReplicationPad1d: (2, 1), 2;
        ReplicationPad2d: SIDES2, 2;
        ReplicationPad3d: SIDES3, 2;
        CircularPad1d: (2, 1), 2;
        CircularPad2d: SIDES2, 2;
        CircularPad3d: SIDES3, 2;
    });
    cases.extend(constant_paddings! {
        ConstantPad1d: (2, 1), (-1, 1);
        ConstantPad2d: SIDES2, (-1, 1, 0, 0);
        ConstantPad3d: SIDES3, (-1, 1, 0, 0, 0, 0);
    });
    cases
}
