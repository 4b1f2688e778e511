"""Cases of the view rows; their meaning element by element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from adjoint import ops
from tests.ops.op_cases import Array, Case, Input, Shape, by_index


def cases() -> Iterator[Case]:
    yield from reshapes()
    yield from permutations()
    yield from broadcasts()
    yield from slices()
    yield from pads()
    yield from concatenations()


def reshapes() -> Iterator[Case]:
    for old, new in [
        ((), (1,)), ((), (1, 1)), ((1,), ()), ((6,), (2, 3)), ((2, 3), (3, 2)), ((0, 2), (3, 0)),
        ((2, 3, 4), (4, 6)), ((2, 1, 3), (1, 6, 1)),
    ]:  # fmt: skip
        yield Case(
            "reshape", f"{old} to {new}", (Input(old),),
            run=lambda x, new=new: ops.reshape(x, shape=new),
            meaning=lambda x, new=new: np.array(list(x.flat), x.dtype).reshape(new),
            twin=lambda x, new=new: x.reshape(new),
        )  # fmt: skip
    yield Case(
        "reshape", "of a permutation", (Input((2, 3, 4)),),
        run=lambda x: ops.reshape(ops.permute(x, axes=(2, 0, 1)), shape=(8, 3)),
        meaning=lambda x: np.stack([x[i, :, k] for k in range(4) for i in range(2)]),
        twin=lambda x: x.permute(2, 0, 1).reshape(8, 3),
    )  # fmt: skip


def permutations() -> Iterator[Case]:
    for shape, axes in [
        ((), ()), ((4,), (0,)), ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((2, 0, 3), (1, 2, 0)),
        ((2, 1, 3, 2), (3, 1, 0, 2)),
    ]:  # fmt: skip

        def meaning(x: Array, axes: Shape = axes) -> Array:
            new = tuple(x.shape[a] for a in axes)
            return by_index(new, lambda i: x[tuple(i[axes.index(a)] for a in range(x.ndim))], x)

        yield Case(
            "permute", f"{shape} by {axes}", (Input(shape),),
            run=lambda x, axes=axes: ops.permute(x, axes=axes), meaning=meaning,
            twin=lambda x, axes=axes: x.permute(axes),
        )  # fmt: skip


def broadcasts() -> Iterator[Case]:
    for old, new in [
        ((), ()), ((), (3,)), ((1,), (4,)), ((3,), (2, 3)), ((2, 1, 3), (4, 2, 5, 3)),
        ((1, 3), (0, 3)), ((0,), (2, 0)), ((1, 1), (1, 1)), ((2, 1), (2, 0)),
    ]:  # fmt: skip

        def meaning(x: Array, new: Shape = new) -> Array:
            sizes = [1] * (len(new) - x.ndim) + list(x.shape)
            full = x.reshape(sizes)

            def source(index: Shape) -> Any:
                return full[tuple(0 if s == 1 else i for i, s in zip(index, sizes, strict=True))]

            return by_index(new, source, x)

        yield Case(
            "broadcast", f"{old} to {new}", (Input(old),),
            run=lambda x, new=new: ops.broadcast(x, shape=new), meaning=meaning,
            twin=lambda x, new=new: x.expand(new),
        )  # fmt: skip


def slices() -> Iterator[Case]:
    for shape, starts, sizes, steps in [
        ((), (), (), ()), ((5,), (1,), (3,), (1,)), ((5,), (4,), (5,), (-1,)),
        ((7,), (1,), (3,), (2,)), ((7,), (6,), (3,), (-3,)), ((4,), (2,), (0,), (1,)),
        ((3, 4), (0, 3), (3, 2), (1, -2)), ((0, 3), (0, 2), (0, 3), (1, -1)),
        ((2, 5, 3), (1, 4, 0), (2, 2, 1), (-1, -4, 1)), ((4,), (4,), (0,), (-1,)),
    ]:  # fmt: skip

        def meaning(
            x: Array, starts: Shape = starts, sizes: Shape = sizes, steps: Shape = steps
        ) -> Array:
            def source(index: Shape) -> Any:
                return x[tuple(b + i * s for b, i, s in zip(starts, index, steps, strict=True))]

            return by_index(sizes, source, x)

        params = {"starts": starts, "sizes": sizes, "steps": steps}
        yield Case(
            "slice", f"{shape} {starts} {sizes} {steps}", (Input(shape),),
            run=lambda x, p=params: ops.slice(x, **p), meaning=meaning,
        )  # fmt: skip


def pads() -> Iterator[Case]:
    for shape, low, high, interior in [
        ((), (), (), ()), ((3,), (1,), (2,), (0,)), ((3,), (0,), (0,), (2,)),
        ((0,), (1,), (2,), (3,)), ((2, 3), (1, 0), (0, 2), (1, 0)), ((1,), (0,), (0,), (5,)),
        ((2, 0, 2), (0, 1, 0), (1, 0, 0), (0, 4, 1)),
    ]:  # fmt: skip

        def meaning(
            x: Array, low: Shape = low, high: Shape = high, interior: Shape = interior
        ) -> Array:
            sizes = [
                b + e + n + (n - 1) * k * (n > 0)
                for n, b, e, k in zip(x.shape, low, high, interior, strict=True)
            ]
            out = np.full(sizes, x.dtype.type(0) if x.dtype != object else 0, x.dtype)
            for index in np.ndindex(*x.shape):
                out[
                    tuple(b + i * (k + 1) for i, b, k in zip(index, low, interior, strict=True))
                ] = x[index]
            return out  # fmt: skip

        params = {"low": low, "high": high, "interior": interior}
        yield Case(
            "pad", f"{shape} {low} {high} {interior}", (Input(shape),),
            run=lambda x, p=params: ops.pad(x, **p), meaning=meaning,
        )  # fmt: skip


def concatenations() -> Iterator[Case]:
    for shapes, axis in [
        ([(3,)], 0), ([(2,), (3,)], 0), ([(0,), (2,), (1,)], 0), ([(2, 3), (2, 1)], 1),
        ([(2, 0, 1), (1, 0, 1)], 0), ([(2, 2, 3), (2, 2, 1), (2, 2, 2)], 2),
    ]:  # fmt: skip

        def meaning(*xs: Array, axis: int = axis) -> Array:
            slabs = [slab for x in xs for slab in np.moveaxis(x, axis, 0)]
            if not slabs:
                return xs[0]
            return np.moveaxis(np.array(slabs, xs[0].dtype), 0, axis)

        yield Case(
            "concat", f"{shapes} on {axis}", tuple(Input(s) for s in shapes),
            run=lambda *xs, axis=axis: ops.concat(*xs, axis=axis), meaning=meaning,
            twin=lambda *xs, axis=axis: torch.cat(xs, axis),
        )  # fmt: skip
    yield Case(
        "concat", "x with x", (Input((2, 2)),),
        run=lambda x: ops.concat(x, x, x, axis=0),
        meaning=lambda x: np.stack([x] * 3).reshape(6, 2),
    )  # fmt: skip
