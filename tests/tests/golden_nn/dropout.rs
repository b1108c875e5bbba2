//! Dropout where nothing is random: `golden/nn_dropout.py`.

use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case};

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    macro_rules! dropouts {
        ($($name:ident),*) => {
            vec![
                $(
                    case(stringify!($name), "eval", $name::new),
                    case(stringify!($name), "p_eval", || $name::new().p(0.25)),
                    case(stringify!($name), "p0", || $name::new().p(0.0)),
                    case(stringify!($name), "p1", || $name::new().p(1.0)),
                )*
            ]
        };
    }
    dropouts!(Dropout, Dropout1d, Dropout2d, Dropout3d, AlphaDropout, FeatureAlphaDropout)
}
