"""Regenerates every golden file (see README.md)."""

import torch

import calls
import functional
import interchange
import models
import nn
import nn_activation
import nn_attention
import nn_conv
import nn_container
import nn_dropout
import nn_embedding
import nn_linear
import nn_loss
import nn_norm
import nn_pool
import nn_recurrent
import nn_resample
import ops
import optim
import weights

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    models.generate()
    functional.generate()
    calls.generate()
    interchange.generate()
    ops.generate()
    optim.generate()
    nn.names()
    nn_activation.generate()
    nn_attention.generate()
    nn_conv.generate()
    nn_container.generate()
    nn_dropout.generate()
    nn_embedding.generate()
    nn_linear.generate()
    nn_loss.generate()
    nn_norm.generate()
    nn_pool.generate()
    nn_recurrent.generate()
    nn_resample.generate()
    weights.generate()
