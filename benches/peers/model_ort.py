"""ONNX Runtime's side of models.py: the same requests and answers as examples/peer_models.rs."""

import argparse
import json
import resource
import sys
import time

import numpy as np
import onnxruntime


def peak_rss_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--inputs", required=True)
parser.add_argument("--threads", type=int, required=True)
args = parser.parse_args()

inputs = dict(np.load(args.inputs))
base = peak_rss_mib()
start = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = args.threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
loaded = time.perf_counter()
outputs = session.run(names, inputs)
ready = time.perf_counter()
print(
    json.dumps(
        {
            "load_ms": (loaded - start) * 1e3,
            "compile_ms": 0.0,
            "first_ms": (ready - loaded) * 1e3,
            "ready_ms": (ready - start) * 1e3,
            "base_rss_mib": base,
            "peak_rss_mib": peak_rss_mib(),
        }
    ),
    flush=True,
)
for line in sys.stdin:
    request, argument = line.split(maxsplit=1)
    if request == "run":
        times = []
        for _ in range(int(argument)):
            start = time.perf_counter()
            outputs = session.run(names, inputs)
            times.append((time.perf_counter() - start) * 1e6)
        times.sort()
        answer = {"best_us": times[0], "median_us": times[len(times) // 2], "peak_rss_mib": peak_rss_mib()}
    else:
        np.savez(argument.strip(), **dict(zip(names, outputs)))
        answer = {}
    print(json.dumps(answer), flush=True)
