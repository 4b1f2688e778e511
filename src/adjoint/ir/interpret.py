"""Run a Graph node by node: through ``apply``, so that it computes, records or differentiates."""

from __future__ import annotations

from collections.abc import Sequence

from adjoint.ir.graph import Graph
from adjoint.ir.node import Node, apply, state


def interpret(graph: Graph, inputs: Sequence[Node]) -> list[Node]:
    """The outputs of ``graph`` for ``inputs``: values if these have values, nodes otherwise.

    A node recorded under ``no_grad`` is computed under ``no_grad`` again.
    """
    env: dict[Node, Node] = dict(zip(graph.inputs, inputs, strict=True))
    before = state.grad
    try:
        for node in graph.nodes:
            assert node.op is not None and node.args is not None
            state.grad = before and not (node.is_abstract and node.stop)
            env[node] = apply(node.op, tuple(env.get(a, a) for a in node.args), node.params)
    finally:
        state.grad = before
    return [env.get(o, o) for o in graph.outputs]
