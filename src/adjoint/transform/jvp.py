"""Forward mode: the transpose of the transpose. No op has a forward rule of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.ir.graph import Graph, recording
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, abstract, state
from adjoint.ir.reverse import backward
from adjoint.ops.rows import zeros_like
from adjoint.transform.grad import depends_elsewhere, detached, vjp

Nodes = Sequence[Node]


def jvp(
    function: Callable[..., Nodes], primals: Nodes, tangents: Sequence[Node | None]
) -> tuple[list[Node], list[Node]]:
    """``function(*primals)`` and its derivative in the direction ``tangents`` (None: zero).

    With u standing for a cotangent, u -> J^T u is linear; its own vjp at any u is t -> J t. The u
    has no value, so nothing of the first transpose is computed.
    """
    wanted = [t is not None for t in tangents]
    outs, push = _pushforward(function, primals, wanted)
    found = push([t for t in tangents if t is not None])
    return outs, found


def linearize(
    function: Callable[..., Nodes], primals: Nodes
) -> tuple[list[Node], Callable[[Nodes], list[Node]]]:
    """``function(*primals)`` and the linear map of tangents, recorded once as a Graph."""
    outs, push = _pushforward(function, primals, [True] * len(primals))
    with recording():
        inputs = [abstract(Type(p.shape, p.dtype)) for p in primals]
        graph = Graph(inputs, push(inputs), name="linear")
    return outs, lambda tangents: interpret(graph, tangents)


def _pushforward(
    function: Callable[..., Nodes], primals: Nodes, wanted: Sequence[bool]
) -> tuple[list[Node], Callable[[Nodes], list[Node]]]:
    outs, pull = vjp(function, primals, wanted)
    with recording():
        seeds = [abstract(Type(o.shape, o.dtype)) for o in outs]
        for seed in seeds:
            seed.needs_grad = seed.dtype.kind == "f"
        cts = pull([s if s.needs_grad else None for s in seeds])
    transposed = [c for c, w in zip(cts, wanted, strict=True) if w]

    def push(tangents: Nodes) -> list[Node]:
        pairs = [(c, t) for c, t in zip(transposed, tangents, strict=True) if c is not None]
        with recording():
            found = backward([c for c, _ in pairs], [t for _, t in pairs], seeds)
        results = [found.get(s, zeros_like(o)) for s, o in zip(seeds, outs, strict=True)]
        keep = state.grad and depends_elsewhere(results, seeds)
        return results if keep else [detached(r) for r in results]

    return outs, push
