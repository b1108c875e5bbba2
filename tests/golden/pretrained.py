"""Regenerates tests/golden/pretrained: what ONNX Runtime computes of the models that scripts/fetch_models.sh fetches.

    scripts/fetch_models.sh
    python3 tests/golden/pretrained.py        # needs numpy, onnxruntime, safetensors

Inputs follow from a formula that the test knows too; of long outputs every n-th element is kept.
"""

import json
import pathlib

import numpy as np
import onnxruntime
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "out" / "models"
KEPT = 4096

CASES = {
    "magika": ("magika/model.onnx", "bytes", np.int32, [(1, 2048), (3, 2048)]),
    "det": ("rapidocr/ch_PP-OCRv4_det_infer.onnx", "x", np.float32, [(1, 3, 64, 96), (1, 3, 160, 128)]),
    "cls": ("rapidocr/ch_ppocr_mobile_v2.0_cls_infer.onnx", "x", np.float32, [(1, 3, 48, 192), (2, 3, 48, 192)]),
    "rec": ("rapidocr/ch_PP-OCRv4_rec_infer.onnx", "x", np.float32, [(1, 3, 48, 96), (2, 3, 48, 160)]),
    "pitch": ("basic_pitch/nmp.onnx", "serving_default_input_2:0", np.float32, [(1, 43844, 1), (2, 43844, 1)]),
}

# A detector of speech is run on one piece of sound after the other, and hands its state on.
SPEECH = "silero_vad/silero_vad.onnx"
N_PIECES = 5


def fill(shape, dtype):
    """Element i from the 32-bit finalizer of MurmurHash3 of i: in [-1, 1), or below 257."""
    n = int(np.prod(shape))
    h = np.arange(n, dtype=np.uint32)
    with np.errstate(over="ignore"):
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x85EBCA6B)
        h ^= h >> np.uint32(13)
        h *= np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    if dtype is np.int32:
        return (h % np.uint32(257)).astype(np.int32).reshape(shape)
    unit = (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return (2 * unit - 1).reshape(shape)


def speech(folder):
    """Pieces of a long sound, of one and of two recordings at once: what is found in each piece, and the last state."""
    session = onnxruntime.InferenceSession(str(MODELS / SPEECH), providers=["CPUExecutionProvider"])
    tensors = {}
    for n in (1, 2):
        sound, state, found = fill((N_PIECES, n, 576), np.float32), np.zeros((2, n, 128), np.float32), []
        for piece in sound:
            output, state = session.run(None, {"input": piece, "state": state, "sr": np.array(16000, np.int64)})
            found.append(output)
        tensors |= {f"{n}.output": np.stack(found), f"{n}.state": state}
    about = {"model": SPEECH, "onnxruntime": onnxruntime.__version__, "pieces": N_PIECES}
    save_file(tensors, folder / "speech.safetensors", metadata={"about": json.dumps(about)})


if __name__ == "__main__":
    folder = ROOT / "tests" / "golden" / "pretrained"
    folder.mkdir(exist_ok=True)
    for name, (path, port, dtype, shapes) in CASES.items():
        session = onnxruntime.InferenceSession(str(MODELS / path), providers=["CPUExecutionProvider"])
        tensors, cases = {}, {}
        for shape in shapes:
            # Of several outputs the first.
            output = session.run(None, {port: fill(shape, dtype)})[0]
            step = max(1, output.size // KEPT)
            case = "x".join(map(str, shape))
            tensors[case] = np.ascontiguousarray(output.reshape(-1)[::step])
            cases[case] = {"shape": list(shape), "output": list(output.shape), "step": step}
        about = {"model": path, "input": port, "onnxruntime": onnxruntime.__version__, "cases": cases}
        save_file(tensors, folder / f"{name}.safetensors", metadata={"about": json.dumps(about)})
    speech(folder)
