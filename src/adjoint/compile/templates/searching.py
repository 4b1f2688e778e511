"""Binary search: the places at which values would be inserted into sorted rows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjoint.base.dtype import DType
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import BIT, WORD, Function, Value
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.lower import template
from adjoint.compile.templates.entry import at, enter
from adjoint.ir.node import Node

JOB = 1 << 12  # steps in a job, at least


@template("search")
def searched(node: Node, results: tuple[Node, ...]) -> Sequence[Kernel] | None:
    """One kernel; its units of work are values."""
    assert node.args is not None
    sequence, values = node.args
    if 0 in node.shape:
        return []
    if sequence.dtype is not values.dtype or 0 in sequence.shape:
        return None
    n, dtype = sequence.shape[-1], sequence.dtype
    # one sequence for all values, or one for each row of them
    each = values.shape[-1] if sequence.ndim > 1 else prod(values.shape)
    right = bool(node.params["right"])
    steps = n.bit_length()
    return [
        Kernel(
            "search", f"search {n} {each} {dtype} {right}",
            lambda target: _write(target, n, each, dtype, right), (Place(sequence), Place(values)),
            (Place(results[0]),), extent=prod(values.shape), grain=max(1, JOB // steps),
            flops=prod(values.shape) * steps, nbytes=prod(values.shape) * (dtype.itemsize + 8),
            nodes=(node,),
        )
    ]  # fmt: skip


def _write(target: Target, n: int, each: int, dtype: DType, right: bool) -> str:
    e = enter(target, 2, 1)
    f = e.f
    with f.loop(e.begin, e.end) as unit:
        row = f.mul(f.two("udiv", unit.index, f.number(each)), f.number(n))
        sequence = at(f, dtype, e.reads[0], row)
        value = elements.load(f, dtype, at(f, dtype, e.reads[1], unit.index), 0)
        found = f.number(0)
        step = 1 << (n.bit_length() - 1)
        while step:
            trial = f.add(found, f.number(step))
            place = f.call("llvm.umin.i64", WORD, trial, f.number(n))
            other = at(f, dtype, sequence, f.sub(place, f.number(1)))
            other = elements.load(f, dtype, other, 0)
            if right:
                before = f.two("xor", _less(f, value, other, dtype), f.number(1, BIT))
            else:
                before = _less(f, other, value, dtype)
            inside = f.compare("ule", trial, f.number(n))
            found = f.select(f.two("and", inside, before), trial, found)
            step //= 2
        f.store(found, f.at(e.writes[0], unit.index, "i64"))
    return e.finish()


def _less(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """a < b, with NaN the largest."""
    if not a.kind.is_float:
        return f.compare("slt" if dtype.kind == "i" else "ult", a, b)
    nan = f.two("and", f.compare("uno", b, b), f.compare("ord", a, a))
    return f.two("or", f.compare("olt", a, b), nan)
