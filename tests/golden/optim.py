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


# Schedules by the name that `tests/golden_lr_scheduler.rs` knows them by. Learning rates start at 0.1 and 0.02.
SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 3),
    "step_gamma": lambda o: lr_scheduler.StepLR(o, 7, gamma=0.7),
    "multi_step": lambda o: lr_scheduler.MultiStepLR(o, [4, 9, 9, 15], gamma=0.3),
    "constant": lambda o: lr_scheduler.ConstantLR(o, factor=0.4, total_iters=6),
    "linear": lambda o: lr_scheduler.LinearLR(o),
    "linear_down": lambda o: lr_scheduler.LinearLR(o, start_factor=0.9, end_factor=0.2, total_iters=11),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.87),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total_iters=13, power=1.7),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 7),
    "cosine_min": lambda o: lr_scheduler.CosineAnnealingLR(o, 10, eta_min=0.005),
    "warm_restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    "warm_restarts_longer": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.001),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambda_per_group": lambda o: lr_scheduler.LambdaLR(o, [lambda epoch: 1 / (1 + epoch), lambda epoch: 0.5 + epoch % 2]),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9 if epoch % 3 else 1.1),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.2, step_size_up=4),
    "cyclic_uneven": lambda o: lr_scheduler.CyclicLR(
        o, [0.01, 0.02], [0.2, 0.3], step_size_up=3, step_size_down=5, mode="triangular2", base_momentum=0.6
    ),
    "cyclic_exp": lambda o: lr_scheduler.CyclicLR(
        o, 0.01, 0.2, step_size_up=4, mode="exp_range", gamma=0.95, cycle_momentum=False
    ),
    "one_cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=25),
    "one_cycle_linear": lambda o: lr_scheduler.OneCycleLR(
        o, [0.3, 0.1], total_steps=30, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100
    ),
    "one_cycle_three_phase": lambda o: lr_scheduler.OneCycleLR(
        o, 0.3, epochs=5, steps_per_epoch=6, three_phase=True, base_momentum=0.5, max_momentum=0.8
    ),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)], [4]
    ),
    "sequential_three": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.ConstantLR(o, factor=0.1, total_iters=20),
            lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
            lr_scheduler.StepLR(o, 2, gamma=0.5),
        ],
        [5, 14],
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, factor=0.1, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2),
    "plateau_max": lambda o: lr_scheduler.ReduceLROnPlateau(
        o, mode="max", factor=0.5, patience=1, threshold=0.05, threshold_mode="abs", cooldown=3, min_lr=[0.02, 0.004]
    ),
}


def schedules():
    """Learning rates and momenta at the start and after each of 25 steps, in `f64`, and what the plateau watches."""
    tensors = {}
    metrics = data.unit((25,), 710).double() * 0.1 + torch.tensor([max(0.3, 1.0 - 0.1 * i) for i in range(25)]).double()
    tensors["metrics"] = metrics
    for case, schedule in SCHEDULES.items():
        parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        members = [{"params": [parameters[0]], "lr": 0.1}, {"params": [parameters[1]], "lr": 0.02}]
        optimizer = torch.optim.SGD(members, momentum=0.9)
        running = schedule(optimizer)
        seen = []
        for idx in range(26):
            seen.append([[group["lr"], group["momentum"]] for group in optimizer.param_groups])
            if idx == 25:
                break
            optimizer.step()
            running.step(*([metrics[idx].item()] if "plateau" in case else []))
        tensors[case] = torch.tensor(seen, dtype=torch.float64)
    data.save("optim/lr_scheduler.safetensors", tensors)


def generate():
    optimizers()
    groups()
    clipping()
    one_cycle()
    schedules()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    generate()
