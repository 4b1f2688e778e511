"""Products of integers: without tiles, blocks or packing; a unit is one row of the result."""

from __future__ import annotations

from math import prod

from adjoint.base.dtype import DType
from adjoint.compile import elements
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Kind, Module
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.views import View
from adjoint.ir.node import Node

WORDS = (
    "m", "n", "k", "inner", "middle", "a_batch", "a_batch_1", "a_batch_2", "b_batch", "b_batch_1",
    "b_batch_2", "a_row", "a_column", "b_row", "b_column",
)  # fmt: skip
JOB = 1 << 15  # multiply-adds of a job

Steps = tuple[int, int, int]


def integer_text(target: Target, dtype: DType) -> str:
    """kernel: unit = a row of one product of the batch."""
    f = Module(target).function("kernel", [POINTER, WORD, WORD, POINTER])
    record, begin, end, _ = f.arguments
    a, b, c = (f.load(POINTER, f.at(record, i, "i64")) for i in range(3))
    word = {name: f.load(WORD, f.at(record, 3 + i, "i64")) for i, name in enumerate(WORDS)}
    lanes = target.bits // 32
    kind = Kind(elements.stored(dtype), lanes)
    one = Kind(kind.element)
    packed = f.select(f.compare("eq", word["b_column"], f.number(1)), f.number(-lanes), f.number(0))
    whole = f.two("and", word["n"], packed)
    with f.loop(begin, end) as unit:
        item, row = (f.two(how, unit.index, word["m"]) for how in ("udiv", "urem"))
        two, rest = (f.two(how, item, word["inner"]) for how in ("urem", "udiv"))
        places = f.two("udiv", rest, word["middle"]), f.two("urem", rest, word["middle"]), two
        starts = [f.mul(row, word["a_row"]), f.number(0)]
        for i, name in enumerate("ab"):
            for place, step in zip(places, ("batch", "batch_1", "batch_2"), strict=True):
                starts[i] = f.add(starts[i], f.mul(place, word[f"{name}_{step}"]))
        left, right = f.at(a, starts[0], one.element), f.at(b, starts[1], one.element)
        result = f.at(c, f.mul(unit.index, word["n"]), one.element)
        for first, last, vector in ((f.number(0), whole, kind), (whole, word["n"], one)):
            with f.loop(first, last, max(vector.lanes, 1)) as j:
                start = f.at(right, f.mul(j.index, word["b_column"]), one.element)
                with f.loop(0, word["k"], 1, [left, start, f.number(0, vector)]) as loop:
                    x, y, total = loop.values
                    factor = f.splat(f.load(one, x), vector.lanes)
                    total = f.add(total, f.mul(factor, f.load(vector, y)))
                    loop.carry = [
                        f.at(x, word["a_column"], one.element),
                        f.at(y, word["b_row"], one.element), total,
                    ]  # fmt: skip
                f.store(loop.values[2], f.at(result, j.index, one.element))
    f.end()
    return str(f.module)


def integer_kernel(a: View, b: View, out: Node, lead: tuple[Steps, Steps, Steps]) -> Kernel:
    """The kernel of a product of integers, which wrap around."""
    batch, a_steps, b_steps = lead
    (m, k), n, dtype = a.shape[-2:], b.shape[-1], out.dtype
    words = (
        m, n, k, batch[2], batch[1], *a_steps, *b_steps, *a.strides[-2:], *b.strides[-2:],
    )  # fmt: skip
    units = prod(batch) * m
    return Kernel(
        f"dot {'x'.join(map(str, (*out.shape[:-1], k, n)))} {dtype.name}",
        f"integers {elements.stored(dtype)}", lambda target: integer_text(target, dtype),
        tuple(Place(v.node, v.offset * dtype.itemsize) for v in (a, b)), (Place(out),), words,
        extent=units, grain=max(1, JOB // (n * k)), flops=2 * units * n * k,
        nbytes=dtype.itemsize * (prod(out.shape) + prod(batch) * k * (m + n)),
    )  # fmt: skip
