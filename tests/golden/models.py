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


class LinearLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 2)

    def forward(self, x):
        return self.lin(x)


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


class Text:
    """Writes the body of an `.ir` function, statement by statement."""

    def __init__(self):
        self.lines = []

    def node(self, op, operands, dims, attrs="", dtype="f32"):
        """Appends a node whose result has extents `dims`; gives its name."""
        name = f"%{len(self.lines)}"
        operands = "".join(f" {operand}" if idx == 0 else f", {operand}" for idx, operand in enumerate(operands))
        attrs = f" {{{attrs}}}" if attrs else ""
        self.lines.append(f"  {name} = {op}{operands}{attrs} : {dtype}{list(dims)}")
        return name

    def constant(self, value):
        name = f"%{len(self.lines)}"
        self.lines.append(f"  {name} = constant {value!r} : f32[]")
        return name

    def linear(self, x, name, batch, layer):
        product = self.node(
            "dot_general", [x, f"%{name}.weight"], (batch, layer.out_features), "lhs_contract = [1], rhs_contract = [1]"
        )
        bias = self.node("broadcast_in_dim", [f"%{name}.bias"], (batch, layer.out_features), "dims = [1]")
        return self.node("add", [product, bias], (batch, layer.out_features))

    def relu(self, x, dims):
        # A comparison, not `maximum`: the gradient at 0 is 0, while `maximum` would share it.
        zero = self.node("broadcast_in_dim", [self.constant(0.0)], dims, "dims = []")
        positive = self.node("compare", [x, zero], dims, "direction = gt", "bool")
        return self.node("select", [positive, x, zero], dims)

    def log_softmax(self, x, rows, columns):
        largest = self.node("reduce", [x], (rows,), "kind = max, dims = [1]")
        shift = self.node("broadcast_in_dim", [self.node("stop_gradient", [largest], (rows,))], (rows, columns), "dims = [0]")
        shifted = self.node("subtract", [x, shift], (rows, columns))
        total = self.node("reduce", [self.node("exponential", [shifted], (rows, columns))], (rows,), "kind = sum, dims = [1]")
        log = self.node("broadcast_in_dim", [self.node("log", [total], (rows,))], (rows, columns), "dims = [0]")
        return self.node("subtract", [shifted, log], (rows, columns))

    def mean(self, x, dims, sign=1.0):
        total = self.node("reduce", [x], (), f"kind = sum, dims = {list(range(len(dims)))}")
        return self.node("multiply", [total, self.constant(sign / math.prod(dims))], ())

    def cross_entropy(self, x, rows, columns):
        picked = self.node(
            "gather",
            [self.log_softmax(x, rows, columns), "%y"],
            (rows,),
            "collapsed_slice_dims = [1], operand_batching_dims = [0], start_indices_batching_dims = [0], start_index_map = [1], "
            "index_vector_dim = 1, slice_sizes = [1, 1]",
        )
        return self.mean(picked, (rows,), -1.0)

    def mse(self, x, rows, columns):
        difference = self.node("subtract", [x, "%y"], (rows, columns))
        return self.mean(self.node("multiply", [difference, difference], (rows, columns)), (rows, columns))


def write_text(name, model, x, target, loss_name):
    """Writes `models/NAME.ir`: the model and its loss as one function of inputs and parameters."""
    text = Text()
    batch = x.shape[0]
    value = "%x"
    features = math.prod(x.shape[1:])
    for layer_name, layer in model.named_modules():
        match layer:
            case nn.Flatten():
                value = text.node("reshape", [value], (batch, features))
            case nn.Linear():
                value = text.linear(value, layer_name, batch, layer)
                features = layer.out_features
            case nn.ReLU():
                value = text.relu(value, (batch, features))
            case nn.Softmax():
                value = text.node("exponential", [text.log_softmax(value, batch, features)], (batch, features))
    loss = getattr(text, loss_name)(value, batch, features)

    dtype = "i64" if target.dtype == torch.int64 else "f32"
    params = [f"%x: f32{list(x.shape)}", f"%y: {dtype}{list(target.shape)}"]
    params += [f"param %{key}: f32{list(param.shape)}" for key, param in model.named_parameters()]
    header = f"func @loss({', '.join(params)}) -> (loss: f32[], out: f32[{batch}, {features}]) {{"
    (data.HERE / f"models/{name}.ir").write_text("\n".join([header, *text.lines, f"  return {loss}, {value}", "}", ""]))


def write(name, make_model, x, target, loss_fn, lr, whole=True):
    model = initialize(make_model())
    tensors = {"lr": torch.tensor(lr)}

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
    write_text(name, model, x, target, "mse" if loss_fn is nn.functional.mse_loss else "cross_entropy")


def generate():
    cross_entropy, mse = nn.functional.cross_entropy, nn.functional.mse_loss
    write("linear_layer", LinearLayer, data.unit((1, 3), 100), data.symmetric((1, 2), 201, 1.0), mse, lr=0.1)
    x = data.symmetric((4, 100), 100, 2.0)
    write("tiny_model_mse", TinyModel, x, data.unit((4, 10), 201), mse, lr=0.1)
    write("tiny_model_cross_entropy", TinyModel, x, labels(4), cross_entropy, lr=0.1)
    write("logistic", Logistic, data.unit((8, 784), 100), labels(8), cross_entropy, lr=0.01)
    images = data.unit((8, 1, 28, 28), 100)
    write("mlp_small", lambda: NeuralNetwork(32), images, labels(8), cross_entropy, lr=0.01)
    images = data.unit((16, 1, 28, 28), 100)
    write("fashion_mnist", lambda: NeuralNetwork(512), images, labels(16), cross_entropy, lr=0.01, whole=False)
