"""Interpreted: a Graph run node by node in NumPy, as the oracle of compiled programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.compile.simplify import simplify
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array, Node, Op, Params


class Step:
    """One op on numbered slots; ``free`` are the slots nobody reads afterwards."""

    __slots__ = ("args", "free", "lazy", "op", "out", "params", "shape")

    def __init__(self, op: Op, args: tuple[int, ...], params: Params, out: int, shape: Any) -> None:
        self.op = op
        self.args = args
        self.params = params
        self.out = out
        self.shape = shape  # what a pointwise op on unexpanded arguments must come to, else None
        self.lazy = op.lazy
        self.free: tuple[int, ...] = ()

    def __repr__(self) -> str:
        inside = ", ".join(
            [*(f"s{a}" for a in self.args), *(f"{k}={v!r}" for k, v in self.params.items())]
        )
        return f"s{self.out} = {self.op.name}({inside})"


class Interpreted:
    """The simplified graph as a list of steps over slots, each the NumPy meaning of an op.

    Broadcasts whose only readers are pointwise ops are never made, NumPy repeats by itself;
    values are let go after their last reader.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = simplify(graph)
        self._slots: dict[Node, int] = {}
        self._constants: list[tuple[int, Array]] = []
        self._inputs = [self._slot(n) for n in self.graph.inputs]
        for node in self.graph.constants:
            self._constants.append((self._slot(node), node.array()))
        self.steps = self._plan()
        self._outputs = [self._slots[n] for n in self.graph.outputs]
        self._free_after_last_use()

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for the arrays ``inputs``."""
        slots: list[Any] = [None] * len(self._slots)
        for slot, value in self._constants:
            slots[slot] = value
        for slot, value in zip(self._inputs, inputs, strict=True):
            slots[slot] = value
        with np.errstate(all="ignore"):
            for step in self.steps:
                args = step.args
                value = step.op.ref(*[slots[a] for a in args], **step.params)
                if step.shape is not None and value.shape != step.shape:
                    value = np.broadcast_to(value, step.shape)
                slots[step.out] = value
                for slot in step.free:
                    slots[slot] = None
        return [np.asarray(slots[o]) for o in self._outputs]

    def __str__(self) -> str:
        return "\n".join(repr(s) for s in self.steps)

    def _slot(self, node: Node) -> int:
        return self._slots.setdefault(node, len(self._slots))

    def _plan(self) -> list[Step]:
        steps: list[Step] = []
        for node in self.graph.nodes:
            assert node.op is not None and node.args is not None
            args = node.args
            compact = node.op.kind == "pointwise" and any(_is_spread(a) for a in args)
            if compact:
                args = tuple(a.args[0] if _is_spread(a) and a.args else a for a in args)
            slots = tuple(self._slot(a) for a in args)
            shape = node.shape if compact else None
            steps.append(Step(node.op, slots, node.params, self._slot(node), shape))
        return _needed(steps, {self._slot(n) for n in self.graph.outputs})

    def _free_after_last_use(self) -> None:
        kept = {*self._outputs, *(s for s, _ in self._constants)}
        seen: set[int] = set()
        for step in reversed(self.steps):
            step.free = tuple(
                {a for a in (*step.args, step.out) if a not in seen and a not in kept}
            )
            seen.update(step.args)
            seen.add(step.out)


def _is_spread(node: Node) -> bool:
    return node.op is not None and node.op.lazy and node.value is None


def _needed(steps: list[Step], wanted: set[int]) -> list[Step]:
    """The steps without those whose result nobody reads any more."""
    found: list[Step] = []
    for step in reversed(steps):
        if step.out in wanted:
            wanted.update(step.args)
            found.append(step)
    return found[::-1]
