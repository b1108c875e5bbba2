"""Golden numbers and printed forms of containers."""

import collections

import torch

import data
import nn

N = torch.nn


def generate():
    x = data.symmetric((2, 4), 650, 1.0)
    with nn.layer("Sequential") as layer:
        layer.case("three", N.Sequential(N.Linear(4, 5), N.ReLU(), N.Linear(5, 3)), x)
        layer.case("named", N.Sequential(collections.OrderedDict(first=N.Linear(4, 2), second=N.Tanh())), x)
        layer.case("nested", N.Sequential(N.Sequential(N.Linear(4, 4, bias=False), N.ELU(0.5)), N.Flatten()), x)
        layer.case("empty", N.Sequential(), x)
    chain = lambda layers, x: chain(layers[1:], layers[0](x)) if len(layers) else x
    with nn.layer("ModuleList") as layer:
        layer.case("equal", N.ModuleList([N.Linear(4, 4), N.Linear(4, 4), N.Linear(4, 4)]), x, call=chain)
        layer.case("mixed", N.ModuleList([N.Linear(4, 4), N.Linear(4, 4), N.Tanh()]), x, call=chain)
        layer.case("one", N.ModuleList([N.Linear(4, 1)]), x, call=chain)
    with nn.layer("ModuleDict") as layer:
        pick = lambda module, x: module["project"](module["relu"](x))
        layer.case("two", N.ModuleDict({"relu": N.ReLU(), "project": N.Linear(4, 2)}), x, call=pick)
        layer.case("one", N.ModuleDict({"tanh": N.Tanh()}), x, call=lambda module, x: module["tanh"](x))
        layer.case("empty", N.ModuleDict(), x, call=lambda module, x: x)
    ones = lambda *shape: N.Parameter(torch.ones(shape))
    with nn.layer("ParameterList") as layer:
        layer.case("two", N.ParameterList([ones(4, 3), ones(3)]), x, call=lambda p, x: x @ p[0] + p[1])
        layer.case("one", N.ParameterList([ones(4)]), x, call=lambda p, x: x * p[0])
    with nn.layer("ParameterDict") as layer:
        params = collections.OrderedDict(weight=ones(4, 3), bias=ones(3))
        layer.case("two", N.ParameterDict(params), x, call=lambda p, x: x @ p["weight"] + p["bias"])
        layer.case("one", N.ParameterDict({"scale": ones(4)}), x, call=lambda p, x: x * p["scale"])


if __name__ == "__main__":
    generate()
