"""Small models as PyTorch exports them to ONNX, and their training by PyTorch.

    python tests/golden/onnx_exported.py

(PyTorch, `onnx` and `onnxscript` installed) writes for each model `onnx/NAME.onnx` and `onnx/NAME.safetensors`: a batch `in.x`, `in.y`, the
model's `out`, the `losses` of six steps of SGD on that batch, and the parameters after them (`after.NAME`).
"""

import onnx
import torch

import data

STEPS, RATE = 6, 0.1
N = torch.nn


class Cnn(N.Module):
    def __init__(self, dropout):
        super().__init__()
        self.conv, self.norm = N.Conv2d(1, 4, 3, padding=1), N.BatchNorm2d(4)
        self.drop, self.head = N.Dropout(dropout), N.Linear(4 * 4 * 4, 3)

    def forward(self, x):
        x = N.functional.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        return self.head(self.drop(torch.flatten(x, 1)))


class Lstm(N.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = N.Embedding(11, 5), N.LSTM(5, 6, batch_first=True, bidirectional=True)
        self.head = N.Linear(12, 3)

    def forward(self, ids):
        return self.head(self.lstm(self.embed(ids))[0][:, -1])


class Block(N.Module):
    """A causal mask is part of the graph."""

    def __init__(self):
        super().__init__()
        self.embed = N.Embedding(11, 8)
        self.layer = N.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu")
        self.head = N.Linear(8, 3)

    def forward(self, ids):
        mask = N.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.head(self.layer(self.embed(ids), src_mask=mask.to(self.head.weight.dtype)).mean(1))


def fill(model):
    with torch.no_grad():
        for idx, (_, value) in enumerate(model.named_parameters()):
            value.copy_(data.symmetric(value.shape, 1000 + idx, 0.5))


def export(model, x, path, training):
    program = torch.onnx.export(
        model,
        (x,),
        dynamo=True,
        optimize=False,
        verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["x"],
        output_names=["logits"],
    )
    exported = program.model_proto
    # Where it was traced says where this script lay.
    for part in [exported, exported.graph, *exported.graph.node, *exported.graph.initializer, *exported.graph.value_info]:
        del part.metadata_props[:]
    if training:
        # The exporter writes the normalization as in evaluation, whatever the model's mode.
        for node in exported.graph.node:
            if node.op_type == "BatchNormalization":
                node.attribute.append(onnx.helper.make_attribute("training_mode", 1))
                node.output.extend([f"{node.name}.mean", f"{node.name}.var"])
    onnx.checker.check_model(exported, full_check=True)
    path.write_bytes(exported.SerializeToString(deterministic=True))


def case(name, model, x, training=False):
    fill(model)
    model.train(training)
    y = data.integers((x.shape[0],), 1100, 3)
    path = data.HERE / f"onnx/{name}.onnx"
    export(model, x, path, training)
    model = model.double()
    wide = x.double() if x.is_floating_point() else x
    tensors = {"in.x": x, "in.y": y, "out": model(wide).float()}
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    losses = []
    for _ in range(STEPS):
        loss = N.functional.cross_entropy(model(wide), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tensors["losses"] = torch.tensor(losses, dtype=torch.float32)
    tensors |= {f"after.{key}": value.float() for key, value in model.named_parameters()}
    data.save(f"onnx/{name}.safetensors", tensors)


if __name__ == "__main__":
    torch.set_num_threads(1)
    image, ids = data.symmetric((3, 1, 8, 8), 1101, 1.0), data.integers((3, 5), 1102, 11)
    case("cnn", Cnn(0.25), image)
    # The batch's own statistics; numbers drawn by a dropout would be others.
    case("cnn_training", Cnn(0.0), image, training=True)
    case("lstm", Lstm(), ids)
    case("transformer_block", Block(), ids)
