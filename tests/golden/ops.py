"""Golden numbers of single ops. Each case is an `.ir` function beside the tensors it maps, made by PyTorch's namesake of the op."""

import itertools

import torch
import torch.nn.functional as F

import data

F32, I32, I64, BOOL = torch.float32, torch.int32, torch.int64, torch.bool
TYPE_NAMES = {F32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16", I32: "i32", I64: "i64", BOOL: "bool"}

INF, NAN = float("inf"), float("nan")
MAX = float(torch.finfo(F32).max)
# Signed zeros, subnormals, the smallest normal number, ties of rounding, the edges of exp's range, huge values, infinities, NaN.
AWKWARD = [0.0, 1.0, 0.5, 1.5, 2.5, 1e-3, 1e-6, 1e-12, 1e-30, 1e-40, 1.17549435e-38, 0.9999999, 1.0000001]
AWKWARD += [3.7, 9.0, 10.0, 17.0, 40.0, 87.0, 88.7, 89.0, 103.9, 1e4, 8388609.0, 1e20, 1e30, MAX, INF]
AWKWARD = [sign * x for x in AWKWARD for sign in (1.0, -1.0)] + [NAN]
PAIRS = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, -7.25, 1e-40, 1e30, -1e30, INF, -INF, NAN]


def f32(values):
    return torch.tensor(values, dtype=F32)


def regular(salt, n=40, bound=4.0):
    return data.symmetric((n,), salt, bound)


def ir_type(tensor):
    dims = ", ".join(map(str, tensor.shape))
    return f"{TYPE_NAMES[tensor.dtype]}[{dims}]"


def write(name, op, fn, inputs, attrs="", wrt=(), rounded=False):
    """Writes `ops/NAME.safetensors` and `ops/NAME.ir`; gradients of `wrt` are those of `sum(out * ct)`.

    With `rounded` the output is computed in `f64` and rounded once, because PyTorch's `f32` kernels flush some tiny results to zero.
    """
    inputs = {key: value.clone() for key, value in inputs.items()}
    for key in wrt:
        inputs[key].requires_grad_()
    out = fn(*inputs.values())
    tensors = {f"in.{key}": value for key, value in inputs.items()}
    tensors["out"] = fn(*(value.double() for value in inputs.values())).float() if rounded else out
    if wrt:
        tensors["ct"] = data.symmetric(out.shape, 900, 1.0)
        grads = torch.autograd.grad(out, [inputs[key] for key in wrt], tensors["ct"])
        tensors |= {f"grad.{key}": grad for key, grad in zip(wrt, grads)}
    data.save(f"ops/{name}.safetensors", tensors)

    (data.HERE / f"ops/{name}.ir").write_text(main_text(op, inputs, attrs, out) + (loss_text(op, inputs, attrs, out, wrt) if wrt else ""))


def node(op, inputs, attrs, out):
    operands = ", ".join(f"%{key}" for key in inputs)
    return f"%0 = {op} {operands}{f' {{{attrs}}}' if attrs else ''} : {ir_type(out)}"


def main_text(op, inputs, attrs, out):
    params = ", ".join(f"%{key}: {ir_type(value)}" for key, value in inputs.items())
    return f"func @main({params}) -> (out: {ir_type(out)}) {{\n  {node(op, inputs, attrs, out)}\n  return %0\n}}\n"


def loss_text(op, inputs, attrs, out, wrt):
    """The function whose gradients the file holds: `sum(out * ct)`, with the inputs that have one as trainable parameters."""
    params = ", ".join(f"{'param ' if key in wrt else ''}%{key}: {ir_type(value)}" for key, value in inputs.items())
    lines = [node(op, inputs, attrs, out), f"%1 = multiply %0, %ct : {ir_type(out)}"]
    if out.dim() > 0:
        lines.append(f"%2 = reduce %1 {{kind = sum, dims = {list(range(out.dim()))}}} : f32[]")
    body = "".join(f"  {line}\n" for line in lines)
    return f"\nfunc @loss({params}, %ct: {ir_type(out)}) -> (loss: f32[]) {{\n{body}  return %{len(lines) - 1}\n}}\n"


def unary():
    smooth = {
        "exponential": torch.exp,
        "exponential_minus_one": torch.expm1,
        "log": torch.log,
        "log_plus_one": torch.log1p,
        "sqrt": torch.sqrt,
        "rsqrt": torch.rsqrt,
        "tanh": torch.tanh,
        "logistic": torch.sigmoid,
        "erf": torch.erf,
    }
    periodic = {"sine": torch.sin, "cosine": torch.cos, "tan": torch.tan}
    odd_or_even = {"negate": torch.neg, "abs": torch.abs}
    # Flat almost everywhere: PyTorch's gradient is zeros, nnc refuses to differentiate through them.
    stepped = {"floor": torch.floor, "ceil": torch.ceil, "round_nearest_even": torch.round}
    spread = torch.cat([f32(AWKWARD), regular(500)])
    # Angles beyond 1e5 are left out: there an angle's rounding alone moves it by more than the results can tell.
    angles = spread[~((spread.abs() > 1e5) & spread.isfinite())]
    for table, x, wrt in [(smooth, spread, ["x"]), (periodic, angles, ["x"]), (odd_or_even, spread, ["x"]), (stepped, spread, [])]:
        for op, fn in table.items():
            write(op, op, fn, {"x": x}, wrt=wrt, rounded=True)
    # The sign of NaN is left out: PyTorch says 0, nnc keeps NaN.
    write("sign", "sign", torch.sign, {"x": spread[~spread.isnan()]})
    write("is_finite", "is_finite", torch.isfinite, {"x": spread})

    whole = torch.tensor([0, 1, -1, 7, -8, 2**31 - 1, -(2**31)], dtype=I32)
    for op, fn in [("negate", torch.neg), ("abs", torch.abs), ("sign", torch.sign), ("not", torch.bitwise_not)]:
        write(f"{op}_i32", op, fn, {"x": whole})
    write("not_bool", "not", torch.logical_not, {"x": torch.tensor([True, False])})

    # Halfway cases of both half-precision types, their largest values, subnormals, overflow.
    halves = f32([1.0009765, 1.00048828125, 1.00146484375, 65504.0, 65519.0, 65520.0, 5.96e-8, 2.98e-8, 6.1e-5, 1.00390625, 1.01171875, 3.39e38])
    halves = torch.cat([spread, halves, -halves])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        write(f"convert_f32_{TYPE_NAMES[dtype]}", "convert", lambda x: x.to(dtype), {"x": halves})
    # PyTorch leaves floats that do not fit an integer undefined.
    fits = spread[spread.isfinite() & (spread.abs() < 2.0**31)]
    write("convert_f32_i32", "convert", lambda x: x.to(I32), {"x": fits})
    write("convert_f32_bool", "convert", lambda x: x.to(BOOL), {"x": spread})
    write("convert_i32_f32", "convert", lambda x: x.to(F32), {"x": torch.cat([whole, torch.tensor([16777217, 33554435], dtype=I32)])})


def binary():
    lhs, rhs = (f32(column) for column in zip(*itertools.product(PAIRS, PAIRS)))
    table = {
        "add": torch.add,
        "subtract": torch.sub,
        "multiply": torch.mul,
        "divide": torch.div,
        "remainder": torch.fmod,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "power": torch.pow,
        "atan2": torch.atan2,
    }
    for op, fn in table.items():
        write(op, op, fn, {"lhs": lhs, "rhs": rhs}, rounded=True)
        x, y = regular(510), regular(511)
        if op in ("maximum", "minimum"):
            y[:6] = x[:6]  # ties share the gradient
        if op == "power":
            x, y = torch.cat([x.abs() + 0.01, f32([0, 0, 0, 2, -2, -2, 0])]), torch.cat([y, f32([0, 1, 2, 0, 3, 2, 0.5])])
        write(f"{op}_grad", op, fn, {"lhs": x, "rhs": y}, wrt=["lhs", "rhs"])
    for direction in ("eq", "ne", "lt", "le", "gt", "ge"):
        write(f"compare_{direction}", "compare", getattr(torch, direction), {"lhs": lhs, "rhs": rhs}, f"direction = {direction}")

    lhs, rhs = (torch.tensor(column, dtype=I32) for column in zip(*itertools.product([0, 1, -1, 7, -8, 123456789], [1, -1, 3, -5, 1 << 20])))
    integer = {
        "add": torch.add,
        "subtract": torch.sub,
        "multiply": torch.mul,
        "divide": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
        "remainder": torch.fmod,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "and": torch.bitwise_and,
        "or": torch.bitwise_or,
        "xor": torch.bitwise_xor,
    }
    for op, fn in integer.items():
        write(f"{op}_i32", op, fn, {"lhs": lhs, "rhs": rhs})
    amounts = torch.arange(len(lhs), dtype=I32)
    write("shift_left_i32", "shift_left", torch.bitwise_left_shift, {"lhs": lhs, "rhs": amounts})
    write("shift_right_arithmetic_i32", "shift_right_arithmetic", torch.bitwise_right_shift, {"lhs": lhs, "rhs": amounts})

    pred = data.integers((40,), 520, 2).to(BOOL)
    write("select", "select", torch.where, {"pred": pred, "on_true": regular(521), "on_false": regular(522)}, wrt=["on_true", "on_false"])
    write(
        "clamp",
        "clamp",
        lambda low, x, high: torch.clamp(x, low, high),
        {"min": regular(523).abs().neg(), "operand": regular(524), "max": regular(525).abs()},
        wrt=["operand"],
    )


def reductions():
    x = data.symmetric((3, 4, 37), 530, 2.0)
    for dims in ([0], [1], [2], [0, 2], [0, 1, 2]):
        suffix = "".join(map(str, dims))
        attrs = f"dims = {dims}"
        write(f"reduce_sum_{suffix}", "reduce", lambda x: torch.sum(x, dims), {"x": x}, f"kind = sum, {attrs}", wrt=["x"])
        write(f"reduce_max_{suffix}", "reduce", lambda x: torch.amax(x, dims), {"x": x}, f"kind = max, {attrs}", wrt=["x"])
        write(f"reduce_min_{suffix}", "reduce", lambda x: torch.amin(x, dims), {"x": x}, f"kind = min, {attrs}", wrt=["x"])
    tied = x.round()
    for kind, fn in [("max", torch.amax), ("min", torch.amin)]:
        write(f"reduce_{kind}_ties", "reduce", lambda x: fn(x, 1), {"x": tied}, f"kind = {kind}, dims = [1]", wrt=["x"])
    zeros = x[:, :, :6].clone()
    zeros[0, 1, 2] = 0.0
    zeros[1, 0, 0] = zeros[1, 0, 5] = 0.0
    write("reduce_prod", "reduce", lambda x: torch.prod(x, 2), {"x": zeros}, "kind = prod, dims = [2]", wrt=["x"])
    odd = f32([[1.0, NAN, 2.0], [-INF, INF, 3.0], [-INF, -INF, -INF], [1e30, 3e38, 3e38], [1e-40, 1e-40, -1e-40]])
    for kind, fn in [("sum", torch.sum), ("max", torch.amax), ("min", torch.amin), ("prod", torch.prod)]:
        write(f"reduce_{kind}_special", "reduce", lambda x: fn(x, 1), {"x": odd}, f"kind = {kind}, dims = [1]")
    ties = f32([[1.0, 3.0, 3.0, -1.0], [2.0, 2.0, 2.0, 2.0], [-1.0, NAN, 5.0, NAN], [INF, -INF, 0.0, -INF]])
    for kind, fn in [("argmax", torch.argmax), ("argmin", torch.argmin)]:
        write(f"reduce_{kind}", "reduce", lambda x: fn(x, 1), {"x": x.reshape(12, 37)}, f"kind = {kind}, dims = [1]")
        write(f"reduce_{kind}_ties", "reduce", lambda x: fn(x, 1), {"x": ties}, f"kind = {kind}, dims = [1]")
    flags = data.integers((6, 5), 531, 3) > 0
    flags[0], flags[1] = True, False
    for kind, fn in [("any", torch.any), ("all", torch.all)]:
        write(f"reduce_{kind}", "reduce", lambda x: fn(x, 1), {"x": flags}, f"kind = {kind}, dims = [1]")


def indexing():
    x, indices = data.symmetric((4, 6), 540, 1.0), data.integers((4, 3), 541, 6)
    # torch.gather along dimension 1: dimension 0 is paired between operand and indices.
    write(
        "gather_along_dim",
        "gather",
        lambda x, indices: torch.gather(x, 1, indices),
        {"x": x, "indices": indices},
        "collapsed_slice_dims = [1], operand_batching_dims = [0], start_indices_batching_dims = [0], start_index_map = [1], "
        "index_vector_dim = 2, slice_sizes = [1, 1]",
        wrt=["x"],
    )
    rows = torch.tensor([3, 0, 0, 2, 3])
    write(
        "gather_rows",
        "gather",
        lambda x, rows: x[rows],
        {"x": x, "rows": rows},
        "offset_dims = [1], collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 1, slice_sizes = [1, 6]",
        wrt=["x"],
    )
    updates = data.symmetric((4, 3), 542, 1.0)
    along = (
        "inserted_window_dims = [1], input_batching_dims = [0], scatter_indices_batching_dims = [0], scatter_dims_to_operand_dims = [1], "
        "index_vector_dim = 2, combiner = "
    )
    write(
        "scatter_add_along_dim",
        "scatter",
        lambda x, indices, updates: torch.scatter_add(x, 1, indices, updates),
        {"x": x, "indices": indices, "updates": updates},
        along + "add",
        wrt=["x", "updates"],
    )
    distinct = torch.tensor([[0, 2, 5], [5, 4, 3], [1, 0, 2], [2, 3, 4]])
    write(
        "scatter_assign_along_dim",
        "scatter",
        lambda x, indices, updates: torch.scatter(x, 1, indices, updates),
        {"x": x, "indices": distinct, "updates": updates},
        along + "assign",
        wrt=["x", "updates"],
    )
    for combiner, reduce in [("multiply", "prod"), ("minimum", "amin"), ("maximum", "amax")]:
        write(
            f"scatter_{combiner}_along_dim",
            "scatter",
            lambda x, indices, updates: torch.scatter_reduce(x, 1, indices, updates, reduce),
            {"x": x, "indices": indices, "updates": updates},
            along + combiner,
        )
    write(
        "scatter_add_rows",
        "scatter",
        lambda x, rows, updates: torch.index_add(x, 0, rows, updates),
        {"x": x, "rows": rows, "updates": data.symmetric((5, 6), 543, 1.0)},
        "update_window_dims = [1], inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1, combiner = add",
        wrt=["x", "updates"],
    )


def contractions():
    cases = {
        "matmul": ("mk,kn->mn", (5, 33), (33, 7), "lhs_contract = [1], rhs_contract = [0]"),
        "linear": ("mk,nk->mn", (5, 33), (7, 33), "lhs_contract = [1], rhs_contract = [1]"),
        "weight_grad": ("km,kn->mn", (33, 5), (33, 7), "lhs_contract = [0], rhs_contract = [0]"),
        "batched": ("bmk,bkn->bmn", (3, 4, 9), (3, 9, 5), "lhs_batch = [0], rhs_batch = [0], lhs_contract = [2], rhs_contract = [1]"),
        "inner_batch": ("mbk,nkb->bmn", (4, 3, 9), (5, 9, 3), "lhs_batch = [1], rhs_batch = [2], lhs_contract = [2], rhs_contract = [1]"),
        "two_contracted": ("mkl,lnk->mn", (4, 5, 6), (6, 3, 5), "lhs_contract = [1, 2], rhs_contract = [2, 0]"),
        "outer": ("m,n->mn", (5,), (7,), ""),
        "inner": ("k,k->", (33,), (33,), "lhs_contract = [0], rhs_contract = [0]"),
    }
    for name, (equation, lhs, rhs, attrs) in cases.items():
        inputs = {"lhs": data.symmetric(lhs, 550, 1.0), "rhs": data.symmetric(rhs, 551, 1.0)}
        write(f"dot_general_{name}", "dot_general", lambda x, y: torch.einsum(equation, x, y), inputs, attrs, wrt=["lhs", "rhs"])


def windows():
    """Pooling, and the gradient of max pooling, over `[N, C, H, W]` or `[N, C, L]`."""
    x = data.symmetric((2, 3, 7, 9), 560, 2.0)
    ties = torch.round(data.symmetric((1, 2, 6, 8), 561, 1.5))
    around = lambda pads: "padding = [" + ", ".join(f"[{low}, {high}]" for low, high in [(0, 0), (0, 0), *pads]) + "]"
    shape = lambda name, values: f"{name} = [{', '.join(map(str, [1, 1, *values]))}]"
    cases = {
        "square": (x, dict(kernel_size=2), "kind = max, " + shape("window", (2, 2)) + ", " + shape("stride", (2, 2))),
        "overlapping": (
            x,
            dict(kernel_size=3, stride=2, padding=1),
            "kind = max, " + shape("window", (3, 3)) + ", " + shape("stride", (2, 2)) + ", " + around([(1, 1), (1, 1)]),
        ),
        "dilated": (
            x,
            dict(kernel_size=(2, 3), stride=1, padding=(1, 0), dilation=(3, 2)),
            "kind = max, " + shape("window", (2, 3)) + ", " + shape("dilation", (3, 2)) + ", " + around([(1, 1), (0, 0)]),
        ),
        "ties": (ties, dict(kernel_size=3, stride=1), "kind = max, " + shape("window", (3, 3))),
        # The last window reaches one row beyond the image.
        "ceil": (
            x,
            dict(kernel_size=2, stride=2, ceil_mode=True),
            "kind = max, " + shape("window", (2, 2)) + ", " + shape("stride", (2, 2)) + ", " + around([(0, 1), (0, 1)]),
        ),
    }
    for name, (image, options, attrs) in cases.items():
        pool = lambda x: F.max_pool2d(x, **options)
        write(f"reduce_window_max_{name}", "reduce_window", pool, {"x": image}, attrs, wrt=["x"])
        out, picks = F.max_pool2d(image, **options, return_indices=True)
        source = data.symmetric(out.shape, 562, 1.0)
        planes = lambda t: t.flatten(2)
        unpool = lambda x, s: torch.zeros_like(planes(x)).scatter_add(2, planes(picks), planes(s)).view_as(x)
        write(f"select_and_scatter_{name}", "select_and_scatter", unpool, {"x": image, "source": source}, attrs, wrt=["source"])
    sums = lambda x: F.avg_pool2d(x, (3, 2), stride=(2, 1), padding=(1, 0), divisor_override=1)
    attrs = "kind = sum, " + shape("window", (3, 2)) + ", " + shape("stride", (2, 1)) + ", " + around([(1, 1), (0, 0)])
    write("reduce_window_sum", "reduce_window", sums, {"x": x}, attrs, wrt=["x"])
    smallest = lambda x: -F.max_pool1d(-x, 3, stride=2)
    line = data.symmetric((2, 3, 11), 563, 2.0)
    write("reduce_window_min", "reduce_window", smallest, {"x": line}, "kind = min, window = [1, 1, 3], stride = [1, 1, 2]", wrt=["x"])


def orders():
    x = data.symmetric((4, 9), 564, 2.0)
    for dim in (0, 1):
        write(f"cumulative_sum_dim{dim}", "cumulative", lambda x: x.cumsum(dim), {"x": x}, f"kind = sum, dim = {dim}", wrt=["x"])
        write(f"cumulative_prod_dim{dim}", "cumulative", lambda x: x.cumprod(dim), {"x": x}, f"kind = prod, dim = {dim}", wrt=["x"])
    write("cumulative_sum_reverse", "cumulative", lambda x: x.flip(1).cumsum(1).flip(1), {"x": x}, "kind = sum, dim = 1, reverse = true", wrt=["x"])
    write("cumulative_max", "cumulative", lambda x: x.cummax(1).values, {"x": torch.round(x)}, "kind = max, dim = 1", wrt=["x"])
    write("cumulative_min", "cumulative", lambda x: x.cummin(0).values, {"x": torch.round(x)}, "kind = min, dim = 0", wrt=["x"])
    awkward = f32(AWKWARD)
    write("sort", "sort", lambda x: x.sort(stable=True).values, {"x": awkward}, "dim = 0")
    write("sort_descending", "sort", lambda x: x.sort(descending=True, stable=True).values, {"x": awkward}, "dim = 0, descending = true")
    write("sort_dim1", "sort", lambda x: x.sort(1).values, {"x": x}, "dim = 1", wrt=["x"])
    whole = torch.tensor([[3, -1, 2**31 - 1], [0, 7, -(2**31)]], dtype=I32)
    write("sort_i32", "sort", lambda x: x.sort(0).values, {"x": whole}, "dim = 0")


def generate():
    unary()
    binary()
    reductions()
    indexing()
    contractions()
    windows()
    orders()
