"""PyTorch: eager, or with `--compile` through `torch.compile` (Inductor).

The compiled form is the fastest of those tried: the whole step (forward, loss, `torch.func` gradient, update in place) as one graph without
graph breaks, static shapes, `max-autotune`, and for inference frozen weights. The first step is timed in the default mode, which compiles sooner.
"""

import argparse
import logging

import torch
from torch import nn

import workload


class Stack(nn.Sequential):
    """Linear layers with ReLU between them, holding the workload's parameters."""

    def __init__(self, widths, softmax=False):
        layers = []
        for weight, bias in workload.parameters(widths):
            linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, nn.ReLU()]
        layers.pop()
        if softmax:
            layers.append(nn.Softmax(dim=1))
        super().__init__(*layers)


def filled(model):
    """Fills the parameters, in order, from the hash stream."""
    with torch.no_grad():
        for salt, param in enumerate(model.parameters(), start=50):
            param.copy_(torch.from_numpy(workload.symmetric(tuple(param.shape), salt, 0.1)))
    return model


def cnn():
    return filled(
        nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(16, 10, 3, 2, 1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
        )
    )  # fmt: skip


class Rows(nn.Module):
    """Reads an image row by row, and classifies by the last state."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(28, 128, batch_first=True)
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        states, _ = self.lstm(x.view(-1, 28, 28))
        return self.fc(states[:, -1])


def eager_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.LEARNING_RATE, fused=True)

    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def compiled_step(model, mode):
    params = {name: param.detach().clone() for name, param in model.named_parameters()}

    def loss_fn(params, x, y):
        return nn.functional.cross_entropy(torch.func.functional_call(model, params, (x,)), y)

    @torch.compile(fullgraph=True, mode=mode)
    def step(params, x, y):
        grads, loss = torch.func.grad_and_value(loss_fn)(params, x, y)
        for name, param in params.items():
            param.sub_(grads[name], alpha=workload.LEARNING_RATE)
        return loss

    return lambda x, y: step(params, x, y)


def train_case(make_model, make_step):
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in workload.batches()]
    state = {}

    def restart():
        state.update(step=make_step(make_model()), at=0)

    def iterate():
        x, y = data[state["at"] % workload.N_BATCHES]
        state["at"] += 1
        return state["step"](x, y)

    def check():
        restart()
        for _ in range(9):
            iterate()
        return float(iterate())

    restart()
    return iterate, check


def infer_case(batch, compiled):
    model = Stack(workload.TINY, softmax=True).eval()
    if compiled:
        torch._inductor.config.freezing = True
        model = torch.compile(model, mode="max-autotune")
    x = torch.from_numpy(workload.tiny_input(batch))

    return lambda: model(x), lambda: float(model(x)[batch - 1, 3]), torch.inference_mode


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Static shapes; the argument `dynamic=False` means the same but costs microseconds a call.
    torch._dynamo.config.automatic_dynamic_shapes = False
    logging.disable(logging.WARNING)

    def make_step(mode):
        return (lambda model: compiled_step(model, mode)) if args.compile else eager_step

    cases = {
        "logistic_train": lambda: train_case(lambda: Stack(workload.LOGISTIC), make_step("max-autotune-no-cudagraphs")),
        "mlp_train": lambda: train_case(lambda: Stack(workload.MLP), make_step("max-autotune-no-cudagraphs")),
        "cnn_train": lambda: train_case(cnn, make_step("max-autotune-no-cudagraphs")),
        "lstm_train": lambda: train_case(lambda: filled(Rows()), make_step("max-autotune-no-cudagraphs")),
        "mlp_first_step": lambda: train_case(lambda: Stack(workload.MLP), make_step(None)),
        "tiny_infer_1": lambda: infer_case(1, args.compile),
        "tiny_infer_64": lambda: infer_case(64, args.compile),
    }
    name = "torch.compile" if args.compile else "PyTorch eager"
    workload.serve(name, torch.__version__, args.threads, lambda case: cases[case]())
