"""Small programs for a GPU, with the inputs they are run on: for tests and bench/cuda_check.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import adjoint as ad
import adjoint.nn.functional as F
from adjoint import Tensor
from adjoint.base.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Array, Type

Function = Callable[..., Sequence[Tensor]]


class Case(NamedTuple):
    """A function of tensors and the types of its arguments; how near results must be."""

    function: Function
    types: tuple[Type, ...]
    near: float = 1e-5

    def graph(self) -> Graph:
        return graph_of(self.function, self.types)

    def arrays(self) -> list[Array]:
        return arrays_of(self.types)


def graph_of(function: Function, types: Sequence[Type]) -> Graph:
    """The recorded function."""
    return record(lambda *n: [t.node for t in function(*map(Tensor, n))], types)


def arrays_of(types: Sequence[Type], seed: int = 0) -> list[Array]:
    """Random arguments; integers are small and not zero."""
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    for kind in types:
        if kind.dtype.kind == "f":
            values: Any = rng.standard_normal(kind.shape)
        elif kind.dtype.kind == "b":
            values = rng.integers(0, 2, kind.shape)
        else:
            values = rng.integers(1, 9, kind.shape)
        found.append(values.astype(kind.dtype.numpy))
    return found


def of(*shape: int, dtype: DType = float32) -> Type:
    return Type(shape, dtype)


def case(function: Function, *types: Type, near: float = 1e-5) -> Case:
    return Case(function, types, near)


def far(got: Array, want: Array) -> float:
    """The largest difference, relative to the largest number; infinite where only one is NaN."""
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if a.shape != b.shape or not (np.isnan(a) == np.isnan(b)).all():
        return float("inf")
    if not a.size:
        return 0.0
    size = np.nanmax(np.abs(b), initial=1e-30)
    return float(np.nanmax(np.abs(a - b), initial=0) / size)


def _norm(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
    return [F.layer_norm(x, (96,), w, b)]


def _batch_norm(x: Tensor, w: Tensor, b: Tensor) -> list[Tensor]:
    return [F.batch_norm(x, None, None, w, b, training=True)]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    return [F.scaled_dot_product_attention(q, k, v, is_causal=True)]


def _step(x: Tensor, w: Tensor, b: Tensor, y: Tensor) -> list[Tensor]:
    """A step of gradient descent on a layer."""
    for leaf in (w, b):
        leaf.requires_grad_()
    loss = ((ad.tanh(x @ w + b) - y) ** 2).mean()
    gradients = ad.autograd.grad(loss, [w, b])
    return [loss, *(p - 0.1 * g for p, g in zip((w, b), gradients, strict=True))]


LOOPS: dict[str, Case] = {
    "points": case(lambda x, y: [ad.exp(x) * y + 1, ad.tanh(x)], of(40, 37), of(40, 37)),
    "transposed": case(lambda x, y: [x.T + y], of(33, 40), of(40, 33)),
    "broadcast": case(lambda x, y: [x * y], of(5, 1, 7), of(6, 1)),
    "joined": case(lambda x, y: [ad.cat([x, y], 1), ad.arange(20)[:, None] + x], of(20, 5),
                   of(20, 7)),
    "integers": case(lambda x, y: [x // y, x % y, x << 2, x > y], of(20, 50, dtype=int64),
                     of(20, 50, dtype=int64)),
    "small integers": case(lambda x, y: [x // y, ad.amax(x - y, 1)], of(20, 50, dtype=int8),
                           of(20, 50, dtype=int8)),
    "bytes": case(lambda x: [ad.amax(x, 0), x.sum(1)], of(33, 50, dtype=uint8)),
    "bits": case(lambda x: [x.any(), x.all(1)], of(50, 20, dtype=bool_)),
    "doubles": case(lambda x: [ad.erf(x), ad.softmax(x, -1)], of(20, 50, dtype=float64),
                    near=1e-14),
    "bfloat16": case(lambda x, y: [x * y + 1, (x * y).sum(1)], of(20, 50, dtype=bfloat16),
                     of(20, 50, dtype=bfloat16), near=1e-2),
    "float16": case(lambda x, y: [x * y + 1, ad.softmax(x, -1)], of(20, 50, dtype=float16),
                    of(20, 50, dtype=float16), near=1e-3),
    "softmax of few": case(lambda x: [ad.softmax(x, -1)], of(50, 5)),
    "softmax in two warps": case(lambda x: [ad.softmax(x, -1)], of(9, 70)),
    "softmax of columns": case(lambda x: [ad.softmax(x, 0)], of(40, 9)),
    "softmax in loops": case(lambda x: [ad.softmax(x, -1)], of(1, 9001)),
    "column sums": case(lambda x: [x.sum(0), ad.amax(x, 0)], of(300, 50)),
    "column loops": case(lambda x: [ad.softmax(x, 0)], of(2100, 3)),
    "sums of two axes": case(lambda x: [x.sum((0, 2)), x.mean(1)], of(10, 12, 14)),
    "sum of integers": case(lambda x: [x.sum()], of(5000, dtype=int32)),
    "sum in pieces": case(lambda x: [(x * x).sum()], of(70001)),
    "columns in pieces": case(lambda x: [x.sum(0)], of(9000, 5)),
    "layer norm": case(_norm, of(20, 96), of(96), of(96)),
    "batch norm": case(_batch_norm, of(8, 6, 5, 5), of(6), of(6)),
    "attention": case(_attention, *[of(2, 2, 16, 8)] * 3),
    "rows of a table": case(lambda w, i: [w[i] * 2], of(11, 8), of(5, dtype=int64)),
    "a step": case(_step, of(24, 12), of(12, 7), of(7), of(24, 7)),
}  # fmt: skip


def _product(a: Tensor, b: Tensor) -> list[Tensor]:
    return [a @ b]


def _turned(a: Tensor, b: Tensor) -> list[Tensor]:
    return [a.T @ b.T]


def pair(a: tuple[int, ...], b: tuple[int, ...], dtype: DType, near: float) -> Case:
    return case(_product, of(*a, dtype=dtype), of(*b, dtype=dtype), near=near)


PRODUCTS: dict[str, Case] = {
    "float32": pair((50, 33), (33, 70), float32, 1e-5),
    "float32 turned": case(_turned, of(33, 50), of(70, 33)),
    "float32 batches": pair((2, 1, 9, 5), (3, 5, 4), float32, 1e-5),
    "float64": pair((40, 20), (20, 40), float64, 1e-14),
    "bfloat16": pair((70, 40), (40, 72), bfloat16, 1e-2),
    "bfloat16 odd": pair((30, 41), (41, 71), bfloat16, 1e-2),
    "float16": pair((66, 104), (104, 24), float16, 2e-3),
    "float16 turned": case(_turned, of(104, 64, dtype=float16), of(72, 104, dtype=float16),
                           near=2e-3),
    "float16 batches": pair((2, 3, 16, 24), (2, 3, 24, 40), float16, 2e-3),
    "float16, one matrix for many": pair((3, 16, 24), (24, 16), float16, 2e-3),
    "a row": pair((1, 64), (64, 9), bfloat16, 1e-2),
}  # fmt: skip
