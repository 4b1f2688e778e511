"""Forward mode: the transpose of the transpose. No op has a forward rule of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.ir.graph import Graph, recording
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Node, Type, abstract
from adjoint.ir.reverse import backward
from adjoint.ops.rows import zeros_like
from adjoint.transform.grad import Pullback

Nodes = Sequence[Node]


def jvp(
    function: Callable[..., Nodes], primals: Nodes, tangents: Sequence[Node | None]
) -> tuple[list[Node], list[Node]]:
    """``function(*primals)`` and its derivative in the direction ``tangents`` (None: zero).

    With u standing for a cotangent, u -> J^T u is linear; its own vjp at any u is t -> J t. The u
    has no value, so nothing of the first transpose is computed.
    """
    wanted = [t is not None for t in tangents]
    push = Pushforward(function, primals, wanted)
    return push.outs, push([t for t in tangents if t is not None])


def linearize(
    function: Callable[..., Nodes], primals: Nodes
) -> tuple[list[Node], Callable[[Nodes], list[Node]]]:
    """``function(*primals)`` and the linear map of tangents, recorded once as a Graph."""
    push = Pushforward(function, primals, [True] * len(primals))
    with recording():
        inputs = [abstract(Type(p.shape, p.dtype)) for p in primals]
        graph = Graph(inputs, push(inputs), name="linear")
    return push.outs, lambda tangents: push.settle(interpret(graph, tangents))


class Pushforward:
    """A function evaluated once, with the map from tangents of its wanted arguments to those of
    its results."""

    def __init__(
        self, function: Callable[..., Nodes], primals: Nodes, wanted: Sequence[bool]
    ) -> None:
        pull = Pullback(function, primals, wanted)
        self.outs, self.settle = pull.outs, pull.settle
        with recording():
            self._seeds = [abstract(Type(o.shape, o.dtype)) for o in self.outs]
            for seed in self._seeds:
                seed.needs_grad = seed.dtype.kind == "f"
            cts = pull([s if s.needs_grad else None for s in self._seeds])
        self._transposed = [c for c, w in zip(cts, wanted, strict=True) if w]

    def __call__(self, tangents: Nodes) -> list[Node]:
        """One tangent per result, given one per wanted argument."""
        pairs = [(c, t) for c, t in zip(self._transposed, tangents, strict=True) if c is not None]
        with recording():
            found = backward([c for c, _ in pairs], [t for _, t in pairs], self._seeds)
        zipped = zip(self._seeds, self.outs, strict=True)
        return self.settle(self._grounded([found.get(s, zeros_like(o)) for s, o in zipped]))

    def _grounded(self, results: list[Node]) -> list[Node]:
        """``results`` free of the seeds. They are linear in the tangents whatever the seeds are,
        but rules that evaluate a region or a loop again mention them: let them be zero there."""
        graph = Graph(self._seeds, results, name="tangents")
        seeds = set(self._seeds)
        if not any(a in seeds for node in graph.nodes for a in node.args or ()):
            return results
        return interpret(graph, [zeros_like(o) for o in self.outs])
