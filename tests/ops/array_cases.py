"""Cases of the index, reduce, contract and source rows; their meaning element by element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from adjoint import ops
from adjoint.base.dtype import float64, int16, int64, uint8, uint32
from tests.ops.op_cases import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    Array,
    Case,
    Input,
    Shape,
    below,
    by_index,
    coarse,
    plain,
    spaced,
)  # fmt: skip


def cases() -> Iterator[Case]:
    yield from gathers()
    yield from scatters()
    yield from reductions()
    yield from scans()
    yield from dots()
    yield from convolutions()
    yield from sources()


def gathers() -> Iterator[Case]:
    for shape, index, batch in [
        ((5,), (), 0), ((5,), (3,), 0), ((4, 3), (2, 2), 0), ((3, 2), (0,), 0), ((3, 0), (4,), 0),
        ((2, 4), (2, 3), 1), ((2, 4, 3), (2,), 1), ((2, 3, 4, 2), (2, 3, 5), 2),
        ((0, 4), (0, 2), 1),
    ]:  # fmt: skip
        n = shape[batch]
        for dtype in (int64, uint8, int16) if shape == (4, 3) else (int64,):
            yield Case(
                "gather", f"{shape} at {index} of {dtype.name}",
                (Input(shape), Input(index, below(n), dtype)),
                run=lambda x, i, batch=batch: ops.gather(x, i, batch=batch),
                meaning=lambda x, i, batch=batch: _gathered(x, i, batch),
            )  # fmt: skip
    yield Case(
        "gather", "out of range is clipped", (Input((3, 2)), Input((6,), outside, int64)),
        run=lambda x, i: ops.gather(x, i, batch=0),
        meaning=lambda x, i: _gathered(x, np.array([min(max(v, 0), 2) for v in i]), 0),
    )  # fmt: skip


def outside(rng: np.random.Generator, shape: Shape, dtype: Any) -> Array:
    return rng.integers(-4, 8, shape)


def _gathered(x: Array, index: Array, batch: int) -> Array:
    rest = x.shape[batch + 1 :]

    def element(place: Shape) -> Any:
        at = place[: index.ndim]
        return x[(*place[:batch], int(index[at]), *place[index.ndim :])]

    return by_index(index.shape + rest, element, x)


def scatters() -> Iterator[Case]:
    for shape, index, batch in [
        ((5,), (), 0), ((4,), (6,), 0), ((4, 3), (2, 2), 0), ((3, 2), (0,), 0), ((3, 0), (4,), 0),
        ((2, 4), (2, 3), 1), ((2, 4, 3), (2,), 1), ((2, 3, 4, 2), (2, 3, 5), 2),
        ((0, 4), (0, 2), 1),
    ]:  # fmt: skip
        n, updates = shape[batch], index + shape[batch + 1 :]
        yield Case(
            "scatter_add", f"{shape} at {index} batch {batch}",
            (Input(shape), Input(index, below(n), int64), Input(updates)),
            run=lambda x, i, u, batch=batch: ops.scatter_add(x, i, u, batch=batch),
            meaning=lambda x, i, u, batch=batch: _scattered(x, i, u, batch), ulps=1,
        )  # fmt: skip
    yield Case(
        "scatter_add", "out of range is clipped",
        (Input((3, 2)), Input((6,), outside, int64), Input((6, 2))),
        run=lambda x, i, u: ops.scatter_add(x, i, u, batch=0),
        meaning=lambda x, i, u: _scattered(x, np.array([min(max(v, 0), 2) for v in i]), u, 0),
        ulps=1,
    )  # fmt: skip


def _scattered(x: Array, index: Array, updates: Array, batch: int) -> Array:
    out = x.copy()
    for place in np.ndindex(*updates.shape):
        at = place[: index.ndim]
        row = (*place[:batch], int(index[at]), *place[index.ndim :])
        out[row] = out[row] + updates[place]
    return out


def reduced(function: Callable[[Sequence[Any]], Any]) -> Callable[[Array, Shape], Array]:
    """A reduction along axes from one of a list of Python numbers."""

    def meaning(x: Array, axes: Shape) -> Array:
        kept = [a for a in range(x.ndim) if a not in axes]
        shape = tuple(x.shape[a] for a in kept)
        rows = x.transpose([*kept, *axes]).reshape(*shape, math.prod(x.shape[a] for a in axes))
        return by_index(shape, lambda i: function(list(rows[i])), x)

    return meaning


def reductions() -> Iterator[Case]:
    shapes: list[tuple[Shape, Shape]] = [
        ((), ()), ((4,), (0,)), ((4,), ()), ((2, 3), (0,)), ((2, 3), (1, 0)), ((2, 3, 4), (0, 2)),
        ((2, 1, 3), (1,)),
    ]  # fmt: skip
    for shape, axes in [*shapes, ((0,), (0,)), ((2, 0), (0,)), ((0, 3), (0,))]:
        yield Case(
            "reduce_sum", f"{shape} over {axes}", (Input(shape),),
            run=lambda x, axes=axes: ops.reduce_sum(x, axes=axes),
            meaning=lambda x, axes=axes: reduced(total)(x, axes),
            ulps=2, twin=lambda x, axes=axes: x.sum(axes) if axes else x * 1,
        )  # fmt: skip
    for shape, axes in [*shapes, ((2, 0), (0,)), ((0, 3), (1,))]:
        yield Case(
            "reduce_max", f"{shape} over {axes}", (Input(shape, spaced),),
            run=lambda x, axes=axes: ops.reduce_max(x, axes=axes),
            meaning=lambda x, axes=axes: reduced(max)(x, axes),
            dtypes=NUMBERS, twin=lambda x, axes=axes: x.amax(axes) if axes else x * 1,
        )  # fmt: skip
    yield Case(
        "reduce_max", "ties", (Input((3, 5), coarse),),
        run=lambda x: ops.reduce_max(x, axes=(1,)), meaning=lambda x: reduced(max)(x, (1,)),
        smooth=False, twin=lambda x: x.amax(1),
    )  # fmt: skip


def total(values: Sequence[Any]) -> Any:
    return math.fsum(values) if values and isinstance(values[0], float) else sum(values)


def scans() -> Iterator[Case]:
    for shape, axis in [
        ((4,), 0),
        ((0,), 0),
        ((2, 3), 0),
        ((2, 3), 1),
        ((2, 0, 2), 0),
        ((1, 5), 1),
    ]:
        yield Case(
            "cumsum", f"{shape} on {axis}", (Input(shape),),
            run=lambda x, axis=axis: ops.cumsum(x, axis=axis),
            meaning=lambda x, axis=axis: _along(x, axis, lambda v: list(itertools.accumulate(v))),
            ulps=2, twin=lambda x, axis=axis: x.cumsum(axis),
        )  # fmt: skip
        yield Case(
            "argsort", f"{shape} on {axis}", (Input(shape, coarse),),
            run=lambda x, axis=axis: ops.argsort(x, axis=axis),
            meaning=lambda x, axis=axis: _along(x, axis, _order), result=int64, smooth=False,
            twin=lambda x, axis=axis: torch.argsort(x, dim=axis, stable=True),
        )  # fmt: skip
    yield Case(
        "argsort", "NaN last", (Input((9,), with_nan),), dtypes=FLOATS,
        run=lambda x: ops.argsort(x, axis=0), meaning=lambda x: np.array(_order(list(x))),
        result=int64, smooth=False,
    )  # fmt: skip


def with_nan(rng: np.random.Generator, shape: Shape, dtype: Any) -> Array:
    values = coarse(rng, shape, dtype)
    values[::3] = np.nan
    return values


def _order(values: Sequence[Any]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: (values[i] != values[i], values[i]))


def _along(x: Array, axis: int, function: Callable[[list[Any]], list[Any]]) -> Array:
    out = np.array(x)
    for index in np.ndindex(*x.shape[:axis], *x.shape[axis + 1 :]):
        line = (*index[:axis], slice(None), *index[axis:])
        out[line] = function(list(x[line]))
    return out


def dots() -> Iterator[Case]:
    for a, b in [
        ((1, 1), (1, 1)), ((2, 3), (3, 4)), ((5, 1), (1, 5)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
        ((2, 3, 4), (2, 4, 1)), ((2, 0, 1, 3), (2, 0, 3, 2)), ((1, 7), (7, 1)),
    ]:  # fmt: skip
        yield Case(
            "dot", f"{a} by {b}", (Input(a), Input(b)), ops.dot,
            meaning=lambda x, y: np.einsum("...ij,...jk->...ik", x, y), ulps=4, twin=torch.matmul,
        )  # fmt: skip
    yield Case(
        "dot", "x with x", (Input((3, 3)),), run=lambda x: ops.dot(x, x),
        meaning=lambda x: np.einsum("ij,jk->ik", x, x), ulps=4, twin=lambda x: x @ x,
    )  # fmt: skip
    yield Case(
        "dot", "broadcast", (Input((2, 3)), Input((4, 3, 2))),
        run=lambda x, y: ops.dot(ops.broadcast(x, shape=(4, 2, 3)), y),
        meaning=lambda x, y: np.einsum("ij,bjk->bik", x, y), ulps=4, twin=torch.matmul,
    )  # fmt: skip


def convolutions() -> Iterator[Case]:
    for name, x, w, stride, padding, dilation, inner, groups in [
        ("1d", (2, 3, 7), (4, 3, 3), (1,), ((0, 0),), (1,), (1,), 1),
        ("2d", (1, 2, 5, 4), (3, 2, 3, 2), (1, 1), ((1, 1), (0, 0)), (1, 1), (1, 1), 1),
        ("3d", (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), (1, 2, 1), ((1, 1),) * 3, (1,) * 3, (1,) * 3, 1),
        ("stride", (2, 1, 8), (2, 1, 3), (3,), ((1, 1),), (1,), (1,), 1),
        ("dilation", (1, 2, 9), (1, 2, 3), (2,), ((2, 2),), (3,), (1,), 1),
        ("groups", (2, 4, 5), (6, 2, 2), (1,), ((0, 0),), (1,), (1,), 2),
        ("depthwise", (1, 3, 4, 4), (3, 1, 2, 2), (2, 2), ((0, 0),) * 2, (1, 1), (1, 1), 3),
        ("one-sided", (1, 1, 5), (1, 1, 2), (2,), ((2, 0),), (1,), (1,), 1),
        ("cropping", (1, 2, 9), (2, 2, 2), (1,), ((-2, -1),), (1,), (1,), 1),
        ("spread input", (1, 2, 4), (2, 2, 3), (1,), ((1, 2),), (1,), (3,), 1),
        ("everything", (2, 4, 6, 5), (4, 2, 2, 3), (2, 1), ((1, -1), (2, 1)), (2, 1), (2, 3), 2),
        ("no batch", (0, 2, 4), (1, 2, 2), (1,), ((0, 0),), (1,), (1,), 1),
        ("no channels", (2, 0, 4), (3, 0, 2), (1,), ((0, 0),), (1,), (1,), 1),
        ("kernel too large", (1, 1, 2), (1, 1, 4), (1,), ((0, 0),), (1,), (1,), 1),
        ("wide", (9, 2, 3), (1, 2, 1), (1,), ((0, 0),), (1,), (1,), 1),
    ]:  # fmt: skip
        params = {
            "stride": stride, "padding": padding, "dilation": dilation, "inner": inner,
            "groups": groups,
        }  # fmt: skip
        yield Case(
            "conv", name, (Input(x), Input(w)), dtypes=FLOATS, ulps=8,
            run=lambda x, w, p=params: ops.conv(x, w, **p),
            meaning=lambda x, w, p=params: correlated(x, w, **p), twin=_conv_twin(x, w, params),
        )  # fmt: skip


def correlated(
    x: Array, w: Array, stride: Shape, padding: Sequence[tuple[int, int]], dilation: Shape,
    inner: Shape, groups: int,
) -> Array:  # fmt: skip
    """The definition, one product at a time."""
    n, outs, c = x.shape[0], w.shape[0], w.shape[1]
    extent = [(s - 1) * i + 1 + sum(p) for s, i, p in zip(x.shape[2:], inner, padding, strict=True)]
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    sizes = [max((e - r) // s + 1, 0) for e, r, s in zip(extent, reach, stride, strict=True)]
    out = np.zeros((n, outs, *sizes))
    for b, o, *p in np.ndindex(*out.shape):
        for k in np.ndindex(*w.shape[1:]):
            channel = o // (outs // groups) * c + k[0]
            at = [
                i * s + t * d - lo
                for i, s, t, d, (lo, _) in zip(p, stride, k[1:], dilation, padding, strict=True)
            ]
            if any(a % i for a, i in zip(at, inner, strict=True)):
                continue
            source = [a // i for a, i in zip(at, inner, strict=True)]
            if all(0 <= s < size for s, size in zip(source, x.shape[2:], strict=True)):
                out[(b, o, *p)] += x[(b, channel, *source)] * w[(o, *k)]
    return out


def _conv_twin(x: Shape, w: Shape, p: dict[str, Any]) -> Callable[..., Any] | None:
    """torch's convolution, where it has these parameters and sizes."""
    pads = p["padding"]
    if any(i != 1 for i in p["inner"]) or any(lo != hi or lo < 0 for lo, hi in pads):
        return None
    if 0 in (*x, *w) or w[2] > x[2] + 2 * pads[0][0]:
        return None
    convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[len(pads) - 1]

    def twin(x: Any, w: Any) -> Any:
        symmetric = [lo for lo, _ in pads]
        return convolve(x, w, None, p["stride"], symmetric, p["dilation"], p["groups"])

    return twin


def sources() -> Iterator[Case]:
    for size in (0, 1, 7):
        for dtype in (*INTEGERS, *FLOATS):
            yield Case(
                "iota", f"{size} {dtype.name}", (), dtypes=(float64,), result=dtype,
                run=lambda size=size, dtype=dtype: ops.iota(size=size, dtype=dtype),
                meaning=lambda size=size: np.array(list(range(size)), object), smooth=False,
            )  # fmt: skip
    for keys, shape in [
        ((2,), ()),
        ((2,), (5,)),
        ((2,), (0, 3)),
        ((3, 2), (2, 3)),
        ((2, 0, 2), (4,)),
    ]:
        yield Case(
            "random_bits", f"{keys} {shape}", (Input(keys, plain, uint32),), result=uint32,
            run=lambda key, shape=shape: ops.random_bits(key, shape=shape), dtypes=(float64,),
            meaning=lambda key, shape=shape: _words(key, shape), smooth=False,
        )  # fmt: skip


def _words(key: Array, shape: Shape) -> Array:
    out = np.empty((*key.shape[:-1], *shape), object)
    for index in np.ndindex(*key.shape[:-1]):
        pair = [int(k) for k in key[index]]
        words = [philox([i // 4, 0, 0, 0], pair)[i % 4] for i in range(math.prod(shape))]
        out[index] = np.array(words, object).reshape(shape)[()]
    return out


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 as the paper prints it, on Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c
