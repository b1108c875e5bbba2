"""State dicts as PyTorch saves them, and back.

`generate()` writes for each model `interchange/NAME.safetensors`, its state dict and nothing else, and
`interchange/NAME.io.safetensors`, inputs (`in.N`) with the results of evaluation mode (`out.N`).

    python tests/golden/interchange.py DIR

loads the same two files as nnc wrote them to DIR, with `strict=True`, and compares the results.
"""

import pathlib
import sys

import safetensors.torch
import torch

import data
import nn

RELATIVE = 1e-5


def transformer():
    return torch.nn.Transformer(16, 4, 2, 2, 24, dropout=0.1, activation="gelu", batch_first=True)


def lstm():
    return torch.nn.LSTM(6, 8, num_layers=2, bidirectional=True, dropout=0.2)


def batch_norm_cnn():
    n = torch.nn
    model = n.Sequential(
        n.Conv2d(1, 4, 3, padding=1), n.BatchNorm2d(4), n.ReLU(), n.MaxPool2d(2),
        n.Conv2d(4, 6, 3, bias=False), n.BatchNorm2d(6), n.ReLU(), n.AdaptiveAvgPool2d(1), n.Flatten(), n.Linear(6, 3),
    )  # fmt: skip
    # Running statistics that are not those every model starts with.
    model.train()(torch.rand(8, 1, 9, 7))
    return model


MODELS = {
    "transformer": (transformer, [(2, 7, 16), (2, 5, 16)]),
    "lstm": (lstm, [(9, 2, 6)]),
    "batch_norm_cnn": (batch_norm_cnn, [(3, 1, 9, 7)]),
}


def results(model, inputs):
    """In `f64`, rounded once."""
    with torch.no_grad():
        return [value.float() for value in nn.flatten(model.double().eval()(*[value.double() for value in inputs]))]


def generate():
    torch.backends.mha.set_fastpath_enabled(False)
    for name, (make, shapes) in MODELS.items():
        torch.manual_seed(7)
        model = make()
        path = data.HERE / "interchange" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        safetensors.torch.save_file(model.state_dict(), path)
        path.chmod(0o644)
        inputs = [data.symmetric(shape, 600 + idx, 1.0) for idx, shape in enumerate(shapes)]
        tensors = {f"in.{idx}": value for idx, value in enumerate(inputs)}
        tensors |= {f"out.{idx}": value for idx, value in enumerate(results(model, inputs))}
        data.save(f"interchange/{name}.io.safetensors", tensors)


def load_back(folder):
    """Fails unless PyTorch takes what nnc wrote and gives the same results."""
    torch.backends.mha.set_fastpath_enabled(False)
    for name, (make, _) in MODELS.items():
        model = make()
        model.load_state_dict(safetensors.torch.load_file(folder / f"{name}.safetensors"), strict=True)
        stored = safetensors.torch.load_file(folder / f"{name}.io.safetensors")
        group = lambda prefix: [value for _, value in sorted(stored.items()) if _.startswith(prefix)]
        for idx, (expected, found) in enumerate(zip(group("out."), results(model, group("in.")), strict=True)):
            error = (expected - found).abs().max().item() / expected.abs().max().item()
            assert error <= RELATIVE, f"{name}: result {idx} differs by {error:.1e} of its largest element"
        print(f"{name}: ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        load_back(pathlib.Path(sys.argv[1]))
    else:
        generate()
