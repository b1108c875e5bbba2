"""Golden numbers of pooling."""

import torch

import data
import nn

N = torch.nn

SPACE = {1: ((9,), (8,), (5,)), 2: ((7, 5), (6, 6), (4, 9)), 3: ((4, 5, 3), (4, 4, 4), (5, 3, 6))}


def image(shape, salt=650):
    return data.symmetric(shape, salt, 1.0)


def with_indices(module, x):
    return module(x)


def windows():
    for n in (1, 2, 3):
        first, second, third = SPACE[n]
        kernel = {1: (3,), 2: (3, 2), 3: (2, 3, 2)}[n]
        stride = {1: (2,), 2: (2, 3), 3: (1, 2, 2)}[n]
        pads = {1: (1,), 2: (1, 0), 3: (0, 1, 1)}[n]
        module = getattr(N, f"MaxPool{n}d")
        with nn.layer(f"MaxPool{n}d") as layer:
            layer.case("default", module(2), image((2, 3, *first)))
            layer.case("three", module(3), image((1, 2, *second)))
            layer.case("overlapping", module(3, stride=1, padding=1), image((2, 2, *second)))
            layer.case("mixed", module(kernel, stride=stride, padding=pads), image((1, 2, *third)))
            layer.case("dilated", module(2, stride=1, dilation=2), image((2, 1, *second)))
            layer.case("ceil", module(2, ceil_mode=True), image((2, 2, *first)))
            layer.case("ceil_padded", module(3, stride=2, padding=1, ceil_mode=True), image((1, 2, *second)))
            layer.case("unbatched", module(2, stride=1), image((2, *first)))
            layer.case("indices", module(2, stride=1, return_indices=True), image((2, 2, *second)), wrt=[0])
            layer.case("indices_mixed", module(kernel, stride=stride, padding=pads, return_indices=True), image((1, 2, *third)))
            layer.case("ties", module(2, stride=1), image((1, 2, *second)).round())
        module = getattr(N, f"AvgPool{n}d")
        with nn.layer(f"AvgPool{n}d") as layer:
            layer.case("default", module(2), image((2, 3, *first)))
            layer.case("overlapping", module(3, stride=1, padding=1), image((2, 2, *second)))
            layer.case("mixed", module(kernel, stride=stride, padding=pads), image((1, 2, *third)))
            layer.case("exclude_pad", module(3, stride=2, padding=1, count_include_pad=False), image((2, 1, *second)))
            layer.case("ceil", module(2, ceil_mode=True), image((2, 2, *first)))
            layer.case("ceil_padded", module(3, stride=2, padding=1, ceil_mode=True), image((1, 2, *second)))
            layer.case("ceil_exclude", module(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), image((1, 2, *third)))
            layer.case("unbatched", module(2, stride=1), image((2, *first)))
            if n > 1:
                layer.case("divisor", module(2, divisor_override=3), image((1, 2, *second)))
        module = getattr(N, f"LPPool{n}d")
        # Odd powers of negative elements have no root PyTorch and nnc could agree on the gradient of.
        positive = lambda shape: data.unit(shape, 651) + 0.1
        with nn.layer(f"LPPool{n}d") as layer:
            layer.case("default", module(2, 2), image((2, 3, *first)))
            layer.case("fraction", module(1.5, 3, stride=2), positive((1, 2, *second)))
            layer.case("ceil", module(3, 2, ceil_mode=True), positive((2, 2, *first)))


def adaptive():
    for n in (1, 2, 3):
        first, second, third = SPACE[n]
        sizes = {1: (4,), 2: (4, 3), 3: (3, 2, 3)}[n]
        for kind in ("AdaptiveAvgPool", "AdaptiveMaxPool"):
            module = getattr(N, f"{kind}{n}d")
            with nn.layer(f"{kind}{n}d") as layer:
                layer.case("one", module(1), image((2, 3, *first)))
                layer.case("divides", module(2), image((1, 2, *second)))
                layer.case("uneven", module(sizes if n > 1 else 4), image((2, 2, *first)))
                layer.case("unbatched", module(3), image((2, *third)))
                if n > 1:
                    layer.case("none", module((None,) + sizes[1:]), image((1, 2, *third)))
                if kind == "AdaptiveMaxPool":
                    indices = module(sizes if n > 1 else 4, return_indices=True)
                    layer.case("indices", indices, image((2, 2, *first)), wrt=[0])


def generate():
    windows()
    adaptive()
