"""Files of weights in every format that PyTorch users have.

`generate()` writes `weights/`: `expected.safetensors`, a state dict with every element type and with tensors that share storage, are views,
transposed, empty or without dimensions, and the same in the other formats. `nested.pt` is a checkpoint that holds it below `model`, beside
other things; `module.pt` is a whole module; `unsafe.pt` would write a file if it were executed.
"""

import json
import pathlib

import numpy
import safetensors.torch
import torch

import data

FOLDER = data.HERE / "weights"


def state_dict():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    row = torch.tensor([-3, 0, 100])
    return {
        "contiguous": base,
        "transposed": base.t(),
        "strided": base[1:4:2, ::3],
        "expanded": torch.tensor([[1.5], [-2.5]]).expand(2, 3),
        "layers.2.weight": base[2],
        "layers.10.weight": base[3],
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(0.1),
        "f64": torch.tensor([0.1, -1e300], dtype=torch.float64),
        "f16": torch.tensor([0.1, 65504.0], dtype=torch.float16),
        "bf16": torch.tensor([0.1, 1e38], dtype=torch.bfloat16),
        "bool": torch.tensor([True, False, True]),
        "i8": row.to(torch.int8),
        "u8": row.abs().to(torch.uint8),
        "i32": row.to(torch.int32),
        "i64": row * 2**40,
    }


class Innocent:
    """What unpickling would call a function for."""

    def __reduce__(self):
        return pathlib.Path("executed").write_text, ("",)


def generate():
    FOLDER.mkdir(exist_ok=True)
    state = state_dict()
    # In the order in which nnc gives the tensors of PyTorch's files: they have none.
    number = lambda name: [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]
    whole = {name: state[name].contiguous().clone() for name in sorted(state, key=number)}
    safetensors.torch.save_file(whole, FOLDER / "expected.safetensors")
    torch.save(state, FOLDER / "zip.pt")
    torch.save(state, FOLDER / "legacy.pt", _use_new_zipfile_serialization=False)
    checkpoint = {"model": state, "epoch": 3, "optimizer": {"lr": 0.1, "state": {0: {"momentum": torch.ones(2)}}}, "notes": ["a", None]}
    torch.save(checkpoint, FOLDER / "nested.pt")
    torch.manual_seed(3)
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)), FOLDER / "module.pt")
    torch.save({"weight": torch.ones(2), "extra": Innocent()}, FOLDER / "unsafe.pt")
    torch.save({"short": torch.ones(2, dtype=torch.complex64)}, FOLDER / "complex.pt")

    numpy.savez(FOLDER / "arrays.npz", **{name: value.numpy() for name, value in whole.items() if value.dtype != torch.bfloat16})

    names = list(whole)
    halves = {"1": names[: len(names) // 2], "2": names[len(names) // 2 :]}
    for stem, suffix, save in [
        ("model", "safetensors", safetensors.torch.save_file),
        ("pytorch_model", "bin", torch.save),
    ]:
        weight_map = {}
        for number, half in halves.items():
            shard = f"{stem}-0000{number}-of-00002.{suffix}"
            save({name: whole[name] for name in half}, FOLDER / shard)
            weight_map |= dict.fromkeys(half, shard)
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (FOLDER / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2) + "\n")
    for path in FOLDER.iterdir():
        path.chmod(0o644)


if __name__ == "__main__":
    generate()
