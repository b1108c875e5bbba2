"""How golden files of layers are written: one file a layer of `torch.nn`, several configurations in each (README.md, Layers).

A family lives in `nn_FAMILY.py`:

    def generate():
        with nn.layer("Linear") as layer:
            layer.case("no_bias", torch.nn.Linear(7, 3, bias=False), data.symmetric((2, 7), 600, 1.0))

Everything is computed in `f64` from `f32` parameters and inputs, and rounded once.
"""

import contextlib
import copy

import torch

import data


@contextlib.contextmanager
def layer(name):
    """Collects the cases of `torch.nn`'s class `name` and writes `nn/NAME.safetensors`."""
    collected = Layer(name)
    yield collected
    collected.save()


class Layer:
    """The cases of one class."""

    def __init__(self, name):
        self.name = name
        self.tensors = {}
        self.cases = {}

    def case(self, name, module, *inputs, call=None, wrt=None, training=True, fill=True, buffers=True):
        """Adds one configuration.

        `inputs` are tensors in the order of the call. `call(module, *inputs)` gives a tensor or nested tuples of them
        (`None` left out); it defaults to calling the module. `wrt` are the positions of the inputs that gradients are
        taken of, by default all floats. With `training=False` all numbers are of evaluation mode, for layers that draw
        random numbers. `fill` replaces parameters and buffers by numbers of the hash; `buffers=False` leaves buffers
        out of the file, where nnc holds them as plain data.
        """
        assert name not in self.cases, f"{self.name} has two cases {name}"
        if fill:
            fill_state(module)
        module.train(training)
        repr_ = repr(module)
        call = call or (lambda module, *inputs: module(*inputs))
        put = lambda key, value: self.tensors.__setitem__(f"{name}/{key}", stored(value))
        for idx, value in enumerate(inputs):
            put(f"in.{idx}", value)
        for key, value in module.named_parameters():
            put(f"param.{key}", value)
        if buffers:
            for key, value in module.named_buffers():
                put(f"buffer.{key}", value)

        wide = copy.deepcopy(module).double()
        values = [value.detach().double() if value.is_floating_point() else value for value in inputs]
        if wrt is None:
            wrt = [idx for idx, value in enumerate(values) if value.is_floating_point()]
        for idx in wrt:
            values[idx].requires_grad_()
        outputs = flatten(call(wide, *values))
        cotangents = []
        for idx, value in enumerate(outputs):
            put(f"out.{idx}", value)
            if value.is_floating_point():
                cotangents.append(data.symmetric(value.shape, 900 + idx, 1.0))
                put(f"ct.{idx}", cotangents[-1])
        targets = {f"grad.in.{idx}": values[idx] for idx in wrt}
        targets |= {f"grad.param.{key}": value for key, value in wide.named_parameters() if value.requires_grad}
        floats = [value for value in outputs if value.is_floating_point()]
        if targets and any(value.requires_grad for value in floats):
            pairs = [(out, ct) for out, ct in zip(floats, cotangents) if out.requires_grad]
            grads = torch.autograd.grad(
                [out for out, _ in pairs],
                list(targets.values()),
                [ct.double() for _, ct in pairs],
                allow_unused=True,
            )
            for key, grad in zip(targets, grads):
                if grad is not None:
                    put(key, grad)
        if buffers:
            before = dict(module.named_buffers())
            for key, value in wide.named_buffers():
                if not torch.equal(value.to(before[key].dtype), before[key]):
                    put(f"after.{key}", value.to(before[key].dtype))
        if training:
            evaluated = copy.deepcopy(module).double().eval()
            with torch.no_grad():
                results = flatten(call(evaluated, *[value.detach() for value in values]))
            if not all(torch.equal(value, other) for value, other in zip(results, outputs)):
                for idx, value in enumerate(results):
                    put(f"eval.{idx}", value)
        self.cases[name] = {"repr": repr_, "training": training}

    def save(self):
        """Writes the file."""
        data.save(f"nn/{self.name}.safetensors", self.tensors, cases=self.cases)


def stored(value):
    return value.detach().float() if value.is_floating_point() else value.detach()


def flatten(outputs):
    if outputs is None:
        return []
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [value for output in outputs for value in flatten(output)]


def fill_state(module):
    """Replaces parameters and running statistics by numbers of the hash."""
    with torch.no_grad():
        for idx, (_, value) in enumerate(module.named_parameters()):
            value.copy_(data.symmetric(value.shape, 500 + idx, 0.75))
        for idx, (key, value) in enumerate(module.named_buffers()):
            if key.endswith("running_var"):
                value.copy_(data.unit(value.shape, 700 + idx) + 0.5)
            elif key.endswith("running_mean"):
                value.copy_(data.symmetric(value.shape, 700 + idx, 0.5))


def names():
    """Writes the names of all layers of `torch.nn`, by family: what `docs/nn.md` lists."""
    classes = {name: value for name, value in vars(torch.nn).items() if isinstance(value, type)}
    layers = [name for name, value in classes.items() if issubclass(value, torch.nn.Module)]
    lines = [f"{classes[name].__module__.rsplit('.', 1)[-1]} {name}\n" for name in layers]
    (data.HERE / "nn").mkdir(exist_ok=True)
    (data.HERE / "nn/names.txt").write_text("".join(lines))
