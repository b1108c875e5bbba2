//! Activations: `golden/nn_activation.py`.

use nnc_frontend::module::{Forward, Module};
use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case};

/// A configuration on inputs at and around its kinks, and of ordinary ones of rank 3.
fn pair<M: Module + Forward + 'static>(
    layer: &'static str,
    name: &'static str,
    rank3: &'static str,
    build: impl Fn() -> M + Copy + Send + Sync + 'static,
) -> Vec<Case> {
    vec![case(layer, name, build).elementwise(), case(layer, rank3, build).elementwise()]
}

/// All cases of a layer without settings.
fn plain<M: Module + Forward + 'static>(
    layer: &'static str,
    build: impl Fn() -> M + Copy + Send + Sync + 'static,
) -> Vec<Case> {
    let mut cases = pair(layer, "default", "default_rank3", build);
    cases.push(case(layer, "one", build).elementwise());
    cases
}

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        plain("ReLU", ReLU::new),
        plain("ReLU6", ReLU6::new),
        pair("LeakyReLU", "default", "default_rank3", LeakyReLU::new),
        pair("LeakyReLU", "slope", "slope_rank3", || LeakyReLU::new().negative_slope(0.25)),
        pair("LeakyReLU", "tiny", "tiny_rank3", || LeakyReLU::new().negative_slope(1e-5)),
        pair("ELU", "default", "default_rank3", ELU::new),
        pair("ELU", "alpha", "alpha_rank3", || ELU::new().alpha(0.5)),
        pair("ELU", "large", "large_rank3", || ELU::new().alpha(2.5)),
        plain("SELU", SELU::new),
        pair("CELU", "default", "default_rank3", CELU::new),
        pair("CELU", "alpha", "alpha_rank3", || CELU::new().alpha(0.5)),
        pair("CELU", "large", "large_rank3", || CELU::new().alpha(2.5)),
        plain("GELU", GELU::new),
        plain("SiLU", SiLU::new),
        plain("Mish", Mish::new),
        plain("Sigmoid", Sigmoid::new),
        plain("LogSigmoid", LogSigmoid::new),
        plain("Hardsigmoid", Hardsigmoid::new),
        plain("Hardswish", Hardswish::new),
        pair("Hardtanh", "default", "default_rank3", Hardtanh::new),
        pair("Hardtanh", "limits", "limits_rank3", || Hardtanh::new().min_val(-0.5).max_val(2.0)),
        plain("Tanh", Tanh::new),
        plain("Tanhshrink", Tanhshrink::new),
        pair("Softplus", "default", "default_rank3", Softplus::new),
        pair("Softplus", "beta", "beta_rank3", || Softplus::new().beta(2.0)),
        pair("Softplus", "threshold", "threshold_rank3", || Softplus::new().beta(0.5).threshold(5.0)),
        plain("Softsign", Softsign::new),
        pair("Softshrink", "default", "default_rank3", Softshrink::new),
        pair("Softshrink", "lambd", "lambd_rank3", || Softshrink::new().lambd(2.0)),
        pair("Softshrink", "zero", "zero_rank3", || Softshrink::new().lambd(0.0)),
        pair("Hardshrink", "default", "default_rank3", Hardshrink::new),
        pair("Hardshrink", "lambd", "lambd_rank3", || Hardshrink::new().lambd(2.0)),
        pair("Hardshrink", "zero", "zero_rank3", || Hardshrink::new().lambd(0.0)),
        pair("Threshold", "relu", "relu_rank3", || Threshold::new(0.0, 0.0)),
        pair("Threshold", "other", "other_rank3", || Threshold::new(1.5, -7.0)),
        others(),
    ];
    cases.into_iter().flatten().collect()
}

fn others() -> Vec<Case> {
    vec![
        case("GELU", "tanh", GELU::tanh).elementwise(),
        case("RReLU", "fixed", || RReLU::new().lower(0.25).upper(0.25)).elementwise(),
        case("RReLU", "eval", RReLU::new).elementwise(),
        case("RReLU", "eval_limits", || RReLU::new().lower(0.1).upper(0.5)).elementwise(),
        case("PReLU", "one", PReLU::new),
        case("PReLU", "one_rank3", || PReLU::new().init(0.1)),
        case("PReLU", "channels", || PReLU::new().num_parameters(2)),
        case("PReLU", "channels_rank2", || PReLU::new().num_parameters(5)),
        case("PReLU", "initial", || PReLU::new().num_parameters(3).init(0.1)),
        case("GLU", "default", GLU::new).elementwise(),
        case("GLU", "dim0", || GLU::new().dim(0)).elementwise(),
        case("GLU", "dim1", || GLU::new().dim(1)).elementwise(),
        case("Softmax", "last", || Softmax::new(-1)),
        case("Softmax", "first", || Softmax::new(0)),
        case("Softmax", "middle", || Softmax::new(1)),
        case("Softmax", "hard", || Softmax::new(1)),
        case("Softmax", "one", || Softmax::new(1)),
        case("Softmin", "last", || Softmin::new(-1)),
        case("Softmin", "first", || Softmin::new(0)),
        case("Softmin", "middle", || Softmin::new(1)),
        case("Softmin", "hard", || Softmin::new(1)),
        case("Softmin", "one", || Softmin::new(1)),
        case("LogSoftmax", "last", || LogSoftmax::new(-1)),
        case("LogSoftmax", "first", || LogSoftmax::new(0)),
        case("LogSoftmax", "middle", || LogSoftmax::new(1)),
        case("LogSoftmax", "hard", || LogSoftmax::new(1)),
        case("LogSoftmax", "one", || LogSoftmax::new(1)),
        case("Softmax2d", "batched", Softmax2d::new),
        case("Softmax2d", "single", Softmax2d::new),
        case("Softmax2d", "one", Softmax2d::new),
    ]
}
