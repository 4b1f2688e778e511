"""Vectorisation: rewrite a Graph for inputs that carry a batch axis. No op is named here."""

from __future__ import annotations

from collections.abc import Sequence

from adjoint.ir.graph import Graph
from adjoint.ir.node import Node, apply, state


def batch(
    graph: Graph, size: int, inputs: Sequence[Node], batched: Sequence[bool]
) -> list[tuple[Node, bool]]:
    """Run ``graph``, recorded on single examples, on inputs of which some have a batch as axis 0.

    Each node with a batched argument goes through the ``vmap`` rule of its op; the rest are
    computed once. Returns the outputs, each with whether it carries the batch axis.
    """
    env: dict[Node, tuple[Node, bool]] = {
        old: (new, flag) for old, new, flag in zip(graph.inputs, inputs, batched, strict=True)
    }
    before = state.grad
    try:
        for node in graph.nodes:
            assert node.op is not None and node.args is not None
            state.grad = before and not (node.is_abstract and node.stop)
            pairs = [env.get(a, (a, False)) for a in node.args]
            args = tuple(p[0] for p in pairs)
            flags = tuple(p[1] for p in pairs)
            if True in flags:
                env[node] = (node.op.vmap(node.op, size, flags, args, node.params), True)
            else:
                env[node] = (apply(node.op, args, node.params), False)
    finally:
        state.grad = before
    return [env.get(o, (o, False)) for o in graph.outputs]
