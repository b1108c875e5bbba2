"""JAX `jit`: one compiled step with donated parameters.

With `--constants` inference has the weights as constants of the compiled function, which is faster for small batches, and there are no train
cases.
"""

import argparse
import functools

import jax
import jax.numpy as jnp

import workload


def forward(layers, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight.T + bias)
    weight, bias = layers[-1]
    return x @ weight.T + bias


def loss_fn(layers, x, y):
    log_probs = jax.nn.log_softmax(forward(layers, x))
    return -jnp.take_along_axis(log_probs, y[:, None], axis=1).mean()


@functools.partial(jax.jit, donate_argnums=0)
def step(layers, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(layers, x, y)
    return jax.tree.map(lambda p, g: p - workload.LEARNING_RATE * g, layers, grads), loss


@jax.jit
def infer(layers, x):
    return jax.nn.softmax(forward(layers, x))


def train_case(widths):
    data = [(jax.device_put(x), jax.device_put(y.astype("int32"))) for x, y in workload.batches()]

    def fresh():
        return jax.tree.map(jnp.array, workload.parameters(widths))

    state = {"layers": fresh(), "at": 0}

    def iterate():
        x, y = data[state["at"] % workload.N_BATCHES]
        state["at"] += 1
        state["layers"], loss = step(state["layers"], x, y)
        jax.block_until_ready((state["layers"], loss))
        return loss

    def check():
        state.update(layers=fresh(), at=0)
        for _ in range(9):
            iterate()
        return float(iterate())

    return iterate, check


def infer_case(batch, constants):
    layers = jax.tree.map(jax.device_put, workload.parameters(workload.TINY))
    x = jax.device_put(workload.tiny_input(batch))
    run = jax.jit(functools.partial(infer, layers)) if constants else functools.partial(infer, layers)

    def iterate():
        return run(x).block_until_ready()

    return iterate, lambda: float(iterate()[batch - 1, 3])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--constants", action="store_true")
    args = parser.parse_args()
    cases = {
        "tiny_infer_1": lambda: infer_case(1, args.constants),
        "tiny_infer_64": lambda: infer_case(64, args.constants),
    }
    if not args.constants:
        cases |= {
            "logistic_train": lambda: train_case(workload.LOGISTIC),
            "mlp_train": lambda: train_case(workload.MLP),
            "mlp_first_step": lambda: train_case(workload.MLP),
        }
    jax.devices()  # starts the runtime: part of loading the library
    name = "JAX jit, constant weights" if args.constants else "JAX jit"
    workload.serve(name, jax.__version__, args.threads, lambda case: cases[case]())
