"""Golden numbers of dropout, where nothing is random: evaluation mode, and probabilities 0 and 1."""

import torch

import data
import nn


def generate():
    shapes = {
        "Dropout": [(7,), (3, 5), (2, 3, 2)],
        "Dropout1d": [(3, 5), (2, 3, 5), (1, 1, 4)],
        "Dropout2d": [(2, 3, 2, 2), (1, 4, 3, 1), (2, 3, 5)],
        "Dropout3d": [(2, 3, 2, 2, 1), (3, 2, 1, 2), (1, 1, 1, 1, 1)],
        "AlphaDropout": [(7,), (3, 5), (2, 3, 2)],
        "FeatureAlphaDropout": [(3, 5), (2, 3, 2), (1, 2, 2, 2)],
    }
    for name, (first, second, third) in shapes.items():
        with nn.layer(name) as layer:
            module = getattr(torch.nn, name)
            layer.case("eval", module(), data.symmetric(first, 620, 1.0), training=False)
            layer.case("p_eval", module(0.25), data.symmetric(second, 620, 1.0), training=False)
            layer.case("p0", module(0.0), data.symmetric(second, 620, 1.0))
            layer.case("p1", module(1.0), data.symmetric(third, 620, 1.0))


if __name__ == "__main__":
    generate()
