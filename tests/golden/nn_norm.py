"""Golden numbers of normalization: running statistics and without, both modes."""

import torch

import data
import nn

N = torch.nn


def image(shape, salt=630):
    return data.symmetric(shape, salt, 2.0)


def shifted(shape):
    """A mean that is large beside the spread: `E[x^2] - E[x]^2` has no correct digit here."""
    return data.unit(shape, 631) * 0.5 + 1000.0


def batch_norm():
    shapes = {
        "BatchNorm1d": ((5, 3), (2, 3, 7), (1, 3, 4)),
        "BatchNorm2d": ((2, 3, 4, 5), (3, 3, 1, 1), (1, 3, 2, 3)),
        "BatchNorm3d": ((2, 3, 2, 3, 2), (3, 3, 1, 1, 1), (1, 3, 2, 1, 3)),
    }
    for name, (first, second, third) in shapes.items():
        module = getattr(N, name)
        with nn.layer(name) as layer:
            layer.case("default", module(3), image(first))
            layer.case("second", module(3), image(second))
            layer.case("batch1", module(3), image(third))
            layer.case("initial", module(3), image(first), fill=False)
            layer.case("options", module(3, eps=1e-3, momentum=0.3), image(third))
            layer.case("no_bias", module(3, bias=False), image(second))
            layer.case("cumulative", module(3, momentum=None), image(first))
            layer.case("plain", module(3, affine=False), image(second))
            layer.case("untracked", module(3, track_running_stats=False), image(first))
            layer.case("neither", module(3, affine=False, track_running_stats=False), image(third))
            layer.case("shifted", module(3), shifted(first))
            layer.case("eval", module(3), image(first), training=False)
            layer.case("eval_plain", module(3, affine=False), image(second), training=False)


def instance_norm():
    shapes = {
        "InstanceNorm1d": ((2, 3, 7), (3, 5)),
        "InstanceNorm2d": ((2, 3, 4, 5), (3, 3, 2)),
        "InstanceNorm3d": ((2, 3, 2, 3, 2), (3, 2, 2, 3)),
    }
    for name, (batched, single) in shapes.items():
        module = getattr(N, name)
        with nn.layer(name) as layer:
            layer.case("default", module(3), image(batched))
            layer.case("single", module(3), image(single))
            layer.case("affine", module(3, eps=1e-3, affine=True), image(batched))
            layer.case("no_bias", module(3, affine=True, bias=False), image(batched))
            layer.case("tracked", module(3, momentum=0.3, affine=True, track_running_stats=True), image(batched))
            layer.case("single_tracked", module(3, track_running_stats=True), image(single))
            layer.case("eval", module(3, affine=True, track_running_stats=True), image(batched), training=False)
            layer.case("shifted", module(3), shifted(batched))


def others():
    with nn.layer("LayerNorm") as layer:
        layer.case("default", N.LayerNorm(7), image((3, 7)))
        layer.case("two", N.LayerNorm((3, 5)), image((2, 3, 5)))
        layer.case("rank3", N.LayerNorm(5), image((2, 3, 5)))
        layer.case("initial", N.LayerNorm(5), image((2, 5)), fill=False)
        layer.case("eps", N.LayerNorm(17, eps=1e-2), image((1, 17)))
        layer.case("plain", N.LayerNorm(7, elementwise_affine=False), image((3, 7)))
        layer.case("no_bias", N.LayerNorm(7, bias=False), image((3, 7)))
        layer.case("shifted", N.LayerNorm(33), shifted((2, 33)))
        layer.case("constant_row", N.LayerNorm(4), torch.tensor([[2.5, 2.5, 2.5, 2.5], [1.0, -2.0, 0.5, 3.0]]))
    with nn.layer("RMSNorm") as layer:
        layer.case("default", N.RMSNorm(7), image((3, 7)))
        layer.case("two", N.RMSNorm((3, 5)), image((2, 3, 5)))
        layer.case("eps", N.RMSNorm(17, eps=1e-2), image((1, 17)))
        layer.case("plain", N.RMSNorm(5, eps=1e-6, elementwise_affine=False), image((2, 3, 5)))
    with nn.layer("GroupNorm") as layer:
        layer.case("default", N.GroupNorm(2, 6), image((3, 6, 5)))
        layer.case("one_group", N.GroupNorm(1, 3), image((2, 3, 2, 3)))
        layer.case("each_channel", N.GroupNorm(4, 4), image((1, 4, 3, 3)))
        layer.case("no_positions", N.GroupNorm(3, 9), image((4, 9)))
        layer.case("no_bias", N.GroupNorm(3, 6, bias=False), image((1, 6, 2)))
        layer.case("plain", N.GroupNorm(2, 4, eps=1e-3, affine=False), image((2, 4, 3)))
        layer.case("shifted", N.GroupNorm(2, 6), shifted((3, 6, 5)))
    with nn.layer("LocalResponseNorm") as layer:
        layer.case("default", N.LocalResponseNorm(2), image((2, 5, 3)))
        layer.case("image", N.LocalResponseNorm(5, alpha=0.5), image((1, 7, 2, 3)))
        layer.case("options", N.LocalResponseNorm(3, alpha=0.2, beta=0.5, k=2.0), image((2, 4, 3)))
        layer.case("wide", N.LocalResponseNorm(9, alpha=0.1), image((1, 3, 2, 2, 2)))


def generate():
    batch_norm()
    instance_norm()
    others()


if __name__ == "__main__":
    generate()
