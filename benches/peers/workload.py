"""The inputs, parameters, and protocol loop shared by the Python peers (see README.md)."""

import contextlib
import json
import math
import os
import statistics
import sys
import time

import numpy as np

BATCH = 64
N_BATCHES = 8
LEARNING_RATE = 0.1
MLP = [784, 512, 512, 10]
LOGISTIC = [784, 10]
TINY = [100, 200, 10]


def hash_u32(n, salt):
    """The first `n` values of the hash stream `salt`, as uint32."""
    h = np.arange(n, dtype=np.uint32) + np.uint32((salt * 0x9E3779B9) & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def unit(shape, salt):
    """An f32 array of exact multiples of 2^-24 in [0, 1)."""
    n = math.prod(shape)
    return ((hash_u32(n, salt) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def symmetric(shape, salt, bound):
    """An f32 array in [-bound, bound), rounded once."""
    return (np.float32(2.0) * unit(shape, salt) - np.float32(1.0)) * np.float32(bound)


def parameters(widths):
    """`[(weight [out, in], bias [out]), ...]` of a stack of linear layers."""
    layers = []
    for k, (n_in, n_out) in enumerate(zip(widths, widths[1:]), start=1):
        bound = np.float32(1.0 / math.sqrt(n_in))
        layers.append((symmetric((n_out, n_in), 2 * k, bound), symmetric((n_out,), 2 * k + 1, bound)))
    return layers


def batches():
    """The eight `(inputs [64, 784], labels [64])` of the train cases; labels are int64."""
    return [
        (unit((BATCH, 784), 100 + j), (hash_u32(BATCH, 200 + j) % np.uint32(10)).astype(np.int64))
        for j in range(N_BATCHES)
    ]


def tiny_input(batch):
    return unit((batch, 100), 300)


class Answers:
    """Where answers go: standard output as it was at start.

    Libraries that print (Inductor's autotuner, from child processes too) get standard error instead.
    """

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __call__(self, answer):
        print(json.dumps(answer), file=self.out, flush=True)


def serve(peer, version, threads, make_case):
    """Answers the driver's requests until end of input.

    `make_case(name)` returns `(iterate, check)`: `iterate()` does one iteration and returns when its results exist, `check()` gives the
    number that `check CASE` reports. A third member, if there is one, makes a context manager to run them in. It raises `KeyError` for a
    case the peer does not have.
    """
    say = Answers()
    say({"peer": peer, "version": version, "threads": threads})
    cases = {}
    for line in sys.stdin:
        words = line.split()
        if len(words) != 2:
            say({"error": f"expected `CASE n` or `check CASE`, found {line.strip()!r}"})
            continue
        name = words[1] if words[0] == "check" else words[0]
        try:
            if name == "mlp_first_step":
                say({"case": name, "n": 1, **first_step(make_case)})
                continue
            if name not in cases:
                cases[name] = make_case(name)
            iterate, check, *around = cases[name]
            with around[0]() if around else contextlib.nullcontext():
                if words[0] == "check":
                    say({"case": name, "check": check()})
                else:
                    iterate()
                    say({"case": name, **timed(iterate, int(words[1]))})
        except KeyError:
            say({"case": name, "error": "no such case"})
        except Exception as error:  # the table shows a dash, the run goes on
            print(f"{peer}: {name}: {error}", file=sys.stderr)
            say({"case": name, "error": str(error).splitlines()[0] if str(error) else type(error).__name__})


def timed(iterate, n):
    times = []
    clock = time.perf_counter_ns
    for _ in range(n):
        start = clock()
        iterate()
        times.append(clock() - start)
    return {"n": n, "best_us": min(times) / 1e3, "median_us": statistics.median(times) / 1e3}


def first_step(make_case):
    """Time of the first step, which traces and compiles: `make_case` only puts parameters and inputs in memory."""
    iterate, _ = make_case("mlp_first_step")
    start = time.perf_counter_ns()
    iterate()
    elapsed = (time.perf_counter_ns() - start) / 1e3
    return {"best_us": elapsed, "median_us": elapsed}
