//! Losses: `golden/nn_loss.py`.

use nnc_frontend::module::Module;
use nnc_frontend::nn::*;
use nnc_frontend::tensor::Tensor;
use nnc_tests::golden::unit;
use nnc_tests::layers::{Case, case_with};

/// The class weights of every weighted case.
fn weight() -> Tensor {
    Tensor::from_data(unit(&[5], 665)) + 0.25
}

/// A loss of an input and a target.
fn pair<L: Module + Criterion + 'static>(
    layer: &'static str,
    name: &'static str,
    build: impl Fn() -> L + Send + Sync + 'static,
) -> Case {
    case_with(layer, name, build, |loss: &L, x| loss.loss(&x[0], &x[1]))
}

/// A case for each reduction; `forward` says how many inputs there are.
macro_rules! reductions {
    ($cases:ident: $name:ident($($idx:literal),*)) => {
        for (name, reduction) in
            [("default_mean", Reduction::Mean), ("default_sum", Reduction::Sum), ("default_none", Reduction::None)]
        {
            let build = move || $name::new().reduction(reduction);
            $cases.push(case_with(stringify!($name), name, build, |loss, x| loss.forward($(&x[$idx]),*)));
        }
    };
}

/// Losses of three inputs.
macro_rules! triples {
    ($($layer:ident, $name:literal, $build:expr;)*) => {
        [$(case_with(stringify!($layer), $name, $build, |loss: &$layer, x| loss.forward(&x[0], &x[1], &x[2]))),*]
    };
}

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    reductions!(cases: MSELoss(0, 1));
    reductions!(cases: L1Loss(0, 1));
    reductions!(cases: SmoothL1Loss(0, 1));
    reductions!(cases: HuberLoss(0, 1));
    reductions!(cases: BCELoss(0, 1));
    reductions!(cases: BCEWithLogitsLoss(0, 1));
    reductions!(cases: KLDivLoss(0, 1));
    reductions!(cases: PoissonNLLLoss(0, 1));
    reductions!(cases: GaussianNLLLoss(0, 1, 2));
    reductions!(cases: NLLLoss(0, 1));
    reductions!(cases: CrossEntropyLoss(0, 1));
    reductions!(cases: MultiMarginLoss(0, 1));
    reductions!(cases: MultiLabelMarginLoss(0, 1));
    reductions!(cases: MultiLabelSoftMarginLoss(0, 1));
    reductions!(cases: HingeEmbeddingLoss(0, 1));
    reductions!(cases: SoftMarginLoss(0, 1));
    reductions!(cases: MarginRankingLoss(0, 1, 2));
    reductions!(cases: CosineEmbeddingLoss(0, 1, 2));
    reductions!(cases: TripletMarginLoss(0, 1, 2));
    reductions!(cases: TripletMarginWithDistanceLoss(0, 1, 2));
    cases.extend(pairs());
    cases.extend(triples! {
        GaussianNLLLoss, "full", || GaussianNLLLoss::new().full(true).eps(0.01);
        GaussianNLLLoss, "outer", GaussianNLLLoss::new;
        GaussianNLLLoss, "one", GaussianNLLLoss::new;
        MarginRankingLoss, "margin", || MarginRankingLoss::new().margin(0.5);
        CosineEmbeddingLoss, "margin", || CosineEmbeddingLoss::new().margin(0.25);
        CosineEmbeddingLoss, "single", CosineEmbeddingLoss::new;
        TripletMarginLoss, "options", || TripletMarginLoss::new().margin(2.5).p(1.0).eps(1e-3);
        TripletMarginLoss, "swap", || TripletMarginLoss::new().margin(1.5).swap(true);
        TripletMarginLoss, "vector", TripletMarginLoss::new;
        TripletMarginWithDistanceLoss, "distance", || {
            let distance = |x1: &Tensor, x2: &Tensor| (x1 - x2).abs().sum(-1);
            TripletMarginWithDistanceLoss::new().distance_function(distance).swap(true).margin(0.5)
        };
    });
    cases.extend(alignments());
    cases.extend(layered());
    cases
}

/// Losses of two inputs, with options.
fn pairs() -> Vec<Case> {
    vec![
        pair("SmoothL1Loss", "beta", || SmoothL1Loss::new().beta(0.5)),
        pair("SmoothL1Loss", "beta0", || SmoothL1Loss::new().beta(0.0)),
        pair("HuberLoss", "delta", || HuberLoss::new().delta(0.5)),
        pair("HuberLoss", "large", || HuberLoss::new().delta(2.5)),
        pair("BCELoss", "weight", || BCELoss::new().weight(weight())),
        pair("BCELoss", "hard", || BCELoss::new().reduction(Reduction::None)).elementwise(),
        pair("BCELoss", "hard_wrong", || BCELoss::new().reduction(Reduction::None)).elementwise(),
        pair("BCEWithLogitsLoss", "weight", || BCEWithLogitsLoss::new().weight(weight())),
        pair("BCEWithLogitsLoss", "pos_weight", || BCEWithLogitsLoss::new().pos_weight(weight() * 3.0)),
        pair("BCEWithLogitsLoss", "both", || BCEWithLogitsLoss::new().weight(weight()).pos_weight(weight() * 3.0)),
        pair("BCEWithLogitsLoss", "hard", || BCEWithLogitsLoss::new().reduction(Reduction::None)).elementwise(),
        pair("KLDivLoss", "batchmean", || KLDivLoss::new().reduction(Reduction::BatchMean)),
        pair("KLDivLoss", "log_target", || KLDivLoss::new().reduction(Reduction::BatchMean).log_target(true)),
        pair("KLDivLoss", "zeros", || KLDivLoss::new().reduction(Reduction::Sum)),
        pair("PoissonNLLLoss", "mean_input", || PoissonNLLLoss::new().log_input(false).eps(1e-3)),
        pair("PoissonNLLLoss", "full", || PoissonNLLLoss::new().full(true)),
        pair("NLLLoss", "weight", || NLLLoss::new().weight(weight())),
        pair("NLLLoss", "ignore", || NLLLoss::new().weight(weight()).ignore_index(1)),
        pair("NLLLoss", "single", NLLLoss::new),
        pair("NLLLoss", "image", NLLLoss::new),
        pair("CrossEntropyLoss", "weight", || CrossEntropyLoss::new().weight(weight())),
        pair("CrossEntropyLoss", "ignore", || CrossEntropyLoss::new().ignore_index(1)),
        pair("CrossEntropyLoss", "smooth", || CrossEntropyLoss::new().weight(weight()).label_smoothing(0.1)),
        pair("CrossEntropyLoss", "soft", CrossEntropyLoss::new),
        pair("CrossEntropyLoss", "single", CrossEntropyLoss::new),
        pair("MultiMarginLoss", "p2", || MultiMarginLoss::new().p(2.0).margin(0.5)),
        pair("MultiMarginLoss", "weight", || MultiMarginLoss::new().weight(weight())),
        pair("MultiMarginLoss", "single", MultiMarginLoss::new),
        pair("MultiLabelMarginLoss", "single", MultiLabelMarginLoss::new),
        pair("MultiLabelMarginLoss", "all", MultiLabelMarginLoss::new),
        pair("MultiLabelSoftMarginLoss", "weight", || MultiLabelSoftMarginLoss::new().weight(weight())),
        pair("HingeEmbeddingLoss", "margin", || HingeEmbeddingLoss::new().margin(0.5)),
        pair("SoftMarginLoss", "hard", || SoftMarginLoss::new().reduction(Reduction::None)).elementwise(),
    ]
}

/// `CTCLoss` takes logits here: what PyTorch calls the gradient by log-probabilities is one only behind `log_softmax`.
fn alignments() -> Vec<Case> {
    let ctc = |name, build: fn() -> CTCLoss| {
        case_with("CTCLoss", name, build, |loss, x| loss.forward(&x[0].log_softmax(-1), &x[1], &x[2], &x[3]))
    };
    vec![
        ctc("default_mean", CTCLoss::new),
        ctc("default_sum", || CTCLoss::new().reduction(Reduction::Sum)),
        ctc("default_none", || CTCLoss::new().reduction(Reduction::None)),
        ctc("shorter", || CTCLoss::new().reduction(Reduction::None)),
        ctc("blank", || CTCLoss::new().blank(4)),
        ctc("empty", || CTCLoss::new().reduction(Reduction::None)),
        ctc("flat", CTCLoss::new),
        ctc("single", CTCLoss::new),
        ctc("infinite", || CTCLoss::new().reduction(Reduction::None)),
        ctc("zero_infinity", || CTCLoss::new().zero_infinity(true)),
    ]
}

/// Losses with a layer in them.
fn layered() -> Vec<Case> {
    let adaptive = |name, build: fn() -> AdaptiveLogSoftmaxWithLoss| {
        case_with("AdaptiveLogSoftmaxWithLoss", name, build, |loss, x| loss.forward(&x[0], &x[1]))
    };
    vec![
        pair("LinearCrossEntropyLoss", "default", || LinearCrossEntropyLoss::new(4, 5)),
        pair("LinearCrossEntropyLoss", "bias", || {
            LinearCrossEntropyLoss::new(4, 5).bias(true).reduction(Reduction::None)
        }),
        pair("LinearCrossEntropyLoss", "options", || {
            let loss = LinearCrossEntropyLoss::new(4, 5).weight(weight()).ignore_index(1);
            loss.label_smoothing(0.1).reduction(Reduction::Sum)
        }),
        adaptive("default", || AdaptiveLogSoftmaxWithLoss::with(8, 10, &[2, 5], 2.0, false)),
        adaptive("bias", || AdaptiveLogSoftmaxWithLoss::with(8, 10, &[4], 4.0, true)),
        adaptive("single", || AdaptiveLogSoftmaxWithLoss::with(8, 10, &[2, 5], 1.5, false)),
    ]
}
