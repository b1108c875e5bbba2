"""Golden numbers of layers that move or resample positions: shuffles, upsampling, folds, inverses of max pooling."""

import torch

import data
import nn

N = torch.nn


def image(*shape):
    return data.symmetric(shape, 680, 2.0)


def shuffles():
    with nn.layer("PixelShuffle") as layer:
        layer.case("default", N.PixelShuffle(2), image(2, 8, 3, 2))
        layer.case("three", N.PixelShuffle(3), image(1, 9, 1, 2))
        layer.case("rank3", N.PixelShuffle(2), image(4, 3, 1))
        layer.case("rank5", N.PixelShuffle(2), image(2, 1, 4, 1, 2))
    with nn.layer("PixelUnshuffle") as layer:
        layer.case("default", N.PixelUnshuffle(2), image(2, 2, 6, 4))
        layer.case("three", N.PixelUnshuffle(3), image(1, 1, 3, 6))
        layer.case("rank3", N.PixelUnshuffle(2), image(3, 2, 2))
    with nn.layer("ChannelShuffle") as layer:
        layer.case("default", N.ChannelShuffle(2), image(2, 6, 2, 3))
        layer.case("three", N.ChannelShuffle(3), image(1, 9, 2, 1))
        layer.case("one", N.ChannelShuffle(1), image(2, 3, 1, 1))


def upsampling():
    with nn.layer("Upsample") as layer:
        layer.case("nearest", N.Upsample(scale_factor=2.0), image(2, 3, 2, 3))
        layer.case("nearest_size", N.Upsample(size=5), image(1, 2, 3))
        layer.case("nearest_fraction", N.Upsample(scale_factor=(1.5, 2.0)), image(1, 2, 3, 2))
        layer.case("nearest_down", N.Upsample(size=(2, 3, 1)), image(1, 1, 3, 5, 2))
        layer.case("nearest_exact", N.Upsample(size=(5, 4), mode="nearest-exact"), image(1, 1, 3, 7))
        layer.case("linear", N.Upsample(scale_factor=2.0, mode="linear"), image(2, 3, 4))
        layer.case("bilinear", N.Upsample(scale_factor=2.0, mode="bilinear"), image(1, 2, 3, 2))
        layer.case("bilinear_size", N.Upsample(size=(7, 2), mode="bilinear"), image(1, 2, 3, 5))
        layer.case("bilinear_corners", N.Upsample(size=(5, 1), mode="bilinear", align_corners=True), image(1, 2, 3, 4))
        layer.case("trilinear", N.Upsample(scale_factor=1.5, mode="trilinear"), image(1, 1, 2, 3, 2))
        layer.case("bicubic", N.Upsample(scale_factor=2.5, mode="bicubic"), image(1, 2, 3, 4))
        layer.case("bicubic_corners", N.Upsample(size=(5, 3), mode="bicubic", align_corners=True), image(1, 1, 3, 4))
    with nn.layer("UpsamplingNearest2d") as layer:
        layer.case("factor", N.UpsamplingNearest2d(scale_factor=3.0), image(1, 2, 2, 3))
        layer.case("size", N.UpsamplingNearest2d(size=(3, 5)), image(2, 1, 2, 3))
        layer.case("same", N.UpsamplingNearest2d(size=3), image(1, 1, 3, 3))
    with nn.layer("UpsamplingBilinear2d") as layer:
        layer.case("factor", N.UpsamplingBilinear2d(scale_factor=2.0), image(1, 2, 2, 3))
        layer.case("size", N.UpsamplingBilinear2d(size=(3, 5)), image(2, 1, 2, 3))
        layer.case("one", N.UpsamplingBilinear2d(size=4), image(1, 1, 1, 1))


def folds():
    with nn.layer("Unfold") as layer:
        layer.case("default", N.Unfold(2), image(2, 3, 4, 5))
        layer.case("options", N.Unfold((2, 3), dilation=(1, 2), padding=1, stride=(2, 1)), image(1, 2, 5, 6))
        layer.case("single", N.Unfold((3, 2)), image(2, 3, 4))
    with nn.layer("Fold") as layer:
        layer.case("default", N.Fold((4, 5), (2, 2)), image(1, 12, 12))
        layer.case("options", N.Fold((5, 6), (2, 3), dilation=(1, 2), padding=1, stride=(2, 1)), image(2, 12, 12))
        layer.case("single", N.Fold(4, 3, stride=1), image(18, 4))


def unpools():
    pools = {
        "MaxUnpool1d": (N.MaxUnpool1d, torch.nn.functional.max_pool1d, (2, 3, 6)),
        "MaxUnpool2d": (N.MaxUnpool2d, torch.nn.functional.max_pool2d, (1, 2, 6, 4)),
        "MaxUnpool3d": (N.MaxUnpool3d, torch.nn.functional.max_pool3d, (1, 2, 4, 2, 6)),
    }
    for name, (unpool, pool, shape) in pools.items():
        with nn.layer(name) as layer:
            _, indices = pool(image(*shape), 2, return_indices=True)
            layer.case("default", unpool(2), image(*indices.shape), indices)
            layer.case("single", unpool(2), image(*indices.shape)[0], indices[0])
            # Gaps between windows; where windows overlap, PyTorch leaves open which value stays.
            _, indices = pool(image(*shape[:2], *[5 for _ in shape[2:]]), 2, 3, return_indices=True)
            layer.case("stride", unpool(2, stride=3), image(*indices.shape), indices)


def generate():
    shuffles()
    upsampling()
    folds()
    unpools()


if __name__ == "__main__":
    generate()
