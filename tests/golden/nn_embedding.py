"""Golden numbers of embeddings, `Bilinear` and distances."""

import torch

import data
import nn

N = torch.nn


def integers(shape, n):
    return data.integers(shape, 640, n)


def embedding():
    with nn.layer("Embedding") as layer:
        layer.case("vector", N.Embedding(10, 3), integers((5,), 10))
        layer.case("matrix", N.Embedding(7, 5), integers((2, 4), 7))
        layer.case("scalar", N.Embedding(4, 2), torch.tensor(3))
        layer.case("i32", N.Embedding(4, 2), integers((3, 1, 2), 4).int())
        layer.case("repeated", N.Embedding(5, 3), torch.tensor([1, 1, 4, 1]))
        layer.case("padding", N.Embedding(6, 3, padding_idx=2), torch.tensor([[2, 0, 5], [2, 2, 1]]))
        layer.case("padding_end", N.Embedding(6, 3, padding_idx=-1), torch.tensor([5, 1]))
    with nn.layer("EmbeddingBag") as layer:
        flat, offsets = integers((9,), 6), torch.tensor([0, 2, 2, 7])
        weights = data.symmetric((9,), 641, 1.0)
        for mode in ["sum", "mean", "max"]:
            layer.case(mode, N.EmbeddingBag(6, 3, mode=mode), integers((4, 3), 6))
            layer.case(f"{mode}_one", N.EmbeddingBag(6, 5, mode=mode), integers((1, 1), 6))
            layer.case(f"{mode}_offsets", N.EmbeddingBag(6, 3, mode=mode), flat, offsets)
            layer.case(f"{mode}_padding", N.EmbeddingBag(6, 3, mode=mode, padding_idx=1), torch.tensor([[1, 0, 2], [1, 1, 1]]))
            layer.case(f"{mode}_offsets_padding", N.EmbeddingBag(6, 3, mode=mode, padding_idx=-3), flat, offsets)
        bag = lambda module, x, offsets, weights: module(x, offsets, weights)
        layer.case("last", N.EmbeddingBag(6, 3, include_last_offset=True), flat, torch.tensor([0, 4, 9]))
        layer.case("weighted", N.EmbeddingBag(6, 3, mode="sum"), flat, offsets, weights, call=bag)
        rows = lambda module, x, weights: module(x, per_sample_weights=weights)
        layer.case("weighted_rows", N.EmbeddingBag(6, 3, mode="sum"), integers((4, 3), 6), data.symmetric((4, 3), 642, 1.0), call=rows)


def bilinear():
    with nn.layer("Bilinear") as layer:
        x = lambda shape, salt: data.symmetric(shape, salt, 1.0)
        layer.case("default", N.Bilinear(3, 4, 5), x((2, 3), 643), x((2, 4), 644))
        layer.case("no_bias", N.Bilinear(3, 1, 2, bias=False), x((1, 3), 643), x((1, 1), 644))
        layer.case("rank3", N.Bilinear(2, 3, 4), x((2, 3, 2), 643), x((2, 3, 3), 644))
        layer.case("vector", N.Bilinear(2, 3, 4), x((2,), 643), x((3,), 644))


def distances():
    x = lambda shape, salt: data.symmetric(shape, salt, 2.0)
    with nn.layer("CosineSimilarity") as layer:
        layer.case("default", N.CosineSimilarity(), x((3, 5), 645), x((3, 5), 646))
        layer.case("dim", N.CosineSimilarity(dim=-2, eps=1e-4), x((2, 3, 5), 645), x((2, 3, 5), 646))
        layer.case("vector", N.CosineSimilarity(dim=0), x((7,), 645), x((7,), 646))
        layer.case("broadcast", N.CosineSimilarity(dim=2), x((2, 1, 5), 645), x((1, 3, 5), 646))
        layer.case("large", N.CosineSimilarity(), x((1, 5), 645) * 1e12, x((1, 5), 646) * 1e12)
    with nn.layer("PairwiseDistance") as layer:
        layer.case("default", N.PairwiseDistance(), x((3, 5), 645), x((3, 5), 646))
        layer.case("p1", N.PairwiseDistance(p=1.0), x((3, 5), 645), x((3, 5), 646))
        layer.case("p3", N.PairwiseDistance(p=3.0, eps=1e-3), x((2, 3, 4), 645), x((2, 3, 4), 646))
        layer.case("keepdim", N.PairwiseDistance(p=float("inf"), keepdim=True), x((2, 4), 645), x((2, 4), 646))
        layer.case("vector", N.PairwiseDistance(), x((5,), 645), x((5,), 646))
        layer.case("broadcast", N.PairwiseDistance(), x((3, 5), 645), x((1, 5), 646))


def generate():
    embedding()
    bilinear()
    distances()


if __name__ == "__main__":
    generate()
