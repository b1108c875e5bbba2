"""Whole models on nnc and ONNX Runtime, in one run: time, time until the first result, memory, and equal outputs.

Usage: models.py [--threads 1,2] [--rounds N] [--models det,rec] [--peers nnc-llvm,nnc-cranelift,onnxruntime]
Needs the models of scripts/fetch_models.sh and target/release/examples/peer_models; models.sh makes both.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "out" / "models"
RAPIDOCR = MODELS / "rapidocr"

# Name, file, inputs (name, range of its random values, element type), and their common shapes. `minilm.onnx` is nnc's own export of
# all-MiniLM-L6-v2, so both compute the same graph.
CASES = {
    "magika": (MODELS / "magika" / "model.onnx", [("bytes", (0, 257), np.int32)], [(1, 2048), (8, 2048)]),
    "det": (RAPIDOCR / "ch_PP-OCRv4_det_infer.onnx", [("x", (-1, 1), np.float32)], [(1, 3, 736, 736), (1, 3, 736, 1312)]),
    "cls": (RAPIDOCR / "ch_ppocr_mobile_v2.0_cls_infer.onnx", [("x", (-1, 1), np.float32)], [(1, 3, 48, 192), (6, 3, 48, 192)]),
    "rec": (RAPIDOCR / "ch_PP-OCRv4_rec_infer.onnx", [("x", (-1, 1), np.float32)], [(1, 3, 48, 320), (6, 3, 48, 320)]),
    "minilm": (MODELS / "minilm" / "minilm.onnx", [("ids", (0, 30000), np.int64), ("padding", (0, 1), np.bool_)], [(1, 16), (1, 128), (8, 64)]),
}
PEERS = ["nnc-llvm", "nnc-cranelift", "onnxruntime"]


class Child:
    """One peer with one model loaded."""

    def __init__(self, peer, model, inputs, threads):
        cpus = ",".join(str(cpu) for cpu in range(threads))
        if peer == "onnxruntime":
            command = [sys.executable, str(ROOT / "benches" / "peers" / "model_ort.py")]
        else:
            command = [str(ROOT / "target" / "release" / "examples" / "peer_models"), "--tier", peer.split("-")[1]]
        command += [str(model), "--inputs", str(inputs), "--threads", str(threads)]
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.facts = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the peer ended without an answer")
        return json.loads(line)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def random_input(bounds, dtype, shape):
    """Integers below the upper bound (so `bool` in `(0, 1)` is false), or floats."""
    rng = np.random.default_rng(0)
    draw = rng.uniform if np.issubdtype(dtype, np.floating) else rng.integers
    return draw(*bounds, shape).astype(dtype)


def difference(found, expected):
    """The greatest difference of two files of outputs, relative to 1 or the greatest value."""
    found, expected = np.load(found), np.load(expected)
    worst = 0.0
    for name in expected.files:
        a, b = found[name].astype(np.float64), expected[name].astype(np.float64)
        if a.shape != b.shape:
            raise RuntimeError(f"output {name} has shape {a.shape}, expected {b.shape}")
        worst = max(worst, float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b))))))
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--models", default=",".join(CASES))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of runs a peer and round")
    args = parser.parse_args()
    peers = args.peers.split(",")
    rows = []
    print("| model | input | threads | peer | best ms | median ms | against ONNX Runtime | ready ms | peak MiB | of which tensors | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name in args.models.split(","):
            model, ports, shapes = CASES[name]
            for shape in shapes:
                inputs = scratch / "inputs.npz"
                np.savez(inputs, **{port: random_input(bounds, dtype, shape) for port, bounds, dtype in ports})
                for threads in map(int, args.threads.split(",")):
                    measured = measure(model, inputs, threads, peers, args.rounds, args.budget, scratch)
                    for peer, row in measured.items():
                        row |= {"model": name, "shape": list(shape), "threads": threads, "peer": peer}
                        rows.append(row)
                        print(render(row, measured), flush=True)
    (ROOT / "out").mkdir(exist_ok=True)
    (ROOT / "out" / "models.json").write_text(json.dumps(rows, indent=1))


def measure(model, inputs, threads, peers, rounds, budget, scratch):
    """Every peer with the model, taking turns, so that a slow moment of the machine hits all."""
    children = {peer: Child(peer, model, inputs, threads) for peer in peers}
    result = {peer: {**child.facts, "best_us": float("inf"), "medians": []} for peer, child in children.items()}
    for peer, child in children.items():
        child.ask(f"outputs {scratch / peer}.npz")
    counts = {peer: max(1, int(budget * 1e6 / child.ask("run 3")["best_us"])) for peer, child in children.items()}
    for _ in range(rounds):
        for peer, child in children.items():
            answer = child.ask(f"run {counts[peer]}")
            result[peer]["best_us"] = min(result[peer]["best_us"], answer["best_us"])
            result[peer]["medians"].append(answer["median_us"])
            result[peer]["peak_rss_mib"] = answer["peak_rss_mib"]
    for peer, child in children.items():
        child.close()
        result[peer]["median_us"] = sorted(result[peer].pop("medians"))[rounds // 2]
        if "onnxruntime" in peers:
            result[peer]["difference"] = difference(scratch / f"{peer}.npz", scratch / "onnxruntime.npz")
    return result


def render(row, measured):
    reference = measured.get("onnxruntime")
    ratio = f"{reference['best_us'] / row['best_us']:.2f}x" if reference else ""
    tensors = f"{row['tensors_mib']:.1f}" if "tensors_mib" in row else ""
    shape = "x".join(map(str, row["shape"]))
    return (
        f"| {row['model']} | {shape} | {row['threads']} | {row['peer']} | {row['best_us'] / 1e3:.2f} | {row['median_us'] / 1e3:.2f} "
        f"| {ratio} | {row['ready_ms']:.0f} | {row['peak_rss_mib']:.0f} (before: {row['base_rss_mib']:.0f}) | {tensors} "
        f"| {row.get('difference', 0.0):.1e} |"
    )


if __name__ == "__main__":
    main()
