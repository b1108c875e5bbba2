//! `Linear`, `Identity`, `Flatten`, `Unflatten`: `golden/nn_linear.py`.

use nnc_frontend::nn::{Flatten, Identity, Linear, Unflatten};
use nnc_tests::layers::{Case, case};

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("Linear", "vector", || Linear::new(3, 2)),
        case("Linear", "odd", || Linear::new(7, 5)),
        case("Linear", "no_bias", || Linear::new(17, 3).bias(false)),
        case("Linear", "rank3", || Linear::new(4, 6)),
        case("Identity", "arguments", Identity::new),
        case("Flatten", "default", Flatten::new),
        case("Flatten", "middle", || Flatten::dims(1, 2)),
        case("Flatten", "all", || Flatten::dims(0, -1)),
        case("Unflatten", "one", || Unflatten::new(1, [2, 3])),
        case("Unflatten", "first", || Unflatten::new(0, [3, 1])),
        case("Unflatten", "last", || Unflatten::new(-1, [5])),
    ]
}
