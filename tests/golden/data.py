"""The hash behind every generated number (the same as in `benches/peers`), and how golden files are written."""

import json
import math
import pathlib

import numpy as np
import safetensors.torch
import torch

HERE = pathlib.Path(__file__).resolve().parent


def hash_u32(n, salt):
    """The first `n` values of the hash stream `salt`, as uint32: MurmurHash3's finalizer over `i + salt * 0x9E3779B9`."""
    h = np.arange(n, dtype=np.uint32) + np.uint32((salt * 0x9E3779B9) & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def unit(shape, salt):
    """Exact multiples of 2^-24 in [0, 1), f32."""
    values = (hash_u32(math.prod(shape), salt) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return torch.from_numpy(values.reshape(shape))


def symmetric(shape, salt, bound):
    """In [-bound, bound), f32, rounded once."""
    return (2.0 * unit(shape, salt) - 1.0) * torch.tensor(bound, dtype=torch.float32)


def integers(shape, salt, n):
    """`hash mod n`, i64."""
    return torch.from_numpy((hash_u32(math.prod(shape), salt) % np.uint32(n)).astype(np.int64).reshape(shape))


def save(path, tensors, **more):
    """Writes one file. A single metadata entry, because the order of several would differ from run to run; `more` is
    added to it."""
    about = {"torch": torch.__version__, "device": "cpu", "threads": torch.get_num_threads()} | more
    path = HERE / path
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    safetensors.torch.save_file(tensors, path, metadata={"about": json.dumps(about, sort_keys=True)})
