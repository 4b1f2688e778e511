"""Kernels run at once, on arrays: what eager products and convolutions are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import addressof, create_string_buffer
from functools import cache
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from adjoint.compile.backends.cpu import link, pool
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.code import POINTER, WORD, Module
from adjoint.compile.kernel import Kernel
from adjoint.ir.node import Node
from adjoint.runtime.threads import get_num_threads

Array = np.ndarray[Any, np.dtype[Any]]

TASK = 8  # words in front of the record: what the threads share
LONGEST = 64  # words of a record


class Call(NamedTuple):
    """A kernel ready to be called: its address, jobs, grain, bytes of scratch memory of a thread,
    the constant words of its record, and what writes all of it to memory."""

    start: int
    jobs: int
    grain: int
    scratch: int
    words: bytes
    pack: Callable[..., None]


def prepared(
    start: int, jobs: int, grain: int, scratch: int, words: Sequence[int], operands: int
) -> Call:
    """A call of the kernel at ``start`` with so many addresses in front of ``words``."""
    stored = np.array(words, np.int64).tobytes()
    pack = Struct(f"{TASK + operands}q{len(stored)}s").pack_into
    return Call(start, jobs, grain, scratch, stored, pack)


def call_of(kernel: Kernel) -> Call:
    """The kernel, compiled."""
    start = link.addresses([kernel])[kernel.key]
    count = len(kernel.reads) + len(kernel.writes)
    return prepared(start, kernel.extent, kernel.grain, kernel.scratch, kernel.words, count)


def run(call: Call, places: Sequence[int]) -> None:
    """Call a kernel whose operands are at ``places``."""
    space = FREE.pop() if FREE else Workspace()  # one list step: safe between threads
    parts = min(-(-call.jobs // call.grain), get_num_threads())
    memory = space.reserve(parts * call.scratch)
    call.pack(
        space.record, 0, call.start, space.address + 8 * TASK, call.jobs, call.grain, memory,
        call.scratch, 0, 0, *places, call.words,
    )  # fmt: skip
    pool.run(runner(), space.address, parts)
    FREE.append(space)


class Sequel:
    """Kernels that follow each other, and the memory between them."""

    def __init__(self, kernels: Sequence[Kernel], given: Sequence[Node]) -> None:
        self.given = tuple(given)
        self.steps = [(call_of(k), (*k.reads, *k.writes)) for k in kernels]
        self.keeps = [k.keeps for k in kernels]  # tables, whose addresses are among the words
        used = {place.node for _, places in self.steps for place in places}
        self.between = [node for node in used if node not in self.given]

    def __call__(self, arrays: Sequence[Array]) -> None:
        """Run with ``arrays`` for the nodes that are given."""
        memory: Mapping[Node, Array] = {n: np.empty(n.shape, n.dtype.numpy) for n in self.between}
        start = {n: a.__array_interface__["data"][0] for n, a in memory.items()}
        for node, array in zip(self.given, arrays, strict=True):
            start[node] = array.__array_interface__["data"][0]
        for call, places in self.steps:
            run(call, [start[p.node] + p.offset for p in places])


class Workspace:
    """The record of one call, and memory for panels; taken for a call and kept for the next."""

    def __init__(self) -> None:
        self.record = create_string_buffer(8 * (TASK + LONGEST))
        self.address = addressof(self.record)
        self.memory = np.empty(0, np.uint8)
        self.start = 0

    def reserve(self, nbytes: int) -> int:
        """The address of ``nbytes`` at least, at the start of a page."""
        if self.memory.size < nbytes + 4096:
            self.memory = np.empty(nbytes + 4096, np.uint8)
            self.start = -(-self.memory.__array_interface__["data"][0] // 4096) * 4096
        return self.start


FREE: list[Workspace] = []


def countable(array: Array) -> Array:
    """The array itself, or a copy when its elements are not whole elements apart."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    size = array.itemsize
    odd = array.__array_interface__["data"][0]
    for step in array.strides:
        odd |= step
    return array if odd & (size - 1) == 0 else np.ascontiguousarray(array)


@cache
def runner() -> int:
    """The address of a function that shares the jobs of one kernel between threads."""
    return link.address(runner_text(host()), "share")


def runner_text(target: Target) -> str:
    """LLVM IR with share(task, thread): take jobs from the task's counter until none is left."""
    module = Module(target)
    f = module.function("share", [POINTER, WORD])
    task, thread = f.arguments
    function, record, units, grain, scratch, size = (
        f.load(kind, f.at(task, i, "i64"))
        for i, kind in enumerate((POINTER, POINTER, WORD, WORD, POINTER, WORD))
    )
    own = f.at(scratch, f.mul(thread, size), "i8")
    counter = f.at(task, 6, "i64")
    f.jump("again")
    f.begin("again")
    first = f.emit(WORD, f"atomicrmw add ptr {counter.text}, {grain.typed} monotonic")
    f.branch(f.compare("slt", first, units), "work", "done")
    f.begin("work")
    after = f.add(first, grain)
    after = f.select(f.compare("slt", after, units), after, units)
    f.do(f"call void {function.text}({record.typed}, {first.typed}, {after.typed}, {own.typed})")
    f.jump("again")
    f.begin("done")
    f.end()
    return str(module)
