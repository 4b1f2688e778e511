"""Kernel: one piece of machine code and what it works on; plain data that the stages hand on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.loops import Loops
from adjoint.ir.node import Node


class Place(NamedTuple):
    """Where in the buffer of ``node`` (contiguous, in row-major order) a kernel begins."""

    node: Node
    offset: int = 0  # bytes


@dataclass(eq=False)
class Kernel:
    """``void kernel(ptr record, i64 begin, i64 end, ptr scratch)``, and how to call it.

    record: words of 8 bytes: the address of each of ``reads``, of each of ``writes``, then
    ``words`` as they are. begin, end: which of ``extent`` units of work to do; a job is at most
    ``grain`` units, and who does which job never changes a result. scratch: bytes of memory that
    a thread may use during a job. key: everything that determines the machine code; kernels of
    equal key are compiled once. write: the text of the module, with the function ``kernel``.
    in_place: (write, read) pairs that may share memory when nobody else needs what is read.
    listing: the kernel in words, where it is made of loops.
    after: a kernel that finishes each block of a contraction (see ``contractions``); the word of
    the record at ``after_word`` and the next are the address of its function and of its record.
    keeps: what must live as long as the kernel: arrays whose addresses are among ``words``.
    loops: what a loop kernel was written from, for backends that write another one from it.
    """

    name: str
    key: str
    write: Callable[[Target], str]
    reads: tuple[Place, ...]
    writes: tuple[Place, ...]
    words: tuple[int, ...] = ()
    extent: int = 1
    grain: int = 1
    scratch: int = 0
    flops: int = 0
    nbytes: int = 0
    in_place: tuple[tuple[int, int], ...] = ()
    after: Kernel | None = None
    after_word: int = -1
    keeps: tuple[object, ...] = field(default=(), repr=False)
    nodes: tuple[Node, ...] = field(default=(), repr=False)
    listing: Callable[[], str] | None = field(default=None, repr=False)
    loops: Loops | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def jobs(self) -> int:
        return -(-self.extent // self.grain)


@dataclass(eq=False)
class Host:
    """A node that no kernel computes: its NumPy meaning is called between native parts.

    reads: the buffers of its arguments, in order; writes: those of its results.
    """

    node: Node
    reads: tuple[Node, ...]
    writes: tuple[Node, ...]

    def __str__(self) -> str:
        assert self.node.op is not None
        region = self.node.params.get("region")
        return f"numpy {region.name if region is not None else self.node.op.name}"


@dataclass(eq=False)
class Repeat:
    """A ``loop`` node: ``steps`` of its body, ``length`` times, in one native loop.

    The body works on buffers of its own: ``inputs`` and ``outputs`` of the body's graph, in its
    order (carries, slices of scanned inputs, constants; new carries, slices of results).
    reads: the buffers of the node's arguments; writes: those of its results.
    """

    node: Node
    steps: list[Kernel | Host | Repeat]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    carries: int
    scanned: int
    length: int
    reads: tuple[Node, ...]
    writes: tuple[Node, ...]

    def __str__(self) -> str:
        return f"loop {self.length} times of {len(self.steps)} kernels"


Step = Kernel | Host | Repeat
