"""Golden numbers of `RNN`, `LSTM`, `GRU` and their cells."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import data
import nn


def tensor(salt, *shape):
    return data.symmetric(shape, 600 + salt, 1.0)


def state(salt, module, *shape):
    """A state for `module`: of an LSTM a pair, whose first part may be projected."""
    hidden = getattr(module, "proj_size", 0) or module.hidden_size
    first = tensor(salt, *shape, hidden)
    return (first, tensor(salt + 1, *shape, module.hidden_size)) if "LSTM" in type(module).__name__ else (first,)


def from_state(module, x, *state):
    return module(x, state if len(state) == 2 else state[0])


def padded(lengths, given):
    """Sequences of different lengths, as a packed sequence; `given` says whether a state comes after the input."""

    def call(module, x, _, *state):
        packed = pack_padded_sequence(x, lengths, batch_first=module.batch_first, enforce_sorted=False)
        output, last = module(packed, state if len(state) == 2 else state[0]) if given else module(packed)
        return pad_packed_sequence(output, batch_first=module.batch_first)[0], last

    return call


def layers():
    options = {
        "RNN": {"relu": {"nonlinearity": "relu"}},
        "LSTM": {
            "projected": {"proj_size": 2},
            "projected_stack": {"proj_size": 3, "num_layers": 2, "bidirectional": True, "bias": False},
        },
        "GRU": {},
    }
    for name, more in options.items():
        make = getattr(torch.nn, name)
        with nn.layer(name) as layer:
            layer.case("plain", make(3, 4), tensor(0, 5, 2, 3))
            layer.case("batch_of_one", make(7, 5, bias=False), tensor(0, 3, 1, 7))
            layer.case("one_step", make(2, 3), tensor(0, 1, 2, 2))
            layer.case("unbatched", make(3, 4, num_layers=2), tensor(0, 5, 3))
            module = make(3, 4, num_layers=2, bidirectional=True)
            layer.case("two_layers_bidirectional", module, tensor(0, 5, 2, 3))
            layer.case("state", module, tensor(0, 5, 2, 3), *state(1, module, 4, 2), call=from_state)
            module = make(3, 4, bidirectional=True)
            layer.case("unbatched_state", module, tensor(0, 4, 3), *state(1, module, 2), call=from_state)
            module = make(3, 5, num_layers=3, batch_first=True)
            layer.case("batch_first", module, tensor(0, 2, 4, 3), *state(1, module, 3, 2), call=from_state)
            module = make(3, 4, num_layers=2, dropout=0.3)
            layer.case("dropout_in_evaluation", module, tensor(0, 4, 2, 3), training=False)
            lengths = torch.tensor([5, 2, 4])
            module = make(3, 4, num_layers=2, bidirectional=True)
            layer.case("padded", module, tensor(0, 5, 3, 3), lengths, call=padded(lengths, False))
            module = make(3, 4, batch_first=True)
            inputs = [tensor(0, 3, 5, 3), lengths, *state(1, module, 1, 3)]
            layer.case("padded_state", module, *inputs, call=padded(lengths, True))
            for case, given in more.items():
                module = make(3, 4, **given)
                n = module.num_layers * (2 if module.bidirectional else 1)
                layer.case(case, module, tensor(0, 4, 2, 3), *state(1, module, n, 2), call=from_state)


def cells():
    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        make = getattr(torch.nn, name)
        with nn.layer(name) as layer:
            layer.case("plain", make(3, 4), tensor(0, 2, 3))
            module = make(5, 3, bias=False)
            layer.case("state", module, tensor(0, 2, 5), *state(1, module, 2), call=from_state)
            module = make(3, 4)
            layer.case("unbatched", module, tensor(0, 3), *state(1, module), call=from_state)
            if name == "RNNCell":
                layer.case("relu", make(3, 4, nonlinearity="relu"), tensor(0, 1, 3))


def generate():
    layers()
    cells()


if __name__ == "__main__":
    generate()
