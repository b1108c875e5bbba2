"""Golden numbers of convolutions, their transposes, and padding."""

import torch

import data
import nn

N = torch.nn

SPACE = {1: ((9,), (8,), (11,)), 2: ((7, 5), (6, 6), (5, 8)), 3: ((4, 5, 3), (4, 4, 4), (3, 4, 5))}


def image(shape, salt=640):
    return data.symmetric(shape, salt, 1.0)


def convolution():
    for n in (1, 2, 3):
        module = getattr(N, f"Conv{n}d")
        first, second, third = SPACE[n]
        mixed = {1: (2,), 2: (2, 1), 3: (1, 2, 1)}[n]
        pads = {1: (1,), 2: (0, 1), 3: (1, 0, 1)}[n]
        kernel = {1: (2,), 2: (3, 2), 3: (2, 3, 1)}[n]
        with nn.layer(f"Conv{n}d") as layer:
            layer.case("default", module(3, 4, 3), image((2, 3, *first)))
            layer.case("batch1", module(1, 2, kernel), image((1, 1, *second)))
            layer.case("unbatched", module(2, 3, 2, padding=1), image((2, *second)))
            layer.case("strided", module(3, 2, 3, stride=2, padding=1), image((2, 3, *first)))
            layer.case("mixed", module(2, 2, kernel, stride=mixed, padding=pads), image((2, 2, *third)))
            layer.case("dilated", module(2, 3, 2, dilation=2), image((2, 2, *second)))
            layer.case("grouped", module(4, 6, 3, padding=1, groups=2, bias=False), image((2, 4, *third)))
            layer.case("depthwise", module(3, 3, 2, groups=3), image((2, 3, *second)))
            layer.case("no_bias", module(3, 4, 1, bias=False), image((2, 3, *second)))
            layer.case("same", module(2, 3, kernel, padding="same"), image((2, 2, *first)))
            layer.case("same_dilated", module(2, 1, 2, padding="same", dilation=3), image((1, 2, *second)))
            layer.case("valid", module(2, 3, 2, padding="valid"), image((1, 2, *second)))
            for mode in ("reflect", "replicate", "circular"):
                layer.case(mode, module(2, 2, 3, padding=1, padding_mode=mode), image((1, 2, *second)))
            layer.case("reflect_same", module(1, 2, kernel, padding="same", padding_mode="reflect"), image((1, 1, *first)))


def transpose():
    for n in (1, 2, 3):
        module = getattr(N, f"ConvTranspose{n}d")
        first, second, third = {1: ((5,), (4,), (3,)), 2: ((4, 3), (3, 3), (2, 5)), 3: ((3, 2, 2), (2, 2, 2), (2, 3, 1))}[n]
        mixed = {1: (3,), 2: (2, 3), 3: (2, 1, 3)}[n]
        extra = {1: (2,), 2: (1, 0), 3: (1, 0, 2)}[n]
        with nn.layer(f"ConvTranspose{n}d") as layer:
            layer.case("default", module(3, 2, 3), image((2, 3, *first)))
            layer.case("batch1", module(1, 2, 2), image((1, 1, *second)))
            layer.case("unbatched", module(2, 3, 2, stride=2), image((2, *second)))
            layer.case("strided", module(3, 2, 3, stride=2, padding=1, output_padding=1), image((2, 3, *first)))
            layer.case("mixed", module(2, 2, 3, stride=mixed, padding=1, output_padding=extra), image((2, 2, *third)))
            layer.case("dilated", module(2, 3, 2, dilation=2, padding=1), image((2, 2, *first)))
            layer.case("grouped", module(4, 6, 2, stride=2, groups=2, bias=False), image((1, 4, *second)))


def padding():
    for n in (1, 2, 3):
        shape = (2, 2, *{1: (6,), 2: (4, 5), 3: (3, 4, 5)}[n])
        single = shape[1:]
        sides = {1: (2, 1), 2: (1, 2, 0, 3), 3: (2, 0, 1, 1, 2, 1)}[n]
        for kind in ("ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"):
            module = getattr(N, f"{kind}{n}d")
            with nn.layer(f"{kind}{n}d") as layer:
                layer.case("one", module(1), image(shape))
                layer.case("sides", module(sides), image(shape))
                layer.case("unbatched", module(2 if kind != "ReflectionPad" else 1), image(single))
        module = getattr(N, f"ConstantPad{n}d")
        with nn.layer(f"ConstantPad{n}d") as layer:
            layer.case("one", module(1, 3.5), image(shape))
            layer.case("sides", module(sides, -2.0), image(shape))
            layer.case("cropped", module((-1, 1) + (0, 0) * (n - 1), 0.25), image(single))


def generate():
    convolution()
    transpose()
    padding()
