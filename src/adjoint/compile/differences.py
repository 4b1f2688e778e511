"""differences: where a compiled program first computes something else than NumPy does.

The interpreter gives the value of every node. A wrong result is followed back by bisection: the
program up to a node is compiled with this node as its only result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint.base.dtype import DType
from adjoint.compile.fuse import prepare
from adjoint.ir.graph import Graph, recording
from adjoint.ir.node import Array, Node, Type, abstract, apply, evaluate, grad_mode

Run = Callable[[Sequence[Array]], Sequence[Array]]
Compile = Callable[[Graph], Run]

TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""By dtype: how far a result may be off, as a share of the largest number in it."""


class Difference(NamedTuple):
    """A node that is computed wrongly though all that it is computed from is right.

    name: as the graph prints it. alone: whether it is also wrong when it is compiled by itself; if
    not, the fault is in how it was put together with others. wrong: how many elements; worst: the
    place of the largest difference, with what was found there and what was expected.
    """

    node: Node
    name: str
    alone: bool
    wrong: int
    worst: tuple[int, ...]
    found: Any
    expected: Any

    def __str__(self) -> str:
        op = self.node.op
        assert op is not None
        region = self.node.params.get("region")
        what = op.name if region is None else f"region {region.name}"
        shape = tuple(self.node.shape)
        how = (
            "it is wrong by itself, too" if self.alone
            else "by itself it is right: only together with others is it wrong"
        )  # fmt: skip
        lines = [
            f"{self.name} = {what}, {self.node.dtype.name}{list(shape)}: {self.wrong} elements "
            f"differ, most at {self.worst}: {self.found} instead of {self.expected}",
            f"everything it is computed from agrees; {how}",
        ]
        if self.node.site:
            lines.append(f"recorded {self.node.site}")
        return "\n".join(lines)


def first_difference(
    graph: Graph, arrays: Sequence[Array], compiled: Compile | None = None
) -> Difference | None:
    """The first node of ``graph`` (in the order of computing) that the compiled program gets wrong
    for the inputs ``arrays``; None when all results agree.

    compiled: what makes a program of a graph; by default the compiler. Random differences of
    rounding are allowed for (see ``TOLERANCE``). Nothing is written to ``arrays``.
    """
    search = _Search(prepare(graph), arrays, compiled or _program)
    wrong = search.wrong_results()
    if not wrong:
        return None
    found = search.follow(wrong[0])
    return search.describe(found)


def agree(found: Array, expected: Array, dtype: DType) -> bool:
    """Whether two values are the same up to rounding; integers and truth values exactly."""
    return not _wrong_places(found, expected, dtype).any()


class _Search:
    def __init__(self, graph: Graph, arrays: Sequence[Array], compiled: Compile) -> None:
        self.graph, self.arrays, self.compiled = graph, list(arrays), compiled
        self.values = _values(graph, arrays)
        self._found: dict[Node, Array] = {}

    def wrong_results(self) -> list[Node]:
        """The outputs that differ, oldest first."""
        graph = self.graph
        found = self.run(graph.inputs, graph.outputs, self.arrays)
        pairs = zip(graph.outputs, found, strict=True)
        wrong = [o for o, value in pairs if o in self.values and not self.agrees(o, value)]
        return sorted(wrong, key=_serial)

    def run(
        self, inputs: Sequence[Node], outputs: Sequence[Node], arrays: Sequence[Array]
    ) -> list[Array]:
        """``outputs`` by a compiled program; it overwrites nothing."""
        graph = Graph(inputs, outputs, name=self.graph.name)
        return [np.asarray(a) for a in self.compiled(graph)([a.copy() for a in arrays])]

    def agrees(self, node: Node, found: Array) -> bool:
        return agree(found, self.values[node], node.dtype)

    def is_right(self, node: Node) -> bool:
        """Whether the program that ends with ``node`` agrees."""
        if node not in self._found:
            (self._found[node],) = self.run(self.graph.inputs, [node], self.arrays)
        return self.agrees(node, self._found[node])

    def follow(self, wrong: Node) -> Node:
        """A wrong node whose arguments are right, among those that ``wrong`` depends on."""
        while True:
            line = self.upstream(wrong)
            low, high = 0, len(line) - 1  # the last is wrong
            while low < high:
                middle = (low + high) // 2
                if self.is_right(line[middle]):
                    low = middle + 1
                else:
                    high = middle
            wrong = line[high]
            before = [a for a in self.sources(wrong) if not self.is_right(a)]
            if not before:
                return wrong
            wrong = before[0]

    def upstream(self, node: Node) -> list[Node]:
        """What ``node`` is computed from, and itself, oldest first; nodes of one result each."""
        seen: set[Node] = set()
        stack = [node]
        while stack:
            top = stack.pop()
            if top not in seen and top in self.values:
                seen.add(top)
                stack.extend(self.sources(top))
        return sorted(seen | {node}, key=_serial)

    def sources(self, node: Node) -> list[Node]:
        """The computed values that ``node`` reads; those of the node that has several results, when
        it picks one of them."""
        found: list[Node] = []
        for arg in node.args or ():
            if arg.parts is not None:
                found.extend(self.sources(arg))
            elif arg in self.values and arg.op is not None:
                found.append(arg)
        return found

    def describe(self, node: Node) -> Difference:
        found, expected = self._found.get(node), self.values[node]
        if found is None:
            (found,) = self.run(self.graph.inputs, [node], self.arrays)
        wrong = _wrong_places(found, expected, node.dtype)
        worst = _worst(found, expected, wrong)
        name = f"n{self.graph.nodes.index(node)}" if node in self.graph.nodes else "an input"
        return Difference(
            node, name, self.is_wrong_alone(node), int(wrong.sum()), worst,
            found[worst], expected[worst],
        )  # fmt: skip

    def is_wrong_alone(self, node: Node) -> bool:
        """Whether a program of this node only, given the right arguments, is wrong."""
        chain = [node]  # from the result down to what really computes
        while chain[-1].op is not None and chain[-1].op.name == "pick" and chain[-1].args:
            chain.append(chain[-1].args[0])
        args = [a for a in chain[-1].args or () if a in self.values]
        with recording(), grad_mode(False):
            new = {a: abstract(Type(a.shape, a.dtype)) for a in args}
            inputs = list(new.values())
            for old in reversed(chain):
                assert old.op is not None and old.args is not None
                new[old] = apply(old.op, tuple(new.get(a, a) for a in old.args), old.params)
        if not inputs:
            return False
        (found,) = self.run(inputs, [new[node]], [self.values[a] for a in dict.fromkeys(args)])
        return not self.agrees(node, found)


def _values(graph: Graph, arrays: Sequence[Array]) -> dict[Node, Array]:
    """The value of every node by the NumPy meanings of the ops, but for those of several parts."""
    found: dict[Node, Any] = dict(zip(graph.inputs, arrays, strict=True))
    found.update((n, n.array()) for n in graph.constants)
    for node in graph.nodes:
        assert node.op is not None and node.args is not None
        found[node] = evaluate(node.op, [found[a] for a in node.args], node.params)
    return {n: np.asarray(v) for n, v in found.items() if n.parts is None}


def _wrong_places(found: Array, expected: Array, dtype: DType) -> Any:
    if dtype.kind != "f":
        return np.asarray(found != expected)
    a, b = (np.asarray(x, np.float64) for x in (found, expected))
    finite = np.isfinite(b)
    scale = float(np.abs(b[finite]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(a - b) <= TOLERANCE[dtype.name] * scale)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.asarray(off & ~same)


def _worst(found: Array, expected: Array, wrong: Any) -> tuple[int, ...]:
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64))
    size = np.where(wrong, np.where(np.isnan(size), np.inf, size), -1.0)
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(size)), size.shape))


def _program(graph: Graph) -> Run:
    from adjoint.compile.program import Program

    return Program(graph)


def _serial(node: Node) -> int:
    return node.serial
