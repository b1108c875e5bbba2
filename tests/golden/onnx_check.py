"""Checks exported models: `python tests/golden/onnx_check.py DIR`.

Each folder in DIR has a `model.onnx`, which ONNX's checker must accept with full type and shape inference, and perhaps `in.npz` and
`out.npz`, which ONNX Runtime must map to one another, if it is installed and has kernels for the model's types.
"""

import pathlib
import sys

import numpy as np
import onnx

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


def close(expected, found):
    if (expected.shape, expected.dtype) != (found.shape, found.dtype):
        return f"{found.dtype}{list(found.shape)}, expected {expected.dtype}{list(expected.shape)}"
    if expected.size == 0 or expected.dtype.kind not in "f":
        return "" if (expected == found).all() else f"{found}, expected {expected}"
    finite = expected[np.isfinite(expected)].astype(np.float64)
    scale = max(np.abs(finite).max(initial=0), 1e-30)
    relative = 4e-3 if expected.dtype == np.float16 else 2e-5
    with np.errstate(invalid="ignore"):
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        near = np.abs(expected.astype(np.float64) - found.astype(np.float64)) <= relative * scale
    return "" if (same | near).all() else f"{found}, expected {expected}"


def lacks_kernel(error):
    """Whether ONNX Runtime has nothing to run a node of these types with, or none of a loop without steps."""
    lacks = ["NOT_IMPLEMENTED", "is not a registered function/op", "data type is not supported", "dim0_offset < dim0_size was false"]
    return any(lack in str(error) for lack in lacks)


def check(case):
    """What is wrong, and whether ONNX Runtime ran it."""
    onnx.checker.check_model(str(case / "model.onnx"), full_check=True)
    if onnxruntime is None or not (case / "in.npz").exists():
        return "", False
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(case / "model.onnx"), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if lacks_kernel(error):
            return "", False
        raise
    inputs = np.load(case / "in.npz")
    wanted = {port.name for port in session.get_inputs()}
    try:
        found = session.run(None, {name: inputs[name] for name in inputs.files if name in wanted})
    except Exception as error:
        if lacks_kernel(error):
            return "", False
        raise
    expected = np.load(case / "out.npz")
    faults = [f"{port.name}: {fault}" for port, value in zip(session.get_outputs(), found) if (fault := close(expected[port.name], value))]
    return "; ".join(faults), True


def main(folder):
    faults, n_ran = [], 0
    cases = sorted(pathlib.Path(folder).iterdir())
    for case in cases:
        try:
            fault, ran = check(case)
        except Exception as error:
            fault, ran = str(error).strip(), False
        n_ran += ran
        if fault:
            text = case / "model.ir"
            faults.append(f"{case.name}: {fault}\n{text.read_text() if text.exists() else ''}")
    print(f"{len(cases)} models checked, {n_ran} of them run; {len(faults)} at fault")
    print("\n".join(faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main(sys.argv[1])
