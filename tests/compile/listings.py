"""Small programs, and their kernels in words: python -m tests.compile.listings writes them anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import adjoint as ad
import adjoint.nn.functional as F
from adjoint.base.dtype import float32
from adjoint.compile.fuse import fuse, prepare
from adjoint.compile.kernel import Kernel
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Node, Type
from adjoint.tensors.handle import wrap


def recorded(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Graph:
    """The graph of a function of float32 tensors of ``shapes``."""

    def nodes(*inputs: Node) -> list[Node]:
        found = function(*(wrap(n) for n in inputs))
        found = found if isinstance(found, (list, tuple)) else [found]
        return [t.node for t in found]

    return record(nodes, [Type(s, float32) for s in shapes])


def gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradients of the sum of what ``function`` gives."""

    def found(*args: Any) -> Any:
        return ad.grad(lambda *xs: function(*xs).sum(), argnums=tuple(range(len(args))))(*args)

    return found


def normalised(x: Any) -> Any:
    centred = x - x.mean(-1, keepdim=True)
    return centred / ((centred * centred).mean(-1, keepdim=True) + 1e-5).sqrt()


def channels(x: Any) -> Any:
    mean = x.mean((0, 2, 3), keepdim=True)
    return (x - mean) * (((x - mean) ** 2).mean((0, 2, 3), keepdim=True) + 1e-5).rsqrt()


def attention(q: Any, k: Any, v: Any) -> Any:
    return F.softmax(q @ k.transpose(-1, -2) * 0.25, -1) @ v


def split_heads(x: Any) -> Any:
    return x.reshape(2, 5, 3, 4).permute(0, 2, 1, 3).reshape(2, 3, 20) * 2


PROGRAMS: dict[str, tuple[Any, ...]] = {
    "add": (lambda x, y: x + y, (3, 5), (3, 5)),
    "broadcast": (lambda x, b: x * b + 1, (4, 6), (6,)),
    "column": (lambda x, b: x * b, (4, 6), (4, 1)),
    "chain": (lambda x: ((x * 2 + 1).exp().tanh() - x).relu(), (7, 9)),
    "two results": (lambda x: (x.sin(), x.cos() * x), (33,)),
    "transposed": (lambda x: x.T + 1, (20, 30)),
    "heads": (split_heads, (2, 5, 12)),
    "reversed": (lambda x: x.flip(0) + x, (17,)),
    "strided": (lambda x: x[::2, 1::3] * 2, (8, 9)),
    "sum": (lambda x: x.sum(), (50,)),
    "rows": (lambda x: x.sum(1), (6, 40)),
    "columns": (lambda x: x.sum(0), (40, 70)),
    "largest": (lambda x: x.amax(1) * 2, (6, 40)),
    "middle": (lambda x: x.mean(1), (4, 6, 20)),
    "all of many": (lambda x: (x * x).sum(), (300, 400)),
    "few long columns": (lambda x: x.sum(0), (50000, 3)),
    "softmax": (lambda x: F.softmax(x, -1), (8, 20)),
    "softmax of columns": (lambda x: F.softmax(x, 0), (20, 8)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), (8, 20)),
    "logsumexp": (lambda x: x.logsumexp(-1), (8, 20)),
    "norm of rows": (normalised, (8, 32)),
    "norm of channels": (channels, (2, 3, 4, 5)),
    "gradient of softmax": (gradients(lambda x: F.softmax(x, -1) ** 2), (8, 20)),
    "gradient of a norm": (gradients(lambda x: normalised(x) ** 3), (8, 32)),
    "gradient of gelu": (gradients(lambda x: F.gelu(x)), (8, 20)),
    "pad": (lambda x: F.pad(x, (1, 2)) * 2, (4, 6)),
    "concat": (lambda x, y: ad.cat([x, y * 2], 1), (4, 3), (4, 5)),
    "product": (lambda x, w: x @ w, (8, 16), (16, 4)),
    "linear": (lambda x, w, b: (x @ w + b).relu(), (8, 16), (16, 4), (4,)),
    "product then softmax": (lambda x, w: F.softmax(x @ w, -1), (8, 16), (16, 4)),
    "gradient of linear": (
        gradients(lambda x, w, b: (x @ w + b).relu()),
        (8, 16),
        (16, 4),
        (4,),
    ),
    "transposed product": (lambda x, w: (x @ w).T + 1, (8, 16), (16, 4)),
    "batched product": (lambda x, y: x @ y.transpose(-1, -2), (2, 3, 8, 4), (2, 3, 8, 4)),
    "attention by hand": (attention, (2, 3, 8, 4), (2, 3, 8, 4), (2, 3, 8, 4)),
    "residual": (lambda x, w: x + F.gelu(normalised(x) @ w), (8, 16), (16, 16)),
    "variance": (lambda x: x.var(1), (6, 40)),
    "where": (lambda x, y: ad.where(x > y, x, y * 2), (5, 9), (5, 9)),
    "outer": (lambda x, y: x[:, None] * y[None, :], (20,), (30,)),
    "mean of squares": (lambda x, y: ((x - y) ** 2).mean(), (12, 10), (12, 10)),
    "scaled by a sum": (lambda x: x / x.sum(), (20, 10)),
}


def listings() -> str:
    """All programs and their kernels."""
    found: list[str] = []
    for name, (function, *shapes) in PROGRAMS.items():
        found.append(f"== {name} {' '.join(str(s) for s in shapes)}")
        for step in fuse(prepare(recorded(function, *shapes))).steps:
            found.append(f"-- {step}")
            for kernel in (step, getattr(step, "after", None)):
                if isinstance(kernel, Kernel) and kernel.listing is not None:
                    lead = "" if kernel is step else "finished by: "
                    found.append(lead + kernel.listing())
    return "\n".join(found) + "\n"


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "golden" / "kernels.txt"
    path.write_text(listings())
    print(f"{path}: {len(PROGRAMS)} programs")
