"""Writes ONNX's backend test data as files: KIND/CASE/{model.onnx, tolerance, test_data_set_K/{input,output}_I.pb}.

The node cases exist as code only and are generated, from fixed seeds. The model cases lie in the wheel; of those it calls "real" it
holds the graphs, with constant weights ("light"), and the expected outputs, while the inputs are a formula.
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

DATA = pathlib.Path(onnx.__file__).parent / "backend/test/data"


def message(value, info):
    """The protobuf of a value: cases give NumPy arrays, lists of them, None, or protobufs."""
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto)):
        value.name = info.name
        return value
    convert = {
        "sequence_type": numpy_helper.from_list,
        "optional_type": numpy_helper.from_optional,
        "map_type": numpy_helper.from_dict,
        "tensor_type": lambda value, name: numpy_helper.from_array(np.asarray(value), name),
    }[info.type.WhichOneof("value")]
    return convert(value, info.name)


def write_set(folder, graph, inputs, outputs):
    folder.mkdir(parents=True)
    for kind, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
        for idx, (value, info) in enumerate(zip(values, infos)):
            (folder / f"{kind}_{idx}.pb").write_bytes(message(value, info).SerializeToString())


def write_tolerance(folder, rtol, atol):
    (folder / "tolerance").write_text(f"{rtol} {atol}\n")


def write_node_cases(out):
    for case in collect_testcases(None):
        folder = out / case.name
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        write_tolerance(folder, case.rtol, case.atol)
        for idx, (inputs, outputs) in enumerate(case.data_sets):
            write_set(folder / f"test_data_set_{idx}", case.model.graph, inputs, outputs)


def write_model_cases(out, source):
    for case in sorted(path for path in source.iterdir() if (path / "model.onnx").exists()):
        folder = out / case.name
        shutil.copytree(case, folder)
        about = case / "data.json"
        about = json.loads(about.read_text()) if about.exists() else {}
        write_tolerance(folder, about.get("rtol", 1e-3), about.get("atol", 1e-7))


def write_light_cases(out):
    for case in sorted(path for path in (DATA / "real").iterdir() if path.is_dir()):
        about = json.loads((case / "data.json").read_text())
        source = DATA / "light" / pathlib.Path(about["url"]).name
        folder = out / case.name
        (folder / "test_data_set_0").mkdir(parents=True)
        shutil.copy(source, folder / "model.onnx")
        write_tolerance(folder, about["rtol"], about["atol"])
        graph = onnx.load(source).graph
        weights = {tensor.name for tensor in graph.initializer}
        for idx, info in enumerate(info for info in graph.input if info.name not in weights):
            # The formula of `onnx.backend.test.runner.Runner.generate_dummy_data`.
            shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
            n = np.prod(shape)
            data = (np.arange(n).reshape(shape) / n).astype(np.float32)
            (folder / f"test_data_set_0/input_{idx}.pb").write_bytes(message(data, info).SerializeToString())
        for idx, _ in enumerate(graph.output):
            shutil.copy(f"{source.with_suffix('')}_output_{idx}.pb", folder / f"test_data_set_0/output_{idx}.pb")


def main():
    out = pathlib.Path(sys.argv[1])
    write_node_cases(out / "node")
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        write_model_cases(out / kind, DATA / kind)
    write_light_cases(out / "light")
    for folder in sorted(out.iterdir()):
        print(f"{folder.name}: {len(list(folder.iterdir()))} cases")


main()
