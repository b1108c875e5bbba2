"""A small classifier in ONNX, and its training by PyTorch.

    python tests/golden/onnx_classifier.py

(PyTorch and `onnx` installed) writes `onnx/classifier.onnx`, `onnx/classifier.safetensors`: a batch `in.x`, `in.y`, the model's `out`, the
`losses` of six steps of SGD on that batch with everything trained, those with the head alone (`head_losses`), and the parameters after the
former (`after.NAME`). Batch normalization uses its statistics, as in inference.
"""

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import data

STEPS, RATE = 6, 0.1


def parameters():
    normal = lambda shape, salt, bound: data.symmetric(shape, salt, bound)
    return {
        "features.conv.weight": normal((6, 1, 3, 3), 900, 0.5),
        "features.conv.bias": normal((6,), 901, 0.1),
        "features.norm.weight": normal((6,), 902, 0.2) + 1,
        "features.norm.bias": normal((6,), 903, 0.2),
        "features.norm.mean": normal((6,), 904, 0.3),
        "features.norm.var": data.unit((6,), 905) + 0.5,
        "head.weight": normal((4, 6), 906, 0.4),
        "head.bias": normal((4,), 907, 0.1),
    }


def forward(p, x):
    x = torch.nn.functional.conv2d(x, p["features.conv.weight"], p["features.conv.bias"], stride=2, padding=1)
    x = torch.nn.functional.batch_norm(
        x, p["features.norm.mean"], p["features.norm.var"], p["features.norm.weight"], p["features.norm.bias"], eps=1e-5
    )
    x = torch.nn.functional.hardswish(x).mean((2, 3))
    return torch.nn.functional.linear(x, p["head.weight"], p["head.bias"])


def train(names, x, y):
    p = {name: value.double() for name, value in parameters().items()}
    for name in names:
        p[name].requires_grad_(True)
    losses = []
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(forward(p, x.double()), y)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, [p[name] for name in names])
        with torch.no_grad():
            for name, grad in zip(names, grads):
                p[name] -= RATE * grad
    return torch.tensor(losses, dtype=torch.float32), {name: value.detach().float() for name, value in p.items()}


def model(p):
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "features.conv.weight", "features.conv.bias"], ["conv"], "features.conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["conv", *(f"features.norm.{part}" for part in ("weight", "bias", "mean", "var"))], ["norm"], "features.norm"),
        node("HardSwish", ["norm"], ["active"], "features.act"),
        node("GlobalAveragePool", ["active"], ["pooled"], "pool"),
        node("Shape", ["pooled"], ["shape"], "shape"),
        node("Slice", ["shape", "zero", "two"], ["rows"], "rows"),
        node("Reshape", ["pooled", "rows"], ["flat"], "flatten"),
        node("Gemm", ["flat", "head.weight", "head.bias"], ["logits"], "head", transB=1),
    ]
    info = helper.make_tensor_value_info
    initializers = [numpy_helper.from_array(value.numpy(), name) for name, value in p.items()]
    initializers += [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("zero", 0), ("two", 2))]
    graph = helper.make_graph(
        nodes, "classifier", [info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])], [info("logits", TensorProto.FLOAT, ["batch", 4])], initializers
    )
    model = helper.make_model(graph, producer_name="golden", ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model


def generate():
    p = parameters()
    folder = data.HERE / "onnx"
    folder.mkdir(exist_ok=True)
    onnx.save(model(p), folder / "classifier.onnx")
    x, y = data.symmetric((5, 1, 8, 8), 910, 2.0), data.integers((5,), 911, 4)
    trained = [name for name in p if name not in ("features.norm.mean", "features.norm.var")]
    losses, after = train(trained, x, y)
    head_losses, _ = train(["head.weight", "head.bias"], x, y)
    out = forward({name: value.double() for name, value in p.items()}, x.double()).float()
    tensors = {"in.x": x, "in.y": y, "out": out, "losses": losses, "head_losses": head_losses}
    data.save("onnx/classifier.safetensors", tensors | {f"after.{name}": value for name, value in after.items()})
    for path in folder.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    torch.set_num_threads(1)
    generate()
