"""Reverse mode over nodes: one iterative pass in reverse creation order. No op is named here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from adjoint.base import errors
from adjoint.ir.node import Node


class Parts:
    """The cotangent of a node with several results: one per result, None where nothing arrived."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Node | None, ...]) -> None:
        self.items = items

    @classmethod
    def one(cls, index: int, count: int, ct: Node) -> Parts:
        return cls(tuple(ct if i == index else None for i in range(count)))

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.items, other.items, strict=True)
        return Parts(tuple(b if a is None else a if b is None else a + b for a, b in pairs))


def reachable(outputs: Sequence[Node], oldest: int = -1) -> list[Node]:
    """Nodes that need a gradient and are upstream of ``outputs``, oldest first.

    Only nodes created at or after serial ``oldest``: nothing older can depend on what it names.
    Creation order is a topological order, so sorting by serial replaces a recursive visit.
    """
    seen: set[Node] = set()
    stack = [n for n in outputs if n.needs_grad]
    while stack:
        node = stack.pop()
        if node in seen or node.serial < oldest:
            continue
        seen.add(node)
        if node.args is None:
            raise errors.released(node.op.name if node.op else "leaf")
        stack.extend(a for a in node.args if a.needs_grad and a not in seen)
    return sorted(seen, key=_serial)


def backward(
    outputs: Sequence[Node],
    cotangents: Sequence[Node],
    wanted: Sequence[Node] | None = None,
    release: bool = False,
) -> dict[Node, Node]:
    """Cotangents of ``wanted`` (of every leaf if None), given those of ``outputs``.

    Implements ct[arg] += vjp(ct[node]) over the nodes from newest to oldest; each node is visited
    once, after all its users. ``release`` lets go of the graph on the way, so that the values it
    held are freed as soon as they have been used.
    """
    targets = None if wanted is None else set(wanted)
    oldest = min((w.serial for w in wanted), default=0) if wanted is not None else -1
    order = reachable(outputs, oldest)
    useful = None if targets is None else _useful(order, targets)
    ct: dict[Node, Any] = {}
    for node, seed in zip(outputs, cotangents, strict=True):
        if node.needs_grad and (useful is None or node in useful):
            ct[node] = ct[node] + seed if node in ct else seed
    found: dict[Node, Node] = {}
    while order:
        node = order.pop()
        grad = ct.pop(node, None)
        if grad is None:
            continue
        args = node.args or ()
        if node.hooks is not None:
            grad = _run_sum_hooks(node, grad)
        is_target = targets is not None and node in targets
        if not args or is_target or node.leaf is not None:
            found[node] = grad
        elif release and node.value is not None:  # an unread lazy value needs its argument
            node.args = None
        if args:
            _send(node, grad, args, useful, ct)
    return found


def _send(
    node: Node, grad: Any, args: tuple[Node, ...], useful: set[Node] | None, ct: dict[Node, Any]
) -> None:
    if useful is None:
        wanted = tuple([a.needs_grad for a in args])
    else:
        wanted = tuple([a in useful for a in args])
        if True not in wanted:
            return
    assert node.op is not None
    try:
        messages = node.op.vjp(grad, node, wanted, args, node.params)
    except errors.NonFiniteError as problem:
        raise errors.in_gradient_of(node, problem) from None
    for arg, needs, message in zip(args, wanted, messages, strict=True):
        if not needs or message is None:
            continue
        # a region that was computed again hands on what arrived inside one by one
        for part in cast("tuple[Any, ...]", message) if type(message) is tuple else (message,):
            if arg.hooks is not None:
                for hook in arg.hooks.messages:
                    replaced = hook(node, part)
                    part = part if replaced is None else replaced
            ct[arg] = ct[arg] + part if arg in ct else part


def _useful(order: list[Node], wanted: set[Node]) -> set[Node]:
    """Nodes of ``order`` (oldest first) that depend on a wanted one."""
    useful: set[Node] = set()
    for node in order:
        if node in wanted or any(a in useful for a in node.args or ()):
            useful.add(node)
    return useful


def _run_sum_hooks(node: Node, grad: Any) -> Any:
    assert node.hooks is not None
    for hook in node.hooks.sums:
        replaced = hook(grad)
        grad = grad if replaced is None else replaced
    return grad


def _serial(node: Node) -> int:
    return node.serial
