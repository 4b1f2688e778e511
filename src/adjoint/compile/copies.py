"""The kernel that copies a buffer."""

from __future__ import annotations

from math import prod

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import BIT, POINTER, WORD, Module
from adjoint.compile.kernel import Kernel, Place
from adjoint.ir.node import Node

UNIT = 4096  # bytes
GRAIN = 64  # units a thread takes at a time


def size_of(node: Node) -> int:
    """The bytes of the buffer of ``node``."""
    return prod(node.shape) * node.dtype.numpy.itemsize


def copy_kernel(source: Node, target: Node, offset: int = 0) -> Kernel:
    """The kernel that gives ``target`` the content of ``source`` from ``offset`` bytes on."""
    nbytes = size_of(target)
    return Kernel(
        "copy", "copy", write, (Place(source, offset),), (Place(target),), (nbytes,),
        extent=-(-nbytes // UNIT), grain=GRAIN, nbytes=2 * nbytes, in_place=((0, 0),),
    )  # fmt: skip


def write(target: Target) -> str:
    """record: source, target, bytes. The units are pages of ``UNIT`` bytes."""
    module = Module(target)
    f = module.function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    source, to = (f.load(POINTER, f.at(record, i, "i64")) for i in range(2))
    nbytes = f.load(WORD, f.at(record, 2, "i64"))
    first, last = (f.mul(x, f.number(UNIT)) for x in (begin, end))
    last = f.select(f.compare("slt", last, nbytes), last, nbytes)
    size = f.sub(last, first)
    places = (f.at(to, first, "i8"), f.at(source, first, "i8"))
    f.run("llvm.memcpy.p0.p0.i64", *places, size, f.number(0, BIT))
    f.end()
    return str(module)
