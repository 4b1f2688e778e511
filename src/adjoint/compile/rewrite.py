"""Rules of algebra that change no result: one small function per op, tried once on every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from adjoint.base.shape import Shape
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array, Node, Params
from adjoint.ops.contract import dot
from adjoint.ops.movement import concat, permute, reshape

Rule = Callable[[Node, tuple[Node, ...]], Node | None]


def rewritten(node: Node, args: tuple[Node, ...]) -> Node | None:
    """Something simpler than ``node`` on ``args``, which have been rewritten already."""
    assert node.op is not None
    rule = RULES.get(node.op.name)
    return rule(node, args) if rule is not None else None


def made(op: Any, args: tuple[Node, ...], params: Params, shape: Shape, like: Node) -> Node:
    """A node of ``shape``, otherwise of the type of ``like``."""
    found = Node(op, args, params, shape, like.dtype, None, False)
    found.stop, found.site, found.device = True, getattr(like, "site", None), like.device
    return found


def _reshape(node: Node, args: tuple[Node, ...]) -> Node | None:
    (x,) = args
    while x.op is not None and x.op.name == "reshape" and x.args:
        x = x.args[0]
    if x.shape == node.shape:
        return x
    return made(reshape, (x,), node.params, node.shape, node) if x is not args[0] else None


def _permute(node: Node, args: tuple[Node, ...]) -> Node | None:
    (x,), axes = args, node.params["axes"]
    if x.op is not None and x.op.name == "permute" and x.args:
        axes = tuple(x.params["axes"][a] for a in axes)
        x = x.args[0]
    if axes == tuple(range(len(axes))):
        return x
    if x is args[0]:
        return None
    return made(permute, (x,), {"axes": axes}, node.shape, node)


def _same_shape(node: Node, args: tuple[Node, ...]) -> Node | None:
    return args[0] if args[0].shape == node.shape else None


def _slice(node: Node, args: tuple[Node, ...]) -> Node | None:
    whole = args[0].shape == node.shape and all(s == 1 for s in node.params["steps"])
    return args[0] if whole else None


def _cast(node: Node, args: tuple[Node, ...]) -> Node | None:
    return args[0] if args[0].dtype is node.dtype else None


def _reduce(node: Node, args: tuple[Node, ...]) -> Node | None:
    """A reduction of one element each is a reshape."""
    axes: Shape = node.params["axes"]
    if prod(args[0].shape[a] for a in axes) != 1:
        return None
    return made(reshape, args, {"shape": node.shape}, node.shape, node)


def _neutral_right(value: float) -> Rule:
    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        return args[0] if is_number(args[1], value) else None

    return rule


def _mul(node: Node, args: tuple[Node, ...]) -> Node | None:
    for one, other in (args, args[::-1]):
        if is_number(one, 1) and node.dtype.kind != "b":
            return other
    return None


def _add(node: Node, args: tuple[Node, ...]) -> Node | None:
    """Arrays padded with zeros to stand side by side, added: one concat."""
    pads: list[Node] = []
    stack = list(args)
    while stack:
        x = stack.pop()
        if x.op is None or x.op.name not in ("add", "pad") or not x.args or len(pads) > 16:
            return None
        if x.op.name == "add":
            stack.extend(x.args)
        else:
            pads.append(x)
    padded = {a for p in pads for a, n in enumerate(p.args[0].shape) if n != node.shape[a]}  # type: ignore[index]
    if len(padded) != 1 or any(any(p.params["interior"]) for p in pads):
        return None
    axis = padded.pop()
    pads.sort(key=lambda p: p.params["low"][axis])
    end = 0
    parts: list[Node] = []
    for p in pads:
        assert p.args is not None
        if p.params["low"][axis] != end:
            return None
        end += p.args[0].shape[axis]
        parts.append(p.args[0])
    if end != node.shape[axis]:
        return None
    return made(concat, tuple(parts), {"axis": axis}, node.shape, node)


def _where(node: Node, args: tuple[Node, ...]) -> Node | None:
    if is_number(args[0], 1):
        return args[1]
    return args[2] if is_number(args[0], 0) else None


def is_number(node: Node, value: float) -> bool:
    """Whether ``node`` is a constant that holds ``value`` everywhere (and not -0 for 0)."""
    array: Array | None = node.value
    while array is None and node.op is not None and node.op.lazy and node.args:
        node = node.args[0]
        array = node.value
    if node.op is not None or array is None or array.size == 0:
        return False
    if any(array.strides) and array.size > 1:
        return False
    first: Any = array[(0,) * array.ndim]
    return bool(first == value) and not (value == 0 and bool(np.signbit(np.float64(first))))


RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "permute": _permute,
    "broadcast": _same_shape,
    "slice": _slice,
    "cast": _cast,
    "reduce_sum": _reduce,
    "reduce_max": _reduce,
    "add": _add,
    "mul": _mul,
    "div": _neutral_right(1),
    "sub": _neutral_right(0),
    "where": _where,
}


def turn_products(outputs: Sequence[Node], inputs: Sequence[Node]) -> list[Node]:
    """A product that is only used transposed is computed transposed: (a b)^T = b^T a^T."""
    graph = Graph(inputs, outputs)
    uses: dict[Node, int] = {}
    for node in graph.nodes:
        for arg in node.args or ():
            uses[arg] = uses.get(arg, 0) + 1
    for out in graph.outputs:
        uses[out] = uses.get(out, 0) + 1
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        assert node.op is not None and node.args is not None
        args = tuple(new.get(a, a) for a in node.args)
        product = node.args[0] if node.args else node
        if _swaps(node) and product.op is dot and uses[product] == 1:
            a, b = (_swapped(x) for x in new.get(product, product).args or ())
            new[node] = made(dot, (b, a), {}, node.shape, node)
        elif args != node.args or new:
            found = Node(node.op, args, node.params, node.shape, node.dtype, None, False)
            found.parts, found.stop = node.parts, node.stop
            found.site, found.device = node.site, node.device
            new[node] = found
    return [new.get(o, o) for o in outputs]


def _swaps(node: Node) -> bool:
    """Whether the node exchanges the last two axes and nothing else."""
    if node.op is None or node.op.name != "permute":
        return False
    axes, n = node.params["axes"], len(node.shape)
    return n >= 2 and axes == (*range(n - 2), n - 1, n - 2)


def _swapped(x: Node) -> Node:
    n = len(x.shape)
    axes = (*range(n - 2), n - 1, n - 2)
    shape = tuple(x.shape[a] for a in axes)
    node = made(permute, (x,), {"axes": axes}, shape, x)
    return _permute(node, (x,)) or node
