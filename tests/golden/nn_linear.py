"""Golden numbers of `Linear`, `Bilinear`, `Identity`, `Flatten` and `Unflatten`."""

import torch

import data
import nn


def generate():
    with nn.layer("Linear") as layer:
        layer.case("vector", torch.nn.Linear(3, 2), data.symmetric((3,), 600, 1.0))
        layer.case("odd", torch.nn.Linear(7, 5), data.symmetric((3, 7), 600, 1.0))
        layer.case("no_bias", torch.nn.Linear(17, 3, bias=False), data.symmetric((1, 17), 600, 1.0))
        layer.case("rank3", torch.nn.Linear(4, 6), data.symmetric((2, 3, 4), 600, 1.0))
    with nn.layer("Identity") as layer:
        layer.case("arguments", torch.nn.Identity(), data.symmetric((2, 3), 600, 1.0))
    with nn.layer("Flatten") as layer:
        layer.case("default", torch.nn.Flatten(), data.symmetric((2, 3, 4), 600, 1.0))
        layer.case("middle", torch.nn.Flatten(1, 2), data.symmetric((2, 3, 4, 5), 600, 1.0))
        layer.case("all", torch.nn.Flatten(0, -1), data.symmetric((1, 3, 5), 600, 1.0))
    with nn.layer("Unflatten") as layer:
        layer.case("one", torch.nn.Unflatten(1, (2, 3)), data.symmetric((2, 6), 600, 1.0))
        layer.case("first", torch.nn.Unflatten(0, (3, 1)), data.symmetric((3, 5), 600, 1.0))
        layer.case("last", torch.nn.Unflatten(-1, (5,)), data.symmetric((1, 5), 600, 1.0))


if __name__ == "__main__":
    generate()
