"""Random words: Philox4x32-10, the bits that the row ``random_bits`` gives."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjoint.compile import philox
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import WORD, Kind
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import enter, lanes_of
from adjoint.ir.node import Node

CHUNK = 1 << 12  # words of one key in a unit of work
COST = 40  # operations per word, about


@template("random_bits")
def drawn(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are chunks of the words of one key."""
    assert node.args is not None
    (key,) = node.args
    if 0 in node.shape:
        return []
    keys = prod(key.shape[:-1])
    count = prod(node.shape) // keys
    chunks = -(-count // CHUNK)
    return [
        Kernel(
            "random_bits", f"random_bits {keys} {count}",
            lambda target: _write(target, count, chunks), (Place(key),), (Place(results[0]),),
            extent=keys * chunks, grain=max(1, CHUNK // count), flops=COST * prod(node.shape),
            nbytes=4 * prod(node.shape), nodes=(node,),
        )
    ]  # fmt: skip


def _write(target: Target, count: int, chunks: int) -> str:
    e = enter(target, 1, 1)
    f = e.f
    step = 4 * lanes_of(target)
    word = Kind("i32")
    with f.loop(e.begin, e.end) as unit:
        number = f.two("udiv", unit.index, f.number(chunks))
        first = f.mul(f.two("urem", unit.index, f.number(chunks)), f.number(CHUNK))
        key = f.at(e.reads[0], f.mul(number, f.number(2)), "i32")
        keys = [f.load(word, f.at(key, i, "i32")) for i in (0, 1)]
        out = f.at(e.writes[0], f.mul(number, f.number(count)), "i32")
        left = f.sub(f.number(count), first)
        many = f.call("llvm.smin.i64", WORD, left, f.number(CHUNK))
        stop = f.add(first, many)
        middle = f.add(first, f.two("and", many, f.number(-step)))
        with f.loop(first, middle, step) as loop:
            f.store(philox.run(f, loop.index, step, *keys), f.at(out, loop.index, "i32"))
        with f.loop(middle, stop) as loop:
            f.store(philox.philox(f, loop.index, *keys), f.at(out, loop.index, "i32"))
    return e.finish()
