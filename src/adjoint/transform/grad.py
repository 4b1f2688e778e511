"""Reverse mode of a function of nodes: evaluate once, pull cotangents back as often as asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.ir.node import Node, alias, grad_mode, state
from adjoint.ir.reverse import backward
from adjoint.ops.structure import variable

Nodes = Sequence[Node]
Pull = Callable[[Sequence[Node | None]], list[Node | None]]


def vjp(
    function: Callable[..., Nodes], args: Nodes, wanted: Sequence[bool]
) -> tuple[list[Node], Pull]:
    """``function(*args)`` and the map from cotangents of its results to those of wanted ``args``.

    The wanted arguments become new variables, so nothing older is differentiated. What is
    returned can itself be differentiated when an argument or something the function closes over
    needs a gradient; otherwise it holds no graph.
    """
    fresh = [variable(a) if w else a for a, w in zip(args, wanted, strict=True)]
    inputs = [f for f, w in zip(fresh, wanted, strict=True) if w]
    with grad_mode(True):
        outs = list(function(*fresh))
    outer = state.grad and (depends_elsewhere(outs, inputs) or any(o.is_abstract for o in outs))

    def pull(cts: Sequence[Node | None]) -> list[Node | None]:
        pairs = [(o, c) for o, c in zip(outs, cts, strict=True) if c is not None]
        live = outer or any(c.needs_grad or c.is_abstract for _, c in pairs)
        with grad_mode(state.grad and live):
            found = backward([o for o, _ in pairs], [c for _, c in pairs], inputs)
        return [found.get(f) if w else None for f, w in zip(fresh, wanted, strict=True)]

    return (outs if outer else [detached(o) for o in outs]), pull


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
