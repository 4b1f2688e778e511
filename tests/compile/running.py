"""Runs lists of Kernels on arrays, as a program would, one after the other on this thread."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from adjoint.compile import lower
from adjoint.compile.backends.cpu.link import address, compile_object
from adjoint.compile.backends.cpu.target import OTHERS, host
from adjoint.compile.kernel import Kernel
from adjoint.ir.graph import recording
from adjoint.ir.node import Node, Op, Type, abstract, apply

Array = np.ndarray[Any, np.dtype[Any]]


@cache
def function(text: str) -> Any:
    kinds = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    return ctypes.CFUNCTYPE(None, *kinds)(address(text, "kernel"))


class Buffers:
    """The memory of every node that kernels read or write; what is new is full of rubbish."""

    def __init__(self, given: dict[Node, Array]) -> None:
        self.arrays = {n: np.ascontiguousarray(a).reshape(a.shape) for n, a in given.items()}

    def __getitem__(self, node: Node) -> Array:
        if node not in self.arrays:
            value = np.empty(node.shape, node.dtype.numpy)
            value.reshape(-1).view(np.uint8)[...] = 0 if node.dtype.kind == "b" else 0xA5
            self.arrays[node] = value
        return self.arrays[node]

    def start(self, node: Node) -> int:
        return self[node].__array_interface__["data"][0]


def run(kernels: Sequence[Kernel], buffers: Buffers, job: int | None = None) -> None:
    """Call each kernel on its ranges of work: ``job`` units at a time (default: its grain), the
    last range first."""
    for kernel in kernels:
        places = [*kernel.reads, *kernel.writes]
        words = [buffers.start(p.node) + p.offset for p in places] + list(kernel.words)
        record = (ctypes.c_int64 * max(len(words), 1))(*words)
        memory = np.full(kernel.scratch + 128, 0xA5, np.uint8)
        scratch = -(-memory.ctypes.data // 64) * 64
        call = function(kernel.write(host()))
        step = job or kernel.grain
        for begin in reversed(range(0, kernel.extent, step)):
            end = min(begin + step, kernel.extent)
            call(ctypes.addressof(record), begin, end, scratch)
        used = memory[scratch - memory.ctypes.data + kernel.scratch :]
        assert (used == 0xA5).all(), f"{kernel} writes behind its scratch memory"


def lowered(
    op: Op, types: Sequence[Type], params: dict[str, Any]
) -> tuple[Sequence[Kernel] | None, tuple[Node, ...], tuple[Node, ...]]:
    """The kernels of an op on arguments of ``types``; the nodes of arguments and of results."""
    with recording():
        args = tuple(abstract(t) for t in types)
        node = apply(op, args, params)
    results = (node,)
    if node.parts is not None:
        results = tuple(lower.buffer(p.shape, p.dtype) for p in node.parts)
    rule = lower.template_of(lower.name_of(node))
    assert rule is not None
    return rule(node, results), args, results


def outputs(
    op: Op, arrays: Sequence[Array], params: dict[str, Any], job: int | None = None
) -> list[Array] | None:
    """What the template of ``op`` gives for ``arrays``; None where it has no kernel for them."""
    from adjoint.base.dtype import OF_NUMPY

    types = [Type(a.shape, OF_NUMPY[a.dtype]) for a in arrays]
    kernels, args, results = lowered(op, types, params)
    if kernels is None:
        return None
    buffers = Buffers(dict(zip(args, arrays, strict=True)))
    before = [buffers[a].tobytes() for a in args]
    run(kernels, buffers, job)
    for arg, old in zip(args, before, strict=True):
        assert buffers[arg].tobytes() == old, "an argument has changed"
    return [buffers[r] for r in results]


LIBRARY = ("memcpy", "memset", "memmove")


def compiles_elsewhere(kernels: Sequence[Kernel], targets: Sequence[str] = tuple(OTHERS)) -> None:
    """Every kernel compiles for the other CPUs, and calls nothing but the C library's copies."""
    for kernel in kernels:
        for name in targets:
            target = OTHERS[name]
            code = compile_object(kernel.write(target), target)
            missing = undefined(code) - set(LIBRARY)
            assert not missing, f"{kernel} on {name} calls {missing}"


def undefined(code: bytes) -> set[str]:
    """The names that an object file (ELF, 64 bits, little-endian) needs from elsewhere."""
    import struct

    sections, size, count = (struct.unpack_from(f, code, at)[0] for f, at in
                             (("<Q", 40), ("<H", 58), ("<H", 60)))  # fmt: skip
    found: set[str] = set()
    heads = [struct.unpack_from("<IIQQQQIIQQ", code, sections + i * size) for i in range(count)]
    for head in heads:
        if head[1] != 2:  # a table of symbols
            continue
        names = heads[head[6]][4]
        for at in range(head[4] + 24, head[4] + head[5], 24):
            name, _, _, section = struct.unpack_from("<IBBH", code, at)
            if section == 0:
                end = code.index(b"\0", names + name)
                found.add(code[names + name : end].decode())
    return found
