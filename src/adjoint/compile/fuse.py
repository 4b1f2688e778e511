"""A Graph cut into kernels: values that are used element by element stay in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from adjoint.base.shape import Shape
from adjoint.compile.assemble import along, concat_kernels, kernels_of, pad_kernels, parts_of
from adjoint.compile.contractions import dot_packed, packed_b
from adjoint.compile.expand import expand, without_marks
from adjoint.compile.finish import columns_of, contract, reads_views
from adjoint.compile.group import Group, Grouping, Use, walk_views
from adjoint.compile.kernel import Host, Kernel, Repeat, Step
from adjoint.compile.loop_values import special
from adjoint.compile.lower import buffer, has_template, is_zero, name_of, template_of
from adjoint.compile.order import Unit, ordered
from adjoint.compile.rewire import rewired
from adjoint.compile.simplify import simplify
from adjoint.compile.views import View, seen_through, stored, whole
from adjoint.ir.graph import Graph
from adjoint.ir.node import NO_PARAMS, Node
from adjoint.ops.structure import copy


@dataclass
class Fused:
    """What a graph becomes: steps in the order to run them, and the buffer of each output."""

    steps: list[Step]
    outputs: tuple[Node, ...]


def fuse(graph: Graph) -> Fused:
    """The kernels of ``graph``, which ``prepare`` gave."""
    return Fuser(without_marks(graph)).run()


def prepare(graph: Graph) -> Graph:
    """``graph`` without regions that have no kernel of their own, simplified."""
    return simplify(expand(graph, has_kernel))


def has_kernel(node: Node) -> bool:
    """Whether a ``call`` is computed as a whole."""
    name = name_of(node)
    return has_template(name) or special(name) is not None


def is_loop(node: Node) -> bool:
    """Whether a loop kernel can compute ``node``."""
    assert node.op is not None
    if node.op.name == "call":
        return special(name_of(node)) is not None
    if node.op.name in ("reduce_sum", "reduce_max"):
        return node.args is not None and 0 not in node.args[0].shape
    return node.op.kind == "pointwise" or node.op.name == "copy"


class Fuser:
    """The passes over a graph. Another backend overrides how steps are made of nodes."""

    def __init__(self, graph: Graph, fixed: Sequence[Node] = ()) -> None:
        self.graph = graph
        self.fixed = set(fixed)  # inputs that stay the same when the graph runs again and again
        self.packed: dict[View, tuple[Kernel, Node, Node]] = {}
        self.through: dict[Node, Node] = {}  # view -> what it shows
        self.seen: dict[Node, View] = {}
        self.computed: list[Node] = []
        self.parts: dict[Node, dict[int, Node]] = {}  # a node with several results -> its picks
        self.copies: dict[Node, Node] = {}
        self.outputs: tuple[Node, ...] = ()
        self.landing: dict[Node, View] = {}
        self.given: dict[Node, tuple[Node, ...]] = {}  # arguments that must lie densely
        for node in graph.inputs:
            self.seen[node] = whole(node)
        for node in graph.constants:
            self.seen[node] = stored(node)

    def run(self) -> Fused:
        for node in self.graph.nodes:
            self.look(node)
        self.outputs = tuple(self.as_buffer(o) for o in self.graph.outputs)
        grouping = Grouping(self.all_uses(), set(self.outputs), self.fed())
        for node in reversed(self.computed):
            grouping.place(node, is_loop(node))
        grouping.merge()
        self.find_landings(grouping)
        return Fused(self.steps(grouping), self.outputs)

    def find_landings(self, grouping: Grouping) -> None:
        """Values that nobody but a concat reads in memory are stored in its buffer at once."""
        for node in self.computed:
            assert node.op is not None
            if node.op.name != "concat":
                continue
            for arg, place in zip(self.given[node], parts_of(node), strict=True):
                group = grouping.of.get(arg)
                readers = [u.consumer for u in grouping.uses.get(arg, ())]
                elsewhere = [n for n in readers if grouping.of[n] is not group]
                alone = elsewhere == [node] and arg not in self.outputs
                if group is not None and not group.opaque and alone and 0 not in arg.shape:
                    self.landing[arg] = place

    # --- what is computed, what is a view ---------------------------------------------------------

    def look(self, node: Node) -> None:
        assert node.op is not None and node.args is not None
        if node.op.name == "pick":
            source = node.args[0]
            self.parts.setdefault(source, {})[node.params["index"]] = node
            self.seen[node] = whole(node)
            self.through[node] = source
            return
        if node.op.kind == "view" and node.op.name not in ("pad", "concat"):
            self.through[node] = node.args[0]
            found = seen_through(node, self.seen[node.args[0]])
            if found is None:
                made = self.through[node] = self.copied(node.args[0])
                found = seen_through(node, self.seen[made])
                assert found is not None, "a reshape of a contiguous buffer is a view"
            self.seen[node] = found
            return
        if not is_loop(node) and not self.takes_views(node):
            self.given[node] = tuple(
                a if _is_never_read(node, a) else self.dense(a) for a in node.args
            )
        self.computed.append(node)
        self.seen[node] = whole(node)

    def takes_views(self, node: Node) -> bool:
        """Whether the kernel of ``node`` reads its arguments through any strides."""
        return reads_views(node)

    def dense(self, arg: Node) -> Node:
        """``arg``, or a copy of it where its buffer holds something else around it."""
        return arg if (self.seen.get(arg) or whole(arg)).is_whole else self.copied(arg)

    def copied(self, node: Node) -> Node:
        """A contiguous copy of what the view ``node`` shows."""
        if node not in self.copies:
            made = Node(copy, (node,), NO_PARAMS, node.shape, node.dtype, None, False)
            made.site = getattr(node, "site", None)
            self.copies[node] = made
            self.computed.append(made)
            self.seen[made] = whole(made)
        return self.copies[node]

    def as_buffer(self, output: Node) -> Node:
        """The node whose buffer holds ``output`` in row-major order."""
        view = self.seen.get(output) or whole(output)
        self.seen.setdefault(output, view)
        if view.is_whole and not (view.node.op is not None and view.node.op.name == "iota"):
            return view.node
        return self.copied(output)

    def base(self, node: Node) -> Node:
        """The computed node that ``node`` shows."""
        for view in walk_views(node, self.through):
            node = self.through[view]
        return node

    def all_uses(self) -> dict[Node, list[Use]]:
        found: dict[Node, list[Use]] = {}
        for node in self.computed:
            for slot, arg in enumerate(self.given.get(node, node.args or ())):
                views = [v for v in walk_views(arg, self.through)]
                base = self.base(arg)
                found.setdefault(base, []).append(Use(node, slot, views))
        return found

    def fed(self) -> set[Node]:
        """Results of contractions, and what is computed from one element by element."""
        found: set[Node] = set()
        for node in self.computed:
            assert node.op is not None
            if node.op.kind == "contract":
                found.add(node)
            elif node.op.kind == "pointwise" or node.op.name == "copy":
                same = (self.base(a) for a in node.args or ())
                if any(b in found and prod(b.shape) == prod(node.shape) for b in same):
                    found.add(node)
        return found

    # --- steps ------------------------------------------------------------------------------------

    def read(self, node: Node, slot: int) -> View:
        assert node.args is not None
        arg = node.args[slot]
        return self.seen.get(arg) or whole(arg)

    def steps(self, grouping: Grouping) -> list[Step]:
        updates = {self.outputs[j]: self.graph.inputs[i] for i, j in self.graph.updates}
        finishers = self.finishers(grouping)
        taken = {g.number for g in finishers.values()}
        units = [
            Unit([g, finishers[g.number]] if g.number in finishers else [g])
            for g in grouping.groups if g.members and g.number not in taken
        ]  # fmt: skip
        found: list[Step] = []
        for unit in ordered(units, self.reads, updates):
            group, *after = unit.groups
            node = group.members[0]
            if node.op is not None and node.op.kind == "contract":
                found.extend(self.contraction(node, after[0] if after else None))
            elif group.opaque:
                found.extend(self.opaque(group.members[0]))
            else:
                found.extend(self.loops(group))
        return found

    def reads(self, node: Node) -> list[Node]:
        """The computed nodes, inputs and constants that a node reads."""
        return [self.base(a) for a in self.given.get(node, node.args or ())]

    def finishers(self, grouping: Grouping) -> dict[int, Group]:
        """For contractions by the number of their group: the loops that finish their result.

        The result is finished where it is made, in the cache, when nobody else reads it.
        """
        readers: dict[Node, set[int]] = {}
        for node, group in grouping.of.items():
            for source in self.reads(node):
                readers.setdefault(source, set()).add(group.number)
        found: dict[int, Group] = {}
        taken: set[int] = set()
        for group in reversed(grouping.groups):  # the first contractions come last
            if not group.members:
                continue
            node = group.members[0]
            if node.op is None or node.op.kind != "contract" or len(readers.get(node, ())) != 1:
                continue
            (number,) = readers[node]
            if number not in taken and self.can_finish(grouping.groups[number], node):
                found[group.number] = grouping.groups[number]
                taken.add(number)
        return found

    def can_finish(self, group: Group, node: Node) -> bool:
        """Whether the loops of ``group`` go over the result of ``node`` element by element."""
        if group.opaque or group.reduces or 0 in node.shape or not reads_views(node):
            return False
        for member in group.members:
            for slot, arg in enumerate(member.args or ()):
                if self.base(arg) is not node:
                    continue
                if not self.read(member, slot).is_whole or not group.is_full(group.maps[member]):
                    return False
        return bool(self.finisher(group, node))

    def finisher(self, group: Group, node: Node) -> tuple[Kernel, Node] | None:
        """The kernel that finishes blocks of ``node``, and the buffer they are made in."""
        out = node
        if node not in self.outputs:
            same = (m for m in group.members if m in group.stored and m.dtype is node.dtype)
            strides = self.strides_in(group, node)
            own = (m for m in same if m not in self.landing)
            out = next((m for m in own if self.strides_of(group, m) == strides), node)
        columns = columns_of(node)
        made = kernels_of(group, self.read, lambda n: True, columns, {node: out}, self.landing)
        return None if made is None else (made[0], out)

    def strides_in(self, group: Group, node: Node) -> Shape:
        """How the members of ``group`` walk the result of ``node``, which they read whole."""
        for member in group.members:
            for slot, arg in enumerate(member.args or ()):
                if self.base(arg) is node:
                    return along(group.maps[member], self.read(member, slot), group.domain)
        raise AssertionError("the group reads the result")

    def strides_of(self, group: Group, member: Node) -> Shape:
        return along(group.maps[member], whole(member), group.domain)

    def contraction(self, node: Node, after: Group | None) -> list[Step]:
        """The kernels of a dot or conv, ``after`` finishing its blocks."""
        last, out = None, node
        if after is not None:
            found = self.finisher(after, node)
            assert found is not None
            last, out = found
        views = [self.seen.get(a) or whole(a) for a in self.given.get(node, node.args or ())]
        kernels = self.packed_product(node, views, last) or contract(node, views, last)
        if kernels is None:
            steps: list[Step] = [Host(node, tuple(v.node for v in views), (node,))]
        elif last is not None and any(k.after is last for k in kernels):
            return [*(rewired(kernels, {node: whole(out)}) if out is not node else kernels)]
        else:
            steps = [*kernels]
        return [*steps, *(self.loops(after) if after is not None else [])]

    def packed_product(
        self, node: Node, views: list[View], after: Kernel | None
    ) -> list[Kernel] | None:
        """A product with a matrix that stays the same in every turn of a loop: packed before."""
        assert node.op is not None
        a, b = views
        if node.op.name != "dot" or b.node not in self.fixed or len(a.shape) != 2:
            return None
        if b not in self.packed:
            found = packed_b(b)
            if found is None:
                return None
            kernel, panels = found
            self.packed[b] = (kernel, panels, buffer(panels.shape, panels.dtype))
        product = dot_packed(a, self.packed[b][2], node, after)
        return None if product is None else [product]

    def loops(self, group: Group) -> list[Step]:
        if all(0 in m.shape for m in group.stored):
            return []  # nothing to store
        made = kernels_of(group, self.read, lambda n: 0 not in n.shape, landing=self.landing)
        assert made is not None
        return list(made)

    def opaque(self, node: Node) -> list[Step]:
        """The kernels of a template, else a call of NumPy."""
        assert node.op is not None and node.args is not None
        if node.op.name == "iota":
            return []
        views = [self.seen.get(a) or whole(a) for a in self.given.get(node, node.args)]
        if node.op.name == "pad":
            return pad_kernels(node, views[0])
        if node.op.name == "concat":
            return concat_kernels(node, views, self.landing)
        results = self.results(node)
        if node.op.name == "loop" and (found := self.repeat(node, views, results)) is not None:
            return found
        rule = template_of(name_of(node))
        kernels = None
        if rule is not None:
            stand_ins = [
                a if _is_never_read(node, a) else buffer(a.shape, a.dtype) for a in node.args
            ]
            alike = Node(
                node.op, tuple(stand_ins), node.params, node.shape, node.dtype, None, False
            )
            alike.parts, alike.stop, alike.site = node.parts, node.stop, node.site
            kernels = rule(alike, results)
            if kernels is not None:
                return [*rewired(kernels, dict(zip(stand_ins, views, strict=True)))]
        return [Host(node, tuple(v.node for v in views), results)]

    def repeat(self, node: Node, views: list[View], results: tuple[Node, ...]) -> list[Step] | None:
        """A native loop; None when something in its body is left to NumPy."""
        params = node.params
        body = prepare(params["body"])
        moving = params["carries"] + params["scanned"]
        fuser = Fuser(body, body.inputs[moving:])
        inside = fuser.run()
        if any(isinstance(s, Host) for s in inside.steps):
            return None
        outer = dict(zip(body.inputs, views, strict=True))
        packing = [rewired([k], outer)[0] for k, _, _ in fuser.packed.values()]
        inputs = (*body.inputs, *(inner for _, _, inner in fuser.packed.values()))
        reads = (*(v.node for v in views), *(panels for _, panels, _ in fuser.packed.values()))
        loop = Repeat(
            node, inside.steps, inputs, inside.outputs, params["carries"], params["scanned"],
            params["length"], reads, results,
        )  # fmt: skip
        return [*packing, loop]

    def results(self, node: Node) -> tuple[Node, ...]:
        if node.parts is None:
            return (node,)
        picks = self.parts.get(node, {})
        return tuple(
            picks[i] if i in picks else buffer(t.shape, t.dtype) for i, t in enumerate(node.parts)
        )


def _is_never_read(node: Node, arg: Node) -> bool:
    """Whether the template of ``node`` makes the zeros of ``arg`` itself."""
    assert node.op is not None and node.args is not None
    return node.op.name == "scatter_add" and arg is node.args[0] and is_zero(arg)
