"""Golden numbers of functions that nnc composes from ops: activations, reductions, losses; forward and gradient."""

import torch
import torch.nn.functional as F

import data

INF = float("inf")


def write(name, fn, inputs, wrt):
    """`fn` maps the inputs, in order, to one tensor; gradients of `wrt` are those of `sum(out * ct)`.

    Computed in `f64` and rounded: in the hard cases PyTorch's own `f32` gradient is wrong in the fourth digit.
    """
    tensors = {f"in.{key}": value for key, value in inputs.items()}
    inputs = {key: value.double() if value.is_floating_point() else value.clone() for key, value in inputs.items()}
    for key in wrt:
        inputs[key].requires_grad_()
    out = fn(*inputs.values())
    ct = data.symmetric(out.shape, 900, 1.0)
    grads = torch.autograd.grad(out, [inputs[key] for key in wrt], ct.double())
    tensors |= {"out": out.float(), "ct": ct} | {f"grad.{key}": grad.float() for key, grad in zip(wrt, grads)}
    data.save(f"functional/{name}.safetensors", tensors)


def logits():
    return data.symmetric((5, 7), 400, 4.0)


def hard_logits():
    """Rows that a naive exponential gets wrong: huge, hugely negative, far apart, all equal, and with masked entries."""
    x = logits()
    x[0] += 1e4
    x[1] -= 1e4
    x[2, 3] = 150.0
    x[3] = 2.5
    x[4, :4] = -INF
    return x


def rows():
    for suffix, x in [("", logits()), ("_hard", hard_logits())]:
        for dim in (0, 1):
            if suffix == "" or dim == 1:
                write(f"softmax_dim{dim}{suffix}", lambda x: F.softmax(x, dim), {"x": x}, ["x"])
                write(f"log_softmax_dim{dim}{suffix}", lambda x: F.log_softmax(x, dim), {"x": x}, ["x"])
                write(f"logsumexp_dim{dim}{suffix}", lambda x: torch.logsumexp(x, dim), {"x": x}, ["x"])
    x = data.symmetric((3, 4, 5), 403, 2.0)
    write("mean_dim1", lambda x: x.mean(1), {"x": x}, ["x"])
    write("mean_all", lambda x: x.mean(), {"x": x}, ["x"])
    write("var_dim2", lambda x: x.var(2), {"x": x}, ["x"])
    write("var_dim02_biased", lambda x: x.var((0, 2), correction=0), {"x": x}, ["x"])
    write("std_dim0", lambda x: x.std(0), {"x": x}, ["x"])
    write("norm2_dim1", lambda x: torch.linalg.vector_norm(x, 2, 1), {"x": x}, ["x"])
    write("norm1_all", lambda x: torch.linalg.vector_norm(x, 1), {"x": x}, ["x"])
    write("max_all", lambda x: x.amax(), {"x": x}, ["x"])
    write("prod_dim1", lambda x: x.prod(1), {"x": x}, ["x"])


def activations():
    x = torch.tensor([-1e30, -100.0, -20.0, -3.0, -1.0, -0.5, -1e-6, -1e-30, -0.0, 0.0, 1e-30, 1e-6, 0.5, 1.0, 3.0, 20.0, 100.0, 1e30])
    x = torch.cat([x, data.symmetric((30,), 404, 4.0)])
    table = {
        "relu": F.relu,
        "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "softplus": F.softplus,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    for name, fn in table.items():
        # The cubes inside are infinite for the two huge inputs; PyTorch's gradient there is NaN.
        write(name, fn, {"x": x[1:17] if name == "gelu_tanh" else x}, ["x"])


def trigonometry():
    x = torch.tensor([-1e4, -20.0, -3.0, -1.0, -0.5, -1e-6, 0.0, 1e-6, 0.5, 1.0, 3.0, 20.0, 1e4])
    x = torch.cat([x, data.symmetric((30,), 406, 4.0)])
    inside = torch.tensor([-0.999, -0.5, -1e-6, 0.0, 1e-6, 0.25, 0.999])
    inside = torch.cat([inside, data.symmetric((30,), 407, 0.98)])
    beyond = torch.cat([torch.tensor([1.0001, 1.5, 1e4, 1e12, 1e30]), data.symmetric((30,), 408, 4.0) + 5.5])
    huge = torch.cat([x, torch.tensor([-1e30, -1e12, 1e12, 1e30])])
    small = x[x.abs() < 30]
    write("atan", torch.atan, {"x": huge}, ["x"])
    write("asin", torch.asin, {"x": inside}, ["x"])
    write("acos", torch.acos, {"x": inside}, ["x"])
    write("sinh", torch.sinh, {"x": small}, ["x"])
    write("cosh", torch.cosh, {"x": small}, ["x"])
    write("asinh", torch.asinh, {"x": huge}, ["x"])
    write("acosh", torch.acosh, {"x": beyond}, ["x"])
    write("atanh", torch.atanh, {"x": inside}, ["x"])


def matrices():
    for n in (1, 2, 3, 4, 7):
        x = data.symmetric((2, 3, n, n), 409 + n, 1.0)
        write(f"det{n}", torch.linalg.det, {"x": x}, ["x"])
    x = data.symmetric((3, 4, 5), 420, 1.0)
    write("diagonal", lambda x: torch.diagonal(x, 1, 2, 0), {"x": x}, ["x"])
    y = data.symmetric((5, 1, 4), 421, 1.0)
    write("einsum_ellipsis", lambda x, y: torch.einsum("...ij,j...->i...", x, y), {"x": data.symmetric((2, 4, 3, 5), 422, 1.0), "y": y}, ["x", "y"])
    write("einsum_diagonal", lambda x: torch.einsum("iji->j", x), {"x": data.symmetric((3, 4, 3), 423, 1.0)}, ["x"])
    write("remainder", torch.remainder, {"x": data.symmetric((3, 4), 424, 9.0), "y": data.symmetric((4,), 425, 4.0)}, ["x"])


def losses():
    y = data.integers((5,), 401, 7)
    y_hard = torch.tensor([0, 6, 3, 2, 5])
    weight = (data.unit((7,), 405) + 0.25).double()  # the test computes the same
    probabilities = F.softmax(data.symmetric((5, 7), 406, 2.0), 1)
    ignored = y.clone()
    ignored[1] = ignored[3] = 2
    image, image_y = data.symmetric((2, 7, 3), 407, 4.0), data.integers((2, 3), 408, 7)
    for reduction in ("mean", "sum", "none"):
        options = {
            "": {},
            "_weight": {"weight": weight},
            "_ignore2": {"ignore_index": 2},
            "_weight_ignore2": {"weight": weight, "ignore_index": 2},
        }
        for suffix, given in options.items():
            inputs = {"x": logits(), "y": ignored if "ignore" in suffix else y}
            write(f"nll_loss{suffix}_{reduction}", lambda x, y: F.nll_loss(x, y, reduction=reduction, **given), inputs, ["x"])
            for smoothing in (0.0, 0.1):
                name = f"cross_entropy{suffix}{'_smooth' if smoothing else ''}_{reduction}"
                fn = lambda x, y: F.cross_entropy(x, y, reduction=reduction, label_smoothing=smoothing, **given)
                write(name, fn, inputs, ["x"])
        fn = lambda x, y: F.cross_entropy(x, y, reduction=reduction)
        write(f"cross_entropy_hard_{reduction}", fn, {"x": hard_logits(), "y": y_hard}, ["x"])
        write(f"cross_entropy_image_{reduction}", fn, {"x": image, "y": image_y}, ["x"])
        write(f"cross_entropy_soft_{reduction}", fn, {"x": logits(), "y": probabilities}, ["x", "y"])
        fn = lambda x, y: F.cross_entropy(x, y, weight=weight, reduction=reduction, label_smoothing=0.1)
        write(f"cross_entropy_soft_weight_smooth_{reduction}", fn, {"x": logits(), "y": probabilities}, ["x"])
        target = data.symmetric((5, 7), 402, 4.0)
        write(f"mse_loss_{reduction}", lambda x, y: F.mse_loss(x, y, reduction=reduction), {"x": logits(), "y": target}, ["x", "y"])
    # PyTorch's default ignores label -100.
    y_default = y.clone()
    y_default[0] = -100
    write("cross_entropy_label_minus100", F.cross_entropy, {"x": logits(), "y": y_default}, ["x"])
    write("l1_loss", F.l1_loss, {"x": logits(), "y": data.symmetric((5, 7), 402, 4.0)}, ["x", "y"])


def contractions():
    inputs = {"x": data.symmetric((3, 5), 410, 1.0), "weight": data.symmetric((4, 5), 411, 1.0), "bias": data.symmetric((4,), 412, 1.0)}
    write("linear", F.linear, inputs, ["x", "weight", "bias"])
    inputs["x"] = data.symmetric((2, 3, 5), 410, 1.0)
    write("linear_rank3", F.linear, inputs, ["x", "weight", "bias"])
    x, y = data.symmetric((2, 1, 3, 5), 413, 1.0), data.symmetric((4, 5, 2), 414, 1.0)
    write("matmul_broadcast", torch.matmul, {"x": x, "y": y}, ["x", "y"])
    x, y = data.symmetric((3, 4, 5), 415, 1.0), data.symmetric((5, 2, 3), 416, 1.0)
    write("einsum", lambda x, y: torch.einsum("aik,kja->ij", x, y), {"x": x, "y": y}, ["x", "y"])


def orders():
    x = data.symmetric((3, 7), 420, 2.0)
    ties = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0, -1.0, 3.0], [2.0, 2.0, 1.0, 1.0, 0.0, 4.0, 4.0], [0.0, -0.0, 5.0, 5.0, 5.0, -0.0, 0.0]])
    for dim in (0, 1):
        write(f"cumsum_dim{dim}", lambda x: x.cumsum(dim), {"x": x}, ["x"])
        write(f"cumprod_dim{dim}", lambda x: x.cumprod(dim), {"x": x}, ["x"])
        write(f"logcumsumexp_dim{dim}", lambda x: x.logcumsumexp(dim), {"x": x * 20.0}, ["x"])
        write(f"sort_dim{dim}", lambda x: x.sort(dim=dim, stable=True).values, {"x": x}, ["x"])
    zeros = x.clone()
    zeros[0, 2] = zeros[1, 1] = zeros[1, 4] = 0.0
    write("cumprod_zeros", lambda x: x.cumprod(1), {"x": zeros}, ["x"])
    write("cummax", lambda x: x.cummax(1).values, {"x": ties}, ["x"])
    write("cummin", lambda x: x.cummin(1).values, {"x": ties}, ["x"])
    write("sort_descending", lambda x: x.sort(dim=1, descending=True, stable=True).values, {"x": ties}, ["x"])
    write("topk3", lambda x: x.topk(3, 1).values, {"x": x}, ["x"])
    write("topk2_smallest", lambda x: x.topk(2, 0, largest=False).values, {"x": x}, ["x"])
    write("kthvalue4", lambda x: x.kthvalue(4, 1).values, {"x": x}, ["x"])
    write("median_dim1", lambda x: x.median(1).values, {"x": x[:, :6]}, ["x"])


def generate():
    rows()
    orders()
    activations()
    losses()
    contractions()
    trigonometry()
    matrices()
