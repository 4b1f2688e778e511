"""Reverse mode of a function of nodes: evaluate once, pull cotangents back as often as asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.ir.node import Node, alias, grad_mode, state
from adjoint.ir.reverse import backward
from adjoint.ops.structure import variable

Nodes = Sequence[Node]


class Pullback:
    """A function evaluated once, with the map from cotangents of its results to those of its
    wanted arguments, which can be called again and again.

    The wanted arguments become new variables, so nothing older is differentiated. What comes out
    can itself be differentiated when an argument or something the function closes over needs a
    gradient; otherwise it holds no graph.
    """

    def __init__(self, function: Callable[..., Nodes], args: Nodes, wanted: Sequence[bool]) -> None:
        self._fresh = [variable(a) if w else a for a, w in zip(args, wanted, strict=True)]
        self._wanted = wanted
        self._inputs = [f for f, w in zip(self._fresh, wanted, strict=True) if w]
        with grad_mode(True):
            self._outs = list(function(*self._fresh))
        abstract = any(o.is_abstract for o in self._outs)
        self._outer = state.grad and (abstract or depends_elsewhere(self._outs, self._inputs))
        self.outs = self.settle(self._outs)

    def __call__(self, cts: Sequence[Node | None]) -> list[Node | None]:
        """One cotangent (or None) per wanted argument, None for the others."""
        pairs = [(o, c) for o, c in zip(self._outs, cts, strict=True) if c is not None]
        live = self._outer or any(c.needs_grad or c.is_abstract for _, c in pairs)
        with grad_mode(state.grad and live):
            found = backward([o for o, _ in pairs], [c for _, c in pairs], self._inputs)
        results = [
            found.get(f) if w else None for f, w in zip(self._fresh, self._wanted, strict=True)
        ]
        return [self.settle([r])[0] if r is not None and live else r for r in results]

    def settle(self, nodes: Nodes) -> list[Node]:
        """``nodes`` without history if only the new variables are in it."""
        if self._outer or (state.grad and depends_elsewhere(nodes, self._inputs)):
            return list(nodes)
        return [detached(n) for n in nodes]


def detached(node: Node) -> Node:
    """The same value without history."""
    return alias(node) if node.needs_grad and not node.is_abstract else node


def depends_elsewhere(outputs: Nodes, inputs: Nodes) -> bool:
    """Whether ``outputs`` need the gradient of anything but the fresh variables ``inputs``."""
    known, seen = set(inputs), set[Node]()
    stack = [n for n in outputs if n.needs_grad]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        upstream = [a for a in node.args or () if a.needs_grad]
        if node not in known and not upstream:
            return True
        stack.extend(upstream)
    return False
