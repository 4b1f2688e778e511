"""Regions become the nodes they stand for, where no kernel of their own is known."""

from __future__ import annotations

from collections.abc import Callable

from adjoint.ir.capture import noting
from adjoint.ir.graph import Graph
from adjoint.ir.node import Node, apply, grad_mode

Keep = Callable[[Node], bool]


def expand(graph: Graph, keep: Keep) -> Graph:
    """``graph`` with the body in place of every ``call``, except where ``keep(node)`` holds or
    the region has no body. Copies, which only matter to derivatives, are left out, except those
    marked ``again``."""
    new: dict[Node, list[Node]] = {}
    with noting(), grad_mode(False):  # a mask of many elements is not to be computed here
        for node in graph.constants:
            new[node] = [_small(node)]
        for node in graph.nodes:
            _place(node, new, keep)
    outputs = [new[o][0] if o in new else o for o in graph.outputs]
    return Graph(graph.inputs, outputs, graph.updates, graph.name)


def without_marks(graph: Graph) -> Graph:
    """``graph`` without copies marked ``again``: equal nodes have been merged, and what is to be
    computed a second time was not among them."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        assert node.op is not None and node.args is not None
        args = tuple(new.get(a, a) for a in node.args)
        if node.op.name == "copy" and "again" in node.params:
            new[node] = args[0]
        elif new:
            made = Node(node.op, args, node.params, node.shape, node.dtype, None, False)
            made.parts, made.stop, made.site = node.parts, node.stop, node.site
            made.device = node.device
            new[node] = made
    if not new:
        return graph
    outputs = [new.get(o, o) for o in graph.outputs]
    return Graph(graph.inputs, outputs, graph.updates, graph.name)


def _small(node: Node) -> Node:
    """A constant; one that repeats another is recorded as such, and not stored in full."""
    if node.op is None or not node.op.lazy or not node.args:
        return node
    return apply(node.op, (_small(node.args[0]),), node.params)


def _place(node: Node, new: dict[Node, list[Node]], keep: Keep) -> None:
    """Enter the results that ``node`` becomes, one for each of its parts, into ``new``."""
    assert node.op is not None and node.args is not None
    args = tuple(new[a][0] if a in new else a for a in node.args)
    if node.op.name == "copy" and "again" not in node.params:
        new[node] = [args[0]]
        return
    if node.op.name == "pick":
        found = new[node.args[0]] if node.args[0] in new else [args[0]]
        if len(found) > 1 or found[0].parts is None:
            new[node] = [found[node.params["index"]]]
            return
    if node.op.name == "call" and node.params["region"].body is not None and not keep(node):
        static = {k: v for k, v in node.params.items() if k != "region"}
        outs = node.params["region"].body(*args, **static)
        inside = Graph(args, outs, name=node.params["region"].name)
        for n in inside.nodes:
            _place(n, new, keep)
        new[node] = [new[o][0] if o in new else o for o in outs]
        return
    made = apply(node.op, args, node.params)
    made.site = node.site
    new[node] = [made]
