"""Kernels written by hand, for tests of what runs kernels."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import prod

import numpy as np

from adjoint.base.dtype import float32
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import F32, POINTER, WORD, Module
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import buffer
from adjoint.ir.node import Array, Node, constant

GRAIN = 700  # elements


def combine(
    reads: Sequence[Node], writes: Sequence[Node], factors: Sequence[Sequence[float]],
    in_place: bool = True, heavy: bool = False,
) -> Kernel:  # fmt: skip
    """writes[k] = sum_i factors[k][i] * reads[i], element by element, of float32."""
    counts = len(reads), len(writes)
    size = prod(writes[0].shape)
    pairs = [(w, r) for w in range(counts[1]) for r in range(counts[0])] if in_place else []
    words = [struct.unpack("i", struct.pack("f", x))[0] for row in factors for x in row]
    return Kernel(
        f"combine {counts}", f"combine {counts}", lambda target: _write(target, *counts),
        tuple(map(Place, reads)), tuple(map(Place, writes)), tuple(words),
        extent=size, grain=GRAIN, in_place=tuple(pairs), nbytes=10**9 if heavy else 4 * size,
    )  # fmt: skip


def meaning(kernel: Kernel, reads: Sequence[Array]) -> list[Array]:
    """What ``combine`` computes, in the same order of operations."""
    factors = [struct.unpack("f", struct.pack("i", w))[0] for w in kernel.words]
    found: list[Array] = []
    for k in range(len(kernel.writes)):
        total = np.zeros(reads[0].shape, np.float32)
        for x, f in zip(reads, factors[k * len(reads) :], strict=False):
            total = total + np.float32(f) * x
        found.append(total)
    return found


def vector(size: int) -> Node:
    """A buffer for ``size`` numbers."""
    return buffer((size,), float32)


def known(values: Array) -> Node:
    """A constant."""
    return constant(values)


def _write(target: Target, reads: int, writes: int) -> str:
    module = Module(target)
    f = module.function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    count = reads + writes
    places = [f.load(POINTER, f.at(record, i, "i64")) for i in range(count)]
    factors = [
        f.load(F32, f.at(record, count + i, "i64")) for i in range(reads * writes)
    ]  # the low half of the word
    with f.loop(begin, end) as each:
        values = [f.load(F32, f.at(p, each.index, "float")) for p in places[:reads]]
        sums = []
        for k in range(writes):
            total = f.number(0.0, F32)
            for i, value in enumerate(values):
                total = f.add(total, f.mul(factors[k * reads + i], value))
            sums.append(total)
        for total, place in zip(sums, places[reads:], strict=True):
            f.store(total, f.at(place, each.index, "float"))
    f.end()
    return str(module)
