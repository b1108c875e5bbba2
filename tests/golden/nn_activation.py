"""Golden numbers of activations: all of `torch.nn`, with inputs on both sides of and exactly at every kink."""

import torch

import data
import nn


def hard(*kinks):
    """Ordinary and extreme numbers, with `kinks` and their neighbors."""
    x = [-1e30, -100.0, -20.0, -3.0, -1.0, -0.5, -1e-6, -1e-30, -0.0, 0.0, 1e-30, 1e-6, 0.5, 1.0, 3.0, 20.0, 100.0, 1e30]
    for kink in kinks:
        kink = torch.tensor(kink)
        x += [torch.nextafter(kink, torch.tensor(-torch.inf)), kink, torch.nextafter(kink, torch.tensor(torch.inf))]
    return torch.cat([torch.tensor(x), data.symmetric((11,), 610, 4.0)])


def plain():
    return data.symmetric((3, 2, 5), 611, 4.0)


def elementwise():
    N = torch.nn
    table = {
        "ReLU": ([0.0], {"default": N.ReLU()}),
        "ReLU6": ([0.0, 6.0], {"default": N.ReLU6()}),
        "LeakyReLU": ([0.0], {"default": N.LeakyReLU(), "slope": N.LeakyReLU(0.25), "tiny": N.LeakyReLU(1e-5)}),
        "RReLU": ([0.0], {}),
        "ELU": ([0.0], {"default": N.ELU(), "alpha": N.ELU(0.5), "large": N.ELU(2.5)}),
        "SELU": ([0.0], {"default": N.SELU()}),
        "CELU": ([0.0], {"default": N.CELU(), "alpha": N.CELU(0.5), "large": N.CELU(2.5)}),
        "GELU": ([0.0], {"default": N.GELU()}),
        "SiLU": ([], {"default": N.SiLU()}),
        "Mish": ([20.0], {"default": N.Mish()}),
        "Sigmoid": ([], {"default": N.Sigmoid()}),
        "LogSigmoid": ([], {"default": N.LogSigmoid()}),
        "Hardsigmoid": ([-3.0, 3.0], {"default": N.Hardsigmoid()}),
        "Hardswish": ([-3.0, 3.0], {"default": N.Hardswish()}),
        "Hardtanh": ([-1.0, 1.0, 2.0], {"default": N.Hardtanh(), "limits": N.Hardtanh(-0.5, 2.0)}),
        "Tanh": ([], {"default": N.Tanh()}),
        "Tanhshrink": ([], {"default": N.Tanhshrink()}),
        "Softplus": ([10.0, 20.0], {"default": N.Softplus(), "beta": N.Softplus(2.0), "threshold": N.Softplus(0.5, 5.0)}),
        "Softsign": ([0.0], {"default": N.Softsign()}),
        "Softshrink": ([-0.5, 0.5, 2.0], {"default": N.Softshrink(), "lambd": N.Softshrink(2.0), "zero": N.Softshrink(0.0)}),
        "Hardshrink": ([-0.5, 0.5, 2.0], {"default": N.Hardshrink(), "lambd": N.Hardshrink(2.0), "zero": N.Hardshrink(0.0)}),
        "Threshold": ([0.0, 1.5], {"relu": N.Threshold(0.0, 0.0), "other": N.Threshold(1.5, -7.0)}),
    }
    for name, (kinks, modules) in table.items():
        with nn.layer(name) as layer:
            for case, module in modules.items():
                layer.case(case, module, hard(*kinks))
                layer.case(f"{case}_rank3", module, plain())
            if len(modules) == 1:
                layer.case("one", modules["default"], data.symmetric((1,), 612, 4.0))
            if name == "GELU":
                # The cubes inside are infinite for the two huge inputs; PyTorch's gradient there is NaN.
                layer.case("tanh", N.GELU(approximate="tanh"), hard(0.0)[1:17])
            if name == "RReLU":
                # Between equal limits nothing is random; otherwise evaluation mode takes the mean.
                layer.case("fixed", N.RReLU(0.25, 0.25), hard(0.0))
                layer.case("eval", N.RReLU(), hard(0.0), training=False)
                layer.case("eval_limits", N.RReLU(0.1, 0.5), plain(), training=False)


def others():
    N = torch.nn
    with nn.layer("PReLU") as layer:
        layer.case("one", N.PReLU(), hard(0.0))
        layer.case("one_rank3", N.PReLU(init=0.1), plain())
        layer.case("channels", N.PReLU(2), plain())
        layer.case("channels_rank2", N.PReLU(5), data.symmetric((1, 5), 613, 4.0))
        layer.case("initial", N.PReLU(3, 0.1), data.symmetric((2, 3, 2, 2), 613, 4.0), fill=False)
    with nn.layer("GLU") as layer:
        layer.case("default", N.GLU(), data.symmetric((3, 6), 614, 4.0))
        layer.case("dim0", N.GLU(0), data.symmetric((2, 3), 614, 4.0))
        layer.case("dim1", N.GLU(1), data.symmetric((1, 6, 5), 614, 4.0))
    rows = data.symmetric((5, 7), 615, 4.0)
    rows[0] += 1e4
    rows[1] -= 1e4
    rows[2, 3] = 150.0
    rows[3] = 2.5
    masked = rows.clone()
    masked[4, :4] = -torch.inf
    for name in ["Softmax", "Softmin", "LogSoftmax"]:
        with nn.layer(name) as layer:
            module = getattr(N, name)
            layer.case("last", module(-1), plain())
            layer.case("first", module(0), plain())
            layer.case("middle", module(1), plain())
            layer.case("hard", module(1), rows if name == "Softmin" else masked)
            layer.case("one", module(1), data.symmetric((1, 1), 615, 4.0))
    with nn.layer("Softmax2d") as layer:
        layer.case("batched", N.Softmax2d(), data.symmetric((2, 3, 2, 5), 616, 4.0))
        layer.case("single", N.Softmax2d(), data.symmetric((4, 3, 3), 616, 4.0))
        layer.case("one", N.Softmax2d(), data.symmetric((1, 7, 1, 1), 616, 4.0))


def generate():
    elementwise()
    others()


if __name__ == "__main__":
    generate()
