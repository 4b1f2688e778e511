"""remat: which values of a step to keep, and which to compute a second time, to fit a budget.

A training step has a turn: before it values are made, behind it they are used again in the
opposite order. ``rematerialize`` keeps some of the values that live across the turn and computes
the others again from these, each at most once, right before it is needed. Which to keep: what
crosses the borders of segments (with sqrt(n) of these, memory grows like sqrt(n)), then whatever
else fits, the dearest first.
Sources: Chen et al., "Training deep nets with sublinear memory cost", 2016; Kumar et al.,
"Efficient rematerialization for deep networks", 2019.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from adjoint.base import errors
from adjoint.compile.fuse import fuse, prepare
from adjoint.compile.outline import Outline, base_of
from adjoint.compile.program import Program
from adjoint.ir.graph import Graph
from adjoint.ir.node import Node, Op, Params
from adjoint.ops.structure import Again, copy

TRIES = 60  # how many sets of kept values are looked at closely
MEASURED = 6  # and how many of these are planned to the byte


class Plan(NamedTuple):
    """A graph, what it needs beside inputs and outputs, and the extra work of one call."""

    graph: Graph
    nbytes: int
    seconds: float


def rematerialize(
    graph: Graph, budget: float, measure: Callable[[Graph], int] | None = None
) -> Graph:
    """``graph`` with values computed again behind the turn, so that it runs in ``budget`` bytes
    (a share of what it needs now, if at most 1), with as little extra work as was found.

    All results are the same, bit for bit. measure: the bytes between inputs and outputs; by default
    those of the compiled program. Raises ArgumentError when nothing tried is small enough.
    """
    measure = measure or arena_bytes
    graph = prepare(graph)
    start = measure(graph)
    goal = budget * start if budget <= 1 else budget
    if start <= goal:
        return graph
    outline = Outline(graph)
    turns = [_Turn(graph, outline, at) for at in _turns(graph, outline)]
    found = [_search(t, goal, start, measure) for t in turns if t.candidates]
    good = [p for p in found if p.nbytes <= goal]
    if not good:
        least = min((p.nbytes for p in found), default=start)
        raise errors.argument(
            "memory_budget", f"{round(goal):,} bytes are too few: the step needs {start:,}, and "
            f"{least:,} when as much as possible is computed again",
            hint="give more memory, or make the batch smaller",
        )  # fmt: skip
    return min(good, key=lambda p: p.seconds).graph


def arena_bytes(graph: Graph) -> int:
    """The memory between inputs and outputs that ``graph`` needs when it is compiled."""
    return _Planned(graph).scope.placement.size


class _Planned(Program):
    """A program up to the memory plan; it is not linked, and cannot run."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.fresh, self.results = [], []
        self.scope = self._schedule(fuse(graph))


def _search(turn: _Turn, goal: float, start: int, measure: Callable[[Graph], int]) -> Plan:
    """The cheapest plan that fits, else the smallest."""
    scale = start / max(turn.outline.peak(turn.outline.plain())[0], 1)  # measured by estimated
    best: Plan | None = None
    for _ in range(MEASURED):
        kept = _choose(turn, goal / scale)
        made = turn.graph_with(kept)
        plan = Plan(made, measure(made), turn.seconds(kept))
        fits = plan.nbytes <= goal
        if best is None or (fits, -plan.nbytes) > (best.nbytes <= goal, -best.nbytes):
            best = plan
        if fits:
            break
        scale *= max(plan.nbytes / goal, 1.05)
    assert best is not None
    return best


def _choose(turn: _Turn, goal: float) -> frozenset[int]:
    """The values to keep: by segments, then more, as long as the estimate is within ``goal``."""
    count = len(turn.candidates)
    numbers = sorted({max(round(count / 1.3**i), 1) for i in range(30)})
    choices = [turn.segments(n) for n in numbers]
    choices.append(turn.dearest(goal))
    rated = [(turn.peak(k), turn.seconds(k), k) for k in choices]
    fitting = [r for r in rated if r[0] <= goal]
    if not fitting:
        return min(rated, key=lambda r: r[0])[2]
    best: tuple[float, frozenset[int]] | None = None
    for _, _, kept in sorted(fitting, key=lambda r: r[1])[:3]:
        for number in turn.worth(kept)[: TRIES // 3]:
            more = kept | {number}
            if turn.peak(more) <= goal:
                kept = more
        if best is None or turn.seconds(kept) < best[0]:
            best = turn.seconds(kept), kept
    assert best is not None
    return best[1]


class _Turn:
    """A graph seen from one point: early nodes run before it, and what is kept of them is used
    behind it. candidates: early values that late ones read, by their number in the outline."""

    def __init__(self, graph: Graph, outline: Outline, at: int) -> None:
        self.graph, self.outline, self.at = graph, outline, at
        self.turn = bisect_left(outline.place, at)
        used = {r for i in range(self.turn, len(outline)) for r in outline.reads[i]}
        own = {outline.number[n] for n in outline.results if n in outline.number}
        self._have = frozenset(own)
        self.candidates = [i for i in range(self.turn) if i in used and i not in own]
        self._crossing = self._crossings()

    def segments(self, count: int) -> frozenset[int]:
        """What crosses the borders of ``count`` segments of about equal bytes; the last segment is
        kept whole, because it is needed at once."""
        sizes = self.outline.sizes
        total = sum(sizes[c] for c in self.candidates)
        kept: set[int] = set()
        done, border = 0, total / count
        start = 0
        for i, number in enumerate(self.candidates[:-1]):
            done += sizes[number]
            if done >= border:
                near = range(max(i - (i - start) // 4, start), i + 1)
                best = min(near, key=lambda j: sum(sizes[c] for c in self._crossing[j]))
                kept.update(self._crossing[best])
                start = i + 1
                border += total / count
        if count > 1:
            kept.update(self.candidates[start:])
        return frozenset(kept)

    def dearest(self, goal: float) -> frozenset[int]:
        """Everything but the values that are cheapest for their bytes, as few of these as do."""
        order = self.worth(frozenset())[::-1]
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.peak(frozenset(order[middle:])) <= goal:
                high = middle
            else:
                low = middle + 1
        return frozenset(order[low:])

    def peak(self, kept: frozenset[int]) -> int:
        """The estimated bytes when ``kept`` is kept."""
        return self.outline.peak(self.outline.again(self.turn, kept))[0]

    def seconds(self, kept: frozenset[int]) -> float:
        """The estimated time of what is computed again."""
        return sum(self.outline.seconds[i] for i in self._again(kept))

    def worth(self, kept: frozenset[int]) -> list[int]:
        """What could be kept as well, the time that saves for its bytes deciding."""
        again = self._again(kept)
        rest = set(self.candidates) - kept
        time = self.outline.seconds

        def gain(number: int) -> float:
            only = [r for r in self.outline.reads[number] if r in again and r not in rest]
            return (time[number] + sum(time[r] for r in only)) / (self.outline.sizes[number] + 1)

        return sorted(rest, key=gain, reverse=True)

    def graph_with(self, kept: frozenset[int]) -> Graph:
        """The graph in which what is not kept is computed again."""
        nodes = self.graph.nodes
        have = {self.outline.nodes[i] for i in kept} | self.outline.results
        return _Writer(self.graph, set(nodes[: self.at]), have).graph(self.at)

    def _again(self, kept: frozenset[int]) -> set[int]:
        """Early values that are computed twice."""
        have = kept | self._have
        found: set[int] = set()
        stack = [r for i in range(self.turn, len(self.outline)) for r in self.outline.reads[i]]
        while stack:
            number = stack.pop()
            if number < self.turn and number not in have and number not in found:
                found.add(number)
                stack.extend(self.outline.reads[number])
        return found

    def _crossings(self) -> list[set[int]]:
        """For each candidate: the values that are there once it is made, and that early values
        behind it read."""
        last = list(range(self.turn))
        for i in range(self.turn):
            for r in self.outline.reads[i]:
                last[r] = i
        found: list[set[int]] = []
        alive: set[int] = set()
        wanted = set(self.candidates)
        for i in range(self.turn):
            alive = {a for a in alive if last[a] > i}
            if last[i] > i:
                alive.add(i)
            if i in wanted:
                found.append(alive - self._have)
        return found


class _Writer:
    """Writes the nodes of a graph in a new order, with second computations among them."""

    def __init__(self, graph: Graph, early: set[Node], kept: set[Node]) -> None:
        self._graph, self._early, self._kept = graph, early, kept
        self._fixed = set(graph.constants)
        self._new: dict[Node, Node] = {}
        self._second: dict[Node, Node] = {}
        self._marked: dict[Node, Node] = {}

    def graph(self, turn: int) -> Graph:
        """All nodes; from number ``turn`` on, early values are computed again when needed."""
        for node in self._graph.nodes[:turn]:
            args = tuple(self._new.get(a, a) for a in node.args or ())
            self._new[node] = _rebuilt(node, node.op, args, node.params)
        for node in self._graph.nodes[turn:]:
            for arg in node.args or ():
                self._compute(arg)
            args = tuple(self._second.get(a) or self._new.get(a, a) for a in node.args or ())
            self._new[node] = _rebuilt(node, node.op, args, node.params)
        outputs = [self._new.get(o, o) for o in self._graph.outputs]
        return Graph(self._graph.inputs, outputs, self._graph.updates, self._graph.name)

    def _compute(self, node: Node) -> None:
        """Write ``node`` a second time, after all that this needs."""
        stack = [node]
        while stack:
            top = stack[-1]
            if not self._is_gone(top) or top in self._second:
                stack.pop()
                continue
            missing = [a for a in top.args or () if self._is_gone(a) and a not in self._second]
            if missing:
                stack.extend(reversed(missing))
                continue
            args = tuple(self._second.get(a) or self._source(a) for a in top.args or ())
            self._second[top] = _rebuilt(top, top.op, args, top.params)
            stack.pop()

    def _is_gone(self, node: Node) -> bool:
        return node in self._early and base_of(node) not in self._kept

    def _source(self, node: Node) -> Node:
        """A value that is still there, marked so that what is computed from it is not merged with
        what was computed from it before."""
        if node in self._fixed:
            return node
        if node not in self._marked:
            given = (self._new.get(node, node),)
            self._marked[node] = _rebuilt(node, copy, given, {"again": Again()})
        return self._marked[node]


def _rebuilt(node: Node, op: Op | None, args: tuple[Node, ...], params: Params) -> Node:
    """A new node of the type of ``node``."""
    made = Node(op, args, params, node.shape, node.dtype, None, False)
    made.parts, made.stop, made.site = node.parts, True, getattr(node, "site", None)
    made.device = node.device
    return made


def _turns(graph: Graph, outline: Outline) -> list[int]:
    """Where a graph may turn: where most is alive, and where a single number comes out."""
    step = outline.peak(outline.plain())[1]
    found = {outline.place[step]} if len(outline) else set[int]()
    wanted = {o for o in graph.outputs if o.shape == () and o.dtype.kind == "f" and o.parts is None}
    found.update(i + 1 for i, node in enumerate(graph.nodes) if node in wanted)
    return sorted(found)
