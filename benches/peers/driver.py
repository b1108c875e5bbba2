"""Runs the peers in turns and prints a table (see README.md)."""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NNC = ROOT / "target/release/examples/peer_bench"

# Iterations of a case in one round: about 50 ms of the slowest peer's work.
ITERATIONS = {"logistic_train": 300, "mlp_train": 30, "cnn_train": 20, "lstm_train": 5, "tiny_infer_1": 2000, "tiny_infer_64": 1000}
TITLES = {
    "logistic_train": "train step, logistic 784-10, batch 64",
    "mlp_train": "train step, MLP 784-512-512-10, batch 64",
    "cnn_train": "train step, CNN of three convolutions, batch 64",
    "lstm_train": "train step, LSTM over 28 rows, hidden 128, batch 64",
    "tiny_infer_1": "inference, TinyModel, batch 1",
    "tiny_infer_64": "inference, TinyModel, batch 64",
    "mlp_first_step": "first MLP train step, with compiling",
}
COMMANDS = {
    "eager": [sys.executable, HERE / "peer_torch.py"],
    "compile": [sys.executable, HERE / "peer_torch.py", "--compile"],
    "jax": [sys.executable, HERE / "peer_jax.py"],
    "jax-constants": [sys.executable, HERE / "peer_jax.py", "--constants"],
    "nnc-cranelift": [NNC, "--tier", "cranelift"],
    "nnc-llvm": [NNC, "--tier", "llvm"],
}
ROWS = {"nnc-cranelift": "nnc (cranelift)", "nnc-llvm": "nnc (llvm)"}


class PeerFailed(Exception):
    """A child process ended or answered something that is not the protocol."""


class Peer:
    """One child process, pinned to the first `threads` processors."""

    def __init__(self, key, threads, extra_env=None):
        program, *rest = map(str, COMMANDS[key])
        python = [program, rest.pop(0)] if program == sys.executable else [program]
        env = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")}
        # Threads that spin between parallel regions would disturb the peer whose turn it is.
        env |= {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        env |= extra_env or {}
        cpus = ",".join(map(str, range(threads)))
        self.started = time.perf_counter_ns()
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *python, "--threads", str(threads), *rest],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=env,
        )  # fmt: skip
        hello = self.read()
        self.row = ROWS.get(key, hello.get("peer", key))
        self.version = hello.get("version", "?")

    def read(self):
        line = self.process.stdout.readline()
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            self.process.wait()
            self.log.seek(0)
            reason = self.log.read().strip() or f"exit status {self.process.returncode}, answered {line!r}"
            raise PeerFailed(reason.splitlines()[-1]) from None

    def ask(self, request):
        try:
            print(request, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # `read` tells why
        return self.read()

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()


def say(text):
    print(text, file=sys.stderr, flush=True)


def start(keys, threads):
    peers = []
    for key in keys:
        try:
            peers.append(Peer(key, threads))
        except (PeerFailed, OSError) as error:
            say(f"  {key} is left out: {error}")
    return peers


def check(peers, case):
    """Asks every peer for the case's check value; gives those that agree with the median of all."""
    values = {}
    for peer in peers:
        try:
            answer = peer.ask(f"check {case}")
        except PeerFailed as error:
            answer = {"error": str(error)}
        if "check" in answer:
            values[peer] = answer["check"]
        elif answer.get("error") != "no such case":
            say(f"  {peer.row}: {case}: {answer.get('error')}")
    if not values:
        return []
    middle = statistics.median_low(values.values())
    agreeing = []
    for peer, value in values.items():
        if abs(value - middle) <= 1e-4 * max(1.0, abs(middle)):
            agreeing.append(peer)
        else:
            say(f"  {peer.row}: {case}: check value {value}, the others {middle}: left out")
    return agreeing


def measure(peers, case, rounds):
    """One result a peer, from `rounds` rounds in which the peers take turns."""
    n = ITERATIONS[case]
    samples = {peer: [] for peer in check(peers, case)}

    def turn_of(peer, n):
        try:
            answer = peer.ask(f"{case} {n}")
        except PeerFailed as error:
            answer = {"error": str(error)}
        if "best_us" in answer:
            return answer
        say(f"  {peer.row}: {case}: {answer.get('error')}: left out")
        del samples[peer]
        return None

    for peer in list(samples):
        turn_of(peer, max(n // 4, 3))  # warms up
    for turn in range(rounds):
        order = list(samples)
        first = turn % max(len(order), 1)
        for peer in order[first:] + order[:first]:
            time.sleep(0.02)  # lets the previous peer's threads go to sleep
            if answer := turn_of(peer, n):
                samples[peer].append(answer)
    return {
        peer.row: {
            "best_us": min(sample["best_us"] for sample in taken),
            "median_us": statistics.median(sample["median_us"] for sample in taken),
            "n": n * rounds,
        }
        for peer, taken in samples.items()
    }


def measure_first_step(keys, threads, rounds):
    """The first step in fresh processes; `torch.compile` once with an empty compile cache each time and once with a filled one."""
    results = {}
    with tempfile.TemporaryDirectory() as warm:
        for turn in range(rounds):
            for key in keys:
                variants = [("", {})]
                if key == "compile":
                    variants = [(", cold cache", None), (", warm cache", {"TORCHINDUCTOR_CACHE_DIR": warm})]
                for suffix, env in variants:
                    with tempfile.TemporaryDirectory() as cold:
                        try:
                            peer = Peer(key, threads, {"TORCHINDUCTOR_CACHE_DIR": cold} if env is None else env)
                            answer = peer.ask("mlp_first_step 1")
                            wall = (time.perf_counter_ns() - peer.started) / 1e3
                            peer.close()
                        except (PeerFailed, OSError) as error:
                            answer = {"error": str(error)}
                    if "best_us" not in answer:
                        if turn == 0 and answer.get("error") != "no such case":
                            say(f"  {key}: mlp_first_step: {answer.get('error')}")
                        continue
                    taken = results.setdefault(peer.row + suffix, {"times": [], "walls": []})
                    # The first turn fills the warm cache.
                    if suffix != ", warm cache" or turn > 0 or rounds == 1:
                        taken["times"].append(answer["best_us"])
                        taken["walls"].append(wall)
    return {
        row: {
            "best_us": min(taken["times"]),
            "median_us": statistics.median(taken["times"]),
            "process_us": min(taken["walls"]),
            "n": len(taken["times"]),
        }
        for row, taken in results.items()
    }


def human(us):
    if us >= 1e6:
        return f"{us / 1e6:.2f} s"
    if us >= 1e3:
        return f"{us / 1e3:.2f} ms"
    return f"{us:.1f} us" if us >= 10 else f"{us:.2f} us"


def ratio(value):
    return f"{value:.2f}x" if value >= 0.1 else f"{value:.2g}x"


def table(results):
    """Markdown: a row for each case, thread count, and peer; the ratio is to the fastest peer that is not nnc."""
    lines = ["| case | threads | peer | best | median | against the best peer (best, median) |", "|---|--:|---|--:|--:|--:|"]
    for (case, threads), rows in results.items():
        others = [row for name, row in rows.items() if not name.startswith("nnc")] or list(rows.values())
        best = min(row["best_us"] for row in others)
        median = min(row["median_us"] for row in others)
        for name, row in sorted(rows.items(), key=lambda item: item[1]["best_us"]):
            extra = f" (process {human(row['process_us'])})" if "process_us" in row else ""
            ratios = f"{ratio(best / row['best_us'])}, {ratio(median / row['median_us'])}"
            lines.append(
                f"| {TITLES[case]} | {threads} | {name} | {human(row['best_us'])}{extra} | {human(row['median_us'])} | {ratios} |"
            )
    return "\n".join(lines)


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(COMMANDS), help="comma-separated, from: " + ", ".join(COMMANDS))
    parser.add_argument("--cases", default=",".join(TITLES), help="comma-separated, from: " + ", ".join(TITLES))
    parser.add_argument("--threads", default="1,2", help="comma-separated thread counts")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="8 rounds")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "out/peers.json")
    args = parser.parse_args()
    keys, cases = args.peers.split(","), args.cases.split(",")
    for word, known in [*((key, COMMANDS) for key in keys), *((case, TITLES) for case in cases)]:
        if word not in known:
            parser.error(f"unknown name {word!r}; known: {', '.join(known)}")
    rounds = 8 if args.quick else args.rounds
    if any(key.startswith("nnc") for key in keys) and not NNC.exists():
        say(f"{NNC.relative_to(ROOT)} is not built: nnc is left out")
        keys = [key for key in keys if not key.startswith("nnc")]

    results, versions = {}, {}
    # Autotuning decisions of an earlier, perhaps noisy, run are not reused.
    inductor_cache = tempfile.TemporaryDirectory()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = inductor_cache.name
    for threads in map(int, args.threads.split(",")):
        if threads > len(os.sched_getaffinity(0)):
            say(f"{threads} threads: only {len(os.sched_getaffinity(0))} processors, left out")
            continue
        peers = start(keys, threads)
        versions |= {peer.row: peer.version for peer in peers}
        for case in cases:
            if case == "mlp_first_step":
                continue
            say(f"{case}, {threads} thread(s)")
            results[case, threads] = measure(peers, case, rounds)
        for peer in peers:
            peer.close()
        if "mlp_first_step" in cases:
            say(f"mlp_first_step, {threads} thread(s)")
            results["mlp_first_step", threads] = measure_first_step(keys, threads, 2 if args.quick else 5)
    results = {key: rows for key, rows in results.items() if rows}

    print(table(results))
    print("\n" + ", ".join(f"{row} {version}" for row, version in versions.items()) + f"; {processor()}")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "processor": processor(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load_at_end": os.getloadavg()[0],
        "rounds": rounds,
        "versions": versions,
        "results": [
            {"case": case, "threads": threads, "peer": name, **row}
            for (case, threads), rows in results.items()
            for name, row in rows.items()
        ],
    }
    args.json.write_text(json.dumps(record, indent=2) + "\n")
    say(f"wrote {args.json}")


if __name__ == "__main__":
    main()
