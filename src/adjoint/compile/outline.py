"""outline: the values of a graph that take memory, what each is computed from, and for how long
they live; a rough picture on which plans are tried out quickly."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

from adjoint.compile.schedule import BYTES, FLOPS
from adjoint.ir.graph import Graph
from adjoint.ir.node import Node


class Outline:
    """The stored values of a graph by number, in order.

    Views are not stored, and neither is what one other pointwise node or sum alone uses: it is
    computed there. nodes: the node of each value; sizes: its bytes (0 for results of the graph,
    which have memory of their own); reads: which values it is computed from; seconds: the time
    that takes.
    """

    def __init__(self, graph: Graph) -> None:
        users: dict[Node, set[Node]] = {}
        for node in graph.nodes:
            for arg in node.args or ():
                users.setdefault(base_of(arg), set()).add(node)
        self.results = {base_of(o) for o in graph.outputs}
        self.nodes: list[Node] = []
        self.sizes: list[int] = []
        self.reads: list[tuple[int, ...]] = []
        self.seconds: list[float] = []
        self.number: dict[Node, int] = {}
        self.place: list[int] = []  # in graph.nodes
        sources: dict[Node, dict[int, None]] = {}
        times: dict[Node, float] = {}
        for i, node in enumerate(graph.nodes):
            if node is not base_of(node):
                continue
            bases = dict.fromkeys(base_of(a) for a in node.args or ())
            found: dict[int, None] = {}
            time = seconds(node)
            for base in bases:
                found.update(sources.get(base, ()))
                time += times.get(base, 0.0)
            if _is_inlined(node, users, self.results):
                sources[node], times[node] = found, time
                continue
            number = self.number[node] = len(self.nodes)
            sources[node] = {number: None}
            self.nodes.append(node)
            self.sizes.append(0 if node in self.results else nbytes(node))
            self.reads.append(tuple(found))
            self.seconds.append(time)
            self.place.append(i)

    def __len__(self) -> int:
        return len(self.nodes)

    def peak(self, order: Sequence[tuple[int, Sequence[int]]]) -> tuple[int, int]:
        """The most bytes that live at once when values are made in ``order``, and at which step.

        order: for each step the value and which *steps* made what it reads.
        """
        last = list(range(len(order)))
        for i, (_, reads) in enumerate(order):
            for step in reads:
                last[step] = i
        change = [0] * (len(order) + 1)
        for i, (number, _) in enumerate(order):
            change[i] += self.sizes[number]
            change[last[i] + 1] -= self.sizes[number]
        most = at = live = 0
        for i, step in enumerate(change):
            live += step
            if live > most:
                most, at = live, i
        return most, at

    def plain(self) -> list[tuple[int, Sequence[int]]]:
        """The order of the graph itself."""
        return list(enumerate(self.reads))

    def again(self, turn: int, kept: Collection[int]) -> list[tuple[int, Sequence[int]]]:
        """The order in which values before ``turn`` that are not ``kept`` are computed a second
        time, right before a value behind it needs them."""
        order: list[tuple[int, Sequence[int]]] = [(i, self.reads[i]) for i in range(turn)]
        step = list(range(turn))  # where the value that can be read was made
        fresh = [i in kept or self.nodes[i] in self.results for i in range(turn)]
        for number in range(turn, len(self)):
            stack = [r for r in self.reads[number] if r < turn and not fresh[r]]
            while stack:
                top = stack[-1]
                missing = [r for r in self.reads[top] if not fresh[r]]
                if missing and not fresh[top]:
                    stack.extend(missing)
                    continue
                stack.pop()
                if not fresh[top]:
                    order.append((top, [step[r] for r in self.reads[top]]))
                    step[top] = len(order) - 1
                    fresh[top] = True
            order.append((number, [step[r] for r in self.reads[number]]))
            step.append(len(order) - 1)
        return order


def nbytes(node: Node) -> int:
    """The bytes of the value, of all its parts together."""
    if node.parts is None:
        return prod(node.shape) * node.dtype.bits // 8
    return sum(prod(p.shape) * p.dtype.bits // 8 for p in node.parts)


def seconds(node: Node) -> float:
    """Roughly the time that one thread takes for ``node``."""
    assert node.op is not None
    moved = nbytes(node) + sum(nbytes(a) for a in node.args or ())
    flops = 0
    if node.op.kind == "contract" and node.args:
        a, b = node.args[:2]
        inner = a.shape[-1] if node.op.name == "dot" else prod(b.shape[1:])
        flops = 2 * prod(node.shape) * inner
    return flops / FLOPS + moved / BYTES


def base_of(node: Node) -> Node:
    """The node whose memory a view shows."""
    while node.op is not None and node.args and _is_view(node):
        node = node.args[0]
    return node


def _is_view(node: Node) -> bool:
    assert node.op is not None
    if node.op.name in ("pick", "copy"):
        return True
    return node.op.kind == "view" and node.op.name not in ("pad", "concat")


def _is_inlined(node: Node, users: dict[Node, set[Node]], results: set[Node]) -> bool:
    """Whether ``node`` is computed inside the kernel of the one that uses it."""
    assert node.op is not None
    mine = [*users.get(node, ())]
    if node.op.kind != "pointwise" or node in results or len(mine) != 1:
        return False
    op = mine[0].op
    return op is not None and op.kind in ("pointwise", "reduce")
