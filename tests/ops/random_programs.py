"""Random programs over the op table whose derivatives are well conditioned, for Hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from adjoint import ops
from adjoint.base.dtype import float64
from adjoint.base.shape import broadcast_shapes
from adjoint.ir.graph import record, recording
from adjoint.ir.node import Node, Type, abstract, constant, grad_mode
from adjoint.ops.movement import flip
from adjoint.ops.reduce import spread
from adjoint.ops.structure import results
from tests.ops.structure_cases import POLAR, SOFT, SOFT_VJP

Shape = tuple[int, ...]
LARGEST = 48  # elements of one value
Plan = Callable[[Any, int, Sequence[Shape]], "Step | None"]


class Step(NamedTuple):
    """One line of a program: what to do with which earlier values."""

    kind: str
    operands: tuple[int, ...]
    params: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Program:
    """Inputs by shape, steps in order, and which values are returned."""

    inputs: tuple[Shape, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def __call__(self, *inputs: Node) -> list[Node]:
        values = self.values(*inputs)
        return [values[i] for i in self.outputs]

    def values(self, *inputs: Node) -> list[Node]:
        """The inputs and the result of every step."""
        found = list(inputs)
        for step in self.steps:
            found.append(run(step, found))
        return found

    def types(self) -> list[Type]:
        return [Type(s, float64) for s in self.inputs]

    def arguments(self, seed: int = 0) -> list[Node]:
        rng = np.random.default_rng(seed)
        return [constant(np.asarray(rng.uniform(-1.5, 1.5, s))) for s in self.inputs]


def run(step: Step, values: Sequence[Node]) -> Node:
    return RUN[step.kind](*(values[i] for i in step.operands), *step.params)


# --- what a step does; results stay of order one, so that differences are exact enough -----------


def expand(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else ops.broadcast(x, shape=shape)


def broadcasting(function: Callable[[Node, Node], Node]) -> Callable[[Node, Node], Node]:
    def both(x: Node, y: Node) -> Node:
        shape = broadcast_shapes("both", x.shape, y.shape)
        return function(expand(x, shape), expand(y, shape))

    return both


def averaged(x: Node, axes: Shape) -> Node:
    return ops.reduce_sum(x, axes=axes) * (1.0 / max(prod(x.shape[a] for a in axes), 1))


def flattened(x: Node) -> Node:
    return ops.reshape(x, shape=(prod(x.shape),))


def mask(shape: Shape, seed: int) -> Node:
    return constant(np.random.default_rng(seed).uniform(size=shape) < 0.5)


def taken(x: Node, index: tuple[int, ...]) -> Node:
    return ops.gather(x, constant(np.array(index, np.int64)), batch=0)


def put(x: Node, index: tuple[int, ...]) -> Node:
    updates = taken(ops.sin(x), index)
    where = constant(np.array(index[::-1], np.int64))
    return ops.scatter_add(x, where, updates, batch=0) * 0.5


def squared(x: Node) -> Node:
    """x x^T of the flattened value, then a row of it."""
    flat = flattened(x)
    n = prod(x.shape)
    column, row = ops.reshape(flat, shape=(n, 1)), ops.reshape(flat, shape=(1, n))
    return ops.dot(row, ops.dot(column, row)) * (1.0 / max(n, 1))


def smoothed(x: Node) -> Node:
    """A convolution of the flattened value with itself turned round."""
    flat = ops.reshape(flattened(x), shape=(1, 1, prod(x.shape)))
    n = prod(x.shape)
    kernel = flip(ops.slice(flat, starts=(0, 0, 0), sizes=(1, 1, min(n, 3)), steps=(1, 1, 1)), (2,))
    return ops.conv(
        flat, kernel, stride=(1,), padding=((1, 1),), dilation=(1,), inner=(1,), groups=1
    ) * 0.3  # fmt: skip


def scanned(x: Node) -> Node:
    """A recurrence over the first axis."""
    one = Type(x.shape[1:], float64)
    body = record(lambda h, v: [ops.tanh(h + v), ops.sin(h) * v], [one, one], name="scanned")
    start = averaged(x, (0,))
    h, ys = results(ops.loop(start, x, body=body, carries=1, scanned=1, length=x.shape[0]))
    return ys + expand(h, ys.shape)


def centred(x: Node, axes: Shape) -> Node:
    return x - spread(averaged(x, axes), x.shape, axes)


def halved(x: Node) -> Node:
    """Half of the gradient is cut off; the value is that of sin(x)."""
    return ops.sin(x) * 0.5 + ops.copy(ops.sin(x) * 0.5)


def steady(x: Node) -> Node:
    """A mask computed without gradients from a constant, as user code does."""
    with grad_mode(False):
        ones = ops.exp(mask_of(x.shape))
    return x * ones


def mask_of(shape: Shape) -> Node:
    return constant(np.linspace(-1, 0, prod(shape)).reshape(shape))


RUN: dict[str, Callable[..., Node]] = {
    "sin": ops.sin, "cos": ops.cos, "tanh": ops.tanh, "atan": ops.atan, "erf": ops.erf,
    "neg": ops.neg,
    "exp": lambda x: ops.exp(ops.sin(x)) * 0.4,
    "log": lambda x: ops.log(x * x + 1.5),
    "sqrt": lambda x: ops.sqrt(x * x + 1.0),
    "soft": SOFT, "soft by hand": SOFT_VJP, "halved": halved, "steady": steady,
    "polar": lambda x: ops.pick(POLAR(x, ops.sin(x)), index=1),
    "add": broadcasting(lambda x, y: (x + y) * 0.6),
    "sub": broadcasting(lambda x, y: (x - y) * 0.6),
    "mul": broadcasting(lambda x, y: ops.sin(x) * y),
    "div": broadcasting(lambda x, y: x / (y * y + 1.2)),
    "maximum": broadcasting(ops.maximum),
    "minimum": broadcasting(ops.minimum),
    "where": lambda x, y, seed: ops.where(mask(x.shape, seed), x, y),
    "reshape": lambda x, shape: ops.reshape(x, shape=shape),
    "permute": lambda x, axes: ops.permute(x, axes=axes),
    "broadcast": lambda x, shape: ops.broadcast(x, shape=shape),
    "slice": lambda x, starts, sizes, steps: ops.slice(x, starts=starts, sizes=sizes, steps=steps),
    "pad": lambda x, low, high, inner: ops.pad(x, low=low, high=high, interior=inner),
    "concat": lambda x, y, axis: ops.concat(x, y, axis=axis),
    "gather": taken, "scatter_add": put, "dot": squared, "conv": smoothed, "loop": scanned,
    "mean": averaged, "centred": centred,
    "cumsum": lambda x, axis: ops.cumsum(x, axis=axis) * (1.0 / max(x.shape[axis], 1)),
}  # fmt: skip
PLAIN = [
    "sin", "cos", "tanh", "atan", "erf", "neg", "exp", "log", "sqrt", "soft", "soft by hand",
    "halved", "steady", "polar", "dot", "conv",
]  # fmt: skip
PAIRED = ["add", "sub", "mul", "div", "maximum", "minimum"]


# --- how a step is drawn ------------------------------------------------------------------------


def plan_plain(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    kind = draw(st.sampled_from(PLAIN))
    return None if kind == "conv" and prod(shapes[x]) == 0 else Step(kind, (x,))


def plan_pair(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    fitting = [k for k, s in enumerate(shapes) if fits(s, shapes[x])]
    y = draw(st.sampled_from(fitting))
    return Step(draw(st.sampled_from(PAIRED)), (x, y))


def fits(a: Shape, b: Shape) -> bool:
    sizes = zip(a[::-1], b[::-1], strict=False)
    return all(m == n or 1 in (m, n) for m, n in sizes)


def plan_where(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    same = [k for k, s in enumerate(shapes) if s == shapes[x]]
    return Step("where", (x, draw(st.sampled_from(same))), (draw(st.integers(0, 9)),))


def plan_reshape(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    size = prod(shapes[x])
    divisors = [d for d in range(1, size + 1) if size % d == 0] or [2]
    first = draw(st.sampled_from(divisors))
    shape = draw(st.sampled_from([(size,), (first, size // first), (1, first, size // first)]))
    return Step("reshape", (x,), (shape,))


def plan_permute(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    return Step("permute", (x,), (tuple(draw(st.permutations(range(len(shapes[x]))))),))


def plan_broadcast(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    sizes = [draw(st.integers(0, 3)) if s == 1 else s for s in shapes[x]]
    lead = draw(st.lists(st.integers(1, 3), max_size=1))
    return Step("broadcast", (x,), ((*lead, *sizes),))


def plan_slice(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    starts: list[int] = []
    sizes: list[int] = []
    steps: list[int] = []
    for n in shapes[x]:
        step = draw(st.sampled_from([1, 1, 2, -1, -2]))
        start = draw(st.integers(0, max(n - 1, 0)))
        room = 0 if n == 0 else (n - 1 - start) // step + 1 if step > 0 else start // -step + 1
        starts.append(start)
        sizes.append(draw(st.integers(0 if n == 0 else 1, room)))
        steps.append(step)
    return Step("slice", (x,), (tuple(starts), tuple(sizes), tuple(steps)))


def plan_pad(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    amounts = [tuple(draw(st.integers(0, 1)) for _ in shapes[x]) for _ in range(3)]
    return Step("pad", (x,), tuple(amounts))


def plan_axis(draw: Any, x: int, shapes: Sequence[Shape]) -> Step | None:
    """Steps that need an axis of ``x``."""
    shape = shapes[x]
    if not shape:
        return None
    axis = draw(st.integers(0, len(shape) - 1))
    kind = draw(
        st.sampled_from(["concat", "gather", "scatter_add", "cumsum", "mean", "centred", "loop"])
    )
    if kind == "concat":
        other = [k for k, s in enumerate(shapes) if but(s, axis) == but(shape, axis)]
        return Step("concat", (x, draw(st.sampled_from(other))), (axis,))
    if kind in ("gather", "scatter_add"):
        if shape[0] == 0:
            return None
        return Step(kind, (x,), (tuple(draw(st.lists(st.integers(0, shape[0] - 1), max_size=4))),))
    if kind == "loop":
        return Step("loop", (x,))
    if kind == "cumsum":
        return Step(kind, (x,), (axis,))
    return Step(kind, (x,), (tuple(sorted({axis, draw(st.integers(0, len(shape) - 1))})),))


def but(shape: Shape, axis: int) -> tuple[Any, ...]:
    return (len(shape), shape[:axis], shape[axis + 1 :])


PLANS: list[Plan] = [
    plan_plain, plan_plain, plan_pair, plan_pair, plan_where, plan_reshape, plan_permute,
    plan_broadcast, plan_slice, plan_pad, plan_axis, plan_axis,
]  # fmt: skip


@st.composite
def programs(draw: Any, fewest: int = 5, most: int = 30) -> Program:
    """Programs of ``fewest`` to ``most`` steps on one to three inputs of rank 0 to 3."""
    sizes = st.lists(st.sampled_from([1, 2, 3, 3, 0]), max_size=3).map(tuple)
    inputs = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    steps: list[Step] = []
    with recording():
        values = [abstract(Type(s, float64)) for s in inputs]
        for _ in range(draw(st.integers(fewest, most))):
            step = draw_step(draw, values)
            values.append(run(step, values))
            steps.append(step)
    last = len(values) - 1
    extra = draw(st.lists(st.integers(0, last), max_size=2))
    return Program(inputs, tuple(steps), (last, *extra))


def draw_step(draw: Any, values: Sequence[Node]) -> Step:
    """A step on a recent value, or ``sin`` of it where the drawn one does not fit."""
    shapes = [v.shape for v in values]
    recent = draw(st.integers(0, min(3, len(values) - 1)))
    x = len(values) - 1 - recent
    step = draw(st.sampled_from(PLANS))(draw, x, shapes)
    if step is None or prod(run(step, values).shape) > LARGEST:
        return Step("sin", (x,))
    return step
