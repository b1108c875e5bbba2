//! Embeddings, `Bilinear` and distances: `golden/nn_embedding.py`.

use nnc_frontend::nn::EmbeddingBagMode::{Max, Mean, Sum};
use nnc_frontend::nn::*;
use nnc_tests::layers::{Case, case, case_with};

/// A bag a row.
fn rows(name: &'static str, build: impl Fn() -> EmbeddingBag + Send + Sync + 'static) -> Case {
    case_with("EmbeddingBag", name, build, |layer, x| layer.forward(&x[0], None, None))
}

/// Bags that start at offsets.
fn bags(name: &'static str, build: impl Fn() -> EmbeddingBag + Send + Sync + 'static) -> Case {
    case_with("EmbeddingBag", name, build, |layer, x| layer.forward(&x[0], Some(&x[1]), None))
}

fn bilinear(name: &'static str, build: impl Fn() -> Bilinear + Send + Sync + 'static) -> Case {
    case_with("Bilinear", name, build, |layer, x| layer.forward(&x[0], &x[1]))
}

fn cosine(name: &'static str, build: impl Fn() -> CosineSimilarity + Send + Sync + 'static) -> Case {
    case_with("CosineSimilarity", name, build, |layer, x| layer.forward(&x[0], &x[1]))
}

fn distance(name: &'static str, build: impl Fn() -> PairwiseDistance + Send + Sync + 'static) -> Case {
    case_with("PairwiseDistance", name, build, |layer, x| layer.forward(&x[0], &x[1]))
}

/// Every stored configuration of the family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("Embedding", "vector", || Embedding::new(10, 3)),
        case("Embedding", "matrix", || Embedding::new(7, 5)),
        case("Embedding", "scalar", || Embedding::new(4, 2)),
        case("Embedding", "i32", || Embedding::new(4, 2)),
        case("Embedding", "repeated", || Embedding::new(5, 3)),
        case("Embedding", "padding", || Embedding::new(6, 3).padding_idx(2)),
        case("Embedding", "padding_end", || Embedding::new(6, 3).padding_idx(-1)),
        bilinear("default", || Bilinear::new(3, 4, 5)),
        bilinear("no_bias", || Bilinear::new(3, 1, 2).bias(false)),
        bilinear("rank3", || Bilinear::new(2, 3, 4)),
        bilinear("vector", || Bilinear::new(2, 3, 4)),
        cosine("default", CosineSimilarity::new),
        cosine("dim", || CosineSimilarity::new().dim(-2).eps(1e-4)),
        cosine("vector", || CosineSimilarity::new().dim(0)),
        cosine("broadcast", || CosineSimilarity::new().dim(2)),
        cosine("large", CosineSimilarity::new),
        distance("default", PairwiseDistance::new),
        distance("p1", || PairwiseDistance::new().p(1.0)),
        distance("p3", || PairwiseDistance::new().p(3.0).eps(1e-3)),
        distance("keepdim", || PairwiseDistance::new().p(f64::INFINITY).keepdim(true)),
        distance("vector", PairwiseDistance::new),
        distance("broadcast", PairwiseDistance::new),
        bags("last", || EmbeddingBag::new(6, 3).include_last_offset(true)),
        case_with(
            "EmbeddingBag",
            "weighted",
            || EmbeddingBag::new(6, 3).mode(Sum),
            |layer, x| layer.forward(&x[0], Some(&x[1]), Some(&x[2])),
        ),
        case_with(
            "EmbeddingBag",
            "weighted_rows",
            || EmbeddingBag::new(6, 3).mode(Sum),
            |layer, x| layer.forward(&x[0], None, Some(&x[1])),
        ),
    ];
    for (mode, [plain, one, offsets, padding, both]) in [
        (Sum, ["sum", "sum_one", "sum_offsets", "sum_padding", "sum_offsets_padding"]),
        (Mean, ["mean", "mean_one", "mean_offsets", "mean_padding", "mean_offsets_padding"]),
        (Max, ["max", "max_one", "max_offsets", "max_padding", "max_offsets_padding"]),
    ] {
        cases.extend([
            rows(plain, move || EmbeddingBag::new(6, 3).mode(mode)),
            rows(one, move || EmbeddingBag::new(6, 5).mode(mode)),
            bags(offsets, move || EmbeddingBag::new(6, 3).mode(mode)),
            rows(padding, move || EmbeddingBag::new(6, 3).mode(mode).padding_idx(1)),
            bags(both, move || EmbeddingBag::new(6, 3).mode(mode).padding_idx(-3)),
        ]);
    }
    cases
}
