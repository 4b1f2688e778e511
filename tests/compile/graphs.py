"""Random programs: pointwise ops, reductions and views on small arrays, of several dtypes."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from adjoint import ops
from adjoint.base.dtype import bool_, float32, float64, int32, int64
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Node, Type

SIZES = (1, 2, 3, 5, 8, 17, 33, 70)
LARGEST = 30_000  # elements


def random_graph(seed: int) -> tuple[Graph, list[np.ndarray[Any, Any]]]:
    """A program of 3 to 16 random ops, and arrays to run it on."""
    rng = random.Random(seed)
    types = [
        Type(
            tuple(rng.choice(SIZES) for _ in range(rng.randint(0, 4))),
            float32 if rng.random() < 0.75 else rng.choice([float64, int32, int64]),
        )
        for _ in range(rng.randint(1, 3))
    ]
    types = [t for t in types if prod(t.shape) <= LARGEST] or [Type((5, 17), float32)]
    graph = record(Builder(rng).outputs, types)
    values = np.random.default_rng(seed)
    arrays = [np.asarray(values.normal(size=t.shape) * 2).astype(t.dtype.numpy) for t in types]
    return graph, arrays


class Builder:
    """Adds one random op after the other. ``exact`` are the nodes whose value does not depend on
    rounding: only these are compared or cut off, where a last bit would make all the difference."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.exact: set[Node] = set()

    def outputs(self, *inputs: Node) -> list[Node]:
        rng = self.rng
        pool = list(inputs)
        self.exact = set(inputs)
        steps: list[Callable[[Node, list[Node]], Node | None]] = [
            self.unary, self.binary, self.binary, self.reduce, self.permute, self.reshape,
            self.slice, self.pad, self.concat, self.cast, self.count,
        ]  # fmt: skip
        for _ in range(rng.randint(3, 16)):
            x = rng.choice(pool[-6:])
            made = rng.choice(steps)(x, pool)
            if made is not None and prod(made.shape) <= LARGEST:
                pool.append(made)
        found = rng.sample(pool, min(len(pool), rng.randint(1, 3)))
        return [*found, pool[-1]]

    def moved(self, x: Node, made: Node) -> Node:
        if x in self.exact:
            self.exact.add(made)
        return made

    def unary(self, x: Node, pool: list[Node]) -> Node | None:
        if x.dtype.kind != "f":
            return ops.neg(x) if x.dtype.kind == "i" else None
        name = self.rng.choice(["neg", "tanh", "sqrt", "exp", "log", "floor", "sin", "erf"])
        if name in ("sqrt", "log"):
            return getattr(ops, name)(x * x + 1.0)
        if name == "floor":
            return ops.floor(x) if x in self.exact else None
        return ops.exp(ops.tanh(x)) if name == "exp" else getattr(ops, name)(x)

    def binary(self, x: Node, pool: list[Node]) -> Node | None:
        z = self.rng.choice([p for p in pool if p.dtype is x.dtype])
        try:
            shape = np.broadcast_shapes(x.shape, z.shape)
        except ValueError:
            return None
        if prod(shape) > LARGEST:
            return None
        a, b = (n if n.shape == shape else ops.broadcast(n, shape=shape) for n in (x, z))
        if x.dtype.kind == "b":
            return ops.bit_and(a, b)
        name = self.rng.choice(["add", "sub", "mul", "maximum", "minimum", "where"])
        if name == "where":
            if x not in self.exact or z not in self.exact:
                return None
            return ops.where(ops.lt(a, b), a, b)
        made = getattr(ops, name)(a, b)
        if x.dtype.kind != "f":
            return made
        return ops.tanh(made) if name == "mul" else made * 0.5

    def reduce(self, x: Node, pool: list[Node]) -> Node | None:
        if x.ndim == 0 or x.dtype.kind == "b":
            return None
        axes = tuple(sorted(self.rng.sample(range(x.ndim), self.rng.randint(1, x.ndim))))
        if self.rng.random() < 0.7:
            made = ops.reduce_sum(x, axes=axes)
            if x.dtype.kind == "f":
                made = made * (1.0 / prod(x.shape[a] for a in axes))
        else:
            made = ops.reduce_max(x, axes=axes)
        if self.rng.random() < 0.6:
            kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
            made = ops.broadcast(ops.reshape(made, shape=kept), shape=x.shape)
            if x.dtype.kind == "f":
                made = x - made
        return made

    def permute(self, x: Node, pool: list[Node]) -> Node | None:
        axes = list(range(x.ndim))
        self.rng.shuffle(axes)
        return self.moved(x, ops.permute(x, axes=tuple(axes))) if x.ndim > 1 else None

    def reshape(self, x: Node, pool: list[Node]) -> Node:
        left, shape = prod(x.shape), []
        while left > 1 and self.rng.random() < 0.8:
            shape.append(self.rng.choice([d for d in range(1, left + 1) if left % d == 0]))
            left //= shape[-1]
        return self.moved(x, ops.reshape(x, shape=(*shape, left)))

    def slice(self, x: Node, pool: list[Node]) -> Node:
        starts, sizes, steps = [], [], []
        for n in x.shape:
            step = self.rng.choice([1, 1, 1, 2, 3, -1, -2])
            size = self.rng.randint(1, -(-n // abs(step)))
            low = self.rng.randint(0, n - 1 - (size - 1) * abs(step))
            starts.append(low if step > 0 else low + (size - 1) * abs(step))
            sizes.append(size)
            steps.append(step)
        taken = ops.slice(x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
        return self.moved(x, taken)

    def pad(self, x: Node, pool: list[Node]) -> Node:
        low, high, interior = (
            tuple(self.rng.choice(choices) for _ in x.shape)
            for choices in ([0, 0, 1, 2], [0, 0, 1], [0, 0, 0, 1])
        )
        return self.moved(x, ops.pad(x, low=low, high=high, interior=interior))

    def concat(self, x: Node, pool: list[Node]) -> Node | None:
        if x.ndim == 0:
            return None
        axis = self.rng.randrange(x.ndim)
        return self.moved(x, ops.concat(x, x, axis=axis))

    def cast(self, x: Node, pool: list[Node]) -> Node | None:
        to = self.rng.choice([float32, float64, int32, bool_])
        if to.kind != "f" and x not in self.exact:
            return None
        return ops.cast(x, dtype=to)

    def count(self, x: Node, pool: list[Node]) -> Node:
        counted = ops.iota(size=7, dtype=self.rng.choice([int32, float32]))
        return ops.broadcast(counted, shape=(3, 7))
