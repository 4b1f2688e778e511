"""Which nodes share a kernel: from the outputs backwards, a value is computed where it is used.

A loop kernel runs over an index space of axes, some of them reduced. Every member knows which of
these axes its own are made of (its map), so that broadcasts, transpositions and reshapes between
members cost nothing, and a softmax or a layer norm with its reductions is one kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from adjoint.base.shape import Shape
from adjoint.compile.views import Axis, Map, leaves, pulled_back, regrouped
from adjoint.ir.node import Node

FEW_ROWS, LONG_ROW = 8, 1 << 15  # fewer rows of more elements are summed in pieces
MOST = 160  # members of one kernel
SMALL = 1 << 14  # elements up to which kernels that have nothing in common are joined
CHEAP = frozenset(
    [
        "neg", "add", "sub", "mul", "maximum", "minimum", "eq", "lt", "where", "cast", "bit_and",
        "bit_or", "bit_xor", "floor", "copy",
    ]
)  # fmt: skip


class Group:
    """Nodes that one kernel computes. ``maps``: the axes of each member; ``inner``: those of the
    argument of each reduction. A group without axes of its own (``opaque``) is a single node."""

    def __init__(self, number: int, opaque: bool) -> None:
        self.number = number
        self.opaque = opaque
        self.members: list[Node] = []  # consumers before producers
        self.maps: dict[Node, Map] = {}
        self.inner: dict[Node, Map] = {}
        self.axes: list[Axis] = []
        self.stored: set[Node] = set()

    @property
    def domain(self) -> list[Axis]:
        return leaves(self.axes)

    @property
    def reduces(self) -> bool:
        return bool(self.inner)

    def is_full(self, places: Map) -> bool:
        return len(_axes(places)) == len(self.domain)

    def is_outer(self, places: Map) -> bool:
        """Whether the axes are all that are not reduced."""
        return set(_axes(places)) == {a for a in self.domain if not a.reduced}


class Use:
    """One reading of a computed node: by argument ``slot`` of ``consumer``, through ``views``
    (from the consumer to the node)."""

    __slots__ = ("consumer", "slot", "views")

    def __init__(self, consumer: Node, slot: int, views: Sequence[Node]) -> None:
        self.consumer = consumer
        self.slot = slot
        self.views = views


class Grouping:
    """Assigns nodes to groups, consumers first."""

    def __init__(self, uses: dict[Node, list[Use]], kept: set[Node], fed: set[Node]) -> None:
        self.uses = uses
        self.kept = kept  # nodes whose value must be in memory in the end
        self.fed = fed  # results of contractions, and what is computed from one element by element
        self.groups: list[Group] = []
        self.of: dict[Node, Group] = {}
        self.order: dict[Node, int] = {}  # the more, the later
        self.behind: list[int] = []  # for each group, a bit for every group that needs it

    def place(self, node: Node, fusable: bool) -> None:
        """Decide where ``node`` is computed; all its consumers have been placed."""
        self.order[node] = -len(self.order)
        uses = self.uses.get(node, [])
        users = {self.of[u.consumer].number: self.of[u.consumer] for u in uses}
        stays = node in self.kept or any(g.opaque for g in users.values()) or not uses
        if fusable:
            found = self._home(node, uses, users, stays)
            if found is not None:
                self._join(node, *found, users)
                return
        self._start(node, fusable, users)

    def merge(self) -> None:
        """Join small kernels over the same index space that do not need each other; groups that
        others have taken in are left without members."""
        by_sizes: dict[tuple[int, ...], list[Group]] = {}
        for group in self.groups:
            sizes = tuple(a.size for a in group.domain)
            if group.opaque or group.reduces or not sizes or prod(sizes) > SMALL:
                continue
            for other in by_sizes.setdefault(sizes, []):
                if self._apart(group, other) and len(group.members) + len(other.members) <= MOST:
                    self._absorb(other, group)
                    break
            else:
                by_sizes[sizes].append(group)

    def _apart(self, a: Group, b: Group) -> bool:
        return not (self.behind[a.number] >> b.number & 1 or self.behind[b.number] >> a.number & 1)

    def _absorb(self, group: Group, other: Group) -> None:
        """Move the members of ``other`` to ``group``, whose axes they get."""
        same = dict(zip(other.domain, group.domain, strict=True))
        for node in other.members:
            group.maps[node] = tuple(
                tuple(same[a] for a in leaves(part)) for part in other.maps[node]
            )
            self.of[node] = group
        # consumers before producers, as everywhere
        group.members = sorted([*group.members, *other.members], key=self._late, reverse=True)
        group.stored |= other.stored
        other.members = []
        needed = self.behind[group.number] | self.behind[other.number]
        both = 1 << group.number | 1 << other.number
        for g in self.groups:
            if g is group or self.behind[g.number] & both:
                self.behind[g.number] |= needed | (0 if g is group else both)

    def _late(self, node: Node) -> int:
        return self.order[node]

    def _home(
        self, node: Node, uses: list[Use], users: dict[int, Group], stays: bool
    ) -> tuple[Group, Map, bool] | None:
        """The group to join, the map of the node there, and whether it has to be stored."""
        candidates = [g for g in users.values() if not g.opaque]
        for group in sorted(candidates, key=lambda g: g.number, reverse=True):
            inside = [u for u in uses if self.of[u.consumer] is group]
            places = self._common(group, inside, node)
            if places is None or len(group.members) >= MOST:
                continue
            others = [g for g in users.values() if g is not group]
            stored = stays or bool(others)
            if any(self.behind[g.number] >> group.number & 1 for g in others):
                continue  # one of the others has to run before this group
            if self._fits(node, group, places, stored):
                return group, places, stored
        return None

    def _common(self, group: Group, uses: list[Use], node: Node) -> Map | None:
        """The map of ``node`` that all ``uses`` in ``group`` agree on."""
        found: Map | None = None
        for use in uses:
            places: Map | None = group.inner.get(use.consumer) or group.maps[use.consumer]
            views = use.views
            for i, view in enumerate(views):
                shape = views[i + 1].shape if i + 1 < len(views) else node.shape
                places = pulled_back(view, places, shape)
                if places is None:
                    return None
            assert places is not None
            if found is not None and _keys(found) != _keys(places):
                return None
            found = places
        return found

    def _fits(self, node: Node, group: Group, places: Map, stored: bool) -> bool:
        assert node.op is not None
        if node.op.kind == "reduce":
            return self._reduces_well(node, group, places, stored)
        if group.is_full(places):
            feeds_sum = stored and group.reduces and node in self.fed
            return not feeds_sum  # better finished where the contraction leaves it
        if group.reduces and group.is_outer(places):
            return True
        if stored:
            return False
        if prod(node.shape) == 1 or node.op.name in CHEAP:
            return True
        # computed once for each of the outermost places, not again and again
        mine = set(_axes(places))
        return mine == set(group.domain[: len(mine)])

    def _reduces_well(self, node: Node, group: Group, places: Map, stored: bool) -> bool:
        mine = set(_axes(places))
        rest = [a for a in group.domain if a not in mine]
        axes: Shape = node.params["axes"]
        sizes = tuple(node.args[0].shape[a] for a in axes) if node.args else ()
        rows, row = prod(node.shape), prod(sizes)
        if rest:
            if group.reduces and any(not a.reduced for a in rest):
                return False
            if group.reduces and any(a.reduced for a in mine):
                return False
            if prod(a.size for a in rest) != row or regrouped((tuple(rest),), sizes) is None:
                return False
            outer_only = [m for m in group.stored if not group.is_full(group.maps[m])]
            if any(set(_axes(group.maps[m])) != mine for m in outer_only):
                return False
            return rows >= FEW_ROWS or row <= LONG_ROW
        # every member lives on the rows: they become what is done after the sum
        return not group.reduces

    def _join(
        self, node: Node, group: Group, places: Map, stored: bool, users: dict[int, Group]
    ) -> None:
        self._enter(node, group, places)
        if stored:
            group.stored.add(node)
        fresh = 0
        for other in users.values():
            if other is not group:
                fresh |= self.behind[other.number] | 1 << other.number
        fresh &= ~self.behind[group.number]
        if fresh:
            for g in self.groups:
                if g is group or self.behind[g.number] >> group.number & 1:
                    self.behind[g.number] |= fresh

    def _enter(self, node: Node, group: Group, places: Map) -> None:
        assert node.op is not None and node.args is not None
        group.members.append(node)
        group.maps[node] = places
        self.of[node] = group
        if node.op.kind == "reduce":
            group.inner[node] = self._inner(node, group, places)

    def _inner(self, node: Node, group: Group, places: Map) -> Map:
        """The map of the argument of a reduction: its own axes, and the reduced ones."""
        assert node.args is not None
        shape = node.args[0].shape
        axes: Shape = node.params["axes"]
        mine = set(_axes(places))
        rest = [a for a in group.domain if a not in mine]
        if not rest:
            rest = [Axis(shape[a], reduced=True) for a in axes if shape[a] != 1]
            group.axes.extend(rest)
        for axis in rest:
            axis.reduced = True
        cut = regrouped((tuple(rest),), tuple(shape[a] for a in axes))
        assert cut is not None
        found: list[tuple[Axis, ...]] = []
        kept, gone = iter(places), iter(cut)
        for a in range(len(shape)):
            found.append(next(gone) if a in axes else next(kept))
        return tuple(found)

    def _start(self, node: Node, fusable: bool, users: dict[int, Group]) -> None:
        group = Group(len(self.groups), not fusable)
        self.groups.append(group)
        mask = 0
        for other in users.values():
            mask |= self.behind[other.number] | 1 << other.number
        self.behind.append(mask)
        group.stored.add(node)
        if fusable:
            places = tuple((Axis(n),) if n != 1 else () for n in node.shape)
            group.axes = [a for part in places for a in part]
            self._enter(node, group, places)
        else:
            group.members.append(node)
            self.of[node] = group


def _axes(places: Map) -> list[Axis]:
    return leaves([axis for part in places for axis in part])


def _keys(places: Map) -> list[list[int]]:
    return [[id(a) for a in leaves(part)] for part in places]


def walk_views(node: Node, through: dict[Node, Node]) -> Iterator[Node]:
    """The view nodes from ``node`` to the computed node it shows; ``through``: view to argument."""
    while node in through:
        yield node
        node = through[node]
