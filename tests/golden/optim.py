"""Trajectories of optimizers and learning rates of schedulers: `optim/*.safetensors` (README.md, Optimizers)."""

import torch
from torch.optim import lr_scheduler

import data

STEPS = 20

# Each optimizer as nnc's command line writes it, which is stored with the case; `lr` has no default here.
OPTIMIZERS = {
    "sgd": [
        "sgd:lr=0.1",
        "sgd:lr=0.05,momentum=0.9,nesterov=true,weight_decay=0.01",
        "sgd:lr=0.05,momentum=0.8,dampening=0.3,maximize=true",
    ],
    "adam": [
        "adam:lr=0.01",
        "adam:lr=0.05,betas=0.8/0.95,eps=0.0001,weight_decay=0.1",
        "adam:lr=0.02,amsgrad=true,maximize=true",
    ],
    "adamw": [
        "adamw:lr=0.01",
        "adamw:lr=0.05,betas=0.5/0.9,eps=0.001,weight_decay=0.3",
        "adamw:lr=0.02,amsgrad=true,weight_decay=0,maximize=true",
    ],
    "nadam": [
        "nadam:lr=0.01",
        "nadam:lr=0.03,betas=0.8/0.95,momentum_decay=0.1,weight_decay=0.1",
        "nadam:lr=0.02,weight_decay=0.2,decoupled_weight_decay=true,maximize=true",
    ],
    "radam": [
        "radam:lr=0.05",
        "radam:lr=0.03,betas=0.8/0.9,eps=0.0001,weight_decay=0.1",
        "radam:lr=0.02,weight_decay=0.2,decoupled_weight_decay=true,maximize=true",
    ],
    "adamax": [
        "adamax:lr=0.02",
        "adamax:lr=0.05,betas=0.8/0.95,eps=0.001,weight_decay=0.1",
        "adamax:lr=0.01,maximize=true",
    ],
    "adagrad": [
        "adagrad:lr=0.1",
        "adagrad:lr=0.2,lr_decay=0.1,initial_accumulator_value=0.05,eps=0.001",
        "adagrad:lr=0.05,weight_decay=0.1,maximize=true",
    ],
    "adadelta": [
        "adadelta:lr=1",
        "adadelta:lr=0.5,rho=0.7,eps=0.001,weight_decay=0.1",
        "adadelta:lr=2,maximize=true",
    ],
    "rmsprop": [
        "rmsprop:lr=0.01",
        "rmsprop:lr=0.02,alpha=0.9,momentum=0.9,centered=true,weight_decay=0.1",
        "rmsprop:lr=0.01,eps=0.01,momentum=0.5,maximize=true",
    ],
    "rprop": [
        "rprop:lr=0.01",
        "rprop:lr=0.05,etas=0.4/1.5,step_sizes=0.001/0.2",
        "rprop:lr=0.02,maximize=true",
    ],
}

CLASSES = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
}


def parse(spec):
    """`adam:lr=0.01,betas=0.8/0.95` as PyTorch's class and keyword arguments."""
    name, _, settings = spec.partition(":")
    arguments = {}
    for setting in settings.split(","):
        key, _, value = setting.partition("=")
        if value in ("true", "false"):
            arguments[key] = value == "true"
        elif "/" in value:
            arguments[key] = tuple(float(part) for part in value.split("/"))
        else:
            arguments[key] = float(value)
    return CLASSES[name], arguments


def text(value):
    """A string as a tensor of bytes."""
    return torch.tensor(list(value.encode()), dtype=torch.uint8)


class Regression(torch.nn.Module):
    """The model of every trajectory (`optim/regression.ir`): mean((tanh(x W' + b) - y)^2) from fixed numbers."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(data.symmetric((3, 5), 700, 0.8))
        self.bias = torch.nn.Parameter(data.symmetric((3,), 701, 0.4))
        self.x = data.symmetric((8, 5), 702, 1.5)
        self.y = data.symmetric((8, 3), 703, 0.9)

    def forward(self):
        return ((torch.tanh(self.x @ self.weight.T + self.bias) - self.y) ** 2).mean()


def trajectory(tensors, case, model, optimizer, specs, clip=None, schedule=None):
    """Twenty steps; `clip` is called between gradient and step and may give the norm, `schedule` after each step."""
    tensors[f"{case}/spec"] = text("\n".join(specs))
    seen = {"loss": [], "norm": [], "lr": [], "momentum": [], "weight": [], "bias": []}
    for _ in range(STEPS):
        for key in ("weight", "bias"):
            seen[key].append(getattr(model, key).detach().clone())
        seen["lr"].append(torch.tensor([group["lr"] for group in optimizer.param_groups]))
        first = optimizer.param_groups[0]
        momentum = first["betas"][0] if "betas" in first else first.get("momentum", 0.0)
        seen["momentum"].append(torch.tensor(float(momentum)))
        optimizer.zero_grad()
        loss = model()
        loss.backward()
        seen["loss"].append(loss.detach())
        if clip is not None:
            norm = clip(model.parameters())
            if norm is not None:
                seen["norm"].append(norm.detach())
        optimizer.step()
        if schedule is not None:
            schedule.step()
    for key, values in seen.items():
        if values and (key not in ("momentum", "lr") or schedule is not None or key == "lr"):
            tensors[f"{case}/{key}"] = torch.stack(values)
    for key in ("weight", "bias"):
        parameter = getattr(model, key)
        tensors[f"{case}/after.{key}"] = parameter
        for state, value in optimizer.state[parameter].items():
            if torch.is_tensor(value) and value.dim() > 0:
                tensors[f"{case}/after.{key}.{state}"] = value


def optimizers():
    for name, specs in OPTIMIZERS.items():
        tensors = {}
        for idx, spec in enumerate(specs):
            model = Regression()
            cls, arguments = parse(spec)
            trajectory(tensors, str(idx), model, cls(model.parameters(), foreach=False, **arguments), [spec])
        data.save(f"optim/{name}.safetensors", tensors)


def groups():
    """Two groups, of which the second holds the bias."""
    tensors = {}
    for case, specs in {
        "sgd": ["sgd:lr=0.1,momentum=0.9", "sgd:lr=0.01,momentum=0.9,weight_decay=0.5"],
        "adamw": ["adamw:lr=0.05", "adamw:lr=0.01,betas=0.5/0.9,weight_decay=0"],
        "nadam": ["nadam:lr=0.05", "nadam:lr=0.01,betas=0.5/0.9"],
    }.items():
        model = Regression()
        cls, first = parse(specs[0])
        _, second = parse(specs[1])
        members = [{"params": [model.weight], **first}, {"params": [model.bias], **second}]
        optimizer = cls(members, foreach=False)
        schedule = lr_scheduler.ExponentialLR(optimizer, 0.9)
        trajectory(tensors, case, model, optimizer, specs, schedule=schedule)
    data.save("optim/groups.safetensors", tensors)


def clipping():
    tensors = {}
    utils = torch.nn.utils
    spec = "sgd:lr=0.2,momentum=0.9"
    for case, clip in {
        "norm": lambda params: utils.clip_grad_norm_(params, 0.1, foreach=False),
        "norm_1": lambda params: utils.clip_grad_norm_(params, 0.2, norm_type=1, foreach=False),
        "norm_3": lambda params: utils.clip_grad_norm_(params, 0.05, norm_type=3.0, foreach=False),
        "norm_inf": lambda params: utils.clip_grad_norm_(params, 0.03, norm_type=float("inf"), foreach=False),
        "norm_unreached": lambda params: utils.clip_grad_norm_(params, 1e3, foreach=False),
        "value": lambda params: utils.clip_grad_value_(params, 0.02, foreach=False),
    }.items():
        model = Regression()
        cls, arguments = parse(spec)
        trajectory(tensors, case, model, cls(model.parameters(), foreach=False, **arguments), [spec], clip=clip)
    data.save("optim/clip.safetensors", tensors)


def one_cycle():
    """Trajectories whose momentum changes with the learning rate."""
    tensors = {}
    for case in ("sgd:lr=0.1,momentum=0.9", "adam:lr=0.01", "nadam:lr=0.01", "rmsprop:lr=0.01,momentum=0.5"):
        model = Regression()
        cls, arguments = parse(case)
        optimizer = cls(model.parameters(), foreach=False, **arguments)
        schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=arguments["lr"] * 5, total_steps=STEPS)
        trajectory(tensors, case.partition(":")[0], model, optimizer, [case], schedule=schedule)
    data.save("optim/one_cycle.safetensors", tensors)


def generate():
    optimizers()
    groups()
    clipping()
    one_cycle()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generate()
