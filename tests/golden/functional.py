"""Golden numbers of functions that nnc composes from ops: softmax and the losses, forward and gradient."""

import torch
import torch.nn.functional as F

import data


def write(name, fn, inputs, wrt):
    """`fn` maps the inputs, in order, to one tensor; gradients of `wrt` are those of `sum(out * ct)`."""
    inputs = {key: value.clone() for key, value in inputs.items()}
    for key in wrt:
        inputs[key].requires_grad_()
    out = fn(*inputs.values())
    ct = data.symmetric(out.shape, 900, 1.0)
    grads = torch.autograd.grad(out, [inputs[key] for key in wrt], ct)
    tensors = {f"in.{key}": value for key, value in inputs.items()} | {"out": out, "ct": ct}
    tensors |= {f"grad.{key}": grad for key, grad in zip(wrt, grads)}
    data.save(f"functional/{name}.safetensors", tensors)


def generate():
    x = data.symmetric((5, 7), 400, 4.0)
    # Rows that a naive exponential gets wrong: huge, hugely negative, far apart, all equal, and with masked entries.
    hard = x.clone()
    hard[0] += 1e4
    hard[1] -= 1e4
    hard[2, 3] = 150.0
    hard[3] = 2.5
    hard[4, :4] = -torch.inf
    y = data.integers((5,), 401, 7)
    y_hard = torch.tensor([0, 6, 3, 2, 5])
    for suffix, x, y in [("", x, y), ("_hard", hard, y_hard)]:
        for dim in (0, 1):
            if suffix == "" or dim == 1:
                write(f"softmax_dim{dim}{suffix}", lambda x: F.softmax(x, dim), {"x": x}, ["x"])
                write(f"log_softmax_dim{dim}{suffix}", lambda x: F.log_softmax(x, dim), {"x": x}, ["x"])
                write(f"logsumexp_dim{dim}{suffix}", lambda x: torch.logsumexp(x, dim), {"x": x}, ["x"])
        for reduction in ("mean", "sum", "none"):
            write(
                f"cross_entropy_{reduction}{suffix}",
                lambda x, y: F.cross_entropy(x, y, reduction=reduction),
                {"x": x, "y": y},
                ["x"],
            )

    x, y = data.symmetric((5, 7), 400, 4.0), data.integers((5,), 401, 7)
    target = data.symmetric((5, 7), 402, 4.0)
    for reduction in ("mean", "sum", "none"):
        write(f"nll_loss_{reduction}", lambda x, y: F.nll_loss(x, y, reduction=reduction), {"x": x, "y": y}, ["x"])
        write(
            f"mse_loss_{reduction}",
            lambda x, y: F.mse_loss(x, y, reduction=reduction),
            {"x": x, "y": target},
            ["x", "y"],
        )
    write(
        "linear",
        F.linear,
        {"x": data.symmetric((3, 5), 410, 1.0), "weight": data.symmetric((4, 5), 411, 1.0), "bias": data.symmetric((4,), 412, 1.0)},
        ["x", "weight", "bias"],
    )
    write("relu", F.relu, {"x": torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 3.5, torch.inf, -torch.inf])}, ["x"])
