"""What this machine can do at most, measured once per process: the yardstick of a profile."""

from __future__ import annotations

from functools import cache
from time import perf_counter
from typing import NamedTuple

import numpy as np

from adjoint.base.dtype import float32, uint8
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Kind, Module
from adjoint.compile.copies import copy_kernel
from adjoint.compile.fuse import Fused
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import buffer
from adjoint.compile.program import Program
from adjoint.ir.graph import Graph
from adjoint.ir.node import Node
from adjoint.runtime.threads import get_num_threads

CHAINS = 12  # sums that do not wait for each other
TURNS = 200_000  # of each chain in a job
COPIED = 64 << 20  # bytes: more than any cache
ROUNDS = 5


class Limits(NamedTuple):
    """Operations and bytes per second of all threads: float32 multiply-adds in registers, and a
    copy of memory (what is read and what is written)."""

    flops: float
    bytes: float


def limits() -> Limits:
    """The limits with as many threads as kernels use now."""
    return _measured(get_num_threads())


@cache
def _measured(threads: int) -> Limits:
    out, source, target = buffer((64,), float32), buffer((COPIED,), uint8), buffer((COPIED,), uint8)
    fma = _fma_kernel(out, threads)
    flops = fma.flops / _fastest([], fma, out, [])
    copied = copy_kernel(source, target)
    return Limits(flops, copied.nbytes / _fastest([source], copied, target, [COPIED]))


def _fastest(inputs: list[Node], kernel: Kernel, out: Node, sizes: list[int]) -> float:
    """The seconds of the fastest of some runs."""
    given = Graph(inputs, inputs)
    given.outputs = (out,)
    program = Program(given, Fused([kernel], (out,)))
    instance = program.instance()
    for number, size in enumerate(sizes):
        instance.bind(number, np.zeros(size, np.uint8))
    results = instance.make_results()  # alive while they are written
    times: list[float] = []
    for _ in range(ROUNDS):
        start = perf_counter()
        instance.run()
        times.append(perf_counter() - start)
    del results
    return min(times)


def _fma_kernel(out: Node, threads: int) -> Kernel:
    lanes = 16
    flops = 2 * lanes * CHAINS * TURNS * threads
    return Kernel(
        "fma", "fma limit", _write_fma, (), (Place(out),), extent=threads, flops=flops,
    )  # fmt: skip


def _write_fma(target: Target) -> str:
    module = Module(target)
    f = module.function("kernel", [POINTER, WORD, WORD, POINTER])
    kind = Kind("float", 16)
    record, begin, _, _ = f.arguments
    sums = [f.number(float(i), kind) for i in range(CHAINS)]
    factor = f.splat(f.cast("sitofp", begin, "float"), 16)
    with f.loop(0, TURNS, carried=sums) as loop:
        loop.carry = [f.fma(factor, factor, x) for x in loop.values]
    total = loop.values[0]
    for x in loop.values[1:]:
        total = f.add(total, x)
    f.store(total, f.load(POINTER, record))
    f.end()
    return str(module)
