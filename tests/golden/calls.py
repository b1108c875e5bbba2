"""Golden numbers of functions with many settings: `calls/FUNCTION.safetensors`, several calls in each (README.md, Calls).

Everything is computed in `f64` from `f32` inputs, and rounded once. Inputs keep clear of points where a function has no
derivative, unless the call is marked `kink`: at the others the test takes finite differences, too.
"""

import contextlib

import torch
import torch.nn.functional as F
import torchvision.ops

import data


@contextlib.contextmanager
def function(name, fn):
    """Collects calls of `fn(*inputs, **settings)` and writes them as those of `name`."""
    collected = Function(name, fn)
    yield collected
    data.save(f"calls/{name}.safetensors", collected.tensors, cases=collected.cases)


class Function:
    """The calls of one function."""

    def __init__(self, name, fn):
        self.name, self.fn = name, fn
        self.tensors, self.cases = {}, {}

    def call(self, name, *inputs, wrt=None, also=(), kink=False, **settings):
        """Adds one call. `wrt` are the positions of the inputs that gradients are taken of, by default all floats; `also`
        of those by which nnc can differentiate and PyTorch cannot."""
        assert name not in self.cases, f"{self.name} has two calls {name}"
        values = [value.double() if value.is_floating_point() else value for value in inputs]
        wrt = [idx for idx, value in enumerate(values) if value.is_floating_point()] if wrt is None else wrt
        for idx in wrt:
            values[idx].requires_grad_()
        out = self.fn(*values, **settings)
        ct = data.symmetric(out.shape, 900, 1.0)
        grads = torch.autograd.grad(out, [values[idx] for idx in wrt], ct.double())
        tensors = {f"in.{idx}": value for idx, value in enumerate(inputs)} | {"out": out.float(), "ct": ct}
        tensors |= {f"grad.{idx}": grad.float() for idx, grad in zip(wrt, grads)}
        self.tensors |= {f"{name}/{key}": value for key, value in tensors.items()}
        self.cases[name] = {"settings": settings, "finite": [] if kink else sorted([*wrt, *also])}


def ints(values, *shape):
    values = torch.tensor(values, dtype=torch.int64)
    return values.reshape(shape) if shape else values


def sampling():
    image, grid = data.symmetric((2, 3, 4, 5), 800, 2.0), data.symmetric((2, 3, 2, 2), 801, 1.6)
    volume, points = data.symmetric((1, 2, 3, 4, 2), 802, 2.0), data.symmetric((1, 2, 1, 3, 3), 803, 1.6)
    with function("grid_sample", F.grid_sample) as f:
        for mode in ("bilinear", "nearest", "bicubic"):
            for padding in ("zeros", "border", "reflection"):
                for corners in (False, True):
                    # Where the nearest element lies is no function that has a gradient; nnc refuses it, PyTorch gives zeros.
                    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}
                    name = f"{mode}_{padding}{'_corners' if corners else ''}"
                    f.call(name, image, grid, wrt=[0] if mode == "nearest" else None, **settings)
                    if mode != "bicubic" and corners == (padding == "border"):
                        f.call(f"volume_{name}", volume, points, wrt=[0] if mode == "nearest" else None, **settings)
        f.call("one_element", data.symmetric((1, 2, 1, 1), 804, 2.0), data.symmetric((1, 2, 2, 2), 805, 0.9), mode="bilinear", padding_mode="zeros", align_corners=False)
    with function("affine_grid", lambda theta, size, align_corners: F.affine_grid(theta, size, align_corners)) as f:
        flat, solid = data.symmetric((2, 2, 3), 806, 1.0), data.symmetric((1, 3, 4), 807, 1.0)
        for corners in (False, True):
            suffix = "_corners" if corners else ""
            f.call(f"flat{suffix}", flat, size=[2, 3, 4, 5], align_corners=corners)
            f.call(f"solid{suffix}", solid, size=[1, 1, 2, 3, 4], align_corners=corners)
            f.call(f"line{suffix}", flat, size=[2, 1, 1, 4], align_corners=corners)


def resampling():
    line, image, volume = data.symmetric((1, 2, 5), 810, 2.0), data.symmetric((1, 2, 4, 6), 811, 2.0), data.symmetric((1, 1, 3, 4, 2), 812, 2.0)
    with function("interpolate", F.interpolate) as f:
        for mode, x in [("linear", line), ("bilinear", image), ("bicubic", image), ("trilinear", volume)]:
            n_spatial = x.dim() - 2
            for corners in (False, True):
                suffix = f"{mode}_corners" if corners else mode
                f.call(f"{suffix}_twice", x, scale_factor=2.0, mode=mode, align_corners=corners)
                f.call(f"{suffix}_up", x, size=[7, 9, 5][:n_spatial], mode=mode, align_corners=corners)
                f.call(f"{suffix}_down", x, size=[3, 4, 1][:n_spatial], mode=mode, align_corners=corners)
            f.call(f"{mode}_fraction", x, scale_factor=[1.5, 0.6, 2.5][:n_spatial], mode=mode, align_corners=False)
        for mode in ("nearest", "nearest-exact"):
            for x in (line, image, volume):
                n_spatial = x.dim() - 2
                f.call(f"{mode}_{n_spatial}d_up", x, size=[7, 9, 5][:n_spatial], mode=mode)
                f.call(f"{mode}_{n_spatial}d_down", x, size=[3, 4, 1][:n_spatial], mode=mode)
            f.call(f"{mode}_fraction", image, scale_factor=[1.5, 0.6], mode=mode)


def regions():
    image = data.symmetric((2, 3, 7, 8), 820, 2.0)
    # Within, across the edge, thinner than an element, outside, and the wrong way round.
    boxes = torch.tensor([[1.13, 0.7, 5.3, 4.9], [-2.3, 2.2, 3.1, 9.7], [4.2, 4.3, 4.5, 4.6], [11.3, 12.1, 14.9, 15.2], [5.2, 5.1, 2.3, 1.7]])
    images = ints([0, 1, 1, 0, 1])
    joined = lambda boxes, images: torch.cat([images.unsqueeze(1).to(boxes), boxes], 1)
    align = lambda x, boxes, images, **settings: torchvision.ops.roi_align(x, joined(boxes, images), **settings)
    with function("roi_align", align) as f:
        for aligned in (False, True):
            for ratio in (-1, 1, 2, 3):
                name = f"{'aligned' if aligned else 'plain'}_{'adaptive' if ratio < 0 else ratio}"
                settings = {"output_size": [2, 3], "spatial_scale": 0.75, "sampling_ratio": ratio, "aligned": aligned}
                f.call(name, image, boxes, images, wrt=[0], also=[1], **settings)
    pool = lambda x, boxes, images, **settings: torchvision.ops.roi_pool(x, joined(boxes, images), **settings)
    with function("roi_pool", pool) as f:
        f.call("plain", image, boxes, images, wrt=[0], output_size=[2, 3], spatial_scale=1.0)
        f.call("scaled", image, boxes, images, wrt=[0], output_size=[3, 2], spatial_scale=0.5)
        f.call("one_bin", image[:1], boxes, torch.zeros_like(images), wrt=[0], output_size=[1, 1], spatial_scale=1.0)


def deformable():
    x, weight, bias = data.symmetric((2, 4, 5, 6), 830, 2.0), data.symmetric((6, 2, 2, 3), 831, 1.0), data.symmetric((6,), 832, 1.0)
    with function("deform_conv", lambda *inputs, **settings: convolve(*inputs, **settings)) as f:

        def call(name, offset_groups, masked, weight=weight, x=x, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
            kernel = weight.shape[2:]
            space = [(x.shape[2 + dim] + 2 * padding[dim] - dilation[dim] * (kernel[dim] - 1) - 1) // stride[dim] + 1 for dim in (0, 1)]
            n_taps = kernel[0] * kernel[1] * offset_groups
            offset, mask = data.symmetric((x.shape[0], 2 * n_taps, *space), 833, 1.7), data.unit((x.shape[0], n_taps, *space), 834)
            inputs = [x, offset, weight] + ([bias, mask] if masked else [])
            f.call(name, *inputs, stride=list(stride), padding=list(padding), dilation=list(dilation))

        call("plain", 1, False)
        call("masked", 1, True)
        call("offset_groups", 2, True)
        call("options", 4, True, stride=(2, 1), padding=(1, 2), dilation=(1, 2))
        call("one_group", 1, False, weight=data.symmetric((3, 4, 1, 2), 835, 1.0), stride=(3, 2))


def convolve(x, offset, weight, bias=None, mask=None, **settings):
    return torchvision.ops.deform_conv2d(x, offset, weight, bias, mask=mask, **settings)


def folding():
    with function("unfold", F.unfold) as f:
        f.call("plain", data.symmetric((2, 2, 4, 5), 840, 2.0), kernel_size=[2, 3], dilation=[1, 1], padding=[0, 0], stride=[1, 1])
        f.call("options", data.symmetric((1, 2, 5, 6), 841, 2.0), kernel_size=[2, 3], dilation=[2, 1], padding=[1, 2], stride=[1, 2])
    with function("fold", F.fold) as f:
        f.call("plain", data.symmetric((2, 12, 9), 842, 2.0), output_size=[4, 5], kernel_size=[2, 3], dilation=[1, 1], padding=[0, 0], stride=[1, 1])
        f.call("options", data.symmetric((1, 12, 20), 843, 2.0), output_size=[5, 6], kernel_size=[2, 3], dilation=[2, 1], padding=[1, 2], stride=[1, 2])
        f.call("apart", data.symmetric((1, 4, 4), 844, 2.0), output_size=[5, 6], kernel_size=[2, 2], dilation=[1, 1], padding=[0, 0], stride=[3, 4])
    pooled, indices = F.max_pool2d(data.symmetric((2, 2, 4, 6), 845, 2.0), 2, return_indices=True)
    with function("max_unpool", lambda x, indices, output_size: F.max_unpool2d(x, indices, 2, output_size=output_size)) as f:
        f.call("plain", pooled, indices, output_size=[4, 6])
        f.call("larger", pooled, indices, output_size=[5, 7])


def sums():
    s = lambda *shape: data.symmetric(shape, 850 + len(shape), 1.0)
    t = lambda *shape: data.symmetric(shape, 860 + len(shape), 1.0)
    u = lambda *shape: data.symmetric(shape, 870 + len(shape), 1.0)
    with function("einsum", lambda *inputs, equation: torch.einsum(equation, *inputs)) as f:
        f.call("chain", s(2, 3), t(3, 4), u(4, 2), equation="ab,bc,cd->ad")
        f.call("batch", s(2, 3, 4), t(2, 4, 2), equation="bij,bjk->bik")
        f.call("outer", s(3), t(4), equation="i,j->ij")
        f.call("elementwise", s(3, 4), t(3, 4), equation="ij,ij->ij")
        f.call("implicit", s(3, 4), t(4, 2), equation="ij,jk")
        f.call("implicit_order", s(3, 4), equation="ba")
        f.call("trace", s(3, 3), equation="ii")
        f.call("diagonal_of_batch", s(2, 3, 3), equation="...ii->...i")
        f.call("sum", s(3, 4), equation="ij->")
        f.call("one_sided_sum", s(3, 4), t(5, 4), equation="ij,kj->k")
        f.call("transposed", s(2, 3, 4), equation="ijk->kij")
        f.call("ellipsis", s(2, 1, 3), t(4, 3), equation="...i,...i->...")
        f.call("ellipsis_inside", s(2, 3, 4, 5), t(5, 4), equation="a...b,b...->a...")
        f.call("stretched", s(1, 4), t(3, 4), equation="ij,ij->i")
        f.call("repeated_in_both", s(3, 3), t(3, 3), equation="ii,ij->ij")
        f.call("bilinear", s(2, 3), t(4, 3, 5), u(2, 5), equation="bn,anm,bm->ba")


def matrices():
    with function("det", torch.linalg.det) as f:
        for n in (1, 2, 3, 4, 7):
            f.call(f"of_{n}", data.symmetric((2, n, n), 880 + n, 1.0))
    with function("diagonal", torch.diagonal) as f:
        x = data.symmetric((3, 4, 5), 890, 1.0)
        f.call("main", x, offset=0, dim1=1, dim2=2)
        f.call("above", x, offset=2, dim1=0, dim2=2)
        f.call("below", x, offset=-1, dim1=-1, dim2=0)
        f.call("triangle", x, offset=-2, dim1=0, dim2=1)


def positions():
    x, rows = data.symmetric((4, 5), 700, 2.0), data.symmetric((3, 4), 701, 2.0)
    apart = ints([2, 0, 1, 3, 1, 3, 2, 0, 3, 2, 0, 1], 3, 4)
    often = ints([2, 0, 2, 3, 2, 0, 2, 3, 0, 0, 1, 1], 3, 4)
    with function("gather", lambda x, index, dim: torch.gather(x, dim, index)) as f:
        f.call("rows", x, often, dim=0)
        f.call("columns", x, ints([0, 4, 4, 1, 1, 1, 2, 0], 4, 2), dim=1)
        f.call("middle", data.symmetric((2, 3, 2), 702, 2.0), ints([0, 2, 1, 1, 2, 0, 0, 0], 2, 2, 2), dim=1)
    with function("index_select", lambda x, index, dim: torch.index_select(x, dim, index)) as f:
        f.call("rows", x, ints([3, 0, 3, 3]), dim=0)
        f.call("columns", x, ints([4, 2]), dim=-1)
    with function("scatter", lambda x, index, source, dim: torch.scatter(x, dim, index, source)) as f:
        f.call("rows", x, apart, rows, dim=0)
        f.call("columns", data.symmetric((3, 6), 703, 2.0), ints([5, 1, 0, 2, 1, 3, 4, 0, 0, 5, 2, 3], 3, 4), rows, dim=1)
    with function("scatter_add", lambda x, index, source, dim: torch.scatter_add(x, dim, index, source)) as f:
        f.call("rows", x, often, rows, dim=0)
        f.call("columns", data.symmetric((3, 6), 703, 2.0), ints([5, 1, 5, 2, 1, 1, 1, 0, 0, 5, 2, 0], 3, 4), rows, dim=1)
    reduce = lambda x, index, source, dim, reduce: torch.scatter_reduce(x, dim, index, source, reduce, include_self=True)
    with function("scatter_reduce", reduce) as f:
        for how in ("sum", "prod", "amax", "amin"):
            f.call(how, x, often, rows, dim=0, reduce=how)
            f.call(f"{how}_columns", data.symmetric((3, 6), 703, 2.0), ints([5, 1, 5, 2, 1, 1, 1, 0, 0, 5, 2, 0], 3, 4), rows, dim=1, reduce=how)
        zeros, zero_rows = x.clone(), rows.clone()
        zeros[2, 0] = zero_rows[0, 1] = zero_rows[0, 2] = zero_rows[1, 2] = 0.0
        f.call("prod_zeros", zeros, often, zero_rows, dim=0, reduce="prod")
        for how in ("amax", "amin"):
            ties, tied_rows = torch.round(x), torch.round(rows)
            f.call(f"{how}_ties", ties, often, tied_rows, dim=0, reduce=how, kink=True)
    put = lambda x, index, source, accumulate: x.index_put(tuple(index.unbind(-1)), source, accumulate)
    with function("scatter_nd", put) as f:
        elements, source = ints([3, 0, 1, 4, 0, 2], 3, 2), data.symmetric((3,), 704, 2.0)
        f.call("elements", x, elements, source, accumulate=False)
        f.call("rows", x, ints([2, 0], 2, 1), data.symmetric((2, 5), 705, 2.0), accumulate=False)
        f.call("sums", x, ints([2, 0, 2, 2], 4, 1), data.symmetric((4, 5), 706, 2.0), accumulate=True)
        f.call("from_the_end", x, ints([-1, -2, 1, 4, 0, -5], 3, 2), source, accumulate=True)
    with function("gather_nd", lambda x, index: x[tuple(index.unbind(-1))]) as f:
        f.call("elements", x, ints([3, 0, 1, 4, 3, 0], 3, 2))
        f.call("rows", x, ints([3, 0, -1, 2], 2, 2, 1))


def generate():
    sampling()
    resampling()
    regions()
    deformable()
    folding()
    sums()
    matrices()
    positions()


if __name__ == "__main__":
    torch.set_num_threads(1)
    generate()
