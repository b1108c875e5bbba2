"""What ONNX Runtime computes with operators of its own, and of classifiers whose classes have names.

    python3 tests/golden/onnx_runtime.py      # needs numpy, onnx, onnxruntime, safetensors

writes `onnx_runtime/NAME.onnx` and `onnx_runtime/NAME.safetensors`: inputs `in.NAME`, outputs `out.NAME`. Strings are in the metadata: `about.strings` has
the elements of outputs that are tensors of strings, `about.keys` the keys of outputs that are sequences of maps, whose values are rows of `out.NAME`.
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent / "onnx_runtime"
MS, ML = "com.microsoft", "ai.onnx.ml"
TYPES = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int64"): TensorProto.INT64, np.dtype("int32"): TensorProto.INT32, np.dtype("uint8"): TensorProto.UINT8}


def numbers(shape, salt, low=-1.0, high=1.0):
    return np.random.default_rng(salt).uniform(low, high, shape).astype(np.float32)


def integers(shape, salt, low, high, dtype):
    return np.random.default_rng(salt).integers(low, high, shape).astype(dtype)


def case(name, nodes, inputs, constants, outputs):
    """`inputs` are arrays by name; `constants` too, and become initializers; `outputs` are names, or value infos."""
    infos = [helper.make_tensor_value_info(key, TYPES[value.dtype], value.shape) for key, value in inputs.items()]
    results = [onnx.ValueInfoProto(name=output) if isinstance(output, str) else output for output in outputs]
    initializers = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, name, infos, results, initializers)
    opsets = [helper.make_opsetid(domain, version) for domain, version in [("", 17), (MS, 1), (ML, 3)]]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path = FOLDER / f"{name}.onnx"
    onnx.save(model, path)
    options = onnxruntime.SessionOptions()
    # A thread a sequence: recurrent operators quantize what one thread works on together.
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    about = {"onnxruntime": onnxruntime.__version__, "strings": {}, "keys": {}}
    tensors = {f"in.{key}": np.ascontiguousarray(value) for key, value in inputs.items()}
    for output, value in zip(session.get_outputs(), session.run(None, inputs)):
        if isinstance(value, list):
            about["keys"][output.name] = list(value[0])
            value = np.array([list(row.values()) for row in value], np.float32)
        elif value.dtype == object:
            about["strings"][output.name] = value.tolist()
            continue
        tensors[f"out.{output.name}"] = np.ascontiguousarray(value)
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"about": json.dumps(about)})


def node(op, inputs, outputs, domain=MS, **attributes):
    return helper.make_node(op, inputs, outputs, f"{op}_{outputs[0]}", domain=domain, **attributes)


def grouped_query(name, lengths, n_new, n_past, constants=None, extra=(), **attributes):
    """Sequences of which `lengths` keys count after this step; four heads of queries on two of keys."""
    head, n = 16, len(lengths)
    inputs = {
        "q": numbers((n, n_new, 4 * head), 1),
        "k": numbers((n, n_new, 2 * head), 2),
        "v": numbers((n, n_new, 2 * head), 3),
        "past_k": numbers((n, 2, n_past, head), 4),
        "past_v": numbers((n, 2, n_past, head), 5),
        "seqlens": np.array(lengths, np.int32) - 1,
    }
    angle = np.arange(16)[:, None] / 10.0 ** np.arange(head // 2)
    constants = {"total": np.array(max(n_past + n_new, max(lengths)), np.int32), **(constants or {})}
    constants |= {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}
    names = ["q", "k", "v", "past_k", "past_v", "seqlens", "total", "cos", "sin", *extra]
    nodes = [node("GroupQueryAttention", names, ["y", "present_k", "present_v"], num_heads=4, kv_num_heads=2, **attributes)]
    case(name, nodes, inputs, constants, ["y", "present_k", "present_v"])


def quantized_lstm():
    n_in, hidden = 5, 4
    w, r = integers((1, n_in, 4 * hidden), 11, -90, 90, np.int8), integers((1, hidden, 4 * hidden), 12, -90, 90, np.int8)
    constants = {"w": w, "r": r, "b": numbers((1, 8 * hidden), 13), "ws": np.array([0.01], np.float32), "wz": np.array([0], np.int8)}
    constants |= {"rs": np.array([0.02], np.float32), "rz": np.array([0], np.int8)}
    names = ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    nodes = [node("DynamicQuantizeLSTM", names, ["y", "h", "c"], hidden_size=hidden)]
    case("dynamic_quantize_lstm", nodes, {"x": numbers((6, 2, n_in), 14)}, constants, ["y", "h", "c"])


def classifier(name, **attributes):
    """Three classes with names, and a map for each row."""
    coefficients, intercepts = numbers(12, 21), numbers(3, 22)
    nodes = [
        node("LinearClassifier", ["x"], ["label", "scores"], ML, coefficients=coefficients, intercepts=intercepts, post_transform="SOFTMAX", **attributes),
        node("ZipMap", ["scores"], ["probabilities"], ML, **attributes),
    ]
    key = TensorProto.STRING if "classlabels_strings" in attributes else TensorProto.INT64
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, [])))
    outputs = [helper.make_tensor_value_info("label", key, [None]), helper.make_value_info("probabilities", maps)]
    renamed = attributes
    if "classlabels_ints" in renamed:
        nodes[1] = node("ZipMap", ["scores"], ["probabilities"], ML, classlabels_int64s=renamed["classlabels_ints"])
    case(name, nodes, {"x": numbers((5, 4), 23)}, {}, outputs)


def picked_strings():
    """What skl2onnx makes of a network's classes: positions, the names there, reshaped; and back to numbers."""
    nodes = [
        node("ArgMax", ["x"], ["at"], "", axis=1, keepdims=0),
        node("ArrayFeatureExtractor", ["names", "at"], ["picked"], ML),
        node("Reshape", ["picked", "shape"], ["label"], ""),
        node("LabelEncoder", ["label"], ["number"], ML, keys_strings=["fox", "cat"], values_int64s=[7, 8], default_int64=-3),
        node("LabelEncoder", ["at"], ["word"], ML, keys_int64s=[0, 2], values_strings=["zero", "two"], default_string="none"),
    ]
    outputs = [helper.make_tensor_value_info("label", TensorProto.STRING, [None]), "number", helper.make_tensor_value_info("word", TensorProto.STRING, [None])]
    constants = {"names": np.array(["cat", "dog", "fox"], object), "shape": np.array([-1], np.int64)}
    case("picked_strings", nodes, {"x": numbers((6, 3), 31)}, constants, outputs)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    grouped_query("grouped_query_prompt", [4, 4], 4, 0, do_rotary=1)
    grouped_query("grouped_query_step", [6, 6], 1, 5, do_rotary=1)
    grouped_query("grouped_query_padded_step", [6, 4], 1, 5, do_rotary=1, rotary_interleaved=1)
    grouped_query("grouped_query_window", [8], 3, 5, local_window_size=3, softcap=2.0, scale=0.5)
    grouped_query("grouped_query_sink", [8], 3, 5, smooth_softmax=1)
    quantized_lstm()
    for bits in (4, 8):
        packed = integers((6, 3, 16 * bits // 8), 41, 0, 256, np.uint8)
        zeros = integers(6 * -(-3 * bits // 8), 42, 0, 256, np.uint8)
        constants = {"b": packed, "scales": numbers(18, 43, 0.01, 0.1), "zeros": zeros}
        nodes = [node("MatMulNBits", ["x", "b", "scales", "zeros"], ["y"], K=40, N=6, bits=bits, block_size=16)]
        case(f"matmul_{bits}_bits", nodes, {"x": numbers((2, 3, 40), 44)}, constants, ["y"])
    nodes = [node("MatMulNBits", ["x", "b", "scales"], ["y"], K=32, N=6, bits=4, block_size=16)]
    constants = {"b": integers((6, 2, 8), 45, 0, 256, np.uint8), "scales": numbers(12, 46, 0.01, 0.1)}
    case("matmul_4_bits_symmetric", nodes, {"x": numbers((3, 32), 47)}, constants, ["y"])
    constants = {"as": np.float32(0.02), "az": np.uint8(120), "bs": numbers(4, 51, 0.01, 0.03), "bz": np.zeros(4, np.int8)}
    constants |= {"b": integers((4, 5), 52, -127, 127, np.int8), "c": integers(4, 53, -500, 500, np.int32), "ys": np.float32(0.05), "yz": np.uint8(128)}
    names = ["a", "as", "az", "b", "bs", "bz", "c"]
    a = {"a": integers((3, 5), 54, 0, 256, np.uint8)}
    case("qgemm_float", [node("QGemm", names, ["y"], transB=1)], a, constants, ["y"])
    case("qgemm", [node("QGemm", [*names, "ys", "yz"], ["y"], transB=1)], a, constants, ["y"])
    constants = {"s": np.float32(0.03), "z": np.uint8(130), "ys": np.float32(1 / 256), "yz": np.uint8(0)}
    nodes = [node("QLinearSoftmax", ["x", "s", "z", "ys", "yz"], ["y"], axis=-1, opset=13)]
    case("qlinear_softmax", nodes, {"x": integers((3, 7), 61, 0, 256, np.uint8)}, constants, ["y"])
    constants = {"w": numbers((4, 3, 3, 3), 71), "b": numbers(4, 72)}
    x = {"x": numbers((1, 3, 6, 5), 73)}
    nodes = [node("FusedConv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], kernel_shape=[3, 3], activation="HardSigmoid", activation_params=[0.3, 0.4])]
    case("fused_conv", nodes, x, constants, ["y"])
    constants = {"b": numbers((4, 5), 81), "c": numbers(5, 82)}
    nodes = [node("FusedGemm", ["a", "b", "c"], ["y"], activation="LeakyRelu", activation_alpha=0.2)]
    case("fused_gemm", nodes, {"a": numbers((3, 4), 83)}, constants, ["y"])
    classifier("classifier_strings", classlabels_strings=["cat", "dog", "fox"])
    classifier("classifier_numbers", classlabels_ints=[3, 5, 9])
    picked_strings()
