"""Fewer nodes, the same results: constants folded, equal nodes merged, rules of algebra that are
exact applied (see rewrite.py)."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from adjoint.compile.rewrite import rewritten, turn_products
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array, Node, Op, Params, constant, evaluate

BIGGEST_FOLD = 1 << 16  # elements: a larger constant is computed at run time instead of stored


def simplify(graph: Graph) -> Graph:
    """``graph`` with nodes that depend on no input computed now, and equal nodes merged.

    Nodes that no output needs are not in a Graph to begin with. One pass is enough: arguments
    are looked at before their users.
    """
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    seen: dict[Any, Node] = {}
    for node in graph.constants:
        new[node] = seen.setdefault(_constant_key(node), node)
    for node in graph.nodes:
        assert node.op is not None and node.args is not None
        args = tuple(new[a] for a in node.args)
        folded = _folded(node, args)
        if folded is not None:
            new[node] = seen.setdefault(_constant_key(folded), folded)
            continue
        key = (node.op.name, tuple(id(a) for a in args), _params_key(node.params))
        if key not in seen:
            seen[key] = rewritten(node, args) or _rebuilt(node, node.op, args)
        new[node] = seen[key]
    outputs = turn_products([new.get(o, o) for o in graph.outputs], graph.inputs)
    return Graph(graph.inputs, outputs, graph.updates, graph.name)


def _rebuilt(node: Node, op: Op, args: tuple[Node, ...]) -> Node:
    made = Node(op, args, node.params, node.shape, node.dtype, None, False)
    made.parts, made.stop, made.site = node.parts, node.stop, node.site
    made.device = node.device
    return made


def _folded(node: Node, args: tuple[Node, ...]) -> Node | None:
    """The constant that a node is, when all its arguments are small constants."""
    assert node.op is not None
    if (
        node.parts is not None
        or node.op.lazy
        or any(a.op is not None or a.value is None for a in args)
    ):
        return None
    if not args and node.op.kind != "source":
        return None
    if np.prod(node.shape, dtype=np.int64) > BIGGEST_FOLD:
        return None
    value = evaluate(node.op, [a.value for a in args], node.params)
    return constant(np.asarray(value))


def _constant_key(node: Node) -> Any:
    value: Array | None = node.value
    if value is None or value.size > BIGGEST_FOLD:
        return id(node)
    return (
        value.dtype.str,
        value.shape,
        hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest(),
    )


def _params_key(params: Params) -> Any:
    return tuple((k, v.key if isinstance(v, Graph) else v) for k, v in sorted(params.items()))
