"""Cases of call, pick, copy and loop; their meaning as plain NumPy and Python loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from adjoint import ops
from adjoint.base.dtype import int64
from adjoint.ir.graph import record
from adjoint.ir.node import Node, Params, Type
from adjoint.ops import Region
from adjoint.ops.rows import full
from adjoint.ops.structure import results
from tests.ops.op_cases import FLOATS, Array, Case, Input, Shape, below, positive


def cases() -> Iterator[Case]:
    yield from calls()
    yield from picks()
    yield from copies()
    yield from recurrences()
    yield from other_loops()
    yield from nested_loops()


# --- call and pick ------------------------------------------------------------------------------


def soft_body(x: Node) -> list[Node]:
    return [ops.log(ops.exp(x) + 1.0)]


def soft_kernel(x: Array) -> Array:
    return np.logaddexp(x, np.zeros((), x.dtype))


def soft_vjp(
    ct: Node, out: Node, wanted: Sequence[bool], args: Sequence[Node], static: Params
) -> list[Node | None]:
    return [ct / (ops.exp(-args[0]) + 1.0)]


def polar_body(radius: Node, angle: Node) -> list[Node]:
    return [radius * ops.cos(angle), radius * ops.sin(angle)]


def powers_body(x: Node, count: int) -> list[Node]:
    found = [x]
    for _ in range(count - 1):
        found.append(found[-1] * x)
    return found


def lookup_body(table: Node, index: Node) -> list[Node]:
    return [ops.tanh(ops.gather(table, index, batch=0)), index]


SOFT = Region("case_soft", soft_body)
SOFT_KERNEL = Region("case_soft_kernel", soft_body, kernel=soft_kernel)
SOFT_VJP = Region("case_soft_vjp", soft_body, kernel=soft_kernel, vjp=soft_vjp)
SOFT_BARE = Region(
    "case_soft_bare", kernel=soft_kernel, infer=lambda x: Type(x.shape, x.dtype), vjp=soft_vjp,
    vmap=lambda op, size, batched, args, static: SOFT_BARE(*args),
)  # fmt: skip
POLAR = Region("case_polar", polar_body)
POWERS = Region("case_powers", powers_body)
LOOKUP = Region("case_lookup", lookup_body)


def calls() -> Iterator[Case]:
    for region in (SOFT, SOFT_KERNEL, SOFT_VJP, SOFT_BARE):
        for shape in ((), (3,), (0, 2), (2, 3)):
            yield Case(
                "call", f"{region.name} {shape}", (Input(shape),), region,
                meaning=lambda x: np.log1p(np.exp(x)), dtypes=FLOATS, ulps=4,
                twin=torch.nn.functional.softplus,
            )  # fmt: skip
    yield Case(
        "call", "several results", (Input((3,)), Input((3,))),
        run=lambda r, a: results(POLAR(r, a)), dtypes=FLOATS, ulps=4,
        meaning=lambda r, a: [r * np.cos(a), r * np.sin(a)],
        twin=lambda r, a: (r * torch.cos(a), r * torch.sin(a)),
    )  # fmt: skip
    yield Case(
        "call", "static parameter", (Input((2, 2), positive),), dtypes=FLOATS, ulps=8,
        run=lambda x: results(POWERS(x, count=3)), meaning=lambda x: [x, x * x, x * x * x],
    )  # fmt: skip
    yield Case(
        "call", "integer argument", (Input((4, 2)), Input((3,), below(4), int64)),
        run=lambda x, i: results(LOOKUP(x, i))[0], dtypes=FLOATS, ulps=4,
        meaning=lambda x, i: np.tanh(np.stack([x[int(k)] for k in i])),
    )  # fmt: skip
    yield Case(
        "call", "x with x", (Input((3,), positive),), run=lambda x: results(POLAR(x, x)),
        meaning=lambda x: [x * np.cos(x), x * np.sin(x)], dtypes=FLOATS, ulps=4,
    )  # fmt: skip


def picks() -> Iterator[Case]:
    for index in (0, 1):
        yield Case(
            "pick", f"one of two {index}", (Input((2, 3)), Input((2, 3))),
            run=lambda r, a, index=index: ops.pick(POLAR(r, a), index=index), ulps=4,
            meaning=lambda r, a, index=index: r * (np.cos, np.sin)[index](a), dtypes=FLOATS,
        )  # fmt: skip

    def both(r: Node, a: Node) -> Node:
        made = POLAR(r, a)
        x = ops.pick(made, index=0)
        return x * ops.pick(made, index=1) + x

    yield Case(
        "pick", "used twice", (Input(()), Input(())), both, dtypes=FLOATS, ulps=32,
        meaning=lambda r, a: r * np.cos(a) * r * np.sin(a) + r * np.cos(a),
    )  # fmt: skip


def copies() -> Iterator[Case]:
    for shape in ((), (0,), (2, 3)):
        yield Case("copy", f"{shape}", (Input(shape),), ops.copy, meaning=lambda x: x)
    yield Case(
        "copy", "stopped", (Input((3,)),), lambda x: ops.copy(x, stop=True),
        meaning=lambda x: x, smooth=False,
    )  # fmt: skip
    yield Case(
        "copy", "stopped on one path", (Input((3,)),), smooth=False, dtypes=FLOATS, ulps=2,
        run=lambda x: ops.copy(x, stop=True) * x, meaning=lambda x: x * x,
        twin=lambda x: x.detach() * x,
    )  # fmt: skip


# --- loop ---------------------------------------------------------------------------------------


def looped(
    body: Callable[..., Sequence[Node]], length: int, carries: int, scanned: int
) -> Callable[..., list[Node]]:
    """``loop`` with ``body`` recorded for the arguments at hand."""

    def run(*args: Node) -> list[Node]:
        shapes = [
            a.shape[1:] if carries <= k < carries + scanned else a.shape for k, a in enumerate(args)
        ]
        types = [Type(s, a.dtype) for s, a in zip(shapes, args, strict=True)]
        graph = record(body, types, name="body")
        return results(ops.loop(*args, body=graph, carries=carries, scanned=scanned, length=length))

    return run


def cell(h: Node, x: Node, w: Node, u: Node) -> list[Node]:
    new = ops.tanh(ops.dot(x, w) + ops.dot(h, u))
    return [new, new * 2.0]


def cell_meaning(h: Array, xs: Array, w: Array, u: Array) -> list[Array]:
    ys: list[Array] = []
    for x in xs:
        h = np.tanh(x @ w + h @ u)
        ys.append(h * 2)
    return [h, np.array(ys).reshape(len(xs), *h.shape)]


def cell_twin(h: Any, xs: Any, w: Any, u: Any) -> Any:
    ys: list[Any] = []
    for x in xs:
        h = torch.tanh(x @ w + h @ u)
        ys.append(h * 2)
    return (h, torch.stack(ys)) if ys else (h * 1,)


def recurrences() -> Iterator[Case]:
    for length in (0, 1, 4):
        yield Case(
            "loop", f"recurrence of {length}",
            (Input((1, 2)), Input((length, 1, 3)), Input((3, 2)), Input((2, 2))),
            looped(cell, length, 1, 1), cell_meaning, FLOATS,
            twin=cell_twin if length else None, ulps=16,
        )  # fmt: skip


def other_loops() -> Iterator[Case]:
    """An integer carry, no scanned input, no carry, an unused result, the same argument twice."""
    start = lambda: full(0, (), int64)  # noqa: E731

    def counting(i: Node, total: Node, table: Node) -> list[Node]:
        row = ops.gather(table, ops.rem(i, full(3, (), int64)), batch=0)
        new = ops.sin(total) + row
        return [i + 1, new, new * row, i]

    def counted(table: Array) -> list[Array]:
        sums, ys = np.zeros(2), []
        for i in range(5):
            sums = np.sin(sums) + table[i % 3]
            ys.append(sums * table[i % 3])
        return [np.array(5), sums, np.array(ys), np.arange(5)]

    def count(table: Node) -> list[Node]:
        sums = ops.reduce_sum(table, axes=(0,)) * 0.0
        return looped(counting, 5, 2, 0)(start(), sums, table)

    yield Case(
        "loop", "integer carry", (Input((3, 2)),), run=lambda t: count(t)[1:3],
        meaning=lambda t: counted(t)[1:3], dtypes=FLOATS, ulps=32,
    )  # fmt: skip
    yield Case(
        "loop", "only a carry", (Input((3,)), Input((3,))),
        looped(lambda x, c: [ops.sin(x) * c], 3, 1, 0), _sines, FLOATS, ulps=16,
    )  # fmt: skip
    yield Case(
        "loop", "only scanned", (Input((4, 2)), Input((4, 2))),
        looped(lambda x, y: [x * y, ops.exp(x)], 4, 0, 2), lambda x, y: [x * y, np.exp(x)],
        FLOATS, ulps=4,
    )  # fmt: skip
    yield Case(
        "loop", "two carries that swap", (Input(()), Input(()), Input((5,))),
        looped(lambda a, b, x: [b, a * x, a], 5, 2, 1), _swapped, FLOATS, ulps=16,
    )  # fmt: skip
    yield Case(
        "loop", "one argument in three places", (Input((2, 2)),), dtypes=FLOATS, ulps=32,
        run=lambda x: looped(lambda h, s, c: [ops.tanh(ops.dot(h, c)) * s], 2, 1, 1)(
            x, ops.reshape(ops.concat(x, x, axis=0), shape=(2, 2, 2)), x
        ),
        meaning=lambda x: np.tanh((np.tanh(x @ x) * x) @ x) * x,
    )  # fmt: skip
    yield Case(
        "loop", "results not all used", (Input((2,)), Input((3, 2))),
        run=lambda h, x: looped(lambda h, x: [h * x, ops.sin(h), x * 3.0], 3, 1, 1)(h, x)[1],
        meaning=lambda h, x: np.sin(np.stack([h, h * x[0], h * x[0] * x[1]])),
        dtypes=FLOATS, ulps=16,
    )  # fmt: skip
    yield Case(
        "loop", "carry passed on", (Input((2,)), Input((3, 2))),
        looped(lambda h, x: [h, x + h], 3, 1, 1), lambda h, x: [h, x + h], FLOATS, ulps=2,
    )  # fmt: skip


def _sines(x: Array, c: Array) -> Array:
    for _ in range(3):
        x = np.sin(x) * c
    return x


def _swapped(a: Array, b: Array, xs: Array) -> list[Array]:
    ys = []
    for x in xs:
        ys.append(a)
        a, b = b, a * x
    return [np.asarray(a), np.asarray(b), np.array(ys)]


def nested_loops() -> Iterator[Case]:
    def outer(h: Node, x: Node, w: Node) -> list[Node]:
        inner = looped(lambda g, v, w: [ops.tanh(g * v + w)], 2, 1, 1)(h, x, w)[0]
        pair = POLAR(inner, w)
        return [ops.pick(pair, index=0), ops.pick(pair, index=1) + SOFT_VJP(x_first(x))]

    def meaning(h: Array, xs: Array, w: Array) -> list[Array]:
        ys = []
        for x in xs:
            for v in x:
                h = np.tanh(h * v + w)
            h, other = h * np.cos(w), h * np.sin(w)
            ys.append(other + np.log1p(np.exp(x[0])))
        return [h, np.array(ys)]

    yield Case(
        "loop", "inside a loop, with regions", (Input((2,)), Input((3, 2, 2)), Input((2,))),
        looped(outer, 3, 1, 1), meaning, FLOATS, ulps=32,
    )  # fmt: skip


def x_first(x: Node) -> Node:
    shape: Shape = x.shape[1:]
    return ops.reshape(
        ops.slice(x, starts=(0, 0), sizes=(1, *shape), steps=(1, 1)), shape=shape
    )  # fmt: skip
