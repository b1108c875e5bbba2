"""Golden numbers of whole models: forward, loss, every gradient, and ten steps of SGD in several forms."""

import math

import torch
from torch import nn

import data

OPTIMIZERS = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "weight_decay": {"momentum": 0.9, "weight_decay": 1e-2},
}
STEPS = 10
# Tensors of the full-size network are cut to this many leading elements.
PREFIX = 64


class TinyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(100, 200)
        self.activation = nn.ReLU()
        self.linear2 = nn.Linear(200, 10)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        return self.softmax(self.linear2(self.activation(self.linear1(x))))


class NeuralNetwork(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
        )

    def forward(self, x):
        return self.linear_relu_stack(self.flatten(x))


class Logistic(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(784, 10)

    def forward(self, x):
        return self.lin(x)


def initialize(model):
    """The k-th linear layer (k = 1, 2, ...) gets hash streams 2k (weight) and 2k + 1 (bias), bound 1/sqrt(inputs)."""
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for k, linear in enumerate(linears, start=1):
            bound = 1.0 / math.sqrt(linear.in_features)
            linear.weight.copy_(data.symmetric(linear.weight.shape, 2 * k, bound))
            linear.bias.copy_(data.symmetric(linear.bias.shape, 2 * k + 1, bound))
    return model


def labels(batch):
    return data.integers((batch,), 200, 10)


def write(name, make_model, x, target, loss_fn, lr, whole=True):
    model = initialize(make_model())
    tensors = {}

    def put(key, tensor):
        if whole:
            tensors[key] = tensor
        else:
            tensors[f"{key}.prefix"] = tensor.flatten()[:PREFIX]
            tensors[f"{key}.norm"] = tensor.double().norm().float()

    if whole:
        tensors |= {"in.x": x, "in.y": target}
        tensors |= {f"param.{key}": param for key, param in model.named_parameters()}
    out = model(x)
    loss = loss_fn(out, target)
    loss.backward()
    tensors["out"] = out
    tensors["loss"] = loss
    for key, param in model.named_parameters():
        put(f"grad.{key}", param.grad)

    for variant, options in OPTIMIZERS.items():
        model = initialize(make_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, foreach=False, **options)
        losses = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = loss_fn(model(x), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        tensors[f"losses.{variant}"] = torch.stack(losses)
        for key, param in model.named_parameters():
            put(f"after10.{variant}.{key}", param)
    data.save(f"models/{name}.safetensors", tensors)


def generate():
    cross_entropy, mse = nn.functional.cross_entropy, nn.functional.mse_loss
    write("linear_layer", lambda: nn.Linear(3, 2), data.unit((1, 3), 100), data.symmetric((1, 2), 201, 1.0), mse, lr=0.1)
    x = data.symmetric((4, 100), 100, 2.0)
    write("tiny_model_mse", TinyModel, x, data.unit((4, 10), 201), mse, lr=0.1)
    write("tiny_model_cross_entropy", TinyModel, x, labels(4), cross_entropy, lr=0.1)
    write("logistic", Logistic, data.unit((8, 784), 100), labels(8), cross_entropy, lr=0.01)
    images = data.unit((8, 1, 28, 28), 100)
    write("mlp_small", lambda: NeuralNetwork(32), images, labels(8), cross_entropy, lr=0.01)
    images = data.unit((16, 1, 28, 28), 100)
    write("fashion_mnist", lambda: NeuralNetwork(512), images, labels(16), cross_entropy, lr=0.01, whole=False)
