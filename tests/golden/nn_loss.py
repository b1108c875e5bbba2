"""Golden numbers of losses: every option, every reduction."""

import torch

import data
import nn

N = torch.nn
REDUCTIONS = ["mean", "sum", "none"]


def real(shape, salt=660, bound=2.0):
    return data.symmetric(shape, salt, bound)


def signs(shape, salt=661):
    return 2.0 * data.integers(shape, salt, 2).float() - 1.0


def every_reduction(layer, name, make, *inputs, **options):
    for reduction in REDUCTIONS:
        layer.case(f"{name}_{reduction}", make(reduction=reduction), *inputs, buffers=False, **options)


def regression():
    x, y = real((3, 5)), real((3, 5), 662)
    x[0, :2] = y[0, :2]  # at the kink
    with nn.layer("MSELoss") as layer:
        every_reduction(layer, "default", N.MSELoss, x, y)
    with nn.layer("L1Loss") as layer:
        every_reduction(layer, "default", N.L1Loss, x, y)
    edge_x, edge_y = torch.tensor([0.5, -0.25, 0.0, 3.0]), torch.tensor([0.0, 0.25, 0.0, 0.0])
    with nn.layer("SmoothL1Loss") as layer:
        every_reduction(layer, "default", N.SmoothL1Loss, x, y)
        layer.case("beta", N.SmoothL1Loss(beta=0.5), edge_x, edge_y)
        layer.case("beta0", N.SmoothL1Loss(beta=0.0), x, y)
    with nn.layer("HuberLoss") as layer:
        every_reduction(layer, "default", N.HuberLoss, x, y)
        layer.case("delta", N.HuberLoss(delta=0.5), edge_x, edge_y)
        layer.case("large", N.HuberLoss(delta=2.5), x, y)


def probability():
    p, t = data.unit((3, 5), 663) * 0.98 + 0.01, data.unit((3, 5), 664)
    hard = torch.tensor([0.0, 0.0, 1.0, 1.0, 1e-30, 0.5]), torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.5])
    weight = data.unit((5,), 665) + 0.25
    with nn.layer("BCELoss") as layer:
        every_reduction(layer, "default", N.BCELoss, p, t, wrt=[0])
        layer.case("weight", N.BCELoss(weight=weight), p, t, wrt=[0], buffers=False)
        # Values only: where input and target are both 0, PyTorch's gradient is 0 and the derivative is 1.
        layer.case("hard", N.BCELoss(reduction="none"), *hard, wrt=[])
        layer.case("hard_wrong", N.BCELoss(reduction="none"), hard[0][1:3], hard[1][1:3], wrt=[0])
    x = real((3, 5), bound=4.0)
    extreme = torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e30]), torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0])
    with nn.layer("BCEWithLogitsLoss") as layer:
        every_reduction(layer, "default", N.BCEWithLogitsLoss, x, t)
        layer.case("weight", N.BCEWithLogitsLoss(weight=weight), x, t, buffers=False)
        layer.case("pos_weight", N.BCEWithLogitsLoss(pos_weight=weight * 3), x, t, buffers=False)
        layer.case("both", N.BCEWithLogitsLoss(weight=weight, pos_weight=weight * 3), x, t, buffers=False)
        layer.case("hard", N.BCEWithLogitsLoss(reduction="none"), *extreme, wrt=[0])
    log_p, q = torch.log_softmax(x, 1), torch.softmax(real((3, 5), 666), 1)
    zeros = q.clone()
    zeros[0, 1] = zeros[2, 3] = 0.0
    with nn.layer("KLDivLoss") as layer:
        every_reduction(layer, "default", N.KLDivLoss, log_p, q)
        layer.case("batchmean", N.KLDivLoss(reduction="batchmean"), log_p, q)
        layer.case("log_target", N.KLDivLoss(reduction="batchmean", log_target=True), log_p, q.log())
        layer.case("zeros", N.KLDivLoss(reduction="sum"), log_p, zeros, wrt=[0])
    counts = data.integers((3, 5), 667, 6).float()
    with nn.layer("PoissonNLLLoss") as layer:
        every_reduction(layer, "default", N.PoissonNLLLoss, x, counts)
        layer.case("mean_input", N.PoissonNLLLoss(log_input=False, eps=1e-3), p, counts)
        layer.case("full", N.PoissonNLLLoss(full=True), x, counts, wrt=[0])
    y, var = real((3, 5), 668), data.unit((3, 5), 669) + 0.1
    var[0, 0] = 1e-3
    with nn.layer("GaussianNLLLoss") as layer:
        every_reduction(layer, "default", N.GaussianNLLLoss, x, y, var)
        layer.case("full", N.GaussianNLLLoss(full=True, eps=0.01), x, y, var)
        layer.case("outer", N.GaussianNLLLoss(), x, y, var[:, 1])
        layer.case("one", N.GaussianNLLLoss(), x, y, var[:, 1:2])


def classes():
    x, y = real((3, 5), bound=4.0), data.integers((3,), 670, 5)
    weight = data.unit((5,), 665) + 0.25
    ignored = torch.tensor([1, 4, 1])
    with nn.layer("NLLLoss") as layer:
        every_reduction(layer, "default", N.NLLLoss, x, y)
        layer.case("weight", N.NLLLoss(weight=weight), x, y, buffers=False)
        layer.case("ignore", N.NLLLoss(weight=weight, ignore_index=1), x, ignored, buffers=False)
        layer.case("single", N.NLLLoss(), x[0], y[0])
        layer.case("image", N.NLLLoss(), real((2, 3, 2, 2)), data.integers((2, 2, 2), 671, 3))
    with nn.layer("CrossEntropyLoss") as layer:
        every_reduction(layer, "default", N.CrossEntropyLoss, x, y)
        layer.case("weight", N.CrossEntropyLoss(weight=weight), x, y, buffers=False)
        layer.case("ignore", N.CrossEntropyLoss(ignore_index=1), x, ignored)
        layer.case("smooth", N.CrossEntropyLoss(weight=weight, label_smoothing=0.1), x, y, buffers=False)
        layer.case("soft", N.CrossEntropyLoss(), x, torch.softmax(real((3, 5), 666), 1))
        layer.case("single", N.CrossEntropyLoss(), x[0], y[0])
    with nn.layer("MultiMarginLoss") as layer:
        every_reduction(layer, "default", N.MultiMarginLoss, x, y)
        layer.case("p2", N.MultiMarginLoss(p=2, margin=0.5), x, y)
        layer.case("weight", N.MultiMarginLoss(weight=weight), x, y, buffers=False)
        layer.case("single", N.MultiMarginLoss(), x[0], y[0])
    labels = torch.tensor([[3, 0, -1, 1, 2], [4, -1, -1, -1, -1], [-1, 0, 1, 2, 3]])
    with nn.layer("MultiLabelMarginLoss") as layer:
        every_reduction(layer, "default", N.MultiLabelMarginLoss, x, labels)
        layer.case("single", N.MultiLabelMarginLoss(), x[0], labels[0])
        layer.case("all", N.MultiLabelMarginLoss(), x[:1, :3], torch.tensor([[2, 0, 1]]))
    several = data.integers((3, 5), 672, 2).float()
    with nn.layer("MultiLabelSoftMarginLoss") as layer:
        every_reduction(layer, "default", N.MultiLabelSoftMarginLoss, x, several)
        layer.case("weight", N.MultiLabelSoftMarginLoss(weight=weight), x, several, buffers=False)


def margins():
    x, y = real((3, 5)), signs((3, 5))
    x[0, 0], y[0, 0] = 1.0, -1.0  # at the kink
    with nn.layer("HingeEmbeddingLoss") as layer:
        every_reduction(layer, "default", N.HingeEmbeddingLoss, x, y, wrt=[0])
        layer.case("margin", N.HingeEmbeddingLoss(margin=0.5), x, y, wrt=[0])
    with nn.layer("SoftMarginLoss") as layer:
        every_reduction(layer, "default", N.SoftMarginLoss, x, y, wrt=[0])
        layer.case("hard", N.SoftMarginLoss(reduction="none"), torch.tensor([-300.0, 0.0, 300.0]), torch.ones(3), wrt=[0])
    x1, x2 = real((7,), 673), real((7,), 674)
    x2[0] = x1[0]
    with nn.layer("MarginRankingLoss") as layer:
        every_reduction(layer, "default", N.MarginRankingLoss, x1, x2, signs((7,)), wrt=[0, 1])
        layer.case("margin", N.MarginRankingLoss(margin=0.5), x1, x2, signs((7,)), wrt=[0, 1])
    x1, x2, y = real((5, 3), 673), real((5, 3), 674), torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])
    with nn.layer("CosineEmbeddingLoss") as layer:
        every_reduction(layer, "default", N.CosineEmbeddingLoss, x1, x2, y, wrt=[0, 1])
        layer.case("margin", N.CosineEmbeddingLoss(margin=0.25), x1, x2, y.long())
        layer.case("single", N.CosineEmbeddingLoss(), x1[0], x2[0], y[0], wrt=[0, 1])
    a, p, n = real((4, 3), 675), real((4, 3), 676), real((4, 3), 677)
    with nn.layer("TripletMarginLoss") as layer:
        every_reduction(layer, "default", N.TripletMarginLoss, a, p, n)
        layer.case("options", N.TripletMarginLoss(margin=2.5, p=1.0, eps=1e-3), a, p, n)
        layer.case("swap", N.TripletMarginLoss(margin=1.5, swap=True), a, p, n)
        layer.case("vector", N.TripletMarginLoss(), a[0], p[0], n[0])
    with nn.layer("TripletMarginWithDistanceLoss") as layer:
        every_reduction(layer, "default", N.TripletMarginWithDistanceLoss, a, p, n)
        distance = lambda x, y: (x - y).abs().sum(-1)
        layer.case("distance", N.TripletMarginWithDistanceLoss(distance_function=distance, swap=True, margin=0.5), a, p, n)


def ctc():
    x = real((7, 3, 5), 678)
    # Through `log_softmax`: what PyTorch calls the gradient by log-probabilities is one only behind it.
    call = lambda module, x, y, n_x, n_y: module(x.log_softmax(-1), y, n_x, n_y)
    y = torch.tensor([[1, 2, 2, 4], [3, 3, 1, 1], [4, 1, 2, 3]])
    lengths = torch.tensor([7, 7, 7]), torch.tensor([4, 2, 3])
    with nn.layer("CTCLoss") as layer:
        every_reduction(layer, "default", N.CTCLoss, x, y, *lengths, call=call)
        layer.case("shorter", N.CTCLoss(reduction="none"), x, y, torch.tensor([6, 3, 4]), torch.tensor([3, 2, 1]), call=call)
        layer.case("blank", N.CTCLoss(blank=4), x, y % 4, *lengths, call=call)
        layer.case("empty", N.CTCLoss(reduction="none"), x, y, torch.tensor([7, 5, 7]), torch.tensor([0, 2, 0]), call=call)
        flat = torch.cat([row[:n] for row, n in zip(y, lengths[1])])
        layer.case("flat", N.CTCLoss(), x, flat, *lengths, call=call)
        layer.case("single", N.CTCLoss(), x[:, 0], y[0], torch.tensor(7), torch.tensor(4), call=call)
        # Two examples that no alignment fits.
        short = torch.tensor([3, 7, 2]), torch.tensor([4, 2, 3])
        layer.case("infinite", N.CTCLoss(reduction="none"), x, y, *short, call=call, wrt=[])
        layer.case("zero_infinity", N.CTCLoss(zero_infinity=True), x, y, *short, call=call)


def layered():
    x, y, weight = real((3, 4)), data.integers((3,), 681, 5), data.unit((5,), 665) + 0.25
    with nn.layer("LinearCrossEntropyLoss") as layer:
        layer.case("default", N.LinearCrossEntropyLoss(4, 5), x, y)
        layer.case("bias", N.LinearCrossEntropyLoss(4, 5, bias=True, reduction="none"), x, y)
        options = {"weight": weight, "ignore_index": 1, "label_smoothing": 0.1, "reduction": "sum"}
        layer.case("options", N.LinearCrossEntropyLoss(4, 5, **options), x, torch.tensor([1, 4, 0]), buffers=False)
    with nn.layer("AdaptiveLogSoftmaxWithLoss") as layer:
        x, y = real((5, 8)), torch.tensor([0, 9, 3, 1, 6])
        layer.case("default", N.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 5], div_value=2.0), x, y)
        layer.case("bias", N.AdaptiveLogSoftmaxWithLoss(8, 10, [4], head_bias=True), x, y)
        layer.case("single", N.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 5], div_value=1.5), x[0], y[1])


def generate():
    layered()
    regression()
    probability()
    classes()
    margins()
    ctc()


if __name__ == "__main__":
    generate()
